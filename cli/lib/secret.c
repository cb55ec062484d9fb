/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by the verbs of one secret, which the first operand names. */
#include "cli.h"

json_t *cli_json_metadata(const kt_info_t *info)
{
    json_t *object = json_object();
    const char *key, *value;

    for (size_t i = 0; i < kt_info_metas(info); i++) {
        kt_info_meta(info, i, &key, &value);
        json_object_set_new(object, key, json_string(value));
    }
    return object;
}

kt_status_t cli_info(cli_t *cli, json_t *(*as_json)(const kt_info_t *info),
                     void (*print)(const cli_t *cli, const kt_info_t *info))
{
    kt_info_t *info = NULL;
    kt_request_t req;
    kt_status_t status = cli_open_for(cli, cli->args[0], &req);

    if (status)
        return status;
    status = kt_info(cli->ctx, &req, &info);
    if (!status)
        status = kt_audit_flush(cli->ctx, 0); /* nothing is shown before it is recorded */
    cli_check_ctx(cli, status);
    if (!status && cli->json)
        status = cli_answer(cli, as_json(info));
    else if (!status)
        print(cli, info);
    kt_info_free(info);
    return status;
}

kt_status_t cli_change(cli_t *cli, kt_status_t (*change)(kt_ctx_t *ctx, const kt_request_t *req))
{
    kt_request_t req;
    kt_status_t status = cli_open_for(cli, cli->args[0], &req);

    if (!status)
        status = cli_check_ctx(cli, change(cli->ctx, &req));
    return status ? status : cli_answer_name(cli, cli->args[0]);
}
