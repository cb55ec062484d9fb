/* SPDX-License-Identifier: BSD-2-Clause */
/* check.c: is everything that this process needs in order? For check of other users see
 * check_user.c. */
#include <stdio.h>
#include <string.h>

#include "maintain.h"

typedef struct checking {
    kt_check_fn fn;
    void *arg;
    kt_status_t worst;
} checking_t;

static void report(checking_t *checking, kt_status_t status, const char *what, const char *detail)
{
    checking->worst = kt_worse(checking->worst, status);
    checking->fn(checking->arg, status, what, detail);
}

static void check_keys(kt_ctx_t *ctx, checking_t *checking)
{
    char detail[128];

    if (ctx->holder.keyring->nenv > 0)
        (void)snprintf(detail, sizeof(detail), "environment key of \"%s\", newest epoch %u",
                       ctx->holder.keyring->environment, ctx->holder.keyring->env[0].epoch);
    else
        (void)snprintf(detail, sizeof(detail), "%zu type %s of \"%s\"", ctx->holder.keyring->ntypes,
                       kt_plural(ctx->holder.keyring->ntypes, "key", "keys"),
                       ctx->holder.keyring->environment);
    report(checking, KT_SUCCESS, "keys", detail);
}

/* Do all files of anchors count, and may this process write its own? */
static void check_anchors(kt_ctx_t *ctx, size_t index, checking_t *checking)
{
    kt_store_t *store;
    kt_status_t status = kt_store_of(ctx, index, &store);

    if (status != KT_SUCCESS || store->anchors == NULL) {
        kt_failure_clear();
        return;
    }
    status = kt_anchors_load(store->anchors);
    if (status == KT_SUCCESS)
        status = kt_anchors_own(store->anchors, ctx->holder.stream);
    if (status != KT_SUCCESS)
        report(checking, status, "anchors", kt_failure());
    if (kt_anchors_problem(store->anchors)[0] != '\0')
        report(checking, KT_PERMISSION, "anchors", kt_anchors_problem(store->anchors));
    kt_failure_clear();
}

static void check_command(checking_t *checking, char *const *argv, const char *what)
{
    kt_status_t status = argv != NULL ? kt_command_check(argv[0]) : KT_SUCCESS;

    if (argv != NULL)
        report(checking, status, what, status == KT_SUCCESS ? argv[0] : kt_failure());
}

static void check_targets(const kt_ctx_t *ctx, checking_t *checking)
{
    size_t i;

    for (i = 0; i < ctx->holder.config->ntargets; i++) {
        check_command(checking, ctx->holder.config->targets[i].exec, "target");
        check_command(checking, ctx->holder.config->targets[i].notify, "notify");
    }
}

static void check_sinks(const kt_ctx_t *ctx, checking_t *checking)
{
    size_t i;

    for (i = 0; i < ctx->holder.config->nsinks; i++) {
        kt_status_t status = kt_sink_check(&ctx->holder.config->sinks[i]);

        report(checking, status, "audit sink",
               status == KT_SUCCESS ? ctx->holder.config->sinks[i].text : kt_failure());
    }
}

/* Of this process only: a server has a limit of its own, and says in its log what it could not
 * lock.
 */
static void check_memory(checking_t *checking)
{
    size_t unlocked = kt_locked_failures();
    char text[160];

    (void)snprintf(text, sizeof(text),
                   "%zu bytes could not be locked: the limit is %zu bytes (raise RLIMIT_MEMLOCK: "
                   "LimitMEMLOCK= of systemd, ulimit -l)",
                   unlocked, kt_locked_limit());
    report(checking, unlocked == 0 ? KT_SUCCESS : KT_TRYAGAIN, "memory",
           unlocked == 0 ? "locked" : text);
}

/* ---- what waits for somebody ---- */

#define PENDING_AGE (2 * 60 * 1000) /* ms after which a rotation should have ended */

typedef struct waiting {
    char due[256], pending[256]; /* names */
    size_t ndue, npending;
} waiting_t;

static void add_name(char list[256], const char *name)
{
    size_t at = strlen(list);

    if (at + strlen(name) + 8 < 256)
        (void)snprintf(list + at, 256 - at, "%s%s", at > 0 ? ", " : "", name);
    else if (at > 3 && strcmp(list + at - 3, "...") != 0)
        (void)snprintf(list + at, 256 - at, ", ...");
}

