
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * The handler of the content phase stands before the one of "proxy_pass", so
 * that no other module's answer in an earlier phase leads around it.  A secret
 * that must be fetched suspends the session: nothing is done with it until the
 * agent answers or the time is over, and then the phase is run again.
 */


#include "ngx_stream_keyturn_module.h"
#include "ngx_keyturn_stat.h"


#define NGX_STREAM_KEYTURN_TIMEOUT  2000  /* ms, for all first fetches */


static ngx_int_t ngx_stream_keyturn_enter(ngx_stream_session_t *s,
    ngx_stream_keyturn_ctx_t *ctx, ngx_stream_keyturn_srv_conf_t *kscf);
static ngx_int_t ngx_stream_keyturn_suspend(ngx_stream_keyturn_ctx_t *ctx,
    ngx_stream_keyturn_pin_t *pin);
static void ngx_stream_keyturn_wake(ngx_keyturn_wait_t *wait);
static void ngx_stream_keyturn_timeout(ngx_event_t *ev);
static void ngx_stream_keyturn_resume(ngx_stream_keyturn_ctx_t *ctx);


void
ngx_stream_keyturn_handler(ngx_stream_session_t *s)
{
    ngx_int_t                       rc;
    ngx_stream_keyturn_ctx_t       *ctx;
    ngx_stream_keyturn_srv_conf_t  *kscf;

    kscf = ngx_stream_get_module_srv_conf(s, ngx_stream_keyturn_module);

    ctx = ngx_stream_keyturn_create_ctx(s);
    if (ctx == NULL) {
        ngx_stream_finalize_session(s, NGX_STREAM_INTERNAL_SERVER_ERROR);
        return;
    }

    /* data of the client has come */

    if (ctx->waiting) {
        return;
    }

    rc = ngx_stream_keyturn_enter(s, ctx, kscf);

    switch (rc) {

    case NGX_OK:
        kscf->handler(s);
        return;

    case NGX_AGAIN:
        return;

    default:
        ngx_stream_finalize_session(s, rc);
    }
}


static ngx_int_t
ngx_stream_keyturn_enter(ngx_stream_session_t *s,
    ngx_stream_keyturn_ctx_t *ctx, ngx_stream_keyturn_srv_conf_t *kscf)
{
    ngx_uint_t                   i;
    kt_status_t                  status;
    ngx_stream_keyturn_pin_t    *pin;
    ngx_stream_keyturn_entry_t  *entry;

    entry = kscf->entries->elts;

    /* all pins first, because one read fills all those of one secret */

    for (i = 0; i < kscf->entries->nelts; i++) {
        if (ngx_stream_keyturn_pin(s, ctx, entry[i].secret) == NULL) {
            return NGX_STREAM_INTERNAL_SERVER_ERROR;
        }
    }

    for (i = 0; i < kscf->entries->nelts; i++) {
        pin = ngx_stream_keyturn_pin(s, ctx, entry[i].secret);

        if (!pin->done) {
            status = ngx_stream_keyturn_fetch(ctx, pin, ctx->late
                                                        || pin == ctx->failed);

            if (status == KT_TRYAGAIN && !pin->done) {
                if (ngx_stream_keyturn_suspend(ctx, pin) == NGX_OK) {
                    return NGX_AGAIN;
                }

                (void) ngx_stream_keyturn_fetch(ctx, pin, 1);
            }
        }

        if (!ngx_keyturn_passes(entry[i].secret, pin->status)) {
            ngx_keyturn_stat_unavailable();
            return NGX_STREAM_SERVICE_UNAVAILABLE;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_keyturn_suspend(ngx_stream_keyturn_ctx_t *ctx,
    ngx_stream_keyturn_pin_t *pin)
{
    ngx_msec_int_t     left;
    ngx_connection_t  *c;

    c = ctx->session->connection;

    if (ctx->deadline == 0) {
        ctx->deadline = ngx_current_msec + NGX_STREAM_KEYTURN_TIMEOUT;
    }

    left = (ngx_msec_int_t) (ctx->deadline - ngx_current_msec);

    if (left <= 0) {
        return NGX_ERROR;
    }

    ctx->wait.handler = ngx_stream_keyturn_wake;
    ctx->wait.data = ctx;
    ctx->timer.handler = ngx_stream_keyturn_timeout;
    ctx->timer.data = ctx;
    ctx->timer.log = c->log;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK
        || ngx_stream_keyturn_refresh(ctx, pin) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_add_timer(&ctx->timer, (ngx_msec_t) left);
    ctx->awaited = pin;
    ctx->waiting = 1;

    return NGX_OK;
}


static void
ngx_stream_keyturn_wake(ngx_keyturn_wait_t *wait)
{
    ngx_stream_keyturn_ctx_t  *ctx = wait->data;

    if (wait->status != KT_SUCCESS) {
        ctx->failed = ctx->awaited;
    }

    ngx_stream_keyturn_resume(ctx);
}


static void
ngx_stream_keyturn_timeout(ngx_event_t *ev)
{
    ngx_stream_keyturn_ctx_t  *ctx = ev->data;

    ctx->late = 1;

    ngx_stream_keyturn_resume(ctx);
}


static void
ngx_stream_keyturn_resume(ngx_stream_keyturn_ctx_t *ctx)
{
    ngx_stream_keyturn_cancel(ctx);

    ngx_stream_core_run_phases(ctx->session);
}
