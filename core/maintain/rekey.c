/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rekey.c: kt_rekey(): moves a store to the newest epoch of its key, type by type, while it is in
 * use.
 *
 *     mark     the catalogue of types moves to the newest key, which types that begin from now on
 *              use; types that began without the environment key are listed
 *     begin    a type gets its second root: new names use the new key, others are found under the
 * old batch    some secrets are opened, sealed again and put under the new key; repeated until none
 *              is left
 *     finish   the old root says "moved", the new one that all is here
 *
 * Each step is one transaction that leaves a store which every reader understands (epochs.c). So a
 * crash needs no repair: the roots tell the next rekey where to continue. There is no cursor,
 * because the old index lists what is left to do, and it is authenticated.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "maintain.h"

#define BATCH_MAX 64u
#define BATCH_MS 20 /* of holding the store's lock, after which the batch is closed */
#define PAUSE_MS                                                                                   \
    10 /* at least, between two batches: SQLite's lock is not fair, and waiters poll every few ms  \
        */
#define LOCK_TRIES 12u /* of KT_WAIT each */

typedef struct rekey {
    kt_ctx_t *ctx;
    kt_store_t *store;
    kt_call_t call; /* its text is the pattern of the current type, for the audit log */
    const kt_rekey_options_t *options;
    kt_catalogue_t types; /* as it was after the mark */
    uint64_t moved;
} rekey_t;

typedef struct step { /* one transaction on one type */
    rekey_t *r;
    ktp_txn_t *txn;
    const char *type;
    kt_typekey_t *keys; /* locked copies: of the tree that fills, and of the one that empties */
    kt_trees_t trees;
    kt_catalogue_t catalogue; /* if the step changes it */
    uint64_t moved;           /* secrets, when it is committed */
    int64_t began;
} step_t;

/* As after any write, the next one records that an anchor is missing. */
static void note_anchor(const rekey_t *r, kt_status_t anchored)
{
    if (anchored == KT_SUCCESS)
        return;
    kt_log(&r->ctx->holder.logger, 3, KT_NOT_ANCHORED, kt_failure());
    kt_failure_clear();
}

/* ---- transactions ---- */

/* A rekey waits longer for writers than other calls, so that it does not stop in the middle. */
static kt_status_t begin_writing(rekey_t *r, ktp_txn_t **ret_txn)
{
    kt_status_t status = KT_TRYAGAIN;
    unsigned tries;

    for (tries = 0; tries < LOCK_TRIES && status == KT_TRYAGAIN; tries++)
        status = kt_rows_begin(r->store, true, KT_WAIT, ret_txn);
    return status;
}

static kt_status_t change_catalogue(rekey_t *r, ktp_txn_t *txn)
{
    kt_holder_t *holder = &r->ctx->holder;
    kt_status_t status = kt_catalogue_open(holder, r->store, txn, &r->types);

    if (status == KT_SUCCESS)
        status = kt_catalogue_adopt(holder, r->store, txn, &r->types);
    if (status == KT_SUCCESS)
        status = kt_catalogue_move(holder, r->store, txn, &r->types);
    return status;
}

/* After the mark no type can begin under an older key. */
static kt_status_t mark(rekey_t *r)
{
    ktp_txn_t *txn;
    kt_status_t status = begin_writing(r, &txn);

    if (status != KT_SUCCESS)
        return status;
    status = change_catalogue(r, txn);
    if (status != KT_SUCCESS || !r->types.changed) {
        r->store->api->abort(txn);
        return status;
    }
    status = kt_catalogue_seal(&r->ctx->holder, r->store, txn, &r->types);
    if (status == KT_SUCCESS)
        status = kt_catalogue_prepare(&r->ctx->holder, r->store, &r->types);
    kt_debug_point("rekey.mark");
    if (status == KT_SUCCESS)
        status = kt_from_provider(r->store->name, r->store->api->commit(txn));
    else
        r->store->api->abort(txn);
    kt_debug_point("rekey.marked");
    if (status == KT_SUCCESS)
        note_anchor(r, kt_catalogue_anchor(&r->ctx->holder, r->store, &r->types));
    return status;
}

