/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * folder.c: a folder of files, one for each secret, as Docker, Kubernetes and systemd make them.
 *
 * Kubernetes puts a link for each file, to ..data/NAME, and makes ..data, which is a link itself,
 * mean another folder when something changes; then the old folder goes. So links are followed, but
 * not out of the folder, and a file that is not found while ..data changes is looked for again.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "file.h"

/* ---- names ---- */

/* The file of a name, below the folder; 0: there can be none. A separator other than "/" keeps all
 * files in the folder itself. */
static int file_of(const ktp_instance_t *instance, const char *name, char file[NAME_ROOM])
{
    size_t used = 0, separator = strlen(instance->separator);

    if (strncmp(name, "general/", 8) == 0)
        name += 8;
    if (strncmp(name, "..", 2) == 0 || strstr(name, "/..") != NULL)
        return 0; /* Kubernetes' own files */
    for (; *name != '\0'; name++) {
        if (used + separator + 2 > NAME_ROOM)
            return 0;
        if (*name == '/') {
            memcpy(file + used, instance->separator, separator);
            used += separator;
        } else {
            file[used++] = *name;
        }
    }
    file[used] = '\0';
    return used > 0;
}

/* ---- get ---- */

static int open_below(int folder, const char *file)
{
    struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, folder, file, &how, sizeof how);

    /* a sandbox that does not know the call: then no link is followed */
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = openat(folder, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return fd;
}

static void read_data_link(int folder, char link[NAME_ROOM])
{
    ssize_t size = readlinkat(folder, "..data", link, NAME_ROOM - 1);

    link[size > 0 ? size : 0] = '\0';
}

/* Opens the file. ENOENT only if it was not there while ..data stayed the same. */
static int open_settled(int folder, const char *file)
{
    char before[NAME_ROOM], after[NAME_ROOM];
    int fd, error;

    for (int i = 0; i < TRIES; i++) {
        read_data_link(folder, before);
        fd = open_below(folder, file);
        if (fd >= 0 || (errno != ENOENT && errno != EAGAIN))
            return fd;
        error = errno;
        read_data_link(folder, after);
        if (error == ENOENT && strcmp(before, after) == 0) {
            errno = ENOENT;
            return -1;
        }
    }
    errno = EAGAIN;
    return -1;
}

static ktp_status_t get_once(const ktp_instance_t *instance, int folder, const char *path,
                             const char *file, ktp_value_t *ret_value)
{
    char whole[PATH_MAX + NAME_ROOM];
    int fd = open_settled(folder, file);
    ktp_status_t status;
    struct stat st;

    (void)snprintf(whole, sizeof whole, "%s/%s", path, file);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? KTP_NOTFOUND : place_fail(instance, whole);
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        status = whole_get(instance, fd, whole, ret_value);
    else
        status = place_value(instance, fd, whole, ret_value);
    (void)close(fd);
    return status;
}

ktp_status_t folder_get(ktp_instance_t *instance, int folder, const char *path, const char *name,
                        ktp_value_t *ret_value)
{
    char file[NAME_ROOM];

    if (!file_of(instance, name, file))
        return KTP_NOTFOUND;
    token_watch(instance, file);
    return get_once(instance, folder, path, file, ret_value);
}

/* ---- list ---- */

/* Files of the folder itself, and folders, which are one secret each. What has no name here, or
 * another one, is left out. */
static int list_entry(const ktp_instance_t *instance, const char *entry, list_fn fn, void *arg)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "abcdefghijklmnopqrstuvwxyz0123456789._-";
    char back[NAME_ROOM];

    if (entry[0] == '.' || strspn(entry, letters) != strlen(entry) ||
        !file_of(instance, entry, back) || strcmp(back, entry) != 0)
        return 0;
    return fn(arg, entry);
}

ktp_status_t folder_list(const ktp_instance_t *instance, int folder, const char *path, list_fn fn,
                         void *arg)
{
    ktp_status_t status = KTP_SUCCESS;
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;

    if (dir == NULL) {
        status = place_fail(instance, path);
        if (fd >= 0)
            (void)close(fd);
        return status;
    }
    for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0)
        if (list_entry(instance, entry->d_name, fn, arg) != 0)
            break;
    if (entry == NULL && errno != 0)
        status = place_fail(instance, path);
    (void)closedir(dir);
    return status;
}
