
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * The first read of a secret pins its version: the request, its subrequests and
 * its internal redirects all get that version.  nginx evaluates a variable once
 * for the length and once for the copy, so an answer must never change.
 *
 * There is one pin for what one subject gets from one "secret_get" and one
 * name, however many subrequests use it, so that the work of a request grows
 * with their number and not with its square.  Only where the name has variables
 * each request notes which pin it has.  A redirect drops that with the contexts
 * of modules; what the client request holds is found again through a slot among
 * the variables of the main request.
 */


#include "ngx_http_keyturn_module.h"


static ngx_http_keyturn_local_t *ngx_http_keyturn_local(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx);
static ngx_http_keyturn_pin_t *ngx_http_keyturn_dynamic_pin(
    ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_keyturn_secret_t *secret, ngx_uint_t fresh);
static ngx_http_keyturn_pin_t *ngx_http_keyturn_find_pin(
    ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *like);
static ngx_http_keyturn_pin_t *ngx_http_keyturn_add_pin(
    ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *pin);
static ngx_int_t ngx_http_keyturn_name(ngx_http_request_t *r,
    ngx_http_keyturn_pin_t *pin);
static void ngx_http_keyturn_cleanup(void *data);


ngx_http_keyturn_ctx_t *
ngx_http_keyturn_get_ctx(ngx_http_request_t *r)
{
    ngx_http_keyturn_taint_t      *t;
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    t = (ngx_http_keyturn_taint_t *) r->main->variables[kmcf->slot].data;

    return t ? t->ctx : NULL;
}


ngx_http_keyturn_ctx_t *
ngx_http_keyturn_create_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t      *cln, **last;
    ngx_http_keyturn_ctx_t  *ctx;

    ctx = ngx_http_keyturn_get_ctx(r);

    if (ctx) {
        return ctx;
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_keyturn_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_http_keyturn_cleanup;
    cln->data = ctx;

    ctx->pool = r->pool;

    /* the others come first, because nothing is left after ours */

    r->pool->cleanup = cln->next;
    cln->next = NULL;

    for (last = &r->pool->cleanup; *last; last = &(*last)->next) {
        /* void */
    }

    *last = cln;

    if (ngx_http_keyturn_create_taint(r->main, ctx) == NULL) {
        return NULL;
    }

    return ctx;
}


static ngx_http_keyturn_local_t *
ngx_http_keyturn_local(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx)
{
    ngx_http_keyturn_local_t  *local;

    local = ngx_http_get_module_ctx(r, ngx_http_keyturn_module);

    if (local) {
        return local;
    }

    local = ngx_pcalloc(r->pool, sizeof(ngx_http_keyturn_local_t));
    if (local == NULL) {
        return NULL;
    }

    local->ctx = ctx;

    ngx_http_set_ctx(r, local, ngx_http_keyturn_module);

    return local;
}


ngx_http_keyturn_pin_t *
ngx_http_keyturn_pin(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_keyturn_secret_t *secret, ngx_uint_t fresh)
{
    ngx_http_keyturn_pin_t       *pin;
    ngx_http_keyturn_srv_conf_t  *kscf;

    if (secret->dynamic) {
        return ngx_http_keyturn_dynamic_pin(r, ctx, secret, fresh);
    }

    kscf = ngx_http_get_module_srv_conf(r, ngx_http_keyturn_module);

    pin = (ctx->bits & secret->bit) ? ctx->pins : NULL;

    for ( /* void */ ; pin; pin = pin->next) {
        if (pin->secret == secret && pin->subject == &kscf->subject) {
            return pin;
        }
    }

    pin = ngx_pcalloc(r->pool, sizeof(ngx_http_keyturn_pin_t));
    if (pin == NULL) {
        return NULL;
    }

    pin->secret = secret;
    pin->subject = &kscf->subject;
    pin->name = secret->name;
    pin->reference = secret->reference;
    pin->bit = secret->bit;

    return ngx_http_keyturn_add_pin(ctx, pin);
}


static ngx_http_keyturn_pin_t *
ngx_http_keyturn_dynamic_pin(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_keyturn_secret_t *secret,
    ngx_uint_t fresh)
{
    ngx_http_keyturn_link_t      *link;
    ngx_http_keyturn_pin_t        like;
    ngx_http_keyturn_local_t     *local;
    ngx_http_keyturn_srv_conf_t  *kscf;

    local = ngx_http_keyturn_local(r, ctx);
    if (local == NULL) {
        return NULL;
    }

    for (link = local->links; link; link = link->next) {
        if (link->secret == secret) {
            break;
        }
    }

    if (link && link->pin && !fresh) {
        return link->pin;
    }

    if (link == NULL) {
        link = ngx_pcalloc(r->pool, sizeof(ngx_http_keyturn_link_t));
        if (link == NULL) {
            return NULL;
        }

        link->secret = secret;
        link->next = local->links;
        local->links = link;
    }

    kscf = ngx_http_get_module_srv_conf(r, ngx_http_keyturn_module);

    ngx_memzero(&like, sizeof(ngx_http_keyturn_pin_t));

    like.secret = secret;
    like.subject = &kscf->subject;

    if (ngx_http_keyturn_name(r, &like) != NGX_OK) {
        return NULL;
    }

    link->pin = ngx_http_keyturn_find_pin(ctx, &like);

    if (link->pin == NULL) {
        link->pin = ngx_palloc(r->pool, sizeof(ngx_http_keyturn_pin_t));
        if (link->pin == NULL) {
            return NULL;
        }

        *link->pin = like;

        (void) ngx_http_keyturn_add_pin(ctx, link->pin);
    }

    return link->pin;
}


