/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tail.c: the last lines of one stream, or of all of them merged by time.
 *
 * Of several streams, a line that something is wrong with takes no place of another one's: lines of
 * the year 9999, or without a seal, would else fill the tail. A few of each stream are added.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "walk.h"

#define TAIL_MAX 100000u         /* lines */
#define NEAR_END (1024u * 1024u) /* bytes of a log that are looked at first */
#define WRONG_MAX 5u             /* lines of a stream that something is wrong with */

typedef struct last {
    char *text, *stream;
    char time[25];
    unsigned marks;
    size_t number; /* in the order in which they were read */
} last_t;

typedef struct lines { /* a ring of the last ones */
    last_t *list;
    size_t count, room, next;
} lines_t;

typedef struct tail {
    size_t count;
    bool merged;
    lines_t lines;
    size_t numbered;
    bool no_memory;
} tail_t;

static void clear(last_t *line)
{
    free(line->text);
    free(line->stream);
    memset(line, 0, sizeof(*line));
}

static void free_lines(lines_t *lines)
{
    size_t i;

    for (i = 0; i < lines->count; i++)
        clear(&lines->list[i]);
    free(lines->list);
    memset(lines, 0, sizeof(*lines));
}

static bool begin_ring(lines_t *lines, size_t room)
{
    memset(lines, 0, sizeof(*lines));
    lines->list = calloc(room, sizeof(*lines->list));
    lines->room = room;
    return lines->list != NULL;
}

/* Takes the line's texts. */
static void push(lines_t *lines, last_t *line)
{
    last_t *place = &lines->list[lines->next];

    clear(place);
    *place = *line;
    lines->next = (lines->next + 1) % lines->room;
    lines->count += lines->count < lines->room;
}

/* ---- one stream ---- */

typedef struct found {
    tail_t *tail;
    lines_t good, wrong; /* without --merged, all are good */
} found_t;

static int keep_line(void *arg, const kt_audit_line_t *line)
{
    found_t *found = arg;
    last_t last = {.text = strdup(line->text),
                   .stream = strdup(line->stream),
                   .marks = line->marks,
                   .number = found->tail->numbered++};

    if (last.text == NULL || last.stream == NULL) {
        clear(&last);
        found->tail->no_memory = true;
        return 1;
    }
    if (strncmp(line->text, KT_AUDIT_TIME, strlen(KT_AUDIT_TIME)) == 0)
        (void)snprintf(last.time, sizeof(last.time), "%.24s", line->text + strlen(KT_AUDIT_TIME));
    push(found->tail->merged && line->marks != 0 ? &found->wrong : &found->good, &last);
    return 0;
}

/* The last ones of one log, looking back as far as need be. */
static bool read_log(found_t *found, kt_audit_walk_t *walk, const kt_audit_log_t *log)
{
    uint64_t back = NEAR_END, from;
    size_t count = found->tail->count;

    for (;; back *= 8) {
        from = log->gzip || log->size <= back ? 0 : log->size - back;
        free_lines(&found->good);
        free_lines(&found->wrong);
        if (!begin_ring(&found->good, count) || !begin_ring(&found->wrong, WRONG_MAX)) {
            found->tail->no_memory = true;
            return false;
        }
        if (!kt_audit_walk_log(walk, log, from) || walk->stopped || walk->bad)
            return false;
        if (from == 0 || found->good.count >= count)
            return true;
    }
}

/* Of a log that was read before the ones that are there. */
static bool append(tail_t *tail, lines_t *from, size_t most)
{
    size_t add = from->count < most ? from->count : most, i;
    last_t *list = realloc(tail->lines.list, (tail->lines.count + add + 1) * sizeof(*list));

    if (list == NULL)
        return false;
    tail->lines.list = list;
    for (i = 0; i < add; i++) {
        size_t at = (from->next + from->room - add + i) % from->room;

        list[tail->lines.count++] = from->list[at];
        memset(&from->list[at], 0, sizeof(from->list[at]));
    }
    return true;
}

static size_t read_stream(void *arg, kt_audit_walk_t *walk)
{
    tail_t *tail = arg;
    found_t found = {.tail = tail};
    size_t left = tail->count, read, before = tail->numbered, i;
    bool bad = false;
    kt_audit_logs_t logs;

    if (!kt_audit_walk_find(walk, &logs))
        return 0;
    read = logs.count > 0 || left == 0; /* a log that cannot be read is there all the same */
    walk->arg = &found;
    walk->fn = keep_line;
    for (i = logs.count; i > 0 && left > 0 && !tail->no_memory; i--) {
        if (logs.list[i - 1].unpack != NULL || logs.list[i - 1].twin || logs.list[i - 1].error != 0)
            continue;
        bad = walk->bad || bad;
        walk->bad = false;
        /* newer logs are read first, and numbered higher */
        tail->numbered = before + (i << 32);
        (void)read_log(&found, walk, &logs.list[i - 1]);
        tail->no_memory = tail->no_memory || !append(tail, &found.good, left) ||
                          !append(tail, &found.wrong, WRONG_MAX);
        left -= found.good.count < left ? found.good.count : left;
        free_lines(&found.good);
        free_lines(&found.wrong);
    }
    tail->numbered = before + ((logs.count + 1) << 32);
    walk->bad = walk->bad || bad;
    walk->stopped = false;
    kt_audit_logs_free(&logs);
    return read;
}

/* ---- all of them ---- */

static int by_time(const void *a, const void *b)
{
    const last_t *x = a, *y = b;
    int order = strcmp(x->time, y->time);

    return order != 0 ? order : (x->number > y->number) - (x->number < y->number);
}

static int by_number(const void *a, const void *b)
{
    const last_t *x = a, *y = b;

    return (x->number > y->number) - (x->number < y->number);
}

static void hand_out(tail_t *tail, kt_line_fn fn, void *arg)
{
    lines_t *lines = &tail->lines;
    size_t good = 0, left, i;

    if (lines->count > 1)
        qsort(lines->list, lines->count, sizeof(*lines->list), tail->merged ? by_time : by_number);
    for (i = 0; i < lines->count; i++)
        good += !tail->merged || lines->list[i].marks == 0;
    left = good > tail->count ? good - tail->count : 0; /* to be left out */
    for (i = 0; i < lines->count; i++) {
        const last_t *last = &lines->list[i];
        kt_audit_line_t line = {sizeof(line), last->stream, last->text, last->marks};

        if ((!tail->merged || last->marks == 0) && left > 0)
            left--;
        else if (fn(arg, &line) != 0)
            return;
    }
}

kt_status_t kt_audit_last(const char *path, const char *stream, size_t count, kt_line_fn fn,
                          kt_check_fn note, void *arg)
{
    tail_t tail = {.count = count < TAIL_MAX ? count : TAIL_MAX, .merged = stream == NULL};
    kt_audit_streams_t streams = {
        .walk = {.note = note, .note_arg = arg}, .read = read_stream, .arg = &tail};
    kt_status_t status;
    char *whole;

    kt_failure_clear();
    if (stream != NULL && (strchr(stream, '/') != NULL || stream[0] == '.' || stream[0] == '\0'))
        return kt_fail(KT_USAGE, "not a stream name");
    if (asprintf(&whole, "%s%s%s", path, stream != NULL ? "/" : "", stream != NULL ? stream : "") <
        0)
        return kt_no_memory();
    status = kt_audit_streams_read(&streams, whole);
    free(whole);
    if (tail.no_memory)
        status = kt_no_memory();
    else
        hand_out(&tail, fn, arg);
    free_lines(&tail.lines);
    return status;
}
