/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify_store.c: verifies the whole store: every index, every head, every value, and that there is
 * nothing else.
 *
 * A read proves its own secret; this proves all of them, in one snapshot, and names what is wrong.
 * It goes down from the indexes: each entry has its head, each head its values. Then it counts the
 * rows; only if there are more than it met, it looks at each. So it keeps a few numbers, however
 * large the store is. It opens every value, so it needs the keys of all types; types whose key is
 * not loaded are counted and reported.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "maintain.h"

#define STEP 1024u /* secrets between two reports of progress */

/* Rows by their clear header: under a loaded key, under another one, or without a header. */
enum { HELD, FOREIGN, BAD, KINDS };

typedef struct verify {
    kt_ctx_t *ctx;
    kt_store_t *store;
    ktp_txn_t *txn;
    kt_check_fn fn;
    void *arg;
    kt_status_t worst, fatal;
    bool *broken;             /* by type key: its index does not hold, or not against the anchors */
    const kt_typekey_t *type; /* whose index is walked */
    uint64_t expected, done;  /* secrets */
    uint64_t heads[KINDS], values[KINDS];         /* met on the way down from the indexes */
    uint64_t all_heads[KINDS], all_values[KINDS]; /* all that there are */
} verify_t;

/* ---- reporting ---- */

static void wrong(verify_t *v, kt_status_t status, const char *what, const char *detail)
{
    if (status == KT_INTERNAL)
        v->fatal =
            status; /* our error and not the store's: what follows may look wrong because of it */
    if (v->fatal != KT_SUCCESS)
        return;
    if (v->worst == KT_SUCCESS || status == KT_ROLLEDBACK)
        v->worst = status;
    v->fn(v->arg, status, what, detail);
    kt_failure_clear();
}

static void wrong_row(verify_t *v, kt_status_t status, const unsigned char hash[KT_HASH_SIZE],
                      const char *detail)
{
    char name[2 * KT_HASH_SIZE + 8] = "row ";

    (void)sodium_bin2hex(name + 4, 2 * KT_HASH_SIZE + 1, hash, KT_HASH_SIZE);
    wrong(v, status, name, detail);
}

static int kind_of(const verify_t *v, const ktp_row_t *row, const kt_typekey_t **ret_type)
{
    kt_header_t header;
    int kind = FOREIGN;

    if (kt_header_parse(row->record, row->record_size, &header) != KT_SUCCESS)
        kind = BAD;
    else if (kt_keyring_find(v->ctx->holder.keyring, header.key_id, ret_type) == KT_SUCCESS)
        kind = HELD;
    kt_failure_clear();
    return kind;
}

/* ---- one head ---- */

static kt_status_t check_beside(verify_t *v, const kt_typekey_t *type, const kt_head_t *head,
                                const ktp_row_t *row)
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
    status =
        kt_open_value(&v->ctx->holder, type, head, entry, row->beside, row->beside_size, &secret);
    if (status == KT_SUCCESS)
        kt_secret_free(secret);
    return status;
}

/* Head and current value; KT_NOTFOUND: something is wrong, and was reported. */
static kt_status_t check_head(verify_t *v, const kt_typekey_t *type, const ktp_key_t *key,
                              const ktp_row_t *row, kt_head_t *ret_head)
{
    unsigned char hash[KT_HASH_SIZE];
    kt_status_t status;

    status = kt_open_head(&v->ctx->holder, type, row, ret_head);
    if (status != KT_SUCCESS) {
        wrong_row(v, status, key->id, kt_failure());
        return KT_NOTFOUND;
    }
    kt_name_hash(type, ret_head->name, hash);
    if (memcmp(hash, key->id, KT_HASH_SIZE) != 0)
        status = kt_fail(KT_MOVED, "it is in the row of another name");
    if (status == KT_SUCCESS && row->stamp != ret_head->counter)
        status = kt_fail(KT_MALFORMED, "the row's stamp is not the head's counter");
    if (status == KT_SUCCESS)
        status = check_beside(v, type, ret_head, row);
    if (status == KT_SUCCESS)
        return status;
    wrong(v, status, ret_head->name, kt_failure());
    kt_head_clear(ret_head);
    return KT_NOTFOUND;
}

static bool has_row(const kt_head_t *head, const kt_head_version_t *version, bool current_beside)
{
    return !version->destroyed && !(current_beside && version->version == head->current);
}

