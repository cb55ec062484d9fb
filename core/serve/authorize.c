/* SPDX-License-Identifier: BSD-2-Clause */
/* authorize.c: policy and audit record for secrets that a host serves sealed from its own memory
 * (Redis). */
#include <stdio.h>
#include <string.h>

#include "serve.h"

/* A listing is one decision, as in kt_list(): recorded under its pattern, and judged name by name.
 */
static kt_status_t authorize_list(kt_ctx_t *ctx, const kt_request_t *req, const char *action)
{
    kt_call_t call = {.req = req, .subject = req->subject};
    const kt_cfg_rule_t *rule;
    kt_status_t status = kt_pattern_check(req->reference);

    if (status == KT_SUCCESS)
        status = kt_subject_check(ctx, req->subject);
    if (status != KT_SUCCESS)
        return status;
    (void)snprintf(call.text, sizeof(call.text), "%s", req->reference);
    status = kt_policy_any(ctx->holder.config, req->subject, KT_CAP_LIST, req->reference, &rule);
    return kt_decide(ctx, &call, action, status, 0, NULL, 0);
}

static kt_status_t authorize_name(kt_ctx_t *ctx, const kt_request_t *req, unsigned wanted,
                                  const char *action)
{
    uint32_t slot = 0;
    kt_call_t call;
    kt_status_t status = kt_call_begin(ctx, req, &call);

    if (status != KT_SUCCESS)
        return status;
    if (action == NULL)
        return kt_policy_check(ctx->holder.config, call.subject, wanted, call.ref.name);
    status = kt_policy_check(ctx->holder.config, call.subject, wanted, call.ref.name);
    status =
        kt_decide(ctx, &call, action, status, 0, NULL, wanted == KT_CAP_READ ? 0 : KT_EV_DURABLE);
    if (status == KT_SUCCESS && wanted == KT_CAP_READ)
        kt_note_read(ctx, &call, &slot);
    return status;
}

kt_status_t kt_authorize(kt_ctx_t *ctx, const kt_request_t *req, const char *capability,
                         const char *action)
{
    unsigned wanted = kt_capability_parse(capability, strlen(capability));
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    if (wanted == 0)
        status = kt_fail(KT_USAGE, "no such capability");
    else if (wanted == KT_CAP_LIST && action != NULL && req->reference != NULL &&
             strchr(req->reference, '*') != NULL)
        status = authorize_list(ctx, req, action);
    else
        status = authorize_name(ctx, req, wanted, action);
    kt_leave(ctx);
    return status;
}
