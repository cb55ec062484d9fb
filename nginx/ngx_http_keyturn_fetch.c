
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * One read fills all pins of the client request that mean the same secret, so
 * that they hold one version.  Those of other variables of the location are
 * made for that before they are asked for.  Other locations of the request may
 * name it too, when the store has no such version any more, so where two
 * directives can name one secret its value is held until the request ends.
 */


#include "ngx_http_keyturn_module.h"
#include "ngx_keyturn_stat.h"


static kt_secret_t *ngx_http_keyturn_held(ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *pin);
static ngx_uint_t ngx_http_keyturn_may_come_again(ngx_http_request_t *r,
    ngx_http_keyturn_pin_t *pin);
static void ngx_http_keyturn_fill(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *pin,
    kt_secret_t *value);
static void ngx_http_keyturn_siblings(ngx_http_request_t *r,
    ngx_http_keyturn_ctx_t *ctx, ngx_keyturn_secret_t *secret);
static void ngx_http_keyturn_request_id(ngx_http_request_t *r, u_char *id);
static u_char *ngx_http_keyturn_number(u_char *p, uint64_t n);
static kt_status_t ngx_http_keyturn_set(ngx_http_request_t *r,
    ngx_http_keyturn_pin_t *pin, kt_secret_t *value, const char **reason);


void
ngx_http_keyturn_fetch(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *pin)
{
    char                    *action;
    kt_ctx_t                *kctx;
    kt_secret_t             *value;
    kt_status_t              status;
    ngx_http_keyturn_ask_t   ask;

    action = r->connection->log->action;
    r->connection->log->action = "reading a secret";

    kctx = ngx_keyturn_ctx(r->connection->log);

    if (kctx == NULL) {
        ngx_http_keyturn_fail(r, pin, KT_UNAVAIL, "keyturn is not open");
        goto done;
    }

    value = ngx_http_keyturn_held(ctx, pin);

    if (value) {
        ngx_http_keyturn_fill(r, ctx, pin, value);
        goto done;
    }

    ngx_http_keyturn_ask(r, ctx, pin, &ask);

    status = kt_peek(kctx, &ask.req, &value);

    if (status == KT_TRYAGAIN && !pin->waited) {
        goto done;
    }

    ngx_keyturn_stat_read(status, value,
                          pin->secret->version.len ? NULL : &pin->name);

    if (status == KT_TRYAGAIN) {
        ngx_http_keyturn_fail(r, pin, pin->status,
                              kt_status_text(pin->status));
        goto done;
    }

    if (status != KT_SUCCESS) {
        ngx_http_keyturn_fail(r, pin, status, kt_error(kctx));
        goto done;
    }

    ngx_http_keyturn_fill(r, ctx, pin, value);

    if (ngx_http_keyturn_may_come_again(r, pin)) {
        pin->whole = value;

    } else {
        kt_secret_free(value);
    }

done:

    r->connection->log->action = action;
}


/* what another location of the request has read */

static kt_secret_t *
ngx_http_keyturn_held(ngx_http_keyturn_ctx_t *ctx, ngx_http_keyturn_pin_t *pin)
{
    ngx_http_keyturn_pin_t  *p;

    for (p = ngx_http_keyturn_like(ctx, pin); p; p = p->next) {
        if (p->whole && ngx_http_keyturn_same(p, pin)) {
            return p->whole;
        }
    }

    return NULL;
}


/* by another directive of the configuration, in the same request */

static ngx_uint_t
ngx_http_keyturn_may_come_again(ngx_http_request_t *r,
    ngx_http_keyturn_pin_t *pin)
{
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    return kmcf->nsecrets > 1
           && (kmcf->ndynamic || (kmcf->twice & pin->bit));
}


static void
ngx_http_keyturn_fill(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *pin, kt_secret_t *value)
{
    const char              *reason;
    kt_status_t              status;
    ngx_http_keyturn_pin_t  *p;

    status = ngx_http_keyturn_set(r, pin, value, &reason);

    if (status != KT_SUCCESS) {
        ngx_http_keyturn_fail(r, pin, status, reason);
    }

    ngx_http_keyturn_siblings(r, ctx, pin->secret);

    /* one that does not fit says so when it is asked for */

    for (p = ngx_http_keyturn_like(ctx, pin); p; p = p->next) {
        if (!p->done && ngx_http_keyturn_same(p, pin)) {
            (void) ngx_http_keyturn_set(r, p, value, &reason);
        }
    }
}


/* pins for the other variables of the location that get this secret */

