/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn init --system: one store for servers that run as different users. layout.c has its groups
 * and folders. Nothing is overwritten, and init makes everything or nothing (work.c), except that
 * the groups and folders of the package stay.
 */
#include <glob.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init_system.h"

/* ---- the consumers ---- */

static void add_hosts(init_system_t *s)
{
    for (const cli_host_t *host = cli_hosts; host->name; host++) {
        const struct passwd *user = cli_host_counts(host, NULL) ? cli_host_user(host) : NULL;
        init_consumer_t *consumer = &s->consumers[s->nconsumers];

        if (!user)
            continue;
        *consumer = (init_consumer_t){
            .uid = user->pw_uid, .gid = user->pw_gid, .types = host->types, .writes = host->writes};
        snprintf(consumer->stream, sizeof consumer->stream, "%s", host->name);
        snprintf(consumer->user, sizeof consumer->user, "%s", user->pw_name);
        s->nconsumers++;
    }
}

static void add_root(init_system_t *s)
{
    init_consumer_t *root = &s->consumers[s->nconsumers++];
    char name[sizeof root->user];

    *root = (init_consumer_t){.uid = 0, .gid = 0};
    cli_user(name, sizeof name);
    strcpy(root->user, name);
    snprintf(root->stream, sizeof root->stream, "cli-%.50s", name);
}

/* ---- the parts ---- */

/* It gets its final name when everything else is made. */
static kt_status_t make_config(init_system_t *s)
{
    init_config_t values = {s->environment, NULL, s->key, s->store, LOG, NULL};
    char *users = init_user_keys(s), *grants = init_user_grants(s), *key = NULL;
    char hosts[1024] = "";
    kt_status_t status = KT_SUCCESS;
    const struct group *readers;

    for (size_t i = 0; i < s->nconsumers; i++) {
        const init_consumer_t *consumer = &s->consumers[i];

        if (consumer->types && !consumer->is_person)
            snprintf(hosts + strlen(hosts), sizeof hosts - strlen(hosts),
                     ", %s: \"file:" ETC "/%s.key\"", consumer->stream, consumer->stream);
    }
    if (!users || !grants || asprintf(&key, "{cli: \"file:%s\"%s%s}", s->key, hosts, users) < 0)
        status = cli_no_memory(s->cli);
    values.key = key;
    values.grants = grants;
    if (!status)
        status = init_note(s->cli, &s->work, NEW_CONFIG);
    if (!status)
        status = init_config(s->cli, NEW_CONFIG, &values);
    free(users);
    free(grants);
    free(key);
    readers = getgrnam(CLI_READERS);
    if (!status && !readers)
        status = cli_fail(s->cli, KT_INTERNAL, "the group " CLI_READERS " does not exist");
    return status ? status : init_own(s->cli, NEW_CONFIG, 0, readers->gr_gid, 0640);
}

static kt_status_t answer(const init_system_t *s)
{
    const char *other = getenv("KEYTURN_CONFIG");
    const char *shown_key = s->audit_key[0] && !s->audit_path[0] ? s->audit_key : NULL;
    bool has_persons = false;

    if (s->cli->json)
        return init_answer(s->cli, s->environment, CONFIG, shown_key);
    if (s->cli->quiet)
        return KT_SUCCESS;
    printf("%s is the configuration of this machine, environment %s.\n"
           "%s is the key: keep a copy elsewhere, because nothing opens without it.\n",
           CONFIG, s->environment, s->key);
    for (size_t i = 0; i < s->nconsumers; i++) {
        const init_consumer_t *consumer = &s->consumers[i];

        has_persons = has_persons || consumer->is_person;
        if (consumer->types && !consumer->is_person)
            printf("%s (user %s) may open the types %s; restart it to give it its new group.\n",
                   consumer->stream, consumer->user, consumer->types);
    }
    init_print_users(s);
    if (shown_key)
        init_print_audit_key(shown_key);
    if (s->backup)
        printf("The store has what %s had. If you kept the old keyturn.yaml, put it in place of\n"
               "the new one, with group " CLI_READERS " and mode 0640.\n",
               s->backup);
    printf("Next: remove the # from the %s lines under policy, and try `keyturn check`.\n",
           has_persons ? "servers' and users'" : "servers'");
    if (other && strcmp(other, CONFIG) != 0)
        printf("KEYTURN_CONFIG names another configuration: unset it.\n");
    return KT_SUCCESS;
}

