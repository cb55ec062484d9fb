/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedule.c: how often a secret is rotated. The metadata `rotation` says it: a tier, a word or a
 * duration. Without it a database password has the schedule of its shape, and others have none.
 */
#include <stdlib.h>
#include <string.h>

#include "head.h"
#include "config/config.h"
#include "value/value.h"

kt_status_t kt_schedule_note(kt_head_t *head, uint64_t version, const kt_secret_t *value)
{
    bool account;
    kt_status_t status = kt_shape_is_account(value, &account);

    return status == KT_SUCCESS && account
               ? kt_head_note(head, version, KT_NOTE_SHAPE, KT_SHAPE_NOTED)
               : status;
}

bool kt_head_is_account(const kt_head_t *head)
{
    uint64_t version = head->current != 0 ? head->current : head->last;
    const char *shape = kt_head_get_note(head, version, KT_NOTE_SHAPE);

    return shape != NULL && strcmp(shape, KT_SHAPE_NOTED) == 0;
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
    int64_t interval, rotated = kt_schedule_rotated(head);
    const char *schedule = kt_head_get_meta(head, KT_META_ROTATION);

    if (schedule == NULL && kt_head_is_account(head))
        schedule = KT_SHAPE_NOTED;
    interval = schedule != NULL ? kt_schedule_parse(schedule) : -1;
    return interval > 0 && rotated > 0 ? rotated + interval : 0;
}
