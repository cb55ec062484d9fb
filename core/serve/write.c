/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * write.c: put, rollback, delete, undelete, destroy.
 *
 * The steps of each: policy, a writing transaction, the change, a durable *intent* in the audit
 * log, the commit, its *outcome*. So a crash leaves at worst an intent without an outcome, and
 * never a change without a record.
 */
#include <stdlib.h>
#include <string.h>

#include "cache.h"

#define TIMEOUT_MS 5000u

unsigned kt_write_timeout(const kt_request_t *req)
{
    return req->timeout != 0 ? req->timeout : TIMEOUT_MS;
}

kt_status_t kt_write_begin(kt_ctx_t *ctx, const kt_call_t *call, unsigned capability,
                           const char *action)
{
    kt_status_t status;

    status = kt_policy_check(ctx->holder.config, call->subject, capability, call->ref.name);
    if (status != KT_SUCCESS)
        return kt_decide(ctx, call, action, status, 0, NULL, KT_EV_DURABLE);
    if (call->ref.field[0] != '\0' || call->ref.selector != KT_SEL_CURRENT)
        return kt_fail(KT_USAGE, "a name is expected here, without #field and @version");
    return KT_SUCCESS;
}

/* If no anchor confirms the generation, a process committed it and crashed before it wrote the
 * anchor: the generation is recorded as it was found. */
static kt_status_t record_settled(kt_ctx_t *ctx, kt_call_t *call, const kt_change_t *change,
                                  const char *provider)
{
    if (!kt_change_unsettled(change))
        return KT_SUCCESS;
    call->generation = kt_change_generation(change) - 1;
    return kt_decide(ctx, call, "settle", KT_SUCCESS, 0, provider, KT_EV_DURABLE);
}

/* Prepares, records the intent, commits, records the outcome. Ends the change in any case. */
kt_status_t kt_write_finish(kt_ctx_t *ctx, const kt_call_t *call, kt_change_t *change,
                            const char *action, uint64_t version, const char *provider)
{
    kt_call_t recorded = *call;
    kt_status_t status, committed;

    kt_debug_point("write.begun");
    status = kt_change_prepare(change);
    kt_debug_point("write.prepared");
    if (status == KT_SUCCESS && !call->must_record)
        status = kt_change_reserve(change);
    if (status == KT_SUCCESS)
        status = record_settled(ctx, &recorded, change, provider);
    recorded.generation = status == KT_SUCCESS ? kt_change_generation(change) : 0;
    if (status == KT_SUCCESS)
        status = kt_decide(ctx, &recorded, action, KT_SUCCESS, version, provider,
                           KT_EV_DURABLE | KT_EV_INTENT);
    if (status != KT_SUCCESS) {
        kt_change_abort(change);
        return status == KT_AUDIT
                   ? status
                   : kt_decide(ctx, call, action, status, version, provider, KT_EV_DURABLE);
    }
    kt_debug_point("write.intent");
    committed = kt_change_commit(change);
    kt_cache_drop_name(ctx->cache, call->ref.name);
    kt_debug_point("write.anchored");
    status = kt_decide(ctx, &recorded, action, committed, version, provider,
                       KT_EV_DURABLE | KT_EV_MUST_RECORD);
    kt_debug_point("write.recorded");
    if (status == KT_AUDIT && committed == KT_SUCCESS)
        return kt_fail_prefix(status,
                              "%s: the change is made, but its outcome could not be recorded",
                              call->ref.name);
    return status;
}

typedef kt_status_t (*change_fn)(kt_change_t *change, const void *arg, uint64_t *ret_version);

typedef struct write_op {
    const char *action;
    unsigned capability;
    bool must_exist;
    change_fn change;
} write_op_t;

static kt_status_t write_locked(kt_ctx_t *ctx, const kt_request_t *req, const write_op_t *op,
                                const void *arg, uint64_t *ret_version)
{
    kt_bundle_store_t bundle;
    kt_change_t *change;
    kt_store_t *store;
    kt_call_t call;
    uint64_t version = 0;
    size_t index;
    kt_status_t status;

    status = kt_call_begin(ctx, req, &call);
    if (status == KT_SUCCESS)
        status = kt_write_begin(ctx, &call, op->capability, op->action);
    if (status != KT_SUCCESS)
        return status;
    status = kt_switch_writer(ctx, &call, &bundle, &store, &index);
    if (status != KT_SUCCESS)
        return kt_decide(ctx, &call, op->action, status, 0, NULL, KT_EV_DURABLE);
    status = kt_change_begin(&ctx->holder, store, call.ref.name, kt_write_timeout(req), &change);
    if (status == KT_SUCCESS) {
        status = op->must_exist && !kt_change_exists(change)
                     ? kt_fail(KT_NOTFOUND, "there is no secret \"%s\"", call.ref.name)
                     : op->change(change, arg, &version);
        if (status != KT_SUCCESS)
            kt_change_abort(change);
    }
    if (status != KT_SUCCESS)
        return kt_decide(ctx, &call, op->action, status, version, store->name, KT_EV_DURABLE);
    status = kt_write_finish(ctx, &call, change, op->action, version, store->name);
    if (status == KT_SUCCESS && ret_version != NULL)
        *ret_version = version;
    return status;
}

