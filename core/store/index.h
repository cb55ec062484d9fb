/* SPDX-License-Identifier: BSD-2-Clause */
/* index.h: the index of one type inside one transaction, and proofs. */
#ifndef KT_INDEX_H
#define KT_INDEX_H

#include "anchors.h"
#include "rows.h"

/* While a type moves from one epoch to the next it has an index under each, and their roots name
 * each other (rekey.c). */
typedef enum kt_link {
    KT_LINK_NONE = 0,  /* the whole type is here */
    KT_LINK_TO = 1,    /* secrets have moved from here, and new ones go, to the newer key `other` */
    KT_LINK_MOVED = 2, /* nothing is here: the whole type is under the newer key `other` */
    KT_LINK_FROM = 3   /* the rest of the type is still under the older key `other` */
} kt_link_t;

typedef struct kt_index {
    const char *environment;
    const kt_store_t *store;
    ktp_txn_t *txn;
    char type[KT_NAME_MAX + 1];
    unsigned epoch;
    unsigned char key_id[KT_KEYID_SIZE], key[KT_KEY_SIZE];
    kt_link_t link;
    unsigned char other[KT_KEYID_SIZE];
    unsigned char store_id[KT_ID_SIZE];
    uint64_t generation, count; /* generation 0: nothing of this type was ever written */
    unsigned char root[KT_TAG_SIZE];
    uint64_t stamp; /* of the root's row; 0: there is none */
} kt_index_t;

/* A MAC over all parts; `purpose` has 16 characters. */
typedef struct kt_part {
    const void *data;
    size_t size;
} kt_part_t;
void kt_mac(const unsigned char key[KT_KEY_SIZE], const char *purpose, const kt_part_t *parts,
            size_t count, unsigned char *ret_mac, size_t size);

/* KT_ROLLEDBACK: the root is not authentic. kt_index_close() wipes the key. */
kt_status_t kt_index_open(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                          const kt_typekey_t *type, kt_index_t *ret_index);
void kt_index_close(kt_index_t *index);
/* What its anchors are about. */
void kt_index_anchored(const kt_index_t *index, kt_anchored_t *ret_anchored);
/* Proves presence, with the head's tag, or absence. KT_ROLLEDBACK: a row on the path was changed.
 */
kt_status_t kt_index_lookup(const kt_index_t *index, const unsigned char hash[KT_HASH_SIZE],
                            bool *ret_found, unsigned char ret_tag[KT_TAG_SIZE]);
/* In a writing transaction: sets the tag of a new or changed head, and seals the next generation.
 */
kt_status_t kt_index_set(kt_index_t *index, const unsigned char hash[KT_HASH_SIZE],
                         const unsigned char tag[KT_TAG_SIZE]);

/* The same in two steps. put and remove (of an entry that must be there) change the tree; seal
 * writes the root at `generation`, which makes the changes valid. */
kt_status_t kt_index_put(kt_index_t *index, const unsigned char hash[KT_HASH_SIZE],
                         const unsigned char tag[KT_TAG_SIZE]);
kt_status_t kt_index_remove(kt_index_t *index, const unsigned char hash[KT_HASH_SIZE]);
kt_status_t kt_index_seal(kt_index_t *index, uint64_t generation);
bool kt_index_is_empty(const kt_index_t *index); /* there is no node */

/* For a restore. Before the rows of the old index are removed, kt_index_start() makes an empty
 * index that continues after `generation`. Then kt_index_fill_*() add all entries as one
 * generation: entries in ascending order of their hashes are written node by node, entries out of
 * order are put in one by one. kt_index_write_empty() writes the root of a type without secrets, if
 * the type was ever seen. */
typedef struct kt_index_entry {
    unsigned char hash[KT_HASH_SIZE], tag[KT_TAG_SIZE];
} kt_index_entry_t;
typedef struct kt_filling kt_filling_t;
void kt_index_start(kt_index_t *index, const unsigned char store_id[KT_ID_SIZE],
                    uint64_t generation);
/* kt_index_fill_free() ends it, also after a failure. */
kt_status_t kt_index_fill_begin(kt_index_t *index, kt_filling_t **ret_filling);
kt_status_t kt_index_fill_add(kt_filling_t *filling, const unsigned char hash[KT_HASH_SIZE],
                              const unsigned char tag[KT_TAG_SIZE]);
kt_status_t kt_index_fill_end(kt_filling_t *filling);
void kt_index_fill_free(kt_filling_t *filling); /* NULL is allowed */
kt_status_t kt_index_write_empty(kt_index_t *index);
/* Calls fn for each entry, in no particular order. KT_ROLLEDBACK as above. A non-zero answer of fn
 * ends the walk. */
typedef int (*kt_index_fn)(void *arg, const unsigned char hash[KT_HASH_SIZE],
                           const unsigned char tag[KT_TAG_SIZE]);
kt_status_t kt_index_walk(const kt_index_t *index, kt_index_fn fn, void *arg);
/* Proves the whole tree: how many entries and nodes it has. KT_ROLLEDBACK as above, and if the root
 * counts other entries. */
kt_status_t kt_index_count(const kt_index_t *index, uint64_t *ret_entries, uint64_t *ret_nodes);

/* ---- proofs.c: what was proved before. NULL: nothing is kept ---- */

#define KT_FANOUT 16u
#define KT_ROOT_MAX (KT_ID_SIZE + 8u + 8u + KT_TAG_SIZE + 1u + KT_KEYID_SIZE + KT_HASH_SIZE)
typedef struct kt_root_row { /* of an index, with its MAC */
    unsigned char key_id[KT_KEYID_SIZE], record[KT_ROOT_MAX];
    size_t size;
    uint64_t stamp;
} kt_root_row_t;
kt_proofs_t *kt_proofs_new(void); /* NULL: out of memory */
void kt_proofs_free(kt_proofs_t *proofs);
/* The sixteen tags below the branch with this tag; NULL: not known. */
const unsigned char *kt_proofs_find(const kt_proofs_t *proofs,
                                    const unsigned char tag[KT_TAG_SIZE]);
void kt_proofs_keep(kt_proofs_t *proofs, const unsigned char tag[KT_TAG_SIZE],
                    const unsigned char children[KT_FANOUT * KT_TAG_SIZE]);
/* The head's tag that the leaf with this tag has for this name; NULL: not known. */
const unsigned char *kt_proofs_entry(const kt_proofs_t *proofs,
                                     const unsigned char leaf[KT_TAG_SIZE],
                                     const unsigned char hash[KT_HASH_SIZE]);
void kt_proofs_keep_entry(kt_proofs_t *proofs, const unsigned char leaf[KT_TAG_SIZE],
                          const unsigned char hash[KT_HASH_SIZE],
                          const unsigned char tag[KT_TAG_SIZE]);
/* A transaction begins. `token`: the store's change token just before; roots that were proved when
 * it was the same are known in this one. NULL: none is known, and none is kept. */
void kt_proofs_begin(kt_proofs_t *proofs, const unsigned char *token);
bool kt_proofs_are_of(const kt_proofs_t *proofs, const unsigned char token[KTP_TOKEN_SIZE]);
const kt_root_row_t *kt_proofs_root(kt_proofs_t *proofs, const unsigned char key_id[KT_KEYID_SIZE]);
void kt_proofs_keep_root(kt_proofs_t *proofs, const kt_root_row_t *root);
/* Forgets the roots. True: one of them was used in this transaction, so that what failed in it may
 * work without: a writer may have come between the token and the snapshot. */
bool kt_proofs_forget(kt_proofs_t *proofs);

#endif /* KT_INDEX_H */
