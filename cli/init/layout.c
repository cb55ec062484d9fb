/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The files of one store for several users:
 *
 *     SYSCONFDIR/keyturn            keyturn.yaml   0640  root:keyturn
 *                                   E.key          0600  root           every type
 *                                   HOST.key       0640  root:HOST's    the types that it needs
 *                                   cli-USER.key   0640  root:USER's, or 0400 USER if others are
 *                                                        in USER's group
 *     LOCALSTATEDIR/lib/keyturn                    0750  root:keyturn   the gate: readers pass it
 *     LOCALSTATEDIR/lib/keyturn/store              2775  root:keyturn-write, files 0664
 *     LOCALSTATEDIR/log/keyturn/STREAM             0700  the stream's user
 *
 * What is the same on every machine is described by the package's keyturn.conf of sysusers.d and
 * tmpfiles.d. The streams depend on the machine: each has a file keyturn-STREAM.conf in
 * /etc/tmpfiles.d, so that its folder is made again if /var is lost. Memberships are kept by
 * /etc/group alone: a line of sysusers.d would make a user anew that was removed.
 */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init_system.h"

#define CONFS "/etc/tmpfiles.d" /* of systemd, wherever keyturn is installed */

kt_status_t init_own(cli_t *cli, const char *path, uid_t uid, gid_t gid, mode_t mode)
{
    if (lchown(path, uid, gid) != 0 || chmod(path, mode) != 0)
        return cli_fail(cli, init_status(errno), "cannot give %s its owner and mode: %s", path,
                        strerror(errno));
    return KT_SUCCESS;
}

/* ---- what every machine has ---- */

kt_status_t init_base(cli_t *cli)
{
    static const char *const folders[] = {ETC, LIB, LIB "/store", LOG};
    struct stat st;
    kt_status_t status = KT_SUCCESS;

    /* systemd-tmpfiles would go through root's own links, and takes no file there for a failure */
    for (size_t i = 0; i < sizeof folders / sizeof *folders && !status; i++)
        if (lstat(folders[i], &st) == 0 && !S_ISDIR(st.st_mode))
            status = cli_fail(cli, KT_CONFLICT, "%s is not a folder (move it away)", folders[i]);
    if (!status)
        status = init_run(cli, (const char *const[]){"systemd-sysusers", "keyturn.conf", NULL});
    init_point();
    if (!status)
        status = init_run(
            cli, (const char *const[]){"systemd-tmpfiles", "--create", "keyturn.conf", NULL});
    init_point();
    return status;
}

/*
 * Undoes what a killed init left. With a configuration, a first one had got to its end, and all of
 * it stays; what is noted of users was made before the configuration had them.
 */
kt_status_t init_begin(init_system_t *s)
{
    kt_status_t status = init_work_begin(s->cli, &s->work, WORK);

    if (status)
        return status;
    if (access(CONFIG, F_OK) != 0 || access(USERS, F_OK) == 0)
        return init_undo(s->cli, &s->work);
    init_keep(&s->work);
    return KT_SUCCESS;
}

/* ---- the streams ---- */

/* A line of tmpfiles.d(5). The colons leave alone what is there. */
static kt_status_t write_conf(init_system_t *s, const init_consumer_t *consumer, const char *path)
{
    const struct group *group = getgrgid(consumer->gid);
    bool plain = group && !strpbrk(group->gr_name, " \t\"'\\%");
    kt_status_t status = init_note(s->cli, &s->work, path);
    char gid[16], *text;

    if (status)
        return status;
    snprintf(gid, sizeof gid, "%u", (unsigned)consumer->gid);
    if (asprintf(&text,
                 "# An audit stream, written by keyturn init --system.\n"
                 "d " LOG "/%s :0700 :%s :%s\n",
                 consumer->stream, consumer->user, plain ? group->gr_name : gid) < 0)
        return cli_fail(s->cli, KT_INTERNAL, "out of memory");
    status = init_write(s->cli, path, 0644, text);
    free(text);
    return status;
}

