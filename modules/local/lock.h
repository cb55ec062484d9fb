/* SPDX-License-Identifier: BSD-2-Clause */
/* lock.h: how long a lock is waited for, and who holds it. */
#ifndef KEYTURN_LOCAL_LOCK_H
#define KEYTURN_LOCAL_LOCK_H

#include "store.h"

#define LOCAL_WRITE_LOCK 120 /* SQLite's byte for the writer, which locks it for writing */
#define LOCAL_ALIVE_LOCK 128 /* its byte that every connection to -shm holds */

typedef struct local_holder {
    const char *file;
    ino_t ino;
    pid_t pid;  /* -1: the lock is an open file description's; 0: of another pid namespace */
    int shared; /* for reading */
} local_holder_t;

int local_on_busy(void *arg, int count); /* the busy handler of a local_connection_t */
/* The process that keeps us from writing, or from repairing the index; 0: none, any more. */
int local_find_holder(const ktp_instance_t *instance, local_holder_t *ret_holder);
/* The process that keeps -wal from being emptied. */
int local_find_pin(const ktp_instance_t *instance, local_holder_t *ret_holder);
/* "process 4711 (python3 of www-data, uid 33)" */
void local_describe_holder(const local_holder_t *holder, char *text, size_t size);

#endif /* KEYTURN_LOCAL_LOCK_H */
