/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rotate.c: a rotation from the first step to the last, or from the step at which the one before it
 * was interrupted.
 *
 *   create ──▶ set ──▶ test ──▶ finish ──▶ notify
 *                ▲       ▲         ▲
 *   resume: test ┴───────┴─────────┘   the target is first asked which value it has
 *
 * A value that the target rejects is dropped. If it is not known whether the target has the value,
 * it stays pending, and the next rotation of the name resumes with the same value, because the
 * target may have it already.
 */
#include <stdio.h>
#include <string.h>

#include "rotate.h"
#include "target.h"

#define LEASE_MS (5 * 60 * 1000) /* for a host's own target; a command has timeouts */
#define SLACK_MS (30 * 1000)

/* ---- the target ---- */

typedef struct plan {
    kt_rotate_options_t options;
    kt_exec_t exec;
    kt_redis_t redis;
    const kt_cfg_target_t *config; /* of `targets:`; NULL: none */
    bool runs_elsewhere;           /* this host does not run the configured target */
} plan_t;

/* A host's own target has precedence over the configured one, which knows less about the host. */
static kt_status_t make_plan(kt_ctx_t *ctx, const kt_request_t *req,
                             const kt_rotate_options_t *options, plan_t *plan)
{
    static const kt_rotate_options_t none = KT_ROTATE_INIT;
    kt_reference_t ref;

    if (options == NULL)
        options = &none;
    if (options->size < sizeof(*options))
        return kt_fail(KT_USAGE, "the options are not filled in (KT_ROTATE_INIT)");
    memset(plan, 0, sizeof(*plan));
    plan->options = *options;
    if (options->target != NULL || req->reference == NULL ||
        kt_reference_parse(req->reference, req->reference_len, &ref) != KT_SUCCESS)
        return KT_SUCCESS; /* a bad name is reported later, after the policy check */
    plan->config = kt_config_target(ctx->holder.config, ref.name);
    if (plan->config == NULL || !kt_config_has_target(plan->config) || options->store_only)
        return KT_SUCCESS;
    if (!kt_rotate_runs_targets(ctx, req)) {
        plan->runs_elsewhere = true;
        return KT_SUCCESS;
    }
    if (plan->config->exec != NULL) {
        kt_exec_init(&plan->exec, ctx, plan->config);
        plan->options.target = &plan->exec.ops;
        plan->options.target_arg = &plan->exec;
    } else {
        kt_redis_init(&plan->redis, ctx, plan->config);
        plan->options.target = &plan->redis.ops;
        plan->options.target_arg = &plan->redis;
    }
    return KT_SUCCESS;
}

static kt_status_t refuse_elsewhere(const char *name)
{
    return kt_fail(KT_CONFLICT,
                   "%s: only the keyturn command runs the targets of the configuration", name);
}

static int64_t lease_of(const plan_t *plan)
{
    return kt_exec_is(plan->options.target) ? 3 * plan->config->timeout + SLACK_MS : LEASE_MS;
}

/* Any command may continue what another began: it may be the same one, moved or repaired. */
static bool same_target(const char *noted, const kt_target_ops_t *ops)
{
    if (noted == NULL)
        return false;
    return strcmp(noted, ops->name) == 0 ||
           (kt_exec_is(ops) && strncmp(noted, KT_TARGET_EXEC, strlen(KT_TARGET_EXEC)) == 0);
}

/* ---- resuming ---- */

/* May a rotation with this target resume the pending version? */
static kt_status_t check_pending(const kt_head_t *head, const kt_target_ops_t *ops)
{
    long pid = 0;

    if (ops == NULL || !same_target(kt_head_get_note(head, head->pending, KT_NOTE_TARGET), ops))
        return kt_write_no_pending(head);
    if (!kt_lease_is_held(kt_head_get_note(head, head->pending, KT_NOTE_LEASE), &pid))
        return KT_SUCCESS;
    if (pid != 0)
        return kt_fail(KT_CONFLICT, "%s: process %ld is rotating it right now (version %llu)",
                       head->name, pid, (unsigned long long)head->pending);
    return kt_fail(KT_CONFLICT, "%s: another machine is rotating it right now (version %llu)",
                   head->name, (unsigned long long)head->pending);
}

/* Leaves *ret_pending alone if no version is pending. */
static kt_status_t look_for_pending(kt_rotation_t *r, uint64_t *ret_pending)
{
    kt_head_t head;
    kt_status_t status = kt_store_head(&r->ctx->holder, r->store, r->call.ref.name, &head);

    if (status == KT_NOTFOUND) {
        kt_failure_clear(); /* the step create reports and records it */
        return KT_SUCCESS;
    }
    if (status != KT_SUCCESS)
        return status;
    *ret_pending = head.deleted ? 0 : head.pending;
    kt_head_clear(&head);
    return KT_SUCCESS;
}

