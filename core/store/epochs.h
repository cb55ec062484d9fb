/* SPDX-License-Identifier: BSD-2-Clause */
/* epochs.h: the epochs under which the secrets of a type lie. */
#ifndef KT_EPOCHS_H
#define KT_EPOCHS_H

#include "catalogue.h"
#include "index.h"

typedef struct kt_trees {
    const kt_typekey_t *key, *old_key; /* of the two indexes below; in the keyring */
    kt_index_t index; /* under the newest epoch with a root; generation 0: the type has no root */
    kt_index_t old;   /* under the epoch before; generation 0: nothing is left there, or its key is
                         not held */
} kt_trees_t;

/* Opens all trees of the type that the keyring can open. KT_ROLLEDBACK: a root is not authentic, is
 * older than an anchor, or does not match the other one. kt_trees_close() wipes the keys. */
kt_status_t kt_trees_open(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                          const char *type, kt_trees_t *ret_trees);
void kt_trees_close(kt_trees_t *trees);
/* The status of a name that is in neither tree: KT_NOTFOUND, or KT_NOKEY if it may be under a key
 * that is not held. */
kt_status_t kt_trees_absent(kt_holder_t *holder, const kt_trees_t *trees);
/* An index, compared with the anchors of its store. */
kt_status_t kt_index_open_newest(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                                 const kt_typekey_t *key, kt_index_t *ret_index);
/* KT_NOKEY unless all trees of the type are open, as a writer needs them. */
kt_status_t kt_trees_writable(kt_holder_t *holder, const kt_trees_t *trees);
/* The same of one that is open; and the highest generation that anchors confirm of it. */
kt_status_t kt_index_compare(const kt_index_t *index);
uint64_t kt_index_confirmed(const kt_index_t *index);
/* Writes both roots, with the next generation. Before the commit kt_trees_prepare() sees to it that
 * both have an anchor at all, and after it kt_trees_anchor() writes those of the new generation.
 * The same for the catalogue, unless it is zeros. */
kt_status_t kt_trees_seal(kt_trees_t *trees);
kt_status_t kt_trees_prepare(const kt_store_t *store, const char *stream, const kt_trees_t *trees,
                             const kt_catalogue_t *catalogue);
kt_status_t kt_trees_anchor(const kt_store_t *store, const char *stream, const kt_trees_t *trees,
                            const kt_catalogue_t *catalogue, bool lazy);

/* The key that seals the first secret of a type that has no root under a key held. KT_ROLLEDBACK:
 * the type exists, and its root was removed; KT_NOKEY: it may be under a key that is not held. */
kt_status_t kt_epoch_for_new(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                             const char *type, const kt_typekey_t **ret_key);
/* For a restore, after all heads are written: makes the roots of each type's epochs name each
 * other. */
kt_status_t kt_epochs_restored(kt_index_t *indexes, size_t count);

/* After KT_NOKEY or KT_WRONGKEY because of an epoch that is not held: reads the key's source again,
 * at most once a second. True if that brought new keys, so that the call should be repeated. */
bool kt_keys_again(kt_holder_t *holder, kt_status_t status);

#endif /* KT_EPOCHS_H */
