/* SPDX-License-Identifier: BSD-2-Clause */
/* scan.c: passes every decision of a trail to a function, through all logs that are left. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "files.h"

typedef struct scan {
    char since[25]; /* "": all */
    kt_line_fn fn;
    kt_check_fn note;
    void *arg;
    bool stopped;
    size_t streams; /* that have a log */
} scan_t;

static void note(const scan_t *scan, const char *stream, const char *name, const char *why)
{
    char text[KT_ERROR_SIZE];

    if (scan->note == NULL)
        return;
    (void)snprintf(text, sizeof(text), "%s: %s", name, why);
    scan->note(scan->arg, KT_PERMISSION, stream, text);
}

static void format_since(int64_t since, char text[25])
{
    time_t seconds = (time_t)(since / 1000);
    struct tm tm;
    size_t size = 0;

    if (since > 0 && gmtime_r(&seconds, &tm) != NULL)
        size = strftime(text, 25, "%Y-%m-%dT%H:%M:%S", &tm);
    text[size] = '\0';
    if (size > 0)
        (void)snprintf(text + size, 25 - size, ".%03dZ", (int)(since % 1000));
}

static void read_log(scan_t *scan, const char *stream, int folder, const char *name)
{
    kt_audit_log_t log;
    kt_audit_reader_t *reader = kt_audit_log_read(folder, name, &log);
    kt_audit_step_t step = KT_AUDIT_END;
    size_t size, prefix = strlen(KT_AUDIT_TIME);
    char *line;

    if (reader == NULL) {
        note(scan, stream, name, strerror(log.error));
        return;
    }
    while (!scan->stopped && (step = kt_audit_reader_next(reader, &line, &size)) == KT_AUDIT_NEXT) {
        line[size - 1] = '\0';
        if (strncmp(line, KT_AUDIT_SEAL, strlen(KT_AUDIT_SEAL)) == 0 ||
            strncmp(line, KT_AUDIT_LOG, strlen(KT_AUDIT_LOG)) == 0)
            continue;
        if (strncmp(line, KT_AUDIT_TIME, prefix) == 0 &&
            strncmp(line + prefix, scan->since, strlen(scan->since)) < 0)
            continue;
        scan->stopped = scan->fn(scan->arg, line) != 0;
    }
    if (step == KT_AUDIT_BAD)
        note(scan, stream, name, kt_audit_reader_why(reader));
    kt_audit_reader_free(reader);
}

static kt_status_t read_stream(scan_t *scan, const char *stream, int folder)
{
    kt_audit_logs_t logs;
    bool found = false;
    size_t i;

    if (!kt_audit_logs_find(folder, &logs))
        return kt_fail(KT_INTERNAL, "%s: %s", stream, strerror(errno));
    if (logs.more)
        note(scan, stream, ".", "more logs than are read");
    if (logs.not_files > 0)
        note(scan, stream, ".", "entries with a log's name that are not files are not read");
    for (i = 0; i < logs.count && !scan->stopped; i++) {
        const kt_audit_log_t *log = &logs.list[i];

        if (log->twin)
            continue;
        if (log->packed || log->error != 0) {
            note(scan, stream, log->name,
                 log->packed ? "compressed by another program than gzip, and not read"
                             : strerror(log->error));
            continue;
        }
        read_log(scan, stream, folder, log->name);
        found = true;
    }
    scan->streams += found;
    kt_audit_logs_free(&logs);
    return KT_SUCCESS;
}

/* A stream that may not be read is left out, with a note. */
static kt_status_t read_one(scan_t *scan, int parent, const char *name)
{
    int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    kt_status_t status;

    if (folder < 0) {
        if (errno != ENOTDIR && errno != ELOOP)
            note(scan, name, ".", strerror(errno));
        return KT_SUCCESS;
    }
    status = read_stream(scan, name, folder);
    (void)close(folder);
    return status;
}

static kt_status_t read_all(scan_t *scan, int parent)
{
    kt_folder_t list;
    kt_status_t status = KT_SUCCESS;
    bool whole = kt_folder_open(&list, parent, ".");

    if (whole) {
        while (status == KT_SUCCESS && !scan->stopped && kt_folder_next(&list))
            if (list.name[0] != '.')
                status = read_one(scan, parent, list.name);
        whole = kt_folder_close(&list);
    }
    if (!whole && status == KT_SUCCESS)
        return kt_fail(KT_PERMISSION, "the audit trail's folder: %s", strerror(errno));
    return status;
}

kt_status_t kt_audit_scan(const char *path, int64_t since, kt_line_fn fn, kt_check_fn note_fn,
                          void *arg)
{
    scan_t scan = {.fn = fn, .note = note_fn, .arg = arg};
    const char *slash = strrchr(path, '/');
    kt_status_t status;
    int folder;

    kt_failure_clear();
    format_since(since, scan.since);
    folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return kt_fail(errno == ENOENT ? KT_NOTFOUND : KT_PERMISSION, "%s: %s", path,
                       strerror(errno));
    if (faccessat(folder, "log", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        status = read_stream(&scan, slash != NULL && slash[1] != '\0' ? slash + 1 : path, folder);
    else
        status = read_all(&scan, folder);
    (void)close(folder);
    if (status == KT_SUCCESS && scan.streams == 0)
        return kt_fail(KT_NOTFOUND, "%s: there is no audit trail in it that you may read", path);
    return status;
}
