
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * Threads of a worker process, next to its event loop: one that fetches what
 * would block (ngx_keyturn_agent.c), and one that only writes the audit trail.
 * So no request waits for a disk, and a provider that hangs does not delay the
 * trail.
 */


#include "ngx_keyturn.h"

#include <dlfcn.h>


#define NGX_KEYTURN_JOIN  2    /* seconds to wait for a thread that blocks */


static void *ngx_keyturn_trail_cycle(void *data);


ngx_int_t
ngx_keyturn_thread_start(pthread_t *thread, void *(*cycle)(void *data),
    void *data, ngx_log_t *log)
{
    int       err;
    sigset_t  set, old;

    /* signals are for the event loop, faults for the thread that causes them */

    (void) sigfillset(&set);
    (void) sigdelset(&set, SIGILL);
    (void) sigdelset(&set, SIGFPE);
    (void) sigdelset(&set, SIGSEGV);
    (void) sigdelset(&set, SIGBUS);

    err = pthread_sigmask(SIG_BLOCK, &set, &old);

    if (err == 0) {
        err = pthread_create(thread, NULL, cycle, data);

        (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
    }

    if (err) {
        ngx_log_error(NGX_LOG_ALERT, log, err, "pthread_create() failed");
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_keyturn_thread_join(pthread_t thread)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_sec += NGX_KEYTURN_JOIN;

    if (pthread_timedjoin_np(thread, NULL, &ts) == 0) {
        return NGX_OK;
    }

    ngx_keyturn_thread_abandon(thread);

    return NGX_AGAIN;
}


void
ngx_keyturn_thread_abandon(pthread_t thread)
{
    Dl_info  info;

    (void) pthread_detach(thread);

    /* nginx unloads modules when it exits, and after a reload without them */

    if (dladdr((void *) ngx_keyturn_thread_abandon, &info)) {
        (void) dlopen(info.dli_fname, RTLD_NOW|RTLD_NOLOAD|RTLD_NODELETE);
    }
}


ngx_int_t
ngx_keyturn_trail_start(pthread_t *thread, kt_ctx_t *ctx, ngx_log_t *log)
{
    return ngx_keyturn_thread_start(thread, ngx_keyturn_trail_cycle, ctx, log);
}


static void *
ngx_keyturn_trail_cycle(void *data)
{
    kt_ctx_t  *ctx = data;

    if (kt_audit_run(ctx) != KT_SUCCESS) {
        /* said by the log hook; the records are in the worker's ring */
    }

    return NULL;
}
