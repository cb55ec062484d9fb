
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


#include "ngx_http_keyturn_module.h"


static ngx_int_t ngx_http_keyturn_give(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_keyturn_secret_t *secret,
    ngx_http_keyturn_pin_t *pin, ngx_http_variable_value_t *v);
static ngx_http_keyturn_pin_t *ngx_http_keyturn_allowed(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_keyturn_secret_t *secret);
static ngx_uint_t ngx_http_keyturn_in_handshake(ngx_http_request_t *r);
static void ngx_http_keyturn_look_at_peer(ngx_http_request_t *r,
    ngx_keyturn_secret_t *secret);
static ngx_keyturn_secret_t *ngx_http_keyturn_secret(ngx_http_request_t *r,
    ngx_uint_t variable);
static void ngx_http_keyturn_alert(ngx_http_request_t *r,
    ngx_keyturn_secret_t *secret);

/* the first handler of the phase, and the last one */

ngx_int_t
ngx_http_keyturn_log_handler(ngx_http_request_t *r)
{
    ngx_http_keyturn_ctx_t  *ctx;

    ctx = ngx_http_keyturn_get_ctx(r);

    if (ctx) {
        ngx_http_keyturn_reject(r);

        ctx->logged = r;
        ngx_http_keyturn_mask(r);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_keyturn_logged_handler(ngx_http_request_t *r)
{
    ngx_http_keyturn_ctx_t  *ctx;

    ctx = ngx_http_keyturn_get_ctx(r);

    if (ctx) {
        ngx_http_keyturn_unmask(r);
        ctx->logged = NULL;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_keyturn_get_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_int_t                rc;
    ngx_keyturn_secret_t    *secret;
    ngx_http_keyturn_ctx_t  *ctx;
    ngx_http_keyturn_pin_t  *pin;

    /* anything but NGX_OK would be cached, whatever the flags say */

    v->valid = 0;
    v->not_found = 1;
    v->no_cacheable = 1;

    secret = ngx_http_keyturn_secret(r, data);

    /* a signature may go anywhere */

    if (secret == NULL || secret->sign == NULL) {
        ngx_http_keyturn_asked();
    }

    if (secret == NULL) {
        return NGX_OK;
    }

    ctx = ngx_http_keyturn_create_ctx(r);
    pin = ctx ? ngx_http_keyturn_allowed(r, ctx, secret) : NULL;

    if (pin == NULL || !pin->done || pin->status != KT_SUCCESS) {
        goto none;
    }

    rc = ngx_http_keyturn_give(r, ctx, secret, pin, v);

    if (rc == NGX_OK) {
        v->valid = 1;
        v->not_found = 0;

        return NGX_OK;
    }

    if (rc == NGX_ABORT) {
        pin = NULL;
    }

none:

    if (pin && ctx->logged != r && ngx_http_keyturn_is_making(r)
        && ngx_http_keyturn_stall(r, ctx, pin) == NGX_OK)
    {
        return NGX_OK;
    }

    if (secret->required) {
        ngx_http_keyturn_withhold(r, secret);
    }

    return NGX_OK;
}


/* NGX_ERROR: the pin says why; NGX_ABORT: the value may not be given */

static ngx_int_t
ngx_http_keyturn_give(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_keyturn_secret_t *secret, ngx_http_keyturn_pin_t *pin,
    ngx_http_variable_value_t *v)
{
    if (ctx->logged == r) {
        v->len = sizeof(NGX_HTTP_KEYTURN_MASK) - 1;
        v->data = (u_char *) NGX_HTTP_KEYTURN_MASK;
        return NGX_OK;
    }

    if (secret->sign) {

        if (ngx_http_keyturn_signature(r, secret, pin, v) != NGX_OK) {
            return NGX_ERROR;
        }

    } else {

        if (ngx_http_keyturn_gave(r, ctx, pin) != NGX_OK) {
            return NGX_ABORT;
        }

        v->len = pin->text.len;
        v->data = pin->text.data;
    }

    ngx_http_keyturn_look_at_peer(r, secret);
    ngx_http_keyturn_note_given(r, ctx, pin);

    return NGX_OK;
}


static ngx_http_keyturn_pin_t *
ngx_http_keyturn_allowed(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_keyturn_secret_t *secret)
{
    ngx_http_keyturn_pin_t  *pin;

    if (ctx->logged == r) {
        return ngx_http_keyturn_pin(r, ctx, secret, 0);
    }

    if (ctx->unbuffered) {
        ngx_http_keyturn_unbuffer(r, ctx);
    }

    if (secret->sign == NULL
        && (ngx_http_keyturn_in_handshake(r)
            || (secret->scope == NGX_KEYTURN_SCOPE_UPSTREAM
                && !ngx_http_keyturn_in_upstream(r, ctx, secret))))
    {
        ngx_http_keyturn_alert(r, secret);

        if (secret->required) {
            ngx_http_keyturn_denied(r, ctx, secret);
        }

        return NULL;
    }

    pin = ngx_http_keyturn_pin(r, ctx, secret, 0);

    if (pin && !pin->done) {
        ngx_http_keyturn_fetch(r, ctx, pin);
    }

    return pin;
}


/*
 * "ssl_certificate" with variables is evaluated by a request that nginx makes up
 * for it.  If the value were not a certificate, nginx would log it.
 */

static ngx_uint_t
ngx_http_keyturn_in_handshake(ngx_http_request_t *r)
{
#if (NGX_HTTP_SSL)

    return r->connection->ssl && !r->connection->ssl->handshaked;

#else

    return 0;

#endif
}


/* an address with variables; of others a start has warned */

static void
ngx_http_keyturn_look_at_peer(ngx_http_request_t *r,
    ngx_keyturn_secret_t *secret)
{
#if (NGX_HTTP_SSL)

    ngx_http_upstream_t  *u;

    u = r->upstream;

    if (secret->unverified || secret->sign || u == NULL || u->resolved == NULL
        || !u->ssl || u->conf == NULL || u->conf->ssl_verify
        || !ngx_http_keyturn_is_making(r))
    {
        return;
    }

    secret->unverified = 1;

    ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                  "\"$%V\" is sent to an upstream whose certificate is not "
                  "verified (\"..._ssl_verify on\" verifies it) (%s:%ui)",
                  &secret->variable, secret->file, secret->line);

#endif
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

    /* a request often asks for them in their order */

    i = klcf->next;

    if (i < klcf->entries->nelts && entry[i].variable == variable) {
        klcf->next++;
        return entry[i].secret;
    }

    for (i = 0; i < klcf->entries->nelts; i++) {
        if (entry[i].variable == variable) {
            klcf->next = i + 1;
            return entry[i].secret;
        }
    }

    return NULL;
}


static void
ngx_http_keyturn_alert(ngx_http_request_t *r, ngx_keyturn_secret_t *secret)
{
    /* once in a worker process: a client could fill the log */

    if (secret->alerted) {
        return;
    }

    secret->alerted = 1;

    ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                  "\"$%V\" is empty here: its secret is %s (%s:%ui)",
                  &secret->variable,
                  ngx_http_keyturn_in_handshake(r)
                              ? "not for handshakes, use "
                                "\"secret_ssl_certificate\""
                              : secret->pem ? "for the TLS connection to an upstream, "
                                "as \"encode=pem\" says"
                              : "for requests to upstreams only, unless "
                                "\"scope=request\" is said",
                  secret->file, secret->line);
}
