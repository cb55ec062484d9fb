/* SPDX-License-Identifier: BSD-2-Clause */
/* options.c: the entries under `providers: NAME:`, checked against the provider's table. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "provider.h"

kt_status_t kt_options_at(const kt_config_t *config, int line, kt_status_t status)
{
    return kt_fail_prefix(status, "%s:%d", config->path, line);
}

static const ktp_option_spec_t *find_spec(const ktp_provider_t *api, const char *name)
{
    const ktp_option_spec_t *spec;

    for (spec = api->options; spec->name != NULL; spec++) {
        if (strcmp(spec->name, name) == 0 ||
            (spec->type == KTP_MAP && strncmp(spec->name, name, strlen(spec->name)) == 0 &&
             name[strlen(spec->name)] == '.'))
            return spec;
    }
    return NULL;
}

static kt_status_t unknown_option(const ktp_provider_t *api, const char *name)
{
    const char *names[64];
    const ktp_option_spec_t *spec;
    const char *near;
    size_t n = 0;

    for (spec = api->options; spec->name != NULL && n + 1 < KT_ARRAY(names); spec++)
        names[n++] = spec->name;
    names[n] = NULL;
    near = kt_nearest(name, names);
    return kt_fail(KT_CONFIG, "provider \"%s\" has no option \"%s\"%s%s%s", api->name, name,
                   near != NULL ? ", did you mean \"" : "", near != NULL ? near : "",
                   near != NULL ? "\"?" : "");
}

static kt_status_t read_secret(const kt_config_t *config, const char *source, ktp_option_t *option)
{
    char *path, *text;
    size_t size;
    kt_status_t status;

    if (strncmp(source, "file:", 5) != 0)
        return kt_fail(KT_CONFIG, "`%s` must be file:PATH: a configuration holds no secrets",
                       option->name);
    path = kt_config_resolve(config, source + 5);
    if (path == NULL)
        return kt_no_memory();
    status = kt_read_private(path, &text, &size);
    free(path);
    if (status != KT_SUCCESS)
        return status;
    if (size > 0 && text[size - 1] == '\n')
        text[--size] = '\0';
    option->text = text;
    option->text_size = size;
    return KT_SUCCESS;
}

/* Number `index` of the sources, which stand one on a line. KT_NOTFOUND: there are not so many. */
static kt_status_t read_source(const kt_config_t *config, const char *sources, size_t index,
                               ktp_option_t *option)
{
    char *source;
    kt_status_t status;

    while (index > 0 && (sources = strchr(sources, '\n')) != NULL) {
        sources++;
        index--;
    }
    if (sources == NULL)
        return KT_NOTFOUND;
    source = strndup(sources, strcspn(sources, "\n"));
    status = source != NULL ? read_secret(config, source, option) : kt_no_memory();
    free(source);
    return status;
}

/* The first source that is there: the newest one may not be there yet, or the old one any more. */
static kt_status_t read_first(const kt_config_t *config, const char *sources, ktp_option_t *option)
{
    kt_failure_t first = {.status = KT_SUCCESS};
    kt_status_t status;
    size_t i;

    for (i = 0;; i++) {
        status = read_source(config, sources, i, option);
        if (status == KT_NOTFOUND)
            return kt_failure_restore(&first);
        if (status == KT_SUCCESS)
            return status;
        if (first.status == KT_SUCCESS)
            kt_failure_save(&first, status);
    }
}

static void warn_unread(const kt_module_t *module, const char *name)
{
    const kt_logger_t *logger = kt_provider_logger();

    if (logger != NULL && logger->fn != NULL)
        kt_log(logger, 4, "%s: `%s`: %s", module->api->name, name, kt_failure());
}

