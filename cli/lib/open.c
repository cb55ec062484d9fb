/* SPDX-License-Identifier: BSD-2-Clause */
/* From the parsed command line to a context: who asks, with which configuration. */
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

void cli_user(char *name, size_t size)
{
    const struct passwd *user = getpwuid(geteuid());

    if (user && user->pw_name[0])
        snprintf(name, size, "%s", user->pw_name);
    else
        snprintf(name, size, "%lu", (unsigned long)geteuid());
}

/* Alerts are for every verb. */
static void warn(void *arg, int level, const char *text)
{
    const cli_t *cli = arg;
    unsigned flags = cli->verb ? cli->verb->flags : 0;

    if (level <= (flags & CLI_WARNINGS ? 4 : 2) || (level == 7 && flags & CLI_REMARKS))
        cli_warn(cli, "%s", text);
}

kt_status_t cli_setup(cli_t *cli)
{
    char user[KT_SUBJECT_MAX - 3];

    cli_user(user, sizeof user);
    snprintf(cli->subject, sizeof cli->subject, "uid:%s", user);
    if (kt_setup(cli->config, "cli", &cli->setup) == KT_SUCCESS) {
        kt_setup_log(cli->setup, warn, cli);
        return KT_SUCCESS;
    }
    if (!cli->setup)
        return cli_fail(cli, KT_INTERNAL, "out of memory");
    return cli_fail_setup(cli, kt_setup_status(cli->setup));
}

kt_status_t cli_open(cli_t *cli)
{
    kt_status_t status = cli_setup(cli);

    if (status)
        return status;
    status = kt_open(cli->setup, &cli->ctx);
    return status ? cli_fail_setup(cli, status) : KT_SUCCESS;
}

kt_request_t cli_request(const cli_t *cli, const char *reference)
{
    kt_request_t req = KT_REQUEST_INIT;

    req.reference = reference;
    req.subject = cli->subject;
    req.purpose = "cli";
    return req;
}

const char *cli_environment(const char *name)
{
    static const char *const aliases[][2] = {
        {"dev", "development"},
        {"stage", "staging"},
        {"prod", "production"},
    };

    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strcmp(name, aliases[i][0]) == 0)
            return aliases[i][1];
    if (kt_name_check(name, 0, NULL) != KT_SUCCESS || strchr(name, '/') || strlen(name) > 64)
        return NULL;
    return name;
}
