
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


#include "ngx_http_keyturn_module.h"


static ngx_uint_t ngx_http_keyturn_has_twins(ngx_array_t *entries);
static ngx_int_t ngx_http_keyturn_inherit(ngx_conf_t *cf,
    ngx_http_keyturn_loc_conf_t *prev, ngx_http_keyturn_loc_conf_t *conf);
static ngx_int_t ngx_http_keyturn_require(ngx_conf_t *cf,
    ngx_http_keyturn_loc_conf_t *conf);
static void *ngx_http_keyturn_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_keyturn_create_srv_conf(ngx_conf_t *cf);
static char *ngx_http_keyturn_merge_srv_conf(ngx_conf_t *cf, void *parent,
    void *child);
static void *ngx_http_keyturn_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_keyturn_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_http_keyturn_secret_get(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_keyturn_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_keyturn_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_keyturn_push_handler(ngx_conf_t *cf,
    ngx_uint_t phase, ngx_http_handler_pt handler);


static ngx_command_t  ngx_http_keyturn_commands[] = {

    { ngx_string("secret_get"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_keyturn_secret_get,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("secret_auth"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_keyturn_secret_auth,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("secret_match"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_TAKE3|NGX_CONF_TAKE4
                        |NGX_CONF_TAKE5,
      ngx_http_keyturn_secret_match,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("secret_sign"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE3
                        |NGX_CONF_TAKE4|NGX_CONF_TAKE5|NGX_CONF_TAKE6
                        |NGX_CONF_TAKE7,
      ngx_http_keyturn_secret_sign,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("secret_reject_on"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_keyturn_reject_on,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

#if (NGX_HTTP_SSL)

    { ngx_string("secret_ssl_certificate"),
      NGX_HTTP_SRV_CONF|NGX_CONF_TAKE1,
      ngx_http_keyturn_ssl_certificate,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("secret_ssl_session_ticket_key"),
      NGX_HTTP_SRV_CONF|NGX_CONF_TAKE1,
      ngx_http_keyturn_ssl_ticket_key,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

#endif

      ngx_null_command
};


static ngx_http_module_t  ngx_http_keyturn_module_ctx = {
    ngx_http_keyturn_preconfiguration,     /* preconfiguration */
    ngx_http_keyturn_init,                 /* postconfiguration */

    ngx_http_keyturn_create_main_conf,     /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_http_keyturn_create_srv_conf,      /* create server configuration */
    ngx_http_keyturn_merge_srv_conf,       /* merge server configuration */

    ngx_http_keyturn_create_loc_conf,      /* create location configuration */
    ngx_http_keyturn_merge_loc_conf        /* merge location configuration */
};


ngx_module_t  ngx_http_keyturn_module = {
    NGX_MODULE_V1,
    &ngx_http_keyturn_module_ctx,          /* module context */
    ngx_http_keyturn_commands,             /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_keyturn_wrap,                 /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static char *
ngx_http_keyturn_secret_get(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_keyturn_loc_conf_t  *klcf = conf;

    ngx_str_t             *value;
    ngx_keyturn_secret_t  *secret;

    value = cf->args->elts;

    if (cf->args->nelts == 2) {

        if (ngx_strcmp(value[1].data, "off") != 0) {
            return "needs a variable and a name, or \"off\"";
        }

        klcf->off = 1;

        return NGX_CONF_OK;
    }

    secret = ngx_keyturn_secret_create(cf);
    if (secret == NULL) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_keyturn_add_entry(cf, klcf, secret);
}


static void *
ngx_http_keyturn_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_keyturn_main_conf_t));
    if (kmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&kmcf->variables, cf->pool, 4,
                       sizeof(ngx_http_keyturn_variable_t))
        != NGX_OK
        || ngx_array_init(&kmcf->matches, cf->pool, 4, sizeof(ngx_str_t))
           != NGX_OK)
    {
        return NULL;
    }

    kmcf->get_handler = ngx_http_keyturn_get_variable;

    return kmcf;
}


static void *
ngx_http_keyturn_create_srv_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_keyturn_srv_conf_t));
}


/*
 * The subject is the first name of the server block, and "_" without one:
 * never anything that a client sent.
 */

static char *
ngx_http_keyturn_merge_srv_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_keyturn_srv_conf_t *prev = parent;
    ngx_http_keyturn_srv_conf_t *conf = child;

    ngx_str_t                  name;
    ngx_http_core_srv_conf_t  *cscf;

    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    name = cscf->server_name;

    if (name.len == 0) {
        ngx_str_set(&name, "_");
    }

    conf->subject.len = sizeof("nginx:") - 1 + name.len;
    conf->subject.data = ngx_pnalloc(cf->pool, conf->subject.len + 1);
    if (conf->subject.data == NULL) {
        return NGX_CONF_ERROR;
    }

    (void) ngx_sprintf(conf->subject.data, "nginx:%V%Z", &name);

    if (ngx_http_keyturn_match_merge(cf, prev->matches, &conf->matches,
                                     &conf->subject)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_keyturn_create_loc_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_keyturn_loc_conf_t));
}


