/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reseal.c: moves a secret from one key to another: opens and seals again every value that is kept,
 * and the head with their new tags. Its id, versions, times, metadata and notes stay; destroyed
 * values stay destroyed.
 */
#include <stdlib.h>
#include <string.h>

#include "maintain.h"

kt_status_t kt_row_copy(const ktp_row_t *row, ktp_row_t *ret_copy)
{
    unsigned char *record = malloc(row->record_size),
                  *beside = row->beside != NULL ? malloc(row->beside_size + 1) : NULL;

    if (record == NULL || (row->beside != NULL && beside == NULL)) {
        free(record);
        free(beside);
        return kt_no_memory();
    }
    memcpy(record, row->record, row->record_size);
    if (beside != NULL)
        memcpy(beside, row->beside, row->beside_size);
    *ret_copy = (ktp_row_t){record, row->record_size, beside, row->beside_size, row->stamp};
    return KT_SUCCESS;
}

void kt_row_free(ktp_row_t *row)
{
    free((void *)row->record);
    free((void *)row->beside);
}

/* Opens a record of the old key, seals its value under the new one, and gives the head the new tag.
 */
static kt_status_t reseal_value(const kt_reseal_t *r, const kt_head_t *head,
                                kt_head_version_t *entry, const unsigned char *record, size_t size,
                                unsigned char **ret_record, size_t *ret_size)
{
    kt_secret_t *value;
    kt_status_t status = kt_open_value(&r->ctx->holder, r->from, head, entry, record, size, &value);

    if (status != KT_SUCCESS)
        return status;
    status =
        kt_seal_value(&r->ctx->holder, r->to, head, entry->version, value, ret_record, ret_size);
    kt_secret_free(value);
    if (status == KT_SUCCESS)
        memcpy(entry->tag, *ret_record + *ret_size - KT_TAG_SIZE, KT_TAG_SIZE);
    return status;
}

/* With clear names the row keeps its place; otherwise the name has another hash under the new key.
 */
static kt_status_t put_value(const kt_reseal_t *r, const ktp_key_t *old, const ktp_key_t *new,
                             const ktp_row_t *row, uint64_t stamp)
{
    const ktp_provider_t *api = r->store->api;
    kt_status_t status;

    if (api->capabilities & KTP_CLEAR_NAMES)
        return kt_from_provider(r->store->name, api->row_put(r->txn, new, row, stamp));
    status = kt_from_provider(r->store->name, api->row_put(r->txn, new, row, 0));
    return status == KT_SUCCESS
               ? kt_from_provider(r->store->name, api->row_remove(r->txn, old, stamp))
               : status;
}

/* A value with a row of its own. */
static kt_status_t move_value(const kt_reseal_t *r, const kt_head_t *head, kt_head_version_t *entry)
{
    unsigned char *record = NULL;
    ktp_key_t old, new;
    uint64_t stamp;
    ktp_row_t row;
    size_t size;
    kt_status_t status;

    kt_key_init(&old, r->store, KTP_VALUE, r->from, head->name);
    kt_key_init(&new, r->store, KTP_VALUE, r->to, head->name);
    old.version = new.version = entry->version;
    status = kt_rows_get(r->store, r->txn, &old, &row);
    if (status == KT_NOTFOUND)
        return kt_fail(KT_MALFORMED, "the value of version %llu is missing from the store",
                       (unsigned long long)entry->version);
    if (status == KT_SUCCESS && row.stamp != KT_VALUE_STAMP)
        return kt_fail(KT_MALFORMED, "the row of version %llu has the wrong stamp",
                       (unsigned long long)entry->version);
    if (status != KT_SUCCESS)
        return status;
    stamp = row.stamp;
    status = reseal_value(r, head, entry, row.record, row.record_size, &record, &size);
    row = (ktp_row_t){.record = record, .record_size = size, .stamp = KT_VALUE_STAMP};
    if (status == KT_SUCCESS)
        status = put_value(r, &old, &new, &row, stamp);
    free(record);
    return status;
}

/* A rekey must not put right what an editor of the store has done. */
static kt_status_t check_beside(const kt_reseal_t *r, const kt_head_t *head, const ktp_row_t *old)
{
    const kt_head_version_t *entry = kt_head_find(head, head->current);
    bool expected = entry != NULL && !entry->destroyed;

    if (old->beside != NULL && !expected)
        return kt_fail(KT_ROLLEDBACK, "a destroyed value was put back");
    if (old->beside == NULL && expected && !(r->store->api->capabilities & KTP_CLEAR_NAMES))
        return kt_fail(KT_MALFORMED, "its current value is missing");
    return KT_SUCCESS;
}

kt_status_t kt_reseal(const kt_reseal_t *r, kt_head_t *head, const ktp_row_t *old,
                      ktp_row_t *ret_row)
{
    unsigned char *record = NULL, *beside = NULL;
    size_t record_size = 0, beside_size = 0, i;
    kt_status_t status = check_beside(r, head, old);

    for (i = 0; i < head->nversions && status == KT_SUCCESS; i++) {
        kt_head_version_t *entry = &head->versions[i];

        if (entry->destroyed)
            continue;
        if (entry->version != head->current || old->beside == NULL)
            status = move_value(r, head, entry);
        else
            status =
                reseal_value(r, head, entry, old->beside, old->beside_size, &beside, &beside_size);
    }
    head->counter++;
    if (status == KT_SUCCESS)
        status = kt_seal_head(&r->ctx->holder, r->to, head, &record, &record_size);
    if (status != KT_SUCCESS) {
        free(beside);
        return status;
    }
    *ret_row = (ktp_row_t){record, record_size, beside, beside_size, head->counter};
    return KT_SUCCESS;
}
