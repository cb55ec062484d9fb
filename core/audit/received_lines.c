/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * received_lines.c: the lines of a file of what a sink received, within bounds.
 *
 * Others send to the sink too, and decide what is in the file: the memory is a fixed buffer, a line
 * longer than a log can have is passed over, and a file has an end although it grows. Only a
 * regular file is opened, because a pipe in its place could hold root for ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "verify.h"

#define CHUNK 65536u
#define LONGEST (KT_AUDIT_LINE + 4096u) /* a syslog puts something in front of a line */

typedef struct lines {
    kt_received_fn fn;
    void *arg;
    size_t number, size;
    bool is_long; /* the line in `text` is not whole */
    char text[LONGEST + 2];
    char chunk[CHUNK];
} lines_t;

static kt_status_t end_line(lines_t *lines)
{
    kt_status_t status = KT_SUCCESS;

    lines->number++;
    lines->text[lines->size] = '\0';
    if (!lines->is_long)
        status = lines->fn(lines->arg, lines->text, lines->number);
    lines->size = 0;
    lines->is_long = false;
    return status;
}

static kt_status_t take(lines_t *lines, size_t got)
{
    const char *at = lines->chunk, *end = at + got;
    kt_status_t status = KT_SUCCESS;

    while (at < end && status == KT_SUCCESS) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t size = (size_t)((newline != NULL ? newline : end) - at);

        if (size > LONGEST - lines->size) {
            lines->is_long = true;
        } else {
            memcpy(lines->text + lines->size, at, size);
            lines->size += size;
        }
        at += size;
        if (newline != NULL) {
            at++;
            status = end_line(lines);
        }
    }
    return status;
}

static kt_status_t failed(const char *path)
{
    return kt_fail(errno == ENOENT ? KT_NOTFOUND : KT_PERMISSION, "%s: %s", path, strerror(errno));
}

static kt_status_t read_all(lines_t *lines, const char *path, int fd, uint64_t left)
{
    kt_status_t status = KT_SUCCESS;
    ssize_t got = 1;

    while (status == KT_SUCCESS && got > 0) {
        do
            got = left > 0 ? read(fd, lines->chunk, left < CHUNK ? (size_t)left : CHUNK) : 0;
        while (got < 0 && errno == EINTR);
        if (got < 0)
            return failed(path);
        left -= (uint64_t)got;
        status = take(lines, (size_t)got);
    }
    return status == KT_SUCCESS && lines->size > 0 ? end_line(lines) : status;
}

static kt_status_t open_file(const char *path, int *ret_fd, uint64_t *ret_size)
{
    struct stat st;

    *ret_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*ret_fd < 0 || fstat(*ret_fd, &st) != 0)
        return failed(path);
    if (!S_ISREG(st.st_mode))
        return kt_fail(KT_PERMISSION, "%s: it is not a regular file (- reads standard input)",
                       path);
    *ret_size = (uint64_t)st.st_size;
    return KT_SUCCESS;
}

kt_status_t kt_received_lines(const char *path, kt_received_fn fn, void *arg)
{
    lines_t *lines = calloc(1, sizeof(*lines));
    bool standard = strcmp(path, "-") == 0;
    uint64_t size = UINT64_MAX;
    int fd = -1;
    kt_status_t status = KT_SUCCESS;

    if (lines == NULL)
        return kt_no_memory();
    lines->fn = fn;
    lines->arg = arg;
    if (!standard)
        status = open_file(path, &fd, &size);
    if (status == KT_SUCCESS)
        status = read_all(lines, path, standard ? STDIN_FILENO : fd, size);
    kt_close_fd(&fd);
    free(lines);
    return status;
}
