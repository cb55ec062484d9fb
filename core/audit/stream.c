/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream.c: the files of a stream, and how a block reaches the disk.
 *
 *     PATH/STREAM/log     the lines, and a seal after each block of them
 *     PATH/STREAM/state   the key of the next seal, and the length of the log; locked by every
 *                         process of the stream while it writes
 *     PATH/STREAM/rings/  decisions that are not lines yet (ring.h)
 *
 * A block is appended and synced, then the state is written, and reaches the disk when the kernel
 * likes: it is synced with the first block of a log, and now and then by a drain without a
 * decision. So the log is never shorter than the state says. What it has after that is either
 * blocks sealed by the state's key or something whose callers have no answer yet.
 *
 * The outcome of a change is not synced, because the intent before it is, and the store says
 * whether it was committed. The state then stays at the end before it, and also names the outcome
 * (kt_audit_lazy_t): a log without it was cut, unless the machine has stopped.
 *
 * Space after the log's end is allocated ahead. Only a block with decisions that must be recorded
 * uses it, so that a rotation which the target has accepted can be finished on a full disk. All
 * other decisions are refused before that space is touched.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "stream.h"

#define RESERVE (512u * 1024u)      /* bytes kept free after the log's end */
#define RESERVE_STEP (128u * 1024u) /* allocated beyond that at once */
#define STATE_EVERY 64u             /* blocks, after which the state is synced */

kt_status_t kt_audit_failed(const kt_audit_t *audit, const char *what)
{
    return kt_fail(KT_AUDIT, "audit trail %s/%s: %s", audit->path, what, strerror(errno));
}

void kt_audit_warn(const kt_audit_t *audit, const char *what)
{
    char text[KT_ERROR_SIZE];

    if (audit->log_fn == NULL)
        return;
    (void)snprintf(text, sizeof(text), "audit trail %s/%s", audit->path, what);
    audit->log_fn(audit->log_arg, 2, text);
}

/* ---- files ---- */

/* Root may write into another user's folder, and that user may have put anything there. */
static kt_status_t check_file(const kt_audit_t *audit, const char *name, int fd, bool made)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return kt_audit_failed(audit, name);
    if (!S_ISREG(st.st_mode))
        return kt_fail(KT_AUDIT, "audit trail %s/%s: not a regular file", audit->path, name);
    if (st.st_uid == audit->owner)
        return KT_SUCCESS;
    if (!made)
        return kt_fail(KT_AUDIT, "audit trail %s/%s: belongs to uid %u, its folder to uid %u",
                       audit->path, name, (unsigned)st.st_uid, (unsigned)audit->owner);
    return fchown(fd, audit->owner, (gid_t)-1) == 0 ? KT_SUCCESS : kt_audit_failed(audit, name);
}

kt_status_t kt_audit_open_file(const kt_audit_t *audit, const char *name, int flags, mode_t mode,
                               int *ret_fd)
{
    int fd;
    bool made = false;
    kt_status_t status;

    flags |= O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
    fd = openat(audit->folder, name, flags);
    if (fd < 0 && errno == ENOENT) {
        fd = openat(audit->folder, name, flags | O_CREAT | O_EXCL, mode);
        made = fd >= 0;
        if (fd < 0 && errno == EEXIST) /* another process has just made it */
            fd = openat(audit->folder, name, flags);
    }
    if (fd < 0)
        return kt_audit_failed(audit, name);
    status = check_file(audit, name, fd, made);
    if (status != KT_SUCCESS) {
        (void)close(fd);
        return status;
    }
    *ret_fd = fd;
    return KT_SUCCESS;
}

