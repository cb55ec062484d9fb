/* SPDX-License-Identifier: BSD-2-Clause */
/* lockout.c: which sources are locked out, and an operator's end to it. */
#include <stdio.h>
#include <string.h>

#include "maintain.h"

kt_status_t kt_lockouts(kt_ctx_t *ctx, kt_lockout_fn fn, void *arg, unsigned *ret_hidden)
{
    kt_lockouts_t found = {0};
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    if (ctx->audit != NULL)
        kt_lockouts_find(ctx->holder.config, ctx->holder.stream, NULL, fn, arg, &found);
    kt_leave(ctx);
    if (ret_hidden != NULL)
        *ret_hidden = found.unreadable;
    return KT_SUCCESS;
}

/* It is recorded before it is done, as every change. */
static kt_status_t clear(kt_ctx_t *ctx, const kt_request_t *req)
{
    kt_call_t call = {.req = req, .subject = req->subject};
    kt_lockouts_t found = {0};
    kt_status_t status = kt_subject_check(ctx, req->subject);

    if (status != KT_SUCCESS)
        return status;
    status = kt_policy_check(ctx->holder.config, req->subject, KT_CAP_ADMIN, "*");
    (void)snprintf(call.text, sizeof(call.text), "%s", req->reference);
    kt_flatten(call.text);
    status = kt_decide(ctx, &call, "lockout.clear", status, 0, NULL, KT_EV_DURABLE);
    if (status != KT_SUCCESS)
        return status;
    kt_lockouts_find(ctx->holder.config, ctx->holder.stream, req->reference, NULL, NULL, &found);
    if (found.sources > 0)
        return KT_SUCCESS;
    if (found.unreadable > 0)
        return kt_fail(KT_PERMISSION,
                       "%s: not found, and %u %s may not be read by this user (be root)", call.text,
                       found.unreadable, kt_plural(found.unreadable, "stream", "streams"));
    return kt_fail(KT_NOTFOUND,
                   "%s is not locked out (`keyturn lockout list` shows which sources are)",
                   call.text);
}

kt_status_t kt_lockout_clear(kt_ctx_t *ctx, const kt_request_t *req)
{
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    if (req->reference == NULL || req->reference[0] == '\0')
        status = kt_fail(KT_USAGE, "no source");
    else
        status = clear(ctx, req);
    kt_leave(ctx);
    return status;
}