static char *
ngx_http_keyturn_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_keyturn_loc_conf_t *prev = parent;
    ngx_http_keyturn_loc_conf_t *conf = child;

    if (conf->reject == NULL) {
        conf->reject = prev->reject;
    }

    if (ngx_http_keyturn_inherit(cf, prev, conf) != NGX_OK
        || ngx_http_keyturn_require(cf, conf) != NGX_OK
        || ngx_http_keyturn_auth_merge(cf, prev->auth, &conf->auth) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    conf->twins = ngx_http_keyturn_has_twins(conf->entries);

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_http_keyturn_has_twins(ngx_array_t *entries)
{
    ngx_str_t                 *name, *other;
    ngx_uint_t                 i, j;
    ngx_http_keyturn_entry_t  *entry;

    if (entries == NULL) {
        return 0;
    }

    entry = entries->elts;

    for (i = 0; i < entries->nelts; i++) {
        name = &entry[i].secret->name;

        for (j = i + 1; j < entries->nelts; j++) {
            other = &entry[j].secret->name;

            if (name->len == other->len
                && ngx_strncmp(name->data, other->data, name->len) == 0)
            {
                return 1;
            }
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_keyturn_inherit(ngx_conf_t *cf, ngx_http_keyturn_loc_conf_t *prev,
    ngx_http_keyturn_loc_conf_t *conf)
{
    ngx_uint_t                 i;
    ngx_array_t               *inherited;
    ngx_http_keyturn_entry_t  *entry, *new;

    /* http{} itself is never merged into a parent */

    inherited = prev->entries ? prev->entries : prev->own;

    if (inherited == NULL || conf->off) {
        conf->entries = conf->own;
        return NGX_OK;
    }

    if (conf->own == NULL) {
        conf->entries = inherited;
        return NGX_OK;
    }

    conf->entries = ngx_array_create(cf->pool,
                                     conf->own->nelts + inherited->nelts,
                                     sizeof(ngx_http_keyturn_entry_t));
    if (conf->entries == NULL) {
        return NGX_ERROR;
    }

    new = ngx_array_push_n(conf->entries, conf->own->nelts);
    ngx_memcpy(new, conf->own->elts,
               conf->own->nelts * sizeof(ngx_http_keyturn_entry_t));

    entry = inherited->elts;

    for (i = 0; i < inherited->nelts; i++) {

        if (ngx_http_keyturn_find(conf->own, entry[i].variable)) {
            continue;
        }

        new = ngx_array_push(conf->entries);
        *new = entry[i];
    }

    return NGX_OK;
}


/*
 * Checked at start are secrets in the block that declares them, and in
 * locations that inherit them and pass requests on.
 */

static ngx_int_t
ngx_http_keyturn_require(ngx_conf_t *cf, ngx_http_keyturn_loc_conf_t *conf)
{
    void                         ***loc_conf;
    ngx_uint_t                      i;
    ngx_http_conf_ctx_t            *ctx;
    ngx_keyturn_secret_t           *secret;
    ngx_http_core_loc_conf_t       *clcf;
    ngx_http_keyturn_entry_t       *entry;
    ngx_http_keyturn_srv_conf_t    *kscf;
    ngx_http_keyturn_main_conf_t   *kmcf;

    if (conf->entries == NULL) {
        return NGX_OK;
    }

    kmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_keyturn_module);

    loc_conf = ngx_array_push(&kmcf->locations);
    if (loc_conf == NULL) {
        return NGX_ERROR;
    }

    ctx = cf->ctx;
    *loc_conf = ctx->loc_conf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    kscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_keyturn_module);

    if (kscf->subject.len > KT_SUBJECT_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "server name is too long for \"secret_get\"");
        return NGX_ERROR;
    }

    entry = conf->entries->elts;

    for (i = 0; i < conf->entries->nelts; i++) {
        secret = entry[i].secret;

        ngx_keyturn_use(cf->cycle, secret, clcf->error_log);

        if (ngx_http_keyturn_guard_add(cf, secret) != NGX_OK) {
            return NGX_ERROR;
        }

        if (secret->dynamic) {
            continue;
        }

        if (clcf->handler == NULL
            && secret->scope == NGX_KEYTURN_SCOPE_UPSTREAM
            && ngx_http_keyturn_find(conf->own, entry[i].variable) == NULL)
        {
            continue;
        }

        if (ngx_keyturn_require(cf, secret, &kscf->subject) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_keyturn_preconfiguration(ngx_conf_t *cf)
{
    if (ngx_http_keyturn_add_slot(cf) != NGX_OK
        || ngx_http_keyturn_guard_start(cf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_keyturn_sign_preconfiguration(cf);
}


/* ngx_http_keyturn_wrap() puts some of these first or last */

static ngx_int_t
ngx_http_keyturn_init(ngx_conf_t *cf)
{
    ngx_uint_t                     i;
    ngx_http_keyturn_main_conf_t  *kmcf;

    static struct {
        ngx_uint_t           phase;
        ngx_http_handler_pt  handler;
    } handlers[] = {
        { NGX_HTTP_SERVER_REWRITE_PHASE, ngx_http_keyturn_rewrite_handler },
        { NGX_HTTP_REWRITE_PHASE, ngx_http_keyturn_rewrite_handler },
        { NGX_HTTP_PREACCESS_PHASE, ngx_http_keyturn_preaccess_handler },

        /* after access: a refused request causes no read of a secret */
        { NGX_HTTP_PRECONTENT_PHASE, ngx_http_keyturn_precontent_handler },

        { NGX_HTTP_LOG_PHASE, ngx_http_keyturn_log_handler },
        { NGX_HTTP_LOG_PHASE, ngx_http_keyturn_logged_handler }
    };

    if (ngx_http_keyturn_tls_init(cf) != NGX_OK
        || ngx_http_keyturn_guard_end(cf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    kmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_keyturn_module);

    if (kmcf->auths
        && ngx_http_keyturn_push_handler(cf, NGX_HTTP_ACCESS_PHASE,
                                         ngx_http_keyturn_access_handler)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_keyturn_find_modules(cf, kmcf);

    if (kmcf->variables.nelts == 0) {
        return NGX_OK;
    }

    for (i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {

        if (ngx_http_keyturn_push_handler(cf, handlers[i].phase,
                                          handlers[i].handler)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_keyturn_push_handler(ngx_conf_t *cf, ngx_uint_t phase,
    ngx_http_handler_pt handler)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[phase].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = handler;

    return NGX_OK;
}
