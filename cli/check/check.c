/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn check: tries everything. The worst status decides the exit status. */
#include "check.h"

static kt_status_t check_open(cli_t *cli, json_t *rows, kt_status_t *ret_worst)
{
    kt_status_t status;

    cli_progress(cli);
    *ret_worst = kt_check(cli->ctx, cli_collect, rows);
    cli_progress_end(cli);
    status = check_refused(cli, rows);
    if (status)
        return status;
    return cli_given(cli, "secrets") ? check_secrets(cli, rows) : KT_SUCCESS;
}

/* The users first: a process that has a store open does not fork. */
kt_status_t verb_check(cli_t *cli)
{
    kt_status_t status = cli_setup(cli), users, worst, failed = KT_SUCCESS;
    json_t *of_users, *rows;

    if (status)
        return status;
    of_users = json_array();
    rows = json_array();
    users = check_users(cli, of_users);
    users = cli_worse(users, check_running(cli, of_users));
    worst = kt_open(cli->setup, &cli->ctx);
    if (!worst)
        failed = check_open(cli, rows, &worst);
    else if (json_array_size(of_users) == 0)
        failed = cli_check_setup(cli, worst);
    else
        cli_collect(rows, worst, "audit", kt_setup_error(cli->setup));
    json_array_extend(rows, of_users);
    json_decref(of_users);
    if (!failed)
        return cli_answer_rows(cli, cli_worse(worst, users), rows);
    json_decref(rows);
    return failed;
}
