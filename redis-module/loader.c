/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loader.c: keyturn.so, the file that loadmodule names. It loads the module itself, which is
 * redis-module.so.
 *
 * Valkey 8.1 and later load a module with RTLD_DEEPBIND: a name is looked up among the libraries of
 * the module before it is looked up in the server. libyaml's free() was libc's then, and what it
 * freed came from libc's strdup(), which takes from the server's jemalloc: the server aborted. This
 * file has no library but libc and keeps no memory. What it loads is looked up in the usual order,
 * so that the process has one allocator. Other servers get the same two files.
 *
 * A module with a data type is never unloaded, so there is no RedisModule_OnUnload().
 */
#include <dlfcn.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <redismodule.h>

typedef int (*onload_t)(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);

/*
 * Where the module is: KTR_MODULE, the path that configure chose. If this file is KTR_LOADER below
 * some other folder (make install DESTDIR=...), the module is below that folder too.
 */
static void find_module(char path[PATH_MAX])
{
    static const char installed[] = KTR_LOADER;
    size_t len, end = sizeof(installed) - 1;
    char own[PATH_MAX];
    Dl_info info;

    snprintf(path, PATH_MAX, "%s", KTR_MODULE);
    if (dladdr((void *) (uintptr_t) find_module, &info) == 0 ||
        realpath(info.dli_fname, own) == NULL)
        return;
    len = strlen(own);
    if (len > end && len - end + sizeof(KTR_MODULE) <= PATH_MAX &&
        strcmp(own + len - end, installed) == 0) {
        memcpy(path, own, len - end);
        memcpy(path + len - end, KTR_MODULE, sizeof(KTR_MODULE));
    }
}

/* RedisModule_Init() is left to the module: it must be called once. */
static void log_failure(RedisModuleCtx *ctx, const char *why)
{
    *(void **) &RedisModule_GetApi = ((void **) ctx)[0];
    RedisModule_GetApi("RedisModule_Log", (void *) &RedisModule_Log);
    RedisModule_Log(ctx, "warning",
                    "keyturn: the module cannot be loaded: %s (keyturn.so and redis-module.so are "
                    "installed together: install keyturn again)",
                    why);
}

__attribute__((visibility("default"))) int RedisModule_OnLoad(RedisModuleCtx *ctx,
                                                              RedisModuleString **argv, int argc);

int RedisModule_OnLoad(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    char path[PATH_MAX];
    onload_t onload = NULL;
    void *module;

    find_module(path);
    module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module != NULL)
        onload = (onload_t) (uintptr_t) dlsym(module, "RedisModule_OnLoad");
    if (onload == NULL) {
        log_failure(ctx, dlerror());
    } else if (onload(ctx, argv, argc) == REDISMODULE_OK) {
        return REDISMODULE_OK;
    }
    /* the next MODULE LOAD begins anew */
    if (module != NULL)
        dlclose(module);
    return REDISMODULE_ERR;
}
