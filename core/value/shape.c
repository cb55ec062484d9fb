/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shape.c: what is known of a value's inside, and what a rotation keeps of it.
 */
#include "json.h"

#include <string.h>
#include <time.h>

#define SHAPE_UNKNOWN ((kt_shape_t)-1) /* memory ran out: nothing may be concluded from it */

static bool has_string(const json_t *object, const char *field)
{
    return json_is_string(json_object_get(object, field));
}

static bool holds(const kt_secret_t *value, const char *text)
{
    return memmem(value->data, value->size, text, strlen(text)) != NULL;
}

static kt_shape_t shape_of_object(const json_t *object)
{
    if (has_string(object, "password")) /* of whatever server: somebody else has to know it */
        return KT_SHAPE_DATABASE;
    if (has_string(object, "api_key"))
        return KT_SHAPE_API_KEY;
    if (has_string(object, "certificate") && has_string(object, "private_key"))
        return KT_SHAPE_CERTIFICATE;
    return KT_SHAPE_OPAQUE;
}

/* The values of certificates are PEM blocks or an object of them. */
kt_shape_t kt_shape_of(const kt_secret_t *value)
{
    json_t *object = kt_json_object(value);
    kt_shape_t shape;

    if (object == NULL && kt_json_starved())
        return SHAPE_UNKNOWN;
    if (object == NULL) {
        bool pem = holds(value, "-----BEGIN CERTIFICATE-----") || holds(value, "PRIVATE KEY-----");

        return pem ? KT_SHAPE_CERTIFICATE : KT_SHAPE_OPAQUE;
    }
    shape = shape_of_object(object);
    json_decref(object);
    return shape;
}

const char *kt_shape_part(kt_shape_t shape)
{
    switch (shape) {
    case KT_SHAPE_DATABASE:
        return "password";
    case KT_SHAPE_API_KEY:
        return "api_key";
    default:
        return NULL;
    }
}

kt_status_t kt_shape_is_object(const kt_secret_t *value)
{
    return kt_json_check(value);
}

static bool wants_password(const json_t *object)
{
    return shape_of_object(object) == KT_SHAPE_OPAQUE &&
           json_object_get(object, "password") == NULL &&
           (has_string(object, "user") || has_string(object, "username"));
}

bool kt_shape_wants_password(const kt_secret_t *value)
{
    json_t *object = kt_json_object(value);
    bool wants = object != NULL && wants_password(object);

    json_decref(object);
    return wants;
}

kt_status_t kt_shape_is_account(const kt_secret_t *value, bool *ret_account)
{
    json_t *object = kt_json_object(value);

    *ret_account =
        object != NULL && (shape_of_object(object) == KT_SHAPE_DATABASE || wants_password(object));
    if (object == NULL && kt_json_starved())
        return kt_no_memory();
    json_decref(object);
    return KT_SUCCESS;
}

kt_status_t kt_shape_has_field(const kt_secret_t *value, const char *field)
{
    json_t *object;
    kt_status_t status = kt_json_check(value);

    if (status != KT_SUCCESS)
        return status;
    object = kt_json_object(value);
    if (object == NULL)
        return kt_no_memory();
    status = json_object_get(object, field) != NULL ? KT_SUCCESS : KT_NOTFOUND;
    json_decref(object);
    return status;
}

/* Sets a field of *value, or of `old` as long as that is NULL; the new value takes its place. */
static kt_status_t set(const kt_secret_t *old, kt_secret_t **value, const char *field,
                       const char *text, size_t size)
{
    const kt_secret_t *from = *value != NULL ? *value : old;
    kt_secret_t *next = NULL;
    kt_status_t status = kt_json_set_string(from, field, text, size, &next);

    if (status == KT_SUCCESS) {
        kt_secret_free(*value);
        *value = next;
    }
    return status;
}

static void format_time(int64_t now, char *text, size_t size)
{
    time_t seconds = (time_t)(now / 1000);
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* `previous` NULL: the old value of `field` goes. */
static kt_status_t rotate_object(const kt_secret_t *old, const char *field, const char *previous,
                                 const kt_secret_t *part, int64_t now, kt_secret_t **ret_value)
{
    kt_status_t status = kt_json_check(old);
    kt_secret_t *value = NULL;
    char time[40];

    format_time(now, time, sizeof(time));
    if (status == KT_SUCCESS && previous != NULL) {
        status = kt_json_copy(old, field, previous, &value);
        if (status == KT_NOTFOUND) /* nothing to keep */
            status = KT_SUCCESS;
    }
    if (status == KT_SUCCESS)
        status = set(old, &value, field, (const char *)part->data, part->size);
    if (status == KT_SUCCESS)
        status = set(old, &value, "rotated_at", time, strlen(time));
    if (status == KT_SUCCESS)
        *ret_value = value;
    else
        kt_secret_free(value);
    return status;
}

kt_status_t kt_shape_rotate(kt_shape_t shape, const kt_secret_t *old, const kt_secret_t *part,
                            int64_t now, kt_secret_t **ret_value)
{
    kt_secret_t *value;

    switch (shape) {
    case KT_SHAPE_DATABASE:
        return rotate_object(old, "password", /* previous= */ NULL, part, now, ret_value);
    case KT_SHAPE_API_KEY:
        return rotate_object(old, "api_key", "previous_key", part, now, ret_value);
    case KT_SHAPE_CERTIFICATE:
        return kt_fail(KT_CONFLICT, "a certificate is not rotated: set the new one");
    case KT_SHAPE_OPAQUE:
        break;
    default: /* SHAPE_UNKNOWN */
        return kt_no_memory();
    }
    value = kt_secret_new(part->data, part->size);
    if (value == NULL)
        return kt_json_no_secret(part->size);
    *ret_value = value;
    return KT_SUCCESS;
}
