/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines of the audit logs, for tail, log and report. Any user may have written one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define NARROW 110 /* columns of a terminal with less room than a whole line takes */
#define BEFORE 63  /* columns of a narrow line before the name */
#define NAME_MIN 16

static const struct {
    unsigned mark;
    const char *word;
} words[] = {
    {KT_LINE_UNSEALED, "unsealed"},
    {KT_LINE_FOREIGN_STREAM, "foreign-stream"},
    {KT_LINE_FOREIGN_SUBJECT, "foreign-subject"},
    {KT_LINE_AHEAD, "future"},
};

static json_t *marks_of(unsigned marks)
{
    json_t *list = json_array();

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (marks & words[i].mark)
            json_array_append_new(list, json_string(words[i].word));
    return list;
}

json_t *cli_trail_parse(const kt_audit_line_t *line)
{
    json_t *parsed = json_loads(line->text, JSON_REJECT_DUPLICATES, NULL), *object;

    object =
        json_is_object(parsed) ? cli_visible_json(parsed) : json_pack("{s:s}", "text", line->text);
    json_decref(parsed);
    if (!object) /* not UTF-8 */
        object = json_object();
    json_object_set_new(object, "stream", json_string(line->stream));
    if (line->marks)
        json_object_set_new(object, "marks", marks_of(line->marks));
    return object;
}

/* The subject, and the person, if that is known. */
static void print_who(const json_t *line, int width)
{
    const char *actor = cli_json_text(line, "actor", "");
    char who[400];

    snprintf(who, sizeof who, "%.255s%s%.128s%s", cli_json_text(line, "subject", "-"),
             actor[0] ? " (" : "", actor, actor[0] ? ")" : "");
    if (width > 0 && width < 26)
        cli_print_cut(who, width);
    else
        cli_print(who, 26);
}

/* What was asked for, and more about it. `room` 0: as much as there is. */
static void print_what(const json_t *line, int room)
{
    const char *name = cli_json_text(line, "reference", cli_json_text(line, "text", "-"));
    const char *peer = cli_json_text(line, "peer", "");
    long long version = json_integer_value(json_object_get(line, "version"));
    long long count = json_integer_value(json_object_get(line, "count"));
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);

    if (!file)
        return;
    fputs(name, file);
    if (version > 0)
        fprintf(file, " version %lld", version);
    if (count > 1)
        fprintf(file, " %lld times", count);
    if (peer[0])
        fprintf(file, " from %s", peer);
    if (json_is_true(json_object_get(line, "stale")))
        fputs(" stale", file);
    if (fclose(file) == 0 && room > 0 && size > (size_t)room)
        cli_print_cut(text, room);
    else if (text)
        cli_print(text, 0);
    free(text);
}

/* Never cut: a line that is not proved must not look like one that is. */
static void print_marks(const json_t *line)
{
    const json_t *mark;
    size_t i;

    json_array_foreach(json_object_get(line, "marks"), i, mark)
        printf("%s%s", i ? ", " : "  !! ", json_string_value(mark));
    putchar('\n');
}

/* On a narrow terminal 11-23 11:50:33: without the year and the milliseconds. */
static void print_time(const json_t *line, bool narrow)
{
    const char *time = cli_json_text(line, "time", "-");
    char brief[15];

    if (!narrow || strlen(time) < 19) {
        cli_print(time, narrow ? 14 : 24);
        return;
    }
    snprintf(brief, sizeof brief, "%.5s %.8s", time + 5, time + 11);
    cli_print(brief, 14);
}

/* 2026-11-23T11:50:33.123Z nginx        nginx:example.org    read      success   api-keys/stripe@3
 */
void cli_trail_print(const json_t *line)
{
    int columns = cli_columns();
    bool narrow = columns > 0 && columns < NARROW;
    int room = columns - BEFORE > NAME_MIN ? columns - BEFORE : NAME_MIN;

    print_time(line, narrow);
    putchar(' ');
    cli_print_cut(cli_json_text(line, "stream", "-"), narrow ? 10 : 12);
    putchar(' ');
    print_who(line, narrow ? 18 : 0);
    putchar(' ');
    cli_print_cut(cli_json_text(line, "action", "-"), narrow ? 8 : 13);
    putchar(' ');
    cli_print_cut(cli_json_text(line, "status", "-"), narrow ? 8 : 9);
    putchar(' ');
    print_what(line, narrow ? room : 0);
    print_marks(line);
}

void cli_trail_note(void *arg, kt_status_t status, const char *what, const char *detail)
{
    cli_trail_t *trail = arg;
    json_t *row = json_pack("{s:s, s:s}", "stream", what, "note", detail), *shown;

    (void)status;
    shown = row ? cli_visible_json(row) : json_object();
    json_decref(row);
    if (!trail->cli->json)
        cli_warn(trail->cli, "%s/%s", what, detail);
    json_array_append_new(trail->notes, shown);
}
