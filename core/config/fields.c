/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fields.c: the options of the file, and the kinds that only they have.
 */
#include "option.h"

#include <stdlib.h>
#include <string.h>

#define CAPABILITIES_MAX 7u

/* ---- environment, key ---- */

/* The default of audit.required depends on it, so this row is the first. */
static kt_status_t read_environment(kt_config_t *config, const kt_option_t *option,
                                    const kt_yaml_t *value, void *field)
{
    kt_status_t status = kt_option_check_text(config, option->name, value);

    if (status != KT_SUCCESS)
        return status;
    if (kt_environment_parse(value->text, field) != KT_SUCCESS)
        return kt_config_fail(config->path, value->line, "%s", kt_failure());
    config->audit_required = strcmp(field, "production") == 0;
    return KT_SUCCESS;
}

static const kt_option_kind_t option_environment = {read_environment, NULL};

static bool begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool credential_name(const char *name)
{
    return strchr(name, '/') == NULL && kt_name_check(name, 0, NULL) == KT_SUCCESS;
}

/* source.c reads them. */
static kt_status_t check_source(const kt_config_t *config, const kt_yaml_t *value)
{
    const char *text = value->text, *rest = strchr(text, ':');

    rest = rest != NULL ? rest + 1 : "";
    if (rest[0] == '\0' || rest[0] == ' ' || rest[0] == '\t')
        rest = NULL;
    if (begins(text, "exec:") && (rest == NULL || rest[0] != '/'))
        return kt_config_fail(
            config->path, value->line,
            "`key`: the command needs an absolute path (write exec:/path/to/command)");
    if (rest != NULL &&
        (begins(text, "file:") || begins(text, "exec:") || begins(text, "passphrase:")))
        return KT_SUCCESS;
    if (rest != NULL && begins(text, "keyring:") && strlen(rest) <= 255)
        return KT_SUCCESS;
    if (begins(text, "credential:") && credential_name(text + 11))
        return KT_SUCCESS;
    return kt_config_fail(config->path, value->line,
                          "`key`: unknown source (write file:PATH, credential:NAME, exec:COMMAND, "
                          "keyring:DESC or passphrase:PROMPT)");
}

/* `host` NULL: any. */
static kt_status_t add_key(kt_config_t *config, const char *host, const kt_yaml_t *value)
{
    kt_cfg_key_t *key = &config->keys[config->nkeys];
    kt_status_t status = kt_option_check_text(config, host != NULL ? host : "key", value);

    if (status == KT_SUCCESS)
        status = check_source(config, value);
    if (status != KT_SUCCESS)
        return status;
    config->nkeys++;
    key->line = value->line;
    key->source = strdup(value->text);
    key->host = host != NULL ? strdup(host) : NULL;
    return key->source != NULL && (host == NULL || key->host != NULL) ? KT_SUCCESS : kt_no_memory();
}

/* cli-USER: a user of the command with a separate key. */
static bool is_user(const char *host)
{
    return begins(host, "cli-") && host[4] != '\0' && credential_name(host);
}

static kt_status_t read_key(kt_config_t *config, const kt_option_t *option, const kt_yaml_t *value,
                            void *field)
{
    static const char *const hosts[] = {"cli", "nginx", "redis", "postgresql", NULL};
    kt_status_t status = KT_SUCCESS;

    (void)field;
    if (value->kind == KT_YAML_LIST || (value->kind == KT_YAML_MAP && value->count == 0))
        return kt_config_fail(config->path, value->line,
                              "`%s`: neither a source nor a map of hosts to sources", option->name);
    config->keys = calloc(value->count / 2 + 1, sizeof(*config->keys));
    if (config->keys == NULL)
        return kt_no_memory();
    if (value->kind == KT_YAML_TEXT)
        return add_key(config, NULL, value);
    for (size_t i = 0; status == KT_SUCCESS && i < value->count; i += 2) {
        size_t host = 0;

        while (hosts[host] != NULL && strcmp(value->items[i]->text, hosts[host]) != 0)
            host++;
        if (hosts[host] == NULL && !is_user(value->items[i]->text))
            return kt_option_unknown(config, "host", value->items[i], hosts);
        status = add_key(config, value->items[i]->text, value->items[i + 1]);
    }
    return status;
}

