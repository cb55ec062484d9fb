/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * figures.c: what a context knows of its own work. Answers of providers are counted without a lock,
 * because the agent's thread counts while others read.
 */
#include <stdlib.h>
#include <string.h>

#include "serve.h"

#define STATUSES (KT_MOVED + 1)

struct kt_tally {
    atomic_int status;
    atomic_llong since, asked; /* ms since the epoch; 0: it was not asked */
    atomic_ullong answers[STATUSES];
};

kt_tally_t *kt_tallies_new(size_t count)
{
    return calloc(count > 0 ? count : 1, sizeof(kt_tally_t));
}

void kt_tally(kt_ctx_t *ctx, size_t index, kt_status_t status)
{
    kt_tally_t *tally = &(ctx->owner != NULL ? ctx->owner : ctx)->tallies[index];
    int64_t now = kt_now_about();

    if ((kt_status_t)atomic_exchange(&tally->status, (int)status) != status ||
        atomic_load(&tally->since) == 0)
        atomic_store(&tally->since, now);
    atomic_store(&tally->asked, now);
    (void)atomic_fetch_add(&tally->answers[status], 1);
}

static void tell_provider(const kt_ctx_t *ctx, size_t index, const kt_figures_t *figures)
{
    const kt_tally_t *tally = &ctx->tallies[index];
    uint64_t answers[STATUSES];
    kt_provider_figures_t one = {ctx->holder.config->providers[index].name,
                                 (kt_status_t)atomic_load(&tally->status),
                                 atomic_load(&tally->since), atomic_load(&tally->asked), answers};
    size_t i;

    for (i = 0; i < STATUSES; i++)
        answers[i] = atomic_load(&tally->answers[i]);
    figures->provider(figures->arg, &one);
}

kt_status_t kt_audit_fits(kt_ctx_t *ctx, unsigned processes)
{
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    if (ctx->audit != NULL && ctx->holder.config->audit_required)
        status = kt_audit_room(ctx->audit, processes);
    kt_leave(ctx);
    return status;
}

kt_status_t kt_figures(kt_ctx_t *ctx, kt_figures_t *figures)
{
    size_t i;

    kt_failure_clear();
    if (figures->size < sizeof(*figures))
        return kt_fail(KT_USAGE, "kt_figures_t of %zu bytes", figures->size);
    if (ctx->holder.keyring->alive == 0)
        return kt_fail(KT_INTERNAL, "this context belongs to process %d: open one after the fork",
                       (int)ctx->pid);
    (void)pthread_mutex_lock(&ctx->lock);
    figures->audit_pending = 0;
    figures->audit_oldest = 0;
    if (ctx->audit != NULL)
        kt_audit_waiting(ctx->audit, &figures->audit_pending, &figures->audit_oldest);
    for (i = 0; i < ctx->modules->count; i++) {
        if (figures->provider != NULL)
            tell_provider(ctx, i, figures);
        if (figures->generation != NULL)
            kt_seen_all(ctx->stores[i].seen, figures->generation, figures->arg);
    }
    (void)pthread_mutex_unlock(&ctx->lock);
    return KT_SUCCESS;
}
