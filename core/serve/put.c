/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * put.c: a value from a caller as a new version, and metadata alone.
 *
 * Unless the caller forces it, a value does not replace one that a server or a command knows, which
 * would not learn the new one, nor a JSON object by something else, because then all readers of its
 * fields fail.
 */
#include <stdlib.h>
#include <string.h>

#include "cache.h"

typedef struct put_arg {
    const kt_secret_t *value; /* NULL: only check */
    const kt_put_options_t *options;
    const kt_config_t *config;
    bool own_record; /* the consumer stores it, so that no command knows it */
} put_arg_t;

/* ---- checks ---- */

static kt_status_t check_cas(const kt_head_t *head, int64_t cas)
{
    uint64_t current = head->deleted ? 0 : head->current;

    if (cas < 0 || (uint64_t)cas == current)
        return KT_SUCCESS;
    return kt_fail(
        KT_CONFLICT,
        "%s: its current version is %llu, not %lld: it was changed meanwhile (read it again)",
        head->name, (unsigned long long)current, (long long)cas);
}

/* A secret that is to be new. With a field, kt_put() looks for the field. */
static kt_status_t check_fresh(const kt_head_t *head, const kt_put_options_t *options)
{
    if (!options->fresh || options->field != NULL || head->deleted || head->current == 0)
        return KT_SUCCESS;
    return kt_fail(KT_CONFLICT,
                   "%s exists already, in version %llu: generate only makes new secrets (`keyturn "
                   "rotate %s --generate` replaces its value by a random one)",
                   head->name, (unsigned long long)head->current, head->name);
}

static bool is_live(const kt_head_t *head)
{
    return !head->deleted && head->current != 0;
}

static const kt_cfg_target_t *target_of(const put_arg_t *put, const kt_head_t *head)
{
    const kt_cfg_target_t *target =
        put->own_record ? NULL : kt_config_target(put->config, head->name);

    return target != NULL && kt_config_has_target(target) && is_live(head) ? target : NULL;
}

/* Would the change reach what a server or a command knows? A field beside the password does not,
 * unless the command gets the whole value. `part` is the field that a rotation replaces. */
static kt_status_t check_known(const put_arg_t *put, const kt_head_t *head, const char *part)
{
    const char *field = put->options->field, *manager = kt_head_manager(head);
    const kt_cfg_target_t *target = target_of(put, head);
    char label[KT_ERROR_SIZE];
    bool beside = field != NULL && part != NULL && strcmp(field, part) != 0;

    if (put->options->force || (manager == NULL && target == NULL) || kt_head_is_erased(head))
        return KT_SUCCESS;
    if (beside && (target == NULL || !target->whole))
        return KT_SUCCESS;
    if (manager != NULL)
        return kt_fail(KT_CONFLICT,
                       "%s: PostgreSQL manages this password, and would not learn another one "
                       "(change it there: SELECT rotate_secret('%s'); `keyturn set %s%s%s --force` "
                       "stores one that PostgreSQL has already)",
                       head->name, head->name, head->name, field != NULL ? " --field " : "",
                       field != NULL ? field : "");
    kt_config_target_label(target, label, sizeof(label));
    return kt_fail(KT_CONFLICT,
                   "%s: its target %s would not learn the new value (`keyturn rotate %s --file -` "
                   "gives both a new %s; `keyturn set %s%s%s --force` stores the value here only)",
                   head->name, label, head->name, part != NULL ? part : "value", head->name,
                   field != NULL ? " --field " : "", field != NULL ? field : "");
}

/* `old` NULL: there is none, or only the check before the value is asked for. */
static kt_status_t check_shape(const put_arg_t *put, const kt_head_t *head, const kt_secret_t *old,
                               const char *part)
{
    kt_status_t status;

    if (put->options->force || put->options->field != NULL || put->value == NULL || old == NULL)
        return KT_SUCCESS;
    status = kt_shape_is_object(old);
    if (status == KT_MALFORMED) {
        kt_failure_clear();
        return KT_SUCCESS;
    }
    if (status == KT_SUCCESS)
        status = kt_shape_is_object(put->value);
    if (status != KT_MALFORMED)
        return status;
    if (part == NULL)
        return kt_fail(
            KT_CONFLICT,
            "%s is a JSON object, and the new value is not one: whatever reads its "
            "fields would fail (--field changes one field; `keyturn set %s --force` replaces the "
            "whole)",
            head->name, head->name);
    return kt_fail(
        KT_CONFLICT,
        "%s is a JSON object, and the new value is not one: whatever reads its fields "
        "would fail (`keyturn set %s --field %s` changes one field; `keyturn set %s --force` "
        "replaces the whole)",
        head->name, head->name, part, head->name);
}

