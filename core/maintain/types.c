/* SPDX-License-Identifier: BSD-2-Clause */
/* types.c: the types of a store, from its labels. */
#include <stdlib.h>
#include <string.h>

#include "maintain.h"

static int append_label(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    kt_types_t *types = arg;
    char type[KT_NAME_MAX + 1], *copy, **grown;
    kt_status_t status;
    size_t i;

    if (key->id_size == 0 || key->id[0] != 't')
        return 0;
    status = kt_label_open(types->keyring, row->record, row->record_size, type);
    if (status == KT_NOKEY)
        return 0;
    for (i = 0; status == KT_SUCCESS && i < types->count; i++) {
        if (strcmp(types->list[i], type) == 0)
            return 0;
    }
    copy = status == KT_SUCCESS ? strdup(type) : NULL;
    grown = copy != NULL ? realloc(types->list, (types->count + 1) * sizeof(*grown)) : NULL;
    if (grown != NULL) {
        types->list = grown;
        grown[types->count++] = copy;
        return 0;
    }
    free(copy);
    types->status = status != KT_SUCCESS ? status : kt_no_memory();
    return 1;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

kt_status_t kt_types_read(kt_ctx_t *ctx, const kt_store_t *store, ktp_txn_t *txn,
                          kt_types_t *ret_types)
{
    kt_status_t status;

    *ret_types = (kt_types_t){.keyring = ctx->holder.keyring};
    status = kt_rows_scan(store, txn, KTP_META, append_label, ret_types);
    if (status == KT_SUCCESS)
        status = ret_types->status;
    if (status == KT_SUCCESS) {
        kt_failure_clear();
        if (ret_types->count > 1)
            qsort(ret_types->list, ret_types->count, sizeof(*ret_types->list), by_name);
    }
    return status;
}

void kt_types_free(kt_types_t *types)
{
    while (types->count > 0)
        free(types->list[--types->count]);
    free(types->list);
}
