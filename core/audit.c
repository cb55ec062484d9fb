/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * audit.c: one JSON line for each decision, in the folder of the host's stream.
 *
 *     PATH/STREAM/log     the lines, and after each block of them a seal
 *     PATH/STREAM/state   the key of the next seal, and how far the log goes; under a lock that every process of the stream takes
 *
 * What cannot be recorded is not served: every failure here is KT_AUDIT, and read.c and write.c refuse for it. The folder is opened
 * when a context is, the files at the first record, so that a context that decides nothing (`nginx -t`) leaves no trace.
 *
 * A durable decision is sealed at once, with all that wait: the log reaches the disk, then the state. Others wait for the next seal, for a
 * second or 1024 lines at most while there is traffic, and until the context is closed: a seal for each read would be two fdatasync()s.
 * They survive the end of the process as they are; a power cut may take them, and the next line then says how many.
 */
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "audit.h"

#define WAIT_MS 1000
#define WAIT_LINES 1024u

struct kt_audit {
    char *path;                 /* of the stream's folder */
    char stream[64];
    char environment[KT_ENVIRONMENT_MAX];
    char boot[40];
    kt_trail_name_t name;       /* of these three */
    int folder, log, state;     /* descriptors; -1: not open */
    uid_t owner;
    bool waiting;               /* a line of ours may wait for its seal */
    kt_recovery_t recovered;    /* found at the present call */
};

static kt_status_t failed(const kt_audit_t *audit, const char *what)
{
    return kt_fail(KT_AUDIT, "audit trail %s/%s: %s", audit->path, what, strerror(errno));
}

/* ---- opening ---- */

static void read_boot_id(char boot[40])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, boot, 36) : 0;

    boot[got > 0 ? got : 0] = '\0';
    if (fd >= 0)
        (void)close(fd);
}

