/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * file.c: plain files as secrets. keyturn-file(7) says what a user sees of it.
 *
 * `path` is looked at in each call: a folder may be mounted, or replaced, while a server runs.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

/* ---- calls ---- */

typedef struct call {
    const char *environment, *name;
    ktp_value_t *ret_value;
    list_fn fn;
    void *arg;
} call_t;

/* Plain text beside a production server is what a store is there to replace. */
static ktp_status_t may_read_lines(const ktp_instance_t *instance, const char *environment,
                                   const char *path)
{
    if (environment == NULL || strcmp(environment, "production") != 0 || instance->production)
        return KTP_SUCCESS;
    return ktp_fail(instance->services, KTP_FORBIDDEN,
                    "%s: a plain file of variables is not read in production (set `production: "
                    "yes` to read it all the same)",
                    path);
}

static ktp_status_t call_lines(const ktp_instance_t *instance, int fd, const char *path,
                               const call_t *call)
{
    ktp_status_t status = may_read_lines(instance, call->environment, path);

    if (status != KTP_SUCCESS)
        return status;
    if (call->name != NULL)
        return lines_get(instance, fd, path, call->name, call->ret_value);
    return call->fn != NULL ? lines_list(instance, fd, path, call->fn, call->arg) : KTP_SUCCESS;
}

static ktp_status_t call_folder(ktp_instance_t *instance, int fd, const char *path,
                                const call_t *call)
{
    if (call->name != NULL)
        return folder_get(instance, fd, path, call->name, call->ret_value);
    return call->fn != NULL ? folder_list(instance, fd, path, call->fn, call->arg) : KTP_SUCCESS;
}

/* With a name: get; with fn: list; with neither: check. */
static ktp_status_t run(ktp_instance_t *instance, const call_t *call)
{
    char path[PATH_MAX];
    ktp_status_t status;
    struct stat st;
    int fd = -1;

    if (place_is_pointer(instance)) {
        if (call->name != NULL)
            return pointer_get(instance, call->name, call->ret_value);
        return call->fn != NULL ? pointer_list(instance, call->fn, call->arg) : KTP_SUCCESS;
    }
    status = place_path(instance, path);
    if (status == KTP_SUCCESS)
        status = place_open(instance, path, &fd, &st);
    if (status == KTP_SUCCESS)
        status = place_check(instance, fd, &st, path);
    if (status == KTP_SUCCESS)
        status = S_ISDIR(st.st_mode) ? call_folder(instance, fd, path, call)
                                     : call_lines(instance, fd, path, call);
    if (fd >= 0)
        (void)close(fd);
    return status;
}

static ktp_status_t file_get(ktp_instance_t *instance, const ktp_request_t *request,
                             ktp_value_t *ret_value)
{
    call_t call = {
        .environment = request->environment, .name = request->name, .ret_value = ret_value};

    return run(instance, &call);
}

static ktp_status_t file_list(ktp_instance_t *instance, list_fn fn, void *arg)
{
    call_t call = {.fn = fn, .arg = arg};

    return run(instance, &call);
}

static ktp_status_t file_check(ktp_instance_t *instance, int writing)
{
    call_t call = {.name = NULL};

    if (writing)
        return ktp_fail(instance->services, KTP_FORBIDDEN, "%s: files are only read",
                        instance->path);
    return run(instance, &call);
}

/* ---- open, close ---- */

enum {
    OPTION_PATH,
    OPTION_DIALECT,
    OPTION_PREFIX,
    OPTION_SEPARATOR,
    OPTION_WATCH,
    OPTION_TRIM,
    OPTION_PRODUCTION,
    OPTIONS
};

static const ktp_option_spec_t file_options[] = {
    [OPTION_PATH] = {"path", KTP_PATH, 1, NULL, "a folder of files, or a file of variables"},
    [OPTION_DIALECT] = {"dialect", KTP_STRING, 0, "common", "how a file of variables is read"},
    [OPTION_PREFIX] = {"prefix", KTP_STRING, 0, "", "what the names of variables begin with"},
    [OPTION_SEPARATOR] = {"separator", KTP_STRING, 0, "/", "what a name's / is in a file's name"},
    [OPTION_WATCH] = {"watch", KTP_BOOL, 0, "yes", "a change is in the next read"},
    [OPTION_TRIM] = {"trim", KTP_BOOL, 0, "no", "without the newline at the end of a file"},
    [OPTION_PRODUCTION] = {"production", KTP_BOOL, 0, "no",
                           "read a file of variables in production too"},
    [OPTIONS] = {NULL, KTP_STRING, 0, NULL, NULL},
};

static int nothing(void *arg, const char *name, size_t name_size, const char *value,
                   size_t value_size)
{
    (void)arg, (void)name, (void)name_size, (void)value, (void)value_size;
    return 0;
}

static ktp_status_t check_options(const ktp_services_t *services, const ktp_option_t *options)
{
    const ktp_option_t *separator = &options[OPTION_SEPARATOR];

    if (services->abi_minor < 4)
        return ktp_fail(services, KTP_UNAVAIL,
                        "this keyturn is older than its provider: install it again");
    if (separator->text[0] == '\0' || strlen(separator->text) > 8 ||
        strspn(separator->text, "/+._-=:,@") != strlen(separator->text) ||
        (strchr(separator->text, '/') != NULL && strcmp(separator->text, "/") != 0))
        return ktp_fail(services, KTP_MALFORMED,
                        "%s:%d: `separator` must be / or up to 8 bytes of + . _ - = : , @",
                        separator->file, separator->line);
    /* an empty text: is there such a dialect? */
    return services->dotenv(services->host, options[OPTION_DIALECT].text,
                            options[OPTION_DIALECT].file, "", 0, nothing, NULL);
}

static ktp_status_t file_open(const ktp_services_t *services, const ktp_option_t *options,
                              size_t count, ktp_instance_t **ret_instance)
{
    ktp_status_t status = check_options(services, options);
    ktp_instance_t *instance;

    (void)count;
    if (status != KTP_SUCCESS)
        return status;
    instance = calloc(1, sizeof *instance);
    if (instance == NULL)
        return ktp_fail(services, KTP_TRYAGAIN, "out of memory");
    instance->services = services;
    instance->path = options[OPTION_PATH].text;
    instance->dialect = options[OPTION_DIALECT].text;
    instance->prefix = options[OPTION_PREFIX].text;
    instance->separator = options[OPTION_SEPARATOR].text;
    instance->watch = options[OPTION_WATCH].number != 0;
    instance->trim = options[OPTION_TRIM].number != 0;
    instance->production = options[OPTION_PRODUCTION].number != 0;
    *ret_instance = instance;
    return KTP_SUCCESS;
}

static void file_close(ktp_instance_t *instance)
{
    free(instance);
}

extern const ktp_provider_t keyturn_provider;

__attribute__((visibility("default"))) const ktp_provider_t keyturn_provider = {
    KTP_HEADER,
    .name = "file",
    .capabilities = KTP_LIST | KTP_TOKEN | KTP_ENVIRONMENT,
    .options = file_options,
    .open = file_open,
    .close = file_close,
    .check = file_check,
    .get = file_get,
    .list = file_list,
    .token = token_of,
};
