/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * users.c: two accounts of a database that take turns. The value has both names in the list
 * `users`, and in `user` (or `username`) the one whose password it holds.
 */
#include "json.h"

#include <string.h>

#define WAY_OUT "(set the whole value again, with two names, such as [\"app_a\", \"app_b\"])"

static const char *field_of(const json_t *object)
{
    return json_object_get(object, "user") == NULL && json_object_get(object, "username") != NULL
               ? "username"
               : "user";
}

static kt_status_t check_list(const json_t *list)
{
    const json_t *one = json_array_get(list, 0), *other = json_array_get(list, 1);

    if (!json_is_array(list))
        return kt_fail(KT_CONFLICT, "`users` is not a list " WAY_OUT);
    if (json_array_size(list) != 2)
        return kt_fail(KT_CONFLICT, "`users` has %zu %s, and not two " WAY_OUT,
                       json_array_size(list), kt_plural(json_array_size(list), "entry", "entries"));
    if (!json_is_string(one) || !json_is_string(other) || json_string_length(one) == 0 ||
        json_string_length(other) == 0)
        return kt_fail(KT_CONFLICT, "`users` holds something that is not a name " WAY_OUT);
    if (json_equal(one, other) != 0)
        return kt_fail(KT_CONFLICT, "`users` holds the same name twice " WAY_OUT);
    return KT_SUCCESS;
}

static kt_status_t find_next(const json_t *object, const json_t **ret_next)
{
    const json_t *list = json_object_get(object, "users"),
                 *user = json_object_get(object, field_of(object));
    kt_status_t status;
    kt_uri_t uri;

    if (list == NULL)
        return kt_fail(KT_NOTFOUND, "the value has no field `users`");
    if (kt_json_uri(object, &uri))
        return kt_fail(KT_CONFLICT, "the value has `users` and a connection URI, which names one "
                                    "user always (set the value again without one of them)");
    status = check_list(list);
    if (status != KT_SUCCESS)
        return status;
    if (json_equal(user, json_array_get(list, 0)) != 0)
        *ret_next = json_array_get(list, 1);
    else if (json_equal(user, json_array_get(list, 1)) != 0)
        *ret_next = json_array_get(list, 0);
    else
        return kt_fail(KT_CONFLICT,
                       "the user of the value is not one of `users` (set `%s` to the one that has "
                       "this password, or `users` to two others)",
                       field_of(object));
    return KT_SUCCESS;
}

kt_status_t kt_users_next(const kt_secret_t *value, kt_secret_t **ret_user)
{
    kt_status_t status = kt_json_check(value);
    const json_t *next = NULL;
    json_t *object;

    if (status != KT_SUCCESS)
        return status;
    object = kt_json_object(value);
    if (object == NULL)
        return kt_no_memory();
    status = find_next(object, &next);
    if (status == KT_SUCCESS) {
        *ret_user = kt_secret_new(json_string_value(next), json_string_length(next));
        if (*ret_user == NULL)
            status = kt_json_no_secret(json_string_length(next));
    }
    json_decref(object);
    return status;
}

static kt_status_t set_user(const kt_secret_t *value, const char *user, kt_secret_t **ret_value)
{
    kt_status_t status = kt_json_check(value);
    const char *field;
    json_t *object;

    if (status != KT_SUCCESS)
        return status;
    object = kt_json_object(value);
    if (object == NULL)
        return kt_no_memory();
    field = field_of(object);
    json_decref(object);
    return kt_json_set_string(value, field, user, strlen(user), ret_value);
}

kt_status_t kt_users_rotate(kt_shape_t shape, const kt_secret_t *old, const kt_secret_t *part,
                            const char *user, int64_t now, kt_secret_t **ret_value)
{
    kt_secret_t *value = NULL;
    kt_status_t status;

    if (user == NULL)
        return kt_shape_rotate(shape, old, part, now, ret_value);
    if (shape != KT_SHAPE_DATABASE)
        return kt_fail(KT_USAGE, "only the account of a database has a user");
    status = kt_shape_rotate(shape, old, part, now, &value);
    if (status == KT_SUCCESS)
        status = set_user(value, user, ret_value);
    kt_secret_free(value);
    return status;
}
