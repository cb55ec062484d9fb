/* SPDX-License-Identifier: BSD-2-Clause */
/* walk_secret.c: one secret, for a walk through all: its head and its values. And how a walk says
 * what is wrong. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "walk.h"

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
