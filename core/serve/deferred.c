/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * deferred.c: changes of bundles whose records become lines together, by the host's thread, so that
 * an event loop does not wait for a disk.
 *
 * Between kt_deferred_begin() and kt_deferred_stop() no decision waits for its line: the intent of
 * a change is in the ring, and its outcome is left to kt_deferred_end(), which the host calls when
 * the intent is on the disk and the new bundle is in its place. So a crash still leaves at worst an
 * intent without an outcome.
 */
#include <stdlib.h>

#include "serve.h"

struct kt_deferred {
    kt_ctx_t *ctx;
    kt_request_t req;
    kt_write_t write;
    bool changed;
};

kt_status_t kt_deferred_begin(kt_ctx_t *ctx, kt_deferred_t **ret_deferred)
{
    kt_deferred_t *deferred;
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    deferred = kt_audit_has_thread(ctx->audit) ? calloc(1, sizeof(*deferred)) : NULL;
    if (deferred != NULL) {
        deferred->ctx = ctx;
        ctx->deferring = deferred;
        *ret_deferred = deferred;
    } else {
        status = kt_fail(KT_TRYAGAIN, "there is no thread that writes the audit log");
    }
    kt_leave(ctx);
    return status;
}

void kt_deferred_stop(kt_deferred_t *deferred)
{
    (void)pthread_mutex_lock(&deferred->ctx->lock);
    deferred->ctx->deferring = NULL;
    (void)pthread_mutex_unlock(&deferred->ctx->lock);
}

void kt_deferred_keep(kt_deferred_t *deferred, const kt_write_t *write)
{
    deferred->req = *write->call.req;
    deferred->write = *write;
    deferred->write.call.req = &deferred->req;
    deferred->write.change = NULL;
    deferred->changed = true;
}

kt_status_t kt_deferred_end(kt_deferred_t *deferred, kt_status_t outcome)
{
    const kt_write_t *write = &deferred->write;
    kt_status_t status = KT_SUCCESS;

    if (deferred->changed)
        status = kt_enter(deferred->ctx);
    if (deferred->changed && status == KT_SUCCESS) {
        status = kt_decide(deferred->ctx, &write->call, write->action, outcome, write->version,
                           write->provider, 0);
        kt_leave(deferred->ctx);
    }
    free(deferred);
    return status;
}

void kt_deferred_wake(kt_ctx_t *ctx)
{
    if (ctx->audit != NULL)
        kt_audit_wake(ctx->audit);
}

void kt_deferred_follow(kt_ctx_t *ctx, const kt_deferred_ops_t *batch)
{
    if (ctx->audit != NULL)
        kt_audit_follow(ctx->audit, batch, ctx->holder.config->audit_required);
}
