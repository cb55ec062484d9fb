/* SPDX-License-Identifier: BSD-2-Clause */
/* All or nothing: the folder to work in, its lock, and the notes of what to undo. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

/* ---- programs ---- */

static kt_status_t no_program(cli_t *cli, const char *name, int error)
{
    if (error == ENOENT && strncmp(name, "systemd-", 8) == 0)
        return cli_fail(cli, KT_UNAVAIL,
                        "%s: not found (install the package systemd or, to do without systemd, "
                        "systemd-standalone-%s)",
                        name, name + 8);
    return cli_fail(cli, KT_UNAVAIL, "cannot run %s: %s", name, strerror(error));
}

kt_status_t init_run(cli_t *cli, const char *const *argv)
{
    static char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
                                        "SYSTEMD_LOG_LEVEL=notice", NULL};
    posix_spawn_file_actions_t actions;
    int status = -1, error;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    error = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    if (error)
        return no_program(cli, argv[0], error);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return cli_fail(cli, KT_UNAVAIL, "%s failed (its message is above)", argv[0]);
    return KT_SUCCESS;
}

/* ---- the folder ---- */

/* The init that held the lock may have renamed or removed the folder. */
static bool has_name(const char *path, const struct stat *st)
{
    struct stat named;

    return lstat(path, &named) == 0 && named.st_ino == st->st_ino && named.st_dev == st->st_dev;
}

kt_status_t init_work_begin(cli_t *cli, init_work_t *work, const char *path)
{
    kt_status_t status = KT_SUCCESS;
    struct stat st;
    int fd;

    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return init_cannot(cli, "make", path);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if ((fd < 0 && errno == ENOENT) || (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0))
        status = cli_fail(cli, KT_CONFLICT, "%s: another init is running here", path);
    else if (fd < 0 || fstat(fd, &st) != 0 || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        status = cli_fail(cli, KT_PERMISSION,
                          "%s: init did not make it (inspect it, then remove it)", path);
    else if (!has_name(path, &st))
        status = cli_fail(cli, KT_CONFLICT, "%s: another init was running here", path);
    if (status) {
        if (fd >= 0)
            close(fd);
        return status;
    }
    work->lock = fd;
    snprintf(work->path, sizeof work->path, "%s", path);
    init_point();
    return KT_SUCCESS;
}

static int remove_below(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    return ftw->level > 0 ? remove(path) : 0;
}

/* ---- notes ---- */

static void note_path(const char *folder, unsigned number, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/.made-%u", folder, number);
}

static kt_status_t note(cli_t *cli, init_work_t *work, const char *text)
{
    char path[PATH_MAX];

    note_path(work->path, work->notes++, path);
    if (symlink(text, path) != 0 || fsync(work->lock) != 0)
        return init_cannot(cli, "make", path);
    init_point();
    return KT_SUCCESS;
}

kt_status_t init_note(cli_t *cli, init_work_t *work, const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 ? init_exists(cli, path) : note(cli, work, path);
}

static bool is_member(const char *user, const char *name)
{
    const struct group *group = getgrnam(name);

    for (char **member = group ? group->gr_mem : NULL; member && *member; member++)
        if (strcmp(*member, user) == 0)
            return true;
    return false;
}

kt_status_t init_note_member(cli_t *cli, init_work_t *work, const char *user, const char *group)
{
    char text[160];

    snprintf(text, sizeof text, "member %s %s", user, group);
    return is_member(user, group) ? KT_SUCCESS : note(cli, work, text);
}

/* rm does not follow a link that a user has put into its folder. */
static kt_status_t undo_note(cli_t *cli, const char *text)
{
    char user[64], group[64];

    if (text[0] == '/')
        return init_run(cli, (const char *const[]){"rm", "-rf", "--", text, NULL});
    if (sscanf(text, "member %63s %63s", user, group) == 2 && is_member(user, group))
        return init_run(cli, (const char *const[]){"gpasswd", "-d", user, group, NULL});
    return KT_SUCCESS;
}

kt_status_t init_undo(cli_t *cli, init_work_t *work)
{
    char path[PATH_MAX], text[PATH_MAX];
    kt_status_t status = KT_SUCCESS;
    ssize_t size;

    for (unsigned number = 0; !status; number++) {
        note_path(work->path, number, path);
        size = readlink(path, text, sizeof text - 1);
        if (size < 0)
            break;
        text[size] = '\0';
        status = undo_note(cli, text);
    }
    if (!status)
        init_keep(work);
    return status;
}

void init_keep(init_work_t *work)
{
    nftw(work->path, remove_below, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    work->notes = 0;
}

/* A note that could not be undone stays. */
void init_work_end(cli_t *cli, init_work_t *work)
{
    if (!work->path[0])
        return;
    init_point();
    if (init_undo(cli, work) == KT_SUCCESS)
        rmdir(work->path);
    close(work->lock);
    work->path[0] = '\0';
}
