/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn run --map VAR=REF... -- COMMAND: secrets in the environment of one command. Its user and
 * root can read them there while it runs, so this is for programs that take secrets no other way.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/* As in sh, so that no status of the command's own is taken for one of ours. */
#define NOT_EXECUTABLE 126
#define NOT_FOUND 127

extern char **environ;

static size_t variable_size(const char *map)
{
    size_t size = strspn(map, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");

    return size > 0 && map[size] == '=' && (map[0] < '0' || map[0] > '9') ? size : 0;
}

static void wipe(char **variables, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        explicit_bzero(variables[i], strlen(variables[i]));
        free(variables[i]);
    }
}

/* "VAR=value", which the caller wipes and frees. */
static kt_status_t make_variable(cli_t *cli, const char *map, char **ret_variable)
{
    size_t name = variable_size(map);
    kt_secret_t *value = NULL;
    kt_request_t req;
    kt_status_t status;

    if (name == 0)
        return cli_fail(cli, KT_USAGE, "--map needs VAR=REFERENCE");
    req = cli_request(cli, map + name + 1);
    req.purpose = "run";
    status = kt_get(cli->ctx, &req, &value);
    if (status)
        return cli_check_ctx(cli, status);
    if (memchr(kt_secret_bytes(value), '\0', kt_secret_size(value)))
        status = cli_fail(cli, KT_MALFORMED,
                          "the value for %.*s has a NUL byte, which a variable cannot hold",
                          (int)name, map);
    else if (!(*ret_variable = calloc(1, name + kt_secret_size(value) + 2)))
        status = cli_no_memory(cli);
    else
        memcpy(mempcpy(*ret_variable, map, name + 1), kt_secret_bytes(value),
               kt_secret_size(value));
    kt_secret_free(value);
    return status;
}

static bool is_replaced(const char *variable, char *const *others, size_t count)
{
    size_t name = strcspn(variable, "=") + 1;

    for (size_t i = 0; i < count; i++)
        if (strncmp(variable, others[i], name) == 0)
            return true;
    return false;
}

/* Our variables, and those of our environment that they do not replace. Only the array is new;
 * NULL: out of memory. */
static char **merge_environment(char **variables, size_t count)
{
    size_t have = 0, n = count;
    char **merged;

    while (environ[have])
        have++;
    merged = calloc(have + count + 1, sizeof *merged);
    if (!merged)
        return NULL;
    memcpy(merged, variables, count * sizeof *merged);
    for (size_t i = 0; i < have; i++)
        if (!is_replaced(environ[i], variables, count))
            merged[n++] = environ[i];
    return merged;
}

/* Returns only on failure. Nothing is handed over before it is recorded. */
static kt_status_t execute(cli_t *cli, char **variables, size_t count)
{
    kt_status_t status = kt_audit_flush(cli->ctx, 0);
    char **merged;
    int error;

    if (status)
        return cli_check_ctx(cli, status);
    merged = merge_environment(variables, count);
    if (!merged)
        return cli_no_memory(cli);
    kt_close(cli->ctx);
    cli->ctx = NULL;
    signal(SIGPIPE, SIG_DFL);
    execvpe(cli->args[0], cli->args, merged);
    error = errno;
    free(merged);
    cli->exit = error == ENOENT ? NOT_FOUND : NOT_EXECUTABLE;
    return cli_fail(cli, KT_USAGE, "cannot run %s: %s", cli->args[0], strerror(error));
}

kt_status_t verb_run(cli_t *cli)
{
    char *variables[CLI_GIVEN_MAX];
    size_t count = 0;
    kt_status_t status;

    if (!cli_given(cli, "map"))
        return cli_fail(cli, KT_USAGE, "run needs --map VAR=REFERENCE, and a command");
    status = cli_open(cli);
    for (size_t i = 0; i < cli->ngiven && !status; i++) {
        if (strcmp(cli->given[i].option->name, "map") != 0)
            continue;
        status = make_variable(cli, cli->given[i].value, &variables[count]);
        if (!status)
            count++;
    }
    if (!status)
        status = execute(cli, variables, count);
    wipe(variables, count);
    return status;
}
