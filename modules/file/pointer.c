/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pointer.c: variables of the environment that name files, as images of containers have them:
 * DB_PASSWORD_FILE=/run/secrets/db. The star in `path: $*_FILE` stands for the name.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

ktp_status_t pointer_get(ktp_instance_t *instance, const char *name, ktp_value_t *ret_value)
{
    const char *star = strchr(instance->path, '*'), *path;
    char middle[NAME_ROOM], variable[2 * NAME_ROOM];
    ktp_status_t status;
    int length, fd;

    if (strlen(name) >= sizeof middle)
        return KTP_NOTFOUND;
    (void)ktp_variable_name(name, strlen(name), middle);
    length = snprintf(variable, sizeof variable, "%.*s%s%s", (int)(star - instance->path - 1),
                      instance->path + 1, middle, star + 1);
    if (length < 0 || length >= (int)sizeof variable)
        return KTP_NOTFOUND;
    path = ktp_variable(instance->services, variable, (size_t)length);
    if (path == NULL)
        return KTP_NOTFOUND;
    if (path[0] != '/')
        return ktp_fail(instance->services, KTP_MALFORMED, "$%s: not an absolute path", variable);
    token_watch(instance, path);
    fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        /* that a variable names it and it is not there is no proof that there is no secret */
        status = place_fail(instance, path);
        return status;
    }
    status = place_value(instance, fd, path, ret_value);
    (void)close(fd);
    return status;
}

ktp_status_t pointer_list(const ktp_instance_t *instance, list_fn fn, void *arg)
{
    const ktp_services_t *services = instance->services;
    const char *star = strchr(instance->path, '*'), *text;
    size_t head = (size_t)(star - instance->path - 1), tail = strlen(star + 1);
    char name[NAME_ROOM], back[NAME_ROOM];

    for (size_t i = 0; (text = services->variable(services->host, i)) != NULL; i++) {
        size_t length = strcspn(text, "="), size;

        if (length <= head + tail || length - head - tail >= NAME_ROOM ||
            memcmp(text, instance->path + 1, head) != 0 ||
            memcmp(text + length - tail, star + 1, tail) != 0 || text[length + 1] == '\0')
            continue;
        size = length - head - tail;
        memcpy(name, text + head, size);
        name[size] = '\0';
        (void)ktp_variable_name(name, size, back);
        if (strcmp(name, back) == 0 && fn(arg, name) != 0)
            break;
    }
    return KTP_SUCCESS;
}
