
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * A request that cannot have a required secret is refused, and as late as
 * possible: only what will use the secret needs it.
 *
 *   scope=request  before the directives of rewrite, which cannot wait or fail;
 *                  in server{} only if it has such directives
 *   TLS            before the content, where "proxy_ssl_certificate" or its
 *                  like names the variable, because an upstream that is being
 *                  connected cannot be led elsewhere any more; with a cache
 *                  after a look at that (ngx_http_keyturn_hold.c)
 *   all others     when the request to an upstream is made, by the handler of
 *                  the variable (ngx_http_keyturn_stall.c)
 */


#include "ngx_http_keyturn_module.h"
#include "ngx_keyturn_stat.h"


#define NGX_HTTP_KEYTURN_RETRY_AFTER  "2"


static ngx_uint_t ngx_http_keyturn_is_idle(ngx_http_request_t *r);
static void *ngx_http_keyturn_conf_of(ngx_http_request_t *r, ngx_uint_t n);
static ngx_uint_t ngx_http_keyturn_names(ngx_http_complex_value_t *cv,
    ngx_str_t *variable);
static ngx_uint_t ngx_http_keyturn_needs(ngx_http_request_t *r,
    ngx_keyturn_secret_t *secret, ngx_uint_t scope);
static ngx_uint_t ngx_http_keyturn_names_any(ngx_http_request_t *r);
#if (NGX_HTTP_SSL)
static ngx_uint_t ngx_http_keyturn_has_variables(ngx_http_complex_value_t *cv);
#endif
static ngx_uint_t ngx_http_keyturn_is_held(ngx_http_request_t *r,
    ngx_http_upstream_conf_t *conf);
static ngx_int_t ngx_http_keyturn_gate(ngx_http_request_t *r,
    ngx_uint_t scope);
static ngx_int_t ngx_http_keyturn_await(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_keyturn_secret_t *secret);
static void ngx_http_keyturn_redirected(ngx_http_request_t *r);


/* whose configurations are looked into; of the last ones an upstream's is first */

void
ngx_http_keyturn_find_modules(ngx_conf_t *cf,
    ngx_http_keyturn_main_conf_t *kmcf)
{
    ngx_uint_t                  i, n;
    ngx_module_t               *m;
    ngx_http_variable_t        *v;
    ngx_http_core_main_conf_t  *cmcf;

    static const char  *names[NGX_HTTP_KEYTURN_MODULES] = {
        "ngx_http_rewrite_module",
        "ngx_http_proxy_module",
        "ngx_http_grpc_module",
        "ngx_http_uwsgi_module"
    };

    for (n = 0; n < NGX_HTTP_KEYTURN_MODULES; n++) {
        kmcf->modules[n] = NGX_ERROR;

        for (i = 0; cf->cycle->modules[i]; i++) {
            m = cf->cycle->modules[i];

            if (m->type == NGX_HTTP_MODULE
                && ngx_strcmp(m->name, names[n]) == 0)
            {
                kmcf->modules[n] = m->ctx_index;
            }
        }
    }

    /* $request_id costs something, so it is used if the configuration does */

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    v = cmcf->variables.elts;

    kmcf->request_id = NGX_ERROR;

    for (i = 0; i < cmcf->variables.nelts; i++) {

        if (v[i].name.len == sizeof("request_id") - 1
            && ngx_strncmp(v[i].name.data, "request_id", v[i].name.len) == 0)
        {
            kmcf->request_id = i;
        }
    }
}


/* of both rewrite phases */

