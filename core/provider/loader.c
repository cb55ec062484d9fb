/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loader.c: from a name in the configuration to a provider that may be called.
 *
 * Providers lie in the folder keyturn/ next to this library, wherever that is: a user who can write
 * there controls this code anyway, and an installed, a staged and a built tree all work. The file
 * is opened, the open descriptor checked, and then that descriptor loaded, so that nothing can be
 * put in its place between. It is never unloaded.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "provider.h"

#define SYMBOL "keyturn_provider"
#define PROC_NAME 128
#define PROVIDER_SIZE_1_0 (offsetof(ktp_provider_t, token) + sizeof(((ktp_provider_t *)0)->token))

/* A file that was cut short, by a full disk for one, would end the process with SIGBUS inside the
 * dynamic linker. */
static bool is_whole(int fd, off_t size)
{
    ElfW(Ehdr) elf;
    ElfW(Phdr) part;
    unsigned i;

    if (pread(fd, &elf, sizeof(elf), 0) != (ssize_t)sizeof(elf) ||
        memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0)
        return true; /* the linker will say what it is not */
    for (i = 0; i < elf.e_phnum; i++) {
        if (pread(fd, &part, sizeof(part), (off_t)(elf.e_phoff + i * sizeof(part))) !=
            (ssize_t)sizeof(part))
            return false;
        if (part.p_type == PT_LOAD &&
            (part.p_offset > (size_t)size || part.p_filesz > (size_t)size - part.p_offset))
            return false;
    }
    return true;
}

static kt_status_t check_file(int fd, const char *path, uid_t library_owner)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return kt_fail(KT_CONFIG, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return kt_fail(KT_PERMISSION, "%s: not a regular file", path);
    if (st.st_uid != 0 && st.st_uid != geteuid() && st.st_uid != library_owner)
        return kt_fail(KT_PERMISSION,
                       "%s: belongs to uid %u, not to root or to the owner of libkeyturn", path,
                       (unsigned)st.st_uid);
    if ((st.st_mode & 0022) != 0)
        return kt_fail(KT_PERMISSION, "%s: mode %04o lets others write it: chmod go-w", path,
                       (unsigned)(st.st_mode & 07777));
    if (!is_whole(fd, st.st_size))
        return kt_fail(KT_CONFIG, "%s: the file is cut short: install it again", path);
    return KT_SUCCESS;
}

/* What came after 1.0 is asked for here, and nowhere else: an older provider's table ends before
 * it. */
ktp_status_t kt_provider_reserve(const ktp_provider_t *api, ktp_txn_t *txn, uint64_t bytes)
{
    if (api->size < offsetof(ktp_provider_t, reserve) + sizeof(api->reserve) ||
        api->abi_minor < 1 || api->reserve == NULL)
        return KTP_SUCCESS;
    return api->reserve(txn, bytes);
}

ktp_status_t kt_provider_expire(const ktp_provider_t *api, ktp_txn_t *txn, const ktp_key_t *key,
                                int64_t when)
{
    if (api->size < offsetof(ktp_provider_t, expire) + sizeof(api->expire) || api->abi_minor < 3 ||
        api->expire == NULL)
        return KTP_SUCCESS;
    return api->expire(txn, key, when);
}

static bool can_publish(const ktp_provider_t *api)
{
    return api->size >= offsetof(ktp_provider_t, sync) + sizeof(api->sync) && api->abi_minor >= 3 &&
           api->publish != NULL && api->sync != NULL;
}

ktp_status_t kt_provider_publish(const ktp_provider_t *api, ktp_txn_t *txn)
{
    return can_publish(api) ? api->publish(txn) : api->commit(txn);
}

ktp_status_t kt_provider_sync(const ktp_provider_t *api, ktp_instance_t *instance)
{
    return can_publish(api) ? api->sync(instance) : KTP_SUCCESS;
}

