/* SPDX-License-Identifier: BSD-2-Clause */
/* sync.h: which commits are on the disk. */
#ifndef KEYTURN_LOCAL_SYNC_H
#define KEYTURN_LOCAL_SYNC_H

#include "store.h"

/* `arg`: the instance. Inside the lock of the writer: all that -wal has was synced. */
void local_note_synced(void *arg);
/* Has nothing been committed since? */
int local_is_synced(void *arg);
/* All that is in -wal. May run beside any other call on the instance. */
ktp_status_t local_sync(ktp_instance_t *instance);

#endif /* KEYTURN_LOCAL_SYNC_H */
