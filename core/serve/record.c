/* SPDX-License-Identifier: BSD-2-Clause */
/* record.c: the host's calls on the audit log: flush it, lend it a thread, read its end. */
#include <stdlib.h>
#include <string.h>

#include "serve.h"

/* Of all processes of the stream. What is not synced now is by the next flush. */
static void sync_anchors(kt_ctx_t *ctx)
{
    kt_store_t *store;
    size_t i;

    for (i = 0; ctx->stores != NULL && i < ctx->modules->count; i++) {
        if (kt_store_of(ctx, i, &store) != KT_SUCCESS ||
            (store->anchors != NULL &&
             kt_anchors_sync(kt_anchors_folder(store->anchors), ctx->holder.stream) != KT_SUCCESS))
            kt_failure_clear();
    }
}

/* The folders of the anchors, which do not change: to be synced without the lock. There is room for
 * each provider's. The caller frees what is not NULL. */
static size_t copy_paths(kt_ctx_t *ctx, char **ret_paths)
{
    size_t count = 0, i;

    (void)pthread_mutex_lock(&ctx->lock);
    for (i = 0; ctx->stores != NULL && i < ctx->modules->count; i++) {
        if (ctx->stores[i].api != NULL && ctx->stores[i].anchors != NULL)
            ret_paths[count++] = strdup(kt_anchors_folder(ctx->stores[i].anchors));
    }
    (void)pthread_mutex_unlock(&ctx->lock);
    return count;
}

/* By the thread, so that a change waits for two syncs and not for three. A failure is tried again:
 * it is not said, because the anchors count already. */
void kt_anchors_tighten(kt_ctx_t *ctx)
{
    size_t count, i;
    char **paths;

    if (!atomic_exchange(&ctx->anchors_loose, false))
        return;
    paths = calloc(ctx->modules->count, sizeof(*paths));
    if (paths == NULL) {
        atomic_store(&ctx->anchors_loose, true);
        return;
    }
    count = copy_paths(ctx, paths);
    for (i = 0; i < count; i++) {
        if (paths[i] == NULL || kt_anchors_sync(paths[i], ctx->holder.stream) != KT_SUCCESS)
            atomic_store(&ctx->anchors_loose, true);
        free(paths[i]);
    }
    free(paths);
    kt_failure_clear();
}

kt_status_t kt_audit_flush(kt_ctx_t *ctx, int all_processes)
{
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    if (all_processes)
        sync_anchors(ctx);
    if (ctx->audit != NULL)
        status = kt_audit_answer(ctx, all_processes ? kt_audit_sweep(ctx->audit)
                                                    : kt_audit_drain(ctx->audit));
    kt_leave(ctx);
    return status;
}

static int64_t tick(void *arg)
{
    kt_anchors_tighten(arg);
    return kt_forward_step(arg);
}

/* Without the context's lock, because readers must not wait for a disk. */
kt_status_t kt_audit_run(kt_ctx_t *ctx)
{
    kt_status_t status;

    kt_failure_clear();
    if (ctx->audit == NULL)
        return KT_SUCCESS;
    kt_audit_set_tick(ctx->audit, tick, ctx);
    status = kt_audit_thread_run(ctx->audit, ctx->holder.logger.fn, ctx->holder.logger.arg);
    if (status != KT_CONFLICT)
        kt_anchors_tighten(ctx);
    return status;
}

void kt_audit_stop(kt_ctx_t *ctx)
{
    if (ctx->audit != NULL)
        kt_audit_thread_stop(ctx->audit);
}

int kt_audit_forward(kt_ctx_t *ctx)
{
    if (ctx->audit == NULL)
        return KT_IDLE_MS;
    /* reads when the last checkpoint was */
    if (kt_audit_is_new(ctx->audit) && kt_audit_flush(ctx, 1) != KT_SUCCESS)
        return KT_IDLE_MS;
    return (int)kt_forward_step(ctx);
}

kt_status_t kt_audit_tail(kt_ctx_t *ctx, const char *stream, size_t count, kt_line_fn fn,
                          kt_check_fn note, void *arg)
{
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    if (ctx->audit != NULL)
        status = kt_audit_answer(
            ctx, kt_audit_drain(ctx->audit)); /* so that it has what was done here */
    if (status == KT_SUCCESS)
        status = kt_audit_last(ctx->holder.config->audit_path, stream, count, fn, note, arg);
    kt_leave(ctx);
    return status;
}
