/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn check, as root: may the group keyturn-audit read the log of each stream, and only its
 * owner anything more? A stream belongs to its user, who may have put anything into it: nothing
 * is opened but folders, links are not followed, and no name that the user chose is in a command.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

typedef struct stream {
    cli_t *cli;
    json_t *rows;
    kt_status_t worst;
    gid_t auditors;
    const char *name;    /* of its folder */
    char path[PATH_MAX]; /* of its folder */
    char user[64];       /* who owns it */
    bool has_wrong_log;  /* one is enough: the command is for all of them */
} stream_t;

/* Has it only characters that mean nothing to a shell? */
static bool is_plain(const char *text)
{
    return text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                             "/._-")] == '\0';
}

static void report(stream_t *stream, const char *problem, const char *command)
{
    char text[4 * PATH_MAX];
    bool quoted = is_plain(stream->path);

    snprintf(text, sizeof text, "%s%s%s%s", problem, quoted ? ": `" : "", quoted ? command : "",
             quoted ? "`" : "");
    cli_collect(stream->rows, KT_PERMISSION, stream->name, text);
    stream->worst = cli_worse(stream->worst, KT_PERMISSION);
}

/* New logs get the group from the folder. */
static void check_folder(stream_t *stream, const struct stat *st)
{
    char problem[PATH_MAX + 160], command[2 * PATH_MAX + 160];
    const char *what = NULL;

    if (st->st_gid != stream->auditors || (st->st_mode & 050) != 050)
        what = "the group " CLI_AUDITORS " cannot read";
    else if ((st->st_mode & S_ISGID) == 0)
        what = "new logs will not have the group " CLI_AUDITORS " in";
    else if ((st->st_mode & 027) != 0)
        what = "users other than its owner and the group " CLI_AUDITORS " may open";
    if (!what)
        return;
    snprintf(problem, sizeof problem, "%s %s (mode %04o)", what, stream->path,
             (unsigned)(st->st_mode & 07777));
    snprintf(command, sizeof command, "chgrp -R " CLI_AUDITORS " %s && chmod 2750 %s", stream->path,
             stream->path);
    report(stream, problem, command);
}

/* As the stream's user: a link that it puts in place of a log does not give away another file. */
static void check_log(stream_t *stream, const char *name, const struct stat *st)
{
    char problem[PATH_MAX + 400], command[2 * PATH_MAX + 300];
    bool is_read = st->st_gid == stream->auditors && (st->st_mode & 040);

    if (stream->has_wrong_log || (is_read && (st->st_mode & 037) == 0))
        return;
    stream->has_wrong_log = true;
    snprintf(problem, sizeof problem, "%s %s/%s (mode %04o)",
             is_read ? "users other than its owner and the group " CLI_AUDITORS " may open"
                     : "the group " CLI_AUDITORS " cannot read",
             stream->path, is_plain(name) ? name : "log*", (unsigned)(st->st_mode & 07777));
    snprintf(command, sizeof command,
             "chgrp -R " CLI_AUDITORS " %s && runuser -u %s -- sh -c 'chmod 640 %s/log*'",
             stream->path, stream->user, stream->path);
    report(stream, problem, command);
}

/* The state has the key of the next seal, and a ring's records are not sealed yet. */
static void check_private(stream_t *stream, const char *name, const struct stat *st)
{
    char problem[PATH_MAX + 400], command[PATH_MAX + 400];

    if ((st->st_mode & 077) == 0)
        return;
    snprintf(problem, sizeof problem, "users other than its owner may open %s/%s (mode %04o)",
             stream->path, name, (unsigned)(st->st_mode & 07777));
    snprintf(command, sizeof command, "runuser -u %s -- chmod go= %s/%s", stream->user,
             stream->path, name);
    report(stream, problem, command);
}

/* A file that was rotated or removed meanwhile is not there any more. */
static void check_entry(stream_t *stream, int folder, const char *name)
{
    struct stat st;

    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return;
    if (S_ISREG(st.st_mode) && strncmp(name, "log", 3) == 0)
        check_log(stream, name, &st);
    else if ((S_ISREG(st.st_mode) && strcmp(name, "state") == 0) ||
             (S_ISDIR(st.st_mode) && strcmp(name, "rings") == 0))
        check_private(stream, name, &st);
}

static void cannot_list(stream_t *stream)
{
    char text[PATH_MAX + 160];

    snprintf(text, sizeof text, "%s cannot be listed: %s", stream->path, strerror(errno));
    cli_collect(stream->rows, KT_PERMISSION, stream->name, text);
    stream->worst = cli_worse(stream->worst, KT_PERMISSION);
}

static void check_stream(stream_t *stream, int parent)
{
    int fd = openat(parent, stream->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    const struct passwd *user;
    struct stat st;

    if (!dir || fstat(fd, &st) != 0) {
        if (errno != ENOTDIR && errno != ELOOP)
            cannot_list(stream);
        if (dir)
            closedir(dir);
        else if (fd >= 0)
            close(fd);
        return;
    }
    user = getpwuid(st.st_uid);
    snprintf(stream->user, sizeof stream->user, "%s", user ? user->pw_name : "root");
    check_folder(stream, &st);
    for (errno = 0; (entry = readdir(dir)); errno = 0)
        check_entry(stream, dirfd(dir), entry->d_name);
    if (errno)
        cannot_list(stream);
    closedir(dir);
}

/* Layouts without the group were not made by this version's init: only root reads all logs. */
kt_status_t check_streams(cli_t *cli, json_t *rows)
{
    const char *path = kt_setup_audit_path(cli->setup);
    const struct group *group = getgrnam(CLI_AUDITORS);
    stream_t all = {.cli = cli, .rows = rows, .worst = KT_SUCCESS};
    const struct dirent *entry;
    DIR *dir;

    if (!group || !kt_setup_key(cli->setup, 0))
        return KT_SUCCESS;
    all.auditors = group->gr_gid;
    dir = opendir(path);
    for (errno = dir ? 0 : errno; dir && (entry = readdir(dir)); errno = 0) {
        stream_t stream = all;

        if (entry->d_name[0] == '.' || snprintf(stream.path, sizeof stream.path, "%s/%s", path,
                                                entry->d_name) >= (int)sizeof stream.path)
            continue;
        stream.name = entry->d_name;
        check_stream(&stream, dirfd(dir));
        all.worst = cli_worse(all.worst, stream.worst);
    }
    if (errno && errno != ENOENT) {
        snprintf(all.path, sizeof all.path, "%s", path);
        all.name = "audit";
        cannot_list(&all);
    }
    if (dir)
        closedir(dir);
    return all.worst;
}
