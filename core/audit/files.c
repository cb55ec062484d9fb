/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * files.c: the logs of a stream: `log`, which is being written, and older ones, which were renamed
 * and perhaps compressed. Everything that looks for a log finds it here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "files.h"

#define PEEKS 10u      /* attempts to get the lock of the state ... */
#define PEEK_MS 20u    /* ... and the time between two of them */
#define HEAD_MAX 1024u /* bytes of a log's first line; a writer needs less than half */

/* ---- first lines ---- */

static bool parse_text(const char **at, const char *text)
{
    size_t size = strlen(text);

    if (strncmp(*at, text, size) != 0)
        return false;
    *at += size;
    return true;
}

/* A string up to its quote, without escapes: names of environments and streams need none. */
static bool parse_string(const char **at, char *text, size_t room)
{
    size_t size = strcspn(*at, "\"\\\n");

    if ((*at)[size] != '"' || size >= room)
        return false;
    memcpy(text, *at, size);
    text[size] = '\0';
    *at += size + 1;
    return true;
}

bool kt_audit_parse_head(const char *line, kt_audit_head_t *ret_head)
{
    kt_audit_head_t head;
    const char *at = line;

    memset(&head, 0, sizeof(head));
    head.first = parse_text(&at, KT_AUDIT_LOG "\"start\"");
    if ((!head.first && !parse_text(&at, KT_AUDIT_LOG "\"continue\"")) ||
        !kt_audit_parse_hex(&at, ",\"instance\":\"", head.instance, KT_AUDIT_ID))
        return false;
    head.keyed = parse_text(&at, "\",\"keyed\":true");
    if ((!head.keyed && !parse_text(&at, "\",\"keyed\":false")) ||
        !parse_text(&at, ",\"environment\":\"") ||
        !parse_string(&at, head.environment, sizeof(head.environment)) ||
        !parse_text(&at, ",\"stream\":\"") ||
        !parse_string(&at, head.stream, sizeof(head.stream)) ||
        !kt_audit_parse_number(&at, ",\"block\":", &head.block) ||
        !kt_audit_parse_number(&at, ",\"last\":", &head.last) ||
        !kt_audit_parse_hex(&at, ",\"chain\":\"", head.chain, KT_AUDIT_HASH) ||
        !parse_text(&at, "\",\"time\":\"") || !parse_string(&at, head.time, sizeof(head.time)) ||
        strcmp(at, "}\n") != 0)
        return false;
    *ret_head = head;
    return true;
}

static void take_first_line(kt_audit_log_t *log, const char *line)
{
    const char *at = strstr(line, "\"time\":\"");

    log->has_head = kt_audit_parse_head(line, &log->head);
    if (at != NULL)
        (void)snprintf(log->time, sizeof(log->time), "%.24s", at + 8);
}

/* How programs other than gzip compress, which is not read here. */
static const struct packer {
    const char *ending, *magic, *unpack;
} packers[] = {
    {".xz",
     "\xfd"
     "7zXZ",
     "unxz"},
    {".bz2", "BZh", "bunzip2"},
    {".zst", "\x28\xb5\x2f\xfd", "unzstd"},
    {".lz4", "\x04\x22\x4d\x18", "unlz4"},
};

/* By its first bytes, or by the name that those programs give: the file may be damaged. */
static const char *find_unpack(const char *name, const char *bytes, size_t got)
{
    size_t size = strlen(name), i;

    for (i = 0; i < KT_ARRAY(packers); i++) {
        const struct packer *packer = &packers[i];
        size_t ending = strlen(packer->ending), magic = strlen(packer->magic);

        if ((got >= magic && memcmp(bytes, packer->magic, magic) == 0) ||
            (strncmp(name, "log", 3) == 0 && size > ending &&
             strcmp(name + size - ending, packer->ending) == 0))
            return packer->unpack;
    }
    return NULL;
}

static void read_first_line(int fd, kt_audit_log_t *log)
{
    char line[HEAD_MAX + 1];
    ssize_t got = pread(fd, line, HEAD_MAX, 0);
    const char *end;

    log->unpack = find_unpack(log->name, line, got > 0 ? (size_t)got : 0);
    if (got <= 0 || log->unpack != NULL)
        return;
    log->gzip = kt_audit_is_gzip((const unsigned char *)line, (size_t)got);
    end = memchr(line, '\n', (size_t)got);
    if (end == NULL || log->gzip)
        return;
    line[end + 1 - line] = '\0';
    take_first_line(log, line);
}

/* Leaves the descriptor at its beginning. */
static void unpack_first_line(int fd, kt_audit_log_t *log)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    kt_audit_reader_t *reader = copy >= 0 ? kt_audit_reader_new(copy) : NULL;
    char *line;
    size_t size;

    if (reader == NULL)
        kt_close_fd(&copy);
    else if (kt_audit_reader_next(reader, &line, &size) == KT_AUDIT_NEXT)
        take_first_line(log, line);
    kt_audit_reader_free(reader);
    (void)lseek(fd, 0, SEEK_SET);
}

