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
 * With --user also cli-USER.key and the stream cli-USER: init_user.c. Nothing is overwritten.
 */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init_system.h"

kt_status_t init_own(cli_t *cli, const char *path, uid_t uid, gid_t gid, mode_t mode)
{
    if (lchown(path, uid, gid) != 0 || chmod(path, mode) != 0)
        return cli_fail(cli, init_status(errno), "cannot give %s its owner and mode: %s", path,
                        strerror(errno));
    return KT_SUCCESS;
}

static kt_status_t make_folder(init_system_t *s, const char *path, uid_t uid, gid_t gid,
                               mode_t mode)
{
    struct stat st;
    kt_status_t status;

    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return KT_SUCCESS; /* somebody's decision, left as it is */
    status = init_note(s->cli, &s->journal, "folder", path);
    if (status)
        return status;
    if (mkdir(path, 0700) != 0)
        return cli_fail(s->cli, init_status(errno), "cannot make %s: %s", path, strerror(errno));
    return init_own(s->cli, path, uid, gid, mode);
}

static kt_status_t make_group(init_system_t *s, const char *name, gid_t *ret_gid)
{
    const struct group *group = getgrnam(name);
    kt_status_t status = KT_SUCCESS;

    if (!group) {
        status = init_note(s->cli, &s->journal, "group", name);
        if (!status)
            status = init_run(s->cli, (const char *const[]){"groupadd", "--system", name, NULL});
        group = getgrnam(name);
    }
    if (!status && !group)
        status = cli_fail(s->cli, KT_INTERNAL, "there is no group %s", name);
    if (!status)
        *ret_gid = group->gr_gid;
    return status;
}

/* ---- the parts ---- */

static kt_status_t refuse_existing(const init_system_t *s)
{
    const char *const paths[] = {CONFIG, s->key, s->store};

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (access(paths[i], F_OK) == 0)
            return cli_fail(s->cli, KT_CONFLICT, "%s is there: init never overwrites anything",
                            paths[i]);
    return KT_SUCCESS;
}

static kt_status_t make_folders(init_system_t *s, gid_t *ret_readers)
{
    gid_t readers = 0, writers = 0;
    kt_status_t status = make_group(s, CLI_READERS, &readers);

    if (!status)
        status = make_group(s, CLI_WRITERS, &writers);
    if (!status)
        status = make_folder(s, LIB, 0, readers, 0750);
    if (!status)
        status = make_folder(s, LIB "/store", 0, writers, 02775);
    if (!status)
        status = make_folder(s, LOG, 0, 0, 0755);
    *ret_readers = readers;
    return status;
}

/* The key of every type, for root; what the hosts get is cut from it later. */
static kt_status_t make_key(init_system_t *s)
{
    char error[512] = "";
    kt_status_t status = init_note(s->cli, &s->journal, "file", s->key);

    if (status)
        return status;
    status = kt_keygen(s->key, s->environment, error, sizeof error);
    return status ? cli_fail(s->cli, status, "%s", error[0] ? error : kt_status_text(status))
                  : status;
}

/* Of its own name only when all of the rest is made. */
static kt_status_t make_config(init_system_t *s, gid_t readers)
{
    init_config_t values = {s->environment, NULL, s->key, s->store, LOG, NULL};
    char hosts[1024] = "", *users = init_user_keys(s), *grants = init_user_grants(s), *key = NULL;
    kt_status_t status = init_note(s->cli, &s->journal, "file", NEW_CONFIG);

    for (const cli_host_t *host = cli_hosts; host->name; host++)
        if (cli_host_user(host))
            snprintf(hosts + strlen(hosts), sizeof hosts - strlen(hosts),
                     ", %s: \"file:" ETC "/%s.key\"", host->name, host->name);
    if (!users || !grants || asprintf(&key, "{cli: \"file:%s\"%s%s}", s->key, hosts, users) < 0)
        status = cli_fail(s->cli, KT_INTERNAL, "out of memory");
    values.key = key;
    values.grants = grants;
    if (!status)
        status = init_config(s->cli, NEW_CONFIG, &values);
    if (!status)
        status = init_own(s->cli, NEW_CONFIG, 0, readers, 0640);
    free(users);
    free(grants);
    free(key);
    return status;
}

kt_status_t init_make_stream(init_system_t *s, const char *stream, uid_t uid, gid_t gid)
{
    char path[PATH_MAX], state[PATH_MAX];
    kt_status_t status;

    snprintf(path, sizeof path, LOG "/%s", stream);
    snprintf(state, sizeof state, LOG "/%s/state", stream);
    status = make_folder(s, path, uid, gid, 0700);
    if (status || !s->audit_key[0] || access(state, F_OK) == 0)
        return status;
    status = init_note(s->cli, &s->journal, "file", state);
    return status ? status : init_stream(s->cli, path, s->environment, stream, s->audit_key);
}

kt_status_t init_make_types(init_system_t *s, const char *stream, const char *types, uid_t uid,
                            gid_t gid)
{
    char path[PATH_MAX];
    kt_status_t status;

    snprintf(path, sizeof path, ETC "/%s.key", stream);
    status = init_note(s->cli, &s->journal, "file", path);
    if (status)
        return status;
    status = kt_keygen_types(s->cli->setup, types, path);
    if (status)
        return cli_fail(s->cli, status, "%s", kt_setup_error(s->cli->setup));
    return init_own(s->cli, path, uid, gid, uid == 0 ? 0640 : 0400);
}

