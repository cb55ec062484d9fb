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
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "walk.h"

#define STEP 1024u /* secrets between two reports of progress */

/* ---- reporting ---- */

void kt_walk_wrong(walk_t *v, kt_status_t status, const char *what, const char *detail)
{
    if (status == KT_INTERNAL)
        v->fatal =
            status; /* our error and not the store's: what follows may look wrong because of it */
    if (v->fatal != KT_SUCCESS)
        return;
    if (v->worst == KT_SUCCESS || status == KT_ROLLEDBACK)
        v->worst = status;
    v->fn(v->arg, status, what, detail);
    kt_failure_clear();
}

void kt_walk_wrong_row(walk_t *v, kt_status_t status, const char *kind, const unsigned char *id,
                       size_t size, const char *detail)
{
    char what[32 + 2 * KTP_KEY_MAX];
    size_t at = (size_t)snprintf(what, 32, "%s ", kind);

    (void)sodium_bin2hex(what + at, sizeof(what) - at, id, size);
    kt_walk_wrong(v, status, what, detail);
}

int kt_walk_kind(const walk_t *v, const ktp_row_t *row, const kt_known_t **ret_known,
                 const kt_typekey_t **ret_type)
{
    kt_header_t header;
    int kind = BAD;

    if (kt_header_parse(row->record, row->record_size, &header) == KT_SUCCESS) {
        *ret_known = kt_survey_find(&v->survey, header.key_id);
        kind = *ret_known != NULL ? HELD : FOREIGN;
    }
    if (kind == HELD && ret_type != NULL &&
        kt_survey_key(&v->survey, *ret_known, ret_type) != KT_SUCCESS)
        kind = FOREIGN;
    kt_failure_clear();
    return kind;
}

place_t *kt_walk_place(const walk_t *v, const kt_known_t *known)
{
    return &v->places[known - v->survey.keys];
}

kt_status_t kt_walk_open(const walk_t *v, const kt_known_t *known, kt_index_t *ret_index)
{
    const kt_typekey_t *key;
    kt_status_t status = kt_survey_key(&v->survey, known, &key);

    memset(ret_index, 0, sizeof(*ret_index));
    return status == KT_SUCCESS ? kt_index_open(&v->ctx->holder, v->store, v->txn, key, ret_index)
                                : status;
}

/* ---- one head ---- */

static kt_status_t check_beside(walk_t *v, const kt_typekey_t *type, const kt_head_t *head,
                                const ktp_row_t *row)
{
    const kt_head_version_t *entry = kt_head_find(head, head->current);
    kt_secret_t *secret;
    kt_status_t status;

    if (row->beside == NULL && (entry == NULL || entry->destroyed))
        return KT_SUCCESS;
    if (row->beside == NULL)
        return kt_fail(KT_MALFORMED, "its current value is missing");
    if (entry == NULL || entry->destroyed)
        return kt_fail(KT_ROLLEDBACK, "a destroyed value was put back");
    status =
        kt_open_value(&v->ctx->holder, type, head, entry, row->beside, row->beside_size, &secret);
    if (status == KT_SUCCESS)
        kt_secret_free(secret);
    return status;
}

kt_status_t kt_walk_head(walk_t *v, const kt_typekey_t *type, const ktp_key_t *key,
                         const ktp_row_t *row, kt_head_t *ret_head)
{
    unsigned char hash[KT_HASH_SIZE];
    kt_status_t status;

    status = kt_open_head(&v->ctx->holder, type, row, ret_head);
    if (status != KT_SUCCESS) {
        kt_walk_wrong_row(v, status, "row", key->id, key->id_size, kt_failure());
        return KT_NOTFOUND;
    }
    kt_name_hash(type, ret_head->name, hash);
    if (memcmp(hash, key->id, KT_HASH_SIZE) != 0)
        status = kt_fail(KT_MOVED, "it is in the row of another name");
    if (status == KT_SUCCESS && row->stamp != ret_head->counter)
        status = kt_fail(KT_MALFORMED, "the row's stamp is not the head's counter");
    if (status == KT_SUCCESS)
        status = check_beside(v, type, ret_head, row);
    if (status == KT_SUCCESS)
        return status;
    kt_walk_wrong(v, status, ret_head->name, kt_failure());
    kt_head_clear(ret_head);
    return KT_NOTFOUND;
}

bool kt_walk_has_row(const kt_head_t *head, const kt_head_version_t *version, bool current_beside)
{
    return !version->destroyed && !(current_beside && version->version == head->current);
}

void kt_walk_values(walk_t *v, const kt_typekey_t *type, const unsigned char hash[KT_HASH_SIZE],
                    const kt_head_t *head, bool current_beside)
{
    ktp_key_t key = {.space = KTP_VALUE, .id_size = KT_HASH_SIZE};
    const kt_known_t *other;
    kt_secret_t *secret;
    char detail[64];
    ktp_row_t row;
    kt_status_t status;
    size_t i;

    memcpy(key.id, hash, KT_HASH_SIZE);
    for (i = 0; i < head->nversions && v->fatal == KT_SUCCESS; i++) {
        if (!kt_walk_has_row(head, &head->versions[i], current_beside))
            continue;
        key.version = head->versions[i].version;
        status = kt_rows_get(v->store, v->txn, &key, &row);
        if (status == KT_NOTFOUND) {
            (void)snprintf(detail, sizeof(detail), "the value of version %llu is missing",
                           (unsigned long long)key.version);
            kt_walk_wrong(v, KT_MALFORMED, head->name, detail);
            continue;
        }
        if (status != KT_SUCCESS) {
            v->fatal = status;
            return;
        }
        v->values[kt_walk_kind(v, &row, &other, NULL)]++;
        if (row.stamp != KT_VALUE_STAMP)
            kt_walk_wrong(v, KT_MALFORMED, head->name, "the row of a value has the wrong stamp");
        status = kt_open_value(&v->ctx->holder, type, head, &head->versions[i], row.record,
                               row.record_size, &secret);
        if (status == KT_SUCCESS)
            kt_secret_free(secret);
        else
            kt_walk_wrong(v, status, head->name, kt_failure());
    }
}

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
    return kt_fail(status, "%s: %.400s (and %u more: keyturn verify names them)", store->name,
                   first.failure.text, first.more);
}
