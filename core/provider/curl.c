/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * curl.c: loads libcurl when the first request needs it, see curl.h.
 *
 * libcurl's buffers hold secrets, so what it frees is wiped: its allocator is ours, unless the host
 * started libcurl before us.
 */
#include "curl.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

#define SONAME "libcurl.so.4" /* of every libcurl since 7.16 */

kt_curl_t kt_curl;

static char error[512]; /* "" if libcurl can be used */

/* ---- libcurl's memory ---- */

static void wiping_free(void *data)
{
    if (data == NULL)
        return;
    kt_wipe(data, malloc_usable_size(data));
    free(data);
}

static void *wiping_realloc(void *data, size_t size)
{
    size_t old = data != NULL ? malloc_usable_size(data) : 0;
    void *grown = malloc(size);

    if (grown == NULL)
        return NULL;
    if (data != NULL)
        memcpy(grown, data, old < size ? old : size);
    wiping_free(data);
    return grown;
}

/* ---- loading ---- */

static void fail_load(const char *why)
{
    if (why == NULL)
        why = "unknown reason";
    if (strncmp(why, SONAME ": ", sizeof(SONAME ": ") - 1) == 0)
        why += sizeof(SONAME ": ") - 1;
    (void)snprintf(error, sizeof(error),
                   SONAME " cannot be loaded: %s (install libcurl4, then start again)", why);
}

/* A function pointer is not a void *, so it is written through one, as POSIX has it. */
static bool find(void *library, const char *name, void *ret_function)
{
    void *function = dlsym(library, name);

    if (function == NULL)
        return false;
    memcpy(ret_function, &function, sizeof(function));
    return true;
}

static bool find_all(void *library)
{
#define FIND(name)                                                                                 \
    if (!find(library, "curl_" #name, &kt_curl.name))                                              \
        return false;
    KT_CURL_FUNCTIONS(FIND)
#undef FIND
    return true;
}

static void load_once(void)
{
    void *library = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);

    if (library == NULL || !find_all(library))
        fail_load(dlerror());
    else if (kt_curl.global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiping_free, wiping_realloc,
                                     strdup, calloc) != CURLE_OK)
        (void)snprintf(error, sizeof(error), "libcurl does not start");
}

const char *kt_curl_load(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, load_once);
    return error[0] != '\0' ? error : NULL;
}