/* The values with rows of their own. */
static void check_values(verify_t *v, const kt_typekey_t *type,
                         const unsigned char hash[KT_HASH_SIZE], const kt_head_t *head,
                         bool current_beside)
{
    ktp_key_t key = {.space = KTP_VALUE, .id_size = KT_HASH_SIZE};
    const kt_typekey_t *other;
    kt_secret_t *secret;
    char detail[64];
    ktp_row_t row;
    kt_status_t status;
    size_t i;

    memcpy(key.id, hash, KT_HASH_SIZE);
    for (i = 0; i < head->nversions && v->fatal == KT_SUCCESS; i++) {
        if (!has_row(head, &head->versions[i], current_beside))
            continue;
        key.version = head->versions[i].version;
        status = kt_rows_get(v->store, v->txn, &key, &row);
        if (status == KT_NOTFOUND) {
            (void)snprintf(detail, sizeof(detail), "the value of version %llu is missing",
                           (unsigned long long)key.version);
            wrong(v, KT_MALFORMED, head->name, detail);
            continue;
        }
        if (status != KT_SUCCESS) {
            v->fatal = status;
            return;
        }
        v->values[kind_of(v, &row, &other)]++;
        status = kt_open_value(&v->ctx->holder, type, head, &head->versions[i], row.record,
                               row.record_size, &secret);
        if (status == KT_SUCCESS)
            kt_secret_free(secret);
        else
            wrong(v, status, head->name, kt_failure());
    }
}

/* ---- down from the indexes ---- */

static int count_entry(void *arg, const unsigned char hash[KT_HASH_SIZE],
                       const unsigned char tag[KT_TAG_SIZE])
{
    uint64_t *count = arg;

    (void)hash, (void)tag;
    (*count)++;
    return 0;
}

/* Does the root agree with the roots of the type's other epochs? */
static kt_status_t check_place(verify_t *v, const kt_index_t *index)
{
    kt_trees_t trees;
    kt_status_t status;

    if (index->generation == 0)
        return KT_SUCCESS;
    status = kt_trees_open(&v->ctx->holder, v->store, v->txn, index->type, &trees);
    if (status == KT_SUCCESS && index->link != KT_LINK_MOVED &&
        memcmp(index->key_id, trees.index.key_id, KT_KEYID_SIZE) != 0 &&
        memcmp(index->key_id, trees.old.key_id, KT_KEYID_SIZE) != 0)
        status =
            kt_fail(KT_ROLLEDBACK, "its root at epoch %u is one that was left: it was put back",
                    index->epoch);
    if (status == KT_SUCCESS && index->link == KT_LINK_MOVED && index->count > 0)
        status = kt_fail(KT_ROLLEDBACK,
                         "its root at epoch %u says that all is elsewhere, and counts secrets",
                         index->epoch);
    kt_trees_close(&trees);
    return status;
}

/* Only the nodes: a broken tree proves nothing. */
static void check_index(verify_t *v, size_t n)
{
    const kt_typekey_t *type = &v->ctx->holder.keyring->types[n];
    uint64_t count = 0;
    kt_index_t index;
    kt_status_t status;

    status = kt_index_open(&v->ctx->holder, v->store, v->txn, type, &index);
    if (status == KT_SUCCESS)
        status = kt_index_compare(&index);
    if (status == KT_SUCCESS)
        status = check_place(v, &index);
    if (status == KT_SUCCESS)
        status = kt_index_walk(&index, count_entry, &count);
    if (status == KT_SUCCESS && count != index.count)
        status = kt_fail(KT_ROLLEDBACK, "its index has %llu entries and says %llu",
                         (unsigned long long)count, (unsigned long long)index.count);
    if (status != KT_SUCCESS)
        wrong(v, status, index.type, kt_failure());
    v->broken[n] = status != KT_SUCCESS;
    v->expected += count;
    kt_index_close(&index);
}

static void count_done(verify_t *v)
{
    if (v->done++ % STEP == 0)
        kt_progress_tell(&v->ctx->holder.logger, "verify", v->done - 1, v->expected);
}

static int check_entry(void *arg, const unsigned char hash[KT_HASH_SIZE],
                       const unsigned char tag[KT_TAG_SIZE])
{
    verify_t *v = arg;
    ktp_key_t key = {.space = KTP_HEAD, .id_size = KT_HASH_SIZE};
    const kt_typekey_t *type = NULL;
    kt_head_t head;
    ktp_row_t row;
    bool same, beside;
    kt_status_t status;
    int kind;

    count_done(v);
    memcpy(key.id, hash, KT_HASH_SIZE);
    status = kt_rows_get(v->store, v->txn, &key, &row);
    if (status == KT_NOTFOUND) {
        wrong_row(v, KT_ROLLEDBACK, hash, "a secret that was written is gone from the store");
        return 0;
    }
    if (status != KT_SUCCESS) {
        v->fatal = status;
        return 1;
    }
    kind = kind_of(v, &row, &type);
    v->heads[kind]++;
    if (kind != HELD) {
        wrong_row(v, KT_ROLLEDBACK, hash, "its row is not the one that was written last");
        return v->fatal != KT_SUCCESS;
    }
    same = row.record_size >= KT_TAG_SIZE &&
           memcmp(tag, row.record + row.record_size - KT_TAG_SIZE, KT_TAG_SIZE) == 0;
    beside = row.beside != NULL;
    if (check_head(v, type, &key, &row, &head) == KT_SUCCESS) {
        if (!same)
            wrong(v, KT_ROLLEDBACK, head.name, "its row is not the one that was written last");
        check_values(v, type, hash, &head, beside);
        kt_head_clear(&head);
    }
    return v->fatal != KT_SUCCESS;
}

