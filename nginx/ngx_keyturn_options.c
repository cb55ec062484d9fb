
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


#include "ngx_keyturn.h"


typedef struct {
    ngx_str_t    name;
    char      *(*set)(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
                      ngx_str_t *value);
    ngx_uint_t   seen;   /* equal bits exclude each other */
} ngx_keyturn_option_t;


typedef struct {
    ngx_str_t    name;
    ngx_uint_t   value;
} ngx_keyturn_word_t;


static char *ngx_keyturn_set_option(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret, ngx_str_t *arg, ngx_uint_t *seen);
static void ngx_keyturn_no_option(ngx_conf_t *cf, ngx_str_t *arg);
static char *ngx_keyturn_set_field(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret, ngx_str_t *value);
static char *ngx_keyturn_set_version(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret, ngx_str_t *value);
static char *ngx_keyturn_set_prefix(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret, ngx_str_t *value);
static char *ngx_keyturn_set_encode(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret, ngx_str_t *value);
static char *ngx_keyturn_set_required(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret, ngx_str_t *value);
static char *ngx_keyturn_set_optional(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret, ngx_str_t *value);
static char *ngx_keyturn_set_any(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret, ngx_str_t *value);
static char *ngx_keyturn_set_default(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret, ngx_str_t *value);
static char *ngx_keyturn_set_scope(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret, ngx_str_t *value);
static ngx_int_t ngx_keyturn_check_literal(ngx_conf_t *cf,
    const char *option, ngx_str_t *value);
static ngx_int_t ngx_keyturn_check_encoding(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret);
static ngx_keyturn_secret_t *ngx_keyturn_secret_new(ngx_conf_t *cf,
    ngx_str_t *name);
static ngx_int_t ngx_keyturn_check_reference(ngx_conf_t *cf,
    ngx_keyturn_secret_t *secret);


#define NGX_KEYTURN_SEEN_FIELD     0x01
#define NGX_KEYTURN_SEEN_VERSION   0x02
#define NGX_KEYTURN_SEEN_PREFIX    0x04
#define NGX_KEYTURN_SEEN_ENCODE    0x08
#define NGX_KEYTURN_SEEN_REQUIRED  0x10
#define NGX_KEYTURN_SEEN_DEFAULT   0x20
#define NGX_KEYTURN_SEEN_SCOPE     0x40


/* a name that ends with "=" takes a value */

static ngx_keyturn_option_t  ngx_keyturn_options[] = {

    { ngx_string("field="), ngx_keyturn_set_field,
      NGX_KEYTURN_SEEN_FIELD },

    { ngx_string("version="), ngx_keyturn_set_version,
      NGX_KEYTURN_SEEN_VERSION },

    { ngx_string("prefix="), ngx_keyturn_set_prefix,
      NGX_KEYTURN_SEEN_PREFIX },

    { ngx_string("encode="), ngx_keyturn_set_encode,
      NGX_KEYTURN_SEEN_ENCODE },

    { ngx_string("required"), ngx_keyturn_set_required,
      NGX_KEYTURN_SEEN_REQUIRED|NGX_KEYTURN_SEEN_DEFAULT },

    { ngx_string("optional"), ngx_keyturn_set_optional,
      NGX_KEYTURN_SEEN_REQUIRED },

    { ngx_string("optional="), ngx_keyturn_set_any,
      NGX_KEYTURN_SEEN_REQUIRED },

    { ngx_string("default="), ngx_keyturn_set_default,
      NGX_KEYTURN_SEEN_DEFAULT },

    { ngx_string("scope="), ngx_keyturn_set_scope,
      NGX_KEYTURN_SEEN_SCOPE },

    { ngx_null_string, NULL, 0 }
};


static ngx_keyturn_word_t  ngx_keyturn_scopes[] = {
    { ngx_string("upstream"), NGX_KEYTURN_SCOPE_UPSTREAM },
    { ngx_string("request"), NGX_KEYTURN_SCOPE_REQUEST },
    { ngx_null_string, 0 }
};


