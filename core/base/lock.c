/* SPDX-License-Identifier: BSD-2-Clause */
/* lock.c: locks of files, with an end to the waiting and a name for the holder. */
#include <errno.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base.h"

/* A line of /proc/locks: "1: FLOCK  ADVISORY  WRITE 4711 fe:01:1234 0 EOF". 0: not this file's, or
 * a process of another namespace. */
static long flock_owner(const char *line, ino_t ino)
{
    unsigned long long number;
    char kind[16];
    long pid;

    if (sscanf(line, "%*d: %15s %*s %*s %ld %*x:%*x:%llu", kind, &pid, &number) != 3 ||
        strcmp(kind, "FLOCK") != 0)
        return 0;
    return number == (unsigned long long)ino && pid != (long)getpid() ? pid : 0;
}

static void describe(long pid, char *text, size_t size)
{
    char path[48], status[1024], name[16] = "?";
    const char *at = NULL;
    unsigned uid = 0;

    (void)snprintf(path, sizeof(path), "/proc/%ld/status", pid);
    if (kt_read_text(path, status, sizeof(status))) {
        (void)sscanf(status, "Name:\t%15[^\n]", name);
        at = strstr(status, "\nUid:");
    }
    if (at != NULL && sscanf(at, "\nUid: %*u %u", &uid) == 1)
        (void)snprintf(text, size, "process %ld (%s of uid %u)", pid, name, uid);
    else
        (void)snprintf(text, size, "process %ld", pid);
}

/* Never waits without end, because the holder may be stopped. flock() itself has no timeout. */
bool kt_lock_file(int fd, unsigned wait)
{
    struct timespec pause = {.tv_nsec = 50000};
    int64_t deadline = 0;

    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR)
            continue;
        if (deadline == 0)
            deadline = kt_monotonic() + wait;
        if (errno != EWOULDBLOCK || kt_monotonic() >= deadline)
            return false;
        (void)nanosleep(&pause, NULL);
        if (pause.tv_nsec < 2000000)
            pause.tv_nsec *= 2;
    }
    return true;
}

void kt_lock_holder(int fd, char *text, size_t size)
{
    FILE *file = fopen("/proc/locks", "re");
    struct stat st;
    char line[256];
    long pid = 0;

    (void)snprintf(text, size, "another process");
    if (file != NULL && fstat(fd, &st) == 0) {
        while (pid <= 0 && fgets(line, sizeof(line), file) != NULL)
            pid = flock_owner(line, st.st_ino);
        if (pid > 0)
            describe(pid, text, size);
    }
    if (file != NULL)
        (void)fclose(file);
}
