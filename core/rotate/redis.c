/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * redis.c: an ACL user of Redis servers as the target of a rotation.
 *
 * The provider `redis` speaks with the servers; here it gets what a step needs. Each server keeps
 * the old password beside the new one; old.c remembers it, and retire.c has it removed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "old.h"

/* What one step needs, with the values that `account` points to. */
typedef struct logins {
    ktp_account_t account;
    kt_secret_t *password, *admin;
    char hash[KT_PASSWORD_HASH];
} logins_t;

static void logins_clear(logins_t *logins)
{
    kt_secret_free(logins->password);
    kt_secret_free(logins->admin);
    kt_wipe(logins->hash, sizeof(logins->hash));
}

static ktp_text_t text_of(const kt_secret_t *secret)
{
    return (ktp_text_t){(const char *)secret->data, secret->size};
}

/* ---- the administrator ---- */

static kt_status_t read_file(const kt_ctx_t *ctx, const char *file, kt_secret_t **ret_secret)
{
    char *path = kt_config_resolve(ctx->holder.config, file), *text = NULL;
    size_t size = 0;
    kt_status_t status;

    if (path == NULL)
        return kt_no_memory();
    status = kt_read_private(path, &text, &size);
    free(path);
    if (status != KT_SUCCESS)
        return status;
    size = strcspn(text, "\r\n");
    *ret_secret = kt_secret_new(text, size);
    kt_locked_free(text);
    return *ret_secret != NULL ? KT_SUCCESS : kt_no_memory();
}

/* As any other read of the rotation's subject, with its policy and record. */
static kt_status_t read_secret(kt_ctx_t *ctx, const kt_request_t *req, const char *reference,
                               kt_secret_t **ret_secret)
{
    kt_request_t read = *req;
    kt_secret_t *whole = NULL;
    kt_status_t status;

    read.reference = reference;
    read.reference_len = 0;
    read.purpose = "target";
    read.provider = NULL;
    status = kt_get(ctx, &read, &whole);
    if (status != KT_SUCCESS)
        return status;
    status = kt_target_part(whole, ret_secret);
    kt_secret_free(whole);
    return status;
}

static kt_status_t part_of(kt_status_t status, kt_secret_t *whole, kt_secret_t **ret_part)
{
    if (status == KT_SUCCESS)
        status = kt_target_part(whole, ret_part);
    kt_secret_free(whole);
    return status;
}

/* Without `admin` the user changes its own password, by the current one. */
static kt_status_t find_admin(const kt_redis_t *redis, kt_rotation_t *r, logins_t *logins)
{
    const kt_cfg_redis_t *config = redis->config;
    kt_secret_t *whole = NULL;
    kt_status_t status;

    logins->account.admin = config->admin;
    if (config->admin_password == NULL) {
        logins->account.admin = config->user;
        status = kt_rotation_old(r, NULL, &whole);
        status = part_of(status, whole, &logins->admin);
    } else if (strncmp(config->admin_password, "file:", 5) == 0) {
        status = read_file(redis->ctx, config->admin_password + 5, &logins->admin);
    } else {
        status = read_secret(redis->ctx, &r->req, config->admin_password, &logins->admin);
    }
    if (status != KT_SUCCESS)
        return kt_fail_prefix(status, "the password of `admin`");
    logins->account.admin_password = text_of(logins->admin);
    return KT_SUCCESS;
}

/* ---- steps ---- */

static unsigned flags_of(const kt_cfg_redis_t *config)
{
    return (config->save ? KTP_ACCOUNT_SAVE : 0u) |
           (config->masterauth ? KTP_ACCOUNT_REPLICATION : 0u) |
           (config->requirepass ? KTP_ACCOUNT_DEFAULT : 0u);
}

