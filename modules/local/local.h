/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * local.h: the provider `local`, one SQLite file of sealed rows for an environment.
 *
 *   local.c       what the host sees: options, check, transactions
 *   rows.c        get, put, remove, scan: one table of statements
 *   connection.c  how a file is opened, recognised, locked
 *   lock.c        how long a lock is waited for, and who holds it
 *   error.c       what an SQLite error means, and what an operator is told
 *   create.c      a new store
 *   reserve.c     space for the next commit
 *   watch.c       the change token, replaced files, forks
 *
 * An instance has two connections, each opened when it is first needed: a read-only one for reading
 * transactions, so that a consumer never needs more than read permission, and a read-write one for
 * writing transactions.
 *
 * Three rules that cost data when they are broken:
 *   1. Nobody opens and closes the database, -wal or -shm beside SQLite: closing any descriptor of
 *      a file drops all fcntl locks that the process has on it, SQLite's too. watch.c opens -shm
 *      and never closes it.
 *   2. Nothing is carried over a fork: neither a connection nor SQLite's process-wide table of
 *      locks.
 *   3. Each writing connection sets SQLITE_FCNTL_PERSIST_WAL: a reader without write permission
 *      needs both files.
 */
#ifndef KEYTURN_LOCAL_H
#define KEYTURN_LOCAL_H

#include <keyturn_provider.h>
#include <sqlite3.h>
#include <stdint.h>
#include <sys/types.h>

#define LOCAL_APPLICATION_ID 0x4b545331 /* "KTS1", at offset 68 of the file */
#define LOCAL_FORMAT 1                  /* user_version: the tables below */
#define LOCAL_PATH_MAX 4000u            /* bytes, so that "-journal" still fits into PATH_MAX */
#define LOCAL_WAL_LIMIT 4194304         /* bytes that -wal shrinks back to after it grew */
#define LOCAL_TIMEOUT 5000  /* milliseconds, for create and check, which are told none */
#define LOCAL_READ_WAIT 500 /* milliseconds that a read waits at least, for a repair */

/* A number of the above as text, for SQL. */
#define LOCAL_TEXT_OF(number) #number
#define LOCAL_TEXT(number) LOCAL_TEXT_OF(number)

/* The tables, as they stand in sqlite_schema: what is there besides them is not ours. */
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
    int64_t db_size, db_mtime; /* 0 unless the database stands alone */
    int error;                 /* errno of the database's stat, EISDIR if it is no file, or 0 */
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
    local_map_t *map; /* NULL: there is none to be had */
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
    sqlite3_stmt *active;           /* its row is in the caller's hands until the next call */
};

struct ktp_instance {
    const ktp_services_t *services;
    char *path;      /* the database, its folder resolved */
    char *wal, *shm; /* its companions */
    int64_t timeout; /* milliseconds, the longest wait for the write lock */
    pid_t pid;
    local_watch_t watch;
    local_connection_t reader, writer;
    ktp_txn_t txn;
};

/* ---- watch.c ---- */

/* Milliseconds of a clock that only goes on; no system call, 4 ms coarse. */
int64_t local_clock(void);
/* The calling process; no system call but for the first time after a fork. */
pid_t local_process(void);
/* Counts the open connections of this process. local_inherited(): the process that left us some by
 * a fork, or 0. */
void local_count(int change);
pid_t local_inherited(void);
/* Looks at the files if `now` or if a second went by, and counts what changed in watch.epoch. */
void local_look(ktp_instance_t *instance, int now);
/* Makes the -shm file `id` the one that the token is read from; NULL: none, before the instance is
 * freed. */
void local_use_map(ktp_instance_t *instance, const local_id_t *id);
/* No -wal, or an empty one without -shm: the database is complete by itself. */
int local_stands_alone(const local_files_t *files);
/* Bytes of -wal that hold what is committed; -1: that cannot be told. Inside a transaction. */
int64_t local_wal_used(const ktp_instance_t *instance);
ktp_status_t local_token(ktp_instance_t *instance, unsigned char ret_token[KTP_TOKEN_SIZE]);

