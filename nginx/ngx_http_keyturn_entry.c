
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * A directive that names a secret: the variable and the name, compiled.
 */


#include "ngx_http_keyturn_module.h"


static ngx_int_t ngx_http_keyturn_add_variable(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret, ngx_uint_t *n);


char *
ngx_http_keyturn_add_entry(ngx_conf_t *cf, ngx_http_keyturn_loc_conf_t *klcf,
    ngx_keyturn_secret_t *secret)
{
    ngx_uint_t                     n;
    ngx_http_keyturn_entry_t      *entry;
    ngx_http_keyturn_main_conf_t  *kmcf;

    if (ngx_http_keyturn_compile_name(cf, secret) != NGX_OK
        || ngx_http_keyturn_add_variable(cf, secret, &n) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (klcf->own == NULL) {
        klcf->own = ngx_array_create(cf->pool, 2,
                                     sizeof(ngx_http_keyturn_entry_t));
        if (klcf->own == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_http_keyturn_find(klcf->own, n)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate \"%V\" of \"$%V\"",
                           &secret->directive, &secret->variable);
        return NGX_CONF_ERROR;
    }

    entry = ngx_array_push(klcf->own);
    if (entry == NULL) {
        return NGX_CONF_ERROR;
    }

    entry->secret = secret;
    entry->variable = n;

    kmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_keyturn_module);

    kmcf->nsecrets++;
    kmcf->ndynamic += secret->dynamic;
    kmcf->twice |= kmcf->bits & secret->bit;
    kmcf->bits |= secret->bit;

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_keyturn_compile_name(ngx_conf_t *cf, ngx_keyturn_secret_t *secret)
{
    ngx_http_compile_complex_value_t  ccv;

    if (!secret->dynamic) {
        return NGX_OK;
    }

    secret->complex = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (secret->complex == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &secret->name;
    ccv.complex_value = secret->complex;

    return ngx_http_compile_complex_value(&ccv);
}


/*
 * A variable is added once, however many scopes give it a secret.  It cannot
 * be found by name at run time (SSI, Lua, njs), and is not cached, so that each
 * use of it is checked; the pinned secret makes each answer the same.
 */

static ngx_int_t
ngx_http_keyturn_add_variable(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
    ngx_uint_t *n)
{
    ngx_uint_t                     i;
    ngx_http_variable_t           *var;
    ngx_http_keyturn_variable_t   *kv;
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_keyturn_module);

    kv = kmcf->variables.elts;

    for (i = 0; i < kmcf->variables.nelts; i++) {

        if (kv[i].name.len == secret->variable.len
            && ngx_strncasecmp(kv[i].name.data, secret->variable.data,
                               kv[i].name.len)
               == 0)
        {
            *n = i;
            return NGX_OK;
        }
    }

    kv = ngx_array_push(&kmcf->variables);
    if (kv == NULL) {
        return NGX_ERROR;
    }

    kv->name = secret->variable;

    var = ngx_http_add_variable(cf, &kv->name,
                                NGX_HTTP_VAR_NOCACHEABLE|NGX_HTTP_VAR_NOHASH);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = kmcf->get_handler;
    var->data = i;

    kv->index = ngx_http_get_variable_index(cf, &kv->name);
    if (kv->index == NGX_ERROR) {
        return NGX_ERROR;
    }

    *n = i;

    return NGX_OK;
}


ngx_http_keyturn_entry_t *
ngx_http_keyturn_find(ngx_array_t *entries, ngx_uint_t variable)
{
    ngx_uint_t                 i;
    ngx_http_keyturn_entry_t  *entry;

    if (entries == NULL) {
        return NULL;
    }

    entry = entries->elts;

    for (i = 0; i < entries->nelts; i++) {
        if (entry[i].variable == variable) {
            return &entry[i];
        }
    }

    return NULL;
}
