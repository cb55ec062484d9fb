/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * match.c: does somebody know the value? For hosts that let clients in by a secret.
 *
 * A name that does not exist and a value that is wrong are the same work: as many lookups, as many
 * bytes compared, one record that is not coalesced.
 */
#include <string.h>

#include "cache.h"

/* Is `given` what there is at the call's reference? If there is nothing, something else is
 * compared, and the answer is no. */
static bool compare(kt_ctx_t *ctx, const kt_call_t *call, const kt_match_t *match,
                    kt_reading_t *ret_answer)
{
    static const unsigned char nothing[32];
    const kt_secret_t *secret;
    bool is_equal;

    (void)kt_look(ctx, call, ret_answer);
    secret = ret_answer->secret;
    is_equal = secret != NULL
                   ? kt_equal(secret->data, secret->size, match->given, match->given_size)
                   : kt_equal(nothing, sizeof(nothing), match->given, match->given_size);
    is_equal = is_equal && secret != NULL && match->given_size > 0;
    if (secret != NULL && !is_equal)
        (void)kt_fail(KT_DENIED, "%s", kt_status_text(KT_NOTFOUND)); /* as for what is absent */
    return is_equal;
}

static bool is_in_grace(const kt_reading_t *previous, const kt_match_t *match)
{
    int64_t since = previous->secret != NULL ? previous->secret->since : 0;

    return since != 0 && kt_now() - since < match->grace;
}

/* The record of what was found out, as KT_SUCCESS; or of why it is not known, as that. */
static kt_status_t record(kt_ctx_t *ctx, const kt_call_t *call, const kt_reading_t *answer,
                          kt_status_t status)
{
    bool is_known = kt_switch_is_fact(answer->status);
    unsigned flags = answer->flags;
    uint64_t version = status == KT_SUCCESS ? answer->secret->version : 0;
    kt_status_t recorded;

    if (status == KT_SUCCESS && !(flags & KT_EV_STALE))
        flags |= KT_EV_MAY_COALESCE;
    if (is_known || !call->req->configured)
        flags |= KT_EV_UNCOUNTED;
    recorded = kt_decide(ctx, call, "match", status, version, answer->provider, flags);
    if (!is_known || recorded != status)
        return recorded;
    kt_failure_clear();
    return KT_SUCCESS;
}

static kt_status_t match_name(kt_ctx_t *ctx, const kt_call_t *call, kt_match_t *match)
{
    kt_reading_t current, previous = {.status = KT_SUCCESS};
    kt_reading_t *answer = &current;
    kt_call_t before = *call;
    uint32_t slot = 0;
    kt_status_t status;
    bool matches = compare(ctx, call, match, &current);

    if (kt_switch_is_fact(current.status) && !matches && match->grace > 0) {
        before.ref.selector = KT_SEL_PREVIOUS;
        kt_reference_format(&before.ref, before.text, sizeof(before.text));
        matches = compare(ctx, &before, match, &previous) && is_in_grace(&previous, match);
        match->ret_previous = previous.silent;
        if (matches || !kt_switch_is_fact(previous.status))
            answer = &previous;
    }
    status = matches || answer->status != KT_SUCCESS ? answer->status : KT_DENIED;
    if (!answer->silent)
        status = record(ctx, call, answer, status);
    match->ret_matches = matches && status == KT_SUCCESS; /* not before it is recorded */
    if (match->ret_matches)
        kt_note_read(ctx, call, current.slot != NULL ? current.slot : &slot);
    kt_secret_free(current.secret);
    kt_secret_free(previous.secret);
    return status;
}

/* A client gave something that is not a name, so it matches nothing. It is not repeated. */
static kt_status_t match_nothing(kt_ctx_t *ctx, const kt_request_t *req)
{
    kt_call_t call = {.req = req, .subject = req->subject};
    const kt_reading_t answer = {.status = KT_NOTFOUND};

    return record(ctx, &call, &answer, KT_USAGE);
}

kt_status_t kt_match(kt_ctx_t *ctx, const kt_request_t *req, kt_match_t *match)
{
    kt_call_t call;
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    match->ret_matches = match->ret_previous = 0;
    status = kt_subject_check(ctx, req->subject);
    if (status == KT_SUCCESS && kt_call_begin_read(ctx, req, &call) != KT_SUCCESS)
        status = req->configured ? KT_USAGE : match_nothing(ctx, req);
    else if (status == KT_SUCCESS && call.ref.selector != KT_SEL_CURRENT)
        status = kt_fail(KT_USAGE, "%s: it is matched without a version", call.text);
    else if (status == KT_SUCCESS)
        status = match_name(ctx, &call, match);
    kt_leave(ctx);
    return status;
}
