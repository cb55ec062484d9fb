/* SPDX-License-Identifier: BSD-2-Clause */
/* index_node.h: the nodes of an index, for index.c and index_fill.c only. */
#ifndef KT_INDEX_NODE_H
#define KT_INDEX_NODE_H

#include "index.h"

#define FANOUT KT_FANOUT
/* With 21 a row would not fit in one SQLite page of 4096 bytes, and each read would need another.
 */
#define LEAF_MAX 20u
#define ENTRY_SIZE (KT_HASH_SIZE + KT_TAG_SIZE)
#define BRANCH_SIZE (1u + FANOUT * KT_TAG_SIZE)
#define LEAF_SIZE_MAX (1u + (LEAF_MAX + 1u) * ENTRY_SIZE)
#define NODE_MAX LEAF_SIZE_MAX
#define DEPTH_MAX 40u /* nibbles of the path that fit in a row's key; 2^160 names */
#define NODE_STAMP 1u /* of each node's row: the stamp of the root tells the writers apart */
enum { LEAF = 0, BRANCH = 1 };

typedef struct node {
    uint64_t stamp; /* of its row; 0: not written yet */
    size_t size;
    unsigned char data[NODE_MAX];
} node_t;

/* The child of a branch at `depth` that the path to `hash` takes. */
unsigned kt_nibble(const unsigned char hash[KT_HASH_SIZE], size_t depth);
void kt_node_key(const kt_index_t *index, const unsigned char hash[KT_HASH_SIZE], size_t depth,
                 ktp_key_t *ret_key);
kt_status_t kt_index_tampered(const kt_index_t *index, const char *what); /* KT_ROLLEDBACK */
/* Puts the node's row, and computes the tag that its parent must hold. */
kt_status_t kt_node_write(const kt_index_t *index, const ktp_key_t *key, const node_t *node,
                          unsigned char ret_tag[KT_TAG_SIZE]);
unsigned char *kt_node_child(node_t *node, unsigned n);
size_t kt_leaf_entries(const node_t *leaf);
/* Before the i-th entry. There is room for one more than LEAF_MAX. */
void kt_leaf_insert(node_t *leaf, size_t i, const unsigned char hash[KT_HASH_SIZE],
                    const unsigned char tag[KT_TAG_SIZE]);
/* Sets `hash` to `tag` in the subtree at `depth`. *io_tag is the subtree's tag, zero if it is
 * empty, and becomes its new tag. */
kt_status_t kt_node_set(kt_index_t *index, const unsigned char hash[KT_HASH_SIZE],
                        const unsigned char tag[KT_TAG_SIZE], size_t depth,
                        unsigned char io_tag[KT_TAG_SIZE]);

#endif /* KT_INDEX_NODE_H */
