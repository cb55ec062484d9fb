/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keep.c: how long logs are kept.
 *
 * A log whose last line is older than `audit: {keep}` is removed, the oldest first. Before that, a
 * sealed line on the disk says which blocks and decisions it had, so that `keyturn audit verify`
 * can tell retention from a deletion. A writer that is killed in between leaves logs that could be
 * removed already; the next one removes them.
 *
 * The logs of an instance that has ended are removed only together, because no further line of it
 * could say which of its blocks are left.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "stream.h"

typedef struct group { /* logs of one instance that are to be removed: first <= i < end */
    size_t first, end;
    kt_audit_removed_t removed;
} group_t;

#define GROUPS 16u /* instances, at once; the others wait for the next time */

static bool is_same(const kt_audit_log_t *x, const kt_audit_log_t *y)
{
    return memcmp(x->head.instance, y->head.instance, KT_AUDIT_ID) == 0;
}

/* From the oldest log on: those after which another one began before `limit`. One that cannot be
 * read, or is not a log of a stream, ends it. */
static size_t count_due(const kt_audit_logs_t *logs, const char *limit)
{
    size_t i;

    for (i = 0; i + 1 < logs->count; i++) {
        const kt_audit_log_t *log = &logs->list[i], *next = &logs->list[i + 1];

        if (log->error != 0 || log->unpack != NULL || !log->has_head || !next->has_head ||
            strcmp(log->name, "log") == 0 || strcmp(next->head.time, limit) >= 0)
            break;
    }
    return i;
}

/* What the first logs of the group have: up to the log that follows, or to their own end. */
static bool describe(const kt_audit_t *audit, const kt_audit_logs_t *logs,
                     const kt_audit_state_t *state, group_t *group)
{
    const kt_audit_log_t *first = &logs->list[group->first], *next = &logs->list[group->end];
    kt_audit_removed_t *removed = &group->removed;
    kt_audit_former_t end;
    bool current = memcmp(first->head.instance, state->instance, KT_AUDIT_ID) == 0;

    memset(removed, 0, sizeof(*removed));
    memcpy(removed->instance, first->head.instance, KT_AUDIT_ID);
    removed->from = first->head.block;
    removed->first = first->head.last + 1;
    if (current && removed->from <= state->kept) {
        removed->from = 0;
        removed->first = 1;
    }
    if (is_same(first, next)) {
        removed->to = next->head.block - 1;
        removed->last = next->head.last;
        memcpy(removed->chain, next->head.chain, KT_AUDIT_HASH);
        return current && next->head.block > first->head.block;
    }
    memcpy(end.instance, first->head.instance, KT_AUDIT_ID);
    if (current || !kt_block_read_former(audit->folder, logs->list[group->end - 1].name, &end))
        return false;
    removed->to = end.block;
    removed->last = end.last;
    memcpy(removed->chain, end.chain, KT_AUDIT_HASH);
    return true;
}

static size_t make_groups(const kt_audit_t *audit, const kt_audit_logs_t *logs,
                          const kt_audit_state_t *state, size_t due, group_t groups[GROUPS])
{
    size_t count = 0, i;

    for (i = 0; i < due && count < GROUPS; i = groups[count++].end) {
        group_t *group = &groups[count];

        group->first = i;
        for (group->end = i + 1;
             group->end < due && is_same(&logs->list[i], &logs->list[group->end]);)
            group->end++;
        if (!describe(audit, logs, state, group))
            break;
    }
    return count;
}

static kt_status_t write_lines(kt_audit_t *audit, kt_audit_state_t *state, const group_t *groups,
                               size_t count, int64_t now)
{
    kt_audit_range_t none = {.to = 0};
    kt_status_t status = kt_block_begin_inlock(audit, state, 2 * KT_LINES_MIN, now);
    size_t i;

    for (i = 0; status == KT_SUCCESS && i < count; i++) {
        const kt_audit_removed_t *removed = &groups[i].removed;

        kt_line_retention(&audit->lines, &audit->name, removed, audit->keep,
                          ++state->recorded.sequence, now);
        if (memcmp(removed->instance, state->instance, KT_AUDIT_ID) == 0 && removed->from == 0)
            state->kept = removed->to + 1;
    }
    if (status == KT_SUCCESS)
        status = kt_block_end_inlock(audit, state, &none, NULL, now);
    if (status == KT_SUCCESS && fdatasync(audit->state) != 0)
        status = kt_audit_failed(audit, "state");
    return status;
}

static void remove_logs(const kt_audit_t *audit, const kt_audit_logs_t *logs, size_t end)
{
    char begun[300]; /* what a process that was killed while it compressed it has left */
    struct stat st;
    size_t i;

    for (i = 0; i < end; i++) {
        const kt_audit_log_t *log = &logs->list[i];

        (void)snprintf(begun, sizeof(begun), ".%s.gz", log->name);
        (void)unlinkat(audit->folder, begun, 0);

        if (fstatat(audit->folder, log->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            st.st_ino == log->inode)
            (void)unlinkat(audit->folder, log->name, 0);
        kt_debug_point("audit_removed");
    }
    (void)fsync(audit->folder);
}

/* That a log could not be removed is not a reason to refuse a request. */
kt_status_t kt_keep_inlock(kt_audit_t *audit, kt_audit_state_t *state, int64_t now)
{
    char limit[25];
    group_t groups[GROUPS];
    kt_audit_logs_t logs;
    kt_status_t status = KT_SUCCESS;
    size_t count;

    audit->keep_due = false;
    if (audit->keep <= 0 || now <= audit->keep || !kt_audit_logs_find(audit->folder, &logs))
        return KT_SUCCESS;
    kt_line_moment(now - audit->keep, limit);
    count = logs.more ? 0 : make_groups(audit, &logs, state, count_due(&logs, limit), groups);
    if (count > 0) {
        status = write_lines(audit, state, groups, count, now);
        kt_debug_point("audit_retained");
    }
    if (status == KT_SUCCESS && count > 0)
        remove_logs(audit, &logs, groups[count - 1].end);
    kt_audit_logs_free(&logs);
    return status;
}
