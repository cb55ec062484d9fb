
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * A certificate and its key, from PEM in one text or in two fields of a JSON
 * object.  OpenSSL's reader of PEM leaves what it has decoded in freed memory,
 * so the block of the key is cut out and decoded here, in locked memory.  What
 * remains is the EVP_PKEY, which OpenSSL keeps in its own memory, and clears
 * when it is freed.
 */


#include "ngx_keyturn_tls.h"


typedef struct {
    const u_char  *start;   /* of the block's first line */
    const u_char  *body;
    const u_char  *end;     /* of the body */
    const u_char  *last;    /* where the block ends */
} ngx_keyturn_block_t;


static const char *ngx_keyturn_pair_read(ngx_keyturn_pair_t *pair,
    kt_secret_t *cert, kt_secret_t *key);
static kt_status_t ngx_keyturn_pair_field(kt_secret_t *value,
    const char *name, kt_secret_t **field);
static ngx_uint_t ngx_keyturn_pair_block(kt_secret_t *text,
    ngx_keyturn_block_t *block);
static const char *ngx_keyturn_pair_certificates(ngx_keyturn_pair_t *pair,
    kt_secret_t *text);
static ngx_uint_t ngx_keyturn_pair_chain(ngx_keyturn_pair_t *pair, BIO *bio);
static EVP_PKEY *ngx_keyturn_pair_key(kt_secret_t *text);
static EVP_PKEY *ngx_keyturn_pair_decode(ngx_keyturn_block_t *block,
    kt_secret_t *base64, kt_secret_t *der);
static int ngx_keyturn_pair_password(char *buf, int size, int rwflag,
    void *data);


const char *
ngx_keyturn_pair_parse(ngx_keyturn_pair_t *pair, kt_secret_t *value)
{
    const char   *reason;
    kt_secret_t  *cert, *key;
    kt_status_t   status;

    ngx_memzero(pair, sizeof(ngx_keyturn_pair_t));

    cert = NULL;
    key = NULL;

    status = ngx_keyturn_pair_field(value, "certificate", &cert);

    if (status == KT_SUCCESS) {
        status = ngx_keyturn_pair_field(value, "private_key", &key);
    }

    switch (status) {

    case KT_SUCCESS:
        reason = ngx_keyturn_pair_read(pair, cert, key);
        break;

    case KT_MALFORMED:
        reason = ngx_keyturn_pair_read(pair, value, value);
        break;

    default:
        reason = "it needs the fields \"certificate\" and \"private_key\", "
                 "or both as PEM in one text";
    }

    kt_secret_free(cert);
    kt_secret_free(key);

    if (reason) {
        ngx_keyturn_pair_free(pair);
    }

    ERR_clear_error();

    return reason;
}


ngx_uint_t
ngx_keyturn_pair_expired(ngx_keyturn_pair_t *pair)
{
    return X509_cmp_current_time(X509_get0_notAfter(pair->cert)) < 0;
}


void
ngx_keyturn_pair_free(ngx_keyturn_pair_t *pair)
{
    X509_free(pair->cert);
    sk_X509_pop_free(pair->chain, X509_free);
    EVP_PKEY_free(pair->key);

    ngx_memzero(pair, sizeof(ngx_keyturn_pair_t));
}


static const char *
ngx_keyturn_pair_read(ngx_keyturn_pair_t *pair, kt_secret_t *cert,
    kt_secret_t *key)
{
    const char  *reason;

    reason = ngx_keyturn_pair_certificates(pair, cert);

    if (reason) {
        return reason;
    }

    pair->key = ngx_keyturn_pair_key(key);

    if (pair->key == NULL) {
        return "it has no private key that can be read without a password";
    }

    if (X509_check_private_key(pair->cert, pair->key) != 1) {
        return "its private key does not belong to its first certificate";
    }

    return NULL;
}


/* KT_MALFORMED if the value is a text and not an object */

static kt_status_t
ngx_keyturn_pair_field(kt_secret_t *value, const char *name,
    kt_secret_t **field)
{
    const u_char  *p, *last;

    p = kt_secret_bytes(value);
    last = p + kt_secret_size(value);

    while (p < last && (*p == ' ' || *p == '\t' || *p == LF || *p == CR)) {
        p++;
    }

    if (p == last || *p != '{') {
        return KT_MALFORMED;
    }

    return kt_secret_field(value, name, field) == KT_SUCCESS ? KT_SUCCESS
                                                             : KT_NOTFOUND;
}


/* the first block whose name ends with "PRIVATE KEY" */