static kt_status_t make_store(init_system_t *s)
{
    static const char *const others[] = {"", "-wal", "-shm", "-journal"};
    char path[PATH_MAX + 16];
    kt_status_t status = KT_SUCCESS;
    glob_t found;

    snprintf(path, sizeof path, "%s.new-*", s->store); /* a killed init left them */
    if (glob(path, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            unlink(found.gl_pathv[i]);
        globfree(&found);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others && !status; i++) {
        snprintf(path, sizeof path, "%s%s", s->store, others[i]);
        status = init_note(s->cli, &s->work, path);
    }
    if (status)
        return status;
    return s->backup ? init_restore_store(s) : init_store(s->cli);
}

/* The streams of a restored machine begin with the audit key that its old ones had. */
static kt_status_t make_audit_key(init_system_t *s)
{
    kt_status_t status;

    if (s->backup && cli_given(s->cli, "audit-key")) {
        strcpy(s->audit_path, "-"); /* not to be printed */
        return init_read_audit_key(s->cli, s->audit_key);
    }
    status = init_audit_path(s->cli, s->audit_path);
    return status ? status : init_audit_key(s->cli, &s->work, s->audit_path, s->audit_key);
}

static kt_status_t make_all(init_system_t *s)
{
    kt_status_t status = init_note(s->cli, &s->work, s->key);

    if (!status)
        status = s->backup ? init_restore_key(s) : init_key(s->cli, s->key, s->environment);
    if (!status)
        status = make_config(s);
    if (!status)
        status = make_audit_key(s);
    s->cli->config = NEW_CONFIG;
    if (!status)
        status = cli_setup(s->cli);
    if (!status)
        status = init_consumers(s);
    if (!status)
        status = make_store(s);
    /* the answer comes before the last step: an audit key that was not shown would be lost */
    if (!status)
        status = answer(s);
    if (!status)
        status = init_flush(s->cli);
    return status ? status : init_publish(s->cli, ETC, NEW_CONFIG, CONFIG);
}

static kt_status_t new_system(init_system_t *s)
{
    kt_status_t status = access(CONFIG, F_OK) == 0 ? KT_SUCCESS : init_base(s->cli);

    if (!status)
        status = init_begin(s);
    if (!status && access(CONFIG, F_OK) == 0)
        status = init_exists(s->cli, CONFIG);
    if (status)
        return status;
    add_hosts(s);
    add_root(s);
    status = make_all(s);
    if (!status)
        init_keep(&s->work);
    return status;
}

kt_status_t init_system(cli_t *cli)
{
    init_system_t s = {.cli = cli};
    kt_status_t status = init_environment(cli, &s.environment);

    if (status)
        return status;
    if (geteuid() != 0)
        return cli_fail(cli, KT_PERMISSION,
                        "init --system needs root (`keyturn init DIR` makes a home of your own)");
    status = init_restore_given(&s);
    if (status) {
        kt_secret_free(s.given_key);
        return status;
    }
    umask(022);
    snprintf(s.key, sizeof s.key, ETC "/%s.key", s.environment);
    snprintf(s.store, sizeof s.store, LIB "/store/%s.db", s.environment);
    status = init_users(&s);
    if (!status)
        status = s.nconsumers > 0 && !s.backup && access(CONFIG, F_OK) == 0 ? init_add_users(&s)
                                                                            : new_system(&s);
    init_work_end(cli, &s.work);
    explicit_bzero(s.audit_key, sizeof s.audit_key);
    kt_secret_free(s.given_key);
    return status;
}
