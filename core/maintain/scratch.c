/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scratch.c: a store in memory: a sealed provider whose rows go when it is closed. The check of a
 * backup restores into it. Its rows are sealed as in a file, so they need no locked memory.
 */
#include <stdlib.h>
#include <string.h>

#include "restore.h"

typedef struct item {
    ktp_key_t key;
    ktp_row_t row; /* both records are malloc'ed */
} item_t;

typedef struct table { /* sorted by key */
    item_t **items;
    size_t count, room;
} table_t;

struct ktp_txn {
    table_t spaces[KTP_NODE + 1];
};

struct ktp_instance {
    ktp_txn_t txn; /* nothing is undone: an abort leaves what was put */
};

static void free_item(item_t *item)
{
    free((void *)item->row.record);
    free((void *)item->row.beside);
    free(item);
}

static int compare(const ktp_key_t *a, const ktp_key_t *b)
{
    size_t size = a->id_size < b->id_size ? a->id_size : b->id_size;
    int order = memcmp(a->id, b->id, size);

    if (order == 0)
        order = (a->id_size > b->id_size) - (a->id_size < b->id_size);
    return order != 0 ? order : (a->version > b->version) - (a->version < b->version);
}

/* Where the key stands, or belongs. */
static bool find(const table_t *table, const ktp_key_t *key, size_t *ret_at)
{
    size_t low = 0, high = table->count;

    if (high > 0 && compare(&table->items[high - 1]->key, key) < 0)
        low = high; /* a backup comes in this order */
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = compare(&table->items[middle]->key, key);

        if (order == 0) {
            *ret_at = middle;
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_at = low;
    return false;
}

static item_t *new_item(const ktp_key_t *key, const ktp_row_t *row)
{
    item_t *item = calloc(1, sizeof(*item));

    if (item == NULL || kt_row_copy(row, &item->row) != KT_SUCCESS) {
        free(item);
        return NULL;
    }
    item->key = *key;
    item->key.name = NULL;
    return item;
}

static bool make_room(table_t *table)
{
    size_t room = table->room * 2 + 64;
    item_t **grown;

    if (table->count < table->room)
        return true;
    grown = reallocarray(table->items, room, sizeof(item_t *));
    if (grown == NULL)
        return false;
    table->items = grown;
    table->room = room;
    return true;
}

static ktp_status_t scratch_put(ktp_txn_t *txn, const ktp_key_t *key, const ktp_row_t *row,
                                uint64_t expected)
{
    table_t *table = &txn->spaces[key->space];
    item_t *item;
    size_t at;
    bool found = find(table, key, &at);

    if ((found ? table->items[at]->row.stamp : 0) != expected)
        return KTP_CONFLICT;
    item = new_item(key, row);
    if (item == NULL || (!found && !make_room(table))) {
        if (item != NULL)
            free_item(item);
        return KTP_NOSPACE;
    }
    if (found) {
        free_item(table->items[at]);
    } else {
        memmove(table->items + at + 1, table->items + at, (table->count - at) * sizeof(item_t *));
        table->count++;
    }
    table->items[at] = item;
    return KTP_SUCCESS;
}

static ktp_status_t scratch_get(ktp_txn_t *txn, const ktp_key_t *key, ktp_row_t *ret_row)
{
    const table_t *table = &txn->spaces[key->space];
    size_t at;

    if (!find(table, key, &at))
        return KTP_NOTFOUND;
    *ret_row = table->items[at]->row;
    return KTP_SUCCESS;
}

static ktp_status_t scratch_remove(ktp_txn_t *txn, const ktp_key_t *key, uint64_t expected)
{
    table_t *table = &txn->spaces[key->space];
    size_t at;

    if (!find(table, key, &at))
        return expected == 0 ? KTP_SUCCESS : KTP_CONFLICT;
    if (table->items[at]->row.stamp != expected)
        return KTP_CONFLICT;
    free_item(table->items[at]);
    table->count--;
    memmove(table->items + at, table->items + at + 1, (table->count - at) * sizeof(item_t *));
    return KTP_SUCCESS;
}

static ktp_status_t scratch_scan(ktp_txn_t *txn, ktp_space_t space, ktp_scan_fn fn, void *arg)
{
    const table_t *table = &txn->spaces[space];
    size_t i;

    for (i = 0; i < table->count; i++) {
        if (fn(arg, &table->items[i]->key, &table->items[i]->row) != 0)
            break;
    }
    return KTP_SUCCESS;
}

static ktp_status_t scratch_create(ktp_instance_t *instance)
{
    (void)instance;
    return KTP_SUCCESS;
}

static ktp_status_t scratch_begin(ktp_instance_t *instance, int writing, unsigned timeout,
                                  ktp_txn_t **ret_txn)
{
    (void)writing, (void)timeout;
    *ret_txn = &instance->txn;
    return KTP_SUCCESS;
}

static ktp_status_t scratch_commit(ktp_txn_t *txn)
{
    (void)txn;
    return KTP_SUCCESS;
}

static void scratch_abort(ktp_txn_t *txn)
{
    (void)txn;
}

static const ktp_provider_t scratch = {
    .size = sizeof(ktp_provider_t),
    .name = "scratch",
    .capabilities = KTP_SEALED | KTP_CREATE | KTP_LIST | KTP_WRITE,
    .create = scratch_create,
    .begin = scratch_begin,
    .commit = scratch_commit,
    .abort = scratch_abort,
    .row_get = scratch_get,
    .row_put = scratch_put,
    .row_remove = scratch_remove,
    .row_scan = scratch_scan,
};

kt_status_t kt_scratch_open(const char *name, kt_store_t *ret_store)
{
    *ret_store = (kt_store_t){.api = &scratch, .name = name, .keep_versions = KT_KEPT};
    ret_store->instance = calloc(1, sizeof(*ret_store->instance));
    return ret_store->instance != NULL ? KT_SUCCESS : kt_no_memory();
}

void kt_scratch_close(kt_store_t *store)
{
    size_t space, i;

    for (space = 0; space <= KTP_NODE; space++) {
        table_t *table = &store->instance->txn.spaces[space];

        for (i = 0; i < table->count; i++)
            free_item(table->items[i]);
        free(table->items);
    }
    free(store->instance);
    memset(store, 0, sizeof(*store));
}
