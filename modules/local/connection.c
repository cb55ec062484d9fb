/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * connection.c: how a store's file is opened, recognised and locked.
 *
 * A reading connection is opened read-only. SQLite then still needs -wal and -shm: it maps -shm if
 * it may, or reads -wal into memory of its own if no writer is connected. With no -wal at all the
 * database is complete by itself and is opened `immutable`, so that a reader makes no file; rows.c
 * then looks after each row whether that still holds. (The way with readonly_shm=1 for all readers
 * was rejected: a process has one -shm for all its connections, and its writer could not write.)
 *
 * The last connection of all writes -wal back to the database, and leaves -wal as it is: a copy of
 * the database alone is complete, but the database is not synced, because -wal is (sync.c). So a
 * command waits for one sync, that of its commit. The next first connection repairs the index, in
 * which nothing counts as written back then: new frames follow the old ones, and none is
 * overwritten before the database was synced. That happens when -wal has grown, and after something
 * was erased, whose old copies go with it.
 *
 * All waiting has one deadline for the whole call: vfs.c.
 */
#define _GNU_SOURCE
#include "connection.h"

#include <unistd.h>

#include "error.h"
#include "lock.h"
#include "process.h"
#include "statement.h"
#include "sync.h"
#include "vfs.h"
#include "watch.h"

#define OPEN_TRIES 5       /* files that are replaced while they are opened */
#define LENGTH_MAX 1048576 /* bytes of a row or a statement, against a hostile file */

/* ---- is it ours? ---- */

static int ask_number(sqlite3 *db, const char *sql, int64_t *ret_number)
{
    sqlite3_stmt *statement;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

    if (code != SQLITE_OK)
        return code;
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *ret_number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return code == SQLITE_ROW ? SQLITE_OK : code == SQLITE_DONE ? SQLITE_CORRUPT : code;
}

/* All four tables as we made them, and nothing else: a trigger or a view would run inside
 * our statements. */
static int ask_schema(sqlite3 *db, int *ret_ours)
{
    static const char sql[] =
        "SELECT sum(sql IN ('" LOCAL_SCHEMA_META "', '" LOCAL_SCHEMA_HEAD "', '" LOCAL_SCHEMA_VALUE
        "', '" LOCAL_SCHEMA_NODE
        "')) = 4 AND count(*) = 4 FROM sqlite_schema WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'";
    int64_t ours = 0;
    int code = ask_number(db, sql, &ours);

    *ret_ours = (int)ours;
    return code;
}

/* SQLite fills the last page of a file that was cut inside it with zeros. What lies in -wal may
 * well be written to the file in part. */
static int is_cut(const ktp_instance_t *instance, int64_t page)
{
    return instance->watch.files.wal_size <= 0 && page > 0 &&
           instance->watch.files.size % page != 0;
}

static ktp_status_t recognise(const ktp_instance_t *instance, sqlite3 *db, int *ret_code)
{
    int64_t application = 0, format = 0, page = 0;
    int ours = 0, code;

    code = ask_number(db, "PRAGMA application_id", &application);
    if (code == SQLITE_OK)
        code = ask_number(db, "PRAGMA user_version", &format);
    if (code == SQLITE_OK)
        code = ask_number(db, "PRAGMA page_size", &page);
    if (code == SQLITE_OK)
        code = ask_schema(db, &ours);
    *ret_code = code;
    if (code != SQLITE_OK)
        return KTP_UNAVAIL; /* the caller says why, or tries another way */
    if (application != LOCAL_APPLICATION_ID)
        return ktp_fail(instance->services, KTP_MALFORMED,
                        "%s is not a keyturn store (an SQLite file with application id 0x%08x%s): "
                        "choose another path, or restore a backup",
                        instance->path, (unsigned)application,
                        application == 0 && format == 0 ? ", perhaps empty" : "");
    if (format > LOCAL_FORMAT)
        return ktp_fail(instance->services, KTP_MALFORMED,
                        "%s was made by a newer keyturn (format %lld, this one knows %d): "
                        "use the newer one",
                        instance->path, (long long)format, LOCAL_FORMAT);
    if (format != LOCAL_FORMAT || !ours)
        return ktp_fail(instance->services, KTP_MALFORMED,
                        "%s is not as keyturn made it (format %lld, foreign or missing tables): "
                        "restore a backup",
                        instance->path, (long long)format);
    if (is_cut(instance, page))
        return ktp_fail(instance->services, KTP_MALFORMED,
                        "%s is damaged (cut short): restore a backup", instance->path);
    return KTP_SUCCESS;
}

