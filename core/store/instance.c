/* SPDX-License-Identifier: BSD-2-Clause */
/* instance.c: instances of providers, each with its anchors and its proof cache. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "store.h"

static const ktp_option_t *find_option(const kt_module_t *module, const char *name)
{
    size_t i;

    for (i = 0; i < module->noptions; i++) {
        if (strcmp(module->options[i].name, name) == 0)
            return &module->options[i];
    }
    return NULL;
}

/*
 * The folder `anchors` is in a folder that the writers of the store may not write, so that none can
 * rename it away: in the folder of the store, or beside that one if not only its owner may write it
 * (a sticky folder protects what others own).
 */
kt_status_t kt_anchors_path(const char *store, char *path, size_t size)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(store, '/');
    struct stat st;
    int length = slash == NULL ? snprintf(folder, sizeof(folder), ".")
                               : snprintf(folder, sizeof(folder), "%.*s",
                                          slash == store ? 1 : (int)(slash - store), store);

    if (length >= 0 && length < (int)sizeof(folder)) {
        bool shared = stat(folder, &st) == 0 && (st.st_mode & (S_IWGRP | S_IWOTH)) != 0 &&
                      (st.st_mode & S_ISVTX) == 0;

        length = snprintf(path, size, "%s%s/anchors", folder, shared ? "/.." : "");
    }
    return length >= 0 && length < (int)size
               ? KT_SUCCESS
               : kt_fail(KT_CONFIG, "the path of the store is too long");
}

/* Only a store with an index has anchors. */
static kt_status_t open_anchors(const kt_module_t *module, kt_store_t *store)
{
    const ktp_option_t *option = find_option(module, "path");
    char path[PATH_MAX];
    kt_status_t status;

    if ((module->api->capabilities & (KTP_SEALED | KTP_CREATE | KTP_CLEAR_NAMES)) !=
            (KTP_SEALED | KTP_CREATE) ||
        option == NULL || option->text == NULL)
        return KT_SUCCESS;
    status = kt_anchors_path(option->text, path, sizeof(path));
    return status == KT_SUCCESS ? kt_anchors_new(path, &store->anchors)
                                : kt_fail_prefix(status, "%s", store->name);
}

kt_status_t kt_instance_open(const kt_modules_t *modules, size_t index, kt_store_t *ret_store)
{
    const kt_module_t *module = &modules->list[index];
    const ktp_option_t *kept = find_option(module, KT_KEEP_VERSIONS);
    kt_store_t store = {.api = module->api,
                        .name = module->api->name,
                        .keep_versions = kept != NULL ? (size_t)kept->number : KT_KEPT};
    kt_status_t status;

    kt_provider_error_clear();
    status = kt_from_provider(store.name, module->api->open(kt_services(), module->options,
                                                            module->noptions, &store.instance));
    if (status == KT_SUCCESS && store.instance == NULL)
        status =
            kt_fail(KT_MALFORMED, "%s: success without an instance (provider bug)", store.name);
    if (status != KT_SUCCESS)
        return status;
    status = open_anchors(module, &store);
    if (status != KT_SUCCESS) {
        kt_instance_close(&store);
        return status;
    }
    if ((module->api->capabilities & (KTP_SEALED | KTP_CLEAR_NAMES)) == KTP_SEALED)
        store.proofs = kt_proofs_new();
    *ret_store = store;
    return KT_SUCCESS;
}

void kt_instance_close(kt_store_t *store)
{
    if (store->api != NULL && store->instance != NULL)
        store->api->close(store->instance);
    kt_anchors_free(store->anchors);
    kt_proofs_free(store->proofs);
    memset(store, 0, sizeof(*store));
}