static kt_status_t make_folder(init_system_t *s, const init_consumer_t *consumer, const char *path)
{
    char conf[PATH_MAX];
    struct stat st;
    kt_status_t status = KT_SUCCESS;

    snprintf(conf, sizeof conf, CONFS "/keyturn-%s.conf", consumer->stream);
    mkdir(CONFS, 0755);
    if (access(conf, F_OK) != 0)
        status = write_conf(s, consumer, conf);
    if (!status && !(lstat(path, &st) == 0 && S_ISDIR(st.st_mode)))
        status = init_note(s->cli, &s->work, path);
    if (!status)
        status =
            init_run(s->cli, (const char *const[]){"systemd-tmpfiles", "--create", conf, NULL});
    init_point();
    return status;
}

/* One that is there and has begun goes on. */
static kt_status_t make_stream(init_system_t *s, const init_consumer_t *consumer)
{
    char path[PATH_MAX], state[PATH_MAX];
    kt_status_t status;

    snprintf(path, sizeof path, LOG "/%s", consumer->stream);
    snprintf(state, sizeof state, LOG "/%s/state", consumer->stream);
    status = make_folder(s, consumer, path);
    if (status || !s->audit_key[0] || access(state, F_OK) == 0)
        return status;
    status = init_note(s->cli, &s->work, state);
    return status ? status
                  : init_stream(s->cli, path, s->environment, consumer->stream, s->audit_key);
}

/* ---- the keys ---- */

/* The group is the user's own and has no other member: it may read what is the user's. */
static bool has_private_group(const init_consumer_t *consumer)
{
    const struct group *group = getgrgid(consumer->gid);
    const struct passwd *other;
    bool own = group && strcmp(group->gr_name, consumer->user) == 0;

    for (char **member = group ? group->gr_mem : NULL; member && *member; member++)
        if (strcmp(*member, consumer->user) != 0)
            own = false;
    setpwent();
    while (own && (other = getpwent()))
        if (other->pw_gid == consumer->gid && other->pw_uid != consumer->uid)
            own = false;
    endpwent();
    return own;
}

static kt_status_t make_key(init_system_t *s, const init_consumer_t *consumer)
{
    char path[PATH_MAX];
    kt_status_t status;

    snprintf(path, sizeof path, ETC "/%s.key", consumer->stream);
    if (!consumer->types || (consumer->given && access(path, F_OK) == 0))
        return KT_SUCCESS;
    status = init_note(s->cli, &s->work, path);
    if (status)
        return status;
    status = kt_keygen_types(s->cli->setup, consumer->types, path);
    if (status)
        return cli_fail(s->cli, status, "%s", kt_setup_error(s->cli->setup));
    init_point();
    if (consumer->given && !has_private_group(consumer))
        return init_own(s->cli, path, consumer->uid, 0, 0400);
    return init_own(s->cli, path, 0, consumer->gid, 0640);
}

/* ---- all of it ---- */

static kt_status_t make_member(init_system_t *s, const init_consumer_t *consumer)
{
    const char *argv[] = {"systemd-sysusers", "--inline", NULL, NULL, NULL};
    char reads[128], writes[128];
    kt_status_t status;

    if (!consumer->types)
        return KT_SUCCESS;
    status = init_note_member(s->cli, &s->work, consumer->user, CLI_READERS);
    if (!status && consumer->writes)
        status = init_note_member(s->cli, &s->work, consumer->user, CLI_WRITERS);
    if (status)
        return status;
    snprintf(reads, sizeof reads, "m %s " CLI_READERS, consumer->user);
    snprintf(writes, sizeof writes, "m %s " CLI_WRITERS, consumer->user);
    argv[2] = reads;
    argv[3] = consumer->writes ? writes : NULL;
    return init_run(s->cli, argv);
}

kt_status_t init_consumers(init_system_t *s)
{
    kt_status_t status = KT_SUCCESS;

    for (size_t i = 0; i < s->nconsumers && !status; i++) {
        status = make_key(s, &s->consumers[i]);
        if (!status)
            status = make_stream(s, &s->consumers[i]);
        if (!status)
            status = make_member(s, &s->consumers[i]);
        init_point();
    }
    return status;
}
