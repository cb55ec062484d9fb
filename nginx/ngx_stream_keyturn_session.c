
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * The first read of a secret pins its version for the session.  By default its
 * text is for the directives "proxy_ssl_*", which nginx evaluates while it
 * opens a connection for TLS.  What was evaluated since a secret was asked for
 * may be made of it: the log gets it evaluated anew, from "[masked]".
 */


#include "ngx_stream_keyturn_module.h"
#include "ngx_keyturn_stat.h"

#include <malloc.h>


#define NGX_STREAM_KEYTURN_MASK      "[masked]"
#define NGX_STREAM_KEYTURN_WIPE_MIN  16


static void ngx_stream_keyturn_fill(ngx_stream_keyturn_ctx_t *ctx,
    ngx_stream_keyturn_pin_t *pin, kt_secret_t *value);
static void ngx_stream_keyturn_fail(ngx_stream_keyturn_ctx_t *ctx,
    ngx_stream_keyturn_pin_t *pin, kt_status_t status, const char *reason);
static void ngx_stream_keyturn_ask(ngx_stream_keyturn_ctx_t *ctx,
    ngx_stream_keyturn_pin_t *pin, kt_request_t *req, char *peer, char *id);
static ngx_keyturn_secret_t *ngx_stream_keyturn_secret(ngx_stream_session_t *s,
    ngx_uint_t variable);
static ngx_uint_t ngx_stream_keyturn_in_handshake(ngx_stream_session_t *s);
static ngx_uint_t ngx_stream_keyturn_in_upstream(ngx_stream_session_t *s);
static void ngx_stream_keyturn_alert(ngx_stream_session_t *s,
    ngx_keyturn_secret_t *secret);
static ngx_int_t ngx_stream_keyturn_note(ngx_stream_session_t *s,
    ngx_stream_keyturn_ctx_t *ctx);
static void ngx_stream_keyturn_cleanup(void *data);
static void ngx_stream_keyturn_wipe(ngx_pool_t *pool,
    ngx_stream_keyturn_pin_t *pin);
static void ngx_stream_keyturn_wipe_range(u_char *p, u_char *last,
    ngx_str_t *text);


ngx_stream_keyturn_ctx_t *
ngx_stream_keyturn_create_ctx(ngx_stream_session_t *s)
{
    ngx_pool_cleanup_t             *cln;
    ngx_stream_keyturn_ctx_t       *ctx;
    ngx_stream_keyturn_srv_conf_t  *kscf;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_keyturn_module);

    if (ctx) {
        return ctx;
    }

    cln = ngx_pool_cleanup_add(s->connection->pool,
                               sizeof(ngx_stream_keyturn_ctx_t));
    if (cln == NULL) {
        return NULL;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_stream_keyturn_ctx_t));

    kscf = ngx_stream_get_module_srv_conf(s, ngx_stream_keyturn_module);

    ctx->session = s;
    ctx->subject = &kscf->subject;

    cln->handler = ngx_stream_keyturn_cleanup;

    ngx_stream_set_ctx(s, ctx, ngx_stream_keyturn_module);

    return ctx;
}


ngx_stream_keyturn_pin_t *
ngx_stream_keyturn_pin(ngx_stream_session_t *s, ngx_stream_keyturn_ctx_t *ctx,
    ngx_keyturn_secret_t *secret)
{
    ngx_str_t                  name;
    ngx_pool_t                *pool;
    const char                *why;
    ngx_stream_keyturn_pin_t  *pin;

    for (pin = ctx->pins; pin; pin = pin->next) {
        if (pin->secret == secret) {
            return pin;
        }
    }

    pool = s->connection->pool;

    pin = ngx_pcalloc(pool, sizeof(ngx_stream_keyturn_pin_t));
    if (pin == NULL) {
        return NULL;
    }

    pin->secret = secret;
    pin->reference = secret->reference;

    if (secret->dynamic) {

        if (ngx_stream_complex_value(s, secret->complex, &name) != NGX_OK) {
            return NULL;
        }

        if (name.len
            && kt_name_check((char *) name.data, name.len, &why) == KT_SUCCESS)
        {
            if (ngx_keyturn_reference(pool, &name, &secret->version,
                                      &pin->reference)
                != NGX_OK)
            {
                return NULL;
            }

        } else {

            /* it may come from a client, so it is not repeated */

            pin->reference = secret->name;
            ngx_stream_keyturn_fail(ctx, pin, KT_USAGE,
                                    "its name is not valid");
        }
    }

    pin->next = ctx->pins;
    ctx->pins = pin;

    return pin;
}