/* What a capability names is called without another look. */
static bool keeps_promises(const ktp_provider_t *api)
{
    uint32_t can = api->capabilities;

    if (((can & KTP_CREATE) && api->create == NULL) || ((can & KTP_TOKEN) && api->token == NULL))
        return false;
    if (!(can & KTP_SEALED))
        return api->get != NULL &&
               (!(can & KTP_WRITE) || (api->put != NULL && api->remove != NULL)) &&
               (!(can & KTP_LIST) || api->list != NULL);
    return api->begin != NULL && api->row_get != NULL && api->commit != NULL &&
           api->abort != NULL &&
           (!(can & KTP_WRITE) || (api->row_put != NULL && api->row_remove != NULL)) &&
           (!(can & KTP_LIST) || api->row_scan != NULL);
}

static kt_status_t check_table(const ktp_provider_t *api, const char *path, const char *name)
{
    if (api->magic != KTP_MAGIC)
        return kt_fail(KT_CONFIG,
                       "%s: symbol " SYMBOL
                       " is not a provider's table (magic %08x, expected %08x)",
                       path, api->magic, KTP_MAGIC);
    if (api->abi_major != KTP_ABI_MAJOR)
        return kt_fail(KT_CONFIG,
                       "%s: provider ABI %u.%u, this keyturn has %u.%u: build it against this "
                       "version's header",
                       path, api->abi_major, api->abi_minor, KTP_ABI_MAJOR, KTP_ABI_MINOR);
    if (api->size < PROVIDER_SIZE_1_0)
        return kt_fail(KT_CONFIG, "%s: its table has %zu bytes, at least %zu were expected", path,
                       api->size, PROVIDER_SIZE_1_0);
    if (api->name == NULL || strcmp(api->name, name) != 0)
        return kt_fail(KT_CONFIG, "%s: calls itself \"%.32s\"", path,
                       api->name != NULL ? api->name : "");
    if (api->open == NULL || api->close == NULL || api->check == NULL || api->options == NULL)
        return kt_fail(KT_CONFIG, "%s: a mandatory member of its table is missing", path);
    if (!keeps_promises(api))
        return kt_fail(KT_CONFIG, "%s: does not offer the calls that its capabilities promise",
                       path);
    return KT_SUCCESS;
}

/*
 * A name of this descriptor that no other call gets. The dynamic linker answers a name that it has
 * seen with what it loaded then, and descriptors' numbers come back: the second provider was the
 * first one once more. So a counter is written in slashes, "/." for each 1 of it.
 */
static void name_descriptor(int fd, char name[PROC_NAME])
{
    static atomic_uint calls;
    unsigned count = atomic_fetch_add(&calls, 1);
    size_t at = (size_t)snprintf(name, PROC_NAME, "/proc/self/fd");

    for (; count > 0; count >>= 1)
        at += (size_t)snprintf(name + at, PROC_NAME - at, "%s", (count & 1) ? "/." : "/");
    (void)snprintf(name + at, PROC_NAME - at, "/%d", fd);
}

static kt_status_t load_file(const char *path, const char *name, uid_t library_owner,
                             const ktp_provider_t **ret_api)
{
    char by_descriptor[PROC_NAME];
    const ktp_provider_t *api;
    void *handle;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
    kt_status_t status;

    if (fd < 0)
        return kt_fail(KT_CONFIG, "there is no provider \"%s\": %s: %s", name, path,
                       strerror(errno));
    status = check_file(fd, path, library_owner);
    if (status == KT_SUCCESS) {
        name_descriptor(fd, by_descriptor);
        handle = dlopen(by_descriptor, RTLD_NOW | RTLD_LOCAL);
        api = handle != NULL ? dlsym(handle, SYMBOL) : NULL;
        if (handle == NULL)
            status = kt_fail(KT_CONFIG, "%s: %s", path, dlerror());
        else if (api == NULL)
            status = kt_fail(KT_CONFIG, "%s: exports no symbol " SYMBOL ": not a provider", path);
        else
            status = check_table(api, path, name);
    }
    (void)close(fd);
    if (status == KT_SUCCESS)
        *ret_api = api;
    return status;
}

