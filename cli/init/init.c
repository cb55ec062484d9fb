/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn init DIR: a self-contained home, which the caller owns. It is made in a folder next to
 * DIR, .NAME.keyturn-init, which replaces DIR when it is complete: rename() only replaces an empty
 * folder, so nothing is ever overwritten, and a home is complete or does not exist. The next init
 * removes what a killed one left there. The folder is locked while an init runs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

#define WORK_CONFIG ".keyturn.yaml" /* its paths are relative to its folder */

typedef struct {
    char dir[PATH_MAX];        /* absolute */
    char prefix[2 * PATH_MAX]; /* "DIR/", quoted for YAML's double quotes */
    const char *environment;
    char audit_path[PATH_MAX]; /* --audit-key; "": init prints the key */
    char audit_key[KT_AUDIT_KEY_LINE];
    bool made_dir; /* DIR did not exist */
    init_work_t work;
} home_t;

/* ---- the folders ---- */

static kt_status_t quote(cli_t *cli, home_t *home)
{
    char *to = home->prefix;

    if (strlen(home->dir) + 32 > INIT_PATH_MAX)
        return cli_fail(cli, KT_USAGE, "the folder's path is too long");
    for (const char *p = home->dir; *p; p++) {
        if (cli_is_control(*p))
            return cli_fail(cli, KT_USAGE, "the folder's path has control characters");
        if (*p == '"' || *p == '\\')
            *to++ = '\\';
        *to++ = *p;
    }
    strcpy(to, "/");
    return KT_SUCCESS;
}

static kt_status_t begin(cli_t *cli, home_t *home)
{
    const char *name = strrchr(home->dir, '/') + 1;
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%.*s.%s.keyturn-init", (int)(name - home->dir), home->dir, name);
    return init_work_begin(cli, &home->work, path);
}

/* It was there a moment ago: another init puts its own folder in its place. A link that leads
 * nowhere is another matter. */
static bool is_being_replaced(const char *path)
{
    struct stat st;

    return errno == ENOENT && (lstat(path, &st) != 0 || !S_ISLNK(st.st_mode));
}

static kt_status_t running(cli_t *cli, const char *path)
{
    return cli_fail(cli, KT_CONFLICT, "%s: another init is running here", path);
}

/* rmdir() and mkdir() distinguish an empty folder from others without a race. */
static kt_status_t make_folder(cli_t *cli, const char *path, home_t *home)
{
    kt_status_t status;

    if (mkdir(path, 0700) == 0)
        home->made_dir = true;
    else if (errno != EEXIST)
        return init_cannot(cli, "make", path);
    if (!realpath(path, home->dir)) {
        snprintf(home->dir, sizeof home->dir, "%s", path);
        return is_being_replaced(path) ? running(cli, path) : init_cannot(cli, "find", path);
    }
    status = quote(cli, home);
    if (!status)
        status = begin(cli, home);
    if (!status)
        status = init_undo(cli, &home->work);
    if (status)
        return status;
    if (home->made_dir || (rmdir(home->dir) == 0 && mkdir(home->dir, 0700) == 0))
        return KT_SUCCESS;
    if (is_being_replaced(home->dir))
        return running(cli, path);
    if (errno == EBUSY)
        return cli_fail(cli, KT_CONFLICT, "%s is a mount point or in use (name a folder in it)",
                        path);
    return cli_fail(cli, errno == ENOTDIR ? KT_CONFLICT : init_status(errno),
                    "%s exists and is not an empty folder: init never overwrites anything", path);
}

/* ---- the contents ---- */

static kt_status_t make_below(cli_t *cli, const home_t *home, const char *name, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s", home->work.path, name);
    return init_mkdir(cli, path);
}

static kt_status_t make_key(cli_t *cli, const home_t *home)
{
    char path[PATH_MAX + NAME_MAX];

    snprintf(path, sizeof path, "%s/%s.key", home->work.path, home->environment);
    return init_key(cli, path, home->environment);
}

/* Puts `prefix` before each path. */
static kt_status_t make_config(cli_t *cli, const home_t *home, const char *prefix, const char *path)
{
    char file[sizeof home->prefix + NAME_MAX], key[sizeof file + 16], store[sizeof file];
    char audit[sizeof file];
    init_config_t values = {home->environment, key, file, store, audit, ""};

    snprintf(file, sizeof file, "%s%s.key", prefix, home->environment);
    snprintf(key, sizeof key, "\"file:%s\"", file);
    snprintf(store, sizeof store, "%s%s.db", prefix, home->environment);
    snprintf(audit, sizeof audit, "%saudit", prefix);
    return init_config(cli, path, &values);
}

static kt_status_t make_stream(cli_t *cli, const home_t *home, const char *stream)
{
    char name[NAME_MAX], path[PATH_MAX];
    kt_status_t status;

    snprintf(name, sizeof name, "anchors/%s", stream);
    status = make_below(cli, home, name, path);
    if (!status && chmod(path, 0755) != 0)
        status = init_cannot(cli, "set the mode of", path);
    snprintf(name, sizeof name, "audit/%s", stream);
    if (!status)
        status = make_below(cli, home, name, path);
    return status ? status : init_stream(cli, path, home->environment, stream, home->audit_key);
}

