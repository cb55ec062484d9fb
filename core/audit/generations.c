/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * generations.c: the last generations that a stream's own log has, to be compared with the store.
 *
 * A checkpoint has the generations of all types that its process could read, and the id of their
 * store. A change has that of its type, and belongs to the store of the checkpoint before it. Only
 * the end of `log` is read, because a process does this before its first read.
 */
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

#define TAIL_SIZE (256u * 1024u)
#define GENERATION_MAX ((uint64_t)1 << 62) /* what is higher was not counted */

typedef struct reading {
    const char *store; /* the provider's name */
    kt_generation_fn fn;
    void *arg;
    bool has_id; /* a checkpoint came before: */
    unsigned char id[KT_ID_SIZE];
} reading_t;

static void pass(const reading_t *reading, const char *type, size_t size, uint64_t generation)
{
    char name[KT_NAME_MAX + 1];

    if (size == 0 || size > KT_NAME_MAX || generation == 0 || generation > GENERATION_MAX)
        return;
    memcpy(name, type, size);
    name[size] = '\0';
    reading->fn(reading->arg, name, generation, reading->id);
}

/* ,"generations":{"local":{"#":"ID","api-keys":12,...},...} */
static void read_checkpoint(reading_t *reading, const char *line)
{
    const char *at = strstr(line, ",\"generations\":{"), *end;
    char wanted[96];

    (void)snprintf(wanted, sizeof(wanted), "\"%.64s\":{\"#\":\"", reading->store);
    at = at != NULL ? strstr(at, wanted) : NULL;
    if (at == NULL)
        return;
    at += strlen(wanted);
    if (sodium_hex2bin(reading->id, KT_ID_SIZE, at, strcspn(at, "\""), NULL, NULL, &end) != 0 ||
        end != at + (size_t)2 * KT_ID_SIZE)
        return;
    reading->has_id = true;
    for (at = end + 1; strncmp(at, ",\"", 2) == 0;) {
        const char *type = at + 2;
        size_t size = strcspn(type, "\"");

        if (strncmp(type + size, "\":", 2) != 0)
            return;
        pass(reading, type, size, strtoull(type + size + 2, (char **)&at, 10));
    }
}

static void read_change(const reading_t *reading, const char *line)
{
    const char *generation = strstr(line, ",\"generation\":"), *name;
    char provider[128];
    size_t size;

    (void)snprintf(provider, sizeof(provider), ",\"provider\":\"%.64s\",\"status\":\"success\"",
                   reading->store);
    name = strstr(line, ",\"reference\":\"");
    if (!reading->has_id || generation == NULL || name == NULL || strstr(line, provider) == NULL)
        return;
    name += strlen(",\"reference\":\"");
    size = strcspn(name, "/\"");
    if (name[size] == '/')
        pass(reading, name, size, strtoull(generation + strlen(",\"generation\":"), NULL, 10));
    else
        pass(reading, "general", 7, strtoull(generation + strlen(",\"generation\":"), NULL, 10));
}

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
        if (strstr(line, ",\"action\":\"checkpoint\",") != NULL)
            read_checkpoint(reading, line);
        else
            read_change(reading, line);
    }
}

void kt_audit_generations(const char *audit_path, const char *stream, const char *store,
                          kt_generation_fn fn, void *arg)
{
    reading_t reading = {.store = store, .fn = fn, .arg = arg};
    kt_audit_log_t log = {.size = 0};
    char *path = NULL, *text = NULL;
    int folder = -1, fd = -1;
    ssize_t got = -1;
    size_t size;

    if (asprintf(&path, "%s/%s", audit_path, stream) < 0)
        return;
    folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
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
    free(path);
    kt_close_fd(&fd);
    kt_close_fd(&folder);
    kt_failure_clear();
}
