
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * "keyturn_status": can the required secrets of this configuration be had, as
 * JSON; "keyturn_metrics": counts for Prometheus.  Both ask for no secret, and
 * so are never gated themselves.
 */


#include "ngx_http_keyturn_module.h"
#include "ngx_keyturn_stat.h"


#define NGX_HTTP_KEYTURN_FRESH  60    /* seconds that an answer counts */


typedef struct {
    ngx_uint_t             required;   /* 503 if a secret cannot be had */
} ngx_http_keyturn_status_conf_t;


typedef struct {
    ngx_uint_t             all;
    ngx_uint_t             good;
    ngx_uint_t             bad;
    u_char                *list;       /* of those that fail, as JSON */
    u_char                *last;
    u_char                *end;
} ngx_http_keyturn_health_t;


static ngx_int_t ngx_http_keyturn_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_keyturn_metrics_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_keyturn_health(ngx_http_request_t *r,
    ngx_array_t *requires, ngx_http_keyturn_health_t *health);
static kt_status_t ngx_http_keyturn_health_of(ngx_http_request_t *r,
    kt_ctx_t *ctx, ngx_keyturn_require_t *require);
static void ngx_http_keyturn_health_answer(ngx_keyturn_wait_t *wait);
static void ngx_http_keyturn_health_add(ngx_http_keyturn_health_t *health,
    ngx_keyturn_secret_t *secret, kt_status_t status);
static u_char *ngx_http_keyturn_figures(u_char *p, ngx_keyturn_stat_t *stat);
static ngx_int_t ngx_http_keyturn_show(ngx_http_request_t *r,
    ngx_uint_t status, const char *type, u_char *text, u_char *last);
