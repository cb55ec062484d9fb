/* SPDX-License-Identifier: BSD-2-Clause */
/* context.c: entering and leaving a context, and what it keeps open. */
#include "serve.h"

void kt_interrupted(kt_ctx_t *ctx, kt_interrupted_fn fn, void *arg)
{
    ctx->holder.logger.interrupted = fn;
    ctx->holder.logger.interrupted_arg = arg;
}

void kt_progress(kt_ctx_t *ctx, kt_progress_fn fn, void *arg)
{
    ctx->holder.logger.progress = fn;
    ctx->holder.logger.progress_arg = arg;
}

const char *kt_error(const kt_ctx_t *ctx)
{
    (void)ctx; /* the text is the thread's: event loops and agents share a context */
    return kt_failure();
}

kt_status_t kt_memory_check(kt_ctx_t *ctx)
{
    size_t unlocked = kt_locked_failures();

    if (unlocked == 0)
        return KT_SUCCESS;
    if (ctx->holder.config->memory_required)
        return kt_fail(KT_CONFIG,
                       "%zu bytes of secret memory could not be locked and secret_memory is "
                       "`require`: the limit is %zu bytes (raise RLIMIT_MEMLOCK: LimitMEMLOCK= of "
                       "systemd, ulimit -l)",
                       unlocked, kt_locked_limit());
    if (!ctx->memory_warned)
        kt_log(&ctx->holder.logger, 4,
               "%zu bytes of secret memory could not be locked and may reach swap: the limit is "
               "%zu bytes (raise RLIMIT_MEMLOCK: LimitMEMLOCK= of systemd, ulimit -l)",
               unlocked, kt_locked_limit());
    ctx->memory_warned = true;
    return KT_SUCCESS;
}

/* A growing cache or new keys may have been too much. */
static kt_status_t check_memory(kt_ctx_t *ctx)
{
    if (!kt_locked_is_failing() || (ctx->memory_warned && !ctx->holder.config->memory_required))
        return KT_SUCCESS;
    return kt_memory_check(ctx);
}

kt_status_t kt_enter(kt_ctx_t *ctx)
{
    kt_status_t status;

    kt_failure_clear();
    if (ctx->holder.keyring->alive == 0) /* costs nothing, and getpid() is a system call */
        return kt_fail(KT_INTERNAL, "this context belongs to process %d: open one after the fork",
                       (int)ctx->pid);
    (void)pthread_mutex_lock(&ctx->lock);
    status = check_memory(ctx);
    if (status != KT_SUCCESS) {
        (void)pthread_mutex_unlock(&ctx->lock);
        return status;
    }
    ctx->holder.missing_epoch = false;
    kt_provider_begin(&ctx->holder.logger);
    return KT_SUCCESS;
}

void kt_leave(kt_ctx_t *ctx)
{
    kt_settle_locked(ctx);
    if (!ctx->holder.config->memory_required)
        (void)check_memory(ctx); /* a command has no later call that would warn */
    kt_provider_begin(NULL);
    (void)pthread_mutex_unlock(&ctx->lock);
}

kt_status_t kt_bundle_versions(kt_ctx_t *ctx, size_t versions)
{
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    if (versions < KT_BUNDLE_VERSIONS_MIN || versions > KT_VERSIONS_MAX)
        status = kt_fail(KT_USAGE, "a secret keeps %u to %u versions", KT_BUNDLE_VERSIONS_MIN,
                         KT_VERSIONS_MAX);
    else
        ctx->bundle_versions = versions;
    kt_leave(ctx);
    return status;
}

/* Without memory each head is opened. */
void kt_bundle_store_of(kt_ctx_t *ctx, kt_bundle_t **slot, kt_bundle_store_t *ret_store)
{
    if (ctx->bundles == NULL)
        ctx->bundles = kt_opened_new();
    kt_bundle_store_init(ret_store, slot, ctx->bundles, ctx->bundle_versions);
}

kt_status_t kt_store_of(kt_ctx_t *ctx, size_t index, kt_store_t **ret_store)
{
    kt_store_t *store = &ctx->stores[index];
    kt_status_t status = KT_SUCCESS;

    if (store->api == NULL) {
        status = kt_instance_open(ctx->modules, index, store);
        if (status == KT_SUCCESS)
            kt_expect(ctx, store);
    }
    if (status == KT_SUCCESS)
        *ret_store = store;
    return status;
}
