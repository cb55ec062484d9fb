/* SPDX-License-Identifier: BSD-2-Clause */
/* connection.h: one connection: connect, send, receive within a deadline. */
#ifndef KEYTURN_REDIS_CONNECTION_H
#define KEYTURN_REDIS_CONNECTION_H

#include "instance.h"

typedef struct kr_argument {
    const char *data;
    size_t size;
} kr_argument_t;
#define KR_TEXT(text)                                                                              \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }

int64_t kr_clock(void); /* milliseconds, monotonic */
/* Keeps the reason, the last one counts; answers `status`. */
ktp_status_t kr_fail(ktp_instance_t *instance, ktp_status_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* KTP_UNAVAIL in a child of the process that opened the instance: it is the parent's. */
ktp_status_t kr_usable(ktp_instance_t *instance);
/*
 * One command and its answer on one of the two connections, which is open. KTP_SUCCESS: *ret_reply
 * is the caller's (freeReplyObject). An error reply is answered as the status that it means; after
 * any other trouble the connection is closed.
 */
ktp_status_t kr_exchange(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline,
                         const kr_argument_t *arguments, size_t count, redisReply **ret_reply);
ktp_status_t kr_open(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline);
void kr_close(kr_connection_t *connection);
/* Sends without waiting; 0: done. */
int kr_send_now(kr_connection_t *connection, const char *bytes, size_t size);

#endif /* KEYTURN_REDIS_CONNECTION_H */