ktp_status_t kt_options_secret(void *host, const char *name, size_t index,
                                   ktp_buffer_t *ret_value)
{
    const kt_module_t *module = host;
    ktp_option_t option = {.name = name};
    kt_status_t status = KT_NOTFOUND;
    size_t i;

    for (i = 0; i < module->config->noptions && status == KT_NOTFOUND; i++) {
        if (strcmp(module->config->options[i].name, name) == 0)
            status = read_source(module->of, module->config->options[i].text, index, &option);
    }
    if (status == KT_NOTFOUND)
        return KTP_NOTFOUND;
    if (status != KT_SUCCESS) {
        warn_unread(module, name);
        kt_failure_clear();
        return KTP_UNAVAIL;
    }
    ret_value->data = (unsigned char *)(uintptr_t)option.text;
    ret_value->size = option.text_size;
    return KTP_SUCCESS;
}

static kt_status_t parse_number(ktp_option_t *option, ktp_option_type_t type)
{
    char *end;

    if (type == KTP_DURATION)
        option->number = kt_duration_parse(option->text);
    else if (type == KTP_BOOL)
        option->number =
            strcmp(option->text, "true") == 0 || strcmp(option->text, "yes") == 0  ? 1
            : strcmp(option->text, "false") == 0 || strcmp(option->text, "no") == 0 ? 0
                                                                                    : -1;
    else {
        errno = 0;
        option->number = strtoll(option->text, &end, 10);
        if (errno != 0 || end == option->text || *end != '\0')
            option->number = -1;
    }
    if (option->number < 0)
        return kt_fail(KT_CONFIG, "`%s` must be %s", option->name,
                       type == KTP_DURATION ? "a duration such as 5s"
                       : type == KTP_BOOL   ? "true or false"
                                            : "a number");
    return KT_SUCCESS;
}

static kt_status_t set_option(const kt_module_t *module, const ktp_option_spec_t *spec,
                              const char *text, ktp_option_t *option)
{
    const kt_config_t *config = module->of;
    bool is_variable = text[0] == '$' && (module->api->capabilities & KTP_ENVIRONMENT) != 0;

    if (spec->type == KTP_SECRET)
        return read_secret(config, text, option);
    if (spec->type == KTP_SECRETS)
        return read_first(config, text, option);
    /* "$NAME/..." starts at a variable of the environment, which the provider looks up */
    option->text = spec->type == KTP_PATH && !is_variable ? kt_config_resolve(config, text)
                                                          : strdup(text);
    if (option->text == NULL)
        return kt_no_memory();
    option->text_size = strlen(option->text);
    return spec->type == KTP_STRING || spec->type == KTP_PATH || spec->type == KTP_STRINGS
               ? KT_SUCCESS
               : parse_number(option, spec->type);
}

/* The one option of providers that the core itself obeys. The previous version is always kept. */
static kt_status_t check_kept(const ktp_option_t *option)
{
    if (strcmp(option->name, KT_KEEP_VERSIONS) != 0 ||
        (option->number >= 2 && option->number <= (int64_t)KT_VERSIONS_MAX))
        return KT_SUCCESS;
    return kt_fail(KT_CONFIG, "`%s` must be 2 to %u", option->name, KT_VERSIONS_MAX);
}

/* ---- maps: an option whose members the user names ---- */

/* The member's name after "MAP.", or NULL: the option is not one of this map. */
static const char *member_of(const ktp_option_spec_t *spec, const char *name)
{
    size_t size = strlen(spec->name);

    return strncmp(name, spec->name, size) == 0 && name[size] == '.' ? name + size + 1 : NULL;
}

