
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 *   ngx_http_keyturn_module.c   directives, merging, phases
 *   ngx_http_keyturn_entry.c    a directive that names a secret
 *   ngx_http_keyturn_guard.c    what "nginx -t" refuses or warns of
 *   ngx_http_keyturn_request.c  the variable: who gets a value
 *   ngx_http_keyturn_gate.c     requests that a secret is needed for
 *   ngx_http_keyturn_stall.c    an upstream that is not asked, or not yet
 *   ngx_http_keyturn_hold.c     TLS of an upstream that has a cache
 *   ngx_http_keyturn_status.c   "keyturn_status", "keyturn_metrics"
 *   ngx_http_keyturn_metrics.c  what "keyturn_metrics" answers
 *   ngx_http_keyturn_suspend.c  a request that waits for a first fetch
 *   ngx_http_keyturn_fetch.c    a value of the library into a pin
 *   ngx_http_keyturn_pin.c      the secrets of a request
 *   ngx_http_keyturn_wrap.c     places among nginx's handlers, in any order
 *   ngx_http_keyturn_taint.c    which variables were made of a secret
 *   ngx_http_keyturn_drop.c     where these end: a location, a response, a log
 *   ngx_http_keyturn_upstream.c is the request to an upstream being made?
 *   ngx_http_keyturn_wipe.c     the end of all copies
 *   ngx_http_keyturn_match.c    is what a client sent the value?
 *   ngx_http_keyturn_auth.c     who knows the value may enter
 *   ngx_http_keyturn_sign.c     messages that a secret signs
 *   ngx_http_keyturn_reject.c   an upstream refuses what it was sent
 *   ngx_http_keyturn_tls.c      certificates for clients
 */


#ifndef _NGX_HTTP_KEYTURN_MODULE_H_INCLUDED_
#define _NGX_HTTP_KEYTURN_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_keyturn_tls.h"


#define NGX_HTTP_KEYTURN_MASK  "[masked]"

/* bits of what a variable was made of; the lower ones are sources */

#define NGX_HTTP_KEYTURN_SOURCES  30
#define NGX_HTTP_KEYTURN_OTHER    0x40000000  /* one source too many */
#define NGX_HTTP_KEYTURN_HOLLOW   0x80000000  /* a secret that was withheld */


typedef struct {
    ngx_str_t               name;
    ngx_int_t               index;      /* in r->variables */
} ngx_http_keyturn_variable_t;


#define NGX_HTTP_KEYTURN_ID       127   /* bytes; more are cut in the log */

#define NGX_HTTP_KEYTURN_REWRITE  0     /* in kmcf->modules */
#define NGX_HTTP_KEYTURN_MODULES  4


typedef struct {
    ngx_array_t             variables;  /* of ngx_http_keyturn_variable_t */
    ngx_int_t               modules[NGX_HTTP_KEYTURN_MODULES];
    ngx_int_t               request_id; /* in r->variables, or NGX_ERROR */
    ngx_http_get_variable_pt  *handlers;  /* that are wrapped, NULL for ours */
    ngx_uint_t              nhandlers;
    ngx_uint_t              slot;       /* of the state, in r->variables */
    ngx_array_t             matches;    /* of ngx_str_t: their variables */
    ngx_uint_t              auths;      /* "secret_auth" is used */
    ngx_array_t             passes;     /* _guard.c: to an upstream with TLS */
    ngx_array_t             places;     /* and of scope=request */
    ngx_array_t             locations;  /* of void **: with secrets */
    ngx_array_t             holds;      /* _hold.c: upstreams, as they were */
    ngx_http_upstream_init_peer_pt  hold;
    ngx_uint_t              nsecrets;   /* that are named anywhere */
    ngx_uint_t              ndynamic;   /* by names with variables */
    uint64_t                bits;       /* of the references of all others */
    uint64_t                twice;      /* of two of them, which may be equal */
    ngx_http_get_variable_pt  get_handler;  /* of all variables */
} ngx_http_keyturn_main_conf_t;


typedef struct {
    ngx_str_t               subject;    /* "nginx:SERVER", with a NUL */
    ngx_keyturn_tls_t       tls;
    ngx_array_t            *matches;    /* of "secret_match" */
} ngx_http_keyturn_srv_conf_t;


typedef struct {
    ngx_keyturn_secret_t   *secret;
    ngx_uint_t              variable;   /* in kmcf->variables */
} ngx_http_keyturn_entry_t;


typedef struct {
    ngx_keyturn_secret_t      *secret;
    ngx_http_complex_value_t   tested;
    ngx_str_t                  prefix;
    ngx_msec_t                 grace;
} ngx_http_keyturn_match_t;


