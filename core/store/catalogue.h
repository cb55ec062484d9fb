/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * catalogue.h: the catalogue of types, one record sealed under the environment key: every epoch and
 * every type of a store, and the rows that stay as they are. Only stores with an index have one,
 * and only holders of an environment key can open it.
 */
#ifndef KT_CATALOGUE_H
#define KT_CATALOGUE_H

#include "index.h"

#define KT_META_SIZE                                                                               \
    (1u + KT_KEYID_SIZE) /* bytes of a row's key in META: a kind, and a key's id                   \
                          */

/* A kind of key that no row has: an entry of this kind stands for an anchor that a restore gave up.
 */
#define KT_GIVEN_UP 'a'

typedef struct kt_cat_epoch {
    unsigned epoch;
    unsigned char id[KT_KEYID_SIZE]; /* of its environment key */
} kt_cat_epoch_t;

typedef struct kt_cat_type {
    unsigned epoch; /* of its newest root */
    char *name;     /* malloc'ed */
} kt_cat_type_t;

typedef struct kt_cat_row { /* the last row of an epoch that was left: it never changes again */
    unsigned char key[KT_META_SIZE];
    unsigned char hash[KT_TAG_SIZE]; /* of its stamp and its record */
} kt_cat_row_t;

/* Zeros: no catalogue. */
typedef struct kt_catalogue {
    const kt_envkey_t *env; /* that seals it; in the keyring */
    unsigned char store_id[KT_ID_SIZE];
    uint64_t generation, stamp; /* stamp: of its row; 0: there is none yet */
    unsigned char tag[KT_TAG_SIZE];
    kt_cat_epoch_t *epochs; /* newest first; the first one is the present one */
    size_t nepochs;
    kt_cat_type_t *types; /* sorted by name */
    size_t ntypes;
    kt_cat_row_t *rows; /* sorted by key */
    size_t nrows;
    bool changed;                       /* since it was read, or sealed */
    unsigned char newer[KT_KEYID_SIZE]; /* what was found is of an epoch that was left for this */
    /* After kt_catalogue_move(): the record that the epoch before has now, for its anchor. */
    const kt_envkey_t *left;
    uint64_t left_generation;
    unsigned char left_tag[KT_TAG_SIZE];
} kt_catalogue_t;

/* ---- catalogue_code.c ---- */

void kt_catalogue_clear(kt_catalogue_t *catalogue);
/* The contents of its record; malloc'ed. KT_TOOLARGE: too many types for one record. */
kt_status_t kt_catalogue_encode(const kt_catalogue_t *catalogue, unsigned char **ret_plain,
                                size_t *ret_size);
/* KT_MALFORMED. The caller clears the catalogue, also after a failure. */
kt_status_t kt_catalogue_decode(const unsigned char *plain, size_t size,
                                kt_catalogue_t *io_catalogue);
/* The entry of a type; NULL: it is not listed. */
kt_cat_type_t *kt_catalogue_find(const kt_catalogue_t *catalogue, const char *type);
/* Lists a type with the epoch of its newest root, or changes that epoch. */
kt_status_t kt_catalogue_list(kt_catalogue_t *catalogue, const char *type, unsigned epoch);
kt_status_t kt_catalogue_add_epoch(kt_catalogue_t *catalogue, unsigned epoch,
                                   const unsigned char id[KT_KEYID_SIZE]);
bool kt_catalogue_has_epoch(const kt_catalogue_t *catalogue, const unsigned char id[KT_KEYID_SIZE]);
/* Notes that this row of META stays as it is. */
kt_status_t kt_catalogue_keep(kt_catalogue_t *catalogue, const ktp_key_t *key,
                              const ktp_row_t *row);
void kt_catalogue_forget_rows(kt_catalogue_t *catalogue);
/* The entry of the row with this key; NULL: it is not a kept one. */
const kt_cat_row_t *kt_catalogue_kept(const kt_catalogue_t *catalogue, const ktp_key_t *key);
bool kt_catalogue_is_same(const kt_cat_row_t *kept, const ktp_row_t *row);

/* ---- catalogue.c ---- */

/* The store's catalogue, under the newest environment key held. KT_NOKEY: the store has moved to an
 * epoch that is not held; KT_WRONGKEY: it belongs to other keys; KT_ROLLEDBACK: it is gone, or
 * older than its anchor, or than audit logs say; KT_MALFORMED. The caller clears it. */
kt_status_t kt_catalogue_open(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                              kt_catalogue_t *ret_catalogue);
/* The same in two steps, for who goes on although audit logs have a higher generation. */
kt_status_t kt_catalogue_read(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                              kt_catalogue_t *ret_catalogue);
kt_status_t kt_catalogue_expected(const kt_store_t *store, const kt_catalogue_t *catalogue);
/* The same of a record at hand, as a backup has it. KT_NOTFOUND: it says that its epoch was left.
 */
kt_status_t kt_catalogue_unseal(const kt_keyring_t *keyring, const ktp_key_t *key,
                                const ktp_row_t *row, kt_catalogue_t *ret_catalogue);
/* Inside a writing transaction: puts it as its next generation. */
kt_status_t kt_catalogue_seal(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                              kt_catalogue_t *catalogue);
/* Puts a record under `from` which says that the store has moved on to the epoch of the catalogue,
 * and keeps it. `stamp`: of the row that it replaces; 0: none. */
kt_status_t kt_catalogue_leave(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                               kt_catalogue_t *catalogue, const kt_envkey_t *from, uint64_t stamp);
/* Moves the catalogue to the newest environment key held, and leaves the epoch that it had. */
kt_status_t kt_catalogue_move(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                              kt_catalogue_t *catalogue);
/* Lists the types that began without the environment key, and removes their labels. */
kt_status_t kt_catalogue_adopt(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                               kt_catalogue_t *catalogue);
/* What its anchors are about: of the catalogue, and of the epoch that it has left. Answers how
 * many; they point to `keys`, which the caller wipes. */
#define KT_CAT_ANCHORS 2u
size_t kt_catalogue_anchored(const kt_store_t *store, const kt_catalogue_t *catalogue,
                             unsigned char keys[KT_CAT_ANCHORS][KT_KEY_SIZE],
                             kt_anchored_t ret_list[KT_CAT_ANCHORS]);
/* Its anchors before the commit, and after it: see kt_anchors_prepare() and kt_anchors_write(). */
kt_status_t kt_catalogue_prepare(const kt_holder_t *holder, const kt_store_t *store,
                                 const kt_catalogue_t *catalogue);
kt_status_t kt_catalogue_anchor(const kt_holder_t *holder, const kt_store_t *store,
                                const kt_catalogue_t *catalogue);
/* The highest generation that anchors confirm, and the id of its store, if there is any. */
uint64_t kt_catalogue_confirmed(const kt_store_t *store, const kt_envkey_t *env,
                                unsigned char io_store_id[KT_ID_SIZE]);
/* In a new store, under the newest environment key held. */
kt_status_t kt_catalogue_begin(kt_holder_t *holder, const unsigned char store_id[KT_ID_SIZE],
                               kt_catalogue_t *ret_catalogue);
/* Has the store a catalogue under a key that is held, or that held type keys were derived from?
 * KT_NOTFOUND: no. *ret_header is the newest one's, opened or not: its `id` is the store's. */
kt_status_t kt_catalogue_look(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                              kt_header_t *ret_header);

#endif /* KT_CATALOGUE_H */
