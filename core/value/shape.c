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

static bool is_uri(const kt_secret_t *value, kt_uri_t *ret_uri)
{
    return kt_uri_parse((const char *)value->data, value->size, ret_uri);
}

static kt_shape_t shape_of_object(const json_t *object)
{
    kt_uri_t uri;

    if (has_string(object, "password")) /* of whatever server: somebody else has to know it */
        return KT_SHAPE_DATABASE;
    if (kt_json_uri(object, &uri) && kt_uri_has(&uri, KT_URI_PASSWORD))
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
    kt_uri_t uri;

    if (object == NULL && kt_json_starved())
        return SHAPE_UNKNOWN;
    if (object == NULL && is_uri(value, &uri))
        return kt_uri_has(&uri, KT_URI_PASSWORD) ? KT_SHAPE_DATABASE : KT_SHAPE_OPAQUE;
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
    kt_uri_t uri;

    return shape_of_object(object) == KT_SHAPE_OPAQUE &&
           json_object_get(object, "password") == NULL &&
           (has_string(object, "user") || has_string(object, "username") ||
            kt_json_uri(object, &uri));
}

bool kt_shape_wants_password(const kt_secret_t *value)
{
    json_t *object = kt_json_object(value);
    kt_uri_t uri;
    bool wants;

    if (object == NULL)
        return !kt_json_starved() && is_uri(value, &uri) && !kt_uri_has(&uri, KT_URI_PASSWORD);
    wants = wants_password(object);
    json_decref(object);
    return wants;
}

kt_status_t kt_shape_is_account(const kt_secret_t *value, bool *ret_account)
{
    json_t *object = kt_json_object(value);
    kt_uri_t uri;

    if (object == NULL && kt_json_starved())
        return kt_no_memory();
    if (object == NULL)
        *ret_account = is_uri(value, &uri);
    else
        *ret_account = shape_of_object(object) == KT_SHAPE_DATABASE || wants_password(object);
    json_decref(object);
    return KT_SUCCESS;
}

