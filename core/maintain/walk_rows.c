/* SPDX-License-Identifier: BSD-2-Clause */
/* walk_rows.c: rows that no index leads to, and that no key explains. */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "walk.h"

/* ---- is there anything else? ---- */

static void count_epoch(walk_t *v, const kt_known_t *known)
{
    v->result->rows[known->n < KT_EPOCHS_MAX ? known->n : 0]++;
}

static int count_row(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    walk_t *v = arg;
    const kt_known_t *known;
    int kind = kt_walk_kind(v, row, &known, NULL);

    (key->space == KTP_HEAD ? v->all_heads : v->all_values)[kind]++;
    if (kind == HELD)
        count_epoch(v, known);
    v->result->foreign += kind == FOREIGN;
    if (kind == FOREIGN && v->survey.whole)
        kt_walk_wrong_row(v, KT_ROLLEDBACK, "row", key->id, key->id_size,
                          "the catalogue lists no type that has this key");
    return v->fatal != KT_SUCCESS;
}

static int count_node(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    walk_t *v = arg;
    const kt_known_t *known =
        key->id_size > KT_KEYID_SIZE ? kt_survey_find(&v->survey, key->id) : NULL;

    (void)row;
    if (known != NULL) {
        kt_walk_place(v, known)->all_nodes++;
        count_epoch(v, known);
    }
    v->result->foreign += known == NULL;
    if (known == NULL && v->survey.whole)
        kt_walk_wrong_row(v, KT_ROLLEDBACK, "node", key->id, key->id_size,
                          "the catalogue lists no type that has this key");
    return v->fatal != KT_SUCCESS;
}

static void check_nodes(walk_t *v)
{
    char detail[96];
    size_t i;

    for (i = 0; i < v->survey.nkeys && v->fatal == KT_SUCCESS; i++) {
        const place_t *place = &v->places[i];

        if (place->broken || place->nodes == place->all_nodes)
            continue;
        (void)snprintf(detail, sizeof(detail), "its index has %llu %s, and the store %llu",
                       (unsigned long long)place->nodes, kt_plural(place->nodes, "node", "nodes"),
                       (unsigned long long)place->all_nodes);
        kt_walk_wrong(v, KT_ROLLEDBACK, v->survey.keys[i].type, detail);
    }
}

static bool is_more(const uint64_t all[KINDS], const uint64_t met[KINDS])
{
    return all[HELD] != met[HELD] || all[BAD] != met[BAD];
}

/* Does a valid index have this row? Then it was met. */
static kt_status_t was_met(walk_t *v, const unsigned char hash[KT_HASH_SIZE], bool *ret_met)
{
    unsigned char tag[KT_TAG_SIZE];
    kt_status_t status = KT_SUCCESS;
    kt_index_t index;
    size_t i;

    *ret_met = false;
    for (i = 0; i < v->survey.nkeys && status == KT_SUCCESS && !*ret_met; i++) {
        if (v->places[i].broken)
            continue;
        status = kt_walk_open(v, &v->survey.keys[i], &index);
        if (status == KT_SUCCESS)
            status = kt_index_lookup(&index, hash, ret_met, tag);
        kt_index_close(&index);
    }
    return status;
}

/* For a type with a broken index: what a read would answer. */
static void check_alone(walk_t *v, const kt_typekey_t *type, const ktp_key_t *key, kt_head_t *head,
                        bool beside)
{
    unsigned char tag[KT_TAG_SIZE];
    kt_index_t index;
    bool found = false;
    kt_status_t status;

    status = kt_index_open(&v->ctx->holder, v->store, v->txn, type, &index);
    if (status == KT_SUCCESS)
        status = kt_index_lookup(&index, key->id, &found, tag);
    kt_index_close(&index);
    if (status != KT_SUCCESS)
        kt_walk_wrong(v, status, head->name, kt_failure());
    kt_walk_values(v, type, key->id, head, beside);
}

