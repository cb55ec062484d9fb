/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * target_redis.c: `redis` of a target, an ACL user of Redis servers whose password is the secret.
 *
 *     "redis/app": {redis: {user: app, servers: ["10.0.0.1:6379", "10.0.0.2:6379"],
 *                           admin: {username: rotator, password: "redis/rotator"}}}
 */
#include "option.h"

#include <string.h>

static kt_status_t read_credential(kt_config_t *config, const kt_option_t *option,
                                   const kt_yaml_t *value, void *field)
{
    kt_status_t status = kt_option_read_text(config, option, value, field);

    if (status != KT_SUCCESS || (strncmp(value->text, "file:", 5) == 0 && value->text[5] != '\0'))
        return status;
    if (kt_reference_check(value->text, 0, NULL) == KT_SUCCESS)
        return KT_SUCCESS;
    return kt_config_fail(config->path, value->line,
                          "`%s`: neither the name of a secret nor file:PATH (a configuration holds "
                          "no secrets)",
                          option->name);
}

static const kt_option_kind_t option_credential = {read_credential, kt_option_release_text};

static const kt_option_t admin_options[] = {
    {"username", &kt_option_text, offsetof(kt_cfg_redis_t, admin), .value = "USER",
     .text = "Who changes the password there; without it the server's user default."},
    {"password", &option_credential, offsetof(kt_cfg_redis_t, admin_password), .required = true,
     .value = "NAME", .text = "The name of the secret with the password of that user."},
    {.name = NULL},
};

static const kt_option_t tls_options[] = {
    {"ca", &kt_option_path, offsetof(kt_cfg_redis_t, ca), .value = "FILE",
     .text = "Certificates that may sign the servers', instead of those of the system."},
    {"cert", &kt_option_path, offsetof(kt_cfg_redis_t, cert), .value = "FILE",
     .text = "Our certificate, for servers that require one."},
    {"key", &kt_option_path, offsetof(kt_cfg_redis_t, key), .value = "FILE",
     .text = "Its key."},
    {"name", &kt_option_text, offsetof(kt_cfg_redis_t, name), .most = "255", .value = "NAME",
     .text = "The name in the servers' certificates, instead of each one's host."},
    {.name = NULL},
};

const kt_option_t kt_redis_options[] = {
    {"user", &kt_option_text, offsetof(kt_cfg_redis_t, user), .most = "255", .value = "USER",
     .text = "The ACL user whose password the secret is."},
    {"servers", &kt_option_list, offsetof(kt_cfg_redis_t, servers), .required = true,
     .value = "[ ADDRESS , ... ]", .text = "All servers that have this user."},
    {"admin", &kt_option_map, 0, .options = admin_options, .value = "{ OPTION : VALUE , ... }",
     .text = "Who changes the password on these servers."},
    {"tls", &kt_option_map, 0, .options = tls_options, .value = "{ OPTION : VALUE , ... }",
     .text = "TLS with all of these servers that are not at a unix socket."},
    {"overlap", &kt_option_duration, offsetof(kt_cfg_redis_t, overlap), "10m", "0", "30d",
     .value = "DURATION", .text = "How long the old password stays valid beside the new one."},
    {"save", &kt_option_bool, offsetof(kt_cfg_redis_t, save), "true", .value = "BOOLEAN",
     .text = "Whether each server keeps the change when it starts again."},
    {"masterauth", &kt_option_bool, offsetof(kt_cfg_redis_t, masterauth), "false",
     .value = "BOOLEAN", .text = "Whether the servers use this user to replicate."},
    {"requirepass", &kt_option_bool, offsetof(kt_cfg_redis_t, requirepass), "false",
     .value = "BOOLEAN", .text = "Whether it is the one password of servers without ACL users."},
    {"sentinels", &kt_option_list, offsetof(kt_cfg_redis_t, sentinels),
     .value = "[ ADDRESS , ... ]", .text = "The Sentinels that log in with this user."},
    {"master", &kt_option_text, offsetof(kt_cfg_redis_t, master), .most = "127", .value = "NAME",
     .text = "By what name these Sentinels know the servers."},
    {"timeout", &kt_option_duration, offsetof(kt_cfg_redis_t, timeout), "5s", "1ms", "1m",
     .value = "DURATION", .text = "How long one exchange with a server may take."},
    {.name = NULL},
};

kt_status_t kt_redis_check(const kt_config_t *config, const kt_yaml_t *pattern,
                           kt_cfg_redis_t *redis)
{
    bool is_default = redis->user == NULL || strcmp(redis->user, "default") == 0;

    if (redis->servers[0] == NULL)
        return kt_config_fail(config->path, pattern->line,
                              "the target of `%.64s`: `servers` has no address", pattern->text);
    if (redis->user == NULL && !redis->requirepass)
        return kt_config_fail(config->path, pattern->line,
                              "the target of `%.64s`: `user` is missing (or, for servers without "
                              "ACL users, `requirepass: true`)",
                              pattern->text);
    if (redis->requirepass && !is_default)
        return kt_config_fail(config->path, pattern->line,
                              "the target of `%.64s`: `requirepass` is the password of the user "
                              "default, and not of another one (leave out `user`)",
                              pattern->text);
    if ((redis->cert == NULL) != (redis->key == NULL))
        return kt_config_fail(config->path, pattern->line,
                              "the target of `%.64s`: `cert` and `key` come together",
                              pattern->text);
    if (redis->user == NULL)
        redis->user = strdup("default");
    return redis->user != NULL ? KT_SUCCESS : kt_no_memory();
}
