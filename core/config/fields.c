/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fields.c: the keys of the configuration: one table for each map, one function for each kind
 * of value.
 *
 * Every error names file and line and, for a key that nobody knows, the nearest one. No error shows
 * a value: only keys, and names that one chooses from.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

/* One key of a map. `read` gets the field at `offset` of what the map describes; it is called in
 * the order of the table, and never with a null value. NULL: the key is of a later version. */
typedef struct row {
    const char *name;
    kt_status_t (*read)(kt_config_t *config, const char *key, const kt_yaml_t *value, void *field);
    size_t offset;
} row_t;

#define ROWS_MAX 16u
#define CACHE_MIN (512 * 1024)
#define CACHE_MAX (1024 * 1024 * 1024)
#define CHECKPOINT_MAX (3600 * 1000)

static kt_status_t no_memory(void)
{
    return kt_fail(KT_INTERNAL, "out of memory");
}

static kt_status_t unavailable(const kt_config_t *config, const char *what, int line)
{
    return kt_config_fail(config->path, line, "%s is not available in this version", what);
}

/* `names` ends with NULL. */
static kt_status_t unknown(const kt_config_t *config, const char *what, const kt_yaml_t *text,
                           const char *const *names)
{
    const char *nearest = kt_nearest(text->text, names);
    char known[256] = "";

    if (nearest != NULL)
        return kt_config_fail(config->path, text->line, "unknown %s `%.64s`, did you mean `%s`?",
                              what, text->text, nearest);
    for (size_t i = 0; names[i] != NULL; i++) {
        strncat(known, i > 0 ? ", " : "", sizeof(known) - strlen(known) - 1);
        strncat(known, names[i], sizeof(known) - strlen(known) - 1);
    }
    return kt_config_fail(config->path, text->line, "unknown %s `%.64s`: there are %s", what,
                          text->text, known);
}

static kt_status_t check_known(const kt_config_t *config, const kt_yaml_t *map, const row_t *rows,
                               size_t count)
{
    const char *names[ROWS_MAX + 1] = {NULL};

    for (size_t i = 0; i < count; i++)
        names[i] = rows[i].name;
    for (size_t i = 0; i < map->count; i += 2) {
        size_t row = 0;

        while (row < count && strcmp(map->items[i]->text, names[row]) != 0)
            row++;
        if (row == count)
            return unknown(config, "key", map->items[i], names);
    }
    return KT_SUCCESS;
}

static kt_status_t read_map(kt_config_t *config, const char *what, const kt_yaml_t *map,
                            const row_t *rows, size_t count, void *into)
{
    kt_status_t status;

    if (map->kind != KT_YAML_MAP)
        return kt_config_fail(config->path, map->line, "%s is no map of keys to values", what);
    status = check_known(config, map, rows, count);
    for (size_t i = 0; status == KT_SUCCESS && i < count; i++) {
        const kt_yaml_t *value = kt_yaml_at(map, rows[i].name);
        char quoted[64] = "`";

        if (value == NULL)
            continue;
        strcat(strcat(quoted, rows[i].name), "`");
        if (rows[i].read == NULL)
            return unavailable(config, quoted, value->line);
        if (value->null)
            return kt_config_fail(config->path, value->line, "%s has no value", quoted);
        status = rows[i].read(config, rows[i].name, value, (char *)into + rows[i].offset);
    }
    return status;
}

/* ---- Kinds of values ---- */

static kt_status_t check_text(const kt_config_t *config, const char *key, const kt_yaml_t *value)
{
    if (value->kind != KT_YAML_TEXT)
        return kt_config_fail(config->path, value->line, "`%.64s` is no text", key);
    if (value->null || value->text[0] == '\0')
        return kt_config_fail(config->path, value->line, "`%.64s` has no value", key);
    return KT_SUCCESS;
}

/* Into a char *. */
static kt_status_t read_text(kt_config_t *config, const char *key, const kt_yaml_t *value,
                             void *field)
{
    kt_status_t status = check_text(config, key, value);
    char **text = field;

    if (status != KT_SUCCESS)
        return status;
    *text = strdup(value->text);
    return *text != NULL ? KT_SUCCESS : no_memory();
}