/* ---- lock.c ---- */

#define LOCAL_WRITE_LOCK 120 /* SQLite's byte for the writer, who locks it for writing */
#define LOCAL_ALIVE_LOCK 128 /* its byte that every connection to -shm holds */

typedef struct local_holder {
    const char *file;
    ino_t ino;
    pid_t pid;  /* -1: the lock is an open file description's; 0: of another pid namespace */
    int shared; /* for reading */
} local_holder_t;

/* The VFS of all connections: SQLite's own, with a sleep that ends at the deadline. NULL: the
 * default one, for want of memory. */
const char *local_vfs(void);
/* For the calling thread: local_clock(), 0: no call runs. */
void local_wait_until(int64_t deadline);
int local_on_busy(void *arg, int count); /* the busy handler of a local_connection_t */
/* Who keeps us from writing, or from repairing the index; 0: nobody else, any more. */
int local_find_holder(const ktp_instance_t *instance, local_holder_t *ret_holder);
/* Who keeps -wal from being emptied. */
int local_find_pin(const ktp_instance_t *instance, local_holder_t *ret_holder);
/* "process 4711 (python3 of www-data, uid 33)" */
void local_describe_holder(const local_holder_t *holder, char *text, size_t size);

/* ---- error.c ---- */

/* Says why and answers `status`. Every failing call of the provider comes through here exactly
 * once. */
ktp_status_t local_fail(const ktp_instance_t *instance, ktp_status_t status, const char *format,
                        ...) __attribute__((format(printf, 3, 4)));
/* The same for the last error of a connection, `code` extended; `doing` is "reading", "writing". */
ktp_status_t local_sqlite_fail(const ktp_instance_t *instance, sqlite3 *db, int code,
                               const char *doing);
/* The same for errno of a system call on `path`. */
ktp_status_t local_errno_fail(const ktp_instance_t *instance, int error, const char *path);
/* No permission: names the file of the three that is to blame, or `path`. */
ktp_status_t local_forbidden(const ktp_instance_t *instance, const char *path, const char *doing);
/* KTP_TRYAGAIN, with the process that holds the lock if it is another one. */
ktp_status_t local_locked_fail(const ktp_instance_t *instance, const char *doing);

/* ---- connection.c ---- */

/* Opens the connection, or opens it again if the files were replaced. Waits until its deadline at
 * most. */
ktp_status_t local_connect(ktp_instance_t *instance, local_connection_t *connection);
void local_disconnect(ktp_instance_t *instance, local_connection_t *connection);
/* A statement, prepared at first use; NULL: said why, in *ret_status. Given back by
 * sqlite3_reset(). */
sqlite3_stmt *local_statement(const ktp_instance_t *instance, local_connection_t *connection,
                              int which, ktp_status_t *ret_status);
/* Runs a statement that answers no row. */
ktp_status_t local_run(const ktp_instance_t *instance, local_connection_t *connection, int which,
                       const char *doing);

/* ---- create.c ---- */

ktp_status_t local_create(ktp_instance_t *instance);

/* ---- reserve.c ---- */

/* -wal is as long on the disk as this transaction and one of `bytes` after it may make it. */
ktp_status_t local_reserve(ktp_txn_t *txn, uint64_t bytes);

/* ---- rows.c ---- */

extern const char *const local_sql[LOCAL_STATEMENTS];

/* Takes the row of the last call back. */
void local_release(ktp_txn_t *txn);
ktp_status_t local_row_get(ktp_txn_t *txn, const ktp_key_t *key, ktp_row_t *ret_row);
ktp_status_t local_row_put(ktp_txn_t *txn, const ktp_key_t *key, const ktp_row_t *row,
                           uint64_t expected);
ktp_status_t local_row_remove(ktp_txn_t *txn, const ktp_key_t *key, uint64_t expected);
ktp_status_t local_row_scan(ktp_txn_t *txn, ktp_space_t space, ktp_scan_fn fn, void *arg);

#endif /* KEYTURN_LOCAL_H */
