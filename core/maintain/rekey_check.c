/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rekey_check.c: may the caller rekey, is every consumer ready for it, and how far is it?
 *
 * A consumer whose key file does not have the new epoch would answer NOKEY for every moved secret.
 * So each entry of `key:` that this process may read is compared with the loaded key, by key ids:
 * an epoch's number alone proves nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "maintain.h"

/* ---- the right to a rekey, and the store ---- */

/* The store with an index; NULL if there are only providers with clear names. */
static kt_status_t find_store(kt_ctx_t *ctx, kt_store_t **ret_store)
{
    size_t i;

    if (kt_find_index(ctx, &i))
        return kt_store_of(ctx, i, ret_store);
    *ret_store = NULL;
    for (i = 0; i < ctx->modules->count; i++) {
        if (kt_is_clear(ctx->modules->list[i].api))
            return KT_SUCCESS;
    }
    return kt_fail(KT_CONFIG, "no provider of the configuration keeps a store to rekey");
}

kt_status_t kt_rekey_begin(kt_ctx_t *ctx, const kt_request_t *req, kt_call_t *ret_call,
                           kt_store_t **ret_store)
{
    kt_status_t status = kt_admin_begin(ctx, req, "rekey", ret_call);

    if (status != KT_SUCCESS)
        return status;
    if (ctx->holder.keyring->nenv == 0)
        status = kt_fail(
            KT_NOKEY, "a rekey needs the environment key: type keys do not cover the whole store");
    else
        status = find_store(ctx, ret_store);
    return status == KT_SUCCESS ? status
                                : kt_decide(ctx, ret_call, "rekey", status, 0, NULL, KT_EV_DURABLE);
}

/* ---- the consumers ---- */

#define DETAIL_MAX 2048u /* a quarter holds the longest name of a type, and more */

typedef struct consumers {
    kt_ctx_t *ctx;
    const kt_rekey_options_t *options;
    size_t unready;
} consumers_t;

static void prevents(consumers_t *c, kt_status_t status, const char *what, const char *detail)
{
    c->unready++;
    if (c->options->refused != NULL)
        c->options->refused(c->options->arg, status, what, detail);
    kt_failure_clear();
}

static void unseen(consumers_t *c, const kt_cfg_key_t *key, const char *why)
{
    char what[80], detail[DETAIL_MAX];

    if (c->options->handed_out) {
        kt_failure_clear();
        return;
    }
    (void)snprintf(what, sizeof(what), "the key of %.60s",
                   key->host != NULL ? key->host : "other hosts");
    (void)snprintf(detail, sizeof(detail),
                   "it cannot be seen from here (%s): make sure that it lists epoch %u, then use "
                   "--handed-out",
                   why, c->ctx->holder.keyring->env[0].epoch);
    prevents(c, KT_PERMISSION, what, detail);
}

/* Has the file the newest key of this type? */
static bool has_newest(consumers_t *c, const kt_keyring_t *seen, const char *type)
{
    const kt_typekey_t *newest;
    size_t i;

    if (kt_keyring_type(c->ctx->holder.keyring, type, 0, &newest) != KT_SUCCESS)
        return false;
    for (i = 0; i < seen->ntypes; i++) {
        if (memcmp(seen->types[i].id, newest->id, KT_KEYID_SIZE) == 0)
            return true;
    }
    return false;
}

/* A list of words with commas; what has no room becomes "...", once. */
static void append(char *text, size_t size, const char *word)
{
    static const char more[] = "...";
    size_t at = strlen(text), comma = at > 0;

    if (at >= sizeof(more) - 1 && strcmp(text + at - (sizeof(more) - 1), more) == 0)
        return;
    if (at + comma + strlen(word) + 1 + sizeof(more) > size)
        word = more;
    (void)snprintf(text + at, size - at, "%s%s", comma ? "," : "", word);
}

