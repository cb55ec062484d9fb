/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * retire.c: takes old passwords from a target when their time is over.
 *
 * Nothing is removed unless the current value works on every server: so a server that is down
 * delays the removal everywhere, and none can end up with neither password. Meanwhile the process
 * has a lease on the current version, so that no rotation begins: requirepass would take a password
 * away that came in between.
 */
#include <string.h>

#include "old.h"

#define LEASE_MS (5 * 60 * 1000)

typedef struct retirement {
    kt_rotation_t *rotation; /* its version is the current one */
    kt_old_t old;            /* those whose time is over */
    char current[KT_PASSWORD_HASH];
    const char *removed[KT_OLD_MAX + 1];
    size_t count;
    bool unfinished; /* a version is pending */
} retirement_t;

/* What is due. A secret whose rotation is unfinished, that is deleted, or on which another process
 * works, has its turn later. */
static void take_due(retirement_t *retirement, const kt_head_t *head)
{
    kt_old_t *old = &retirement->old;
    size_t i, n = 0;

    kt_old_list(head, old);
    for (i = 0; i < old->count; i++) {
        if (old->list[i].until <= kt_now())
            old->list[n++] = old->list[i];
    }
    retirement->rotation->version = head->current;
    retirement->unfinished = head->pending != 0 && !head->deleted;
    if (head->pending != 0 || head->current == 0 || head->deleted ||
        kt_old_busy(head) != KT_SUCCESS)
        n = 0;
    kt_failure_clear(); /* of the other process */
    old->count = n;
}

static kt_status_t look_at_head(retirement_t *retirement)
{
    kt_rotation_t *r = retirement->rotation;
    kt_head_t head;
    kt_status_t status = kt_rotation_open(r);

    if (status == KT_SUCCESS)
        status = kt_store_head(&r->ctx->holder, r->store, r->call.ref.name, &head);
    if (status != KT_SUCCESS)
        return status;
    take_due(retirement, &head);
    kt_head_clear(&head);
    return KT_SUCCESS;
}

/* The same within a change, which takes the lease. */
static kt_status_t take_lease(retirement_t *retirement)
{
    kt_rotation_t *r = retirement->rotation;
    char lease[KT_LEASE_SIZE];
    kt_change_t *change = NULL;
    kt_status_t status = kt_change_begin(&r->ctx->holder, r->store, r->call.ref.name,
                                         kt_write_timeout(&r->req), &change);

    if (status != KT_SUCCESS)
        return status;
    take_due(retirement, kt_change_head(change));
    if (retirement->old.count == 0) {
        kt_change_abort(change);
        return KT_SUCCESS;
    }
    kt_lease_format(LEASE_MS, lease);
    return kt_rotation_end_step(
        change, kt_head_note(kt_change_head(change), r->version, KT_NOTE_LEASE, lease));
}

static kt_status_t begin(kt_ctx_t *ctx, const kt_request_t *req, retirement_t *retirement)
{
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    status = kt_rotation_new(ctx, req, KT_CAP_ROTATE, "rotate.retire", &retirement->rotation);
    if (status == KT_SUCCESS) {
        status = look_at_head(retirement);
        if (status == KT_NOTFOUND) { /* nothing is left of it */
            kt_failure_clear();
            status = KT_SUCCESS;
        } else if (status == KT_SUCCESS && retirement->old.count > 0) {
            status = take_lease(retirement);
        }
        if (status != KT_SUCCESS)
            status = kt_decide(ctx, &retirement->rotation->call, "rotate.retire", status, 0, NULL,
                               KT_EV_DURABLE);
    }
    kt_leave(ctx);
    return status;
}

/* A password that became current again stays. */
static kt_status_t choose(retirement_t *retirement)
{
    kt_secret_t *whole = NULL, *part = NULL;
    kt_status_t status = kt_rotation_value(retirement->rotation, NULL, &whole);
    size_t i;

    if (status == KT_SUCCESS)
        status = kt_target_part(whole, &part);
    if (status == KT_SUCCESS)
        kt_password_hash(part, retirement->current);
    kt_secret_free(part);
    kt_secret_free(whole);
    for (i = 0; status == KT_SUCCESS && i < retirement->old.count; i++) {
        if (strcmp(retirement->old.list[i].hash, retirement->current) != 0)
            retirement->removed[retirement->count++] = retirement->old.list[i].hash;
    }
    return status;
}

