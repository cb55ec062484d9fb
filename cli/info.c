/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn info NAME: everything about a secret except its value. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

static json_t *number_or_null(uint64_t number)
{
    return number ? json_integer((json_int_t)number) : json_null();
}

static json_t *as_json(const kt_info_t *info)
{
    const kt_entry_t *entry = kt_info_entry(info);
    const kt_usage_t *usage = kt_info_usage(info);

    return json_pack(
        "{s:s, s:I, s:s, s:s, s:o, s:o, s:I, s:s, s:o, s:o, s:o, s:o, s:o, "
        "s:o, s:I, s:I, s:o, s:o, s:o}",
        "name", entry->name, "version", (json_int_t)entry->version, "state", entry->state, "origin",
        entry->origin, "previous", number_or_null(kt_info_previous(info)), "pending",
        number_or_null(kt_info_pending(info)), "counter", (json_int_t)kt_info_counter(info),
        "provider", kt_info_provider(info), "created", cli_json_time(entry->created), "updated",
        cli_json_time(entry->updated), "expires", cli_json_time(entry->expires), "rotated",
        cli_json_time(kt_info_rotated(info)), "due", cli_json_time(kt_info_due(info)), "metadata",
        cli_json_metadata(info), "accessed", (json_int_t)usage->count, "hidden_streams",
        (json_int_t)usage->hidden, "last_accessed", cli_json_time(usage->last), "last_subject",
        cli_json_subject(usage), "last_stream", cli_json_stream(usage));
}

static void print_row(const char *what, const char *text)
{
    printf("%-10s", what);
    cli_print_line(text);
}

static void print_number(const char *what, uint64_t number)
{
    if (number)
        printf("%-10s%llu\n", what, (unsigned long long)number);
}

static void print(const cli_t *cli, const kt_info_t *info)
{
    const kt_entry_t *entry = kt_info_entry(info);
    const char *key, *value;
    char time[CLI_TIME_SIZE];

    (void)cli;
    print_row("name", entry->name);
    print_row("state", entry->state);
    print_number("version", entry->version);
    print_number("previous", kt_info_previous(info));
    print_number("pending", kt_info_pending(info));
    print_row("origin", entry->origin);
    print_row("provider", kt_info_provider(info));
    print_row("created", cli_time(entry->created, time));
    print_row("updated", cli_time(entry->updated, time));
    if (entry->expires)
        print_row("expires", cli_time(entry->expires, time));
    if (kt_info_due(info)) {
        print_row("rotated", cli_time(kt_info_rotated(info), time));
        print_row("due", cli_time(kt_info_due(info), time));
    }
    printf("accessed  %llu", (unsigned long long)kt_info_usage(info)->count);
    if (kt_info_usage(info)->hidden > 0)
        printf(" and the counts of %u audit %s that this user may not read",
               kt_info_usage(info)->hidden,
               cli_plural(kt_info_usage(info)->hidden, "stream", "streams"));
    putchar('\n');
    if (kt_info_usage(info)->last) {
        print_row("last", cli_time(kt_info_usage(info)->last, time));
        fputs("by        ", stdout);
        cli_print_reader(kt_info_usage(info)->stream, kt_info_usage(info)->subject);
        putchar('\n');
    }
    for (size_t i = 0; i < kt_info_metas(info); i++) {
        kt_info_meta(info, i, &key, &value);
        if (strcmp(key, "origin") == 0)
            continue; /* it has a row of its own */
        printf("meta      ");
        cli_print(key, 0);
        putchar('=');
        cli_print_line(value);
    }
}

kt_status_t verb_info(cli_t *cli)
{
    return cli_info(cli, as_json, print);
}
