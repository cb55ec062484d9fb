/* SPDX-License-Identifier: BSD-2-Clause */
/* index_fill.c: a whole tree at once, for a restore: entries in rising order are written node by
 * node, from below. */
#include <stdlib.h>
#include <string.h>

#include "index_node.h"

/* The nodes on the way to the last entry, the topmost first: all but the last are branches, and
 * each is written once, when its last entry has come. */
struct kt_filling {
    kt_index_t *index;
    node_t *open[DEPTH_MAX + 1]; /* as far down as was ever needed */
    size_t depth;                /* of the last one that is open */
    unsigned char last[KT_HASH_SIZE];
    bool begun,
        loose; /* loose: an entry came out of order, and from there each goes in by itself */
};

kt_status_t kt_index_fill_begin(kt_index_t *index, kt_filling_t **ret_filling)
{
    kt_filling_t *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return kt_no_memory();
    f->index = index;
    *ret_filling = f;
    return KT_SUCCESS;
}

static kt_status_t open_leaf(kt_filling_t *f, size_t depth)
{
    if (depth > DEPTH_MAX)
        return kt_index_tampered(f->index, "it is too deep");
    if (f->open[depth] == NULL)
        f->open[depth] = malloc(sizeof(node_t));
    if (f->open[depth] == NULL)
        return kt_no_memory();
    f->open[depth]->stamp = 0;
    f->open[depth]->size = 1;
    f->open[depth]->data[0] = LEAF;
    f->depth = depth;
    return KT_SUCCESS;
}

static kt_status_t close_last(kt_filling_t *f)
{
    unsigned char *tag =
        f->depth > 0 ? kt_node_child(f->open[f->depth - 1], kt_nibble(f->last, f->depth - 1))
                     : f->index->root;
    ktp_key_t key;
    kt_status_t status;

    kt_node_key(f->index, f->last, f->depth, &key);
    status = kt_node_write(f->index, &key, f->open[f->depth], tag);
    if (f->depth > 0)
        f->depth--;
    return status;
}

static kt_status_t close_all(kt_filling_t *f)
{
    kt_status_t status = KT_SUCCESS;

    while (status == KT_SUCCESS && f->begun) {
        f->begun = f->depth > 0;
        status = close_last(f);
    }
    return status;
}

/* The last leaf is too full: it becomes a branch, and what belongs to the last entry's child stays
 * open. */
static kt_status_t open_below(kt_filling_t *f)
{
    node_t *node = f->open[f->depth];
    size_t depth = f->depth, count = kt_leaf_entries(node), i;
    unsigned char full[LEAF_SIZE_MAX];
    kt_status_t status = open_leaf(f, depth + 1);

    memcpy(full, node->data, node->size);
    memset(node->data, 0, BRANCH_SIZE);
    node->data[0] = BRANCH;
    node->size = BRANCH_SIZE;
    for (i = 0; i < count && status == KT_SUCCESS; i++) {
        const unsigned char *entry = full + 1 + i * ENTRY_SIZE;

        if (i > 0 && kt_nibble(entry, depth) != kt_nibble(f->last, depth)) {
            status = close_last(f);
            if (status == KT_SUCCESS)
                status = open_leaf(f, depth + 1);
        }
        memcpy(f->last, entry, KT_HASH_SIZE);
        if (status == KT_SUCCESS)
            kt_leaf_insert(f->open[depth + 1], kt_leaf_entries(f->open[depth + 1]), entry,
                           entry + KT_HASH_SIZE);
    }
    return status;
}

static bool same_way(const unsigned char *a, const unsigned char *b, size_t depth)
{
    return memcmp(a, b, depth / 2) == 0 &&
           (depth % 2 == 0 || kt_nibble(a, depth - 1) == kt_nibble(b, depth - 1));
}

static kt_status_t add_behind(kt_filling_t *f, const unsigned char hash[KT_HASH_SIZE],
                              const unsigned char tag[KT_TAG_SIZE])
{
    kt_status_t status = KT_SUCCESS;
    node_t *node;

    if (!f->begun)
        status = open_leaf(f, 0);
    while (status == KT_SUCCESS && f->depth > 0 && !same_way(f->last, hash, f->depth))
        status = close_last(f);
    if (status == KT_SUCCESS && f->open[f->depth]->data[0] == BRANCH)
        status = open_leaf(f, f->depth + 1);
    if (status != KT_SUCCESS)
        return status;
    node = f->open[f->depth];
    kt_leaf_insert(node, kt_leaf_entries(node), hash, tag);
    f->begun = true;
    f->index->count++;
    while (status == KT_SUCCESS && kt_leaf_entries(f->open[f->depth]) > LEAF_MAX)
        status = open_below(f); /* which leaves f->last at this entry */
    memcpy(f->last, hash, KT_HASH_SIZE);
    return status;
}

kt_status_t kt_index_fill_add(kt_filling_t *f, const unsigned char hash[KT_HASH_SIZE],
                              const unsigned char tag[KT_TAG_SIZE])
{
    kt_status_t status = KT_SUCCESS;

    if (!f->loose && f->begun && memcmp(hash, f->last, KT_HASH_SIZE) <= 0) {
        status = close_all(f);
        f->loose = true;
    }
    if (status != KT_SUCCESS)
        return status;
    return f->loose ? kt_node_set(f->index, hash, tag, 0, f->index->root)
                    : add_behind(f, hash, tag);
}

kt_status_t kt_index_fill_end(kt_filling_t *f)
{
    kt_status_t status = close_all(f);

    if (status == KT_SUCCESS && f->index->count > 0)
        status = kt_index_seal(f->index, f->index->generation + 1);
    return status;
}

void kt_index_fill_free(kt_filling_t *f)
{
    size_t i;

    for (i = 0; f != NULL && i <= DEPTH_MAX; i++)
        free(f->open[i]);
    free(f);
}
