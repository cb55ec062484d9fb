/* SPDX-License-Identifier: BSD-2-Clause */
/* json.h: what json.c does for shape.c. */
#ifndef KT_JSON_H
#define KT_JSON_H

#include "value.h" /* first: it sets what the system's headers show */

#include "uri.h"

#include <jansson.h>

/* The object that `value` is, for json_decref(); NULL: it is not an object, or kt_json_starved().
 */
json_t *kt_json_object(const kt_secret_t *value);
/* Whether the calling thread's last use of the library failed because memory ran out. */
bool kt_json_starved(void);
/* KT_SUCCESS, or KT_MALFORMED: `value` is not a JSON object. */
kt_status_t kt_json_check(const kt_secret_t *value);

/* A new value: `object`, of which kt_json_check() was KT_SUCCESS, with `field` set to a string, or
 * `to` set to what is at `from`. KT_MALFORMED: the string is not UTF-8 or holds a zero byte;
 * KT_NOTFOUND: there is nothing at `from`; KT_TOOLARGE. */
kt_status_t kt_json_set_string(const kt_secret_t *object, const char *field, const char *text,
                               size_t size, kt_secret_t **ret_value);
kt_status_t kt_json_copy(const kt_secret_t *object, const char *from, const char *to,
                         kt_secret_t **ret_value);

/* The URI of PostgreSQL, naming a user, that the object has in `url`, `uri`, `dsn` or the like. It
 * points into the object. */
bool kt_json_uri(const json_t *object, kt_uri_t *ret_uri);

/* As kt_secret_field(), and KT_MALFORMED for a field that is neither a string nor a number. */
kt_status_t kt_json_plain(const kt_secret_t *secret, const char *field, kt_secret_t **ret_secret);

/* Why kt_secret_new() of `size` bytes was NULL. */
kt_status_t kt_json_no_secret(size_t size);

#endif /* KT_JSON_H */