kt_status_t kt_provider_account(const char *name, kt_account_fn *ret_account)
{
    char folder[PATH_MAX], path[PATH_MAX + 64];
    const ktp_provider_t *api;
    uid_t owner = 0;
    kt_status_t status = kt_provider_folder(folder, &owner);

    if (status != KT_SUCCESS)
        return status;
    (void)snprintf(path, sizeof(path), "%s/%s.so", folder, name);
    status = load_file(path, name, owner, &api);
    if (status != KT_SUCCESS)
        return status;
    if (api->size < offsetof(ktp_provider_t, account) + sizeof(api->account) ||
        api->abi_minor < 3 || api->account == NULL)
        return kt_fail(KT_CONFIG, "%s: changes no passwords (install the one of this keyturn)",
                       path);
    *ret_account = api->account;
    return KT_SUCCESS;
}

/* ---- all of them ---- */

static kt_status_t load_module(const kt_config_t *config, const char *folder, uid_t owner,
                               kt_module_t *module)
{
    char path[PATH_MAX + 64];
    kt_status_t status;

    if (strlen(module->config->name) > 32 ||
        kt_name_check(module->config->name, 0, NULL) != KT_SUCCESS ||
        strchr(module->config->name, '/') != NULL)
        return kt_options_at(config, module->config->line,
                             kt_fail(KT_CONFIG, "not the name of a provider"));
    (void)snprintf(path, sizeof(path), "%s/%s.so", folder, module->config->name);
    status = load_file(path, module->config->name, owner, &module->api);
    if (status != KT_SUCCESS)
        return kt_options_at(config, module->config->line, status);
    return kt_options_set(config, module);
}

/* Copied once, for all of them. */
static kt_status_t lend_environment(kt_modules_t *modules, kt_module_t *module)
{
    kt_status_t status = KT_SUCCESS;

    if (modules->environment == NULL)
        status = kt_environment_copy(&modules->environment, &modules->nvariables);
    module->environment = modules->environment;
    module->nvariables = modules->nvariables;
    return status;
}

kt_status_t kt_modules_load(const kt_config_t *config, kt_modules_t **ret_modules)
{
    char folder[PATH_MAX];
    kt_modules_t *modules;
    uid_t owner = 0;
    kt_status_t status;
    size_t i;

    status = kt_provider_folder(folder, &owner);
    if (status != KT_SUCCESS)
        return status;
    modules = calloc(1, sizeof(*modules));
    if (modules == NULL)
        return kt_no_memory();
    atomic_init(&modules->refs, 1);
    modules->list = calloc(config->nproviders > 0 ? config->nproviders : 1, sizeof(*modules->list));
    status = modules->list != NULL ? KT_SUCCESS : kt_no_memory();
    for (i = 0; i < config->nproviders && status == KT_SUCCESS; i++) {
        modules->list[i].config = &config->providers[i];
        modules->list[i].of = config;
        modules->list[i].services = *kt_services();
        modules->list[i].services.host = &modules->list[i];
        modules->list[i].services.secret = kt_options_secret;
        modules->list[i].services.variable = kt_environment_service;
        modules->count++;
        status = load_module(config, folder, owner, &modules->list[i]);
        if (status == KT_SUCCESS && (modules->list[i].api->capabilities & KTP_ENVIRONMENT))
            status = lend_environment(modules, &modules->list[i]);
    }
    if (status != KT_SUCCESS) {
        kt_modules_unref(modules);
        return status;
    }
    *ret_modules = modules;
    return KT_SUCCESS;
}

kt_modules_t *kt_modules_ref(kt_modules_t *modules)
{
    (void)atomic_fetch_add(&modules->refs, 1);
    return modules;
}

void kt_modules_unref(kt_modules_t *modules)
{
    size_t i;

    if (modules == NULL || atomic_fetch_sub(&modules->refs, 1) != 1)
        return;
    for (i = 0; i < modules->count; i++) {
        if (modules->list[i].options != NULL)
            kt_options_free(&modules->list[i]);
    }
    kt_locked_free(modules->environment);
    free(modules->list);
    free(modules);
}
