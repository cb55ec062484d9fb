
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


#include "ngx_http_keyturn_module.h"


#if (NGX_HTTP_SSL)

static int ngx_http_keyturn_certificate(ngx_ssl_conn_t *ssl_conn, void *arg);
static ngx_int_t ngx_http_keyturn_certificates(ngx_connection_t *c,
    ngx_keyturn_tls_t *tls);
static ngx_int_t ngx_http_keyturn_certificate_name(ngx_connection_t *c,
    ngx_http_request_t *r, ngx_keyturn_secret_t *secret, ngx_str_t *name);
static ngx_http_request_t *ngx_http_keyturn_fake_request(ngx_connection_t *c);


char *
ngx_http_keyturn_ssl_certificate(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_keyturn_srv_conf_t *kscf = conf;

    ngx_keyturn_secret_t     *secret;
    ngx_http_ssl_srv_conf_t  *sscf;

    sscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_ssl_module);

    secret = ngx_keyturn_tls_add(cf, &kscf->tls, &sscf->certificates,
                                 &sscf->certificate_keys);

    if (secret == NULL
        || ngx_http_keyturn_compile_name(cf, secret) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_keyturn_ssl_ticket_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_keyturn_srv_conf_t *kscf = conf;

    return ngx_keyturn_tls_ticket(cf, &kscf->tls);
}


ngx_int_t
ngx_http_keyturn_tls_init(ngx_conf_t *cf)
{
    ngx_uint_t                     i;
    ngx_http_ssl_srv_conf_t       *sscf;
    ngx_keyturn_tls_server_t       server;
    ngx_http_core_srv_conf_t     **cscfp;
    ngx_http_core_main_conf_t     *cmcf;
    ngx_http_keyturn_srv_conf_t   *kscf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    cscfp = cmcf->servers.elts;

    for (i = 0; i < cmcf->servers.nelts; i++) {

        kscf = cscfp[i]->ctx->srv_conf[ngx_http_keyturn_module.ctx_index];

        if (kscf->tls.certificates == NULL && kscf->tls.ticket_key == NULL) {
            continue;
        }

        sscf = cscfp[i]->ctx->srv_conf[ngx_http_ssl_module.ctx_index];

        kscf->tls.subject = &kscf->subject;

        server.ssl = &sscf->ssl;
        server.certificates = sscf->certificates;
        server.certificate_values = sscf->certificate_values;
        server.ticket_keys = sscf->session_ticket_keys;
        server.shm_zone = sscf->shm_zone;
        server.builtin_session_cache = sscf->builtin_session_cache;
        server.session_timeout = sscf->session_timeout;
        server.context = "HTTP";
        server.handler = ngx_http_keyturn_certificate;
        server.data = &kscf->tls;

        if (ngx_keyturn_tls_init(cf, &kscf->tls, &server) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static int
ngx_http_keyturn_certificate(ngx_ssl_conn_t *ssl_conn, void *arg)
{
    ngx_connection_t  *c;

    c = ngx_ssl_get_connection(ssl_conn);

    if (c->ssl->handshaked) {
        return 0;
    }

    return ngx_http_keyturn_certificates(c, arg) == NGX_OK;
}


static ngx_int_t
ngx_http_keyturn_certificates(ngx_connection_t *c, ngx_keyturn_tls_t *tls)
{
    ngx_int_t               rc;
    ngx_str_t               name;
    ngx_uint_t              i;
    ngx_http_request_t     *r;
    ngx_keyturn_secret_t  **secret;

    r = NULL;
    rc = NGX_OK;
    secret = tls->certificates->elts;

    for (i = 0; i < tls->certificates->nelts && rc == NGX_OK; i++) {

        if (secret[i]->dynamic && r == NULL) {
            r = ngx_http_keyturn_fake_request(c);
            if (r == NULL) {
                return NGX_ERROR;
            }
        }

        rc = ngx_http_keyturn_certificate_name(c, r, secret[i], &name);

        if (rc == NGX_OK) {
            rc = ngx_keyturn_tls_certificate(c, tls, secret[i], &name);
        }
    }

    if (r) {
        ngx_http_free_request(r, 0);
        c->log->action = "SSL handshaking";
        c->destroyed = 0;
    }

    return rc;
}


static ngx_int_t
ngx_http_keyturn_certificate_name(ngx_connection_t *c, ngx_http_request_t *r,
    ngx_keyturn_secret_t *secret, ngx_str_t *name)
{
    ngx_str_t  text;

    if (!secret->dynamic) {
        *name = secret->reference;
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, secret->complex, &text) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_keyturn_tls_name(c, r->pool, &text, name);
}

/*
 * Variables need a request, so nginx has one for those in "ssl_certificate".
 * The call that makes one without counting it is not for modules.
 */

static ngx_http_request_t *
ngx_http_keyturn_fake_request(ngx_connection_t *c)
{
    ngx_http_request_t  *r;

    r = ngx_http_create_request(c);
    if (r == NULL) {
        return NULL;
    }

    r->logged = 1;
    c->requests--;

#if (NGX_STAT_STUB)
    (void) ngx_atomic_fetch_add(ngx_stat_requests, -1);
#endif

    return r;
}

#else

ngx_int_t
ngx_http_keyturn_tls_init(ngx_conf_t *cf)
{
    return NGX_OK;
}

#endif
