/* SPDX-License-Identifier: BSD-2-Clause */
/* member.h: what member.c does for json.c. */
#ifndef KT_MEMBER_H
#define KT_MEMBER_H

#include "value.h" /* first: it sets what the system's headers show */

typedef struct kt_member {
    bool found, twice;
    bool first;        /* not found: the object is empty */
    size_t start, end; /* of the member's value; not found: both where a new member goes */
} kt_member_t;

/* Finds the member `field` of the JSON object that the text is. False: it is not an object. */
bool kt_member_find(const char *text, size_t size, const char *field, kt_member_t *ret_member);

/* The bytes that a quoted string means, which fit into `to` of `size` bytes. False: they are not
 * text, or hold a zero byte. */
bool kt_member_unquote(const char *quoted, size_t size, char *to, size_t *ret_size);

#endif /* KT_MEMBER_H */
