/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rekey_clear.c: moves names that a provider keeps in the clear (redis) to the newest epoch, one at
 * a time.
 *
 * There is neither root nor index: each head says which key it is under, and a server accepts a
 * secret only if its counter is one higher than its own. So each name is moved by itself, and a
 * listing shows what is still under an older key.
 */
#include <stdlib.h>
#include <string.h>

#include "maintain.h"

#define TRIES 5u   /* against other writers of the same name */
#define REPORT 64u /* names between two reports of progress */

typedef struct names {
    kt_ctx_t *ctx;
    char **list;
    size_t count;
    kt_status_t status;
} names_t;

bool kt_is_clear(const ktp_provider_t *api)
{
    return (api->capabilities & (KTP_SEALED | KTP_CLEAR_NAMES | KTP_LIST)) ==
           (KTP_SEALED | KTP_CLEAR_NAMES | KTP_LIST);
}

/* The keys of the name's type, newest first, until one has the id: *ret_n is which. KT_NOKEY: none
 * has. */
static kt_status_t find_epoch(kt_ctx_t *ctx, const char *name, const ktp_row_t *row, size_t *ret_n)
{
    const kt_typekey_t *key;
    kt_header_t header;
    kt_reference_t ref;
    kt_status_t status = kt_reference_parse(name, 0, &ref);

    if (status == KT_SUCCESS)
        status = kt_header_parse(row->record, row->record_size, &header);
    for (*ret_n = 0; status == KT_SUCCESS; ++*ret_n) {
        status = kt_keyring_type(ctx->holder.keyring, ref.type, *ret_n, &key);
        if (status == KT_SUCCESS && memcmp(key->id, header.key_id, KT_KEYID_SIZE) == 0)
            return KT_SUCCESS;
    }
    return status;
}

static int append_old(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    names_t *names = arg;
    char **grown, *copy;
    size_t n;

    if (find_epoch(names->ctx, key->name, row, &n) != KT_SUCCESS || n == 0)
        return 0; /* it is under the newest key, or under an unknown one, which is counted elsewhere
                   */
    copy = strdup(key->name);
    grown = copy != NULL ? reallocarray(names->list, names->count + 1, sizeof(*grown)) : NULL;
    if (grown == NULL) {
        free(copy);
        names->status = kt_no_memory();
        return 1;
    }
    names->list = grown;
    grown[names->count++] = copy;
    return 0;
}

static void free_names(names_t *names)
{
    while (names->count > 0)
        free(names->list[--names->count]);
    free(names->list);
}

static kt_status_t list_old(kt_ctx_t *ctx, kt_store_t *store, names_t *ret_names)
{
    ktp_txn_t *txn;
    kt_status_t status = kt_rows_begin(store, false, KT_WAIT, &txn);

    if (status != KT_SUCCESS)
        return status;
    ret_names->ctx = ctx;
    status =
        kt_from_provider(store->name, store->api->row_scan(txn, KTP_HEAD, append_old, ret_names));
    store->api->abort(txn);
    return status == KT_SUCCESS ? ret_names->status : status;
}

static kt_status_t put_resealed(const kt_reseal_t *r, const char *name, const ktp_row_t *old)
{
    ktp_key_t key;
    kt_head_t head;
    ktp_row_t new;
    kt_status_t status = kt_open_head(&r->ctx->holder, r->from, old, &head);

    if (status != KT_SUCCESS)
        return status;
    if (strcmp(head.name, name) != 0)
        status = kt_fail(KT_MOVED, "the secret stored here belongs to another name: it was moved");
    else if (head.counter != old->stamp)
        status = kt_fail(KT_MALFORMED, "its stamp is not its head's counter");
    else
        status = kt_reseal(r, &head, old, &new);
    if (status == KT_SUCCESS) {
        kt_key_init(&key, r->store, KTP_HEAD, r->to, name);
        status = kt_rows_put_head(r->store, r->txn, &key, &new, head.expires);
        kt_row_free(&new);
    }
    kt_head_clear(&head);
    return status;
}

/* KT_NOTFOUND: it was removed, or is under the newest key already. */
static kt_status_t move_in(kt_reseal_t *r, kt_typekey_t *keys, const char *name)
{
    const kt_typekey_t *key = NULL;
    kt_reference_t ref;
    ktp_key_t row_key;
    ktp_row_t row, copy;
    size_t n = 0;
    kt_status_t status = kt_reference_parse(name, 0, &ref);

    if (status == KT_SUCCESS)
        status = kt_keyring_type(r->ctx->holder.keyring, ref.type, 0, &key);
    if (status != KT_SUCCESS)
        return status;
    memcpy(&keys[0], key, sizeof(*key));
    kt_key_init(&row_key, r->store, KTP_HEAD, key, name);
    status = kt_rows_get(r->store, r->txn, &row_key, &row);
    if (status == KT_SUCCESS)
        status = find_epoch(r->ctx, name, &row, &n);
    if (status == KT_SUCCESS && n == 0)
        status = KT_NOTFOUND;
    if (status == KT_SUCCESS)
        status = kt_keyring_type(r->ctx->holder.keyring, ref.type, n, &key);
    if (status == KT_SUCCESS)
        status = kt_row_copy(&row, &copy);
    if (status != KT_SUCCESS)
        return status;
    memcpy(&keys[1], key, sizeof(*key));
    r->to = &keys[0];
    r->from = &keys[1];
    status = put_resealed(r, name, &copy);
    kt_row_free(&copy);
    return status;
}

