/* SPDX-License-Identifier: BSD-2-Clause */
/* maintain.h: what the files about whole stores share. */
#ifndef KT_MAINTAIN_H
#define KT_MAINTAIN_H

#include "serve/serve.h"

/* ---- check.c ---- */

/* Does the provider of this index answer, and has it a held key's store? */
kt_status_t kt_provider_try(kt_ctx_t *ctx, size_t index);

/* ---- types.c ---- */

typedef struct kt_types { /* every type that a label of the store names, sorted */
    const kt_keyring_t *keyring;
    char **list;
    size_t count;
    kt_status_t status;
} kt_types_t;

kt_status_t kt_types_read(kt_ctx_t *ctx, const kt_store_t *store, ktp_txn_t *txn,
                          kt_types_t *ret_types);
void kt_types_free(kt_types_t *types);

/* rekey_check.c: the right to it, the store (NULL: there are clear names only); the consumers' key
 * files (KT_CONFLICT); what is where. */
kt_status_t kt_rekey_begin(kt_ctx_t *ctx, const kt_request_t *req, kt_call_t *ret_call,
                           kt_store_t **ret_store);
kt_status_t kt_rekey_consumers(kt_ctx_t *ctx, const kt_rekey_options_t *options);
kt_status_t kt_rekey_count(kt_ctx_t *ctx, kt_store_t *store, kt_rekey_fn fn, void *arg,
                           kt_rekey_result_t *ret_result);

/* reseal.c: from one key to another, inside a writing transaction. The head's counter is raised and
 * its values are put; `ret_row` is the head's new row, for kt_row_free(). */
typedef struct kt_reseal {
    kt_ctx_t *ctx;
    kt_store_t *store;
    ktp_txn_t *txn;
    const kt_typekey_t *from, *to;
} kt_reseal_t;
kt_status_t kt_reseal(const kt_reseal_t *reseal, kt_head_t *head, const ktp_row_t *old,
                      ktp_row_t *ret_row);
kt_status_t kt_row_copy(const ktp_row_t *row, ktp_row_t *ret_copy);
void kt_row_free(ktp_row_t *row);

/* rekey_clear.c: the providers with clear names that can list them. */
bool kt_is_clear(const ktp_provider_t *api);
kt_status_t kt_rekey_clear(kt_ctx_t *ctx, kt_call_t *call, const kt_rekey_options_t *options,
                           uint64_t *io_moved);
kt_status_t kt_rekey_count_clear(kt_ctx_t *ctx, kt_rekey_fn fn, void *arg,
                                 kt_rekey_result_t *result);

#endif /* KT_MAINTAIN_H */
