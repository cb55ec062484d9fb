
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


#include "ngx_keyturn_stat.h"


#define NGX_KEYTURN_ZONE_SIZE  (128 * 1024)
#define NGX_KEYTURN_REPORT       1000    /* ms */


static ngx_int_t ngx_keyturn_stat_init_zone(ngx_shm_zone_t *zone, void *data);
static ngx_atomic_uint_t ngx_keyturn_stat_key(ngx_str_t *name);
static void ngx_keyturn_stat_timer(ngx_event_t *ev);
static void ngx_keyturn_stat_provider(void *arg,
    const kt_provider_figures_t *figures);
static void ngx_keyturn_stat_generation(void *arg, const char *type,
    uint64_t generation);
static void *ngx_keyturn_stat_label(void *rows, size_t size, ngx_uint_t n,
    size_t offset, ngx_str_t *name);


static ngx_str_t            ngx_keyturn_stat_name = ngx_string("keyturn");
static ngx_keyturn_stat_t  *ngx_keyturn_stat_data;
static ngx_event_t          ngx_keyturn_stat_event;
static kt_ctx_t            *ngx_keyturn_stat_ctx;
static ngx_uint_t           ngx_keyturn_stat_nth;   /* provider */


ngx_shm_zone_t *
ngx_keyturn_stat_zone(ngx_conf_t *cf)
{
    ngx_shm_zone_t  *zone;

    zone = ngx_shared_memory_add(cf, &ngx_keyturn_stat_name,
                                 NGX_KEYTURN_ZONE_SIZE, &ngx_keyturn_module);

    if (zone) {
        zone->init = ngx_keyturn_stat_init_zone;
    }

    return zone;
}


static ngx_int_t
ngx_keyturn_stat_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t  *pool;

    if (data) {
        zone->data = data;
        return NGX_OK;
    }

    pool = (ngx_slab_pool_t *) zone->shm.addr;

    if (pool->data == NULL) {
        pool->data = ngx_slab_calloc(pool, sizeof(ngx_keyturn_stat_t));
    }

    zone->data = pool->data;

    return zone->data ? NGX_OK : NGX_ERROR;
}


void
ngx_keyturn_stat_start(ngx_shm_zone_t *zone)
{
    ngx_keyturn_stat_data = zone ? zone->data : NULL;

    ngx_keyturn_stat_report();
}


ngx_keyturn_stat_t *
ngx_keyturn_stat(void)
{
    return ngx_keyturn_stat_data;
}


void
ngx_keyturn_stat_read(kt_status_t status, kt_secret_t *value, ngx_str_t *name)
{
    ngx_keyturn_row_t   *row;
    ngx_keyturn_stat_t  *stat;

    stat = ngx_keyturn_stat_data;

    if (stat == NULL || (ngx_uint_t) status >= NGX_KEYTURN_STATUSES) {
        return;
    }

    (void) ngx_atomic_fetch_add(&stat->reads[status], 1);

    ngx_keyturn_stat_touch();

    if (value == NULL) {
        return;
    }

    if (kt_secret_stale(value)) {
        (void) ngx_atomic_fetch_add(&stat->stale, 1);
    }

    row = name ? ngx_keyturn_stat_row(name) : NULL;

    if (row) {
        row->version = (ngx_atomic_uint_t) kt_secret_version(value);
        row->made = (ngx_atomic_uint_t) (kt_secret_since(value) / 1000);
        row->expires = (ngx_atomic_uint_t) (kt_secret_expires(value) / 1000);
    }
}


void
ngx_keyturn_stat_unavailable(void)
{
    if (ngx_keyturn_stat_data) {
        (void) ngx_atomic_fetch_add(&ngx_keyturn_stat_data->unavailable, 1);
    }
}


void
ngx_keyturn_stat_bad_certificate(void)
{
    if (ngx_keyturn_stat_data) {
        (void) ngx_atomic_fetch_add(&ngx_keyturn_stat_data->certificates, 1);
    }
}


ngx_keyturn_row_t *
ngx_keyturn_stat_row(ngx_str_t *name)
{
    ngx_uint_t          i, n;
    ngx_keyturn_row_t  *row;
    ngx_atomic_uint_t   key;

    if (ngx_keyturn_stat_data == NULL) {
        return NULL;
    }

    key = ngx_keyturn_stat_key(name);

    for (i = 0; i < NGX_KEYTURN_ROWS; i++) {
        n = (key / 2 + i) % NGX_KEYTURN_ROWS;
        row = &ngx_keyturn_stat_data->rows[n];

        if (row->key == key
            || (row->key == 0 && ngx_atomic_cmp_set(&row->key, 0, key))
            || row->key == key)
        {
            return row;
        }
    }

    return NULL;
}


static ngx_atomic_uint_t
ngx_keyturn_stat_key(ngx_str_t *name)
{
    return ((ngx_atomic_uint_t) ngx_murmur_hash2(name->data, name->len) << 32)
           | ngx_crc32_long(name->data, name->len) | 1;
}


void
ngx_keyturn_stat_context(kt_ctx_t *ctx)
{
    ngx_keyturn_stat_ctx = ctx;
}


void
ngx_keyturn_stat_touch(void)
{
    ngx_event_t  *ev;

    static ngx_connection_t  dumb;

    ev = &ngx_keyturn_stat_event;

    if (ngx_keyturn_stat_data == NULL || ev->timer_set) {
        return;
    }

    dumb.fd = (ngx_socket_t) -1;

    ev->handler = ngx_keyturn_stat_timer;
    ev->data = &dumb;
    ev->log = ngx_cycle->log;
    ev->cancelable = 1;

    ngx_add_timer(ev, NGX_KEYTURN_REPORT);
}


