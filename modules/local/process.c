/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process.c: the clock, forks, and the open connections of this process.
 *
 * SQLite keeps one table of locks for the whole process, and a fork copies it: the child would
 * believe that it holds what its parent holds. So open connections are counted together with the
 * process that opened them, and a child refuses to open a store while its parent's are open.
 *
 * Atomics and no mutex, because a fork may copy a mutex that another thread held, and in the child
 * that one is never released. The count is written after the process (release) and read before it
 * (acquire), so a thread that sees connections also sees whose they are.
 */
#define _GNU_SOURCE
#include "process.h"

#include <pthread.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static struct {
    pid_t *process; /* a page that is empty after a fork */
    pid_t counted;  /* the process whose connections are counted */
    int connections;
} process;

int64_t local_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static pthread_once_t process_once = PTHREAD_ONCE_INIT;

static void map_process_page(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return;
    if (madvise(page, size, MADV_WIPEONFORK) != 0) {
        munmap(page, size);
        return;
    }
    __atomic_store_n(&process.process, page, __ATOMIC_RELEASE);
}

pid_t local_process(void)
{
    pid_t *page = __atomic_load_n(&process.process, __ATOMIC_ACQUIRE), pid;

    if (page == NULL) {
        pthread_once(&process_once, map_process_page);
        page = __atomic_load_n(&process.process, __ATOMIC_ACQUIRE);
        if (page == NULL)
            return getpid();
    }
    pid = __atomic_load_n(page, __ATOMIC_RELAXED);
    if (pid == 0) {
        pid = getpid();
        __atomic_store_n(page, pid, __ATOMIC_RELAXED);
    }
    return pid;
}

void local_count(int change)
{
    __atomic_store_n(&process.counted, local_process(), __ATOMIC_RELAXED);
    __atomic_add_fetch(&process.connections, change, __ATOMIC_RELEASE);
}

pid_t local_inherited(void)
{
    int connections = __atomic_load_n(&process.connections, __ATOMIC_ACQUIRE);
    pid_t counted = __atomic_load_n(&process.counted, __ATOMIC_RELAXED);

    return connections > 0 && counted != local_process() ? counted : 0;
}
