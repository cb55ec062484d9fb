/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * adopt.c: records which version a target already has. This makes no value and does not change the
 * target.
 *
 * The caller first looks at the secret, by the right to rotate or, for a repair, `admin`. It
 * compares the target with the versions, and adopts one of them, unless the secret was changed
 * meanwhile.
 */
#include <string.h>

#include "rotate.h"

static const char *action_of(bool repairs)
{
    return repairs ? "rotate.repair" : "rotate.adopt";
}

static kt_status_t look_at_head(kt_rotation_t *r)
{
    kt_head_t head;
    kt_status_t status = kt_rotation_open(r);

    if (status == KT_SUCCESS)
        status = kt_store_head(&r->ctx->holder, r->store, r->call.ref.name, &head);
    if (status != KT_SUCCESS)
        return status;
    status = kt_rotate_check_live(&head);
    r->version = head.current;
    r->replaces = head.current;
    kt_head_clear(&head);
    return status;
}

kt_status_t kt_rotation_look(kt_ctx_t *ctx, const kt_request_t *req, int repair,
                             kt_rotation_t **ret_rotation)
{
    kt_rotation_t *r;
    kt_status_t status = kt_enter(ctx);

    *ret_rotation = NULL;
    if (status != KT_SUCCESS)
        return status;
    status = kt_rotation_new(ctx, req, repair != 0 ? KT_CAP_ADMIN : KT_CAP_ROTATE,
                             action_of(repair != 0), &r);
    if (status == KT_SUCCESS) {
        r->repairs = repair != 0;
        status = look_at_head(r);
        if (status == KT_SUCCESS) {
            *ret_rotation = r;
        } else {
            status =
                kt_decide(ctx, &r->call, action_of(r->repairs), status, 0, NULL, KT_EV_DURABLE);
            kt_rotation_free(r);
        }
    }
    kt_leave(ctx);
    return status;
}

kt_status_t kt_rotation_info(kt_rotation_t *rotation, kt_info_t **ret_info)
{
    kt_head_t head;
    kt_status_t status = kt_enter(rotation->ctx);

    *ret_info = NULL;
    if (status != KT_SUCCESS)
        return status;
    status = kt_store_head(&rotation->ctx->holder, rotation->store, rotation->call.ref.name, &head);
    if (status == KT_SUCCESS)
        status = kt_info_new(&head, rotation->store->name, ret_info);
    kt_leave(rotation->ctx);
    return status;
}

/* A pending version that the target does not have keeps its value: another server may have it. */
static kt_status_t end_pending(kt_change_t *change, const kt_rotation_t *r, uint64_t version,
                               int64_t keep)
{
    const kt_head_t *head = kt_change_head(change);

    if (head->pending == 0 || head->pending == version)
        return KT_SUCCESS;
    return r->repairs ? kt_change_set_aside(change, head->pending, kt_now() + keep)
                      : kt_write_no_pending(head);
}

static kt_status_t note_all(kt_head_t *head, uint64_t version, const kt_adopt_t *adopt)
{
    kt_status_t status = kt_head_note(head, version, KT_NOTE_TARGET, adopt->target);
    size_t i;

    kt_head_drop_note(head, version, KT_NOTE_LEASE);
    for (i = 0; i < adopt->nnotes && status == KT_SUCCESS; i++)
        status = kt_head_note(head, version, adopt->notes[i].key, adopt->notes[i].value);
    return status;
}

static kt_status_t change_adopted(kt_change_t *change, const kt_rotation_t *r,
                                  const kt_adopt_t *adopt, uint64_t version)
{
    kt_head_t *head = kt_change_head(change);
    kt_status_t status = kt_rotate_check_live(head);

    if (status == KT_SUCCESS && head->current != r->replaces)
        status =
            kt_fail(KT_CONFLICT,
                    "%s: its current version is %llu, not %llu: it was changed "
                    "meanwhile (try again)",
                    head->name, (unsigned long long)head->current, (unsigned long long)r->replaces);
    if (status == KT_SUCCESS)
        status = end_pending(change, r, version, adopt->keep);
    if (status == KT_SUCCESS)
        status = kt_change_make_current(change, version);
    return status == KT_SUCCESS ? note_all(head, version, adopt) : status;
}

static kt_status_t adopt_locked(kt_rotation_t *r, const kt_adopt_t *adopt)
{
    uint64_t version = adopt->version != 0 ? adopt->version : r->replaces;
    const char *action = action_of(r->repairs);
    kt_change_t *change = NULL;
    kt_status_t status;

    if (version != r->replaces && !r->repairs)
        return kt_fail(KT_USAGE, "only a repair makes another version current");
    status = kt_change_begin(&r->ctx->holder, r->store, r->call.ref.name, kt_write_timeout(&r->req),
                             &change);
    if (status == KT_SUCCESS)
        status = change_adopted(change, r, adopt, version);
    if (status != KT_SUCCESS) {
        kt_change_abort(change);
        return kt_decide(r->ctx, &r->call, action, status, version, r->store->name, KT_EV_DURABLE);
    }
    r->version = version;
    return kt_write_finish(r->ctx, &r->call, change, action, version, r->store->name);
}

kt_status_t kt_rotation_adopt(kt_rotation_t *rotation, const kt_adopt_t *adopt)
{
    kt_status_t status;

    if (adopt->size < sizeof(*adopt) || adopt->target == NULL)
        return kt_fail(KT_USAGE, "the options are not filled in (KT_ADOPT_INIT)");
    status = kt_enter(rotation->ctx);
    if (status != KT_SUCCESS)
        return status;
    status = adopt_locked(rotation, adopt);
    kt_leave(rotation->ctx);
    return status;
}
