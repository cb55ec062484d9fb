/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * steps.c: the steps of a rotation up to its last one (ending.c): create, resume, note. rotate.c
 * runs a whole rotation.
 *
 * The new value is stored as pending before a target gets it, and becomes current after the target
 * has it. A crash between two steps leaves a pending version. The next process with access to the
 * store and the target asks the target which value it has, and finishes or abandons the rotation.
 * Without a target, the rotation is one transaction.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "old.h"

#define DEFAULT_LENGTH 32u

/* ---- the new value ---- */

static kt_status_t new_part(const kt_rotate_options_t *options, kt_secret_t **ret_part)
{
    size_t length = options->length != 0                    ? options->length
                    : options->alphabet == KT_ALPHABET_UUID ? 36
                                                            : DEFAULT_LENGTH;

    if (options->value != NULL) {
        *ret_part = kt_secret_new(options->value->data, options->value->size);
        return *ret_part != NULL ? KT_SUCCESS : kt_no_memory();
    }
    if (length < 16 || length > 1024)
        return kt_fail(KT_USAGE, "a generated value has 16 to 1024 characters");
    errno = 0;
    *ret_part = kt_generate(options->alphabet, length);
    if (*ret_part != NULL)
        return KT_SUCCESS;
    return errno == EINVAL
               ? kt_fail(KT_USAGE, "no value of this length and alphabet can be generated")
               : kt_no_memory();
}

static kt_status_t refuse_issued(const kt_head_t *head, kt_shape_t shape,
                                 const kt_rotate_options_t *options)
{
    const char *part = kt_shape_part(shape), *field = part != NULL ? " --field " : "";
    const char *url = kt_head_get_meta(head, KT_META_URL);
    const char *origin = kt_origin_of(head, head->current);

    if (options->ret_issued != NULL)
        *options->ret_issued = 1;
    if (strcmp(origin, KT_DERIVED) == 0)
        return kt_fail(KT_CONFLICT,
                       "%s: the value is derived from others, so a random one cannot replace it: "
                       "make it again from them, then `keyturn set %s%s%s --meta origin=derived`",
                       head->name, head->name, field, part != NULL ? part : "");
    return kt_fail(
        KT_CONFLICT,
        "%s: the value was issued by somebody else, who would not accept a random one: "
        "get a new one %s%s, then `keyturn set %s%s%s` (to replace it by a random one anyway: "
        "`keyturn rotate %s --generate`)",
        head->name, url != NULL ? "at " : "from the vendor", url != NULL ? url : "", head->name,
        field, part != NULL ? part : "", head->name);
}

kt_status_t kt_rotate_check_origin(const kt_head_t *head, kt_shape_t shape,
                                   const kt_rotate_options_t *options)
{
    bool asked = options->generate || (options->store_only && shape == KT_SHAPE_DATABASE);

    if (options->value != NULL || options->target != NULL || asked ||
        strcmp(kt_origin_of(head, head->current), KT_GENERATED) == 0)
        return KT_SUCCESS;
    return refuse_issued(head, shape, options);
}

/* A bare string in place of an object would break all readers of its fields. */
static kt_status_t check_object(const kt_head_t *head, const kt_secret_t *old,
                                const kt_rotate_options_t *options)
{
    kt_status_t status = kt_shape_is_object(old);

    if (status == KT_SUCCESS)
        status = options->value != NULL ? kt_shape_is_object(options->value) : KT_MALFORMED;
    else if (status == KT_MALFORMED)
        status = KT_SUCCESS;
    kt_failure_clear();
    if (status != KT_MALFORMED)
        return status == KT_SUCCESS ? status : kt_no_memory();
    return kt_fail(KT_CONFLICT,
                   "%s is a JSON object without a password or api_key, so a rotation cannot tell "
                   "which field to replace: set that field",
                   head->name);
}

/* The whole object would become its own password: the slip of `get NAME | rotate NAME --file -`. */
static kt_status_t check_part(const kt_head_t *head, kt_shape_t shape, const kt_secret_t *value)
{
    const char *part = kt_shape_part(shape);
    kt_status_t status;

    if (value == NULL || part == NULL)
        return KT_SUCCESS;
    status = kt_shape_is_object(value);
    if (status != KT_MALFORMED && status != KT_SUCCESS)
        return status;
    kt_failure_clear();
    if (status == KT_MALFORMED && kt_shape_of(value) != KT_SHAPE_DATABASE)
        return KT_SUCCESS;
    return kt_fail(
        KT_CONFLICT,
        "%s: the new value is a JSON object or a URI, but a rotation replaces only the field "
        "\"%s\": give the new %s alone",
        head->name, part, part);
}