static void release_keys(const kt_option_t *option, void *field)
{
    kt_config_t *config = field;

    (void)option;
    for (size_t i = 0; i < config->nkeys; i++) {
        free(config->keys[i].host);
        free(config->keys[i].source);
    }
    free(config->keys);
}

static const kt_option_kind_t option_key = {read_key, release_keys};

/* ---- providers: the loader checks names and options against what the modules declare ---- */

/* A provider's name is that of its file. */
static bool provider_name(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");

    return len > 0 && len <= 32 && name[len] == '\0';
}

static kt_status_t check_option(const kt_config_t *config, const kt_cfg_provider_t *provider,
                                const char *name, const kt_yaml_t *value)
{
    if (value->kind != KT_YAML_TEXT)
        return kt_config_fail(config->path, value->line, "provider %s: `%.64s` is not a string",
                              provider->name, name);
    if (value->null)
        return kt_config_fail(config->path, value->line, "provider %s: `%.64s` has no value",
                              provider->name, name);
    return KT_SUCCESS;
}

/* The strings of a list, with a newline between two; no string has one itself. */
static kt_status_t join(const kt_config_t *config, const kt_cfg_provider_t *provider,
                        const char *name, const kt_yaml_t *list, char **ret_text)
{
    size_t size = 1;
    kt_status_t status = KT_SUCCESS;

    for (size_t i = 0; i < list->count && status == KT_SUCCESS; i++) {
        status = check_option(config, provider, name, list->items[i]);
        if (status == KT_SUCCESS && strchr(list->items[i]->text, '\n') != NULL)
            status = kt_config_fail(config->path, list->items[i]->line,
                                    "provider %s: `%.64s` has a line break", provider->name, name);
        if (status == KT_SUCCESS)
            size += strlen(list->items[i]->text) + 1;
    }
    if (status != KT_SUCCESS)
        return status;
    *ret_text = calloc(1, size);
    for (size_t i = 0; i < list->count && *ret_text != NULL; i++) {
        if (i > 0)
            strcat(*ret_text, "\n");
        strcat(*ret_text, list->items[i]->text);
    }
    return KT_SUCCESS;
}

static size_t count_options(const kt_yaml_t *map)
{
    size_t n = 0;

    for (size_t i = 1; i < map->count; i += 2)
        n += map->items[i]->kind == KT_YAML_MAP ? map->items[i]->count / 2 : 1;
    return n;
}

/* `map`: of which map inside the provider's one it is an option, or NULL. */
static kt_status_t add_option(kt_config_t *config, kt_cfg_provider_t *provider, const char *map,
                              const kt_yaml_t *name, const kt_yaml_t *value)
{
    kt_cfg_option_t *option = &provider->options[provider->noptions];
    size_t size = strlen(name->text) + (map != NULL ? strlen(map) : 0) + 2;
    kt_status_t status = KT_SUCCESS;

    if (value->kind == KT_YAML_MAP && map == NULL) {
        for (size_t i = 0; status == KT_SUCCESS && i < value->count; i += 2)
            status = add_option(config, provider, name->text, value->items[i], value->items[i + 1]);
        return status;
    }
    provider->noptions++;
    option->line = name->line;
    option->list = value->kind == KT_YAML_LIST && value->count > 0;
    option->name = malloc(size);
    if (option->name == NULL)
        return kt_no_memory();
    (void)snprintf(option->name, size, "%s%s%s", map != NULL ? map : "", map != NULL ? "." : "",
                   name->text);
    if (option->list)
        status = join(config, provider, option->name, value, &option->text);
    else
        status = check_option(config, provider, option->name, value);
    if (status == KT_SUCCESS && !option->list)
        option->text = strdup(value->text);
    return status == KT_SUCCESS && option->text == NULL ? kt_no_memory() : status;
}