/* Makes this process the owner of the pending version, in the same transaction as the check that it
 * has no other owner. */
static kt_status_t adopt_pending(kt_rotation_t *r, const plan_t *plan)
{
    char lease[KT_LEASE_SIZE];
    kt_change_t *change = NULL;
    kt_status_t status;

    kt_lease_format(lease_of(plan), lease);
    status = kt_rotate_check_target(plan->options.target);
    if (status == KT_SUCCESS)
        status = kt_rotation_begin_step(r, kt_write_timeout(&r->req), &change);
    if (status == KT_SUCCESS) {
        status = check_pending(kt_change_head(change), plan->options.target);
        if (status == KT_SUCCESS)
            status = kt_head_note(kt_change_head(change), r->version, KT_NOTE_LEASE, lease);
        if (status != KT_SUCCESS)
            kt_change_abort(change);
    }
    if (status != KT_SUCCESS)
        return kt_decide(r->ctx, &r->call, "rotate.resume", status, r->version, r->store->name,
                         KT_EV_DURABLE);
    return kt_write_finish(r->ctx, &r->call, change, "rotate.resume", r->version, r->store->name);
}

static kt_status_t resume_locked(kt_ctx_t *ctx, const kt_request_t *req, const plan_t *plan,
                                 kt_rotation_t **ret_rotation)
{
    kt_rotation_t *r;
    uint64_t pending = 0;
    kt_status_t status = kt_rotation_new(ctx, req, KT_CAP_ROTATE, "rotate", &r);

    if (status != KT_SUCCESS)
        return status;
    status = kt_rotation_open(r);
    if (status == KT_SUCCESS)
        status = look_for_pending(r, &pending);
    if (status == KT_SUCCESS && pending == 0) {
        kt_rotation_free(r);
        return KT_SUCCESS;
    }
    r->version = pending;
    r->expires = plan->options.expires;
    if (status == KT_SUCCESS)
        status = adopt_pending(r, plan);
    else
        status = kt_decide(ctx, &r->call, "rotate.resume", status, 0, NULL, KT_EV_DURABLE);
    return kt_rotation_return(r, status, ret_rotation);
}

/* *ret_rotation stays NULL if nothing is unfinished. */
static kt_status_t resume(kt_ctx_t *ctx, const kt_request_t *req, const plan_t *plan,
                          kt_rotation_t **ret_rotation)
{
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    status = resume_locked(ctx, req, plan, ret_rotation);
    kt_leave(ctx);
    return status;
}

/* ---- with a target ---- */

/* Records a target's failure; success shows in the record of `finish`. Answers `status`, with its
 * error text. */
static kt_status_t record_failure(kt_rotation_t *r, const char *action, kt_status_t status)
{
    kt_failure_t failed;

    if (status == KT_SUCCESS)
        return status;
    kt_failure_save(&failed, status);
    if (kt_enter(r->ctx) == KT_SUCCESS) {
        (void)kt_decide(r->ctx, &r->call, action, status, r->version, r->store->name,
                        KT_EV_DURABLE);
        kt_leave(r->ctx);
    }
    return kt_failure_restore(&failed);
}

static kt_status_t ask_set(kt_rotation_t *r, const kt_rotate_options_t *options)
{
    return record_failure(r, "rotate.set", options->target->set(options->target_arg, r));
}

static kt_status_t ask_test(kt_rotation_t *r, const kt_rotate_options_t *options)
{
    if (options->target->test == NULL)
        return KT_SUCCESS;
    return record_failure(r, "rotate.test", options->target->test(options->target_arg, r));
}

/* The target's answer decides. KT_CONFLICT: it rejected the new value and has the old one. Any
 * other failure: it is not known which one it has. */
static kt_status_t ask_target(kt_rotation_t *r, const kt_rotate_options_t *options, bool resumed)
{
    kt_status_t status;

    /* a test of Redis cannot tell whether all that belongs to a change is done */
    if (resumed && options->target->test != NULL && !kt_redis_is(options->target)) {
        status = ask_test(r, options);
        if (status != KT_CONFLICT) /* it has the new value, or that is not known */
            return status;
        kt_failure_clear();
    }
    kt_debug_point("before_set");
    status = ask_set(r, options);
    kt_debug_point("after_set");
    if (status == KT_SUCCESS)
        status = ask_test(r, options);
    kt_debug_point("after_test");
    return status;
}

/* Ends this process's ownership. If that fails, it ends with the process or the lease. */
static void release_lease(kt_rotation_t *r)
{
    kt_change_t *change;

    if (kt_enter(r->ctx) != KT_SUCCESS)
        return;
    if (kt_rotation_begin_step(r, kt_write_timeout(&r->req), &change) == KT_SUCCESS) {
        kt_head_drop_note(kt_change_head(change), r->version, KT_NOTE_LEASE);
        (void)kt_rotation_end_step(change, KT_SUCCESS);
    }
    kt_leave(r->ctx);
}

