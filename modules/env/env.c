/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * env.c: secrets that are variables of the environment. keyturn-env(7) says what a user sees of it.
 *
 * The environment is the one that the process had which read the configuration: the host keeps a
 * copy, because nginx clears its workers' own. It cannot change while that process runs, so it
 * needs no token, and nothing here waits. An empty variable counts as unset.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "env.h"

#define VALUE_MAX 65536u /* bytes, of the core */

/* ---- get ---- */

static ktp_status_t hand_over(const ktp_instance_t *instance, const char *variable, size_t length,
                              const char *text, ktp_value_t *ret_value)
{
    const ktp_services_t *services = instance->services;
    size_t size = strlen(text);
    unsigned char *data;

    if (size > VALUE_MAX)
        return ktp_fail(services, KTP_MALFORMED, "$%.*s: is over %u bytes", (int)length, variable,
                        VALUE_MAX);
    data = services->secret_alloc(services->host, size + 1);
    if (data == NULL)
        return ktp_fail(services, KTP_TRYAGAIN, "out of locked memory");
    memcpy(data, text, size);
    ret_value->value = (ktp_buffer_t){data, size}; /* the host's from here on */
    ret_value->version = 0;                        /* there are none */
    ret_value->created = 0;
    ret_value->expires = 0;
    return KTP_SUCCESS;
}

static ktp_status_t env_get(ktp_instance_t *instance, const ktp_request_t *request,
                            ktp_value_t *ret_value)
{
    char variable[VARIABLE_ROOM];
    alias_t alias = {.map = instance->aliases};
    const char *text;
    size_t length;

    while (alias_next(&alias, request->name, variable, &length)) {
        text = ktp_variable(instance->services, variable, length);
        if (text != NULL)
            return hand_over(instance, variable, length, text, ret_value);
    }
    if (!variable_of(instance, request->name, variable, &length))
        return KTP_NOTFOUND;
    text = ktp_variable(instance->services, variable, length);
    if (text == NULL || (instance->detect && !looks_secret(variable, length, text)))
        return KTP_NOTFOUND;
    return hand_over(instance, variable, length, text, ret_value);
}

/* ---- list ---- */

/* The names of aliases that are set. A pattern of names names none. */
static int list_aliases(const ktp_instance_t *instance, int (*fn)(void *arg, const char *name),
                        void *arg)
{
    char name[NAME_ROOM], variable[VARIABLE_ROOM];
    const char *line = instance->aliases;
    size_t length;

    while (alias_name(&line, name)) {
        alias_t alias = {.map = instance->aliases};
        int is_set = 0;

        while (!is_set && alias_next(&alias, name, variable, &length))
            is_set = ktp_variable(instance->services, variable, length) != NULL;
        if (is_set && fn(arg, name) != 0)
            return 1;
    }
    return 0;
}

/* Each variable is a name of its own; which names with a type mean it too is not known. */
static ktp_status_t env_list(ktp_instance_t *instance, int (*fn)(void *arg, const char *name),
                             void *arg)
{
    const ktp_services_t *services = instance->services;
    char name[NAME_ROOM];
    const char *text;

    if (list_aliases(instance, fn, arg) != 0)
        return KTP_SUCCESS;
    for (size_t i = 0; (text = services->variable(services->host, i)) != NULL; i++) {
        size_t length = strcspn(text, "=");

        if (text[length] != '=' || text[length + 1] == '\0' ||
            !name_of(instance, text, length, name) || alias_has(instance->aliases, name) ||
            (instance->detect && !looks_secret(text, length, text + length + 1)))
            continue;
        if (fn(arg, name) != 0)
            break;
    }
    return KTP_SUCCESS;
}

/* ---- check, open, close ---- */

static ktp_status_t env_check(ktp_instance_t *instance, int writing)
{
    if (writing)
        return ktp_fail(instance->services, KTP_FORBIDDEN, "an environment cannot be written");
    return KTP_SUCCESS;
}

enum { OPTION_PREFIX, OPTION_ALIASES, OPTION_DETECT, OPTIONS };

static const ktp_option_spec_t env_options[] = {
    [OPTION_PREFIX] = {"prefix", KTP_STRING, 0, "", "what the names of variables begin with"},
    [OPTION_ALIASES] = {"aliases", KTP_MAP, 0, NULL, "variables of a name, the first one set wins"},
    [OPTION_DETECT] = {"detect", KTP_BOOL, 0, "no", "only variables that look like secrets"},
    [OPTIONS] = {NULL, KTP_STRING, 0, NULL, NULL},
};

static ktp_status_t env_open(const ktp_services_t *services, const ktp_option_t *options,
                             size_t count, ktp_instance_t **ret_instance)
{
    ktp_instance_t *instance;

    (void)count;
    if (services->abi_minor < 4)
        return ktp_fail(services, KTP_UNAVAIL,
                        "this keyturn is older than its provider: install it again");
    if (strspn(options[OPTION_PREFIX].text, VARIABLE_LETTERS) !=
        strlen(options[OPTION_PREFIX].text))
        return ktp_fail(services, KTP_MALFORMED, "%s:%d: `prefix` may have letters, digits and _",
                        options[OPTION_PREFIX].file, options[OPTION_PREFIX].line);
    instance = malloc(sizeof *instance);
    if (instance == NULL)
        return ktp_fail(services, KTP_TRYAGAIN, "out of memory");
    instance->services = services;
    instance->prefix = options[OPTION_PREFIX].text;
    instance->aliases = options[OPTION_ALIASES].text != NULL ? options[OPTION_ALIASES].text : "";
    instance->detect = options[OPTION_DETECT].number != 0;
    *ret_instance = instance;
    return KTP_SUCCESS;
}

static void env_close(ktp_instance_t *instance)
{
    free(instance);
}

extern const ktp_provider_t keyturn_provider;

__attribute__((visibility("default"))) const ktp_provider_t keyturn_provider = {
    KTP_HEADER,
    .name = "env",
    .capabilities = KTP_LIST | KTP_ENVIRONMENT,
    .options = env_options,
    .open = env_open,
    .close = env_close,
    .check = env_check,
    .get = env_get,
    .list = env_list,
};
