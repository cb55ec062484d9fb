/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * targets.c: `targets:`, what a rotation outside PostgreSQL has to change, and who hears of it.
 *
 *     targets:
 *       "database/primary": {exec: "/usr/local/lib/keyturn/rotate-db", timeout: 60s}
 *       "api-keys/shop": {notify: "/usr/local/lib/keyturn/tell-shop"}
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS (60 * 1000)
#define TIMEOUT_MAX_MS (3600 * 1000)
#define ARGUMENTS_MAX 64u
#define BLANK " \t\n"

static kt_status_t no_memory(void)
{
    return kt_fail(KT_INTERNAL, "out of memory");
}

/* ---- a command: an absolute path and its arguments, which no shell sees ---- */

static kt_status_t add_word(char **argv, size_t *count, const char *text, size_t len)
{
    argv[*count] = strndup(text, len);
    if (argv[*count] == NULL)
        return no_memory();
    (*count)++;
    return KT_SUCCESS;
}

static kt_status_t too_long(const kt_config_t *config, const char *key, int line)
{
    return kt_config_fail(config->path, line, "`%s` has more than %u words", key, ARGUMENTS_MAX);
}

static kt_status_t split(const kt_config_t *config, const char *key, const kt_yaml_t *value,
                         char **argv)
{
    const char *at = value->text + strspn(value->text, BLANK);
    size_t count = 0;
    kt_status_t status = KT_SUCCESS;

    if (strpbrk(value->text, "\"'\\") != NULL)
        return kt_config_fail(config->path, value->line,
                              "`%s` is split at blanks and knows no quotes: write a list of texts",
                              key);
    while (*at != '\0' && status == KT_SUCCESS) {
        size_t len = strcspn(at, BLANK);

        if (count == ARGUMENTS_MAX)
            return too_long(config, key, value->line);
        status = add_word(argv, &count, at, len);
        at += len;
        at += strspn(at, BLANK);
    }
    return status;
}

static kt_status_t take_list(const kt_config_t *config, const char *key, const kt_yaml_t *value,
                             char **argv)
{
    size_t count = 0;
    kt_status_t status = KT_SUCCESS;

    if (value->count > ARGUMENTS_MAX)
        return too_long(config, key, value->line);
    for (size_t i = 0; i < value->count && status == KT_SUCCESS; i++) {
        const kt_yaml_t *item = value->items[i];

        if (item->kind != KT_YAML_TEXT || item->null)
            return kt_config_fail(config->path, item->line, "a word of `%s` is no text", key);
        status = add_word(argv, &count, item->text, strlen(item->text));
    }
    return status;
}

/* Into a char **, NULL behind the last. */
static kt_status_t read_command(kt_config_t *config, const char *key, const kt_yaml_t *value,
                                void *field)
{
    char **argv = calloc(ARGUMENTS_MAX + 1, sizeof(*argv));
    kt_status_t status;

    if (argv == NULL)
        return no_memory();
    *(char ***)field = argv;
    if (value->kind == KT_YAML_MAP)
        return kt_config_fail(config->path, value->line, "`%s` is no command", key);
    status = value->kind == KT_YAML_TEXT ? split(config, key, value, argv)
                                         : take_list(config, key, value, argv);
    if (status == KT_SUCCESS && (argv[0] == NULL || argv[0][0] != '/'))
        status = kt_config_fail(config->path, value->line,
                                "`%s` does not begin with the absolute path of a command", key);
    return status;
}

/* ---- the other keys ---- */

static kt_status_t read_flag(kt_config_t *config, const char *key, const kt_yaml_t *value,
                             void *field)
{
    bool plain = value->kind == KT_YAML_TEXT && !value->quoted;

    if (!plain || (strcmp(value->text, "true") != 0 && strcmp(value->text, "false") != 0))
        return kt_config_fail(config->path, value->line, "`%s` is neither true nor false", key);
    *(bool *)field = value->text[0] == 't';
    return KT_SUCCESS;
}

static kt_status_t read_timeout(kt_config_t *config, const char *key, const kt_yaml_t *value,
                                void *field)
{
    int64_t timeout = value->kind == KT_YAML_TEXT ? kt_duration_parse(value->text) : -1;

    if (timeout <= 0 || timeout > TIMEOUT_MAX_MS)
        return kt_config_fail(config->path, value->line,
                              "`%s` is no duration of up to an hour, such as 60s", key);
    *(int64_t *)field = timeout;
    return KT_SUCCESS;
}

static kt_status_t read_string(kt_config_t *config, const char *key, const kt_yaml_t *value,
                               void *field)
{
    char **text = field;

    if (value->kind != KT_YAML_TEXT || value->text[0] == '\0')
        return kt_config_fail(config->path, value->line, "`%s` is no text", key);
    *text = strdup(value->text);
    return *text != NULL ? KT_SUCCESS : no_memory();
}

/* Not shown in errors: it may have a token in it. http: is refused later, unless it is to this
 * machine. */
static kt_status_t read_url(kt_config_t *config, const char *key, const kt_yaml_t *value,
                            void *field)
{
    kt_status_t status = read_string(config, key, value, field);

    if (status == KT_SUCCESS && strncmp(value->text, "https://", 8) != 0 &&
        strncmp(value->text, "http://", 7) != 0)
        status = kt_config_fail(config->path, value->line,
                                "`%s` is no URL such as https://HOST/PATH", key);
    return status;
}

static kt_status_t read_reference(kt_config_t *config, const char *key, const kt_yaml_t *value,
                                  void *field)
{
    kt_status_t status = read_string(config, key, value, field);

    if (status == KT_SUCCESS && kt_reference_check(value->text, 0, NULL) != KT_SUCCESS)
        status = kt_config_fail(config->path, value->line, "`%s` is no name of a secret", key);
    return status;
}

