/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command.c: which commands may be run, and how one is started.
 *
 * A command gets no shell, none of our environment, and no descriptors but three or four.
 * posix_spawn() copies neither locked memory nor locks. The command leads a process group of its
 * own, so that a timeout ends all of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"

#define EXTRA_FD 3
#define FIRST_FREE 10 /* pipes get descriptors above those that the child has */

/* ---- may it be run ---- */

static bool is_ours(const struct stat *st)
{
    return st->st_uid == 0 || st->st_uid == geteuid();
}

/* In a sticky folder only the owner of a file can replace it, and that owner is checked too. */
static kt_status_t check_folder(const char *path)
{
    struct stat st;

    if (lstat(path, &st) != 0)
        return kt_fail(KT_PERMISSION, "%s: cannot be examined: %s", path, strerror(errno));
    if (!is_ours(&st))
        return kt_fail(KT_PERMISSION,
                       "%s: directory belongs to uid %u, not to root or to uid %u (chown root)",
                       path, st.st_uid, geteuid());
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (st.st_mode & S_ISVTX) == 0)
        return kt_fail(KT_PERMISSION,
                       "%s: directory is writable by other users, mode %04o (chmod go-w)", path,
                       st.st_mode & 07777);
    return KT_SUCCESS;
}

static kt_status_t check_file(const char *path)
{
    struct stat st;

    if (lstat(path, &st) != 0)
        return kt_fail(KT_PERMISSION, "%s: cannot be examined: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return kt_fail(KT_CONFIG, "%s: not a regular file", path);
    if (!is_ours(&st))
        return kt_fail(KT_PERMISSION,
                       "%s: belongs to uid %u, not to root or to uid %u (chown root)", path,
                       st.st_uid, geteuid());
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return kt_fail(KT_PERMISSION, "%s: writable by other users, mode %04o (chmod go-w)", path,
                       st.st_mode & 07777);
    if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) != 0)
        return kt_fail(KT_PERMISSION, "%s: cannot be executed by this user: %s", path,
                       strerror(errno));
    return KT_SUCCESS;
}

static kt_status_t check_resolved(const char *path)
{
    char folder[PATH_MAX];
    kt_status_t status = check_file(path);

    (void)snprintf(folder, sizeof(folder), "%s", path);
    while (status == KT_SUCCESS && strcmp(folder, "/") != 0) {
        char *slash = strrchr(folder, '/');

        slash[slash == folder ? 1 : 0] = '\0';
        status = check_folder(folder);
    }
    return status;
}

/* Resolves links, so that what was checked is what is run. */
kt_status_t kt_command_find(const char *path, char ret_path[PATH_MAX])
{
    if (path[0] != '/')
        return kt_fail(KT_CONFIG, "a command must be an absolute path");
    if (realpath(path, ret_path) == NULL)
        return kt_fail(errno == ENOENT || errno == ENOTDIR ? KT_CONFIG : KT_PERMISSION, "%s: %s",
                       path, strerror(errno));
    return check_resolved(ret_path);
}

kt_status_t kt_command_check(const char *path)
{
    char found[PATH_MAX];

    return kt_command_find(path, found);
}

/* ---- its environment ---- */

void kt_environ_init(kt_environ_t *env)
{
    env->used = env->count = 0;
    kt_environ_add(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
}

void kt_environ_add(kt_environ_t *env, const char *format, ...)
{
    char *at = env->text + env->used;
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(at, sizeof(env->text) - env->used, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof(env->text) - env->used ||
        env->count + 1 >= KT_ARRAY(env->list))
        return; /* cannot happen: variables are few, and each has a limit */
    env->used += (size_t)len + 1;
    env->list[env->count++] = at;
    env->list[env->count] = NULL;
}

/* ---- start ---- */

bool kt_command_pipe(int ret_ends[2], int ours)
{
    int ends[2];
    size_t i;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    for (i = 0; i < 2; i++) {
        ret_ends[i] = fcntl(ends[i], F_DUPFD_CLOEXEC, FIRST_FREE);
        (void)close(ends[i]);
    }
    return ret_ends[0] >= 0 && ret_ends[1] >= 0 && fcntl(ret_ends[ours], F_SETFL, O_NONBLOCK) == 0;
}

static int add_input(posix_spawn_file_actions_t *actions, int input)
{
    if (input < 0)
        return posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    return posix_spawn_file_actions_adddup2(actions, input, STDIN_FILENO);
}

static int add_output(posix_spawn_file_actions_t *actions, int output)
{
    int error;

    if (output >= 0)
        return posix_spawn_file_actions_adddup2(actions, output, STDOUT_FILENO);
    error = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(actions, STDOUT_FILENO, STDERR_FILENO);
    return error;
}

static int add_actions(posix_spawn_file_actions_t *actions, kt_command_fds_t fds)
{
    int error = add_input(actions, fds.input);

    if (error == 0)
        error = add_output(actions, fds.output);
    if (error == 0 && fds.extra >= 0)
        error = posix_spawn_file_actions_adddup2(actions, fds.extra, EXTRA_FD);
    if (error == 0)
        error =
            posix_spawn_file_actions_addclosefrom_np(actions, EXTRA_FD + (fds.extra >= 0 ? 1 : 0));
    return error;
}

static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, all;

    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    (void)posix_spawnattr_setsigmask(attributes, &none);
    (void)posix_spawnattr_setsigdefault(attributes, &all);
    (void)posix_spawnattr_setpgroup(attributes, 0);
    return posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                    POSIX_SPAWN_SETSIGDEF);
}

int kt_command_spawn(const char *path, char *const *argv, const kt_environ_t *env,
                     kt_command_fds_t fds, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);

    if (error != 0)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (error != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    error = add_actions(&actions, fds);
    if (error == 0)
        error = set_attributes(&attributes);
    if (error == 0)
        error = posix_spawn(ret_pid, path, &actions, &attributes, argv, env->list);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return error;
}
