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

static const char *string_of(const json_t *secret, const char *key)
{
    const char *text = json_string_value(json_object_get(secret, key));

    return text ? text : "-";
}

static void print_table(const cli_t *cli, const collected_t *all)
{
    size_t i;
    json_t *secret;

    if (!cli->quiet && json_array_size(all->secrets) > 0)
        printf("%-*s  %7s  %-7s  %-20s  %s\n", all->width, "NAME", "VERSION", "STATE", "UPDATED",
               "EXPIRES");
    json_array_foreach(all->secrets, i, secret) {
        cli_print(string_of(secret, "name"), cli->quiet ? 0 : all->width);
        if (!cli->quiet)
            printf("  %7lld  %-7s  %-20s  %s",
                   (long long) json_integer_value(json_object_get(secret, "version")),
                   string_of(secret, "state"), string_of(secret, "updated"),
                   string_of(secret, "expires"));
        putchar('\n');
    }
}

kt_status_t verb_list(cli_t *cli)
{
    collected_t all = {json_array(), 4};
    uint64_t hidden = 0;
    kt_request_t req;
    kt_status_t status = cli_open(cli);

    if (!status) {
        req = cli_request(cli, cli->nargs > 0 ? cli->args[0] : NULL);
        status = kt_list(cli->ctx, &req, collect, &all, &hidden);
        if (status)
            cli_fail_ctx(cli, status);
    }
    if (status) {
        json_decref(all.secrets);
        return status;
    }
    if (cli->json)
        return cli_answer(cli, json_pack("{s:o, s:I}", "secrets", all.secrets, "hidden",
                                         (json_int_t) hidden));
    print_table(cli, &all);
    if (hidden > 0)
        cli_warn(cli, "incomplete: %llu more are of types whose key is not held",
                 (unsigned long long) hidden);
    json_decref(all.secrets);
    return KT_SUCCESS;
}