kt_status_t
ngx_stream_keyturn_fetch(ngx_stream_keyturn_ctx_t *ctx,
    ngx_stream_keyturn_pin_t *pin, ngx_uint_t final)
{
    char                       peer[NGX_SOCKADDR_STRLEN + 1];
    char                       id[NGX_ATOMIC_T_LEN + 1];
    char                      *action;
    kt_ctx_t                  *kctx;
    ngx_log_t                 *log;
    kt_secret_t               *value;
    kt_status_t                status;
    kt_request_t               req = KT_REQUEST_INIT;
    ngx_stream_keyturn_pin_t  *p;

    log = ctx->session->connection->log;
    kctx = ngx_keyturn_ctx(log);

    if (kctx == NULL) {
        ngx_stream_keyturn_fail(ctx, pin, KT_UNAVAIL, "keyturn is not open");
        return KT_UNAVAIL;
    }

    action = log->action;
    log->action = "reading a secret";

    ngx_stream_keyturn_ask(ctx, pin, &req, peer, id);

    status = kt_peek(kctx, &req, &value);

    if (status != KT_TRYAGAIN) {
        ngx_keyturn_stat_read(status, value,
                              pin->secret->dynamic || pin->secret->version.len
                              ? NULL : &pin->secret->name);
    }

    if (status == KT_SUCCESS) {

        for (p = ctx->pins; p; p = p->next) {

            if (!p->done && p->reference.len == pin->reference.len
                && ngx_memcmp(p->reference.data, pin->reference.data,
                              p->reference.len)
                   == 0)
            {
                ngx_stream_keyturn_fill(ctx, p, value);
            }
        }

        kt_secret_free(value);

    } else if (status != KT_TRYAGAIN) {
        ngx_stream_keyturn_fail(ctx, pin, status, kt_error(kctx));

    } else if (final) {
        ngx_stream_keyturn_fail(ctx, pin, KT_UNAVAIL,
                                "it cannot be fetched in time");
    }

    log->action = action;

    return status;
}


ngx_int_t
ngx_stream_keyturn_refresh(ngx_stream_keyturn_ctx_t *ctx,
    ngx_stream_keyturn_pin_t *pin)
{
    char          peer[NGX_SOCKADDR_STRLEN + 1];
    char          id[NGX_ATOMIC_T_LEN + 1];
    kt_request_t  req = KT_REQUEST_INIT;

    ngx_stream_keyturn_ask(ctx, pin, &req, peer, id);

    return ngx_keyturn_refresh(&req, &ctx->wait,
                               ctx->session->connection->log);
}


static void
ngx_stream_keyturn_ask(ngx_stream_keyturn_ctx_t *ctx,
    ngx_stream_keyturn_pin_t *pin, kt_request_t *req, char *peer, char *id)
{
    u_char            *last;
    ngx_connection_t  *c;

    c = ctx->session->connection;

    (void) ngx_cpystrn((u_char *) peer, c->addr_text.data,
                       ngx_min(c->addr_text.len, NGX_SOCKADDR_STRLEN) + 1);

    last = ngx_sprintf((u_char *) id, "%uA", c->number);
    *last = '\0';

    req->reference = (char *) pin->reference.data;
    req->subject = (char *) ctx->subject->data;
    req->peer = peer;
    req->request_id = id;
    req->purpose = "proxy";

    /* a client cannot be blamed for a name that it did not choose */

    req->configured = !pin->secret->dynamic;
}


