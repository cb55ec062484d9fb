
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * A secret is pinned at its first read: from then on the request, its
 * subrequests and whatever it is redirected to get this version and no other.
 * nginx evaluates a variable once for the length and once for the copy, so an
 * answer that was given never changes.  The pins are found again through the
 * cleanup of the pool, as a redirect drops the contexts of modules, and are
 * wiped by it.
 */


#include "ngx_http_keyturn_module.h"


#define NGX_HTTP_KEYTURN_TIMEOUT  2000  /* ms, for a first fetch */


typedef struct {
    ngx_event_t              timer;
    ngx_keyturn_wait_t       wait;
    ngx_http_request_t      *request;
    ngx_http_keyturn_ctx_t  *ctx;
    ngx_http_keyturn_pin_t  *pin;
} ngx_http_keyturn_suspend_t;


typedef struct {
    kt_request_t             req;
    char                     peer[NGX_SOCKADDR_STRLEN + 1];
    char                     id[NGX_ATOMIC_T_LEN + 1];
    char                     reference[KT_REFERENCE_MAX + 1];
} ngx_http_keyturn_ask_t;


static ngx_http_keyturn_pin_t *ngx_http_keyturn_new_pin(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *like);
static ngx_int_t ngx_http_keyturn_name(ngx_http_request_t *r,
    ngx_http_keyturn_pin_t *pin);
static ngx_uint_t ngx_http_keyturn_same(ngx_http_keyturn_pin_t *a,
    ngx_http_keyturn_pin_t *b);
static void ngx_http_keyturn_ask(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *pin,
    ngx_http_keyturn_ask_t *ask);
static void ngx_http_keyturn_set(ngx_http_request_t *r,
    ngx_http_keyturn_pin_t *pin, kt_secret_t *value);
static void ngx_http_keyturn_wake(ngx_keyturn_wait_t *wait);
static void ngx_http_keyturn_timeout(ngx_event_t *ev);
static void ngx_http_keyturn_resume(ngx_http_keyturn_suspend_t *suspend,
    kt_status_t status);
static void ngx_http_keyturn_cancel(void *data);
static void ngx_http_keyturn_cleanup(void *data);
static void ngx_http_keyturn_wipe_request(ngx_http_keyturn_pin_t *pin);


ngx_http_keyturn_ctx_t *
ngx_http_keyturn_get_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t      *cln;
    ngx_http_keyturn_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_keyturn_module);

    if (ctx) {
        return ctx;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler == ngx_http_keyturn_cleanup) {
            ctx = cln->data;
            ngx_http_set_ctx(r, ctx, ngx_http_keyturn_module);
            break;
        }
    }

    return ctx;
}


ngx_http_keyturn_ctx_t *
ngx_http_keyturn_create_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t      *cln;
    ngx_http_keyturn_ctx_t  *ctx;

    ctx = ngx_http_keyturn_get_ctx(r);

    if (ctx) {
        return ctx;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_keyturn_ctx_t));
    if (cln == NULL) {
        return NULL;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_keyturn_ctx_t));

    cln->handler = ngx_http_keyturn_cleanup;

    ngx_http_set_ctx(r, ctx, ngx_http_keyturn_module);

    return ctx;
}


ngx_http_keyturn_pin_t *
ngx_http_keyturn_pin(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_keyturn_secret_t *secret, ngx_uint_t fresh)
{
    ngx_http_keyturn_pin_t       *pin, like;
    ngx_http_keyturn_srv_conf_t  *kscf;

    for (pin = ctx->pins; pin; pin = pin->next) {
        if (pin->request == r && pin->secret == secret) {
            break;
        }
    }

    if (pin && (!fresh || !secret->dynamic)) {
        return pin;
    }

    kscf = ngx_http_get_module_srv_conf(r, ngx_http_keyturn_module);

    ngx_memzero(&like, sizeof(ngx_http_keyturn_pin_t));

    like.request = r;
    like.secret = secret;
    like.subject = &kscf->subject;

    if (ngx_http_keyturn_name(r, &like) != NGX_OK) {
        return NULL;
    }

    if (pin && ngx_http_keyturn_same(pin, &like)) {
        return pin;
    }

    return ngx_http_keyturn_new_pin(r, ctx, &like);
}


static ngx_http_keyturn_pin_t *
ngx_http_keyturn_new_pin(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *like)
{
    ngx_http_keyturn_pin_t  *pin, *p;

    pin = ngx_palloc(r->pool, sizeof(ngx_http_keyturn_pin_t));
    if (pin == NULL) {
        return NULL;
    }

    *pin = *like;

    /* what another request of the same client request has got already */

    for (p = ctx->pins; p; p = p->next) {

        if (p->done && p->secret == pin->secret
            && ngx_http_keyturn_same(p, pin))
        {
            pin->status = p->status;
            pin->version = p->version;
            pin->text = p->text;
            pin->pooled = p->pooled;
            pin->done = 1;
            break;
        }
    }

    pin->next = ctx->pins;
    ctx->pins = pin;

    return pin;
}


