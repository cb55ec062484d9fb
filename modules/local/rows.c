/* SPDX-License-Identifier: BSD-2-Clause */
/* rows.c: opaque rows in four tables. statement.c numbers the parameters of their SQL. */
#include "rows.h"

#include <string.h>

#include "error.h"
#include "process.h"
#include "statement.h"
#include "watch.h"

static const char *const scan_sql[] = {
    [KTP_META] = "SELECT stamp, record, NULL, id, 0 FROM meta",
    [KTP_HEAD] = "SELECT stamp, record, value, id, 0 FROM head",
    [KTP_VALUE] = "SELECT stamp, record, NULL, id, version FROM value",
    [KTP_NODE] = "SELECT stamp, record, NULL, id, 0 FROM node",
};

void local_release(ktp_txn_t *txn)
{
    if (txn->active != NULL)
        sqlite3_reset(txn->active);
    txn->active = NULL;
}

void local_release_all(ktp_txn_t *txn)
{
    local_release(txn);
    if (txn->first != NULL)
        sqlite3_reset(txn->first);
    txn->first = NULL;
}

/* A reading transaction seldom needs BEGIN and ROLLBACK: the first row keeps its snapshot as long
 * as its statement is not reset, and rows of other statements are read in the same one. Whatever
 * needs that statement again runs BEGIN, which takes the snapshot over. */
static ktp_status_t begin_now(ktp_txn_t *txn)
{
    ktp_status_t status = local_run(txn->instance, txn->connection, LOCAL_BEGIN, "reading");

    txn->begun = status == KTP_SUCCESS;
    if (txn->begun)
        local_release_all(txn);
    return status;
}

/* The row that the caller had until now. */
static void leave_row(ktp_txn_t *txn)
{
    if (!txn->begun && txn->first == NULL) {
        txn->first = txn->active;
        txn->active = NULL;
    }
    local_release(txn);
}

/* Before each call: an error such as a full disk may have undone the transaction, and what follows
 * would stand alone. */
static ktp_status_t ready(ktp_txn_t *txn, int writing)
{
    const ktp_instance_t *instance = txn->instance;

    if (instance->pid != local_process())
        return ktp_fail(instance->services, KTP_UNAVAIL,
                        "%s: its connection does not survive a fork", instance->path);
    if (txn->connection == NULL)
        return ktp_fail(instance->services, KTP_UNAVAIL, "%s: no transaction is open",
                        instance->path);
    leave_row(txn);
    if (writing && !txn->connection->writing)
        return ktp_fail(instance->services, KTP_FORBIDDEN, "%s: writing in a reading transaction",
                        instance->path);
    if (txn->begun && sqlite3_get_autocommit(txn->connection->db))
        return ktp_fail(instance->services, KTP_UNAVAIL,
                        "%s: an earlier error has undone the transaction", instance->path);
    return KTP_SUCCESS;
}

static ktp_status_t check_key(const ktp_instance_t *instance, const ktp_key_t *key)
{
    if ((unsigned)key->space > KTP_NODE || key->id_size == 0 || key->id_size > KTP_KEY_MAX)
        return ktp_fail(instance->services, KTP_MALFORMED, "%s: a key of %zu bytes in space %d",
                        instance->path, key->id_size, (int)key->space);
    return KTP_SUCCESS;
}

static ktp_status_t check_row(const ktp_instance_t *instance, const ktp_key_t *key,
                              const ktp_row_t *row)
{
    if (row->stamp == 0 || row->record == NULL || row->record_size == 0 ||
        row->record_size > KTP_ROW_MAX)
        return ktp_fail(instance->services, KTP_MALFORMED,
                        "%s: a record of %zu bytes with stamp %llu", instance->path,
                        row->record_size, (unsigned long long)row->stamp);
    if (row->beside != NULL &&
        (key->space != KTP_HEAD || row->beside_size == 0 || row->beside_size > KTP_ROW_MAX))
        return ktp_fail(instance->services, KTP_MALFORMED,
                        "%s: %zu bytes next to a record of space %d", instance->path,
                        row->beside_size, (int)key->space);
    return KTP_SUCCESS;
}

/* An immutable connection does not notice a writer by itself. */
static ktp_status_t undisturbed(const ktp_txn_t *txn)
{
    ktp_instance_t *instance = txn->instance;

    if (!txn->connection->alone)
        return KTP_SUCCESS;
    local_look(instance, 1);
    if (txn->connection->epoch == instance->watch.epoch)
        return KTP_SUCCESS;
    return ktp_fail(instance->services, KTP_TRYAGAIN,
                    "%s: a writer came while it was read without -wal", instance->path);
}

