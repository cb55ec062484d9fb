/* SPDX-License-Identifier: BSD-2-Clause */
/* block.c: a block of lines, from what the stream itself has to say to the seal. */
#include <string.h>

#include "files.h"
#include "stream.h"

#define KEPT_ROOM 131072u /* bytes of memory that are kept for the next block */

/* ---- an instance before this one ---- */

/* The end of a log: its last seal, and the chain through it. */
bool kt_block_read_former(int folder, const char *name, kt_audit_former_t *former)
{
    kt_audit_log_t opened;
    kt_audit_reader_t *reader = kt_audit_log_read(folder, name, &opened);
    kt_audit_seal_t seal;
    bool found = false;
    char *line;
    size_t size;

    while (reader != NULL && kt_audit_reader_next(reader, &line, &size) == KT_AUDIT_NEXT) {
        if (!kt_audit_parse_seal(line, size, &seal) ||
            memcmp(seal.instance, former->instance, KT_AUDIT_ID) != 0)
            continue;
        found = true;
        former->block = seal.block;
        former->last = seal.last;
        memcpy(former->chain, seal.chain, KT_AUDIT_HASH);
        kt_audit_link(former->chain, line, size);
    }
    kt_audit_reader_free(reader);
    return found;
}

/* A stream whose state was removed begins another instance. Its first block names the one before,
 * so that the end of that cannot be cut off afterwards, nor all of it be taken away. */
static bool find_former(const kt_audit_t *audit, const kt_audit_state_t *state,
                        kt_audit_former_t *ret_former)
{
    kt_audit_logs_t logs;
    bool found = false;
    size_t i;

    if (!kt_audit_logs_find(audit->folder, &logs))
        return false;
    for (i = logs.count; i > 0 && !found; i--) {
        const kt_audit_log_t *log = &logs.list[i - 1];

        if (!log->has_head || memcmp(log->head.instance, state->instance, KT_AUDIT_ID) == 0)
            continue;
        memcpy(ret_former->instance, log->head.instance, KT_AUDIT_ID);
        found = kt_block_read_former(audit->folder, log->name, ret_former);
    }
    kt_audit_logs_free(&logs);
    return found;
}

/* ---- a block ---- */

static void add_gap(kt_audit_t *audit, kt_audit_state_t *state, int64_t now)
{
    kt_lines_t *lines = &audit->lines;
    kt_audit_former_t former;

    if (state->gap.reason != KT_LOSS_NONE) {
        kt_line_gap(lines, &audit->name, state, ++state->recorded.sequence, now);
    } else if (state->block == 0 && find_former(audit, state, &former)) {
        kt_audit_warn(audit, "state: the one before is gone; another instance begins");
        kt_line_former(lines, &audit->name, &former, ++state->recorded.sequence, now);
    }
}

kt_status_t kt_block_begin_inlock(kt_audit_t *audit, kt_audit_state_t *state, size_t room,
                                  int64_t now)
{
    kt_recovery_t *found = &audit->recovered;
    kt_lines_t *lines = &audit->lines;
    kt_status_t status = kt_lines_begin(lines, room);

    if (status != KT_SUCCESS)
        return status;
    state->recorded = state->sealed;
    if (!state->log_begun) {
        kt_line_log(lines, &audit->name, state, now);
        add_gap(audit, state, now);
    }
    if (found->dropped > 0 || found->missing > 0) {
        state->recorded.sequence += found->missing;
        kt_line_recovery(lines, &audit->name, found->dropped, found->missing,
                         ++state->recorded.sequence, now);
    }
    return KT_SUCCESS;
}

bool kt_block_is_due(const kt_audit_t *audit, const kt_audit_state_t *state)
{
    return audit->recovered.dropped > 0 || audit->recovered.missing > 0 ||
           state->gap.reason != KT_LOSS_NONE;
}

void kt_block_add(kt_audit_t *audit, kt_audit_state_t *state, const kt_event_t *event, int64_t time)
{
    kt_line_event(&audit->lines, &audit->name, event, ++state->recorded.sequence, time);
    audit->lines.decisions++;
}

kt_status_t kt_block_end_inlock(kt_audit_t *audit, kt_audit_state_t *state,
                                const kt_audit_range_t *range, const kt_event_t *event, int64_t now)
{
    bool lazy = event != NULL && event->derivable && !state->unsynced && state->log_begun &&
                audit->boot[0] != '\0';
    kt_audit_state_t before = *state;
    kt_status_t status;

    kt_audit_seal_block(state, &audit->lines, range->to != 0 ? range : NULL, now);
    if (range->to != 0)
        state->range = *range;
    status = kt_audit_append_block(audit, audit->log, state, lazy ? &before : NULL,
                                   event != NULL && event->must_record);
    kt_wipe(&before, sizeof(before));
    if (status == KT_SUCCESS)
        memset(&audit->recovered, 0, sizeof(audit->recovered));
    if (audit->lines.room > KEPT_ROOM)
        kt_lines_free(&audit->lines);
    return status;
}
