/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io.c: a library to preload: the call number FAULT_AT of those that change files fails with errno
 * FAULT_ERRNO, and, unless FAULT_ONCE is set, all later ones too. At the end the number of calls
 * goes to FAULT_COUNT, a file. Built by test_local_faults.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long calls;

/* Only regular files and folders: what goes to the test by a pipe does not count. */
static int fails(int fd)
{
    const char *at = getenv("FAULT_AT"), *number = getenv("FAULT_ERRNO");
    struct stat st;

    if (at == NULL || fstat(fd, &st) != 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
        return 0;
    calls++;
    if (calls < atol(at) || (calls > atol(at) && getenv("FAULT_ONCE") != NULL))
        return 0;
    errno = number != NULL ? atoi(number) : EIO;
    return 1;
}

__attribute__((destructor)) static void report(void)
{
    const char *path = getenv("FAULT_COUNT");
    FILE *file = path != NULL ? fopen(path, "w") : NULL;

    if (file == NULL)
        return;
    unsetenv("FAULT_AT");
    (void)fprintf(file, "%ld\n", calls);
    (void)fclose(file);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    return fails(fd) ? -1 : NEXT(pwrite64)(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    return fails(fd) ? -1 : NEXT(pwrite)(fd, data, size, at);
}

ssize_t write(int fd, const void *data, size_t size)
{
    return fails(fd) ? -1 : NEXT(write)(fd, data, size);
}

int fdatasync(int fd)
{
    return fails(fd) ? -1 : NEXT(fdatasync)(fd);
}

int fsync(int fd)
{
    return fails(fd) ? -1 : NEXT(fsync)(fd);
}

int ftruncate64(int fd, off64_t size)
{
    return fails(fd) ? -1 : NEXT(ftruncate64)(fd, size);
}

int ftruncate(int fd, off_t size)
{
    return fails(fd) ? -1 : NEXT(ftruncate)(fd, size);
}
