/* SPDX-License-Identifier: BSD-2-Clause */
/* open.h: a connection is made. */
#ifndef KEYTURN_REDIS_OPEN_H
#define KEYTURN_REDIS_OPEN_H

#include "connection.h"

/*
 * Connects to instance->host and port, or path, shakes hands if TLS is spoken, logs in, and chooses
 * the database, all before the deadline. A password that is refused is looked up again, because it
 * may have been changed since. KTP_UNAVAIL, also if the log-in is refused; KTP_TRYAGAIN:
 * interrupted.
 */
ktp_status_t kr_open(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline);
/* The size of a password without the newline at the end of its file. */
size_t kr_trim(const void *text, size_t size);

#endif /* KEYTURN_REDIS_OPEN_H */