static kt_status_t add_provider(kt_config_t *config, const kt_yaml_t *name, const kt_yaml_t *value)
{
    kt_cfg_provider_t *provider = &config->providers[config->nproviders];
    kt_status_t status = KT_SUCCESS;

    if (!provider_name(name->text))
        return kt_config_fail(config->path, name->line,
                              "`%.64s`: not a name of a provider (use 1 to 32 of a-z 0-9 _ -)",
                              name->text);
    if (value->kind != KT_YAML_MAP && !value->null)
        return kt_config_fail(config->path, value->line, "provider %s: not a map of options",
                              name->text);
    config->nproviders++;
    provider->line = name->line;
    provider->name = strdup(name->text);
    provider->options = calloc(count_options(value) + 1, sizeof(*provider->options));
    if (provider->name == NULL || provider->options == NULL)
        return kt_no_memory();
    for (size_t i = 0; status == KT_SUCCESS && i < value->count; i += 2)
        status = add_option(config, provider, NULL, value->items[i], value->items[i + 1]);
    return status;
}

static kt_status_t read_providers(kt_config_t *config, const kt_option_t *option,
                                  const kt_yaml_t *value, void *field)
{
    kt_status_t status = KT_SUCCESS;

    (void)field;
    if (value->kind != KT_YAML_MAP)
        return kt_config_fail(config->path, value->line, "`%s`: not a map of providers",
                              option->name);
    config->providers = calloc(value->count / 2 + 1, sizeof(*config->providers));
    if (config->providers == NULL)
        return kt_no_memory();
    for (size_t i = 0; status == KT_SUCCESS && i < value->count; i += 2)
        status = add_provider(config, value->items[i], value->items[i + 1]);
    return status;
}

static void release_providers(const kt_option_t *option, void *field)
{
    kt_config_t *config = field;

    (void)option;
    for (size_t i = 0; i < config->nproviders; i++) {
        kt_cfg_provider_t *provider = &config->providers[i];

        for (size_t j = 0; j < provider->noptions; j++) {
            free(provider->options[j].name);
            free(provider->options[j].text);
        }
        free(provider->options);
        free(provider->name);
    }
    free(config->providers);
}

static const kt_option_kind_t option_providers = {read_providers, release_providers};

/* ---- policy ---- */

/* Into an unsigned of KT_CAP_*. */
static kt_status_t read_capabilities(kt_config_t *config, const kt_option_t *option,
                                     const kt_yaml_t *value, void *field)
{
    const char *names[CAPABILITIES_MAX + 1] = {NULL};
    size_t count = 0;

    for (unsigned bit = KT_CAP_READ; bit <= KT_CAP_LAST; bit <<= 1)
        names[count++] = kt_capability_name(bit);
    if (value->kind != KT_YAML_LIST || value->count == 0)
        return kt_config_fail(config->path, value->line,
                              "`%s`: not a list of capabilities (write [read, list])",
                              option->name);
    for (size_t i = 0; i < value->count; i++) {
        kt_status_t status = kt_option_check_text(config, option->name, value->items[i]);
        unsigned bit;

        if (status != KT_SUCCESS)
            return status;
        bit = kt_capability_parse(value->items[i]->text, strlen(value->items[i]->text));
        if (bit == 0)
            return kt_option_unknown(config, "capability", value->items[i], names);
        *(unsigned *)field |= bit;
    }
    return KT_SUCCESS;
}

static const kt_option_kind_t option_capabilities = {read_capabilities, NULL};