static ngx_uint_t
ngx_keyturn_pair_block(kt_secret_t *text, ngx_keyturn_block_t *block)
{
    const u_char  *p, *last;

    static const char  begin[] = "-----BEGIN ";
    static const char  name[] = "PRIVATE KEY-----";
    static const char  end[] = "-----END ";

    p = kt_secret_bytes(text);
    last = p + kt_secret_size(text);

    for ( ;; ) {
        block->start = memmem(p, last - p, begin, sizeof(begin) - 1);

        if (block->start == NULL) {
            return 0;
        }

        p = block->start + sizeof(begin) - 1;

        while (p < last && *p != '-') {
            p++;
        }

        block->body = p + 5;

        p -= sizeof("PRIVATE KEY") - 1;

        if (p > block->start && last - p > (ssize_t) sizeof(name) - 1
            && ngx_memcmp(p, name, sizeof(name) - 1) == 0)
        {
            break;
        }

        p = block->start + sizeof(begin) - 1;
    }

    block->end = memmem(block->body, last - block->body, end, sizeof(end) - 1);

    if (block->end == NULL) {
        block->end = last;
    }

    p = memmem(block->end, last - block->end, name, sizeof(name) - 1);

    block->last = p ? p + sizeof(name) - 1 : last;

    return 1;
}


/* reads a copy without the key */

static const char *
ngx_keyturn_pair_certificates(ngx_keyturn_pair_t *pair, kt_secret_t *text)
{
    BIO                  *bio;
    size_t                size;
    u_char               *data, *p;
    ngx_uint_t            good;
    const u_char         *last;
    ngx_keyturn_block_t   block;

    p = (u_char *) kt_secret_bytes(text);
    last = p + kt_secret_size(text);

    if (!ngx_keyturn_pair_block(text, &block)) {
        block.start = last;
        block.last = last;
    }

    size = kt_secret_size(text);

    data = ngx_alloc(size + 1, ngx_cycle->log);
    if (data == NULL) {
        return "there is no memory for it";
    }

    p = ngx_cpymem(data, p, block.start - p);
    p = ngx_cpymem(p, block.last, last - block.last);

    good = 0;

    bio = BIO_new_mem_buf(data, p - data);

    if (bio) {
        good = ngx_keyturn_pair_chain(pair, bio);
        BIO_free(bio);
    }

    /* a second key may be in it */

    ngx_explicit_memzero(data, size + 1);
    ngx_free(data);

    return good ? NULL : "its certificates cannot be read";
}


static ngx_uint_t
ngx_keyturn_pair_chain(ngx_keyturn_pair_t *pair, BIO *bio)
{
    X509    *next;
    u_long   n;

    pair->cert = PEM_read_bio_X509_AUX(bio, NULL, ngx_keyturn_pair_password,
                                       NULL);
    pair->chain = sk_X509_new_null();

    if (pair->cert == NULL || pair->chain == NULL) {
        return 0;
    }

    for ( ;; ) {
        ERR_clear_error();

        next = PEM_read_bio_X509(bio, NULL, ngx_keyturn_pair_password, NULL);

        if (next == NULL) {
            break;
        }

        if (sk_X509_push(pair->chain, next) == 0) {
            X509_free(next);
            return 0;
        }
    }

    n = ERR_peek_last_error();

    return ERR_GET_LIB(n) == ERR_LIB_PEM
           && ERR_GET_REASON(n) == PEM_R_NO_START_LINE;
}


static EVP_PKEY *
ngx_keyturn_pair_key(kt_secret_t *text)
{
    size_t                size;
    EVP_PKEY             *key;
    kt_secret_t          *base64, *der;
    ngx_keyturn_block_t   block;

    if (!ngx_keyturn_pair_block(text, &block) || block.end <= block.body) {
        return NULL;
    }

    key = NULL;
    size = block.end - block.body;

    base64 = kt_secret_new(NULL, size);
    der = kt_secret_new(NULL, size);

    if (base64 && der) {
        key = ngx_keyturn_pair_decode(&block, base64, der);
    }

    kt_secret_free(base64);
    kt_secret_free(der);

    return key;
}


static EVP_PKEY *
ngx_keyturn_pair_decode(ngx_keyturn_block_t *block, kt_secret_t *base64,
    kt_secret_t *der)
{
    int            n;
    u_char        *dst, *start;
    const u_char  *p, *data;

    start = kt_secret_buffer(base64);
    dst = start;

    for (p = block->body; p < block->end; p++) {

        /* headers, such as those of a key with a password, have a colon */

        if (*p == ':') {
            return NULL;
        }

        if (*p > ' ') {
            *dst++ = *p;
        }
    }

    if (dst == start) {
        return NULL;
    }

    n = EVP_DecodeBlock(kt_secret_buffer(der), start, dst - start);

    while (n > 0 && dst > start && *--dst == '=') {
        n--;
    }

    if (n <= 0) {
        return NULL;
    }

    data = kt_secret_bytes(der);

    return d2i_AutoPrivateKey(NULL, &data, n);
}


static int
ngx_keyturn_pair_password(char *buf, int size, int rwflag, void *data)
{
    return 0;
}
