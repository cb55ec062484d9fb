/* SPDX-License-Identifier: BSD-2-Clause */
/* index_fill.c: writes a whole tree at once, for a restore: from entries in ascending order, node
 * by node, bottom up. */
#include <stdlib.h>
#include <string.h>

#include "index_node.h"

/* The nodes on the path to the last entry, the topmost first. All but the last are branches, and
 * each is written once, after its last entry. */
struct kt_filling {
    kt_index_t *index;
    node_t *open[DEPTH_MAX + 1]; /* down to the greatest depth so far */
    size_t depth;                /* of the last open node */
    unsigned char last[KT_HASH_SIZE];
    bool has_open;
    bool unsorted; /* an entry came out of order: it and all later ones are put in one by one */
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

    while (status == KT_SUCCESS && f->has_open) {
        f->has_open = f->depth > 0;
        status = close_last(f);
    }
    return status;
}

/* Turns the last leaf, which is too full, into a branch, and leaves the child with the last entry
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

static kt_status_t append_entry(kt_filling_t *f, const unsigned char hash[KT_HASH_SIZE],
                                const unsigned char tag[KT_TAG_SIZE])
{
    kt_status_t status = KT_SUCCESS;
    node_t *node;

    if (!f->has_open)
        status = open_leaf(f, 0);
    while (status == KT_SUCCESS && f->depth > 0 && !same_way(f->last, hash, f->depth))
        status = close_last(f);
    if (status == KT_SUCCESS && f->open[f->depth]->data[0] == BRANCH)
        status = open_leaf(f, f->depth + 1);
    if (status != KT_SUCCESS)
        return status;
    node = f->open[f->depth];
    kt_leaf_insert(node, kt_leaf_entries(node), hash, tag);
    f->has_open = true;
    f->index->count++;
    while (status == KT_SUCCESS && kt_leaf_entries(f->open[f->depth]) > LEAF_MAX)
        status = open_below(f);
    memcpy(f->last, hash, KT_HASH_SIZE);
    return status;
}

kt_status_t kt_index_fill_add(kt_filling_t *f, const unsigned char hash[KT_HASH_SIZE],
                              const unsigned char tag[KT_TAG_SIZE])
{
    kt_status_t status = KT_SUCCESS;

    if (!f->unsorted && f->has_open && memcmp(hash, f->last, KT_HASH_SIZE) <= 0) {
        status = close_all(f);
        f->unsorted = true;
    }
    if (status != KT_SUCCESS)
        return status;
    return f->unsorted ? kt_node_set(f->index, hash, tag, 0, f->index->root)
                       : append_entry(f, hash, tag);
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

void kt_index_start(kt_index_t *index, const unsigned char store_id[KT_ID_SIZE],
                    uint64_t generation)
{
    memcpy(index->store_id, store_id, KT_ID_SIZE);
    memset(index->root, 0, sizeof(index->root));
    index->generation = generation;
    index->count = 0;
    index->stamp = 0;
    index->link = KT_LINK_NONE;
}

kt_status_t kt_index_write_empty(kt_index_t *index)
{
    return index->generation == 0 || !kt_index_is_empty(index)
               ? KT_SUCCESS
               : kt_index_seal(index, index->generation + 1);
}