kt_status_t kt_audit_open_rings(kt_audit_t *audit)
{
    struct stat st;

    if (audit->rings >= 0)
        return KT_SUCCESS;
    if (mkdirat(audit->folder, "rings", 0700) != 0 && errno != EEXIST)
        return kt_audit_failed(audit, "rings");
    audit->rings = openat(audit->folder, "rings", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (audit->rings < 0 || fstat(audit->rings, &st) != 0)
        return kt_audit_failed(audit, "rings");
    if (st.st_uid == audit->owner)
        return KT_SUCCESS;
    kt_close_fd(&audit->rings);
    return kt_fail(KT_AUDIT, "audit trail %s/rings: belongs to uid %u, its folder to uid %u",
                   audit->path, (unsigned)st.st_uid, (unsigned)audit->owner);
}

/* ---- the state ---- */

static kt_status_t lock_failed(const kt_audit_t *audit)
{
    char holder[96];

    if (errno != EWOULDBLOCK)
        return kt_audit_failed(audit, "state");
    kt_lock_holder(audit->state, holder, sizeof(holder));
    return kt_fail(KT_AUDIT, "audit trail %s/state: %s holds the lock and does not release it",
                   audit->path, holder);
}

kt_status_t kt_audit_lock_state(kt_audit_t *audit)
{
    struct stat st;
    kt_status_t status;

    for (;;) {
        status = audit->state >= 0 ? KT_SUCCESS
                                   : kt_audit_open_file(audit, "state", 0, 0600, &audit->state);
        if (status != KT_SUCCESS)
            return status;
        if (!kt_lock_file(audit->state, KT_WAIT))
            return lock_failed(audit);
        if (fstat(audit->state, &st) != 0 || st.st_nlink > 0)
            return KT_SUCCESS;
        kt_close_fd(&audit->state); /* an operator has removed it to begin a new instance */
    }
}

void kt_audit_unlock_stream(kt_audit_t *audit)
{
    (void)flock(audit->state, LOCK_UN);
}

/* Without a start state from `keyturn init` or `keygen --stream` the stream begins with a random
 * key, which proves the chain only. A damaged state is no better than none, and no reason to stop
 * the servers: the next line says that an instance has ended. */
kt_status_t kt_audit_read_state_inlock(const kt_audit_t *audit, kt_audit_state_t *ret_state)
{
    unsigned char bytes[KT_AUDIT_STATE];
    ssize_t got = pread(audit->state, bytes, sizeof(bytes), 0);

    if (got < 0)
        return kt_audit_failed(audit, "state");
    if (got != (ssize_t)sizeof(bytes) || !kt_audit_decode_state(bytes, ret_state)) {
        if (got > 0)
            kt_audit_warn(audit, "state: damaged; another instance begins, which the audit key "
                                 "does not prove");
        kt_audit_new_state(NULL, &audit->name, ret_state);
    }
    kt_wipe(bytes, sizeof(bytes));
    return KT_SUCCESS;
}

kt_status_t kt_audit_write_state_inlock(const kt_audit_t *audit, const kt_audit_state_t *state)
{
    unsigned char bytes[KT_AUDIT_STATE];
    ssize_t written;

    kt_audit_encode_state(state, bytes);
    written = pwrite(audit->state, bytes, sizeof(bytes), 0);
    kt_wipe(bytes, sizeof(bytes));
    return written == (ssize_t)sizeof(bytes) ? KT_SUCCESS : kt_audit_failed(audit, "state");
}

/* ---- a block ---- */

/* Allocates `size` bytes and the reserve after the log's end. Some file systems cannot; there is no
 * reserve on them. */
static kt_status_t reserve_inlock(const kt_audit_t *audit, int log, kt_audit_state_t *state,
                                  uint64_t end, size_t size)
{
    static const uint64_t steps[] = {RESERVE_STEP, 0};
    size_t i;

    if (state->reserved >= end + size + RESERVE)
        return KT_SUCCESS;
    for (i = 0; i < KT_ARRAY(steps); i++) {
        uint64_t more = size + RESERVE + steps[i];

        if (fallocate(log, FALLOC_FL_KEEP_SIZE, (off_t)end, (off_t)more) == 0) {
            state->reserved = end + more;
            return KT_SUCCESS;
        }
        if (errno == EOPNOTSUPP || errno == ENOSYS)
            return KT_SUCCESS;
    }
    return kt_audit_failed(audit, "log");
}

static kt_status_t write_inlock(const kt_audit_t *audit, int log, const kt_lines_t *lines,
                                bool synced)
{
    ssize_t written;

    do
        written = write(log, lines->text, lines->size);
    while (written < 0 && errno == EINTR);
    if (written >= 0 && written != (ssize_t)lines->size)
        errno = ENOSPC;
    kt_debug_point("audit_appended");
    if (written != (ssize_t)lines->size || (synced && fdatasync(log) != 0))
        return kt_audit_failed(audit, "log");
    kt_debug_point("audit_synced");
    return KT_SUCCESS;
}

/* The file stays at the end before the block, and with the key of the block, so that the block can
 * be written again if a power cut takes it. */
static kt_status_t write_lazy_inlock(const kt_audit_t *audit, const kt_audit_state_t *state,
                                     kt_audit_state_t *before)
{
    before->reserved = state->reserved;
    before->lazy.block = state->block;
    before->lazy.end = state->sealed;
    before->lazy.range = state->range;
    kt_audit_run_id(audit->boot, before->lazy.boot);
    return kt_audit_write_state_inlock(audit, before);
}

kt_status_t kt_audit_append_block(kt_audit_t *audit, int log, kt_audit_state_t *state,
                                  kt_audit_state_t *before, bool spends)
{
    const kt_lines_t *lines = &audit->lines;
    uint64_t end = state->recorded.length - lines->size;
    kt_status_t status = KT_SUCCESS;
    bool touched = false;

    if (!spends)
        status = reserve_inlock(audit, log, state, end, lines->size);
    if (status == KT_SUCCESS) {
        touched = true;
        status = write_inlock(audit, log, lines, before == NULL);
    }
    if (status == KT_SUCCESS && before != NULL)
        status = write_lazy_inlock(audit, state, before);
    else if (status == KT_SUCCESS)
        status = kt_audit_write_state_inlock(audit, state);
    if (status == KT_SUCCESS) {
        state->unsynced = before != NULL;
        kt_debug_point("audit_stated");
        return KT_SUCCESS;
    }
    if (touched) {
        int error = errno;

        (void)!ftruncate(log, (off_t)end);
        errno = error;
    }
    return status;
}

/* In a drain without a decision: what was left unsynced, and now and then the state, so that it
 * does not leave out many blocks. */
kt_status_t kt_audit_sync_inlock(kt_audit_t *audit, kt_audit_state_t *state)
{
    kt_status_t status = KT_SUCCESS;

    if (state->unsynced) {
        if (fdatasync(audit->log) != 0)
            return kt_audit_failed(audit, "log");
        status = kt_audit_write_state_inlock(audit, state);
    }
    if (status != KT_SUCCESS)
        return status;
    state->unsynced = false;
    if (audit->stated == 0)
        audit->stated = state->block;
    if (state->block - audit->stated < STATE_EVERY)
        return KT_SUCCESS;
    audit->stated = state->block;
    return fdatasync(audit->state) == 0 ? KT_SUCCESS : kt_audit_failed(audit, "state");
}