/* Into an int64_t of milliseconds. */
static kt_status_t read_duration(kt_config_t *config, const char *key, const kt_yaml_t *value,
                                 void *field)
{
    int64_t duration = value->kind == KT_YAML_TEXT ? kt_duration_parse(value->text) : -1;

    if (duration < 0)
        return kt_config_fail(config->path, value->line,
                              "`%s` is no duration such as 250ms, 300s, 12h or 90d", key);
    *(int64_t *)field = duration;
    return KT_SUCCESS;
}

/* Into a bool. */
static kt_status_t read_bool(kt_config_t *config, const char *key, const kt_yaml_t *value,
                             void *field)
{
    bool plain = value->kind == KT_YAML_TEXT && !value->quoted;

    if (!plain || (strcmp(value->text, "true") != 0 && strcmp(value->text, "false") != 0))
        return kt_config_fail(config->path, value->line, "`%s` is neither true nor false", key);
    *(bool *)field = value->text[0] == 't';
    return KT_SUCCESS;
}

/* ---- environment, key, secret_memory ---- */

/* What is of the audit trail by default depends on it, so this row is the first. */
static kt_status_t read_environment(kt_config_t *config, const char *key, const kt_yaml_t *value,
                                    void *field)
{
    kt_status_t status = check_text(config, key, value);

    if (status != KT_SUCCESS)
        return status;
    if (kt_environment_parse(value->text, field) != KT_SUCCESS)
        return kt_config_fail(config->path, value->line, "%s", kt_failure());
    config->audit_required = strcmp(field, "production") == 0;
    return KT_SUCCESS;
}

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
        return kt_config_fail(config->path, value->line,
                              "exec: wants the whole path of a command, from / on");
    if (rest != NULL &&
        (begins(text, "file:") || begins(text, "exec:") || begins(text, "passphrase:")))
        return KT_SUCCESS;
    if (rest != NULL && begins(text, "keyring:") && strlen(rest) <= 255)
        return KT_SUCCESS;
    if (begins(text, "credential:") && credential_name(text + 11))
        return KT_SUCCESS;
    return kt_config_fail(config->path, value->line,
                          "`key` is none of file:PATH, credential:NAME, exec:COMMAND, keyring:DESC "
                          "and passphrase:PROMPT");
}

/* `host` NULL: any. */
static kt_status_t add_key(kt_config_t *config, const char *host, const kt_yaml_t *value)
{
    kt_cfg_key_t *key = &config->keys[config->nkeys];
    kt_status_t status = check_text(config, host != NULL ? host : "key", value);

    if (status == KT_SUCCESS)
        status = check_source(config, value);
    if (status != KT_SUCCESS)
        return status;
    config->nkeys++;
    key->line = value->line;
    key->source = strdup(value->text);
    key->host = host != NULL ? strdup(host) : NULL;
    return key->source != NULL && (host == NULL || key->host != NULL) ? KT_SUCCESS : no_memory();
}

/* cli-USER: a user of the command who has a key of his own. */
static bool is_user(const char *host)
{
    return begins(host, "cli-") && host[4] != '\0' && credential_name(host);
}

static kt_status_t read_key(kt_config_t *config, const char *key, const kt_yaml_t *value,
                            void *field)
{
    static const char *const hosts[] = {"cli", "nginx", "redis", "postgresql", NULL};
    kt_status_t status = KT_SUCCESS;

    (void)field;
    if (value->kind == KT_YAML_LIST || (value->kind == KT_YAML_MAP && value->count == 0))
        return kt_config_fail(config->path, value->line,
                              "`%s` is neither a source nor a map of hosts to sources", key);
    config->keys = calloc(value->count / 2 + 1, sizeof(*config->keys));
    if (config->keys == NULL)
        return no_memory();
    if (value->kind == KT_YAML_TEXT)
        return add_key(config, NULL, value);
    for (size_t i = 0; status == KT_SUCCESS && i < value->count; i += 2) {
        size_t host = 0;

        while (hosts[host] != NULL && strcmp(value->items[i]->text, hosts[host]) != 0)
            host++;
        if (hosts[host] == NULL && !is_user(value->items[i]->text))
            return unknown(config, "host", value->items[i], hosts);
        status = add_key(config, value->items[i]->text, value->items[i + 1]);
    }
    return status;
}