kt_status_t kt_rotate_check_value(const kt_head_t *head, const kt_secret_t *old,
                                  const kt_rotate_options_t *options, kt_shape_t *ret_shape)
{
    kt_shape_t shape = kt_shape_of(old);
    kt_status_t status = KT_SUCCESS;
    bool derived = options->value == NULL && !options->generate &&
                   strcmp(kt_origin_of(head, head->current), KT_DERIVED) == 0;

    if (shape == KT_SHAPE_OPAQUE && options->target != NULL && kt_shape_wants_password(old))
        shape = KT_SHAPE_DATABASE;
    *ret_shape = shape;
    if (shape == KT_SHAPE_CERTIFICATE)
        return kt_fail(KT_CONFLICT, "%s: a certificate cannot be rotated (set the new one)",
                       head->name);
    if (shape == KT_SHAPE_DATABASE && options->target == NULL && !options->store_only && !derived)
        return kt_fail(KT_CONFLICT,
                       "%s: a database password is not changed in the store alone (rotate it in "
                       "PostgreSQL with SELECT rotate_secret('%s'), or use --store-only)",
                       head->name, head->name);
    status = kt_rotate_check_origin(head, shape, options);
    if (status == KT_SUCCESS)
        status = check_part(head, shape, options->value);
    if (status == KT_SUCCESS && shape == KT_SHAPE_OPAQUE)
        status = check_object(head, old, options);
    return status;
}

kt_status_t kt_rotate_check_target(const kt_target_ops_t *target)
{
    if (kt_exec_is(target))
        return kt_exec_check(target);
    return kt_redis_is(target) ? kt_redis_load(target) : KT_SUCCESS;
}

kt_status_t kt_rotate_check_head(const kt_head_t *head, const kt_rotate_options_t *options)
{
    if (kt_head_is_erased(head))
        return kt_fail(KT_GONE, "%s is destroyed: set a new value first", head->name);
    if (head->deleted)
        return kt_fail(KT_GONE, "%s is deleted: undelete it first", head->name);
    if (head->expires == 0 || head->expires > kt_now())
        return KT_SUCCESS;
    if (options->target != NULL)
        return kt_fail(KT_GONE, "%s has expired: its target cannot get a value", head->name);
    if (options->expires == 0)
        return kt_fail(KT_GONE, "%s has expired, and a rotation would not change that (set it)",
                       head->name);
    return KT_SUCCESS;
}

kt_status_t kt_rotate_check_live(const kt_head_t *head)
{
    static const kt_target_ops_t any = {sizeof(any), "", NULL, NULL};
    kt_rotate_options_t options = KT_ROTATE_INIT;

    options.target = &any;
    if (head->current == 0)
        return kt_fail(KT_NOTFOUND, "there is no secret \"%s\"", head->name);
    return kt_rotate_check_head(head, &options);
}

/* Whose time is over is dropped by this change. */
static kt_status_t check_abandoned(const kt_head_t *head)
{
    int64_t now = kt_now();
    size_t i, count = 0;

    for (i = 0; i < head->nversions; i++)
        count += head->versions[i].abandoned && head->versions[i].expires > now;
    if (count < KT_ABANDONED_MAX)
        return KT_SUCCESS;
    return kt_fail(KT_CONFLICT,
                   "%s: %zu of its versions are abandoned, because its rotations are interrupted "
                   "again and again: find out why, then `keyturn destroy %s VERSION`",
                   head->name, count, head->name);
}

static kt_status_t check_rotatable(kt_change_t *change, const kt_rotate_options_t *options)
{
    const kt_head_t *head = kt_change_head(change);
    kt_status_t status;

    if (!kt_change_exists(change) || head->current == 0)
        return kt_fail(KT_NOTFOUND, "there is no secret \"%s\"", head->name);
    status = kt_rotate_check_head(head, options);
    if (status == KT_SUCCESS)
        status = kt_write_no_pending(head);
    return status == KT_SUCCESS ? check_abandoned(head) : status;
}

/* The next rotation is due some time after this one became current. */
static kt_status_t note_time(kt_head_t *head, uint64_t version)
{
    char now[24];

    (void)snprintf(now, sizeof(now), "%lld", (long long)kt_now());
    return kt_head_note(head, version, KT_NOTE_ROTATED, now);
}