static void check_types(consumers_t *c, const char *path, const kt_keyring_t *seen)
{
    char missing[DETAIL_MAX / 4] = "", all[DETAIL_MAX / 4] = "", detail[DETAIL_MAX];
    const char *previous = "";
    size_t i;

    for (i = 0; i < seen->ntypes; i++) {
        const char *type = seen->types[i].type;

        if (strcmp(type, previous) == 0)
            continue; /* keygen writes all epochs of a type together; otherwise it is named twice */
        previous = type;
        append(all, sizeof(all), type);
        if (!has_newest(c, seen, type))
            append(missing, sizeof(missing), type);
    }
    if (missing[0] == '\0')
        return;
    (void)snprintf(
        detail, sizeof(detail),
        "it lacks epoch %u of %s: put a new one in its place (`keyturn keygen --types %s NEWFILE`)",
        c->ctx->holder.keyring->env[0].epoch, missing, all);
    prevents(c, KT_CONFLICT, path, detail);
}

static void check_seen(consumers_t *c, const char *path, const kt_keyring_t *seen)
{
    const kt_envkey_t *newest = &c->ctx->holder.keyring->env[0];
    char detail[DETAIL_MAX];
    size_t i;

    if (seen->nenv == 0) {
        check_types(c, path, seen);
        return;
    }
    for (i = 0; i < seen->nenv; i++) {
        if (memcmp(seen->env[i].id, newest->id, KT_KEYID_SIZE) == 0)
            return;
    }
    (void)snprintf(
        detail, sizeof(detail),
        "it lacks epoch %u: copy the file that has it there, or give it the types that it needs "
        "(`keyturn keygen --types TYPE,... NEWFILE`)",
        newest->epoch);
    prevents(c, KT_CONFLICT, path, detail);
}

static void check_file(consumers_t *c, const kt_cfg_key_t *key)
{
    char *path = kt_config_resolve(c->ctx->holder.config, key->source + 5);
    kt_keyring_t *seen = NULL;

    if (path == NULL ||
        kt_keyring_parse(path, c->ctx->holder.keyring->environment, &seen) != KT_SUCCESS)
        unseen(c, key, path != NULL ? kt_failure() : "out of memory");
    else
        check_seen(c, path, seen);
    kt_keyring_free(seen);
    free(path);
}

/* The entry of this process is loaded already. If it is for every host, the others have the same
 * one, unless its contents depend on the process that reads it. */
static void check_consumer(consumers_t *c, const kt_cfg_key_t *key)
{
    bool is_file = strncmp(key->source, "file:", 5) == 0,
         is_phrase = strncmp(key->source, "passphrase:", 11) == 0;

    if (key == kt_key_of(c->ctx->holder.config, c->ctx->holder.stream) &&
        (key->host != NULL || is_file || is_phrase))
        return;
    if (is_file)
        check_file(c, key);
    else
        unseen(c, key,
               key->source[0] == 'c'   ? "a credential"
               : key->source[0] == 'e' ? "what a command prints"
               : is_phrase             ? "under a passphrase"
                                       : "in a keyring of the kernel");
}

kt_status_t kt_rekey_consumers(kt_ctx_t *ctx, const kt_rekey_options_t *options)
{
    consumers_t c = {.ctx = ctx, .options = options};
    size_t i;

    for (i = 0; i < ctx->holder.config->nkeys; i++)
        check_consumer(&c, &ctx->holder.config->keys[i]);
    if (c.unready == 0)
        return KT_SUCCESS;
    return kt_fail(KT_CONFLICT,
                   "%zu of %zu %s of `key:` cannot open epoch %u yet: nothing was moved", c.unready,
                   ctx->holder.config->nkeys,
                   kt_plural(ctx->holder.config->nkeys, "entry", "entries"),
                   ctx->holder.keyring->env[0].epoch);
}

/* ---- how much is under which key ---- */

