/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * states.c: the state of all accounts in one call, for monitoring.
 *
 * It is read every few seconds, so it is one line in the audit log and not one for each secret. A
 * provider that does not answer must not hide the state of what another one has.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve.h"

typedef struct reading {
    kt_ctx_t *ctx;
    const kt_states_t *states;
    const char *subject, *pattern;
    unsigned capability;
    size_t provider; /* which is being read */
    uint64_t hidden;
    uint32_t found;
    bool stopped;
    kt_status_t failed; /* of our own, not of a provider */
} reading_t;

/* ---- which secrets ---- */

static bool has_target(const kt_head_t *head, const char *target)
{
    const char *noted;
    size_t i;

    for (i = 0; i < head->nversions; i++) {
        noted = kt_head_get_note(head, head->versions[i].version, KT_NOTE_TARGET);
        if (noted != NULL && strcmp(noted, target) == 0)
            return true;
    }
    return false;
}

static bool is_wanted(const reading_t *reading, const kt_head_t *head)
{
    const char *target = reading->states->target;

    if (!kt_pattern_match(reading->pattern, head->name) ||
        !kt_switch_uses(reading->ctx->holder.config, head->name, reading->provider))
        return false;
    if (target != NULL)
        return has_target(head, target);
    return kt_head_manager(head) != NULL || kt_head_is_account(head);
}

/* ---- what is known of them ---- */

/* The scan keeps its head. */
static kt_status_t copy_info(const reading_t *reading, const kt_head_t *head, kt_info_t **ret_info)
{
    unsigned char *plain = NULL;
    size_t size = 0;
    kt_head_t copy;
    kt_status_t status = kt_head_encode(head, &plain, &size);

    if (status == KT_SUCCESS)
        status = kt_head_decode(plain, size, &copy);
    if (plain != NULL)
        kt_wipe(plain, size);
    free(plain);
    if (status == KT_SUCCESS)
        status = kt_info_new(&copy, reading->ctx->stores[reading->provider].name, ret_info);
    if (status == KT_SUCCESS)
        (*ret_info)->values = reading->states->values != 0;
    return status;
}

static int read_head(void *arg, const kt_head_t *head)
{
    reading_t *reading = arg;
    kt_info_t *info = NULL;

    if (!is_wanted(reading, head))
        return 0;
    if (kt_policy_check(reading->ctx->holder.config, reading->subject, reading->capability,
                        head->name) != KT_SUCCESS) {
        reading->hidden++;
        return 0;
    }
    reading->failed = copy_info(reading, head, &info);
    if (reading->failed != KT_SUCCESS)
        return 1;
    reading->found++;
    reading->stopped = reading->states->found(reading->states->arg, info) != 0;
    return reading->stopped;
}

/* ---- from all providers ---- */

static bool is_interrupted(const kt_ctx_t *ctx)
{
    const kt_logger_t *logger = &ctx->holder.logger;

    return logger->interrupted != NULL && logger->interrupted(logger->interrupted_arg);
}

static kt_status_t read_provider(reading_t *reading)
{
    kt_ctx_t *ctx = reading->ctx;
    uint64_t keyless = 0; /* no rotation of ours was made without the key */
    kt_store_t *store;
    kt_status_t status = kt_store_of(ctx, reading->provider, &store);

    return status == KT_SUCCESS ? kt_store_scan(&ctx->holder, store, read_head, reading, &keyless)
                                : status;
}

/* *ret_provider is the first one that could not be read, and the answer says why. */
static kt_status_t read_providers(reading_t *reading, const char **ret_provider)
{
    const kt_ctx_t *ctx = reading->ctx;
    kt_failure_t first = {.status = KT_SUCCESS};
    kt_status_t status;
    size_t i;

    for (i = 0; i < ctx->modules->count && !reading->stopped; i++) {
        if ((ctx->modules->list[i].api->capabilities & (KTP_SEALED | KTP_LIST)) !=
            (KTP_SEALED | KTP_LIST))
            continue;
        reading->provider = i;
        status = read_provider(reading);
        if (reading->failed != KT_SUCCESS)
            return reading->failed;
        if (is_interrupted(ctx))
            return kt_fail(KT_TRYAGAIN, "interrupted");
        if (status == KT_SUCCESS)
            continue;
        reading->states->failed(reading->states->arg, ctx->holder.config->providers[i].name, status,
                                kt_failure());
        if (first.status == KT_SUCCESS) {
            kt_failure_save(&first, status);
            *ret_provider = ctx->holder.config->providers[i].name;
        }
    }
    kt_failure_clear(); /* left by refusals of single names, which are not an error here */
    return first.status != KT_SUCCESS ? kt_failure_restore(&first) : KT_SUCCESS;
}

