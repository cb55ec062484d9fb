/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * instance.h: the provider `redis`, secrets in a Redis server that has the keyturn module. The
 * server keeps bundles (keyturn_provider.h) and needs no key; this provider takes a bundle apart
 * into rows and puts it together again. A file calls only files further down, and each has a
 * header of its name.
 *
 *   redis.c        what the host sees: options, transactions
 *   check.c        is the server fit for us?
 *   account.c      a password that a rotation changes on several servers
 *   monitor.c      a Sentinel that logs in with it
 *   node.c         one of these servers
 *   rows.c         a bundle as rows, and rows as a bundle
 *   names.c        all names that the servers list
 *   masters.c      all servers that together have all secrets
 *   call.c         one command, on a connection that is made when it is needed
 *   cluster.c      which node of a cluster has a secret
 *   watch.c        the change token, by what the server's module publishes
 *   servers.c      which of several servers, and who says so
 *   open.c         a connection is made: TCP or a unix socket, TLS, log-in
 *   connection.c   send, receive within a deadline, what an error means
 *   tls.c          TLS on a connection's descriptor
 *   address.c      where a server is
 *   wait.c         time, and waiting for a descriptor
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
#define KR_SERVERS_MAX 32u
#define KR_ADDRESS_MAX 320u
#define KR_NODES_MAX 64u /* of a cluster */
#define KR_RECORDS_MAX 128u               /* of one bundle */
#define KR_ANSWER_MAX (20u * 1024 * 1024) /* bytes of one answer; a bundle has 16 MiB at most */

typedef struct kr_connection {
    redisContext *context;        /* NULL: closed. Of it the socket and the reader are used */
    struct ssl_st *ssl;           /* NULL: no TLS */
    struct bio_method_st *method; /* of its bytes */
    int heard;                    /* an answer has come over TLS */
    int uncertified;              /* the server hung up because it requires a certificate of ours */
} kr_connection_t;

/* Files, each may be NULL. */
typedef struct kr_tls {
    const char *ca, *cert, *key;
    const char *name; /* in the server's certificate, in place of the host */
} kr_tls_t;

/* What an error reply was about, as far as one can do something about it. */
typedef enum kr_refusal {
    KR_OTHER = 0,
    KR_RENAMED,   /* the key holds a secret of another name */
    KR_LOG_IN,    /* who are we? */
    KR_READONLY,  /* a replica */
    KR_MOVED,     /* another node of the cluster has the slot */
    KR_ASK,       /* another node has this key, as the slot is on its way there */
    KR_NO_COMMAND /* the ACL does not let our user run the command */
} kr_refusal_t;

typedef enum kr_role { KR_UNKNOWN = 0, KR_MASTER, KR_REPLICA } kr_role_t;

/* Addresses, in one piece of memory. */
typedef struct kr_list {
    char *text;
    const char *items[KR_SERVERS_MAX];
    size_t count;
} kr_list_t;

struct ktp_instance {
    const ktp_services_t *services;
    pid_t pid;
    ktp_txn_t *txn;      /* the open one */
    const char *address; /* of the server that is used or tried, for error texts, too */
    char *host;          /* NULL: a unix socket */
    int port;
    const char *path;
    int secure;                      /* speaks TLS */
    const kr_tls_t *tls;             /* NULL: the system's authorities */
    const char *username, *password; /* NULL: not given */
    size_t password_size;
    const char *password_option; /* by which services->secret() has it; NULL: it has not */
    ktp_buffer_t kept;           /* the password, if it was read again */
    kr_tls_t files;
    kr_list_t servers; /* of them one is used: a master if there is one */
    kr_list_t sentinels;
    const char *master; /* what they call it */
    const char *sentinel_username, *sentinel_password;
    size_t sentinel_password_size;
    size_t chosen; /* where the search begins */
    char found[KR_ADDRESS_MAX];   /* what a Sentinel said */
    char watched[KR_ADDRESS_MAX]; /* where `watch` is connected to */
    kr_role_t role;
    int64_t timeout; /* milliseconds for one exchange, connecting included */
    int64_t db;
    int clustered;              /* the server is a node of a cluster */
    struct kr_cluster *cluster; /* its other nodes; NULL: none was named yet */
    char redirect[KR_ADDRESS_MAX]; /* after KR_MOVED and KR_ASK: "SLOT HOST:PORT" */
    kr_connection_t commands, watch;
    int watching;   /* the token was asked for */
    int64_t heard;  /* kr_clock() of the last byte on `watch` */
    int64_t pinged; /* of a heartbeat that is not answered yet; 0: none */
    uint64_t born, generation;
    kr_refusal_t refusal; /* of the last error reply */
    int broken;           /* the last command may have been carried out: its answer did not come */
    char error[256]; /* why the call that runs fails; redis.c says it, once */
};

#endif /* KEYTURN_REDIS_INSTANCE_H */
