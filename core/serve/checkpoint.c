/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checkpoint.c: at least hourly, also if nothing happens, a sealed line with the time and the
 * generation of each type.
 *
 * It ties the audit log to the store at that time. A copy of it outside the machine shows if the
 * end of the log was cut off, or if an old store was put back together with its anchors. One
 * process of the stream writes it: the state has the time of the last one, under the stream's lock.
 * It is written by the host's thread (kt_audit_run), by kt_audit_forward(), or when the command
 * ends.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve.h"

#define ROOM 6000u   /* bytes of generations in one line; of the rest only the number is written */
#define SINK_MS 1000 /* ... and of one with sinks */
#define BUSY_MS 100  /* while a sink is sending */
#define FINISH_MS 1000 /* that a command waits at its end for its sinks */

typedef struct generations {
    kt_ctx_t *ctx;
    char *text; /* "local":{"#":"ID","@":3,"api-keys":12,"database":40},... */
    size_t size;
    unsigned more; /* types that had no room, stores that could not be read */
} generations_t;

static bool add(generations_t *generations, const char *text)
{
    size_t size = strlen(text);

    if (generations->size + size + 3 > ROOM) { /* a brace, a comma and NUL */
        generations->more++;
        return false;
    }
    memcpy(generations->text + generations->size, text, size + 1);
    generations->size += size;
    return true;
}

static void add_generation(generations_t *generations, const char *type, uint64_t generation)
{
    char text[KT_NAME_MAX + 32];

    (void)snprintf(text, sizeof(text), ",\"%s\":%llu", type, (unsigned long long)generation);
    if (generation > 0)
        (void)add(generations, text);
}

/* A process that has read nothing of a type finds it in the catalogue. Answers the catalogue's
 * generation; 0: it could not be opened. */
static uint64_t adopt_types(kt_ctx_t *ctx, const kt_store_t *store, ktp_txn_t *txn)
{
    kt_survey_t survey;
    uint64_t generation = 0;

    if (ctx->holder.keyring->nenv == 0)
        return 0;
    if (kt_survey_read(&ctx->holder, store, txn, NULL, NULL, &survey) == KT_SUCCESS && survey.whole)
        generation = survey.catalogue.generation;
    kt_survey_end(&survey);
    return generation;
}

/* The highest of all epochs of a type; 0: an earlier key of the list has the same type, or nothing
 * was written. */
static uint64_t generation_of(const generations_t *generations, const kt_store_t *store,
                              ktp_txn_t *txn, size_t n)
{
    const kt_keyring_t *keyring = generations->ctx->holder.keyring;
    const char *type = keyring->types[n].type;
    uint64_t highest = 0;
    kt_index_t index;
    size_t i;

    for (i = 0; i < keyring->ntypes; i++) {
        if (strcmp(keyring->types[i].type, type) != 0)
            continue;
        if (i < n)
            return 0;
        if (kt_index_open(&generations->ctx->holder, store, txn, &keyring->types[i], &index) ==
            KT_SUCCESS) {
            if (index.generation > highest)
                highest = index.generation;
            kt_index_close(&index);
        }
    }
    return highest;
}

/* The store's id as its roots have it, in hexadecimal. "": it has none yet. */
static void find_id(const generations_t *generations, const kt_store_t *store, ktp_txn_t *txn,
                    char ret_id[2 * KT_ID_SIZE + 1])
{
    const kt_keyring_t *keyring = generations->ctx->holder.keyring;
    kt_index_t index;
    size_t i;

    ret_id[0] = '\0';
    for (i = 0; i < keyring->ntypes && ret_id[0] == '\0'; i++) {
        if (kt_index_open(&generations->ctx->holder, store, txn, &keyring->types[i], &index) ==
                KT_SUCCESS &&
            index.generation > 0)
            (void)sodium_bin2hex(ret_id, 2 * KT_ID_SIZE + 1, index.store_id, KT_ID_SIZE);
        kt_index_close(&index);
    }
    kt_failure_clear();
}

static kt_status_t read_store(generations_t *generations, kt_store_t *store)
{
    char text[KT_NAME_MAX + 128], id[2 * KT_ID_SIZE + 1];
    uint64_t catalogue;
    ktp_txn_t *txn;
    size_t i;
    kt_status_t status = kt_rows_begin(store, false, KT_WAIT_PEEK, &txn);

    if (status != KT_SUCCESS)
        return status;
    catalogue = adopt_types(generations->ctx, store, txn);
    find_id(generations, store, txn, id);
    (void)snprintf(text, sizeof(text), "%s\"%.64s\":{\"#\":\"%s\"",
                   generations->size > 0 ? "," : "", store->name, id);
    if (add(generations, text)) {
        add_generation(generations, KT_CATALOGUE_TYPE, catalogue);
        for (i = 0; i < generations->ctx->holder.keyring->ntypes; i++) {
            uint64_t generation = generation_of(generations, store, txn, i);

            add_generation(generations, generations->ctx->holder.keyring->types[i].type,
                           generation);
        }
        generations->text[generations->size++] = '}';
        generations->text[generations->size] = '\0';
    }
    store->api->abort(txn);
    return KT_SUCCESS;
}

