/* SPDX-License-Identifier: BSD-2-Clause */
/* error.h: what an SQLite error means, and what an operator reads. */
#ifndef KEYTURN_LOCAL_ERROR_H
#define KEYTURN_LOCAL_ERROR_H

#include "store.h"

/* Each says why by ktp_fail() and answers the status; a failing call does that exactly once. */

/* The last error of a connection, `code` extended; `doing` is "reading", "writing" and so on. */
ktp_status_t local_sqlite_fail(const ktp_instance_t *instance, sqlite3 *db, int code,
                               const char *doing);
/* errno of a system call on `path`. */
ktp_status_t local_errno_fail(const ktp_instance_t *instance, int error, const char *path);
/* No permission: names the file of the three that is to blame, or `path`. */
ktp_status_t local_forbidden(const ktp_instance_t *instance, const char *path, const char *doing);
/* KTP_TRYAGAIN, with the process that holds the lock if it is another one. */
ktp_status_t local_locked_fail(const ktp_instance_t *instance, const char *doing);

#endif /* KEYTURN_LOCAL_ERROR_H */
