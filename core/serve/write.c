/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * write.c: one write from its request to its record; rollback, delete, undelete, destroy.
 *
 * The steps of each: policy, a writing transaction, the change, a durable *intent* in the audit
 * log, the commit, its *outcome*. So a crash leaves at worst an intent without an outcome, and
 * never a change without a record.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"

#define TIMEOUT_MS 5000u
#define RACES_MAX 5u /* how often a write begins again after another writer was first */

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

/* All but the last record of several only waits in the ring, so that they are one block of the
 * audit log, and one sync. Answers `status`, or why it could not be recorded. */
static kt_status_t record_all(kt_ctx_t *ctx, const kt_write_t *writes, size_t count,
                              kt_status_t status, unsigned flags)
{
    kt_status_t recorded = status;
    size_t i;

    for (i = 0; i < count; i++) {
        const kt_write_t *write = &writes[i];

        recorded =
            kt_decide(ctx, &write->call, write->action, status, write->version, write->provider,
                      i + 1 < count ? flags & ~(unsigned)KT_EV_DURABLE : flags);
        if (recorded == KT_AUDIT && status != KT_AUDIT)
            break;
    }
    return recorded;
}

/* Of the type that each write changes. */
static void note_generations(kt_write_t *writes, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        writes[i].call.generation = kt_change_generation(writes[i].change);
        kt_change_store_id(writes[i].change, writes[i].call.store_id);
    }
}

kt_status_t kt_write_prepare(kt_ctx_t *ctx, kt_write_t *writes, size_t count)
{
    kt_change_t *change = writes->change;
    kt_status_t status;
    size_t i;

    kt_debug_point("write.begun");
    status = kt_change_prepare(change);
    kt_debug_point("write.prepared");
    if (status == KT_SUCCESS && (count > 1 || !writes->call.must_record))
        status = kt_change_reserve(change);
    if (status == KT_SUCCESS)
        status = kt_settle_record(ctx, &writes->call, kt_change_store(change));
    if (status == KT_SUCCESS)
        note_generations(writes, count);
    if (status == KT_SUCCESS)
        status = record_all(ctx, writes, count, KT_SUCCESS, KT_EV_DURABLE | KT_EV_INTENT);
    if (status != KT_SUCCESS) {
        kt_change_abort(change);
        for (i = 0; i < count; i++)
            writes[i].call.generation = 0;
        return status == KT_AUDIT ? status : record_all(ctx, writes, count, status, KT_EV_DURABLE);
    }
    kt_debug_point("write.intent");
    return KT_SUCCESS;
}

kt_status_t kt_write_commit(kt_ctx_t *ctx, const kt_write_t *writes, size_t count)
{
    unsigned flags = KT_EV_DURABLE | KT_EV_MUST_RECORD;
    bool loose = kt_audit_has_thread(ctx->audit);
    kt_status_t status, committed;
    size_t i;

    if (loose)
        kt_change_be_lazy(writes->change);
    committed = kt_change_commit(writes->change);
    if (loose)
        atomic_store(&ctx->anchors_loose, true);
    for (i = 0; i < count; i++)
        kt_cache_drop_name(ctx->cache, writes[i].call.ref.name);
    kt_debug_point("write.anchored");
    if (ctx->deferring != NULL && committed == KT_SUCCESS && count == 1) {
        kt_deferred_keep(ctx->deferring, writes);
        return KT_SUCCESS;
    }
    if (committed == KT_SUCCESS && writes->call.generation > 0)
        flags |= KT_EV_DERIVABLE;
    status = record_all(ctx, writes, count, committed, flags);
    kt_debug_point("write.recorded");
    if (status == KT_AUDIT && committed == KT_SUCCESS)
        return kt_fail_prefix(status,
                              "%s: the change is made, but its outcome could not be recorded",
                              writes->call.ref.name);
    return status;
}

void kt_write_cancel(kt_ctx_t *ctx, const kt_write_t *writes, size_t count, kt_status_t status)
{
    kt_change_abort(writes->change);
    (void)record_all(ctx, writes, count, status, KT_EV_DURABLE | KT_EV_MUST_RECORD);
}

