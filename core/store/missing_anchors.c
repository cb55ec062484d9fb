/* SPDX-License-Identifier: BSD-2-Clause */
/* missing_anchors.c: what a process found above all anchors, until they are written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "index.h"

kt_missing_t *kt_missing_find(const kt_missing_list_t *missing,
                              const unsigned char key_id[KT_KEYID_SIZE])
{
    size_t i;

    for (i = 0; i < missing->count; i++) {
        if (memcmp(missing->list[i].anchor.key_id, key_id, KT_KEYID_SIZE) == 0)
            return &missing->list[i];
    }
    return NULL;
}

void kt_missing_add(kt_missing_list_t *missing, const kt_anchored_t *anchored, bool was_said)
{
    kt_missing_t *one = kt_missing_find(missing, anchored->key_id), *list;

    if (one == NULL) {
        list = reallocarray(missing->list, missing->count + 1, sizeof(*list));
        if (list == NULL)
            return;
        missing->list = list;
        one = &list[missing->count++];
        memset(one, 0, sizeof(*one));
    }
    if (one->anchor.generation == anchored->generation)
        return;
    (void)snprintf(one->type, sizeof(one->type), "%s",
                   anchored->type != NULL ? anchored->type : "");
    kt_anchor_now(anchored, &one->anchor);
    one->due = kt_monotonic();
    one->was_said = was_said;
    one->recorded = false;
}

void kt_missing_drop(kt_missing_list_t *missing, const unsigned char key_id[KT_KEYID_SIZE])
{
    kt_missing_t *one = kt_missing_find(missing, key_id);

    if (one != NULL)
        *one = missing->list[--missing->count];
}