static const char *origin_of(const kt_rotate_options_t *options)
{
    if (options->origin != NULL)
        return options->origin;
    return options->value != NULL ? KT_ISSUED : KT_GENERATED;
}

/* Adds the rotated value as a version; it is neither pending nor current yet. */
static kt_status_t add_rotated(kt_change_t *change, const kt_rotate_options_t *options,
                               uint64_t *ret_version)
{
    kt_head_t *head = kt_change_head(change);
    kt_secret_t *old = NULL, *part = NULL, *value = NULL;
    kt_shape_t shape;
    kt_status_t status;
    size_t i;

    status = check_rotatable(change, options);
    if (status == KT_SUCCESS)
        status = kt_change_value(change, head->current, &old);
    if (status != KT_SUCCESS)
        return status;
    status = kt_rotate_check_value(head, old, options, &shape);
    if (status == KT_SUCCESS)
        status = new_part(options, &part);
    if (status == KT_SUCCESS)
        status = kt_users_rotate(shape, old, part, options->user, kt_now(), &value);
    if (status == KT_SUCCESS)
        status = kt_change_add(change, value, ret_version);
    if (status == KT_SUCCESS && options->target != NULL)
        status = kt_head_note(head, *ret_version, KT_NOTE_TARGET, options->target->name);
    if (status == KT_SUCCESS)
        status = kt_origin_set(head, *ret_version, origin_of(options));
    if (status == KT_SUCCESS)
        status = note_time(head, *ret_version);
    for (i = 0; i < options->nnotes && status == KT_SUCCESS; i++)
        status = kt_head_note(head, *ret_version, options->notes[i].key, options->notes[i].value);
    kt_secret_free(value);
    kt_secret_free(part);
    kt_secret_free(old);
    return status;
}

/* If the time cannot be noted, the note from add_rotated() stays: the target has the value already,
 * so this step must not fail. */
kt_status_t kt_rotation_make_current(kt_change_t *change, uint64_t version)
{
    kt_status_t status = kt_change_make_current(change, version);

    if (status != KT_SUCCESS)
        return status;
    kt_head_drop_note(kt_change_head(change), version, KT_NOTE_LEASE);
    if (note_time(kt_change_head(change), version) != KT_SUCCESS)
        kt_failure_clear();
    return KT_SUCCESS;
}

/* ---- without a target: one transaction ---- */

kt_status_t kt_rotate_at_once(kt_ctx_t *ctx, const kt_call_t *call,
                              const kt_rotate_options_t *options, uint64_t *ret_version)
{
    kt_bundle_store_t bundle;
    kt_change_t *change = NULL;
    kt_store_t *store;
    size_t index;
    kt_status_t status;

    status = kt_switch_writer(ctx, call, &bundle, &store, &index);
    if (status != KT_SUCCESS)
        return kt_decide(ctx, call, "rotate", status, 0, NULL, KT_EV_DURABLE);
    status =
        kt_change_begin(&ctx->holder, store, call->ref.name, kt_write_timeout(call->req), &change);
    if (status == KT_SUCCESS)
        status = add_rotated(change, options, ret_version);
    if (status == KT_SUCCESS)
        status = kt_rotation_make_current(change, *ret_version);
    if (status != KT_SUCCESS) {
        kt_change_abort(change);
        return kt_decide(ctx, call, "rotate", status, 0, store->name, KT_EV_DURABLE);
    }
    if (options->expires != 0)
        kt_change_head(change)->expires = options->expires;
    return kt_write_finish(ctx, call, change, "rotate", *ret_version, store->name);
}

/* ---- step by step ---- */

/* What the caller found out before holds for this value only. */
static kt_status_t check_unchanged(kt_change_t *change, const kt_rotation_t *r)
{
    if (r->replaces == 0 || kt_change_head(change)->current == r->replaces)
        return KT_SUCCESS;
    return kt_fail(KT_CONFLICT, "%s: it was changed while its rotation began: try again",
                   r->call.ref.name);
}

