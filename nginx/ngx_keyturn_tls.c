
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * Each handshake reads its secret, which is a record of the audit log and a
 * question to the policy, but the value is parsed once for each version.
 *
 * OpenSSL asks for a certificate by a callback that must not wait.  What is
 * across a network is therefore fetched when a worker process starts, and by
 * a name of a client after a first handshake has failed.  While a value is
 * fetched again, because its time in the cache has ended, the pair at hand
 * stays in use.
 */


#include "ngx_keyturn_tls.h"
#include "ngx_keyturn_stat.h"


#define NGX_KEYTURN_PAIRS    1024   /* in a process, about 20K each */
#define NGX_KEYTURN_FETCHES  64
#define NGX_KEYTURN_START    2000   /* ms that a new process waits for pairs */


typedef struct {
    ngx_str_node_t           sn;        /* its reference */
    ngx_queue_t              queue;     /* the one used last is the first */

    ngx_keyturn_pair_t       pair;      /* no cert: none was good */
    uint64_t                 version;   /* of the value that was tried last */
    u_char                   mark[KT_MARK_SIZE];

    ngx_msec_t               since;     /* of "fetching" */
    unsigned                 fetching:1;
    unsigned                 lent:1;
} ngx_keyturn_entry_t;


/* a wait for the agent, which outlives the connection that it began with */

typedef struct {
    ngx_keyturn_wait_t       wait;
    ngx_queue_t              queue;
    kt_request_t             req;
    ngx_keyturn_tls_t       *tickets;   /* whose key it is, or NULL */
} ngx_keyturn_fetch_t;


typedef struct {
    ngx_rbtree_t             tree;
    ngx_rbtree_node_t        sentinel;
    ngx_queue_t              entries;
    ngx_uint_t               nentries;

    ngx_queue_t              fetches;
    ngx_uint_t               nfetches;

    unsigned                 initialized:1;
} ngx_keyturn_pairs_t;


static kt_status_t ngx_keyturn_tls_get(ngx_connection_t *c,
    ngx_keyturn_tls_t *tls, ngx_keyturn_secret_t *secret, ngx_str_t *name,
    ngx_keyturn_entry_t **entry);
static ngx_uint_t ngx_keyturn_tls_same(ngx_keyturn_entry_t *e,
    kt_secret_t *value);
static void ngx_keyturn_tls_update(ngx_keyturn_entry_t *e, kt_secret_t *value,
    ngx_ssl_conn_t *ssl_conn, ngx_log_t *log);
static ngx_int_t ngx_keyturn_tls_use(ngx_ssl_conn_t *ssl_conn,
    ngx_keyturn_pair_t *pair);
static ngx_keyturn_entry_t *ngx_keyturn_tls_find(ngx_str_t *name);
static ngx_keyturn_entry_t *ngx_keyturn_tls_create(ngx_str_t *name);
static void ngx_keyturn_tls_drop(ngx_keyturn_entry_t *e);
static void ngx_keyturn_tls_fetch(kt_request_t *req,
    ngx_keyturn_secret_t *secret, ngx_log_t *log);
static void ngx_keyturn_tls_fetched(ngx_keyturn_wait_t *wait);
static void ngx_keyturn_tls_ahead(kt_ctx_t *ctx,
    ngx_keyturn_require_t *require, ngx_log_t *log);
static void ngx_keyturn_tls_prepare(void);
static kt_status_t ngx_keyturn_tls_peek(ngx_connection_t *c,
    ngx_keyturn_tls_t *tls, ngx_keyturn_secret_t *secret, const char *reference,
    kt_secret_t **value);
static void ngx_keyturn_tls_start(ngx_array_t *requires, ngx_log_t *log);
static void ngx_keyturn_tls_stop(void);


ngx_keyturn_tls_process_t  ngx_keyturn_tls_process = {
    ngx_keyturn_tls_start,
    ngx_keyturn_tls_stop,
    ngx_keyturn_tls_peek
};


static ngx_keyturn_pairs_t  ngx_keyturn_pairs;


ngx_int_t
ngx_keyturn_tls_certificate(ngx_connection_t *c, ngx_keyturn_tls_t *tls,
    ngx_keyturn_secret_t *secret, ngx_str_t *name)
{
    char                 *action;
    ngx_int_t             rc;
    ngx_uint_t            level;
    kt_status_t           status;
    ngx_keyturn_entry_t  *e;

    action = c->log->action;
    c->log->action = "reading a certificate";

    rc = NGX_ERROR;
    status = ngx_keyturn_tls_get(c, tls, secret, name, &e);

    if (status != KT_SUCCESS) {

        /* names that clients make up are not worth a line each */

        level = (secret->dynamic && status == KT_NOTFOUND) ? NGX_LOG_INFO
                                                           : NGX_LOG_ERR;

        ngx_log_error(level, c->log, 0,
                      "certificate \"%V\" cannot be read by \"%V\": %s (%s)",
                      name, tls->subject,
                      status == KT_TRYAGAIN ? "it is not fetched yet"
                                            : kt_status_text(status),
                      kt_status_name(status));

    } else if (e->pair.cert
               && ngx_keyturn_tls_use(c->ssl->connection, &e->pair) == NGX_OK)
    {
        rc = NGX_OK;
    }

    c->log->action = action;

    return rc;
}


