/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * call.c: parses a request, records every decision and counts refusals: the only place that does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve.h"

kt_status_t kt_subject_check(const kt_ctx_t *ctx, const char *subject)
{
    char shown[KT_SUBJECT_MAX + 1];

    if (subject != NULL && strlen(subject) > KT_SUBJECT_MAX)
        return kt_fail(KT_USAGE, "the subject is too long");
    if (kt_audit_vouches(ctx->holder.stream, ctx->host, subject))
        return KT_SUCCESS;
    (void)snprintf(shown, sizeof(shown), "%s", subject);
    kt_flatten(shown);
    return kt_fail(KT_USAGE,
                   "subject %s: a process of the audit stream %s cannot vouch for it (keyturn(3), "
                   "kt_request_t)",
                   shown, ctx->holder.stream);
}

static kt_status_t check_filled(const kt_request_t *req)
{
    if (req->size < sizeof(kt_request_t) || req->reference == NULL)
        return kt_fail(KT_USAGE, "the request is not filled in (KT_REQUEST_INIT)");
    return KT_SUCCESS;
}

/* The subject was checked. */
static kt_status_t begin(const kt_request_t *req, kt_call_t *ret_call)
{
    kt_status_t status = kt_reference_parse(req->reference, req->reference_len, &ret_call->ref);

    if (status != KT_SUCCESS)
        return status;
    ret_call->req = req;
    ret_call->subject = req->subject;
    ret_call->generation = 0;
    ret_call->must_record = false;
    ret_call->count = 0;
    kt_reference_format(&ret_call->ref, ret_call->text, sizeof(ret_call->text));
    return KT_SUCCESS;
}

kt_status_t kt_call_begin(const kt_ctx_t *ctx, const kt_request_t *req, kt_call_t *ret_call)
{
    kt_status_t status = check_filled(req);

    if (status == KT_SUCCESS)
        status = kt_subject_check(ctx, req->subject);
    return status == KT_SUCCESS ? begin(req, ret_call) : status;
}

kt_status_t kt_call_begin_read(kt_ctx_t *ctx, const kt_request_t *req, kt_call_t *ret_call)
{
    kt_status_t status = check_filled(req);
    const char *subject = req->subject;

    if (status == KT_SUCCESS && (subject == NULL || strcmp(ctx->vouched, subject) != 0)) {
        status = kt_subject_check(ctx, subject);
        if (status == KT_SUCCESS && subject != NULL)
            (void)snprintf(ctx->vouched, sizeof(ctx->vouched), "%s", subject);
    }
    return status == KT_SUCCESS ? begin(req, ret_call) : status;
}

/* ---- refusals ---- */

/* Opened at the first refusal, so that a context that makes none leaves no file. Without the table
 * the policy still refuses, but refusals are not counted. */
static kt_refusals_t *table_of(kt_ctx_t *ctx)
{
    kt_refusals_t *refusals = atomic_load(&ctx->refusals);
    char *folder;

    if (refusals != NULL || ctx->audit == NULL || ctx->refusals_off)
        return refusals;
    if (asprintf(&folder, "%s/%s", ctx->holder.config->audit_path, ctx->holder.stream) < 0)
        return NULL;
    if (kt_refusals_open(folder, &refusals) != KT_SUCCESS) {
        ctx->refusals_off = true;
        kt_log(&ctx->holder.logger, 4, "%s: refusals are recorded, but not counted", kt_failure());
        kt_failure_clear();
    }
    atomic_store(&ctx->refusals, refusals);
    free(folder);
    return refusals;
}

/* Is it a refusal of a source that is locked out? Then it is counted, and that is all. */
static bool is_counted_only(kt_ctx_t *ctx, const kt_call_t *call)
{
    kt_refusals_t *refusals = table_of(ctx);
    unsigned seconds = 0;

    if (refusals != NULL && !call->req->configured)
        seconds = kt_refusals_miss(refusals, call->subject, call->req->peer, kt_refusals_now());
    if (seconds == 0)
        return false;
    (void)kt_fail_prefix(KT_DENIED, "locked out for another %u s, after more than %u refusals",
                         seconds, KT_REFUSALS_MAX);
    return true;
}

