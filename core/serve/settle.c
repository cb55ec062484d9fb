/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settle.c: anchors that somebody did not write.
 *
 * A writer may die between its commit and its anchor, or be kept from writing it. Then an older
 * store would not be noticed. So each process that holds the type's key, and finds the root above
 * all anchors, writes the anchor into its own stream's file, or says in the host's log that it
 * cannot: the command at once, a server's thread after AGE_MS, because a writer that is alive needs
 * a moment between the two.
 */
#include <string.h>
#include <unistd.h>

#include "serve.h"

#define AGE_MS 2000
#define LINES_MAX 16u /* that are written at once; the rest has its turn later */

/* The anchors of another user's stream are left to that user: `nginx -t` runs as root. */
static bool may_settle(const kt_ctx_t *ctx)
{
    return geteuid() != 0 || strcmp(ctx->host, "cli") == 0;
}

static void put(kt_ctx_t *ctx, const kt_anchors_t *anchors, const kt_anchor_t *lines, size_t count,
                bool was_said)
{
    kt_status_t status = kt_anchors_put(anchors, ctx->holder.stream, lines, count);

    if (status != KT_SUCCESS && !was_said)
        kt_log(&ctx->holder.logger, 3,
               "the store is newer than all anchors, and the anchor that is missing cannot be "
               "written: %s",
               kt_failure());
}

void kt_settle_locked(kt_ctx_t *ctx)
{
    int64_t age = strcmp(ctx->host, "cli") == 0 ? 0 : AGE_MS;
    kt_anchor_t lines[LINES_MAX];
    kt_failure_t failed;
    bool was_said;
    size_t i, count;

    for (i = 0; ctx->stores != NULL && i < ctx->modules->count; i++) {
        kt_anchors_t *anchors = ctx->stores[i].anchors;

        if (!kt_anchors_missing(anchors) || kt_audit_has_thread(ctx->audit) || !may_settle(ctx))
            continue;
        count = kt_anchors_due(anchors, age, lines, LINES_MAX, &was_said);
        if (count == 0)
            continue;
        kt_failure_save(&failed, KT_INTERNAL); /* of the call that ends here */
        put(ctx, anchors, lines, count, was_said);
        (void)kt_failure_restore(&failed);
    }
}

/* The context's lock is not held while the file is written. */
void kt_settle(kt_ctx_t *ctx)
{
    kt_anchor_t lines[LINES_MAX];
    const kt_anchors_t *anchors;
    size_t i, count;
    bool was_said;

    for (i = 0; may_settle(ctx) && ctx->stores != NULL && i < ctx->modules->count; i++) {
        if (kt_enter(ctx) != KT_SUCCESS)
            return;
        anchors = ctx->stores[i].anchors;
        count = kt_anchors_due(ctx->stores[i].anchors, AGE_MS, lines, LINES_MAX, &was_said);
        kt_leave(ctx);
        if (count > 0)
            put(ctx, anchors, lines, count, was_said);
    }
    kt_failure_clear();
}