static kt_status_t check(const reading_t *reading, const kt_request_t *req)
{
    const kt_states_t *states = reading->states;

    if (req->size < sizeof(*req) || states->size < sizeof(*states) || states->found == NULL ||
        states->failed == NULL)
        return kt_fail(KT_USAGE, "the request is not filled in (KT_REQUEST_INIT, KT_STATES_INIT)");
    if (reading->capability != KT_CAP_STATE && reading->capability != KT_CAP_LIST &&
        reading->capability != KT_CAP_ROTATE)
        return kt_fail(KT_USAGE, "not a capability that shows states");
    return kt_pattern_check(reading->pattern);
}

/* A provider that failed is reported by itself, and the record names it. */
static kt_status_t states_locked(reading_t *reading, const kt_request_t *req)
{
    kt_call_t call = {.req = req, .subject = req->subject};
    const char *provider = NULL;
    const kt_cfg_rule_t *rule;
    kt_status_t recorded, status = check(reading, req);

    if (status == KT_SUCCESS)
        status = kt_subject_check(reading->ctx, req->subject);
    if (status != KT_SUCCESS)
        return status;
    (void)snprintf(call.text, sizeof(call.text), "%s", reading->pattern);
    status = kt_policy_any(reading->ctx->holder.config, req->subject, reading->capability,
                           reading->pattern, &rule);
    if (status == KT_SUCCESS)
        status = read_providers(reading, &provider);
    call.count = reading->found;
    recorded = kt_decide(reading->ctx, &call, "state", status, 0, provider, KT_EV_DURABLE);
    if (provider == NULL || recorded != status)
        return recorded;
    kt_failure_clear();
    return KT_SUCCESS;
}

kt_status_t kt_states(kt_ctx_t *ctx, const kt_request_t *req, const kt_states_t *states,
                      uint64_t *ret_hidden)
{
    reading_t reading = {.ctx = ctx, .states = states, .subject = req->subject};
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    reading.pattern = req->reference != NULL ? req->reference : "*";
    reading.capability = kt_capability_parse(states->capability, strlen(states->capability));
    status = states_locked(&reading, req);
    kt_leave(ctx);
    if (status == KT_SUCCESS && ret_hidden != NULL)
        *ret_hidden = reading.hidden;
    return status;
}

/* ---- a value, to be compared ---- */

static kt_status_t read_field(kt_ctx_t *ctx, size_t provider, const kt_reference_t *ref,
                              kt_secret_t **ret_secret)
{
    kt_secret_t *value = NULL;
    kt_store_t *store;
    kt_status_t status = kt_store_of(ctx, provider, &store);

    if (status == KT_SUCCESS)
        status = kt_store_read(&ctx->holder, store, ref, &value);
    if (status == KT_SUCCESS)
        status = kt_secret_field(value, ref->field, ret_secret);
    kt_secret_free(value);
    return status;
}

static kt_status_t value_locked(kt_ctx_t *ctx, const kt_info_t *info, uint64_t version,
                                const char *field, kt_secret_t **ret_secret)
{
    char reference[KT_REFERENCE_MAX];
    kt_reference_t ref;
    kt_status_t status;
    size_t i;

    if (!info->values)
        return kt_fail(KT_USAGE, "the values of this info are not to be opened (KT_STATES_INIT)");
    (void)snprintf(reference, sizeof(reference), "%s#%s@%llu", info->head.name, field,
                   (unsigned long long)version);
    status = kt_reference_parse(reference, 0, &ref);
    for (i = 0; status == KT_SUCCESS && i < ctx->modules->count; i++) {
        if (strcmp(ctx->holder.config->providers[i].name, info->provider) == 0)
            return read_field(ctx, i, &ref, ret_secret);
    }
    return status == KT_SUCCESS ? kt_fail(KT_NOTFOUND, "%s: not configured", info->provider)
                                : status;
}

kt_status_t kt_states_value(kt_ctx_t *ctx, const kt_info_t *info, uint64_t version,
                            const char *field, kt_secret_t **ret_secret)
{
    kt_status_t status = kt_enter(ctx);

    *ret_secret = NULL;
    if (status != KT_SUCCESS)
        return status;
    status = value_locked(ctx, info, version, field, ret_secret);
    kt_leave(ctx);
    return status;
}