static kt_status_t
ngx_keyturn_tls_get(ngx_connection_t *c, ngx_keyturn_tls_t *tls,
    ngx_keyturn_secret_t *secret, ngx_str_t *name, ngx_keyturn_entry_t **entry)
{
    kt_secret_t          *value;
    kt_status_t           status;
    ngx_keyturn_entry_t  *e;

    status = ngx_keyturn_tls_peek(c, tls, secret, (char *) name->data, &value);
    e = ngx_keyturn_tls_find(name);

    if (status == KT_TRYAGAIN && e && e->pair.cert) {

        if (!e->fetching) {
            e->fetching = 1;
            e->since = ngx_current_msec;
        }

        if (ngx_current_msec - e->since < NGX_KEYTURN_LEND) {
            e->lent = 1;
            status = KT_SUCCESS;
        }

    } else if (status == KT_SUCCESS) {

        if (e == NULL) {
            e = ngx_keyturn_tls_create(name);
        }

        if (e == NULL) {
            status = KT_INTERNAL;

        } else {
            ngx_keyturn_tls_update(e, value, c->ssl->connection, c->log);
        }

        kt_secret_free(value);

    } else if (e && (status == KT_NOTFOUND || status == KT_GONE)) {
        ngx_keyturn_tls_drop(e);
        e = NULL;
    }

    *entry = e;

    return status;
}


static kt_status_t
ngx_keyturn_tls_peek(ngx_connection_t *c, ngx_keyturn_tls_t *tls,
    ngx_keyturn_secret_t *secret, const char *reference, kt_secret_t **value)
{
    char           peer[NGX_SOCKADDR_STRLEN + 1];
    char           id[NGX_ATOMIC_T_LEN + 1];
    u_char        *last;
    kt_ctx_t      *ctx;
    kt_status_t    status;
    kt_request_t   req = KT_REQUEST_INIT;

    *value = NULL;

    ngx_keyturn_tls_prepare();

    ctx = ngx_keyturn_ctx(c->log);
    if (ctx == NULL) {
        return KT_UNAVAIL;
    }

    (void) ngx_cpystrn((u_char *) peer, c->addr_text.data,
                       ngx_min(c->addr_text.len, NGX_SOCKADDR_STRLEN) + 1);

    last = ngx_sprintf((u_char *) id, "%uA", c->number);
    *last = '\0';

    req.reference = reference;
    req.subject = (char *) tls->subject->data;
    req.peer = peer;
    req.request_id = id;
    req.purpose = secret->purpose;
    req.configured = !secret->dynamic;

    status = kt_peek(ctx, &req, value);

    if (status == KT_TRYAGAIN) {
        ngx_keyturn_tls_fetch(&req, secret, c->log);

    } else {
        ngx_keyturn_stat_read(status, *value,
                              secret->dynamic || secret->version.len
                              ? NULL : &secret->name);
    }

    return status;
}


/* not by the version alone: a secret that was made anew begins with 1 again */

static ngx_uint_t
ngx_keyturn_tls_same(ngx_keyturn_entry_t *e, kt_secret_t *value)
{
    u_char  mark[KT_MARK_SIZE];

    kt_secret_mark(value, mark);

    if (e->version == kt_secret_version(value)
        && ngx_memcmp(e->mark, mark, KT_MARK_SIZE) == 0)
    {
        return 1;
    }

    e->version = kt_secret_version(value);
    ngx_memcpy(e->mark, mark, KT_MARK_SIZE);

    return 0;
}


/* the connection, if there is one, is where OpenSSL's own rules are asked */

