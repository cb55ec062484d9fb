/* SPDX-License-Identifier: BSD-2-Clause */
/* tls.h: TLS on a connection's descriptor. */
#ifndef KEYTURN_REDIS_TLS_H
#define KEYTURN_REDIS_TLS_H

#include "instance.h"

/*
 * Shakes hands on the connection, which is there: TLS 1.2 or later, the server's certificate
 * verified against instance->tls (or the system's authorities) and the host's name, always. Files
 * are read each time, so that a renewed certificate is used. KTP_UNAVAIL, KTP_TRYAGAIN: the caller
 * closes the connection. The host's threads share nothing of it.
 */
ktp_status_t kr_tls_start(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline);
void kr_tls_end(kr_connection_t *connection);
/* As recv() and send() that do not wait: -1 and errno EAGAIN, *ret_events is what to wait for;
 * EPROTO: it is broken. */
ssize_t kr_tls_receive(kr_connection_t *connection, char *bytes, size_t size, short *ret_events);
ssize_t kr_tls_send(kr_connection_t *connection, const char *bytes, size_t size,
                    short *ret_events);
/* Is it open, with nothing to be read? */
int kr_tls_is_quiet(kr_connection_t *connection);
/* What the server said at the end: that it requires a certificate of ours; or NULL. */
const char *kr_tls_why(const kr_connection_t *connection);

#endif /* KEYTURN_REDIS_TLS_H */
