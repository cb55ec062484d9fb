/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command.c: one command, run with a value on a pipe.
 *
 * No shell, no environment of ours, no descriptor but three or four, and its output goes nowhere:
 * what it prints may hold the value. It is started by posix_spawn(), which copies neither locked
 * memory nor locks, in a process group of its own, so that a timeout ends all of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"
#include "command.h"

#define EXTRA_FD 3
#define FIRST_FREE 10 /* our ends of pipes lie above what the child wants to have */
#define NAP_MAX_MS 20

/* ---- may it be run ---- */

static bool is_ours(const struct stat *st)
{
    return st->st_uid == 0 || st->st_uid == geteuid();
}

/* In a sticky folder nobody but the owner, checked below, can replace what is there. */
static kt_status_t check_folder(const char *path)
{
    struct stat st;

    if (lstat(path, &st) != 0)
        return kt_fail(KT_PERMISSION, "%s: cannot be examined: %s", path, strerror(errno));
    if (!is_ours(&st) || ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (st.st_mode & S_ISVTX) == 0))
        return kt_fail(
            KT_PERMISSION,
            "%s: others than root and us may put a command of theirs there (uid %u, mode %04o)",
            path, st.st_uid, st.st_mode & 07777);
    return KT_SUCCESS;
}

static kt_status_t check_file(const char *path)
{
    struct stat st;

    if (lstat(path, &st) != 0)
        return kt_fail(KT_PERMISSION, "%s: cannot be examined: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return kt_fail(KT_CONFIG, "%s: is no command", path);
    if (!is_ours(&st))
        return kt_fail(KT_PERMISSION, "%s: belongs to uid %u, neither root nor us (uid %u)", path,
                       st.st_uid, geteuid());
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return kt_fail(KT_PERMISSION, "%s: others may write it (mode %04o): chmod go-w %s", path,
                       st.st_mode & 07777, path);
    if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) != 0)
        return kt_fail(KT_PERMISSION, "%s: we may not execute it: %s", path, strerror(errno));
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

