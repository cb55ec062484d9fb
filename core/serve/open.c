/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * open.c: set-up before the fork, one context in each process after it.
 *
 * Configuration and modules are shared by reference and never change; keys are copied, so that each
 * context wipes its own.
 */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache.h"

#ifndef KT_DEFAULT_CONFIG /* configure's --sysconfdir */
#define KT_DEFAULT_CONFIG "/etc/keyturn/keyturn.yaml"
#endif

/* ---- set-up ---- */

static const char *const hosts[] = {"cli", "nginx", "redis", "postgresql", NULL};

static kt_status_t set_host(kt_setup_t *setup, const char *host)
{
    char buffer[4096];
    struct passwd entry, *found = NULL;
    size_t i;

    for (i = 0; hosts[i] != NULL && strcmp(hosts[i], host) != 0; i++)
        ;
    if (hosts[i] == NULL)
        return kt_fail(KT_USAGE, "not a host of keyturn: expected cli, nginx, redis or postgresql");
    (void)snprintf(setup->host, sizeof(setup->host), "%s", host);
    if (strcmp(host, "cli") != 0) {
        (void)snprintf(setup->stream, sizeof(setup->stream), "%s", host);
        return KT_SUCCESS;
    }
    if (getpwuid_r(geteuid(), &entry, buffer, sizeof(buffer), &found) == 0 && found != NULL)
        (void)snprintf(setup->stream, sizeof(setup->stream), "cli-%.50s", found->pw_name);
    else
        (void)snprintf(setup->stream, sizeof(setup->stream), "cli-%u", (unsigned)geteuid());
    return KT_SUCCESS;
}

kt_status_t kt_setup_finish(kt_setup_t *setup, kt_status_t status)
{
    setup->status = status;
    (void)snprintf(setup->error, sizeof(setup->error), "%s",
                   status == KT_SUCCESS ? "" : kt_failure());
    return status;
}

kt_status_t kt_setup(const char *config, const char *host, kt_setup_t **ret_setup)
{
    kt_setup_t *setup = calloc(1, sizeof(*setup));
    kt_status_t status;

    *ret_setup = setup;
    if (setup == NULL)
        return KT_INTERNAL;
    kt_json_setup();
    if (config == NULL)
        config = secure_getenv("KEYTURN_CONFIG");
    if (config == NULL || config[0] == '\0')
        config = KT_DEFAULT_CONFIG;
    status = set_host(setup, host);
    if (status == KT_SUCCESS)
        status = kt_config_read(config, &setup->config);
    if (status == KT_SUCCESS) {
        kt_locked_require(setup->config->memory_required);
        status = kt_keyring_read(setup->config, setup->stream, &setup->keyring);
    }
    if (status == KT_SUCCESS)
        status = kt_modules_load(setup->config, &setup->modules);
    return kt_setup_finish(setup, status);
}

const char *kt_setup_error(const kt_setup_t *setup)
{
    return setup != NULL ? setup->error : "out of memory";
}

kt_status_t kt_setup_status(const kt_setup_t *setup)
{
    return setup != NULL ? setup->status : KT_INTERNAL;
}

void kt_setup_free(kt_setup_t *setup)
{
    if (setup == NULL)
        return;
    kt_keyring_free(setup->keyring);
    kt_modules_unref(setup->modules);
    kt_config_unref(setup->config);
    free(setup);
}

void kt_setup_members(kt_setup_t *setup, kt_member_fn is_member, void *arg)
{
    if (setup->config == NULL)
        return;
    setup->config->is_member = is_member;
    setup->config->member_arg = arg;
}

void kt_setup_log(kt_setup_t *setup, kt_log_fn log, void *arg)
{
    setup->logger.fn = log;
    setup->logger.arg = arg;
}

const char *kt_setup_config(const kt_setup_t *setup)
{
    return setup->config != NULL ? setup->config->path : NULL;
}

const char *kt_setup_environment(const kt_setup_t *setup)
{
    return setup->config != NULL ? setup->config->environment : NULL;
}

const char *kt_setup_stream(const kt_setup_t *setup)
{
    return setup->stream;
}

const char *kt_setup_audit_path(const kt_setup_t *setup)
{
    return setup->config != NULL ? setup->config->audit_path : NULL;
}

/* ---- keys of a set-up ---- */

static kt_status_t write_epoch(const kt_setup_t *setup, const kt_secret_t *passphrase,
                               const char *path)
{
    if (setup->keyring == NULL)
        return kt_fail(KT_NOKEY, "the configuration has no key that could get another epoch");
    if (passphrase == NULL && kt_source_is_phrase(setup->config, setup->stream))
        return kt_fail(KT_USAGE, "the configuration's key has a passphrase: the new file needs one "
                                 "too (--passphrase)");
    return kt_keyring_write_epoch(setup->keyring, passphrase, path);
}

kt_status_t kt_keygen_epoch(kt_setup_t *setup, const kt_secret_t *passphrase, const char *path)
{
    return kt_setup_finish(setup, write_epoch(setup, passphrase, path));
}

kt_status_t kt_keygen_types(kt_setup_t *setup, const char *types, const char *path)
{
    return kt_setup_finish(setup, kt_keyring_write_types(setup->keyring, types, path));
}

/* ---- contexts ---- */

