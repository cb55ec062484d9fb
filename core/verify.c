/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify.c: the whole store at once: every index, every head, every value, and that there is nothing else.
 *
 * A read proves its own secret; this proves all of them, in one snapshot, and names what is wrong. It opens every value, so it takes the
 * keys of all types; types whose key is not held are counted and said.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "store.h"
#include "index.h"

typedef struct expected {              /* a head that an index vouches for */
    unsigned char hash[KT_HASH_SIZE], tag[KT_TAG_SIZE];
    bool seen;
} expected_t;

typedef struct value {                 /* a row that a head vouches for */
    unsigned char hash[KT_HASH_SIZE];
    uint64_t version;
    size_t head;                       /* in heads */
    bool seen;
} value_t;

typedef struct verify {
    kt_ctx_t *ctx;
    kt_store_t *store;
    ktp_txn_t *txn;
    kt_check_fn fn;
    void *arg;
    kt_status_t worst, fatal;
    expected_t *expected;
    size_t nexpected;
    value_t *values;
    size_t nvalues;
    kt_head_t *heads;
    size_t nheads;
    uint64_t hidden;
} verify_t;

/* ---- reporting ---- */

static void wrong(verify_t *v, kt_status_t status, const char *what, const char *detail)
{
    if (status == KT_INTERNAL)
        v->fatal = status; /* ours, and no finding; what comes after it would be found wrong for want of it */
    if (v->fatal != KT_SUCCESS)
        return;
    if (v->worst == KT_SUCCESS || status == KT_ROLLEDBACK)
        v->worst = status;
    v->fn(v->arg, status, what, detail);
    kt_failure_clear();
}

static const char *hash_name(const unsigned char hash[KT_HASH_SIZE], char text[2 * KT_HASH_SIZE + 8])
{
    strcpy(text, "row ");
    (void)sodium_bin2hex(text + 4, 2 * KT_HASH_SIZE + 1, hash, KT_HASH_SIZE);
    return text;
}

/* Makes room for one more in a list that doubles. */
static bool grow(void *list, size_t count, size_t size)
{
    void **at = list, *grown;

    if (count & (count - 1) || (count != 0 && count < 64))
        return true;
    grown = realloc(*at, (count == 0 ? 64 : count * 2) * size);
    if (grown == NULL)
        return false;
    *at = grown;
    return true;
}

static int no_memory(verify_t *v)
{
    v->fatal = kt_fail(KT_INTERNAL, "out of memory");
    return 1;
}

/* ---- what the indexes vouch for ---- */

static int take_entry(void *arg, const unsigned char hash[KT_HASH_SIZE], const unsigned char tag[KT_TAG_SIZE])
{
    verify_t *v = arg;
    expected_t *entry;

    if (!grow(&v->expected, v->nexpected, sizeof(*v->expected)))
        return no_memory(v);
    entry = &v->expected[v->nexpected++];
    memcpy(entry->hash, hash, KT_HASH_SIZE);
    memcpy(entry->tag, tag, KT_TAG_SIZE);
    entry->seen = false;
    return 0;
}

static void take_index(verify_t *v, const kt_typekey_t *type)
{
    size_t before = v->nexpected;
    kt_index_t index;
    kt_status_t status;

    status = kt_index_open(v->ctx, v->store, v->txn, type, &index);
    if (status == KT_SUCCESS)
        status = kt_anchors_check(v->store->anchors, &index);
    if (status == KT_SUCCESS)
        status = kt_index_walk(&index, take_entry, v);
    if (status == KT_SUCCESS && v->nexpected - before != index.count)
        status = kt_fail(KT_ROLLEDBACK, "its index has %zu entries and says %llu", v->nexpected - before,
                         (unsigned long long)index.count);
    if (status != KT_SUCCESS)
        wrong(v, status, type->type, kt_failure());
    kt_index_close(&index);
}

static int by_hash(const void *a, const void *b)
{
    return memcmp(a, b, KT_HASH_SIZE); /* the first member of both */
}

static int by_hash_and_version(const void *a, const void *b)
{
    const value_t *x = a, *y = b;
    int order = memcmp(x->hash, y->hash, KT_HASH_SIZE);

    return order != 0 ? order : x->version < y->version ? -1 : x->version > y->version;
}

static kt_status_t take_indexes(verify_t *v)
{
    size_t i;

    for (i = 0; i < v->ctx->keyring->ntypes; i++)
        take_index(v, &v->ctx->keyring->types[i]);
    if (v->nexpected > 1)
        qsort(v->expected, v->nexpected, sizeof(*v->expected), by_hash);
    return v->fatal;
}

/* ---- heads ---- */

