/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sink_exec.c: a command gets a batch of lines on its standard input, and says with its exit status
 * whether it has them.
 *
 * One run for each batch, and no child that lives long: an exit status is an answer, so that lines
 * which a dying command had read are sent again; a hung one is ended with its run; nothing has to
 * be looked after when a server forks its workers, reloads or stops; and each stream has one at a
 * time, however many processes write it. It costs one start a second at most.
 *
 * The host may reap our children (nginx does, in its SIGCHLD handler): so a shell around the
 * command writes the exit status into a pipe, and timeout(1) ends what hangs also when this process
 * is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"
#include "command.h"
#include "sinks.h"

#define SCRIPT "timeout -k 5 \"$0\" \"$@\" 3>&-; echo $? >&3"
#define GRACE_MS 10000
#define FIRST_FREE 10

static void close_one(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

void kt_sink_exec_init(kt_sink_exec_t *exec)
{
    *exec = (kt_sink_exec_t){.in = -1, .kept = -1, .answer = -1};
}

static void reap(kt_sink_exec_t *exec)
{
    if (exec->pid > 0 && (waitpid(exec->pid, NULL, WNOHANG) != 0))
        exec->pid = 0; /* or somebody else did it */
}

void kt_sink_exec_close(kt_sink_exec_t *exec)
{
    close_one(&exec->in);
    close_one(&exec->kept);
    close_one(&exec->answer);
    reap(exec);
}

/* Both ends above what the child wants to have, and ours without waiting. */
static bool make_pipe(int *ret_read, int *ret_write)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) != 0)
        return false;
    *ret_read = fcntl(fds[0], F_DUPFD_CLOEXEC, FIRST_FREE);
    *ret_write = fcntl(fds[1], F_DUPFD_CLOEXEC, FIRST_FREE);
    (void)close(fds[0]);
    (void)close(fds[1]);
    return *ret_read >= 0 && *ret_write >= 0;
}

static kt_status_t start(kt_sink_exec_t *exec, const kt_cfg_sink_t *config, const char *environment,
                         const char *stream)
{
    char path[PATH_MAX], seconds[12], names[2][KT_ENVIRONMENT_MAX + 64];
    char *variables[] = {(char *)(uintptr_t)KT_COMMAND_PATH, (char *)(uintptr_t) "LC_ALL=C.UTF-8",
                         names[0], names[1], NULL};
    char *argv[72] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)SCRIPT,
                      seconds, path};
    int status_end = -1, error;
    size_t i;
    kt_status_t status = kt_command_find(config->argv[0], path);

    if (status != KT_SUCCESS)
        return status;
    for (i = 1; i < 65 && config->argv[i] != NULL; i++)
        argv[4 + i] = config->argv[i];
    (void)snprintf(seconds, sizeof(seconds), "%d", KT_SINK_EXEC_S);
    (void)snprintf(names[0], sizeof(names[0]), "KEYTURN_ENVIRONMENT=%s", environment);
    (void)snprintf(names[1], sizeof(names[1]), "KEYTURN_STREAM=%s", stream);
    reap(exec);
    if (!make_pipe(&exec->kept, &exec->in) || !make_pipe(&exec->answer, &status_end) ||
        fcntl(exec->in, F_SETFL, O_NONBLOCK) != 0 || fcntl(exec->answer, F_SETFL, O_NONBLOCK) != 0)
        error = errno;
    else
        error = kt_command_spawn("/bin/sh", argv, variables, exec->kept, status_end, &exec->pid);
    close_one(&status_end);
    if (error != 0) {
        kt_sink_exec_close(exec);
        return kt_fail(KT_UNAVAIL, "%s: cannot be run: %s", config->argv[0], strerror(error));
    }
    exec->until = kt_monotonic() + KT_SINK_EXEC_S * 1000 + GRACE_MS;
    return KT_SUCCESS;
}

/* Our copy of the end for reading stays open meanwhile, so that nothing sends SIGPIPE, whatever the
 * command closes. */
static void feed(kt_sink_exec_t *exec, kt_batch_t *batch)
{
    while (exec->in >= 0 && batch->at < batch->size) {
        ssize_t n = write(exec->in, batch->text + batch->at, batch->size - batch->at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        batch->at += (size_t)n;
    }
    close_one(&exec->in);
    close_one(&exec->kept);
}

/* Exit status 0 is the only answer that says that it has them. */
static kt_delivery_t answered(kt_sink_exec_t *exec, const kt_cfg_sink_t *config)
{
    char text[8] = "";
    ssize_t n;

    do
        n = read(exec->answer, text, sizeof(text) - 1);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN && kt_monotonic() < exec->until)
        return KT_DELIVERY_BUSY;
    kt_sink_exec_close(exec);
    if (n > 0 && strcmp(text, "0\n") == 0)
        return KT_DELIVERY_DONE;
    text[strcspn(text, "\n")] = '\0';
    if (strcmp(text, "124") == 0)
        (void)kt_fail(KT_UNAVAIL, "%s: it took longer than %d s", config->argv[0], KT_SINK_EXEC_S);
    else if (n > 0)
        (void)kt_fail(KT_UNAVAIL, "%s: it ended with exit status %s", config->argv[0], text);
    else
        (void)kt_fail(KT_UNAVAIL, "%s: it gave no answer", config->argv[0]);
    return KT_DELIVERY_FAILED;
}

kt_delivery_t kt_sink_exec_send(kt_sink_exec_t *exec, const kt_cfg_sink_t *config,
                                const char *environment, const char *stream, kt_batch_t *batch)
{
    if (exec->answer < 0) {
        batch->at = 0;
        if (start(exec, config, environment, stream) != KT_SUCCESS)
            return KT_DELIVERY_FAILED;
    }
    feed(exec, batch);
    return answered(exec, config);
}

/* ---- for `keyturn check` ---- */

kt_status_t kt_sink_check(const kt_cfg_sink_t *config)
{
    kt_sink_syslog_t log = {.fd = -1};
    bool open;

    if (config->argv != NULL)
        return kt_command_check(config->argv[0]);
    open = kt_sink_syslog_open(&log, config->socket);
    kt_sink_syslog_close(&log);
    return open ? KT_SUCCESS : KT_UNAVAIL;
}
