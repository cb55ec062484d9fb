/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn verify: compares the whole store with its index, its anchors and the audit logs. */
#include "cli.h"

kt_status_t verb_verify(cli_t *cli)
{
    kt_status_t status = cli_open(cli);
    json_t *rows;

    if (status)
        return status;
    rows = json_array();
    cli_progress(cli);
    status = kt_verify_received(cli->ctx, cli_given(cli, "received"), cli_collect, rows);
    cli_progress_end(cli);
    return cli_answer_rows(cli, status, rows);
}
