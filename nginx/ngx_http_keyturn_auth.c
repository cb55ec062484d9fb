
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * "secret_auth": who knows the value may enter.  An unknown name and a wrong
 * value get the same answer, after the same work.  What is not known is 503 and
 * never a refusal, nor an entry.
 */


#include "ngx_http_keyturn_module.h"


static char *ngx_http_keyturn_auth_option(ngx_conf_t *cf, ngx_str_t *arg,
    void *data);
static ngx_int_t ngx_http_keyturn_auth_challenge(ngx_conf_t *cf,
    ngx_http_keyturn_auth_t *auth);
static ngx_int_t ngx_http_keyturn_auth_wait(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx);
static ngx_int_t ngx_http_keyturn_auth_refuse(ngx_http_request_t *r,
    ngx_http_keyturn_auth_t *auth);
static ngx_int_t ngx_http_keyturn_auth_unknown(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx);


char *
ngx_http_keyturn_secret_auth(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_keyturn_loc_conf_t  *klcf = conf;

    ngx_str_t                     *value;
    ngx_http_keyturn_auth_t       *auth;
    ngx_http_keyturn_main_conf_t  *kmcf;

    if (klcf->auth) {
        return "is duplicate";
    }

    auth = ngx_pcalloc(cf->pool, sizeof(ngx_http_keyturn_auth_t));
    if (auth == NULL) {
        return NGX_CONF_ERROR;
    }

    klcf->auth = auth;
    value = cf->args->elts;

    if (cf->args->nelts == 2) {

        if (ngx_strcmp(value[1].data, "off") != 0) {
            return "needs a value to test and a name, or \"off\"";
        }

        return NGX_CONF_OK;
    }

    kmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_keyturn_module);
    kmcf->auths = 1;

    auth->status = NGX_HTTP_UNAUTHORIZED;

    if (ngx_http_keyturn_match_create(cf, 1, &auth->match,
                                      ngx_http_keyturn_auth_option, auth)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    auth->match.secret->label = value[0];

    if (ngx_http_keyturn_auth_challenge(cf, auth) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_keyturn_auth_option(ngx_conf_t *cf, ngx_str_t *arg, void *data)
{
    ngx_http_keyturn_auth_t *auth = data;

    ngx_int_t  n;

    if (ngx_strncmp(arg->data, "status=", 7) == 0) {
        n = ngx_atoi(arg->data + 7, arg->len - 7);

        if (n < 400 || n > 499) {
            return "is not a status from 400 to 499";
        }

        auth->status = n;
        return NULL;
    }

    if (ngx_strncmp(arg->data, "realm=", 6) == 0) {
        auth->realm.data = arg->data + 6;
        auth->realm.len = arg->len - 6;

        if (ngx_keyturn_has_control(auth->realm.data, auth->realm.len)
            || ngx_strchr(auth->realm.data, '"')
            || ngx_strchr(auth->realm.data, '\\'))
        {
            return "has a quote, a backslash or a control character";
        }

        return NULL;
    }

    return "is not one of prefix=, grace=, status=, realm=";
}


/* the scheme is what stands before the value; "Bearer" if that is not a scheme */

static ngx_int_t
ngx_http_keyturn_auth_challenge(ngx_conf_t *cf, ngx_http_keyturn_auth_t *auth)
{
    u_char     *p;
    ngx_str_t   scheme;

    if (auth->realm.data == NULL) {
        return NGX_OK;
    }

    if (auth->status != NGX_HTTP_UNAUTHORIZED) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"realm=\" is for the status 401");
        return NGX_ERROR;
    }

    scheme = auth->match.prefix;

    if (scheme.len > 1 && scheme.data[scheme.len - 1] == ' ') {
        scheme.len--;

    } else {
        ngx_str_set(&scheme, "Bearer");
    }

    p = ngx_pnalloc(cf->pool, scheme.len + auth->realm.len
                              + sizeof(" realm=\"\"") - 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    auth->challenge.data = p;
    p = ngx_sprintf(p, "%V realm=\"%V\"", &scheme, &auth->realm);
    auth->challenge.len = p - auth->challenge.data;

    return NGX_OK;
}


ngx_int_t
ngx_http_keyturn_auth_merge(ngx_conf_t *cf, ngx_http_keyturn_auth_t *prev,
    ngx_http_keyturn_auth_t **auth)
{
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_keyturn_srv_conf_t  *kscf;

    if (*auth == NULL) {
        *auth = prev;
    }

    if (*auth == NULL || (*auth)->status == 0) {
        return NGX_OK;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    kscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_keyturn_module);

    ngx_keyturn_use(cf->cycle, (*auth)->match.secret, clcf->error_log);

    if (clcf->satisfy == NGX_HTTP_SATISFY_ANY
        && (*auth)->status != NGX_HTTP_UNAUTHORIZED
        && (*auth)->status != NGX_HTTP_FORBIDDEN)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"satisfy any\" needs the status 401 or 403 of "
                           "\"secret_auth\" in %s:%ui",
                           (*auth)->match.secret->file,
                           (*auth)->match.secret->line);
        return NGX_ERROR;
    }

    if ((*auth)->match.secret->dynamic) {
        return NGX_OK;
    }

    return ngx_keyturn_require(cf, (*auth)->match.secret, &kscf->subject);
}