kt_status_t kt_write_finish(kt_ctx_t *ctx, const kt_call_t *call, kt_change_t *change,
                            const char *action, uint64_t version, const char *provider)
{
    kt_write_t write = {*call, change, action, version, provider};
    kt_status_t status = kt_write_prepare(ctx, &write, 1);

    return status == KT_SUCCESS ? kt_write_commit(ctx, &write, 1) : status;
}

static kt_status_t change_one(kt_change_t *change, const kt_write_op_t *op, const void *arg,
                              bool *ret_done, uint64_t *ret_version)
{
    kt_head_t *head = kt_change_head(change);

    if (op->must_exist && !kt_change_exists(change))
        return kt_fail(KT_NOTFOUND, "there is no secret \"%s\"", head->name);
    if (op->is_done != NULL && op->is_done(head)) {
        *ret_done = true;
        *ret_version = head->current;
        return KT_SUCCESS;
    }
    return op->change(change, arg, ret_version);
}

/* *ret_raced: a store without locks found that another writer was first. */
static kt_status_t write_locked(kt_ctx_t *ctx, const kt_request_t *req, const kt_write_op_t *op,
                                const void *arg, uint64_t *ret_version, bool *ret_raced)
{
    kt_bundle_store_t bundle;
    kt_change_t *change;
    kt_store_t *store;
    kt_call_t call;
    uint64_t version = 0;
    size_t index;
    bool done = false;
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
        status = change_one(change, op, arg, &done, &version);
        if (status != KT_SUCCESS || done)
            kt_change_abort(change);
    }
    if (status != KT_SUCCESS || done)
        return kt_decide(ctx, &call, op->action, status, version, store->name, KT_EV_DURABLE);
    status = kt_write_finish(ctx, &call, change, op->action, version, store->name);
    if (status == KT_SUCCESS && ret_version != NULL)
        *ret_version = version;
    *ret_raced = status == KT_CONFLICT && (store->api->capabilities & KTP_CLEAR_NAMES) != 0;
    return status;
}

/* A write that was too late is made on top of the other one, as if it had waited for a lock. If it
 * is made for a version, it finds that this one is not current any more. */
