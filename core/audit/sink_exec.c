/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sink_exec.c: a command gets a batch of lines on its standard input and confirms them with exit
 * status 0.
 *
 * Each batch has a run of its own, and no child lives long. An exit status is an answer: lines that
 * a dying command had read are sent again. A command that hangs is ended with its run. Nothing has
 * to be supervised when a server forks its workers, reloads or stops. Each stream has one command
 * at a time, however many processes write it, and starts one a second at most.
 *
 * The host may reap our children (nginx does, in its SIGCHLD handler). So a shell around the
 * command writes the exit status into a pipe, and timeout(1) ends a command that hangs even if this
 * process is gone.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sinks.h"

#define SCRIPT "timeout -k 5 \"$0\" \"$@\" 3>&-; echo $? >&3"
#define GRACE_MS 10000

void kt_sink_exec_init(kt_sink_exec_t *exec)
{
    *exec = (kt_sink_exec_t){.feed = KT_FEED_CLOSED, .answer = -1};
}

static void reap(kt_sink_exec_t *exec)
{
    if (exec->pid > 0 && (waitpid(exec->pid, NULL, WNOHANG) != 0))
        exec->pid = 0; /* reaped here or by the host */
}

void kt_sink_exec_close(kt_sink_exec_t *exec)
{
    kt_feed_close(&exec->feed);
    kt_close_fd(&exec->answer);
    reap(exec);
}

static kt_status_t start(kt_sink_exec_t *exec, const kt_cfg_sink_t *config, const char *environment,
                         const char *stream, const kt_batch_t *batch)
{
    char path[PATH_MAX], seconds[12];
    char *argv[72] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)SCRIPT,
                      seconds, path};
    int answer[2] = {-1, -1}, error;
    kt_environ_t env;
    size_t i;
    kt_status_t status = kt_command_find(config->argv[0], path);

    if (status != KT_SUCCESS)
        return status;
    for (i = 1; i < 65 && config->argv[i] != NULL; i++)
        argv[4 + i] = config->argv[i];
    (void)snprintf(seconds, sizeof(seconds), "%d", KT_SINK_EXEC_S);
    kt_environ_init(&env);
    kt_environ_add(&env, "LC_ALL=C.UTF-8");
    kt_environ_add(&env, "KEYTURN_ENVIRONMENT=%s", environment);
    kt_environ_add(&env, "KEYTURN_STREAM=%s", stream);
    reap(exec);
    if (!kt_feed_open(&exec->feed, batch->text, batch->size) || !kt_command_pipe(answer, 0))
        error = errno;
    else
        error = kt_command_spawn("/bin/sh", argv, &env,
                                 (kt_command_fds_t){exec->feed.ends[0], -1, answer[1]}, &exec->pid);
    exec->answer = answer[0];
    kt_close_fd(&answer[1]);
    if (error != 0) {
        kt_sink_exec_close(exec);
        return kt_fail(KT_UNAVAIL, "%s: cannot be run: %s", config->argv[0], strerror(error));
    }
    exec->until = kt_monotonic() + KT_SINK_EXEC_S * 1000 + GRACE_MS;
    return KT_SUCCESS;
}

/* Only exit status 0 confirms the batch. */
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
                                const char *environment, const char *stream,
                                const kt_batch_t *batch)
{
    if (exec->answer < 0 && start(exec, config, environment, stream, batch) != KT_SUCCESS)
        return KT_DELIVERY_FAILED;
    kt_feed_more(&exec->feed);
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
