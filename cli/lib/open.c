/* SPDX-License-Identifier: BSD-2-Clause */
/* From the parsed command line to a context: who asks, with which configuration; numbers. */
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

kt_status_t cli_parse_number(cli_t *cli, const char *what, const char *text, uint64_t min,
                             uint64_t max, uint64_t *ret)
{
    uint64_t number = 0;
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || text[digits] != '\0' || digits > 18)
        return cli_fail(cli, KT_USAGE, "%s wants a whole number", what);
    for (const char *p = text; *p; p++)
        number = number * 10 + (uint64_t)(*p - '0');
    if (number < min || number > max)
        return cli_fail(cli, KT_USAGE, "%s must be %llu to %llu", what, (unsigned long long)min,
                        (unsigned long long)max);
    *ret = number;
    return KT_SUCCESS;
}

kt_status_t cli_number(cli_t *cli, const char *name, uint64_t min, uint64_t max,
                       uint64_t *ret_number)
{
    const char *text = cli_given(cli, name);
    char what[32];

    if (!text)
        return KT_SUCCESS;
    snprintf(what, sizeof what, "--%s", name);
    return cli_parse_number(cli, what, text, min, max, ret_number);
}
