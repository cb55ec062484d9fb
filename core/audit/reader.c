/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reader.c: the lines of one log, plain or gzip, within bounds.
 *
 * A stream belongs to the user of its host, and root reads it: the size of a line, of what has no
 * seal, and of the whole file must not be that user's to choose. Memory is a fixed buffer, and the
 * time follows from the file's real size: a hole or an endless line ends after the first
 * KT_AUDIT_LINE bytes, and so does what gzip blows up.
 *
 * gzread(3) was rejected: it takes what is not gzip for plain text, in the middle of a file too.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "reader.h"

#define INPUT 65536u
#define TEXT (2u * INPUT)
#define GZIP_WINDOW (15 + 16) /* a header of gzip and no other */

_Static_assert(TEXT > 2 * KT_AUDIT_LINE, "a line fits, wherever it begins");

struct kt_audit_reader {
    int fd;
    uint64_t left; /* bytes of the file that are not read yet */
    bool gzip, ended;
    bool in_member; /* of gzip: its end is not reached ... */
    bool pending;   /* ... and zlib may have output that found no room */
    z_stream stream;
    unsigned char input[INPUT];
    char text[TEXT + 1];
    size_t from, to; /* in `text`: what is not handed out yet */
    char behind;     /* what stood after the line that was handed out last */
    size_t line;     /* its bytes */
    size_t number, junk;
    uint64_t offset;   /* after the last line */
    uint64_t unsealed; /* bytes since the last seal */
    char why[160];
};

static kt_audit_step_t bad(kt_audit_reader_t *reader, const char *format, size_t number)
{
    reader->ended = true;
    reader->from = reader->to = 0;
    (void)snprintf(reader->why, sizeof(reader->why), format, number);
    return KT_AUDIT_BAD;
}

static kt_audit_step_t failed(kt_audit_reader_t *reader, const char *what)
{
    (void)bad(reader, "", 0);
    (void)snprintf(reader->why, sizeof(reader->why), "%s", what);
    return KT_AUDIT_BAD;
}

/* ---- bytes ---- */

/* -1 with errno. */
static ssize_t read_some(kt_audit_reader_t *reader, void *bytes, size_t room)
{
    ssize_t got;

    if (room > reader->left)
        room = (size_t)reader->left;
    do
        got = room > 0 ? read(reader->fd, bytes, room) : 0;
    while (got < 0 && errno == EINTR);
    reader->left = got > 0 ? reader->left - (uint64_t)got : 0;
    return got;
}

static kt_audit_step_t fill_plain(kt_audit_reader_t *reader)
{
    ssize_t got = read_some(reader, reader->text + reader->to, TEXT - reader->to);

    if (got < 0)
        return failed(reader, strerror(errno));
    reader->ended = got == 0;
    reader->to += (size_t)got;
    return KT_AUDIT_NEXT;
}

/* gzip allows several members in one file, which follow each other. */
static kt_audit_step_t inflate_some(kt_audit_reader_t *reader)
{
    z_stream *stream = &reader->stream;
    size_t room = TEXT - reader->to;
    int answer;

    if (!reader->in_member && inflateReset(stream) != Z_OK)
        return failed(reader, strerror(ENOMEM));
    reader->in_member = true;
    stream->next_out = (unsigned char *)reader->text + reader->to;
    stream->avail_out = (unsigned)room;
    answer = inflate(stream, Z_NO_FLUSH);
    reader->to += room - stream->avail_out;
    reader->pending = stream->avail_out == 0;
    if (answer == Z_STREAM_END)
        reader->in_member = false;
    else if (answer != Z_OK && answer != Z_BUF_ERROR)
        return failed(reader,
                      answer == Z_MEM_ERROR ? strerror(ENOMEM) : "its compressed data is damaged");
    return KT_AUDIT_NEXT;
}

static kt_audit_step_t fill_gzip(kt_audit_reader_t *reader)
{
    z_stream *stream = &reader->stream;
    size_t before = reader->to;
    kt_audit_step_t step = KT_AUDIT_NEXT;
    ssize_t got;

    while (step == KT_AUDIT_NEXT && reader->to == before) {
        if (stream->avail_in == 0 && !reader->pending) {
            got = read_some(reader, reader->input, sizeof(reader->input));
            if (got < 0)
                return failed(reader, strerror(errno));
            if (got == 0 && reader->in_member)
                return failed(reader, "its compressed data ends too early");
            reader->ended = got == 0;
            if (got == 0)
                return KT_AUDIT_NEXT;
            stream->next_in = reader->input;
            stream->avail_in = (unsigned)got;
        }
        step = inflate_some(reader);
    }
    return step;
}

/* More text after what is there, which moves to the front. */
static kt_audit_step_t fill(kt_audit_reader_t *reader)
{
    memmove(reader->text, reader->text + reader->from, reader->to - reader->from);
    reader->to -= reader->from;
    reader->from = 0;
    return reader->gzip ? fill_gzip(reader) : fill_plain(reader);
}

