
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * A secret of the scope "upstream" is given to what will be sent: to the request
 * that is being made, or to the connection that is being opened ("proxy_ssl_*").
 * An upstream that has ended stays in r->upstream, and its error page must not
 * get the secret.  Nor must the address of an upstream, the zone and the key of
 * its cache, and what is done with a response, because these are logged or sent
 * to the client.  nginx does not say which of them it evaluates, but what it has
 * done before shows it.
 */


#include "ngx_http_keyturn_module.h"


static ngx_uint_t ngx_http_keyturn_in_content(ngx_http_request_t *r);
#if (NGX_HTTP_CACHE)
static ngx_uint_t ngx_http_keyturn_in_cache(ngx_http_request_t *r);
#endif
static void ngx_http_keyturn_halt(ngx_http_request_t *r);
static void ngx_http_keyturn_halt_event(ngx_event_t *ev);
static void ngx_http_keyturn_halt_end(void *data);


ngx_uint_t
ngx_http_keyturn_in_upstream(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_keyturn_secret_t *secret)
{
    ngx_http_upstream_t  *u;

    u = r->upstream;

    if (u == NULL || ctx->answered == r || !ngx_http_keyturn_in_content(r)) {
        return 0;
    }

    /* the action after a response finds this flag set by the response */

    if (r->header_sent && !r->post_action) {
        return 0;
    }

    if (u->cleanup) {
        return !u->request_sent;
    }

    /* a request has no place for PEM */

    return !secret->pem && ngx_http_keyturn_is_making(r);
}


static ngx_uint_t
ngx_http_keyturn_in_content(ngx_http_request_t *r)
{
    ngx_http_phase_handler_t   *ph;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    ph = &cmcf->phase_engine.handlers[r->phase_handler];

    return ph->checker == ngx_http_core_content_phase;
}


/* does u->create_request() run, which ngx_http_upstream_init_request() calls? */

ngx_uint_t
ngx_http_keyturn_is_making(ngx_http_request_t *r)
{
    ngx_chain_t          *body;
    ngx_http_upstream_t  *u;

    u = r->upstream;

    /* "proxy_pass" with variables is evaluated before these are set */

    if (u == NULL || u->conf == NULL || u->create_request == NULL || u->cleanup) {
        return 0;
    }

#if (NGX_HTTP_CACHE)

    if (u->conf->cache && (r->cached || ngx_http_keyturn_in_cache(r))) {
        return 0;
    }

#endif

    /* "proxy_bind" comes when the request has been made */

    body = r->request_body ? r->request_body->bufs : NULL;

    return u->output.pool == NULL && u->request_bufs == body;
}


#if (NGX_HTTP_CACHE)

/* is the cache looked through?  The handler of write events changes after it */

static ngx_uint_t
ngx_http_keyturn_in_cache(ngx_http_request_t *r)
{
    ngx_http_upstream_t  *u;

    u = r->upstream;

    if (r->write_event_handler == ngx_http_core_run_phases
        || (r->cache && r->cache->header_start == 0))
    {
        return 1;
    }

    /* a body that came later has changed it before */

    return r->write_event_handler == ngx_http_request_empty_handler
           && !u->conf->store && !r->post_action
           && !u->conf->ignore_client_abort;
}

#endif


/*
 * A handler of a variable cannot fail, and an empty value would leave a header
 * out.  So the request is made in vain:
 *
 *   evaluated before the upstream   r->aio keeps nginx from making the request,
 *                                   whatever the module sets meanwhile, until
 *                                   an event ends it
 *   with the request                no upstream is found for it
 *   with the TLS connection         this is shut down, before a handshake
 */

void
ngx_http_keyturn_withhold(ngx_http_request_t *r, ngx_keyturn_secret_t *secret)
{
    ngx_connection_t     *pc;
    ngx_http_upstream_t  *u;

    static ngx_http_upstream_resolved_t  nowhere;

    u = r->upstream;

    if (u == NULL || !ngx_http_keyturn_in_content(r)) {
        return;
    }

    pc = u->peer.connection;

    if (u->cleanup) {

        if (u->request_sent || pc == NULL || u->header_sent) {
            return;
        }

        (void) ngx_shutdown_socket(pc->fd, SHUT_RDWR);

    } else if (u->conf == NULL || u->create_request == NULL) {

        if (r->aio) {
            return;
        }

        ngx_http_keyturn_halt(r);

    } else if (u->resolved != &nowhere && ngx_http_keyturn_is_making(r)) {
        u->resolved = &nowhere;

    } else {
        return;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "the request to the upstream lacks the required secret of "
                  "\"$%V\" and is not sent", &secret->variable);
}


static void
ngx_http_keyturn_halt(ngx_http_request_t *r)
{
    ngx_event_t               *ev;
    ngx_pool_cleanup_t        *cln;
    ngx_http_keyturn_taint_t  *t;

    r->aio = 1;

    t = ngx_http_keyturn_taint(r);

    if (t == NULL) {
        return;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_event_t));
    if (cln == NULL) {
        return;
    }

    ev = cln->data;
    ngx_memzero(ev, sizeof(ngx_event_t));

    ev->handler = ngx_http_keyturn_halt_event;
    ev->data = r;
    ev->log = r->connection->log;

    cln->handler = ngx_http_keyturn_halt_end;

    t->halted = r;
    t->upstream_halted = r->upstream;

    ngx_post_event(ev, &ngx_posted_events);
}


static void
ngx_http_keyturn_halt_event(ngx_event_t *ev)
{
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_upstream_t       *u;
    ngx_http_keyturn_taint_t  *t;

    r = ev->data;
    c = r->connection;
    t = ngx_http_keyturn_taint(r);

    if (t == NULL || t->halted != r) {
        return;
    }

    ngx_http_keyturn_go_on(r);

    u = r->upstream;

    /* without a configuration, the module has found an error itself */

    if (u != t->upstream_halted || u->conf == NULL) {
        return;
    }

    ngx_http_set_log_request(c->log, r);

    ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
    ngx_http_run_posted_requests(c);
}


static void
ngx_http_keyturn_halt_end(void *data)
{
    ngx_event_t *ev = data;

    if (ev->posted) {
        ngx_delete_posted_event(ev);
    }
}


/* a location is entered, or a response is begun, instead of the upstream */

void
ngx_http_keyturn_go_on(ngx_http_request_t *r)
{
    ngx_http_keyturn_taint_t  *t;

    t = ngx_http_keyturn_taint(r);

    /* a subrequest may share the variables of one that is halted */

    if (t && t->halted == r) {
        t->halted = NULL;
        r->aio = 0;
    }
}
