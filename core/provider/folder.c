/* SPDX-License-Identifier: BSD-2-Clause */
/* folder.c: where the providers are: beside the library that runs, wherever that was installed. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "provider.h"

/* The folder of providers, and who owns this library. */
kt_status_t kt_provider_folder(char folder[PATH_MAX], uid_t *ret_owner)
{
    char path[PATH_MAX];
    struct stat st;
    Dl_info info;
    char *slash;

    if (dladdr((void *)(uintptr_t)kt_provider_folder, &info) == 0 ||
        realpath(info.dli_fname, path) == NULL || stat(path, &st) != 0)
        return kt_fail(KT_INTERNAL, "cannot tell where libkeyturn was loaded from");
    slash = strrchr(path, '/');
    *slash = '\0';
    if (snprintf(folder, PATH_MAX, "%s/keyturn", path) >= PATH_MAX)
        return kt_fail(KT_INTERNAL, "the path of libkeyturn is too long");
    *ret_owner = st.st_uid;
    return KT_SUCCESS;
}