/* ---- one secret ---- */

/* Opens the head that the old index lists, and proves that it belongs to that entry. */
static kt_status_t open_listed(step_t *s, const kt_index_entry_t *entry, ktp_row_t *ret_row,
                               kt_head_t *ret_head)
{
    unsigned char hash[KT_HASH_SIZE];
    ktp_key_t key = {.space = KTP_HEAD, .id_size = KT_HASH_SIZE};
    ktp_row_t row;
    kt_status_t status;

    memcpy(key.id, entry->hash, KT_HASH_SIZE);
    status = kt_rows_get(s->r->store, s->txn, &key, &row);
    if (status == KT_NOTFOUND)
        return kt_fail(KT_ROLLEDBACK, "%s: a secret of the type \"%s\" was removed from the store",
                       s->r->store->name, s->type);
    if (status != KT_SUCCESS)
        return status;
    if (row.record_size < KT_TAG_SIZE ||
        memcmp(row.record + row.record_size - KT_TAG_SIZE, entry->tag, KT_TAG_SIZE) != 0)
        return kt_fail(KT_ROLLEDBACK,
                       "%s: a row of the type \"%s\" is not the one that was written last",
                       s->r->store->name, s->type);
    status = kt_row_copy(&row, ret_row);
    if (status != KT_SUCCESS)
        return status;
    status = kt_open_head(&s->r->ctx->holder, &s->keys[1], ret_row, ret_head);
    if (status == KT_SUCCESS) {
        kt_name_hash(&s->keys[1], ret_head->name, hash);
        if (memcmp(hash, entry->hash, KT_HASH_SIZE) == 0 && ret_row->stamp == ret_head->counter)
            return KT_SUCCESS;
        status = kt_fail(KT_MOVED, "%s stands in the row of another name", ret_head->name);
        kt_head_clear(ret_head);
    }
    kt_row_free(ret_row);
    return status;
}

static kt_status_t move_head(step_t *s, const kt_index_entry_t *entry, kt_head_t *head,
                             const ktp_row_t *old)
{
    const ktp_provider_t *api = s->r->store->api;
    kt_reseal_t reseal = {s->r->ctx, s->r->store, s->txn, &s->keys[1], &s->keys[0]};
    ktp_key_t old_key = {.space = KTP_HEAD, .id_size = KT_HASH_SIZE}, key;
    ktp_row_t new;
    kt_status_t status = kt_reseal(&reseal, head, old, &new);

    if (status != KT_SUCCESS)
        return status;
    memcpy(old_key.id, entry->hash, KT_HASH_SIZE);
    kt_key_init(&key, s->r->store, KTP_HEAD, &s->keys[0], head->name);
    status = kt_from_provider(s->r->store->name, api->row_put(s->txn, &key, &new, 0));
    if (status == KT_SUCCESS)
        status = kt_from_provider(s->r->store->name, api->row_remove(s->txn, &old_key, old->stamp));
    if (status == KT_SUCCESS)
        status = kt_index_put(&s->trees.index, key.id, new.record + new.record_size - KT_TAG_SIZE);
    if (status == KT_SUCCESS)
        status = kt_index_remove(&s->trees.old, entry->hash);
    kt_row_free(&new);
    return status;
}

static kt_status_t move_secret(step_t *s, const kt_index_entry_t *entry)
{
    kt_head_t head;
    ktp_row_t row;
    kt_status_t status = open_listed(s, entry, &row, &head);

    if (status != KT_SUCCESS)
        return status;
    status = move_head(s, entry, &head, &row);
    if (status != KT_SUCCESS)
        (void)kt_fail_prefix(status, "%s", head.name);
    kt_head_clear(&head);
    kt_row_free(&row);
    return status;
}

/* ---- the steps of a type ---- */

typedef struct batch {
    kt_index_entry_t entries[BATCH_MAX];
    size_t count;
} batch_t;

static int append_entry(void *arg, const unsigned char hash[KT_HASH_SIZE],
                        const unsigned char tag[KT_TAG_SIZE])
{
    batch_t *batch = arg;

    memcpy(batch->entries[batch->count].hash, hash, KT_HASH_SIZE);
    memcpy(batch->entries[batch->count].tag, tag, KT_TAG_SIZE);
    return ++batch->count == BATCH_MAX;
}