kt_status_t kt_shape_has_field(const kt_secret_t *value, const char *field)
{
    json_t *object;
    kt_status_t status = kt_json_check(value);
    kt_uri_t uri;

    if (status == KT_MALFORMED && is_uri(value, &uri)) {
        kt_uri_part_t part = kt_uri_part_of(field);

        kt_failure_clear();
        return part != KT_URI_PARTS && kt_uri_has(&uri, part) ? KT_SUCCESS : KT_NOTFOUND;
    }
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

/* ---- The password of an account ---- */

/* A field that may not be there: *ret_value stays NULL. */
static kt_status_t maybe_field(const kt_secret_t *value, const char *field, kt_secret_t **ret_value)
{
    kt_status_t status = *ret_value != NULL ? KT_SUCCESS : kt_secret_field(value, field, ret_value);

    if (status != KT_NOTFOUND && status != KT_MALFORMED && status != KT_USAGE)
        return status; /* of others, such as a user that is a list, nothing is compared */
    kt_failure_clear();
    return KT_SUCCESS;
}

/* Gives the URI in a field the password, if it is the same account's. */
static kt_status_t set_uri(const kt_secret_t *old, const char *field, const json_t *member,
                           const kt_secret_t *account[2], const kt_secret_t *password,
                           kt_secret_t **value)
{
    kt_secret_t *text = NULL;
    kt_status_t status = KT_SUCCESS;
    bool same = true;
    kt_uri_t uri;

    if (!json_is_string(member) ||
        !kt_uri_parse(json_string_value(member), json_string_length(member), &uri))
        return KT_SUCCESS;
    if (account[0] != NULL)
        status = kt_uri_same(&uri, KT_URI_USER, account[0], &same);
    if (status == KT_SUCCESS && same)
        status = kt_uri_same(&uri, KT_URI_PASSWORD, account[1], &same);
    if (status != KT_SUCCESS || !same)
        return status;
    status = kt_uri_set_password(&uri, password, &text);
    if (status == KT_SUCCESS)
        status = set(old, value, field, (const char *)text->data, text->size);
    kt_secret_free(text);
    return status;
}

/* The user and the password of an object, and the URIs that have the same. */
static kt_status_t set_uris(const kt_secret_t *old, json_t *object, const kt_secret_t *password,
                            kt_secret_t **value)
{
    kt_secret_t *user = NULL, *before = NULL;
    kt_status_t status = maybe_field(old, "user", &user);
    const char *field;
    json_t *member;

    if (status == KT_SUCCESS)
        status = maybe_field(old, "username", &user);
    if (status == KT_SUCCESS)
        status = maybe_field(old, "password", &before);
    json_object_foreach(object, field, member)
    {
        const kt_secret_t *account[2] = {user, before};

        if (status == KT_SUCCESS)
            status = set_uri(old, field, member, account, password, value);
    }
    kt_secret_free(user);
    kt_secret_free(before);
    return status;
}

/* A new value with this password: in its place in the URI; in the field and in the URIs of the
 * object. */
static kt_status_t set_password(const kt_secret_t *old, const kt_secret_t *password,
                                kt_secret_t **ret_value)
{
    json_t *object = kt_json_object(old);
    kt_secret_t *value = NULL;
    kt_status_t status;
    kt_uri_t uri;

    if (object == NULL && kt_json_starved())
        return kt_no_memory();
    if (object == NULL && is_uri(old, &uri))
        return kt_uri_set_password(&uri, password, ret_value);
    if (object == NULL)
        return kt_fail(KT_MALFORMED, "the value is not a JSON object");
    status = set_uris(old, object, password, &value);
    if (status == KT_SUCCESS && (value == NULL || json_object_get(object, "password") != NULL))
        status = set(old, &value, "password", (const char *)password->data, password->size);
    json_decref(object);
    if (status == KT_SUCCESS)
        *ret_value = value;
    else
        kt_secret_free(value);
    return status;
}

kt_status_t kt_shape_set_field(const kt_secret_t *old, const char *field, const kt_secret_t *part,
                               kt_secret_t **ret_value)
{
    kt_secret_t *empty = NULL;
    kt_status_t status;

    if (old == NULL)
        old = empty = kt_secret_new("{}", 2);
    if (old == NULL)
        return kt_json_no_secret(2);
    if (strcmp(field, "password") == 0) {
        status = set_password(old, part, ret_value);
    } else {
        status = kt_json_check(old);
        if (status == KT_SUCCESS)
            status =
                kt_json_set_string(old, field, (const char *)part->data, part->size, ret_value);
    }
    kt_secret_free(empty);
    return status;
}

/* ---- Rotation ---- */

static void format_time(int64_t now, char *text, size_t size)
{
    time_t seconds = (time_t)(now / 1000);
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* Notes in the object *value when it was made; answers it, or frees it. */
static kt_status_t note_time(kt_status_t status, const kt_secret_t *old, kt_secret_t *value,
                             int64_t now, kt_secret_t **ret_value)
{
    char time[40];

    if (status == KT_SUCCESS) {
        format_time(now, time, sizeof(time));
        status = set(old, &value, "rotated_at", time, strlen(time));
    }
    if (status == KT_SUCCESS)
        *ret_value = value;
    else
        kt_secret_free(value);
    return status;
}

static kt_status_t rotate_account(const kt_secret_t *old, const kt_secret_t *password, int64_t now,
                                  kt_secret_t **ret_value)
{
    kt_secret_t *value = NULL;
    kt_status_t status = set_password(old, password, &value);
    kt_uri_t uri;

    if (status == KT_SUCCESS && is_uri(old, &uri)) { /* it has no place for the time */
        *ret_value = value;
        return KT_SUCCESS;
    }
    return note_time(status, old, value, now, ret_value);
}

static kt_status_t rotate_api_key(const kt_secret_t *old, const kt_secret_t *key, int64_t now,
                                  kt_secret_t **ret_value)
{
    kt_status_t status = kt_json_check(old);
    kt_secret_t *value = NULL;

    if (status == KT_SUCCESS) {
        status = kt_json_copy(old, "api_key", "previous_key", &value);
        if (status == KT_NOTFOUND) /* nothing to keep */
            status = KT_SUCCESS;
    }
    if (status == KT_SUCCESS)
        status = set(old, &value, "api_key", (const char *)key->data, key->size);
    return note_time(status, old, value, now, ret_value);
}

kt_status_t kt_shape_rotate(kt_shape_t shape, const kt_secret_t *old, const kt_secret_t *part,
                            int64_t now, kt_secret_t **ret_value)
{
    kt_secret_t *value;

    switch (shape) {
    case KT_SHAPE_DATABASE:
        return rotate_account(old, part, now, ret_value);
    case KT_SHAPE_API_KEY:
        return rotate_api_key(old, part, now, ret_value);
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
