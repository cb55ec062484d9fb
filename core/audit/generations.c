/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * generations.c: the generations that a stream's own logs have, to be compared with the store.
 *
 * A process reads the end of `log` before its first read of the store. What looks at the whole
 * store, and has the time, reads all logs.
 */
#include <errno.h>
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
} reading_t;

/* Nearly all lines are of reads, and one search passes over them: both kinds of lines that count
 * have this in their text. */
static void read_line(const reading_t *reading, const char *line, size_t size)
{
    static const char any[] = ",\"generation";
    unsigned char id[KT_ID_SIZE];
    kt_generation_t generation;
    const char *types;

    if (memmem(line, size, any, sizeof(any) - 1) == NULL)
        return;
    types = kt_audit_checkpoint(line, reading->store, id);

    while (types != NULL && kt_audit_next_type(&types, &generation))
        reading->fn(reading->arg, generation.type, generation.number, id, WHERE);
    if (types == NULL && kt_audit_change(line, reading->store, id, &generation))
        reading->fn(reading->arg, generation.type, generation.number, id, WHERE);
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

static void read_tail(const reading_t *reading, char *text, size_t size, bool cut)
{
    char *line = text, *end;

    text[size] = '\0';
    if (cut) {
        line = memchr(text, '\n', size);
        line = line != NULL ? line + 1 : text + size;
    }
    for (; (end = memchr(line, '\n', size - (size_t)(line - text))) != NULL; line = end + 1) {
        *end = '\0';
        read_line(reading, line, (size_t)(end - line));
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

typedef struct unread { /* where to say what was not read */
    const char *stream;
    kt_check_fn fn; /* NULL: nowhere */
    void *arg;
    kt_status_t worst;
} unread_t;

/* `log` "": all of them */
static void tell(unread_t *unread, kt_status_t status, const char *log, const char *why)
{
    char text[KT_ERROR_SIZE];

    unread->worst = status;
    (void)snprintf(text, sizeof(text), "the store was not compared with %s%s%s: %s", unread->stream,
                   log[0] != '\0' ? "/" : "", log, why);
    if (unread->fn != NULL)
        unread->fn(unread->arg, status, "audit", text);
}

static void read_log(const reading_t *reading, int folder, const kt_audit_log_t *found,
                     unread_t *unread)
{
    char text[KT_AUDIT_PACKED];
    kt_audit_log_t log;
    kt_audit_reader_t *reader;
    kt_audit_step_t step = KT_AUDIT_NEXT;
    char *line;
    size_t size;

    if (found->unpack != NULL) {
        tell(unread, KT_MALFORMED, found->name, kt_audit_packed_text(found, "not read", text));
        return;
    }
    reader = kt_audit_log_read(folder, found->name, &log);
    if (reader == NULL) {
        tell(unread, KT_PERMISSION, found->name, strerror(log.error));
        return;
    }
    while ((step = kt_audit_reader_next(reader, &line, &size)) == KT_AUDIT_NEXT)
        read_line(reading, line, size);
    if (step == KT_AUDIT_BAD)
        tell(unread, KT_MALFORMED, found->name, kt_audit_reader_why(reader));
    kt_audit_reader_free(reader);
}

static void read_logs(const reading_t *reading, int folder, unread_t *unread)
{
    kt_audit_logs_t logs;
    size_t i;

    if (!kt_audit_logs_find(folder, &logs)) {
        tell(unread, KT_PERMISSION, "", strerror(errno));
        return;
    }
    if (logs.more)
        tell(unread, KT_MALFORMED, "", "it has more logs than are read");
    if (logs.not_files > 0)
        tell(unread, KT_MALFORMED, "", "it has entries with a log's name that are not files");
    for (i = 0; i < logs.count; i++)
        read_log(reading, folder, &logs.list[i], unread);
    kt_audit_logs_free(&logs);
}

kt_status_t kt_audit_all_generations(const char *audit_path, const char *stream, const char *store,
                                     kt_generation_fn fn, void *arg, kt_check_fn note,
                                     void *note_arg)
{
    reading_t reading = {.store = store, .fn = fn, .arg = arg};
    unread_t unread = {stream, note, note_arg, KT_SUCCESS};
    int folder = open_stream(audit_path, stream);

    if (folder >= 0)
        read_logs(&reading, folder, &unread);
    else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
        tell(&unread, KT_PERMISSION, "", strerror(errno));
    kt_close_fd(&folder);
    kt_failure_clear();
    return unread.worst;
}