static kt_status_t step_batch(step_t *s)
{
    batch_t *batch = calloc(1, sizeof(*batch));
    size_t i = 0;
    kt_status_t status = batch != NULL ? KT_SUCCESS : kt_no_memory();

    if (status == KT_SUCCESS)
        status = kt_index_walk(&s->trees.old, append_entry, batch);
    for (; status == KT_SUCCESS && i < batch->count &&
           (i == 0 || kt_monotonic() - s->began < BATCH_MS);
         i++)
        status = move_secret(s, &batch->entries[i]);
    if (status == KT_SUCCESS && i == 0)
        status =
            kt_fail(KT_ROLLEDBACK, "%s: the index of the type \"%s\" lists fewer than it counts",
                    s->r->store->name, s->type);
    s->moved = i;
    free(batch);
    return status;
}

static kt_status_t step_begin(step_t *s)
{
    kt_index_t *new = &s->trees.index, *old = &s->trees.old;
    kt_status_t status;

    s->moved = 0;
    *old = *new;
    status = kt_index_open(&s->r->ctx->holder, s->r->store, s->txn, &s->keys[0], new);
    memcpy(new->store_id, old->store_id, KT_ID_SIZE);
    new->generation = old->generation;
    new->link = KT_LINK_FROM;
    old->link = KT_LINK_TO;
    memcpy(new->other, old->key_id, KT_KEYID_SIZE);
    memcpy(old->other, new->key_id, KT_KEYID_SIZE);
    return status;
}

static kt_status_t step_finish(step_t *s)
{
    if (!kt_index_is_empty(&s->trees.old))
        return kt_fail(KT_ROLLEDBACK, "%s: the index of the type \"%s\" lists more than it counts",
                       s->r->store->name, s->type);
    s->trees.old.link = KT_LINK_MOVED;
    s->trees.index.link = KT_LINK_NONE;
    memset(s->trees.index.other, 0, KT_KEYID_SIZE);
    return KT_SUCCESS;
}

typedef enum todo { TODO_NOTHING, TODO_BEGIN, TODO_BATCH, TODO_FINISH } todo_t;

/* What the roots say comes next; copies the keys for it. */
static kt_status_t look(step_t *s, todo_t *ret_todo)
{
    const kt_trees_t *trees = &s->trees;
    const kt_typekey_t *newest;
    kt_status_t status;

    status = kt_trees_open(&s->r->ctx->holder, s->r->store, s->txn, s->type, &s->trees);
    if (status == KT_SUCCESS)
        status = kt_trees_writable(&s->r->ctx->holder, trees);
    if (status == KT_SUCCESS)
        status = kt_keyring_type(s->r->ctx->holder.keyring, s->type, 0, &newest);
    if (status != KT_SUCCESS)
        return status;
    *ret_todo = TODO_NOTHING;
    if (trees->old.generation > 0) {
        memcpy(&s->keys[0], trees->key, sizeof(*newest));
        memcpy(&s->keys[1], trees->old_key, sizeof(*newest));
        *ret_todo = trees->old.count > 0 ? TODO_BATCH : TODO_FINISH;
    } else if (trees->index.generation > 0 && trees->key != newest) {
        memcpy(&s->keys[0], newest, sizeof(*newest));
        memcpy(&s->keys[1], trees->key, sizeof(*newest));
        *ret_todo = TODO_BEGIN;
    }
    return KT_SUCCESS;
}

/* Once for each type and call, when it begins or continues. */
static kt_status_t record_intent(step_t *s)
{
    rekey_t *r = s->r;
    kt_status_t status = kt_settle_record(r->ctx, &r->call, r->store);

    r->call.generation = s->trees.index.generation + 1;
    memcpy(r->call.store_id, s->trees.index.store_id, KT_ID_SIZE);
    if (status == KT_SUCCESS)
        status = kt_decide(r->ctx, &r->call, "rekey", KT_SUCCESS, 0, r->store->name,
                           KT_EV_DURABLE | KT_EV_INTENT);
    return status;
}

