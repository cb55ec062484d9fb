/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn init --system: one store for servers that run under users of their own.
 *
 *     SYSCONFDIR/keyturn            keyturn.yaml   0640  root:keyturn
 *                                   E.key          0600  root           every type
 *                                   HOST.key       0640  root:HOST's    the types that it needs
 *     LOCALSTATEDIR/lib/keyturn                    0750  root:keyturn   the gate: readers pass it
 *     LOCALSTATEDIR/lib/keyturn/store              2775  root:keyturn-write, files 0664
 *     LOCALSTATEDIR/log/keyturn/HOST               0700  HOST's user
 *
 * Nothing is overwritten. What a failed run made is taken back, newest first.
 */
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

#define ETC KT_SYSCONFDIR "/keyturn"
#define LIB KT_LOCALSTATEDIR "/lib/keyturn"
#define LOG KT_LOCALSTATEDIR "/log/keyturn"
#define READERS "keyturn"
#define WRITERS "keyturn-write"
#define MADE_MAX 48

static const struct host {
    const char *name, *user, *program;  /* it is there if both user and program are */
    const char *types;                  /* its key file opens no others */
    const char *groups;
} hosts[] = {
    {"nginx", "www-data", "/usr/sbin/nginx", "api-keys,tls", READERS},
    {"redis", "redis", "/usr/bin/redis-server", "api-keys", READERS},
    {"postgresql", "postgres", "/usr/lib/postgresql", "database", READERS "," WRITERS},
};
#define HOSTS (sizeof hosts / sizeof *hosts)

typedef struct {
    cli_t *cli;
    const char *environment;
    char config[PATH_MAX], key[PATH_MAX], store[PATH_MAX];
    char audit_key[KT_AUDIT_KEY_LINE];
    const char *audit_file;  /* where it is; NULL: we tell it */
    struct { char *what; enum { A_FILE, A_FOLDER, A_GROUP } kind; } made[MADE_MAX];
    size_t nmade;
} system_t;

/* ---- doing, and undoing ---- */

static kt_status_t run(cli_t *cli, const char *const *argv)
{
    static char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
    pid_t pid;
    int error = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *) argv, environment);
    int status = -1;

    if (error)
        return cli_fail(cli, KT_UNAVAIL, "cannot run %s: %s", argv[0], strerror(error));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return cli_fail(cli, KT_UNAVAIL, "%s failed", argv[0]);
    return KT_SUCCESS;
}

static void note_made(system_t *s, const char *what, int kind)
{
    if (s->nmade == MADE_MAX)
        return;
    s->made[s->nmade].what = strdup(what);
    s->made[s->nmade].kind = kind;
    if (s->made[s->nmade].what)
        s->nmade++;
}

static void finish(system_t *s, bool undo)
{
    while (s->nmade > 0) {
        char *what = s->made[--s->nmade].what;

        if (undo && s->made[s->nmade].kind == A_GROUP)
            run(s->cli, (const char *const[]){"groupdel", what, NULL});
        if (undo && s->made[s->nmade].kind == A_FOLDER)
            init_empty(what);
        if (undo && s->made[s->nmade].kind != A_GROUP)
            remove(what);
        free(what);
    }
}

static kt_status_t own(cli_t *cli, const char *path, uid_t uid, const char *group, mode_t mode)
{
    const struct group *found = group ? getgrnam(group) : NULL;

    if (group && !found)
        return cli_fail(cli, KT_INTERNAL, "there is no group %s", group);
    if (lchown(path, uid, found ? found->gr_gid : 0) != 0 || chmod(path, mode) != 0)
        return cli_fail(cli, init_status(errno), "cannot give %s its owner and mode: %s", path,
                        strerror(errno));
    return KT_SUCCESS;
}