static kt_status_t store_pending(kt_rotation_t *r, const kt_rotate_options_t *options,
                                 const char *lease)
{
    kt_change_t *change = NULL;
    uint64_t version = 0;
    kt_status_t status;

    status = kt_change_begin(&r->ctx->holder, r->store, r->call.ref.name, kt_write_timeout(&r->req),
                             &change);
    if (status == KT_SUCCESS)
        status = check_unchanged(change, r);
    if (status == KT_SUCCESS)
        status = add_rotated(change, options, &version);
    if (status == KT_SUCCESS && lease != NULL)
        status = kt_head_note(kt_change_head(change), version, KT_NOTE_LEASE, lease);
    if (status == KT_SUCCESS && kt_redis_is(options->target))
        status = kt_old_note(change, version, kt_redis_overlap(options->target));
    if (status != KT_SUCCESS) {
        kt_change_abort(change);
        return kt_decide(r->ctx, &r->call, "rotate.create", status, 0, r->store->name,
                         KT_EV_DURABLE);
    }
    kt_change_be_lazy(change); /* an older store without it has lost nothing that is in force */
    kt_change_head(change)->pending = version;
    r->replaces = kt_change_head(change)->current;
    status = kt_write_finish(r->ctx, &r->call, change, "rotate.create", version, r->store->name);
    if (status == KT_SUCCESS)
        r->version = version;
    return status;
}

/* `options` may be NULL, if the value comes later. */
static kt_status_t open_new(kt_rotation_t *r, const kt_rotate_options_t *options)
{
    kt_status_t status = kt_rotation_open(r);

    if (status == KT_SUCCESS && options != NULL)
        status = kt_rotate_check_target(options->target);
    if (status != KT_SUCCESS)
        return kt_decide(r->ctx, &r->call, "rotate.create", status, 0, NULL, KT_EV_DURABLE);
    return KT_SUCCESS;
}

static kt_status_t check_options(const kt_rotate_options_t *options)
{
    if (options == NULL || options->size < sizeof(*options))
        return kt_fail(KT_USAGE, "the options are not filled in (KT_ROTATE_INIT)");
    return KT_SUCCESS;
}

static kt_status_t create_locked(kt_ctx_t *ctx, const kt_request_t *req,
                                 const kt_rotate_options_t *options, const char *lease,
                                 kt_rotation_t **ret_rotation)
{
    kt_rotation_t *r;
    kt_status_t status = check_options(options);

    if (status == KT_SUCCESS)
        status = kt_rotation_new(ctx, req, KT_CAP_ROTATE, "rotate", &r);
    if (status != KT_SUCCESS)
        return status;
    r->expires = options->expires;
    status = open_new(r, options);
    if (status == KT_SUCCESS)
        status = store_pending(r, options, lease);
    return kt_rotation_return(r, status, ret_rotation);
}

kt_status_t kt_rotation_create_leased(kt_ctx_t *ctx, const kt_request_t *req,
                                      const kt_rotate_options_t *options, const char *lease,
                                      kt_rotation_t **ret_rotation)
{
    kt_status_t status = kt_enter(ctx);

    *ret_rotation = NULL;
    if (status != KT_SUCCESS)
        return status;
    status = create_locked(ctx, req, options, lease, ret_rotation);
    kt_leave(ctx);
    return status;
}

kt_status_t kt_rotation_create(kt_ctx_t *ctx, const kt_request_t *req,
                               const kt_rotate_options_t *options, kt_rotation_t **ret_rotation)
{
    return kt_rotation_create_leased(ctx, req, options, /* lease= */ NULL, ret_rotation);
}

/* Which value it replaces; a value that is pending already stands in the way. */
static kt_status_t look_at_head(kt_rotation_t *r)
{
    kt_head_t head;
    kt_status_t status = kt_store_head(&r->ctx->holder, r->store, r->call.ref.name, &head);

    if (status == KT_SUCCESS) {
        r->replaces = head.current;
        status = kt_rotate_check_live(&head);
        if (status == KT_SUCCESS)
            status = kt_write_no_pending(&head);
        kt_head_clear(&head);
    }
    if (status != KT_SUCCESS)
        return kt_decide(r->ctx, &r->call, "rotate.create", status, 0, r->store->name,
                         KT_EV_DURABLE);
    return KT_SUCCESS;
}

static kt_status_t begin_locked(kt_ctx_t *ctx, const kt_request_t *req,
                                kt_rotation_t **ret_rotation)
{
    kt_rotation_t *r;
    kt_status_t status = kt_rotation_new(ctx, req, KT_CAP_ROTATE, "rotate", &r);

    if (status != KT_SUCCESS)
        return status;
    status = open_new(r, NULL);
    if (status == KT_SUCCESS)
        status = look_at_head(r);
    if (status != KT_SUCCESS) {
        kt_rotation_free(r);
        return status;
    }
    *ret_rotation = r;
    return KT_SUCCESS;
}

