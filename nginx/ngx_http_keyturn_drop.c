
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * Where a variable that was made of a secret ends: at the door of the next
 * location, at the response, in a log.  A subrequest shares the array of its
 * parent, which still needs its values.  So what is dropped or masked for a
 * subrequest is dropped or masked in a copy.
 */


#include "ngx_http_keyturn_module.h"


static ngx_int_t ngx_http_keyturn_inherit(ngx_http_request_t *r,
    ngx_http_keyturn_taint_t *parent);
static uint32_t ngx_http_keyturn_in_effect(ngx_http_request_t *r,
    ngx_http_keyturn_taint_t *t);
static ngx_uint_t ngx_http_keyturn_is_effective(ngx_http_request_t *r,
    ngx_keyturn_secret_t *secret);
static void ngx_http_keyturn_drop(ngx_http_request_t *r,
    ngx_http_keyturn_taint_t *t, uint32_t from);
static ngx_int_t ngx_http_keyturn_copy_variables(ngx_http_request_t *r);


ngx_int_t
ngx_http_keyturn_enter_location(ngx_http_request_t *r)
{
    uint32_t                       from;
    ngx_http_keyturn_taint_t      *t;
    ngx_http_keyturn_loc_conf_t   *klcf;
    ngx_http_keyturn_main_conf_t  *kmcf;

    klcf = ngx_http_get_module_loc_conf(r, ngx_http_keyturn_module);
    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    if (r->variables[kmcf->slot].data == NULL && klcf->entries == NULL) {
        return NGX_OK;
    }

    ngx_http_keyturn_settle(r);

    /* a subrequest that meets secrets has variables of its own */

    if (r != r->main && r->variables == r->parent->variables
        && ngx_http_keyturn_copy_variables(r) != NGX_OK)
    {
        return NGX_ERROR;
    }

    t = (ngx_http_keyturn_taint_t *) r->variables[kmcf->slot].data;

    if (t == NULL) {
        return NGX_OK;
    }

    if (t->variables != r->variables) {

        if (ngx_http_keyturn_inherit(r, t) != NGX_OK) {
            return NGX_ERROR;
        }

        t = ngx_http_keyturn_taint(r);
    }

    from = ngx_http_keyturn_in_effect(r, t);

    ngx_http_keyturn_drop(r, t, ~(from | NGX_HTTP_KEYTURN_HOLLOW));

    if (t->ctx->answered == r) {
        t->ctx->answered = NULL;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_keyturn_inherit(ngx_http_request_t *r,
    ngx_http_keyturn_taint_t *parent)
{
    ngx_http_keyturn_taint_t      *t;
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    t = ngx_http_keyturn_create_taint(r, parent->ctx);
    if (t == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(t->seen, parent->seen, kmcf->nhandlers * sizeof(u_char *));
    ngx_memcpy(t->from, parent->from, kmcf->nhandlers * sizeof(uint32_t));
    ngx_memcpy(t->source, parent->source, sizeof(t->source));

    t->nsources = parent->nsources;
    t->upstream = parent->upstream;
    t->denied = parent->denied;

    return NGX_OK;
}


static uint32_t
ngx_http_keyturn_in_effect(ngx_http_request_t *r, ngx_http_keyturn_taint_t *t)
{
    uint32_t                 from;
    ngx_uint_t               i;
    ngx_http_keyturn_pin_t  *pin;

    from = 0;

    for (i = 0; i < t->nsources; i++) {

        if (!ngx_http_keyturn_is_effective(r, t->source[i]->secret)) {
            continue;
        }

        /* a redirect may have changed the name */

        pin = ngx_http_keyturn_pin(r, t->ctx, t->source[i]->secret, 1);

        if (pin && ngx_http_keyturn_same(pin, t->source[i])) {
            from |= (uint32_t) 1 << i;
        }
    }

    return from;
}


static ngx_uint_t
ngx_http_keyturn_is_effective(ngx_http_request_t *r,
    ngx_keyturn_secret_t *secret)
{
    ngx_uint_t                    i;
    ngx_http_keyturn_entry_t     *entry;
    ngx_http_keyturn_loc_conf_t  *klcf;

    klcf = ngx_http_get_module_loc_conf(r, ngx_http_keyturn_module);

    if (klcf->entries == NULL) {
        return 0;
    }

    entry = klcf->entries->elts;

    for (i = 0; i < klcf->entries->nelts; i++) {
        if (entry[i].secret == secret) {
            return 1;
        }
    }

    return 0;
}


void
ngx_http_keyturn_answer(ngx_http_request_t *r)
{
    ngx_http_keyturn_taint_t  *t;

    t = ngx_http_keyturn_taint(r);

    if (t == NULL) {
        return;
    }

    ngx_http_keyturn_settle(r);
    ngx_http_keyturn_drop(r, t, t->upstream);

    t->ctx->answered = r;

    ngx_http_keyturn_wipe_sent(r);
}


static void
ngx_http_keyturn_drop(ngx_http_request_t *r, ngx_http_keyturn_taint_t *t,
    uint32_t from)
{
    ngx_uint_t                     i;
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    for (i = 0; i < kmcf->nhandlers; i++) {

        if (t->from[i] & from) {
            r->variables[i].valid = 0;
            r->variables[i].not_found = 0;
            t->from[i] = 0;
        }
    }

#if (NGX_PCRE)

    if (t->captures & from) {
        r->ncaptures = 0;
        t->captures = 0;
    }

#endif
}


ngx_http_variable_t *
ngx_http_keyturn_hollow(ngx_http_request_t *r)
{
    ngx_uint_t                     i;
    ngx_http_keyturn_taint_t      *t;
    ngx_http_core_main_conf_t     *cmcf;
    ngx_http_keyturn_main_conf_t  *kmcf;

    t = ngx_http_keyturn_taint(r);

    if (t == NULL || t->denied == NULL) {
        return NULL;
    }

    ngx_http_keyturn_settle(r);

    if (!ngx_http_keyturn_is_effective(r, t->denied)) {
        return NULL;
    }

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    for (i = 0; i < kmcf->nhandlers; i++) {
        if ((t->from[i] & NGX_HTTP_KEYTURN_HOLLOW) && r->variables[i].valid) {
            return (ngx_http_variable_t *) cmcf->variables.elts + i;
        }
    }

    return NULL;
}


void
ngx_http_keyturn_mask(ngx_http_request_t *r)
{
    ngx_uint_t                     i;
    ngx_http_keyturn_taint_t      *t;
    ngx_http_variable_value_t     *v;
    ngx_http_keyturn_main_conf_t  *kmcf;

    t = ngx_http_keyturn_taint(r);

    if (t == NULL) {
        return;
    }

    ngx_http_keyturn_settle(r);

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    /* better no value for the parent than one in a log */

    (void) ngx_http_keyturn_copy_variables(r);

    v = r->variables;

    for (i = 0; i < kmcf->nhandlers; i++) {

        if (t->from[i] & t->upstream) {
            v[i].valid = 0;
            v[i].not_found = 0;

        } else if ((t->from[i] & ~NGX_HTTP_KEYTURN_HOLLOW)
                   && v[i].valid && v[i].len)
        {
            v[i].len = sizeof(NGX_HTTP_KEYTURN_MASK) - 1;
            v[i].data = (u_char *) NGX_HTTP_KEYTURN_MASK;
        }
    }

#if (NGX_PCRE)

    if (t->captures) {
        r->ncaptures = 0;
    }

#endif
}


void
ngx_http_keyturn_unmask(ngx_http_request_t *r)
{
    ngx_http_keyturn_taint_t      *t;
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    t = (ngx_http_keyturn_taint_t *) r->variables[kmcf->slot].data;

    if (t) {
        r->variables = t->variables;
    }
}


static ngx_int_t
ngx_http_keyturn_copy_variables(ngx_http_request_t *r)
{
    size_t                         size;
    ngx_http_variable_value_t     *v;
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    size = kmcf->nhandlers * sizeof(ngx_http_variable_value_t);

    v = ngx_palloc(r->pool, size);
    if (v == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(v, r->variables, size);
    r->variables = v;

    return NGX_OK;
}
