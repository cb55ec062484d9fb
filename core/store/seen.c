/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * seen.c: the generations of a store's types, as they were when this process read them last. For
 * figures only: no decision depends on them.
 */
#include <stdlib.h>
#include <string.h>

#include "rows.h"

#define SEEN_MAX 256u /* further types are not shown */

struct kt_seen {
    size_t count;
    struct {
        char type[KT_NAME_MAX + 1];
        uint64_t generation;
    } list[SEEN_MAX];
};

/* a block of this size comes as fresh pages, which use no memory until they are written */
kt_seen_t *kt_seen_new(void)
{
    return calloc(1, sizeof(kt_seen_t));
}

void kt_seen_free(kt_seen_t *seen)
{
    free(seen);
}

void kt_seen_note(kt_seen_t *seen, const char *type, uint64_t generation)
{
    size_t i;

    if (seen == NULL || generation == 0)
        return;
    for (i = 0; i < seen->count; i++) {
        if (strcmp(seen->list[i].type, type) == 0)
            break;
    }
    if (i == SEEN_MAX)
        return;
    if (i == seen->count) {
        memcpy(seen->list[i].type, type, strlen(type) + 1);
        seen->count++;
    }
    seen->list[i].generation = generation;
}

void kt_seen_all(const kt_seen_t *seen, kt_seen_fn fn, void *arg)
{
    size_t i;

    for (i = 0; seen != NULL && i < seen->count; i++)
        fn(arg, seen->list[i].type, seen->list[i].generation);
}
