/* SPDX-License-Identifier: BSD-2-Clause */
/* sink_log.c: finds the log that a sink has reached, and the one that follows. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "sinks.h"

#define BACKLOG (1024u * 1024u) /* of a log, what a new sink gets at most */
#define TRIES 3u                /* to open a log before it is renamed */

int kt_sink_log_open(int folder, const char *name, kt_audit_log_t *ret_log)
{
    int fd = kt_audit_log_open(folder, name, ret_log);

    if (fd >= 0 && (!ret_log->has_head || ret_log->gzip)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

bool kt_sink_log_is(const kt_sent_t *sent, const kt_audit_log_t *log)
{
    return sent->inode == log->inode && sent->head_block == log->head.block &&
           memcmp(sent->instance, log->head.instance, KT_AUDIT_ID) == 0 &&
           sent->offset <= log->size;
}

static bool is_after(const kt_sent_t *sent, const kt_audit_log_t *log)
{
    return memcmp(sent->instance, log->head.instance, KT_AUDIT_ID) == 0 &&
           log->head.block > sent->head_block;
}

/* *ret_moved: logrotate has renamed it since the folder was read. */
static int find_once(int folder, const kt_sent_t *sent, bool next, kt_audit_log_t *ret_log,
                     bool *ret_moved)
{
    kt_audit_logs_t logs;
    int fd = -1;
    size_t i;

    *ret_moved = false;
    if (!kt_audit_logs_find(folder, &logs))
        return -1;
    for (i = 0; i < logs.count; i++)
        if (next ? is_after(sent, &logs.list[i]) : kt_sink_log_is(sent, &logs.list[i]))
            break;
    if (i < logs.count) {
        fd = kt_sink_log_open(folder, logs.list[i].name, ret_log);
        *ret_moved = fd < 0 || ret_log->inode != logs.list[i].inode;
    }
    if (*ret_moved && fd >= 0) {
        (void)close(fd);
        fd = -1;
    }
    kt_audit_logs_free(&logs);
    return fd;
}

/* If a log is missed, its lines are never sent. */
int kt_sink_log_find(int folder, const kt_sent_t *sent, bool next, kt_audit_log_t *ret_log)
{
    bool moved = true;
    unsigned tries;
    int fd = -1;

    for (tries = 0; moved && tries < TRIES; tries++)
        fd = find_once(folder, sent, next, ret_log, &moved);
    return fd;
}

uint64_t kt_sink_log_near_end(int fd, const kt_audit_log_t *log)
{
    char *text = log->size > BACKLOG ? malloc(BACKLOG) : NULL;
    ssize_t got = text != NULL ? pread(fd, text, BACKLOG, (off_t)(log->size - BACKLOG)) : 0;
    const char *seal =
        got > 0 ? memmem(text, (size_t)got, "\n" KT_AUDIT_SEAL, strlen(KT_AUDIT_SEAL) + 1) : NULL;
    const char *end = seal != NULL ? memchr(seal + 1, '\n', (size_t)(text + got - seal - 1)) : NULL;
    uint64_t offset = end != NULL ? log->size - BACKLOG + (uint64_t)(end + 1 - text) : 0;

    free(text);
    return offset;
}
