/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * generations.c: the generations that a stream's own logs have, to be compared with the store.
 *
 * A process reads the end of `log` before its first read of the store. What looks at the whole
 * store, and has the time, reads all logs.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "generations.h"

#define TAIL_SIZE (256u * 1024u)
#define WHERE "this stream's audit log"

typedef struct reading {
    const char *store; /* the provider's name */
    kt_generation_fn fn;
    void *arg;
    bool has_id; /* a checkpoint came before: */
    unsigned char id[KT_ID_SIZE];
} reading_t;

static void read_line(reading_t *reading, const char *line)
{
    const char *types = kt_audit_checkpoint(line, reading->store, reading->id);
    kt_generation_t generation;

    if (types != NULL) {
        reading->has_id = true;
        while (kt_audit_next_type(&types, &generation))
            reading->fn(reading->arg, generation.type, generation.number, reading->id, WHERE);
    } else if (reading->has_id && kt_audit_change(line, reading->store, &generation)) {
        reading->fn(reading->arg, generation.type, generation.number, reading->id, WHERE);
    }
}

static int open_stream(const char *audit_path, const char *stream)
{
    char *path = NULL;
    int folder = -1;

    if (asprintf(&path, "%s/%s", audit_path, stream) < 0)
        return -1;
    folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    free(path);
    return folder;
}

/* ---- the end of the log ---- */

static void read_tail(reading_t *reading, char *text, size_t size, bool cut)
{
    char *line = text, *end;

    text[size] = '\0';
    if (cut) {
        line = memchr(text, '\n', size);
        line = line != NULL ? line + 1 : text + size;
    }
    for (; (end = memchr(line, '\n', size - (size_t)(line - text))) != NULL; line = end + 1) {
        *end = '\0';
        read_line(reading, line);
    }
}

void kt_audit_generations(const char *audit_path, const char *stream, const char *store,
                          kt_generation_fn fn, void *arg)
{
    reading_t reading = {.store = store, .fn = fn, .arg = arg};
    kt_audit_log_t log = {.size = 0};
    int folder = open_stream(audit_path, stream), fd = -1;
    char *text = NULL;
    ssize_t got = -1;
    size_t size;

    if (folder >= 0)
        fd = kt_audit_log_open(folder, "log", &log);
    size = log.size > TAIL_SIZE ? TAIL_SIZE : (size_t)log.size;
    if (fd >= 0)
        text = malloc(size + 1);
    if (text != NULL)
        got = pread(fd, text, size, (off_t)(log.size - size));
    if (got > 0)
        read_tail(&reading, text, (size_t)got, size < log.size);
    free(text);
    kt_close_fd(&fd);
    kt_close_fd(&folder);
    kt_failure_clear();
}

/* ---- all logs ---- */

static void read_log(reading_t *reading, int folder, const char *name)
{
    kt_audit_log_t log;
    kt_audit_reader_t *reader = kt_audit_log_read(folder, name, &log);
    char *line;
    size_t size;

    while (reader != NULL && kt_audit_reader_next(reader, &line, &size) == KT_AUDIT_NEXT)
        read_line(reading, line);
    kt_audit_reader_free(reader);
}

void kt_audit_all_generations(const char *audit_path, const char *stream, const char *store,
                              kt_generation_fn fn, void *arg)
{
    reading_t reading = {.store = store, .fn = fn, .arg = arg};
    int folder = open_stream(audit_path, stream);
    kt_audit_logs_t logs;
    size_t i;

    if (folder >= 0 && kt_audit_logs_find(folder, &logs)) {
        for (i = 0; i < logs.count; i++)
            if (!logs.list[i].packed && logs.list[i].error == 0)
                read_log(&reading, folder, logs.list[i].name);
        kt_audit_logs_free(&logs);
    }
    kt_close_fd(&folder);
    kt_failure_clear();
}