static const struct {
    const char *name;
    kt_status_t (*read)(kt_config_t *config, const char *key, const kt_yaml_t *value, void *field);
    size_t offset;
} rows[] = {
    {"exec", read_command, offsetof(kt_cfg_target_t, exec)},
    {"notify", read_command, offsetof(kt_cfg_target_t, notify)},
    {"webhook", read_url, offsetof(kt_cfg_target_t, webhook)},
    {"webhook_key", read_reference, offsetof(kt_cfg_target_t, webhook_key)},
    {"webhook_ca", read_string, offsetof(kt_cfg_target_t, webhook_ca)},
    {"old", read_flag, offsetof(kt_cfg_target_t, old)},
    {"whole", read_flag, offsetof(kt_cfg_target_t, whole)},
    {"test", read_flag, offsetof(kt_cfg_target_t, test)},
    {"timeout", read_timeout, offsetof(kt_cfg_target_t, timeout)},
};

static kt_status_t unknown_key(const kt_config_t *config, const kt_yaml_t *key)
{
    const char *names[KT_ARRAY(rows) + 1] = {NULL}, *nearest;

    for (size_t i = 0; i < KT_ARRAY(rows); i++)
        names[i] = rows[i].name;
    nearest = kt_nearest(key->text, names);
    if (nearest != NULL)
        return kt_config_fail(config->path, key->line, "unknown key `%.64s`, did you mean `%s`?",
                              key->text, nearest);
    return kt_config_fail(config->path, key->line,
                          "unknown key `%.64s`: there are exec, notify, "
                          "webhook, webhook_key, webhook_ca, old, whole, test, timeout",
                          key->text);
}

static kt_status_t read_key(kt_config_t *config, const kt_yaml_t *key, const kt_yaml_t *value,
                            kt_cfg_target_t *target)
{
    for (size_t i = 0; i < KT_ARRAY(rows); i++) {
        if (strcmp(key->text, rows[i].name) != 0)
            continue;
        if (value->null)
            return kt_config_fail(config->path, value->line, "`%s` has no value", rows[i].name);
        return rows[i].read(config, rows[i].name, value, (char *)target + rows[i].offset);
    }
    return unknown_key(config, key);
}

static kt_status_t check_target(const kt_config_t *config, const kt_yaml_t *pattern,
                                const kt_cfg_target_t *target)
{
    if (target->exec == NULL && target->notify == NULL && target->webhook == NULL)
        return kt_config_fail(config->path, pattern->line,
                              "the target of `%.64s` has neither `exec` nor `notify` nor `webhook`",
                              pattern->text);
    if ((target->webhook == NULL) != (target->webhook_key == NULL))
        return kt_config_fail(config->path, pattern->line,
                              "the target of `%.64s` has only one of `webhook` and `webhook_key`: "
                              "what is not signed could come from anybody",
                              pattern->text);
    return KT_SUCCESS;
}

static kt_status_t add_target(kt_config_t *config, const kt_yaml_t *pattern, const kt_yaml_t *value)
{
    kt_cfg_target_t *target = &config->targets[config->ntargets];
    kt_status_t status = KT_SUCCESS;

    if (kt_pattern_check(pattern->text) != KT_SUCCESS)
        return kt_config_fail(config->path, pattern->line, "`%.64s`: %s", pattern->text,
                              kt_failure());
    if (value->kind != KT_YAML_MAP)
        return kt_config_fail(config->path, value->line,
                              "the target of `%.64s` is no map such as {exec: \"/path/command\"}",
                              pattern->text);
    config->ntargets++;
    target->line = pattern->line;
    target->timeout = TIMEOUT_MS;
    target->test = true;
    target->pattern = strdup(pattern->text);
    if (target->pattern == NULL)
        return no_memory();
    for (size_t i = 0; i < value->count && status == KT_SUCCESS; i += 2)
        status = read_key(config, value->items[i], value->items[i + 1], target);
    return status == KT_SUCCESS ? check_target(config, pattern, target) : status;
}

kt_status_t kt_config_targets(kt_config_t *config, const kt_yaml_t *value)
{
    kt_status_t status = KT_SUCCESS;

    if (value->kind != KT_YAML_MAP)
        return kt_config_fail(config->path, value->line,
                              "`targets` is no map of name patterns to targets");
    config->targets = calloc(value->count / 2 + 1, sizeof(*config->targets));
    if (config->targets == NULL)
        return no_memory();
    for (size_t i = 0; i < value->count && status == KT_SUCCESS; i += 2)
        status = add_target(config, value->items[i], value->items[i + 1]);
    return status;
}

static void free_command(char **argv)
{
    for (size_t i = 0; argv != NULL && argv[i] != NULL; i++)
        free(argv[i]);
    free(argv);
}

void kt_config_free_targets(kt_config_t *config)
{
    for (size_t i = 0; i < config->ntargets; i++) {
        free(config->targets[i].pattern);
        free_command(config->targets[i].exec);
        free_command(config->targets[i].notify);
        free(config->targets[i].webhook);
        free(config->targets[i].webhook_key);
        free(config->targets[i].webhook_ca);
    }
    free(config->targets);
}

const kt_cfg_target_t *kt_config_target(const kt_config_t *config, const char *name)
{
    for (size_t i = 0; i < config->ntargets; i++) {
        if (kt_pattern_match(config->targets[i].pattern, name))
            return &config->targets[i];
    }
    return NULL;
}
