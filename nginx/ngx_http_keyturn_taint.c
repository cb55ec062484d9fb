
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * Whatever is evaluated while a secret is asked for is made of it, whatever its
 * text.  The get_handlers of all variables are wrapped: if ours was asked
 * meanwhile, the result is made of the secret, is not kept for the next use, and
 * so are the captures that moved meanwhile.  "set", "if" and "rewrite" write
 * variables directly, and so may Lua: for these we note where all variables
 * point when a secret is asked for, and look again at the next occasion.  What
 * points to other memory of the request by then is taken for a copy.
 *
 * Without a secret in the request, all of this is a comparison of a flag.
 */


#include "ngx_http_keyturn_module.h"

#include <malloc.h>


static ngx_inline ngx_uint_t ngx_http_keyturn_goes_on(ngx_http_request_t *r,
    ngx_http_keyturn_taint_t *t);
static void ngx_http_keyturn_clean(ngx_http_request_t *r,
    ngx_http_keyturn_taint_t *t, ngx_uint_t index);
static void ngx_http_keyturn_made(ngx_http_request_t *r, ngx_uint_t index,
    uint32_t recent);
static void ngx_http_keyturn_look(ngx_http_request_t *r,
    ngx_http_keyturn_taint_t *t);
static void ngx_http_keyturn_note(ngx_http_request_t *r,
    ngx_http_keyturn_taint_t *t);
static uint32_t ngx_http_keyturn_made_of(ngx_http_request_t *r,
    ngx_http_keyturn_taint_t *t, u_char *p);
static ngx_uint_t ngx_http_keyturn_pooled(ngx_pool_t *pool, u_char *p);
static ngx_uint_t ngx_http_keyturn_marked(ngx_http_keyturn_taint_t *t,
    u_char *p);
static void ngx_http_keyturn_mark(ngx_http_keyturn_taint_t *t,
    ngx_pool_t *pool);
static uint32_t ngx_http_keyturn_source(ngx_http_keyturn_taint_t *t,
    ngx_http_keyturn_pin_t *pin);
static void ngx_http_keyturn_restrict(ngx_http_request_t *r,
    ngx_http_keyturn_taint_t *t);


/* what the get_handlers that run now have asked for */

static uint32_t    ngx_http_keyturn_asking;
static ngx_uint_t  ngx_http_keyturn_depth;


void
ngx_http_keyturn_asked(void)
{
    ngx_http_keyturn_asking |= NGX_HTTP_KEYTURN_HOLLOW;
}


ngx_int_t
ngx_http_keyturn_gave(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *pin)
{
    uint32_t                   from;
    ngx_http_keyturn_taint_t  *t;

    t = ngx_http_keyturn_create_taint(r, ctx);
    if (t == NULL) {
        return NGX_ERROR;
    }

    if (!ngx_http_keyturn_goes_on(r, t)) {
        ngx_http_keyturn_look(r, t);
        ngx_http_keyturn_mark(t, r->pool);

        t->making = ngx_http_keyturn_is_making(r) ? r->upstream : NULL;
    }

    from = ngx_http_keyturn_source(t, pin);

    ngx_http_keyturn_asking |= from;
    t->recent |= from;

    return NGX_OK;
}


/*
 * While u->create_request() runs, nothing but handlers of variables writes to
 * variables, so between two secrets of it there is nothing to look for.
 */

static ngx_inline ngx_uint_t
ngx_http_keyturn_goes_on(ngx_http_request_t *r, ngx_http_keyturn_taint_t *t)
{
    ngx_http_upstream_t  *u;

    u = t->making;

    return u != NULL && u == r->upstream && u->cleanup == NULL
           && u->output.pool == NULL
           && u->request_bufs == (r->request_body ? r->request_body->bufs
                                                  : NULL);
}


void
ngx_http_keyturn_denied(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_keyturn_secret_t *secret)
{
    ngx_http_keyturn_taint_t  *t;

    t = ngx_http_keyturn_create_taint(r, ctx);
    if (t == NULL) {
        return;
    }

    ngx_http_keyturn_look(r, t);

    t->denied = secret;
    t->recent |= NGX_HTTP_KEYTURN_HOLLOW;

    ngx_http_keyturn_mark(t, r->pool);
}


