/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn destroy NAME VERSION|--all: erases a version, or the whole secret. */
#include <stdio.h>
#include <unistd.h>

#include "cli.h"

/* The current version is the library's to refuse. Erasing all of them takes it too, so that is
 * never done without being asked for. */
static kt_status_t ask(cli_t *cli, const char *name, uint64_t version)
{
    char question[KT_NAME_MAX + 80];

    if (cli_given(cli, "yes"))
        return KT_SUCCESS;
    if (!isatty(STDIN_FILENO)) {
        if (version)
            return KT_SUCCESS;
        return cli_fail(
            cli, KT_USAGE,
            "destroy --all asks before it erases, and there is no terminal to ask on: add --yes");
    }
    if (version)
        snprintf(question, sizeof question, "Erase version %llu of %s for good?",
                 (unsigned long long)version, name);
    else
        snprintf(question, sizeof question, "Erase every version of %s for good?", name);
    return cli_confirm(cli, question);
}

kt_status_t verb_destroy(cli_t *cli)
{
    bool all = cli_given(cli, "all") != NULL;
    const char *name = cli->args[0];
    uint64_t version = 0; /* kt_destroy() takes it for all of them */
    kt_request_t req;
    kt_status_t status;

    if (all == (cli->nargs > 1))
        return cli_fail(cli, KT_USAGE, "destroy needs either a VERSION or --all");
    status = cli_check_name(cli, name);
    if (!status)
        status = cli_version(cli, &version);
    if (!status)
        status = ask(cli, name, version);
    if (!status)
        status = cli_open_for(cli, name, &req);
    if (!status)
        status = cli_check_ctx(cli, kt_destroy(cli->ctx, &req, version));
    return status ? status : cli_answer_name(cli, name);
}
