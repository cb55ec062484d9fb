/* SPDX-License-Identifier: BSD-2-Clause */
/* How often secrets were read, for list and check. */
#include <stdio.h>

#include "cli.h"

json_t *cli_json_subject(const kt_usage_t *usage)
{
    json_t *text = usage->subject ? json_string(usage->subject) : NULL;

    return text ? text : json_null(); /* not UTF-8 */
}

json_t *cli_json_stream(const kt_usage_t *usage)
{
    json_t *text = usage->stream ? json_string(usage->stream) : NULL;

    return text ? text : json_null();
}

/* The kernel vouches for the stream's user, and only the stream for its subject. */
void cli_print_reader(const char *stream, const char *subject)
{
    cli_print(stream ? stream : "-", 0);
    if (subject) {
        fputs(" (", stdout);
        cli_print(subject, 0);
        putchar(')');
    }
}

static int collect(void *arg, const kt_usage_t *usage)
{
    json_t *row = json_pack("{s:I, s:o, s:o, s:o}", "accessed", (json_int_t)usage->count,
                            "last_accessed", cli_json_time(usage->last), "last_subject",
                            cli_json_subject(usage), "last_stream", cli_json_stream(usage));

    return json_object_set_new(arg, usage->name, row);
}

kt_status_t cli_usage(cli_t *cli, json_t **ret_usage, bool *ret_complete)
{
    json_t *usage = json_object();
    kt_usage_t total;
    kt_status_t status = kt_usage(cli->ctx, collect, usage, &total);

    if (status) {
        json_decref(usage);
        return cli_check_ctx(cli, status);
    }
    *ret_complete = total.hidden == 0 && total.lost == 0;
    if (total.hidden > 0)
        cli_warn(cli, "incomplete: this user may not read the counts of %u audit %s", total.hidden,
                 cli_plural(total.hidden, "stream", "streams"));
    if (total.lost > 0)
        cli_warn(cli, "incomplete: a stream had no room to count %llu %s",
                 (unsigned long long)total.lost, cli_plural(total.lost, "read", "reads"));
    *ret_usage = usage;
    return KT_SUCCESS;
}

const char *cli_usage_word(const json_t *row, bool complete)
{
    json_int_t count = json_integer_value(json_object_get(row, "accessed"));

    if (count == 0)
        return complete ? "unused" : "unknown";
    return count > (json_int_t)KT_USAGE_HIGH ? "high" : "normal";
}