/* A key file in DIR is made in the folder to work in, like the rest. */
static kt_status_t make_audit_key(cli_t *cli, home_t *home)
{
    size_t size = strlen(home->dir);
    char path[2 * PATH_MAX];

    snprintf(path, sizeof path, "%s", home->audit_path);
    if (strncmp(path, home->dir, size) == 0 && path[size] == '/')
        snprintf(path, sizeof path, "%s%s", home->work.path, home->audit_path + size);
    return init_audit_key(cli, &home->work, path, home->audit_key);
}

static kt_status_t make_streams(cli_t *cli, home_t *home)
{
    static const char *const streams[] = {"nginx", "redis", "postgresql"};
    char path[PATH_MAX];
    kt_status_t status = make_below(cli, home, "anchors", path);

    if (!status)
        status = make_below(cli, home, "audit", path);
    if (!status)
        status = make_audit_key(cli, home);
    for (size_t i = 0; i < sizeof streams / sizeof *streams && !status; i++)
        status = make_stream(cli, home, streams[i]);
    return status;
}

static kt_status_t make_store(cli_t *cli, const home_t *home, const char *config)
{
    kt_status_t status = make_config(cli, home, "", config);

    cli->config = config;
    if (!status)
        status = cli_setup(cli);
    if (!status)
        status = make_stream(cli, home, kt_setup_stream(cli->setup));
    if (!status)
        status = init_store(cli);
    cli->config = NULL;
    unlink(config);
    return status;
}

static kt_status_t answer(cli_t *cli, const home_t *home)
{
    const char *keyturn_config = getenv("KEYTURN_CONFIG");
    const char *shown_key = home->audit_key[0] && !home->audit_path[0] ? home->audit_key : NULL;
    char config[PATH_MAX + 32];

    snprintf(config, sizeof config, "%s/keyturn.yaml", home->dir);
    if (cli->json)
        return init_answer(cli, home->environment, config, shown_key);
    if (cli->quiet)
        return KT_SUCCESS;
    printf("%s is a keyturn home for the environment %s:\n"
           "  keyturn.yaml   the configuration: who may read what\n"
           "  %s.key   the key: keep a copy elsewhere, because nothing opens without it\n"
           "  %s.db    the store\n"
           "  anchors/       how new the store is, for each server that writes it\n"
           "  audit/         who read what\n",
           home->dir, home->environment, home->environment, home->environment);
    if (shown_key)
        init_print_audit_key(shown_key);
    if (!keyturn_config || strcmp(keyturn_config, config) != 0)
        printf("Next: export KEYTURN_CONFIG=%s\n", config);
    return KT_SUCCESS;
}

static kt_status_t make_home(cli_t *cli, home_t *home)
{
    char config[PATH_MAX + NAME_MAX], parent[PATH_MAX];
    kt_status_t status = make_key(cli, home);

    if (!status)
        status = make_streams(cli, home);
    snprintf(config, sizeof config, "%s/" WORK_CONFIG, home->work.path);
    if (!status)
        status = make_store(cli, home, config);
    snprintf(config, sizeof config, "%s/keyturn.yaml", home->work.path);
    if (!status)
        status = make_config(cli, home, home->prefix, config);
    /* the answer comes before the last step: an audit key that was not shown would be lost */
    if (!status)
        status = answer(cli, home);
    if (!status)
        status = init_flush(cli);
    snprintf(parent, sizeof parent, "%s/..", home->dir);
    if (!status)
        status = init_publish(cli, parent, home->work.path, home->dir);
    snprintf(config, sizeof config, "%s/.made-0", home->dir);
    if (!status)
        unlink(config); /* the note of the audit key, which is kept */
    return status;
}

static kt_status_t init_home(cli_t *cli)
{
    home_t home = {.made_dir = false};
    kt_status_t status = init_environment(cli, &home.environment);

    if (!status)
        status = make_folder(cli, cli->args[0], &home);
    if (!status)
        status = init_audit_path(cli, home.audit_path);
    if (!status)
        status = make_home(cli, &home);
    if (status) /* on success the folder has become the home */
        init_work_end(cli, &home.work);
    if (status && home.made_dir)
        rmdir(home.dir);
    explicit_bzero(home.audit_key, sizeof home.audit_key);
    return status;
}

kt_status_t verb_init(cli_t *cli)
{
    bool system = cli_given(cli, "system") != NULL;

    if (system == (cli->nargs > 0))
        return cli_fail(cli, KT_USAGE, "init needs either a DIR or --system");
    if (!system && cli_given(cli, "user"))
        return cli_fail(cli, KT_USAGE, "--user needs --system");
    if (!system && (cli_given(cli, "restore") || cli_given(cli, "key")))
        return cli_fail(cli, KT_USAGE, "--restore and --key need --system");
    return system ? init_system(cli) : init_home(cli);
}
