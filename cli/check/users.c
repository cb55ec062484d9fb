/* SPDX-License-Identifier: BSD-2-Clause */
/* keyturn check, as root: the users that the configuration serves, and what they still need. */
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "hosts.h"

#define STREAMS_MAX 64

typedef struct streams {
    const char *names[STREAMS_MAX];
    size_t count;
} streams_t;

static void add(streams_t *streams, const char *name)
{
    for (size_t i = 0; i < streams->count; i++)
        if (strcmp(streams->names[i], name) == 0)
            return;
    if (streams->count < STREAMS_MAX)
        streams->names[streams->count++] = name;
}

/* The owner of the stream's folder; 0 if there is no folder. */
static uid_t owner_of(const cli_t *cli, const char *stream)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof path, "%s/%s", kt_setup_audit_path(cli->setup), stream);
    return lstat(path, &st) == 0 ? st.st_uid : 0;
}

static bool is_usual(const char *name)
{
    for (const cli_host_t *host = cli_hosts; host->name; host++)
        if (strcmp(host->user, name) == 0)
            return true;
    return false;
}

/*
 * The user of a server: the owner of its stream, because an operator may have given it to a user
 * other than the usual one. If another server's user owns the stream, that is a mistake, and the
 * usual user is meant. NULL: no such server, or another program stands for it.
 */
static const struct passwd *user_of(const cli_t *cli, const cli_host_t *host)
{
    uid_t owner = owner_of(cli, host->name);
    const struct passwd *user = owner != 0 ? getpwuid(owner) : NULL;
    char name[64] = "";

    if (user)
        snprintf(name, sizeof name, "%s", user->pw_name);
    if (!cli_host_counts(host, name))
        return NULL;
    return name[0] != '\0' && !is_usual(name) ? getpwnam(name) : cli_host_user(host);
}

/* A home of one user is not meant for servers. */
static bool is_expected(const cli_t *cli, const cli_host_t *host)
{
    return cli_has_key(cli, host->name) || owner_of(cli, host->name) != 0;
}

static void check_user(cli_t *cli, kt_check_user_t *asked, const streams_t *streams, json_t *rows,
                       kt_status_t *worst)
{
    asked->readers = CLI_READERS;
    asked->writers = CLI_WRITERS;
    asked->auditors = getgrnam(CLI_AUDITORS) ? CLI_AUDITORS : NULL;
    asked->others = streams->names;
    asked->nothers = streams->count;
    *worst = cli_worse(*worst, kt_check_user(cli->setup, asked, cli_collect, rows));
}

static void check_host(cli_t *cli, const cli_host_t *host, const streams_t *streams, json_t *rows,
                       kt_status_t *worst)
{
    const struct passwd *user = user_of(cli, host);
    kt_check_user_t asked = KT_CHECK_USER_INIT;
    char name[64];

    if (!user || !is_expected(cli, host))
        return;
    snprintf(name, sizeof name, "%s", user->pw_name);
    asked.stream = host->name;
    asked.user = name;
    asked.types = host->types;
    asked.writes = host->writes;
    asked.as_root = host->as_root;
    asked.worker = host->worker;
    check_user(cli, &asked, streams, rows, worst);
    *worst = cli_worse(*worst, check_unit(cli, host, rows));
    if (host->remark)
        cli_collect(rows, KT_SUCCESS, host->name, host->remark);
}

static void check_person(cli_t *cli, const char *stream, const streams_t *streams, json_t *rows,
                         kt_status_t *worst)
{
    kt_check_user_t asked = KT_CHECK_USER_INIT;

    if (strncmp(stream, "cli-", 4) != 0 || strcmp(stream, "cli-root") == 0)
        return;
    asked.stream = stream;
    asked.user = stream + 4;
    check_user(cli, &asked, streams, rows, worst);
}

kt_status_t check_users(cli_t *cli, json_t *rows)
{
    streams_t streams = {.count = 0};
    kt_status_t worst = KT_SUCCESS;
    const char *name;

    if (geteuid() != 0) {
        if (kt_setup_key(cli->setup, 0))
            cli_collect(rows, KT_SUCCESS, "users",
                        "this is what the current user may do; as root, check also says what each "
                        "server's user still needs");
        return KT_SUCCESS;
    }
    for (const cli_host_t *host = cli_hosts; host->name; host++)
        add(&streams, host->name);
    add(&streams, "cli-root");
    for (size_t i = 0; (name = kt_setup_key(cli->setup, i)); i++)
        if (strncmp(name, "cli-", 4) == 0)
            add(&streams, name);
    for (const cli_host_t *host = cli_hosts; host->name; host++)
        check_host(cli, host, &streams, rows, &worst);
    for (size_t i = 0; (name = kt_setup_key(cli->setup, i)); i++)
        check_person(cli, name, &streams, rows, &worst);
    return cli_worse(worst, check_streams(cli, rows));
}
