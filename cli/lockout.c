/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn lockout [list | clear SOURCE]: sources that were refused too often. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

static void add(void *arg, const kt_lockout_t *lockout)
{
    json_t *row =
        json_pack("{s:s, s:s, s:i, s:o, s:o, s:I, s:I}", "source", lockout->source, "stream",
                  lockout->stream, "seconds", (int)lockout->seconds, "until",
                  cli_json_time(lockout->until), "last", cli_json_time(lockout->last), "refusals",
                  (json_int_t)lockout->refusals, "unrecorded", (json_int_t)lockout->unrecorded);

    if (row) /* a name that is not UTF-8 is left out of JSON */
        json_array_append_new(arg, row);
}

static void print(const cli_t *cli, const json_t *rows)
{
    int width = 6;
    size_t i;
    json_t *row;

    json_array_foreach(rows, i, row)
    {
        int size = (int)strlen(cli_json_text(row, "source", ""));

        width = size > width ? size : width;
    }
    if (!cli->quiet && json_array_size(rows) > 0)
        printf("%-*s  %-10s  %-10s  %8s  %10s\n", width, "SOURCE", "STREAM", "STATE", "REFUSALS",
               "UNRECORDED");
    json_array_foreach(rows, i, row)
    {
        long long seconds = json_integer_value(json_object_get(row, "seconds"));
        char state[32] = "over";

        if (seconds > 0)
            snprintf(state, sizeof state, "for %lld s", seconds);
        cli_print(cli_json_text(row, "source", ""), cli->quiet ? 0 : width);
        if (!cli->quiet) {
            printf("  ");
            cli_print(cli_json_text(row, "stream", ""), 10);
            printf("  %-10s  %8lld  %10lld", state,
                   (long long)json_integer_value(json_object_get(row, "refusals")),
                   (long long)json_integer_value(json_object_get(row, "unrecorded")));
        }
        putchar('\n');
    }
}

static kt_status_t list(cli_t *cli)
{
    json_t *rows = json_array();
    unsigned hidden = 0;
    kt_status_t status = cli_check_ctx(cli, kt_lockouts(cli->ctx, add, rows, &hidden));

    if (status) {
        json_decref(rows);
        return status;
    }
    if (hidden > 0)
        cli_warn(cli, "incomplete: %u audit %s may not be read by this user", hidden,
                 cli_plural(hidden, "stream", "streams"));
    if (cli->json)
        return cli_answer(cli, json_pack("{s:o, s:i}", "lockouts", rows, "hidden", (int)hidden));
    print(cli, rows);
    json_decref(rows);
    return KT_SUCCESS;
}

kt_status_t verb_lockout(cli_t *cli)
{
    const char *word = cli->nargs > 0 ? cli->args[0] : "list";
    bool clear = strcmp(word, "clear") == 0;
    kt_request_t req;
    kt_status_t status;

    if (!clear && strcmp(word, "list") != 0)
        return cli_fail(cli, KT_USAGE, "unknown word %s: lockout takes list, or clear SOURCE",
                        word);
    if (clear != (cli->nargs == 2))
        return cli_fail(cli, KT_USAGE,
                        clear ? "clear needs a SOURCE (`keyturn lockout list` shows them)"
                              : "lockout list takes no argument");
    status = cli_open_for(cli, clear ? cli->args[1] : NULL, &req);
    if (status)
        return status;
    if (!clear)
        return list(cli);
    status = cli_check_ctx(cli, kt_lockout_clear(cli->ctx, &req));
    if (status || !cli->json)
        return status;
    return cli_answer(cli, json_pack("{s:s}", "source", cli->args[1]));
}