static ktp_status_t step_fail(const ktp_txn_t *txn, int code, const char *doing)
{
    ktp_status_t status = undisturbed(txn);

    if (code == SQLITE_READONLY_RECOVERY)
        txn->connection->epoch =
            0; /* a new connection reads -wal by itself, if no other process holds the index */
    return status != KTP_SUCCESS
               ? status
               : local_sqlite_fail(txn->instance, txn->connection->db, code, doing);
}

/* Columns 0 to 2: stamp, record, beside. */
static ktp_status_t take_row(const ktp_txn_t *txn, sqlite3_stmt *statement, ktp_row_t *ret_row)
{
    ktp_row_t row = {.record = sqlite3_column_blob(statement, 1),
                     .beside = sqlite3_column_blob(statement, 2)};

    row.record_size = (size_t)sqlite3_column_bytes(statement, 1);
    row.beside_size = (size_t)sqlite3_column_bytes(statement, 2);
    row.stamp = (uint64_t)sqlite3_column_int64(statement, 0);
    if (row.stamp == 0 || row.record == NULL || row.record_size > KTP_ROW_MAX ||
        row.beside_size > KTP_ROW_MAX || sqlite3_column_type(statement, 0) != SQLITE_INTEGER)
        return ktp_fail(txn->instance->services, KTP_MALFORMED,
                        "%s is damaged (a row without record): restore a backup",
                        txn->instance->path);
    *ret_row = row;
    return KTP_SUCCESS;
}

static sqlite3_stmt *statement_for(ktp_txn_t *txn, const ktp_key_t *key, int op,
                                   ktp_status_t *ret_status)
{
    sqlite3_stmt *statement = local_statement(txn->instance, txn->connection,
                                              (int)key->space * LOCAL_OPS + op, ret_status);

    if (statement != NULL && statement == txn->first)
        *ret_status = begin_now(txn);
    if (statement == NULL || *ret_status != KTP_SUCCESS)
        return NULL;
    sqlite3_bind_blob(statement, 1, key->id, (int)key->id_size, SQLITE_STATIC);
    if (key->space == KTP_VALUE)
        sqlite3_bind_int64(statement, 2, (sqlite3_int64)key->version);
    return statement;
}

ktp_status_t local_row_get(ktp_txn_t *txn, const ktp_key_t *key, ktp_row_t *ret_row)
{
    ktp_status_t status = ready(txn, /* writing= */ 0);
    sqlite3_stmt *statement;
    int code;

    if (status == KTP_SUCCESS)
        status = check_key(txn->instance, key);
    if (status != KTP_SUCCESS)
        return status;
    statement = statement_for(txn, key, LOCAL_GET, &status);
    if (statement == NULL)
        return status;
    code = sqlite3_step(statement);
    if (code == SQLITE_DONE && !txn->begun && txn->first == NULL) { /* nothing keeps the snapshot */
        sqlite3_reset(statement);
        status = begin_now(txn);
        if (status != KTP_SUCCESS)
            return status;
        code = sqlite3_step(statement);
    }
    txn->active = statement;
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        status = step_fail(txn, code, "reading");
    else
        status = undisturbed(txn);
    if (status == KTP_SUCCESS)
        status = code == SQLITE_DONE ? KTP_NOTFOUND : take_row(txn, statement, ret_row);
    if (status != KTP_SUCCESS)
        local_release(txn);
    return status;
}

static ktp_status_t conflict(const ktp_txn_t *txn)
{
    return ktp_fail(txn->instance->services, KTP_CONFLICT,
                    "%s: another writer changed this row first", txn->instance->path);
}

/* A change of a value keeps as many rows as it had, or more: put, and the oldest one removed. One
 * that leaves fewer erases something, as does a head without a value. */
static void count_erased(ktp_txn_t *txn, const ktp_key_t *key, const ktp_row_t *row)
{
    if (key->space == KTP_HEAD && (row == NULL || row->beside == NULL))
        txn->erased = 1;
    if (key->space == KTP_VALUE)
        txn->lost += row == NULL ? 1 : -1;
}

/* Runs a change that must meet exactly one row. */
static ktp_status_t change_one(const ktp_txn_t *txn, sqlite3_stmt *statement)
{
    sqlite3 *db = txn->connection->db;
    int code = sqlite3_step(statement);

    sqlite3_reset(statement);
    if ((code & 0xff) == SQLITE_CONSTRAINT)
        return conflict(txn);
    if (code != SQLITE_DONE)
        return local_sqlite_fail(txn->instance, db, code, "writing");
    return sqlite3_changes(db) == 1 ? KTP_SUCCESS : conflict(txn);
}