static kt_status_t check_indexes(verify_t *v)
{
    const kt_keyring_t *keyring = v->ctx->holder.keyring;
    kt_status_t status = KT_SUCCESS;
    kt_index_t index;
    size_t i;

    v->broken = calloc(KT_TYPES_MAX, sizeof(*v->broken));
    if (v->broken == NULL)
        return kt_no_memory();
    for (i = 0; i < keyring->ntypes && v->fatal == KT_SUCCESS; i++)
        check_index(v, i);
    for (i = 0; i < keyring->ntypes && v->fatal == KT_SUCCESS && status == KT_SUCCESS; i++) {
        if (v->broken[i])
            continue;
        v->type = &keyring->types[i];
        status = kt_index_open(&v->ctx->holder, v->store, v->txn, v->type, &index);
        if (status == KT_SUCCESS)
            status = kt_index_walk(&index, check_entry, v);
        kt_index_close(&index);
    }
    return v->fatal != KT_SUCCESS ? v->fatal : status;
}

/* ---- is there anything else? ---- */

static int count_row(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    verify_t *v = arg;
    const kt_typekey_t *type;

    (key->space == KTP_HEAD ? v->all_heads : v->all_values)[kind_of(v, row, &type)]++;
    return 0;
}

static bool is_more(const uint64_t all[KINDS], const uint64_t met[KINDS])
{
    return all[HELD] != met[HELD] || all[BAD] != met[BAD];
}

/* Does a valid index have this row? Then it was met. */
static kt_status_t was_met(verify_t *v, const unsigned char hash[KT_HASH_SIZE], bool *ret_met)
{
    const kt_keyring_t *keyring = v->ctx->holder.keyring;
    unsigned char tag[KT_TAG_SIZE];
    kt_status_t status = KT_SUCCESS;
    kt_index_t index;
    size_t i;

    *ret_met = false;
    for (i = 0; i < keyring->ntypes && status == KT_SUCCESS && !*ret_met; i++) {
        if (v->broken[i])
            continue;
        status = kt_index_open(&v->ctx->holder, v->store, v->txn, &keyring->types[i], &index);
        if (status == KT_SUCCESS)
            status = kt_index_lookup(&index, hash, ret_met, tag);
        kt_index_close(&index);
    }
    return status;
}

/* For a type with a broken index: what a read would answer. */
static void check_alone(verify_t *v, const kt_typekey_t *type, const ktp_key_t *key,
                        kt_head_t *head, bool beside)
{
    unsigned char tag[KT_TAG_SIZE];
    kt_index_t index;
    bool found = false;
    kt_status_t status;

    status = kt_index_open(&v->ctx->holder, v->store, v->txn, type, &index);
    if (status == KT_SUCCESS)
        status = kt_index_lookup(&index, key->id, &found, tag);
    kt_index_close(&index);
    if (status != KT_SUCCESS)
        wrong(v, status, head->name, kt_failure());
    check_values(v, type, key->id, head, beside);
}

static int inspect_head(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    verify_t *v = arg;
    unsigned char *copy = malloc(row->record_size + row->beside_size + 1);
    ktp_row_t own = {copy, row->record_size, NULL, row->beside_size, row->stamp};
    const kt_typekey_t *type = NULL;
    kt_head_t head;
    bool met = false;
    kt_status_t status = copy != NULL ? KT_SUCCESS : kt_no_memory();
    int kind;

    if (status == KT_SUCCESS) { /* the next row_get() may overwrite the row */
        memcpy(copy, row->record, row->record_size);
        if (row->beside != NULL)
            own.beside = memcpy(copy + row->record_size, row->beside, row->beside_size);
        status = was_met(v, key->id, &met);
    }
    kind = status == KT_SUCCESS ? kind_of(v, &own, &type) : FOREIGN;
    if (status != KT_SUCCESS)
        v->fatal = status;
    else if (kind == BAD && !met)
        wrong_row(v, KT_MALFORMED, key->id, "not a sealed record");
    else if (kind == HELD && !met && check_head(v, type, key, &own, &head) == KT_SUCCESS) {
        if (v->broken[type - v->ctx->holder.keyring->types])
            check_alone(v, type, key, &head, own.beside != NULL);
        else
            wrong(v, KT_ROLLEDBACK, head.name, "its row is in no index: it was put back or added");
        kt_head_clear(&head);
    }
    free(copy);
    return v->fatal != KT_SUCCESS;
}

