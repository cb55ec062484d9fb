/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sample.c: the provider to copy. It keeps plain values in a folder, one private file for each
 * secret: what systemd's LoadCredential= and container mounts give a service. keyturn-sample(7)
 * says what a user sees of it, keyturn-provider(3) what the host expects.
 *
 * Read it from the end: the table there is all that the host knows of a provider.
 *
 * What holds for every call:
 *   - An answer other than KTP_SUCCESS and KTP_NOTFOUND comes after one line through
 *     ktp_fail(): what is wrong, where, and the way out. Never a value, nor a part of one.
 *   - Only what is certain is a fact. KTP_NOTFOUND says that the folder was looked into and holds
 *     no such file. If the folder cannot be read, it is not known: KTP_UNAVAIL, and the host goes
 * on with the value that it has, as long as its configuration allows that.
 *   - A value lies in memory of services->secret_alloc(), which is locked, kept out of core dumps
 *     and wiped when it is freed; on every way out it is handed over or given back. No copy of it
 *     is made on the stack, with stdio, or with malloc.
 *   - Outputs are written on success only.
 *   - No state is shared between instances, so that threads need no lock and a fork harms nothing.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <keyturn_provider.h>

#define VALUE_MAX 65536 /* bytes; the host takes no more */
#define NAME_ROOM 256   /* bytes of a name, NUL included: as long as a file's may be */

/* What is opened once and kept: here nothing but what was configured. A connection belongs here
 * too, made by the first call that needs it. */
struct ktp_instance {
    const ktp_services_t *services;
    const char *folder; /* the host's, as long as the instance lives */
};

enum { OPTION_PATH, OPTIONS };

/* The host checks types, names and defaults, so that open() can trust them. A password would be a
 * KTP_SECRET, which the host reads from a private file into locked memory. */
static const ktp_option_spec_t sample_options[] = {
    [OPTION_PATH] = {"path", KTP_PATH, 1, NULL, "folder of private files, one for each secret"},
    [OPTIONS] = {NULL, KTP_STRING, 0, NULL, NULL},
};

/* ---- statuses ---- */

/* The one place that turns what the system says into what it means for a secret. A provider of a
 * server has such a function for its protocol: 404 is NOTFOUND, 403 FORBIDDEN, 429 TRYAGAIN, 5xx
 * UNAVAIL, a body that does not parse MALFORMED. */
static ktp_status_t fail_errno(const ktp_instance_t *instance, const char *file)
{
    ktp_status_t status = KTP_UNAVAIL;
    int error = errno;

    if (error == EACCES || error == EPERM || error == ELOOP || error == EROFS)
        status = KTP_FORBIDDEN;
    else if (error == EMFILE || error == ENFILE || error == ENOMEM || error == EINTR)
        status = KTP_TRYAGAIN;
    else if (error == ENOSPC || error == EDQUOT || error == EFBIG)
        status = KTP_NOSPACE;
    return ktp_fail(instance->services, status, "%s%s%s: %s", instance->folder,
                    file[0] != '\0' ? "/" : "", file,
                    error == ELOOP ? "is a symbolic link, which is not followed" : strerror(error));
}

/* ---- names ---- */

/* The name that a file stands for; 0 if this provider did not make the file. */
static int name_of(const char *file, char name[NAME_ROOM])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "abcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t size = strlen(file) + 1, part;

    if (size > NAME_ROOM)
        return 0;
    memcpy(name, file, size);
    for (char *at = name;; at += part + 1) {
        part = strspn(at, letters);
        if (part == 0 || (at[part] != '+' && at[part] != '\0'))
            return 0;
        if (at[0] == '.' && (part == 1 || (part == 2 && at[1] == '.')))
            return 0;
        if (at[part] == '\0')
            return 1;
        at[part] = '/';
    }
}

/* A name as a file: with '+', which no name has, for '/'. So the folder needs no folders, and a
 * secret may be called as a type is. The host has checked the name; a provider that builds a path,
 * a URL or a query from one checks again what that depends on. */
