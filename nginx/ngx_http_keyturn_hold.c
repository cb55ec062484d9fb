
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * A secret for the TLS of an upstream is asked for when the connection is open,
 * too late to wait.  It is got before the content handler runs, unless there is
 * a cache: an answer from that needs no secret.  nginx looks through the cache
 * and then asks the upstream's balancer for a peer, so this is asked by way of a
 * function that gets the secret first.  An upstream whose address is a variable
 * has no such function.
 */


#include "ngx_http_keyturn_module.h"


typedef struct {
    ngx_http_upstream_srv_conf_t    *upstream;
    ngx_http_upstream_init_peer_pt   init;
} ngx_http_keyturn_hold_t;


#if (NGX_HTTP_CACHE)

static ngx_int_t ngx_http_keyturn_hold_location(
    ngx_http_keyturn_main_conf_t *kmcf, void **loc_conf);
static ngx_int_t ngx_http_keyturn_hold_upstream(
    ngx_http_keyturn_main_conf_t *kmcf, ngx_http_upstream_conf_t *conf);
static ngx_int_t ngx_http_keyturn_hold(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_keyturn_hold_pins(ngx_http_request_t *r);


ngx_int_t
ngx_http_keyturn_hold_wrap(ngx_cycle_t *cycle,
    ngx_http_keyturn_main_conf_t *kmcf)
{
    void        ***loc_conf;
    ngx_uint_t     i;

    if (ngx_array_init(&kmcf->holds, cycle->pool, 4,
                       sizeof(ngx_http_keyturn_hold_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    kmcf->hold = ngx_http_keyturn_hold;
    loc_conf = kmcf->locations.elts;

    for (i = 0; i < kmcf->locations.nelts; i++) {
        if (ngx_http_keyturn_hold_location(kmcf, loc_conf[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_keyturn_hold_location(ngx_http_keyturn_main_conf_t *kmcf,
    void **loc_conf)
{
    ngx_uint_t                    i, n;
    ngx_http_upstream_conf_t     *conf;
    ngx_http_keyturn_entry_t     *entry;
    ngx_http_keyturn_loc_conf_t  *klcf;

    klcf = loc_conf[ngx_http_keyturn_module.ctx_index];
    entry = klcf->entries->elts;

    for (n = NGX_HTTP_KEYTURN_REWRITE + 1; n < NGX_HTTP_KEYTURN_MODULES; n++) {

        if (kmcf->modules[n] == NGX_ERROR) {
            continue;
        }

        conf = loc_conf[kmcf->modules[n]];

        if (!conf->cache || conf->upstream == NULL) {
            continue;
        }

        for (i = 0; i < klcf->entries->nelts; i++) {

            if (ngx_http_keyturn_tls_names(conf, entry[i].secret)
                && ngx_http_keyturn_hold_upstream(kmcf, conf) != NGX_OK)
            {
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_keyturn_hold_upstream(ngx_http_keyturn_main_conf_t *kmcf,
    ngx_http_upstream_conf_t *conf)
{
    ngx_http_keyturn_hold_t  *hold;

    if (conf->upstream->peer.init == ngx_http_keyturn_hold) {
        return NGX_OK;
    }

    hold = ngx_array_push(&kmcf->holds);
    if (hold == NULL) {
        return NGX_ERROR;
    }

    hold->upstream = conf->upstream;
    hold->init = conf->upstream->peer.init;

    conf->upstream->peer.init = ngx_http_keyturn_hold;

    return NGX_OK;
}


static ngx_int_t
ngx_http_keyturn_hold(ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us)
{
    ngx_uint_t                     i;
    ngx_http_upstream_t           *u;
    ngx_http_keyturn_hold_t       *hold;
    ngx_http_keyturn_main_conf_t  *kmcf;

    u = r->upstream;

    if (ngx_http_keyturn_hold_pins(r) != NGX_OK) {
        return NGX_ERROR;
    }

    /* led to the upstream that waits, or refuses */

    if (u->conf->upstream && u->conf->upstream != us) {
        return u->conf->upstream->peer.init(r, u->conf->upstream);
    }

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);
    hold = kmcf->holds.elts;

    for (i = 0; i < kmcf->holds.nelts; i++) {
        if (hold[i].upstream == us) {
            return hold[i].init(r, us);
        }
    }

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_keyturn_hold_pins(ngx_http_request_t *r)
{
    ngx_uint_t                    i;
    ngx_http_upstream_t          *u;
    ngx_http_keyturn_ctx_t       *ctx;
    ngx_http_keyturn_pin_t       *pin;
    ngx_http_keyturn_entry_t     *entry;
    ngx_http_keyturn_loc_conf_t  *klcf;

    u = r->upstream;
    klcf = ngx_http_get_module_loc_conf(r, ngx_http_keyturn_module);

    if (klcf->entries == NULL || u->resolved) {
        return NGX_OK;
    }

    entry = klcf->entries->elts;

    for (i = 0; i < klcf->entries->nelts; i++) {

        if (entry[i].secret->scope != NGX_KEYTURN_SCOPE_UPSTREAM
            || ngx_http_keyturn_tls_conf(r, entry[i].secret) != u->conf)
        {
            continue;
        }

        ctx = ngx_http_keyturn_create_ctx(r);
        pin = ctx ? ngx_http_keyturn_pin(r, ctx, entry[i].secret, 1) : NULL;

        if (pin == NULL) {
            return NGX_ERROR;
        }

        if (!pin->done) {
            ngx_http_keyturn_fetch(r, ctx, pin);
        }

        if ((!pin->done || pin->status != KT_SUCCESS)
            && ngx_http_keyturn_stall(r, ctx, pin) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}

#else

ngx_int_t
ngx_http_keyturn_hold_wrap(ngx_cycle_t *cycle,
    ngx_http_keyturn_main_conf_t *kmcf)
{
    return NGX_OK;
}

#endif
