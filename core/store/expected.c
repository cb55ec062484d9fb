/* SPDX-License-Identifier: BSD-2-Clause */
/* expected.c: the generations that a store must have reached, as audit logs say. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anchors.h"

static kt_expected_t *find(const kt_expected_t *list, const char *type,
                           const unsigned char store_id[KT_ID_SIZE])
{
    while (list != NULL &&
           (strcmp(list->type, type) != 0 || memcmp(list->store_id, store_id, KT_ID_SIZE) != 0))
        list = list->next;
    return (kt_expected_t *)list;
}

void kt_expected_add(kt_expected_t **list, const char *type, uint64_t generation,
                     const unsigned char store_id[KT_ID_SIZE], const char *where)
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
    if (generation <= entry->generation)
        return;
    entry->generation = generation;
    (void)snprintf(entry->where, sizeof(entry->where), "%s", where);
}

uint64_t kt_expected_of(const kt_expected_t *list, const char *type,
                        const unsigned char store_id[KT_ID_SIZE])
{
    const kt_expected_t *entry = find(list, type, store_id);

    return entry != NULL ? entry->generation : 0;
}

kt_status_t kt_expected_check(const kt_expected_t *list, const char *store, const char *type,
                              const unsigned char store_id[KT_ID_SIZE], uint64_t generation)
{
    const kt_expected_t *entry = find(list, type, store_id);
    bool catalogue = strcmp(type, KT_CATALOGUE_TYPE) == 0;

    if (entry == NULL || generation >= entry->generation)
        return KT_SUCCESS;
    return kt_fail(KT_ROLLEDBACK,
                   "%s: %s%s%s is at generation %llu, but %s has generation %llu: an "
                   "older store was put in place (if that was intended: `keyturn restore BACKUP "
                   "--going-back`)",
                   store, catalogue ? "the catalogue of types" : "the type \"",
                   catalogue ? "" : type, catalogue ? "" : "\"", (unsigned long long)generation,
                   entry->where, (unsigned long long)entry->generation);
}

void kt_expected_free(kt_expected_t *list)
{
    while (list != NULL) {
        kt_expected_t *next = list->next;

        free(list);
        list = next;
    }
}