static void
ngx_stream_keyturn_fill(ngx_stream_keyturn_ctx_t *ctx,
    ngx_stream_keyturn_pin_t *pin, kt_secret_t *value)
{
    const char   *reason;
    kt_status_t   status;

    status = ngx_keyturn_secret_text(pin->secret, value,
                                     ctx->session->connection->pool,
                                     &pin->text, &reason);

    if (status != KT_SUCCESS) {
        ngx_stream_keyturn_fail(ctx, pin, status,
                                reason ? reason : kt_status_text(status));
        return;
    }

    pin->status = KT_SUCCESS;
    pin->wiped = 1;
    pin->done = 1;
}


static void
ngx_stream_keyturn_fail(ngx_stream_keyturn_ctx_t *ctx,
    ngx_stream_keyturn_pin_t *pin, kt_status_t status, const char *reason)
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

    ngx_log_error(level, ctx->session->connection->log, 0,
                  "%s secret \"%V\" of \"%V\" cannot be read by \"%V\": "
                  "%s (%s)",
                  secret->required ? "required" : "optional",
                  &pin->reference, &secret->label, ctx->subject, reason,
                  kt_status_name(status));
}


ngx_int_t
ngx_stream_keyturn_get_variable(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_keyturn_secret_t      *secret;
    ngx_stream_keyturn_ctx_t  *ctx;
    ngx_stream_keyturn_pin_t  *pin;

    v->valid = 0;
    v->not_found = 1;
    v->no_cacheable = 1;

    secret = ngx_stream_keyturn_secret(s, data);
    if (secret == NULL) {
        return NGX_OK;
    }

    ctx = ngx_stream_keyturn_create_ctx(s);
    if (ctx == NULL) {
        return NGX_OK;
    }

    if (ctx->logged) {
        v->valid = 1;
        v->not_found = 0;
        v->len = sizeof(NGX_STREAM_KEYTURN_MASK) - 1;
        v->data = (u_char *) NGX_STREAM_KEYTURN_MASK;
        return NGX_OK;
    }

    if (ngx_stream_keyturn_in_handshake(s)
        || (secret->scope == NGX_KEYTURN_SCOPE_UPSTREAM
            && !ngx_stream_keyturn_in_upstream(s)))
    {
        ngx_stream_keyturn_alert(s, secret);
        return NGX_OK;
    }

    pin = ngx_stream_keyturn_pin(s, ctx, secret);
    if (pin == NULL) {
        return NGX_OK;
    }

    if (!pin->done) {
        (void) ngx_stream_keyturn_fetch(ctx, pin, 1);
    }

    if (pin->status != KT_SUCCESS
        || ngx_stream_keyturn_note(s, ctx) != NGX_OK)
    {
        return NGX_OK;
    }

    v->valid = 1;
    v->not_found = 0;
    v->len = pin->text.len;
    v->data = pin->text.data;

    return NGX_OK;
}


ngx_int_t
ngx_stream_keyturn_log_handler(ngx_stream_session_t *s)
{
    ngx_uint_t                    i;
    ngx_stream_keyturn_ctx_t     *ctx;
    ngx_stream_core_main_conf_t  *cmcf;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_keyturn_module);

    if (ctx == NULL) {
        return NGX_OK;
    }

    ctx->logged = 1;

    if (ctx->before == NULL) {
        return NGX_OK;
    }

    cmcf = ngx_stream_get_module_main_conf(s, ngx_stream_core_module);

    for (i = 0; i < cmcf->variables.nelts; i++) {

        if (!ctx->before[i]) {
            s->variables[i].valid = 0;
            s->variables[i].not_found = 0;
        }
    }

#if (NGX_PCRE)
    s->ncaptures = 0;
#endif

    return NGX_OK;
}


static ngx_keyturn_secret_t *
ngx_stream_keyturn_secret(ngx_stream_session_t *s, ngx_uint_t variable)
{
    ngx_uint_t                      i;
    ngx_stream_keyturn_entry_t     *entry;
    ngx_stream_keyturn_srv_conf_t  *kscf;

    kscf = ngx_stream_get_module_srv_conf(s, ngx_stream_keyturn_module);

    if (kscf->entries == NULL) {
        return NULL;
    }

    entry = kscf->entries->elts;

    for (i = 0; i < kscf->entries->nelts; i++) {
        if (entry[i].variable == variable) {
            return entry[i].secret;
        }
    }

    return NULL;
}


