/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * instance.h: the provider `redis`, secrets in a Redis server that has the keyturn module. The
 * server keeps bundles (keyturn_provider.h) and needs no key; this provider takes a bundle apart
 * into rows and puts it together again. A file calls only files further down, and each has a
 * header of its name.
 *
 *   redis.c        what the host sees: options, check, transactions
 *   rows.c         a bundle as rows, and rows as a bundle
 *   call.c         one command, on a connection that is made when it is needed
 *   watch.c        the change token, by what the server's module publishes
 *   connection.c   connect, send, receive within a deadline, what an error means
 *
 * hiredis connects, formats and parses; bytes are sent and received here. So a server that closes
 * raises no SIGPIPE, a server that trickles cannot outlive the deadline, an answer has a limit, and
 * a buffer with the password is wiped.
 */
#ifndef KEYTURN_REDIS_INSTANCE_H
#define KEYTURN_REDIS_INSTANCE_H

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
    int watching;   /* the token was asked for */
    int64_t heard;  /* kr_clock() of the last byte on `watch` */
    int64_t pinged; /* of a heartbeat that is not answered yet; 0: none */
    uint64_t born, generation;
    int moved;       /* the last call failed since the key holds a secret of another name */
    char error[256]; /* why the call that runs fails; redis.c says it, once */
};

#endif /* KEYTURN_REDIS_INSTANCE_H */
