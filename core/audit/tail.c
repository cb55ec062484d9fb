/* SPDX-License-Identifier: BSD-2-Clause */
/* tail.c: the last lines of one stream, or of all of them merged by time. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

#define TAIL_MAX (1024u * 1024u) /* bytes of one log that are looked at */
#define TIME_AT 9u               /* {"time":"2026-... */
#define TIME_SIZE 24u

typedef struct lines {
    char **list;
    size_t count, room;
} lines_t;

/* Streams may belong to other users, and their lines are shown on an operator's terminal: control
 * characters are replaced. */
static void flatten(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || (unsigned char)*text >= 0x7f)
            *text = '?';
    }
}

static bool add_line(lines_t *lines, const char *text, size_t size)
{
    if (lines->count == lines->room) {
        size_t room = lines->room * 2 + 64;
        char **list = realloc(lines->list, room * sizeof(*list));

        if (list == NULL)
            return false;
        lines->list = list;
        lines->room = room;
    }
    lines->list[lines->count] = strndup(text, size);
    if (lines->list[lines->count] == NULL)
        return false;
    flatten(lines->list[lines->count++]);
    return true;
}

static void free_lines(lines_t *lines)
{
    while (lines->count > 0)
        free(lines->list[--lines->count]);
    free(lines->list);
}

/* By time and, within one millisecond of a stream, by number. */
static int by_time(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    bool known = strlen(x) > TIME_AT + TIME_SIZE && strlen(y) > TIME_AT + TIME_SIZE;
    int order = known ? strncmp(x + TIME_AT, y + TIME_AT, TIME_SIZE) : 0;
    const char *p, *q;

    if (order != 0 || (p = strstr(x, "\"seq\":")) == NULL || (q = strstr(y, "\"seq\":")) == NULL)
        return order;
    if (p - x != q - y || strncmp(x, y, (size_t)(p - x)) != 0)
        return 0; /* other streams */
    return strtoull(p + 6, NULL, 10) < strtoull(q + 6, NULL, 10) ? -1 : 1;
}

static bool is_decision(const char *text, size_t size)
{
    return (size < strlen(KT_AUDIT_SEAL) ||
            memcmp(text, KT_AUDIT_SEAL, strlen(KT_AUDIT_SEAL)) != 0) &&
           (size < strlen(KT_AUDIT_LOG) || memcmp(text, KT_AUDIT_LOG, strlen(KT_AUDIT_LOG)) != 0);
}

/* Appends the last `count` decisions of the text, the last one first. `cut`: the text may begin
 * within a line. A line without an end is being written. */
static bool append_tail(lines_t *lines, const char *text, size_t size, size_t count, bool cut)
{
    const char *end = memrchr(text, '\n', size), *at = end, *line;

    while (end != NULL && count > 0) {
        at = memrchr(text, '\n', (size_t)(end - text));
        if (at == NULL && cut)
            return true; /* the end of a line that began earlier */
        line = at != NULL ? at + 1 : text;
        if (is_decision(line, (size_t)(end - line))) {
            if (!add_line(lines, line, (size_t)(end - line)))
                return false;
            count--;
        }
        end = at;
    }
    return true;
}

static void turn(lines_t *lines, size_t from)
{
    size_t to;

    for (to = lines->count; from + 1 < to; from++) {
        char *line = lines->list[from];

        lines->list[from] = lines->list[--to];
        lines->list[to] = line;
    }
}

static kt_status_t failed(const char *path, const char *name, int error)
{
    kt_status_t status = error == ENOENT   ? KT_NOTFOUND
                         : error == EINVAL ? KT_MALFORMED
                                           : KT_PERMISSION;

    return kt_fail(status, "%s/%s: %s", path, name,
                   error == EINVAL ? "not a regular file" : strerror(error));
}