static ngx_int_t
ngx_http_keyturn_name(ngx_http_request_t *r, ngx_http_keyturn_pin_t *pin)
{
    const char  *why;

    if (!pin->secret->dynamic) {
        pin->name = pin->secret->name;
        pin->reference = pin->secret->reference;
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, pin->secret->complex, &pin->name) != NGX_OK) {
        return NGX_ERROR;
    }

    if (pin->name.len == 0
        || kt_name_check((char *) pin->name.data, pin->name.len, &why)
           != KT_SUCCESS)
    {
        /* it may come from a client, so it is not repeated */

        pin->name = pin->secret->name;
        pin->reference = pin->secret->name;

        ngx_http_keyturn_fail(r, pin, KT_USAGE, "it is no name");
        return NGX_OK;
    }

    return ngx_keyturn_reference(r->pool, &pin->name, &pin->secret->version,
                                 &pin->reference);
}


static ngx_uint_t
ngx_http_keyturn_same(ngx_http_keyturn_pin_t *a, ngx_http_keyturn_pin_t *b)
{
    return a->subject == b->subject
           && a->reference.len == b->reference.len
           && ngx_memcmp(a->reference.data, b->reference.data,
                         a->reference.len)
              == 0;
}


void
ngx_http_keyturn_fetch(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *pin, ngx_uint_t final)
{
    char                    *action;
    kt_ctx_t                *kctx;
    kt_secret_t             *value;
    kt_status_t              status;
    ngx_http_keyturn_ask_t   ask;
    ngx_http_keyturn_pin_t  *p;

    action = r->connection->log->action;
    r->connection->log->action = "reading a secret";

    kctx = ngx_keyturn_ctx(r->connection->log);

    if (kctx == NULL) {
        ngx_http_keyturn_fail(r, pin, KT_UNAVAIL, "keyturn is not open");
        goto done;
    }

    ngx_http_keyturn_ask(r, ctx, pin, &ask);

    status = kt_peek(kctx, &ask.req, &value);

    if (status == KT_TRYAGAIN && !final && !pin->waited) {
        goto done;
    }

    if (status == KT_TRYAGAIN && pin->waited) {
        ngx_http_keyturn_fail(r, pin, pin->status,
                              kt_status_text(pin->status));
        goto done;
    }

    if (status != KT_SUCCESS) {
        ngx_http_keyturn_fail(r, pin, status, kt_error(kctx));
        goto done;
    }

    for (p = ctx->pins; p; p = p->next) {
        if (!p->done && ngx_http_keyturn_same(p, pin)) {
            ngx_http_keyturn_set(r, p, value);
        }
    }

    kt_secret_free(value);

done:

    r->connection->log->action = action;
}


static void
ngx_http_keyturn_ask(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *pin, ngx_http_keyturn_ask_t *ask)
{
    u_char                  *last;
    ngx_connection_t        *c;
    ngx_http_keyturn_pin_t  *p;

    c = r->connection;

    ngx_memzero(&ask->req, sizeof(kt_request_t));

    ask->req.size = sizeof(kt_request_t);
    ask->req.reference = (char *) pin->reference.data;
    ask->req.subject = (char *) pin->subject->data;
    ask->req.peer = ask->peer;
    ask->req.request_id = ask->id;
    ask->req.purpose = "proxy";

    (void) ngx_cpystrn((u_char *) ask->peer, c->addr_text.data,
                       ngx_min(c->addr_text.len, NGX_SOCKADDR_STRLEN) + 1);

    last = ngx_sprintf((u_char *) ask->id, "%uA", c->number);
    *last = '\0';

    /* another variable has been given a version of this secret already */

    for (p = ctx->pins; p; p = p->next) {

        if (p->done && p->version && ngx_http_keyturn_same(p, pin)) {
            last = ngx_snprintf((u_char *) ask->reference, KT_REFERENCE_MAX,
                                "%V@%uL", &p->name, p->version);
            *last = '\0';

            ask->req.reference = ask->reference;
            break;
        }
    }
}


static void
ngx_http_keyturn_set(ngx_http_request_t *r, ngx_http_keyturn_pin_t *pin,
    kt_secret_t *value)
{
    const char   *reason;
    kt_status_t   status;

    status = ngx_keyturn_secret_text(pin->secret, value, r->pool, &pin->text,
                                     &reason);

    if (status != KT_SUCCESS) {
        ngx_http_keyturn_fail(r, pin, status,
                              reason ? reason : kt_status_text(status));
        return;
    }

    pin->status = KT_SUCCESS;
    pin->version = kt_secret_version(value);
    pin->pooled = 1;
    pin->done = 1;
}


void
ngx_http_keyturn_fail(ngx_http_request_t *r, ngx_http_keyturn_pin_t *pin,
    kt_status_t status, const char *reason)
{
    ngx_uint_t             level;
    ngx_keyturn_secret_t  *secret;

    secret = pin->secret;

    pin->status = status;
    pin->done = 1;

    level = NGX_LOG_ERR;

    if (!secret->required && (status == KT_NOTFOUND || status == KT_GONE)) {
        level = NGX_LOG_INFO;

        if (secret->fallback.len) {
            pin->text = secret->fallback;
            pin->status = KT_SUCCESS;
        }
    }

    ngx_log_error(level, r->connection->log, 0,
                  "%s secret \"%V\" of \"$%V\" cannot be had by \"%V\": "
                  "%s (%s)",
                  secret->required ? "required" : "optional",
                  &pin->reference, &secret->variable, pin->subject, reason,
                  kt_status_name(status));
}