static ngx_http_keyturn_pin_t *
ngx_http_keyturn_find_pin(ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *like)
{
    ngx_http_keyturn_pin_t  *pin;

    for (pin = ctx->pins; pin; pin = pin->next) {
        if (pin->secret == like->secret && ngx_http_keyturn_same(pin, like)) {
            return pin;
        }
    }

    return NULL;
}


static ngx_http_keyturn_pin_t *
ngx_http_keyturn_add_pin(ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *pin)
{
    pin->next = ctx->pins;
    ctx->pins = pin;

    ctx->twice |= ctx->bits & pin->bit;
    ctx->bits |= pin->bit;

    return pin;
}


/* a name with variables */

static ngx_int_t
ngx_http_keyturn_name(ngx_http_request_t *r, ngx_http_keyturn_pin_t *pin)
{
    const char  *why;

    if (ngx_http_complex_value(r, pin->secret->complex, &pin->name) != NGX_OK) {
        return NGX_ERROR;
    }

    if (pin->name.len == 0
        || kt_name_check((char *) pin->name.data, pin->name.len, &why)
           != KT_SUCCESS)
    {
        /* it may come from a client, so it is not repeated */

        pin->name = pin->secret->name;
        pin->reference = pin->secret->name;

        ngx_http_keyturn_fail(r, pin, KT_NOTFOUND, "its name is not valid");
        return NGX_OK;
    }

    if (ngx_keyturn_reference(r->pool, &pin->name, &pin->secret->version,
                              &pin->reference)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    pin->bit = ngx_keyturn_reference_bit(&pin->reference);

    return NGX_OK;
}


ngx_http_keyturn_pin_t *
ngx_http_keyturn_like(ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *pin)
{
    return (pin->bit == 0 || (ctx->twice & pin->bit)) ? ctx->pins : NULL;
}


ngx_uint_t
ngx_http_keyturn_same(ngx_http_keyturn_pin_t *a, ngx_http_keyturn_pin_t *b)
{
    return a->subject == b->subject
           && a->reference.len == b->reference.len
           && ngx_memcmp(a->reference.data, b->reference.data,
                         a->reference.len)
              == 0;
}


void
ngx_http_keyturn_fail(ngx_http_request_t *r, ngx_http_keyturn_pin_t *pin,
    kt_status_t status, const char *reason)
{
    ngx_uint_t             level;
    ngx_keyturn_secret_t  *secret;

    secret = pin->secret;

    pin->status = status;
    pin->done = 1;

    level = NGX_LOG_ERR;

    if (status == KT_NOTFOUND || status == KT_GONE || status == KT_DENIED) {

        /* clients must not fill the log with names that they make up */

        if (secret->dynamic || (!secret->required && status != KT_DENIED)) {
            level = NGX_LOG_INFO;
        }

        if (secret->fallback.len && status != KT_DENIED) {
            pin->text = secret->fallback;
            pin->status = KT_SUCCESS;
        }
    }

    ngx_log_error(level, r->connection->log, 0,
                  "%s secret \"%V\" of \"$%V\" cannot be read by \"%V\": "
                  "%s (%s)",
                  secret->required ? "required" : "optional",
                  &pin->reference, &secret->variable, pin->subject, reason,
                  kt_status_name(status));
}


static void
ngx_http_keyturn_cleanup(void *data)
{
    ngx_http_keyturn_ctx_t *ctx = data;

    ngx_http_keyturn_pin_t  *pin;

    for (pin = ctx->pins; pin; pin = pin->next) {
        kt_secret_free(pin->whole);
    }

    ngx_http_keyturn_wipe_pool(ctx->pool);
}


ngx_http_keyturn_taint_t *
ngx_http_keyturn_taint(ngx_http_request_t *r)
{
    ngx_http_keyturn_taint_t      *t;
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    t = (ngx_http_keyturn_taint_t *) r->variables[kmcf->slot].data;

    /* another module may have copied the array, with the slot */

    if (t && t->variables != r->variables) {
        return NULL;
    }

    return t;
}


ngx_http_keyturn_taint_t *
ngx_http_keyturn_create_taint(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx)
{
    ngx_uint_t                     n;
    ngx_http_keyturn_taint_t      *t;
    ngx_http_keyturn_main_conf_t  *kmcf;

    t = ngx_http_keyturn_taint(r);

    if (t) {
        return t;
    }

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    n = kmcf->nhandlers;

    t = ngx_pcalloc(r->pool, sizeof(ngx_http_keyturn_taint_t));
    if (t == NULL) {
        return NULL;
    }

    t->seen = ngx_pcalloc(r->pool, n * sizeof(u_char *));
    t->from = ngx_pcalloc(r->pool, n * sizeof(uint32_t));

    if (t->seen == NULL || t->from == NULL) {
        return NULL;
    }

    t->ctx = ctx;
    t->variables = r->variables;

    r->variables[kmcf->slot].data = (u_char *) t;

    return t;
}
