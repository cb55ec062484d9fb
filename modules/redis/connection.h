/* SPDX-License-Identifier: BSD-2-Clause */
/* connection.h: one connection that is open: send, receive within a deadline. */
#ifndef KEYTURN_REDIS_CONNECTION_H
#define KEYTURN_REDIS_CONNECTION_H

#include "wait.h"

#define KR_WRONG_PASSWORD                                                                          \
    "the server does not accept our user and password (put the right one where `password` says)"

typedef struct kr_argument {
    const char *data;
    size_t size;
} kr_argument_t;
#define KR_TEXT(text)                                                                              \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }

/*
 * One command and its answer on one of the two connections, which is open. KTP_SUCCESS: *ret_reply
 * is the caller's (freeReplyObject). An error reply is answered as the status that it means; after
 * any other trouble the connection is closed.
 */
ktp_status_t kr_exchange(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline,
                         const kr_argument_t *arguments, size_t count, redisReply **ret_reply);
/* The same, but KTP_SUCCESS also for an error reply, which is the caller's to look at. */
ktp_status_t kr_answer(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline,
                       const kr_argument_t *arguments, size_t count, redisReply **ret_reply);
void kr_close(kr_connection_t *connection);
/* Sends without waiting; 0: done. */
int kr_send_now(kr_connection_t *connection, const char *bytes, size_t size);
/* As recv() that does not wait. */
ssize_t kr_receive_now(kr_connection_t *connection, char *bytes, size_t size);
/* Did the server close it between two commands (its `timeout`, a restart)? There is nothing to be
 * read between commands. */
int kr_is_alive(kr_connection_t *connection);

#endif /* KEYTURN_REDIS_CONNECTION_H */
