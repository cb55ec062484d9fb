/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lockouts.c: which sources are locked out, in all streams, and the end of a lock-out.
 *
 * For an operator, who may be root where the table is another user's. So it is read and written as
 * a file: a mapping would fault when its owner cuts it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "refusals.h"

/* The table in a stream's folder, or -1 with errno; ENOENT: it has none. */
static int open_table(const char *audit_path, const char *stream, int access)
{
    int path = open(audit_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), dir = -1, fd = -1, error;
    struct stat of_dir, st;

    if (path >= 0)
        dir = openat(path, stream, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir >= 0)
        fd = openat(dir, "refusals", access | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0 &&
        (fstat(fd, &st) != 0 || fstat(dir, &of_dir) != 0 || !S_ISREG(st.st_mode) ||
         st.st_uid != of_dir.st_uid || st.st_size != (off_t)sizeof(kt_refusals_table_t))) {
        kt_close_fd(&fd);
        errno = EINVAL;
    }
    error = errno;
    kt_close_fd(&dir);
    kt_close_fd(&path);
    errno = error;
    return fd;
}

typedef struct search {
    const char *audit_path, *stream, *source; /* `source` NULL: report; else clear this one */
    int64_t now;
    kt_lockout_fn fn;
    void *arg;
    kt_lockouts_t *found;
} search_t;

/* Was it locked out within the last hour? Then its next lock-out is longer. */
static bool is_of_interest(const kt_refusals_slot_t *slot, int64_t now)
{
    uint64_t lockout = atomic_load(&slot->lockout);

    return atomic_load(&slot->source) != 0 && kt_refusals_until(lockout) != 0 &&
           kt_refusals_until(lockout) + (int64_t)KT_REFUSALS_WINDOW > now;
}

static void report(const search_t *search, const kt_refusals_slot_t *slot, const char *source)
{
    uint64_t lockout = atomic_load(&slot->lockout);
    kt_lockout_t answer = {
        .stream = search->stream,
        .source = source,
        .last = (int64_t)atomic_load(&slot->last) * 1000,
        .until = (int64_t)kt_refusals_until(lockout) * 1000,
        .seconds = kt_refusals_left(lockout, (uint32_t)search->now),
        .refusals = atomic_load(&slot->count),
        .unrecorded = atomic_load(&slot->missed),
    };

    search->fn(search->arg, &answer);
}

/* As if the source had never been refused. What it was refused in the meantime keeps its count, so
 * that it gets its record. */
static bool clear(int fd, off_t at)
{
    static const unsigned char zeros[offsetof(kt_refusals_slot_t, missed)];
    size_t from = offsetof(kt_refusals_slot_t, lockout), size = sizeof(zeros) - from;

    return pwrite(fd, zeros, size, at + (off_t)from) == (ssize_t)size;
}

static void look_at(const search_t *search, int fd, const kt_refusals_table_t *head, size_t n)
{
    off_t at = (off_t)(offsetof(kt_refusals_table_t, slot) + n * sizeof(kt_refusals_slot_t));
    char subject[KT_SUBJECT_MAX + 1], peer[KT_REFUSALS_ADDRESS + 1],
        source[sizeof(subject) + sizeof(peer)];
    kt_refusals_slot_t slot;

    if (pread(fd, &slot, sizeof(slot), at) != (ssize_t)sizeof(slot)) {
        search->found->unreadable++;
        return;
    }
    if (!is_of_interest(&slot, search->now) ||
        !kt_refusals_split(head->key, atomic_load(&slot.source),
                           (const uint64_t *)(void *)slot.text, subject, peer))
        return;
    (void)snprintf(source, sizeof(source), "%s%s%s", subject, peer[0] != '\0' ? "@" : "", peer);
    if (search->source == NULL)
        report(search, &slot, source);
    else if (strcmp(search->source, source) != 0)
        return;
    else if (!clear(fd, at))
        search->found->unreadable++;
    search->found->sources++;
}

static void look_into(search_t *search, const char *stream)
{
    int fd = open_table(search->audit_path, stream, search->source == NULL ? O_RDONLY : O_RDWR);
    kt_refusals_table_t *head = NULL;
    unsigned char bytes[offsetof(kt_refusals_table_t, slot)];
    size_t n;

    if (fd < 0) {
        search->found->unreadable += errno != ENOENT && errno != ENOTDIR;
        return;
    }
    search->stream = stream;
    head = (kt_refusals_table_t *)(void *)bytes;
    if (pread(fd, bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes) ||
        memcmp(bytes, KT_REFUSALS_MAGIC, 4) != 0)
        search->found->unreadable++;
    else
        for (n = 0; n < KT_REFUSALS_SLOTS; n++)
            look_at(search, fd, head, n);
    (void)close(fd);
}

void kt_lockouts_find(const kt_config_t *config, const char *stream, const char *source,
                      kt_lockout_fn fn, void *arg, kt_lockouts_t *ret_found)
{
    search_t search = {.audit_path = config->audit_path,
                       .source = source,
                       .now = kt_refusals_now(),
                       .fn = fn,
                       .arg = arg,
                       .found = ret_found};
    kt_folder_t list;

    *ret_found = (kt_lockouts_t){0};
    if (!kt_folder_open(&list, AT_FDCWD, config->audit_path)) {
        ret_found->unreadable += errno != ENOENT; /* the own stream at least */
        look_into(&search, stream);
        kt_failure_clear();
        return;
    }
    while (kt_folder_next(&list)) {
        if (list.name[0] != '.')
            look_into(&search, list.name);
    }
    ret_found->unreadable += !kt_folder_close(&list);
    kt_failure_clear();
}
