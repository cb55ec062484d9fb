
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


#include "ngx_stream_keyturn_module.h"

#include <nginx.h>


#if (NGX_STREAM_SSL)

#if (nginx_version < 1025005)
typedef ngx_stream_ssl_conf_t  ngx_stream_ssl_srv_conf_t;
#endif


static int ngx_stream_keyturn_certificate(ngx_ssl_conn_t *ssl_conn, void *arg);
static ngx_int_t ngx_stream_keyturn_certificate_name(ngx_connection_t *c,
    ngx_keyturn_secret_t *secret, ngx_str_t *name);


char *
ngx_stream_keyturn_ssl_certificate(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_stream_keyturn_srv_conf_t  *kscf = conf;

    ngx_keyturn_secret_t       *secret;
    ngx_stream_ssl_srv_conf_t  *sscf;

    sscf = ngx_stream_conf_get_module_srv_conf(cf, ngx_stream_ssl_module);

    secret = ngx_keyturn_tls_add(cf, &kscf->tls, &sscf->certificates,
                                 &sscf->certificate_keys);

    if (secret == NULL
        || ngx_stream_keyturn_compile_name(cf, secret) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_stream_keyturn_ssl_ticket_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_stream_keyturn_srv_conf_t  *kscf = conf;

    return ngx_keyturn_tls_ticket(cf, &kscf->tls);
}


ngx_int_t
ngx_stream_keyturn_tls_init(ngx_conf_t *cf, ngx_stream_core_srv_conf_t *cscf,
    ngx_stream_keyturn_srv_conf_t *kscf)
{
    ngx_keyturn_tls_server_t    server;
    ngx_stream_ssl_srv_conf_t  *sscf;

    if (kscf->tls.certificates == NULL && kscf->tls.ticket_key == NULL) {
        return NGX_OK;
    }

    sscf = cscf->ctx->srv_conf[ngx_stream_ssl_module.ctx_index];

    kscf->tls.subject = &kscf->subject;

    server.ssl = &sscf->ssl;
    server.certificates = sscf->certificates;
    server.certificate_values = sscf->certificate_values;
    server.ticket_keys = sscf->session_ticket_keys;
    server.shm_zone = sscf->shm_zone;
    server.builtin_session_cache = sscf->builtin_session_cache;
    server.session_timeout = sscf->session_timeout;
    server.context = "STREAM";
    server.handler = ngx_stream_keyturn_certificate;
    server.data = &kscf->tls;

    return ngx_keyturn_tls_init(cf, &kscf->tls, &server);
}


static int
ngx_stream_keyturn_certificate(ngx_ssl_conn_t *ssl_conn, void *arg)
{
    ngx_keyturn_tls_t  *tls = arg;

    ngx_str_t               name;
    ngx_uint_t              i;
    ngx_connection_t       *c;
    ngx_keyturn_secret_t  **secret;

    c = ngx_ssl_get_connection(ssl_conn);

    if (c->ssl->handshaked) {
        return 0;
    }

    secret = tls->certificates->elts;

    for (i = 0; i < tls->certificates->nelts; i++) {

        if (ngx_stream_keyturn_certificate_name(c, secret[i], &name) != NGX_OK
            || ngx_keyturn_tls_certificate(c, tls, secret[i], &name) != NGX_OK)
        {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
ngx_stream_keyturn_certificate_name(ngx_connection_t *c,
    ngx_keyturn_secret_t *secret, ngx_str_t *name)
{
    ngx_str_t  text;

    if (!secret->dynamic) {
        *name = secret->reference;
        return NGX_OK;
    }

    if (ngx_stream_complex_value(c->data, secret->complex, &text) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_keyturn_tls_name(c, c->pool, &text, name);
}

#else

ngx_int_t
ngx_stream_keyturn_tls_init(ngx_conf_t *cf, ngx_stream_core_srv_conf_t *cscf,
    ngx_stream_keyturn_srv_conf_t *kscf)
{
    return NGX_OK;
}

#endif