/* If that fails, the lease ends with the process. */
static void release_lease(retirement_t *retirement)
{
    kt_rotation_t *r = retirement->rotation;
    kt_change_t *change = NULL;

    if (kt_change_begin(&r->ctx->holder, r->store, r->call.ref.name, kt_write_timeout(&r->req),
                        &change) != KT_SUCCESS)
        return;
    kt_head_drop_note(kt_change_head(change), r->version, KT_NOTE_LEASE);
    (void)kt_rotation_end_step(change, KT_SUCCESS);
}

static kt_status_t forget_locked(retirement_t *retirement)
{
    kt_rotation_t *r = retirement->rotation;
    kt_change_t *change = NULL;
    size_t i;
    kt_status_t status = kt_change_begin(&r->ctx->holder, r->store, r->call.ref.name,
                                         kt_write_timeout(&r->req), &change);

    if (status != KT_SUCCESS)
        return kt_decide(r->ctx, &r->call, "rotate.retire", status, r->version, r->store->name,
                         KT_EV_DURABLE);
    for (i = 0; i < retirement->old.count; i++)
        kt_old_forget(kt_change_head(change), retirement->old.list[i].hash);
    kt_head_drop_note(kt_change_head(change), r->version, KT_NOTE_LEASE);
    return kt_write_finish(r->ctx, &r->call, change, "rotate.retire", r->version, r->store->name);
}

/* Records the end, whichever it is. */
static kt_status_t finish(retirement_t *retirement, kt_status_t status)
{
    kt_rotation_t *r = retirement->rotation;
    kt_failure_t failed;

    kt_failure_save(&failed, status);
    if (kt_enter(r->ctx) != KT_SUCCESS)
        return status != KT_SUCCESS ? kt_failure_restore(&failed) : KT_INTERNAL;
    if (status == KT_SUCCESS) {
        status = forget_locked(retirement);
    } else {
        release_lease(retirement);
        (void)kt_decide(r->ctx, &r->call, "rotate.retire", status, r->version, r->store->name,
                        KT_EV_DURABLE);
        status = kt_failure_restore(&failed);
    }
    kt_leave(r->ctx);
    return status;
}

static kt_status_t remove_due(kt_ctx_t *ctx, const kt_cfg_target_t *config,
                              retirement_t *retirement)
{
    kt_redis_t redis;
    kt_status_t status;

    kt_redis_init(&redis, ctx, config);
    status = choose(retirement);
    kt_debug_point("before_retire");
    if (status == KT_SUCCESS && retirement->count > 0)
        status = kt_redis_remove(&redis, retirement->rotation, retirement->removed);
    kt_debug_point("after_retire");
    return finish(retirement, status);
}

kt_status_t kt_retire(kt_ctx_t *ctx, const kt_request_t *req, size_t *ret_removed,
                      int *ret_unfinished)
{
    retirement_t retirement = {.rotation = NULL};
    const kt_cfg_target_t *config;
    kt_reference_t ref;
    kt_status_t status = kt_reference_parse(req->reference, req->reference_len, &ref);

    if (ret_removed != NULL)
        *ret_removed = 0;
    if (ret_unfinished != NULL)
        *ret_unfinished = 0;
    if (status != KT_SUCCESS)
        return status;
    config = kt_config_target(ctx->holder.config, ref.name);
    if (config == NULL || config->redis.servers == NULL || !kt_rotate_runs_targets(ctx, req))
        return KT_SUCCESS;
    status = begin(ctx, req, &retirement);
    if (status == KT_SUCCESS && retirement.old.count > 0)
        status = remove_due(ctx, config, &retirement);
    if (status == KT_SUCCESS && ret_removed != NULL)
        *ret_removed = retirement.count;
    if (status == KT_SUCCESS && ret_unfinished != NULL)
        *ret_unfinished = retirement.unfinished;
    kt_rotation_leave(retirement.rotation);
    return status;
}
