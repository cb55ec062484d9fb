/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn check, verify and audit verify: is everything as it must be; the worst status is the exit
 * status. */
#include <stdio.h>
#include <string.h>

#include "check.h"

static int collect_row(json_t *checks, kt_status_t status, const char *what, const char *detail)
{
    json_t *row = json_pack("{s:s, s:s, s:s}", "status", kt_status_name(status), "what", what,
                            "detail", detail ? detail : "");
    size_t size = detail ? strlen(detail) : 0;
    const char *fix =
        status && size > 2 && detail[size - 1] == '`' ? memrchr(detail, '`', size - 1) : NULL;

    if (fix)
        json_object_set_new(row, "fix", json_stringn(fix + 1, size - 2 - (size_t)(fix - detail)));
    return json_array_append_new(checks, row);
}

static void collect(void *arg, kt_status_t status, const char *what, const char *detail)
{
    (void)collect_row(arg, status, what, detail);
}

void check_collect(void *arg, kt_status_t status, const char *what, const char *detail)
{
    collect(arg, status, what, detail);
}

kt_status_t check_worse(kt_status_t a, kt_status_t b)
{
    return a == KT_SUCCESS || (b != KT_SUCCESS && kt_status_exit(b) > kt_status_exit(a)) ? b : a;
}

static void print(const json_t *checks)
{
    size_t i;
    json_t *row;

    json_array_foreach(checks, i, row)
    {
        const char *status = json_string_value(json_object_get(row, "status"));

        cli_print(strcmp(status, kt_status_name(KT_SUCCESS)) == 0 ? "ok" : status, 12);
        cli_print(json_string_value(json_object_get(row, "what")), 16);
        putchar(' ');
        cli_print(json_string_value(json_object_get(row, "detail")), 0);
        putchar('\n');
    }
}

/* Takes the rows. */
static kt_status_t report(cli_t *cli, kt_status_t status, json_t *checks)
{
    if (cli->json) {
        json_t *answer =
            json_pack("{s:s, s:O}", "status", kt_status_name(status), "checks", checks);

        json_dumpf(answer, stdout, JSON_ENSURE_ASCII);
        putchar('\n');
        json_decref(answer);
    } else {
        print(checks);
    }
    json_decref(checks);
    return status;
}

static kt_status_t check_all(cli_t *cli, json_t *checks, kt_status_t *ret_worst)
{
    cli_progress(cli);
    *ret_worst = kt_check(cli->ctx, collect, checks);
    cli_progress_end(cli);
    return cli_given(cli, "secrets") ? cli_check_secrets(cli, checks) : KT_SUCCESS;
}

/* The users first: a process that has a store open does not fork. */
kt_status_t verb_check(cli_t *cli)
{
    kt_status_t status = cli_setup(cli), users, worst, looked = KT_SUCCESS;
    json_t *rows, *checks;

    if (status)
        return status;
    rows = json_array();
    checks = json_array();
    users = check_users(cli, rows);
    worst = kt_open(cli->setup, &cli->ctx);
    if (!worst)
        looked = check_all(cli, checks, &worst);
    else if (json_array_size(rows) == 0)
        looked = cli_fail(cli, worst, "%s", kt_setup_error(cli->setup));
    else
        collect(checks, worst, "audit", kt_setup_error(cli->setup));
    json_array_extend(checks, rows);
    json_decref(rows);
    if (!looked)
        return report(cli, check_worse(worst, users), checks);
    json_decref(checks);
    return looked;
}

kt_status_t verb_verify(cli_t *cli)
{
    kt_status_t status = cli_open(cli);
    json_t *checks;

    if (status)
        return status;
    checks = json_array();
    cli_progress(cli);
    status = kt_verify(cli->ctx, collect, checks);
    cli_progress_end(cli);
    return report(cli, status, checks);
}

/* With a DIR no configuration is needed: the trail may be another machine's. */
kt_status_t verb_audit_verify(cli_t *cli)
{
    const char *dir = cli->nargs > 0 ? cli->args[0] : NULL;
    json_t *checks;
    kt_status_t status = dir ? KT_SUCCESS : cli_setup(cli);

    if (status)
        return status;
    checks = json_array();
    status = kt_audit_verify_received(dir ? dir : kt_setup_audit_path(cli->setup),
                                      cli_given(cli, "audit-key"), cli_given(cli, "received"),
                                      collect, checks);
    if (status && json_array_size(checks) == 0) {
        json_decref(checks);
        return cli_fail(cli, status, "%s", kt_error(NULL));
    }
    return report(cli, status, checks);
}
