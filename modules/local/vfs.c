/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vfs.c: SQLite's own access to files, but for four things.
 *
 * Its sleep. SQLite asks a busy handler only for some of its waits. Where it repairs the index of
 * -wal, or looks for a place among the readers, it sleeps by itself and gives up after 10 s
 * ("locking protocol"), and any process that may read -shm can cause that by a lock for reading on
 * one of its bytes. Past the deadline of the call there is no sleep, and SQLite runs through its
 * tries at once.
 *
 * Two syncs of -wal, which make a write of a process that has just started wait twice as long:
 *
 *   its folder    SQLite syncs it with the first sync of each process, because the process may have
 *                 made the file. If the file has contents, the process that made it
 *                 has synced the folder here, when it was still empty.
 *   its header    SQLite syncs it before the first frame. If frames of before follow, an old header
 *                 must not meet new frames. In a file that was empty nothing follows, and the sync
 *                 of the commit is enough: without it the file is not valid.
 *
 * Its writes of a commit. SQLite writes each frame by two calls. They are gathered and written
 * at once, at the latest by the sync: before it SQLite tells no reader of the frames, and its
 * answer can still fail the commit.
 *
 * And when a publication is synced: after it is seen, and before the lock of the writer is
 * released (sync.c). Only the one sync that follows the commit's frames comes later. The sync of
 * the header of -wal has no frame before it; that of a checkpoint comes after the release.
 */
#define _GNU_SOURCE
#include "vfs.h"

#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process.h"
#include "store.h"

#define WAL_HEADER 32

static _Thread_local int64_t waiting_until;      /* of the call that runs; 0: none does */
static _Thread_local local_gathered_t *gathered; /* of the commit that runs; NULL: none does */
static _Thread_local const local_closing_t *closing;
static pthread_once_t vfs_once = PTHREAD_ONCE_INIT;
static pthread_mutex_t methods_lock = PTHREAD_MUTEX_INITIALIZER;
static sqlite3_vfs *system_vfs, own_vfs;
static const sqlite3_io_methods *system_methods; /* of the first -wal; NULL: none yet */
static sqlite3_io_methods own_methods;           /* the same, but for what it writes and syncs */
static const sqlite3_io_methods *db_methods;     /* of the first database; NULL: none yet */
static sqlite3_io_methods own_db_methods;        /* the same, but for its locks */

/* ---- sleep ---- */

void local_wait_until(int64_t deadline)
{
    waiting_until = deadline;
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
    int64_t left = waiting_until == 0 ? us : (waiting_until - local_clock()) * 1000;

    (void)vfs;
    if (left <= 0)
        return 0;
    return system_vfs->xSleep(system_vfs, us < left ? us : (int)left);
}

/* ---- the frames of a commit ---- */

/* Only then its late sync comes before the lock of the writer is released. */
static int keeps_lock(sqlite3 *db)
{
    sqlite3_file *file = NULL;

    return sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK &&
           file != NULL && file->pMethods == &own_db_methods;
}

void local_gather(local_gathered_t *begun)
{
    begun->file = NULL;
    begun->at = 0;
    begun->size = begun->late_size = 0;
    begun->writes = 0;
    begun->is_synced = begun->late = 0;
    begun->publishes = begun->publishes && keeps_lock(begun->db);
    begun->code = SQLITE_OK;
    gathered = begun;
}

static int write_now(sqlite3_file *file, const void *bytes, size_t size, sqlite3_int64 at)
{
    gathered->writes++;
    gathered->is_synced = 0;
    return system_methods->xWrite(file, bytes, (int)size, at);
}

static int write_gathered(sqlite3_file *file)
{
    size_t size;

    if (gathered == NULL || gathered->file != file || gathered->size == 0)
        return SQLITE_OK;
    size = gathered->size;
    gathered->size = 0;
    return write_now(file, gathered->bytes, size, gathered->at);
}

/* After a sync that failed the kernel may take for written what it could not write, and the next
 * sync would say so. Hence the frames are written once more: they are the last ones, as long as
 * the lock of the writer is held. */
static void sync_late(void)
{
    sqlite3_file *file = gathered->file;
    int flags = gathered->late, code;

    gathered->late = 0;
    code = system_methods->xSync(file, flags);
    if (code != SQLITE_OK && system_methods->xWrite(file, gathered->bytes, (int)gathered->late_size,
                                                    gathered->at) == SQLITE_OK)
        code = system_methods->xSync(file, flags);
    gathered->is_synced = code == SQLITE_OK;
    gathered->code = code;
}

int local_gather_end(void)
{
    int code = gathered->file != NULL ? write_gathered(gathered->file) : SQLITE_OK;

    if (gathered->late != 0) /* the commit has failed since, and the lock is still held */
        sync_late();
    if (code == SQLITE_OK)
        code = gathered->code;
    gathered = NULL;
    return code;
}

static int wal_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 at)
{
    int code;

    if (gathered == NULL)
        return system_methods->xWrite(file, bytes, size, at);
    if (gathered->file != file || at != gathered->at + (sqlite3_int64)gathered->size ||
        gathered->size + (size_t)size > sizeof gathered->bytes) {
        code = gathered->file != NULL ? write_gathered(gathered->file) : SQLITE_OK;
        if (code != SQLITE_OK || (size_t)size > sizeof gathered->bytes)
            return code != SQLITE_OK ? code : write_now(file, bytes, (size_t)size, at);
        gathered->file = file;
        gathered->at = at;
    }
    memcpy(gathered->bytes + gathered->size, bytes, (size_t)size);
    gathered->size += (size_t)size;
    return SQLITE_OK;
}

/* ---- -wal ---- */