/* a connection is being opened, and the client's part of TLS set up */

/* "ssl_certificate" with variables: nginx would log what is not a certificate */

static ngx_uint_t
ngx_stream_keyturn_in_handshake(ngx_stream_session_t *s)
{
#if (NGX_STREAM_SSL)

    return s->connection->ssl && !s->connection->ssl->handshaked;

#else

    return 0;

#endif
}


static ngx_uint_t
ngx_stream_keyturn_in_upstream(ngx_stream_session_t *s)
{
#if (NGX_STREAM_SSL)
    ngx_connection_t  *pc;

    if (s->upstream == NULL || s->upstream->connected) {
        return 0;
    }

    pc = s->upstream->peer.connection;

    return pc && pc->ssl && !pc->ssl->handshaked;
#else
    return 0;
#endif
}


static void
ngx_stream_keyturn_alert(ngx_stream_session_t *s,
    ngx_keyturn_secret_t *secret)
{
    if (secret->alerted) {
        return;
    }

    secret->alerted = 1;

    ngx_log_error(NGX_LOG_ALERT, s->connection->log, 0,
                  "\"%V\" is empty here: its secret is for \"proxy_ssl_*\", "
                  "unless \"scope=request\" is set (%s:%ui)",
                  &secret->label, secret->file, secret->line);
}


static ngx_int_t
ngx_stream_keyturn_note(ngx_stream_session_t *s, ngx_stream_keyturn_ctx_t *ctx)
{
    ngx_uint_t                    i;
    ngx_stream_core_main_conf_t  *cmcf;

    if (ctx->before) {
        return NGX_OK;
    }

    cmcf = ngx_stream_get_module_main_conf(s, ngx_stream_core_module);

    ctx->before = ngx_palloc(s->connection->pool, cmcf->variables.nelts);
    if (ctx->before == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < cmcf->variables.nelts; i++) {
        ctx->before[i] = s->variables[i].valid;
    }

    return NGX_OK;
}


static void
ngx_stream_keyturn_cleanup(void *data)
{
    ngx_stream_keyturn_ctx_t  *ctx = data;

    ngx_stream_keyturn_pin_t  *p;

    ngx_stream_keyturn_cancel(ctx);

    for (p = ctx->pins; p; p = p->next) {

        if (!p->wiped) {
            continue;
        }

        ngx_stream_keyturn_wipe(ctx->session->connection->pool, p);
        ngx_explicit_memzero(p->text.data, p->text.len);
    }
}


/*
 * A directive such as "proxy_ssl_certificate_key data:$key" makes copies.  Short
 * texts may be found where nothing was copied, in what nginx still needs.
 */

static void
ngx_stream_keyturn_wipe(ngx_pool_t *pool, ngx_stream_keyturn_pin_t *pin)
{
    ngx_str_t          text;
    ngx_pool_t        *p;
    ngx_pool_large_t  *l;

    text.len = pin->text.len - pin->secret->prefix.len;
    text.data = pin->text.data + pin->secret->prefix.len;

    if (text.len < NGX_STREAM_KEYTURN_WIPE_MIN) {
        return;
    }

    for (p = pool; p; p = p->d.next) {
        ngx_stream_keyturn_wipe_range((u_char *) p + sizeof(ngx_pool_data_t),
                                      p->d.last, &text);
    }

    for (l = pool->large; l; l = l->next) {

        if (l->alloc) {
            ngx_stream_keyturn_wipe_range(l->alloc, (u_char *) l->alloc
                                          + malloc_usable_size(l->alloc),
                                          &text);
        }
    }
}


static void
ngx_stream_keyturn_wipe_range(u_char *p, u_char *last, ngx_str_t *text)
{
    for ( ;; ) {
        p = memmem(p, last - p, text->data, text->len);

        if (p == NULL) {
            return;
        }

        /* the text itself is still compared with */

        if (p != text->data) {
            ngx_explicit_memzero(p, text->len);
        }

        p += text->len;
    }
}


void
ngx_stream_keyturn_cancel(ngx_stream_keyturn_ctx_t *ctx)
{
    ctx->waiting = 0;

    ngx_keyturn_cancel(&ctx->wait);

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }
}