void kt_record_lockouts(kt_ctx_t *ctx)
{
    kt_refusals_t *refusals = atomic_load(&ctx->refusals);
    kt_refusals_missed_t missed;

    while (refusals != NULL && kt_refusals_take(refusals, kt_refusals_now(), &missed)) {
        kt_event_t event = {.action = "lockout",
                            .subject = missed.subject,
                            .peer = missed.peer[0] != '\0' ? missed.peer : NULL,
                            .status = kt_status_name(KT_DENIED),
                            .count = missed.count,
                            .seconds = missed.seconds,
                            .durable = true};

        if (kt_audit_write(ctx->audit, &event) == KT_SUCCESS)
            continue;
        kt_refusals_give_back(refusals, &missed);
        kt_log(&ctx->holder.logger, 4, "%s", kt_failure());
        return;
    }
}

/* A refusal that crosses the threshold of its source gets a record of its own and a critical line
 * in the host's log. */
static void count_refusal(kt_ctx_t *ctx, const kt_event_t *refusal)
{
    kt_refusals_t *refusals = table_of(ctx);
    kt_event_t event = {.action = "alert",
                        .subject = refusal->subject,
                        .actor = refusal->actor,
                        .peer = refusal->peer,
                        .request_id = refusal->request_id,
                        .reference = refusal->reference,
                        .status = refusal->status,
                        .durable = true};
    char who[KT_SUBJECT_MAX + 160];

    kt_record_lockouts(ctx); /* this refusal may begin the next one */
    if (refusals != NULL)
        event.seconds =
            kt_refusals_count(refusals, refusal->subject, refusal->peer, kt_refusals_now());
    if (event.seconds == 0)
        return;
    if (kt_audit_write(ctx->audit, &event) != KT_SUCCESS)
        kt_log(&ctx->holder.logger, 4, "%s", kt_failure());
    (void)snprintf(who, sizeof(who), "%s%s%s",
                   refusal->subject != NULL ? refusal->subject : "an unnamed subject",
                   refusal->peer != NULL ? " from " : "",
                   refusal->peer != NULL ? refusal->peer : "");
    kt_flatten(who);
    kt_log(&ctx->holder.logger, 2,
           "alert: %s was refused more than %u times within an hour, and is locked out for %u s: "
           "what the policy refuses to it is only counted (`keyturn lockout list`)",
           who, KT_REFUSALS_MAX, (unsigned)event.seconds);
}

size_t kt_locked_out(kt_ctx_t *ctx)
{
    kt_refusals_t *refusals = atomic_load(&ctx->refusals);

    return refusals != NULL ? kt_refusals_locked_now(refusals, kt_refusals_now()) : 0;
}

/* ---- the record ---- */

/* Without `audit.required`, a failing audit log is reported once, and again after it has worked. */
kt_status_t kt_audit_answer(kt_ctx_t *ctx, kt_status_t status)
{
    if (status == KT_SUCCESS || ctx->holder.config->audit_required) {
        ctx->audit_warned = false;
        return status;
    }
    if (!ctx->audit_warned)
        kt_log(&ctx->holder.logger, 4, "%s; going on without, as audit.required is false",
               kt_failure());
    ctx->audit_warned = true;
    kt_failure_clear();
    return KT_SUCCESS;
}

/* At each press of TAB a shell asks for names or versions. */
static bool is_completion(const kt_call_t *call, const char *action, kt_status_t status)
{
    return status == KT_SUCCESS && call->req->purpose != NULL &&
           strcmp(call->req->purpose, KT_PURPOSE_COMPLETION) == 0 &&
           (strcmp(action, "list") == 0 || strcmp(action, "info") == 0);
}

