
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
#define NGX_KEYTURN_PROVIDERS 32    /* further ones are not shown */
#define NGX_KEYTURN_TYPES     64
#define NGX_KEYTURN_LABEL     255   /* bytes of the name of either */


typedef struct {
    ngx_atomic_t           key;        /* a hash of the name; 0: free */
    ngx_atomic_t           version;    /* that was read last */
    ngx_atomic_t           made;       /* in seconds; 0: not known */
    ngx_atomic_t           expires;    /* 0: never */
    ngx_atomic_t           since;      /* when it began to fail; 0: it does not */
} ngx_keyturn_row_t;


typedef struct {
    ngx_atomic_t           key;        /* as above */
    ngx_atomic_t           ready;      /* its name is whole */
    ngx_atomic_t           status;     /* of the last answer */
    ngx_atomic_t           since;      /* in seconds, of this status */
    ngx_atomic_t           asked;      /* in ms; 0: it was not asked yet */
    ngx_atomic_t           answers[NGX_KEYTURN_STATUSES];
    u_char                 name[NGX_KEYTURN_LABEL + 1];
} ngx_keyturn_provider_t;


typedef struct {
    ngx_atomic_t           key;
    ngx_atomic_t           ready;
    ngx_atomic_t           generation;
    u_char                 name[NGX_KEYTURN_LABEL + 1];
} ngx_keyturn_type_t;


typedef struct {
    ngx_atomic_t           reads[NGX_KEYTURN_STATUSES];
    ngx_atomic_t           stale;
    ngx_atomic_t           unavailable;
    ngx_atomic_t           certificates;  /* that could not be used */

    ngx_atomic_t           locked[NGX_KEYTURN_WORKERS];
    ngx_atomic_t           unlocked[NGX_KEYTURN_WORKERS];

    /* records that wait for the audit log, and since when, in ms */

    ngx_atomic_t           pending[NGX_KEYTURN_WORKERS];
    ngx_atomic_t           oldest[NGX_KEYTURN_WORKERS];

    ngx_keyturn_row_t       rows[NGX_KEYTURN_ROWS];
    ngx_keyturn_provider_t  providers[NGX_KEYTURN_PROVIDERS];
    ngx_keyturn_type_t      types[NGX_KEYTURN_TYPES];
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
void ngx_keyturn_stat_bad_certificate(void);

/* the row of a secret; NULL if there is no room */
ngx_keyturn_row_t *ngx_keyturn_stat_row(ngx_str_t *name);

/* the context of this process, or NULL */
void ngx_keyturn_stat_context(kt_ctx_t *ctx);

/* something has been done: within a second this process reports its figures */
void ngx_keyturn_stat_touch(void);

/* what this process knows of itself, into the zone */
void ngx_keyturn_stat_report(void);

/* of all worker processes: the records that wait, and ms since the oldest */
void ngx_keyturn_stat_audit(ngx_uint_t *pending, uint64_t *lag);


#endif /* _NGX_KEYTURN_STAT_H_INCLUDED_ */