void local_close_synced(const local_closing_t *asked)
{
    closing = asked;
}

/* What closes holds the lock of all processes by now. */
static int sync_before_close(sqlite3_file *file)
{
    const local_closing_t *asked = closing;

    closing = NULL;
    return asked->is_synced(asked->arg) ? SQLITE_OK
                                        : system_methods->xSync(file, SQLITE_SYNC_NORMAL);
}

static int wal_read(sqlite3_file *file, void *ret_bytes, int size, sqlite3_int64 at)
{
    int code = write_gathered(file);

    if (code == SQLITE_OK && closing != NULL)
        code = sync_before_close(file);
    return code == SQLITE_OK ? system_methods->xRead(file, ret_bytes, size, at) : code;
}

static int wal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    int code = write_gathered(file);

    return code == SQLITE_OK ? system_methods->xTruncate(file, size) : code;
}

static int wal_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
    int code = write_gathered(file);

    return code == SQLITE_OK ? system_methods->xFileSize(file, ret_size) : code;
}

/* Only if the frames of the commit are one write: sync_late() may have to repeat it. */
static int may_be_late(const sqlite3_file *file)
{
    return gathered != NULL && gathered->publishes && gathered->file == file &&
           gathered->size > 0 && gathered->at >= WAL_HEADER && gathered->writes == 0;
}

static int wal_sync(sqlite3_file *file, int flags)
{
    int late = may_be_late(file), code;
    sqlite3_int64 size = 0;

    if (late) {
        gathered->publishes = 0;
        gathered->late_size = gathered->size;
    }
    code = write_gathered(file);
    if (code != SQLITE_OK)
        return code;
    if (late) {
        gathered->late = flags;
        return SQLITE_OK;
    }
    if (system_methods->xFileSize(file, &size) == SQLITE_OK && size == WAL_HEADER)
        return SQLITE_OK;
    code = system_methods->xSync(file, flags);
    if (code == SQLITE_OK && gathered != NULL) {
        gathered->writes = 0;
        gathered->is_synced = 1;
    }
    return code;
}

/* A -wal on a file system for which SQLite has other methods keeps them. */
static void replace_methods(sqlite3_file *file)
{
    pthread_mutex_lock(&methods_lock);
    if (system_methods == NULL) {
        own_methods = *file->pMethods;
        own_methods.xRead = wal_read;
        own_methods.xWrite = wal_write;
        own_methods.xTruncate = wal_truncate;
        own_methods.xFileSize = wal_size;
        own_methods.xSync = wal_sync;
        system_methods = file->pMethods;
    }
    if (file->pMethods == system_methods)
        file->pMethods = &own_methods;
    pthread_mutex_unlock(&methods_lock);
}

/* ---- the lock of the writer ---- */

/* SQLite's lock 0 in -shm. It is released after the commit is seen. */
static int db_shm_lock(sqlite3_file *file, int first, int count, int flags)
{
    if (gathered != NULL && first == 0 && flags == (SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE)) {
        if (gathered->late != 0)
            sync_late();
        if (gathered->is_synced)
            gathered->synced(gathered->arg);
        gathered->is_synced = 0;
    }
    return db_methods->xShmLock(file, first, count, flags);
}

static void replace_db_methods(sqlite3_file *file)
{
    pthread_mutex_lock(&methods_lock);
    if (db_methods == NULL && file->pMethods->iVersion >= 2) {
        own_db_methods = *file->pMethods;
        own_db_methods.xShmLock = db_shm_lock;
        db_methods = file->pMethods;
    }
    if (file->pMethods == db_methods)
        file->pMethods = &own_db_methods;
    pthread_mutex_unlock(&methods_lock);
}

static int sync_folder_of(const char *path)
{
    char copy[LOCAL_PATH_MAX + 64];
    int fd, failed;

    if (strlen(path) >= sizeof copy)
        return -1;
    memcpy(copy, path, strlen(path) + 1);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    failed = fsync(fd);
    close(fd);
    return failed;
}

static int open_wal(const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    struct stat st;
    int there = lstat(name, &st) == 0, code;

    if (there && st.st_size > 0)
        flags &= ~SQLITE_OPEN_CREATE; /* and so without a sync of its folder */
    code = system_vfs->xOpen(system_vfs, name, file, flags, ret_flags);
    if (code != SQLITE_OK)
        return code;
    if (!there && sync_folder_of(name) != 0) {
        file->pMethods->xClose(file);
        file->pMethods = NULL;
        return SQLITE_IOERR_DIR_FSYNC;
    }
    replace_methods(file);
    return SQLITE_OK;
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                    int *ret_flags)
{
    int code;

    (void)vfs;
    if ((flags & SQLITE_OPEN_WAL) && name != NULL)
        return open_wal(name, file, flags, ret_flags);
    code = system_vfs->xOpen(system_vfs, name, file, flags, ret_flags);
    if (code == SQLITE_OK && (flags & SQLITE_OPEN_MAIN_DB))
        replace_db_methods(file);
    return code;
}

/* ---- all of it ---- */

static void make_vfs(void)
{
    system_vfs = sqlite3_vfs_find(NULL);
    if (system_vfs == NULL)
        return;
    own_vfs = *system_vfs;
    own_vfs.zName = "keyturn-local";
    own_vfs.pNext = NULL;
    own_vfs.xSleep = vfs_sleep;
    own_vfs.xOpen = vfs_open;
    if (sqlite3_vfs_register(&own_vfs, 0) != SQLITE_OK)
        system_vfs = NULL;
}

const char *local_vfs(void)
{
    pthread_once(&vfs_once, make_vfs);
    return system_vfs != NULL ? own_vfs.zName : NULL;
}
