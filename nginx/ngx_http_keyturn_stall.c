
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * The request to an upstream is being made, and a secret for it is not there.
 * The handler of a variable can neither fail nor wait, so it leads nginx to an
 * upstream of ours, which exists for this request only:
 *
 *   a copy of an answer may be used   it "fails to connect", which is what
 *                                     "proxy_cache_use_stale error" is for
 *   the secret cannot be had          the request is refused with its status
 *   it has to be fetched              the connection is "being opened" until
 *                                     then, and the content handler runs again
 *
 * Nothing is sent in either case.  Whatever ends the upstream before, such as a
 * client that has gone, calls u->finalize_request, which ends the stall.
 *
 * A connection of nginx needs a socket, so there is one without a peer.
 */


#include "ngx_http_keyturn_module.h"


typedef struct {
    ngx_http_upstream_conf_t      conf;     /* u->conf, so it must be first */
    ngx_http_request_t           *request;
    ngx_http_keyturn_ctx_t       *ctx;
    ngx_http_keyturn_suspend_t   *suspend;  /* NULL: refused */
    ngx_event_t                   event;
    ngx_int_t                     status;   /* of the refusal */
    void                        (*finalize)(ngx_http_request_t *r,
                                            ngx_int_t rc);
} ngx_http_keyturn_stall_t;


static ngx_int_t ngx_http_keyturn_divert(ngx_http_request_t *r,
    ngx_http_keyturn_stall_t *stall);
static ngx_int_t ngx_http_keyturn_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_keyturn_get_peer(ngx_peer_connection_t *pc,
    void *data);
static ngx_uint_t ngx_http_keyturn_has_stale(ngx_http_request_t *r);
static void ngx_http_keyturn_refuse_event(ngx_event_t *ev);
static ngx_uint_t ngx_http_keyturn_can_wait(ngx_http_request_t *r);
static void ngx_http_keyturn_rerun(ngx_http_request_t *r);
static void ngx_http_keyturn_finalize(ngx_http_request_t *r, ngx_int_t rc);
static void ngx_http_keyturn_end(void *data);


static ngx_str_t  ngx_http_keyturn_nobody_name = ngx_string("keyturn");

static ngx_http_upstream_srv_conf_t  ngx_http_keyturn_nobody = {
    .peer = { .init = ngx_http_keyturn_init_peer },
    .host = ngx_string("keyturn")
};


ngx_int_t
ngx_http_keyturn_stall(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *pin)
{
    ngx_int_t                  status;
    ngx_http_upstream_t       *u;
    ngx_pool_cleanup_t        *cln;
    ngx_http_keyturn_stall_t  *stall;

    u = r->upstream;

    if (u->conf->upstream == &ngx_http_keyturn_nobody) {
        return NGX_OK;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_keyturn_stall_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    stall = cln->data;
    ngx_memzero(stall, sizeof(ngx_http_keyturn_stall_t));

    cln->handler = ngx_http_keyturn_end;

    stall->request = r;
    stall->ctx = ctx;

    if (!pin->done) {

        if (ngx_http_keyturn_can_wait(r)) {
            stall->suspend = ngx_http_keyturn_wait(r, ctx, pin,
                                                   ngx_http_keyturn_rerun);
        }

        if (stall->suspend) {
            return ngx_http_keyturn_divert(r, stall);
        }

        ngx_http_keyturn_fail(r, pin, KT_UNAVAIL,
                              "it cannot be fetched in the background");
    }

    status = ngx_http_keyturn_status(pin);

    if (status == NGX_OK) {
        return NGX_OK;
    }

    stall->status = status;

    return ngx_http_keyturn_divert(r, stall);
}


static ngx_int_t
ngx_http_keyturn_divert(ngx_http_request_t *r, ngx_http_keyturn_stall_t *stall)
{
    ngx_http_upstream_t  *u;

    u = r->upstream;

    stall->conf = *u->conf;
    stall->conf.upstream = &ngx_http_keyturn_nobody;
    stall->conf.local = NULL;

    /* its time is counted here */

    stall->conf.connect_timeout = NGX_MAX_INT32_VALUE / 2;

    stall->finalize = u->finalize_request;

    u->finalize_request = ngx_http_keyturn_finalize;
    u->conf = &stall->conf;
    u->resolved = NULL;

    return NGX_OK;
}


static ngx_int_t
ngx_http_keyturn_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_upstream_t  *u;

    u = r->upstream;

    u->peer.data = u->conf;
    u->peer.get = ngx_http_keyturn_get_peer;
    u->peer.free = NULL;
    u->peer.tries = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_keyturn_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_keyturn_stall_t *stall = data;

    ngx_socket_t       fd;
    ngx_connection_t  *c;

    pc->name = &ngx_http_keyturn_nobody_name;

    if (stall->status == NGX_HTTP_SERVICE_UNAVAILABLE
        && ngx_http_keyturn_has_stale(stall->request))
    {
        return NGX_DECLINED;
    }

    fd = ngx_socket(AF_UNIX, SOCK_STREAM, 0);

    if (fd == (ngx_socket_t) -1) {
        ngx_log_error(NGX_LOG_ALERT, pc->log, ngx_socket_errno,
                      ngx_socket_n " failed");
        return NGX_ERROR;
    }

    c = ngx_get_connection(fd, pc->log);

    if (c == NULL) {
        if (ngx_close_socket(fd) == -1) {
            ngx_log_error(NGX_LOG_ALERT, pc->log, ngx_socket_errno,
                          ngx_close_socket_n " failed");
        }

        return NGX_ERROR;
    }

    c->log = pc->log;
    c->read->log = pc->log;
    c->write->log = pc->log;

    pc->connection = c;

    if (stall->suspend == NULL) {
        stall->event.handler = ngx_http_keyturn_refuse_event;
        stall->event.data = stall;
        stall->event.log = pc->log;

        ngx_post_event(&stall->event, &ngx_posted_events);
    }

    return NGX_AGAIN;
}


