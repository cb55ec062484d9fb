
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * nginx calls handlers in the order in which modules were configured or loaded,
 * and what keeps a secret in its place must not depend on that.  So the places
 * are taken when all modules are through, by init_module.
 */


#include "ngx_http_keyturn_module.h"


static ngx_int_t ngx_http_keyturn_wrap_variables(ngx_cycle_t *cycle,
    ngx_http_core_main_conf_t *cmcf, ngx_http_keyturn_main_conf_t *kmcf);
static void ngx_http_keyturn_run_first(ngx_http_core_main_conf_t *cmcf,
    ngx_http_handler_pt handler);
static void ngx_http_keyturn_log_around(ngx_http_core_main_conf_t *cmcf);
static ngx_int_t ngx_http_keyturn_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_keyturn_slot_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;

/* no configuration can name a variable with a space */

static ngx_str_t  ngx_http_keyturn_slot = ngx_string("keyturn slot");


ngx_int_t
ngx_http_keyturn_add_slot(ngx_conf_t *cf)
{
    ngx_int_t                      index;
    ngx_http_variable_t           *var;
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_keyturn_module);

    var = ngx_http_add_variable(cf, &ngx_http_keyturn_slot,
                                NGX_HTTP_VAR_NOHASH);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_keyturn_slot_variable;

    index = ngx_http_get_variable_index(cf, &ngx_http_keyturn_slot);
    if (index == NGX_ERROR) {
        return NGX_ERROR;
    }

    kmcf->slot = index;

    return NGX_OK;
}


ngx_int_t
ngx_http_keyturn_wrap(ngx_cycle_t *cycle)
{
    ngx_http_core_main_conf_t     *cmcf;
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_keyturn_module);

    if (kmcf == NULL || kmcf->variables.nelts == 0) {
        return NGX_OK;
    }

    cmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_core_module);

    if (ngx_http_keyturn_wrap_variables(cycle, cmcf, kmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_keyturn_run_first(cmcf, ngx_http_keyturn_rewrite_handler);
    ngx_http_keyturn_run_first(cmcf, ngx_http_keyturn_preaccess_handler);
    ngx_http_keyturn_log_around(cmcf);

    if (ngx_http_keyturn_hold_wrap(cycle, kmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_keyturn_header_filter;

    return NGX_OK;
}


/* "data" stays, because "auth_request_set" hands it to a set_handler */

static ngx_int_t
ngx_http_keyturn_wrap_variables(ngx_cycle_t *cycle,
    ngx_http_core_main_conf_t *cmcf, ngx_http_keyturn_main_conf_t *kmcf)
{
    ngx_uint_t            i;
    ngx_http_variable_t  *v;

    kmcf->nhandlers = cmcf->variables.nelts;
    kmcf->handlers = ngx_palloc(cycle->pool, kmcf->nhandlers
                                           * sizeof(ngx_http_get_variable_pt));
    if (kmcf->handlers == NULL) {
        return NGX_ERROR;
    }

    v = cmcf->variables.elts;

    for (i = 0; i < kmcf->nhandlers; i++) {

        if (v[i].get_handler == ngx_http_keyturn_get_variable
            || v[i].get_handler == ngx_http_keyturn_slot_variable)
        {
            kmcf->handlers[i] = NULL;
            continue;
        }

        kmcf->handlers[i] = v[i].get_handler;
        v[i].get_handler = ngx_http_keyturn_wrapped;
    }

    return NGX_OK;
}


/* handlers of one phase have one checker and one "next" */

static void
ngx_http_keyturn_run_first(ngx_http_core_main_conf_t *cmcf,
    ngx_http_handler_pt handler)
{
    ngx_uint_t                 i, j;
    ngx_http_phase_handler_t  *ph;

    ph = cmcf->phase_engine.handlers;

    for (i = 0; ph[i].checker; i++) {

        if (ph[i].handler != handler) {
            continue;
        }

        for (j = i; j > 0 && ph[j - 1].checker == ph[i].checker
                    && ph[j - 1].next == ph[i].next; j--)
        {
            ph[j].handler = ph[j - 1].handler;
        }

        ph[j].handler = handler;
    }
}


static void
ngx_http_keyturn_log_around(ngx_http_core_main_conf_t *cmcf)
{
    ngx_uint_t            i, n;
    ngx_array_t          *handlers;
    ngx_http_handler_pt  *h;

    handlers = &cmcf->phases[NGX_HTTP_LOG_PHASE].handlers;

    h = handlers->elts;
    n = handlers->nelts - 1;

    /* the first and the last place are for ours, from right to left */

    for (i = n; i > 0 && h[i] != ngx_http_keyturn_log_handler; i--) {
        /* void */
    }

    ngx_memmove(h + 1, h, i * sizeof(ngx_http_handler_pt));
    h[0] = ngx_http_keyturn_log_handler;

    for (i = 0; i < n && h[i] != ngx_http_keyturn_logged_handler; i++) {
        /* void */
    }

    ngx_memmove(h + i, h + i + 1, (n - i) * sizeof(ngx_http_handler_pt));
    h[n] = ngx_http_keyturn_logged_handler;
}


static ngx_int_t
ngx_http_keyturn_header_filter(ngx_http_request_t *r)
{
    ngx_http_keyturn_go_on(r);
    ngx_http_keyturn_reject(r);
    ngx_http_keyturn_answer(r);

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_keyturn_slot_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    v->not_found = 1;

    return NGX_OK;
}
