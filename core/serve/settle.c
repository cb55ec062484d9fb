/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settle.c: anchors that somebody did not write.
 *
 * A writer may die between its commit and its anchor, or be kept from writing it. Then an older
 * store would not be noticed. So each process that holds the type's key, and finds the root above
 * all anchors, writes the anchor into its own stream's file, or says in the host's log that it
 * cannot: the command at once, a server's thread after KT_SETTLE_MS, because a writer that is alive
 * needs a moment between the two.
 */
#include <string.h>
#include <unistd.h>

#include "serve.h"

/* The anchors of another user's stream are left to that user: `nginx -t` runs as root. */
bool kt_may_settle(const kt_ctx_t *ctx)
{
    return geteuid() != 0 || strcmp(ctx->host, "cli") == 0;
}

void kt_settle_put(kt_ctx_t *ctx, const kt_anchors_t *anchors, const kt_anchor_t *lines,
                   size_t count, bool was_said)
{
    kt_status_t status = kt_anchors_put(anchors, ctx->holder.stream, lines, count);

    if (status != KT_SUCCESS && !was_said)
        kt_log(&ctx->holder.logger, 4, /* a read keeps its own promises */
               "the store is newer than all anchors, and the anchor that is missing cannot be "
               "written: %s",
               kt_failure());
}

void kt_settle_locked(kt_ctx_t *ctx)
{
    int64_t age = strcmp(ctx->host, "cli") == 0 ? 0 : KT_SETTLE_MS;
    kt_anchor_t lines[KT_SETTLE_MAX];
    kt_failure_t failed;
    bool was_said;
    size_t i, count;

    for (i = 0; ctx->stores != NULL && i < ctx->modules->count; i++) {
        kt_anchors_t *anchors = ctx->stores[i].anchors;

        if (!kt_anchors_missing(anchors) || kt_audit_has_thread(ctx->audit) || !kt_may_settle(ctx))
            continue;
        count = kt_anchors_due(anchors, age, lines, KT_SETTLE_MAX, &was_said);
        if (count == 0)
            continue;
        kt_failure_save(&failed, KT_INTERNAL); /* of the call that ends here */
        kt_settle_put(ctx, anchors, lines, count, was_said);
        (void)kt_failure_restore(&failed);
    }
}
