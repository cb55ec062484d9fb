/* SPDX-License-Identifier: BSD-2-Clause */
/* reserve.h: space for the next commit. */
#ifndef KEYTURN_LOCAL_RESERVE_H
#define KEYTURN_LOCAL_RESERVE_H

#include "store.h"

/* -wal is as long on the disk as this transaction and one of `bytes` after it may make it. */
ktp_status_t local_reserve(ktp_txn_t *txn, uint64_t bytes);

#endif /* KEYTURN_LOCAL_RESERVE_H */
