/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn restore FILE: replaces the store with a backup. */
#include <string.h>

#include "cli.h"

kt_status_t verb_restore(cli_t *cli)
{
    const char *key = cli_given(cli, "recipient-key");
    kt_restore_options_t options = KT_RESTORE_INIT;
    kt_secret_t *text = NULL;
    kt_request_t req;
    uint64_t rows = 0;
    kt_status_t status = cli_open_for(cli, "*", &req);

    if (!status && key && strcmp(key, "-") == 0)
        status = cli_read_value(cli, "the recipient's key", key, &text);
    if (status)
        return status;
    options.going_back = cli_given(cli, "going-back") != NULL;
    options.recipient_key = key;
    options.recipient_text = text;
    cli_progress(cli);
    status = kt_restore_with(cli->ctx, &req, cli->args[0], &options, &rows);
    cli_progress_end(cli);
    kt_secret_free(text);
    return status ? cli_check_ctx(cli, status) : cli_answer_count(cli, "restored", rows);
}
