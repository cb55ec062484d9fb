
/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Copyright (C) The keyturn authors
 */


/*
 * Session tickets: the current version of the secret encrypts, the current and
 * the previous one decrypt.  The value is 80 or 48 bytes in the order of nginx'
 * own files: the name, which shows in each ticket, and two keys.  It is read
 * for each ticket.  The last value is held too, for the time that one across a
 * network needs to be fetched again.
 *
 * OpenSSL 3.0 cannot leave a ticket of TLS 1.3 out.  Without a key, tickets are
 * encrypted by one that is not kept: the client's next handshake is a full
 * one.
 */


#include "ngx_keyturn_tls.h"

#include <openssl/core_names.h>


#define NGX_KEYTURN_TICKET_NAME  16
#define NGX_KEYTURN_TICKET_MAX   80


typedef struct {
    size_t  size;    /* 48: AES-128, 80: AES-256 */
    u_char  bytes[NGX_KEYTURN_TICKET_MAX + 4];  /* base64 comes by threes */
} ngx_keyturn_ticket_t;


static int ngx_keyturn_ticket_handler(ngx_ssl_conn_t *ssl_conn, u_char *name,
    u_char *iv, EVP_CIPHER_CTX *ectx, EVP_MAC_CTX *hctx, int enc);
static int ngx_keyturn_ticket_encrypt(ngx_connection_t *c,
    ngx_keyturn_tls_t *tls, u_char *name, u_char *iv, EVP_CIPHER_CTX *ectx,
    EVP_MAC_CTX *hctx);
static int ngx_keyturn_ticket_decrypt(ngx_connection_t *c,
    ngx_keyturn_tls_t *tls, u_char *name, u_char *iv, EVP_CIPHER_CTX *ectx,
    EVP_MAC_CTX *hctx);
static int ngx_keyturn_ticket_use(ngx_keyturn_ticket_t *ticket, u_char *iv,
    EVP_CIPHER_CTX *ectx, EVP_MAC_CTX *hctx, int enc);
static ngx_int_t ngx_keyturn_ticket_read(ngx_connection_t *c,
    ngx_keyturn_tls_t *tls, ngx_uint_t previous, ngx_keyturn_ticket_t *ticket);
static void ngx_keyturn_ticket_hold(ngx_keyturn_tls_t *tls,
    ngx_uint_t previous, kt_secret_t *value);
static ngx_uint_t ngx_keyturn_ticket_lend(ngx_keyturn_held_t *held);
static ngx_int_t ngx_keyturn_ticket_parse(kt_secret_t *value,
    ngx_keyturn_ticket_t *ticket);
static ngx_int_t ngx_keyturn_ticket_hex(const u_char *p,
    ngx_keyturn_ticket_t *ticket);
static void ngx_keyturn_ticket_bad(ngx_connection_t *c, ngx_keyturn_tls_t *tls,
    uint64_t version);


static int          ngx_keyturn_ticket_index = -1;
static ngx_queue_t  ngx_keyturn_tickets;   /* of this process */


ngx_int_t
ngx_keyturn_ticket_init(ngx_conf_t *cf, ngx_keyturn_tls_t *tls, SSL_CTX *ctx)
{
    if (ngx_keyturn_ticket_index == -1) {
        ngx_keyturn_ticket_index = SSL_CTX_get_ex_new_index(0, NULL, NULL,
                                                            NULL, NULL);
    }

    if (ngx_keyturn_ticket_index == -1
        || SSL_CTX_set_ex_data(ctx, ngx_keyturn_ticket_index, tls) == 0
        || SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx,
                                                ngx_keyturn_ticket_handler)
           == 0)
    {
        ngx_ssl_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"secret_ssl_session_ticket_key\" failed");
        return NGX_ERROR;
    }

    return NGX_OK;
}


static int
ngx_keyturn_ticket_handler(ngx_ssl_conn_t *ssl_conn, u_char *name, u_char *iv,
    EVP_CIPHER_CTX *ectx, EVP_MAC_CTX *hctx, int enc)
{
    int                 rc;
    char               *action;
    ngx_connection_t   *c;
    ngx_keyturn_tls_t  *tls;

    c = ngx_ssl_get_connection(ssl_conn);
    tls = SSL_CTX_get_ex_data(c->ssl->session_ctx, ngx_keyturn_ticket_index);

    if (tls == NULL) {
        return -1;
    }

    action = c->log->action;
    c->log->action = "reading the key of a session ticket";

    if (enc) {
        rc = ngx_keyturn_ticket_encrypt(c, tls, name, iv, ectx, hctx);

    } else {
        rc = ngx_keyturn_ticket_decrypt(c, tls, name, iv, ectx, hctx);
    }

    c->log->action = action;

    return rc;
}


