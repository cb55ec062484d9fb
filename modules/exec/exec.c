/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exec.c: a command that prints the secret it is asked for, as the providers of Summon do: the name
 * is its last argument, the value is on standard output, the exit status is the answer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <keyturn_provider.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VALUE_MAX 65536u /* bytes, of the core */
#define WORDS_MAX 30u
#define VARIABLES_MAX 20u
#define TEXT_MAX 3500u /* bytes of all variables together */

struct ktp_instance {
    const ktp_services_t *services;
    char *words;                      /* the command's, each ends with NUL */
    const char *argv[WORDS_MAX + 2];  /* the name goes to argv[count] */
    size_t count;
    const char *variables; /* the host's: NAME or NAME=VALUE, one a line */
    unsigned timeout;
    int trim;
};

/* ---- its environment ---- */

typedef struct variables {
    char *text; /* secret memory */
    size_t used;
    const char *list[VARIABLES_MAX + 1];
} variables_t;

/* NAME=VALUE as it stands; of NAME alone the value that our process had. */
static ktp_status_t make_variables(const ktp_instance_t *instance, variables_t *ret)
{
    const ktp_services_t *services = instance->services;
    const char *at = instance->variables;
    size_t count = 0;

    ret->text = services->secret_alloc(services->host, TEXT_MAX);
    if (ret->text == NULL)
        return ktp_fail(services, KTP_TRYAGAIN, "out of locked memory");
    while (at != NULL && *at != '\0') {
        size_t size = strcspn(at, "\n");
        int has_value = memchr(at, '=', size) != NULL;
        const char *value = has_value ? "" : ktp_variable(services, at, size);
        int length;

        if (value != NULL) {
            length = snprintf(ret->text + ret->used, TEXT_MAX - ret->used, "%.*s%s%s", (int)size,
                              at, has_value ? "" : "=", value);
            if (count == VARIABLES_MAX || length < 0 || length >= (int)(TEXT_MAX - ret->used))
                return ktp_fail(services, KTP_UNAVAIL,
                                "`environment` is more than %u variables or %u bytes",
                                VARIABLES_MAX, TEXT_MAX);
            ret->list[count++] = ret->text + ret->used;
            ret->used += (size_t)length + 1;
        }
        at += size + (at[size] == '\n');
    }
    return KTP_SUCCESS;
}

/* ---- get ---- */

/* The statuses that a command may answer; any other one says nothing of the secret. */
static ktp_status_t judge(const ktp_instance_t *instance, int status)
{
    switch (status) {
    case 0:
        return KTP_SUCCESS;
    case 66:
        return KTP_NOTFOUND;
    case 75:
        return ktp_fail(instance->services, KTP_TRYAGAIN, "%s: says that it is busy (75)",
                        instance->argv[0]);
    case 77:
        return ktp_fail(instance->services, KTP_FORBIDDEN, "%s: refuses the secret (77)",
                        instance->argv[0]);
    case -1:
        return ktp_fail(instance->services, KTP_UNAVAIL, "%s: ended by a signal",
                        instance->argv[0]);
    default:
        return ktp_fail(instance->services, KTP_UNAVAIL, "%s: failed with exit status %d",
                        instance->argv[0], status);
    }
}

static ktp_status_t exec_get(ktp_instance_t *instance, const ktp_request_t *request,
                             ktp_value_t *ret_value)
{
    const ktp_services_t *services = instance->services;
    const char *name = request->name;
    variables_t variables = {.text = NULL};
    ktp_command_t command = {.size = sizeof command,
                             .argv = instance->argv,
                             .environment = variables.list,
                             .output_max = VALUE_MAX + 1,
                             .timeout = instance->timeout};
    ktp_status_t status;

    if (strncmp(name, "general/", 8) == 0)
        name += 8;
    if (name[0] == '-')
        return ktp_fail(services, KTP_MALFORMED, "a name that begins with - would be an option");
    instance->argv[instance->count] = name;
    status = make_variables(instance, &variables);
    if (status == KTP_SUCCESS)
        status = services->run(services->host, &command);
    services->secret_free(services->host, variables.text);
    if (status != KTP_SUCCESS)
        return status;
    status = judge(instance, command.exit);
    if (instance->trim && command.output.size > 0 &&
        command.output.data[command.output.size - 1] == '\n')
        command.output.size--;
    if (status == KTP_SUCCESS && command.output.size > VALUE_MAX)
        status = ktp_fail(services, KTP_MALFORMED, "%s: printed more than %u bytes",
                          instance->argv[0], VALUE_MAX);
    if (status != KTP_SUCCESS) {
        services->secret_free(services->host, command.output.data);
        return status;
    }
    *ret_value = (ktp_value_t){.size = ret_value->size, .value = command.output};
    return KTP_SUCCESS;
}

