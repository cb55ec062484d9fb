
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * The bridge between nginx and libkeyturn, for the http and the stream module:
 *
 *   ngx_keyturn.c         "keyturn_config", one context for each process
 *   ngx_keyturn_await.c   what the master process waits for, and how long
 *   ngx_keyturn_check.c   what "nginx -t" says about required secrets
 *   ngx_keyturn_options.c the parameters of "secret_get"
 *   ngx_keyturn_stat.c    counts of all worker processes
 *   ngx_keyturn_text.c    a secret's text: its field, encoded, after a prefix
 *   ngx_keyturn_pem.c     certificates and keys
 *   ngx_keyturn_agent.c   a thread for the providers that would block
 *   ngx_keyturn_thread.c  threads, and the one that writes the audit trail
 */


#ifndef _NGX_KEYTURN_H_INCLUDED_
#define _NGX_KEYTURN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include <keyturn.h>

#include <pthread.h>


#define NGX_KEYTURN_SCOPE_UPSTREAM  1
#define NGX_KEYTURN_SCOPE_REQUEST   2

#define NGX_KEYTURN_DIGEST          32

#define NGX_KEYTURN_PATIENCE        10000  /* ms for a key and the check */


/* one "secret_get", or a directive with a name; strings have a NUL at the end */

typedef struct {
    ngx_str_t              directive;
    ngx_str_t              label;      /* for messages: "$variable" */
    ngx_str_t              variable;   /* of "secret_get" */
    ngx_str_t              name;
    ngx_str_t              field;
    ngx_str_t              version;
    ngx_str_t              prefix;
    ngx_str_t              fallback;

    ngx_str_t              reference;  /* name[@version], unless dynamic */
    uint64_t               bit;        /* of the reference */
    const char            *purpose;    /* of TLS, which cannot wait; or NULL */
    void                  *tls;        /* the block whose ticket key it is */
    void                  *complex;    /* the name's compiled variables */
    void                  *sign;       /* of "secret_sign": what it signs */

    kt_encoding_t          encoding;
    ngx_uint_t             scope;

    u_char                *file;
    ngx_uint_t             line;

    unsigned               dynamic:1;  /* the name has variables */
    unsigned               required:1;
    unsigned               any:1;      /* optional, whatever the failure is */
    unsigned               pem:1;
    unsigned               alerted:1;  /* in this worker process */
    unsigned               unverified:1;  /* and to whom: alerted as well */

    u_char                 checked[NGX_KEYTURN_DIGEST];  /* of a good PEM */
} ngx_keyturn_secret_t;


typedef struct {
    kt_setup_t            *setup;
    ngx_array_t           *requires;   /* of ngx_keyturn_require_t */
    ngx_msec_t             left;       /* ms that the master may still wait */
    ngx_uint_t             warn;       /* "secret_check warn" */
    ngx_uint_t             workers;
} ngx_keyturn_check_t;


/* a wait for the agent; its memory must stay valid while it is queued */

typedef struct ngx_keyturn_wait_s  ngx_keyturn_wait_t;
typedef struct ngx_keyturn_job_s  ngx_keyturn_job_t;

struct ngx_keyturn_wait_s {
    ngx_queue_t            queue;
    ngx_keyturn_job_t     *job;
    void                 (*handler)(ngx_keyturn_wait_t *wait);
    void                  *data;
    kt_status_t            status;

    unsigned               queued:1;
};


typedef struct {
    ngx_keyturn_secret_t  *secret;
    ngx_str_t             *subject;
    ngx_keyturn_wait_t     wait;       /* of "keyturn_status" */
    time_t                 answered;   /* its status is of then; 0: none is */
} ngx_keyturn_require_t;


typedef struct ngx_keyturn_agent_s  ngx_keyturn_agent_t;


/*
 * Requests a check of a secret with a static name, made when the configuration
 * has been read.  The start fails if it is missing or refused to the subject.
 */
ngx_int_t ngx_keyturn_require(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
    ngx_str_t *subject);

/*
 * Notes that the configuration uses secrets, and warns if the log, a chain,
 * is of the level "debug".
 */
void ngx_keyturn_use(ngx_cycle_t *cycle, ngx_keyturn_secret_t *secret,
    ngx_log_t *log);

/* a directive that shows counts is used; NGX_CONF_OK */
char *ngx_keyturn_count(ngx_conf_t *cf);

/* of the configuration: ngx_keyturn_require_t, its path, when it was read */
ngx_array_t *ngx_keyturn_requires(ngx_cycle_t *cycle);
ngx_str_t *ngx_keyturn_path(ngx_cycle_t *cycle);
time_t ngx_keyturn_loaded(ngx_cycle_t *cycle);