/* ---- one log ---- */

int kt_audit_log_open(int folder, const char *name, kt_audit_log_t *ret_log)
{
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    memset(ret_log, 0, sizeof(*ret_log));
    (void)snprintf(ret_log->name, sizeof(ret_log->name), "%s", name);
    if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
        (void)close(fd);
        fd = -1;
        errno = EINVAL;
    }
    if (fd < 0) {
        ret_log->error = errno;
        return -1;
    }
    ret_log->inode = st.st_ino;
    ret_log->size = (uint64_t)st.st_size;
    read_first_line(fd, ret_log);
    if (ret_log->gzip)
        unpack_first_line(fd, ret_log);
    return fd;
}

kt_audit_reader_t *kt_audit_log_read(int folder, const char *name, kt_audit_log_t *ret_log)
{
    int fd = kt_audit_log_open(folder, name, ret_log);
    kt_audit_reader_t *reader = fd >= 0 ? kt_audit_reader_new(fd) : NULL;

    if (reader == NULL && fd >= 0) {
        ret_log->error = errno;
        kt_close_fd(&fd);
    }
    return reader;
}

int kt_audit_compare_logs(int folder, const char *name, const char *other)
{
    kt_audit_log_t logs[2];
    kt_audit_reader_t *one = kt_audit_log_read(folder, name, &logs[0]),
                      *two = kt_audit_log_read(folder, other, &logs[1]);
    kt_audit_step_t step = KT_AUDIT_NEXT, step_other = KT_AUDIT_NEXT;
    size_t size, size_other;
    int order = one != NULL && two != NULL ? 0 : KT_AUDIT_DIFFER;
    char *line, *line_other;

    while (order == 0 && step == KT_AUDIT_NEXT && step_other == KT_AUDIT_NEXT) {
        step = kt_audit_reader_next(one, &line, &size);
        step_other = kt_audit_reader_next(two, &line_other, &size_other);
        if (step == KT_AUDIT_BAD || step_other == KT_AUDIT_BAD)
            order = KT_AUDIT_DIFFER;
        else if (step != step_other)
            order = step == KT_AUDIT_NEXT ? 1 : -1;
        else if (step == KT_AUDIT_NEXT &&
                 (size != size_other || memcmp(line, line_other, size) != 0))
            order = KT_AUDIT_DIFFER;
    }
    kt_audit_reader_free(one);
    kt_audit_reader_free(two);
    return order;
}

void kt_audit_share(int folder, int log)
{
    struct stat st;

    if (fstat(folder, &st) == 0 && (st.st_mode & S_IRGRP) != 0)
        (void)fchmod(log, 0640); /* `keyturn check` names a log that its group cannot read */
}

/* ---- all of them ---- */

/* False: not a log, and not a file that may be one but cannot be read. A file of any name is a log
 * if its first line is that of one: an operator may have put it back under another name. */
static bool inspect(int folder, const char *name, kt_audit_log_t *ret_log)
{
    bool named = strncmp(name, "log", 3) == 0;
    int fd;

    if (name[0] == '.')
        return false;
    fd = kt_audit_log_open(folder, name, ret_log);
    if (fd >= 0)
        (void)close(fd);
    if (!named) {
        ret_log->error = 0;
        return fd >= 0 && (ret_log->has_head || ret_log->unpack != NULL);
    }
    return fd >= 0 || (ret_log->error != EINVAL && ret_log->error != ENOENT);
}

static bool add(kt_audit_logs_t *logs, const kt_audit_log_t *log)
{
    if (logs->count == logs->room) {
        size_t room = logs->room * 2 + 16;
        kt_audit_log_t *list = realloc(logs->list, room * sizeof(*list));

        if (list == NULL)
            return false;
        logs->list = list;
        logs->room = room;
    }
    logs->list[logs->count++] = *log;
    return true;
}

/* Instances by the time at which their first log began, and the logs of each by their blocks: the
 * clock may have been set back in between. A log without a first line of its own goes by its time.
 * The one that is being written is the last, and so is its instance. */
static int by_age(const void *a, const void *b)
{
    const kt_audit_log_t *x = a, *y = b;
    int order = (strcmp(x->name, "log") == 0) - (strcmp(y->name, "log") == 0);

    if (order == 0)
        order = strcmp(x->began, y->began);
    if (order == 0)
        order = memcmp(x->head.instance, y->head.instance, KT_AUDIT_ID);
    if (order == 0)
        order = (x->head.block > y->head.block) - (x->head.block < y->head.block);
    return order != 0 ? order : strcmp(x->name, y->name);
}

static bool is_of_same(const kt_audit_log_t *x, const kt_audit_log_t *y)
{
    return x->has_head && y->has_head &&
           memcmp(x->head.instance, y->head.instance, KT_AUDIT_ID) == 0;
}