static kt_status_t write_one(kt_ctx_t *ctx, const kt_request_t *req, const write_op_t *op,
                             const void *arg, uint64_t *ret_version)
{
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    status = write_locked(ctx, req, op, arg, ret_version);
    kt_leave(ctx);
    return status;
}

/* ---- checks ---- */

/* The target may know the pending version already: only a rotation may decide about it. */
kt_status_t kt_write_no_pending(const kt_head_t *head)
{
    if (head->pending == 0)
        return KT_SUCCESS;
    return kt_fail(KT_CONFLICT,
                   "%s: an unfinished rotation holds version %llu pending: finish it where it was "
                   "begun, or give it up with "
                   "`keyturn destroy %s %llu`",
                   head->name, (unsigned long long)head->pending, head->name,
                   (unsigned long long)head->pending);
}

/* ---- put ---- */

typedef struct put_arg {
    const kt_secret_t *value;
    const kt_put_options_t *options;
} put_arg_t;

static kt_status_t check_cas(const kt_head_t *head, int64_t cas)
{
    uint64_t current = head->deleted ? 0 : head->current;

    if (cas < 0 || (uint64_t)cas == current)
        return KT_SUCCESS;
    return kt_fail(KT_CONFLICT, "%s: its current version is %llu, not %lld", head->name,
                   (unsigned long long)current, (long long)cas);
}

static kt_status_t with_field(kt_change_t *change, const put_arg_t *put, kt_secret_t **ret_value)
{
    const kt_head_t *head = kt_change_head(change);
    kt_secret_t *old = NULL;
    kt_status_t status = KT_SUCCESS;

    if (kt_change_exists(change) && !head->deleted && head->current != 0)
        status = kt_change_value(change, head->current, &old);
    if (status == KT_SUCCESS)
        status = kt_shape_set_field(old, put->options->field, put->value, ret_value);
    kt_secret_free(old);
    return status;
}

/* A schedule that does not parse would never be due. */
static kt_status_t check_schedule(const kt_meta_t *meta)
{
    if (strcmp(meta->key, KT_META_ROTATION) != 0 || meta->value == NULL ||
        kt_schedule_parse(meta->value) > 0)
        return KT_SUCCESS;
    return kt_fail(KT_USAGE,
                   "the metadata `" KT_META_ROTATION
                   "` is a duration (30d, 12h), critical or weekly, high or monthly, database "
                   "or quarterly, api-key or annually, or daily");
}

static kt_status_t apply_options(kt_head_t *head, const kt_put_options_t *options)
{
    kt_status_t status = KT_SUCCESS;
    size_t i;

    head->deleted = false;
    head->expires = options->expires;
    for (i = 0; i < options->nmeta && status == KT_SUCCESS; i++)
        status = check_schedule(&options->meta[i]);
    for (i = 0; i < options->nmeta && status == KT_SUCCESS; i++)
        status = kt_head_meta(head, options->meta[i].key, options->meta[i].value);
    return status;
}

static kt_status_t change_put(kt_change_t *change, const void *arg, uint64_t *ret_version)
{
    const put_arg_t *put = arg;
    kt_head_t *head = kt_change_head(change);
    kt_secret_t *whole = NULL;
    kt_status_t status;

    status = check_cas(head, put->options->cas);
    if (status == KT_SUCCESS)
        status = kt_write_no_pending(head);
    if (status == KT_SUCCESS && put->options->field != NULL)
        status = with_field(change, put, &whole);
    if (status == KT_SUCCESS)
        status = kt_change_add(change, whole != NULL ? whole : put->value, ret_version);
    kt_secret_free(whole);
    if (status == KT_SUCCESS)
        status = kt_change_make_current(change, *ret_version);
    return status == KT_SUCCESS ? apply_options(head, put->options) : status;
}

kt_status_t kt_put(kt_ctx_t *ctx, const kt_request_t *req, const kt_secret_t *value,
                   const kt_put_options_t *options, uint64_t *ret_version)
{
    static const write_op_t op = {"write", KT_CAP_WRITE, false, change_put};
    static const kt_put_options_t none = KT_PUT_INIT;
    put_arg_t put = {value, options != NULL ? options : &none};

    if (put.options->size < sizeof(kt_put_options_t))
        return kt_fail(KT_USAGE, "the options are not filled in (KT_PUT_INIT)");
    return write_one(ctx, req, &op, &put, ret_version);
}

