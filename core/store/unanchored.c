/* SPDX-License-Identifier: BSD-2-Clause */
/* unanchored.c: what a process found above all anchors, until they are written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "index.h"

kt_unanchored_t *kt_unanchored_find(const kt_unanchored_list_t *missing,
                                    const unsigned char key_id[KT_KEYID_SIZE])
{
    size_t i;

    for (i = 0; i < missing->count; i++) {
        if (memcmp(missing->list[i].anchor.key_id, key_id, KT_KEYID_SIZE) == 0)
            return &missing->list[i];
    }
    return NULL;
}

void kt_unanchored_add(kt_unanchored_list_t *missing, const kt_anchored_t *anchored, bool was_said)
{
    kt_unanchored_t *one = kt_unanchored_find(missing, anchored->key_id), *list;

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

void kt_unanchored_drop(kt_unanchored_list_t *missing, const unsigned char key_id[KT_KEYID_SIZE])
{
    kt_unanchored_t *one = kt_unanchored_find(missing, key_id);

    if (one != NULL)
        *one = missing->list[--missing->count];
}