/* ---- opening ---- */

static void configure(local_connection_t *connection)
{
    sqlite3 *db = connection->db;
    int persist = 1;

    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_handler(db, local_on_busy, connection);
    sqlite3_limit(db, SQLITE_LIMIT_LENGTH, LENGTH_MAX);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    /* a reader too, because its uid may well be allowed to delete the files when it is the last to
     * close */
    sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
    if (!connection->writing)
        sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}

/* secure_delete: what was destroyed is overwritten, sealed as it is. */
static int configure_writer(sqlite3 *db)
{
    return sqlite3_exec(db,
                        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA "
                        "secure_delete = ON; PRAGMA cell_size_check = ON;"
                        "PRAGMA journal_size_limit = " LOCAL_TEXT(LOCAL_WAL_LIMIT),
                        NULL, NULL, NULL);
}

/* All pages of a store that fits, so that each is read once. For a larger one SQLite's own 2 MB are
 * left: most of its pages are read again whatever is kept, and into memory that a CPU's cache holds
 * they are copied faster. */
static int configure_reader(const ktp_instance_t *instance, sqlite3 *db)
{
    if (instance->watch.files.size > LOCAL_CACHE * INT64_C(1024))
        return SQLITE_OK;
    return sqlite3_exec(db, "PRAGMA cache_size = -" LOCAL_TEXT(LOCAL_CACHE), NULL, NULL, NULL);
}

/* "file:" and the path, with what is special in a URI written as %XX. The caller frees it by
 * sqlite3_free(). */
static char *immutable_uri(const char *path)
{
    sqlite3_str *uri = sqlite3_str_new(NULL);

    sqlite3_str_appendall(uri, "file:");
    for (const unsigned char *at = (const unsigned char *)path; *at != '\0'; at++)
        sqlite3_str_appendf(uri, *at == '%' || *at == '?' || *at == '#' ? "%%%02x" : "%c", *at);
    sqlite3_str_appendall(uri, "?immutable=1");
    return sqlite3_str_finish(uri);
}

static int open_file(const ktp_instance_t *instance, local_connection_t *connection)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
    char *uri = NULL;
    int code;

    flags |= connection->writing ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
    if (connection->alone) {
        uri = immutable_uri(instance->path);
        flags |= SQLITE_OPEN_URI;
        if (uri == NULL)
            return SQLITE_NOMEM;
    }
    code = sqlite3_open_v2(uri != NULL ? uri : instance->path, &connection->db, flags, local_vfs());
    sqlite3_free(uri);
    if (connection->db != NULL)
        local_count(1);
    if (code == SQLITE_OK)
        configure(connection);
    else if (connection->db != NULL)
        code = sqlite3_extended_errcode(connection->db);
    return code;
}

