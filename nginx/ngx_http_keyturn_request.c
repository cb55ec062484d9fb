
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


#include "ngx_http_keyturn_module.h"


#define NGX_HTTP_KEYTURN_MASK         "[masked]"


static ngx_keyturn_secret_t *ngx_http_keyturn_secret(ngx_http_request_t *r,
    ngx_uint_t variable);
static ngx_uint_t ngx_http_keyturn_in_upstream(ngx_http_request_t *r,
    ngx_keyturn_secret_t *secret);
static ngx_uint_t ngx_http_keyturn_is_making(ngx_http_request_t *r);
static void ngx_http_keyturn_alert(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_keyturn_secret_t *secret);
static ngx_uint_t ngx_http_keyturn_holds(ngx_http_keyturn_ctx_t *ctx,
    ngx_http_variable_value_t *v, ngx_uint_t scope);
static void ngx_http_keyturn_mask(ngx_http_variable_value_t *v);


ngx_int_t
ngx_http_keyturn_log_handler(ngx_http_request_t *r)
{
    ngx_uint_t                     i;
    ngx_http_keyturn_ctx_t        *ctx;
    ngx_http_core_main_conf_t     *cmcf;
    ngx_http_variable_value_t     *vv;
    ngx_http_keyturn_variable_t   *kv;
    ngx_http_keyturn_main_conf_t  *kmcf;

    ctx = ngx_http_keyturn_get_ctx(r);
    if (ctx == NULL) {
        return NGX_OK;
    }

    ctx->logged = r;

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);
    kv = kmcf->variables.elts;

    for (i = 0; i < kmcf->variables.nelts; i++) {
        vv = &r->variables[kv[i].index];

        if (vv->valid && vv->len) {
            ngx_http_keyturn_mask(vv);
        }
    }

    /* a "map" or "set" may have made another variable of it */

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    for (i = 0; i < cmcf->variables.nelts; i++) {
        vv = &r->variables[i];

        if (vv->valid
            && ngx_http_keyturn_holds(ctx, vv, NGX_KEYTURN_SCOPE_UPSTREAM
                                               |NGX_KEYTURN_SCOPE_REQUEST))
        {
            ngx_http_keyturn_mask(vv);
        }
    }

    return NGX_OK;
}


/*
 * Before "add_header" and the like: forgets what a "map" made from a secret for
 * the upstream, so that it is evaluated again, without the secret.
 */

void
ngx_http_keyturn_forget(ngx_http_request_t *r)
{
    ngx_uint_t                  i;
    ngx_http_keyturn_ctx_t     *ctx;
    ngx_http_core_main_conf_t  *cmcf;
    ngx_http_variable_value_t  *vv;

    ctx = ngx_http_keyturn_get_ctx(r);

    if (ctx == NULL || ctx->pins == NULL) {
        return;
    }

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    for (i = 0; i < cmcf->variables.nelts; i++) {
        vv = &r->variables[i];

        if (vv->valid
            && ngx_http_keyturn_holds(ctx, vv, NGX_KEYTURN_SCOPE_UPSTREAM))
        {
            vv->valid = 0;
        }
    }
}


ngx_int_t
ngx_http_keyturn_get_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_keyturn_secret_t    *secret;
    ngx_http_keyturn_ctx_t  *ctx;
    ngx_http_keyturn_pin_t  *pin;

    /* anything but NGX_OK would be cached, whatever the flags say */

    v->valid = 0;
    v->not_found = 1;
    v->no_cacheable = 1;

    secret = ngx_http_keyturn_secret(r, data);
    if (secret == NULL) {
        return NGX_OK;
    }

    ctx = ngx_http_keyturn_create_ctx(r);
    if (ctx == NULL) {
        return NGX_OK;
    }

    if (ctx->logged != r
        && secret->scope == NGX_KEYTURN_SCOPE_UPSTREAM
        && !ngx_http_keyturn_in_upstream(r, secret))
    {
        ngx_http_keyturn_alert(r, ctx, secret);
        return NGX_OK;
    }

    pin = ngx_http_keyturn_pin(r, ctx, secret, 0);
    if (pin == NULL) {
        return NGX_OK;
    }

    if (!pin->done && ctx->logged != r) {
        ngx_http_keyturn_fetch(r, ctx, pin);
    }

    if (!pin->done || pin->status != KT_SUCCESS) {

        if (ctx->logged != r && ngx_http_keyturn_is_making(r)) {
            (void) ngx_http_keyturn_stall(r, ctx, pin);
        }

        return NGX_OK;
    }

    v->valid = 1;
    v->not_found = 0;
    v->len = pin->text.len;
    v->data = pin->text.data;

    if (ctx->logged == r) {
        ngx_http_keyturn_mask(v);
        return NGX_OK;
    }

    pin->upstream = r->upstream;

    return NGX_OK;
}


