/* SPDX-License-Identifier: BSD-2-Clause */
/* rows.h: opaque rows in four tables. */
#ifndef KEYTURN_LOCAL_ROWS_H
#define KEYTURN_LOCAL_ROWS_H

#include "store.h"

/* Takes the row of the last call back. */
void local_release(ktp_txn_t *txn);
void local_release_all(ktp_txn_t *txn); /* and what keeps the snapshot */
ktp_status_t local_row_get(ktp_txn_t *txn, const ktp_key_t *key, ktp_row_t *ret_row);
ktp_status_t local_row_put(ktp_txn_t *txn, const ktp_key_t *key, const ktp_row_t *row,
                           uint64_t expected);
ktp_status_t local_row_remove(ktp_txn_t *txn, const ktp_key_t *key, uint64_t expected);
ktp_status_t local_row_scan(ktp_txn_t *txn, ktp_space_t space, ktp_scan_fn fn, void *arg);

#endif /* KEYTURN_LOCAL_ROWS_H */