/* ---- rollback ---- */

typedef struct rollback_arg {
    const char *host;
    uint64_t version; /* 0: the previous one */
} rollback_arg_t;

static kt_status_t change_rollback(kt_change_t *change, const void *arg, uint64_t *ret_version)
{
    const rollback_arg_t *rollback = arg;
    kt_head_t *head = kt_change_head(change);
    uint64_t version = rollback->version != 0 ? rollback->version : head->previous;
    const char *target;
    kt_status_t status = kt_write_no_pending(head);

    if (status != KT_SUCCESS)
        return status;
    if (head->deleted)
        return kt_fail(KT_GONE, "%s is deleted: undelete it first", head->name);
    target = kt_head_get_note(head, head->current, "target");
    if (target != NULL && strncmp(target, "exec:", 5) == 0)
        return kt_fail(KT_CONFLICT,
                       "%s: \"%s\" knows the current value, and would not know the older one: "
                       "rotate to that one "
                       "(keyturn get NAME@previous | keyturn rotate NAME --file -)",
                       head->name, target);
    if (target != NULL && strcmp(rollback->host, "postgresql") != 0)
        return kt_fail(KT_CONFLICT,
                       "%s: \"%s\" knows the current value, and would not know the older one: roll "
                       "it back there "
                       "(in PostgreSQL: SELECT rollback_secret)",
                       head->name, target);
    if (version == 0)
        return kt_fail(KT_NOTFOUND, "%s has no previous version", head->name);
    *ret_version = version;
    return kt_change_make_current(change, version);
}

kt_status_t kt_rollback(kt_ctx_t *ctx, const kt_request_t *req, uint64_t version,
                        uint64_t *ret_version)
{
    static const write_op_t op = {"rollback", KT_CAP_ROTATE, true, change_rollback};
    rollback_arg_t arg = {ctx->host, version};

    return write_one(ctx, req, &op, &arg, ret_version);
}

/* ---- delete, undelete, destroy ---- */

static kt_status_t change_delete(kt_change_t *change, const void *arg, uint64_t *ret_version)
{
    kt_head_t *head = kt_change_head(change);
    kt_status_t status = kt_write_no_pending(head);

    (void)arg;
    if (status != KT_SUCCESS)
        return status;
    if (head->deleted)
        return kt_fail(KT_GONE, "%s is deleted already", head->name);
    head->deleted = true;
    *ret_version = head->current;
    return KT_SUCCESS;
}

kt_status_t kt_delete(kt_ctx_t *ctx, const kt_request_t *req)
{
    static const write_op_t op = {"delete", KT_CAP_DELETE, true, change_delete};

    return write_one(ctx, req, &op, NULL, NULL);
}

static kt_status_t change_undelete(kt_change_t *change, const void *arg, uint64_t *ret_version)
{
    kt_head_t *head = kt_change_head(change);
    const kt_head_version_t *entry;

    (void)arg;
    if (!head->deleted)
        return kt_fail(KT_CONFLICT, "%s is not deleted", head->name);
    entry = kt_head_find(head, head->current);
    if (entry == NULL || entry->destroyed)
        return kt_fail(KT_GONE, "%s: its value is destroyed, there is nothing to bring back",
                       head->name);
    head->deleted = false;
    *ret_version = head->current;
    return KT_SUCCESS;
}

kt_status_t kt_undelete(kt_ctx_t *ctx, const kt_request_t *req)
{
    static const write_op_t op = {"undelete", KT_CAP_DELETE, true, change_undelete};

    return write_one(ctx, req, &op, NULL, NULL);
}

static kt_status_t destroy_all(kt_change_t *change)
{
    kt_head_t *head = kt_change_head(change);
    kt_status_t status = KT_SUCCESS;
    size_t i;

    for (i = 0; i < head->nversions && status == KT_SUCCESS; i++)
        status = kt_change_destroy(change, head->versions[i].version);
    head->deleted = true;
    return status;
}

static kt_status_t change_destroy(kt_change_t *change, const void *arg, uint64_t *ret_version)
{
    uint64_t version = *(const uint64_t *)arg;

    *ret_version = version;
    return version == 0 ? destroy_all(change) : kt_change_destroy(change, version);
}

kt_status_t kt_destroy(kt_ctx_t *ctx, const kt_request_t *req, uint64_t version)
{
    static const write_op_t op = {"destroy", KT_CAP_DELETE, true, change_destroy};

    return write_one(ctx, req, &op, &version, NULL);
}
