/* SPDX-License-Identifier: BSD-2-Clause */
/* What the verbs of one secret, whose name is the first operand, have in common. */
#include "cli.h"

kt_status_t cli_info(cli_t *cli, kt_info_t **ret_info)
{
    kt_info_t *info = NULL;
    kt_request_t req;
    kt_status_t status = cli_open(cli);

    if (status)
        return status;
    req = cli_request(cli, cli->args[0]);
    status = kt_info(cli->ctx, &req, &info);
    if (!status)
        status = kt_audit_flush(cli->ctx, 0); /* what is not on the record is not shown */
    if (status) {
        kt_info_free(info);
        return cli_fail_ctx(cli, status);
    }
    *ret_info = info;
    return KT_SUCCESS;
}

kt_status_t cli_change(cli_t *cli, kt_status_t (*change)(kt_ctx_t *ctx, const kt_request_t *req))
{
    kt_request_t req;
    kt_status_t status = cli_open(cli);

    if (status)
        return status;
    req = cli_request(cli, cli->args[0]);
    status = change(cli->ctx, &req);
    return status ? cli_fail_ctx(cli, status) : cli_answer_name(cli, cli->args[0]);
}
