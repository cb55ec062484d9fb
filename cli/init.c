/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn init DIR: a self-contained home, all the caller's. The folder must be new or empty, so that nothing is ever
 * overwritten and a failure can be undone by emptying it.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

typedef struct {
    char dir[PATH_MAX];      /* absolute */
    char quoted[PATH_MAX];   /* as it stands inside YAML's double quotes */
    char config[PATH_MAX];
    const char *environment;
    bool ours;               /* we made the folder itself */
    bool begun;              /* it was empty, and is ours to fill */
} home_t;

/* %1 folder, %2 environment, %3 user */
static const char config_text[] =
    "# keyturn: the configuration of one environment. keyturn.yaml(5) describes every key; one that is unknown is an error\n"
    "# that names its line. `keyturn check` tries all of it.\n"
    "environment: %2$s\n"
    "\n"
    "# The environment's key: whoever reads this file reads every secret. `keyturn keygen --types tls,api-keys FILE` makes one\n"
    "# with some types only, and each host may have its own.\n"
    "key: \"file:%1$s/%2$s.key\"\n"
    "#key: {cli: \"file:%1$s/%2$s.key\", nginx: \"file:/etc/keyturn/nginx.key\"}\n"
    "\n"
    "# Where secrets are kept.\n"
    "providers:\n"
    "  local: {path: \"%1$s/%2$s.db\", keep_versions: 10}\n"
    "  #redis: {address: \"127.0.0.1:6379\", username: keyturn, password: \"file:/etc/keyturn/redis-password\"}\n"
    "\n"
    "# Which of them answers for which names: the first pattern that matches. A star crosses slashes.\n"
    "switch:\n"
    "  #\"api-keys/*\": redis\n"
    "  \"*\": local\n"
    "\n"
    "# Who may do what. What is not allowed here is refused; a rule with deny wins over every allow.\n"
    "policy:\n"
    "  - {who: \"uid:%3$s\", allow: [read, write, rotate, list, delete, admin], names: [\"*\"]}\n"
    "  #- {who: \"nginx:*\", allow: [read], names: [\"api-keys/*\", \"database/*\"]}\n"
    "  #- {who: \"redis:default\", allow: [read, write, rotate, list, delete], names: [\"api-keys/*\"]}\n"
    "  #- {who: \"postgresql:role:postgres\", allow: [read, write, rotate, list, delete], names: [\"database/*\"]}\n"
    "\n"
    "# The trail: a folder for each host. Where it is required, what cannot be recorded is not served.\n"
    "audit:\n"
    "  path: \"%1$s/audit\"\n"
    "  required: true\n";

/* ---- undoing ---- */

static int remove_below(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void) st;
    (void) type;
    if (ftw->level > 0 && remove(path) != 0)
        return -1;
    return 0;
}

static void undo(const home_t *home)
{
    if (home->begun)
        nftw(home->dir, remove_below, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    if (home->ours)
        rmdir(home->dir);
}

/* ---- the folder ---- */

static bool renew(const char *path)
{
    return rmdir(path) == 0 && mkdir(path, 0700) == 0;
}

static kt_status_t quote(cli_t *cli, home_t *home)
{
    size_t n = 0;

    for (const char *p = home->dir; *p; p++) {
        if ((unsigned char) *p < 0x20 || *p == 0x7f)
            return cli_fail(cli, KT_USAGE, "the folder's path has control characters");
        if (n + 3 > sizeof home->quoted)
            return cli_fail(cli, KT_USAGE, "the folder's path is too long");
        if (*p == '"' || *p == '\\')
            home->quoted[n++] = '\\';
        home->quoted[n++] = *p;
    }
    home->quoted[n] = '\0';
    return KT_SUCCESS;
}

static kt_status_t status_of(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
        return KT_PERMISSION;
    case EEXIST:
    case ENOTEMPTY:
        return KT_CONFLICT;
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
    case ELOOP:
        return KT_USAGE;
    default:
        return KT_NOSPACE;
    }
}

/* rmdir() and mkdir() tell "empty" from "not empty" without a race, and give the folder our mode. */
static kt_status_t make_folder(cli_t *cli, const char *path, home_t *home)
{
    if (mkdir(path, 0700) == 0)
        home->ours = true;
    else if (errno != EEXIST)
        return cli_fail(cli, status_of(errno), "cannot make %s: %s", path, strerror(errno));
    if (!realpath(path, home->dir)) {
        if (home->ours)
            rmdir(path);
        return cli_fail(cli, status_of(errno), "cannot find %s: %s", path, strerror(errno));
    }
    if (!home->ours && !renew(home->dir))
        return cli_fail(cli, errno == ENOTDIR ? KT_CONFLICT : status_of(errno),
                        "%s is there and not an empty folder: init never overwrites anything", path);
    home->begun = true;
    if (strlen(home->dir) + NAME_MAX + 16 > PATH_MAX)
        return cli_fail(cli, KT_USAGE, "the folder's path is too long");
    return quote(cli, home);
}

