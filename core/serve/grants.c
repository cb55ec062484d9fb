/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grants.c: who was allowed to read which bundle sealed, and what the records of that read have in
 * common.
 *
 * A server that serves its own bundles has no cached value that could remember it (cache.c). An
 * entry is found by the bytes of subject and name, and counts only if both and the action are
 * equal; another one at its place replaces it. A context's policy never changes, so what was
 * allowed stays allowed; refusals are not remembered.
 */
#include <stdlib.h>
#include <string.h>

#include "serve.h"

#define GRANTS 1024u /* entries */

typedef struct grant {
    char *who; /* the subject, the name and the action, each with NUL; NULL: none */
    size_t subject_size, name_size;
    kt_granted_t kept;
    uint32_t slot; /* in the statistics */
} grant_t;

struct kt_grants {
    grant_t grants[GRANTS];
};

kt_grants_t *kt_grants_new(void)
{
    return calloc(1, sizeof(kt_grants_t));
}

void kt_grants_free(kt_grants_t *grants)
{
    size_t i;

    if (grants == NULL)
        return;
    for (i = 0; i < GRANTS; i++) {
        free(grants->grants[i].who);
        free(grants->grants[i].kept.texts);
    }
    free(grants);
}

/* Only where to look, so the ends of both are enough. */
static grant_t *place_of(kt_grants_t *grants, const char *subject, size_t subject_size,
                         const char *name, size_t name_size)
{
    uint64_t words[2] = {0, 0};
    uint64_t sum;

    memcpy(&words[0], subject + (subject_size > 8 ? subject_size - 8 : 0),
           subject_size > 8 ? 8 : subject_size);
    memcpy(&words[1], name + (name_size > 8 ? name_size - 8 : 0), name_size > 8 ? 8 : name_size);
    sum = (words[0] ^ words[1] * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
    return &grants->grants[(sum >> 32) % GRANTS];
}

kt_granted_t *kt_grants_find(kt_grants_t *grants, const char *subject, const char *name,
                             size_t name_size, const char *action, uint32_t **ret_slot,
                             const char **ret_name)
{
    size_t subject_size = strlen(subject);
    grant_t *grant = place_of(grants, subject, subject_size, name, name_size);

    if (grant->who == NULL || grant->subject_size != subject_size ||
        grant->name_size != name_size || memcmp(grant->who, subject, subject_size) != 0 ||
        memcmp(grant->who + subject_size + 1, name, name_size) != 0 ||
        strcmp(grant->who + subject_size + 1 + name_size + 1, action) != 0)
        return NULL;
    *ret_slot = &grant->slot;
    *ret_name = grant->who + subject_size + 1;
    return &grant->kept;
}

/* Without memory it is asked for again. */
void kt_grants_add(kt_grants_t *grants, const char *subject, const char *name, const char *action,
                   uint32_t slot)
{
    size_t subject_size = strlen(subject), name_size = strlen(name);
    grant_t *grant = place_of(grants, subject, subject_size, name, name_size);
    char *who = malloc(subject_size + name_size + strlen(action) + 3);

    if (who == NULL)
        return;
    memcpy(who, subject, subject_size + 1);
    memcpy(who + subject_size + 1, name, name_size + 1);
    (void)strcpy(who + subject_size + 1 + name_size + 1, action);
    free(grant->who);
    free(grant->kept.texts);
    *grant = (grant_t){who, subject_size, name_size, {NULL, 0}, slot};
}
