/* SPDX-License-Identifier: BSD-2-Clause */
/* anchor_watch.c: was the file of anchors of a stream changed or replaced? Each read asks. */
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "anchors.h"

#define PATH_SIZE 96u /* of STREAM/NAME */

static bool path_of(const char *stream, char name[PATH_SIZE])
{
    return snprintf(name, PATH_SIZE, "%s/" KT_ANCHOR_FILE, stream) < (int)PATH_SIZE;
}

void kt_anchor_file_take(const struct stat *st, kt_anchor_file_t *file)
{
    file->there = true;
    file->inode = st->st_ino;
    file->size = st->st_size;
    file->changed = st->st_ctim;
}

static bool are_same(const kt_anchor_file_t *a, const kt_anchor_file_t *b)
{
    return a->there == b->there && a->inode == b->inode && a->size == b->size &&
           memcmp(&a->changed, &b->changed, sizeof(a->changed)) == 0;
}

bool kt_anchor_file_is(const struct stat *st, const kt_anchor_file_t *file)
{
    kt_anchor_file_t now = {.there = false};

    kt_anchor_file_take(st, &now);
    return are_same(&now, file);
}

bool kt_time_before(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

void kt_anchor_file_stat(int folder, const char *stream, kt_anchor_file_t *ret_file)
{
    char name[PATH_SIZE];
    struct stat st;

    memset(ret_file, 0, sizeof(*ret_file));
    ret_file->fd = -1;
    if (path_of(stream, name) && fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        kt_anchor_file_take(&st, ret_file);
}

/*
 * A file that loses its name gets another ctime, and so does one that is written, on the file
 * systems of this list. On others (a layer of a container's image, a network) what is open may be
 * another file than the one that the path leads to. If a stream's folder is replaced, the folder of
 * all streams has another ctime.
 */
static bool is_told(int fd)
{
    static const long known[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC};
    struct statfs fs;
    size_t i;

    for (i = 0; fstatfs(fd, &fs) == 0 && i < KT_ARRAY(known); i++) {
        if (fs.f_type == known[i])
            return true;
    }
    return false;
}

void kt_anchor_file_watch(int folder, const char *stream, kt_anchor_file_t *ret_file)
{
    char name[PATH_SIZE];

    kt_anchor_file_stat(folder, stream, ret_file);
    if (!ret_file->there || !path_of(stream, name))
        return;
    ret_file->fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (ret_file->fd >= 0 && !is_told(ret_file->fd))
        kt_close_fd(&ret_file->fd);
}

bool kt_anchor_file_is_same(int folder, const char *stream, const kt_anchor_file_t *file)
{
    kt_anchor_file_t now = {.there = false};
    struct stat st;

    if (file->fd < 0)
        kt_anchor_file_stat(folder, stream, &now);
    else if (fstat(file->fd, &st) == 0 && st.st_nlink > 0)
        kt_anchor_file_take(&st, &now);
    return are_same(&now, file);
}
