/* SPDX-License-Identifier: BSD-2-Clause */
/* maintain.h: what the files about whole stores share. */
#ifndef KT_MAINTAIN_H
#define KT_MAINTAIN_H

#include "serve/serve.h"

/* ---- check_read.c ---- */

/* Does the provider of this index answer, and can one secret of each type be read whose key is
 * held? ret_detail says what was done. */
kt_status_t kt_provider_try(kt_ctx_t *ctx, size_t index, char *ret_detail, size_t size);

/* ---- check_plain.c ---- */

/* The same of a provider of plain values that answers: it lists what it has, and reads one. */
kt_status_t kt_plain_try(const kt_ctx_t *ctx, const kt_store_t *store, char *ret_detail,
                         size_t size);

/* ---- walk.c ---- */

typedef struct kt_walk_result {
    bool complete;                /* the walk came to its end; else the rest of this is not known */
    bool missing;                 /* types are under an epoch that is not held */
    uint64_t secrets, values;     /* values: with rows of their own */
    uint64_t foreign;             /* rows under keys that are not held */
    uint64_t rows[KT_EPOCHS_MAX]; /* heads, values and nodes, by the n-th key of their type */
} kt_walk_result_t;

/* Explains every row of the store, inside a transaction. fn is called for each thing that is wrong;
 * the answer is the worst of them. */
kt_status_t kt_walk(kt_ctx_t *ctx, kt_store_t *store, ktp_txn_t *txn, kt_check_fn fn, void *arg,
                    kt_walk_result_t *ret);

/* The same; the error text has the first thing that is wrong, and how many there are. */
kt_status_t kt_walk_silently(kt_ctx_t *ctx, kt_store_t *store, ktp_txn_t *txn,
                             kt_walk_result_t *ret);

/* ---- verify_store.c ---- */

/* The same in a transaction of its own; then fn is called once with what was looked at. */
kt_status_t kt_verify_store(kt_ctx_t *ctx, kt_store_t *store, kt_check_fn fn, void *arg);

/* ---- store.c: what the calls on a whole store share ---- */

/* The providers with an index: their stores have generations. */
static inline bool kt_has_index(const ktp_provider_t *api)
{
    return (api->capabilities & (KTP_SEALED | KTP_CLEAR_NAMES)) == KTP_SEALED;
}
/* The store that `keyturn init` makes: of the first provider with an index that creates one. False:
 * there is none; *ret_index is that provider's. */
bool kt_find_index(const kt_ctx_t *ctx, size_t *ret_index);
/* Fills in a call on the whole store, which needs `admin` on "*". A refusal is recorded. */
kt_status_t kt_admin_begin(kt_ctx_t *ctx, const kt_request_t *req, const char *action,
                           kt_call_t *ret_call);
/* The worse of two statuses, by their exit status. */
kt_status_t kt_worse(kt_status_t a, kt_status_t b);

/* rekey_check.c: the right to a rekey and the store (NULL: there are clear names only); the key
 * files of consumers (KT_CONFLICT); how much is under which key. */
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
