
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * "secret_sign": a variable with the signature of a message.  It is a secret of
 * the location like those of "secret_get", which is waited for, pinned and
 * refused in the same way, but no text is made of its value: that stays in the
 * library's locked memory until the request ends.
 */


#include "ngx_http_keyturn_module.h"


typedef struct {
    ngx_http_complex_value_t  message;
    kt_sign_t                 how;
    kt_encoding_t             encoding;
} ngx_http_keyturn_sign_t;


static ngx_int_t ngx_http_keyturn_aws_date(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_keyturn_sign_options(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret, ngx_http_keyturn_sign_t *sign);
static char *ngx_http_keyturn_sign_option(ngx_keyturn_secret_t *secret,
    ngx_http_keyturn_sign_t *sign, ngx_str_t *arg);
static void ngx_http_keyturn_sign_cleanup(void *data);
static ngx_int_t ngx_http_keyturn_sign_text(ngx_http_request_t *r,
    ngx_http_keyturn_sign_t *sign, ngx_str_t *mac,
    ngx_http_variable_value_t *v);


static ngx_str_t  ngx_http_keyturn_aws_date_name =
    ngx_string("keyturn_aws_date");


ngx_int_t
ngx_http_keyturn_sign_preconfiguration(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var;

    /* cached, so that a header and what is signed say the same moment */

    var = ngx_http_add_variable(cf, &ngx_http_keyturn_aws_date_name, 0);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_keyturn_aws_date;

    return NGX_OK;
}


/* in UTC; no variable of nginx has that without the time zone of the server */

static ngx_int_t
ngx_http_keyturn_aws_date(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_tm_t  tm;

    v->data = ngx_pnalloc(r->pool, sizeof("20261130T235959Z") - 1);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    ngx_gmtime(ngx_time(), &tm);

    v->len = ngx_sprintf(v->data, "%4d%02d%02dT%02d%02d%02dZ",
                         tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                         tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec)
             - v->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


char *
ngx_http_keyturn_secret_sign(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_keyturn_loc_conf_t  *klcf = conf;

    ngx_str_t                         *value;
    ngx_keyturn_secret_t              *secret;
    ngx_http_keyturn_sign_t           *sign;
    ngx_http_compile_complex_value_t   ccv;

    value = cf->args->elts;

    secret = ngx_keyturn_secret_named(cf, &value[2]);
    sign = ngx_pcalloc(cf->pool, sizeof(ngx_http_keyturn_sign_t));

    if (secret == NULL || sign == NULL) {
        return NGX_CONF_ERROR;
    }

    if (value[1].len < 2 || value[1].data[0] != '$') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid variable name \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    secret->label = value[1];
    secret->variable.data = value[1].data + 1;
    secret->variable.len = value[1].len - 1;
    secret->scope = NGX_KEYTURN_SCOPE_UPSTREAM;
    secret->sign = sign;

    sign->how.size = sizeof(kt_sign_t);
    sign->encoding = KT_ENCODE_HEX;

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[3];
    ccv.complex_value = &sign->message;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_keyturn_sign_options(cf, secret, sign) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_keyturn_add_entry(cf, klcf, secret);
}


static ngx_int_t
ngx_http_keyturn_sign_options(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
    ngx_http_keyturn_sign_t *sign)
{
    char        *rv;
    ngx_str_t   *value;
    ngx_uint_t   i;
    const char  *why;

    value = cf->args->elts;

    for (i = 4; i < cf->args->nelts; i++) {
        rv = ngx_http_keyturn_sign_option(secret, sign, &value[i]);

        if (rv) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "parameter \"%V\" %s",
                               &value[i], rv);
            return NGX_ERROR;
        }
    }

    if (kt_sign_check(&sign->how, &why) != KT_SUCCESS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "parameter \"derive=%s\" is not valid: %s",
                           sign->how.derive, why);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static char *
ngx_http_keyturn_sign_option(ngx_keyturn_secret_t *secret,
    ngx_http_keyturn_sign_t *sign, ngx_str_t *arg)
{
    int    n;
    char  *value;

    value = ngx_strchr(arg->data, '=');
    value = value ? value + 1 : "";

    if (ngx_strncmp(arg->data, "alg=", 4) == 0) {
        n = kt_hmac_parse(value);

        if (n < 0) {
            return "is not one of hmac-sha256, hmac-sha1, hmac-sha512";
        }

        sign->how.algorithm = (kt_hmac_t) n;
        return NULL;
    }

    if (ngx_strncmp(arg->data, "derive=", 7) == 0) {
        sign->how.derive = value;
        return NULL;
    }

    if (ngx_strncmp(arg->data, "field=", 6) == 0 && *value) {
        secret->field.data = (u_char *) value;
        secret->field.len = ngx_strlen(value);
        return NULL;
    }

    if (ngx_strncmp(arg->data, "encode=", 7) == 0) {
        n = kt_encoding_parse(value);

        if (n != KT_ENCODE_HEX && n != KT_ENCODE_BASE64
            && n != KT_ENCODE_BASE64URL)
        {
            return "is not one of hex, base64, base64url";
        }

        sign->encoding = (kt_encoding_t) n;
        return NULL;
    }

    return "is not one of alg=, derive=, encode=, field=";
}


/* a copy in locked memory, whole or of a field, as long as the request lives */

kt_status_t
ngx_http_keyturn_sign_set(ngx_http_request_t *r, ngx_http_keyturn_pin_t *pin,
    kt_secret_t *value, const char **reason)
{
    kt_status_t          status;
    ngx_pool_cleanup_t  *cln;

    *reason = NULL;

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return KT_INTERNAL;
    }

    if (pin->secret->field.len) {
        status = kt_secret_field(value, (char *) pin->secret->field.data,
                                 &pin->value);
        *reason = "its value has no such text field";

    } else {
        status = kt_secret_encode(value, KT_ENCODE_NONE, &pin->value);
    }

    if (status != KT_SUCCESS) {
        return status;
    }

    cln->handler = ngx_http_keyturn_sign_cleanup;
    cln->data = pin->value;

    if (kt_secret_size(pin->value) == 0) {
        *reason = "its value is empty";
        return KT_MALFORMED;
    }

    return KT_SUCCESS;
}


