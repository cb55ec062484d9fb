/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn rollback NAME [VERSION]: makes an older version current again. */
#include "cli.h"

kt_status_t verb_rollback(cli_t *cli)
{
    const char *name = cli->args[0];
    uint64_t version = 0;
    kt_request_t req;
    kt_status_t status = cli_version(cli, &version);

    if (!status)
        status = cli_open_for(cli, name, &req);
    if (!status)
        status = cli_check_ctx(cli, kt_rollback(cli->ctx, &req, version, &version));
    return status ? status : cli_answer_version(cli, name, version);
}
