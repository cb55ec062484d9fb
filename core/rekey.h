/* SPDX-License-Identifier: BSD-2-Clause */
/* rekey.h: what rekey.c and rekey_check.c share. Include it after internal.h, store.h and index.h. */
#ifndef KT_REKEY_H
#define KT_REKEY_H

typedef struct kt_types {    /* every type that a label of the store names, sorted */
    const kt_keyring_t *keyring;
    char **list;
    size_t count;
    kt_status_t status;
} kt_types_t;

kt_status_t kt_types_read(kt_ctx_t *ctx, const kt_store_t *store, ktp_txn_t *txn, kt_types_t *ret_types);
void kt_types_free(kt_types_t *types);

/* rekey_check.c: the right to it, the store; the consumers' key files (KT_CONFLICT); what is where. */
kt_status_t kt_rekey_begin(kt_ctx_t *ctx, const kt_request_t *req, kt_call_t *ret_call, kt_store_t **ret_store);
kt_status_t kt_rekey_consumers(kt_ctx_t *ctx, const kt_rekey_options_t *options);
kt_status_t kt_rekey_count(kt_ctx_t *ctx, kt_store_t *store, kt_rekey_fn fn, void *arg, kt_rekey_result_t *ret_result);

#endif /* KT_REKEY_H */