static kt_status_t read_log(const char *path, int folder, const char *name, size_t count,
                            lines_t *lines)
{
    kt_audit_log_t log;
    int fd = kt_audit_log_open(folder, name, &log);
    size_t size = log.size > TAIL_MAX ? TAIL_MAX : (size_t)log.size, from = lines->count;
    char *text = NULL;
    ssize_t got = 0;
    kt_status_t status = KT_SUCCESS;

    if (fd < 0)
        return failed(path, name, log.error);
    text = malloc(size + 1);
    if (text != NULL)
        got = pread(fd, text, size, (off_t)(log.size - size));
    if (text == NULL || got < 0 || !append_tail(lines, text, (size_t)got, count, size < log.size))
        status = kt_fail(KT_INTERNAL, "%s/%s: %s", path, name, strerror(errno));
    turn(lines, from);
    free(text);
    (void)close(fd);
    return status;
}

/* After a rotation the last lines are in older logs. */
static kt_status_t read_former(const char *path, int folder, size_t count, lines_t *lines)
{
    size_t from = lines->count, i;
    kt_audit_logs_t logs;
    kt_status_t status = KT_SUCCESS;

    if (!kt_audit_logs_find(folder, &logs))
        return failed(path, ".", errno);
    for (i = logs.count; i > 0 && status == KT_SUCCESS && lines->count - from < count; i--) {
        const kt_audit_log_t *log = &logs.list[i - 1];

        if (log->packed || log->gzip || log->twin || strcmp(log->name, "log") == 0)
            continue;
        status = read_log(path, folder, log->name, count - (lines->count - from), lines);
        if (status == KT_NOTFOUND)
            status = KT_SUCCESS; /* it has just been renamed again */
    }
    kt_audit_logs_free(&logs);
    return status;
}

static kt_status_t read_files(const char *path, size_t count, lines_t *lines)
{
    size_t before = lines->count;
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    kt_status_t status, former;

    if (folder < 0)
        return failed(path, "log", errno);
    status = read_log(path, folder, "log", count, lines);
    if ((status == KT_SUCCESS || status == KT_NOTFOUND) && lines->count - before < count) {
        former = read_former(path, folder, count - (lines->count - before), lines);
        if (lines->count > before || former != KT_SUCCESS)
            status = former;
    }
    (void)close(folder);
    return status;
}

static kt_status_t read_stream(const kt_config_t *config, const char *stream, size_t count,
                               lines_t *lines)
{
    char *path;
    kt_status_t status;

    if (asprintf(&path, "%s/%s", config->audit_path, stream) < 0)
        return kt_no_memory();
    status = read_files(path, count, lines);
    free(path);
    return status;
}

/* Streams that this user may not read are left out. */
static kt_status_t read_all(const kt_config_t *config, size_t count, lines_t *lines)
{
    kt_folder_t list;
    kt_status_t status = KT_SUCCESS;

    if (!kt_folder_open(&list, AT_FDCWD, config->audit_path))
        return kt_fail(KT_PERMISSION, "%s: %s", config->audit_path, strerror(errno));
    while (status == KT_SUCCESS && kt_folder_next(&list)) {
        if (list.name[0] == '.')
            continue;
        status = read_stream(config, list.name, count, lines);
        if (status == KT_NOTFOUND || status == KT_PERMISSION)
            status = KT_SUCCESS;
    }
    if (!kt_folder_close(&list) && status == KT_SUCCESS)
        return kt_fail(KT_PERMISSION, "%s: %s", config->audit_path, strerror(errno));
    return status;
}

kt_status_t kt_audit_read(const kt_config_t *config, const char *stream, size_t count,
                          kt_line_fn fn, void *arg)
{
    lines_t lines = {NULL, 0, 0};
    kt_status_t status;
    size_t i;

    if (stream != NULL && (strchr(stream, '/') != NULL || stream[0] == '.' || stream[0] == '\0'))
        return kt_fail(KT_USAGE, "not a stream name");
    if (count > TAIL_MAX)
        count = TAIL_MAX; /* more than the lines that are looked at */
    status = stream != NULL ? read_stream(config, stream, count, &lines)
                            : read_all(config, count, &lines);
    if (status == KT_SUCCESS && lines.count > 1)
        qsort(lines.list, lines.count, sizeof(*lines.list), by_time);
    for (i = lines.count > count ? lines.count - count : 0; status == KT_SUCCESS && i < lines.count;
         i++) {
        if (fn(arg, lines.list[i]) != 0)
            break;
    }
    free_lines(&lines);
    return status;
}
