/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn backup FILE: the whole store, encrypted. */
#include "cli.h"

kt_status_t verb_backup(cli_t *cli)
{
    kt_backup_options_t options = KT_BACKUP_INIT;
    kt_request_t req;
    kt_backup_count_t count = KT_BACKUP_COUNT_INIT;
    kt_status_t status = cli_open_for(cli, "*", &req);

    if (status)
        return status;
    options.recipient = cli_given(cli, "recipient");
    cli_progress(cli);
    status = kt_backup_with(cli->ctx, &req, cli->args[0], &options, &count);
    cli_progress_end(cli);
    if (status)
        return cli_check_ctx(cli, status);
    if (!cli->json)
        cli_warn(cli, "a new machine also needs: the key of the environment, keyturn.yaml, the "
                      "audit key, Redis' data and PostgreSQL's own backup; keep them in other "
                      "places (docs/restore.md)");
    return cli_answer_count(cli, "saved", &count);
}
