/* SPDX-License-Identifier: BSD-2-Clause */
/* file.c: private files, and small ones of the kernel. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"

/* On the open descriptor, so that what was checked is what is read. */
static kt_status_t check_descriptor(int fd, const char *path, uid_t owner, size_t *ret_size)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return kt_fail(KT_PERMISSION, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return kt_fail(KT_PERMISSION, "%s: not a regular file", path);
    if (st.st_uid != 0 && st.st_uid != owner)
        return kt_fail(KT_PERMISSION,
                       "%s: a key file must belong to root or to uid %u, not to uid %u", path,
                       (unsigned)owner, (unsigned)st.st_uid);
    if ((st.st_mode & 0137) != 0)
        return kt_fail(
            KT_PERMISSION,
            "%s: mode %04o is too open for a key file: chmod 0600 (or 0640 for its group)", path,
            (unsigned)(st.st_mode & 07777));
    if (st.st_size > KT_KEYFILE_MAX)
        return kt_fail(KT_CONFIG, "%s: too large for a key file", path);
    *ret_size = (size_t)st.st_size;
    return KT_SUCCESS;
}

static kt_status_t read_all(int fd, const char *path, char *text, size_t size)
{
    size_t at = 0;

    while (at < size) {
        ssize_t got = read(fd, text + at, size - at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return kt_fail(KT_PERMISSION, "%s: %s", path,
                           got < 0 ? strerror(errno) : "shorter than it was a moment ago");
        at += (size_t)got;
    }
    return KT_SUCCESS;
}

kt_status_t kt_read_private_of(const char *path, uid_t owner, char **ret_text, size_t *ret_size)
{
    int fd = open(path,
                  O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a pipe must not hang a server */
    char *text = NULL;
    size_t size = 0;
    kt_status_t status;

    if (fd < 0)
        return kt_fail(errno == ENOENT ? KT_CONFIG : KT_PERMISSION, "%s: %s", path,
                       strerror(errno));
    status = check_descriptor(fd, path, owner, &size);
    if (status != KT_SUCCESS)
        goto out;
    text = kt_locked_alloc(size + 1);
    status = text != NULL ? read_all(fd, path, text, size) : kt_no_memory();
out:
    (void)close(fd);
    if (status != KT_SUCCESS) {
        kt_locked_free(text);
        return status;
    }
    *ret_text = text;
    *ret_size = size;
    return KT_SUCCESS;
}

kt_status_t kt_read_private(const char *path, char **ret_text, size_t *ret_size)
{
    return kt_read_private_of(path, geteuid(), ret_text, ret_size);
}

static int sync_folder(const char *path)
{
    char *copy = strdup(path);
    int fd = copy != NULL ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int failed = fd < 0 || fsync(fd) != 0 ? -1 : 0;

    if (fd >= 0)
        (void)close(fd);
    free(copy);
    return failed;
}

kt_status_t kt_write_key(const char *path, const char *text, mode_t mode)
{
    size_t size = strlen(text), at = 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 && errno == EEXIST)
        return kt_fail(KT_CONFLICT, "%s exists already; a key is never overwritten", path);
    if (fd < 0)
        return kt_fail(errno == EACCES || errno == EPERM ? KT_PERMISSION : KT_NOSPACE, "%s: %s",
                       path, strerror(errno));
    while (at < size) {
        ssize_t put = write(fd, text + at, size - at);

        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            break;
        at += (size_t)put;
    }
    if (at < size || fchmod(fd, mode) != 0 || fsync(fd) != 0 || sync_folder(path) != 0) {
        int error = errno;

        (void)unlink(path);
        (void)close(fd);
        return kt_fail(KT_NOSPACE, "%s: %s", path, strerror(error));
    }
    (void)close(fd);
    return KT_SUCCESS;
}

bool kt_read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return false;
    n = read(fd, text, size - 1);
    (void)close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return true;
}

void kt_boot_id(char ret_boot[KT_BOOT_ID])
{
    ret_boot[0] = '\0';
    (void)kt_read_text("/proc/sys/kernel/random/boot_id", ret_boot, KT_BOOT_ID);
    ret_boot[strcspn(ret_boot, "\n")] = '\0';
}

void kt_close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}
