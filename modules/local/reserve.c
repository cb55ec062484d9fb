/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reserve.c: space for the next commit, taken before this one.
 *
 * A commit is written to -wal, after the frames that are there, and nothing else needs room: a
 * checkpoint that fails leaves everything in -wal. So blocks are allocated beyond what it uses.
 *
 * The next part of it is also filled with zeros. A sync of a file that has become longer writes the
 * file system's journal too, and takes half as long again as one of bytes that are there. SQLite
 * stops reading -wal at the zeros, as at any frame with a wrong checksum.
 *
 * SQLite itself can only be asked for a size, and then writes one byte into each page: 193 writes,
 * and 768 KiB that the commit syncs, for each `keyturn set`. So -wal is opened here, against rule 1
 * of store.h: it is the one file on which SQLite holds no lock.
 */
#define _GNU_SOURCE
#include "reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "watch.h"

#define AHEAD (256 * 1024) /* bytes taken beyond that, so that not each commit has to ask */
#define MARGIN (64 * 1024) /* of the file's blocks, some may hold where the others are */
#define ZEROS (64 * 1024)  /* of SQLite's writes, which have 17 bits for their size */
#define FILL (128 * 1024)  /* bytes that are filled at once: five changes of a short secret */
#define FILLED (32 * 1024) /* bytes that are left of them when more are */

static sqlite3_file *wal_of(sqlite3 *db)
{
    sqlite3_file *file = NULL;

    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file) != SQLITE_OK ||
        file == NULL || file->pMethods == NULL)
        return NULL;
    return file;
}

/* 0, or an errno. EOPNOTSUPP: not in this way. The file must be the one that was looked at when
 * SQLite opened it. */
static int allocate(const ktp_instance_t *instance, int64_t end)
{
    const local_id_t *id = &instance->watch.files.wal;
    int fd = open(instance->wal, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    int error = EOPNOTSUPP;
    struct stat st;

    if (fd < 0)
        return EOPNOTSUPP;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_ino == id->ino && st.st_dev == id->dev)
        error = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, end) == 0 ? 0 : errno;
    close(fd);
    return error == ENOSYS || error == EINTR ? EOPNOTSUPP : error;
}

static int allocate_ahead(const ktp_instance_t *instance, int64_t end)
{
    int error;

    if (instance->watch.files.wal_room >= end + MARGIN)
        return 0;
    error = allocate(instance, end + MARGIN + AHEAD);
    return error == ENOSPC || error == EDQUOT ? allocate(instance, end) : error;
}

/* Only what lies after all that SQLite has written, with the lock of the writer. In an empty file
 * vfs.c leaves out a sync. If it fails, the next syncs take longer, and nothing else. */
static void fill_ahead(const ktp_instance_t *instance, sqlite3_file *file, sqlite3_int64 used)
{
    static const unsigned char zeros[ZEROS];
    sqlite3_int64 size = 0, end;

    if (instance->watch.files.wal_size <= 0 || used + FILLED <= instance->watch.files.wal_size)
        return;
    if (file->pMethods->xFileSize(file, &size) != SQLITE_OK || size == 0 || used + FILLED <= size)
        return;
    for (end = size + FILL; size < end; size += ZEROS)
        if (file->pMethods->xWrite(file, zeros, ZEROS, size) != SQLITE_OK)
            return;
}

ktp_status_t local_reserve(ktp_txn_t *txn, uint64_t bytes)
{
    ktp_instance_t *instance = txn->instance;
    sqlite3_file *file = txn->connection != NULL ? wal_of(txn->connection->db) : NULL;
    sqlite3_int64 size = local_wal_used(instance), end;
    int step = 4096, error;

    if (file == NULL || txn->connection->writing == 0)
        return ktp_fail(instance->services, KTP_UNAVAIL, "%s: no writing transaction is open",
                        instance->path);
    if (size < 0 && file->pMethods->xFileSize(file, &size) != SQLITE_OK)
        return ktp_fail(instance->services, KTP_UNAVAIL, "%s: its size is not known",
                        instance->wal);
    end = size + 2 * (sqlite3_int64)bytes;
    error = allocate_ahead(instance, end);
    if (error == 0)
        fill_ahead(instance, file, size);
    if (error == EOPNOTSUPP) {
        (void)file->pMethods->xFileControl(file, SQLITE_FCNTL_CHUNK_SIZE, &step);
        error = file->pMethods->xFileControl(file, SQLITE_FCNTL_SIZE_HINT, &end);
    }
    if (error != 0)
        return ktp_fail(instance->services, KTP_NOSPACE,
                        "%s: no space for what may have to be written next: free %lld bytes",
                        instance->wal, 2 * (long long)bytes);
    return KTP_SUCCESS;
}
