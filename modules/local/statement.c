/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * statement.c: the SQL of a store, prepared at first use. The parameters have the same numbers in
 * all statements: 1 id, 2 version, 3 stamp, 4 record, 5 the value next to it, 6 the stamp expected.
 */
#include "statement.h"

#include "error.h"

/* Only `value` tells versions apart, and only `head` has something next to the record. */
#define STATEMENTS(table, columns, values, sets, key)                                              \
    "SELECT stamp, record, " columns " FROM " #table " WHERE " key,                                \
        "INSERT INTO " #table " VALUES(" values ")",                                               \
        "UPDATE " #table " SET " sets " WHERE " key " AND stamp = ?6",                             \
        "DELETE FROM " #table " WHERE " key " AND stamp = ?6"
#define PLAIN(table) STATEMENTS(table, "NULL", "?1, ?3, ?4", "stamp = ?3, record = ?4", "id = ?1")

static const char *const sql[LOCAL_STATEMENTS] = {
    /* in the order of ktp_space_t, and of LOCAL_GET ... LOCAL_REMOVE in each */
    PLAIN(meta),
    STATEMENTS(head, "value", "?1, ?3, ?4, ?5", "stamp = ?3, record = ?4, value = ?5", "id = ?1"),
    STATEMENTS(value, "NULL", "?1, ?2, ?3, ?4", "stamp = ?3, record = ?4",
               "id = ?1 AND version = ?2"),
    PLAIN(node),
    [LOCAL_BEGIN] = "BEGIN",
    [LOCAL_BEGIN_IMMEDIATE] = "BEGIN IMMEDIATE",
    [LOCAL_COMMIT] = "COMMIT",
    [LOCAL_ROLLBACK] = "ROLLBACK",
};

sqlite3_stmt *local_statement(const ktp_instance_t *instance, local_connection_t *connection,
                              int which, ktp_status_t *ret_status)
{
    sqlite3_stmt **at = &connection->statement[which];
    int code;

    if (*at != NULL)
        return *at;
    code = sqlite3_prepare_v3(connection->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, at, NULL);
    if (code != SQLITE_OK)
        *ret_status = local_sqlite_fail(instance, connection->db, code, "preparing");
    return *at;
}

ktp_status_t local_run(const ktp_instance_t *instance, local_connection_t *connection, int which,
                       const char *doing)
{
    ktp_status_t status = KTP_SUCCESS;
    sqlite3_stmt *statement = local_statement(instance, connection, which, &status);
    int code;

    if (statement == NULL)
        return status;
    code = sqlite3_step(statement);
    sqlite3_reset(statement);
    return code == SQLITE_DONE ? KTP_SUCCESS
                               : local_sqlite_fail(instance, connection->db, code, doing);
}

void local_finish_statements(local_connection_t *connection)
{
    for (int i = 0; i < LOCAL_STATEMENTS; i++) {
        sqlite3_finalize(connection->statement[i]);
        connection->statement[i] = NULL;
    }
}