static kt_status_t read_memory(kt_config_t *config, const char *key, const kt_yaml_t *value,
                               void *field)
{
    static const char *const choices[] = {"prefer", "require", NULL};
    kt_status_t status = check_text(config, key, value);

    if (status != KT_SUCCESS)
        return status;
    if (strcmp(value->text, choices[0]) != 0 && strcmp(value->text, choices[1]) != 0)
        return unknown(config, "choice", value, choices);
    *(bool *)field = strcmp(value->text, "require") == 0;
    return KT_SUCCESS;
}

/* ---- providers: the loader checks names and options against what the modules declare ---- */

/* A provider's name is that of its file. */
static bool provider_name(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");

    return len > 0 && len <= 32 && name[len] == '\0';
}

static kt_status_t add_option(kt_config_t *config, kt_cfg_provider_t *provider,
                              const kt_yaml_t *name, const kt_yaml_t *value)
{
    kt_cfg_option_t *option = &provider->options[provider->noptions];

    if (value->kind != KT_YAML_TEXT)
        return kt_config_fail(config->path, value->line, "`%.64s` of provider %s is no text",
                              name->text, provider->name);
    if (value->null)
        return kt_config_fail(config->path, value->line, "`%.64s` of provider %s has no value",
                              name->text, provider->name);
    provider->noptions++;
    option->line = name->line;
    option->name = strdup(name->text);
    option->text = strdup(value->text);
    return option->name != NULL && option->text != NULL ? KT_SUCCESS : no_memory();
}

static kt_status_t add_provider(kt_config_t *config, const kt_yaml_t *name, const kt_yaml_t *value)
{
    kt_cfg_provider_t *provider = &config->providers[config->nproviders];
    kt_status_t status = KT_SUCCESS;

    if (!provider_name(name->text))
        return kt_config_fail(config->path, name->line,
                              "`%.64s` is no provider's name: 1 to 32 of a-z 0-9 _ -", name->text);
    if (value->kind != KT_YAML_MAP && !value->null)
        return kt_config_fail(config->path, value->line, "provider %s is no map of options",
                              name->text);
    config->nproviders++;
    provider->line = name->line;
    provider->name = strdup(name->text);
    provider->options = calloc(value->count / 2 + 1, sizeof(*provider->options));
    if (provider->name == NULL || provider->options == NULL)
        return no_memory();
    for (size_t i = 0; status == KT_SUCCESS && i < value->count; i += 2)
        status = add_option(config, provider, value->items[i], value->items[i + 1]);
    return status;
}

static kt_status_t read_providers(kt_config_t *config, const char *key, const kt_yaml_t *value,
                                  void *field)
{
    kt_status_t status = KT_SUCCESS;

    (void)field;
    if (value->kind != KT_YAML_MAP)
        return kt_config_fail(config->path, value->line, "`%s` is no map of providers", key);
    config->providers = calloc(value->count / 2 + 1, sizeof(*config->providers));
    if (config->providers == NULL)
        return no_memory();
    for (size_t i = 0; status == KT_SUCCESS && i < value->count; i += 2)
        status = add_provider(config, value->items[i], value->items[i + 1]);
    return status;
}

/* ---- switch, cache, audit ---- */

static kt_status_t read_switch(kt_config_t *config, const char *key, const kt_yaml_t *value,
                               void *field)
{
    (void)key;
    (void)field;
    return kt_config_switch(config, value);
}

static kt_status_t read_targets(kt_config_t *config, const char *key, const kt_yaml_t *value,
                                void *field)
{
    (void)key;
    (void)field;
    return kt_config_targets(config, value);
}

/* Of the cache: room for a few of the largest values, and at most what one may have to lock. */
static kt_status_t read_size(kt_config_t *config, const char *key, const kt_yaml_t *value,
                             void *field)
{
    int64_t size = value->kind == KT_YAML_TEXT ? kt_size_parse(value->text) : -1;

    if (size < CACHE_MIN || size > CACHE_MAX)
        return kt_config_fail(config->path, value->line, "`%s` is no size from 512K to 1024M", key);
    *(size_t *)field = (size_t)size;
    return KT_SUCCESS;
}

