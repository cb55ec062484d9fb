/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn restore FILE: replaces the store with a backup; --check only opens and verifies it. */
#include <string.h>

#include "cli.h"

kt_status_t verb_restore(cli_t *cli)
{
    const char *key = cli_given(cli, "recipient-key");
    kt_restore_options_t options = KT_RESTORE_INIT;
    kt_secret_t *text = NULL;
    kt_request_t req;
    kt_backup_count_t count = KT_BACKUP_COUNT_INIT;
    kt_status_t status;

    if (cli_given(cli, "check") && cli_given(cli, "going-back"))
        return cli_fail(cli, KT_USAGE, "--check changes nothing: leave out --going-back");
    status = cli_open_for(cli, "*", &req);
    if (!status && key && strcmp(key, "-") == 0)
        status = cli_read_value(cli, "the recipient's key", key, &text);
    if (status)
        return status;
    options.check = cli_given(cli, "check") != NULL;
    options.going_back = cli_given(cli, "going-back") != NULL;
    options.recipient_key = key;
    options.recipient_text = text;
    cli_progress(cli);
    status = kt_restore_with(cli->ctx, &req, cli->args[0], &options, &count);
    cli_progress_end(cli);
    kt_secret_free(text);
    if (status)
        return cli_check_ctx(cli, status);
    return cli_answer_count(cli, options.check ? "can be restored" : "restored", &count);
}