/* All that can be said before the value is there. */
static kt_status_t check_head(const put_arg_t *put, const kt_head_t *head)
{
    kt_status_t status = check_cas(head, put->options->cas);

    if (status == KT_SUCCESS)
        status = kt_write_no_pending(head);
    return status == KT_SUCCESS ? check_fresh(head, put->options) : status;
}

/* The old value opened under its key, so that it has no fields is not damage. */
static kt_status_t check_has_fields(const kt_head_t *head, const kt_secret_t *old,
                                    const char *field)
{
    kt_status_t status = old != NULL && field != NULL ? kt_shape_is_object(old) : KT_SUCCESS;

    if (status != KT_MALFORMED)
        return status;
    if (strcmp(field, "password") == 0 && kt_shape_of(old) == KT_SHAPE_DATABASE) { /* a URI */
        kt_failure_clear();
        return KT_SUCCESS;
    }
    return kt_fail(KT_CONFLICT,
                   "%s is not a JSON object, so it has no field `%s` (`keyturn set %s` replaces "
                   "the whole value)",
                   head->name, field, head->name);
}

static kt_status_t check_value(const put_arg_t *put, const kt_head_t *head, const kt_secret_t *old,
                               const char *part)
{
    const char *field = put->options->field;
    kt_status_t status = check_known(put, head, part);

    if (status == KT_SUCCESS)
        status = check_shape(put, head, old, part);
    if (status == KT_SUCCESS)
        status = check_has_fields(head, old, field);
    if (status != KT_SUCCESS || !put->options->fresh || field == NULL || old == NULL)
        return status;
    status = kt_shape_has_field(old, field);
    if (status == KT_SUCCESS)
        return kt_fail(KT_CONFLICT,
                       "%s has a field `%s` already: generate only makes new ones (set changes it)",
                       head->name, field);
    if (status != KT_NOTFOUND)
        return status;
    kt_failure_clear();
    return KT_SUCCESS;
}

/* A value that is not there any more protects nothing. */
static kt_status_t or_none(kt_status_t status)
{
    if (status != KT_GONE)
        return status;
    kt_failure_clear();
    return KT_SUCCESS;
}

static const char *part_of(const kt_secret_t *old)
{
    return old != NULL ? kt_shape_part(kt_shape_of(old)) : NULL;
}

/* ---- put ---- */

/* The new version of a secret of which only another field than the password changed knows all that
 * the old one knew. */
static kt_status_t set_origin(kt_head_t *head, uint64_t before, uint64_t version,
                              const kt_put_options_t *options, const char *part)
{
    bool beside = options->field != NULL && part != NULL && strcmp(options->field, part) != 0;
    kt_status_t status = beside ? kt_head_copy_notes(head, before, version) : KT_SUCCESS;

    if (status == KT_SUCCESS && options->origin != NULL)
        status = kt_origin_set(head, version, options->origin);
    return status;
}

static kt_status_t apply_options(kt_head_t *head, const kt_put_options_t *options)
{
    kt_status_t status = KT_SUCCESS;
    size_t i;

    head->deleted = false;
    head->expires = options->expires;
    for (i = 0; i < options->nmeta && status == KT_SUCCESS; i++)
        status =
            kt_head_describe(head, head->current, options->meta[i].key, options->meta[i].value);
    return status;
}

static kt_status_t add_value(kt_change_t *change, const put_arg_t *put, const kt_secret_t *old,
                             uint64_t *ret_version)
{
    kt_head_t *head = kt_change_head(change);
    const char *part = part_of(old);
    uint64_t before = head->current;
    kt_secret_t *whole = NULL;
    kt_status_t status = check_value(put, head, old, part);

    if (status == KT_SUCCESS && put->options->field != NULL)
        status = kt_shape_set_field(old, put->options->field, put->value, &whole);
    if (status == KT_SUCCESS)
        status = kt_change_add(change, whole != NULL ? whole : put->value, ret_version);
    kt_secret_free(whole);
    if (status == KT_SUCCESS)
        status = set_origin(head, before, *ret_version, put->options, part);
    if (status == KT_SUCCESS)
        status = kt_change_make_current(change, *ret_version);
    return status == KT_SUCCESS ? apply_options(head, put->options) : status;
}