/* A line for each member: its name and its values, with a tab between two. */
static kt_status_t set_map(const kt_cfg_provider_t *given, const ktp_option_spec_t *spec,
                           ktp_option_t *option)
{
    size_t size = 1, used = 0;
    char *text;

    for (size_t i = 0; i < given->noptions; i++)
        size += strlen(given->options[i].name) + strlen(given->options[i].text) + 2;
    text = calloc(1, size);
    if (text == NULL)
        return kt_no_memory();
    option->text = text;
    for (size_t i = 0; i < given->noptions; i++) {
        const char *member = member_of(spec, given->options[i].name);
        size_t start = used;

        if (member == NULL)
            continue;
        if (member[0] == '\0' || strpbrk(member, "\t\n") != NULL ||
            strchr(given->options[i].text, '\t') != NULL)
            return kt_fail(KT_CONFIG, "`%s`: a name or a value has a tab, a line break, or nothing",
                           spec->name);
        used += (size_t)snprintf(text + used, size - used, "%s\t%s", member,
                                 given->options[i].text);
        for (char *at = text + start; (at = strchr(at, '\n')) != NULL;)
            *at = '\t';
        used += (size_t)snprintf(text + used, size - used, "\n");
        option->line = given->options[i].line;
    }
    option->text_size = used;
    return KT_SUCCESS;
}

/* ---- all of a provider ---- */

static kt_status_t check_given(const kt_module_t *module, const kt_cfg_option_t *given)
{
    const ktp_option_spec_t *spec = find_spec(module->api, given->name);

    if (spec == NULL)
        return unknown_option(module->api, given->name);
    if (spec->type == KTP_MAP && member_of(spec, given->name) == NULL)
        return kt_fail(KT_CONFIG, "provider \"%s\": `%s` is a map", module->api->name, spec->name);
    if (given->list && spec->type != KTP_STRINGS && spec->type != KTP_SECRETS &&
        spec->type != KTP_MAP)
        return kt_fail(KT_CONFIG, "provider \"%s\": `%s` is one value, not a list",
                       module->api->name, spec->name);
    return KT_SUCCESS;
}

static kt_status_t set_one(const kt_module_t *module, const ktp_option_spec_t *spec,
                           ktp_option_t *option)
{
    const kt_cfg_provider_t *given = module->config;
    const char *text = spec->fallback;

    if (spec->type == KTP_MAP)
        return set_map(given, spec, option);
    for (size_t i = 0; i < given->noptions; i++) {
        if (strcmp(given->options[i].name, spec->name) == 0) {
            text = given->options[i].text;
            option->line = given->options[i].line;
        }
    }
    if (text == NULL && spec->required)
        return kt_fail(KT_CONFIG, "provider \"%s\" needs `%s`: %s", module->api->name, spec->name,
                       spec->help);
    return text != NULL ? set_option(module, spec, text, option) : KT_SUCCESS;
}

kt_status_t kt_options_set(const kt_config_t *config, kt_module_t *module)
{
    const kt_cfg_provider_t *given = module->config;
    const ktp_option_spec_t *specs = module->api->options;
    kt_status_t status = KT_SUCCESS;
    size_t n = 0;

    for (size_t i = 0; i < given->noptions; i++) {
        status = check_given(module, &given->options[i]);
        if (status != KT_SUCCESS)
            return kt_options_at(config, given->options[i].line, status);
    }
    while (specs[n].name != NULL)
        n++;
    module->options = calloc(n + 1, sizeof(*module->options));
    if (module->options == NULL)
        return kt_no_memory();
    module->noptions = n;
    for (size_t i = 0; i < n; i++) {
        ktp_option_t *option = &module->options[i];

        option->name = specs[i].name;
        option->file = config->path;
        option->line = given->line;
        status = set_one(module, &specs[i], option);
        if (status == KT_SUCCESS)
            status = check_kept(option);
        if (status != KT_SUCCESS)
            return kt_options_at(config, option->line, status);
    }
    return KT_SUCCESS;
}

void kt_options_free(kt_module_t *module)
{
    size_t i;

    for (i = 0; i < module->noptions; i++) {
        void *text = (void *)(uintptr_t)module->options[i].text;

        if (module->api->options[i].type == KTP_SECRET ||
            module->api->options[i].type == KTP_SECRETS)
            kt_locked_free(text);
        else
            free(text);
    }
    free(module->options);
}