static void
ngx_keyturn_tls_update(ngx_keyturn_entry_t *e, kt_secret_t *value,
    ngx_ssl_conn_t *ssl_conn, ngx_log_t *log)
{
    const char          *reason;
    ngx_keyturn_pair_t   pair;

    e->fetching = 0;

    if (ngx_keyturn_tls_same(e, value)) {
        return;
    }

    reason = ngx_keyturn_pair_parse(&pair, value);

    if (reason == NULL && e->pair.cert && ngx_keyturn_pair_expired(&pair)
        && !ngx_keyturn_pair_expired(&e->pair))
    {
        reason = "its certificate has expired";
    }

    if (reason == NULL && ssl_conn
        && ngx_keyturn_tls_use(ssl_conn, &pair) != NGX_OK)
    {
        reason = "OpenSSL refuses it at its security level";
    }

    if (reason == NULL) {
        ngx_keyturn_pair_free(&e->pair);
        e->pair = pair;
        return;
    }

    ngx_keyturn_pair_free(&pair);

    ngx_log_error(NGX_LOG_ALERT, log, 0,
                  "certificate \"%V\" of version %uL cannot be used: %s; %s",
                  &e->sn.str, e->version, reason,
                  e->pair.cert ? "the one before stays in use"
                               : "handshakes fail");

    ngx_keyturn_stat_bad_certificate();
}


static ngx_int_t
ngx_keyturn_tls_use(ngx_ssl_conn_t *ssl_conn, ngx_keyturn_pair_t *pair)
{
    int  rc;

    rc = SSL_use_cert_and_key(ssl_conn, pair->cert, pair->key, pair->chain, 1);

    ERR_clear_error();

    return rc == 1 ? NGX_OK : NGX_ERROR;
}


static ngx_keyturn_entry_t *
ngx_keyturn_tls_find(ngx_str_t *name)
{
    ngx_keyturn_entry_t  *e;

    e = (ngx_keyturn_entry_t *)
            ngx_str_rbtree_lookup(&ngx_keyturn_pairs.tree, name,
                                  ngx_crc32_short(name->data, name->len));

    if (e) {
        ngx_queue_remove(&e->queue);
        ngx_queue_insert_head(&ngx_keyturn_pairs.entries, &e->queue);
    }

    return e;
}


static ngx_keyturn_entry_t *
ngx_keyturn_tls_create(ngx_str_t *name)
{
    ngx_queue_t          *q;
    ngx_keyturn_entry_t  *e;

    if (ngx_keyturn_pairs.nentries >= NGX_KEYTURN_PAIRS) {
        q = ngx_queue_last(&ngx_keyturn_pairs.entries);
        ngx_keyturn_tls_drop(ngx_queue_data(q, ngx_keyturn_entry_t, queue));
    }

    e = ngx_calloc(sizeof(ngx_keyturn_entry_t) + name->len + 1,
                   ngx_cycle->log);
    if (e == NULL) {
        return NULL;
    }

    e->sn.node.key = ngx_crc32_short(name->data, name->len);
    e->sn.str.len = name->len;
    e->sn.str.data = (u_char *) e + sizeof(ngx_keyturn_entry_t);

    ngx_memcpy(e->sn.str.data, name->data, name->len);

    ngx_rbtree_insert(&ngx_keyturn_pairs.tree, &e->sn.node);
    ngx_queue_insert_head(&ngx_keyturn_pairs.entries, &e->queue);
    ngx_keyturn_pairs.nentries++;

    return e;
}


static void
ngx_keyturn_tls_drop(ngx_keyturn_entry_t *e)
{
    ngx_rbtree_delete(&ngx_keyturn_pairs.tree, &e->sn.node);
    ngx_queue_remove(&e->queue);
    ngx_keyturn_pairs.nentries--;

    ngx_keyturn_pair_free(&e->pair);
    ngx_free(e);
}


static void
ngx_keyturn_tls_fetch(kt_request_t *req, ngx_keyturn_secret_t *secret,
    ngx_log_t *log)
{
    size_t                reference, subject;
    u_char               *p;
    ngx_queue_t          *q;
    ngx_keyturn_fetch_t  *f;

    for (q = ngx_queue_head(&ngx_keyturn_pairs.fetches);
         q != ngx_queue_sentinel(&ngx_keyturn_pairs.fetches);
         q = ngx_queue_next(q))
    {
        f = ngx_queue_data(q, ngx_keyturn_fetch_t, queue);

        if (ngx_strcmp(f->req.reference, req->reference) == 0
            && ngx_strcmp(f->req.subject, req->subject) == 0)
        {
            return;
        }
    }

    /* names may come from clients */

    if (ngx_keyturn_pairs.nfetches >= NGX_KEYTURN_FETCHES) {
        return;
    }

    reference = ngx_strlen(req->reference) + 1;
    subject = ngx_strlen(req->subject) + 1;

    f = ngx_calloc(sizeof(ngx_keyturn_fetch_t) + reference + subject, log);
    if (f == NULL) {
        return;
    }

    p = (u_char *) f + sizeof(ngx_keyturn_fetch_t);

    f->req.size = sizeof(kt_request_t);
    f->req.purpose = req->purpose;
    f->req.configured = req->configured;

    f->req.reference = (char *) p;
    p = ngx_cpymem(p, req->reference, reference);

    f->req.subject = (char *) p;
    ngx_memcpy(p, req->subject, subject);

    f->tickets = secret->tls;

    f->wait.handler = ngx_keyturn_tls_fetched;
    f->wait.data = f;

    if (ngx_keyturn_refresh(&f->req, &f->wait, log) != NGX_OK) {
        ngx_free(f);
        return;
    }

    ngx_queue_insert_tail(&ngx_keyturn_pairs.fetches, &f->queue);
    ngx_keyturn_pairs.nfetches++;
}


