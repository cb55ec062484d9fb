/* SPDX-License-Identifier: BSD-2-Clause */
/* value.h: what is known of the inside of a value. */
#ifndef KT_VALUE_H
#define KT_VALUE_H

#include "base/base.h"

typedef enum kt_shape {
    KT_SHAPE_OPAQUE = 0,
    KT_SHAPE_DATABASE, /* an object with a password, or a URI of PostgreSQL, or both */
    KT_SHAPE_API_KEY,
    KT_SHAPE_CERTIFICATE
} kt_shape_t;
kt_shape_t kt_shape_of(const kt_secret_t *value);
/* The field that a rotation replaces: "password", "api_key"; NULL: the whole value. */
const char *kt_shape_part(kt_shape_t shape);
/* Is the value a JSON object? KT_SUCCESS or KT_MALFORMED, KT_INTERNAL: memory ran out. */
kt_status_t kt_shape_is_object(const kt_secret_t *value);
/* Does it name a user and no password, as before a role's first rotation? */
bool kt_shape_wants_password(const kt_secret_t *value);
/* Is it the account of a database: an object with a password, or before the first rotation with a
 * user alone, or a URI of PostgreSQL? KT_INTERNAL: memory ran out. */
kt_status_t kt_shape_is_account(const kt_secret_t *value, bool *ret_account);
/* Has the object, or the URI, this field? KT_SUCCESS, KT_NOTFOUND, KT_MALFORMED: it is neither. */
kt_status_t kt_shape_has_field(const kt_secret_t *value, const char *field);
/* A new value: `old` with `field` set to the string `part`; with old NULL an object of this one
 * field. A password goes into the URIs of its account as well. KT_MALFORMED: old has no such field
 * and is not an object, part is not UTF-8; KT_TOOLARGE. */
kt_status_t kt_shape_set_field(const kt_secret_t *old, const char *field, const kt_secret_t *part,
                               kt_secret_t **ret_value);
/* The rotated value of `shape` around the new password or key, with rotated_at at `now` (ms) as ISO
 * 8601 Z; an API key keeps previous_key. An opaque value is `part` itself. KT_CONFLICT for a
 * certificate. */
kt_status_t kt_shape_rotate(kt_shape_t shape, const kt_secret_t *old, const kt_secret_t *part,
                            int64_t now, kt_secret_t **ret_value);
/* Of a database whose two users take turns: the one of the list `users` that is not the value's
 * user; the caller frees it. KT_NOTFOUND: there is no such list; KT_CONFLICT: it is not a list of
 * two, or the user is not one of them; KT_MALFORMED: the value is not an object. */
kt_status_t kt_users_next(const kt_secret_t *value, kt_secret_t **ret_user);
/* kt_shape_rotate(), and the new value of a database names `user`, unless that is NULL; in
 * `username` if that is the field it has. KT_USAGE: it is not a database's. */
kt_status_t kt_users_rotate(kt_shape_t shape, const kt_secret_t *old, const kt_secret_t *part,
                            const char *user, int64_t now, kt_secret_t **ret_value);

/* ---- dotenv.c ---- */

/* What fn is given is valid during its call. */
typedef struct kt_pair {
    const char *name; /* not terminated */
    size_t name_size;
    const char *value; /* secret memory; a NUL comes after it */
    size_t value_size;
    unsigned line;
} kt_pair_t;
typedef int (*kt_pair_fn)(void *arg, const kt_pair_t *pair);
/* Reads NAME=VALUE lines as `dialect` does, and calls fn for each pair in its order: of two with
 * one name the later counts. A value of fn other than 0 ends it. `text` is secret memory with a NUL
 * at text[size]; `file` is named in errors. KT_USAGE: there is no such dialect; KT_MALFORMED: the
 * dialect does not read this, or would expand it (then some pairs may have been given to fn);
 * KT_INTERNAL. Thread-safe. */
kt_status_t kt_dotenv_read(const char *dialect, const char *file, const char *text, size_t size,
                           kt_pair_fn fn, void *arg);

void kt_json_setup(void); /* once: the JSON library allocates and frees through wiping functions */

#endif /* KT_VALUE_H */