static kt_status_t fill(const kt_redis_t *redis, kt_rotation_t *r, ktp_account_step_t step,
                        logins_t *logins)
{
    const kt_cfg_redis_t *config = redis->config;
    kt_secret_t *whole = NULL;
    kt_status_t status;

    memset(logins, 0, sizeof(*logins));
    logins->account = (ktp_account_t){.size = sizeof(ktp_account_t),
                                      .user = config->user,
                                      .servers = (const char *const *)config->servers,
                                      .monitors = (const char *const *)config->sentinels,
                                      .monitored = config->master,
                                      .ca = config->ca,
                                      .cert = config->cert,
                                      .key = config->key,
                                      .name = config->name,
                                      .flags = flags_of(config),
                                      .timeout = (unsigned)config->timeout};
    status = find_admin(redis, r, logins);
    if (status != KT_SUCCESS || step == KTP_ACCOUNT_CHECK)
        return status;
    status = kt_rotation_value(r, NULL, &whole);
    status = part_of(status, whole, &logins->password);
    if (status != KT_SUCCESS)
        return status;
    kt_password_hash(logins->password, logins->hash);
    logins->account.password = text_of(logins->password);
    logins->account.password_hash = (ktp_text_t){logins->hash, strlen(logins->hash)};
    return KT_SUCCESS;
}

static kt_status_t run_step(kt_redis_t *redis, kt_rotation_t *r, ktp_account_step_t step,
                            const char *const *removed)
{
    logins_t logins;
    kt_status_t status = kt_redis_load(&redis->ops);

    if (status != KT_SUCCESS)
        return status;
    status = fill(redis, r, step, &logins);
    if (status == KT_SUCCESS) {
        logins.account.removed = removed;
        kt_provider_begin(&redis->ctx->holder.logger);
        status =
            kt_from_provider(redis->label, redis->account(kt_services(), &logins.account, step));
        kt_provider_begin(NULL);
    } else if (status == KT_CONFLICT) { /* it would mean that the servers rejected the value */
        status = kt_fail_prefix(KT_UNAVAIL, "%s", redis->label);
    }
    logins_clear(&logins);
    return status;
}

static kt_status_t redis_set(void *arg, kt_rotation_t *rotation)
{
    return run_step(arg, rotation, KTP_ACCOUNT_SET, NULL);
}

/* Whatever it answers, the servers have been given the value. */
static kt_status_t redis_test(void *arg, kt_rotation_t *rotation)
{
    kt_status_t status = run_step(arg, rotation, KTP_ACCOUNT_TEST, NULL);

    return status == KT_CONFLICT ? kt_fail_prefix(KT_UNAVAIL, "rotate again") : status;
}

void kt_redis_init(kt_redis_t *redis, kt_ctx_t *ctx, const kt_cfg_target_t *config)
{
    kt_config_target_label(config, redis->label, sizeof(redis->label));
    redis->ctx = ctx;
    redis->config = &config->redis;
    redis->account = NULL;
    redis->ops = (kt_target_ops_t){sizeof(kt_target_ops_t), redis->label, redis_set, redis_test};
}

bool kt_redis_is(const kt_target_ops_t *ops)
{
    return ops != NULL && ops->set == redis_set;
}

int64_t kt_redis_overlap(const kt_target_ops_t *ops)
{
    const kt_redis_t *redis = (const kt_redis_t *)ops; /* its first member */

    return redis->config->overlap;
}

kt_status_t kt_redis_load(const kt_target_ops_t *ops)
{
    kt_redis_t *redis = (kt_redis_t *)(uintptr_t)ops;

    return redis->account != NULL ? KT_SUCCESS : kt_provider_account("redis", &redis->account);
}

kt_status_t kt_redis_ask(kt_redis_t *redis, kt_rotation_t *rotation)
{
    return run_step(redis, rotation, KTP_ACCOUNT_CHECK, NULL);
}

kt_status_t kt_redis_remove(kt_redis_t *redis, kt_rotation_t *rotation, const char *const *removed)
{
    return run_step(redis, rotation, KTP_ACCOUNT_REMOVE, removed);
}
