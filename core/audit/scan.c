/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scan.c: the streams of a folder, one after the other, and every decision of them.
 *
 * A stream that cannot be read, or whose owner has put something else in its place, hides no other:
 * it is reported, the others are read, and the answer says that it is not whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "walk.h"

static void read_stream(kt_audit_streams_t *streams, const char *name, int folder)
{
    kt_audit_walk_t walk = streams->walk;

    walk.stream = name;
    walk.folder = folder;
    streams->count += streams->read(streams->arg, &walk) > 0;
    streams->walk.stopped = walk.stopped;
    if (walk.bad && !streams->bad)
        (void)snprintf(streams->first_bad, sizeof(streams->first_bad), "%s", name);
    streams->bad = streams->bad || walk.bad;
}

/* Users may not read the streams of others: that is not a fault, but it is reported. */
static void read_one(kt_audit_streams_t *streams, int parent, const char *name)
{
    int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    kt_audit_walk_t walk = streams->walk;

    if (folder >= 0) {
        read_stream(streams, name, folder);
        (void)close(folder);
    } else if (errno != ENOTDIR && errno != ELOOP) {
        walk.stream = name;
        kt_audit_walk_note(&walk, errno == EACCES ? KT_SUCCESS : KT_PERMISSION, ".",
                           strerror(errno));
        streams->bad = streams->bad || walk.bad;
    }
}

static kt_status_t read_all(kt_audit_streams_t *streams, int parent)
{
    kt_folder_t list;
    bool whole = kt_folder_open(&list, parent, ".");

    if (whole) {
        while (!streams->walk.stopped && kt_folder_next(&list))
            if (list.name[0] != '.')
                read_one(streams, parent, list.name);
        whole = kt_folder_close(&list);
    }
    return whole ? KT_SUCCESS
                 : kt_fail(KT_PERMISSION, "the audit trail's folder: %s", strerror(errno));
}

/* A stream's folder has `log` or `state`, whatever they are. */
static bool is_stream(int folder)
{
    return faccessat(folder, "log", F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
           faccessat(folder, "state", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

kt_status_t kt_audit_streams_read(kt_audit_streams_t *streams, const char *path)
{
    const char *slash = strrchr(path, '/');
    kt_status_t status = KT_SUCCESS;
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (folder < 0)
        return kt_fail(errno == ENOENT ? KT_NOTFOUND : KT_PERMISSION, "%s: %s", path,
                       strerror(errno));
    if (is_stream(folder))
        read_stream(streams, slash != NULL && slash[1] != '\0' ? slash + 1 : path, folder);
    else
        status = read_all(streams, folder);
    (void)close(folder);
    if (status == KT_SUCCESS && streams->bad)
        return kt_fail(KT_MALFORMED,
                       "the audit log of stream %s cannot be read whole, and something may be "
                       "missing",
                       streams->first_bad);
    if (status == KT_SUCCESS && streams->count == 0)
        return kt_fail(KT_NOTFOUND, "%s: there is no audit trail in it that you may read", path);
    return status;
}

static size_t scan(void *arg, kt_audit_walk_t *walk)
{
    (void)arg;
    return kt_audit_walk_stream(walk);
}

kt_status_t kt_audit_scan(const char *path, int64_t since, kt_line_fn fn, kt_check_fn note,
                          void *arg)
{
    kt_audit_streams_t streams = {.walk = {.fn = fn, .note = note, .arg = arg, .note_arg = arg},
                                  .read = scan};

    kt_failure_clear();
    kt_audit_walk_time(since, streams.walk.since);
    return kt_audit_streams_read(&streams, path);
}
