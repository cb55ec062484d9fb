/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run.c: runs a command to its end, with values on pipes in either direction.
 *
 * What a command prints is either read into locked memory or goes to /dev/null, together with its
 * error output: it may hold the value that it was given.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"

#define ROOM_FIRST 4096u
#define NAP_MAX_MS 20

/* ---- what it reads ---- */

bool kt_feed_open(kt_feed_t *feed, const void *data, size_t size)
{
    feed->at = data;
    feed->left = size;
    return kt_command_pipe(feed->ends, 1);
}

void kt_feed_close(kt_feed_t *feed)
{
    kt_close_fd(&feed->ends[0]);
    kt_close_fd(&feed->ends[1]);
    feed->left = 0;
}

void kt_feed_more(kt_feed_t *feed)
{
    while (feed->left > 0) {
        ssize_t n = write(feed->ends[1], feed->at, feed->left);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        feed->at += n;
        feed->left -= (size_t)n;
    }
    kt_feed_close(feed);
}

/* ---- what it prints ---- */

typedef struct run {
    const kt_command_t *command;
    kt_command_result_t *result;
    kt_feed_t input, extra;
    int output[2]; /* ours is the first */
    size_t room;   /* of result->output */
    pid_t pid;
} run_t;

/* Leaves room for one more byte and a NUL. */
static kt_status_t grow(run_t *run)
{
    size_t room = run->room == 0 ? ROOM_FIRST : run->room * 2;
    char *text;

    if (run->result->size + 1 < run->room)
        return KT_SUCCESS;
    if (room > run->command->output_max)
        return kt_fail(KT_TOOLARGE, "%s: printed more than %zu bytes", run->command->argv[0],
                       run->command->output_max);
    text = kt_locked_alloc(room);
    if (text == NULL)
        return kt_no_memory();
    if (run->result->size > 0)
        memcpy(text, run->result->output, run->result->size);
    kt_locked_free(run->result->output);
    run->result->output = text;
    run->room = room;
    return KT_SUCCESS;
}

/* Reads what has been printed so far. Closes our end when no process has the other one any more. */
static kt_status_t collect(run_t *run)
{
    kt_command_result_t *result = run->result;

    while (run->output[0] >= 0) {
        kt_status_t status = grow(run);
        ssize_t n;

        if (status != KT_SUCCESS)
            return status;
        n = read(run->output[0], result->output + result->size, run->room - result->size - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return KT_SUCCESS;
        if (n < 0)
            return kt_fail(KT_INTERNAL, "%s: %s", run->command->argv[0], strerror(errno));
        if (n == 0)
            kt_close_fd(&run->output[0]);
        result->size += (size_t)n;
    }
    return KT_SUCCESS;
}

/* ---- its end ---- */

static void kill_group(const run_t *run)
{
    (void)kill(-run->pid, SIGKILL);
    while (waitpid(run->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static bool has_ended(run_t *run)
{
    int status;
    pid_t pid = waitpid(run->pid, &status, WNOHANG);

    if (pid < 0)
        return errno != EINTR; /* the host has waited for it */
    if (pid > 0 && WIFEXITED(status))
        run->result->exit = WEXITSTATUS(status);
    if (pid > 0 && WIFSIGNALED(status))
        run->result->signal = WTERMSIG(status);
    return pid > 0;
}

/* Waits for the end of its output first: while the command has not been waited for, its number,
 * which is also its group's, cannot be another's. */
static kt_status_t attend(run_t *run)
{
    int64_t end = kt_monotonic() + run->command->timeout;
    kt_status_t status;
    int nap;

    for (nap = 1;; nap = nap * 2 < NAP_MAX_MS ? nap * 2 : NAP_MAX_MS) {
        struct pollfd printed = {.events = POLLIN};

        kt_feed_more(&run->input);
        kt_feed_more(&run->extra);
        status = collect(run);
        if (status == KT_SUCCESS && run->output[0] < 0 && has_ended(run))
            return KT_SUCCESS;
        if (status == KT_SUCCESS && run->command->is_interrupted != NULL &&
            run->command->is_interrupted())
            status = kt_fail(KT_TRYAGAIN, "%s: interrupted", run->command->argv[0]);
        run->result->timed_out = status == KT_SUCCESS && kt_monotonic() >= end;
        if (status != KT_SUCCESS || run->result->timed_out) {
            kill_group(run);
            return status;
        }
        printed.fd = run->output[0]; /* poll() leaves out what is negative */
        (void)poll(&printed, 1, nap);
    }
}

static kt_status_t start(run_t *run)
{
    const kt_command_t *command = run->command;
    char path[PATH_MAX];
    int error;
    kt_status_t status = kt_command_find(command->argv[0], path);

    if (status != KT_SUCCESS)
        return status;
    if ((command->input != NULL &&
         !kt_feed_open(&run->input, command->input->data, command->input->size)) ||
        (command->extra != NULL &&
         !kt_feed_open(&run->extra, command->extra->data, command->extra->size)) ||
        (command->output_max > 0 && !kt_command_pipe(run->output, 0)))
        return kt_fail(KT_INTERNAL, "%s: no pipe: %s", command->argv[0], strerror(errno));
    error = kt_command_spawn(
        path, command->argv, command->env,
        (kt_command_fds_t){run->input.ends[0], run->output[1], run->extra.ends[0]}, &run->pid);
    kt_close_fd(&run->output[1]);
    if (error != 0)
        return kt_fail(KT_CONFIG, "%s: cannot be run: %s", command->argv[0], strerror(error));
    return KT_SUCCESS;
}

kt_status_t kt_command_run(const kt_command_t *command, kt_command_result_t *ret_result)
{
    kt_command_result_t result = {.exit = -1};
    run_t run = {.command = command,
                 .result = &result,
                 .input = KT_FEED_CLOSED,
                 .extra = KT_FEED_CLOSED,
                 .output = {-1, -1}};
    sigset_t child, before;
    kt_status_t status;

    /* a host's own handler would wait for any child, and so take the exit status */
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    (void)pthread_sigmask(SIG_BLOCK, &child, &before);
    status = start(&run);
    if (status == KT_SUCCESS)
        status = attend(&run);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    kt_feed_close(&run.input);
    kt_feed_close(&run.extra);
    kt_close_fd(&run.output[0]);
    kt_close_fd(&run.output[1]);
    if (status != KT_SUCCESS) {
        kt_locked_free(result.output);
        return status;
    }
    *ret_result = result;
    return KT_SUCCESS;
}