static kt_status_t carry_out(kt_rotation_t *r, const kt_rotate_options_t *options, bool resumed,
                             uint64_t *ret_version)
{
    kt_failure_t failed;
    kt_status_t status = ask_target(r, options, resumed);

    if (status == KT_SUCCESS)
        return kt_rotation_finish(r, 0, ret_version);
    kt_failure_save(&failed, status);
    if (status == KT_CONFLICT) {
        /* if this fails, the version stays pending, and the next rotation finds it */
        (void)!kt_rotation_abandon(r);
    } else {
        release_lease(r);
        kt_rotation_leave(r);
    }
    return kt_failure_restore(&failed);
}

static kt_status_t create_and_carry_out(kt_ctx_t *ctx, const kt_request_t *req, const plan_t *plan,
                                        uint64_t *ret_version)
{
    char lease[KT_LEASE_SIZE];
    kt_rotation_t *r;
    kt_status_t status;

    kt_lease_format(lease_of(plan), lease);
    status = kt_rotation_create_leased(ctx, req, &plan->options, lease, &r);
    if (status != KT_SUCCESS)
        return status;
    kt_debug_point("after_create");
    return carry_out(r, &plan->options, /* resumed= */ false, ret_version);
}

/* Before anything is stored: a server that cannot be asked, or will not do it, changes nothing. */
static kt_status_t look_at_target(kt_ctx_t *ctx, const kt_request_t *req, plan_t *plan)
{
    kt_rotation_t *r = NULL;
    kt_failure_t failed;
    kt_call_t call;
    kt_status_t status;

    if (!kt_redis_is(plan->options.target))
        return KT_SUCCESS;
    status = kt_rotation_look(ctx, req, /* repair= */ 0, &r);
    if (status == KT_SUCCESS) {
        status = kt_redis_ask(&plan->redis, r);
        kt_rotation_leave(r);
    }
    if (status == KT_SUCCESS)
        return status;
    kt_failure_save(&failed, status);
    if (kt_enter(ctx) == KT_SUCCESS) {
        if (kt_call_begin(ctx, req, &call) == KT_SUCCESS)
            (void)kt_decide(ctx, &call, "rotate.create", status, 0, NULL,
                            KT_EV_DURABLE | KT_EV_UNCOUNTED);
        kt_leave(ctx);
    }
    return kt_failure_restore(&failed);
}

/* Finishes an unfinished rotation first. That is all, unless the caller brought a value, which must
 * become current. */
static kt_status_t rotate_with_target(kt_ctx_t *ctx, const kt_request_t *req, plan_t *plan,
                                      uint64_t *ret_version)
{
    kt_rotation_t *r = NULL;
    kt_status_t status = resume(ctx, req, plan, &r);

    if (status != KT_SUCCESS)
        return status;
    if (r == NULL) {
        status = look_at_target(ctx, req, plan);
        return status == KT_SUCCESS ? create_and_carry_out(ctx, req, plan, ret_version) : status;
    }
    status = carry_out(r, &plan->options, /* resumed= */ true, ret_version);
    if (plan->options.value == NULL || status != KT_SUCCESS)
        return status;
    return create_and_carry_out(ctx, req, plan, ret_version);
}

/* ---- without a target ---- */

static kt_status_t rotate_without(kt_ctx_t *ctx, const kt_request_t *req, const plan_t *plan,
                                  uint64_t *ret_version)
{
    kt_call_t call;
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    status = kt_call_begin(ctx, req, &call);
    if (status == KT_SUCCESS)
        status = kt_write_begin(ctx, &call, KT_CAP_ROTATE, "rotate");
    if (status == KT_SUCCESS && plan->runs_elsewhere)
        status = kt_decide(ctx, &call, "rotate", refuse_elsewhere(call.ref.name), 0, NULL,
                           KT_EV_DURABLE);
    else if (status == KT_SUCCESS)
        status = kt_rotate_at_once(ctx, &call, &plan->options, ret_version);
    kt_leave(ctx);
    return status;
}

/* The rotation is complete even if a notification fails, so its failure is only recorded and
 * logged. */
static void record_notice(kt_ctx_t *ctx, const kt_call_t *call, const char *action,
                          kt_status_t status, uint64_t version)
{
    if (status != KT_SUCCESS)
        kt_log(&ctx->holder.logger, 4, "%s was rotated, but the notification failed: %s",
               call->ref.name, kt_failure());
    if (kt_enter(ctx) == KT_SUCCESS) {
        if (kt_decide(ctx, call, action, status, version, NULL, KT_EV_DURABLE) == KT_AUDIT)
            kt_log(&ctx->holder.logger, 4, "%s", kt_failure());
        kt_leave(ctx);
    }
    kt_failure_clear();
}