/* ---- what is in it ---- */

static kt_status_t make_below(cli_t *cli, const home_t *home, const char *name)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/%s", home->dir, name) >= (int) sizeof path)
        return cli_fail(cli, KT_USAGE, "the folder's path is too long");
    if (mkdir(path, 0700) != 0)
        return cli_fail(cli, status_of(errno), "cannot make %s: %s", path, strerror(errno));
    return KT_SUCCESS;
}

static kt_status_t make_key(cli_t *cli, const home_t *home)
{
    char path[PATH_MAX], error[512] = "";
    kt_status_t status = KT_USAGE;

    if (snprintf(path, sizeof path, "%s/%s.key", home->dir, home->environment) < (int) sizeof path)
        status = kt_keygen(path, home->environment, error, sizeof error);
    return status ? cli_fail(cli, status, "%s", error[0] ? error : kt_status_text(status)) : KT_SUCCESS;
}

static kt_status_t make_config(cli_t *cli, home_t *home)
{
    char user[128];
    FILE *file;
    int fd;

    cli_user(user, sizeof user);
    if (snprintf(home->config, sizeof home->config, "%s/keyturn.yaml", home->dir) >= (int) sizeof home->config)
        return cli_fail(cli, KT_USAGE, "the folder's path is too long");
    fd = open(home->config, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!file)
        return cli_fail(cli, status_of(errno), "cannot write %s: %s", home->config, strerror(errno));
    fprintf(file, config_text, home->quoted, home->environment, user);
    if (fflush(file) != 0 || fsync(fd) != 0 || ferror(file)) {
        fclose(file);
        return cli_fail(cli, KT_NOSPACE, "cannot write %s: %s", home->config, strerror(errno));
    }
    fclose(file);
    return KT_SUCCESS;
}

static kt_status_t make_store(cli_t *cli, const home_t *home)
{
    static const char *const streams[] = {"audit", "audit/nginx", "audit/redis", "audit/postgresql"};
    char mine[NAME_MAX];
    kt_status_t status = KT_SUCCESS;

    for (size_t i = 0; i < sizeof streams / sizeof *streams && !status; i++)
        status = make_below(cli, home, streams[i]);
    cli->config = home->config;
    if (!status)
        status = cli_setup(cli);
    if (status)
        return status;
    snprintf(mine, sizeof mine, "audit/%s", kt_setup_stream(cli->setup));
    status = make_below(cli, home, mine);
    if (status)
        return status;
    status = kt_open(cli->setup, &cli->ctx);
    if (status)
        return cli_fail(cli, status, "%s", kt_setup_error(cli->setup));
    status = kt_create(cli->ctx);
    return status ? cli_fail_ctx(cli, status) : KT_SUCCESS;
}

static kt_status_t answer(cli_t *cli, const home_t *home)
{
    const char *keyturn_config = getenv("KEYTURN_CONFIG");

    if (cli->json)
        return cli_answer(cli, json_pack("{s:s, s:s}", "environment", home->environment, "config", home->config));
    if (cli->quiet)
        return KT_SUCCESS;
    printf("%s is a keyturn home for the environment %s:\n"
           "  keyturn.yaml   the configuration: who may read what\n"
           "  %s.key   the key: keep a copy elsewhere, without it nothing opens\n"
           "  %s.db    the store\n"
           "  audit/         who read what\n",
           home->dir, home->environment, home->environment, home->environment);
    if (!keyturn_config || strcmp(keyturn_config, home->config) != 0)
        printf("Next: export KEYTURN_CONFIG=%s\n", home->config);
    return KT_SUCCESS;
}

kt_status_t verb_init(cli_t *cli)
{
    const char *given = cli_given(cli, "environment");
    home_t home = {0};
    kt_status_t status;

    if (!given)
        given = getenv("ENVIRONMENT");
    home.environment = cli_environment(given && given[0] ? given : "development");
    if (!home.environment)
        return cli_fail(cli, KT_USAGE, "not a name for an environment: letters, digits and . _ - only");
    status = make_folder(cli, cli->args[0], &home);
    if (!status)
        status = make_key(cli, &home);
    if (!status)
        status = make_config(cli, &home);
    if (!status)
        status = make_store(cli, &home);
    if (!status)
        return answer(cli, &home);
    kt_close(cli->ctx);
    cli->ctx = NULL;
    undo(&home);
    return status;
}