static void
ngx_http_keyturn_siblings(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_keyturn_secret_t *secret)
{
    ngx_uint_t                    i;
    ngx_keyturn_secret_t         *other;
    ngx_http_keyturn_entry_t     *entry;
    ngx_http_keyturn_loc_conf_t  *klcf;

    klcf = ngx_http_get_module_loc_conf(r, ngx_http_keyturn_module);

    if (!klcf->twins) {
        return;
    }

    entry = klcf->entries->elts;

    for (i = 0; i < klcf->entries->nelts; i++) {

        other = entry[i].secret;

        /* variables in a name may have another value in another phase */

        if (other == secret
            || other->name.len != secret->name.len
            || ngx_strncmp(other->name.data, secret->name.data,
                           secret->name.len)
               != 0
            || (other->dynamic && other->scope != secret->scope))
        {
            continue;
        }

        (void) ngx_http_keyturn_pin(r, ctx, other, 0);
    }
}


void
ngx_http_keyturn_ask(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_pin_t *pin, ngx_http_keyturn_ask_t *ask)
{
    u_char                  *last;
    ngx_connection_t        *c;
    ngx_http_keyturn_pin_t  *p;

    c = r->connection;

    ngx_memzero(&ask->req, sizeof(kt_request_t));

    ask->req.size = sizeof(kt_request_t);
    ask->req.reference = (char *) pin->reference.data;
    ask->req.subject = (char *) pin->subject->data;
    ask->req.peer = (char *) ctx->peer;
    ask->req.request_id = (char *) ctx->id;
    ask->req.purpose = "proxy";

    /* a client cannot be blamed for a name that it did not choose */

    ask->req.configured = !pin->secret->dynamic;

    if (ctx->addr != c->addr_text.data) {
        last = ngx_cpymem(ctx->peer, c->addr_text.data,
                          ngx_min(c->addr_text.len, NGX_SOCKADDR_STRLEN));
        *last = '\0';

        ctx->addr = c->addr_text.data;
    }

    if (ctx->id[0] == '\0') {
        ngx_http_keyturn_request_id(r, ctx->id);
    }

    /* another variable already has a version of this secret */

    for (p = ngx_http_keyturn_like(ctx, pin); p; p = p->next) {

        if (p->done && p->version && ngx_http_keyturn_same(p, pin)) {
            last = ngx_snprintf((u_char *) ask->reference, KT_REFERENCE_MAX,
                                "%V@%uL", &p->name, p->version);
            *last = '\0';

            ask->req.reference = ask->reference;
            break;
        }
    }
}


/*
 * What an access log can be joined with: $request_id if the configuration uses
 * it, or else $connection, $connection_requests and $pid, and as all of these
 * come again, the time when the process first read a secret.
 */

static void
ngx_http_keyturn_request_id(ngx_http_request_t *r, u_char *id)
{
    ngx_http_variable_value_t     *v;
    ngx_http_keyturn_main_conf_t  *kmcf;

    static size_t  size;
    static u_char  process[2 * NGX_INT64_LEN];

    if (size == 0) {
        size = ngx_sprintf(process, ":%P:%T%Z", ngx_pid, ngx_time()) - process;
    }

    kmcf = ngx_http_get_module_main_conf(r, ngx_http_keyturn_module);

    if (kmcf->request_id != NGX_ERROR) {

        v = ngx_http_get_indexed_variable(r, kmcf->request_id);

        if (v && v->valid && v->len) {
            (void) ngx_cpystrn(id, v->data,
                               ngx_min(v->len, NGX_HTTP_KEYTURN_ID) + 1);
            return;
        }
    }

    id = ngx_http_keyturn_number(id, r->connection->number);
    *id++ = ':';
    id = ngx_http_keyturn_number(id, r->connection->requests);

    ngx_memcpy(id, process, size);
}


/* ngx_sprintf() takes longer than to read the secret */

static u_char *
ngx_http_keyturn_number(u_char *p, uint64_t n)
{
    u_char  digits[NGX_INT64_LEN], *first, *last;

    last = digits + sizeof(digits);
    first = last;

    do {
        *--first = (u_char) ('0' + n % 10);
        n /= 10;
    } while (n);

    return ngx_cpymem(p, first, last - first);
}


static kt_status_t
ngx_http_keyturn_set(ngx_http_request_t *r, ngx_http_keyturn_pin_t *pin,
    kt_secret_t *value, const char **reason)
{
    kt_status_t  status;

    if (pin->secret->sign) {
        status = ngx_http_keyturn_sign_set(r, pin, value, reason);

    } else {
        status = ngx_keyturn_secret_text(pin->secret, value, r->pool,
                                         &pin->text, reason);
    }

    if (status != KT_SUCCESS) {

        if (*reason == NULL) {
            *reason = kt_status_text(status);
        }

        return status;
    }

    pin->status = KT_SUCCESS;
    pin->version = kt_secret_version(value);
    pin->done = 1;

    return KT_SUCCESS;
}