/* ---- check, open, close ---- */

/* Which secret could be asked for is not known here. */
static ktp_status_t exec_check(ktp_instance_t *instance, int writing)
{
    if (writing)
        return ktp_fail(instance->services, KTP_FORBIDDEN, "%s: is only asked, and takes no values",
                        instance->argv[0]);
    if (access(instance->argv[0], X_OK) != 0)
        return ktp_fail(instance->services, KTP_UNAVAIL, "%s: cannot be run: %s",
                        instance->argv[0], strerror(errno));
    return KTP_SUCCESS;
}

enum { OPTION_COMMAND, OPTION_TIMEOUT, OPTION_ENVIRONMENT, OPTION_TRIM, OPTIONS };

static const ktp_option_spec_t exec_options[] = {
    [OPTION_COMMAND] = {"command", KTP_STRING, 1, NULL, "prints the secret that it is asked for"},
    [OPTION_TIMEOUT] = {"timeout", KTP_DURATION, 0, "5s", "how long it may take"},
    [OPTION_ENVIRONMENT] = {"environment", KTP_STRINGS, 0, NULL, "variables that it gets"},
    [OPTION_TRIM] = {"trim", KTP_BOOL, 0, "yes", "without the newline at the end"},
    [OPTIONS] = {NULL, KTP_STRING, 0, NULL, NULL},
};

static ktp_status_t split(ktp_instance_t *instance, const ktp_option_t *option)
{
    char *rest = NULL;

    for (char *word = strtok_r(instance->words, " \t", &rest); word != NULL;
         word = strtok_r(NULL, " \t", &rest)) {
        if (instance->count == WORDS_MAX)
            return ktp_fail(instance->services, KTP_MALFORMED, "%s:%d: more than %u words",
                            option->file, option->line, WORDS_MAX);
        instance->argv[instance->count++] = word;
    }
    if (instance->count == 0 || instance->argv[0][0] != '/')
        return ktp_fail(instance->services, KTP_MALFORMED,
                        "%s:%d: `command` must begin with an absolute path", option->file,
                        option->line);
    return KTP_SUCCESS;
}

static void exec_close(ktp_instance_t *instance)
{
    free(instance->words);
    free(instance);
}

static ktp_status_t exec_open(const ktp_services_t *services, const ktp_option_t *options,
                              size_t count, ktp_instance_t **ret_instance)
{
    ktp_instance_t *instance;
    ktp_status_t status;

    (void)count;
    if (services->abi_minor < 4)
        return ktp_fail(services, KTP_UNAVAIL,
                        "this keyturn is older than its provider: install it again");
    instance = calloc(1, sizeof *instance);
    if (instance == NULL || (instance->words = strdup(options[OPTION_COMMAND].text)) == NULL) {
        free(instance);
        return ktp_fail(services, KTP_TRYAGAIN, "out of memory");
    }
    instance->services = services;
    instance->variables = options[OPTION_ENVIRONMENT].text;
    instance->timeout = (unsigned)options[OPTION_TIMEOUT].number;
    instance->trim = options[OPTION_TRIM].number != 0;
    status = split(instance, &options[OPTION_COMMAND]);
    if (status != KTP_SUCCESS) {
        exec_close(instance);
        return status;
    }
    *ret_instance = instance;
    return KTP_SUCCESS;
}

extern const ktp_provider_t keyturn_provider;

__attribute__((visibility("default"))) const ktp_provider_t keyturn_provider = {
    KTP_HEADER,
    .name = "exec",
    .capabilities = KTP_BLOCKING | KTP_ENVIRONMENT,
    .options = exec_options,
    .open = exec_open,
    .close = exec_close,
    .check = exec_check,
    .get = exec_get,
};
