/* SPDX-License-Identifier: BSD-2-Clause */
/* vectors.h: the vectors of docs/format.md, so that the page and the core cannot part. */
#ifndef KT_VECTORS_H
#define KT_VECTORS_H

#include "unit.h"

#include <ctype.h>
#include <stdio.h>

typedef struct vector {
    unsigned char bytes[2048];
    size_t size;
} vector_t;

static int digit_of(int c)
{
    return isdigit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Lines "NAME =", then hexadecimal lines indented by two. */
static vector_t vector(const char *name)
{
    const char *top = getenv("KT_TOP");
    char path[512], line[512], wanted[64];
    vector_t v = {.size = 0};
    bool inside = false;
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/docs/format.md", top != NULL ? top : ".");
    (void)snprintf(wanted, sizeof(wanted), "%s =\n", name);
    file = fopen(path, "r");
    ck_assert_msg(file != NULL, "cannot open %s: run from the top of the tree", path);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (line[0] != ' ')
            inside = strcmp(line, wanted) == 0;
        if (!inside || line[0] != ' ')
            continue;
        for (const char *at = line + 2; digit_of(at[0]) >= 0; at += 2)
            v.bytes[v.size++] = (unsigned char)(digit_of(at[0]) << 4 | digit_of(at[1]));
    }
    (void)fclose(file);
    ck_assert_msg(v.size > 0, "docs/format.md has no vector %s", name);
    return v;
}

#define assert_vector(data, length, name)                                                          \
    do {                                                                                           \
        vector_t unit_v = vector(name);                                                            \
        ck_assert_uint_eq(length, unit_v.size);                                                    \
        ck_assert_mem_eq(data, unit_v.bytes, unit_v.size);                                         \
    } while (0)

#endif /* KT_VECTORS_H */
