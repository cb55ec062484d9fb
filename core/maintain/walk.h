/* SPDX-License-Identifier: BSD-2-Clause */
/* walk.h: the state of a walk through a whole store, for walk.c, walk_secret.c and walk_rows.c
 * only.
 */
#ifndef KT_WALK_H
#define KT_WALK_H

#include "maintain.h"

/* Rows by their clear header: under a known key, under another one, or without a header. */
enum { HELD, FOREIGN, BAD, KINDS };

typedef struct place { /* of each key of the survey */
    bool broken;       /* its index does not hold, or not against the anchors */
    uint64_t nodes, all_nodes;
} place_t;

typedef struct walk {
    kt_ctx_t *ctx;
    kt_store_t *store;
    ktp_txn_t *txn;
    kt_check_fn fn;
    void *arg;
    kt_status_t worst, fatal;
    kt_survey_t survey;
    place_t *places;
    kt_walk_result_t *result;
    uint64_t expected, done;                      /* secrets */
    uint64_t heads[KINDS], values[KINDS];         /* met on the way down from the indexes */
    uint64_t all_heads[KINDS], all_values[KINDS]; /* all that there are */
} walk_t;

/* ---- walk_secret.c ---- */

void kt_walk_wrong(walk_t *v, kt_status_t status, const char *what, const char *detail);
void kt_walk_wrong_row(walk_t *v, kt_status_t status, const char *kind, const unsigned char *id,
                       size_t size, const char *detail);
/* *ret_known, if it is HELD; so is its key in *ret_type, if that is not NULL. */
int kt_walk_kind(const walk_t *v, const ktp_row_t *row, const kt_known_t **ret_known,
                 const kt_typekey_t **ret_type);
place_t *kt_walk_place(const walk_t *v, const kt_known_t *known);
kt_status_t kt_walk_open(const walk_t *v, const kt_known_t *known, kt_index_t *ret_index);
/* Head and current value; KT_NOTFOUND: something is wrong, and was reported. */
kt_status_t kt_walk_head(walk_t *v, const kt_typekey_t *type, const ktp_key_t *key,
                         const ktp_row_t *row, kt_head_t *ret_head);
/* Has this version a row of its own? */
bool kt_walk_has_row(const kt_head_t *head, const kt_head_version_t *version, bool current_beside);
/* The values with rows of their own. */
void kt_walk_values(walk_t *v, const kt_typekey_t *type, const unsigned char hash[KT_HASH_SIZE],
                    const kt_head_t *head, bool current_beside);
/* ---- walk_rows.c: are there rows that the indexes did not lead to? ---- */

kt_status_t kt_walk_rows(walk_t *v);

#endif /* KT_WALK_H */