kt_status_t kt_decide(kt_ctx_t *ctx, const kt_call_t *call, const char *action, kt_status_t status,
                      uint64_t version, const char *provider, unsigned flags)
{
    kt_event_t event = {
        .action = action,
        .subject = call->subject,
        .actor = call->req->actor,
        .peer = call->req->peer,
        .request_id = call->req->request_id,
        .purpose = call->req->purpose,
        .reference = call->text,
        .version = version,
        .generation = call->generation,
        .store_id = call->generation != 0 ? call->store_id : NULL,
        .provider = provider,
        .status = (flags & KT_EV_INTENT) ? "intent" : kt_status_name(status),
        .stale = (flags & KT_EV_STALE) != 0,
        .fallback = (flags & KT_EV_FALLBACK) != 0,
        .durable = (flags & KT_EV_DURABLE) != 0 && ctx->deferring == NULL,
        .configured =
            status == KT_DENIED && call->req->configured != 0 && !(flags & KT_EV_UNCOUNTED),
        .must_record = call->must_record || (flags & KT_EV_MUST_RECORD) != 0,
        .may_coalesce = (flags & KT_EV_MAY_COALESCE) != 0,
        .derivable = (flags & KT_EV_DERIVABLE) != 0,
        .count = call->count,
    };
    bool completion = is_completion(call, action, status);
    bool counts = status == KT_DENIED && !(flags & KT_EV_UNCOUNTED);
    kt_failure_t failed;
    kt_status_t recorded;

    if (ctx->audit == NULL || (completion && kt_audit_in_this_hour(ctx->audit)) ||
        (counts && is_counted_only(ctx, call)))
        return status;
    kt_failure_save(&failed, status);
    recorded = kt_audit_answer(ctx, kt_audit_write(ctx->audit, &event));
    if (recorded != KT_SUCCESS)
        kt_failure_save(&failed, recorded);
    else if (completion)
        kt_audit_begin_hour(ctx->audit);
    if (counts && !event.configured)
        count_refusal(ctx, &event);
    return kt_failure_restore(&failed);
}

/* No refusal, and no completion: that only lists names. */
kt_status_t kt_decide_again(kt_ctx_t *ctx, const kt_again_t *again)
{
    const kt_request_t *req = again->req;
    kt_granted_t *granted = again->granted;
    kt_event_t event = {
        .action = again->action,
        .subject = req->subject,
        .actor = req->actor,
        .peer = req->peer,
        .request_id = req->request_id,
        .purpose = req->purpose,
        .reference = again->reference,
        .version = again->version,
        .provider = again->provider,
        .status = kt_status_name(KT_SUCCESS),
        .fallback = again->fallback,
        .may_coalesce = true,
        .now = again->now,
    };

    if (ctx->audit == NULL)
        return KT_SUCCESS;
    if (req->purpose == NULL && req->actor == NULL) { /* each request may have its own */
        if (granted->texts == NULL)
            granted->texts = kt_event_texts_new(&event);
        event.texts = granted->texts;
    }
    return kt_audit_answer(ctx, kt_audit_write(ctx->audit, &event));
}

/* A check for unused secrets must not count as a use. */
static bool is_check(const kt_request_t *req)
{
    return req->purpose != NULL && strcmp(req->purpose, "check") == 0;
}

void kt_note_read(kt_ctx_t *ctx, const kt_call_t *call, uint32_t *slot)
{
    if (is_check(call->req))
        return;
    if (!ctx->access_opened)
        ctx->access = kt_access_open(ctx->holder.config, ctx->holder.stream);
    ctx->access_opened = true;
    kt_access_note(ctx->access, call->ref.name, call->subject, kt_now_about(), slot, NULL);
}

void kt_note_again(kt_ctx_t *ctx, const kt_again_t *again, uint32_t *slot)
{
    if (!is_check(again->req))
        kt_access_note(ctx->access, "", again->req->subject, again->now, slot,
                       &again->granted->place);
}