static kt_status_t make_folder(system_t *s, const char *path, uid_t uid, const char *group,
                               mode_t mode)
{
    if (mkdir(path, 0700) != 0) {
        struct stat st;

        if (errno == EEXIST && lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
            return KT_SUCCESS;  /* somebody's decision, left as it is */
        return cli_fail(s->cli, init_status(errno), "cannot make %s: %s", path, strerror(errno));
    }
    note_made(s, path, A_FOLDER);
    return own(s->cli, path, uid, group, mode);
}

static kt_status_t make_group(system_t *s, const char *name)
{
    kt_status_t status;

    if (getgrnam(name))
        return KT_SUCCESS;
    status = run(s->cli, (const char *const[]){"groupadd", "--system", name, NULL});
    if (!status)
        note_made(s, name, A_GROUP);
    return status;
}

/* ---- the parts ---- */

static const struct passwd *user_of(const struct host *host)
{
    return access(host->program, F_OK) == 0 ? getpwnam(host->user) : NULL;
}

static kt_status_t refuse_existing(const system_t *s)
{
    const char *const paths[] = {s->config, s->key, s->store};

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (access(paths[i], F_OK) == 0)
            return cli_fail(s->cli, KT_CONFLICT, "%s is there: init never overwrites anything",
                            paths[i]);
    return KT_SUCCESS;
}

static kt_status_t make_folders(system_t *s)
{
    kt_status_t status = make_group(s, READERS);

    if (!status)
        status = make_group(s, WRITERS);
    if (!status)
        status = make_folder(s, ETC, 0, NULL, 0755);
    if (!status)
        status = make_folder(s, LIB, 0, READERS, 0750);
    if (!status)
        status = make_folder(s, LIB "/store", 0, WRITERS, 02775);
    if (!status)
        status = make_folder(s, LOG, 0, NULL, 0755);
    return status;
}

/* The key of every type, for root; what the hosts get is cut from it later. */
static kt_status_t make_key(system_t *s)
{
    char error[512] = "";
    kt_status_t status = kt_keygen(s->key, s->environment, error, sizeof error);

    if (status)
        return cli_fail(s->cli, status, "%s", error[0] ? error : kt_status_text(status));
    note_made(s, s->key, A_FILE);
    return KT_SUCCESS;
}

static kt_status_t make_config(system_t *s)
{
    init_config_t values = {s->environment, NULL, s->key, s->store, LOG};
    char key[PATH_MAX + 512];
    int size = snprintf(key, sizeof key, "{cli: \"file:%s\"", s->key);
    kt_status_t status;

    for (size_t i = 0; i < HOSTS; i++)
        if (user_of(&hosts[i]))
            size += snprintf(key + size, sizeof key - (size_t) size,
                             ", %s: \"file:" ETC "/%s.key\"", hosts[i].name,
                             hosts[i].name);
    snprintf(key + size, sizeof key - (size_t) size, "}");
    values.key = key;
    status = init_config(s->cli, s->config, &values);
    if (status)
        return status;
    note_made(s, s->config, A_FILE);
    return own(s->cli, s->config, 0, READERS, 0640);
}

/* A stream's folder, and its start; one that is there and has begun goes on. */
static kt_status_t make_stream(system_t *s, const char *stream, uid_t uid, const char *group)
{
    char path[PATH_MAX], state[PATH_MAX];
    kt_status_t status;

    snprintf(path, sizeof path, LOG "/%s", stream);
    snprintf(state, sizeof state, LOG "/%s/state", stream);
    status = make_folder(s, path, uid, group, 0700);
    if (status || !s->audit_key[0] || access(state, F_OK) == 0)
        return status;
    status = init_stream(s->cli, path, s->environment, stream, s->audit_key);
    if (!status)
        note_made(s, state, A_FILE);
    return status;
}

static kt_status_t make_host(system_t *s, const struct host *host)
{
    const struct passwd *user = user_of(host);
    char path[PATH_MAX];
    kt_status_t status;
    uid_t uid;

    if (!user)
        return KT_SUCCESS;
    uid = user->pw_uid;
    status = run(s->cli, (const char *const[]){"usermod", "--append", "--groups", host->groups,
                                               host->user, NULL});
    if (status)
        return status;
    status = make_stream(s, host->name, uid, host->user);
    if (status)
        return status;
    snprintf(path, sizeof path, ETC "/%s.key", host->name);
    status = kt_keygen_types(s->cli->setup, host->types, path);
    if (status)
        return cli_fail(s->cli, status, "%s", kt_setup_error(s->cli->setup));
    note_made(s, path, A_FILE);
    return own(s->cli, path, 0, host->user, 0640);
}

static kt_status_t make_store(system_t *s)
{
    kt_status_t status = make_stream(s, kt_setup_stream(s->cli->setup), 0, NULL);

    if (status)
        return status;
    status = kt_open(s->cli->setup, &s->cli->ctx);
    if (status)
        return cli_fail(s->cli, status, "%s", kt_setup_error(s->cli->setup));
    status = kt_create(s->cli->ctx);
    return status ? cli_fail_ctx(s->cli, status) : KT_SUCCESS;
}

static kt_status_t make_all(system_t *s)
{
    kt_status_t status = make_folders(s);

    if (!status)
        status = make_key(s);
    if (!status)
        status = make_config(s);
    s->cli->config = s->config;
    if (!status)
        status = init_audit_key(s->cli, s->audit_key, &s->audit_file);
    if (!status && s->audit_file)
        note_made(s, s->audit_file, A_FILE);
    if (!status)
        status = cli_setup(s->cli);
    for (size_t i = 0; i < HOSTS && !status; i++)
        status = make_host(s, &hosts[i]);
    return status ? status : make_store(s);
}

static kt_status_t answer(const system_t *s)
{
    const char *other = getenv("KEYTURN_CONFIG");

    const char *told = s->audit_key[0] && !s->audit_file ? s->audit_key : NULL;

    if (s->cli->json)
        return cli_answer(s->cli, json_pack("{s:s, s:s, s:s*}", "environment", s->environment,
                                            "config", s->config, "audit_key", told));
    if (s->cli->quiet)
        return KT_SUCCESS;
    printf("%s is the configuration of this machine, environment %s.\n"
           "%s is the key: keep a copy elsewhere, without it nothing opens.\n",
           s->config, s->environment, s->key);
    for (size_t i = 0; i < HOSTS; i++)
        if (user_of(&hosts[i]))
            printf("%s (user %s) may open the types %s; restart it, for its new group.\n",
                   hosts[i].name, hosts[i].user, hosts[i].types);
    if (told)
        init_tell_audit_key(told);
    printf("Next: take the # from the servers' lines under policy.\n");
    if (other && strcmp(other, s->config) != 0)
        printf("KEYTURN_CONFIG names another configuration: unset it.\n");
    return KT_SUCCESS;
}

kt_status_t init_system(cli_t *cli)
{
    system_t s = {.cli = cli};
    kt_status_t status = init_environment(cli, &s.environment);

    if (status)
        return status;
    if (geteuid() != 0)
        return cli_fail(cli, KT_PERMISSION,
                        "init --system is for root; `keyturn init DIR` makes a home of your own");
    umask(022);
    snprintf(s.config, sizeof s.config, ETC "/keyturn.yaml");
    snprintf(s.key, sizeof s.key, ETC "/%s.key", s.environment);
    snprintf(s.store, sizeof s.store, LIB "/store/%s.db", s.environment);
    status = refuse_existing(&s);
    if (!status)
        status = make_all(&s);
    finish(&s, status != KT_SUCCESS);
    if (!status)
        status = answer(&s);
    explicit_bzero(s.audit_key, sizeof s.audit_key);
    return status;
}
