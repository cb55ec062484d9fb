
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * TLS for clients, for the http and the stream module:
 *
 *   ngx_keyturn_pair.c      a value into a certificate, its chain and its key
 *   ngx_keyturn_tls.c       the pairs of a worker process, by name
 *   ngx_keyturn_tls_conf.c  directives, and the SSL_CTX of nginx
 *   ngx_keyturn_ticket.c    the key of session tickets
 */


#ifndef _NGX_KEYTURN_TLS_H_INCLUDED_
#define _NGX_KEYTURN_TLS_H_INCLUDED_


#include "ngx_keyturn.h"
#include "ngx_keyturn_stat.h"

#include <ngx_event_openssl.h>


/* purposes, in the audit log */

#define NGX_KEYTURN_CERTIFICATE  "tls"
#define NGX_KEYTURN_TICKET       "tls-ticket"


#define NGX_KEYTURN_LEND         10000  /* ms of use while it is fetched again */


/* a key of session tickets */

typedef struct {
    kt_secret_t            *value;
    ngx_msec_t              since;         /* of "fetching" */
    unsigned                fetching:1;
} ngx_keyturn_held_t;


/* of one server block */

typedef struct {
    ngx_array_t            *certificates;  /* of ngx_keyturn_secret_t * */
    ngx_keyturn_secret_t   *ticket_key;
    ngx_str_t              *subject;

    ngx_queue_t             queue;         /* of those with keys of tickets */
    ngx_keyturn_held_t      held[2];       /* the current and the previous one */
    uint64_t                bad;           /* the ticket key warned of */
} ngx_keyturn_tls_t;


typedef struct {
    X509                   *cert;
    STACK_OF(X509)         *chain;
    EVP_PKEY               *key;
} ngx_keyturn_pair_t;


/* how a module passes on what nginx' SSL modules know of a server block */

typedef struct {
    ngx_ssl_t              *ssl;
    ngx_array_t            *certificates;
    ngx_array_t            *certificate_values;
    ngx_array_t            *ticket_keys;
    ngx_shm_zone_t         *shm_zone;
    ssize_t                 builtin_session_cache;
    time_t                  session_timeout;
    const char             *context;       /* of its sessions */
    int                   (*handler)(ngx_ssl_conn_t *ssl_conn, void *arg);
    void                   *data;
} ngx_keyturn_tls_server_t;


/*
 * "secret_ssl_certificate NAME" and "secret_ssl_session_ticket_key NAME".
 * nginx asks for certificates wherever it listens for TLS, so it gets an empty
 * list: certs and keys are its two arrays.
 */
ngx_keyturn_secret_t *ngx_keyturn_tls_add(ngx_conf_t *cf,
    ngx_keyturn_tls_t *tls, ngx_array_t **certs, ngx_array_t **keys);
char *ngx_keyturn_tls_ticket(ngx_conf_t *cf, ngx_keyturn_tls_t *tls);

/* after all blocks have been merged, and tls->subject is known */
ngx_int_t ngx_keyturn_tls_init(ngx_conf_t *cf, ngx_keyturn_tls_t *tls,
    ngx_keyturn_tls_server_t *server);

/*
 * The name of a secret, in memory of the pool and with a NUL after its end, from
 * a text that a client has a say in.
 */
ngx_int_t ngx_keyturn_tls_name(ngx_connection_t *c, ngx_pool_t *pool,
    ngx_str_t *text, ngx_str_t *name);

/* gives the connection the certificate of this name, which ends with a NUL */
ngx_int_t ngx_keyturn_tls_certificate(ngx_connection_t *c,
    ngx_keyturn_tls_t *tls, ngx_keyturn_secret_t *secret, ngx_str_t *name);

/* what other files ask of pairs and keys, which ask it of them in turn */

typedef struct {

    /* for worker processes: fetches what is across a network, and the end */
    void                  (*start)(ngx_array_t *requires, ngx_log_t *log);
    void                  (*stop)(void);

    /* reads as the server block; the answer is that of kt_peek() */
    kt_status_t           (*peek)(ngx_connection_t *c, ngx_keyturn_tls_t *tls,
                              ngx_keyturn_secret_t *secret,
                              const char *reference, kt_secret_t **value);
} ngx_keyturn_tls_process_t;

extern ngx_keyturn_tls_process_t  ngx_keyturn_tls_process;


ngx_int_t ngx_keyturn_ticket_init(ngx_conf_t *cf, ngx_keyturn_tls_t *tls,
    SSL_CTX *ctx);
void ngx_keyturn_ticket_fetched(kt_ctx_t *ctx, ngx_keyturn_tls_t *tls,
    kt_request_t *req);
void ngx_keyturn_ticket_stop(void);


/* NULL, or what is wrong with the value, a static text */
const char *ngx_keyturn_pair_parse(ngx_keyturn_pair_t *pair,
    kt_secret_t *value);
ngx_uint_t ngx_keyturn_pair_expired(ngx_keyturn_pair_t *pair);
void ngx_keyturn_pair_free(ngx_keyturn_pair_t *pair);


#endif /* _NGX_KEYTURN_TLS_H_INCLUDED_ */