static kt_status_t change_put(kt_change_t *change, const void *arg, uint64_t *ret_version)
{
    const put_arg_t *put = arg;
    kt_head_t *head = kt_change_head(change);
    kt_secret_t *old = NULL;
    kt_status_t status = check_head(put, head);

    if (status == KT_SUCCESS && is_live(head) &&
        (put->options->field != NULL || !put->options->force))
        status = or_none(kt_change_value(change, head->current, &old));
    if (status == KT_SUCCESS)
        status = add_value(change, put, old, ret_version);
    kt_secret_free(old);
    return status;
}

static kt_status_t bad_options(void)
{
    return kt_fail(KT_USAGE, "the options are not filled in (KT_PUT_INIT)");
}

kt_status_t kt_put(kt_ctx_t *ctx, const kt_request_t *req, const kt_secret_t *value,
                   const kt_put_options_t *options, uint64_t *ret_version)
{
    static const kt_write_op_t op = {"write", KT_CAP_WRITE, false, NULL, change_put};
    static const kt_put_options_t none = KT_PUT_INIT;
    put_arg_t put = {value, options != NULL ? options : &none, ctx->holder.config,
                     req->bundle != NULL};

    return put.options->size < sizeof(kt_put_options_t)
               ? bad_options()
               : kt_write_one(ctx, req, &op, &put, ret_version);
}

/* ---- may it be put? ---- */

static kt_status_t check_store(kt_ctx_t *ctx, const kt_call_t *call, kt_store_t *store,
                               const put_arg_t *put)
{
    kt_secret_t *old = NULL;
    kt_head_t head;
    kt_status_t status = kt_store_head(&ctx->holder, store, call->ref.name, &head);

    if (status == KT_NOTFOUND) {
        kt_failure_clear();
        memset(&head, 0, sizeof(head));
        memcpy(head.name, call->ref.name, strlen(call->ref.name) + 1);
        return check_cas(&head, put->options->cas);
    }
    if (status != KT_SUCCESS)
        return status;
    status = check_head(put, &head);
    if (status == KT_SUCCESS && is_live(&head) && put->options->field != NULL)
        status = or_none(kt_store_read(&ctx->holder, store, &call->ref, &old));
    if (status == KT_SUCCESS)
        status = check_value(put, &head, old, part_of(old));
    kt_secret_free(old);
    kt_head_clear(&head);
    return status;
}

static kt_status_t put_check_locked(kt_ctx_t *ctx, const put_arg_t *put, const kt_request_t *req)
{
    kt_bundle_store_t bundle;
    kt_store_t *store = NULL;
    kt_call_t call;
    size_t index;
    kt_status_t status;

    status = kt_call_begin(ctx, req, &call);
    if (status == KT_SUCCESS)
        status = kt_write_begin(ctx, &call, KT_CAP_WRITE, "write");
    if (status != KT_SUCCESS)
        return status;
    status = kt_switch_writer(ctx, &call, &bundle, &store, &index);
    if (status == KT_SUCCESS)
        status = check_store(ctx, &call, store, put);
    if (status == KT_SUCCESS)
        return KT_SUCCESS;
    return kt_decide(ctx, &call, "write", status, 0, store != NULL ? store->name : NULL,
                     KT_EV_DURABLE);
}

kt_status_t kt_put_check(kt_ctx_t *ctx, const kt_request_t *req, const kt_put_options_t *options)
{
    static const kt_put_options_t none = KT_PUT_INIT;
    put_arg_t put = {NULL, options != NULL ? options : &none, ctx->holder.config,
                     req->bundle != NULL};
    kt_status_t status;

    if (put.options->size < sizeof(kt_put_options_t))
        return bad_options();
    status = kt_enter(ctx);
    if (status != KT_SUCCESS)
        return status;
    status = put_check_locked(ctx, &put, req);
    kt_leave(ctx);
    return status;
}

/* ---- metadata alone ---- */

typedef struct describe_arg {
    const kt_meta_t *meta;
    size_t count;
} describe_arg_t;

static kt_status_t change_describe(kt_change_t *change, const void *arg, uint64_t *ret_version)
{
    const describe_arg_t *describe = arg;
    kt_head_t *head = kt_change_head(change);
    kt_status_t status = KT_SUCCESS;
    size_t i;

    for (i = 0; i < describe->count && status == KT_SUCCESS; i++)
        status =
            kt_head_describe(head, head->current, describe->meta[i].key, describe->meta[i].value);
    *ret_version = head->current;
    return status;
}

kt_status_t kt_describe(kt_ctx_t *ctx, const kt_request_t *req, const kt_meta_t *meta, size_t count)
{
    static const kt_write_op_t op = {"meta", KT_CAP_WRITE, true, NULL, change_describe};
    describe_arg_t arg = {meta, count};

    return kt_write_one(ctx, req, &op, &arg, NULL);
}
