/* SPDX-License-Identifier: BSD-2-Clause */
/* watch.h: the change token, and which files the store has now. */
#ifndef KEYTURN_LOCAL_WATCH_H
#define KEYTURN_LOCAL_WATCH_H

#include "store.h"

/* Looks at the files if `now` or if a second went by, and counts what changed in watch.epoch. */
void local_look(ktp_instance_t *instance, int now);
/* Makes the -shm file `id` the one that the token is read from; NULL: none, before the instance is
 * freed. */
void local_use_map(ktp_instance_t *instance, const local_id_t *id);
/* No -wal, or an empty one without -shm: the database is complete by itself. */
int local_stands_alone(const local_files_t *files);
/* What every commit changes. 0: not known. */
int local_index_header(const ktp_instance_t *instance,
                       unsigned char ret_header[LOCAL_INDEX_HEADER]);
/* Bytes of -wal that hold what is committed; -1: not known. Inside a transaction. */
int64_t local_wal_used(const ktp_instance_t *instance);
ktp_status_t local_token(ktp_instance_t *instance, unsigned char ret_token[KTP_TOKEN_SIZE]);

#endif /* KEYTURN_LOCAL_WATCH_H */
