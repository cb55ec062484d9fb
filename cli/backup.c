/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn backup FILE, keyturn restore FILE: the whole store, encrypted, and back. */
#include <inttypes.h>
#include <stdio.h>

#include "cli.h"

static kt_status_t answer(cli_t *cli, const char *done, uint64_t rows)
{
    if (cli->json)
        printf("{\"status\": \"success\", \"rows\": %" PRIu64 "}\n", rows);
    else if (!cli->quiet)
        printf("%" PRIu64 " rows %s\n", rows, done);
    return KT_SUCCESS;
}

kt_status_t verb_backup(cli_t *cli)
{
    kt_request_t req;
    uint64_t rows = 0;
    kt_status_t status = cli_open(cli);

    if (status)
        return status;
    req = cli_request(cli, "*");
    cli_progress(cli);
    status = kt_backup(cli->ctx, &req, cli->args[0], &rows);
    cli_progress_end(cli);
    return status ? cli_fail_ctx(cli, status) : answer(cli, "saved", rows);
}

kt_status_t verb_restore(cli_t *cli)
{
    kt_request_t req;
    uint64_t rows = 0;
    kt_status_t status = cli_open(cli);

    if (status)
        return status;
    req = cli_request(cli, "*");
    cli_progress(cli);
    status = kt_restore(cli->ctx, &req, cli->args[0], cli_given(cli, "going-back") != NULL, &rows);
    cli_progress_end(cli);
    return status ? cli_fail_ctx(cli, status) : answer(cli, "restored", rows);
}