static ngx_keyturn_secret_t *
ngx_http_keyturn_secret(ngx_http_request_t *r, ngx_uint_t variable)
{
    ngx_uint_t                    i;
    ngx_http_keyturn_entry_t     *entry;
    ngx_http_keyturn_loc_conf_t  *klcf;

    klcf = ngx_http_get_module_loc_conf(r, ngx_http_keyturn_module);

    if (klcf->entries == NULL) {
        return NULL;
    }

    entry = klcf->entries->elts;

    for (i = 0; i < klcf->entries->nelts; i++) {
        if (entry[i].variable == variable) {
            return entry[i].secret;
        }
    }

    return NULL;
}


/*
 * Is the variable asked for by what will be sent to an upstream?  Either its
 * request is being made, or a connection is being opened ("proxy_ssl_*").
 * An upstream that has ended stays in r->upstream, and its error page must not
 * get the secret; nor must a response from the cache, or the cache's key.
 */

static ngx_uint_t
ngx_http_keyturn_in_upstream(ngx_http_request_t *r,
    ngx_keyturn_secret_t *secret)
{
    ngx_http_upstream_t        *u;
    ngx_http_phase_handler_t   *ph;
    ngx_http_core_main_conf_t  *cmcf;

    u = r->upstream;

    if (u == NULL || r->headers_out.status) {
        return 0;
    }

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    ph = &cmcf->phase_engine.handlers[r->phase_handler];

    if (ph->checker != ngx_http_core_content_phase) {
        return 0;
    }

    if (u->cleanup) {
        return !u->request_sent;
    }

#if (NGX_HTTP_CACHE)

    if (r->cache && r->cache->header_start == 0) {
        return 0;
    }

#endif

    /* set as soon as the request has been made, which has no place for PEM */

    return u->output.pool == NULL && !secret->pem;
}


/* does u->create_request() run? */

static ngx_uint_t
ngx_http_keyturn_is_making(ngx_http_request_t *r)
{
    ngx_http_upstream_t  *u;

    u = r->upstream;

    return u && u->conf && u->create_request && u->cleanup == NULL
           && u->output.pool == NULL;
}


static void
ngx_http_keyturn_alert(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_keyturn_secret_t *secret)
{
    if (ctx->alerted) {
        return;
    }

    ctx->alerted = 1;

    ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                  "\"$%V\" is empty here: its secret is %s (%s:%ui)",
                  &secret->variable,
                  secret->pem ? "for the TLS connection to an upstream, "
                                "as \"encode=pem\" says"
                              : "for requests to upstreams only, unless "
                                "\"scope=request\" is said",
                  secret->file, secret->line);
}


static ngx_uint_t
ngx_http_keyturn_holds(ngx_http_keyturn_ctx_t *ctx,
    ngx_http_variable_value_t *v, ngx_uint_t scope)
{
    ngx_http_keyturn_pin_t  *p;

    for (p = ctx->pins; p; p = p->next) {

        if (p->pooled
            && (p->secret->scope & scope)
            && p->text.len >= NGX_HTTP_KEYTURN_MASK_MIN
            && p->text.len <= v->len
            && memmem(v->data, v->len, p->text.data, p->text.len))
        {
            return 1;
        }
    }

    return 0;
}


static void
ngx_http_keyturn_mask(ngx_http_variable_value_t *v)
{
    v->len = sizeof(NGX_HTTP_KEYTURN_MASK) - 1;
    v->data = (u_char *) NGX_HTTP_KEYTURN_MASK;
}
