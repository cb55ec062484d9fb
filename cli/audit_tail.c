/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn audit tail [--follow] [STREAM]: the last lines of the audit logs, merged by time. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"

#define LAST 20        /* lines at the start */
#define LOOK_BACK 1000 /* lines among which --follow looks for new ones */
#define PAUSE_MS 250

typedef struct {
    cli_t *cli;
    json_t *lines;  /* collected for --json */
    json_t *seen;   /* --follow: {line: true} of the previous look, in order; at first NULL */
    json_t *seeing; /* the same of the present look */
} tail_t;

/* 2026-11-23T11:50:33Z nginx        nginx:example.org    read      api-keys/stripe@3  success */
static void print_line(const json_t *line)
{
    static const struct {
        const char *key;
        int width;
    } columns[] = {{"time", 24}, {"stream", 12}, {"subject", 26}, {"action", 13}, {"status", 9}};
    const json_t *version = json_object_get(line, "version");
    const json_t *count = json_object_get(line, "count");

    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        cli_print(cli_json_text(line, columns[i].key, "-"), columns[i].width);
        putchar(' ');
    }
    cli_print(cli_json_text(line, "reference", "-"), 0);
    if (json_integer_value(version) > 0)
        printf(" version %lld", (long long)json_integer_value(version));
    if (json_integer_value(count) > 1)
        printf(" %lld times", (long long)json_integer_value(count));
    if (json_is_true(json_object_get(line, "stale")))
        printf(" stale");
    putchar('\n');
}

static void print(tail_t *tail, const char *text)
{
    json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

    if (tail->lines) {
        json_array_append(tail->lines, line ? line : json_null());
    } else if (tail->cli->json || !line) {
        cli_print_line(text);
    } else {
        print_line(line);
    }
    json_decref(line);
}

static int see_line(void *arg, const char *text)
{
    tail_t *tail = arg;

    if (tail->seeing)
        json_object_set_new(tail->seeing, text, json_true());
    if (!tail->seeing || (tail->seen && !json_object_get(tail->seen, text)))
        print(tail, text);
    return 0;
}

/* Runs until a signal ends us. Each line is printed once: at the next look it is in `seen`. */
static kt_status_t follow(cli_t *cli, tail_t *tail, const char *stream)
{
    const struct timespec pause = {0, PAUSE_MS * 1000000L};
    kt_status_t status;

    for (;;) {
        const char *text;
        json_t *yes;
        size_t left;

        tail->seeing = json_object();
        status = kt_audit_tail(cli->ctx, stream, LOOK_BACK, see_line, tail);
        left = json_object_size(tail->seeing);
        if (!tail->seen)
            json_object_foreach(tail->seeing, text, yes) if (left-- <= LAST) print(tail, text);
        json_decref(tail->seen);
        tail->seen = tail->seeing;
        if (status || fflush(stdout) != 0)
            break;
        nanosleep(&pause, NULL);
    }
    json_decref(tail->seen);
    return cli_check_ctx(cli, status);
}

kt_status_t verb_audit_tail(cli_t *cli)
{
    const char *stream = cli->nargs > 0 ? cli->args[0] : NULL;
    tail_t tail = {.cli = cli};
    kt_status_t status = cli_open(cli);

    if (status)
        return status;
    if (cli_given(cli, "follow"))
        return follow(cli, &tail, stream);
    if (cli->json)
        tail.lines = json_array();
    status = kt_audit_tail(cli->ctx, stream, LAST, see_line, &tail);
    if (!status && cli->json)
        return cli_answer(cli, json_pack("{s:o}", "lines", tail.lines));
    json_decref(tail.lines);
    return cli_check_ctx(cli, status);
}
