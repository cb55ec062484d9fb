/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn audit log: who had which version of what, from where. It reads all logs that are left,
 * and prints the records that fit all options, by time.
 */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define FOUND_MAX 1000000 /* records; a narrower question is asked for beyond that */

typedef struct {
    cli_trail_t trail; /* first: the notes go there */
    const char *name, *subject, *action;
    char until[CLI_TIME_SIZE]; /* "": no end */
    uint64_t version;          /* 0: any */
    json_t *found;
    bool too_many;
} query_t;

/* A star stands for anything, slashes too. */
static bool fits(const char *pattern, const char *text)
{
    return !pattern || fnmatch(pattern, text, FNM_NOESCAPE) == 0;
}

static bool fits_name(const query_t *query, const json_t *line)
{
    const char *reference = cli_json_text(line, "reference", "");
    char name[KT_NAME_MAX + 1];

    snprintf(name, sizeof name, "%.*s", (int)strcspn(reference, "#@"), reference);
    return fits(query->name, name);
}

/* `rotate` means rotate.create and the others, too. */
static bool fits_action(const query_t *query, const json_t *line)
{
    const char *action = cli_json_text(line, "action", "");
    size_t size = query->action ? strlen(query->action) : 0;

    return fits(query->action, action) ||
           (strncmp(action, query->action, size) == 0 && action[size] == '.');
}

static bool fits_all(const query_t *query, const json_t *line)
{
    if (query->subject && !fits(query->subject, cli_json_text(line, "subject", "")) &&
        !fits(query->subject, cli_json_text(line, "actor", "")))
        return false;
    if (query->version &&
        json_integer_value(json_object_get(line, "version")) != (json_int_t)query->version)
        return false;
    if (query->until[0] && strcmp(cli_json_text(line, "time", ""), query->until) >= 0)
        return false;
    return (!query->name || fits_name(query, line)) && (!query->action || fits_action(query, line));
}

static int look_at(void *arg, const kt_audit_line_t *text)
{
    query_t *query = arg;
    json_t *line = cli_trail_parse(text);

    query->too_many = json_array_size(query->found) == FOUND_MAX;
    if (!query->too_many && fits_all(query, line))
        json_array_append(query->found, line);
    json_decref(line);
    return query->too_many;
}

static int by_time(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    int order = strcmp(cli_json_text(x, "time", ""), cli_json_text(y, "time", ""));
    json_int_t p = json_integer_value(json_object_get(x, "seq"));
    json_int_t q = json_integer_value(json_object_get(y, "seq"));

    if (!order)
        order = strcmp(cli_json_text(x, "stream", ""), cli_json_text(y, "stream", ""));
    return order ? order : (p > q) - (p < q);
}

/* Streams were read one after the other. */
static void sort(json_t **found)
{
    size_t count = json_array_size(*found), i;
    json_t **lines = calloc(count + 1, sizeof *lines), *line, *sorted = json_array();

    if (lines) {
        json_array_foreach(*found, i, line) lines[i] = line;
        qsort(lines, count, sizeof *lines, by_time);
        for (i = 0; i < count; i++)
            json_array_append(sorted, lines[i]);
        json_decref(*found);
        *found = sorted;
        free(lines);
    } else {
        json_decref(sorted);
    }
}

static kt_status_t answer(cli_t *cli, query_t *query, kt_status_t status)
{
    size_t i;
    json_t *line;

    sort(&query->found);
    if (query->too_many)
        status = cli_fail(cli, KT_TOOLARGE,
                          "more than %d records match: narrow the question (--since, --name)",
                          FOUND_MAX);
    else if (!cli->json)
        json_array_foreach(query->found, i, line) cli_trail_print(line);
    else if (!status)
        return cli_answer(
            cli, json_pack("{s:O, s:O}", "lines", query->found, "passed_over", query->trail.notes));
    return cli_check(cli, status, kt_error(NULL));
}

static kt_status_t read_options(cli_t *cli, query_t *query, int64_t *ret_since)
{
    int64_t until = 0;
    kt_status_t status = cli_number(cli, "version", 1, UINT32_MAX, &query->version);

    if (!status)
        status = cli_since(cli, ret_since);
    if (!status)
        status = cli_before(cli, "until", &until);
    if (!status && until) {
        cli_time(until, query->until);
        query->until[19] = '\0'; /* lines have milliseconds */
    }
    query->name = cli_given(cli, "name");
    query->subject = cli_given(cli, "subject");
    query->action = cli_given(cli, "action");
    return status;
}

kt_status_t verb_audit_log(cli_t *cli)
{
    const char *stream = cli_given(cli, "stream");
    query_t query = {.trail = {.cli = cli}};
    int64_t since = 0;
    const char *folder;
    char path[4096];
    kt_status_t status = read_options(cli, &query, &since);

    if (!status && stream && (!stream[0] || stream[0] == '.' || strchr(stream, '/')))
        return cli_fail(cli, KT_USAGE,
                        "--stream must be the name of a folder of the audit log, such as nginx");
    if (!status)
        status = cli_trail_open(cli, &folder);
    if (!status && cli->ctx) /* what this command's user did before must be in it */
        status = cli_check_ctx(cli, kt_audit_flush(cli->ctx, 0));
    if (status)
        return status;
    snprintf(path, sizeof path, "%s%s%s", folder, stream ? "/" : "", stream ? stream : "");
    query.found = json_array();
    query.trail.notes = json_array();
    status = kt_audit_scan(path, since, look_at, cli_trail_note, &query);
    status = answer(cli, &query, status);
    json_decref(query.found);
    json_decref(query.trail.notes);
    return status;
}
