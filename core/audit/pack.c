/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pack.c: compresses the logs that this library has closed (log.20261130T131502Z).
 *
 *   1. .NAME.gz is written and synced          killed before: the next one begins again
 *   2. it is read back and compared
 *   3. it is renamed to NAME.gz                killed after: both are there; readers take one of
 *                                              them, and the next one compares them
 *   4. NAME is removed
 *
 * Other names are left to logrotate(8), which may be about to compress them itself. A log that a
 * sink has not got to the end of is not compressed: sinks read it by its inode.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "files.h"
#include "pack.h"
#include "sinks.h"

#define CHUNK 65536u
#define LEVEL 4
#define GZIP_WINDOW (15 + 16)
#define NAME_ROOM 300u

struct kt_pack {
    char name[256], made[NAME_ROOM], hidden[NAME_ROOM]; /* NAME, NAME.gz, .NAME.gz */
    int in, out;
    ino_t inode;
    bool deflating, comparing; /* which stream is open */
    z_stream stream;
    uint64_t size, back; /* bytes of the log, and of what was read back */
    unsigned long sum, back_sum;
    unsigned char from[CHUNK], to[CHUNK];
};

/* ---- which ---- */

static bool is_closed_name(const char *name)
{
    static const char like[] = "log.########T######Z";
    size_t i;

    for (i = 0; like[i] != '\0'; i++)
        if (like[i] == '#' ? name[i] < '0' || name[i] > '9' : name[i] != like[i])
            return false;
    return name[i] == '\0' || (name[i] == '.' && name[i + 1] >= '0' && name[i + 1] <= '9' &&
                               strspn(name + i + 1, "0123456789") == strlen(name + i + 1));
}

static void remove_plain(int folder, const char *name, ino_t inode)
{
    struct stat st;

    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == inode)
        (void)unlinkat(folder, name, 0);
}

static kt_pack_t *begin(int folder, const kt_audit_log_t *log)
{
    kt_pack_t *pack = calloc(1, sizeof(*pack));
    kt_audit_log_t opened;

    if (pack == NULL)
        return NULL;
    (void)snprintf(pack->name, sizeof(pack->name), "%s", log->name);
    (void)snprintf(pack->made, sizeof(pack->made), "%s.gz", log->name);
    (void)snprintf(pack->hidden, sizeof(pack->hidden), ".%s.gz", log->name);
    pack->out = -1;
    pack->in = kt_audit_log_open(folder, log->name, &opened);
    pack->inode = (ino_t)opened.inode;
    if (pack->in >= 0 && opened.inode == log->inode && flock(pack->in, LOCK_EX | LOCK_NB) == 0)
        pack->out = openat(folder, pack->hidden,
                           O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0640);
    if (pack->out >= 0 && lseek(pack->in, 0, SEEK_SET) == 0 &&
        deflateInit2(&pack->stream, LEVEL, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) ==
            Z_OK) {
        kt_audit_share(folder, pack->out);
        pack->deflating = true;
        pack->sum = pack->back_sum = crc32(0, NULL, 0);
        return pack;
    }
    kt_close_fd(&pack->in);
    kt_close_fd(&pack->out);
    free(pack);
    return NULL;
}

/* NAME.gz is there already. If it has all of the lines, only step 4 is left; else it is not ours.
 */
