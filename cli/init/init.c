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
    char dir[PATH_MAX];    /* absolute */
    char quoted[PATH_MAX]; /* as it stands inside YAML's double quotes */
    char config[PATH_MAX], new_config[PATH_MAX];
    const char *environment;
    char audit_key[KT_AUDIT_KEY_LINE];
    const char *audit_file; /* where it is; NULL: we tell it */
    bool ours;              /* we made the folder itself */
    init_journal_t journal;
} home_t;

/* ---- the folder ---- */

static bool renew(const char *path)
{
    return rmdir(path) == 0 && mkdir(path, 0700) == 0;
}

static kt_status_t quote(cli_t *cli, home_t *home)
{
    size_t n = 0;

    if (strlen(home->dir) + NAME_MAX + 32 > PATH_MAX)
        return cli_fail(cli, KT_USAGE, "the folder's path is too long");
    for (const char *p = home->dir; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
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

/* A killed init has left its journal, and no configuration: then the folder is empty afterwards. */
static kt_status_t clean(cli_t *cli, home_t *home)
{
    char path[PATH_MAX];
    kt_status_t status;

    snprintf(home->config, sizeof home->config, "%s/keyturn.yaml", home->dir);
    snprintf(home->new_config, sizeof home->new_config, "%s/" INIT_CONFIG, home->dir);
    snprintf(path, sizeof path, "%s/" INIT_JOURNAL, home->dir);
    if (home->ours || access(path, F_OK) != 0)
        return KT_SUCCESS;
    status = init_begin(cli, &home->journal, home->dir, "init", home->config);
    init_end(&home->journal);
    return status;
}

/* rmdir() and mkdir() tell "empty" from "not empty" without a race, and set the mode. */
static kt_status_t make_folder(cli_t *cli, const char *path, home_t *home)
{
    kt_status_t status;

    if (mkdir(path, 0700) == 0)
        home->ours = true;
    else if (errno != EEXIST)
        return cli_fail(cli, init_status(errno), "cannot make %s: %s", path, strerror(errno));
    if (!realpath(path, home->dir)) {
        if (home->ours)
            rmdir(path);
        return cli_fail(cli, init_status(errno), "cannot find %s: %s", path, strerror(errno));
    }
    status = quote(cli, home);
    if (status && home->ours)
        rmdir(home->dir);
    if (!status)
        status = clean(cli, home);
    if (status)
        return status;
    if (!home->ours && !renew(home->dir))
        return cli_fail(cli, errno == ENOTDIR ? KT_CONFLICT : init_status(errno),
                        "%s is there and no empty folder: init never overwrites anything", path);
    status = init_begin(cli, &home->journal, home->dir, "init", home->config);
    if (status && status != KT_CONFLICT && home->ours) /* else it is another init's by now */
        rmdir(home->dir);
    return status;
}

/* ---- what is in it ---- */

/* The path of something that is going to be made. */
static kt_status_t note_below(cli_t *cli, const home_t *home, const char *kind, const char *name,
                              char path[PATH_MAX])
{
    if (snprintf(path, PATH_MAX, "%s/%s", home->dir, name) >= PATH_MAX)
        return cli_fail(cli, KT_USAGE, "the folder's path is too long");
    return init_note(cli, &home->journal, kind, path);
}

static kt_status_t make_below(cli_t *cli, const home_t *home, const char *name, char path[PATH_MAX])
{
    kt_status_t status = note_below(cli, home, "folder", name, path);

    if (!status && mkdir(path, 0700) != 0)
        status = cli_fail(cli, init_status(errno), "cannot make %s: %s", path, strerror(errno));
    return status;
}

static kt_status_t make_key(cli_t *cli, const home_t *home)
{
    char name[NAME_MAX], path[PATH_MAX], error[512] = "";
    kt_status_t status;

    snprintf(name, sizeof name, "%s.key", home->environment);
    status = note_below(cli, home, "file", name, path);
    if (status)
        return status;
    status = kt_keygen(path, home->environment, error, sizeof error);
    return status ? cli_fail(cli, status, "%s", error[0] ? error : kt_status_text(status)) : status;
}

static kt_status_t make_config(cli_t *cli, home_t *home)
{
    char key[PATH_MAX + 16], key_file[PATH_MAX], store[PATH_MAX], audit[PATH_MAX], path[PATH_MAX];
    init_config_t values = {home->environment, key, key_file, store, audit, ""};
    kt_status_t status;

    if (snprintf(key_file, sizeof key_file, "%s/%s.key", home->quoted, home->environment) >=
            PATH_MAX ||
        snprintf(store, sizeof store, "%s/%s.db", home->quoted, home->environment) >= PATH_MAX ||
        snprintf(audit, sizeof audit, "%s/audit", home->quoted) >= PATH_MAX)
        return cli_fail(cli, KT_USAGE, "the folder's path is too long");
    snprintf(key, sizeof key, "\"file:%s\"", key_file);
    status = note_below(cli, home, "file", INIT_CONFIG, path);
    return status ? status : init_config(cli, path, &values);
}

static kt_status_t make_stream(cli_t *cli, const home_t *home, const char *stream)
{
    char name[NAME_MAX], path[PATH_MAX];
    kt_status_t status;

    snprintf(name, sizeof name, "audit/%s", stream);
    status = make_below(cli, home, name, path);
    return status ? status : init_stream(cli, path, home->environment, stream, home->audit_key);
}

static kt_status_t make_trail(cli_t *cli, home_t *home)
{
    static const char *const streams[] = {"nginx", "redis", "postgresql"};
    char path[PATH_MAX];
    kt_status_t status = make_below(cli, home, "audit", path);

    if (!status)
        status = init_audit_key(cli, &home->journal, home->audit_key, &home->audit_file);
    for (size_t i = 0; i < sizeof streams / sizeof *streams && !status; i++)
        status = make_stream(cli, home, streams[i]);
    return status;
}

static kt_status_t make_store(cli_t *cli, home_t *home)
{
    char name[NAME_MAX], path[PATH_MAX];
    kt_status_t status;

    cli->config = home->new_config;
    status = cli_setup(cli);
    if (!status)
        status = make_stream(cli, home, kt_setup_stream(cli->setup));
    snprintf(name, sizeof name, "%s.db", home->environment);
    if (!status)
        status = note_below(cli, home, "store", name, path);
    if (!status)
        status = note_below(cli, home, "folder", "anchors", path);
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

static kt_status_t make_home(cli_t *cli, home_t *home)
{
    kt_status_t status = make_key(cli, home);

    if (!status)
        status = make_config(cli, home);
    if (!status)
        status = make_trail(cli, home);
    if (!status)
        status = make_store(cli, home);
    kt_close(cli->ctx); /* what it has to write is written before the last step */
    cli->ctx = NULL;
    /* told first: an audit key that nobody has seen would be lost */
    if (!status)
        status = answer(cli, home);
    if (!status)
        status = init_told(cli);
    return status ? status : init_publish(cli, home->dir, home->new_config, home->config);
}

static kt_status_t init_home(cli_t *cli)
{
    home_t home = {.journal.fd = -1};
    kt_status_t status = init_environment(cli, &home.environment);
    bool begun;

    if (!status)
        status = make_folder(cli, cli->args[0], &home);
    if (!status)
        status = make_home(cli, &home);
    begun = home.journal.fd >= 0;
    if (status && begun)
        init_undo(cli, &home.journal);
    init_end(&home.journal);
    if (status && begun && home.ours)
        rmdir(home.dir);
    explicit_bzero(home.audit_key, sizeof home.audit_key);
    return status;
}

kt_status_t verb_init(cli_t *cli)
{
    bool system = cli_given(cli, "system") != NULL;

    if (system == (cli->nargs > 0))
        return cli_fail(cli, KT_USAGE, "init wants either a DIR or --system");
    if (!system && cli_given(cli, "user"))
        return cli_fail(cli, KT_USAGE, "--user goes with --system");
    return system ? init_system(cli) : init_home(cli);
}
