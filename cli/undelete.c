/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn undelete NAME: a deleted secret is back. */
#include "cli.h"

kt_status_t verb_undelete(cli_t *cli)
{
    kt_request_t req;
    kt_status_t status = cli_open(cli);

    if (status)
        return status;
    req = cli_request(cli, cli->args[0]);
    status = kt_undelete(cli->ctx, &req);
    return status ? cli_fail_ctx(cli, status) : cli_answer_name(cli, cli->args[0]);
}