ngx_int_t
ngx_http_keyturn_access_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_uint_t                    matches;
    kt_status_t                   status;
    ngx_http_keyturn_ctx_t       *ctx;
    ngx_http_keyturn_auth_t      *auth;
    ngx_http_keyturn_loc_conf_t  *klcf;

    klcf = ngx_http_get_module_loc_conf(r, ngx_http_keyturn_module);
    auth = klcf->auth;

    if (auth == NULL || auth->status == 0) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_keyturn_create_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* one at a time, because subrequests do not come through this phase */

    if (ctx->access == NULL) {
        ctx->access = ngx_pcalloc(r->pool, sizeof(ngx_http_keyturn_pin_t));
        if (ctx->access == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    status = ngx_http_keyturn_compare(r, ctx, &auth->match, ctx->access, "auth",
                                      &matches);

    if (status == KT_TRYAGAIN) {
        rc = ngx_http_keyturn_auth_wait(r, ctx);

        if (rc == NGX_OK) {
            return NGX_DONE;
        }
    }

    ctx->access->deadline = 0;

    if (status == KT_SUCCESS && matches) {
        return NGX_OK;
    }

    if (status == KT_SUCCESS
        || (status == KT_DENIED && auth->match.secret->dynamic))
    {
        return ngx_http_keyturn_auth_refuse(r, auth);
    }

    return ngx_http_keyturn_auth_unknown(r, ctx);
}


static ngx_int_t
ngx_http_keyturn_auth_wait(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx)
{
    ngx_http_keyturn_pin_t  *pin;

    pin = ctx->access;

    if (pin->deadline
        && (ngx_msec_int_t) (pin->deadline - ngx_current_msec) <= 0)
    {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "secret \"%V\" was not fetched in time for "
                      "\"secret_auth\"", &pin->reference);
        return NGX_DECLINED;
    }

    return ngx_http_keyturn_suspend(r, ctx, pin);
}


static ngx_int_t
ngx_http_keyturn_auth_refuse(ngx_http_request_t *r,
    ngx_http_keyturn_auth_t *auth)
{
    ngx_table_elt_t  *h;

    if (auth->challenge.len == 0) {
        return auth->status;
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    ngx_str_set(&h->key, "WWW-Authenticate");
    h->value = auth->challenge;

    /* "satisfy any" takes it away if something else lets the client in */

    r->headers_out.www_authenticate = h;

    return auth->status;
}


static ngx_int_t
ngx_http_keyturn_auth_unknown(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    /* something else may still let the client in */

    if (clcf->satisfy == NGX_HTTP_SATISFY_ANY) {
        r->access_code = NGX_HTTP_SERVICE_UNAVAILABLE;
        return NGX_DECLINED;
    }

    return ngx_http_keyturn_refuse(r, ctx, NGX_HTTP_SERVICE_UNAVAILABLE);
}
