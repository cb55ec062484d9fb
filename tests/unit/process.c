/* SPDX-License-Identifier: BSD-2-Clause */
/* process.c: child processes, and what a process has in use. */
#include "process.h"

#include <dirent.h>

#include "world.h"

pid_t start(int (*life)(kt_ctx_t *ctx, unsigned n), unsigned n, const char *stop)
{
    pid_t pid = fork();

    if (pid == 0) {
        kt_ctx_t *ctx = NULL;
        int status;

        if (stop != NULL)
            (void)setenv("KEYTURN_DEBUG_STOP", stop, 1);
        status = kt_open(world.setup, &ctx) == KT_SUCCESS ? life(ctx, n) : 99;
        kt_close(ctx);
        _exit(status);
    }
    ck_assert_int_gt(pid, 0);
    return pid;
}

void wait_for_child(pid_t pid, int signal)
{
    int status;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(signal == 0 ? status == 0 : WIFSIGNALED(status) && WTERMSIG(status) == signal,
                  "a process ended with %x, not by signal %d", (unsigned)status, signal);
}

unsigned open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (dir != NULL && readdir(dir) != NULL)
        n++;
    (void)closedir(dir);
    return n;
}

size_t locked_kilobytes(void)
{
    char line[128];
    size_t size = 0;
    FILE *file = fopen("/proc/self/status", "r");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        (void)sscanf(line, "VmLck: %zu", &size);
    if (file != NULL)
        (void)fclose(file);
    return size;
}
