/* SPDX-License-Identifier: BSD-2-Clause */
/* verify_store.c: kt_verify(): the walk through each store with an index, and what it is compared
 * with. */
#include <stdio.h>
#include <string.h>

#include "maintain.h"

kt_status_t kt_verify_store(kt_ctx_t *ctx, kt_store_t *store, kt_check_fn fn, void *arg)
{
    kt_walk_result_t result;
    char detail[160];
    ktp_txn_t *txn;
    kt_status_t status = kt_rows_begin(store, false, ctx->holder.wait, &txn);

    if (status != KT_SUCCESS) {
        fn(arg, status, store->name, kt_failure());
        return status;
    }
    status = kt_walk(ctx, store, txn, fn, arg, &result);
    store->api->abort(txn);
    if (!result.complete)
        return status;
    (void)snprintf(detail, sizeof(detail), "%llu %s and %llu older %s checked%s",
                   (unsigned long long)result.secrets,
                   kt_plural(result.secrets, "secret", "secrets"),
                   (unsigned long long)result.values, kt_plural(result.values, "value", "values"),
                   result.missing       ? "; types at an epoch whose key is not held were left out"
                   : result.foreign > 0 ? "; types whose key is not held were left out"
                                        : "");
    if (status == KT_SUCCESS && result.missing)
        status = KT_NOKEY; /* the holder of the environment key answers for everything */
    fn(arg, status, store->name, detail);
    return status;
}

/* ---- against what a sink received ---- */

/* As the catalogue has it, or a root whose key is held. */
static bool find_id(kt_ctx_t *ctx, const kt_store_t *store, ktp_txn_t *txn,
                    unsigned char ret_id[KT_ID_SIZE])
{
    const kt_keyring_t *keyring = ctx->holder.keyring;
    kt_catalogue_t catalogue;
    kt_index_t index;
    bool found = false;
    size_t i;

    if (keyring->nenv > 0) {
        found = kt_catalogue_open(&ctx->holder, store, txn, &catalogue) == KT_SUCCESS;
        if (found)
            memcpy(ret_id, catalogue.store_id, KT_ID_SIZE);
        kt_catalogue_clear(&catalogue);
    }
    for (i = 0; i < keyring->ntypes && !found; i++) {
        found = kt_index_open(&ctx->holder, store, txn, &keyring->types[i], &index) == KT_SUCCESS &&
                index.generation > 0;
        if (found)
            memcpy(ret_id, index.store_id, KT_ID_SIZE);
        kt_index_close(&index);
    }
    return found;
}

static kt_status_t read_received(kt_ctx_t *ctx, kt_store_t *store, const char *path,
                                 kt_received_sum_t *ret_sum)
{
    unsigned char id[KT_ID_SIZE];
    ktp_txn_t *txn;
    bool found;
    kt_status_t status = kt_rows_begin(store, false, ctx->holder.wait, &txn);

    if (status != KT_SUCCESS)
        return status;
    found = find_id(ctx, store, txn, id);
    store->api->abort(txn);
    if (!found)
        return kt_fail(KT_NOTFOUND, "%s: the id of this store is not known, so nothing is compared",
                       path);
    kt_failure_clear();
    return kt_expect_received(store, path, id, ret_sum);
}

/* Before the store is verified. What is not about this store is passed over, and proves nothing. */
static kt_status_t expect_received(kt_ctx_t *ctx, kt_store_t *store, const char *path,
                                   kt_check_fn fn, void *arg)
{
    kt_received_sum_t sum = {0, 0, 0};
    char detail[KT_ERROR_SIZE];
    kt_status_t status = read_received(ctx, store, path, &sum);

    if (status == KT_SUCCESS && sum.checkpoints + sum.changes == 0)
        status = kt_fail(KT_NOTFOUND, "%s: there is no line about this store in it%s", path,
                         sum.others > 0 ? ", only of others" : "");
    (void)snprintf(detail, sizeof(detail),
                   "compared with %llu %s and %llu %s; %llu of other stores passed over",
                   (unsigned long long)sum.checkpoints,
                   kt_plural(sum.checkpoints, "checkpoint", "checkpoints"),
                   (unsigned long long)sum.changes, kt_plural(sum.changes, "change", "changes"),
                   (unsigned long long)sum.others);
    fn(arg, status, "received", status == KT_SUCCESS ? detail : kt_failure());
    return status;
}

/* ---- all stores ---- */

static kt_status_t verify_one(kt_ctx_t *ctx, size_t index, const char *received, kt_check_fn fn,
                              void *arg)
{
    kt_store_t *store;
    kt_status_t status = kt_store_of(ctx, index, &store), first, second = KT_SUCCESS;

    if (status != KT_SUCCESS) {
        fn(arg, status, ctx->modules->list[index].api->name, kt_failure());
        return status;
    }
    first = kt_expect_own(ctx, store, fn, arg);
    if (received != NULL)
        second = expect_received(ctx, store, received, fn, arg);
    status = kt_verify_store(ctx, store, fn, arg);
    if (status != KT_SUCCESS)
        return status;
    return second != KT_SUCCESS ? second : first;
}

kt_status_t kt_verify_received(kt_ctx_t *ctx, const char *received, kt_check_fn fn, void *arg)
{
    kt_status_t status = kt_enter(ctx), worst = KT_SUCCESS;
    size_t i;

    if (status != KT_SUCCESS)
        return status;
    for (i = 0; i < ctx->modules->count; i++) {
        if (!kt_has_index(ctx->modules->list[i].api))
            continue;
        status = verify_one(ctx, i, received, fn, arg);
        if (status != KT_SUCCESS)
            worst = status;
    }
    kt_leave(ctx);
    return worst;
}

kt_status_t kt_verify(kt_ctx_t *ctx, kt_check_fn fn, void *arg)
{
    return kt_verify_received(ctx, NULL, fn, arg);
}