static kt_status_t read_cache(kt_config_t *config, const char *key, const kt_yaml_t *value,
                              void *field)
{
    static const row_t rows[] = {
        {"ttl", read_duration, offsetof(kt_config_t, cache_ttl)},
        {"negative", read_duration, offsetof(kt_config_t, cache_negative)},
        {"stale", read_duration, offsetof(kt_config_t, cache_stale)},
        {"size", read_size, offsetof(kt_config_t, cache_size)},
    };

    (void)key;
    return read_map(config, "`cache`", value, rows, KT_ARRAY(rows), field);
}

static kt_status_t read_sinks(kt_config_t *config, const char *key, const kt_yaml_t *value,
                              void *field)
{
    (void)key;
    (void)field;
    return kt_config_sinks(config, value);
}

static kt_status_t read_send(kt_config_t *config, const char *key, const kt_yaml_t *value,
                             void *field)
{
    (void)key;
    (void)field;
    return kt_config_send(config, value);
}

static kt_status_t read_checkpoint(kt_config_t *config, const char *key, const kt_yaml_t *value,
                                   void *field)
{
    kt_status_t status = read_duration(config, key, value, field);

    if (status == KT_SUCCESS &&
        (config->audit_checkpoint < 1000 || config->audit_checkpoint > CHECKPOINT_MAX))
        return kt_config_fail(config->path, value->line, "`checkpoint` is 1s to 1h");
    return status;
}

static kt_status_t read_audit(kt_config_t *config, const char *key, const kt_yaml_t *value,
                              void *field)
{
    static const row_t rows[] = {
        {"path", read_text, offsetof(kt_config_t, audit_path)},
        {"required", read_bool, offsetof(kt_config_t, audit_required)},
        {"reads", read_duration, offsetof(kt_config_t, audit_reads)},
        {"sinks", read_sinks, 0},
        {"send", read_send, 0},
        {"checkpoint", read_checkpoint, offsetof(kt_config_t, audit_checkpoint)},
    };

    (void)key;
    config->audit_line = value->line;
    return read_map(config, "`audit`", value, rows, KT_ARRAY(rows), field);
}

/* ---- policy ---- */

/* Into an unsigned of KT_CAP_*. */
static kt_status_t read_capabilities(kt_config_t *config, const char *key, const kt_yaml_t *value,
                                     void *field)
{
    const char *names[ROWS_MAX] = {NULL};
    size_t count = 0;

    for (unsigned bit = KT_CAP_READ; bit <= KT_CAP_ADMIN; bit <<= 1)
        names[count++] = kt_capability_name(bit);
    if (value->kind != KT_YAML_LIST || value->count == 0)
        return kt_config_fail(config->path, value->line,
                              "`%s` is no list of capabilities such as [read, list]", key);
    for (size_t i = 0; i < value->count; i++) {
        kt_status_t status = check_text(config, key, value->items[i]);
        unsigned bit;

        if (status != KT_SUCCESS)
            return status;
        bit = kt_capability_parse(value->items[i]->text, strlen(value->items[i]->text));
        if (bit == 0)
            return unknown(config, "capability", value->items[i], names);
        *(unsigned *)field |= bit;
    }
    return KT_SUCCESS;
}

/* Into a rule's `names` and `nnames`. */
static kt_status_t read_names(kt_config_t *config, const char *key, const kt_yaml_t *value,
                              void *field)
{
    kt_cfg_rule_t *rule = field;

    if (value->kind != KT_YAML_LIST || value->count == 0)
        return kt_config_fail(config->path, value->line,
                              "`%s` is no list of name patterns such as [\"database/*\"]", key);
    rule->names = calloc(value->count, sizeof(*rule->names));
    if (rule->names == NULL)
        return no_memory();
    for (; rule->nnames < value->count; rule->nnames++) {
        const kt_yaml_t *pattern = value->items[rule->nnames];
        kt_status_t status = check_text(config, key, pattern);

        if (status == KT_SUCCESS && kt_pattern_check(pattern->text) != KT_SUCCESS)
            status = kt_config_fail(config->path, pattern->line, "`%.64s`: %s", pattern->text,
                                    kt_failure());
        if (status == KT_SUCCESS)
            status = read_text(config, key, pattern, &rule->names[rule->nnames]);
        if (status != KT_SUCCESS)
            return status;
    }
    return KT_SUCCESS;
}

