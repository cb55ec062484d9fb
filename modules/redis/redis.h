/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * redis.h: the provider `redis`, secrets in a Redis server that has the keyturn module. The server
 * keeps bundles (keyturn_provider.h) and needs no key; rows are taken out of a bundle here and put
 * together again.
 *
 *   redis.c        what the host sees: options, check, transactions
 *   rows.c         a bundle as rows, and rows as a bundle
 *   connection.c   one connection: connect, send, receive within a deadline, what an error means
 *   watch.c        the change token, by the server's client tracking
 *
 * hiredis connects, formats and parses; bytes are sent and received here. So a server that closes
 * raises no SIGPIPE, a server that trickles cannot outlive the deadline, an answer has a limit, and
 * a buffer with the password is wiped.
 */
#ifndef KEYTURN_REDIS_PROVIDER_H
#define KEYTURN_REDIS_PROVIDER_H

#include <hiredis/hiredis.h>
#include <keyturn_provider.h>
#include <stdint.h>
#include <sys/types.h>

#define KR_NAME_MAX 255u
#define KR_RECORDS_MAX 128u               /* of one bundle */
#define KR_ANSWER_MAX (20u * 1024 * 1024) /* bytes of one answer; a bundle has 16 MiB at most */

typedef struct kr_connection {
    redisContext *context; /* NULL: closed. Of it the socket and the reader are used */
} kr_connection_t;

struct ktp_instance {
    const ktp_services_t *services;
    pid_t pid;
    ktp_txn_t *txn;      /* the open one */
    const char *address; /* as configured, for error texts */
    char *host;          /* NULL: a unix socket */
    int port;
    const char *path;
    const char *username, *password; /* NULL: not given */
    size_t password_size;
    int64_t timeout; /* milliseconds for one exchange, connecting included */
    int64_t db;
    kr_connection_t commands, watch;
    int watching;   /* somebody wants the token */
    int64_t heard;  /* kr_clock() of the last byte on `watch` */
    int64_t pinged; /* of a PING that is not answered yet; 0: none */
    uint64_t born, generation;
    int moved;       /* the last call failed since the key holds a secret of another name */
    char error[256]; /* why the call that runs fails; redis.c says it, once */
};

/* ---- connection.c ---- */

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
 * One command and its answer, connecting if need be. KTP_SUCCESS: *ret_reply is the caller's
 * (freeReplyObject). An error reply is answered as the status that it means; after trouble with the
 * connection that is given up.
 */
ktp_status_t kr_call(ktp_instance_t *instance, const kr_argument_t *arguments, size_t count,
                     redisReply **ret_reply);
/* The same on one of the two, while connecting. */
ktp_status_t kr_exchange(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline,
                         const kr_argument_t *arguments, size_t count, redisReply **ret_reply);
ktp_status_t kr_open(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline);
void kr_close(kr_connection_t *connection);
/* Sends without waiting; 0: done. */
int kr_send_now(kr_connection_t *connection, const char *bytes, size_t size);

/* ---- watch.c ---- */

/* Lets the server tell us of all changes from now on. */
ktp_status_t kr_watch(ktp_instance_t *instance, int64_t deadline);
/* May this key be the name of a secret, by its bytes? */
int kr_is_name(const redisReply *reply);
ktp_status_t kr_token(ktp_instance_t *instance, unsigned char ret_token[KTP_TOKEN_SIZE]);

/* ---- rows.c ---- */

ktp_instance_t *kr_instance(const ktp_txn_t *txn);
ktp_status_t kr_begin(ktp_instance_t *instance, int writing, unsigned timeout, ktp_txn_t **ret_txn);
ktp_status_t kr_row_get(ktp_txn_t *txn, const ktp_key_t *key, ktp_row_t *ret_row);
ktp_status_t kr_row_put(ktp_txn_t *txn, const ktp_key_t *key, const ktp_row_t *row,
                        uint64_t expected);
ktp_status_t kr_row_remove(ktp_txn_t *txn, const ktp_key_t *key, uint64_t expected);
ktp_status_t kr_row_scan(ktp_txn_t *txn, ktp_space_t space, ktp_scan_fn fn, void *arg);
ktp_status_t kr_commit(ktp_txn_t *txn);
void kr_abort(ktp_txn_t *txn);

#endif /* KEYTURN_REDIS_PROVIDER_H */