static int
ngx_keyturn_ticket_encrypt(ngx_connection_t *c, ngx_keyturn_tls_t *tls,
    u_char *name, u_char *iv, EVP_CIPHER_CTX *ectx, EVP_MAC_CTX *hctx)
{
    int                   rc;
    ngx_keyturn_ticket_t  ticket;

    if (ngx_keyturn_ticket_read(c, tls, 0, &ticket) != NGX_OK) {
        ticket.size = NGX_KEYTURN_TICKET_MAX;

        if (RAND_bytes(ticket.bytes, ticket.size) != 1) {
            return -1;
        }
    }

    rc = -1;

    if (RAND_bytes(iv, EVP_MAX_IV_LENGTH) == 1) {
        rc = ngx_keyturn_ticket_use(&ticket, iv, ectx, hctx, 1);
    }

    ngx_memcpy(name, ticket.bytes, NGX_KEYTURN_TICKET_NAME);
    ngx_explicit_memzero(&ticket, sizeof(ngx_keyturn_ticket_t));

    return rc;
}


/* 2: the client is to get a new ticket */

static int
ngx_keyturn_ticket_decrypt(ngx_connection_t *c, ngx_keyturn_tls_t *tls,
    u_char *name, u_char *iv, EVP_CIPHER_CTX *ectx, EVP_MAC_CTX *hctx)
{
    int                   rc;
    ngx_uint_t            i;
    ngx_keyturn_ticket_t  ticket;

    rc = 0;

    for (i = 0; i < 2 && rc == 0; i++) {

        if (ngx_keyturn_ticket_read(c, tls, i, &ticket) == NGX_OK
            && ngx_memcmp(ticket.bytes, name, NGX_KEYTURN_TICKET_NAME) == 0)
        {
            rc = ngx_keyturn_ticket_use(&ticket, iv, ectx, hctx, 0);

            if (rc == 1
                && (i || SSL_version(c->ssl->connection) == TLS1_3_VERSION))
            {
                rc = 2;
            }
        }
    }

    ngx_explicit_memzero(&ticket, sizeof(ngx_keyturn_ticket_t));

    return rc;
}


static int
ngx_keyturn_ticket_use(ngx_keyturn_ticket_t *ticket, u_char *iv,
    EVP_CIPHER_CTX *ectx, EVP_MAC_CTX *hctx, int enc)
{
    size_t             size;
    u_char            *first, *second, *aes, *hmac;
    OSSL_PARAM         params[3];
    const EVP_CIPHER  *cipher;

    first = ticket->bytes + NGX_KEYTURN_TICKET_NAME;

    if (ticket->size == 48) {
        size = 16;
        second = first + size;
        aes = first;
        hmac = second;
        cipher = EVP_aes_128_cbc();

    } else {
        size = 32;
        second = first + size;
        hmac = first;
        aes = second;
        cipher = EVP_aes_256_cbc();
    }

    params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, hmac,
                                                  size);
    params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
                                                 (char *) "SHA256", 0);
    params[2] = OSSL_PARAM_construct_end();

    if (EVP_CipherInit_ex(ectx, cipher, NULL, aes, iv, enc) != 1
        || EVP_MAC_CTX_set_params(hctx, params) != 1)
    {
        ERR_clear_error();
        return -1;
    }

    return 1;
}


static ngx_int_t
ngx_keyturn_ticket_read(ngx_connection_t *c, ngx_keyturn_tls_t *tls,
    ngx_uint_t previous, ngx_keyturn_ticket_t *ticket)
{
    char                 reference[KT_REFERENCE_MAX + 1];
    u_char              *last;
    ngx_int_t            rc;
    kt_secret_t         *value;
    kt_status_t          status;
    ngx_keyturn_held_t  *held;

    last = ngx_snprintf((u_char *) reference, KT_REFERENCE_MAX, "%V%s",
                        &tls->ticket_key->reference, previous ? "@previous" : "");
    *last = '\0';

    status = ngx_keyturn_tls_process.peek(c, tls, tls->ticket_key, reference,
                                          &value);

    held = &tls->held[previous];

    if (status == KT_SUCCESS) {
        ngx_keyturn_ticket_hold(tls, previous, value);

    } else if (status != KT_TRYAGAIN || !ngx_keyturn_ticket_lend(held)) {
        kt_secret_free(held->value);
        held->value = NULL;

        /* there need not be a previous version */

        if (!previous) {
            ngx_log_error(NGX_LOG_ERR, c->log, 0,
                          "key of session tickets \"%s\" cannot be read by "
                          "\"%V\": %s (%s)",
                          reference, tls->subject, kt_status_text(status),
                          kt_status_name(status));
        }

        return NGX_ERROR;
    }

    rc = ngx_keyturn_ticket_parse(held->value, ticket);

    if (rc != NGX_OK && !previous) {
        ngx_keyturn_ticket_bad(c, tls, kt_secret_version(held->value));
    }

    return rc;
}


