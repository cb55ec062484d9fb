/* SPDX-License-Identifier: BSD-2-Clause */
/* verify_store.c: kt_verify(): the walk through each store with an index. */
#include <stdio.h>

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
    (void)snprintf(detail, sizeof(detail), "%llu secrets and %llu older values were looked at%s",
                   (unsigned long long)result.secrets, (unsigned long long)result.values,
                   result.missing       ? "; types at an epoch whose key is not held were left out"
                   : result.foreign > 0 ? "; types whose key is not held were left out"
                                        : "");
    if (status == KT_SUCCESS && result.missing)
        status = KT_NOKEY; /* the holder of the environment key answers for everything */
    fn(arg, status, store->name, detail);
    return status;
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
        else {
            kt_expect_own(ctx, store);
            status = kt_verify_store(ctx, store, fn, arg);
        }
        if (status != KT_SUCCESS)
            worst = status;
    }
    kt_leave(ctx);
    return worst;
}