static bool take_values(verify_t *v, const unsigned char hash[KT_HASH_SIZE], const kt_head_t *head, bool current_beside)
{
    size_t i;

    for (i = 0; i < head->nversions; i++) {
        const kt_head_version_t *version = &head->versions[i];
        value_t *value;

        if (version->destroyed || (current_beside && version->version == head->current))
            continue;
        if (!grow(&v->values, v->nvalues, sizeof(*v->values)))
            return false;
        value = &v->values[v->nvalues++];
        memcpy(value->hash, hash, KT_HASH_SIZE);
        value->version = version->version;
        value->head = v->nheads;
        value->seen = false;
    }
    return true;
}

static kt_status_t check_beside(verify_t *v, const kt_typekey_t *type, const kt_head_t *head, const ktp_row_t *row)
{
    const kt_head_version_t *entry = kt_head_find(head, head->current);
    kt_secret_t *secret;
    kt_status_t status;

    if (row->beside == NULL && (entry == NULL || entry->destroyed))
        return KT_SUCCESS;
    if (row->beside == NULL)
        return kt_fail(KT_MALFORMED, "its current value is missing");
    if (entry == NULL || entry->destroyed)
        return kt_fail(KT_ROLLEDBACK, "a destroyed value was put back");
    status = kt_open_value(v->ctx, type, head, entry, row->beside, row->beside_size, &secret);
    if (status == KT_SUCCESS)
        kt_secret_free(secret);
    return status;
}

static kt_status_t check_head(verify_t *v, const ktp_key_t *key, const ktp_row_t *row, kt_head_t *ret_head)
{
    unsigned char hash[KT_HASH_SIZE];
    const kt_typekey_t *type;
    kt_header_t header;
    kt_status_t status;

    status = kt_header_parse(row->record, row->record_size, &header);
    if (status == KT_SUCCESS)
        status = kt_keyring_find(v->ctx->keyring, header.key_id, &type);
    if (status == KT_SUCCESS)
        status = kt_open_head(v->ctx, type, row, ret_head);
    if (status != KT_SUCCESS)
        return status;
    kt_name_hash(type, ret_head->name, hash);
    if (memcmp(hash, key->id, KT_HASH_SIZE) != 0)
        status = kt_fail(KT_MOVED, "it stands in the row of another name");
    if (status == KT_SUCCESS)
        status = check_beside(v, type, ret_head, row);
    if (status != KT_SUCCESS) {
        wrong(v, status, ret_head->name, kt_failure());
        kt_head_clear(ret_head);
        return KT_NOTFOUND; /* said already */
    }
    return KT_SUCCESS;
}

static int scan_head(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    verify_t *v = arg;
    char name[2 * KT_HASH_SIZE + 8];
    expected_t *entry = NULL;
    kt_head_t head;
    kt_status_t status;

    if (v->nexpected > 0)
        entry = bsearch(key->id, v->expected, v->nexpected, sizeof(*v->expected), by_hash);
    status = check_head(v, key, row, &head);
    if (status == KT_NOKEY) {
        v->hidden++;
        return 0;
    }
    if (entry != NULL)
        entry->seen = true;
    if (status == KT_NOTFOUND)
        return 0;
    if (status != KT_SUCCESS) {
        wrong(v, status, hash_name(key->id, name), kt_failure());
        return 0;
    }
    if (entry == NULL)
        wrong(v, KT_ROLLEDBACK, head.name, "its row is in no index: it was put back or added");
    else if (memcmp(entry->tag, row->record + row->record_size - KT_TAG_SIZE, KT_TAG_SIZE) != 0)
        wrong(v, KT_ROLLEDBACK, head.name, "its row is not the one that was written last");
    if (!grow(&v->heads, v->nheads, sizeof(*v->heads)) || !take_values(v, key->id, &head, row->beside != NULL)) {
        kt_head_clear(&head);
        return no_memory(v);
    }
    v->heads[v->nheads++] = head;
    return 0;
}

/* ---- values ---- */

static int scan_value(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    verify_t *v = arg;
    char name[2 * KT_HASH_SIZE + 8];
    value_t wanted = {.version = key->version}, *value = NULL;
    const kt_typekey_t *type;
    kt_header_t header;
    kt_secret_t *secret;
    const kt_head_t *head;
    kt_status_t status;

    memcpy(wanted.hash, key->id, KT_HASH_SIZE);
    if (v->nvalues > 0)
        value = bsearch(&wanted, v->values, v->nvalues, sizeof(*v->values), by_hash_and_version);
    status = kt_header_parse(row->record, row->record_size, &header);
    if (status == KT_SUCCESS)
        status = kt_keyring_find(v->ctx->keyring, header.key_id, &type);
    if (status == KT_NOKEY && value == NULL)
        return 0;
    if (value == NULL) {
        wrong(v, KT_ROLLEDBACK, hash_name(key->id, name), "a value that no head knows was put back or added");
        return 0;
    }
    value->seen = true;
    head = &v->heads[value->head];
    if (status == KT_SUCCESS)
        status = kt_open_value(v->ctx, type, head, kt_head_find(head, value->version), row->record, row->record_size, &secret);
    if (status == KT_SUCCESS)
        kt_secret_free(secret);
    else
        wrong(v, status, head->name, kt_failure());
    return 0;
}

