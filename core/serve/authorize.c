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

/* Not where the policy may answer otherwise tomorrow, nor a field or a version. */
static void remember(kt_ctx_t *ctx, const kt_call_t *call, const char *action, uint32_t slot)
{
    if (call->subject == NULL || slot == 0 || kt_policy_asks(ctx->holder.config) ||
        call->ref.field[0] != '\0' || call->ref.selector != KT_SEL_CURRENT)
        return;
    if (ctx->grants == NULL)
        ctx->grants = kt_grants_new();
    if (ctx->grants != NULL)
        kt_grants_add(ctx->grants, call->subject, call->ref.name, action, slot);
}

/* What the caller is about to do becomes a fact, or does not, when its change ends. */
static kt_status_t intend(kt_ctx_t *ctx, const kt_call_t *call, const char *action)
{
    kt_write_t write = {.call = *call, .action = action};
    kt_status_t status = kt_decide(ctx, call, action, KT_SUCCESS, 0, NULL, KT_EV_INTENT);

    if (status == KT_SUCCESS)
        kt_deferred_keep(ctx->deferring, &write);
    return status;
}

static kt_status_t authorize_name(kt_ctx_t *ctx, const kt_request_t *req, unsigned wanted,
                                  const char *action)
{
    uint32_t slot = 0;
    kt_call_t call;
    bool reads = wanted == KT_CAP_READ;
    kt_status_t status =
        reads ? kt_call_begin_read(ctx, req, &call) : kt_call_begin(ctx, req, &call);

    if (status != KT_SUCCESS)
        return status;
    if (action == NULL)
        return kt_policy_check(ctx->holder.config, call.subject, wanted, call.ref.name);
    status = kt_policy_check(ctx->holder.config, call.subject, wanted, call.ref.name);
    if (status == KT_SUCCESS && !reads && ctx->deferring != NULL)
        return intend(ctx, &call, action);
    status = kt_decide(ctx, &call, action, status, 0, NULL,
                       !reads                 ? KT_EV_DURABLE
                       : status == KT_SUCCESS ? KT_EV_MAY_COALESCE
                                              : 0);
    if (status == KT_SUCCESS && reads) {
        kt_note_read(ctx, &call, &slot);
        remember(ctx, &call, action, slot);
    }
    return status;
}

/*
 * The short way of a read that was allowed before, of the same name by the same subject. Whatever
 * is not plainly so is left to authorize_name(), which begins again: false.
 */
static bool allowed_before(kt_ctx_t *ctx, const kt_request_t *req, const char *action,
                           kt_status_t *ret_status)
{
    kt_again_t again = {.req = req, .action = action};
    uint32_t *slot;

    if (ctx->grants == NULL || req->size < sizeof(kt_request_t) || req->subject == NULL ||
        req->reference == NULL)
        return false;
    again.granted = kt_grants_find(ctx->grants, req->subject, req->reference,
                                   req->reference_len != 0 ? req->reference_len
                                                           : strlen(req->reference),
                                   action, &slot, &again.reference);
    if (again.granted == NULL)
        return false;
    again.now = kt_now_about();
    *ret_status = kt_decide_again(ctx, &again);
    if (*ret_status == KT_SUCCESS)
        kt_note_again(ctx, &again, slot);
    return true;
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
    else if (wanted == KT_CAP_READ && action != NULL && allowed_before(ctx, req, action, &status))
        ;
    else if (wanted == KT_CAP_LIST && action != NULL && req->reference != NULL &&
             strchr(req->reference, '*') != NULL)
        status = authorize_list(ctx, req, action);
    else
        status = authorize_name(ctx, req, wanted, action);
    kt_leave(ctx);
    return status;
}