static void
ngx_http_keyturn_sign_cleanup(void *data)
{
    kt_secret_free(data);
}


/*
 * nginx evaluates a variable for its length, and again for its text.  All
 * signatures of one directive are of one length; what failed once fails again.
 */

ngx_int_t
ngx_http_keyturn_signature(ngx_http_request_t *r, ngx_keyturn_secret_t *secret,
    ngx_http_keyturn_pin_t *pin, ngx_http_variable_value_t *v)
{
    u_char                    bytes[KT_MAC_MAX];
    size_t                    size;
    ngx_str_t                 message, mac;
    kt_status_t               status;
    ngx_http_keyturn_sign_t  *sign;

    sign = secret->sign;

    if (ngx_http_complex_value(r, &sign->message, &message) != NGX_OK) {
        return NGX_ERROR;
    }

    status = kt_secret_sign(pin->value, &sign->how, message.data, message.len,
                            bytes, &size);

    if (status != KT_SUCCESS) {
        ngx_http_keyturn_fail(r, pin, status,
                              status == KT_USAGE
                              ? "the message has no line "
                                "\"x-amz-date:YYYYMMDDTHHMMSSZ\""
                              : kt_status_text(status));
        return NGX_ERROR;
    }

    mac.data = bytes;
    mac.len = size;

    return ngx_http_keyturn_sign_text(r, sign, &mac, v);
}


static ngx_int_t
ngx_http_keyturn_sign_text(ngx_http_request_t *r,
    ngx_http_keyturn_sign_t *sign, ngx_str_t *mac,
    ngx_http_variable_value_t *v)
{
    ngx_str_t  text;

    /* longer than any other encoding */

    text.data = ngx_pnalloc(r->pool, mac->len * 2);
    if (text.data == NULL) {
        return NGX_ERROR;
    }

    switch (sign->encoding) {

    case KT_ENCODE_BASE64:
        ngx_encode_base64(&text, mac);
        break;

    case KT_ENCODE_BASE64URL:
        ngx_encode_base64url(&text, mac);
        break;

    default:
        text.len = ngx_hex_dump(text.data, mac->data, mac->len) - text.data;
    }

    v->len = text.len;
    v->data = text.data;

    return NGX_OK;
}
