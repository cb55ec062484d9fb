/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * walk.c: the walk through a whole store that explains every row: verify, check, backup, restore
 * --check and rekey share it.
 *
 * A read proves its own secret; this proves all of them, in one snapshot, and names what is wrong.
 * It goes down from the catalogue of types (survey.c): each type has its index, each entry its
 * head, each head its values. Then it counts the rows; only if there are more than it met, it looks
 * at each. So it keeps a few numbers, however large the store is. It opens every value, so it needs
 * the keys of all types; what is under keys that are not held is counted and reported.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "walk.h"

#define STEP 1024u /* secrets between two reports of progress */

/* ---- down from the indexes ---- */

/* Does the root agree with the roots of the type's other epochs? */
static kt_status_t check_place(walk_t *v, const kt_index_t *index)
{
    kt_trees_t trees;
    kt_status_t status;

    if (index->generation == 0)
        return KT_SUCCESS;
    status = kt_trees_open(&v->ctx->holder, v->store, v->txn, index->type, &trees);
    if (status == KT_SUCCESS && index->link != KT_LINK_MOVED &&
        memcmp(index->key_id, trees.index.key_id, KT_KEYID_SIZE) != 0 &&
        memcmp(index->key_id, trees.old.key_id, KT_KEYID_SIZE) != 0)
        status =
            kt_fail(KT_ROLLEDBACK, "its root at epoch %u is one that was left: it was put back",
                    index->epoch);
    if (status == KT_SUCCESS && index->link == KT_LINK_MOVED && index->count > 0)
        status = kt_fail(KT_ROLLEDBACK,
                         "its root at epoch %u says that all is elsewhere, and counts secrets",
                         index->epoch);
    kt_trees_close(&trees);
    return status;
}

/* Only the nodes: a broken tree proves nothing. */
static void check_index(walk_t *v, const kt_known_t *known)
{
    place_t *place = kt_walk_place(v, known);
    uint64_t count = 0;
    kt_index_t index;
    kt_status_t status = kt_walk_open(v, known, &index);

    if (status == KT_SUCCESS)
        status = kt_index_compare(&index);
    if (status == KT_SUCCESS)
        status = check_place(v, &index);
    if (status == KT_SUCCESS)
        status = kt_index_count(&index, &count, &place->nodes);
    if (status != KT_SUCCESS)
        kt_walk_wrong(v, status, known->type, kt_failure());
    place->broken = status != KT_SUCCESS;
    v->expected += count;
    kt_index_close(&index);
}

static void count_done(walk_t *v)
{
    if (v->done++ % STEP == 0)
        kt_progress_tell(&v->ctx->holder.logger, "verify", v->done - 1, v->expected);
}

static int check_entry(void *arg, const unsigned char hash[KT_HASH_SIZE],
                       const unsigned char tag[KT_TAG_SIZE])
{
    walk_t *v = arg;
    ktp_key_t key = {.space = KTP_HEAD, .id_size = KT_HASH_SIZE};
    const kt_typekey_t *type = NULL;
    const kt_known_t *known = NULL;
    kt_head_t head;
    ktp_row_t row;
    bool same, beside;
    kt_status_t status;
    int kind;

    count_done(v);
    memcpy(key.id, hash, KT_HASH_SIZE);
    status = kt_rows_get(v->store, v->txn, &key, &row);
    if (status == KT_NOTFOUND) {
        kt_walk_wrong_row(v, KT_ROLLEDBACK, "row", hash, KT_HASH_SIZE,
                          "a secret that was written is gone from the store");
        return 0;
    }
    if (status != KT_SUCCESS) {
        v->fatal = status;
        return 1;
    }
    kind = kt_walk_kind(v, &row, &known, &type);
    v->heads[kind]++;
    if (kind != HELD) {
        kt_walk_wrong_row(v, KT_ROLLEDBACK, "row", hash, KT_HASH_SIZE,
                          "its row is not the one that was written last");
        return v->fatal != KT_SUCCESS;
    }
    same = row.record_size >= KT_TAG_SIZE &&
           memcmp(tag, row.record + row.record_size - KT_TAG_SIZE, KT_TAG_SIZE) == 0;
    beside = row.beside != NULL;
    if (kt_walk_head(v, type, &key, &row, &head) == KT_SUCCESS) {
        if (!same)
            kt_walk_wrong(v, KT_ROLLEDBACK, head.name,
                          "its row is not the one that was written last");
        kt_walk_values(v, type, hash, &head, beside);
        kt_head_clear(&head);
    }
    return v->fatal != KT_SUCCESS;
}