/* Without links, so that what was checked is what is run. */
kt_status_t kt_command_find(const char *path, char ret_path[PATH_MAX])
{
    if (path[0] != '/')
        return kt_fail(KT_CONFIG, "a command needs its whole path, from / on");
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

/* ---- pipes ---- */

typedef struct feed {
    int read, write;
    const unsigned char *at;
    size_t left;
} feed_t;

static void close_one(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void feed_close(feed_t *feed)
{
    close_one(&feed->read);
    close_one(&feed->write);
}

static bool feed_open(feed_t *feed, const kt_secret_t *value)
{
    int fds[2];

    if (value == NULL)
        return true;
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
        return false;
    feed->read = fcntl(fds[0], F_DUPFD_CLOEXEC, FIRST_FREE);
    feed->write = fcntl(fds[1], F_DUPFD_CLOEXEC, FIRST_FREE);
    (void)close(fds[0]);
    (void)close(fds[1]);
    if (feed->read < 0 || feed->write < 0 || fcntl(feed->read, F_SETFL, 0) != 0)
        return false;
    feed->at = value->data;
    feed->left = value->size;
    return true;
}

/* The end for reading stays open here as long as anything is to be written: so nothing sends
 * SIGPIPE, whatever the child closes. */
static void feed_more(feed_t *feed)
{
    while (feed->left > 0) {
        ssize_t n = write(feed->write, feed->at, feed->left);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        feed->at += n;
        feed->left -= (size_t)n;
    }
    feed_close(feed);
}

/* ---- the child ---- */

#define VARIABLES 7

typedef struct variables {
    char text[VARIABLES - 1][KT_NAME_MAX + 64];
    char *list[VARIABLES];
} variables_t;

static void make_variables(const kt_command_t *command, variables_t *v)
{
    size_t i, n = 0;

    (void)snprintf(v->text[n++], sizeof(v->text[0]), "%s", KT_COMMAND_PATH);
    (void)snprintf(v->text[n++], sizeof(v->text[0]), "LC_ALL=C.UTF-8");
    (void)snprintf(v->text[n++], sizeof(v->text[0]), "KEYTURN_ENVIRONMENT=%s",
                   command->environment);
    (void)snprintf(v->text[n++], sizeof(v->text[0]), "KEYTURN_NAME=%s", command->name);
    (void)snprintf(v->text[n++], sizeof(v->text[0]), "KEYTURN_VERSION=%llu",
                   (unsigned long long)command->version);
    (void)snprintf(v->text[n++], sizeof(v->text[0]), "KEYTURN_STEP=%s", command->step);
    for (i = 0; i < n; i++)
        v->list[i] = v->text[i];
    v->list[n] = NULL;
}

static int add_actions(posix_spawn_file_actions_t *actions, int input, int extra)
{
    int error = posix_spawn_file_actions_adddup2(actions, input, STDIN_FILENO);

    if (error == 0)
        error = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(actions, STDOUT_FILENO, STDERR_FILENO);
    if (error == 0 && extra >= 0)
        error = posix_spawn_file_actions_adddup2(actions, extra, EXTRA_FD);
    if (error == 0)
        error =
            posix_spawn_file_actions_addclosefrom_np(actions, extra >= 0 ? EXTRA_FD + 1 : EXTRA_FD);
    return error;
}

static int set_attributes(posix_spawnattr_t *attributes)
{
    static const int signals[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGPIPE, SIGALRM,
                                  SIGTERM, SIGCHLD, SIGTSTP, SIGUSR1, SIGUSR2};
    sigset_t none, usual;
    size_t i;

    (void)sigemptyset(&none);
    (void)sigemptyset(&usual);
    for (i = 0; i < KT_ARRAY(signals); i++)
        (void)sigaddset(&usual, signals[i]);
    (void)posix_spawnattr_setsigmask(attributes, &none);
    (void)posix_spawnattr_setsigdefault(attributes, &usual);
    (void)posix_spawnattr_setpgroup(attributes, 0);
    return posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                    POSIX_SPAWN_SETSIGDEF);
}

int kt_command_spawn(const char *path, char *const *argv, char *const *variables, int input,
                     int extra, pid_t *ret_pid)
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
    error = add_actions(&actions, input, extra);
    if (error == 0)
        error = set_attributes(&attributes);
    if (error == 0)
        error = posix_spawn(ret_pid, path, &actions, &attributes, argv, variables);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return error;
}

static int wait_killed(pid_t pid)
{
    int status;

    (void)kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return -1;
}

/* The exit status, or -1. */
static int wait_for(pid_t pid, int64_t timeout, feed_t *input, feed_t *extra)
{
    int64_t end = kt_monotonic() + timeout;
    int nap, status;

    for (nap = 1;; nap = nap * 2 < NAP_MAX_MS ? nap * 2 : NAP_MAX_MS) {
        pid_t got;

        feed_more(input);
        feed_more(extra);
        got = waitpid(pid, &status, WNOHANG);
        if (got == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        if (got < 0 && errno != EINTR)
            return -1;
        if (kt_monotonic() >= end)
            return wait_killed(pid);
        (void)poll(NULL, 0, nap);
    }
}

kt_status_t kt_command_run(const kt_command_t *command, int *ret_exit)
{
    feed_t input = {-1, -1, NULL, 0}, extra = {-1, -1, NULL, 0};
    char path[PATH_MAX];
    variables_t variables;
    pid_t pid = 0;
    int error;
    kt_status_t status = kt_command_find(command->argv[0], path);

    if (status != KT_SUCCESS)
        return status;
    if (!feed_open(&input, command->input) || !feed_open(&extra, command->extra)) {
        status = kt_fail(KT_INTERNAL, "no pipe to a command: %s", strerror(errno));
        goto out;
    }
    make_variables(command, &variables);
    error = kt_command_spawn(path, command->argv, variables.list, input.read, extra.read, &pid);
    if (error != 0)
        status = kt_fail(KT_CONFIG, "%s: cannot be run: %s", command->argv[0], strerror(error));
    else
        *ret_exit = wait_for(pid, command->timeout, &input, &extra);
out:
    feed_close(&input);
    feed_close(&extra);
    return status;
}