static void notify(kt_ctx_t *ctx, const kt_request_t *req, const plan_t *plan, uint64_t version)
{
    const kt_cfg_target_t *config = plan->config;
    kt_call_t call;
    kt_status_t status;

    if (config == NULL || !kt_rotate_runs_targets(ctx, req) ||
        kt_call_begin(ctx, req, &call) != KT_SUCCESS)
        return;
    if (config->notify != NULL) {
        status = kt_exec_notify(ctx, config, call.ref.name, version) ? KT_SUCCESS : KT_UNAVAIL;
        record_notice(ctx, &call, "rotate.notify", status, version);
    }
    if (config->webhook != NULL) {
        status = kt_webhook_send(ctx, req, config, call.ref.name, version);
        record_notice(ctx, &call, "rotate.webhook", status, version);
    }
}

/* The rotation is complete even if an older password cannot be removed: the next retirement tries
 * again. */
static void retire(kt_ctx_t *ctx, const kt_request_t *req)
{
    if (kt_retire(ctx, req, NULL, NULL) == KT_SUCCESS)
        return;
    kt_log(&ctx->holder.logger, 4,
           "the old password of %s stays valid: %s (`keyturn rotate --due` "
           "tries again)",
           req->reference, kt_failure());
    kt_failure_clear();
}

kt_status_t kt_rotate(kt_ctx_t *ctx, const kt_request_t *req, const kt_rotate_options_t *options,
                      uint64_t *ret_version)
{
    uint64_t version = 0;
    plan_t plan;
    kt_status_t status = make_plan(ctx, req, options, &plan);

    if (status != KT_SUCCESS)
        return status;
    if (plan.options.target != NULL)
        status = rotate_with_target(ctx, req, &plan, &version);
    else
        status = rotate_without(ctx, req, &plan, &version);
    if (status != KT_SUCCESS)
        return status;
    kt_debug_point("after_finish");
    notify(ctx, req, &plan, version);
    if (kt_redis_is(plan.options.target))
        retire(ctx, req);
    if (ret_version != NULL)
        *ret_version = version;
    return KT_SUCCESS;
}

/* ---- may it be rotated? ---- */

static kt_status_t check_value(kt_ctx_t *ctx, kt_store_t *store, const kt_head_t *head,
                               const kt_call_t *call, const plan_t *plan)
{
    kt_secret_t *value = NULL;
    kt_shape_t shape;
    kt_status_t status;

    if (head->current == 0)
        return KT_SUCCESS;
    if (head->expires != 0 && head->expires <= kt_now())
        return kt_rotate_check_origin(head, KT_SHAPE_OPAQUE, &plan->options);
    status = kt_store_read(&ctx->holder, store, &call->ref, &value);
    if (status == KT_SUCCESS)
        status = kt_rotate_check_value(head, value, &plan->options, &shape);
    kt_secret_free(value);
    return status;
}

static kt_status_t check_locked(kt_ctx_t *ctx, const kt_request_t *req, const plan_t *plan)
{
    kt_bundle_store_t bundle;
    kt_store_t *store;
    kt_head_t head;
    kt_call_t call;
    size_t index;
    kt_status_t status;

    status = kt_call_begin(ctx, req, &call);
    if (status == KT_SUCCESS)
        status = kt_policy_check(ctx->holder.config, call.subject, KT_CAP_ROTATE, call.ref.name);
    if (status == KT_SUCCESS && plan->runs_elsewhere)
        status = refuse_elsewhere(call.ref.name);
    if (status == KT_SUCCESS)
        status = kt_switch_writer(ctx, &call, &bundle, &store, &index);
    if (status == KT_SUCCESS)
        status = kt_store_head(&ctx->holder, store, call.ref.name, &head);
    if (status != KT_SUCCESS)
        return status;
    status = kt_rotate_check_head(&head, &plan->options);
    if (status == KT_SUCCESS && head.pending != 0)
        status = check_pending(&head, plan->options.target);
    if (status == KT_SUCCESS)
        status = check_value(ctx, store, &head, &call, plan);
    if (status == KT_SUCCESS)
        status = kt_rotate_check_target(plan->options.target);
    kt_head_clear(&head);
    return status;
}

kt_status_t kt_rotate_check(kt_ctx_t *ctx, const kt_request_t *req,
                            const kt_rotate_options_t *options)
{
    plan_t plan;
    kt_status_t status = make_plan(ctx, req, options, &plan);

    if (status == KT_SUCCESS)
        status = kt_enter(ctx);
    if (status != KT_SUCCESS)
        return status;
    status = check_locked(ctx, req, &plan);
    kt_leave(ctx);
    return status;
}