static kt_status_t check_indexes(walk_t *v)
{
    kt_status_t status = KT_SUCCESS;
    kt_index_t index;
    size_t i;

    v->places = calloc(v->survey.nkeys + 1, sizeof(*v->places));
    if (v->places == NULL)
        return kt_no_memory();
    for (i = 0; i < v->survey.nkeys && v->fatal == KT_SUCCESS; i++)
        check_index(v, &v->survey.keys[i]);
    for (i = 0; i < v->survey.nkeys && v->fatal == KT_SUCCESS && status == KT_SUCCESS; i++) {
        if (v->places[i].broken)
            continue;
        status = kt_walk_open(v, &v->survey.keys[i], &index);
        if (status == KT_SUCCESS)
            status = kt_index_walk(&index, check_entry, v);
        kt_index_close(&index);
    }
    return v->fatal != KT_SUCCESS ? v->fatal : status;
}

/* A type that audit logs have, and the whole catalogue does not. */
static void check_expected(walk_t *v)
{
    const kt_catalogue_t *catalogue = &v->survey.catalogue;
    const kt_expected_t *entry;

    for (entry = v->survey.whole ? v->store->expected : NULL; entry != NULL; entry = entry->next) {
        if (strcmp(entry->type, KT_CATALOGUE_TYPE) != 0 &&
            kt_catalogue_find(catalogue, entry->type) == NULL &&
            kt_expected_check(entry, v->store->name, entry->type, catalogue->store_id, 0) !=
                KT_SUCCESS)
            kt_walk_wrong(v, KT_ROLLEDBACK, entry->type, kt_failure());
    }
}

/* ---- all of it ---- */

static void see_wrong(void *arg, kt_status_t status, const char *what, const char *detail)
{
    kt_walk_wrong(arg, status, what, detail);
}

static kt_status_t walk_rows(walk_t *v)
{
    kt_status_t status =
        kt_survey_read(&v->ctx->holder, v->store, v->txn, see_wrong, v, &v->survey);

    if (status != KT_SUCCESS && (v->worst == KT_SUCCESS || v->fatal != KT_SUCCESS))
        return v->fatal != KT_SUCCESS ? v->fatal : status; /* not one that was reported */
    check_expected(v);
    status = check_indexes(v);
    return status == KT_SUCCESS ? kt_walk_rows(v) : status;
}

kt_status_t kt_walk(kt_ctx_t *ctx, kt_store_t *store, ktp_txn_t *txn, kt_check_fn fn, void *arg,
                    kt_walk_result_t *ret)
{
    walk_t v = {.ctx = ctx, .store = store, .txn = txn, .fn = fn, .arg = arg, .result = ret};
    kt_status_t status;

    memset(ret, 0, sizeof(*ret));
    status = walk_rows(&v);
    if (status == KT_SUCCESS) {
        kt_progress_tell(&ctx->holder.logger, "verify", v.done, v.done);
        ret->secrets = v.all_heads[HELD];
        ret->values = v.all_values[HELD];
        ret->missing = v.survey.missing && v.ctx->holder.keyring->nenv > 0;
        ret->complete = true;
    } else {
        v.worst = status;
        fn(arg, status, store->name, kt_failure());
    }
    free(v.places);
    kt_survey_end(&v.survey);
    return v.worst;
}

typedef struct first {
    kt_failure_t failure;
    unsigned more;
} first_t;

static void see_first(void *arg, kt_status_t status, const char *what, const char *detail)
{
    first_t *first = arg;

    if (first->failure.status == KT_SUCCESS)
        kt_failure_save(&first->failure, kt_fail(status, "%s: %s", what, detail));
    else
        first->more++;
}

kt_status_t kt_walk_silently(kt_ctx_t *ctx, kt_store_t *store, ktp_txn_t *txn,
                             kt_walk_result_t *ret)
{
    first_t first = {.failure = {.status = KT_SUCCESS}};
    kt_status_t status = kt_walk(ctx, store, txn, see_first, &first, ret);

    if (status == KT_SUCCESS)
        return status;
    (void)kt_failure_restore(&first.failure);
    if (first.more == 0)
        return kt_fail_prefix(status, "%s", store->name);
    return kt_fail(status, "%s: %.400s (and %u more: `keyturn verify` names them)", store->name,
                   first.failure.text, first.more);
}
