/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn audit verify [DIR]: proves that the audit logs are complete and unchanged. */
#include "cli.h"

/* A DIR needs no configuration: it may be a copy from another machine. */
kt_status_t verb_audit_verify(cli_t *cli)
{
    const char *dir = cli->nargs > 0 ? cli->args[0] : NULL;
    json_t *rows;
    kt_status_t status = dir ? KT_SUCCESS : cli_trail_path(cli, &dir);

    if (status)
        return status;
    rows = json_array();
    status = kt_audit_verify_received(dir, cli_given(cli, "audit-key"), cli_given(cli, "received"),
                                      cli_given(cli, "complete") != NULL, cli_collect, rows);
    if (status && json_array_size(rows) == 0) {
        json_decref(rows);
        return cli_check(cli, status, kt_error(NULL));
    }
    return cli_answer_rows(cli, status, rows);
}
