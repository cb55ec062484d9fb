/* SPDX-License-Identifier: BSD-2-Clause */
/* uri.h: connection URIs of PostgreSQL, as json.c and shape.c use them. */
#ifndef KT_URI_H
#define KT_URI_H

#include "value.h" /* first: it sets what the system's headers show */

typedef enum kt_uri_part {
    KT_URI_USER = 0,
    KT_URI_PASSWORD,
    KT_URI_HOST, /* of several hosts: none */
    KT_URI_PORT,
    KT_URI_NAME,
    KT_URI_PARTS
} kt_uri_part_t;

/* Where the parts are in the text, still percent-encoded. An empty part is not there. */
typedef struct kt_uri {
    const char *text; /* the caller's */
    size_t size;
    struct {
        size_t start, end; /* equal: not there */
    } parts[KT_URI_PARTS];
    size_t place;    /* not there: where a password goes ... */
    char before[12]; /* ... and what stands between the text and it */
} kt_uri_t;

/* Is the text a URI of PostgreSQL that names a user? White space after it is not looked at. */
bool kt_uri_parse(const char *text, size_t size, kt_uri_t *ret_uri);
bool kt_uri_has(const kt_uri_t *uri, kt_uri_part_t part);
/* The part that a field's name means ("user", "username", "password", "host", "port", "name",
 * "dbname", "database"); KT_URI_PARTS: none. */
kt_uri_part_t kt_uri_part_of(const char *field);
/* The part, decoded. KT_NOTFOUND; KT_USAGE: a percent sign without two digits, or %00. */
kt_status_t kt_uri_get(const kt_uri_t *uri, kt_uri_part_t part, kt_secret_t **ret_value);
/* Is the part, decoded, the same as `other` (NULL: there is none)? */
kt_status_t kt_uri_same(const kt_uri_t *uri, kt_uri_part_t part, const kt_secret_t *other,
                        bool *ret_same);
/* The text with this password, encoded, in place of its own; all other bytes stay. KT_TOOLARGE. */
kt_status_t kt_uri_set_password(const kt_uri_t *uri, const kt_secret_t *password,
                                kt_secret_t **ret_value);

#endif /* KT_URI_H */
