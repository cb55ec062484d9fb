/* SPDX-License-Identifier: BSD-2-Clause */
/* instance.c: instances of providers, each with its anchors and its caches. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
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

static bool is_folder(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/*
 * The folder `anchors` is in a folder that the writers of the store may not write, so that none can
 * rename it away: in the folder of the store, or next to that one if not only its owner may write
 * it (a sticky folder protects what others own). If it is in none of its places, it belongs there.
 */
kt_status_t kt_anchors_path(const char *store, char *path, size_t size)
{
    char folder[PATH_MAX], real[PATH_MAX], other[PATH_MAX + 16];
    const char *slash = strrchr(store, '/');
    bool shared = false;
    struct stat st;
    int length = slash == NULL ? snprintf(folder, sizeof(folder), ".")
                               : snprintf(folder, sizeof(folder), "%.*s",
                                          slash == store ? 1 : (int)(slash - store), store);

    if (length < 0 || length >= (int)sizeof(folder) ||
        snprintf(path, size, "%s/anchors", folder) >= (int)size)
        return kt_fail(KT_CONFIG, "the path of the store is too long");
    if (stat(folder, &st) == 0)
        shared = (st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (st.st_mode & S_ISVTX) == 0;
    if ((!shared && is_folder(path)) || realpath(folder, real) == NULL)
        return KT_SUCCESS;
    *strrchr(real, '/') = '\0';
    (void)snprintf(other, sizeof(other), "%s/anchors", real);
    if (!shared && !is_folder(other))
        return KT_SUCCESS;
    return snprintf(path, size, "%s", other) < (int)size
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
    status = kt_from_provider(store.name, module->api->open(&module->services, module->options,
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
    if ((module->api->capabilities & (KTP_SEALED | KTP_CLEAR_NAMES)) == KTP_SEALED) {
        store.proofs = kt_proofs_new();
        store.opened = kt_opened_new();
        store.names = kt_names_new();
        store.seen = kt_seen_new();
    }
    *ret_store = store;
    return KT_SUCCESS;
}

void kt_instance_close(kt_store_t *store)
{
    if (store->api != NULL && store->instance != NULL)
        store->api->close(store->instance);
    kt_anchors_free(store->anchors);
    kt_proofs_free(store->proofs);
    kt_opened_free(store->opened);
    kt_names_free(store->names);
    kt_seen_free(store->seen);
    kt_expected_free(store->expected);
    memset(store, 0, sizeof(*store));
}
