/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store.h: the provider `local`, one SQLite file of sealed rows for an environment: its types, and
 * the map of its files. A file calls only files further down, and each has a header of its name.
 *
 *   local.c       what the host sees: options, check, transactions
 *   create.c      a new store
 *   reserve.c     space for the next commit
 *   rows.c        get, put, remove, scan
 *   connection.c  how a file is opened, recognised, closed
 *   sync.c        which commits are on the disk
 *   statement.c   the SQL, prepared at first use
 *   watch.c       the change token, replaced files
 *   error.c       what an SQLite error means, and what an operator reads
 *   lock.c        how long a lock is waited for, and who holds it
 *   vfs.c         what SQLite sleeps and syncs, and when
 *   process.c     the clock, forks, open connections
 *
 * An instance has two connections, each opened when it is first needed: a read-only one for reading
 * transactions, so that a consumer never needs more than read permission, and a read-write one for
 * writing transactions.
 *
 * Three rules that cost data when they are broken:
 *   1. No code but SQLite opens and closes the database, -wal or -shm: closing any descriptor of a
 *      file drops all fcntl locks that the process has on it, SQLite's too. watch.c opens -shm
 *      and never closes it; reserve.c and sync.c open -wal, on which SQLite has no lock.
 *   2. Nothing is carried over a fork: neither a connection nor SQLite's process-wide table of
 *      locks.
 *   3. Each writing connection sets SQLITE_FCNTL_PERSIST_WAL: a reader without write permission
 *      needs both files.
 */
#ifndef KEYTURN_LOCAL_STORE_H
#define KEYTURN_LOCAL_STORE_H

#include <keyturn_provider.h>
#include <sqlite3.h>
#include <stdint.h>
#include <sys/types.h>

#define LOCAL_APPLICATION_ID 0x4b545331 /* "KTS1", at offset 68 of the file */
#define LOCAL_FORMAT 1                  /* user_version: the tables below */
#define LOCAL_PATH_MAX 4000u            /* bytes, so that "-journal" still fits into PATH_MAX */
#define LOCAL_WAL_LIMIT 4194304         /* bytes that -wal shrinks back to after it grew */
#define LOCAL_WAL_KEPT 1048576          /* bytes of it that the last connection leaves at most */
#define LOCAL_CACHE 8000                /* KiB: a reader keeps all pages of a store up to here */
#define LOCAL_TIMEOUT 5000              /* milliseconds, for create and check, which get none */
#define LOCAL_INDEX_HEADER 48           /* bytes of the header of the WAL index */
#define LOCAL_READ_WAIT 500             /* milliseconds that a read waits at least, for a repair */

/* A number of the above as text, for SQL. */
#define LOCAL_TEXT_OF(number) #number
#define LOCAL_TEXT(number) LOCAL_TEXT_OF(number)

/* The tables, as they stand in sqlite_schema: anything else is not ours. */
#define LOCAL_SCHEMA_META                                                                          \
    "CREATE TABLE meta(id BLOB PRIMARY KEY, stamp INTEGER NOT NULL, record BLOB NOT NULL) "        \
    "WITHOUT ROWID"
#define LOCAL_SCHEMA_HEAD                                                                          \
    "CREATE TABLE head(id BLOB PRIMARY KEY, stamp INTEGER NOT NULL, record BLOB NOT NULL, "        \
    "value BLOB) WITHOUT ROWID"
#define LOCAL_SCHEMA_VALUE                                                                         \
    "CREATE TABLE value(id BLOB, version INTEGER, stamp INTEGER NOT NULL, record BLOB NOT NULL, "  \
    "PRIMARY KEY(id, version)) WITHOUT ROWID"
#define LOCAL_SCHEMA_NODE                                                                          \
    "CREATE TABLE node(id BLOB PRIMARY KEY, stamp INTEGER NOT NULL, record BLOB NOT NULL) "        \
    "WITHOUT ROWID"

enum { LOCAL_GET, LOCAL_INSERT, LOCAL_UPDATE, LOCAL_REMOVE, LOCAL_OPS };
enum {
    LOCAL_BEGIN = 4 * LOCAL_OPS,
    LOCAL_BEGIN_IMMEDIATE,
    LOCAL_COMMIT,
    LOCAL_ROLLBACK,
    LOCAL_STATEMENTS
};

/* A file by what it is, not by its name; ino 0: there is none. */
typedef struct local_id {
    dev_t dev;
    ino_t ino;
} local_id_t;

/* The three files of a store at one moment. */
typedef struct local_files {
    local_id_t db, wal, shm;
    int64_t size, wal_size;    /* -1: there is none */
    int64_t wal_room;          /* bytes of the blocks that -wal has */
    int64_t db_size, db_mtime; /* 0 unless the database stands alone */
    int error;                 /* errno of the database's stat, EISDIR if it is not a file, or 0 */
} local_files_t;

/* A -shm file that this process has mapped. */
typedef struct local_map {
    local_id_t id;
    int fd; /* -1: a free place */
    unsigned users;
    void *header; /* NULL: the file is empty */
} local_map_t;

typedef struct local_watch {
    local_files_t files;
    uint64_t digest;  /* of `files` */
    local_map_t *map; /* NULL: none could be made */
    uint64_t epoch;   /* counts changes of `files`; 0: never looked */
    int64_t next;     /* when to look again, local_clock() */
} local_watch_t;

typedef struct local_connection {
    sqlite3 *db;                               /* NULL: not open */
    sqlite3_stmt *statement[LOCAL_STATEMENTS]; /* prepared at first use */
    uint64_t epoch;                            /* of the files that it is open on */
    int64_t deadline;                          /* local_clock(), of the call that runs */
    int writing;
    int alone; /* opened immutable: there was no -wal */
} local_connection_t;

struct ktp_txn {
    ktp_instance_t *instance;
    local_connection_t *connection; /* NULL: no transaction is open */
    int begun;                      /* BEGIN was run: a reading one does without for one row */
    int erased, lost;     /* a head without a value; rows of values, less those that came */
    sqlite3_stmt *active; /* its row is in the caller's hands until the next call */
    sqlite3_stmt *first;  /* of a reading one without BEGIN: it keeps the snapshot until the end */
};

struct ktp_instance {
    const ktp_services_t *services;
    char *path;      /* the database, its folder resolved */
    char *wal, *shm; /* its companions */
    int64_t timeout; /* milliseconds, the longest wait for the write lock */
    pid_t pid;
    int erased; /* a commit left old values nowhere but in -wal */
    int is_noted;
    unsigned char noted[LOCAL_INDEX_HEADER]; /* then: when -wal was synced last: sync.c */
    local_watch_t watch;
    local_connection_t reader, writer;
    ktp_txn_t txn;
};

#endif /* KEYTURN_LOCAL_STORE_H */
