
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 *   ngx_stream_keyturn_module.c   directives, merging
 *   ngx_stream_keyturn_session.c  who gets a value, and the session's secrets
 *   ngx_stream_keyturn_gate.c     a session that waits, or is refused
 *   ngx_stream_keyturn_name.c     the name of a secret, compiled
 *   ngx_stream_keyturn_tls.c      certificates for clients
 */


#ifndef _NGX_STREAM_KEYTURN_MODULE_H_INCLUDED_
#define _NGX_STREAM_KEYTURN_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_keyturn_tls.h"


typedef struct {
    ngx_str_t                      name;
    ngx_int_t                      index;      /* in s->variables */
} ngx_stream_keyturn_variable_t;


typedef struct {
    ngx_array_t                    variables;
} ngx_stream_keyturn_main_conf_t;


typedef struct {
    ngx_keyturn_secret_t          *secret;
    ngx_uint_t                     variable;   /* in kmcf->variables */
} ngx_stream_keyturn_entry_t;


typedef struct {
    ngx_array_t                   *own;        /* of the entries here */
    ngx_array_t                   *entries;    /* own and inherited ones */
    ngx_uint_t                     off;

    ngx_str_t                      subject;    /* with a NUL */
    ngx_keyturn_tls_t              tls;

    ngx_stream_content_handler_pt  handler;    /* that follows the gate */
} ngx_stream_keyturn_srv_conf_t;


typedef struct ngx_stream_keyturn_pin_s  ngx_stream_keyturn_pin_t;

struct ngx_stream_keyturn_pin_s {
    ngx_stream_keyturn_pin_t      *next;

    ngx_keyturn_secret_t          *secret;
    ngx_str_t                      reference;

    kt_status_t                    status;
    ngx_str_t                      text;

    unsigned                       done:1;
    unsigned                       wiped:1;    /* with the session */
};


typedef struct {
    ngx_stream_keyturn_pin_t      *pins;
    ngx_stream_session_t          *session;
    ngx_str_t                     *subject;

    ngx_keyturn_wait_t             wait;
    ngx_event_t                    timer;
    ngx_msec_t                     deadline;

    u_char                        *before;     /* the variables known then */

    ngx_stream_keyturn_pin_t      *awaited;
    ngx_stream_keyturn_pin_t      *failed;     /* to be fetched */

    unsigned                       waiting:1;
    unsigned                       late:1;
    unsigned                       logged:1;
} ngx_stream_keyturn_ctx_t;


/* session.c */

ngx_stream_keyturn_ctx_t *ngx_stream_keyturn_create_ctx(
    ngx_stream_session_t *s);
ngx_stream_keyturn_pin_t *ngx_stream_keyturn_pin(ngx_stream_session_t *s,
    ngx_stream_keyturn_ctx_t *ctx, ngx_keyturn_secret_t *secret);

/* KT_TRYAGAIN: nothing is decided yet, and unless "final" it may come */
kt_status_t ngx_stream_keyturn_fetch(ngx_stream_keyturn_ctx_t *ctx,
    ngx_stream_keyturn_pin_t *pin, ngx_uint_t final);
ngx_int_t ngx_stream_keyturn_refresh(ngx_stream_keyturn_ctx_t *ctx,
    ngx_stream_keyturn_pin_t *pin);

ngx_int_t ngx_stream_keyturn_get_variable(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_stream_keyturn_log_handler(ngx_stream_session_t *s);


/* gate.c */

void ngx_stream_keyturn_handler(ngx_stream_session_t *s);
void ngx_stream_keyturn_cancel(ngx_stream_keyturn_ctx_t *ctx);


/* guard.c: what a start warns of */

void ngx_stream_keyturn_guard(ngx_conf_t *cf, void **conf);


ngx_int_t ngx_stream_keyturn_compile_name(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret);

char *ngx_stream_keyturn_ssl_certificate(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_stream_keyturn_ssl_ticket_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_stream_keyturn_tls_init(ngx_conf_t *cf,
    ngx_stream_core_srv_conf_t *cscf, ngx_stream_keyturn_srv_conf_t *kscf);


extern ngx_module_t  ngx_stream_keyturn_module;


#endif /* _NGX_STREAM_KEYTURN_MODULE_H_INCLUDED_ */
