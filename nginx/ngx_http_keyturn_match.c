
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * Is what a client sent the value of a secret?  The library compares it, and
 * makes one record of each answer.  "secret_match" gives the answer as a
 * variable, which cannot wait: what must be fetched first is not known yet, and
 * is fetched meanwhile.
 */


#include "ngx_http_keyturn_module.h"


typedef struct {
    ngx_uint_t                variable;   /* in kmcf->matches */
    ngx_http_keyturn_match_t  match;
} ngx_http_keyturn_matching_t;


static char *ngx_http_keyturn_match_option(ngx_conf_t *cf,
    ngx_http_keyturn_match_t *match, ngx_str_t *arg);
static ngx_int_t ngx_http_keyturn_match_variable(ngx_conf_t *cf,
    ngx_str_t *name, ngx_uint_t *n);
static ngx_int_t ngx_http_keyturn_get_match(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_http_keyturn_matching_t *ngx_http_keyturn_find_match(
    ngx_array_t *matches, ngx_uint_t variable);
static ngx_int_t ngx_http_keyturn_match_name(ngx_http_request_t *r,
    ngx_http_keyturn_match_t *match, ngx_http_keyturn_pin_t *pin);
static void ngx_http_keyturn_match_ask(ngx_http_keyturn_match_t *match,
    ngx_str_t *tested, kt_match_t *asked);
static void ngx_http_keyturn_match_fetch(ngx_http_request_t *r,
    kt_request_t *req);
static void ngx_http_keyturn_match_fetched(ngx_keyturn_wait_t *wait);
static void ngx_http_keyturn_match_cancel(void *data);


static char  ngx_http_keyturn_no_option[] = "is not one of prefix=, grace=";


/* "$tested NAME [prefix=] [grace=]", from the n-th argument on; the rest goes to
 * "option" */

ngx_int_t
ngx_http_keyturn_match_create(ngx_conf_t *cf, ngx_uint_t n,
    ngx_http_keyturn_match_t *match,
    char *(*option)(ngx_conf_t *cf, ngx_str_t *arg, void *data), void *data)
{
    char                              *rv;
    ngx_str_t                         *value;
    ngx_uint_t                         i;
    ngx_http_compile_complex_value_t   ccv;

    value = cf->args->elts;

    ngx_memzero(match, sizeof(ngx_http_keyturn_match_t));
    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[n];
    ccv.complex_value = &match->tested;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_ERROR;
    }

    match->secret = ngx_keyturn_secret_named(cf, &value[n + 1]);

    if (match->secret == NULL
        || ngx_http_keyturn_compile_name(cf, match->secret) != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (i = n + 2; i < cf->args->nelts; i++) {
        rv = ngx_http_keyturn_match_option(cf, match, &value[i]);

        if (rv == ngx_http_keyturn_no_option && option) {
            rv = option(cf, &value[i], data);
        }

        if (rv) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "parameter \"%V\" %s",
                               &value[i], rv);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static char *
ngx_http_keyturn_match_option(ngx_conf_t *cf, ngx_http_keyturn_match_t *match,
    ngx_str_t *arg)
{
    ngx_int_t  grace;
    ngx_str_t  value;

    if (ngx_strncmp(arg->data, "prefix=", 7) == 0 && match->prefix.data) {
        return "is duplicate";
    }

    if (ngx_strncmp(arg->data, "prefix=", 7) == 0) {
        match->prefix.data = arg->data + 7;
        match->prefix.len = arg->len - 7;
        return NULL;
    }

    if (ngx_strncmp(arg->data, "grace=", 6) == 0) {
        value.data = arg->data + 6;
        value.len = arg->len - 6;

        grace = ngx_parse_time(&value, 0);

        if (grace == NGX_ERROR) {
            return "is not a time";
        }

        match->grace = grace;
        return NULL;
    }

    return ngx_http_keyturn_no_option;
}


char *
ngx_http_keyturn_secret_match(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_keyturn_srv_conf_t  *kscf = conf;

    ngx_str_t                    *value;
    ngx_uint_t                    n;
    ngx_http_keyturn_matching_t  *matching;

    value = cf->args->elts;

    if (value[1].len < 2 || value[1].data[0] != '$') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid variable name \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (kscf->matches == NULL) {
        kscf->matches = ngx_array_create(cf->pool, 2,
                                         sizeof(ngx_http_keyturn_matching_t));
        if (kscf->matches == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_http_keyturn_match_variable(cf, &value[1], &n) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_keyturn_find_match(kscf->matches, n)) {
        return "is duplicate for this variable";
    }

    matching = ngx_array_push(kscf->matches);
    if (matching == NULL) {
        return NGX_CONF_ERROR;
    }

    matching->variable = n;

    if (ngx_http_keyturn_match_create(cf, 2, &matching->match, NULL, NULL)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    matching->match.secret->label = value[1];
    matching->match.secret->required = 0;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_keyturn_match_variable(ngx_conf_t *cf, ngx_str_t *name, ngx_uint_t *n)
{
    ngx_str_t                     *known;
    ngx_http_variable_t           *var;
    ngx_http_keyturn_main_conf_t  *kmcf;

    kmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_keyturn_module);

    known = kmcf->matches.elts;

    for (*n = 0; *n < kmcf->matches.nelts; (*n)++) {

        if (known[*n].len == name->len
            && ngx_strncasecmp(known[*n].data, name->data, name->len) == 0)
        {
            return NGX_OK;
        }
    }

    known = ngx_array_push(&kmcf->matches);
    if (known == NULL) {
        return NGX_ERROR;
    }

    *known = *name;

    name->data++;
    name->len--;

    /* cached, so that a request has one answer and one record */

    var = ngx_http_add_variable(cf, name, 0);

    name->data--;
    name->len++;

    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_keyturn_get_match;
    var->data = *n;

    return NGX_OK;
}


/* what a server block does not say itself is that of http{} */

ngx_int_t
ngx_http_keyturn_match_merge(ngx_conf_t *cf, ngx_array_t *prev,
    ngx_array_t **matches, ngx_str_t *subject)
{
    ngx_uint_t                    i;
    ngx_http_keyturn_matching_t  *matching, *new;

    if (*matches == NULL) {
        *matches = prev;

    } else if (prev) {
        matching = prev->elts;

        for (i = 0; i < prev->nelts; i++) {

            if (ngx_http_keyturn_find_match(*matches, matching[i].variable)) {
                continue;
            }

            new = ngx_array_push(*matches);
            if (new == NULL) {
                return NGX_ERROR;
            }

            *new = matching[i];
        }
    }

    if (*matches == NULL) {
        return NGX_OK;
    }

    matching = (*matches)->elts;

    for (i = 0; i < (*matches)->nelts; i++) {

        if (!matching[i].match.secret->dynamic
            && ngx_keyturn_require(cf, matching[i].match.secret, subject)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_keyturn_get_match(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_uint_t                    matches;
    kt_status_t                   status;
    ngx_http_keyturn_ask_t        ask;
    ngx_http_keyturn_ctx_t       *ctx;
    ngx_http_keyturn_pin_t        pin;
    ngx_http_keyturn_matching_t  *matching;
    ngx_http_keyturn_srv_conf_t  *kscf;

    v->valid = 1;
    v->not_found = 0;
    v->no_cacheable = 0;
    v->len = 0;
    v->data = (u_char *) "";

    kscf = ngx_http_get_module_srv_conf(r, ngx_http_keyturn_module);

    matching = ngx_http_keyturn_find_match(kscf->matches, data);
    if (matching == NULL) {
        return NGX_OK;
    }

    ctx = ngx_http_keyturn_create_ctx(r);
    if (ctx == NULL) {
        return NGX_OK;
    }

    ngx_memzero(&pin, sizeof(ngx_http_keyturn_pin_t));

    status = ngx_http_keyturn_compare(r, ctx, &matching->match, &pin, "match",
                                      &matches);

    if (status == KT_SUCCESS) {
        v->len = 1;
        v->data = (u_char *) (matches ? "1" : "0");
        return NGX_OK;
    }

    if (status == KT_TRYAGAIN) {
        ngx_http_keyturn_ask(r, ctx, &pin, &ask);
        ngx_http_keyturn_match_fetch(r, &ask.req);
    }

    return NGX_OK;
}


static ngx_http_keyturn_matching_t *
ngx_http_keyturn_find_match(ngx_array_t *matches, ngx_uint_t variable)
{
    ngx_uint_t                    i;
    ngx_http_keyturn_matching_t  *matching;

    if (matches == NULL) {
        return NULL;
    }

    matching = matches->elts;

    for (i = 0; i < matches->nelts; i++) {
        if (matching[i].variable == variable) {
            return &matching[i];
        }
    }

    return NULL;
}


/*
 * KT_SUCCESS: *matches is known.  KT_TRYAGAIN: the pin has the reference that
 * must be fetched first.  The pin is not one of those that hold a value.
 */

kt_status_t
ngx_http_keyturn_compare(ngx_http_request_t *r, ngx_http_keyturn_ctx_t *ctx,
    ngx_http_keyturn_match_t *match, ngx_http_keyturn_pin_t *pin,
    const char *purpose, ngx_uint_t *matches)
{
    kt_ctx_t                *kctx;
    kt_match_t               asked = KT_MATCH_INIT;
    ngx_str_t                tested, previous;
    ngx_uint_t               level;
    kt_status_t              status;
    ngx_http_keyturn_ask_t   ask;

    *matches = 0;

    kctx = ngx_keyturn_ctx(r->connection->log);

    if (kctx == NULL) {
        return KT_UNAVAIL;
    }

    if (ngx_http_complex_value(r, &match->tested, &tested) != NGX_OK
        || ngx_http_keyturn_match_name(r, match, pin) != NGX_OK)
    {
        return KT_INTERNAL;
    }

    ngx_http_keyturn_match_ask(match, &tested, &asked);

    ngx_http_keyturn_ask(r, ctx, pin, &ask);
    ask.req.purpose = purpose;

    status = kt_match(kctx, &ask.req, &asked);

    if (status == KT_SUCCESS) {
        *matches = asked.ret_matches;
        return KT_SUCCESS;
    }

    if (status == KT_TRYAGAIN) {
        ngx_str_set(&previous, "previous");

        if (asked.ret_previous
            && ngx_keyturn_reference(r->pool, &pin->name, &previous,
                                     &pin->reference)
               != NGX_OK)
        {
            return KT_INTERNAL;
        }

        return KT_TRYAGAIN;
    }

    /* a refusal of a name that the client made up is not worth a line */

    level = (status == KT_DENIED && match->secret->dynamic) ? NGX_LOG_INFO
                                                            : NGX_LOG_ERR;

    ngx_log_error(level, r->connection->log, 0,
                  "\"%V\" cannot compare with secret \"%V\" for \"%V\": "
                  "%s (%s)",
                  &match->secret->directive, &pin->name, pin->subject,
                  kt_error(kctx), kt_status_name(status));

    return status;
}


/* without the prefix it is nothing, which is as much work as another value */

static void
ngx_http_keyturn_match_ask(ngx_http_keyturn_match_t *match, ngx_str_t *tested,
    kt_match_t *asked)
{
    asked->grace = match->grace;

    /* names of schemes, as "Bearer", have no case */

    if (tested->len >= match->prefix.len
        && ngx_strncasecmp(tested->data, match->prefix.data, match->prefix.len)
           == 0)
    {
        asked->given = tested->data + match->prefix.len;
        asked->given_size = tested->len - match->prefix.len;
    }
}


static ngx_int_t
ngx_http_keyturn_match_name(ngx_http_request_t *r,
    ngx_http_keyturn_match_t *match, ngx_http_keyturn_pin_t *pin)
{
    const char                   *why;
    ngx_http_keyturn_srv_conf_t  *kscf;

    kscf = ngx_http_get_module_srv_conf(r, ngx_http_keyturn_module);

    /* a subject of its own, so that the version of a pinned value is not taken */

    pin->secret = match->secret;
    pin->own = kscf->subject;
    pin->subject = &pin->own;

    if (!match->secret->dynamic) {
        pin->name = match->secret->name;
        pin->reference = match->secret->reference;
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, match->secret->complex, &pin->name)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* neither a field nor a version is for the client to choose */

    if (pin->name.len == 0
        || kt_name_check((char *) pin->name.data, pin->name.len, &why)
           != KT_SUCCESS)
    {
        ngx_str_set(&pin->name, "");
    }

    return ngx_keyturn_reference(r->pool, &pin->name, &match->secret->version,
                                 &pin->reference);
}


static void
ngx_http_keyturn_match_fetch(ngx_http_request_t *r, kt_request_t *req)
{
    ngx_pool_cleanup_t  *cln;
    ngx_keyturn_wait_t  *wait;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_keyturn_wait_t));
    if (cln == NULL) {
        return;
    }

    wait = cln->data;
    ngx_memzero(wait, sizeof(ngx_keyturn_wait_t));

    wait->handler = ngx_http_keyturn_match_fetched;
    cln->handler = ngx_http_keyturn_match_cancel;

    (void) ngx_keyturn_refresh(req, wait, r->connection->log);
}


static void
ngx_http_keyturn_match_fetched(ngx_keyturn_wait_t *wait)
{
    /* the next request will see it */
}


static void
ngx_http_keyturn_match_cancel(void *data)
{
    ngx_keyturn_cancel(data);
}
