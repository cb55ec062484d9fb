/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * survey.h: what exists in a store, for calls that look at all of it: the types, and for each row
 * of META, node, head and value the key that explains it.
 */
#ifndef KT_SURVEY_H
#define KT_SURVEY_H

#include "catalogue.h"

typedef struct kt_known { /* a type at one epoch whose key is held */
    unsigned char id[KT_KEYID_SIZE];
    const char *type; /* in the survey's list */
    size_t n;         /* of kt_keyring_type() */
    bool has_root;
    uint64_t heads; /* for kt_store_scan() */
} kt_known_t;

typedef void (*kt_survey_fn)(void *arg, kt_status_t status, const char *what, const char *detail);

typedef struct kt_survey {
    kt_holder_t *holder;
    const kt_store_t *store;
    ktp_txn_t *txn;
    /* Every row has to be explained: the environment key is held, at each epoch in use. */
    bool whole;
    bool missing;             /* types are under an epoch whose key is not held */
    kt_catalogue_t catalogue; /* with the types that a label names; of the holder of type keys only
                                 the types of these keys */
    kt_known_t *keys;         /* sorted by id */
    size_t nkeys;
    kt_survey_fn fn; /* for what is wrong; NULL: the first wrong thing ends the survey */
    void *arg;
    kt_status_t worst, fatal;
    size_t kept; /* rows of the catalogue that were met */
} kt_survey_t;

/* Reads the rows of META and the anchors. KT_ROLLEDBACK, KT_MALFORMED: something is wrong, and was
 * reported if there is an fn; else the error text says what. After any other failure nothing is
 * known. Call kt_survey_end() in each case. */
kt_status_t kt_survey_read(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                           kt_survey_fn fn, void *arg, kt_survey_t *ret_survey);
void kt_survey_end(kt_survey_t *survey);
/* NULL: no key that is held. */
kt_known_t *kt_survey_find(const kt_survey_t *survey, const unsigned char id[KT_KEYID_SIZE]);
kt_status_t kt_survey_key(const kt_survey_t *survey, const kt_known_t *known,
                          const kt_typekey_t **ret_key);

#endif /* KT_SURVEY_H */
