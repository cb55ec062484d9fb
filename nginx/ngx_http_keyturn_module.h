
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 *   ngx_http_keyturn_module.c   directives, merging, phases
 *   ngx_http_keyturn_request.c  the secrets of a request
 */


#ifndef _NGX_HTTP_KEYTURN_MODULE_H_INCLUDED_
#define _NGX_HTTP_KEYTURN_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_keyturn.h"


typedef struct {
    ngx_str_t               name;
    ngx_int_t               index;      /* in r->variables */
} ngx_http_keyturn_variable_t;


typedef struct {
    ngx_array_t             variables;  /* of ngx_http_keyturn_variable_t */
} ngx_http_keyturn_main_conf_t;


typedef struct {
    ngx_str_t               subject;    /* "nginx:SERVER", with a NUL */
} ngx_http_keyturn_srv_conf_t;


typedef struct {
    ngx_keyturn_secret_t   *secret;
    ngx_uint_t              variable;   /* in kmcf->variables */
} ngx_http_keyturn_entry_t;


typedef struct {
    ngx_array_t            *own;        /* of ngx_http_keyturn_entry_t */
    ngx_array_t            *entries;    /* own and inherited ones */
    ngx_uint_t              off;
} ngx_http_keyturn_loc_conf_t;


/* phase handlers: NGX_DECLINED, NGX_DONE or an HTTP status */

ngx_int_t ngx_http_keyturn_rewrite_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_keyturn_precontent_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_keyturn_log_handler(ngx_http_request_t *r);

/* before the response's header is made */
void ngx_http_keyturn_forget(ngx_http_request_t *r);

ngx_int_t ngx_http_keyturn_get_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


extern ngx_module_t  ngx_http_keyturn_module;


#endif /* _NGX_HTTP_KEYTURN_MODULE_H_INCLUDED_ */