static ngx_uint_t
ngx_http_keyturn_has_stale(ngx_http_request_t *r)
{
#if (NGX_HTTP_CACHE)

    ngx_http_upstream_t  *u;

    u = r->upstream;

    return u->cache_status == NGX_HTTP_CACHE_EXPIRED
           && ((u->conf->cache_use_stale & NGX_HTTP_UPSTREAM_FT_ERROR)
               || r->cache->stale_error);

#else

    return 0;

#endif
}


static void
ngx_http_keyturn_refuse_event(ngx_event_t *ev)
{
    ngx_int_t                  rc;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_upstream_t       *u;
    ngx_http_keyturn_stall_t  *stall;

    stall = ev->data;
    r = stall->request;
    u = r->upstream;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    /* as ngx_http_upstream_create() ends the upstream before */

    r->main->count++;
    (*u->cleanup)(r);

    rc = ngx_http_keyturn_refuse(r, stall->ctx, stall->status);

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


/*
 * The content handler takes a body that it finds for one that was read whole.
 * If it is read while it is sent ("proxy_request_buffering off", gRPC), that is
 * set right by the variable that waits, when the request is made again.
 */

static ngx_uint_t
ngx_http_keyturn_can_wait(ngx_http_request_t *r)
{
    return !r->request_body_no_buffering || !r->reading_body
           || ngx_http_keyturn_is_making(r);
}


void
ngx_http_keyturn_unbuffer(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx)
{
    if (ctx->unbuffered == r && ngx_http_keyturn_is_making(r)) {
        ctx->unbuffered = NULL;
        r->request_body_no_buffering = 1;
    }
}


/* makes a new upstream, which ends the one that has waited */

static void
ngx_http_keyturn_rerun(ngx_http_request_t *r)
{
    if (r->request_body_no_buffering && r->reading_body) {
        ngx_http_keyturn_get_ctx(r)->unbuffered = r;
    }

    ngx_http_finalize_request(r, r->content_handler(r));
}


static void
ngx_http_keyturn_finalize(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_keyturn_stall_t  *stall;

    stall = (ngx_http_keyturn_stall_t *) r->upstream->conf;

    ngx_http_keyturn_end(stall);

    stall->finalize(r, rc);
}


static void
ngx_http_keyturn_end(void *data)
{
    ngx_http_keyturn_stall_t *stall = data;

    if (stall->suspend) {
        ngx_http_keyturn_unwait(stall->suspend);
        stall->suspend = NULL;
    }

    if (stall->event.posted) {
        ngx_delete_posted_event(&stall->event);
    }
}