/* ---- life ---- */

bool kt_audit_is_gzip(const unsigned char *bytes, size_t size)
{
    return size >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

static bool begin_gzip(kt_audit_reader_t *reader)
{
    ssize_t got = pread(reader->fd, reader->input, 2, 0);

    if (got <= 0 || !kt_audit_is_gzip(reader->input, (size_t)got))
        return true;
    reader->gzip = inflateInit2(&reader->stream, GZIP_WINDOW) == Z_OK;
    return reader->gzip;
}

kt_audit_reader_t *kt_audit_reader_new(int fd)
{
    kt_audit_reader_t *reader = malloc(sizeof(*reader));
    struct stat st;

    if (reader == NULL)
        return NULL;
    memset(reader, 0, offsetof(kt_audit_reader_t, input));
    memset(&reader->from, 0, sizeof(*reader) - offsetof(kt_audit_reader_t, from));
    reader->fd = fd;
    if (fstat(fd, &st) == 0 && lseek(fd, 0, SEEK_SET) == 0) {
        reader->left = (uint64_t)st.st_size;
        if (begin_gzip(reader))
            return reader;
        errno = ENOMEM;
    }
    free(reader);
    return NULL;
}

void kt_audit_reader_free(kt_audit_reader_t *reader)
{
    if (reader == NULL)
        return;
    if (reader->gzip)
        (void)inflateEnd(&reader->stream);
    kt_close_fd(&reader->fd);
    free(reader);
}

bool kt_audit_reader_skip(kt_audit_reader_t *reader, uint64_t offset)
{
    char *line;
    size_t size;

    if (offset == 0 || reader->gzip || offset > reader->left)
        return true;
    if (lseek(reader->fd, (off_t)offset - 1, SEEK_SET) < 0)
        return false;
    reader->left -= offset - 1;
    reader->offset = offset - 1;
    (void)kt_audit_reader_next(reader, &line, &size);
    return true;
}

/* ---- lines ---- */

static bool begins_with(const char *line, size_t size, const char *with)
{
    return size >= strlen(with) && memcmp(line, with, strlen(with)) == 0;
}

/* Counts what a log cannot have without end. */
static kt_audit_step_t weigh(kt_audit_reader_t *reader, const char *line, size_t size)
{
    bool seal = begins_with(line, size, KT_AUDIT_SEAL);

    reader->unsealed = seal ? 0 : reader->unsealed + size;
    if (!seal && !begins_with(line, size, KT_AUDIT_TIME) && !begins_with(line, size, KT_AUDIT_LOG))
        reader->junk++;
    if (reader->junk > KT_AUDIT_JUNK)
        return bad(reader, "too many lines that are not of an audit log, up to line %zu",
                   reader->number);
    if (reader->unsealed > KT_AUDIT_UNSEALED)
        return bad(reader, "more without a seal than a block has, up to line %zu", reader->number);
    return KT_AUDIT_NEXT;
}

static kt_audit_step_t hand_out(kt_audit_reader_t *reader, size_t size, char **ret_line,
                                size_t *ret_size)
{
    char *line = reader->text + reader->from;
    kt_audit_step_t step;

    reader->number++;
    reader->offset += size;
    if (size > KT_AUDIT_LINE)
        return bad(reader, "line %zu is longer than a line of an audit log", reader->number);
    step = weigh(reader, line, size);
    if (step != KT_AUDIT_NEXT)
        return step;
    reader->behind = line[size];
    line[size] = '\0';
    reader->line = size;
    *ret_line = line;
    *ret_size = size;
    return KT_AUDIT_NEXT;
}

kt_audit_step_t kt_audit_reader_next(kt_audit_reader_t *reader, char **ret_line, size_t *ret_size)
{
    kt_audit_step_t step = KT_AUDIT_NEXT;
    size_t looked = 0, size;
    char *end;

    if (reader->why[0] != '\0')
        return KT_AUDIT_BAD;
    if (reader->line > 0) {
        reader->from += reader->line;
        reader->text[reader->from] = reader->behind;
        reader->line = 0;
    }
    while (step == KT_AUDIT_NEXT) {
        size = reader->to - reader->from;
        end = memchr(reader->text + reader->from + looked, '\n', size - looked);
        if (end != NULL)
            return hand_out(reader, (size_t)(end + 1 - reader->text) - reader->from, ret_line,
                            ret_size);
        looked = size;
        if (size > KT_AUDIT_LINE)
            return bad(reader, "line %zu is longer than a line of an audit log",
                       reader->number + 1);
        if (reader->ended)
            return KT_AUDIT_END;
        step = fill(reader);
    }
    return step;
}

size_t kt_audit_reader_number(const kt_audit_reader_t *reader)
{
    return reader->number;
}

uint64_t kt_audit_reader_offset(const kt_audit_reader_t *reader)
{
    return reader->offset;
}

const char *kt_audit_reader_why(const kt_audit_reader_t *reader)
{
    return reader->why;
}