static kt_status_t make_host(init_system_t *s, const cli_host_t *host)
{
    const struct passwd *user = cli_host_user(host);
    kt_status_t status;
    uid_t uid;
    gid_t gid;

    if (!user)
        return KT_SUCCESS;
    uid = user->pw_uid;
    gid = user->pw_gid;
    status = init_run(s->cli, (const char *const[]){"usermod", "--append", "--groups", host->groups,
                                                    host->user, NULL});
    if (!status)
        status = init_make_stream(s, host->name, uid, gid);
    return status ? status : init_make_types(s, host->name, host->types, 0, gid);
}

static kt_status_t make_store(init_system_t *s)
{
    kt_status_t status = init_make_stream(s, kt_setup_stream(s->cli->setup), 0, 0);

    if (!status)
        status = init_note(s->cli, &s->journal, "store", s->store);
    if (!status && access(LIB "/store/anchors", F_OK) != 0)
        status = init_note(s->cli, &s->journal, "folder", LIB "/store/anchors");
    if (status)
        return status;
    status = kt_open(s->cli->setup, &s->cli->ctx);
    if (status)
        return cli_fail(s->cli, status, "%s", kt_setup_error(s->cli->setup));
    status = kt_create(s->cli->ctx);
    if (status)
        cli_fail_ctx(s->cli, status);
    kt_close(s->cli->ctx); /* what it has to write is written before the last step */
    s->cli->ctx = NULL;
    return status;
}

static kt_status_t answer(const init_system_t *s)
{
    const char *other = getenv("KEYTURN_CONFIG");
    const char *told = s->audit_key[0] && !s->audit_file ? s->audit_key : NULL;

    if (s->cli->json)
        return cli_answer(s->cli, json_pack("{s:s, s:s, s:s*}", "environment", s->environment,
                                            "config", CONFIG, "audit_key", told));
    if (s->cli->quiet)
        return KT_SUCCESS;
    printf("%s is the configuration of this machine, environment %s.\n"
           "%s is the key: keep a copy elsewhere, without it nothing opens.\n",
           CONFIG, s->environment, s->key);
    for (const cli_host_t *host = cli_hosts; host->name; host++)
        if (cli_host_user(host))
            printf("%s (user %s) may open the types %s; restart it, for its new group.\n",
                   host->name, host->user, host->types);
    init_tell_users(s);
    if (told)
        init_tell_audit_key(told);
    printf("Next: take the # from the %s lines under policy, and try `keyturn check`.\n",
           s->nusers > 0 ? "servers' and users'" : "servers'");
    if (other && strcmp(other, CONFIG) != 0)
        printf("KEYTURN_CONFIG names another configuration: unset it.\n");
    return KT_SUCCESS;
}

static kt_status_t make_all(init_system_t *s)
{
    gid_t readers = 0;
    kt_status_t status = refuse_existing(s);

    if (!status)
        status = make_folders(s, &readers);
    if (!status)
        status = make_key(s);
    if (!status)
        status = make_config(s, readers);
    s->cli->config = NEW_CONFIG;
    if (!status)
        status = init_audit_key(s->cli, &s->journal, s->audit_key, &s->audit_file);
    if (!status)
        status = cli_setup(s->cli);
    for (const cli_host_t *host = cli_hosts; host->name && !status; host++)
        status = make_host(s, host);
    for (size_t i = 0; i < s->nusers && !status; i++)
        status = init_make_user(s, &s->users[i]);
    if (!status)
        status = make_store(s);
    /* told first: an audit key that nobody has seen would be lost */
    if (!status)
        status = answer(s);
    if (!status)
        status = init_told(s->cli);
    return status ? status : init_publish(s->cli, ETC, NEW_CONFIG, CONFIG);
}

static kt_status_t new_system(init_system_t *s)
{
    bool ours = mkdir(ETC, 0755) == 0;
    kt_status_t status;

    if (!ours && errno != EEXIST)
        return cli_fail(s->cli, init_status(errno), "cannot make " ETC ": %s", strerror(errno));
    status = init_begin(s->cli, &s->journal, ETC, "init", CONFIG);
    if (!status)
        status = make_all(s);
    if (status && s->journal.fd >= 0)
        init_undo(s->cli, &s->journal);
    init_end(&s->journal);
    if (status && ours)
        rmdir(ETC);
    return status;
}

kt_status_t init_system(cli_t *cli)
{
    init_system_t s = {.cli = cli, .journal.fd = -1};
    kt_status_t status = init_environment(cli, &s.environment);

    if (status)
        return status;
    if (geteuid() != 0)
        return cli_fail(cli, KT_PERMISSION,
                        "init --system is for root; `keyturn init DIR` makes a home of your own");
    umask(022);
    snprintf(s.key, sizeof s.key, ETC "/%s.key", s.environment);
    snprintf(s.store, sizeof s.store, LIB "/store/%s.db", s.environment);
    status = init_users(&s);
    if (!status)
        status = s.nusers > 0 && access(CONFIG, F_OK) == 0 ? init_add_users(&s) : new_system(&s);
    explicit_bzero(s.audit_key, sizeof s.audit_key);
    return status;
}