/*
 * The context of this process, NULL if it could not be opened; the next attempt
 * is made after a second at the earliest.
 */
kt_ctx_t *ngx_keyturn_ctx(ngx_log_t *log);

/*
 * Lets the agent fetch what would block; wait->handler is called from the
 * event loop.  ngx_keyturn_cancel() is allowed at any time.
 */
ngx_int_t ngx_keyturn_refresh(kt_request_t *req, ngx_keyturn_wait_t *wait,
    ngx_log_t *log);
void ngx_keyturn_cancel(ngx_keyturn_wait_t *wait);


/* cf->args of "secret_get $variable NAME ..." */
ngx_keyturn_secret_t *ngx_keyturn_secret_create(ngx_conf_t *cf);

/* a directive that takes a name, which may have variables */
ngx_keyturn_secret_t *ngx_keyturn_secret_named(ngx_conf_t *cf,
    ngx_str_t *name);

/* name[@version] in memory of the pool, with a NUL after its end */
ngx_int_t ngx_keyturn_reference(ngx_pool_t *pool, ngx_str_t *name,
    ngx_str_t *version, ngx_str_t *reference);

/* the same one bit for equal references */
uint64_t ngx_keyturn_reference_bit(ngx_str_t *reference);

/*
 * The text of the variable: the field, encoded, after the prefix.  It is memory
 * of the pool, and the caller wipes it.  *reason is a static text.
 */
kt_status_t ngx_keyturn_secret_text(ngx_keyturn_secret_t *secret,
    kt_secret_t *value, ngx_pool_t *pool, ngx_str_t *text, const char **reason);

/* is it right to go on without a value?  "optional" means absent */
ngx_uint_t ngx_keyturn_passes(ngx_keyturn_secret_t *secret,
    kt_status_t status);

ngx_uint_t ngx_keyturn_has_control(u_char *p, size_t size);

/* has the text "$name" or "${name}", and no longer name? */
ngx_uint_t ngx_keyturn_text_names(ngx_str_t *text, ngx_str_t *name);

const char *ngx_keyturn_pem_check(ngx_keyturn_secret_t *secret,
    kt_secret_t *value, kt_secret_t *whole);

/* can worker processes read all of this?  Otherwise it has been said */
ngx_int_t ngx_keyturn_check(ngx_cycle_t *cycle, ngx_keyturn_check_t *check);

/*
 * Waits until the descriptor is readable.  NGX_AGAIN: *left ms are over;
 * NGX_ABORT: a worker process has ended, and the reload has to give way.
 */
ngx_int_t ngx_keyturn_await(ngx_fd_t fd, ngx_msec_t *left);
void ngx_keyturn_give_way(ngx_cycle_t *cycle);

/* kt_setup(), with the same answers; *setup is set with NGX_OK only */
ngx_int_t ngx_keyturn_read_setup(ngx_cycle_t *cycle, ngx_str_t *path,
    ngx_msec_t *left, kt_setup_t **setup, kt_status_t *status);

ngx_int_t ngx_keyturn_thread_start(pthread_t *thread,
    void *(*cycle)(void *data), void *data, ngx_log_t *log);

/* NGX_AGAIN: the thread blocks, and is abandoned */
ngx_int_t ngx_keyturn_thread_join(pthread_t thread);
/* the thread goes on, and ends by itself: its code stays where it is */
void ngx_keyturn_thread_abandon(pthread_t thread);

/* until kt_audit_stop() */
ngx_int_t ngx_keyturn_trail_start(pthread_t *thread, kt_ctx_t *ctx,
    ngx_log_t *log);

ngx_keyturn_agent_t *ngx_keyturn_agent_create(kt_ctx_t *ctx, ngx_log_t *log);

/* waits for a fetch to be done, for a process that does not serve yet */
void ngx_keyturn_wait(ngx_msec_t ms);
void ngx_keyturn_agent_wait(ngx_keyturn_agent_t *agent, ngx_msec_t ms);

ngx_int_t ngx_keyturn_agent_post(ngx_keyturn_agent_t *agent, kt_request_t *req,
    ngx_keyturn_wait_t *wait);
void ngx_keyturn_agent_cancel(ngx_keyturn_wait_t *wait);

/* NGX_AGAIN if the thread could not be stopped and still uses the context */
ngx_int_t ngx_keyturn_agent_destroy(ngx_keyturn_agent_t *agent);


extern ngx_module_t  ngx_keyturn_module;


#endif /* _NGX_KEYTURN_H_INCLUDED_ */
