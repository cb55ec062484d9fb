/* SPDX-License-Identifier: BSD-2-Clause */
/* instance.c: instances of providers, each with its anchors and its proof cache. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "store.h"

static size_t keep_versions(const kt_module_t *module)
{
    size_t i;

    for (i = 0; i < module->noptions; i++) {
        if (strcmp(module->options[i].name, KT_KEEP_VERSIONS) == 0)
            return (size_t)module->options[i].number;
    }
    return KT_KEPT;
}

/* A store with an index has a folder anchors/ next to the file of its option `path`. */
static kt_status_t open_anchors(const kt_module_t *module, kt_store_t *store)
{
    char path[PATH_MAX];
    const char *slash;
    size_t i;

    if ((module->api->capabilities & (KTP_SEALED | KTP_CREATE | KTP_CLEAR_NAMES)) !=
        (KTP_SEALED | KTP_CREATE))
        return KT_SUCCESS;
    for (i = 0; i < module->noptions; i++) {
        if (strcmp(module->options[i].name, "path") != 0 || module->options[i].text == NULL)
            continue;
        slash = strrchr(module->options[i].text, '/');
        if (snprintf(path, sizeof(path), "%.*s/anchors",
                     slash != NULL ? (int)(slash - module->options[i].text) : 1,
                     slash != NULL ? module->options[i].text : ".") >= (int)sizeof(path))
            return kt_fail(KT_CONFIG, "%s: the path of the store is too long", store->name);
        return kt_anchors_new(path, &store->anchors);
    }
    return KT_SUCCESS;
}

kt_status_t kt_instance_open(const kt_modules_t *modules, size_t index, kt_store_t *ret_store)
{
    const kt_module_t *module = &modules->list[index];
    kt_store_t store = {
        .api = module->api, .name = module->api->name, .keep_versions = keep_versions(module)};
    kt_status_t status;

    kt_provider_error_clear();
    status = kt_from_provider(store.name, module->api->open(kt_services(), module->options,
                                                            module->noptions, &store.instance));
    if (status == KT_SUCCESS && store.instance == NULL)
        status =
            kt_fail(KT_MALFORMED, "%s: success without an instance (provider bug)", store.name);
    if (status == KT_SUCCESS) {
        status = open_anchors(module, &store);
        if (status != KT_SUCCESS)
            kt_instance_close(&store);
    }
    if (status == KT_SUCCESS &&
        (module->api->capabilities & (KTP_SEALED | KTP_CLEAR_NAMES)) == KTP_SEALED)
        store.proofs = kt_proofs_new();
    if (status == KT_SUCCESS)
        *ret_store = store;
    return status;
}

void kt_instance_close(kt_store_t *store)
{
    if (store->api != NULL && store->instance != NULL)
        store->api->close(store->instance);
    kt_anchors_free(store->anchors);
    kt_proofs_free(store->proofs);
    memset(store, 0, sizeof(*store));
}