static bool is_done(int folder, const kt_audit_log_t *log)
{
    char made[NAME_ROOM];

    (void)snprintf(made, sizeof(made), "%s.gz", log->name);
    if (faccessat(folder, made, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    if (kt_audit_compare_logs(folder, made, log->name) == 0)
        remove_plain(folder, log->name, (ino_t)log->inode);
    return true;
}

static kt_pack_t *find(int folder, const kt_config_t *config)
{
    kt_audit_logs_t logs;
    kt_pack_t *pack = NULL;
    size_t i;

    if (!kt_audit_logs_find(folder, &logs))
        return NULL;
    for (i = 0; i < logs.count && pack == NULL; i++) {
        const kt_audit_log_t *log = &logs.list[i];

        if (is_closed_name(log->name) && !log->gzip && log->error == 0 && log->size > 0 &&
            !is_done(folder, log) && !kt_sinks_need(config, folder, log))
            pack = begin(folder, log);
    }
    kt_audit_logs_free(&logs);
    return pack;
}

/* ---- its steps ---- */

static void end(kt_pack_t **pack)
{
    if ((*pack)->deflating)
        (void)deflateEnd(&(*pack)->stream);
    if ((*pack)->comparing)
        (void)inflateEnd(&(*pack)->stream);
    kt_close_fd(&(*pack)->out);
    kt_close_fd(&(*pack)->in);
    free(*pack);
    *pack = NULL;
}

void kt_pack_stop(int folder, kt_pack_t **pack)
{
    if (*pack == NULL)
        return;
    (void)unlinkat(folder, (*pack)->hidden, 0);
    end(pack);
}

static bool put(const kt_pack_t *pack)
{
    size_t size = CHUNK - pack->stream.avail_out;

    return write(pack->out, pack->to, size) == (ssize_t)size;
}

/* Reads, compresses and writes a chunk. False: it cannot be done. */
static bool deflate_chunk(kt_pack_t *pack)
{
    ssize_t got = read(pack->in, pack->from, CHUNK);
    z_stream *stream = &pack->stream;

    if (got < 0)
        return false;
    pack->size += (uint64_t)got;
    pack->sum = crc32(pack->sum, pack->from, (unsigned)got);
    stream->next_in = pack->from;
    stream->avail_in = (unsigned)got;
    do {
        stream->next_out = pack->to;
        stream->avail_out = CHUNK;
        (void)deflate(stream, got == 0 ? Z_FINISH : Z_NO_FLUSH);
        if (!put(pack))
            return false;
    } while (stream->avail_out == 0);
    if (got > 0)
        return true;
    pack->deflating = false;
    (void)deflateEnd(stream);
    memset(stream, 0, sizeof(*stream));
    if (fsync(pack->out) != 0 || lseek(pack->out, 0, SEEK_SET) != 0 ||
        inflateInit2(stream, GZIP_WINDOW) != Z_OK)
        return false;
    pack->comparing = true;
    return true;
}

/* Reads a chunk back. *ret_end: all of it is as it was. */
static bool compare_chunk(kt_pack_t *pack, bool *ret_end)
{
    ssize_t got = read(pack->out, pack->to, CHUNK);
    z_stream *stream = &pack->stream;
    int answer = Z_OK;

    if (got <= 0)
        return false;
    stream->next_in = pack->to;
    stream->avail_in = (unsigned)got;
    while (answer == Z_OK && (stream->avail_in > 0 || stream->avail_out == 0)) {
        stream->next_out = pack->from;
        stream->avail_out = CHUNK;
        answer = inflate(stream, Z_NO_FLUSH);
        pack->back += CHUNK - stream->avail_out;
        pack->back_sum = crc32(pack->back_sum, pack->from, CHUNK - stream->avail_out);
    }
    *ret_end = answer == Z_STREAM_END;
    if (*ret_end)
        return pack->back == pack->size && pack->back_sum == pack->sum;
    return answer == Z_OK || answer == Z_BUF_ERROR;
}

static void finish(int folder, kt_pack_t **pack)
{
    kt_debug_point("audit_packed");
    if (renameat2(folder, (*pack)->hidden, folder, (*pack)->made, RENAME_NOREPLACE) == 0 &&
        fsync(folder) == 0) {
        kt_debug_point("audit_pack_named");
        remove_plain(folder, (*pack)->name, (*pack)->inode);
    } else {
        (void)unlinkat(folder, (*pack)->hidden, 0);
    }
    end(pack);
}

bool kt_pack_step(int folder, const kt_config_t *config, kt_pack_t **pack, int64_t ms)
{
    int64_t until = kt_monotonic() + ms;
    bool whole = false, good = true;

    if (*pack == NULL)
        *pack = find(folder, config);
    if (*pack == NULL)
        return false;
    do
        good = (*pack)->comparing ? compare_chunk(*pack, &whole) : deflate_chunk(*pack);
    while (good && !whole && kt_monotonic() < until);
    if (!good) {
        kt_pack_stop(folder, pack);
        return false;
    }
    if (whole)
        finish(folder, pack);
    return true;
}
