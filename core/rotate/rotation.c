/* SPDX-License-Identifier: BSD-2-Clause */
/* rotation.c: a rotation as an object: its request, its store and its values. */
#include <stdlib.h>
#include <string.h>

#include "rotate.h"

void kt_rotation_free(kt_rotation_t *rotation)
{
    size_t i;

    for (i = 0; i < KT_ARRAY(rotation->strings); i++)
        free(rotation->strings[i]);
    free(rotation);
}

static bool keep_string(kt_rotation_t *rotation, size_t i, const char *from, const char **to)
{
    if (from == NULL)
        return true;
    rotation->strings[i] = strdup(from);
    *to = rotation->strings[i];
    return rotation->strings[i] != NULL;
}

kt_status_t kt_rotation_new(kt_ctx_t *ctx, const kt_request_t *req, unsigned capability,
                            const char *action, kt_rotation_t **ret_rotation)
{
    kt_rotation_t *r;
    kt_status_t status;

    if (req->size < sizeof(*req))
        return kt_fail(KT_USAGE, "the request is not filled in (KT_REQUEST_INIT)");
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        return kt_no_memory();
    r->ctx = ctx;
    r->req = *req;
    if (!keep_string(r, 0, req->subject, &r->req.subject) ||
        !keep_string(r, 1, req->peer, &r->req.peer) ||
        !keep_string(r, 2, req->request_id, &r->req.request_id) ||
        !keep_string(r, 3, req->purpose, &r->req.purpose) ||
        !keep_string(r, 4, req->actor, &r->req.actor)) {
        kt_rotation_free(r);
        return kt_no_memory();
    }
    status = kt_call_begin(r->ctx, &r->req, &r->call);
    if (status == KT_SUCCESS) {
        r->req.reference = r->call.text; /* the caller's string may go away */
        r->req.reference_len = 0;
        status = kt_write_begin(ctx, &r->call, capability, action);
    }
    if (status != KT_SUCCESS) {
        kt_rotation_free(r);
        return status;
    }
    *ret_rotation = r;
    return KT_SUCCESS;
}

kt_status_t kt_rotation_open(kt_rotation_t *r)
{
    size_t index;

    return kt_switch_writer(r->ctx, &r->call, &r->bundle, &r->store, &index);
}

kt_status_t kt_rotation_return(kt_rotation_t *r, kt_status_t status, kt_rotation_t **ret_rotation)
{
    if (status != KT_SUCCESS) {
        kt_rotation_free(r);
        return status;
    }
    r->call.must_record = true;
    *ret_rotation = r;
    return KT_SUCCESS;
}

uint64_t kt_rotation_version(const kt_rotation_t *rotation)
{
    return rotation->version;
}

const char *kt_rotation_name(const kt_rotation_t *rotation)
{
    return rotation->call.ref.name;
}

static kt_status_t rotation_read(kt_rotation_t *rotation, kt_selector_t selector, uint64_t version,
                                 const char *field, kt_secret_t **ret_secret)
{
    kt_reference_t ref = rotation->call.ref;
    kt_secret_t *whole = NULL;
    kt_status_t status = kt_enter(rotation->ctx);

    *ret_secret = NULL;
    if (status != KT_SUCCESS)
        return status;
    ref.selector = selector;
    ref.version = version;
    status = kt_store_read(&rotation->ctx->holder, rotation->store, &ref, &whole);
    kt_leave(rotation->ctx);
    if (status != KT_SUCCESS)
        return status;
    if (field == NULL) {
        *ret_secret = whole;
        return KT_SUCCESS;
    }
    status = kt_secret_field(whole, field, ret_secret);
    kt_secret_free(whole);
    return status;
}

kt_status_t kt_rotation_at(kt_rotation_t *rotation, uint64_t version, const char *field,
                           kt_secret_t **ret_secret)
{
    return rotation_read(rotation, KT_SEL_NUMBER, version, field, ret_secret);
}

kt_status_t kt_rotation_value(kt_rotation_t *rotation, const char *field, kt_secret_t **ret_secret)
{
    return kt_rotation_at(rotation, rotation->version, field, ret_secret);
}

kt_status_t kt_rotation_old(kt_rotation_t *rotation, const char *field, kt_secret_t **ret_secret)
{
    return rotation_read(rotation, KT_SEL_CURRENT, 0, field, ret_secret);
}

kt_status_t kt_rotation_next_user(kt_rotation_t *rotation, kt_secret_t **ret_user)
{
    kt_secret_t *whole = NULL;
    kt_status_t status = kt_rotation_old(rotation, NULL, &whole);

    *ret_user = NULL;
    if (status != KT_SUCCESS)
        return status;
    status = kt_users_next(whole, ret_user);
    kt_secret_free(whole);
    return status;
}
