/* SPDX-License-Identifier: BSD-2-Clause */
/* rows.h: a bundle as rows, and rows as a bundle. */
#ifndef KEYTURN_REDIS_ROWS_H
#define KEYTURN_REDIS_ROWS_H

#include "instance.h"

ktp_instance_t *kr_instance(const ktp_txn_t *txn);
ktp_status_t kr_begin(ktp_instance_t *instance, int writing, unsigned timeout, ktp_txn_t **ret_txn);
ktp_status_t kr_row_get(ktp_txn_t *txn, const ktp_key_t *key, ktp_row_t *ret_row);
ktp_status_t kr_row_put(ktp_txn_t *txn, const ktp_key_t *key, const ktp_row_t *row,
                        uint64_t expected);
ktp_status_t kr_row_remove(ktp_txn_t *txn, const ktp_key_t *key, uint64_t expected);
/* When the secret of the head that was put ends. */
ktp_status_t kr_expire(ktp_txn_t *txn, const ktp_key_t *key, int64_t when);
ktp_status_t kr_row_scan(ktp_txn_t *txn, ktp_space_t space, ktp_scan_fn fn, void *arg);
ktp_status_t kr_commit(ktp_txn_t *txn);
void kr_abort(ktp_txn_t *txn);

#endif /* KEYTURN_REDIS_ROWS_H */
