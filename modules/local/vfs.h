/* SPDX-License-Identifier: BSD-2-Clause */
/* vfs.h: SQLite's own access to files, but for what it sleeps, and what it writes and syncs of
 * -wal. */
#ifndef KEYTURN_LOCAL_VFS_H
#define KEYTURN_LOCAL_VFS_H

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

/* The VFS of all connections. NULL: the default one, because memory ran out. */
const char *local_vfs(void);
/* For the calling thread: local_clock(), 0: no call runs. */
void local_wait_until(int64_t deadline);

/* What the calling thread writes to one -wal, until its next sync. It has to sync it
 * (synchronous=FULL), because SQLite takes what was gathered for written. */
typedef struct local_gathered {
    sqlite3_file *file;
    sqlite3_int64 at;
    size_t size;
    unsigned char bytes[65536]; /* SQLite has 17 bits for the size of a write */
} local_gathered_t;
void local_gather(local_gathered_t *gathered); /* which the caller keeps until the end */
int local_gather_end(void);                    /* SQLITE_OK, or why it could not be written */

#endif /* KEYTURN_LOCAL_VFS_H */
