/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * anchor_spare.c: space for the anchor of a change, kept ahead on a disk that may be full by then.
 *
 *     ANCHORS/STREAM/.generations.spare   as large as the stream's file, and a line larger
 *
 * Only a writer that finds no space for a new file uses it, under the stream's lock: it overwrites
 * the spare, which needs no space, and exchanges the two names. So there is always a spare, however
 * many writers end on the full disk. The names are synced before the next writer may overwrite what
 * was the stream's file until then.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "anchor_spare.h"

#define BLOCK 4096u

/* A file that only its owner, this process's user, can have written. */
static bool is_ours(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_nlink == 1 && st->st_uid == geteuid() &&
           (st->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static int open_spare(int own, int more)
{
    struct stat st;
    int fd = openat(own, KT_SPARE, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | more,
                    0644);

    if (fd < 0 || (fstat(fd, &st) == 0 && is_ours(&st)))
        return fd;
    (void)close(fd);
    errno = EEXIST;
    return -1;
}

bool kt_spare_is_there(int folder, const char *stream, size_t room)
{
    char name[96];
    struct stat st;

    return snprintf(name, sizeof(name), "%s/" KT_SPARE, stream) < (int)sizeof(name) &&
           fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_ours(&st) &&
           (size_t)st.st_size >= room;
}

bool kt_spare_make(int own, size_t room)
{
    int fd = open_spare(own, 0), error;

    room = (room + BLOCK - 1) / BLOCK * BLOCK;
    if (fd < 0) { /* there is none, or not ours: with the lock it may be removed */
        (void)unlinkat(own, KT_SPARE, 0);
        fd = open_spare(own, O_CREAT | O_EXCL);
    }
    if (fd < 0)
        return false;
    error = fchmod(fd, 0644) == 0 ? posix_fallocate(fd, 0, (off_t)room) : errno;
    (void)close(fd);
    errno = error;
    return error == 0;
}

/* The rest of the file becomes empty lines: to cut it off would give the space away. */
static bool overwrite(int fd, const char *text, size_t size)
{
    struct stat st;
    size_t whole = size;
    char *bytes;
    bool good;

    if (fstat(fd, &st) != 0)
        return false;
    if ((size_t)st.st_size > whole)
        whole = (size_t)st.st_size;
    bytes = malloc(whole);
    if (bytes == NULL)
        return false;
    memcpy(bytes, text, size);
    memset(bytes + size, '\n', whole - size);
    good = pwrite(fd, bytes, whole, 0) == (ssize_t)whole && fdatasync(fd) == 0;
    free(bytes);
    return good;
}

bool kt_spare_use(int own, const char *name, const char *text, size_t size)
{
    int fd = open_spare(own, 0), error;
    bool good = fd >= 0 && overwrite(fd, text, size);

    if (good)
        good = renameat2(own, KT_SPARE, own, name, RENAME_EXCHANGE) == 0 ||
               /* a file system that cannot, or the stream's first file: the spare is used up */
               renameat(own, KT_SPARE, own, name) == 0;
    good = good && fsync(own) == 0;
    error = errno;
    kt_close_fd(&fd);
    errno = error;
    return good;
}
