
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


#include "ngx_stream_keyturn_module.h"

#include <nginx.h>


static ngx_int_t ngx_stream_keyturn_add_variable(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret, ngx_uint_t *n);
static ngx_stream_keyturn_entry_t *ngx_stream_keyturn_find(
    ngx_array_t *entries, ngx_uint_t variable);
static ngx_int_t ngx_stream_keyturn_subject(ngx_conf_t *cf,
    ngx_stream_keyturn_srv_conf_t *conf);
static ngx_int_t ngx_stream_keyturn_inherit(ngx_conf_t *cf,
    ngx_stream_keyturn_srv_conf_t *prev, ngx_stream_keyturn_srv_conf_t *conf);
static void *ngx_stream_keyturn_create_main_conf(ngx_conf_t *cf);
static void *ngx_stream_keyturn_create_srv_conf(ngx_conf_t *cf);
static char *ngx_stream_keyturn_merge_srv_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_stream_keyturn_secret_get(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_stream_keyturn_init(ngx_conf_t *cf);
static ngx_int_t ngx_stream_keyturn_init_server(ngx_conf_t *cf,
    ngx_stream_core_srv_conf_t *cscf);
static ngx_int_t ngx_stream_keyturn_init_log(ngx_conf_t *cf,
    ngx_stream_core_main_conf_t *cmcf);


static ngx_command_t  ngx_stream_keyturn_commands[] = {

    { ngx_string("secret_get"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_1MORE,
      ngx_stream_keyturn_secret_get,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

#if (NGX_STREAM_SSL)

    { ngx_string("secret_ssl_certificate"),
      NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_stream_keyturn_ssl_certificate,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("secret_ssl_session_ticket_key"),
      NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_stream_keyturn_ssl_ticket_key,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

#endif

      ngx_null_command
};


static ngx_stream_module_t  ngx_stream_keyturn_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_stream_keyturn_init,               /* postconfiguration */

    ngx_stream_keyturn_create_main_conf,   /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_stream_keyturn_create_srv_conf,    /* create server configuration */
    ngx_stream_keyturn_merge_srv_conf      /* merge server configuration */
};


ngx_module_t  ngx_stream_keyturn_module = {
    NGX_MODULE_V1,
    &ngx_stream_keyturn_module_ctx,        /* module context */
    ngx_stream_keyturn_commands,           /* module directives */
    NGX_STREAM_MODULE,                     /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static char *
ngx_stream_keyturn_secret_get(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_stream_keyturn_srv_conf_t  *kscf = conf;

    ngx_str_t                   *value;
    ngx_uint_t                   n;
    ngx_keyturn_secret_t        *secret;
    ngx_stream_keyturn_entry_t  *entry;

    value = cf->args->elts;

    if (cf->args->nelts == 2) {

        if (ngx_strcmp(value[1].data, "off") != 0) {
            return "needs a variable and a name, or \"off\"";
        }

        kscf->off = 1;

        return NGX_CONF_OK;
    }

    secret = ngx_keyturn_secret_create(cf);
    if (secret == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_stream_keyturn_compile_name(cf, secret) != NGX_OK
        || ngx_stream_keyturn_add_variable(cf, secret, &n) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (kscf->own == NULL) {
        kscf->own = ngx_array_create(cf->pool, 2,
                                     sizeof(ngx_stream_keyturn_entry_t));
        if (kscf->own == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_stream_keyturn_find(kscf->own, n)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate \"secret_get\" of \"%V\"",
                           &secret->label);
        return NGX_CONF_ERROR;
    }

    entry = ngx_array_push(kscf->own);
    if (entry == NULL) {
        return NGX_CONF_ERROR;
    }

    entry->secret = secret;
    entry->variable = n;

    return NGX_CONF_OK;
}


/* as in the http module: not found by name, and asked for at each use */

static ngx_int_t
ngx_stream_keyturn_add_variable(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
    ngx_uint_t *n)
{
    ngx_uint_t                       i;
    ngx_stream_variable_t           *var;
    ngx_stream_keyturn_variable_t   *kv;
    ngx_stream_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_keyturn_module);

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

    var = ngx_stream_add_variable(cf, &kv->name, NGX_STREAM_VAR_NOCACHEABLE
                                                 |NGX_STREAM_VAR_NOHASH);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_stream_keyturn_get_variable;
    var->data = i;

    kv->index = ngx_stream_get_variable_index(cf, &kv->name);
    if (kv->index == NGX_ERROR) {
        return NGX_ERROR;
    }

    *n = i;

    return NGX_OK;
}


static ngx_stream_keyturn_entry_t *
ngx_stream_keyturn_find(ngx_array_t *entries, ngx_uint_t variable)
{
    ngx_uint_t                   i;
    ngx_stream_keyturn_entry_t  *entry;

    entry = entries->elts;

    for (i = 0; i < entries->nelts; i++) {
        if (entry[i].variable == variable) {
            return &entry[i];
        }
    }

    return NULL;
}


static void *
ngx_stream_keyturn_create_main_conf(ngx_conf_t *cf)
{
    ngx_stream_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_pcalloc(cf->pool, sizeof(ngx_stream_keyturn_main_conf_t));
    if (kmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&kmcf->variables, cf->pool, 4,
                       sizeof(ngx_stream_keyturn_variable_t))
        != NGX_OK)
    {
        return NULL;
    }

    return kmcf;
}


static void *
ngx_stream_keyturn_create_srv_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_stream_keyturn_srv_conf_t));
}


