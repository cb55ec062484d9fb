
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


#include "ngx_keyturn_stat.h"


#define NGX_KEYTURN_ZONE_SIZE  (128 * 1024)


static ngx_int_t ngx_keyturn_stat_init_zone(ngx_shm_zone_t *zone, void *data);


static ngx_str_t            ngx_keyturn_stat_name = ngx_string("keyturn");
static ngx_keyturn_stat_t  *ngx_keyturn_stat_data;


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

    ngx_keyturn_stat_memory();
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

    static time_t  measured;

    stat = ngx_keyturn_stat_data;

    if (stat == NULL || (ngx_uint_t) status >= NGX_KEYTURN_STATUSES) {
        return;
    }

    (void) ngx_atomic_fetch_add(&stat->reads[status], 1);

    if (measured != ngx_time()) {
        measured = ngx_time();
        ngx_keyturn_stat_memory();
    }

    if (value == NULL) {
        return;
    }

    if (kt_secret_stale(value)) {
        (void) ngx_atomic_fetch_add(&stat->stale, 1);
    }

    row = name ? ngx_keyturn_stat_row(name) : NULL;

    if (row) {
        row->version = (ngx_atomic_uint_t) kt_secret_version(value);
    }
}


void
ngx_keyturn_stat_unavailable(void)
{
    if (ngx_keyturn_stat_data) {
        (void) ngx_atomic_fetch_add(&ngx_keyturn_stat_data->unavailable, 1);
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

    key = ((ngx_atomic_uint_t) ngx_murmur_hash2(name->data, name->len) << 32)
          | ngx_crc32_long(name->data, name->len) | 1;

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


void
ngx_keyturn_stat_memory(void)
{
    size_t  locked, unlocked;

    if (ngx_keyturn_stat_data == NULL || ngx_worker >= NGX_KEYTURN_WORKERS) {
        return;
    }

    kt_memory(&locked, &unlocked);

    ngx_keyturn_stat_data->locked[ngx_worker] = locked;
    ngx_keyturn_stat_data->unlocked[ngx_worker] = unlocked;
}
