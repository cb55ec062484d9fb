
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * nginx writes a private key that it cannot use into the error log, at the
 * level "error": when it does not parse, and when it does not belong to the
 * certificate.  So a value of "encode=pem" is tried before nginx gets it, by
 * the calls that nginx will make.
 */


#include "ngx_keyturn.h"

#include <ngx_event_openssl.h>


static const char *ngx_keyturn_pem_try(const u_char *data, size_t size,
    kt_secret_t *whole);
static X509 *ngx_keyturn_pem_certificate(const u_char *data, size_t size);
static X509 *ngx_keyturn_pem_field(kt_secret_t *whole);
static EVP_PKEY *ngx_keyturn_pem_key(const u_char *data, size_t size);
static int ngx_keyturn_pem_password(char *buf, int size, int rwflag,
    void *data);
static ngx_uint_t ngx_keyturn_pem_has(const u_char *data, size_t size,
    const char *text);


/*
 * NULL, or what is wrong with the value.  "whole" is the secret that it is a
 * field of, in which the certificate of a key is looked for.
 */

const char *
ngx_keyturn_pem_check(ngx_keyturn_secret_t *secret, kt_secret_t *value,
    kt_secret_t *whole)
{
    size_t         size;
    u_char         digest[NGX_KEYTURN_DIGEST];
    const char    *reason;
    const u_char  *data;

    data = kt_secret_bytes(value);
    size = kt_secret_size(value);

    /* a parse takes half a millisecond, so a good value is remembered */

    if (EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL) == 1
        && ngx_memcmp(digest, secret->checked, NGX_KEYTURN_DIGEST) == 0)
    {
        return NULL;
    }

    reason = ngx_keyturn_pem_try(data, size, whole);

    if (reason == NULL) {
        ngx_memcpy(secret->checked, digest, NGX_KEYTURN_DIGEST);
    }

    ERR_clear_error();

    return reason;
}


static const char *
ngx_keyturn_pem_try(const u_char *data, size_t size, kt_secret_t *whole)
{
    X509        *cert;
    EVP_PKEY    *key;
    const char  *reason;

    cert = NULL;
    key = NULL;

    reason = "its value is not PEM";

    if (memchr(data, '\0', size) != NULL) {
        goto done;
    }

    if (ngx_keyturn_pem_has(data, size, "CERTIFICATE-----")) {
        cert = ngx_keyturn_pem_certificate(data, size);

        if (cert == NULL) {
            reason = "a certificate in its value does not parse";
            goto done;
        }

        reason = NULL;
    }

    if (!ngx_keyturn_pem_has(data, size, "PRIVATE KEY-----")) {
        goto done;
    }

    key = ngx_keyturn_pem_key(data, size);

    if (key == NULL) {
        reason = "the private key in its value does not parse, "
                 "or is encrypted";
        goto done;
    }

    if (cert == NULL) {
        cert = ngx_keyturn_pem_field(whole);
    }

    reason = NULL;

    if (cert == NULL) {
        reason = "its private key is not together with a certificate";

    } else if (X509_check_private_key(cert, key) != 1) {
        reason = "its private key does not belong to its certificate";
    }

done:

    X509_free(cert);
    EVP_PKEY_free(key);

    return reason;
}


static X509 *
ngx_keyturn_pem_certificate(const u_char *data, size_t size)
{
    BIO     *bio;
    X509    *cert, *next;
    u_long   n;

    bio = BIO_new_mem_buf(data, (int) size);
    if (bio == NULL) {
        return NULL;
    }

    cert = PEM_read_bio_X509_AUX(bio, NULL, ngx_keyturn_pem_password, NULL);

    while (cert) {
        ERR_clear_error();

        next = PEM_read_bio_X509(bio, NULL, ngx_keyturn_pem_password, NULL);

        if (next) {
            X509_free(next);
            continue;
        }

        n = ERR_peek_last_error();

        if (ERR_GET_LIB(n) != ERR_LIB_PEM
            || ERR_GET_REASON(n) != PEM_R_NO_START_LINE)
        {
            X509_free(cert);
            cert = NULL;
        }

        break;
    }

    BIO_free(bio);

    return cert;
}


static X509 *
ngx_keyturn_pem_field(kt_secret_t *whole)
{
    X509         *cert;
    kt_secret_t  *field;

    if (kt_secret_field(whole, "certificate", &field) != KT_SUCCESS) {
        return NULL;
    }

    cert = ngx_keyturn_pem_certificate(kt_secret_bytes(field),
                                       kt_secret_size(field));
    kt_secret_free(field);

    return cert;
}


static EVP_PKEY *
ngx_keyturn_pem_key(const u_char *data, size_t size)
{
    BIO       *bio;
    EVP_PKEY  *key;

    bio = BIO_new_mem_buf(data, (int) size);
    if (bio == NULL) {
        return NULL;
    }

    key = PEM_read_bio_PrivateKey(bio, NULL, ngx_keyturn_pem_password, NULL);

    BIO_free(bio);

    return key;
}


static int
ngx_keyturn_pem_password(char *buf, int size, int rwflag, void *data)
{
    return 0;
}


static ngx_uint_t
ngx_keyturn_pem_has(const u_char *data, size_t size, const char *text)
{
    return memmem(data, size, text, ngx_strlen(text)) != NULL;
}