static ktp_status_t file_of(const ktp_instance_t *instance, const char *name, char file[NAME_ROOM])
{
    size_t size = strlen(name) + 1;
    char back[NAME_ROOM];

    if (size > NAME_ROOM)
        return ktp_fail(instance->services, KTP_MALFORMED, "%s: the name is too long",
                        instance->folder);
    memcpy(file, name, size);
    for (char *at = strchr(file, '/'); at != NULL; at = strchr(at, '/'))
        *at = '+';
    if (!name_of(file, back) || strcmp(name, back) != 0)
        return ktp_fail(instance->services, KTP_MALFORMED, "%s: no file can have the name",
                        instance->folder);
    return KTP_SUCCESS;
}

/* ---- the folder ---- */

/* A descriptor of the folder, for each call anew: it may have been replaced, as a mount is. A user
 * that can write the folder decides what is served, so that must be only root and us. */
static ktp_status_t open_folder(const ktp_instance_t *instance, int *ret_folder)
{
    int folder = open(instance->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ktp_status_t status = KTP_SUCCESS;
    struct stat st;

    if (folder < 0 || fstat(folder, &st) != 0)
        status = fail_errno(instance, "");
    else if (st.st_uid != 0 && st.st_uid != geteuid())
        status = ktp_fail(instance->services, KTP_FORBIDDEN,
                          "%s: belongs to uid %u, not to root or to us", instance->folder,
                          (unsigned)st.st_uid);
    else if ((st.st_mode & 0022) != 0)
        status = ktp_fail(instance->services, KTP_FORBIDDEN,
                          "%s: mode %04o lets others write it: chmod go-w", instance->folder,
                          (unsigned)(st.st_mode & 07777));
    if (status == KTP_SUCCESS)
        *ret_folder = folder;
    else if (folder >= 0)
        (void)close(folder);
    return status;
}

static ktp_status_t find(const ktp_instance_t *instance, const char *name, char file[NAME_ROOM],
                         int *ret_folder)
{
    ktp_status_t status = file_of(instance, name, file);

    return status == KTP_SUCCESS ? open_folder(instance, ret_folder) : status;
}

static ktp_status_t check_file(const ktp_instance_t *instance, const char *file, struct stat st)
{
    if (!S_ISREG(st.st_mode))
        return ktp_fail(instance->services, KTP_MALFORMED, "%s/%s: not a regular file",
                        instance->folder, file);
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return ktp_fail(instance->services, KTP_FORBIDDEN,
                        "%s/%s: belongs to uid %u, not to root or to us", instance->folder, file,
                        (unsigned)st.st_uid);
    if ((st.st_mode & 0027) != 0)
        return ktp_fail(instance->services, KTP_FORBIDDEN,
                        "%s/%s: mode %04o lets others use it: chmod 600", instance->folder, file,
                        (unsigned)(st.st_mode & 07777));
    if (st.st_size > VALUE_MAX)
        return ktp_fail(instance->services, KTP_MALFORMED, "%s/%s: is over %d bytes",
                        instance->folder, file, VALUE_MAX);
    return KTP_SUCCESS;
}

/* ---- get ---- */

/* One byte more than there should be is asked for: a file that grew or shrank meanwhile is being
 * written in place, and half a value is worse than none. */
static ktp_status_t read_value(const ktp_instance_t *instance, int fd, const char *file,
                               size_t size, ktp_buffer_t *ret_value)
{
    const ktp_services_t *services = instance->services;
    unsigned char *data = services->secret_alloc(services->host, size + 1);
    ktp_status_t status;
    size_t have = 0;
    ssize_t got;

    if (data == NULL)
        return ktp_fail(instance->services, KTP_TRYAGAIN, "%s: out of locked memory",
                        instance->folder);
    do {
        got = read(fd, data + have, size + 1 - have);
        have += got > 0 ? (size_t)got : 0;
    } while ((got > 0 && have <= size) || (got < 0 && errno == EINTR));
    if (got >= 0 && have == size) {
        *ret_value = (ktp_buffer_t){data, size}; /* the host's from here on */
        return KTP_SUCCESS;
    }
    if (got < 0)
        status = fail_errno(instance, file);
    else
        status =
            ktp_fail(instance->services, KTP_TRYAGAIN,
                     "%s/%s: is being written: replace it by a rename", instance->folder, file);
    services->secret_free(services->host, data);
    return status;
}

static ktp_status_t get_from(const ktp_instance_t *instance, int folder, const char *file,
                             ktp_value_t *ret_value)
{
    /* O_NONBLOCK: a pipe of this name must not stop a server */
    int fd = openat(folder, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    ktp_status_t status;
    struct stat st;

    if (fd < 0)
        return errno == ENOENT ? KTP_NOTFOUND : fail_errno(instance, file);
    /* of the descriptor: the path may mean another file a moment later */
    status = fstat(fd, &st) != 0 ? fail_errno(instance, file) : check_file(instance, file, st);
    if (status == KTP_SUCCESS)
        status = read_value(instance, fd, file, (size_t)st.st_size, &ret_value->value);
    (void)close(fd);
    if (status != KTP_SUCCESS)
        return status;
    ret_value->version = 0; /* there are none */
    ret_value->created = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    ret_value->expires = 0; /* not known; a provider that knows it answers KTP_GONE later */
    return KTP_SUCCESS;
}

/* `request` says more than is needed here. `environment`: a configuration is of one environment,
 * and so is its folder; a provider whose server holds several puts it into what it asks for.
 * `version` is "current", since the table does not say KTP_VERSIONS. `timeout` is for those that
 * wait. */
static ktp_status_t sample_get(ktp_instance_t *instance, const ktp_request_t *request,
                               ktp_value_t *ret_value)
{
    char file[NAME_ROOM];
    int folder;
    ktp_status_t status = find(instance, request->name, file, &folder);

    if (status != KTP_SUCCESS)
        return status;
    status = get_from(instance, folder, file, ret_value);
    (void)close(folder);
    return status;
}

/* ---- put ---- */

static int write_all(int fd, const unsigned char *data, size_t size)
{
    while (size > 0) {
        ssize_t put = write(fd, data, size);

        if (put < 0 && errno != EINTR)
            return -1;
        data += put > 0 ? put : 0;
        size -= put > 0 ? (size_t)put : 0;
    }
    return 0;
}

/* A new file, then its name: readers have the old value or the new one, whole. '~' is in no name,
 * so that the new file is in no list and cannot be read as a secret. Under the folder's lock, since
 * it has one name: what a killed writer left is the next one's to remove. */
static ktp_status_t replace(const ktp_instance_t *instance, int folder, const char *file,
                            const ktp_buffer_t *value)
{
    static const char fresh[] = "~new";
    ktp_status_t status = KTP_SUCCESS;
    int fd;

    if (flock(folder, LOCK_EX | LOCK_NB) != 0)
        return ktp_fail(instance->services, KTP_TRYAGAIN, "%s: another process writes it",
                        instance->folder);
    (void)unlinkat(folder, fresh, 0);
    fd = openat(folder, fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_errno(instance, fresh);
    if (write_all(fd, value->data, value->size) != 0 || fsync(fd) != 0 ||
        renameat(folder, fresh, folder, file) != 0 || fsync(folder) != 0) {
        status = fail_errno(instance, file);
        (void)unlinkat(folder, fresh, 0);
    }
    (void)close(fd);
    return status; /* closing `folder` gives the lock back */
}

/* What cannot be kept is refused: with its expiry forgotten, a secret would live for ever. */
static ktp_status_t sample_put(ktp_instance_t *instance, const ktp_request_t *request,
                               const ktp_value_t *value, uint64_t *ret_version)
{
    char file[NAME_ROOM];
    ktp_status_t status = file_of(instance, request->name, file);
    int folder;

    if (status == KTP_SUCCESS && value->expires != 0)
        status = ktp_fail(instance->services, KTP_FORBIDDEN, "%s: files keep no expiry",
                          instance->folder);
    if (status == KTP_SUCCESS)
        status = open_folder(instance, &folder);
    if (status != KTP_SUCCESS)
        return status;
    status = replace(instance, folder, file, &value->value);
    (void)close(folder);
    if (status == KTP_SUCCESS)
        *ret_version = 0;
    return status;
}

/* ---- remove, list, check ---- */

static ktp_status_t sample_remove(ktp_instance_t *instance, const ktp_request_t *request)
{
    char file[NAME_ROOM];
    int folder;
    ktp_status_t status = find(instance, request->name, file, &folder);

    if (status != KTP_SUCCESS)
        return status;
    if (unlinkat(folder, file, 0) != 0)
        status = errno == ENOENT ? KTP_NOTFOUND : fail_errno(instance, file);
    else if (fsync(folder) != 0)
        status = fail_errno(instance, "");
    (void)close(folder);
    return status;
}

/* `fn` may end the list, which is not a failure. */
static ktp_status_t sample_list(ktp_instance_t *instance, int (*fn)(void *arg, const char *name),
                                void *arg)
{
    ktp_status_t status;
    const struct dirent *entry;
    char name[NAME_ROOM];
    int folder;
    DIR *dir;

    status = open_folder(instance, &folder);
    if (status != KTP_SUCCESS)
        return status;
    dir = fdopendir(folder);
    if (dir == NULL) {
        status = fail_errno(instance, "");
        (void)close(folder);
        return status;
    }
    for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0)
        if (name_of(entry->d_name, name) && fn(arg, name) != 0)
            break;
    if (entry == NULL && errno != 0)
        status = fail_errno(instance, "");
    (void)closedir(dir);
    return status;
}

/* `keyturn check` and the hosts at their start ask this: the folder is there, is safe, and may be
 * searched, or written. A provider of a server logs in here, and reads nothing. */
static ktp_status_t sample_check(ktp_instance_t *instance, int writing)
{
    int folder;
    ktp_status_t status = open_folder(instance, &folder);

    if (status != KTP_SUCCESS)
        return status;
    if (faccessat(folder, ".", X_OK | (writing ? W_OK : 0), AT_EACCESS) != 0)
        status = fail_errno(instance, "");
    (void)close(folder);
    return status;
}

/* ---- open, close ---- */

/* Waits for nothing and needs nothing to be there: a server must start while the folder is not yet
 * mounted, and check() says so. `count` is OPTIONS. A service that came later than ABI 1.0 is used
 * only where services->abi_minor says that the host has it. */
static ktp_status_t sample_open(const ktp_services_t *services, const ktp_option_t *options,
                                size_t count, ktp_instance_t **ret_instance)
{
    ktp_instance_t *instance = malloc(sizeof *instance);

    (void)count;
    if (instance == NULL)
        return ktp_fail(services, KTP_TRYAGAIN, "out of memory");
    instance->services = services;
    instance->folder = options[OPTION_PATH].text;
    *ret_instance = instance;
    return KTP_SUCCESS;
}

/* Frees what open() and the calls have made. No value is left: each was handed over. */
static void sample_close(ktp_instance_t *instance)
{
    free(instance);
}

extern const ktp_provider_t keyturn_provider;

__attribute__((visibility("default"))) const ktp_provider_t keyturn_provider = {
    KTP_HEADER,       /* magic, ABI and size, of the header that this was built with */
    .name = "sample", /* as in sample.so, and in `providers:` */
    /* Not KTP_SEALED: values are plain, so they are as safe as the files. Not KTP_BLOCKING: a local
     * file does not keep an event loop waiting; a network would. Not KTP_VERSIONS, KTP_CAS or
     * KTP_TOKEN: a file has one value and no number, and the cache's TTL says when it is read
     * again. Not KTP_CREATE: a folder is made by mkdir. */
    .capabilities = KTP_WRITE | KTP_LIST, .options = sample_options, .open = sample_open,
    .close = sample_close, .check = sample_check, .get = sample_get,
    .put = sample_put,       /* with KTP_WRITE */
    .remove = sample_remove, /* with KTP_WRITE */
    .list = sample_list,     /* with KTP_LIST */
};
