/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * place.c: opens what `path` means. All that decides what is served is asked of open descriptors:
 * a path may mean another file a moment later.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "file.h"

#define MEMORY_TMPFS 0x01021994
#define MEMORY_RAMFS 0x858458f6

ktp_status_t place_path(const ktp_instance_t *instance, char path[PATH_MAX])
{
    size_t size = instance->path[0] == '$' ? strcspn(instance->path + 1, "/") : 0;
    const char *value = size > 0 ? ktp_variable(instance->services, instance->path + 1, size) : "";

    if (value == NULL)
        return ktp_fail(instance->services, KTP_UNAVAIL,
                        "%s: this variable is not set for this process", instance->path);
    if (snprintf(path, PATH_MAX, "%s%s", value, instance->path + (size > 0 ? size + 1 : 0)) >=
        PATH_MAX)
        return ktp_fail(instance->services, KTP_UNAVAIL, "%s: the path is too long",
                        instance->path);
    if (path[0] != '/')
        return ktp_fail(instance->services, KTP_UNAVAIL, "%s: not an absolute path",
                        instance->path);
    return KTP_SUCCESS;
}

ktp_status_t place_fail(const ktp_instance_t *instance, const char *path)
{
    ktp_status_t status = KTP_UNAVAIL;
    int error = errno;

    if (error == EACCES || error == EPERM || error == ELOOP || error == EXDEV)
        status = KTP_FORBIDDEN;
    else if (error == EMFILE || error == ENFILE || error == ENOMEM || error == EINTR ||
             error == EAGAIN)
        status = KTP_TRYAGAIN;
    else if (error == ENXIO || error == ENODEV)
        status = KTP_MALFORMED;
    return ktp_fail(instance->services, status, "%s: %s", path,
                    error == EXDEV || error == ELOOP ? "a link that leads out of the folder"
                                                     : strerror(error));
}

ktp_status_t place_open(const ktp_instance_t *instance, const char *path, int *ret_fd,
                        struct stat *ret_st)
{
    /* O_NONBLOCK: a pipe of this name must not stop a server */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    ktp_status_t status;

    if (fd < 0)
        return place_fail(instance, path);
    if (fstat(fd, ret_st) == 0) {
        *ret_fd = fd;
        return KTP_SUCCESS;
    }
    status = place_fail(instance, path);
    (void)close(fd);
    return status;
}

static int is_in_memory(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 &&
           ((unsigned)fs.f_type == MEMORY_TMPFS || (unsigned)fs.f_type == MEMORY_RAMFS);
}

ktp_status_t place_check(const ktp_instance_t *instance, int fd, const struct stat *st,
                         const char *path)
{
    const ktp_services_t *services = instance->services;
    mode_t mode = st->st_mode & 07777;

    if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
        return ktp_fail(services, KTP_MALFORMED, "%s: neither a file nor a folder", path);
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return ktp_fail(services, KTP_FORBIDDEN, "%s: belongs to uid %u, not to root or to us",
                        path, (unsigned)st->st_uid);
    if ((mode & 0022) != 0 && !(S_ISDIR(st->st_mode) && (mode & S_ISVTX) != 0))
        return ktp_fail(services, KTP_FORBIDDEN, "%s: mode %04o lets others write it: chmod go-w",
                        path, (unsigned)mode);
    if (S_ISREG(st->st_mode) && (mode & 0007) != 0 && !is_in_memory(fd))
        return ktp_fail(services, KTP_FORBIDDEN, "%s: mode %04o lets others read it: chmod o=",
                        path, (unsigned)mode);
    return KTP_SUCCESS;
}

static int is_same(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* One byte more than there should be is asked for: half a value is worse than none. */
ktp_status_t place_read(const ktp_instance_t *instance, int fd, const char *path, size_t most,
                        ktp_buffer_t *ret_text)
{
    const ktp_services_t *services = instance->services;
    struct stat before, after;
    unsigned char *data;
    size_t have = 0, size;
    ktp_status_t status;
    ssize_t got;

    if (fstat(fd, &before) != 0)
        return place_fail(instance, path);
    if (before.st_size > (off_t)most)
        return ktp_fail(services, KTP_MALFORMED, "%s: is over %zu bytes", path, most);
    size = (size_t)before.st_size;
    data = services->secret_alloc(services->host, size + 1);
    if (data == NULL)
        return ktp_fail(services, KTP_TRYAGAIN, "%s: out of locked memory", path);
    do {
        got = pread(fd, data + have, size + 1 - have, (off_t)have);
        have += got > 0 ? (size_t)got : 0;
    } while ((got > 0 && have <= size) || (got < 0 && errno == EINTR));
    if (got >= 0 && have == size && fstat(fd, &after) == 0 && is_same(&before, &after)) {
        data[size] = '\0';
        *ret_text = (ktp_buffer_t){data, size};
        return KTP_SUCCESS;
    }
    status = got < 0 ? place_fail(instance, path)
                     : ktp_fail(services, KTP_TRYAGAIN,
                                "%s: is being written: replace it by a rename", path);
    services->secret_free(services->host, data);
    return status;
}

ktp_status_t place_value(const ktp_instance_t *instance, int fd, const char *path,
                         ktp_value_t *ret_value)
{
    ktp_buffer_t text;
    struct stat st;
    ktp_status_t status = fstat(fd, &st) != 0 ? place_fail(instance, path)
                                              : place_check(instance, fd, &st, path);

    if (status == KTP_SUCCESS && !S_ISREG(st.st_mode))
        status = ktp_fail(instance->services, KTP_MALFORMED, "%s: not a file", path);
    if (status == KTP_SUCCESS)
        status = place_read(instance, fd, path, VALUE_MAX, &text);
    if (status != KTP_SUCCESS)
        return status;
    if (instance->trim && text.size > 0 && text.data[text.size - 1] == '\n') {
        text.size--;
        text.size -= text.size > 0 && text.data[text.size - 1] == '\r';
    }
    ret_value->value = text; /* the host's from here on */
    ret_value->version = 0;
    ret_value->created = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    ret_value->expires = 0;
    return KTP_SUCCESS;
}

int place_is_pointer(const ktp_instance_t *instance)
{
    return instance->path[0] == '$' && strchr(instance->path, '*') != NULL;
}