ngx_int_t
ngx_http_keyturn_wrapped(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    uint32_t                       asking, recent;
    ngx_int_t                      rc;
    ngx_uint_t                     i;
    ngx_http_keyturn_taint_t      *t;
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    i = v - r->variables;

    if (i >= kmcf->nhandlers) {
        return NGX_ERROR;
    }

    t = ngx_http_keyturn_taint(r);
    recent = t ? t->recent : 0;

    if (recent) {
        if (!ngx_http_keyturn_goes_on(r, t)) {
            ngx_http_keyturn_look(r, t);
        }

        t->recent = 0;
    }

    asking = ngx_http_keyturn_asking;
    ngx_http_keyturn_asking = 0;
    ngx_http_keyturn_depth++;

    rc = kmcf->handlers[i](r, v, data);

    ngx_http_keyturn_depth--;

    if (ngx_http_keyturn_asking == 0) {

        if (recent) {
            ngx_http_keyturn_clean(r, t, i);
            t->recent = recent;
        }

        ngx_http_keyturn_asking = asking;
        return rc;
    }

    v->no_cacheable = 1;

    ngx_http_keyturn_made(r, i, recent);

    ngx_http_keyturn_asking |= asking;

    return rc;
}


/*
 * The variable was evaluated, and no secret asked for.  Whatever else its
 * handler wrote to is found by the next look, unless it is a match with groups.
 */

static void
ngx_http_keyturn_clean(ngx_http_request_t *r, ngx_http_keyturn_taint_t *t,
    ngx_uint_t index)
{
    ngx_uint_t  matched;

    matched = 0;

#if (NGX_PCRE)
    matched = r->ncaptures && r->captures_data != t->captures_data;
#endif

    if (matched || !ngx_http_keyturn_goes_on(r, t)) {
        ngx_http_keyturn_look(r, t);

    } else if (t->seen[index] != r->variables[index].data) {
        t->seen[index] = r->variables[index].data;
        t->from[index] = 0;
    }
}


/* the variable was evaluated while a secret was asked for */

static void
ngx_http_keyturn_made(ngx_http_request_t *r, ngx_uint_t index, uint32_t recent)
{
    uint32_t                   asked;
    ngx_http_keyturn_taint_t  *t;

    t = ngx_http_keyturn_taint(r);

    if (t == NULL) {
        return;
    }

    asked = t->recent;

    t->recent &= ~NGX_HTTP_KEYTURN_HOLLOW;
    t->seen[index] = r->variables[index].data;

    ngx_http_keyturn_look(r, t);

    t->from[index] = ngx_http_keyturn_asking & ~NGX_HTTP_KEYTURN_HOLLOW;
    t->recent = recent | asked;

    if (ngx_http_keyturn_depth == 0) {
        ngx_http_keyturn_restrict(r, t);
    }
}


/* what has moved since the last look is made of what was asked for since */

static void
ngx_http_keyturn_look(ngx_http_request_t *r, ngx_http_keyturn_taint_t *t)
{
    ngx_uint_t                     i, n;
    ngx_http_variable_value_t     *v;
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    v = r->variables;
    n = kmcf->nhandlers;

    for (i = 0; i < n; i++) {

        if (v[i].data == t->seen[i] || i == kmcf->slot) {
            continue;
        }

        t->seen[i] = v[i].data;
        t->from[i] = 0;

        if (t->recent == 0 || !v[i].valid) {
            continue;
        }

        t->from[i] = kmcf->handlers[i]
                     ? ngx_http_keyturn_made_of(r, t, v[i].data)
                     : t->recent & ~NGX_HTTP_KEYTURN_HOLLOW;
    }

    ngx_http_keyturn_note(r, t);
}


static void
ngx_http_keyturn_note(ngx_http_request_t *r, ngx_http_keyturn_taint_t *t)
{
#if (NGX_PCRE)

    if (r->ncaptures == 0 || r->captures_data == t->captures_data) {
        return;
    }

    t->captures_data = r->captures_data;
    t->captures = t->recent
                  ? ngx_http_keyturn_made_of(r, t, r->captures_data) : 0;

#endif
}


/*
 * Text of the configuration is not a copy.  What was withheld matters to what "set"
 * makes, which has its memory by the time when the secret is asked for again.
 */

