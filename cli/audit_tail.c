/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn audit tail [-n N] [--follow] [STREAM]: the last lines of the audit logs, merged by time.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"

#define LAST 20        /* lines at the start */
#define LAST_MAX 10000 /* that may be asked for */
#define LOOK_BACK 1000 /* lines among which --follow looks for new ones */
#define PAUSE_MS 250

typedef struct {
    cli_trail_t trail; /* first: the notes go there */
    json_t *lines;     /* the lines of this look */
    json_t *seen;      /* --follow: {stream and text: true} of the previous look; at first NULL */
    json_t *seeing;    /* the same of the present look */
    size_t last;
    const char *path;   /* of all streams */
    const char *stream; /* NULL: all of them */
} tail_t;

static int collect(void *arg, const kt_audit_line_t *line)
{
    json_array_append_new(((tail_t *)arg)->lines, cli_trail_parse(line));
    return 0;
}

static void print_lines(const tail_t *tail, size_t last)
{
    size_t count = json_array_size(tail->lines), i;
    json_t *line;

    json_array_foreach(tail->lines, i, line)
    {
        if (count - i > last)
            continue;
        if (tail->trail.cli->json)
            cli_print_json(json_incref(line));
        else
            cli_trail_print(line);
    }
}

/* A line that no seal covers yet may be one that is being written: it is printed if the next look
 * finds it the same. */
static int see_line(void *arg, const kt_audit_line_t *line)
{
    tail_t *tail = arg;
    json_t *parsed = cli_trail_parse(line);
    char *key = json_dumps(parsed, JSON_ENSURE_ASCII | JSON_SORT_KEYS);
    bool waits = (line->marks & KT_LINE_UNSEALED) != 0;

    if (key && !waits)
        json_object_set_new(tail->seeing, key, json_true());
    else if (key)
        json_object_set_new(tail->seeing, key,
                            json_boolean(tail->seen && json_object_get(tail->seen, key)));
    if (!key || (!waits && !(tail->seen && json_object_get(tail->seen, key))) ||
        (waits && tail->seen && json_is_false(json_object_get(tail->seen, key))))
        json_array_append(tail->lines, parsed);
    cli_json_free(key);
    json_decref(parsed);
    return 0;
}

static kt_status_t look(tail_t *tail, size_t count, kt_line_fn fn, kt_check_fn note)
{
    cli_t *cli = tail->trail.cli;

    return cli->ctx ? kt_audit_tail(cli->ctx, tail->stream, count, fn, note, tail)
                    : kt_audit_last(tail->path, tail->stream, count, fn, note, tail);
}

static kt_status_t check(cli_t *cli, kt_status_t status)
{
    return cli->ctx ? cli_check_ctx(cli, status) : cli_check(cli, status, kt_error(NULL));
}

/* Runs until a signal ends us. Each line is printed once: at the next look it is in `seen`. What
 * cannot be read is reported once. */
static kt_status_t follow(cli_t *cli, tail_t *tail)
{
    const struct timespec pause = {0, PAUSE_MS * 1000000L};
    kt_status_t status;

    for (;;) {
        tail->seeing = json_object();
        json_array_clear(tail->lines);
        status = look(tail, LOOK_BACK, see_line, tail->seen ? NULL : cli_trail_note);
        print_lines(tail, tail->seen ? LOOK_BACK * 10 : tail->last);
        json_decref(tail->seen);
        tail->seen = tail->seeing;
        if ((status && status != KT_MALFORMED) || fflush(stdout) != 0)
            break;
        nanosleep(&pause, NULL);
    }
    json_decref(tail->seen);
    return check(cli, status);
}

static kt_status_t print_tail(cli_t *cli, tail_t *tail)
{
    kt_status_t status = look(tail, tail->last, collect, cli_trail_note);

    if (!cli->json)
        print_lines(tail, tail->last * 10);
    else if (!status)
        return cli_answer(
            cli, json_pack("{s:O, s:O}", "lines", tail->lines, "passed_over", tail->trail.notes));
    return check(cli, status);
}

kt_status_t verb_audit_tail(cli_t *cli)
{
    tail_t tail = {.trail = {.cli = cli}, .stream = cli->nargs > 0 ? cli->args[0] : NULL};
    uint64_t last = LAST;
    kt_status_t status = cli_number(cli, "lines", 1, LAST_MAX, &last);

    if (!status)
        status = cli_trail_open(cli, &tail.path);
    if (status)
        return status;
    tail.last = (size_t)last;
    tail.lines = json_array();
    tail.trail.notes = json_array();
    status = cli_given(cli, "follow") ? follow(cli, &tail) : print_tail(cli, &tail);
    json_decref(tail.lines);
    json_decref(tail.trail.notes);
    return status;
}
