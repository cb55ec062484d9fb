
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


#include "ngx_keyturn.h"


/* eight times the byte */

#define NGX_KEYTURN_BYTES(c)  (UINT64_C(0x0101010101010101) * (c))


static kt_status_t ngx_keyturn_text_part(ngx_keyturn_secret_t *secret,
    kt_secret_t *value, kt_secret_t **field, kt_secret_t **encoded,
    const char **reason);
static const char *ngx_keyturn_text_check(ngx_keyturn_secret_t *secret,
    kt_secret_t *value, kt_secret_t *whole);
static ngx_inline uint64_t ngx_keyturn_control_bits(u_char *p);


ngx_int_t
ngx_keyturn_reference(ngx_pool_t *pool, ngx_str_t *name, ngx_str_t *version,
    ngx_str_t *reference)
{
    u_char  *p;

    reference->data = ngx_pnalloc(pool, name->len + 1 + version->len + 1);
    if (reference->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(reference->data, name->data, name->len);

    if (version->len) {
        *p++ = '@';
        p = ngx_cpymem(p, version->data, version->len);
    }

    *p = '\0';

    reference->len = p - reference->data;

    return NGX_OK;
}


uint64_t
ngx_keyturn_reference_bit(ngx_str_t *reference)
{
    return UINT64_C(1) << (ngx_murmur_hash2(reference->data, reference->len)
                           & 63);
}


kt_status_t
ngx_keyturn_secret_text(ngx_keyturn_secret_t *secret, kt_secret_t *value,
    ngx_pool_t *pool, ngx_str_t *text, const char **reason)
{
    size_t        size;
    kt_secret_t  *part, *field, *encoded;
    kt_status_t   status;

    field = NULL;
    encoded = NULL;

    status = ngx_keyturn_text_part(secret, value, &field, &encoded, reason);

    if (status != KT_SUCCESS) {
        goto done;
    }

    part = encoded ? encoded : field ? field : value;

    *reason = ngx_keyturn_text_check(secret, part, value);

    if (*reason) {
        status = KT_MALFORMED;
        goto done;
    }

    size = kt_secret_size(part);

    text->len = secret->prefix.len + size;
    text->data = ngx_pnalloc(pool, text->len);

    if (text->data == NULL) {
        status = KT_INTERNAL;
        goto done;
    }

    ngx_memcpy(ngx_cpymem(text->data, secret->prefix.data, secret->prefix.len),
               kt_secret_bytes(part), size);

done:

    kt_secret_free(field);
    kt_secret_free(encoded);

    return status;
}


/* *field and *encoded are the caller's, after a failure too */

static kt_status_t
ngx_keyturn_text_part(ngx_keyturn_secret_t *secret, kt_secret_t *value,
    kt_secret_t **field, kt_secret_t **encoded, const char **reason)
{
    kt_status_t  status;

    *reason = NULL;

    if (secret->field.len) {
        status = kt_secret_field(value, (char *) secret->field.data, field);

        if (status != KT_SUCCESS) {
            *reason = (status == KT_NOTFOUND) ? "it has no such field"
                                        : "its value has no such text field";
            return status;
        }

        value = *field;
    }

    if (secret->encoding != KT_ENCODE_NONE) {
        status = kt_secret_encode(value, secret->encoding, encoded);

        if (status != KT_SUCCESS) {
            *reason = "its value cannot be encoded so";
            return status;
        }
    }

    return KT_SUCCESS;
}


static const char *
ngx_keyturn_text_check(ngx_keyturn_secret_t *secret, kt_secret_t *value,
    kt_secret_t *whole)
{
    size_t  size;

    size = kt_secret_size(value);

    if (size == 0) {
        return "its value is empty";
    }

    if (secret->pem) {
        return ngx_keyturn_pem_check(secret, value, whole);
    }

    /* a line feed would start another header */

    if (ngx_keyturn_has_control((u_char *) kt_secret_bytes(value), size)) {
        return "its value has control characters and no \"encode=\"";
    }

    return NULL;
}


ngx_uint_t
ngx_keyturn_passes(ngx_keyturn_secret_t *secret, kt_status_t status)
{
    if (status == KT_SUCCESS || secret->any) {
        return 1;
    }

    return !secret->required && (status == KT_NOTFOUND || status == KT_GONE);
}


ngx_uint_t
ngx_keyturn_has_control(u_char *p, size_t size)
{
    u_char    *last;
    uint64_t   found;

    last = p + size;
    found = 0;

    if (size < 8) {
        for ( /* void */ ; p < last; p++) {
            found |= (*p < 0x20 || *p == 0x7f);
        }

        return found != 0;
    }

    for ( /* void */ ; p + 8 < last; p += 8) {
        found |= ngx_keyturn_control_bits(p);
    }

    /* the last ones, with some that were looked at before */

    found |= ngx_keyturn_control_bits(last - 8);

    return (found & NGX_KEYTURN_BYTES(0x80)) != 0;
}


/* of eight bytes: a high bit is left of one below 0x20, and of 0x7f */

static ngx_inline uint64_t
ngx_keyturn_control_bits(u_char *p)
{
    uint64_t  w, del;

    ngx_memcpy(&w, p, 8);

    del = w ^ NGX_KEYTURN_BYTES(0x7f);

    return ((w - NGX_KEYTURN_BYTES(0x20)) & ~w)
           | ((del - NGX_KEYTURN_BYTES(0x01)) & ~del);
}


ngx_uint_t
ngx_keyturn_text_names(ngx_str_t *text, ngx_str_t *name)
{
    u_char  *p, *last, c;

    last = text->data + text->len;

    for (p = text->data; p < last; p++) {

        if (*p != '$') {
            continue;
        }

        p += (p + 1 < last && p[1] == '{') ? 2 : 1;

        if ((size_t) (last - p) < name->len
            || ngx_strncasecmp(p, name->data, name->len) != 0)
        {
            continue;
        }

        c = (p + name->len < last) ? p[name->len] : ' ';

        if (c != '_' && (c < '0' || c > '9')
            && ((c | 0x20) < 'a' || (c | 0x20) > 'z'))
        {
            return 1;
        }
    }

    return 0;
}
