/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration that init writes, with the grants for the servers prepared as comments. */
#include <stdio.h>
#include <stdlib.h>

#include "init.h"

/* %1 environment, %2 value of `key`, %3 a key file, %4 store, %5 audit folder, %6 user, %7 grants
 */
static const char config_text[] =
    "# keyturn: the configuration of one environment. keyturn.yaml(5) describes every key; an\n"
    "# unknown key is an error that names its line. `keyturn check` tries all of it.\n"
    "environment: %1$s\n"
    "\n"
    "# The environment's key: a reader of this file can read every secret. Each server may have a\n"
    "# key of only the types that it needs: `keyturn keygen --types tls,api-keys FILE` makes it.\n"
    "key: %2$s\n"
    "#key: {cli: \"file:%3$s\", nginx: \"file:/etc/keyturn/nginx.key\"}\n"
    "\n"
    "# Where secrets are stored.\n"
    "providers:\n"
    "  local: {path: \"%4$s\", keep_versions: 10}\n"
    "  #redis: {address: \"127.0.0.1:6379\", username: keyturn,"
    " password: \"file:/etc/keyturn/redis-password\"}\n"
    "\n"
    "# Which provider has which names: the first pattern that matches decides. A star matches\n"
    "# slashes, too.\n"
    "switch:\n"
    "  #\"api-keys/*\": redis\n"
    "  \"*\": local\n"
    "\n"
    "# Who may do what. Anything not allowed here is refused; a rule with deny overrides all.\n"
    "policy:\n"
    "  - {who: \"uid:%6$s\", allow: [read, write, rotate, list, delete, admin], names: [\"*\"]}\n"
    "  #- {who: \"nginx:*\", allow: [read], names: [\"api-keys/*\", \"tls/*\", \"database/*\"]}\n"
    "  #- {who: \"redis:default\", allow: [read, write, rotate, list, delete],"
    " names: [\"api-keys/*\"]}\n"
    "  #- {who: \"postgresql:role:postgres\", allow: [read, write, rotate, list, delete, admin],"
    " names: [\"database/*\"]}\n"
    "  #- {who: \"postgresql:worker\", allow: [rotate, list], names: [\"database/*\"]}\n"
    "  #- {who: \"postgresql:member:pg_monitor\", allow: [state], names: [\"database/*\"]}\n"
    "%7$s"
    "\n"
    "# The audit logs: a folder for each server. If they are required, a request that cannot be\n"
    "# recorded is refused.\n"
    "audit:\n"
    "  path: \"%5$s\"\n"
    "  required: true\n"
    "  #sinks: [\"syslog:auth\"]  # copies of important records, kept elsewhere\n";

kt_status_t init_config(cli_t *cli, const char *path, const init_config_t *values)
{
    char user[128], *text;
    kt_status_t status;

    cli_user(user, sizeof user);
    if (asprintf(&text, config_text, values->environment, values->key, values->key_file,
                 values->store, values->audit, user, values->grants) < 0)
        return cli_no_memory(cli);
    status = init_write(cli, path, 0600, text);
    free(text);
    return status;
}

kt_status_t init_environment(cli_t *cli, const char **ret_environment)
{
    const char *given = cli_given(cli, "environment");

    if (!given)
        given = getenv("ENVIRONMENT");
    return cli_check_environment(cli, given && given[0] ? given : "development", ret_environment);
}
