/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * environment.c: the environment of the process that reads the configuration, as it was then.
 *
 * A host may clear it afterwards (nginx leaves its workers TZ alone), replace it, or overwrite it
 * to show a title in `ps`. So it is copied while it is whole, into secret memory, which a child
 * inherits.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "provider.h"

extern char **environ;

kt_status_t kt_environment_copy(char ***ret_environment, size_t *ret_count)
{
    size_t count = 0, size = 0;
    char **list, *at;

    while (environ != NULL && environ[count] != NULL)
        size += strlen(environ[count++]) + 1;
    size += (count + 1) * sizeof(*list);
    if (size > KT_ENVIRONMENT_SIZE)
        return kt_fail(KT_CONFIG, "the environment has more than %u bytes", KT_ENVIRONMENT_SIZE);
    list = kt_locked_alloc(size);
    if (list == NULL)
        return kt_no_memory();
    at = (char *)(list + count + 1);
    for (size_t i = 0; i < count; i++) {
        list[i] = at;
        at = stpcpy(at, environ[i]) + 1;
    }
    *ret_environment = list;
    *ret_count = count;
    return KT_SUCCESS;
}

const char *kt_environment_service(void *host, size_t index)
{
    const kt_module_t *module = host;

    return index < module->nvariables ? module->environment[index] : NULL;
}
