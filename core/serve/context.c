/* SPDX-License-Identifier: BSD-2-Clause */
/* context.c: entering and leaving a context, and what it keeps open. */
#include "serve.h"

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

kt_status_t kt_enter(kt_ctx_t *ctx)
{
    kt_failure_clear();
    if (ctx->holder.keyring->alive == 0) /* costs nothing, and getpid() is a system call */
        return kt_fail(KT_INTERNAL, "this context belongs to process %d: open one after the fork",
                       (int)ctx->pid);
    (void)pthread_mutex_lock(&ctx->lock);
    ctx->holder.missing_epoch = false;
    kt_provider_error_clear();
    kt_services_log(&ctx->holder.logger);
    return KT_SUCCESS;
}

void kt_leave(kt_ctx_t *ctx)
{
    kt_services_log(NULL);
    (void)pthread_mutex_unlock(&ctx->lock);
}

kt_status_t kt_store_of(kt_ctx_t *ctx, size_t index, kt_store_t **ret_store)
{
    kt_store_t *store = &ctx->stores[index];
    kt_status_t status = KT_SUCCESS;

    if (store->api == NULL)
        status = kt_instance_open(ctx->modules, index, store);
    if (status == KT_SUCCESS)
        *ret_store = store;
    return status;
}