static kt_status_t count_type(kt_ctx_t *ctx, const kt_store_t *store, ktp_txn_t *txn,
                              const char *type, kt_rekey_fn fn, void *arg)
{
    kt_rekey_type_t progress = {.type = type};
    const kt_typekey_t *newest;
    kt_trees_t trees;
    kt_status_t status = kt_trees_open(&ctx->holder, store, txn, type, &trees);

    if (status == KT_SUCCESS)
        status = kt_trees_writable(&ctx->holder, &trees);
    if (status == KT_SUCCESS)
        status = kt_keyring_type(ctx->holder.keyring, type, 0, &newest);
    if (status == KT_SUCCESS && trees.index.generation > 0 && fn != NULL) {
        progress.epoch = trees.index.epoch;
        progress.moved = trees.index.count;
        progress.left = trees.old.count;
        progress.from = trees.old.generation > 0 ? trees.old.epoch : 0;
        if (trees.key != newest && progress.from == 0) { /* not begun yet */
            progress.from = progress.epoch;
            progress.left = progress.moved;
            progress.moved = 0;
        }
        fn(arg, &progress);
    }
    kt_trees_close(&trees);
    return status;
}

static kt_status_t count_types(kt_ctx_t *ctx, const kt_store_t *store, ktp_txn_t *txn,
                               kt_rekey_fn fn, void *arg)
{
    kt_survey_t survey;
    kt_status_t status = kt_survey_read(&ctx->holder, store, txn, NULL, NULL, &survey);
    size_t i;

    for (i = 0; i < survey.catalogue.ntypes && status == KT_SUCCESS; i++)
        status = count_type(ctx, store, txn, survey.catalogue.types[i].name, fn, arg);
    if (status == KT_SUCCESS && survey.missing)
        status = kt_fail(KT_NOKEY, "%s: types are under an epoch that the key held does not list",
                         store->name);
    kt_survey_end(&survey);
    return status;
}

/* Every row is explained, and belongs to one of the epochs: else nothing is complete. */
static kt_status_t count_store(kt_ctx_t *ctx, kt_store_t *store, kt_rekey_fn fn, void *arg,
                               kt_rekey_result_t *result)
{
    kt_walk_result_t walk;
    ktp_txn_t *txn;
    size_t i;
    kt_status_t status = kt_rows_begin(store, false, ctx->holder.wait, &txn);

    if (status != KT_SUCCESS)
        return status;
    status = count_types(ctx, store, txn, fn, arg);
    if (status == KT_SUCCESS)
        status = kt_walk_silently(ctx, store, txn, &walk);
    store->api->abort(txn);
    for (i = 0; i < result->nepochs && status == KT_SUCCESS; i++)
        result->epochs[i].rows = walk.rows[i + 1];
    if (status == KT_SUCCESS)
        result->unknown = walk.foreign;
    return status;
}

kt_status_t kt_rekey_count(kt_ctx_t *ctx, kt_store_t *store, kt_rekey_fn fn, void *arg,
                           kt_rekey_result_t *ret_result)
{
    kt_status_t status = KT_SUCCESS;
    size_t i;

    ret_result->epoch = ctx->holder.keyring->env[0].epoch;
    ret_result->unknown = 0;
    ret_result->nepochs = ctx->holder.keyring->nenv - 1;
    for (i = 0; i < ret_result->nepochs; i++) {
        ret_result->epochs[i].epoch = ctx->holder.keyring->env[i + 1].epoch;
        ret_result->epochs[i].rows = 0;
    }
    if (store != NULL)
        status = count_store(ctx, store, fn, arg, ret_result);
    return status == KT_SUCCESS ? kt_rekey_count_clear(ctx, fn, arg, ret_result) : status;
}

kt_status_t kt_rekey_status(kt_ctx_t *ctx, const kt_request_t *req, kt_rekey_fn fn, void *arg,
                            kt_rekey_result_t *ret_result)
{
    kt_store_t *store;
    kt_call_t call;
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    if (ret_result->size < sizeof(*ret_result))
        status = kt_fail(KT_USAGE, "the result is not filled in (KT_REKEY_RESULT_INIT)");
    if (status == KT_SUCCESS)
        status = kt_rekey_begin(ctx, req, &call, &store);
    if (status == KT_SUCCESS)
        status = kt_rekey_count(ctx, store, fn, arg, ret_result);
    kt_leave(ctx);
    return status;
}
