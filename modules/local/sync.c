/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sync.c: which commits are on the disk.
 *
 * A commit is synced before others see it, but for a publication (local_publish): its frames are
 * written, others see them, and then they are synced, while the lock of the writer is still held.
 * So no commit follows one that is not synced, as long as the publisher lives. If it was killed in
 * between, frames are seen that no process has synced. SQLite takes such frames for committed in
 * any case: its repair of the index finds those of a process that was killed before its sync. They
 * are in -wal alone, and a power cut that takes them leaves the state before, whole:
 *
 *   a later commit     syncs the same file, and so all frames before its own
 *   a checkpoint       syncs -wal before it writes to the database, and the database before any
 *                      frame of -wal is overwritten
 *   the checkpoint at  leaves out both syncs, if -wal ends with a commit that this process has
 *   the last close     synced; else -wal is synced first (connection.c)
 *   a reader           may not write down what it saw, where it outlives the power cut: the host
 *                      calls local_sync() before it does
 */
#define _GNU_SOURCE
#include "sync.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "watch.h"

void local_note_synced(void *arg)
{
    ktp_instance_t *instance = arg;

    instance->is_noted = local_index_header(instance, instance->noted);
}

int local_is_synced(void *arg)
{
    const ktp_instance_t *instance = arg;
    unsigned char now[LOCAL_INDEX_HEADER];

    return instance->is_noted && local_index_header(instance, now) &&
           memcmp(now, instance->noted, sizeof now) == 0;
}

/* Opened for this, against rule 1 of store.h: SQLite holds no lock on it. Uses nothing of the
 * instance that changes. Without the file nothing was left in it. */
ktp_status_t local_sync(ktp_instance_t *instance)
{
    int fd = open(instance->wal, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    int error = 0;
    struct stat st;

    if (fd < 0)
        return errno == ENOENT ? KTP_SUCCESS : local_errno_fail(instance, errno, instance->wal);
    if (fstat(fd, &st) != 0 || (S_ISREG(st.st_mode) && fdatasync(fd) != 0))
        error = errno;
    close(fd);
    return error == 0 ? KTP_SUCCESS : local_errno_fail(instance, error, instance->wal);
}