/* records that wait become lines within seconds, which is to be seen as well */

static void
ngx_keyturn_stat_timer(ngx_event_t *ev)
{
    ngx_keyturn_stat_report();

    if (ngx_worker < NGX_KEYTURN_WORKERS
        && ngx_keyturn_stat_data->pending[ngx_worker])
    {
        ngx_keyturn_stat_touch();
    }
}


void
ngx_keyturn_stat_report(void)
{
    size_t        locked, unlocked;
    kt_figures_t  figures = KT_FIGURES_INIT;

    if (ngx_keyturn_stat_data == NULL) {
        return;
    }

    ngx_keyturn_stat_nth = 0;

    figures.provider = ngx_keyturn_stat_provider;
    figures.generation = ngx_keyturn_stat_generation;

    if (ngx_keyturn_stat_ctx
        && kt_figures(ngx_keyturn_stat_ctx, &figures) != KT_SUCCESS)
    {
        return;
    }

    if (ngx_worker >= NGX_KEYTURN_WORKERS) {
        return;
    }

    kt_memory(&locked, &unlocked);

    ngx_keyturn_stat_data->locked[ngx_worker] = locked;
    ngx_keyturn_stat_data->unlocked[ngx_worker] = unlocked;
    ngx_keyturn_stat_data->pending[ngx_worker] = figures.audit_pending;
    ngx_keyturn_stat_data->oldest[ngx_worker] = figures.audit_oldest;
}


/* what is new since the last call in this process */

static void
ngx_keyturn_stat_provider(void *arg, const kt_provider_figures_t *figures)
{
    ngx_uint_t               i, n;
    ngx_str_t                name;
    ngx_atomic_uint_t        asked;
    ngx_keyturn_provider_t  *row;

    static uint64_t  reported[NGX_KEYTURN_PROVIDERS][NGX_KEYTURN_STATUSES];

    n = ngx_keyturn_stat_nth++;

    name.data = (u_char *) figures->name;
    name.len = ngx_strlen(figures->name);

    row = ngx_keyturn_stat_label(ngx_keyturn_stat_data->providers,
                                 sizeof(ngx_keyturn_provider_t),
                                 NGX_KEYTURN_PROVIDERS,
                                 offsetof(ngx_keyturn_provider_t, name), &name);

    if (row == NULL || n >= NGX_KEYTURN_PROVIDERS) {
        return;
    }

    for (i = 0; i < NGX_KEYTURN_STATUSES; i++) {
        (void) ngx_atomic_fetch_add(&row->answers[i],
                                    (ngx_atomic_int_t) (figures->answers[i]
                                                        - reported[n][i]));
        reported[n][i] = figures->answers[i];
    }

    /* the latest answer of all processes counts */

    asked = row->asked;

    if ((uint64_t) figures->asked <= asked
        || !ngx_atomic_cmp_set(&row->asked, asked,
                               (ngx_atomic_uint_t) figures->asked))
    {
        return;
    }

    if (asked == 0 || row->status != (ngx_atomic_uint_t) figures->status) {
        row->status = figures->status;
        row->since = (ngx_atomic_uint_t) (figures->since / 1000);
    }
}


static void
ngx_keyturn_stat_generation(void *arg, const char *type, uint64_t generation)
{
    ngx_str_t            name;
    ngx_keyturn_type_t  *row;

    name.data = (u_char *) type;
    name.len = ngx_strlen(type);

    row = ngx_keyturn_stat_label(ngx_keyturn_stat_data->types,
                                 sizeof(ngx_keyturn_type_t),
                                 NGX_KEYTURN_TYPES,
                                 offsetof(ngx_keyturn_type_t, name), &name);

    /* another process may have seen more of it */

    if (row && row->generation < generation) {
        row->generation = (ngx_atomic_uint_t) generation;
    }
}


/* both kinds of rows with names begin with "key" and "ready"; NULL: no room */

static void *
ngx_keyturn_stat_label(void *rows, size_t size, ngx_uint_t n, size_t offset,
    ngx_str_t *name)
{
    u_char             *p;
    ngx_uint_t          i;
    ngx_atomic_t       *head;
    ngx_atomic_uint_t   key;

    key = ngx_keyturn_stat_key(name);

    for (i = 0; i < n; i++) {
        p = (u_char *) rows + i * size;
        head = (ngx_atomic_t *) p;

        if (head[0] == 0 && ngx_atomic_cmp_set(&head[0], 0, key)) {
            (void) ngx_cpystrn(p + offset, name->data,
                               ngx_min(name->len, NGX_KEYTURN_LABEL) + 1);
            ngx_memory_barrier();
            head[1] = 1;
            return p;
        }

        if (head[0] == key) {
            return p;
        }
    }

    return NULL;
}


void
ngx_keyturn_stat_audit(ngx_uint_t *pending, uint64_t *lag)
{
    uint64_t             now, oldest;
    ngx_int_t            i;
    ngx_time_t          *tp;
    ngx_core_conf_t     *ccf;
    ngx_keyturn_stat_t  *stat;

    stat = ngx_keyturn_stat_data;

    *pending = 0;
    *lag = 0;

    if (stat == NULL) {
        return;
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                           ngx_core_module);
    tp = ngx_timeofday();
    now = (uint64_t) tp->sec * 1000 + tp->msec;

    for (i = 0; i < NGX_KEYTURN_WORKERS && i < ccf->worker_processes; i++) {
        *pending += stat->pending[i];
        oldest = stat->oldest[i];

        if (oldest && oldest < now && now - oldest > *lag) {
            *lag = now - oldest;
        }
    }
}
