/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn rollback NAME [VERSION]: an older version is current again. */
#include "cli.h"

kt_status_t verb_rollback(cli_t *cli)
{
    const char *name = cli->args[0];
    uint64_t version = 0;
    kt_request_t req;
    kt_status_t status = KT_SUCCESS;

    if (cli->nargs > 1)
        status = cli_parse_number(cli, "VERSION", cli->args[1], 1, UINT64_MAX, &version);
    if (!status)
        status = cli_open(cli);
    if (status)
        return status;
    req = cli_request(cli, name);
    status = kt_rollback(cli->ctx, &req, version, &version);
    return status ? cli_fail_ctx(cli, status) : cli_answer_version(cli, name, version);
}