/* A connection to files that are not the store's any more must not write them back at its end. */
static void close_file(ktp_instance_t *instance, local_connection_t *connection)
{
    const local_closing_t closing = {local_is_synced, instance};

    if (connection->db == NULL)
        return;
    if (connection->epoch != instance->watch.epoch)
        sqlite3_db_config(connection->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    local_finish_statements(connection);
    local_close_synced(connection->writing ? &closing : NULL);
    sqlite3_close(connection->db);
    local_close_synced(NULL);
    connection->db = NULL;
    local_count(-1);
}

/* If this is the last connection of all, -wal stays. */
static void keep_wal(const ktp_instance_t *instance, sqlite3 *db)
{
    int64_t used = local_wal_used(instance);

    if (!instance->erased && used >= 0 && used <= LOCAL_WAL_KEPT)
        (void)sqlite3_exec(db, "PRAGMA synchronous = OFF; PRAGMA journal_size_limit = -1", NULL,
                           NULL, NULL);
}

void local_disconnect(ktp_instance_t *instance, local_connection_t *connection)
{
    if (connection->db != NULL && connection->writing) {
        local_look(instance, 1);
        keep_wal(instance, connection->db);
    }
    close_file(instance, connection);
}

/* *ret_code is SQLite's if that is what failed, and then nothing was said yet. */
static ktp_status_t open_once(ktp_instance_t *instance, local_connection_t *connection,
                              int *ret_code)
{
    ktp_status_t status;

    connection->alone = !connection->writing && local_stands_alone(&instance->watch.files);
    *ret_code = open_file(instance, connection);
    if (*ret_code == SQLITE_OK && connection->writing &&
        sqlite3_db_readonly(connection->db, "main") == 1)
        return local_forbidden(instance, instance->path, "writing");
    if (*ret_code != SQLITE_OK)
        return KTP_UNAVAIL;
    status = recognise(instance, connection->db, ret_code);
    if (status == KTP_SUCCESS)
        *ret_code = connection->writing ? configure_writer(connection->db)
                                        : configure_reader(instance, connection->db);
    return *ret_code != SQLITE_OK ? KTP_UNAVAIL : status;
}

static int stayed(const local_id_t *before, const local_id_t *now)
{
    return before->ino == 0 || (before->ino == now->ino && before->dev == now->dev);
}

/* Is it open on the files that are there now? Opening may have made -wal and -shm, and a writer may
 * have come; but one that was there before and is another now may be the one that was opened. */
static int is_up_to_date(ktp_instance_t *instance, const local_connection_t *connection,
                         const local_files_t *before)
{
    const local_files_t *now = &instance->watch.files;
    int moved = 0;

    local_look(instance, 1);
    sqlite3_file_control(connection->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    return !moved && stayed(&before->wal, &now->wal) && stayed(&before->shm, &now->shm) &&
           (!connection->alone || local_stands_alone(now));
}

static ktp_status_t open_connection(ktp_instance_t *instance, local_connection_t *connection)
{
    local_files_t before = instance->watch.files;
    ktp_status_t status;
    int code = SQLITE_OK;

    status = open_once(instance, connection, &code);
    if (code != SQLITE_OK)
        status = local_sqlite_fail(instance, connection->db, code,
                                   connection->writing ? "writing" : "reading");
    if (status == KTP_SUCCESS)
        connection->epoch =
            is_up_to_date(instance, connection, &before) ? instance->watch.epoch : 0;
    else
        close_file(instance, connection);
    return status;
}

/* Both, and before either is opened again: SQLite has one -shm for all connections of a process to
 * a database. If one of them stays open on a -shm that was deleted, a new one joins it there, and
 * its commits are invisible to all other processes. */
static void close_outdated(ktp_instance_t *instance)
{
    if (instance->reader.epoch != instance->watch.epoch)
        close_file(instance, &instance->reader);
    if (instance->writer.epoch != instance->watch.epoch)
        close_file(instance, &instance->writer);
}

ktp_status_t local_connect(ktp_instance_t *instance, local_connection_t *connection)
{
    ktp_status_t status;

    local_look(instance, connection->writing || connection->alone || connection->db == NULL);
    for (int try = 0; try < OPEN_TRIES; try++) {
        if (connection->db != NULL && connection->epoch == instance->watch.epoch)
            return KTP_SUCCESS;
        close_outdated(instance);
        if (instance->watch.files.error != 0)
            return local_errno_fail(instance, instance->watch.files.error, instance->path);
        status = open_connection(instance, connection);
        if (status != KTP_SUCCESS)
            return status;
    }
    return ktp_fail(instance->services, KTP_TRYAGAIN, "%s: its files are being replaced",
                    instance->path);
}