ngx_int_t
ngx_http_keyturn_rewrite_handler(ngx_http_request_t *r)
{
    ngx_http_keyturn_go_on(r);
    ngx_http_keyturn_redirected(r);

    if (ngx_http_keyturn_enter_location(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_keyturn_is_idle(r)) {
        return NGX_DECLINED;
    }

    return ngx_http_keyturn_gate(r, NGX_KEYTURN_SCOPE_REQUEST);
}


ngx_int_t
ngx_http_keyturn_preaccess_handler(ngx_http_request_t *r)
{
    ngx_http_keyturn_settle(r);

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_keyturn_precontent_handler(ngx_http_request_t *r)
{
    ngx_http_variable_t  *v;

    ngx_http_keyturn_settle(r);

    /* each module with an upstream has a content handler */

    if (r->content_handler == NULL) {
        return NGX_DECLINED;
    }

    v = ngx_http_keyturn_hollow(r);

    if (v) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "\"$%V\" lacks a required secret, which was not given "
                      "where it was made: nothing is sent", &v->name);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_keyturn_gate(r, NGX_KEYTURN_SCOPE_UPSTREAM);
}


ngx_int_t
ngx_http_keyturn_status(ngx_http_keyturn_pin_t *pin)
{
    if (ngx_keyturn_passes(pin->secret, pin->status)) {
        return NGX_OK;
    }

    /* a name that a client made up; to try again would not help */

    if (pin->secret->dynamic) {

        switch (pin->status) {

        case KT_NOTFOUND:
        case KT_GONE:
            return NGX_HTTP_NOT_FOUND;

        case KT_DENIED:
            return NGX_HTTP_FORBIDDEN;

        default:
            break;
        }
    }

    return NGX_HTTP_SERVICE_UNAVAILABLE;
}


ngx_int_t
ngx_http_keyturn_refuse(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_int_t status)
{
    ngx_table_elt_t  *h;

    if (status != NGX_HTTP_SERVICE_UNAVAILABLE || r != r->main) {
        return status;
    }

    ngx_keyturn_stat_unavailable();

    h = ctx->retry_after;

    if (h == NULL) {
        h = ngx_list_push(&r->headers_out.headers);
        if (h == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ngx_memzero(h, sizeof(ngx_table_elt_t));

        ngx_str_set(&h->key, "Retry-After");
        ngx_str_set(&h->value, NGX_HTTP_KEYTURN_RETRY_AFTER);

        ctx->retry_after = h;
    }

    h->hash = 1;

    return status;
}


/* "error_page 503 = @fallback" answers with a status of its own */

static void
ngx_http_keyturn_redirected(ngx_http_request_t *r)
{
    ngx_http_keyturn_ctx_t  *ctx;

    if (r != r->main || !r->internal) {
        return;
    }

    ctx = ngx_http_keyturn_get_ctx(r);

    if (ctx == NULL) {
        return;
    }

    ctx->unbuffered = NULL;

    if (ctx->retry_after
        && r->err_status != NGX_HTTP_SERVICE_UNAVAILABLE)
    {
        ctx->retry_after->hash = 0;
    }
}


/* server{} without "set" or its like; its conf begins with their code */

static ngx_uint_t
ngx_http_keyturn_is_idle(ngx_http_request_t *r)
{
    ngx_array_t                **codes;
    ngx_http_core_main_conf_t   *cmcf;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    if ((ngx_uint_t) r->phase_handler
        >= cmcf->phase_engine.location_rewrite_index)
    {
        return 0;
    }

    codes = ngx_http_keyturn_conf_of(r, NGX_HTTP_KEYTURN_REWRITE);

    return codes == NULL || *codes == NULL;
}


/* NULL if there is no such module */

static void *
ngx_http_keyturn_conf_of(ngx_http_request_t *r, ngx_uint_t n)
{
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    return kmcf->modules[n] == NGX_ERROR ? NULL : r->loc_conf[kmcf->modules[n]];
}


static ngx_uint_t
ngx_http_keyturn_needs(ngx_http_request_t *r, ngx_keyturn_secret_t *secret,
    ngx_uint_t scope)
{
    ngx_http_upstream_conf_t  *conf;

    if (secret->scope != scope) {
        return 0;
    }

    if (scope == NGX_KEYTURN_SCOPE_REQUEST) {
        return 1;
    }

    conf = ngx_http_keyturn_tls_conf(r, secret);

    return conf && !ngx_http_keyturn_is_held(r, conf);
}


/* what names the variable for its TLS, or NULL */

ngx_http_upstream_conf_t *
ngx_http_keyturn_tls_conf(ngx_http_request_t *r, ngx_keyturn_secret_t *secret)
{
    ngx_uint_t                 i;
    ngx_http_upstream_conf_t  *conf;

    for (i = NGX_HTTP_KEYTURN_REWRITE + 1; i < NGX_HTTP_KEYTURN_MODULES; i++) {
        conf = ngx_http_keyturn_conf_of(r, i);

        if (conf && ngx_http_keyturn_tls_names(conf, secret)) {
            return conf;
        }
    }

    return NULL;
}


ngx_uint_t
ngx_http_keyturn_tls_names(ngx_http_upstream_conf_t *conf,
    ngx_keyturn_secret_t *secret)
{
#if (NGX_HTTP_SSL)

    return ngx_http_keyturn_names(conf->ssl_certificate, &secret->variable)
           || ngx_http_keyturn_names(conf->ssl_certificate_key,
                                     &secret->variable)
           || ngx_http_keyturn_names(conf->ssl_name, &secret->variable);

#else

    return 0;

#endif
}


/* a cached answer needs no secret; without one it is waited for later */

static ngx_uint_t
ngx_http_keyturn_is_held(ngx_http_request_t *r, ngx_http_upstream_conf_t *conf)
{
#if (NGX_HTTP_CACHE)

    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    return conf->cache && conf->upstream
           && conf->upstream->peer.init == kmcf->hold;

#else

    return 0;

#endif
}


/* does TLS to an upstream use a variable, whichever it is? */

static ngx_uint_t
ngx_http_keyturn_names_any(ngx_http_request_t *r)
{
#if (NGX_HTTP_SSL)

    ngx_uint_t                 i;
    ngx_http_upstream_conf_t  *conf;

    for (i = NGX_HTTP_KEYTURN_REWRITE + 1; i < NGX_HTTP_KEYTURN_MODULES; i++) {
        conf = ngx_http_keyturn_conf_of(r, i);

        if (conf
            && (ngx_http_keyturn_has_variables(conf->ssl_certificate)
                || ngx_http_keyturn_has_variables(conf->ssl_certificate_key)
                || ngx_http_keyturn_has_variables(conf->ssl_name)))
        {
            return 1;
        }
    }

#endif

    return 0;
}


#if (NGX_HTTP_SSL)

static ngx_uint_t
ngx_http_keyturn_has_variables(ngx_http_complex_value_t *cv)
{
    return cv != NULL && cv->lengths != NULL;
}

#endif


static ngx_uint_t
ngx_http_keyturn_names(ngx_http_complex_value_t *cv, ngx_str_t *variable)
{
    return cv != NULL && cv->lengths != NULL
           && ngx_keyturn_text_names(&cv->value, variable);
}


static ngx_int_t
ngx_http_keyturn_gate(ngx_http_request_t *r, ngx_uint_t scope)
{
    ngx_int_t                     rc;
    ngx_uint_t                    i;
    ngx_http_keyturn_ctx_t       *ctx;
    ngx_http_keyturn_entry_t     *entry;
    ngx_http_keyturn_loc_conf_t  *klcf;

    klcf = ngx_http_get_module_loc_conf(r, ngx_http_keyturn_module);

    if (klcf->entries == NULL
        || (scope == NGX_KEYTURN_SCOPE_UPSTREAM
            && !ngx_http_keyturn_names_any(r)))
    {
        return NGX_DECLINED;
    }

    ctx = NULL;
    entry = klcf->entries->elts;

    /* all pins first, because one read fills all those of one secret */

    for (i = 0; i < klcf->entries->nelts; i++) {

        if (!ngx_http_keyturn_needs(r, entry[i].secret, scope)) {
            continue;
        }

        if (ctx == NULL) {
            ctx = ngx_http_keyturn_create_ctx(r);
        }

        if (ctx == NULL
            || ngx_http_keyturn_pin(r, ctx, entry[i].secret, 1) == NULL)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    for (i = 0; i < klcf->entries->nelts; i++) {

        if (!ngx_http_keyturn_needs(r, entry[i].secret, scope)) {
            continue;
        }

        rc = ngx_http_keyturn_await(r, ctx, entry[i].secret);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_keyturn_await(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_keyturn_secret_t *secret)
{
    ngx_int_t                rc;
    ngx_http_keyturn_pin_t  *pin;

    pin = ngx_http_keyturn_pin(r, ctx, secret, 0);
    if (pin == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (!pin->done) {
        ngx_http_keyturn_fetch(r, ctx, pin);
    }

    if (!pin->done) {

        if (ngx_http_keyturn_suspend(r, ctx, pin) == NGX_OK) {
            return NGX_DONE;
        }

        ngx_http_keyturn_fail(r, pin, KT_UNAVAIL,
                              "it cannot be fetched in the background");
    }

    rc = ngx_http_keyturn_status(pin);

    return rc == NGX_OK ? NGX_OK : ngx_http_keyturn_refuse(r, ctx, rc);
}