static void sort(kt_audit_logs_t *logs)
{
    size_t i, j, present = logs->count;

    for (i = 0; i < logs->count; i++) {
        const kt_audit_log_t *first = &logs->list[i];

        for (j = 0; j < logs->count; j++)
            if (is_of_same(first, &logs->list[j]) && logs->list[j].head.block < first->head.block)
                first = &logs->list[j];
        memcpy(logs->list[i].began, first->time, sizeof(first->time));
        if (strcmp(logs->list[i].name, "log") == 0)
            present = i;
    }
    for (i = 0; present < logs->count && i < logs->count; i++)
        if (is_of_same(&logs->list[present], &logs->list[i]))
            memcpy(logs->list[i].began, "~", 2); /* after each time */
    if (logs->count > 1)
        qsort(logs->list, logs->count, sizeof(*logs->list), by_age);
    for (i = 1; i < logs->count; i++)
        logs->list[i].twin = is_of_same(&logs->list[i - 1], &logs->list[i]) &&
                             logs->list[i - 1].head.block == logs->list[i].head.block;
}

bool kt_audit_logs_find(int folder, kt_audit_logs_t *ret_logs)
{
    kt_folder_t list;
    kt_audit_log_t log;
    bool good = true;
    int error = ENOMEM;

    memset(ret_logs, 0, sizeof(*ret_logs));
    if (!kt_folder_open(&list, folder, "."))
        return false;
    while (good && !ret_logs->more && kt_folder_next(&list)) {
        log.error = 0;
        if (!inspect(folder, list.name, &log)) {
            ret_logs->not_files += log.error == EINVAL;
            continue;
        }
        if (ret_logs->count == KT_AUDIT_LOGS_MAX)
            ret_logs->more = true;
        else if (!add(ret_logs, &log))
            good = false;
    }
    if (!kt_folder_close(&list)) {
        error = errno;
        good = false;
    }
    if (!good) {
        kt_audit_logs_free(ret_logs);
        errno = error;
        return false;
    }
    sort(ret_logs);
    return true;
}

const char *kt_audit_packed_text(const kt_audit_log_t *log, const char *what,
                                 char text[KT_AUDIT_PACKED])
{
    (void)snprintf(text, KT_AUDIT_PACKED,
                   "%s, because another program than gzip has compressed it: unpack it with `%s`, "
                   "and leave it in its folder",
                   what, log->unpack);
    return text;
}

void kt_audit_logs_free(kt_audit_logs_t *logs)
{
    free(logs->list);
    memset(logs, 0, sizeof(*logs));
}

/* ---- the state ---- */

static bool try_lock(int fd)
{
    const struct timespec pause = {0, PEEK_MS * 1000000L};
    unsigned i;

    for (i = 0; i < PEEKS; i++) {
        if (flock(fd, LOCK_SH | LOCK_NB) == 0)
            return true;
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

/* A writer overwrites the state in place, by one call. Without the lock it is read until two
 * readings agree. */
static bool read_state(int fd, bool locked, unsigned char bytes[KT_AUDIT_STATE])
{
    unsigned char again[KT_AUDIT_STATE];
    bool good = false;
    unsigned i;

    for (i = 0; !good && i < PEEKS; i++)
        good = pread(fd, bytes, KT_AUDIT_STATE, 0) == (ssize_t)KT_AUDIT_STATE &&
               (locked || (pread(fd, again, sizeof(again), 0) == (ssize_t)sizeof(again) &&
                           memcmp(bytes, again, sizeof(again)) == 0));
    kt_wipe(again, sizeof(again));
    return good;
}

/* Did a power cut take the block that was not synced? Then the log is shorter than that, and the
 * machine has started since. */
static bool was_lost(int folder, const kt_audit_state_t *state)
{
    unsigned char run[KT_AUDIT_ID];
    char boot[KT_BOOT_ID];
    struct stat st;

    kt_boot_id(boot);
    kt_audit_run_id(boot, run);
    return boot[0] != '\0' && memcmp(run, state->lazy.boot, sizeof(run)) != 0 &&
           fstatat(folder, "log", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == state->inode &&
           (uint64_t)st.st_size < state->lazy.end.length;
}

bool kt_audit_peek(int folder, kt_audit_state_t *ret_state, kt_audit_found_t *ret_found)
{
    unsigned char bytes[KT_AUDIT_STATE];
    int fd = openat(folder, "state", O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    bool good = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode), locked;
    kt_audit_found_t found = KT_STATE_FREE;

    memset(ret_state, 0, sizeof(*ret_state));
    locked = good && try_lock(fd);
    if (good && !locked)
        found = KT_STATE_HELD;
    good = good && read_state(fd, locked, bytes) && kt_audit_decode_state(bytes, ret_state);
    if (locked && !good)
        found = KT_STATE_DAMAGED;
    if (ret_found != NULL)
        *ret_found = found;
    kt_close_fd(&fd);
    if (good && ret_state->lazy.block != 0 && !was_lost(folder, ret_state))
        kt_audit_take_lazy(ret_state);
    kt_wipe(ret_state->key, sizeof(ret_state->key));
    kt_wipe(bytes, sizeof(bytes));
    return good && ret_state->inode != 0;
}
