/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The files of a store for several users:
 *
 *     SYSCONFDIR/keyturn            keyturn.yaml   0640  root:keyturn
 *                                   E.key          0600  root           every type
 *                                   HOST.key       0640  root:HOST's    the server's types
 *                                   cli-USER.key   0640  root:USER's, or 0400 USER if its group
 *                                                        has other members
 *     LOCALSTATEDIR/lib/keyturn                    0750  root:keyturn   only readers pass it
 *     LOCALSTATEDIR/lib/keyturn/store              2775  root:keyturn-write, files 0664
 *     LOCALSTATEDIR/lib/keyturn/anchors            0755  root           only root changes its
 * entries LOCALSTATEDIR/lib/keyturn/anchors/STREAM     0755  the stream's user
 *     LOCALSTATEDIR/log/keyturn/STREAM             2750  the stream's user:keyturn-audit; log 0640,
 *                                                        state 0600, rings 0700
 *
 * The package's keyturn.conf of sysusers.d and tmpfiles.d describes what is the same on every
 * machine. The streams depend on the machine: each has a file keyturn-STREAM.conf in
 * /etc/tmpfiles.d, so that its folder is made again if /var is lost. Memberships are only in
 * /etc/group, because a line of sysusers.d would make a removed user again.
 */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init_system.h"

#define CONFS "/etc/tmpfiles.d" /* systemd's, independent of our prefix */

kt_status_t init_own(cli_t *cli, const char *path, uid_t uid, gid_t gid, mode_t mode)
{
    if (lchown(path, uid, gid) != 0 || chmod(path, mode) != 0)
        return init_cannot(cli, "set owner and mode of", path);
    return KT_SUCCESS;
}

/* ---- what every machine has ---- */

kt_status_t init_groups(cli_t *cli)
{
    return init_run(cli, (const char *const[]){"systemd-sysusers", "keyturn.conf", NULL});
}

kt_status_t init_base(cli_t *cli)
{
    static const char *const folders[] = {ETC, LIB, LIB "/store", LIB "/anchors", LOG};
    struct stat st;
    kt_status_t status = KT_SUCCESS;

    /* systemd-tmpfiles follows links of root, and a file in the place of a folder does not fail */
    for (size_t i = 0; i < sizeof folders / sizeof *folders && !status; i++)
        if (lstat(folders[i], &st) == 0 && !S_ISDIR(st.st_mode))
            status = cli_fail(cli, KT_CONFLICT, "%s is not a folder (move it away)", folders[i]);
    if (!status)
        status = init_groups(cli);
    init_point();
    if (!status)
        status = init_run(
            cli, (const char *const[]){"systemd-tmpfiles", "--create", "keyturn.conf", NULL});
    init_point();
    return status;
}

/*
 * Undoes what a killed init left. If the configuration exists, the first init was complete, and all
 * that it made stays. The notes of a later init for users are undone, because its last step is the
 * one that changes the configuration.
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

/* Writes lines of tmpfiles.d(5). With the colons, an existing folder keeps mode and owner. A new
 * log gets its group from the stream's folder (2xxx), because its user is not in that group. */
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
                 "# An audit stream and its anchors, written by keyturn init --system.\n"
                 "d " LOG "/%1$s :2750 :%2$s :" CLI_AUDITORS "\n"
                 "d " LIB "/anchors/%1$s :0755 :%2$s :%3$s\n",
                 consumer->stream, consumer->user, plain ? group->gr_name : gid) < 0)
        return cli_no_memory(s->cli);
    status = init_write(s->cli, path, 0644, text);
    free(text);
    return status;
}

/* Notes the folder if it is going to be made. */
static kt_status_t note_folder(init_system_t *s, const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) ? KT_SUCCESS
                                                        : init_note(s->cli, &s->work, path);
}

static kt_status_t make_folders(init_system_t *s, const init_consumer_t *consumer)
{
    char conf[PATH_MAX], path[PATH_MAX], anchors[PATH_MAX];
    kt_status_t status = KT_SUCCESS;

    snprintf(path, sizeof path, LOG "/%s", consumer->stream);
    snprintf(anchors, sizeof anchors, LIB "/anchors/%s", consumer->stream);
    snprintf(conf, sizeof conf, CONFS "/keyturn-%s.conf", consumer->stream);
    mkdir(CONFS, 0755);
    if (access(conf, F_OK) != 0)
        status = write_conf(s, consumer, conf);
    if (!status)
        status = note_folder(s, path);
    if (!status)
        status = note_folder(s, anchors);
    if (!status)
        status =
            init_run(s->cli, (const char *const[]){"systemd-tmpfiles", "--create", conf, NULL});
    init_point();
    return status;
}

/* A user who is added without the audit key: `audit verify` has to know that this was root's
 * choice. */
static kt_status_t mark_unkeyed(init_system_t *s, const init_consumer_t *consumer)
{
    char mark[PATH_MAX];
    kt_status_t status;

    snprintf(mark, sizeof mark, LOG "/.%s.unkeyed", consumer->stream);
    if (!s->cli->setup || access(mark, F_OK) == 0)
        return KT_SUCCESS;
    status = init_note(s->cli, &s->work, mark);
    return status ? status : init_write(s->cli, mark, 0644, "");
}

/* A stream that has begun is continued. */
static kt_status_t make_stream(init_system_t *s, const init_consumer_t *consumer)
{
    char path[PATH_MAX], state[PATH_MAX];
    kt_status_t status;

    snprintf(path, sizeof path, LOG "/%s", consumer->stream);
    snprintf(state, sizeof state, LOG "/%s/state", consumer->stream);
    status = make_folders(s, consumer);
    if (status || access(state, F_OK) == 0)
        return status;
    if (!s->audit_key[0])
        return mark_unkeyed(s, consumer);
    status = init_note(s->cli, &s->work, state);
    return status ? status
                  : init_stream(s->cli, path, s->environment, consumer->stream, s->audit_key);
}

/* ---- the keys ---- */

/* Is the user alone in its group, so that the group may read its key? */
static bool has_private_group(const init_consumer_t *consumer)
{
    const struct group *group = getgrgid(consumer->gid);
    const struct passwd *other;
    bool is_own = group && strcmp(group->gr_name, consumer->user) == 0;

    for (char **member = group ? group->gr_mem : NULL; member && *member; member++)
        if (strcmp(*member, consumer->user) != 0)
            is_own = false;
    setpwent();
    while (is_own && (other = getpwent()))
        if (other->pw_gid == consumer->gid && other->pw_uid != consumer->uid)
            is_own = false;
    endpwent();
    return is_own;
}

static kt_status_t make_key(init_system_t *s, const init_consumer_t *consumer)
{
    char path[PATH_MAX];
    kt_status_t status;

    snprintf(path, sizeof path, ETC "/%s.key", consumer->stream);
    if (!consumer->types || (consumer->is_person && access(path, F_OK) == 0))
        return KT_SUCCESS;
    status = init_note(s->cli, &s->work, path);
    if (status)
        return status;
    status = kt_keygen_types(s->cli->setup, consumer->types, path);
    if (status)
        return cli_check_setup(s->cli, status);
    init_point();
    if (consumer->is_person && !has_private_group(consumer))
        return init_own(s->cli, path, consumer->uid, 0, 0400);
    return init_own(s->cli, path, 0, consumer->gid, 0640);
}

/* ---- the consumers ---- */

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
