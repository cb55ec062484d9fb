/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn meta NAME [K=V]...: shows or changes metadata; the value and its version stay. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

static json_t *as_json(const kt_info_t *info)
{
    return json_pack("{s:s, s:o}", "name", kt_info_entry(info)->name, "metadata",
                     cli_json_metadata(info));
}

static void print(const cli_t *cli, const kt_info_t *info)
{
    const char *key, *value;

    (void)cli;
    for (size_t i = 0; i < kt_info_metas(info); i++) {
        kt_info_meta(info, i, &key, &value);
        cli_print(key, 0);
        putchar('=');
        cli_print_line(value);
    }
}

/* A key that is to be removed has no value. */
static kt_status_t read_changes(cli_t *cli, cli_meta_t *meta)
{
    char text[KT_META_KEY_MAX + 2];
    kt_status_t status = KT_SUCCESS;

    for (int i = 1; i < cli->nargs && !status; i++)
        status = cli_meta_add(cli, meta, cli->args[i], "meta");
    for (size_t i = 0; i < cli->ngiven && !status; i++) {
        if (strcmp(cli->given[i].option->name, "unset") != 0)
            continue;
        if ((size_t)snprintf(text, sizeof text, "%s=", cli->given[i].value) >= sizeof text ||
            strchr(cli->given[i].value, '='))
            status =
                cli_fail(cli, KT_USAGE, "--unset needs a key of the metadata, without a value");
        else
            status = cli_meta_add(cli, meta, text, "--unset");
    }
    return status;
}

kt_status_t verb_meta(cli_t *cli)
{
    cli_meta_t meta = {.count = 0};
    kt_request_t req;
    const char *name = cli->args[0];
    kt_status_t status = cli_check_name(cli, name);

    if (!status)
        status = read_changes(cli, &meta);
    if (!status && meta.count == 0)
        return cli_info(cli, as_json, print);
    if (!status)
        status = cli_open_for(cli, name, &req);
    if (!status)
        status = cli_check_ctx(cli, kt_describe(cli->ctx, &req, meta.entries, meta.count));
    if (!status)
        status = cli_answer_name(cli, name);
    cli_meta_free(&meta);
    return status;
}
