
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * What all worker processes have counted, in one zone of shared memory, which
 * exists if "keyturn_status" or "keyturn_metrics" is used.
 *
 * Counts of a single worker would depend on which one answers the scrape.  The
 * zone keeps them over a reload, for which old and new workers count together.
 * There is no lock, so that a worker that is killed leaves nothing locked: each
 * count is atomic, and what a worker says of itself is in a row of its number,
 * which the worker after it takes over.
 */


#ifndef _NGX_KEYTURN_STAT_H_INCLUDED_
#define _NGX_KEYTURN_STAT_H_INCLUDED_


#include "ngx_keyturn.h"


#define NGX_KEYTURN_STATUSES  (KT_MOVED + 1)
#define NGX_KEYTURN_ROWS      1024  /* secrets that are known by name */
#define NGX_KEYTURN_WORKERS   256


typedef struct {
    ngx_atomic_t           key;        /* a hash of the name; 0: free */
    ngx_atomic_t           version;    /* that was read last */
    ngx_atomic_t           since;      /* when it began to fail; 0: it does not */
} ngx_keyturn_row_t;


typedef struct {
    ngx_atomic_t           reads[NGX_KEYTURN_STATUSES];
    ngx_atomic_t           stale;
    ngx_atomic_t           unavailable;

    ngx_atomic_t           locked[NGX_KEYTURN_WORKERS];
    ngx_atomic_t           unlocked[NGX_KEYTURN_WORKERS];

    ngx_keyturn_row_t      rows[NGX_KEYTURN_ROWS];
} ngx_keyturn_stat_t;


/* of a directive that shows counts */
ngx_shm_zone_t *ngx_keyturn_stat_zone(ngx_conf_t *cf);

/* in each worker process; NULL: nothing is counted */
void ngx_keyturn_stat_start(ngx_shm_zone_t *zone);
ngx_keyturn_stat_t *ngx_keyturn_stat(void);

/* a read by kt_peek(), the value if it was served */
void ngx_keyturn_stat_read(kt_status_t status, kt_secret_t *value,
    ngx_str_t *name);
void ngx_keyturn_stat_unavailable(void);

/* the row of a secret; NULL if there is no room */
ngx_keyturn_row_t *ngx_keyturn_stat_row(ngx_str_t *name);

/* this process's own memory, into its row */
void ngx_keyturn_stat_memory(void);


#endif /* _NGX_KEYTURN_STAT_H_INCLUDED_ */