typedef struct {
    ngx_http_keyturn_match_t   match;
    ngx_uint_t                 status;     /* 0: off */
    ngx_str_t                  realm;
    ngx_str_t                  challenge;  /* WWW-Authenticate, or empty */
} ngx_http_keyturn_auth_t;


typedef struct {
    ngx_array_t            *own;        /* of ngx_http_keyturn_entry_t */
    ngx_array_t            *entries;    /* own and inherited ones */
    ngx_uint_t              twins;      /* two of them name one secret */
    ngx_uint_t              next;       /* which is probably asked for next */
    ngx_uint_t              off;
    ngx_array_t            *reject;     /* of ngx_uint_t: statuses */
    ngx_http_keyturn_auth_t  *auth;
} ngx_http_keyturn_loc_conf_t;


typedef struct ngx_http_keyturn_pin_s  ngx_http_keyturn_pin_t;
typedef struct ngx_http_keyturn_given_s  ngx_http_keyturn_given_t;

struct ngx_http_keyturn_pin_s {
    ngx_http_keyturn_pin_t  *next;

    ngx_keyturn_secret_t    *secret;
    ngx_str_t               *subject;
    ngx_str_t                name;
    ngx_str_t                reference;

    kt_status_t              status;
    uint64_t                 version;
    ngx_str_t                text;
    kt_secret_t             *value;      /* of "secret_sign", instead of a text */
    ngx_str_t                own;        /* of a pin that is not a request's */
    kt_secret_t             *whole;      /* which other pins may be made of */

    ngx_msec_t               deadline;   /* of its fetch by the agent */
    uint64_t                 bit;        /* of its reference; 0: not known */

    unsigned                 done:1;
    unsigned                 waited:1;   /* and that has failed */
};


typedef struct {
    ngx_pool_t              *pool;
    ngx_http_keyturn_pin_t  *pins;
    ngx_http_keyturn_pin_t  *access;     /* what "secret_auth" waits for */
    ngx_http_keyturn_given_t  *given;    /* to upstreams that may refuse it */
    ngx_http_request_t      *logged;
    ngx_http_request_t      *answered;  /* its response has been begun */
    ngx_http_request_t      *unbuffered;  /* its body is still to be read */

    ngx_table_elt_t         *retry_after;

    uint64_t                 bits;      /* of the references of all pins */
    uint64_t                 twice;     /* of two of them, which may be equal */

    u_char                  *addr;      /* what "peer" is a copy of */
    u_char                   peer[NGX_SOCKADDR_STRLEN + 1];
    u_char                   id[NGX_HTTP_KEYTURN_ID + 1];  /* or empty yet */
} ngx_http_keyturn_ctx_t;


typedef struct ngx_http_keyturn_suspend_s  ngx_http_keyturn_suspend_t;


/* which pin a request has for a name with variables */

typedef struct ngx_http_keyturn_link_s  ngx_http_keyturn_link_t;

struct ngx_http_keyturn_link_s {
    ngx_http_keyturn_link_t  *next;
    ngx_keyturn_secret_t     *secret;
    ngx_http_keyturn_pin_t   *pin;
};


/* the context of one request; the other is of the client request with all its
 * subrequests */

typedef struct {
    ngx_http_keyturn_ctx_t   *ctx;
    ngx_http_keyturn_link_t  *links;
} ngx_http_keyturn_local_t;


/* where a block of the pool ended when a secret was asked for last */

typedef struct {
    u_char                  *start;
    u_char                  *last;
} ngx_http_keyturn_mark_t;


/*
 * What is known about one array of variables.  r->variables has a slot for a
 * pointer to it, so it is found in a subrequest and after a redirect, too.
 */

typedef struct {
    ngx_http_keyturn_ctx_t     *ctx;
    ngx_http_variable_value_t  *variables;

    u_char                    **seen;   /* where each one pointed */
    uint32_t                   *from;   /* what each one was made of */
    u_char                     *captures_data;
    uint32_t                    captures;

    uint32_t                    recent;   /* asked for since then */
    uint32_t                    upstream; /* the sources of this scope */

    ngx_http_keyturn_pin_t     *source[NGX_HTTP_KEYTURN_SOURCES];
    ngx_uint_t                  nsources;

    ngx_http_keyturn_mark_t     mark[8];
    ngx_uint_t                  nmarks;

    ngx_keyturn_secret_t       *denied;   /* asked for, and withheld */
    ngx_http_upstream_t        *making;   /* a secret of its request was given */

    ngx_http_request_t         *halted;   /* as its address lacks that */
    ngx_http_upstream_t        *upstream_halted;
} ngx_http_keyturn_taint_t;


