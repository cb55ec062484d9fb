/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn init DIR: a self-contained home, all the caller's. The folder must be new or empty, so
 * that nothing is ever overwritten and a failure can be undone by emptying it.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

typedef struct {
    char dir[PATH_MAX];      /* absolute */
    char quoted[PATH_MAX];   /* as it stands inside YAML's double quotes */
    char config[PATH_MAX];
    const char *environment;
    char audit_key[KT_AUDIT_KEY_LINE];
    const char *audit_file;  /* where it is; NULL: we tell it */
    bool ours;               /* we made the folder itself */
    bool begun;              /* it was empty, and is ours to fill */
} home_t;

static void undo(const home_t *home)
{
    if (home->audit_file)
        unlink(home->audit_file);
    if (home->begun)
        init_empty(home->dir);
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

/* rmdir() and mkdir() tell "empty" from "not empty" without a race, and set the mode. */
static kt_status_t make_folder(cli_t *cli, const char *path, home_t *home)
{
    if (mkdir(path, 0700) == 0)
        home->ours = true;
    else if (errno != EEXIST)
        return cli_fail(cli, init_status(errno), "cannot make %s: %s", path, strerror(errno));
    if (!realpath(path, home->dir)) {
        if (home->ours)
            rmdir(path);
        return cli_fail(cli, init_status(errno), "cannot find %s: %s", path, strerror(errno));
    }
    if (!home->ours && !renew(home->dir))
        return cli_fail(cli, errno == ENOTDIR ? KT_CONFLICT : init_status(errno),
                        "%s is there and no empty folder: init never overwrites anything", path);
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
        return cli_fail(cli, init_status(errno), "cannot make %s: %s", path, strerror(errno));
    return KT_SUCCESS;
}

static kt_status_t make_key(cli_t *cli, const home_t *home)
{
    char path[PATH_MAX], error[512] = "";
    kt_status_t status = KT_USAGE;

    if (snprintf(path, sizeof path, "%s/%s.key", home->dir, home->environment) < (int) sizeof path)
        status = kt_keygen(path, home->environment, error, sizeof error);
    if (status)
        cli_fail(cli, status, "%s", error[0] ? error : kt_status_text(status));
    return status;
}

static kt_status_t make_config(cli_t *cli, home_t *home)
{
    char key[PATH_MAX + 16], key_file[PATH_MAX], store[PATH_MAX], audit[PATH_MAX];
    init_config_t values = {home->environment, key, key_file, store, audit};

    if (snprintf(home->config, sizeof home->config, "%s/keyturn.yaml", home->dir) >= PATH_MAX ||
        snprintf(key_file, sizeof key_file, "%s/%s.key", home->quoted,
                 home->environment) >= PATH_MAX ||
        snprintf(store, sizeof store, "%s/%s.db", home->quoted, home->environment) >= PATH_MAX ||
        snprintf(audit, sizeof audit, "%s/audit", home->quoted) >= PATH_MAX)
        return cli_fail(cli, KT_USAGE, "the folder's path is too long");
    snprintf(key, sizeof key, "\"file:%s\"", key_file);
    return init_config(cli, home->config, &values);
}

static kt_status_t make_stream(cli_t *cli, const home_t *home, const char *stream)
{
    char name[NAME_MAX], path[PATH_MAX];
    kt_status_t status;

    snprintf(name, sizeof name, "audit/%s", stream);
    status = make_below(cli, home, name);
    if (status)
        return status;
    if (snprintf(path, sizeof path, "%s/%s", home->dir, name) >= (int) sizeof path)
        return cli_fail(cli, KT_USAGE, "the folder's path is too long");
    return init_stream(cli, path, home->environment, stream, home->audit_key);
}

static kt_status_t make_store(cli_t *cli, home_t *home)
{
    static const char *const streams[] = {"nginx", "redis", "postgresql"};
    kt_status_t status = make_below(cli, home, "audit");

    if (!status)
        status = init_audit_key(cli, home->audit_key, &home->audit_file);
    for (size_t i = 0; i < sizeof streams / sizeof *streams && !status; i++)
        status = make_stream(cli, home, streams[i]);
    cli->config = home->config;
    if (!status)
        status = cli_setup(cli);
    if (!status)
        status = make_stream(cli, home, kt_setup_stream(cli->setup));
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
    const char *told = home->audit_key[0] && !home->audit_file ? home->audit_key : NULL;

    if (cli->json)
        return cli_answer(cli, json_pack("{s:s, s:s, s:s*}", "environment", home->environment,
                                         "config", home->config, "audit_key", told));
    if (cli->quiet)
        return KT_SUCCESS;
    printf("%s is a keyturn home for the environment %s:\n"
           "  keyturn.yaml   the configuration: who may read what\n"
           "  %s.key   the key: keep a copy elsewhere, without it nothing opens\n"
           "  %s.db    the store\n"
           "  audit/         who read what\n",
           home->dir, home->environment, home->environment, home->environment);
    if (told)
        init_tell_audit_key(told);
    if (!keyturn_config || strcmp(keyturn_config, home->config) != 0)
        printf("Next: export KEYTURN_CONFIG=%s\n", home->config);
    return KT_SUCCESS;
}

static kt_status_t init_home(cli_t *cli)
{
    home_t home = {0};
    kt_status_t status = init_environment(cli, &home.environment);

    if (!status)
        status = make_folder(cli, cli->args[0], &home);
    if (!status)
        status = make_key(cli, &home);
    if (!status)
        status = make_config(cli, &home);
    if (!status)
        status = make_store(cli, &home);
    if (!status) {
        status = answer(cli, &home);
    } else {
        kt_close(cli->ctx);
        cli->ctx = NULL;
        undo(&home);
    }
    explicit_bzero(home.audit_key, sizeof home.audit_key);
    return status;
}

kt_status_t verb_init(cli_t *cli)
{
    bool system = cli_given(cli, "system") != NULL;

    if (system == (cli->nargs > 0))
        return cli_fail(cli, KT_USAGE, "init wants either a DIR or --system");
    return system ? init_system(cli) : init_home(cli);
}
