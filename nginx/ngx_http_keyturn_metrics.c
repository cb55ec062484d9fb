
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * The counts of all worker processes in the text format of Prometheus.  Nothing
 * is asked for: all of it is in the zone already.
 */


#include "ngx_http_keyturn_module.h"
#include "ngx_keyturn_stat.h"


static size_t ngx_http_keyturn_metrics_size(ngx_array_t *requires);
static u_char *ngx_http_keyturn_head(u_char *p, const char *name,
    const char *type, const char *help);
static u_char *ngx_http_keyturn_label(u_char *p, const char *metric,
    const char *label, u_char *name, size_t len);
static u_char *ngx_http_keyturn_reads(u_char *p, ngx_keyturn_stat_t *stat);
static u_char *ngx_http_keyturn_fetches(u_char *p, ngx_keyturn_stat_t *stat);
static u_char *ngx_http_keyturn_generations(u_char *p,
    ngx_keyturn_stat_t *stat);
static u_char *ngx_http_keyturn_trail(u_char *p);
static u_char *ngx_http_keyturn_memory(u_char *p, ngx_keyturn_stat_t *stat);
static u_char *ngx_http_keyturn_secrets(u_char *p, ngx_array_t *requires,
    ngx_uint_t what);
static ngx_uint_t ngx_http_keyturn_seen(ngx_keyturn_require_t *require,
    ngx_uint_t n);


/* of each secret */

#define NGX_HTTP_KEYTURN_VERSION  0
#define NGX_HTTP_KEYTURN_AGE      1
#define NGX_HTTP_KEYTURN_EXPIRES  2

static const char  *ngx_http_keyturn_of_secret[][2] = {
    { "secret_version", "The current version that was read last." },
    { "secret_age_seconds", "Since this version was made." },
    { "secret_expires_seconds",
      "Until it expires; secrets without an end are left out." }
};


ngx_int_t
ngx_http_keyturn_metrics(ngx_pool_t *pool, ngx_str_t *text)
{
    u_char              *p;
    ngx_uint_t           i;
    ngx_array_t         *requires;
    ngx_keyturn_stat_t  *stat;

    requires = ngx_keyturn_requires((ngx_cycle_t *) ngx_cycle);
    stat = ngx_keyturn_stat();

    if (stat == NULL) {
        return NGX_ERROR;
    }

    ngx_keyturn_stat_report();

    text->data = ngx_pnalloc(pool, ngx_http_keyturn_metrics_size(requires));
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_http_keyturn_reads(text->data, stat);
    p = ngx_http_keyturn_fetches(p, stat);
    p = ngx_http_keyturn_trail(p);
    p = ngx_http_keyturn_memory(p, stat);
    p = ngx_http_keyturn_generations(p, stat);

    for (i = 0; i <= NGX_HTTP_KEYTURN_EXPIRES; i++) {
        p = ngx_http_keyturn_secrets(p, requires, i);
    }

    text->len = p - text->data;

    return NGX_OK;
}


/* each byte of a label may need two */

static size_t
ngx_http_keyturn_metrics_size(ngx_array_t *requires)
{
    size_t                  size;
    ngx_uint_t              i;
    ngx_keyturn_require_t  *require;

    /* rows may become ready meanwhile, so each one counts */

    size = 8192
           + (NGX_KEYTURN_LABEL * 2 + 128)
             * (NGX_KEYTURN_TYPES + NGX_KEYTURN_PROVIDERS
                                    * NGX_KEYTURN_STATUSES);

    require = requires->elts;

    for (i = 0; i < requires->nelts; i++) {
        size += (require[i].secret->name.len * 2 + 128)
                * (NGX_HTTP_KEYTURN_EXPIRES + 1);
    }

    return size;
}


static u_char *
ngx_http_keyturn_head(u_char *p, const char *name, const char *type,
    const char *help)
{
    return ngx_sprintf(p, "# HELP keyturn_%s %s\n# TYPE keyturn_%s %s\n",
                       name, help, name, type);
}