/* Only stores with an index have generations. */
static void read_stores(generations_t *generations)
{
    kt_ctx_t *ctx = generations->ctx;
    kt_store_t *store;
    size_t i;

    for (i = 0; i < ctx->modules->count; i++) {
        if ((ctx->modules->list[i].api->capabilities & (KTP_SEALED | KTP_CLEAR_NAMES)) !=
            KTP_SEALED)
            continue;
        if (kt_store_of(ctx, i, &store) != KT_SUCCESS ||
            read_store(generations, store) != KT_SUCCESS)
            generations->more++;
    }
}

/* The context's lock is held for as long as reading a row for each type takes, once an hour. */
static bool collect(kt_ctx_t *ctx, generations_t *generations)
{
    *generations = (generations_t){.ctx = ctx, .text = calloc(1, ROOM)};
    if (generations->text == NULL || kt_enter(ctx) != KT_SUCCESS)
        return false;
    ctx->holder.wait = KT_WAIT_PEEK;
    read_stores(generations);
    ctx->holder.wait = KT_WAIT;
    kt_failure_clear();
    kt_leave(ctx);
    return true;
}

/* A line that lasts may only name what survives a power cut: see settle.c. Without the context's
 * lock, because it waits for a disk. */
static void sync_stores(generations_t *generations)
{
    kt_ctx_t *ctx = generations->ctx;
    kt_status_t status;
    bool open;
    size_t i;

    for (i = 0; i < ctx->modules->count; i++) {
        status = kt_enter(ctx);
        if (status == KT_SUCCESS) {
            open = ctx->stores[i].instance != NULL;
            kt_leave(ctx);
            if (open)
                status = kt_rows_sync(&ctx->stores[i]);
        }
        if (status == KT_SUCCESS)
            continue;
        kt_log(&ctx->holder.logger, 4, "the checkpoint has no generations: %s", kt_failure());
        kt_failure_clear();
        generations->text[0] = '\0';
        generations->more++;
    }
}

void kt_checkpoint(kt_ctx_t *ctx)
{
    kt_event_t event = {.action = "checkpoint", .status = "success", .durable = true};
    generations_t generations;

    if (ctx->audit == NULL || !kt_audit_wants_checkpoint(ctx->audit, kt_now()))
        return;
    if (collect(ctx, &generations)) {
        sync_stores(&generations);
        event.generations = generations.text;
        event.more = generations.more;
        if (kt_audit_write(ctx->audit, &event) != KT_SUCCESS)
            kt_log(&ctx->holder.logger, 4, "%s", kt_failure());
    }
    free(generations.text);
}

/* ---- checkpoints and sinks ---- */

/* Anchors that a process left out (settle.c). The context's lock is not held while they are
 * recorded and written. */
static void settle(kt_ctx_t *ctx)
{
    kt_unanchored_t list[KT_SETTLE_MAX];
    size_t i, count;

    for (i = 0; kt_may_settle(ctx) && ctx->stores != NULL && i < ctx->modules->count; i++) {
        if (kt_enter(ctx) != KT_SUCCESS)
            return;
        count = kt_settle_due(&ctx->stores[i], KT_SETTLE_MS, list);
        kt_leave(ctx);
        if (count == 0)
            continue;
        kt_settle_put(ctx, &ctx->stores[i], list, count);
        if (kt_enter(ctx) != KT_SUCCESS)
            return;
        kt_settle_note(&ctx->stores[i], list, count);
        kt_leave(ctx);
    }
    kt_failure_clear();
}

int64_t kt_forward_step(kt_ctx_t *ctx)
{
    kt_checkpoint(ctx);
    kt_record_lockouts(ctx);
    settle(ctx);
    if (kt_sinks_step(ctx->sinks))
        return BUSY_MS;
    return ctx->sinks != NULL ? SINK_MS : KT_IDLE_MS;
}

/* The command waits a moment for its sinks, not for slow ones. */
void kt_forward_finish(kt_ctx_t *ctx)
{
    if (strcmp(ctx->host, "cli") != 0 || ctx->audit == NULL || kt_audit_is_new(ctx->audit))
        return;
    kt_checkpoint(ctx);
    if (ctx->sinks == NULL)
        return;
    (void)kt_audit_drain(ctx->audit);
    kt_sinks_finish(ctx->sinks, FINISH_MS);
}
