/* SPDX-License-Identifier: BSD-2-Clause */
/* schedule.c: the metadata `rotation` says how often a secret is rotated: a tier, a word or a
 * duration. */
#include <stdlib.h>
#include <string.h>

#include "head.h"
#include "config/config.h"

#define DAY_MS ((int64_t)86400 * 1000)

int64_t kt_schedule_parse(const char *text)
{
    static const struct {
        const char *name;
        int days;
    } words[] = {{"critical", 7},  {"high", 30},      {"database", 90},
                 {"api-key", 365}, {"daily", 1},      {"weekly", 7},
                 {"monthly", 30},  {"quarterly", 90}, {"annually", 365}};
    int64_t duration;
    size_t i;

    for (i = 0; i < KT_ARRAY(words); i++) {
        if (strcmp(text, words[i].name) == 0)
            return words[i].days * DAY_MS;
    }
    duration = kt_duration_parse(text);
    return duration >= 1000 ? duration : -1;
}

int64_t kt_schedule_rotated(const kt_head_t *head)
{
    const char *note = kt_head_get_note(head, head->current, KT_NOTE_ROTATED);
    const kt_head_version_t *entry = kt_head_find(head, head->current);

    if (note != NULL && atoll(note) > 0)
        return atoll(note);
    return entry != NULL ? entry->created : 0;
}

int64_t kt_schedule_due(const kt_head_t *head)
{
    int64_t interval = -1, rotated = kt_schedule_rotated(head);
    size_t i;

    for (i = 0; i < head->nmetas; i++) {
        if (strcmp(head->metas[i].key, KT_META_ROTATION) == 0)
            interval = kt_schedule_parse(head->metas[i].value);
    }
    return interval > 0 && rotated > 0 ? rotated + interval : 0;
}
