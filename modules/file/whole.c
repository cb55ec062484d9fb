/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * whole.c: a folder of files as one secret, a JSON object with a field for each file: what
 * Kubernetes mounts for a Secret with a user and a password. All files are read from one
 * descriptor of what ..data means, so that the fields are of one moment.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

#define FIELDS 64 /* files of one secret */

typedef struct object {
    const ktp_instance_t *instance;
    const char *path;
    unsigned char *text; /* secret memory of VALUE_MAX + 1 bytes */
    size_t size;
    unsigned fields;
    int moved; /* a file that was listed is gone: another folder is in place of this one */
} object_t;

static int put(object_t *object, const char *bytes, size_t size)
{
    if (size > VALUE_MAX - object->size)
        return 0;
    memcpy(object->text + object->size, bytes, size);
    object->size += size;
    return 1;
}

/* Bytes of the UTF-8 character at `at`, 0: none. */
static size_t character(const unsigned char *at, size_t left)
{
    size_t size = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;

    if (size == 0 || size > left || at[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    if (size == 3 && ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f)))
        return 0;
    if (size == 4 && ((at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f)))
        return 0;
    return size;
}

/* A JSON string. 0: not UTF-8, or too large; both are MALFORMED. */
static int put_string(object_t *object, const unsigned char *bytes, size_t size)
{
    char escape[8];
    int fits = put(object, "\"", 1);

    for (size_t i = 0; i < size && fits;) {
        size_t length = character(bytes + i, size - i);

        if (length == 0) {
            fits = 0;
            break;
        }
        if (bytes[i] < ' ' || bytes[i] == '"' || bytes[i] == '\\') {
            int used = bytes[i] < ' ' ? snprintf(escape, sizeof escape, "\\u%04x", bytes[i])
                                      : snprintf(escape, sizeof escape, "\\%c", bytes[i]);

            fits = put(object, escape, (size_t)used);
        } else {
            fits = put(object, (const char *)bytes + i, length);
        }
        i += length;
    }
    explicit_bzero(escape, sizeof escape);
    return fits && put(object, "\"", 1);
}

static ktp_status_t put_field(object_t *object, int folder, const char *file, ktp_value_t *ret_last)
{
    const ktp_services_t *services = object->instance->services;
    int fd = openat(folder, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    char path[PATH_MAX + NAME_ROOM + 256];
    ktp_value_t value;
    ktp_status_t status;
    int fits;

    (void)snprintf(path, sizeof path, "%s/%s", object->path, file);
    if (fd < 0 && errno == ENOENT) {
        object->moved = 1;
        return KTP_TRYAGAIN;
    }
    if (fd < 0)
        return place_fail(object->instance, path);
    status = place_value(object->instance, fd, path, &value);
    (void)close(fd);
    if (status != KTP_SUCCESS)
        return status;
    if (ret_last->created < value.created)
        ret_last->created = value.created;
    fits = (object->fields == 0 ? put(object, "{", 1) : put(object, ", ", 2)) &&
           put_string(object, (const unsigned char *)file, strlen(file)) && put(object, ": ", 2) &&
           put_string(object, value.value.data, value.value.size);
    object->fields++;
    services->secret_free(services->host, value.value.data);
    return fits ? KTP_SUCCESS
                : ktp_fail(services, KTP_MALFORMED,
                           "%s: not UTF-8, so that it cannot be a field, or the folder is over %u "
                           "bytes",
                           path, VALUE_MAX);
}

/* In no order that matters: a field is looked up by its name. */
static ktp_status_t put_fields(object_t *object, int folder, ktp_value_t *ret_last)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    ktp_status_t status = KTP_SUCCESS;
    const struct dirent *entry;

    if (dir == NULL) {
        status = place_fail(object->instance, object->path);
        if (fd >= 0)
            (void)close(fd);
        return status;
    }
    errno = 0;
    while (status == KTP_SUCCESS && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.')
            status = object->fields < FIELDS
                         ? put_field(object, folder, entry->d_name, ret_last)
                         : ktp_fail(object->instance->services, KTP_MALFORMED,
                                    "%s: has more than %d files", object->path, FIELDS);
        errno = 0;
    }
    if (status == KTP_SUCCESS && errno != 0)
        status = place_fail(object->instance, object->path);
    (void)closedir(dir);
    return status;
}

/* Is the folder that was read still the one that counts, and the same? */
static int is_settled(int folder, const struct stat *before)
{
    struct stat after;

    if (fstatat(folder, "..data", &after, 0) != 0 && fstat(folder, &after) != 0)
        return 0;
    return after.st_dev == before->st_dev && after.st_ino == before->st_ino &&
           after.st_mtim.tv_sec == before->st_mtim.tv_sec &&
           after.st_mtim.tv_nsec == before->st_mtim.tv_nsec;
}

/* KTP_TRYAGAIN with object->moved: nothing has been said, and another try may do. */
static ktp_status_t read_folder(object_t *object, int folder, ktp_value_t *ret_last)
{
    int data = openat(folder, "..data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int from = data >= 0 ? data : folder;
    ktp_status_t status;
    struct stat st;

    object->size = object->fields = 0;
    object->moved = data < 0 && fstatat(folder, "..data", &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (object->moved) /* what it meant went between the two steps */
        return KTP_TRYAGAIN;
    ret_last->created = 0;
    status = fstat(from, &st) != 0 ? place_fail(object->instance, object->path)
                                   : place_check(object->instance, from, &st, object->path);
    if (status == KTP_SUCCESS)
        status = put_fields(object, from, ret_last);
    if (status == KTP_SUCCESS && !is_settled(folder, &st)) {
        object->moved = 1;
        status = KTP_TRYAGAIN;
    }
    if (data >= 0)
        (void)close(data);
    return status;
}

ktp_status_t whole_get(const ktp_instance_t *instance, int folder, const char *path,
                       ktp_value_t *ret_value)
{
    const ktp_services_t *services = instance->services;
    object_t object = {.instance = instance, .path = path, .moved = 1};
    ktp_status_t status = KTP_TRYAGAIN;
    ktp_value_t last;

    object.text = services->secret_alloc(services->host, VALUE_MAX + 1);
    if (object.text == NULL)
        return ktp_fail(services, KTP_TRYAGAIN, "%s: out of locked memory", path);
    for (int i = 0; i < TRIES && status == KTP_TRYAGAIN && object.moved; i++)
        status = read_folder(&object, folder, &last);
    if (status == KTP_TRYAGAIN && object.moved)
        status = ktp_fail(services, status, "%s: is being replaced all the time", path);
    if (status == KTP_SUCCESS && object.fields == 0)
        status = KTP_NOTFOUND;
    if (status == KTP_SUCCESS && !put(&object, "}", 1))
        status = ktp_fail(services, KTP_MALFORMED, "%s: is over %u bytes", path, VALUE_MAX);
    if (status != KTP_SUCCESS) {
        services->secret_free(services->host, object.text);
        return status;
    }
    ret_value->value = (ktp_buffer_t){object.text, object.size}; /* the host's from here on */
    ret_value->version = 0;
    ret_value->created = last.created;
    ret_value->expires = 0;
    return KTP_SUCCESS;
}
