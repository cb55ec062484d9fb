/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn can SUBJECT CAPABILITY NAME: would this be allowed: the rule and the key that decide. */
#include <stdio.h>

#include "cli.h"

static json_t *as_json(const cli_t *cli, kt_status_t status, const kt_can_t *can)
{
    json_t *rule =
        can->line ? json_pack("{s:s, s:i}", "file", kt_setup_config(cli->setup), "line", can->line)
                  : json_null();
    json_t *key = json_pack("{s:s?, s:s?, s:o}", "stream", can->stream, "source", can->key, "held",
                            can->held < 0 ? json_null() : json_boolean(can->held));

    return json_pack("{s:s, s:b, s:s, s:s, s:s, s:o, s:o, s:s}", "status", kt_status_name(status),
                     "allowed", status == KT_SUCCESS, "subject", cli->args[0], "capability",
                     cli->args[1], "name", cli->args[2], "rule", rule, "key", key, "error",
                     kt_setup_error(cli->setup));
}

static void print(const cli_t *cli, const kt_can_t *can)
{
    printf("yes: allowed by %s:%d", kt_setup_config(cli->setup), can->line);
    if (can->held > 0)
        printf("; the key of the type is in %s", can->key);
    else if (can->key)
        printf("; whether %s has the key of the type cannot be seen here", can->key);
    putchar('\n');
}

kt_status_t verb_can(cli_t *cli)
{
    kt_can_t can = KT_CAN_INIT;
    kt_status_t status = cli_setup(cli);

    if (status)
        return status;
    status = kt_can(cli->setup, cli->args[0], cli->args[1], cli->args[2], &can);
    if (cli->json && (status == KT_SUCCESS || status == KT_DENIED || status == KT_NOKEY)) {
        cli_print_json(as_json(cli, status, &can));
        return status;
    }
    if (status)
        return cli_fail(cli, status, "%s", kt_setup_error(cli->setup));
    print(cli, &can);
    return KT_SUCCESS;
}