static char *
ngx_stream_keyturn_merge_srv_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_stream_keyturn_srv_conf_t  *prev = parent;
    ngx_stream_keyturn_srv_conf_t  *conf = child;

    ngx_uint_t                   i;
    ngx_stream_keyturn_entry_t  *entry;

    if (ngx_stream_keyturn_subject(cf, conf) != NGX_OK
        || ngx_stream_keyturn_inherit(cf, prev, conf) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (conf->entries == NULL) {
        return NGX_CONF_OK;
    }

    entry = conf->entries->elts;

    for (i = 0; i < conf->entries->nelts; i++) {

        ngx_keyturn_use(cf->cycle, entry[i].secret, cf->cycle->log);

        if (!entry[i].secret->dynamic
            && ngx_keyturn_require(cf, entry[i].secret, &conf->subject)
               != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* a server has no name before nginx 1.25.5 */

static ngx_int_t
ngx_stream_keyturn_subject(ngx_conf_t *cf, ngx_stream_keyturn_srv_conf_t *conf)
{
    ngx_str_t  name;

#if (nginx_version >= 1025005)
    ngx_stream_core_srv_conf_t  *cscf;

    cscf = ngx_stream_conf_get_module_srv_conf(cf, ngx_stream_core_module);

    name = cscf->server_name;
#else
    ngx_str_null(&name);
#endif

    if (name.len == 0) {
        ngx_str_set(&name, "_");
    }

    conf->subject.len = sizeof("nginx:") - 1 + name.len;
    conf->subject.data = ngx_pnalloc(cf->pool, conf->subject.len + 1);
    if (conf->subject.data == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_sprintf(conf->subject.data, "nginx:%V%Z", &name);

    if (conf->subject.len > KT_SUBJECT_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "server name \"%V\" is too long for a subject",
                           &name);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_keyturn_inherit(ngx_conf_t *cf, ngx_stream_keyturn_srv_conf_t *prev,
    ngx_stream_keyturn_srv_conf_t *conf)
{
    ngx_uint_t                   i;
    ngx_stream_keyturn_entry_t  *entry, *new;

    if (prev->own == NULL || conf->off) {
        conf->entries = conf->own;
        return NGX_OK;
    }

    if (conf->own == NULL) {
        conf->entries = prev->own;
        return NGX_OK;
    }

    conf->entries = conf->own;
    entry = prev->own->elts;

    for (i = 0; i < prev->own->nelts; i++) {

        if (ngx_stream_keyturn_find(conf->own, entry[i].variable)) {
            continue;
        }

        new = ngx_array_push(conf->entries);
        if (new == NULL) {
            return NGX_ERROR;
        }

        *new = entry[i];
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_keyturn_init(ngx_conf_t *cf)
{
    ngx_uint_t                       i;
    ngx_stream_core_srv_conf_t     **cscfp;
    ngx_stream_core_main_conf_t     *cmcf;
    ngx_stream_keyturn_main_conf_t  *kmcf;

    cmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_core_module);
    cscfp = cmcf->servers.elts;

    for (i = 0; i < cmcf->servers.nelts; i++) {
        if (ngx_stream_keyturn_init_server(cf, cscfp[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    kmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_keyturn_module);

    if (kmcf->variables.nelts == 0) {
        return NGX_OK;
    }

    return ngx_stream_keyturn_init_log(cf, cmcf);
}


static ngx_int_t
ngx_stream_keyturn_init_server(ngx_conf_t *cf, ngx_stream_core_srv_conf_t *cscf)
{
    ngx_stream_keyturn_srv_conf_t  *kscf;

    kscf = cscf->ctx->srv_conf[ngx_stream_keyturn_module.ctx_index];

    ngx_stream_keyturn_guard(cf, cscf->ctx->srv_conf);

    if (kscf->entries && cscf->handler) {
        kscf->handler = cscf->handler;
        cscf->handler = ngx_stream_keyturn_handler;
    }

    return ngx_stream_keyturn_tls_init(cf, cscf, kscf);
}


/* log handlers run in the order of the array, and ours must be first */

static ngx_int_t
ngx_stream_keyturn_init_log(ngx_conf_t *cf, ngx_stream_core_main_conf_t *cmcf)
{
    ngx_array_t            *handlers;
    ngx_stream_handler_pt  *h;

    handlers = &cmcf->phases[NGX_STREAM_LOG_PHASE].handlers;

    h = ngx_array_push(handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h = handlers->elts;

    ngx_memmove(h + 1, h,
                (handlers->nelts - 1) * sizeof(ngx_stream_handler_pt));

    h[0] = ngx_stream_keyturn_log_handler;

    return NGX_OK;
}