static uint32_t
ngx_http_keyturn_made_of(ngx_http_request_t *r, ngx_http_keyturn_taint_t *t,
    u_char *p)
{
    uint32_t  from;

    from = t->recent;

    if (!ngx_http_keyturn_pooled(r->pool, p)) {
        return 0;
    }

    if ((from & NGX_HTTP_KEYTURN_HOLLOW) && !ngx_http_keyturn_marked(t, p)) {
        from &= ~NGX_HTTP_KEYTURN_HOLLOW;
    }

    return from;
}


static ngx_uint_t
ngx_http_keyturn_pooled(ngx_pool_t *pool, u_char *p)
{
    ngx_pool_t        *block;
    ngx_pool_large_t  *l;

    /* a copy is new, so it is looked for among the new blocks first */

    for (block = pool->current; block; block = block->d.next) {
        if (p >= (u_char *) block && p < block->d.end) {
            return 1;
        }
    }

    for (block = pool; block != pool->current; block = block->d.next) {
        if (p >= (u_char *) block && p < block->d.end) {
            return 1;
        }
    }

    for (l = pool->large; l; l = l->next) {
        if (l->alloc && p >= (u_char *) l->alloc
            && p < (u_char *) l->alloc + malloc_usable_size(l->alloc))
        {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_keyturn_marked(ngx_http_keyturn_taint_t *t, u_char *p)
{
    ngx_uint_t  i;

    for (i = 0; i < t->nmarks; i++) {
        if (p >= t->mark[i].start && p < t->mark[i].last) {
            return 1;
        }
    }

    return 0;
}


static void
ngx_http_keyturn_mark(ngx_http_keyturn_taint_t *t, ngx_pool_t *pool)
{
    ngx_pool_t  *block;

    t->nmarks = 0;

    for (block = pool->current;
         block && t->nmarks < sizeof(t->mark) / sizeof(t->mark[0]);
         block = block->d.next)
    {
        t->mark[t->nmarks].start = (u_char *) block;
        t->mark[t->nmarks].last = block->d.last;
        t->nmarks++;
    }
}


ngx_uint_t
ngx_http_keyturn_has_copy(ngx_http_request_t *r, ngx_http_keyturn_pin_t *pin)
{
    ngx_uint_t                     i, n;
    ngx_http_keyturn_taint_t      *t;
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);
    t = ngx_http_keyturn_taint(r);

    for (n = 0; t && n < t->nsources; n++) {

        if (t->source[n] != pin) {
            continue;
        }

        for (i = 0; i < kmcf->nhandlers; i++) {

            /* the secret's own variable is not a copy */

            if (kmcf->handlers[i] && (t->from[i] & ((uint32_t) 1 << n))
                && r->variables[i].valid)
            {
                return 1;
            }
        }
    }

    return 0;
}


static uint32_t
ngx_http_keyturn_source(ngx_http_keyturn_taint_t *t,
    ngx_http_keyturn_pin_t *pin)
{
    uint32_t    from;
    ngx_uint_t  i;

    for (i = 0; i < t->nsources; i++) {
        if (t->source[i]->secret == pin->secret
            && ngx_http_keyturn_same(t->source[i], pin))
        {
            return (uint32_t) 1 << i;
        }
    }

    if (i == NGX_HTTP_KEYTURN_SOURCES) {
        from = NGX_HTTP_KEYTURN_OTHER;

    } else {
        from = (uint32_t) 1 << i;
        t->source[t->nsources++] = pin;
    }

    if (pin->secret->scope == NGX_KEYTURN_SCOPE_UPSTREAM) {
        t->upstream |= from;
    }

    return from;
}


/*
 * A capture for an upstream is evaluated again elsewhere, too, and is empty there.
 */

static void
ngx_http_keyturn_restrict(ngx_http_request_t *r, ngx_http_keyturn_taint_t *t)
{
    ngx_uint_t                     i;
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    for (i = 0; i < kmcf->nhandlers; i++) {
        if (t->from[i] & t->upstream) {
            r->variables[i].no_cacheable = 1;
        }
    }

#if (NGX_PCRE)

    /* "$1" has no handler that could be asked again */

    if (t->captures & t->upstream) {
        r->ncaptures = 0;
    }

#endif
}


void
ngx_http_keyturn_settle(ngx_http_request_t *r)
{
    ngx_http_keyturn_taint_t  *t;

    t = ngx_http_keyturn_taint(r);

    if (t && t->recent) {
        ngx_http_keyturn_look(r, t);
        t->recent = 0;
    }
}
