
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * A request whose first read would block waits here until the agent's thread
 * has fetched the value.
 *
 * All of this runs in the event loop of one worker, so there are no locks.  A
 * suspension ends in one of three ways: the agent answers (wake), the time is
 * over (timeout), or the pool of the request is destroyed (cancel, as its
 * cleanup).  The first two call cancel as well, which withdraws the wait from
 * the agent and deletes the timer, so that neither can follow the other.  The
 * structure is memory of the request's pool: after cancel nothing points to it.
 *
 * The request then goes through its phases again, or makes its request to an
 * upstream again, and reads once more.  What
 * was fetched may have changed by then, and it is suspended again; the deadline
 * is set only once, so it does not wait longer than NGX_HTTP_KEYTURN_TIMEOUT.
 */


#include "ngx_http_keyturn_module.h"


#define NGX_HTTP_KEYTURN_TIMEOUT  2000  /* ms, for a first fetch */


struct ngx_http_keyturn_suspend_s {
    ngx_event_t              timer;
    ngx_keyturn_wait_t       wait;
    ngx_http_request_t      *request;
    ngx_http_keyturn_ctx_t  *ctx;
    ngx_http_keyturn_pin_t  *pin;
    void                   (*handler)(ngx_http_request_t *r);
};


static void ngx_http_keyturn_wake(ngx_keyturn_wait_t *wait);
static void ngx_http_keyturn_timeout(ngx_event_t *ev);
static void ngx_http_keyturn_resume(ngx_http_keyturn_suspend_t *suspend,
    kt_status_t status);
static void ngx_http_keyturn_run_phases(ngx_http_request_t *r);
static void ngx_http_keyturn_cancel(void *data);


ngx_int_t
ngx_http_keyturn_suspend(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *pin)
{
    ngx_http_keyturn_suspend_t  *suspend;

    suspend = ngx_http_keyturn_wait(r, ctx, pin, ngx_http_keyturn_run_phases);

    if (suspend == NULL) {
        return NGX_ERROR;
    }

    if (r == r->main) {

        if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
            ngx_http_keyturn_cancel(suspend);
            return NGX_ERROR;
        }

        r->read_event_handler = ngx_http_test_reading;
    }

    r->write_event_handler = ngx_http_request_empty_handler;

    return NGX_OK;
}


ngx_http_keyturn_suspend_t *
ngx_http_keyturn_wait(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *pin, void (*handler)(ngx_http_request_t *r))
{
    ngx_pool_cleanup_t          *cln;
    ngx_http_keyturn_ask_t       ask;
    ngx_http_keyturn_suspend_t  *suspend;

    if (pin->deadline == 0) {
        pin->deadline = ngx_current_msec + NGX_HTTP_KEYTURN_TIMEOUT;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_keyturn_suspend_t));
    if (cln == NULL) {
        return NULL;
    }

    suspend = cln->data;
    ngx_memzero(suspend, sizeof(ngx_http_keyturn_suspend_t));

    suspend->request = r;
    suspend->ctx = ctx;
    suspend->pin = pin;
    suspend->handler = handler;
    suspend->wait.handler = ngx_http_keyturn_wake;
    suspend->wait.data = suspend;
    suspend->timer.handler = ngx_http_keyturn_timeout;
    suspend->timer.data = suspend;
    suspend->timer.log = r->connection->log;

    cln->handler = ngx_http_keyturn_cancel;

    ngx_http_keyturn_ask(r, ctx, pin, &ask);

    if (ngx_keyturn_refresh(&ask.req, &suspend->wait, r->connection->log)
        != NGX_OK)
    {
        return NULL;
    }

    ngx_add_timer(&suspend->timer, pin->deadline - ngx_current_msec);

    return suspend;
}


void
ngx_http_keyturn_unwait(ngx_http_keyturn_suspend_t *suspend)
{
    ngx_http_keyturn_cancel(suspend);
}


static void
ngx_http_keyturn_wake(ngx_keyturn_wait_t *wait)
{
    ngx_http_keyturn_suspend_t  *suspend;

    suspend = wait->data;

    ngx_http_keyturn_resume(suspend, wait->status);
}


static void
ngx_http_keyturn_timeout(ngx_event_t *ev)
{
    ngx_http_keyturn_suspend_t  *suspend;

    suspend = ev->data;

    ngx_http_keyturn_resume(suspend, KT_UNAVAIL);
}


static void
ngx_http_keyturn_resume(ngx_http_keyturn_suspend_t *suspend,
    kt_status_t status)
{
    ngx_msec_int_t           left;
    ngx_connection_t        *c;
    ngx_http_request_t      *r;
    ngx_http_keyturn_pin_t  *p;

    r = suspend->request;
    c = r->connection;

    ngx_http_keyturn_cancel(suspend);

    left = (ngx_msec_int_t) (suspend->pin->deadline - ngx_current_msec);

    if (status == KT_SUCCESS && left <= 0) {
        status = KT_TRYAGAIN;
    }

    for (p = suspend->ctx->pins; p; p = p->next) {

        if (!p->done && ngx_http_keyturn_same(p, suspend->pin)) {
            p->deadline = suspend->pin->deadline;
            p->status = status;
            p->waited = (status != KT_SUCCESS);
        }
    }

    ngx_http_set_log_request(c->log, r);

    suspend->handler(r);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_keyturn_run_phases(ngx_http_request_t *r)
{
    if (r == r->main) {
        r->read_event_handler = ngx_http_block_reading;
    }

    r->write_event_handler = ngx_http_core_run_phases;

    ngx_http_core_run_phases(r);
}


static void
ngx_http_keyturn_cancel(void *data)
{
    ngx_http_keyturn_suspend_t  *suspend = data;

    ngx_keyturn_cancel(&suspend->wait);

    if (suspend->timer.timer_set) {
        ngx_del_timer(&suspend->timer);
    }
}
