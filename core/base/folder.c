/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * folder.c: lists a folder. Nothing else in the core calls readdir(), which answers NULL at the end
 * and on an error: a list that broke off must not pass for a whole one.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

bool kt_folder_open(kt_folder_t *list, int folder, const char *path)
{
    int fd = openat(folder, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error;

    memset(list, 0, sizeof(*list));
    list->dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (list->dir != NULL)
        return true;
    error = errno;
    kt_close_fd(&fd);
    errno = error;
    return false;
}

bool kt_folder_next(kt_folder_t *list)
{
    const struct dirent *entry;

    do {
        errno = 0;
        entry = readdir(list->dir);
    } while (entry != NULL &&
             (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
    if (entry == NULL) {
        list->error = errno;
        list->name = NULL;
        return false;
    }
    list->name = entry->d_name;
    list->inode = entry->d_ino;
    return true;
}

bool kt_folder_close(kt_folder_t *list)
{
    (void)closedir(list->dir);
    list->dir = NULL;
    errno = list->error;
    return list->error == 0;
}
