/* SPDX-License-Identifier: BSD-2-Clause */
/* create.c: makes the store of a new installation. */
#include "maintain.h"

static kt_status_t create_locked(kt_ctx_t *ctx)
{
    const kt_cfg_route_t *route = kt_switch_route(ctx->holder.config, "*");
    kt_store_t *store;
    kt_status_t status;

    if (route == NULL)
        return kt_fail(KT_CONFIG, "`switch` has no route for \"*\"");
    status = kt_store_of(ctx, route->steps[0].provider, &store);
    if (status != KT_SUCCESS)
        return status;
    if (!(store->api->capabilities & KTP_CREATE))
        return kt_fail(KT_CONFIG, "the provider \"%s\" has no store to create", store->name);
    return kt_store_create(&ctx->holder, store);
}

kt_status_t kt_create(kt_ctx_t *ctx)
{
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    status = create_locked(ctx);
    kt_leave(ctx);
    return status;
}
