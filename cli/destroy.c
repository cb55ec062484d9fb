/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn destroy NAME VERSION|--all: gone for good. */
#include "cli.h"

kt_status_t verb_destroy(cli_t *cli)
{
    bool all = cli_given(cli, "all") != NULL;
    uint64_t version = 0; /* all of them, for kt_destroy() */
    kt_request_t req;
    kt_status_t status = KT_SUCCESS;

    if (all == (cli->nargs > 1))
        return cli_fail(cli, KT_USAGE, "destroy wants either a VERSION or --all");
    if (!all)
        status = cli_parse_number(cli, "VERSION", cli->args[1], 1, UINT64_MAX, &version);
    if (!status)
        status = cli_open(cli);
    if (status)
        return status;
    req = cli_request(cli, cli->args[0]);
    status = kt_destroy(cli->ctx, &req, version);
    return status ? cli_fail_ctx(cli, status) : cli_answer_name(cli, cli->args[0]);
}
