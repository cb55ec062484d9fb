/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * audit.c: one JSON line for each decision, in the folder of the host's stream.
 *
 *     PATH/STREAM/log     the lines
 *     PATH/STREAM/state   the last sequence number, the log's inode and length, under a lock that every process of the stream takes
 *
 * What cannot be recorded is not served: every failure here is KT_AUDIT, and read.c and write.c refuse for it. The folder is opened
 * when a context is, the files at the first record, so that a context that decides nothing (`nginx -t`) leaves no trace.
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

#include "internal.h"

#define LINE_MAX_SIZE 8192u
#define STATE_MAGIC "KTA1"
#define WORD_MAX 64u            /* bytes of what the host calls something, before they are escaped */
#define TEXT_MAX 128u           /* of an address or a request's id */

typedef struct state {          /* as it lies in the file, of this machine's byte order */
    char magic[4];
    uint32_t reserved;
    uint64_t sequence;
    uint64_t inode;             /* of the log */
    uint64_t length;            /* of the log, through the line of that number */
    uint64_t durable;           /* as much of it as is on the disk for certain */
    char boot[40];              /* id of the boot that wrote this */
} state_t;

struct kt_audit {
    char *path;                 /* of the stream's folder */
    char stream[64];
    char boot[40];
    int folder, log, state;     /* descriptors; -1: not open */
    uid_t owner;
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
    read_boot_id(audit->boot);
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

/* ---- the log that the state means ---- */

static bool folder_has_inode(const kt_audit_t *audit, uint64_t inode)
{
    int fd = openat(audit->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    bool found = false;

    if (dir == NULL) {
        close_fd(&fd);
        return false;
    }
    while (!found && (entry = readdir(dir)) != NULL)
        found = entry->d_ino == inode;
    (void)closedir(dir);
    return found;
}

/* Counts the lines between two offsets; *ret_end is where the last of them ends. */
static kt_status_t count_lines(const kt_audit_t *audit, uint64_t from, uint64_t to, uint64_t *ret_lines, uint64_t *ret_end)
{
    char bytes[4096];
    uint64_t at = from;

    *ret_lines = 0;
    *ret_end = from;
    while (at < to) {
        ssize_t got = pread(audit->log, bytes, sizeof(bytes), (off_t)at), i;

        if (got <= 0)
            return failed(audit, "log");
        for (i = 0; i < got; i++) {
            if (bytes[i] == '\n') {
                ++*ret_lines;
                *ret_end = at + (uint64_t)i + 1;
            }
        }
        at += (uint64_t)got;
    }
    return KT_SUCCESS;
}

/*
 * What lies behind the recorded length was written by a process that died before it had recorded it: its lines count, half a line goes.
 * What is missing was cut off, unless the power went before it reached the disk: then the numbers go on behind the gap.
 */
static kt_status_t adopt_tail_inlock(const kt_audit_t *audit, state_t *state, uint64_t size)
{
    bool rebooted = memcmp(state->boot, audit->boot, sizeof(state->boot)) != 0;
    bool lost = size < state->length;
    uint64_t lines, end;
    kt_status_t status;

    if (lost && (!rebooted || size < state->durable))
        return kt_fail(KT_AUDIT, "audit trail %s/log: it was cut to %llu of %llu bytes (look into it, then remove %s/state)", audit->path,
                       (unsigned long long)size, (unsigned long long)state->length, audit->path);
    status = count_lines(audit, lost ? state->durable : state->length, size, &lines, &end);
    if (status != KT_SUCCESS)
        return status;
    if (end < size && ftruncate(audit->log, (off_t)end) != 0)
        return failed(audit, "log");
    state->length = end;
    if (!lost)
        state->sequence += lines;
    return KT_SUCCESS;
}

/*
 * The open log has to be the file that is called "log" now. If it got another name (logrotate), a new one is begun; if it is gone, somebody
 * removed the trail, and nothing more is served until an operator has looked.
 */
static kt_status_t check_log_inlock(kt_audit_t *audit, state_t *state)
{
    struct stat named, open_log;
    kt_status_t status;

    if (audit->log >= 0 && (fstatat(audit->folder, "log", &named, AT_SYMLINK_NOFOLLOW) != 0 || fstat(audit->log, &open_log) != 0 ||
                            named.st_ino != open_log.st_ino))
        close_fd(&audit->log);
    if (audit->log < 0) {
        if (state->inode != 0 && !folder_has_inode(audit, state->inode))
            return kt_fail(KT_AUDIT, "audit trail %s/log: the log that was being written is gone (look into it, then remove %s/state)",
                           audit->path, audit->path);
        status = open_file(audit, "log", O_APPEND, 0640, &audit->log);
        if (status != KT_SUCCESS)
            return status;
        if (fstat(audit->log, &open_log) != 0)
            return failed(audit, "log");
    }
    if (state->inode != open_log.st_ino)
        state->length = state->durable = 0;
    state->inode = open_log.st_ino;
    return adopt_tail_inlock(audit, state, (uint64_t)open_log.st_size);
}

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

static kt_status_t read_state_inlock(const kt_audit_t *audit, state_t *ret_state)
{
    ssize_t got = pread(audit->state, ret_state, sizeof(*ret_state), 0);

    if (got == 0) {
        memset(ret_state, 0, sizeof(*ret_state));
        memcpy(ret_state->magic, STATE_MAGIC, sizeof(ret_state->magic));
        return KT_SUCCESS;
    }
    if (got != (ssize_t)sizeof(*ret_state) || memcmp(ret_state->magic, STATE_MAGIC, sizeof(ret_state->magic)) != 0)
        return kt_fail(KT_AUDIT, "audit trail %s/state: damaged", audit->path);
    return KT_SUCCESS;
}

/* ---- lines ---- */

typedef struct line {
    char text[LINE_MAX_SIZE];
    size_t size;
} line_t;

static void put(line_t *line, const char *text)
{
    size_t size = strlen(text);

    if (line->size + size < sizeof(line->text)) {
        memcpy(line->text + line->size, text, size + 1);
        line->size += size;
    }
}

/* Names come from clients: everything but plain ASCII is escaped, so that no line can be forged. At most `max` bytes, so that all fit. */
static void put_string(line_t *line, const char *key, const char *value, size_t max)
{
    char escaped[8];
    size_t i;

    if (value == NULL)
        return;
    put(line, ",\"");
    put(line, key);
    put(line, "\":\"");
    for (i = 0; value[i] != '\0' && i < max; i++) {
        unsigned char c = (unsigned char)value[i];

        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            (void)snprintf(escaped, sizeof(escaped), "\\u%04x", c);
        else
            (void)snprintf(escaped, sizeof(escaped), "%c", c);
        put(line, escaped);
    }
    put(line, "\"");
}

static void put_number(line_t *line, const char *key, uint64_t number)
{
    char text[64];

    (void)snprintf(text, sizeof(text), ",\"%s\":%llu", key, (unsigned long long)number);
    put(line, text);
}

static void put_time(line_t *line)
{
    char text[48];
    struct timespec now;
    struct tm tm;
    size_t size;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    size = strftime(text, sizeof(text), "{\"time\":\"%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(text + size, sizeof(text) - size, ".%03ldZ\"", now.tv_nsec / 1000000);
    put(line, text);
}

static void format_line(const kt_audit_t *audit, const kt_event_t *event, uint64_t sequence, line_t *line)
{
    line->size = 0;
    put_time(line);
    put_string(line, "boot", audit->boot, WORD_MAX);
    put_string(line, "stream", audit->stream, WORD_MAX);
    put_number(line, "seq", sequence);
    put_string(line, "action", event->action, WORD_MAX);
    put_string(line, "subject", event->subject != NULL ? event->subject : "", KT_SUBJECT_MAX);
    put_string(line, "peer", event->peer, TEXT_MAX);
    put_string(line, "reference", event->reference, KT_REFERENCE_MAX);
    if (event->version != 0)
        put_number(line, "version", event->version);
    if (event->generation != 0)
        put_number(line, "generation", event->generation);
    put_string(line, "provider", event->provider, WORD_MAX);
    put_string(line, "status", event->status, WORD_MAX);
    if (event->stale)
        put(line, ",\"stale\":true");
    if (event->fallback)
        put(line, ",\"fallback\":true");
    put_string(line, "purpose", event->purpose, WORD_MAX);
    put_string(line, "request", event->request_id, TEXT_MAX);
    put(line, "}\n");
}

static kt_status_t append_inlock(const kt_audit_t *audit, state_t *state, const line_t *line, bool durable)
{
    ssize_t written;

    do
        written = write(audit->log, line->text, line->size);
    while (written < 0 && errno == EINTR);
    if (written != (ssize_t)line->size) {
        int error = written < 0 ? errno : ENOSPC;

        if (written > 0)
            (void)!ftruncate(audit->log, (off_t)state->length); /* half a line is worse than none */
        errno = error;
        return failed(audit, "log");
    }
    if (durable && fdatasync(audit->log) != 0)
        return failed(audit, "log");
    state->length += line->size;
    if (durable)
        state->durable = state->length;
    memcpy(state->boot, audit->boot, sizeof(state->boot));
    return KT_SUCCESS;
}

kt_status_t kt_audit_write(kt_audit_t *audit, const kt_event_t *event)
{
    line_t line;
    state_t state;
    kt_status_t status;

    status = lock_state(audit);
    if (status != KT_SUCCESS)
        return status;
    status = read_state_inlock(audit, &state);
    if (status == KT_SUCCESS)
        status = check_log_inlock(audit, &state);
    if (status == KT_SUCCESS) {
        format_line(audit, event, ++state.sequence, &line);
        status = append_inlock(audit, &state, &line, event->durable);
    }
    if (status == KT_SUCCESS && pwrite(audit->state, &state, sizeof(state), 0) != (ssize_t)sizeof(state))
        status = failed(audit, "state");
    (void)flock(audit->state, LOCK_UN);
    return status;
}