static void report_unseen(verify_t *v)
{
    char name[2 * KT_HASH_SIZE + 8], detail[64];
    size_t i;

    for (i = 0; i < v->nexpected; i++) {
        if (!v->expected[i].seen)
            wrong(v, KT_ROLLEDBACK, hash_name(v->expected[i].hash, name), "a secret that was written is gone from the store");
    }
    for (i = 0; i < v->nvalues; i++) {
        if (v->values[i].seen)
            continue;
        (void)snprintf(detail, sizeof(detail), "the value of version %llu is missing", (unsigned long long)v->values[i].version);
        wrong(v, KT_MALFORMED, v->heads[v->values[i].head].name, detail);
    }
}

/* ---- all of it ---- */

static int scan_label(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    verify_t *v = arg;
    kt_status_t status;

    if (key->id[0] != 't')
        return 0;
    status = kt_keyring_adopt_label(v->ctx->keyring, row->record, row->record_size);
    if (status != KT_SUCCESS && status != KT_NOKEY)
        wrong(v, status, "label of a type", kt_failure());
    if (v->fatal == KT_SUCCESS)
        kt_failure_clear();
    return v->fatal != KT_SUCCESS;
}

static kt_status_t verify_rows(verify_t *v)
{
    const ktp_provider_t *api = v->store->api;
    kt_status_t status;

    status = kt_store_check(v->ctx, v->store, v->txn);
    if (status == KT_SUCCESS && v->ctx->keyring->nenv > 0)
        status = kt_from_provider(v->store, api->row_scan(v->txn, KTP_META, scan_label, v));
    if (status == KT_SUCCESS && v->fatal == KT_SUCCESS)
        status = take_indexes(v);
    if (status == KT_SUCCESS)
        status = kt_from_provider(v->store, api->row_scan(v->txn, KTP_HEAD, scan_head, v));
    if (status == KT_SUCCESS && v->nvalues > 1)
        qsort(v->values, v->nvalues, sizeof(*v->values), by_hash_and_version);
    if (status == KT_SUCCESS && v->fatal == KT_SUCCESS)
        status = kt_from_provider(v->store, api->row_scan(v->txn, KTP_VALUE, scan_value, v));
    if (status == KT_SUCCESS && v->fatal == KT_SUCCESS)
        report_unseen(v);
    return status != KT_SUCCESS ? status : v->fatal;
}

static void verify_free(verify_t *v)
{
    size_t i;

    for (i = 0; i < v->nheads; i++)
        kt_head_clear(&v->heads[i]);
    free(v->heads);
    free(v->values);
    free(v->expected);
}

static kt_status_t verify_store(kt_ctx_t *ctx, kt_store_t *store, kt_check_fn fn, void *arg)
{
    verify_t v = {.ctx = ctx, .store = store, .fn = fn, .arg = arg};
    char detail[160];
    kt_status_t status;

    status = kt_rows_begin(store, false, ctx->wait, &v.txn);
    if (status == KT_SUCCESS) {
        status = verify_rows(&v);
        store->api->abort(v.txn);
    }
    if (status != KT_SUCCESS) {
        v.worst = status;
        fn(arg, status, store->name, kt_failure());
    } else {
        (void)snprintf(detail, sizeof(detail), "%zu secrets and %zu older values were looked at%s", v.nheads, v.nvalues,
                       v.hidden > 0 ? "; types whose key is not held were left out" : "");
        fn(arg, v.worst, store->name, detail);
    }
    verify_free(&v);
    return v.worst;
}

kt_status_t kt_verify(kt_ctx_t *ctx, kt_check_fn fn, void *arg)
{
    kt_status_t status = kt_enter(ctx), worst = KT_SUCCESS;
    kt_store_t *store;
    size_t i;

    if (status != KT_SUCCESS)
        return status;
    for (i = 0; i < ctx->modules->count; i++) {
        if ((ctx->modules->list[i].api->capabilities & (KTP_SEALED | KTP_CLEAR_NAMES)) != KTP_SEALED)
            continue;
        status = kt_instance_open(ctx, i, &store);
        if (status != KT_SUCCESS)
            fn(arg, status, ctx->modules->list[i].api->name, kt_failure());
        else
            status = verify_store(ctx, store, fn, arg);
        if (status != KT_SUCCESS)
            worst = status;
    }
    kt_leave(ctx);
    return worst;
}