kt_status_t kt_write_one(kt_ctx_t *ctx, const kt_request_t *req, const kt_write_op_t *op,
                         const void *arg, uint64_t *ret_version)
{
    kt_status_t status = kt_enter(ctx);
    unsigned tries = 0;
    bool raced;

    if (status != KT_SUCCESS)
        return status;
    do {
        raced = false;
        kt_failure_clear();
        status = write_locked(ctx, req, op, arg, ret_version, &raced);
    } while (raced && ++tries <= RACES_MAX);
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

/* ---- rollback ---- */

typedef struct rollback_arg {
    const char *host;
    uint64_t version; /* 0: the previous one */
} rollback_arg_t;

/* With the command that gives an older value to the target too. */
static kt_status_t refuse_known(kt_change_t *change, const char *target, uint64_t version)
{
    const kt_head_t *head = kt_change_head(change);
    const char *name = head->name, *part;
    kt_secret_t *value = NULL;
    char selector[32] = "previous";
    kt_status_t status = kt_change_value(change, version, &value);

    if (status != KT_SUCCESS)
        return status;
    part = kt_shape_part(kt_shape_of(value));
    kt_secret_free(value);
    if (version != head->previous)
        (void)snprintf(selector, sizeof(selector), "%llu", (unsigned long long)version);
    return kt_fail(KT_CONFLICT,
                   "%s: \"%s\" knows the current value, and would not know the older one: give it "
                   "that one too (`keyturn get '%s%s%s@%s' | keyturn rotate %s --file -`)",
                   name, target, name, part != NULL ? "#" : "", part != NULL ? part : "", selector,
                   name);
}

/* A target knows the current value: going back in the store alone would lock its users out. */
static kt_status_t check_target(kt_change_t *change, const char *host, uint64_t version)
{
    const kt_head_t *head = kt_change_head(change);
    const char *target = kt_head_get_note(head, head->current, KT_NOTE_TARGET);

    if (target != NULL && kt_config_is_target(target))
        return refuse_known(change, target, version);
    if (target != NULL && strcmp(host, "postgresql") != 0)
        return kt_fail(KT_CONFLICT,
                       "%s: \"%s\" knows the current value, and would not know the older one: roll "
                       "it back there (in PostgreSQL: SELECT rollback_secret('%s'))",
                       head->name, target, head->name);
    if (!kt_head_was_in_force(head, version))
        return kt_fail(KT_CONFLICT, "%s: version %llu was never in force: no server has had it",
                       head->name, (unsigned long long)version);
    return KT_SUCCESS;
}

static kt_status_t change_rollback(kt_change_t *change, const void *arg, uint64_t *ret_version)
{
    const rollback_arg_t *rollback = arg;
    kt_head_t *head = kt_change_head(change);
    uint64_t version = rollback->version != 0 ? rollback->version : head->previous;
    const kt_head_version_t *ignored;
    kt_status_t status = kt_write_no_pending(head);

    if (status != KT_SUCCESS)
        return status;
    if (kt_head_is_erased(head))
        return kt_fail(KT_GONE, "%s is destroyed: set a new value first", head->name);
    if (head->deleted)
        return kt_fail(KT_GONE, "%s is deleted: undelete it first", head->name);
    if (version == 0)
        return kt_fail(KT_NOTFOUND, "%s has no previous version", head->name);
    status = kt_head_kept(head, version, &ignored);
    if (status == KT_SUCCESS && version != head->current)
        status = check_target(change, rollback->host, version);
    if (status != KT_SUCCESS)
        return status;
    *ret_version = version;
    return kt_change_make_current(change, version);
}

kt_status_t kt_rollback(kt_ctx_t *ctx, const kt_request_t *req, uint64_t version,
                        uint64_t *ret_version)
{
    static const kt_write_op_t op = {"rollback", KT_CAP_ROTATE, true, NULL, change_rollback};
    rollback_arg_t arg = {ctx->host, version};

    return kt_write_one(ctx, req, &op, &arg, ret_version);
}

/* ---- delete, undelete, destroy ---- */

/* Deleting twice, and undeleting what is not deleted, has done what was asked for. */
static bool is_deleted(const kt_head_t *head)
{
    return head->deleted;
}

static bool is_not_deleted(const kt_head_t *head)
{
    return !head->deleted;
}

static kt_status_t change_delete(kt_change_t *change, const void *arg, uint64_t *ret_version)
{
    kt_head_t *head = kt_change_head(change);
    kt_status_t status = kt_write_no_pending(head);

    (void)arg;
    if (status != KT_SUCCESS)
        return status;
    head->deleted = true;
    *ret_version = head->current;
    return KT_SUCCESS;
}

kt_status_t kt_delete(kt_ctx_t *ctx, const kt_request_t *req)
{
    static const kt_write_op_t op = {"delete", KT_CAP_DELETE, true, is_deleted, change_delete};

    return kt_write_one(ctx, req, &op, NULL, NULL);
}

static kt_status_t change_undelete(kt_change_t *change, const void *arg, uint64_t *ret_version)
{
    kt_head_t *head = kt_change_head(change);

    (void)arg;
    if (kt_head_is_erased(head))
        return kt_fail(KT_GONE, "%s: its value is destroyed, there is nothing to bring back",
                       head->name);
    head->deleted = false;
    *ret_version = head->current;
    return KT_SUCCESS;
}

kt_status_t kt_undelete(kt_ctx_t *ctx, const kt_request_t *req)
{
    static const kt_write_op_t op = {"undelete", KT_CAP_DELETE, true, is_not_deleted,
                                     change_undelete};

    return kt_write_one(ctx, req, &op, NULL, NULL);
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
    const kt_head_t *head = kt_change_head(change);

    *ret_version = version;
    if (version != 0 && version == head->current)
        return kt_fail(KT_CONFLICT,
                       "%s: version %llu is the current one: make another one current first, or "
                       "destroy all versions",
                       head->name, (unsigned long long)version);
    return version == 0 ? destroy_all(change) : kt_change_destroy(change, version);
}

kt_status_t kt_destroy(kt_ctx_t *ctx, const kt_request_t *req, uint64_t version)
{
    static const kt_write_op_t op = {"destroy", KT_CAP_DELETE, true, NULL, change_destroy};

    return kt_write_one(ctx, req, &op, &version, NULL);
}