static int inspect_value(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    verify_t *v = arg;
    ktp_key_t head_key = {.space = KTP_HEAD, .id_size = key->id_size};
    const kt_typekey_t *type = NULL;
    const kt_head_version_t *entry;
    kt_head_t head;
    ktp_row_t head_row;
    bool known = false;
    kt_status_t status;

    if (kind_of(v, row, &type) == FOREIGN)
        return 0;
    memcpy(head_key.id, key->id, sizeof(head_key.id));
    status = kt_rows_get(v->store, v->txn, &head_key, &head_row);
    if (status == KT_SUCCESS) {
        if (kind_of(v, &head_row, &type) != HELD ||
            kt_open_head(&v->ctx->holder, type, &head_row, &head) != KT_SUCCESS) {
            kt_failure_clear();
            return 0; /* the head was reported already */
        }
        entry = kt_head_find(&head, key->version);
        known = entry != NULL && has_row(&head, entry, head_row.beside != NULL);
        kt_head_clear(&head);
    } else if (status != KT_NOTFOUND) {
        v->fatal = status;
    }
    if (!known && v->fatal == KT_SUCCESS)
        wrong_row(v, KT_ROLLEDBACK, key->id, "a value that no head knows was put back or added");
    return v->fatal != KT_SUCCESS;
}

static kt_status_t scan(verify_t *v, ktp_space_t space, ktp_scan_fn fn)
{
    kt_status_t status = kt_rows_scan(v->store, v->txn, space, fn, v);

    return v->fatal != KT_SUCCESS ? v->fatal : status;
}

static kt_status_t check_rows(verify_t *v)
{
    kt_status_t status;

    status = scan(v, KTP_HEAD, count_row);
    if (status == KT_SUCCESS && is_more(v->all_heads, v->heads))
        status = scan(v, KTP_HEAD, inspect_head);
    if (status == KT_SUCCESS)
        status = scan(v, KTP_VALUE, count_row);
    if (status == KT_SUCCESS && is_more(v->all_values, v->values))
        status = scan(v, KTP_VALUE, inspect_value);
    return status;
}

/* ---- all of it ---- */

static int scan_label(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    verify_t *v = arg;
    kt_status_t status;

    if (key->id[0] != 't')
        return 0;
    status = kt_keyring_adopt_label(v->ctx->holder.keyring, row->record, row->record_size);
    if (status != KT_SUCCESS && status != KT_NOKEY)
        wrong(v, status, "label of a type", kt_failure());
    if (v->fatal == KT_SUCCESS)
        kt_failure_clear();
    return v->fatal != KT_SUCCESS;
}

static kt_status_t verify_rows(verify_t *v)
{
    kt_status_t status;

    status = kt_store_check(&v->ctx->holder, v->store, v->txn);
    if (status == KT_SUCCESS && v->ctx->holder.keyring->nenv > 0)
        status = scan(v, KTP_META, scan_label);
    if (status == KT_SUCCESS)
        status = check_indexes(v);
    return status == KT_SUCCESS ? check_rows(v) : status;
}

static kt_status_t verify_store(kt_ctx_t *ctx, kt_store_t *store, kt_check_fn fn, void *arg)
{
    verify_t v = {.ctx = ctx, .store = store, .fn = fn, .arg = arg};
    char detail[160];
    kt_status_t status;

    status = kt_rows_begin(store, false, ctx->holder.wait, &v.txn);
    if (status == KT_SUCCESS) {
        status = verify_rows(&v);
        store->api->abort(v.txn);
    }
    free(v.broken);
    if (status != KT_SUCCESS) {
        v.worst = status;
        fn(arg, status, store->name, kt_failure());
        return status;
    }
    kt_progress_tell(&ctx->holder.logger, "verify", v.done, v.done);
    (void)snprintf(detail, sizeof(detail), "%llu secrets and %llu older values were looked at%s",
                   (unsigned long long)v.all_heads[HELD], (unsigned long long)v.all_values[HELD],
                   v.all_heads[FOREIGN] > 0 ? "; types whose key is not held were left out" : "");
    fn(arg, v.worst, store->name, detail);
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
        if (!kt_has_index(ctx->modules->list[i].api))
            continue;
        status = kt_store_of(ctx, i, &store);
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
