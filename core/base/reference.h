/* SPDX-License-Identifier: BSD-2-Clause */
/* reference.h: names, references and patterns. */
#ifndef KT_REFERENCE_H
#define KT_REFERENCE_H

#include "base.h"

typedef enum kt_selector {
    KT_SEL_CURRENT = 0,
    KT_SEL_PREVIOUS,
    KT_SEL_PENDING,
    KT_SEL_NUMBER
} kt_selector_t;
typedef struct kt_reference {
    char name[KT_NAME_MAX + 1];
    char type[KT_NAME_MAX + 1];
    char field[KT_FIELD_MAX + 1]; /* "" if there is none */
    kt_selector_t selector;
    uint64_t version; /* of KT_SEL_NUMBER */
} kt_reference_t;

/* `len` 0: ends with NUL. KT_USAGE. */
kt_status_t kt_reference_parse(const char *text, size_t len, kt_reference_t *ret_reference);
/* name[#field][@version] in its one normal form (current is left out), at most KT_REFERENCE_MAX
 * bytes with NUL. */
void kt_reference_format(const kt_reference_t *reference, char *text, size_t size);
/* A name with stars, 255 bytes at most: KT_USAGE. */
kt_status_t kt_pattern_check(const char *pattern);
/* The star matches any bytes, '/' too; all other bytes match themselves. */
bool kt_pattern_match(const char *pattern, const char *text);
/* The canonical name: dev, stage, prod become development, staging, production; others must match
 * [A-Za-z0-9._-]+. KT_USAGE. */
kt_status_t kt_environment_parse(const char *text, char ret_environment[KT_ENVIRONMENT_MAX]);

#endif /* KT_REFERENCE_H */