/* up to the end of the value, without the brace */

static u_char *
ngx_http_keyturn_label(u_char *p, const char *metric, const char *label,
    u_char *name, size_t len)
{
    size_t  i;

    p = ngx_sprintf(p, "keyturn_%s{%s=\"", metric, label);

    for (i = 0; i < len; i++) {

        if (name[i] == LF) {
            *p++ = '\\';
            *p++ = 'n';
            continue;
        }

        if (name[i] == '"' || name[i] == '\\') {
            *p++ = '\\';
        }

        *p++ = name[i];
    }

    *p++ = '"';

    return p;
}


static u_char *
ngx_http_keyturn_reads(u_char *p, ngx_keyturn_stat_t *stat)
{
    ngx_uint_t  i;

    p = ngx_http_keyturn_head(p, "reads_total", "counter",
                              "Reads of secrets, by their result.");

    for (i = 0; i < NGX_KEYTURN_STATUSES; i++) {
        p = ngx_sprintf(p, "keyturn_reads_total{status=\"%s\"} %uA\n",
                        kt_status_name((kt_status_t) i), stat->reads[i]);
    }

    p = ngx_http_keyturn_head(p, "denied_total", "counter",
                              "Reads that the policy refused.");
    p = ngx_sprintf(p, "keyturn_denied_total %uA\n", stat->reads[KT_DENIED]);

    p = ngx_http_keyturn_head(p, "unavailable_total", "counter",
                              "Requests that were answered with 503, and "
                              "connections of stream that were closed, "
                              "because of a secret.");
    p = ngx_sprintf(p, "keyturn_unavailable_total %uA\n", stat->unavailable);

    p = ngx_http_keyturn_head(p, "stale_total", "counter",
                              "Reads that were served from the stale window.");
    p = ngx_sprintf(p, "keyturn_stale_total %uA\n", stat->stale);

    p = ngx_http_keyturn_head(p, "bad_certificates_total", "counter",
                              "New certificates or keys that could not be "
                              "used, by each worker process.");

    return ngx_sprintf(p, "keyturn_bad_certificates_total %uA\n",
                       stat->certificates);
}


static u_char *
ngx_http_keyturn_fetches(u_char *p, ngx_keyturn_stat_t *stat)
{
    ngx_uint_t               i, n;
    ngx_keyturn_provider_t  *provider;

    p = ngx_http_keyturn_head(p, "fetches_total", "counter",
                              "Answers of providers, by their result.");

    for (i = 0; i < NGX_KEYTURN_PROVIDERS; i++) {
        provider = &stat->providers[i];

        if (!provider->ready) {
            continue;
        }

        for (n = 0; n < NGX_KEYTURN_STATUSES; n++) {

            /* a rate needs a 0 to begin with, but not of what never comes */

            if (provider->answers[n] == 0 && n != KT_SUCCESS
                && n != KT_UNAVAIL)
            {
                continue;
            }

            p = ngx_http_keyturn_label(p, "fetches_total", "provider",
                                       provider->name,
                                       ngx_strlen(provider->name));
            p = ngx_sprintf(p, ",result=\"%s\"} %uA\n",
                            kt_status_name((kt_status_t) n),
                            provider->answers[n]);
        }
    }

    return p;
}


static u_char *
ngx_http_keyturn_generations(u_char *p, ngx_keyturn_stat_t *stat)
{
    ngx_uint_t           i, n;
    ngx_keyturn_type_t  *type;

    for (i = 0, n = 0; i < NGX_KEYTURN_TYPES; i++) {
        type = &stat->types[i];

        if (!type->ready) {
            continue;
        }

        if (n++ == 0) {
            p = ngx_http_keyturn_head(p, "generation", "gauge",
                                      "Changes of a type in its store, as "
                                      "they were read last.");
        }

        p = ngx_http_keyturn_label(p, "generation", "type", type->name,
                                   ngx_strlen(type->name));
        p = ngx_sprintf(p, "} %uA\n", type->generation);
    }

    return p;
}


