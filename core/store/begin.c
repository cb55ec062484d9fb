/* SPDX-License-Identifier: BSD-2-Clause */
/* begin.c: a new store, with its first rows. */
#include <sodium.h>
#include <string.h>

#include "store.h"

/* Anchors that have outlived their store would refuse another one. */
static kt_status_t put_first_row(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                                 const unsigned char *id, kt_catalogue_t *catalogue)
{
    unsigned char own[KT_ID_SIZE];
    kt_status_t status;

    randombytes_buf(own, sizeof(own));
    status = kt_catalogue_begin(holder, id != NULL ? id : own, catalogue);
    if (status != KT_SUCCESS)
        return status;
    catalogue->generation = kt_catalogue_confirmed(store, catalogue->env, own);
    if (id == NULL)
        memcpy(catalogue->store_id, own, KT_ID_SIZE);
    return kt_catalogue_seal(holder, store, txn, catalogue);
}

kt_status_t kt_store_begin_new(kt_holder_t *holder, kt_store_t *store,
                               const unsigned char id[KT_ID_SIZE])
{
    kt_catalogue_t catalogue = {.generation = 0};
    ktp_txn_t *txn;
    kt_status_t status;

    if (holder->keyring->nenv == 0)
        return kt_fail(KT_NOKEY, "only the holder of the environment key can create a store");
    status = kt_anchors_make(store->anchors, holder->stream);
    if (status == KT_SUCCESS)
        status = kt_rows_begin(store, true, 5000, &txn);
    if (status != KT_SUCCESS)
        return status;
    status = put_first_row(holder, store, txn, id, &catalogue);
    if (status == KT_SUCCESS)
        status = kt_catalogue_prepare(holder, store, &catalogue);
    kt_debug_point("after_first_rows");
    if (status == KT_SUCCESS)
        status = kt_from_provider(store->name, store->api->commit(txn));
    else
        store->api->abort(txn);
    if (status == KT_SUCCESS && kt_catalogue_anchor(holder, store, &catalogue) != KT_SUCCESS)
        kt_log(&holder->logger, 3, KT_NOT_ANCHORED, kt_failure());
    kt_catalogue_clear(&catalogue);
    return status;
}

kt_status_t kt_store_create(kt_holder_t *holder, kt_store_t *store)
{
    kt_status_t status;

    if (holder->keyring->nenv == 0)
        return kt_fail(KT_NOKEY, "only the holder of the environment key can create a store");
    status = kt_from_provider(store->name, store->api->create(store->instance));
    kt_debug_point("after_store");
    return status == KT_SUCCESS ? kt_store_begin_new(holder, store, NULL) : status;
}