/* takes the value; when a current one follows another, that is the previous */

static void
ngx_keyturn_ticket_hold(ngx_keyturn_tls_t *tls, ngx_uint_t previous,
    kt_secret_t *value)
{
    ngx_keyturn_held_t  *held;

    if (tls->queue.next == NULL) {

        if (ngx_keyturn_tickets.next == NULL) {
            ngx_queue_init(&ngx_keyturn_tickets);
        }

        ngx_queue_insert_tail(&ngx_keyturn_tickets, &tls->queue);
    }

    held = &tls->held[previous];

    if (!previous && held->value
        && kt_secret_version(held->value) != kt_secret_version(value))
    {
        kt_secret_free(tls->held[1].value);

        tls->held[1].value = held->value;
        tls->held[1].fetching = 0;
        held->value = NULL;
    }

    kt_secret_free(held->value);

    held->value = value;
    held->fetching = 0;
}


static ngx_uint_t
ngx_keyturn_ticket_lend(ngx_keyturn_held_t *held)
{
    if (held->value == NULL) {
        return 0;
    }

    if (!held->fetching) {
        held->fetching = 1;
        held->since = ngx_current_msec;
    }

    return ngx_current_msec - held->since < NGX_KEYTURN_LEND;
}


/* the first one is held at once: the next handshake may find it outdated */

void
ngx_keyturn_ticket_fetched(kt_ctx_t *ctx, ngx_keyturn_tls_t *tls,
    kt_request_t *req)
{
    ngx_uint_t    previous;
    kt_secret_t  *value;

    previous = (ngx_strchr(req->reference, '@') != NULL);

    if (tls->held[previous].value == NULL
        && kt_peek(ctx, req, &value) == KT_SUCCESS)
    {
        ngx_keyturn_ticket_hold(tls, previous, value);
    }
}


void
ngx_keyturn_ticket_stop(void)
{
    ngx_queue_t        *q;
    ngx_keyturn_tls_t  *tls;

    while (ngx_keyturn_tickets.next && !ngx_queue_empty(&ngx_keyturn_tickets)) {
        q = ngx_queue_head(&ngx_keyturn_tickets);
        tls = ngx_queue_data(q, ngx_keyturn_tls_t, queue);

        ngx_queue_remove(q);

        kt_secret_free(tls->held[0].value);
        kt_secret_free(tls->held[1].value);
    }
}


/* as it is, in base64 or in hexadecimal digits */

static ngx_int_t
ngx_keyturn_ticket_parse(kt_secret_t *value, ngx_keyturn_ticket_t *ticket)
{
    size_t         size;
    ngx_str_t      src, dst;
    const u_char  *p;

    p = kt_secret_bytes(value);
    size = kt_secret_size(value);

    ticket->size = size;

    if (size == 48 || size == 80) {
        ngx_memcpy(ticket->bytes, p, size);
        return NGX_OK;
    }

    while (size && p[size - 1] <= ' ') {
        size--;
    }

    ticket->size = size / 2;

    if (size == 96 || size == 160) {
        return ngx_keyturn_ticket_hex(p, ticket);
    }

    if (size != 64 && size != 108) {
        return NGX_ERROR;
    }

    src.data = (u_char *) p;
    src.len = size;
    dst.data = ticket->bytes;

    if (ngx_decode_base64(&dst, &src) != NGX_OK) {
        return NGX_ERROR;
    }

    ticket->size = dst.len;

    return (dst.len == 48 || dst.len == 80) ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_keyturn_ticket_hex(const u_char *p, ngx_keyturn_ticket_t *ticket)
{
    size_t     i;
    ngx_int_t  n;

    for (i = 0; i < ticket->size; i++) {
        n = ngx_hextoi((u_char *) p + 2 * i, 2);

        if (n == NGX_ERROR) {
            return NGX_ERROR;
        }

        ticket->bytes[i] = (u_char) n;
    }

    return NGX_OK;
}


/* once for each version */

static void
ngx_keyturn_ticket_bad(ngx_connection_t *c, ngx_keyturn_tls_t *tls,
    uint64_t version)
{
    if (tls->bad == version) {
        return;
    }

    tls->bad = version;

    ngx_log_error(NGX_LOG_ALERT, c->log, 0,
                  "key of session tickets \"%V\" of version %uL cannot be "
                  "used: it is neither 80 nor 48 bytes, as they are, in "
                  "base64 or in hexadecimal; sessions are not resumed by it",
                  &tls->ticket_key->reference, version);
}
