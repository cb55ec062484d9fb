/* SPDX-License-Identifier: BSD-2-Clause */
/* address.c: where a server is. */
#include "address.h"

#include <stdlib.h>
#include <string.h>

static const char *after(const char *text, const char *start)
{
    size_t len = strlen(start);

    return strncmp(text, start, len) == 0 ? text + len : NULL;
}

int kr_address(ktp_instance_t *instance, const char *address)
{
    const char *colon, *start = after(address, "redis://"), *secure = after(address, "rediss://");
    size_t len;
    char *end;

    free(instance->host);
    instance->host = NULL;
    instance->path = after(address, "unix:");
    instance->secure = secure != NULL || (instance->tls != NULL && instance->path == NULL);
    if (instance->path != NULL)
        return instance->path[0] == '/' ? 0 : -1;
    start = secure != NULL ? secure : start != NULL ? start : address;
    colon = strrchr(start, ':');
    if (colon == NULL || strchr(start, '/') != NULL || strchr(start, '@') != NULL)
        return -1;
    instance->port = (int)strtol(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || instance->port < 1 || instance->port > 65535)
        return -1;
    len = (size_t)(colon - start);
    if (len > 2 && start[0] == '[' && colon[-1] == ']') {
        start++;
        len -= 2;
    }
    instance->host = len > 0 ? strndup(start, len) : NULL;
    return instance->host != NULL ? 0 : -1;
}