static char *ngx_http_keyturn_set_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_keyturn_set_metrics(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_keyturn_set_handler(ngx_conf_t *cf,
    ngx_http_handler_pt handler);
static void *ngx_http_keyturn_create_status_conf(ngx_conf_t *cf);


static ngx_command_t  ngx_http_keyturn_status_commands[] = {

    { ngx_string("keyturn_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE1,
      ngx_http_keyturn_set_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("keyturn_metrics"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_keyturn_set_metrics,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_keyturn_status_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_keyturn_create_status_conf,   /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_keyturn_status_module = {
    NGX_MODULE_V1,
    &ngx_http_keyturn_status_module_ctx,   /* module context */
    ngx_http_keyturn_status_commands,      /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_keyturn_status_handler(ngx_http_request_t *r)
{
    u_char                          *p, *text;
    size_t                           size;
    ngx_str_t                       *path;
    const char                      *word;
    ngx_uint_t                       status;
    ngx_array_t                     *requires;
    ngx_keyturn_stat_t              *stat;
    ngx_http_keyturn_health_t        health;
    ngx_http_keyturn_status_conf_t  *conf;

    stat = ngx_keyturn_stat();

    if (stat == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    requires = ngx_keyturn_requires((ngx_cycle_t *) ngx_cycle);

    if (ngx_http_keyturn_health(r, requires, &health) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    path = ngx_keyturn_path((ngx_cycle_t *) ngx_cycle);

    ngx_keyturn_stat_report();

    /* each byte of a text may need six */

    size = 1024 + path->len * 6 + (health.last - health.list)
           + NGX_KEYTURN_PROVIDERS * (NGX_KEYTURN_LABEL * 6 + 128);

    text = ngx_pnalloc(r->pool, size);
    if (text == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    word = health.bad ? "failing" : health.good < health.all ? "degraded"
                                                             : "ok";

    p = ngx_sprintf(text, "{\"status\": \"%s\", \"version\": \"%s\", "
                    "\"config\": {\"path\": \"", word, KT_VERSION);

    p = (u_char *) ngx_escape_json(p, path->data, path->len);

    p = ngx_sprintf(p, "\", \"loaded\": %T}, \"secrets\": {\"required\": %ui, "
                    "\"ok\": %ui, \"failing\": [%*s]}, ",
                    ngx_keyturn_loaded((ngx_cycle_t *) ngx_cycle), health.all,
                    health.good, (size_t) (health.last - health.list),
                    health.list);

    p = ngx_http_keyturn_figures(p, stat);

    conf = ngx_http_get_module_loc_conf(r, ngx_http_keyturn_status_module);

    status = (conf->required && health.bad) ? NGX_HTTP_SERVICE_UNAVAILABLE
                                            : NGX_HTTP_OK;

    return ngx_http_keyturn_show(r, status, "application/json", text, p);
}


static ngx_int_t
ngx_http_keyturn_health(ngx_http_request_t *r, ngx_array_t *requires,
    ngx_http_keyturn_health_t *health)
{
    size_t                  size;
    kt_ctx_t               *ctx;
    ngx_uint_t              i;
    kt_status_t             status;
    ngx_keyturn_require_t  *require;

    require = requires->elts;
    size = 1;

    for (i = 0; i < requires->nelts; i++) {
        size += require[i].secret->reference.len + 128;
    }

    ngx_memzero(health, sizeof(ngx_http_keyturn_health_t));

    health->list = ngx_pnalloc(r->pool, size);
    if (health->list == NULL) {
        return NGX_ERROR;
    }

    health->last = health->list;
    health->end = health->list + size;

    ctx = ngx_keyturn_ctx(r->connection->log);

    for (i = 0; i < requires->nelts; i++) {

        if (!require[i].secret->required) {
            continue;
        }

        health->all++;

        status = ctx ? ngx_http_keyturn_health_of(r, ctx, &require[i])
                     : KT_UNAVAIL;

        ngx_http_keyturn_health_add(health, require[i].secret, status);
    }

    return NGX_OK;
}


/*
 * KT_TRYAGAIN: not known yet.  A store across a network is asked by the agent,
 * and the next request knows its answer.
 */

static kt_status_t
ngx_http_keyturn_health_of(ngx_http_request_t *r, kt_ctx_t *ctx,
    ngx_keyturn_require_t *require)
{
    kt_status_t   status;
    kt_request_t  req = KT_REQUEST_INIT;

    req.reference = (const char *) require->secret->reference.data;
    req.subject = (const char *) require->subject->data;
    req.purpose = "check";
    req.configured = 1;

    status = kt_probe(ctx, &req);

    if (status != KT_TRYAGAIN) {
        return status;
    }

    if (require->answered
        && ngx_time() - require->answered < NGX_HTTP_KEYTURN_FRESH)
    {
        status = require->wait.status;
    }

    if (!require->wait.queued) {
        require->wait.handler = ngx_http_keyturn_health_answer;
        require->wait.data = require;
        (void) ngx_keyturn_refresh(&req, &require->wait, r->connection->log);
    }

    return status;
}


static void
ngx_http_keyturn_health_answer(ngx_keyturn_wait_t *wait)
{
    ngx_keyturn_require_t  *require;

    require = wait->data;
    require->answered = ngx_time();
}


static void
ngx_http_keyturn_health_add(ngx_http_keyturn_health_t *health,
    ngx_keyturn_secret_t *secret, kt_status_t status)
{
    time_t              since;
    ngx_keyturn_row_t  *row;

    row = ngx_keyturn_stat_row(&secret->reference);

    if (status == KT_SUCCESS || status == KT_TRYAGAIN) {

        if (row) {
            row->since = 0;
        }

        health->good += (status == KT_SUCCESS);
        return;
    }

    health->bad++;

    if (row) {
        (void) ngx_atomic_cmp_set(&row->since, 0,
                                  (ngx_atomic_uint_t) ngx_time());
    }

    since = row ? (time_t) row->since : ngx_time();

    health->last = ngx_slprintf(health->last, health->end,
                                "%s{\"name\": \"%V\", \"status\": \"%s\", "
                                "\"since\": %T}",
                                health->bad > 1 ? ", " : "",
                                &secret->reference, kt_status_name(status),
                                since);
}


/* a provider that was not asked yet has no status */

static u_char *
ngx_http_keyturn_figures(u_char *p, ngx_keyturn_stat_t *stat)
{
    uint64_t                 lag;
    ngx_uint_t               i, n, pending;
    ngx_keyturn_provider_t  *provider;

    p = ngx_sprintf(p, "\"providers\": {");

    for (i = 0, n = 0; i < NGX_KEYTURN_PROVIDERS; i++) {
        provider = &stat->providers[i];

        if (!provider->ready || provider->asked == 0) {
            continue;
        }

        p = ngx_sprintf(p, "%s\"", n++ ? ", " : "");
        p = (u_char *) ngx_escape_json(p, provider->name,
                                       ngx_strlen(provider->name));
        p = ngx_sprintf(p, "\": {\"status\": \"%s\", \"since\": %uA}",
                        kt_status_name((kt_status_t) provider->status),
                        provider->since);
    }

    ngx_keyturn_stat_audit(&pending, &lag);

    return ngx_sprintf(p, "}, \"audit\": {\"pending\": %ui, "
                       "\"lag_ms\": %uL}}\n", pending, lag);
}


static ngx_int_t
ngx_http_keyturn_metrics_handler(ngx_http_request_t *r)
{
    ngx_str_t  text;

    if (ngx_http_keyturn_metrics(r->pool, &text) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_keyturn_show(r, NGX_HTTP_OK, "text/plain; version=0.0.4",
                                 text.data, text.data + text.len);
}


static ngx_int_t
ngx_http_keyturn_show(ngx_http_request_t *r, ngx_uint_t status,
    const char *type, u_char *text, u_char *last)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    r->headers_out.status = status;
    r->headers_out.content_length_n = last - text;
    r->headers_out.content_type.data = (u_char *) type;
    r->headers_out.content_type.len = ngx_strlen(type);
    r->headers_out.content_type_len = r->headers_out.content_type.len;

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->pos = text;
    b->last = last;
    b->memory = 1;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, &out);
}


static char *
ngx_http_keyturn_set_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_keyturn_status_conf_t *scf = conf;

    ngx_str_t  *value;

    value = cf->args->elts;

    if (cf->args->nelts == 2) {

        if (ngx_strcmp(value[1].data, "required") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "parameter \"%V\" is not \"required\"",
                               &value[1]);
            return NGX_CONF_ERROR;
        }

        scf->required = 1;
    }

    return ngx_http_keyturn_set_handler(cf, ngx_http_keyturn_status_handler);
}


static char *
ngx_http_keyturn_set_metrics(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_http_keyturn_set_handler(cf, ngx_http_keyturn_metrics_handler);
}


static char *
ngx_http_keyturn_set_handler(ngx_conf_t *cf, ngx_http_handler_pt handler)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = handler;

    return ngx_keyturn_count(cf);
}


static void *
ngx_http_keyturn_create_status_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_keyturn_status_conf_t));
}
