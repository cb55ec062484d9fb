/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * targets.c: `targets:`, what a rotation has to change outside the store, and who is notified.
 *
 *     targets:
 *       "database/primary": {exec: "/usr/local/lib/keyturn/rotate-db", timeout: 60s}
 *       "api-keys/shop": {notify: "/usr/local/lib/keyturn/tell-shop"}
 */
#include "option.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Errors do not show it, because it may contain a token. http: to another machine is refused
 * later. */
static kt_status_t read_url(kt_config_t *config, const kt_option_t *option, const kt_yaml_t *value,
                            void *field)
{
    kt_status_t status = kt_option_read_text(config, option, value, field);

    if (status == KT_SUCCESS && strncmp(value->text, "https://", 8) != 0 &&
        strncmp(value->text, "http://", 7) != 0)
        status = kt_config_fail(config->path, value->line,
                                "`%s`: not a URL (write https://HOST/PATH)", option->name);
    return status;
}

static const kt_option_kind_t option_url = {read_url, kt_option_release_text};

static kt_status_t read_reference(kt_config_t *config, const kt_option_t *option,
                                  const kt_yaml_t *value, void *field)
{
    kt_status_t status = kt_option_read_text(config, option, value, field);

    if (status == KT_SUCCESS && kt_reference_check(value->text, 0, NULL) != KT_SUCCESS)
        status =
            kt_config_fail(config->path, value->line, "`%s`: not a name of a secret", option->name);
    return status;
}

static const kt_option_kind_t option_reference = {read_reference, kt_option_release_text};

const kt_option_t kt_target_options[] = {
    {"exec", &kt_option_command, offsetof(kt_cfg_target_t, exec), .value = "COMMAND",
     .text = "The command that gives the target the new value, and tests it."},
    {"redis", &kt_option_map, offsetof(kt_cfg_target_t, redis), .options = kt_redis_options,
     .value = "{ OPTION : VALUE , ... }",
     .text = "The ACL user of Redis servers whose password is the secret."},
    {"notify", &kt_option_command, offsetof(kt_cfg_target_t, notify), .value = "COMMAND",
     .text = "A command that runs when the new value is current."},
    {"webhook", &option_url, offsetof(kt_cfg_target_t, webhook), .value = "URL",
     .text = "A URL that gets a signed message when the new value is current."},
    {"webhook_key", &option_reference, offsetof(kt_cfg_target_t, webhook_key), .value = "NAME",
     .text = "The name of the secret that signs this message."},
    {"webhook_ca", &kt_option_text, offsetof(kt_cfg_target_t, webhook_ca), .value = "FILE",
     .text = "Certificates that may sign the server's, instead of those of the system."},
    {"old", &kt_option_bool, offsetof(kt_cfg_target_t, old), "false", .value = "BOOLEAN",
     .text = "Whether the command gets the current value too, on descriptor 3."},
    {"whole", &kt_option_bool, offsetof(kt_cfg_target_t, whole), "false", .value = "BOOLEAN",
     .text = "Whether it gets whole values, such as the JSON object with user and host."},
    {"test", &kt_option_bool, offsetof(kt_cfg_target_t, test), "true", .value = "BOOLEAN",
     .text = "Whether it knows the step test; without it, an unfinished value is set again."},
    {"timeout", &kt_option_duration, offsetof(kt_cfg_target_t, timeout), "60s", "1ms", "1h",
     .value = "DURATION",
     .text = "How long one run may take; then the command's process group is killed."},
    {.name = NULL},
};

static kt_status_t check_target(const kt_config_t *config, const kt_yaml_t *pattern,
                                kt_cfg_target_t *target)
{
    if (!kt_config_has_target(target) && target->notify == NULL && target->webhook == NULL)
        return kt_config_fail(
            config->path, pattern->line,
            "the target of `%.64s`: nothing to do (add `exec`, `redis`, `notify` or `webhook`)",
            pattern->text);
    if (target->exec != NULL && target->redis.servers != NULL)
        return kt_config_fail(config->path, pattern->line,
                              "the target of `%.64s`: `exec` and `redis` exclude each other",
                              pattern->text);
    if ((target->webhook == NULL) != (target->webhook_key == NULL))
        return kt_config_fail(
            config->path, pattern->line,
            "the target of `%.64s`: `webhook` and `webhook_key` need each other, because an "
            "unsigned message could come from anyone (add the missing one)",
            pattern->text);
    return target->redis.servers != NULL ? kt_redis_check(config, pattern, &target->redis)
                                         : KT_SUCCESS;
}

static kt_status_t add_target(kt_config_t *config, const kt_yaml_t *pattern, const kt_yaml_t *value)
{
    kt_cfg_target_t *target = &config->targets[config->ntargets];
    char what[96];
    kt_status_t status;

    if (kt_pattern_check(pattern->text) != KT_SUCCESS)
        return kt_config_fail(config->path, pattern->line, "`%.64s`: %s", pattern->text,
                              kt_failure());
    config->ntargets++;
    target->line = pattern->line;
    target->pattern = strdup(pattern->text);
    if (target->pattern == NULL)
        return kt_no_memory();
    (void)snprintf(what, sizeof(what), "the target of `%.64s`", pattern->text);
    status = kt_options_read(config, what, value, kt_target_options, target);
    return status == KT_SUCCESS ? check_target(config, pattern, target) : status;
}

static kt_status_t read_targets(kt_config_t *config, const kt_option_t *option,
                                const kt_yaml_t *value, void *field)
{
    kt_status_t status = KT_SUCCESS;

    (void)field;
    if (value->kind != KT_YAML_MAP)
        return kt_config_fail(config->path, value->line, "`%s`: not a map of patterns to targets",
                              option->name);
    config->targets = calloc(value->count / 2 + 1, sizeof(*config->targets));
    if (config->targets == NULL)
        return kt_no_memory();
    for (size_t i = 0; i < value->count && status == KT_SUCCESS; i += 2)
        status = add_target(config, value->items[i], value->items[i + 1]);
    return status;
}

static void release_targets(const kt_option_t *option, void *field)
{
    kt_config_t *config = field;

    (void)option;
    for (size_t i = 0; i < config->ntargets; i++) {
        kt_options_release(kt_target_options, &config->targets[i]);
        free(config->targets[i].pattern);
    }
    free(config->targets);
}

const kt_option_kind_t kt_option_targets = {read_targets, release_targets};

const kt_cfg_target_t *kt_config_target(const kt_config_t *config, const char *name)
{
    for (size_t i = 0; i < config->ntargets; i++) {
        if (kt_pattern_match(config->targets[i].pattern, name))
            return &config->targets[i];
    }
    return NULL;
}

bool kt_config_has_target(const kt_cfg_target_t *target)
{
    return target->exec != NULL || target->redis.servers != NULL;
}

void kt_config_target_label(const kt_cfg_target_t *target, char *label, size_t size)
{
    if (target->exec != NULL)
        (void)snprintf(label, size, KT_TARGET_EXEC "%s", target->exec[0]);
    else
        (void)snprintf(label, size, KT_TARGET_REDIS "%s", target->redis.user);
}

bool kt_config_is_target(const char *noted)
{
    return strncmp(noted, KT_TARGET_EXEC, strlen(KT_TARGET_EXEC)) == 0 ||
           strncmp(noted, KT_TARGET_REDIS, strlen(KT_TARGET_REDIS)) == 0;
}
