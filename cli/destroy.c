/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn destroy NAME VERSION|--all: erases a version, or the whole secret. */
#include "cli.h"

kt_status_t verb_destroy(cli_t *cli)
{
    bool all = cli_given(cli, "all") != NULL;
    uint64_t version = 0; /* kt_destroy() takes it for all of them */
    kt_request_t req;
    kt_status_t status;

    if (all == (cli->nargs > 1))
        return cli_fail(cli, KT_USAGE, "destroy needs either a VERSION or --all");
    status = cli_version(cli, &version);
    if (!status)
        status = cli_open_for(cli, cli->args[0], &req);
    if (!status)
        status = cli_check_ctx(cli, kt_destroy(cli->ctx, &req, version));
    return status ? status : cli_answer_name(cli, cli->args[0]);
}
