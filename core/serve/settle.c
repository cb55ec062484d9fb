/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settle.c: anchors that somebody did not write.
 *
 * A writer may die between its commit and its anchor, or be kept from writing it. Then an older
 * store would not be noticed. So each process that holds the key, and finds a generation above all
 * anchors, records it as `settle` in its own audit log, and then writes the anchor into its own
 * stream's file: the command at once, a server's thread after KT_SETTLE_MS, because a writer that
 * is alive needs a moment between the two. A writer records it before its own intent. What cannot
 * be written is said in the host's log, and tried again.
 *
 * A record and an anchor may only name what survives a power cut: else the store that it leaves
 * would look like an older one. What was read may be a publication that is not synced yet
 * (keyturn-provider(3), publish), so the store is synced first.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "serve.h"

#define RETRY_MS 60000

/* The anchors of another user's stream are left to that user: `nginx -t` runs as root. */
bool kt_may_settle(const kt_ctx_t *ctx)
{
    return geteuid() != 0 || strcmp(ctx->host, "cli") == 0;
}

/* ---- the record ---- */

static kt_status_t record(const kt_ctx_t *ctx, const kt_call_t *call, const char *store,
                          const kt_unanchored_t *missing)
{
    kt_audit_t *audit = ctx->owner != NULL ? ctx->owner->audit : ctx->audit;
    char types[KT_NAME_MAX + 3];
    kt_event_t event = {.action = "settle",
                        .subject = call != NULL ? call->subject : NULL,
                        .actor = call != NULL ? call->req->actor : NULL,
                        .generation = missing->anchor.generation,
                        .store_id = missing->anchor.store_id,
                        .provider = store,
                        .status = kt_status_name(KT_SUCCESS),
                        .durable = true,
                        .must_record = call != NULL && call->must_record};
    kt_status_t status;

    if (missing->type[0] != '\0') {
        (void)snprintf(types, sizeof(types), "%s/*", missing->type);
        event.reference = types;
    }
    status = audit != NULL ? kt_audit_write(audit, &event) : KT_SUCCESS;
    if (status == KT_SUCCESS || ctx->holder.config->audit_required)
        return status;
    kt_failure_clear(); /* the next decision says that the audit log fails */
    return KT_SUCCESS;
}

kt_status_t kt_settle_record(const kt_ctx_t *ctx, const kt_call_t *call, const kt_store_t *store)
{
    size_t i, count;
    kt_unanchored_t *missing = kt_anchors_missing(store->anchors, &count);
    kt_status_t status = KT_SUCCESS;
    bool synced = false;

    for (i = 0; i < count && status == KT_SUCCESS; i++) {
        if (missing[i].recorded || kt_anchors_stands(store->anchors, &missing[i].anchor))
            continue;
        if (!synced)
            status = kt_rows_sync(store);
        synced = true;
        if (status == KT_SUCCESS)
            status = record(ctx, call, store->name, &missing[i]);
        missing[i].recorded = status == KT_SUCCESS;
    }
    return status;
}

/* ---- the anchor ---- */

size_t kt_settle_due(const kt_store_t *store, int64_t age, kt_unanchored_t *ret_list)
{
    int64_t now = kt_monotonic();
    size_t i, n, count = 0;
    kt_unanchored_t *missing = kt_anchors_missing(store->anchors, &n);

    for (i = 0; i < n && count < KT_SETTLE_MAX; i++) {
        if (now - missing[i].due < age)
            continue;
        ret_list[count++] = missing[i];
        missing[i].due = now + RETRY_MS - age;
        missing[i].was_said = true;
    }
    return count;
}

void kt_settle_put(const kt_ctx_t *ctx, const kt_store_t *store, kt_unanchored_t *list,
                   size_t count)
{
    kt_anchor_t lines[KT_SETTLE_MAX];
    kt_status_t status = KT_SUCCESS;
    bool was_said = true;
    size_t i, n = 0;

    for (i = 0; i < count && status == KT_SUCCESS; i++) {
        if (kt_anchors_stands(store->anchors, &list[i].anchor))
            continue;
        was_said = was_said && list[i].was_said;
        if (n == 0)
            status = kt_rows_sync(store);
        if (status == KT_SUCCESS && !list[i].recorded)
            status = record(ctx, NULL, store->name, &list[i]);
        list[i].recorded = status == KT_SUCCESS;
        lines[n++] = list[i].anchor;
    }
    if (status == KT_SUCCESS && n > 0)
        status = kt_anchors_put(store->anchors, ctx->holder.stream, lines, n);
    if (status != KT_SUCCESS && !was_said)
        kt_log(&ctx->holder.logger, 4, /* a read keeps its own promises */
               "the store is newer than all anchors, and the anchor that is missing cannot be "
               "written: %s",
               kt_failure());
}

void kt_settle_note(const kt_store_t *store, const kt_unanchored_t *list, size_t count)
{
    size_t i, k, n;
    kt_unanchored_t *missing = kt_anchors_missing(store->anchors, &n);

    for (i = 0; i < n; i++) {
        for (k = 0; k < count; k++) {
            if (memcmp(&missing[i].anchor, &list[k].anchor, sizeof(list[k].anchor)) == 0)
                missing[i].recorded = missing[i].recorded || list[k].recorded;
        }
    }
}

static __attribute__((noinline)) void settle_all(kt_ctx_t *ctx)
{
    int64_t age = strcmp(ctx->host, "cli") == 0 ? 0 : KT_SETTLE_MS;
    kt_unanchored_t list[KT_SETTLE_MAX];
    kt_failure_t failed;
    size_t i, count;

    for (i = 0; i < ctx->modules->count; i++) {
        if (kt_anchors_missing(ctx->stores[i].anchors, &count) == NULL || !kt_may_settle(ctx))
            continue;
        count = kt_settle_due(&ctx->stores[i], age, list);
        if (count == 0)
            continue;
        kt_failure_save(&failed, KT_INTERNAL); /* of the call that ends here */
        kt_settle_put(ctx, &ctx->stores[i], list, count);
        kt_settle_note(&ctx->stores[i], list, count);
        (void)kt_failure_restore(&failed);
    }
}

/* At the end of each call. An agent, which may block, has no thread of its own. */
void kt_settle_locked(kt_ctx_t *ctx)
{
    if (ctx->stores != NULL && (ctx->owner != NULL || !kt_audit_has_thread(ctx->audit)))
        settle_all(ctx);
}
