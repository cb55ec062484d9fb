/* SPDX-License-Identifier: BSD-2-Clause */
/* store.c: what the calls on a whole store share: the right to make them, and the store. */
#include <string.h>

#include "maintain.h"

bool kt_find_index(const kt_ctx_t *ctx, size_t *ret_index)
{
    size_t i;

    for (i = 0; i < ctx->modules->count; i++) {
        const ktp_provider_t *api = ctx->modules->list[i].api;

        if (kt_has_index(api) && (api->capabilities & KTP_CREATE)) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

kt_status_t kt_admin_begin(kt_ctx_t *ctx, const kt_request_t *req, const char *action,
                           kt_call_t *ret_call)
{
    kt_status_t status = kt_subject_check(ctx, req->subject);

    *ret_call = (kt_call_t){.req = req, .subject = req->subject, .text = "*"};
    if (status != KT_SUCCESS)
        return status;
    status = kt_policy_check(ctx->holder.config, req->subject, KT_CAP_ADMIN, "*");
    return status == KT_SUCCESS ? status
                                : kt_decide(ctx, ret_call, action, status, 0, NULL, KT_EV_DURABLE);
}

kt_status_t kt_worse(kt_status_t a, kt_status_t b)
{
    return b != KT_SUCCESS && (a == KT_SUCCESS || kt_status_exit(b) > kt_status_exit(a)) ? b : a;
}
