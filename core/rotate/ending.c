/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ending.c: the last step of a rotation: its version becomes current, is dropped or is set aside.
 *
 * For a host whose own commit lies in between, the step of one or several rotations has two halves.
 * The first one takes the store's write lock, and does everything that can fail: it writes the
 * changes and records the intents. After it only the store's commit is left, with one sync.
 */
#include <stdlib.h>

#include "rotate.h"

/* ---- what happens to the pending version ---- */

typedef struct last_step {
    const char *action; /* of the record */
    kt_status_t (*change)(kt_change_t *change, const kt_rotation_t *r);
} last_step_t;

static kt_status_t make_current(kt_change_t *change, const kt_rotation_t *r)
{
    kt_status_t status = kt_rotation_make_current(change, r->version);

    if (status == KT_SUCCESS && r->expires != 0)
        kt_change_head(change)->expires = r->expires;
    return status;
}

static kt_status_t drop(kt_change_t *change, const kt_rotation_t *r)
{
    return kt_change_drop(change, r->version);
}

static kt_status_t set_aside(kt_change_t *change, const kt_rotation_t *r)
{
    return kt_change_set_aside(change, r->version, kt_now() + r->keep);
}

static const last_step_t finish = {"rotate.finish", make_current};
static const last_step_t abandon = {"rotate.abandon", drop};
static const last_step_t put_aside = {"rotate.abandon", set_aside};

/* ---- one rotation ---- */

/* Did another process make the version current? Then that is what `finish` was to do. */
static bool is_current(kt_rotation_t *r)
{
    kt_failure_t failed;
    kt_head_t head;
    bool current = false;

    kt_failure_save(&failed, KT_CONFLICT);
    if (kt_store_head(&r->ctx->holder, r->store, r->call.ref.name, &head) == KT_SUCCESS) {
        current = !head.deleted && head.current == r->version;
        kt_head_clear(&head);
    }
    (void)kt_failure_restore(&failed);
    return current;
}

static kt_status_t end_locked(kt_rotation_t *r, const last_step_t *step, unsigned timeout)
{
    kt_change_t *change;
    kt_status_t status;

    status = kt_rotation_begin_step(r, timeout, &change);
    if (status == KT_SUCCESS) {
        status = step->change(change, r);
        if (status != KT_SUCCESS)
            kt_change_abort(change);
    } else if (status == KT_CONFLICT && step == &finish && is_current(r)) {
        kt_failure_clear();
        return kt_decide(r->ctx, &r->call, step->action, KT_SUCCESS, r->version, r->store->name,
                         KT_EV_DURABLE);
    }
    if (status != KT_SUCCESS)
        return kt_decide(r->ctx, &r->call, step->action, status, r->version, r->store->name,
                         KT_EV_DURABLE);
    return kt_write_finish(r->ctx, &r->call, change, step->action, r->version, r->store->name);
}

static kt_status_t end_rotation(kt_rotation_t *rotation, const last_step_t *step, unsigned timeout,
                                uint64_t *ret_version)
{
    kt_status_t status = kt_enter(rotation->ctx);

    if (status != KT_SUCCESS)
        return status;
    status = end_locked(rotation, step, timeout != 0 ? timeout : kt_write_timeout(&rotation->req));
    kt_leave(rotation->ctx);
    if (status == KT_SUCCESS && ret_version != NULL)
        *ret_version = rotation->version;
    kt_rotation_free(rotation);
    return status;
}

kt_status_t kt_rotation_finish(kt_rotation_t *rotation, unsigned deadline, uint64_t *ret_version)
{
    return end_rotation(rotation, &finish, deadline, ret_version);
}

kt_status_t kt_rotation_abandon(kt_rotation_t *rotation)
{
    return end_rotation(rotation, &abandon, /* timeout= */ 0, /* ret_version= */ NULL);
}

kt_status_t kt_rotation_set_aside(kt_rotation_t *rotation, int64_t keep)
{
    rotation->keep = keep;
    return end_rotation(rotation, &put_aside, /* timeout= */ 0, /* ret_version= */ NULL);
}

void kt_rotation_leave(kt_rotation_t *rotation)
{
    if (rotation != NULL)
        kt_rotation_free(rotation);
}

