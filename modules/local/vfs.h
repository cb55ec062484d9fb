/* SPDX-License-Identifier: BSD-2-Clause */
/* vfs.h: SQLite's own access to files, but for what it sleeps and what it syncs. */
#ifndef KEYTURN_LOCAL_VFS_H
#define KEYTURN_LOCAL_VFS_H

#include <stdint.h>

/* The VFS of all connections. NULL: the default one, because memory ran out. */
const char *local_vfs(void);
/* For the calling thread: local_clock(), 0: no call runs. */
void local_wait_until(int64_t deadline);

#endif /* KEYTURN_LOCAL_VFS_H */
