/* SPDX-License-Identifier: BSD-2-Clause */
/* expected.c: the generations that a store must have reached, as the audit log says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anchors.h"

struct kt_expected {
    kt_expected_t *next;
    char type[KT_NAME_MAX + 1];
    unsigned char store_id[KT_ID_SIZE];
    uint64_t generation;
};

static kt_expected_t *find(const kt_expected_t *list, const char *type,
                           const unsigned char store_id[KT_ID_SIZE])
{
    while (list != NULL &&
           (strcmp(list->type, type) != 0 || memcmp(list->store_id, store_id, KT_ID_SIZE) != 0))
        list = list->next;
    return (kt_expected_t *)list;
}

void kt_expected_add(kt_expected_t **list, const char *type, uint64_t generation,
                     const unsigned char store_id[KT_ID_SIZE])
{
    kt_expected_t *entry = find(*list, type, store_id);

    if (entry == NULL) {
        entry = calloc(1, sizeof(*entry));
        if (entry == NULL)
            return; /* the anchors are still compared */
        (void)snprintf(entry->type, sizeof(entry->type), "%s", type);
        memcpy(entry->store_id, store_id, KT_ID_SIZE);
        entry->next = *list;
        *list = entry;
    }
    if (generation > entry->generation)
        entry->generation = generation;
}

uint64_t kt_expected_of(const kt_expected_t *list, const char *type,
                        const unsigned char store_id[KT_ID_SIZE])
{
    const kt_expected_t *entry = find(list, type, store_id);

    return entry != NULL ? entry->generation : 0;
}

void kt_expected_free(kt_expected_t *list)
{
    while (list != NULL) {
        kt_expected_t *next = list->next;

        free(list);
        list = next;
    }
}