/* ---- several rotations, in two halves ---- */

/* Rotations of one store are one transaction. */
typedef struct group {
    kt_write_t *writes;
    size_t count;
} group_t;

struct kt_prepared {
    kt_ctx_t *ctx;
    kt_rotation_t **rotations; /* those of a store stand together */
    kt_write_t *writes;        /* in the same order */
    size_t count;
    group_t *groups;
    size_t ngroups; /* that are prepared */
};

static void prepared_free(kt_prepared_t *prepared)
{
    free(prepared->rotations);
    free(prepared->writes);
    free(prepared->groups);
    free(prepared);
}

static kt_prepared_t *prepared_new(kt_rotation_t *const *rotations, size_t count)
{
    kt_prepared_t *prepared = calloc(1, sizeof(*prepared));
    size_t i, k;

    if (prepared == NULL)
        return NULL;
    prepared->ctx = rotations[0]->ctx;
    prepared->rotations = calloc(count, sizeof(kt_rotation_t *));
    prepared->writes = calloc(count, sizeof(*prepared->writes));
    prepared->groups = calloc(count, sizeof(*prepared->groups));
    if (prepared->rotations == NULL || prepared->writes == NULL || prepared->groups == NULL) {
        prepared_free(prepared);
        return NULL;
    }
    for (i = 0; i < count; i++) {
        for (k = 0; k < i && rotations[k]->store != rotations[i]->store; k++)
            ;
        if (k < i)
            continue; /* came with an earlier one of its store */
        for (k = i; k < count; k++)
            if (rotations[k]->store == rotations[i]->store)
                prepared->rotations[prepared->count++] = rotations[k];
    }
    return prepared;
}

/* One rotation's change, as one of `group`. */
static kt_status_t add_change(kt_prepared_t *prepared, group_t *group, const last_step_t *step,
                              unsigned timeout)
{
    size_t at = (size_t)(group->writes - prepared->writes) + group->count;
    kt_rotation_t *r = prepared->rotations[at];
    kt_write_t *write = &group->writes[group->count];
    kt_change_t *change = NULL;
    kt_status_t status = group->count == 0
                             ? kt_rotation_begin_step(r, timeout, &change)
                             : kt_rotation_join_step(r, group->writes->change, &change);

    if (status == KT_SUCCESS) {
        *write = (kt_write_t){r->call, change, step->action, r->version, r->store->name};
        group->count++;
        status = step->change(change, r);
    }
    if (status == KT_SUCCESS)
        return KT_SUCCESS;
    if (group->count > 0)
        kt_change_abort(group->writes->change);
    return kt_decide(r->ctx, &r->call, step->action, status, r->version, r->store->name,
                     KT_EV_DURABLE);
}

/* The group of the rotation at `from`. *ret_count: how many belong to it. */
static kt_status_t prepare_group(kt_prepared_t *prepared, size_t from, const last_step_t *step,
                                 unsigned timeout, size_t *ret_count)
{
    group_t *group = &prepared->groups[prepared->ngroups];
    const kt_store_t *store = prepared->rotations[from]->store;
    kt_status_t status = KT_SUCCESS;

    *group = (group_t){&prepared->writes[from], 0};
    while (status == KT_SUCCESS && from + group->count < prepared->count &&
           prepared->rotations[from + group->count]->store == store)
        status = add_change(prepared, group, step, timeout);
    if (status == KT_SUCCESS) {
        kt_change_be_lazy(group->writes->change); /* one sync is left: that of the commit */
        if (step == &finish)
            kt_change_publishes(group->writes->change);
        status = kt_write_prepare(prepared->ctx, group->writes, group->count);
    }
    if (status == KT_SUCCESS)
        prepared->ngroups++;
    *ret_count = group->count;
    return status;
}

static void cancel_groups(kt_prepared_t *prepared, kt_status_t status)
{
    size_t i;

    for (i = 0; i < prepared->ngroups; i++)
        kt_write_cancel(prepared->ctx, prepared->groups[i].writes, prepared->groups[i].count,
                        status);
    prepared->ngroups = 0;
}

