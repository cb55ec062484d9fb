
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


#include "ngx_keyturn_tls.h"


static ngx_int_t ngx_keyturn_tls_empty(ngx_conf_t *cf, ngx_array_t **list);
static ngx_int_t ngx_keyturn_tls_sessions(ngx_conf_t *cf,
    ngx_keyturn_tls_t *tls, ngx_keyturn_tls_server_t *server);
static ngx_int_t ngx_keyturn_tls_require(ngx_conf_t *cf,
    ngx_keyturn_tls_t *tls);


ngx_keyturn_secret_t *
ngx_keyturn_tls_add(ngx_conf_t *cf, ngx_keyturn_tls_t *tls,
    ngx_array_t **certs, ngx_array_t **keys)
{
    ngx_str_t              *value;
    ngx_keyturn_secret_t   *secret, **s;

    value = cf->args->elts;

    if (tls->certificates == NULL) {
        tls->certificates = ngx_array_create(cf->pool, 2,
                                             sizeof(ngx_keyturn_secret_t *));
        if (tls->certificates == NULL) {
            return NULL;
        }
    }

    if (ngx_keyturn_tls_empty(cf, certs) != NGX_OK
        || ngx_keyturn_tls_empty(cf, keys) != NGX_OK)
    {
        return NULL;
    }

    secret = ngx_keyturn_secret_named(cf, &value[1]);
    if (secret == NULL) {
        return NULL;
    }

    secret->purpose = NGX_KEYTURN_CERTIFICATE;

    s = ngx_array_push(tls->certificates);
    if (s == NULL) {
        return NULL;
    }

    *s = secret;

    return secret;
}


char *
ngx_keyturn_tls_ticket(ngx_conf_t *cf, ngx_keyturn_tls_t *tls)
{
    ngx_str_t             *value;
    ngx_keyturn_secret_t  *secret;

    if (tls->ticket_key) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strchr(value[1].data, '$')) {
        return "takes no variables";
    }

    secret = ngx_keyturn_secret_named(cf, &value[1]);
    if (secret == NULL) {
        return NGX_CONF_ERROR;
    }

    secret->purpose = NGX_KEYTURN_TICKET;
    secret->tls = tls;
    tls->ticket_key = secret;

    return NGX_CONF_OK;
}


/* "ssl_certificate", before or after, adds to the same list */

static ngx_int_t
ngx_keyturn_tls_empty(ngx_conf_t *cf, ngx_array_t **list)
{
    if (*list == NGX_CONF_UNSET_PTR) {
        *list = ngx_array_create(cf->pool, 1, sizeof(ngx_str_t));
    }

    return *list ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_keyturn_tls_init(ngx_conf_t *cf, ngx_keyturn_tls_t *tls,
    ngx_keyturn_tls_server_t *server)
{
    if (server->ssl->ctx == NULL) {

        /* stream of 1.22 makes one only where it listens for TLS */

        return NGX_OK;
    }

    if (tls->ticket_key) {

        if (server->ticket_keys) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"secret_ssl_session_ticket_key\" in %s:%ui "
                               "stands beside \"ssl_session_ticket_key\"",
                               tls->ticket_key->file, tls->ticket_key->line);
            return NGX_ERROR;
        }

        if (ngx_keyturn_ticket_init(cf, tls, server->ssl->ctx) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (tls->certificates) {

        if (server->certificate_values) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"secret_ssl_certificate\" of \"%V\" stands "
                               "beside \"ssl_certificate\" with variables, "
                               "and only one of them can be asked",
                               tls->subject);
            return NGX_ERROR;
        }

        if (ngx_keyturn_tls_sessions(cf, tls, server) != NGX_OK) {
            return NGX_ERROR;
        }

        SSL_CTX_set_cert_cb(server->ssl->ctx, server->handler, server->data);
    }

    return ngx_keyturn_tls_require(cf, tls);
}


/*
 * A session of one server block must not be resumed in another.  nginx tells
 * them apart by their certificates; here the names of the secrets are part of
 * the context, which is the same after a rotation and on another machine.
 */

static ngx_int_t
ngx_keyturn_tls_sessions(ngx_conf_t *cf, ngx_keyturn_tls_t *tls,
    ngx_keyturn_tls_server_t *server)
{
    u_char                *p;
    size_t                 len;
    ngx_str_t              context;
    ngx_uint_t             i;
    ngx_keyturn_secret_t  **secret;

    secret = tls->certificates->elts;
    len = ngx_strlen(server->context);

    for (i = 0; i < tls->certificates->nelts; i++) {
        len += 1 + secret[i]->name.len;
    }

    context.len = len;
    context.data = ngx_pnalloc(cf->temp_pool, len);

    if (context.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(context.data, server->context, ngx_strlen(server->context));

    for (i = 0; i < tls->certificates->nelts; i++) {
        *p++ = LF;
        p = ngx_cpymem(p, secret[i]->name.data, secret[i]->name.len);
    }

    return ngx_ssl_session_cache(server->ssl, &context, server->certificates,
                                 server->builtin_session_cache,
                                 server->shm_zone, server->session_timeout);
}


static ngx_int_t
ngx_keyturn_tls_require(ngx_conf_t *cf, ngx_keyturn_tls_t *tls)
{
    ngx_uint_t              i, n;
    ngx_keyturn_secret_t  **secret;

    if (tls->subject->len > KT_SUBJECT_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "server name \"%V\" is too long for a subject",
                           tls->subject);
        return NGX_ERROR;
    }

    n = tls->certificates ? tls->certificates->nelts : 0;
    secret = n ? tls->certificates->elts : NULL;

    for (i = 0; i < n; i++) {

        if (!secret[i]->dynamic
            && ngx_keyturn_require(cf, secret[i], tls->subject) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (tls->ticket_key) {
        return ngx_keyturn_require(cf, tls->ticket_key, tls->subject);
    }

    return NGX_OK;
}


ngx_int_t
ngx_keyturn_tls_name(ngx_connection_t *c, ngx_pool_t *pool, ngx_str_t *text,
    ngx_str_t *name)
{
    const char  *sni, *why;

    static ngx_str_t  current = ngx_null_string;

    sni = SSL_get_servername(c->ssl->connection, TLSEXT_NAMETYPE_host_name);

    /* a slash in it would lead to another folder */

    if ((sni && strchr(sni, '/'))
        || text->len == 0
        || kt_name_check((char *) text->data, text->len, &why) != KT_SUCCESS)
    {
        ngx_log_error(NGX_LOG_INFO, c->log, 0,
                      "the name that the client asks for is not the name of "
                      "a certificate");
        return NGX_ERROR;
    }

    return ngx_keyturn_reference(pool, text, &current, name);
}