/* Into a rule's `names` and `nnames`. */
static kt_status_t read_names(kt_config_t *config, const kt_option_t *option,
                              const kt_yaml_t *value, void *field)
{
    kt_cfg_rule_t *rule = field;

    if (value->kind != KT_YAML_LIST || value->count == 0)
        return kt_config_fail(config->path, value->line,
                              "`%s`: not a list of patterns (write [\"database/*\"])",
                              option->name);
    rule->names = calloc(value->count, sizeof(*rule->names));
    if (rule->names == NULL)
        return kt_no_memory();
    for (; rule->nnames < value->count; rule->nnames++) {
        const kt_yaml_t *pattern = value->items[rule->nnames];
        kt_status_t status = kt_option_check_text(config, option->name, pattern);

        if (status == KT_SUCCESS && kt_pattern_check(pattern->text) != KT_SUCCESS)
            status = kt_config_fail(config->path, pattern->line, "`%.64s`: %s", pattern->text,
                                    kt_failure());
        if (status == KT_SUCCESS)
            status = kt_option_read_text(config, option, pattern, &rule->names[rule->nnames]);
        if (status != KT_SUCCESS)
            return status;
    }
    return KT_SUCCESS;
}

static void release_names(const kt_option_t *option, void *field)
{
    kt_cfg_rule_t *rule = field;

    (void)option;
    for (size_t i = 0; i < rule->nnames; i++)
        free(rule->names[i]);
    free(rule->names);
}

static const kt_option_kind_t option_names = {read_names, release_names};

static const kt_option_t rule_options[] = {
    {"who", &kt_option_text, offsetof(kt_cfg_rule_t, who), .most = "255", .required = true,
     .value = "SUBJECT", .text = "The pattern of the subjects that the rule is for."},
    {"allow", &option_capabilities, offsetof(kt_cfg_rule_t, allow), .value = "CAPABILITIES",
     .text = "What they may do."},
    {"deny", &option_capabilities, offsetof(kt_cfg_rule_t, deny), .value = "CAPABILITIES",
     .text = "What they may not do, whatever other rules allow."},
    {"names", &option_names, 0, .required = true, .value = "PATTERNS",
     .text = "The patterns of the names that the rule is for."},
    {.name = NULL},
};

static kt_status_t read_rule(kt_config_t *config, const kt_yaml_t *value)
{
    kt_cfg_rule_t *rule = &config->rules[config->nrules++];
    kt_status_t status;

    rule->line = value->line;
    status = kt_options_read(config, "a rule of `policy`", value, rule_options, rule);
    if (status == KT_SUCCESS && (rule->allow | rule->deny) == 0)
        status =
            kt_config_fail(config->path, rule->line,
                           "a rule of `policy`: neither `allow` nor `deny` is given (add one)");
    if (status == KT_SUCCESS)
        status = kt_who_check(config->path, rule->line, rule->who);
    return status;
}

static kt_status_t read_policy(kt_config_t *config, const kt_option_t *option,
                               const kt_yaml_t *value, void *field)
{
    kt_status_t status = KT_SUCCESS;

    (void)field;
    if (value->kind != KT_YAML_LIST)
        return kt_config_fail(config->path, value->line, "`%s`: not a list of rules", option->name);
    config->rules = calloc(value->count + 1, sizeof(*config->rules));
    if (config->rules == NULL)
        return kt_no_memory();
    for (size_t i = 0; status == KT_SUCCESS && i < value->count; i++)
        status = read_rule(config, value->items[i]);
    return status;
}

static void release_policy(const kt_option_t *option, void *field)
{
    kt_config_t *config = field;

    (void)option;
    for (size_t i = 0; i < config->nrules; i++)
        kt_options_release(rule_options, &config->rules[i]);
    free(config->rules);
}

static const kt_option_kind_t option_policy = {read_policy, release_policy};

/* ---- The whole file ---- */

static const kt_option_t cache_options[] = {
    {"ttl", &kt_option_duration, offsetof(kt_config_t, cache_ttl), "300s", .value = "DURATION",
     .text = "How long a value is used before its provider is asked again."},
    {"negative", &kt_option_duration, offsetof(kt_config_t, cache_negative), "15s",
     .value = "DURATION", .text = "How long it is remembered that a secret does not exist."},
    {"stale", &kt_option_duration, offsetof(kt_config_t, cache_stale), "1h", .value = "DURATION",
     .text = "How long an old value may be used while its provider cannot be reached."},
    {"size", &kt_option_size, offsetof(kt_config_t, cache_size), "4M", "512K", "1024M",
     .value = "SIZE", .text = "How much memory the values read by one process may take."},
    {.name = NULL},
};