static kt_status_t move_once(kt_ctx_t *ctx, kt_store_t *store, kt_typekey_t *keys, const char *name)
{
    kt_reseal_t r = {.ctx = ctx, .store = store};
    kt_status_t status = kt_rows_begin(store, true, KT_WAIT, &r.txn);

    if (status != KT_SUCCESS)
        return status;
    status = move_in(&r, keys, name);
    if (status != KT_SUCCESS) {
        store->api->abort(r.txn);
        return status;
    }
    kt_debug_point("rekey.name");
    return kt_from_provider(store->name, store->api->commit(r.txn));
}

static kt_status_t move_name(kt_ctx_t *ctx, kt_store_t *store, kt_typekey_t *keys, const char *name)
{
    kt_status_t status = KT_CONFLICT;
    unsigned i;

    for (i = 0; i < TRIES && status == KT_CONFLICT; i++)
        status = move_once(ctx, store, keys, name);
    return status == KT_SUCCESS || status == KT_NOTFOUND ? status
                                                         : kt_fail_prefix(status, "%s", name);
}

static kt_status_t move_names(kt_ctx_t *ctx, kt_store_t *store, const names_t *names,
                              const kt_rekey_options_t *options, uint64_t *io_moved)
{
    kt_typekey_t *keys = kt_locked_alloc(2 * sizeof(*keys));
    kt_status_t status = keys != NULL ? KT_SUCCESS : kt_no_memory();
    size_t i;

    for (i = 0; i < names->count && status == KT_SUCCESS; i++) {
        status = move_name(ctx, store, keys, names->list[i]);
        *io_moved += status == KT_SUCCESS;
        if (status == KT_NOTFOUND)
            status = KT_SUCCESS;
        if (status == KT_SUCCESS && options->progress != NULL &&
            ((i + 1) % REPORT == 0 || i + 1 == names->count)) {
            kt_rekey_type_t progress = {store->name, ctx->holder.keyring->env[0].epoch, 0, i + 1,
                                        names->count - i - 1};

            progress.from = progress.left > 0 ? ctx->holder.keyring->env[1].epoch : 0;
            options->progress(options->arg, &progress);
        }
    }
    kt_locked_free(keys);
    return status;
}

static kt_status_t rekey_one(kt_ctx_t *ctx, kt_call_t *call, kt_store_t *store,
                             const kt_rekey_options_t *options, uint64_t *io_moved)
{
    names_t names = {.list = NULL};
    kt_status_t status = list_old(ctx, store, &names);

    if (status == KT_SUCCESS && names.count > 0)
        status =
            kt_decide(ctx, call, "rekey", KT_SUCCESS, 0, store->name, KT_EV_DURABLE | KT_EV_INTENT);
    if (status == KT_SUCCESS && names.count > 0)
        status = move_names(ctx, store, &names, options, io_moved);
    if (status != KT_SUCCESS || names.count > 0)
        status = kt_decide(ctx, call, "rekey", status, 0, store->name, KT_EV_DURABLE);
    free_names(&names);
    return status;
}

kt_status_t kt_rekey_clear(kt_ctx_t *ctx, kt_call_t *call, const kt_rekey_options_t *options,
                           uint64_t *io_moved)
{
    kt_status_t status = KT_SUCCESS;
    kt_store_t *store;
    size_t i;

    memcpy(call->text, "*", 2);
    call->generation = 0;
    for (i = 0; i < ctx->modules->count && status == KT_SUCCESS; i++) {
        if (!kt_is_clear(ctx->modules->list[i].api))
            continue;
        status = kt_store_of(ctx, i, &store);
        if (status == KT_SUCCESS)
            status = rekey_one(ctx, call, store, options, io_moved);
    }
    return status;
}

/* ---- how much is under which key ---- */

typedef struct clear_count {
    kt_ctx_t *ctx;
    kt_rekey_result_t *result;
    kt_rekey_type_t progress;
} clear_count_t;

static int count_name(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    clear_count_t *count = arg;
    size_t n;

    if (find_epoch(count->ctx, key->name, row, &n) != KT_SUCCESS) {
        count->result->unknown++;
    } else if (n == 0) {
        count->progress.moved++;
    } else {
        count->progress.left++;
        count->progress.from = count->ctx->holder.keyring->env[n].epoch;
        count->result->epochs[n - 1].rows++;
    }
    return 0;
}

static kt_status_t count_one(kt_ctx_t *ctx, kt_store_t *store, kt_rekey_fn fn, void *arg,
                             kt_rekey_result_t *result)
{
    clear_count_t count = {ctx, result, {store->name, ctx->holder.keyring->env[0].epoch, 0, 0, 0}};
    ktp_txn_t *txn;
    kt_status_t status = kt_rows_begin(store, false, KT_WAIT, &txn);

    if (status != KT_SUCCESS)
        return status;
    status = kt_from_provider(store->name, store->api->row_scan(txn, KTP_HEAD, count_name, &count));
    store->api->abort(txn);
    if (status == KT_SUCCESS && fn != NULL && count.progress.moved + count.progress.left > 0)
        fn(arg, &count.progress);
    return status;
}

kt_status_t kt_rekey_count_clear(kt_ctx_t *ctx, kt_rekey_fn fn, void *arg,
                                 kt_rekey_result_t *result)
{
    kt_status_t status = KT_SUCCESS;
    kt_store_t *store;
    size_t i;

    for (i = 0; i < ctx->modules->count && status == KT_SUCCESS; i++) {
        if (!kt_is_clear(ctx->modules->list[i].api))
            continue;
        status = kt_store_of(ctx, i, &store);
        if (status == KT_SUCCESS)
            status = count_one(ctx, store, fn, arg, result);
    }
    if (status == KT_SUCCESS)
        kt_failure_clear();
    return status;
}