ngx_keyturn_secret_t *
ngx_keyturn_secret_create(ngx_conf_t *cf)
{
    char                  *rv;
    ngx_str_t             *value;
    ngx_uint_t             i, seen;
    ngx_keyturn_secret_t  *secret;

    value = cf->args->elts;

    if (value[1].len < 2 || value[1].data[0] != '$') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid variable name \"%V\"", &value[1]);
        return NULL;
    }

    /* a capture of a regular expression is read before any variable is */

    if (value[1].data[1] >= '0' && value[1].data[1] <= '9') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is a capture, and no variable that "
                           "\"secret_get\" could set", &value[1]);
        return NULL;
    }

    secret = ngx_keyturn_secret_new(cf, &value[2]);
    if (secret == NULL) {
        return NULL;
    }

    secret->label = value[1];
    secret->variable.len = value[1].len - 1;
    secret->variable.data = value[1].data + 1;
    secret->scope = NGX_KEYTURN_SCOPE_UPSTREAM;

    seen = 0;

    for (i = 3; i < cf->args->nelts; i++) {
        rv = ngx_keyturn_set_option(cf, secret, &value[i], &seen);

        if (rv == NGX_CONF_OK) {
            continue;
        }

        if (rv != NGX_CONF_ERROR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "parameter \"%V\" %s",
                               &value[i], rv);
        }

        return NULL;
    }

    if (ngx_keyturn_check_encoding(cf, secret) != NGX_OK
        || ngx_keyturn_check_reference(cf, secret) != NGX_OK)
    {
        return NULL;
    }

    ngx_keyturn_use(cf->cycle, secret, NULL);

    return secret;
}


ngx_keyturn_secret_t *
ngx_keyturn_secret_named(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_keyturn_secret_t  *secret;

    secret = ngx_keyturn_secret_new(cf, name);

    if (secret == NULL || ngx_keyturn_check_reference(cf, secret) != NGX_OK) {
        return NULL;
    }

    ngx_keyturn_use(cf->cycle, secret, NULL);

    return secret;
}


static ngx_keyturn_secret_t *
ngx_keyturn_secret_new(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_str_t             *value;
    ngx_keyturn_secret_t  *secret;

    secret = ngx_pcalloc(cf->pool, sizeof(ngx_keyturn_secret_t));
    if (secret == NULL) {
        return NULL;
    }

    value = cf->args->elts;

    secret->directive = value[0];
    secret->label = value[0];
    secret->name = *name;
    ngx_str_set(&secret->prefix, "");
    secret->dynamic = (ngx_strchr(name->data, '$') != NULL);
    secret->required = 1;
    secret->file = cf->conf_file->file.name.data;
    secret->line = cf->conf_file->line;

    return secret;
}


static char *
ngx_keyturn_set_option(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
    ngx_str_t *arg, ngx_uint_t *seen)
{
    ngx_str_t              value;
    ngx_keyturn_option_t  *option;

    for (option = ngx_keyturn_options; option->name.len; option++) {

        if (arg->len < option->name.len
            || ngx_strncmp(arg->data, option->name.data, option->name.len)
               != 0)
        {
            continue;
        }

        value.data = arg->data + option->name.len;
        value.len = arg->len - option->name.len;

        if (option->name.data[option->name.len - 1] != '=') {

            if (value.len) {
                continue;
            }

        } else if (value.len == 0) {
            return "has no value";
        }

        if (*seen & option->seen) {
            return "is duplicate or contradicts another one";
        }

        *seen |= option->seen;

        return option->set(cf, secret, &value);
    }

    ngx_keyturn_no_option(cf, arg);

    return NGX_CONF_ERROR;
}


static void
ngx_keyturn_no_option(ngx_conf_t *cf, ngx_str_t *arg)
{
    u_char      *p;
    ngx_uint_t   i;
    const char  *nearest;
    const char  *names[sizeof(ngx_keyturn_options)
                       / sizeof(ngx_keyturn_option_t)];

    /* what follows the equals sign may be anything and is not repeated */

    p = (u_char *) ngx_strchr(arg->data, '=');

    if (p) {
        arg->len = p - arg->data + 1;
        p[1] = '\0';
    }

    for (i = 0; ngx_keyturn_options[i].name.len; i++) {
        names[i] = (const char *) ngx_keyturn_options[i].name.data;
    }

    names[i] = NULL;

    nearest = kt_nearest((const char *) arg->data, names);

    if (nearest) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "unknown parameter \"%V\", did you mean \"%s\"?",
                           arg, nearest);
        return;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown parameter \"%V\"; there are field=, version=, "
                       "prefix=, encode=, required, optional, "
                       "optional=any, default=, scope=", arg);
}


static char *
ngx_keyturn_set_field(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
    ngx_str_t *value)
{
    secret->field = *value;

    return NGX_CONF_OK;
}


static char *
ngx_keyturn_set_version(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
    ngx_str_t *value)
{
    ngx_int_t  n;

    n = ngx_atoi(value->data, value->len);

    if ((n == NGX_ERROR || n == 0)
        && ngx_strcmp(value->data, "current") != 0
        && ngx_strcmp(value->data, "previous") != 0)
    {
        return "is neither a number nor \"current\" nor \"previous\"";
    }

    secret->version = *value;

    return NGX_CONF_OK;
}