static u_char *
ngx_http_keyturn_trail(u_char *p)
{
    uint64_t    lag;
    ngx_uint_t  pending;

    ngx_keyturn_stat_audit(&pending, &lag);

    p = ngx_http_keyturn_head(p, "audit_pending", "gauge",
                              "Records that are not in the audit log yet.");
    p = ngx_sprintf(p, "keyturn_audit_pending %ui\n", pending);

    p = ngx_http_keyturn_head(p, "audit_lag_seconds", "gauge",
                              "Since the oldest of them was made.");

    return ngx_sprintf(p, "keyturn_audit_lag_seconds %uL.%03uL\n", lag / 1000,
                       lag % 1000);
}


static u_char *
ngx_http_keyturn_memory(u_char *p, ngx_keyturn_stat_t *stat)
{
    size_t            locked, unlocked;
    ngx_int_t         i;
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                           ngx_core_module);
    locked = 0;
    unlocked = 0;

    for (i = 0; i < NGX_KEYTURN_WORKERS && i < ccf->worker_processes; i++) {
        locked += stat->locked[i];
        unlocked += stat->unlocked[i];
    }

    p = ngx_http_keyturn_head(p, "memory_locked_bytes", "gauge",
                              "Secret memory of all workers that is locked.");
    p = ngx_sprintf(p, "keyturn_memory_locked_bytes %uz\n", locked);

    p = ngx_http_keyturn_head(p, "memory_unlocked_bytes", "gauge",
                              "Secret memory that could not be locked.");

    return ngx_sprintf(p, "keyturn_memory_unlocked_bytes %uz\n", unlocked);
}


static u_char *
ngx_http_keyturn_secrets(u_char *p, ngx_array_t *requires, ngx_uint_t what)
{
    const char             *metric;
    ngx_int_t               value;
    ngx_uint_t              i, n;
    ngx_keyturn_row_t      *row;
    ngx_keyturn_secret_t   *secret;
    ngx_keyturn_require_t  *require;

    require = requires->elts;
    metric = ngx_http_keyturn_of_secret[what][0];
    n = 0;

    for (i = 0; i < requires->nelts; i++) {
        secret = require[i].secret;
        row = ngx_keyturn_stat_row(&secret->name);

        if (row == NULL || ngx_http_keyturn_seen(require, i)) {
            continue;
        }

        value = (what == NGX_HTTP_KEYTURN_VERSION) ? (ngx_int_t) row->version
                : (what == NGX_HTTP_KEYTURN_AGE) ? (ngx_int_t) row->made
                                                 : (ngx_int_t) row->expires;
        if (value == 0) {
            continue;
        }

        if (what == NGX_HTTP_KEYTURN_AGE) {
            value = ngx_max(ngx_time() - value, 0);

        } else if (what == NGX_HTTP_KEYTURN_EXPIRES) {
            value -= ngx_time();
        }

        if (n++ == 0) {
            p = ngx_http_keyturn_head(p, metric, "gauge",
                                      ngx_http_keyturn_of_secret[what][1]);
        }

        p = ngx_http_keyturn_label(p, metric, "name", secret->name.data,
                                   secret->name.len);
        p = ngx_sprintf(p, "} %i\n", value);
    }

    return p;
}


static ngx_uint_t
ngx_http_keyturn_seen(ngx_keyturn_require_t *require, ngx_uint_t n)
{
    ngx_str_t   *a, *b;
    ngx_uint_t   i;

    a = &require[n].secret->name;

    for (i = 0; i < n; i++) {
        b = &require[i].secret->name;

        if (a->len == b->len && ngx_strncmp(a->data, b->data, a->len) == 0) {
            return 1;
        }
    }

    return 0;
}