static int inspect_head(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    walk_t *v = arg;
    unsigned char *copy = malloc(row->record_size + row->beside_size + 1);
    ktp_row_t own = {copy, row->record_size, NULL, row->beside_size, row->stamp};
    const kt_typekey_t *type = NULL;
    const kt_known_t *known_key = NULL;
    kt_head_t head;
    bool met = false;
    kt_status_t status = copy != NULL ? KT_SUCCESS : kt_no_memory();
    int kind;

    if (status == KT_SUCCESS) { /* the next row_get() may overwrite the row */
        memcpy(copy, row->record, row->record_size);
        if (row->beside != NULL)
            own.beside = memcpy(copy + row->record_size, row->beside, row->beside_size);
        status = was_met(v, key->id, &met);
    }
    kind = status == KT_SUCCESS ? kt_walk_kind(v, &own, &known_key, &type) : FOREIGN;
    if (status != KT_SUCCESS)
        v->fatal = status;
    else if (kind == BAD && !met)
        kt_walk_wrong_row(v, KT_MALFORMED, "row", key->id, key->id_size, "not a sealed record");
    else if (kind == HELD && !met && kt_walk_head(v, type, key, &own, &head) == KT_SUCCESS) {
        if (kt_walk_place(v, known_key)->broken)
            check_alone(v, type, key, &head, own.beside != NULL);
        else
            kt_walk_wrong(v, KT_ROLLEDBACK, head.name,
                          "its row is in no index: it was put back or added");
        kt_head_clear(&head);
    }
    free(copy);
    return v->fatal != KT_SUCCESS;
}

static int inspect_value(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    walk_t *v = arg;
    ktp_key_t head_key = {.space = KTP_HEAD, .id_size = key->id_size};
    const kt_typekey_t *type = NULL;
    const kt_known_t *known_key = NULL;
    const kt_head_version_t *entry;
    kt_head_t head;
    ktp_row_t head_row;
    bool known = false;
    kt_status_t status;

    if (kt_walk_kind(v, row, &known_key, &type) == FOREIGN)
        return 0;
    memcpy(head_key.id, key->id, sizeof(head_key.id));
    status = kt_rows_get(v->store, v->txn, &head_key, &head_row);
    if (status == KT_SUCCESS) {
        if (kt_walk_kind(v, &head_row, &known_key, &type) != HELD ||
            kt_open_head(&v->ctx->holder, type, &head_row, &head) != KT_SUCCESS) {
            kt_failure_clear();
            return 0; /* the head was reported already */
        }
        entry = kt_head_find(&head, key->version);
        known = entry != NULL && kt_walk_has_row(&head, entry, head_row.beside != NULL);
        kt_head_clear(&head);
    } else if (status != KT_NOTFOUND) {
        v->fatal = status;
    }
    if (!known && v->fatal == KT_SUCCESS)
        kt_walk_wrong_row(v, KT_ROLLEDBACK, "row", key->id, key->id_size,
                          "a value that no head knows was put back or added");
    return v->fatal != KT_SUCCESS;
}

static kt_status_t scan(walk_t *v, ktp_space_t space, ktp_scan_fn fn)
{
    kt_status_t status = kt_rows_scan(v->store, v->txn, space, fn, v);

    return v->fatal != KT_SUCCESS ? v->fatal : status;
}

kt_status_t kt_walk_rows(walk_t *v)
{
    kt_status_t status;

    status = scan(v, KTP_HEAD, count_row);
    if (status == KT_SUCCESS && is_more(v->all_heads, v->heads))
        status = scan(v, KTP_HEAD, inspect_head);
    if (status == KT_SUCCESS)
        status = scan(v, KTP_VALUE, count_row);
    if (status == KT_SUCCESS && is_more(v->all_values, v->values))
        status = scan(v, KTP_VALUE, inspect_value);
    if (status == KT_SUCCESS)
        status = scan(v, KTP_NODE, count_node);
    if (status == KT_SUCCESS)
        check_nodes(v);
    return status == KT_SUCCESS ? v->fatal : status;
}