static const char *const sent[] = {"alerts", "seals", "all", NULL}; /* kt_send_t */
static const char *const memory[] = {"prefer", "require", NULL};

static const kt_option_t audit_options[] = {
    {"path", &kt_option_path, offsetof(kt_config_t, audit_path), "/var/log/keyturn",
     .value = "FOLDER", .text = "Where the audit log is written: a folder for each stream."},
    {"required", &kt_option_bool, offsetof(kt_config_t, audit_required), .value = "BOOLEAN",
     .text = "Whether an action that cannot be recorded is refused: if nothing is said, in "
             "production only."},
    {"reads", &kt_option_duration, offsetof(kt_config_t, audit_reads), "0", .value = "DURATION",
     .text = "For how long reads of one secret by one subject through one process become one line "
             "with a count."},
    {"sinks", &kt_option_sinks, 0, .value = "[ SINK , ... ]",
     .text = "Where copies of the audit log go, so that its end cannot be cut off unnoticed."},
    {"send", &kt_option_choice, offsetof(kt_config_t, send), "alerts", .choices = sent,
     .text = "What the sinks get."},
    {"checkpoint", &kt_option_duration, offsetof(kt_config_t, audit_checkpoint), "1h", "1s", "1h",
     .value = "DURATION",
     .text = "The longest time between two sealed lines with the time and the generation of each "
             "type."},
    {"rotate", &kt_option_size, offsetof(kt_config_t, audit_rotate), "100M", "64K", "1048576M",
     .value = "SIZE", .text = "How long a log becomes before another one is begun."},
    {"keep", &kt_option_duration, offsetof(kt_config_t, audit_keep), "400d", "1s", "36500d",
     .value = "DURATION", .text = "How long the logs that were closed are kept."},
    {.name = NULL},
};

const kt_option_t kt_config_options[] = {
    {"environment", &option_environment, offsetof(kt_config_t, environment), .required = true,
     .value = "NAME", .text = "The environment whose secrets these are."},
    {"key", &option_key, 0, .value = "SOURCE", .text = "Where the key comes from."},
    {"providers", &option_providers, 0, .value = "{ NAME : { OPTION : VALUE , ... } , ... }",
     .text = "Where secrets are kept."},
    {"switch", &kt_option_switch, 0, .value = "{ PATTERN : PROVIDERS , ... }",
     .text = "Which providers answer for which names."},
    {"cache", &kt_option_map, 0, "{}", .options = cache_options,
     .value = "{ OPTION : VALUE , ... }",
     .text = "How values of a provider across a network are kept in memory."},
    {"targets", &kt_option_targets, 0, .options = kt_target_options,
     .value = "{ PATTERN : { OPTION : VALUE , ... } , ... }",
     .text = "What a rotation by the command has to change outside the store."},
    {"policy", &option_policy, 0, .options = rule_options,
     .value = "[{ OPTION : VALUE , ... } , ... ]", .text = "Who may do what."},
    {"audit", &kt_option_map, 0, "{}", .options = audit_options,
     .value = "{ OPTION : VALUE , ... }",
     .text = "How the audit log is kept, and who gets copies."},
    {.name = "api"},
    {.name = "manifest"},
    {"secret_memory", &kt_option_choice, offsetof(kt_config_t, memory_required), "prefer",
     .choices = memory,
     .text = "What to do if memory for secrets cannot be locked: go on, or fail."},
    {.name = NULL},
};

kt_status_t kt_config_keys(kt_config_t *config, const kt_yaml_t *root)
{
    kt_status_t status =
        kt_options_read(config, "the configuration", root, kt_config_options, config);

    return status == KT_SUCCESS && config->nroutes == 0 ? kt_config_default_route(config) : status;
}