static kt_status_t read_who(kt_config_t *config, const char *key, const kt_yaml_t *value,
                            void *field)
{
    if (value->kind == KT_YAML_TEXT && strlen(value->text) > KT_SUBJECT_MAX)
        return kt_config_fail(config->path, value->line, "`%s` has more than %u bytes", key,
                              KT_SUBJECT_MAX);
    return read_text(config, key, value, field);
}

static kt_status_t read_rule(kt_config_t *config, const kt_yaml_t *value)
{
    static const row_t rows[] = {
        {"who", read_who, offsetof(kt_cfg_rule_t, who)},
        {"allow", read_capabilities, offsetof(kt_cfg_rule_t, allow)},
        {"deny", read_capabilities, offsetof(kt_cfg_rule_t, deny)},
        {"names", read_names, 0},
    };
    kt_cfg_rule_t *rule = &config->rules[config->nrules++];
    kt_status_t status;

    rule->line = value->line;
    status = read_map(config, "a rule of `policy`", value, rows, KT_ARRAY(rows), rule);
    if (status != KT_SUCCESS)
        return status;
    if (rule->who == NULL)
        return kt_config_fail(config->path, rule->line, "a rule has no `who`");
    if (rule->nnames == 0)
        return kt_config_fail(config->path, rule->line, "a rule has no `names`");
    if ((rule->allow | rule->deny) == 0)
        return kt_config_fail(config->path, rule->line, "a rule has neither `allow` nor `deny`");
    return KT_SUCCESS;
}

static kt_status_t read_policy(kt_config_t *config, const char *key, const kt_yaml_t *value,
                               void *field)
{
    kt_status_t status = KT_SUCCESS;

    (void)field;
    if (value->kind != KT_YAML_LIST)
        return kt_config_fail(config->path, value->line, "`%s` is no list of rules", key);
    config->rules = calloc(value->count + 1, sizeof(*config->rules));
    if (config->rules == NULL)
        return no_memory();
    for (size_t i = 0; status == KT_SUCCESS && i < value->count; i++)
        status = read_rule(config, value->items[i]);
    return status;
}

/* ---- The whole file ---- */

kt_status_t kt_config_keys(kt_config_t *config, const kt_yaml_t *root)
{
    static const row_t rows[] = {
        {"environment", read_environment, offsetof(kt_config_t, environment)},
        {"key", read_key, 0},
        {"providers", read_providers, 0},
        {"switch", read_switch, 0},
        {"cache", read_cache, 0},
        {"targets", read_targets, 0},
        {"policy", read_policy, 0},
        {"audit", read_audit, 0},
        {"api", NULL, 0},
        {"manifest", NULL, 0},
        {"secret_memory", read_memory, offsetof(kt_config_t, memory_required)},
    };
    kt_status_t status;
    char *path;

    config->cache_ttl = 300 * 1000;
    config->cache_negative = 15 * 1000;
    config->cache_stale = 3600 * 1000;
    config->cache_size = 4u * 1024 * 1024;
    config->audit_checkpoint = CHECKPOINT_MAX;
    status = read_map(config, "the configuration", root, rows, KT_ARRAY(rows), config);
    if (status != KT_SUCCESS)
        return status;
    if (config->environment[0] == '\0')
        return kt_config_fail(config->path, root->line, "`environment` is missing");
    path = kt_config_resolve(config,
                             config->audit_path != NULL ? config->audit_path : "/var/log/keyturn");
    if (path == NULL)
        return no_memory();
    free(config->audit_path);
    config->audit_path = path;
    return config->nroutes == 0 ? kt_config_switch(config, NULL) : KT_SUCCESS;
}