static int see_waiting(void *arg, const kt_head_t *head)
{
    waiting_t *waiting = arg;
    int64_t due = kt_schedule_due(head), now = kt_now();
    const kt_head_version_t *pending = head->pending > 0 ? kt_head_find(head, head->pending) : NULL;

    if (!head->deleted && due > 0 && due <= now && waiting->ndue++ < 256)
        add_name(waiting->due, head->name);
    if (pending != NULL && pending->created < now - PENDING_AGE && waiting->npending++ < 256)
        add_name(waiting->pending, head->name);
    return 0;
}

/* Needs the environment key: other holders do not see every type. */
static void check_waiting(kt_ctx_t *ctx, size_t index, checking_t *checking)
{
    waiting_t waiting = {.ndue = 0};
    char detail[512];
    kt_store_t *store;
    uint64_t hidden;

    if (ctx->holder.keyring->nenv == 0 || !kt_has_index(ctx->modules->list[index].api) ||
        kt_store_of(ctx, index, &store) != KT_SUCCESS ||
        kt_store_scan(&ctx->holder, store, see_waiting, &waiting, &hidden) != KT_SUCCESS) {
        kt_failure_clear(); /* the provider's own line says why */
        return;
    }
    (void)snprintf(detail, sizeof(detail), "%zu due for a rotation%s%s", waiting.ndue,
                   waiting.ndue > 0 ? " (`keyturn rotate --due`): " : "", waiting.due);
    report(checking, KT_SUCCESS, "rotations", detail);
    (void)snprintf(detail, sizeof(detail),
                   "%zu begun and not ended for more than 2 minutes: %s (the next rotation of the "
                   "secret ends it; PostgreSQL's worker needs its line in the policy)",
                   waiting.npending, waiting.pending);
    if (waiting.npending > 0)
        report(checking, KT_TRYAGAIN, "rotations", detail);
}

static void report_unread(void *arg, kt_status_t status, const char *what, const char *detail)
{
    report(arg, status, what, detail);
}

/* Every row is explained, as by kt_verify(): a line only if something is wrong. */
static void check_rows(kt_ctx_t *ctx, size_t index, checking_t *checking)
{
    kt_walk_result_t result;
    kt_store_t *store;
    ktp_txn_t *txn;
    kt_status_t status = kt_store_of(ctx, index, &store);

    if (!kt_has_index(ctx->modules->list[index].api))
        return;
    if (status == KT_SUCCESS) {
        (void)kt_expect_own(ctx, store, report_unread, checking);
        status = kt_rows_begin(store, false, ctx->holder.wait, &txn);
    }
    if (status == KT_SUCCESS) {
        status = kt_walk_silently(ctx, store, txn, &result);
        store->api->abort(txn);
    }
    if (status != KT_SUCCESS)
        report(checking, status, "store", kt_failure());
    kt_failure_clear();
}

/* ---- all of it ---- */

kt_status_t kt_check(kt_ctx_t *ctx, kt_check_fn fn, void *arg)
{
    checking_t checking = {fn, arg, KT_SUCCESS};
    char what[64], detail[640];
    kt_status_t status = kt_enter(ctx);
    size_t i;

    if (status != KT_SUCCESS)
        return status;
    report(&checking, KT_SUCCESS, "configuration", ctx->holder.config->path);
    check_keys(ctx, &checking);
    check_memory(&checking);
    report(&checking, ctx->audit != NULL ? KT_SUCCESS : KT_AUDIT, "audit",
           ctx->holder.config->audit_path);
    for (i = 0; i < ctx->modules->count; i++) {
        (void)snprintf(what, sizeof(what), "provider %s", ctx->holder.config->providers[i].name);
        status = kt_provider_try(ctx, i, detail, sizeof(detail));
        report(&checking, status, what, status == KT_SUCCESS ? detail : kt_failure());
        check_anchors(ctx, i, &checking);
        if (status == KT_SUCCESS)
            check_rows(ctx, i, &checking);
        if (status == KT_SUCCESS)
            check_waiting(ctx, i, &checking);
    }
    check_targets(ctx, &checking);
    check_sinks(ctx, &checking);
    kt_leave(ctx);
    return checking.worst;
}