ngx_int_t
ngx_http_keyturn_suspend(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *pin)
{
    ngx_pool_cleanup_t          *cln;
    ngx_http_keyturn_ask_t       ask;
    ngx_http_keyturn_suspend_t  *suspend;

    /* what was fetched may have changed before it was read: once more */

    if (pin->deadline == 0) {
        pin->deadline = ngx_current_msec + NGX_HTTP_KEYTURN_TIMEOUT;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_keyturn_suspend_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    suspend = cln->data;
    ngx_memzero(suspend, sizeof(ngx_http_keyturn_suspend_t));

    suspend->request = r;
    suspend->ctx = ctx;
    suspend->pin = pin;
    suspend->wait.handler = ngx_http_keyturn_wake;
    suspend->wait.data = suspend;
    suspend->timer.handler = ngx_http_keyturn_timeout;
    suspend->timer.data = suspend;
    suspend->timer.log = r->connection->log;

    cln->handler = ngx_http_keyturn_cancel;

    ngx_http_keyturn_ask(r, ctx, pin, &ask);

    if (ngx_keyturn_refresh(&ask.req, &suspend->wait, r->connection->log)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_add_timer(&suspend->timer, pin->deadline - ngx_current_msec);

    if (r == r->main) {

        if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
            ngx_http_keyturn_cancel(suspend);
            return NGX_ERROR;
        }

        r->read_event_handler = ngx_http_test_reading;
    }

    r->write_event_handler = ngx_http_request_empty_handler;

    return NGX_OK;
}


static void
ngx_http_keyturn_wake(ngx_keyturn_wait_t *wait)
{
    ngx_http_keyturn_suspend_t  *suspend;

    suspend = wait->data;

    ngx_http_keyturn_resume(suspend, wait->status);
}


static void
ngx_http_keyturn_timeout(ngx_event_t *ev)
{
    ngx_http_keyturn_suspend_t  *suspend;

    suspend = ev->data;

    ngx_http_keyturn_resume(suspend, KT_UNAVAIL);
}


static void
ngx_http_keyturn_resume(ngx_http_keyturn_suspend_t *suspend,
    kt_status_t status)
{
    ngx_msec_int_t           left;
    ngx_connection_t        *c;
    ngx_http_request_t      *r;
    ngx_http_keyturn_pin_t  *p;

    r = suspend->request;
    c = r->connection;

    ngx_http_keyturn_cancel(suspend);

    left = (ngx_msec_int_t) (suspend->pin->deadline - ngx_current_msec);

    if (status == KT_SUCCESS && left <= 0) {
        status = KT_TRYAGAIN;
    }

    for (p = suspend->ctx->pins; p; p = p->next) {

        if (!p->done && ngx_http_keyturn_same(p, suspend->pin)) {
            p->deadline = suspend->pin->deadline;
            p->status = status;
            p->waited = (status != KT_SUCCESS);
        }
    }

    ngx_http_set_log_request(c->log, r);

    if (r == r->main) {
        r->read_event_handler = ngx_http_block_reading;
    }

    r->write_event_handler = ngx_http_core_run_phases;

    ngx_http_core_run_phases(r);
    ngx_http_run_posted_requests(c);
}


static void
ngx_http_keyturn_cancel(void *data)
{
    ngx_http_keyturn_suspend_t  *suspend = data;

    ngx_keyturn_cancel(&suspend->wait);

    if (suspend->timer.timer_set) {
        ngx_del_timer(&suspend->timer);
    }
}


static void
ngx_http_keyturn_cleanup(void *data)
{
    ngx_http_keyturn_ctx_t  *ctx = data;

    ngx_http_keyturn_pin_t  *p;

    for (p = ctx->pins; p; p = p->next) {

        if (p->upstream) {
            ngx_http_keyturn_wipe_request(p);
        }

        if (p->pooled) {
            ngx_explicit_memzero(p->text.data, p->text.len);
        }
    }
}


/*
 * The request that was sent holds a copy, in its first buffer.  Chain links
 * are reused, so this is wiped only if it is found there: another buffer may
 * hold the client's next request.
 */

static void
ngx_http_keyturn_wipe_request(ngx_http_keyturn_pin_t *pin)
{
    u_char       *p;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    cl = pin->upstream->request_bufs;

    if (!pin->pooled
        || pin->text.len < NGX_HTTP_KEYTURN_MASK_MIN
        || cl == NULL || cl->buf == NULL)
    {
        return;
    }

    b = cl->buf;

    if (!b->temporary || b->start == NULL) {
        return;
    }

    p = memmem(b->start, b->end - b->start, pin->text.data, pin->text.len);

    if (p) {
        ngx_explicit_memzero(p, pin->text.len);
    }
}