typedef struct {
    kt_request_t             req;
    char                     reference[KT_REFERENCE_MAX + 1];
} ngx_http_keyturn_ask_t;


/* NULL if the request has used no secret */
ngx_http_keyturn_ctx_t *ngx_http_keyturn_get_ctx(ngx_http_request_t *r);
ngx_http_keyturn_ctx_t *ngx_http_keyturn_create_ctx(
    ngx_http_request_t *r);

/*
 * The pin of a secret in this request, to be filled by a fetch.  A fresh one
 * evaluates the name again, because a redirect may have changed its variables.
 */
ngx_http_keyturn_pin_t *ngx_http_keyturn_pin(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_keyturn_secret_t *secret,
    ngx_uint_t fresh);

/* the list of pins, or NULL if no other one of it means the same secret */
ngx_http_keyturn_pin_t *ngx_http_keyturn_like(ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *pin);
/* do they mean the same secret, asked for by the same subject? */
ngx_uint_t ngx_http_keyturn_same(ngx_http_keyturn_pin_t *a,
    ngx_http_keyturn_pin_t *b);
void ngx_http_keyturn_fail(ngx_http_request_t *r,
    ngx_http_keyturn_pin_t *pin, kt_status_t status, const char *reason);

/* fills the pin, with a failure too, unless it has to wait */
void ngx_http_keyturn_fetch(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *pin);
/* the request to the library for a pin; "ask" holds its strings */
void ngx_http_keyturn_ask(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *pin,
    ngx_http_keyturn_ask_t *ask);

/* NGX_OK: the phases of the request go on when the agent has an answer */
ngx_int_t ngx_http_keyturn_suspend(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *pin);

/* the handler is called when the agent has an answer, unless this is undone */
ngx_http_keyturn_suspend_t *ngx_http_keyturn_wait(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *pin,
    void (*handler)(ngx_http_request_t *r));
void ngx_http_keyturn_unwait(ngx_http_keyturn_suspend_t *suspend);

/* NGX_OK, also for an optional one; or the HTTP status of a refusal */
ngx_int_t ngx_http_keyturn_status(ngx_http_keyturn_pin_t *pin);
/* the configuration of the location's upstream that names it for TLS, or NULL */
ngx_http_upstream_conf_t *ngx_http_keyturn_tls_conf(ngx_http_request_t *r,
    ngx_keyturn_secret_t *secret);
ngx_uint_t ngx_http_keyturn_tls_names(ngx_http_upstream_conf_t *conf,
    ngx_keyturn_secret_t *secret);
/* the status, with Retry-After if it is 503 */
ngx_int_t ngx_http_keyturn_refuse(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_int_t status);

/*
 * While u->create_request() runs: the pin has no value (yet), and if it is
 * needed, no upstream will be asked.
 */
ngx_int_t ngx_http_keyturn_stall(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *pin);

/* the request is made again after a stall: its body is still to be read */
void ngx_http_keyturn_unbuffer(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx);

/* text for Prometheus, of all worker processes */
ngx_int_t ngx_http_keyturn_metrics(ngx_pool_t *pool, ngx_str_t *text);

/* holds what is sent through TLS from a cache that has no answer */
ngx_int_t ngx_http_keyturn_hold_wrap(ngx_cycle_t *cycle,
    ngx_http_keyturn_main_conf_t *kmcf);

/* what of other modules is looked at */
void ngx_http_keyturn_find_modules(ngx_conf_t *cf,
    ngx_http_keyturn_main_conf_t *kmcf);


/* before http{} is read, when a block is merged, and when all are */
ngx_int_t ngx_http_keyturn_guard_start(ngx_conf_t *cf);
ngx_int_t ngx_http_keyturn_guard_add(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret);
ngx_int_t ngx_http_keyturn_guard_end(ngx_conf_t *cf);


/* phase handlers: NGX_DECLINED, NGX_DONE or an HTTP status */

ngx_int_t ngx_http_keyturn_rewrite_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_keyturn_preaccess_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_keyturn_precontent_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_keyturn_log_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_keyturn_logged_handler(ngx_http_request_t *r);

ngx_int_t ngx_http_keyturn_get_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


/* compiles the variables in the name of a secret, if it has some */
ngx_int_t ngx_http_keyturn_compile_name(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret);