static char *
ngx_keyturn_set_prefix(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
    ngx_str_t *value)
{
    if (ngx_keyturn_check_literal(cf, "prefix=", value) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    secret->prefix = *value;

    return NGX_CONF_OK;
}


static char *
ngx_keyturn_set_encode(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
    ngx_str_t *value)
{
    int  n;

    if (ngx_strcmp(value->data, "pem") == 0) {
        secret->pem = 1;
        return NGX_CONF_OK;
    }

    n = kt_encoding_parse((const char *) value->data);

    if (n < 0) {
        return "is not one of base64, base64url, hex, uri, basic, pem";
    }

    secret->encoding = (kt_encoding_t) n;

    return NGX_CONF_OK;
}


static char *
ngx_keyturn_set_required(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
    ngx_str_t *value)
{
    secret->required = 1;

    return NGX_CONF_OK;
}


static char *
ngx_keyturn_set_optional(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
    ngx_str_t *value)
{
    secret->required = 0;

    return NGX_CONF_OK;
}


static char *
ngx_keyturn_set_any(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
    ngx_str_t *value)
{
    if (ngx_strcmp(value->data, "any") != 0) {
        return "is not \"optional=any\"";
    }

    secret->required = 0;
    secret->any = 1;

    return NGX_CONF_OK;
}


static char *
ngx_keyturn_set_default(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
    ngx_str_t *value)
{
    if (ngx_keyturn_check_literal(cf, "default=", value) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    secret->fallback = *value;
    secret->required = 0;

    return NGX_CONF_OK;
}


static char *
ngx_keyturn_set_scope(ngx_conf_t *cf, ngx_keyturn_secret_t *secret,
    ngx_str_t *value)
{
    ngx_keyturn_word_t  *word;

    for (word = ngx_keyturn_scopes; word->name.len; word++) {

        if (word->name.len == value->len
            && ngx_strncmp(word->name.data, value->data, value->len) == 0)
        {
            secret->scope = word->value;
            return NGX_CONF_OK;
        }
    }

    return "is neither \"upstream\" nor \"request\"";
}


static ngx_int_t
ngx_keyturn_check_literal(ngx_conf_t *cf, const char *option,
    ngx_str_t *value)
{
    if (ngx_keyturn_has_control(value->data, value->len)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "control character in parameter \"%s\"", option);
        return NGX_ERROR;
    }

    if (ngx_strchr(value->data, '$')) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "parameter \"%s\" takes no variables", option);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_keyturn_check_encoding(ngx_conf_t *cf, ngx_keyturn_secret_t *secret)
{
    if (secret->field.len && secret->encoding == KT_ENCODE_BASIC) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"encode=basic\" takes the fields \"user\" and "
                           "\"password\" itself, without \"field=\"");
        return NGX_ERROR;
    }

    if (secret->pem
        && (secret->prefix.len || secret->fallback.len
            || secret->scope != NGX_KEYTURN_SCOPE_UPSTREAM))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"encode=pem\" is for \"proxy_ssl_certificate "
                           "data:$%V\" and its like, without \"prefix=\", "
                           "\"default=\" and \"scope=request\"",
                           &secret->variable);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_keyturn_check_reference(ngx_conf_t *cf, ngx_keyturn_secret_t *secret)
{
    const char  *why;
    ngx_str_t    name, reference, field;

    why = "";

    if (!secret->dynamic) {

        if (kt_name_check((const char *) secret->name.data, secret->name.len,
                          &why)
            != KT_SUCCESS)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid name of a secret \"%V\": %s%s",
                               &secret->name, why,
                               strpbrk((char *) secret->name.data, "#@")
                               ? "; use field= and version=" : "");
            return NGX_ERROR;
        }

        if (ngx_keyturn_reference(cf->pool, &secret->name, &secret->version,
                                  &secret->reference)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        secret->bit = ngx_keyturn_reference_bit(&secret->reference);
    }

    if (secret->field.len == 0) {
        return NGX_OK;
    }

    /* the library checks a field only as part of a reference */

    ngx_str_set(&name, "name#");
    field = secret->field;
    reference.len = name.len + field.len;
    reference.data = ngx_pnalloc(cf->temp_pool, reference.len);

    if (reference.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(ngx_cpymem(reference.data, name.data, name.len), field.data,
               field.len);

    if (kt_reference_check((const char *) reference.data, reference.len, &why)
        != KT_SUCCESS)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid field \"%V\": %s",
                           &secret->field, why);
        return NGX_ERROR;
    }

    return NGX_OK;
}