/* The old root stays as it is from now on. */
static kt_status_t keep_root(step_t *s)
{
    ktp_key_t key;
    ktp_row_t row;
    kt_status_t status;

    kt_key_meta(&key, 'r', s->trees.old.key_id);
    status = kt_rows_get(s->r->store, s->txn, &key, &row);
    return status == KT_SUCCESS ? kt_catalogue_keep(&s->catalogue, &key, &row) : status;
}

/* The catalogue says where the type is. */
static kt_status_t list_type(step_t *s, todo_t todo)
{
    kt_holder_t *holder = &s->r->ctx->holder;
    kt_status_t status = kt_catalogue_open(holder, s->r->store, s->txn, &s->catalogue);

    if (status == KT_SUCCESS)
        status = kt_catalogue_list(&s->catalogue, s->type, s->keys[0].epoch);
    if (status == KT_SUCCESS && todo == TODO_FINISH)
        status = keep_root(s);
    return status == KT_SUCCESS ? kt_catalogue_seal(holder, s->r->store, s->txn, &s->catalogue)
                                : status;
}

static kt_status_t change(step_t *s, todo_t todo)
{
    static kt_status_t (*const steps[])(step_t * s) = {
        [TODO_BEGIN] = step_begin,
        [TODO_BATCH] = step_batch,
        [TODO_FINISH] = step_finish,
    };
    kt_status_t status = steps[todo](s);

    if (status == KT_SUCCESS)
        status = kt_trees_seal(&s->trees);
    return status == KT_SUCCESS && todo != TODO_BATCH ? list_type(s, todo) : status;
}

static kt_status_t commit(step_t *s, todo_t todo)
{
    static const char *const before[] = {
        [TODO_BEGIN] = "rekey.begin", [TODO_BATCH] = "rekey.batch", [TODO_FINISH] = "rekey.finish"};
    static const char *const after[] = {[TODO_BEGIN] = "rekey.begun",
                                        [TODO_BATCH] = "rekey.moved",
                                        [TODO_FINISH] = "rekey.finished"};
    kt_status_t status;

    (void)before, (void)after, (void)todo; /* without hooks */
    kt_debug_point(before[todo]);
    status = kt_trees_prepare(s->r->store, s->r->ctx->holder.stream, &s->trees, &s->catalogue);
    if (status != KT_SUCCESS)
        return status;
    status = kt_from_provider(s->r->store->name, s->r->store->api->commit(s->txn));
    s->txn = NULL;
    kt_debug_point(after[todo]);
    if (status == KT_SUCCESS)
        note_anchor(s->r, kt_trees_anchor(s->r->store, s->r->ctx->holder.stream, &s->trees,
                                          &s->catalogue, false));
    kt_debug_point("rekey.anchored");
    return status;
}

static void report(step_t *s, todo_t todo)
{
    const kt_trees_t *trees = &s->trees;
    kt_rekey_type_t type = {s->type, s->keys[0].epoch, todo == TODO_FINISH ? 0 : s->keys[1].epoch,
                            trees->index.count, trees->old.count};

    s->r->moved += todo == TODO_BATCH ? s->moved : 0;
    s->r->call.generation = trees->index.generation;
    memcpy(s->r->call.store_id, trees->index.store_id, KT_ID_SIZE);
    if (s->r->options->progress != NULL)
        s->r->options->progress(s->r->options->arg, &type);
}

static kt_status_t run_step(step_t *s, bool *io_recorded, todo_t *ret_todo)
{
    kt_status_t status = begin_writing(s->r, &s->txn);

    if (status != KT_SUCCESS)
        return status;
    s->began = kt_monotonic();
    status = look(s, ret_todo);
    if (status == KT_SUCCESS && *ret_todo != TODO_NOTHING && !*io_recorded) {
        *io_recorded = true;
        status = record_intent(s);
    }
    if (status == KT_SUCCESS && *ret_todo != TODO_NOTHING)
        status = change(s, *ret_todo);
    if (status == KT_SUCCESS && *ret_todo != TODO_NOTHING)
        status = commit(s, *ret_todo);
    if (status == KT_SUCCESS && *ret_todo != TODO_NOTHING)
        report(s, *ret_todo);
    if (s->txn != NULL)
        s->r->store->api->abort(s->txn);
    s->txn = NULL;
    return status;
}

