/* SPDX-License-Identifier: BSD-2-Clause */
/* The answers of check, verify and audit verify: rows of a status, its object and the detail. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

void cli_add_row(json_t *rows, const char *status, const char *what, const char *detail)
{
    json_array_append_new(
        rows, json_pack("{s:s, s:s, s:s}", "status", status, "what", what, "detail", detail));
}

void cli_collect(void *arg, kt_status_t status, const char *what, const char *detail)
{
    json_t *rows = arg;
    const char *text = detail ? detail : "";
    size_t size = strlen(text);
    const char *fix =
        status && size > 2 && text[size - 1] == '`' ? memrchr(text, '`', size - 1) : NULL;

    cli_add_row(rows, kt_status_name(status), what, text);
    if (fix)
        json_object_set_new(json_array_get(rows, json_array_size(rows) - 1), "fix",
                            json_stringn(fix + 1, size - 2 - (size_t)(fix - text)));
}

kt_status_t cli_worse(kt_status_t a, kt_status_t b)
{
    return a == KT_SUCCESS || (b != KT_SUCCESS && kt_status_exit(b) > kt_status_exit(a)) ? b : a;
}

static void print(const json_t *rows)
{
    size_t i;
    json_t *row;

    json_array_foreach(rows, i, row)
    {
        const char *status = json_string_value(json_object_get(row, "status"));

        cli_print(strcmp(status, kt_status_name(KT_SUCCESS)) == 0 ? "ok" : status, 12);
        cli_print(json_string_value(json_object_get(row, "what")), 16);
        putchar(' ');
        cli_print_line(json_string_value(json_object_get(row, "detail")));
    }
}

kt_status_t cli_answer_rows(cli_t *cli, kt_status_t status, json_t *rows)
{
    if (cli->json) {
        cli_print_json(json_pack("{s:s, s:o, s:O*}", "status", kt_status_name(status), "checks",
                                 rows, "warnings", cli->warnings));
    } else {
        print(rows);
        json_decref(rows);
    }
    return status;
}