kt_status_t kt_rotation_begin(kt_ctx_t *ctx, const kt_request_t *req, kt_rotation_t **ret_rotation)
{
    kt_status_t status = kt_enter(ctx);

    *ret_rotation = NULL;
    if (status != KT_SUCCESS)
        return status;
    status = begin_locked(ctx, req, ret_rotation);
    kt_leave(ctx);
    return status;
}

static kt_status_t add_locked(kt_rotation_t *r, const kt_rotate_options_t *options)
{
    kt_status_t status = check_options(options);

    if (status == KT_SUCCESS && r->version != 0)
        status = kt_fail(KT_USAGE, "%s: this rotation has its new value already", r->call.ref.name);
    if (status == KT_SUCCESS)
        status = kt_rotate_check_target(options->target);
    if (status != KT_SUCCESS)
        return status;
    r->expires = options->expires;
    status = store_pending(r, options, /* lease= */ NULL);
    if (status == KT_SUCCESS)
        r->call.must_record = true;
    return status;
}

kt_status_t kt_rotation_add(kt_rotation_t *rotation, const kt_rotate_options_t *options)
{
    kt_status_t status = kt_enter(rotation->ctx);

    if (status != KT_SUCCESS)
        return status;
    status = add_locked(rotation, options);
    kt_leave(rotation->ctx);
    return status;
}

static kt_status_t resume_locked(kt_ctx_t *ctx, const kt_request_t *req,
                                 kt_rotation_t **ret_rotation)
{
    kt_rotation_t *r;
    kt_head_t head;
    kt_status_t status;

    status = kt_rotation_new(ctx, req, KT_CAP_ROTATE, "rotate", &r);
    if (status != KT_SUCCESS)
        return status;
    status = kt_rotation_open(r);
    if (status == KT_SUCCESS)
        status = kt_store_head(&ctx->holder, r->store, r->call.ref.name, &head);
    if (status == KT_SUCCESS) {
        r->version = head.pending;
        r->replaces = head.current;
        kt_head_clear(&head);
        if (r->version == 0)
            status = kt_fail(KT_NOTFOUND, "%s: there is no unfinished rotation", r->call.ref.name);
    }
    return kt_rotation_return(r, status, ret_rotation);
}

kt_status_t kt_rotation_resume(kt_ctx_t *ctx, const kt_request_t *req, kt_rotation_t **ret_rotation)
{
    kt_status_t status = kt_enter(ctx);

    *ret_rotation = NULL;
    if (status != KT_SUCCESS)
        return status;
    status = resume_locked(ctx, req, ret_rotation);
    kt_leave(ctx);
    return status;
}

/* Another process took this one for dead, and set its version aside. The one that began the
 * rotation knows best what becomes of it. */
static bool take_back(kt_change_t *change, const kt_rotation_t *r)
{
    kt_head_t *head = kt_change_head(change);
    const kt_head_version_t *entry = kt_head_find(head, r->version);

    if (entry == NULL || !entry->abandoned || head->pending != 0 || head->current != r->replaces)
        return false;
    kt_head_take_back(head, r->version);
    head->pending = r->version;
    return true;
}

static kt_status_t check_pending(kt_change_t *change, const kt_rotation_t *r)
{
    if (kt_change_head(change)->pending == r->version || take_back(change, r))
        return KT_SUCCESS;
    return kt_fail(KT_CONFLICT,
                   "%s: version %llu is no longer pending: another process finished or abandoned "
                   "this rotation",
                   r->call.ref.name, (unsigned long long)r->version);
}

kt_status_t kt_rotation_begin_step(kt_rotation_t *r, unsigned timeout, kt_change_t **ret_change)
{
    kt_change_t *change;
    kt_status_t status =
        kt_change_begin(&r->ctx->holder, r->store, r->call.ref.name, timeout, &change);

    if (status != KT_SUCCESS)
        return status;
    status = check_pending(change, r);
    if (status == KT_SUCCESS)
        *ret_change = change;
    else
        kt_change_abort(change);
    return status;
}

kt_status_t kt_rotation_join_step(kt_rotation_t *r, kt_change_t *first, kt_change_t **ret_change)
{
    kt_status_t status = kt_change_join(first, r->call.ref.name, ret_change);

    return status == KT_SUCCESS ? check_pending(*ret_change, r) : status;
}

kt_status_t kt_rotation_end_step(kt_change_t *change, kt_status_t status)
{
    if (status == KT_SUCCESS)
        status = kt_change_prepare(change);
    if (status == KT_SUCCESS)
        return kt_change_commit(change);
    kt_change_abort(change);
    return status;
}
