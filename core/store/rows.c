/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rows.c: finds a provider's rows, and validates each one before it is used: a provider is
 * untrusted code.
 */
#include <string.h>

#include "index.h"

/* ---- keys ---- */

void kt_key_init(ktp_key_t *key, const kt_store_t *store, ktp_space_t space,
                 const kt_typekey_t *type, const char *name)
{
    *key = (ktp_key_t){.space = space};
    if (store->api->capabilities & KTP_CLEAR_NAMES) {
        key->name = name;
        return;
    }
    kt_names_hash(store->names, type, name, key->id);
    key->id_size = KT_HASH_SIZE;
}

void kt_key_meta(ktp_key_t *key, char kind, const unsigned char id[KT_KEYID_SIZE])
{
    *key =
        (ktp_key_t){.space = KTP_META, .id = {(unsigned char)kind}, .id_size = 1 + KT_KEYID_SIZE};
    memcpy(key->id + 1, id, KT_KEYID_SIZE);
}

/* ---- transactions ---- */

static kt_status_t provider_bug(const kt_store_t *store, const char *what)
{
    return kt_fail(KT_MALFORMED, "%s: %s (provider bug)", store->name, what);
}

kt_status_t kt_txn_begin(const kt_store_t *store, bool writing, unsigned timeout,
                         ktp_txn_t **ret_txn)
{
    ktp_txn_t *txn = NULL;
    kt_status_t status =
        kt_from_provider(store->name, store->api->begin(store->instance, writing, timeout, &txn));

    kt_proofs_begin(store->proofs, NULL);
    if (status == KT_SUCCESS && txn == NULL)
        return provider_bug(store, "success without a transaction");
    if (status == KT_SUCCESS)
        *ret_txn = txn;
    return status;
}

/* The anchors are read before the snapshot begins, so that a commit between the two can only make
 * the snapshot newer. A writer reads them once it has the lock, because then no other commits, and
 * it may have waited for one who did. */
kt_status_t kt_rows_begin(const kt_store_t *store, bool writing, unsigned timeout,
                          ktp_txn_t **ret_txn)
{
    kt_status_t status = writing ? KT_SUCCESS : kt_anchors_load(store->anchors);
    ktp_txn_t *txn = NULL;

    if (status == KT_SUCCESS)
        status = kt_txn_begin(store, writing, timeout, &txn);
    if (status == KT_SUCCESS && writing) {
        status = kt_anchors_load(store->anchors);
        if (status != KT_SUCCESS)
            store->api->abort(txn);
    }
    if (status == KT_SUCCESS)
        *ret_txn = txn;
    return status;
}

kt_status_t kt_rows_commit(const kt_store_t *store, ktp_txn_t *txn, bool publishes)
{
    return kt_from_provider(store->name, publishes ? kt_provider_publish(store->api, txn)
                                                   : store->api->commit(txn));
}

kt_status_t kt_rows_reserve(const kt_store_t *store, ktp_txn_t *txn, uint64_t bytes)
{
    return kt_from_provider(store->name, kt_provider_reserve(store->api, txn, bytes));
}

kt_status_t kt_rows_sync(const kt_store_t *store)
{
    return kt_from_provider(store->name, kt_provider_sync(store->api, store->instance));
}

/* ---- rows ---- */

static bool is_row(const ktp_row_t *row)
{
    return row->record != NULL && row->record_size <= KTP_ROW_MAX &&
           row->beside_size <= KTP_ROW_MAX && row->stamp != 0 &&
           (row->beside != NULL || row->beside_size == 0);
}

typedef struct rows {
    ktp_scan_fn fn;
    void *arg;
    uint64_t count;
    ktp_key_t last;
    char last_name[KT_NAME_MAX + 1];
    int ended; /* the answer of fn */
    const char *wrong;
} rows_t;

/* A provider whose cursor does not move would never end. */
static bool is_last(const rows_t *rows, const ktp_key_t *key)
{
    if (rows->count == 0 || key->version != rows->last.version ||
        (key->name != NULL) != (rows->last.name != NULL))
        return false;
    if (key->name != NULL)
        return strcmp(key->name, rows->last_name) == 0;
    return key->id_size == rows->last.id_size && memcmp(key->id, rows->last.id, key->id_size) == 0;
}

static int pass_row(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    rows_t *rows = arg;

    if (rows->ended != 0)
        return rows->ended; /* the provider ignored the request to end */
    if (key == NULL || row == NULL || key->id_size > KTP_KEY_MAX ||
        (key->name != NULL && strlen(key->name) > KT_NAME_MAX) || !is_row(row))
        rows->wrong = "malformed row in a list";
    else if (is_last(rows, key))
        rows->wrong = "the same row repeatedly in a list";
    else
        rows->ended = rows->fn(rows->arg, key, row);
    if (rows->wrong != NULL)
        return rows->ended = 1;
    rows->last = *key;
    if (key->name != NULL)
        memcpy(rows->last_name, key->name, strlen(key->name) + 1);
    rows->count++;
    return rows->ended;
}

kt_status_t kt_rows_scan(const kt_store_t *store, ktp_txn_t *txn, ktp_space_t space, ktp_scan_fn fn,
                         void *arg)
{
    rows_t rows = {.fn = fn, .arg = arg};
    kt_status_t status =
        kt_from_provider(store->name, store->api->row_scan(txn, space, pass_row, &rows));

    return rows.wrong != NULL ? provider_bug(store, rows.wrong) : status;
}

kt_status_t kt_rows_get(const kt_store_t *store, ktp_txn_t *txn, const ktp_key_t *key,
                        ktp_row_t *ret_row)
{
    ktp_row_t row = {.record = NULL};
    ktp_status_t status = store->api->row_get(txn, key, &row);

    if (status == KTP_NOTFOUND)
        return KT_NOTFOUND; /* without an error text: the caller knows what is missing */
    if (status == KTP_SUCCESS && !is_row(&row))
        return provider_bug(store, "malformed row");
    if (status == KTP_SUCCESS)
        *ret_row = row;
    return kt_from_provider(store->name, status);
}

kt_status_t kt_rows_put(const kt_store_t *store, ktp_txn_t *txn, const ktp_key_t *key,
                        const ktp_row_t *row, uint64_t expected)
{
    return kt_from_provider(store->name, store->api->row_put(txn, key, row, expected));
}

kt_status_t kt_rows_put_head(const kt_store_t *store, ktp_txn_t *txn, const ktp_key_t *key,
                             const ktp_row_t *row, int64_t expires)
{
    kt_status_t status = kt_rows_put(store, txn, key, row, row->stamp - 1);

    return status == KT_SUCCESS
               ? kt_from_provider(store->name,
                                  kt_provider_expire(store->api, txn, key, expires))
               : status;
}

kt_status_t kt_rows_remove(const kt_store_t *store, ktp_txn_t *txn, const ktp_key_t *key,
                           uint64_t expected)
{
    return kt_from_provider(store->name, store->api->row_remove(txn, key, expected));
}
