
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * An answer of an upstream may say that the secret it was sent is not the right
 * one any more.  So it is noted which secret was given to which upstream, and
 * after such a status the library regards this version as suspect: the next
 * request fetches it again, once a second at most.  The request itself is not
 * repeated.
 *
 * "set" takes a secret before there is an upstream.  If a variable still has a
 * copy when an upstream answers, the secret counts as given to that one.
 */


#include "ngx_http_keyturn_module.h"


struct ngx_http_keyturn_given_s {
    ngx_http_keyturn_given_t  *next;
    ngx_http_keyturn_pin_t    *pin;
    ngx_http_upstream_t       *upstream;   /* NULL: none yet */
    ngx_http_request_t        *request;
    ngx_array_t               *statuses;
    ngx_uint_t                 rejected;
};


static ngx_uint_t ngx_http_keyturn_is_rejected(ngx_http_request_t *r,
    ngx_http_keyturn_given_t *given);
static ngx_uint_t ngx_http_keyturn_has_status(ngx_array_t *statuses,
    ngx_uint_t status);
static void ngx_http_keyturn_reject_pin(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *pin);


char *
ngx_http_keyturn_reject_on(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_keyturn_loc_conf_t  *klcf = conf;

    ngx_int_t    n;
    ngx_str_t   *value;
    ngx_uint_t   i, *status;

    if (klcf->reject) {
        return "is duplicate";
    }

    value = cf->args->elts;

    klcf->reject = ngx_array_create(cf->pool, cf->args->nelts,
                                    sizeof(ngx_uint_t));
    if (klcf->reject == NULL) {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {
        n = ngx_atoi(value[i].data, value[i].len);

        if (n < 300 || n > 599) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" is not a status from 300 to 599",
                               &value[i]);
            return NGX_CONF_ERROR;
        }

        status = ngx_array_push(klcf->reject);
        if (status == NULL) {
            return NGX_CONF_ERROR;
        }

        *status = n;
    }

    return NGX_CONF_OK;
}


void
ngx_http_keyturn_note_given(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *pin)
{
    ngx_http_keyturn_given_t     *given;
    ngx_http_keyturn_loc_conf_t  *klcf;

    klcf = ngx_http_get_module_loc_conf(r, ngx_http_keyturn_module);

    if (klcf->reject == NULL || klcf->reject->nelts == 0
        || pin->version == 0)
    {
        return;
    }

    for (given = ctx->given; given; given = given->next) {
        if (given->pin == pin && given->upstream == r->upstream
            && given->request == r)
        {
            return;
        }
    }

    given = ngx_pcalloc(r->pool, sizeof(ngx_http_keyturn_given_t));
    if (given == NULL) {
        return;
    }

    given->pin = pin;
    given->upstream = r->upstream;
    given->request = r;
    given->statuses = klcf->reject;

    given->next = ctx->given;
    ctx->given = given;
}


/*
 * When a response begins, and once more at the end: an answer that "error_page"
 * replaces has no header of its own.
 */

void
ngx_http_keyturn_reject(ngx_http_request_t *r)
{
    ngx_http_keyturn_ctx_t    *ctx;
    ngx_http_keyturn_given_t  *given;

    ctx = ngx_http_keyturn_get_ctx(r);

    if (ctx == NULL) {
        return;
    }

    for (given = ctx->given; given; given = given->next) {

        if (given->upstream == NULL && given->request == r
            && ngx_http_keyturn_has_copy(r, given->pin))
        {
            given->upstream = r->upstream;
        }

        if (given->upstream && !given->rejected
            && ngx_http_keyturn_is_rejected(r, given))
        {
            given->rejected = 1;
            ngx_http_keyturn_reject_pin(r, ctx, given->pin);
        }
    }
}


static ngx_uint_t
ngx_http_keyturn_is_rejected(ngx_http_request_t *r,
    ngx_http_keyturn_given_t *given)
{
    ngx_uint_t                  i;
    ngx_http_upstream_state_t  *state;

    if (ngx_http_keyturn_has_status(given->statuses,
                                    given->upstream->headers_in.status_n))
    {
        return 1;
    }

    if (r->upstream != given->upstream || r->upstream_states == NULL) {
        return 0;
    }

    /* an attempt before "proxy_next_upstream"; an empty state ends a group */

    state = r->upstream_states->elts;

    for (i = r->upstream_states->nelts; i > 0; i--) {

        if (state[i - 1].peer == NULL) {
            break;
        }

        if (ngx_http_keyturn_has_status(given->statuses, state[i - 1].status)) {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_keyturn_has_status(ngx_array_t *statuses, ngx_uint_t status)
{
    ngx_uint_t   i, *one;

    one = statuses->elts;

    for (i = 0; i < statuses->nelts; i++) {
        if (one[i] == status) {
            return 1;
        }
    }

    return 0;
}


static void
ngx_http_keyturn_reject_pin(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *pin)
{
    u_char                  *last;
    kt_ctx_t                *kctx;
    ngx_http_keyturn_ask_t   ask;

    kctx = ngx_keyturn_ctx(r->connection->log);

    if (kctx == NULL) {
        return;
    }

    ngx_http_keyturn_ask(r, ctx, pin, &ask);

    ask.req.reference = (char *) pin->reference.data;

    /* what was current then, and may be another version by now */

    if (pin->secret->version.len == 0) {
        last = ngx_snprintf((u_char *) ask.reference, KT_REFERENCE_MAX,
                            "%V@%uL", &pin->name, pin->version);
        *last = '\0';

        ask.req.reference = ask.reference;
    }

    ngx_log_error(NGX_LOG_NOTICE, r->connection->log, 0,
                  "an upstream refused version %uL of secret \"%V\"",
                  pin->version, &pin->reference);

    kt_reject(kctx, &ask.req);
}
