/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exec.c: a key file's text from a command, as from a password manager or an HSM's tool.
 *
 * No shell, so that nothing in the configuration is ever expanded; an environment of our own and no
 * descriptor of the host, so that the command cannot leak what the host holds; a group of its own,
 * so that its children end with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"
#include "keysource.h"
#include "command.h"

#define WORDS_MAX 32u
#define ROOM_FIRST 4096u
#define WAIT_STEP 10 /* ms */

typedef struct run {
    const char *command; /* for errors: the path alone */
    pid_t pid;
    int out;
    int64_t deadline;
    char *text; /* locked */
    size_t size, room;
} run_t;

/* ---- run ---- */

static int spawn(run_t *run, const char *path, char *const argv[], int out)
{
    char *const environment[] = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int error;

    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    error = posix_spawn_file_actions_init(&actions);
    if (error != 0)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (error != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                    POSIX_SPAWN_SETPGROUP);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (error == 0)
        error = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    if (error == 0)
        error = posix_spawn(&run->pid, path, &actions, &attributes, argv, environment);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return error;
}

static kt_status_t start(run_t *run, const char *path, char *const argv[])
{
    int ends[2], error;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return kt_fail(KT_INTERNAL, "%s: %s", run->command, strerror(errno));
    /* a host that closed its standard descriptors: dup2() onto itself would keep O_CLOEXEC */
    if (ends[1] <= STDERR_FILENO) {
        int moved = fcntl(ends[1], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

        (void)close(ends[1]);
        ends[1] = moved;
    }
    error = ends[1] < 0 ? EMFILE : spawn(run, path, argv, ends[1]);
    (void)close(ends[1]);
    if (error != 0) {
        (void)close(ends[0]);
        return kt_fail(KT_CONFIG, "%s: cannot be executed: %s", run->command, strerror(error));
    }
    run->out = ends[0];
    return KT_SUCCESS;
}

static kt_status_t grow(run_t *run)
{
    size_t room = run->room == 0 ? ROOM_FIRST : run->room * 2;
    char *text;

    if (run->size + 1 < run->room)
        return KT_SUCCESS;
    if (room > KT_KEYFILE_MAX)
        return kt_fail(KT_CONFIG, "%s: printed more than a key file may have", run->command);
    text = kt_locked_alloc(room);
    if (text == NULL)
        return kt_fail(KT_INTERNAL, "out of memory");
    if (run->size > 0)
        memcpy(text, run->text, run->size);
    kt_locked_free(run->text);
    run->text = text;
    run->room = room;
    return KT_SUCCESS;
}

static kt_status_t too_slow(const run_t *run)
{
    return kt_fail(KT_UNAVAIL, "%s: was not done in time, and was killed", run->command);
}

static kt_status_t collect(run_t *run)
{
    struct pollfd in = {.fd = run->out, .events = POLLIN};
    kt_status_t status;

    for (;;) {
        int64_t left = run->deadline - kt_monotonic();
        ssize_t got;

        status = grow(run);
        if (status != KT_SUCCESS)
            return status;
        if (left <= 0)
            return too_slow(run);
        if (poll(&in, 1, (int)left) <= 0)
            continue;
        got = read(run->out, run->text + run->size, run->room - run->size - 1);
        if (got < 0 && errno != EINTR)
            return kt_fail(KT_INTERNAL, "%s: %s", run->command, strerror(errno));
        if (got == 0)
            return KT_SUCCESS;
        if (got > 0)
            run->size += (size_t)got;
    }
}

/* It may close its output and go on. */
static kt_status_t wait_for(run_t *run)
{
    int result = 0;

    for (;;) {
        pid_t pid = waitpid(run->pid, &result, WNOHANG);

        if (pid < 0 && errno != EINTR)
            return kt_fail(KT_INTERNAL, "%s: this process lost its exit status: %s", run->command,
                           strerror(errno));
        if (pid > 0)
            break;
        if (kt_monotonic() >= run->deadline)
            return too_slow(run);
        (void)poll(NULL, 0, WAIT_STEP);
    }
    run->pid = 0;
    if (WIFSIGNALED(result))
        return kt_fail(KT_CONFIG, "%s: was ended by signal %d", run->command, WTERMSIG(result));
    if (WEXITSTATUS(result) != 0)
        return kt_fail(KT_CONFIG, "%s: failed with exit status %d", run->command,
                       WEXITSTATUS(result));
    return KT_SUCCESS;
}

static void stop(run_t *run)
{
    if (run->pid == 0)
        return;
    (void)kill(-run->pid, SIGKILL);
    (void)kill(run->pid, SIGKILL); /* before it had its group */
    while (waitpid(run->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static kt_status_t run_words(run_t *run, char *const argv[], unsigned limit)
{
    char path[PATH_MAX];
    kt_status_t status = kt_command_find(argv[0], path);

    if (status == KT_SUCCESS)
        status = start(run, path, argv);
    if (status != KT_SUCCESS)
        return status;
    run->deadline = kt_monotonic() + limit;
    status = collect(run);
    (void)close(run->out);
    if (status == KT_SUCCESS)
        status = wait_for(run);
    stop(run);
    if (status == KT_SUCCESS && run->size == 0)
        status = kt_fail(KT_CONFIG, "%s: printed nothing", run->command);
    return status;
}

kt_status_t kt_exec_read(const char *command, unsigned limit, char **ret_text, size_t *ret_size)
{
    char *copy = strdup(command), *rest = NULL, *word, *argv[WORDS_MAX + 1];
    run_t run = {0};
    sigset_t child, before;
    size_t n = 0;
    kt_status_t status;

    if (copy == NULL)
        return kt_fail(KT_INTERNAL, "out of memory");
    for (word = strtok_r(copy, " \t", &rest); word != NULL && n < WORDS_MAX;
         word = strtok_r(NULL, " \t", &rest))
        argv[n++] = word;
    argv[n] = NULL;
    /* A host's own handler would wait for any child, and take our exit status. */
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    (void)pthread_sigmask(SIG_BLOCK, &child, &before);
    run.command = argv[0];
    if (n == 0 || word != NULL)
        status =
            kt_fail(KT_CONFIG, n == 0 ? "no command is named" : "too many words for a command");
    else
        status = run_words(&run, argv, limit);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    free(copy);
    if (status != KT_SUCCESS) {
        kt_locked_free(run.text);
        return status;
    }
    *ret_text = run.text;
    *ret_size = run.size;
    return KT_SUCCESS;
}