static kt_status_t open_folder(kt_audit_t *audit)
{
    struct stat st;

    audit->folder = open(audit->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (audit->folder < 0 && errno == ENOENT) {
        if (mkdir(audit->path, 0700) != 0)
            return kt_fail(KT_AUDIT, "audit trail %s: %s: create the stream's folder, owned by the user of this process",
                           audit->path, strerror(errno));
        audit->folder = open(audit->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (audit->folder < 0 || fstat(audit->folder, &st) != 0)
        return kt_fail(KT_AUDIT, "audit trail %s: %s", audit->path, strerror(errno));
    if (st.st_uid != geteuid() && geteuid() != 0)
        return kt_fail(KT_AUDIT, "audit trail %s: the folder belongs to uid %u, not to this process's uid %u", audit->path,
                       (unsigned)st.st_uid, (unsigned)geteuid());
    audit->owner = st.st_uid;
    return KT_SUCCESS;
}

kt_status_t kt_audit_open(const kt_config_t *config, const char *stream, kt_audit_t **ret_audit)
{
    kt_audit_t *audit = calloc(1, sizeof(*audit));
    kt_status_t status;

    if (audit == NULL)
        return kt_fail(KT_INTERNAL, "out of memory");
    audit->folder = audit->log = audit->state = -1;
    (void)snprintf(audit->stream, sizeof(audit->stream), "%s", stream);
    (void)snprintf(audit->environment, sizeof(audit->environment), "%s", config->environment);
    read_boot_id(audit->boot);
    audit->name = (kt_trail_name_t){audit->environment, audit->stream, audit->boot};
    if (asprintf(&audit->path, "%s/%s", config->audit_path, stream) < 0) {
        audit->path = NULL;
        status = kt_fail(KT_INTERNAL, "out of memory");
    } else {
        status = open_folder(audit);
    }
    if (status != KT_SUCCESS) {
        kt_audit_close(audit);
        return status;
    }
    *ret_audit = audit;
    return KT_SUCCESS;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

void kt_audit_close(kt_audit_t *audit)
{
    if (audit == NULL)
        return;
    if (audit->waiting)
        kt_audit_drain(audit);
    close_fd(&audit->log);
    close_fd(&audit->state);
    close_fd(&audit->folder);
    free(audit->path);
    free(audit);
}

/* Root writes into the folder of somebody else, who may have put anything there. */
static kt_status_t check_file(const kt_audit_t *audit, const char *name, int fd, bool made)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return failed(audit, name);
    if (!S_ISREG(st.st_mode))
        return kt_fail(KT_AUDIT, "audit trail %s/%s: not a regular file", audit->path, name);
    if (st.st_uid == audit->owner)
        return KT_SUCCESS;
    if (!made)
        return kt_fail(KT_AUDIT, "audit trail %s/%s: belongs to uid %u, its folder to uid %u", audit->path, name,
                       (unsigned)st.st_uid, (unsigned)audit->owner);
    return fchown(fd, audit->owner, (gid_t)-1) == 0 ? KT_SUCCESS : failed(audit, name);
}

static kt_status_t open_file(const kt_audit_t *audit, const char *name, int flags, mode_t mode, int *ret_fd)
{
    int fd;
    bool made = false;
    kt_status_t status;

    flags |= O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
    fd = openat(audit->folder, name, flags);
    if (fd < 0 && errno == ENOENT) {
        fd = openat(audit->folder, name, flags | O_CREAT | O_EXCL, mode);
        made = fd >= 0;
        if (fd < 0 && errno == EEXIST) /* another process was quicker */
            fd = openat(audit->folder, name, flags);
    }
    if (fd < 0)
        return failed(audit, name);
    status = check_file(audit, name, fd, made);
    if (status != KT_SUCCESS) {
        (void)close(fd);
        return status;
    }
    *ret_fd = fd;
    return KT_SUCCESS;
}

/* ---- the state ---- */

static kt_status_t open_state(kt_audit_t *audit)
{
    return audit->state >= 0 ? KT_SUCCESS : open_file(audit, "state", 0, 0600, &audit->state);
}

/* The file that is called "state" now, locked. */
static kt_status_t lock_state(kt_audit_t *audit)
{
    struct stat st;
    kt_status_t status;

    while ((status = open_state(audit)) == KT_SUCCESS) {
        while (flock(audit->state, LOCK_EX) != 0) {
            if (errno != EINTR)
                return failed(audit, "state");
        }
        if (fstat(audit->state, &st) != 0 || st.st_nlink > 0)
            return KT_SUCCESS;
        close_fd(&audit->state); /* an operator has removed it, and what it says with it */
    }
    return status;
}

static void unlock_state(kt_audit_t *audit)
{
    (void)flock(audit->state, LOCK_UN);
}

/* Without a start state of `keyturn init` or `keygen --stream` the stream begins under a key that nobody knows: that proves a chain only. */
static kt_status_t read_state_inlock(const kt_audit_t *audit, kt_trail_state_t *ret_state)
{
    unsigned char bytes[KT_TRAIL_STATE];
    ssize_t got = pread(audit->state, bytes, sizeof(bytes), 0);
    kt_status_t status = KT_SUCCESS;

    if (got == 0) {
        kt_trail_new_state(NULL, &audit->name, ret_state);
        return KT_SUCCESS;
    }
    if (got != (ssize_t)sizeof(bytes) || !kt_trail_decode(bytes, ret_state))
        status = kt_fail(KT_AUDIT, "audit trail %s/state: damaged", audit->path);
    kt_wipe(bytes, sizeof(bytes));
    return status;
}

static kt_status_t write_state_inlock(const kt_audit_t *audit, kt_trail_state_t *state)
{
    unsigned char bytes[KT_TRAIL_STATE];
    ssize_t written;

    memcpy(state->boot, audit->boot, sizeof(state->boot));
    kt_trail_encode(state, bytes);
    written = pwrite(audit->state, bytes, sizeof(bytes), 0);
    kt_wipe(bytes, sizeof(bytes));
    return written == (ssize_t)sizeof(bytes) ? KT_SUCCESS : failed(audit, "state");
}

/* ---- lines ---- */

/* All or nothing: of what fails nothing stays in the log. `seal`: it, then the state, are on the disk afterwards. */
static kt_status_t append_inlock(const kt_audit_t *audit, int log, kt_trail_state_t *state, const kt_lines_t *lines, bool seal)
{
    off_t before = (off_t)(state->recorded.length - lines->size);
    kt_status_t status = KT_SUCCESS;
    ssize_t written;
    int error;

    do
        written = write(log, lines->text, lines->size);
    while (written < 0 && errno == EINTR);
    if (written >= 0 && written != (ssize_t)lines->size)
        errno = ENOSPC;
    if (written != (ssize_t)lines->size || (seal && fdatasync(log) != 0))
        status = failed(audit, "log");
    if (status == KT_SUCCESS)
        status = write_state_inlock(audit, state);
    if (status == KT_SUCCESS && seal && fdatasync(audit->state) != 0)
        return failed(audit, "state"); /* what stands in both is right */
    error = errno;
    if (status != KT_SUCCESS && written > 0)
        (void)!ftruncate(log, before);
    errno = error;
    return status;
}

static void take_line(kt_trail_state_t *state, const kt_lines_t *lines, size_t at)
{
    kt_trail_link(state->recorded.chain, lines->text + at, lines->size - at);
    state->recorded.length += lines->size - at;
}

/* The seal of all that waits, behind `lines`. */
static void seal_lines(kt_trail_state_t *state, kt_lines_t *lines, int64_t now)
{
    take_line(state, lines, kt_line_seal(lines, state, now));
    kt_trail_sealed(state);
}

/* ---- the log that the state means ---- */

/* The name under which the inode stands in the folder. That the folder cannot be read (no descriptor is left) is no sign that it is gone. */
static kt_status_t find_inode(const kt_audit_t *audit, uint64_t inode, char ret_name[256])
{
    int fd = openat(audit->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    bool found = false;

    if (dir == NULL) {
        kt_status_t status = failed(audit, ".");

        close_fd(&fd);
        return status;
    }
    while (!found && (entry = readdir(dir)) != NULL) {
        found = entry->d_ino == inode;
        if (found)
            (void)snprintf(ret_name, 256, "%s", entry->d_name);
    }
    (void)closedir(dir);
    if (!found)
        return kt_fail(KT_AUDIT, "audit trail %s/log: the log that was being written is gone (look into it, then remove %s/state)",
                       audit->path, audit->path);
    return KT_SUCCESS;
}

static kt_status_t recover_inlock(kt_audit_t *audit, int log, kt_trail_state_t *state)
{
    struct stat st;

    if (fstat(log, &st) != 0)
        return failed(audit, "log");
    if ((uint64_t)st.st_size == state->recorded.length && memcmp(state->boot, audit->boot, sizeof(state->boot)) == 0)
        return KT_SUCCESS;
    return kt_trail_recover(audit->path, log, (uint64_t)st.st_size, audit->boot, state, &audit->recovered);
}

/* logrotate was here: the log gets its last seal under its new name, before the next one is begun. */
static kt_status_t leave_log_inlock(kt_audit_t *audit, kt_trail_state_t *state)
{
    char name[256];
    kt_lines_t lines = {.size = 0};
    int log = -1;
    kt_status_t status = find_inode(audit, state->inode, name);

    if (status == KT_SUCCESS)
        status = open_file(audit, name, O_APPEND, 0640, &log);
    if (status == KT_SUCCESS)
        status = recover_inlock(audit, log, state);
    if (status == KT_SUCCESS && state->recorded.length > state->sealed.length) {
        seal_lines(state, &lines, kt_now());
        status = append_inlock(audit, log, state, &lines, true);
    }
    close_fd(&log);
    return status;
}

/* A log that this stream has not written to: empty, but where an instance begins behind what another one has left. */
static kt_status_t enter_log_inlock(kt_audit_t *audit, kt_trail_state_t *state, uint64_t inode, uint64_t size)
{
    char last = '\n';

    if (size > 0 && state->inode != 0)
        return kt_fail(KT_AUDIT, "audit trail %s/log: it has lines that are not of this stream (look into it, then move it away)",
                       audit->path);
    if (size > 0 && (pread(audit->log, &last, 1, (off_t)size - 1) != 1 || (last != '\n' && write(audit->log, "\n", 1) != 1)))
        return failed(audit, "log");
    state->inode = inode;
    state->begun = false;
    state->recorded.length = size + (last != '\n');
    state->sealed = state->recorded;
    return write_state_inlock(audit, state);
}

/*
 * The open log has to be the file that is called "log" now. If it got another name (logrotate), a new one is begun; if it is gone, somebody
 * removed the trail, and nothing more is served until an operator has looked.
 */
static kt_status_t check_log_inlock(kt_audit_t *audit, kt_trail_state_t *state)
{
    struct stat named, open_log;
    kt_status_t status = KT_SUCCESS;
    bool there = fstatat(audit->folder, "log", &named, AT_SYMLINK_NOFOLLOW) == 0;

    if (audit->log >= 0 && (!there || fstat(audit->log, &open_log) != 0 || named.st_ino != open_log.st_ino))
        close_fd(&audit->log);
    if (state->inode != 0 && (!there || named.st_ino != state->inode))
        status = leave_log_inlock(audit, state);
    if (status == KT_SUCCESS && audit->log < 0)
        status = open_file(audit, "log", O_APPEND, 0640, &audit->log);
    if (status != KT_SUCCESS)
        return status;
    if (fstat(audit->log, &open_log) != 0)
        return failed(audit, "log");
    if (state->inode != open_log.st_ino)
        return enter_log_inlock(audit, state, open_log.st_ino, (uint64_t)open_log.st_size);
    return recover_inlock(audit, audit->log, state);
}

/* ---- writing ---- */

static bool is_due(const kt_trail_state_t *state, int64_t now)
{
    return state->recorded.sequence - state->sealed.sequence >= WAIT_LINES || now - state->waiting >= WAIT_MS || now < state->waiting;
}

/* What has to be said first: true, and is sealed with what follows, if there is anything. */
static bool prepare(const kt_audit_t *audit, kt_trail_state_t *state, kt_lines_t *lines, int64_t now)
{
    kt_recovery_t found = audit->recovered;

    lines->size = 0;
    if (!state->begun)
        take_line(state, lines, kt_line_log(lines, &audit->name, state, now));
    if (found.dropped > 0 || found.missing > 0)
        take_line(state, lines, kt_line_recovery(lines, &audit->name, found.dropped, found.missing, ++state->recorded.sequence, now));
    return lines->size > 0;
}

static kt_status_t record_inlock(kt_audit_t *audit, kt_trail_state_t *state, const kt_event_t *event)
{
    int64_t now = kt_now();
    kt_lines_t lines;
    bool seal = prepare(audit, state, &lines, now);

    take_line(state, &lines, kt_line_event(&lines, &audit->name, event, ++state->recorded.sequence, now));
    if (state->waiting == 0)
        state->waiting = now;
    seal = seal || event->durable || is_due(state, now);
    if (seal)
        seal_lines(state, &lines, now);
    audit->waiting = !seal;
    return append_inlock(audit, audit->log, state, &lines, seal);
}

static kt_status_t drain_inlock(kt_audit_t *audit, kt_trail_state_t *state)
{
    int64_t now = kt_now();
    kt_lines_t lines;

    if (!prepare(audit, state, &lines, now) && state->recorded.length == state->sealed.length)
        return KT_SUCCESS;
    seal_lines(state, &lines, now);
    return append_inlock(audit, audit->log, state, &lines, true);
}

/* With an event, or to seal what waits. */
static kt_status_t locked(kt_audit_t *audit, const kt_event_t *event)
{
    kt_trail_state_t state;
    kt_status_t status;

    status = lock_state(audit);
    if (status != KT_SUCCESS)
        return status;
    memset(&audit->recovered, 0, sizeof(audit->recovered));
    status = read_state_inlock(audit, &state);
    if (status == KT_SUCCESS)
        status = check_log_inlock(audit, &state);
    if (status == KT_SUCCESS)
        status = event != NULL ? record_inlock(audit, &state, event) : drain_inlock(audit, &state);
    unlock_state(audit);
    kt_wipe(&state, sizeof(state));
    return status;
}

kt_status_t kt_audit_write(kt_audit_t *audit, const kt_event_t *event)
{
    return locked(audit, event);
}

void kt_audit_drain(kt_audit_t *audit)
{
    audit->waiting = false;
    (void)locked(audit, NULL); /* who cannot seal them now leaves them to the next */
}