char *ngx_http_keyturn_ssl_certificate(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_keyturn_ssl_ticket_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_keyturn_tls_init(ngx_conf_t *cf);


/* when the configuration has been read, so after what other modules do */
ngx_int_t ngx_http_keyturn_add_slot(ngx_conf_t *cf);
ngx_int_t ngx_http_keyturn_wrap(ngx_cycle_t *cycle);

/* NULL if the array of variables of the request has nothing to do with us */
ngx_http_keyturn_taint_t *ngx_http_keyturn_taint(ngx_http_request_t *r);
ngx_http_keyturn_taint_t *ngx_http_keyturn_create_taint(
    ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx);

/*
 * What is evaluated around these calls depends on a secret: it has been asked
 * for; its value is given, which NGX_ERROR forbids; a required one is withheld.
 */
void ngx_http_keyturn_asked(void);
ngx_int_t ngx_http_keyturn_gave(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *pin);
void ngx_http_keyturn_denied(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_keyturn_secret_t *secret);

/* does a variable have a value that was made of it? */
ngx_uint_t ngx_http_keyturn_has_copy(ngx_http_request_t *r,
    ngx_http_keyturn_pin_t *pin);

/* a copy ("set") of a secret in effect here that was withheld, or NULL */
ngx_http_variable_t *ngx_http_keyturn_hollow(ngx_http_request_t *r);

/* the get_handler in the place of each variable's own */
ngx_int_t ngx_http_keyturn_wrapped(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

/* what was made of a secret that is not in effect here is dropped */
ngx_int_t ngx_http_keyturn_enter_location(ngx_http_request_t *r);
/* what was made so far is known, and what follows is made of no secret */
void ngx_http_keyturn_settle(ngx_http_request_t *r);
/* a response is begun: what was made for the upstream is dropped */
void ngx_http_keyturn_answer(ngx_http_request_t *r);
/* a request that is logged sees masks; its parent goes on with the values */
void ngx_http_keyturn_mask(ngx_http_request_t *r);
void ngx_http_keyturn_unmask(ngx_http_request_t *r);

/* will an upstream be sent what is evaluated now? */
ngx_uint_t ngx_http_keyturn_in_upstream(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_keyturn_secret_t *secret);
/* does u->create_request() run? */
ngx_uint_t ngx_http_keyturn_is_making(ngx_http_request_t *r);
/* the request to the upstream is not sent, because it lacks a required secret */
void ngx_http_keyturn_withhold(ngx_http_request_t *r,
    ngx_keyturn_secret_t *secret);
void ngx_http_keyturn_go_on(ngx_http_request_t *r);

/* all memory of the pool; must be the last of its cleanups */
void ngx_http_keyturn_wipe_pool(ngx_pool_t *pool);
void ngx_http_keyturn_wipe_sent(ngx_http_request_t *r);
/* a secret of the location, and its variable: an answer of a directive */
ngx_http_keyturn_entry_t *ngx_http_keyturn_find(ngx_array_t *entries,
    ngx_uint_t variable);
char *ngx_http_keyturn_add_entry(ngx_conf_t *cf,
    ngx_http_keyturn_loc_conf_t *klcf, ngx_keyturn_secret_t *secret);


char *ngx_http_keyturn_secret_match(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_keyturn_match_create(ngx_conf_t *cf, ngx_uint_t n,
    ngx_http_keyturn_match_t *match,
    char *(*option)(ngx_conf_t *cf, ngx_str_t *arg, void *data), void *data);
ngx_int_t ngx_http_keyturn_match_merge(ngx_conf_t *cf, ngx_array_t *prev,
    ngx_array_t **matches, ngx_str_t *subject);
kt_status_t ngx_http_keyturn_compare(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_match_t *match,
    ngx_http_keyturn_pin_t *pin, const char *purpose, ngx_uint_t *matches);


char *ngx_http_keyturn_secret_auth(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_keyturn_auth_merge(ngx_conf_t *cf,
    ngx_http_keyturn_auth_t *prev, ngx_http_keyturn_auth_t **auth);
ngx_int_t ngx_http_keyturn_access_handler(ngx_http_request_t *r);


ngx_int_t ngx_http_keyturn_sign_preconfiguration(ngx_conf_t *cf);
char *ngx_http_keyturn_secret_sign(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
kt_status_t ngx_http_keyturn_sign_set(ngx_http_request_t *r,
    ngx_http_keyturn_pin_t *pin, kt_secret_t *value, const char **reason);
/* with an error the pin says why */
ngx_int_t ngx_http_keyturn_signature(ngx_http_request_t *r,
    ngx_keyturn_secret_t *secret, ngx_http_keyturn_pin_t *pin,
    ngx_http_variable_value_t *v);


char *ngx_http_keyturn_reject_on(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
/* this pin is in the request that r->upstream will be sent */
void ngx_http_keyturn_note_given(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *pin);
void ngx_http_keyturn_reject(ngx_http_request_t *r);


extern ngx_module_t  ngx_http_keyturn_module;


#endif /* _NGX_HTTP_KEYTURN_MODULE_H_INCLUDED_ */
