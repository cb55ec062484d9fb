/* SPDX-License-Identifier: BSD-2-Clause */
/* epochs.h: under which epochs the secrets of a type lie. */
#ifndef KT_EPOCHS_H
#define KT_EPOCHS_H

#include "index.h"

typedef struct kt_trees {
    const kt_typekey_t *key, *old_key; /* of the two below, in the keyring */
    kt_index_t
        index; /* at the newest epoch where the type has a root; generation 0: it has none at all */
    kt_index_t old; /* what is still under the epoch before; generation 0: nothing is, or its key is
                       not held */
} kt_trees_t;

/* KT_ROLLEDBACK when a root is not authentic, is older than an anchor, or does not fit the other.
 * kt_trees_close() wipes. */
kt_status_t kt_trees_open(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                          const char *type, kt_trees_t *ret_trees);
void kt_trees_close(kt_trees_t *trees);
/* What a name is that stands in neither: KT_NOTFOUND, or KT_NOKEY where it may be under a key that
 * is not held. */
kt_status_t kt_trees_absent(kt_holder_t *holder, const kt_trees_t *trees);
/* May this keyring write a name that stands in one of them? Both roots have to be: KT_NOKEY. */
kt_status_t kt_trees_writable(kt_holder_t *holder, const kt_trees_t *trees);
/* Puts both roots into force at the next generation, after the commit the anchors of both. */
kt_status_t kt_trees_seal(kt_trees_t *trees);
kt_status_t kt_trees_anchor(const kt_store_t *store, const char *stream, const kt_trees_t *trees);

/* The key that the first secret of a type goes under. */
kt_status_t kt_epoch_for_new(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                             const char *type, const kt_typekey_t **ret_key);
/* Marks the store with the newest environment key held, if `newest`, and those before the newest
 * one that it is marked with as left. */
kt_status_t kt_epochs_mark(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                           bool newest, bool *ret_changed);
/* For a restore, when all heads are in: the roots of each type's epochs say of each other what is
 * where. */
kt_status_t kt_epochs_restored(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                               kt_index_t *indexes, size_t count);

/* Is the key held of which this is the root? Others, left with their epochs, stay in a restore as
 * they are: they say where all has gone. */
bool kt_epochs_holds(kt_holder_t *holder, const ktp_key_t *root);

/* After a KT_NOKEY or KT_WRONGKEY: did it come of an epoch that is not held, and has the key's
 * source, read again, more than before? */
bool kt_keys_again(kt_holder_t *holder, kt_status_t status);

#endif /* KT_EPOCHS_H */