/* As long as the store was locked, so that other writers get at least half of the time. */
static void pause_after(const step_t *s)
{
    int64_t ms = kt_monotonic() - s->began;
    struct timespec time = {.tv_nsec = (ms < PAUSE_MS ? PAUSE_MS : ms > 200 ? 200 : ms) * 1000000L};

    (void)nanosleep(&time, NULL);
}

static kt_status_t move_type(rekey_t *r, const char *type)
{
    step_t s = {.r = r, .type = type};
    todo_t todo = TODO_BEGIN;
    bool recorded = false;
    kt_status_t status;

    (void)snprintf(r->call.text, sizeof(r->call.text), "%s/*", type);
    r->call.generation = 0;
    s.keys = kt_locked_alloc(2 * sizeof(*s.keys));
    status = s.keys != NULL ? KT_SUCCESS : kt_no_memory();
    while (status == KT_SUCCESS && todo != TODO_NOTHING) {
        bool more;

        status = run_step(&s, &recorded, &todo);
        more = todo == TODO_BATCH && s.trees.old.count > 0;
        kt_trees_close(&s.trees);
        kt_catalogue_clear(&s.catalogue);
        if (status == KT_SUCCESS && more)
            pause_after(&s);
    }
    kt_locked_free(s.keys);
    if (recorded || (status != KT_SUCCESS && status != KT_AUDIT))
        status = kt_decide(r->ctx, &r->call, "rekey", status, 0, r->store->name, KT_EV_DURABLE);
    return status;
}

/* ---- all of it ---- */

static kt_status_t move_store(rekey_t *r)
{
    kt_failure_t first = {.status = KT_SUCCESS};
    kt_status_t status;
    size_t i;

    status = mark(r);
    for (i = 0; status == KT_SUCCESS && i < r->types.ntypes; i++) {
        status = move_type(r, r->types.types[i].name);
        if (!kt_is_damage(status))
            continue;
        if (first.status == KT_SUCCESS)
            kt_failure_save(&first, status);
        status = KT_SUCCESS;
    }
    return status == KT_SUCCESS ? kt_failure_restore(&first) : status;
}

static kt_status_t rekey_locked(rekey_t *r, kt_rekey_result_t *ret_result)
{
    kt_status_t status = kt_rekey_begin(r->ctx, r->call.req, &r->call, &r->store);

    if (status != KT_SUCCESS)
        return status;
    status = kt_rekey_consumers(r->ctx, r->options);
    if (status != KT_SUCCESS)
        return kt_decide(r->ctx, &r->call, "rekey", status, 0, NULL, KT_EV_DURABLE);
    if (r->store != NULL)
        status = move_store(r);
    if (status == KT_SUCCESS)
        status = kt_rekey_clear(r->ctx, &r->call, r->options, &r->moved);
    kt_cache_clear(r->ctx->cache);
    ret_result->moved = r->moved;
    return status;
}

kt_status_t kt_rekey(kt_ctx_t *ctx, const kt_request_t *req, const kt_rekey_options_t *options,
                     kt_rekey_result_t *ret_result)
{
    static const kt_rekey_options_t none = KT_REKEY_INIT;
    rekey_t r = {.ctx = ctx, .call = {.req = req}, .options = options != NULL ? options : &none};
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    if (r.options->size < sizeof(*options) || ret_result->size < sizeof(*ret_result))
        status = kt_fail(KT_USAGE,
                         "the options are not filled in (KT_REKEY_INIT, KT_REKEY_RESULT_INIT)");
    if (status == KT_SUCCESS)
        status = rekey_locked(&r, ret_result);
    if (status == KT_SUCCESS)
        status = kt_rekey_count(ctx, r.store, NULL, NULL, ret_result);
    kt_catalogue_clear(&r.types);
    kt_leave(ctx);
    return status;
}
