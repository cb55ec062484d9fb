/* SPDX-License-Identifier: BSD-2-Clause */
/* statement.h: the SQL of a store, prepared at first use. */
#ifndef KEYTURN_LOCAL_STATEMENT_H
#define KEYTURN_LOCAL_STATEMENT_H

#include "store.h"

/* A statement, prepared at first use; give it back by sqlite3_reset(). NULL: the reason was said,
 * and *ret_status is set. */
sqlite3_stmt *local_statement(const ktp_instance_t *instance, local_connection_t *connection,
                              int which, ktp_status_t *ret_status);
/* Runs a statement that answers no row. */
ktp_status_t local_run(const ktp_instance_t *instance, local_connection_t *connection, int which,
                       const char *doing);
/* Finalizes all of them, before the connection is closed. */
void local_finish_statements(local_connection_t *connection);

#endif /* KEYTURN_LOCAL_STATEMENT_H */
