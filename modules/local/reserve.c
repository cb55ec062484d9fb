/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reserve.c: space for the next commit, taken before this one.
 *
 * A commit is written to -wal, after the frames that are there, and nothing else needs room: a
 * checkpoint that fails leaves everything in -wal. So -wal is made longer than it is used.
 * SQLite finds zeros after the frames, where after its own checkpoints it finds older frames. The
 * file is the one that SQLite has open: no other code may open and close it (store.h, rule 1).
 */
#include "reserve.h"

#include "error.h"
#include "watch.h"

static sqlite3_file *wal_of(sqlite3 *db)
{
    sqlite3_file *file = NULL;

    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file) != SQLITE_OK ||
        file == NULL || file->pMethods == NULL)
        return NULL;
    return file;
}

ktp_status_t local_reserve(ktp_txn_t *txn, uint64_t bytes)
{
    ktp_instance_t *instance = txn->instance;
    sqlite3_file *file = txn->connection != NULL ? wal_of(txn->connection->db) : NULL;
    sqlite3_int64 size = local_wal_used(instance), end;
    int step = 4096;

    if (file == NULL || txn->connection->writing == 0)
        return ktp_fail(instance->services, KTP_UNAVAIL, "%s: no writing transaction is open",
                        instance->path);
    if (size < 0 && file->pMethods->xFileSize(file, &size) != SQLITE_OK)
        return ktp_fail(instance->services, KTP_UNAVAIL, "%s: its size is not known",
                        instance->wal);
    end = size + 2 * (sqlite3_int64)bytes;
    (void)file->pMethods->xFileControl(file, SQLITE_FCNTL_CHUNK_SIZE, &step);
    if (file->pMethods->xFileControl(file, SQLITE_FCNTL_SIZE_HINT, &end) != SQLITE_OK)
        return ktp_fail(instance->services, KTP_NOSPACE,
                        "%s: no space for what may have to be written next: free %lld bytes",
                        instance->wal, 2 * (long long)bytes);
    return KTP_SUCCESS;
}
