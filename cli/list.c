/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn list [PATTERN]: names, versions, states. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

typedef struct {
    json_t *secrets;
    int width;  /* of the longest name */
} collected_t;

static int collect(void *arg, const kt_entry_t *entry)
{
    collected_t *all = arg;
    int width = (int) strlen(entry->name);

    if (width > all->width)
        all->width = width;
    return json_array_append_new(
        all->secrets, json_pack("{s:s, s:I, s:s, s:o, s:o, s:o, s:o}",
                                "name", entry->name,
                                "version", (json_int_t) entry->version,
                                "state", entry->state,
                                "created", cli_json_time(entry->created),
                                "updated", cli_json_time(entry->updated),
                                "expires", cli_json_time(entry->expires),
                                "due", cli_json_time(entry->due)));
}

/* Each secret gets the numbers of `usage`. */
static void add_usage(const collected_t *all, const json_t *usage, bool complete)
{
    size_t i;
    json_t *secret;

    json_array_foreach(all->secrets, i, secret) {
        json_t *row = json_object_get(usage, json_string_value(json_object_get(secret, "name")));

        if (row)
            json_object_update(secret, row);
        else
            json_object_update_missing_new(
                secret, json_pack("{s:i, s:n, s:n}", "accessed", 0, "last_accessed",
                                  "last_subject"));
        json_object_set_new(secret, "usage", json_string(cli_usage_word(row, complete)));
    }
}

static const char *string_of(const json_t *secret, const char *key)
{
    const char *text = json_string_value(json_object_get(secret, key));

    return text ? text : "-";
}

static long long number_of(const json_t *secret, const char *key)
{
    return (long long) json_integer_value(json_object_get(secret, key));
}

static void print_secret(const json_t *secret, bool usage)
{
    printf("  %7lld  %-7s", number_of(secret, "version"), string_of(secret, "state"));
    if (!usage) {
        printf("  %-20s  %s", string_of(secret, "updated"), string_of(secret, "expires"));
        return;
    }
    printf("  %8lld  %-7s  %-20s  ", number_of(secret, "accessed"), string_of(secret, "usage"),
           string_of(secret, "last_accessed"));
    cli_print(string_of(secret, "last_subject"), 0);
}

static void print_table(const cli_t *cli, const collected_t *all, bool usage)
{
    size_t i;
    json_t *secret;

    if (!cli->quiet && json_array_size(all->secrets) > 0)
        printf("%-*s  %7s  %-7s  %s\n", all->width, "NAME", "VERSION", "STATE",
               usage ? "ACCESSED  USAGE    LAST ACCESSED         BY" : "UPDATED               EXPIRES");
    json_array_foreach(all->secrets, i, secret) {
        cli_print(string_of(secret, "name"), cli->quiet ? 0 : all->width);
        if (!cli->quiet)
            print_secret(secret, usage);
        putchar('\n');
    }
}

kt_status_t verb_list(cli_t *cli)
{
    collected_t all = {json_array(), 4};
    bool with_usage = cli_given(cli, "usage") != NULL, complete = true;
    json_t *usage = NULL;
    uint64_t hidden = 0;
    kt_request_t req;
    kt_status_t status = cli_open(cli);

    if (!status) {
        req = cli_request(cli, cli->nargs > 0 ? cli->args[0] : NULL);
        status = kt_list(cli->ctx, &req, collect, &all, &hidden);
        if (status)
            cli_fail_ctx(cli, status);
    }
    if (!status && with_usage)
        status = cli_usage(cli, &usage, &complete);
    if (status) {
        json_decref(all.secrets);
        return status;
    }
    if (with_usage)
        add_usage(&all, usage, complete);
    json_decref(usage);
    if (cli->json)
        return cli_answer(cli, json_pack("{s:o, s:I}", "secrets", all.secrets, "hidden",
                                         (json_int_t) hidden));
    print_table(cli, &all, with_usage);
    if (hidden > 0)
        cli_warn(cli, "incomplete: %llu more are of types whose key is not held",
                 (unsigned long long) hidden);
    json_decref(all.secrets);
    return KT_SUCCESS;
}