kt_status_t kt_context_new(kt_config_t *config, kt_modules_t *modules, const kt_keyring_t *keyring,
                           kt_ctx_t **ret_ctx)
{
    kt_ctx_t *ctx = calloc(1, sizeof(*ctx));
    kt_status_t status;

    if (ctx == NULL)
        return kt_no_memory();
    ctx->pid = getpid();
    ctx->holder.wait = KT_WAIT;
    ctx->bundle_versions = KT_KEPT;
    (void)pthread_mutex_init(&ctx->lock, NULL);
    (void)pthread_cond_init(&ctx->landed, NULL);
    ctx->holder.config = kt_config_ref(config);
    ctx->modules = kt_modules_ref(modules);
    ctx->stores = calloc(modules->count > 0 ? modules->count : 1, sizeof(*ctx->stores));
    ctx->tallies = kt_tallies_new(modules->count);
    status = ctx->stores != NULL && ctx->tallies != NULL
                 ? kt_keyring_copy(keyring, true, &ctx->holder.keyring)
                 : kt_no_memory();
    if (status != KT_SUCCESS) {
        kt_close(ctx);
        return status;
    }
    *ret_ctx = ctx;
    return KT_SUCCESS;
}

/* In the process that opens the context: it does not have its parent's locks. */
static kt_status_t check_memory(kt_ctx_t *ctx)
{
    const kt_config_t *config = ctx->holder.config;

    if (kt_memory_check(ctx) != KT_SUCCESS)
        return KT_CONFIG;
    if (!config->memory_required || kt_locked_room(config->cache_size))
        return KT_SUCCESS;
    return kt_fail(KT_CONFIG,
                   "a cache of %zu bytes could not be locked and secret_memory is `require`: raise "
                   "RLIMIT_MEMLOCK (LimitMEMLOCK=) or lower `cache: {size: ...}`",
                   config->cache_size);
}

static kt_status_t open_audit(kt_ctx_t *ctx, const char *stream)
{
    kt_status_t status = kt_audit_open(ctx->holder.config, stream, &ctx->audit);

    if (status == KT_SUCCESS)
        kt_audit_set_log(ctx->audit, ctx->holder.logger.fn, ctx->holder.logger.arg);
    if (status != KT_AUDIT || ctx->holder.config->audit_required)
        return status;
    kt_log(&ctx->holder.logger, 4, "%s; going on without, as audit.required is false",
           kt_failure());
    kt_failure_clear();
    return KT_SUCCESS;
}

kt_status_t kt_open(kt_setup_t *setup, kt_ctx_t **ret_ctx)
{
    kt_ctx_t *ctx = NULL;
    kt_status_t status;

    *ret_ctx = NULL;
    if (setup->keyring == NULL || setup->modules == NULL)
        return setup->status; /* kt_setup() failed, and said why */
    kt_failure_clear();
    status = kt_context_new(setup->config, setup->modules, setup->keyring, &ctx);
    if (status != KT_SUCCESS)
        return kt_setup_finish(setup, status);
    ctx->holder.logger = setup->logger;
    memcpy(ctx->host, setup->host, sizeof(ctx->host));
    memcpy(ctx->holder.stream, setup->stream, sizeof(ctx->holder.stream));
    ctx->cache = kt_cache_new(ctx->holder.config->cache_size);
    status = ctx->cache != NULL ? check_memory(ctx) : kt_no_memory();
    if (status == KT_SUCCESS)
        status = open_audit(ctx, setup->stream);
    if (status == KT_SUCCESS && ctx->audit != NULL)
        status = kt_sinks_open(ctx->holder.config, ctx->holder.stream, ctx->holder.logger.fn,
                               ctx->holder.logger.arg, &ctx->sinks);
    if (status != KT_SUCCESS) {
        kt_close(ctx);
        return kt_setup_finish(setup, status);
    }
    *ret_ctx = ctx;
    return kt_setup_finish(setup, KT_SUCCESS);
}

kt_status_t kt_open_agent(kt_ctx_t *ctx, kt_ctx_t **ret_agent)
{
    kt_status_t status =
        kt_context_new(ctx->holder.config, ctx->modules, ctx->holder.keyring, ret_agent);

    if (status != KT_SUCCESS)
        return status;
    (*ret_agent)->holder.logger = ctx->holder.logger;
    (*ret_agent)->owner = ctx;
    (*ret_agent)->memory_warned = true; /* its context says so for both */
    memcpy((*ret_agent)->host, ctx->host, sizeof(ctx->host));
    /* names the key to read again */
    memcpy((*ret_agent)->holder.stream, ctx->holder.stream, sizeof(ctx->holder.stream));
    return KT_SUCCESS;
}

void kt_close(kt_ctx_t *ctx)
{
    size_t i;

    if (ctx == NULL)
        return;
    if (ctx->pid != getpid())
        return; /* a fork's copy: descriptors, connections and locked pages are the parent's */
    kt_anchors_tighten(ctx);
    kt_forward_finish(ctx);
    kt_close(ctx->agent);
    for (i = 0; ctx->stores != NULL && i < ctx->modules->count; i++)
        kt_instance_close(&ctx->stores[i]);
    free(ctx->stores);
    kt_opened_free(ctx->bundles);
    kt_grants_free(ctx->grants);
    free(ctx->tallies);
    kt_cache_free(ctx->cache);
    kt_access_close(ctx->access);
    kt_audit_close(ctx->audit);
    kt_sinks_close(ctx->sinks);
    kt_refusals_close(ctx->refusals);
    kt_keyring_free(ctx->holder.keyring);
    kt_modules_unref(ctx->modules);
    kt_config_unref(ctx->holder.config);
    (void)pthread_cond_destroy(&ctx->landed);
    (void)pthread_mutex_destroy(&ctx->lock);
    free(ctx);
}