static kt_status_t prepare_locked(kt_prepared_t *prepared, const last_step_t *step,
                                  unsigned timeout)
{
    kt_failure_t failed;
    kt_status_t status = KT_SUCCESS;
    size_t from, count;

    for (from = 0; from < prepared->count && status == KT_SUCCESS; from += count)
        status = prepare_group(prepared, from, step, timeout, &count);
    if (status == KT_SUCCESS || prepared->ngroups == 0)
        return status;
    kt_failure_save(&failed, status);
    cancel_groups(prepared, status);
    return kt_failure_restore(&failed);
}

static kt_status_t prepare(kt_rotation_t *const *rotations, size_t count, const last_step_t *step,
                           unsigned timeout, kt_prepared_t **ret_prepared)
{
    kt_prepared_t *prepared;
    kt_status_t status = kt_enter(rotations[0]->ctx);

    if (status != KT_SUCCESS)
        return status;
    prepared = prepared_new(rotations, count);
    status = prepared != NULL ? prepare_locked(prepared, step, timeout) : kt_no_memory();
    if (status == KT_SUCCESS)
        *ret_prepared = prepared;
    else if (prepared != NULL)
        prepared_free(prepared);
    kt_leave(rotations[0]->ctx);
    return status;
}

static kt_status_t commit_locked(kt_prepared_t *prepared)
{
    kt_failure_t failed;
    kt_status_t answer = KT_SUCCESS, status;
    size_t i;

    for (i = 0; i < prepared->ngroups; i++) {
        status =
            kt_write_commit(prepared->ctx, prepared->groups[i].writes, prepared->groups[i].count);
        if (status == KT_SUCCESS || answer != KT_SUCCESS)
            continue;
        kt_failure_save(&failed, status);
        answer = status;
    }
    return answer == KT_SUCCESS ? KT_SUCCESS : kt_failure_restore(&failed);
}

kt_status_t kt_rotations_prepare(kt_rotation_t *const *rotations, size_t count, unsigned deadline,
                                 kt_prepared_t **ret_prepared)
{
    *ret_prepared = NULL;
    if (count == 0)
        return kt_fail(KT_USAGE, "there is no rotation to finish");
    return prepare(rotations, count, &finish,
                   deadline != 0 ? deadline : kt_write_timeout(&rotations[0]->req), ret_prepared);
}

/* A context that cannot be entered must not keep the store's lock. */
static void abort_groups(kt_prepared_t *prepared)
{
    size_t i;

    for (i = 0; i < prepared->ngroups; i++)
        kt_change_abort(prepared->groups[i].writes->change);
}

kt_status_t kt_prepared_commit(kt_prepared_t *prepared)
{
    kt_ctx_t *ctx = prepared->ctx;
    kt_status_t status = kt_enter(ctx);
    size_t i;

    if (status == KT_SUCCESS) {
        status = commit_locked(prepared);
        kt_leave(ctx);
    } else {
        abort_groups(prepared);
    }
    for (i = 0; i < prepared->count; i++)
        kt_rotation_free(prepared->rotations[i]);
    prepared_free(prepared);
    return status;
}

void kt_prepared_cancel(kt_prepared_t *prepared)
{
    kt_ctx_t *ctx = prepared->ctx;

    if (kt_enter(ctx) == KT_SUCCESS) {
        cancel_groups(prepared, kt_fail(KT_CONFLICT, "the caller gave it up"));
        kt_leave(ctx);
    } else {
        abort_groups(prepared);
    }
    prepared_free(prepared);
}

static kt_status_t abandon_each(kt_rotation_t *const *rotations, size_t count)
{
    kt_status_t answer = KT_SUCCESS, status;
    size_t i;

    for (i = 0; i < count; i++) {
        status = kt_rotation_abandon(rotations[i]);
        if (status != KT_SUCCESS)
            answer = status;
    }
    return answer;
}

kt_status_t kt_rotations_abandon(kt_rotation_t *const *rotations, size_t count)
{
    kt_prepared_t *prepared;

    if (count <= 1 || prepare(rotations, count, &abandon, kt_write_timeout(&rotations[0]->req),
                              &prepared) != KT_SUCCESS)
        return abandon_each(rotations, count); /* one of them may be what failed */
    return kt_prepared_commit(prepared);
}
