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
    sqlite3 *db;
    int publishes;             /* others may see the commit before its sync */
    void (*synced)(void *arg); /* called when all of -wal is synced, with the lock of the writer */
    void *arg;
    sqlite3_file *file;
    sqlite3_int64 at;
    size_t size;
    unsigned writes;            /* of this commit to -wal, since its last sync */
    int is_synced;              /* there was one, and no write since */
    int late;                   /* flags of the sync that is still to come; 0: none is */
    size_t late_size;           /* then: of what was written last */
    int code;                   /* of that sync */
    unsigned char bytes[65536]; /* SQLite has 17 bits for the size of a write */
} local_gathered_t;
/* Sets all but the first four members; the caller keeps it until the end. */
void local_gather(local_gathered_t *gathered);
int local_gather_end(void); /* SQLITE_OK, or why it could not be written or synced */

/* While the calling thread closes a connection without syncs: the first read of -wal by the
 * checkpoint, which has locked out all others, syncs -wal unless the function says that it is. */
typedef struct local_closing {
    int (*is_synced)(void *arg);
    void *arg;
} local_closing_t;
void local_close_synced(const local_closing_t *closing); /* NULL: it is closed */

#endif /* KEYTURN_LOCAL_VFS_H */