ktp_status_t local_row_put(ktp_txn_t *txn, const ktp_key_t *key, const ktp_row_t *row,
                           uint64_t expected)
{
    ktp_status_t status = ready(txn, /* writing= */ 1);
    sqlite3_stmt *statement;

    if (status == KTP_SUCCESS)
        status = check_key(txn->instance, key);
    if (status == KTP_SUCCESS)
        status = check_row(txn->instance, key, row);
    if (status != KTP_SUCCESS)
        return status;
    statement = statement_for(txn, key, expected == 0 ? LOCAL_INSERT : LOCAL_UPDATE, &status);
    if (statement == NULL)
        return status;
    sqlite3_bind_int64(statement, 3, (sqlite3_int64)row->stamp);
    sqlite3_bind_blob(statement, 4, row->record, (int)row->record_size, SQLITE_STATIC);
    if (key->space == KTP_HEAD)
        sqlite3_bind_blob(statement, 5, row->beside, (int)row->beside_size, SQLITE_STATIC);
    if (expected != 0)
        sqlite3_bind_int64(statement, 6, (sqlite3_int64)expected);
    count_erased(txn, key, row);
    return change_one(txn, statement);
}

ktp_status_t local_row_remove(ktp_txn_t *txn, const ktp_key_t *key, uint64_t expected)
{
    ktp_status_t status = ready(txn, /* writing= */ 1);
    sqlite3_stmt *statement;
    ktp_row_t row;

    if (status == KTP_SUCCESS && expected == 0) {
        status = local_row_get(txn, key, &row);
        local_release(txn);
        return status == KTP_NOTFOUND  ? KTP_SUCCESS
               : status == KTP_SUCCESS ? conflict(txn)
                                       : status;
    }
    if (status == KTP_SUCCESS)
        status = check_key(txn->instance, key);
    if (status != KTP_SUCCESS)
        return status;
    statement = statement_for(txn, key, LOCAL_REMOVE, &status);
    if (statement == NULL)
        return status;
    sqlite3_bind_int64(statement, 6, (sqlite3_int64)expected);
    count_erased(txn, key, NULL);
    return change_one(txn, statement);
}

static ktp_status_t take_key(const ktp_txn_t *txn, sqlite3_stmt *statement, ktp_space_t space,
                             ktp_key_t *ret_key)
{
    const void *id = sqlite3_column_blob(statement, 3);
    size_t size = (size_t)sqlite3_column_bytes(statement, 3);

    if (id == NULL || size > KTP_KEY_MAX)
        return ktp_fail(txn->instance->services, KTP_MALFORMED,
                        "%s is damaged (a row without key): restore a backup", txn->instance->path);
    memset(ret_key, 0, sizeof *ret_key);
    ret_key->space = space;
    ret_key->id_size = size;
    memcpy(ret_key->id, id, size);
    ret_key->version = (uint64_t)sqlite3_column_int64(statement, 4);
    return KTP_SUCCESS;
}

/* *ret_code: SQLITE_ROW as long as there may be more. */
static ktp_status_t scan_one(const ktp_txn_t *txn, sqlite3_stmt *statement, ktp_space_t space,
                             ktp_scan_fn fn, void *arg, int *ret_code)
{
    ktp_status_t status;
    ktp_key_t key;
    ktp_row_t row;

    *ret_code = sqlite3_step(statement);
    if (*ret_code != SQLITE_ROW && *ret_code != SQLITE_DONE)
        return step_fail(txn, *ret_code, "listing");
    status = undisturbed(txn);
    if (status != KTP_SUCCESS || *ret_code == SQLITE_DONE)
        return status;
    status = take_row(txn, statement, &row);
    if (status == KTP_SUCCESS)
        status = take_key(txn, statement, space, &key);
    if (status == KTP_SUCCESS && fn(arg, &key, &row) != 0)
        *ret_code = SQLITE_DONE;
    return status;
}

/* The statement is of this scan alone, so that `fn` may read other rows of the transaction. */
ktp_status_t local_row_scan(ktp_txn_t *txn, ktp_space_t space, ktp_scan_fn fn, void *arg)
{
    ktp_status_t status = ready(txn, /* writing= */ 0);
    sqlite3_stmt *statement = NULL;
    int code = SQLITE_ROW;

    if (status == KTP_SUCCESS && !txn->begun)
        status = begin_now(txn);
    if (status != KTP_SUCCESS)
        return status;
    if ((unsigned)space > KTP_NODE)
        return ktp_fail(txn->instance->services, KTP_MALFORMED, "%s: there is no space %d",
                        txn->instance->path, (int)space);
    if (sqlite3_prepare_v2(txn->connection->db, scan_sql[space], -1, &statement, NULL) != SQLITE_OK)
        return local_sqlite_fail(txn->instance, txn->connection->db,
                                 sqlite3_extended_errcode(txn->connection->db), "listing");
    while (status == KTP_SUCCESS && code == SQLITE_ROW)
        status = scan_one(txn, statement, space, fn, arg, &code);
    sqlite3_finalize(statement);
    return status;
}