/*
 * A pair that was used meanwhile is read now, so that the log has a record, and
 * so is one that the configuration names: the next handshake finds it here.
 */

static void
ngx_keyturn_tls_fetched(ngx_keyturn_wait_t *wait)
{
    ngx_keyturn_fetch_t  *f = wait->data;

    kt_ctx_t             *ctx;
    ngx_str_t             name;
    kt_secret_t          *value;
    ngx_keyturn_entry_t  *e;

    ngx_queue_remove(&f->queue);
    ngx_keyturn_pairs.nfetches--;

    name.data = (u_char *) f->req.reference;
    name.len = ngx_strlen(f->req.reference);

    ctx = ngx_keyturn_ctx(ngx_cycle->log);
    e = ngx_keyturn_tls_find(&name);

    if (ctx && f->tickets) {
        ngx_keyturn_ticket_fetched(ctx, f->tickets, &f->req);

    } else if (ctx && (e ? e->lent : f->req.configured)
               && kt_peek(ctx, &f->req, &value) == KT_SUCCESS)
    {
        if (e == NULL) {
            e = ngx_keyturn_tls_create(&name);
        }

        if (e) {
            e->lent = 0;
            ngx_keyturn_tls_update(e, value, NULL, ngx_cycle->log);
        }

        kt_secret_free(value);
    }

    ngx_free(f);
}


static void
ngx_keyturn_tls_start(ngx_array_t *requires, ngx_log_t *log)
{
    kt_ctx_t               *ctx;
    ngx_uint_t              i;
    ngx_msec_t              start, now;
    ngx_keyturn_require_t  *require;

    ngx_keyturn_tls_prepare();

    ctx = ngx_keyturn_ctx(log);
    if (ctx == NULL) {
        return;
    }

    require = requires->elts;

    for (i = 0; i < requires->nelts; i++) {
        if (require[i].secret->purpose) {
            ngx_keyturn_tls_ahead(ctx, &require[i], log);
        }
    }

    /* connections wait in the backlog, which is better than to refuse them */

    ngx_time_update();
    start = ngx_current_msec;
    now = start;

    while (ngx_keyturn_pairs.nfetches && now - start < NGX_KEYTURN_START) {
        ngx_keyturn_wait(NGX_KEYTURN_START - (now - start));
        ngx_time_update();
        now = ngx_current_msec;
    }
}


static void
ngx_keyturn_tls_ahead(kt_ctx_t *ctx, ngx_keyturn_require_t *require,
    ngx_log_t *log)
{
    char           previous[KT_REFERENCE_MAX + 1];
    u_char        *last;
    kt_request_t   req = KT_REQUEST_INIT;

    req.reference = (char *) require->secret->reference.data;
    req.subject = (char *) require->subject->data;
    req.purpose = require->secret->purpose;
    req.configured = 1;

    if (kt_probe(ctx, &req) != KT_TRYAGAIN) {
        return;
    }

    ngx_keyturn_tls_fetch(&req, require->secret, log);

    if (ngx_strcmp(req.purpose, NGX_KEYTURN_TICKET) == 0) {
        last = ngx_snprintf((u_char *) previous, KT_REFERENCE_MAX,
                            "%V@previous", &require->secret->reference);
        *last = '\0';

        req.reference = previous;
        ngx_keyturn_tls_fetch(&req, require->secret, log);
    }
}


static void
ngx_keyturn_tls_stop(void)
{
    ngx_queue_t  *q;

    ngx_keyturn_ticket_stop();

    if (!ngx_keyturn_pairs.initialized) {
        return;
    }

    while (!ngx_queue_empty(&ngx_keyturn_pairs.entries)) {
        q = ngx_queue_head(&ngx_keyturn_pairs.entries);
        ngx_keyturn_tls_drop(ngx_queue_data(q, ngx_keyturn_entry_t, queue));
    }
}


static void
ngx_keyturn_tls_prepare(void)
{
    if (ngx_keyturn_pairs.initialized) {
        return;
    }

    ngx_rbtree_init(&ngx_keyturn_pairs.tree, &ngx_keyturn_pairs.sentinel,
                    ngx_str_rbtree_insert_value);
    ngx_queue_init(&ngx_keyturn_pairs.entries);
    ngx_queue_init(&ngx_keyturn_pairs.fetches);

    ngx_keyturn_pairs.initialized = 1;
}
