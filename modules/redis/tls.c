/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls.c: TLS on a connection's descriptor, by OpenSSL, which nginx and PostgreSQL have in their
 * processes already.
 *
 * hiredis of Debian 12 has none. OpenSSL reads and writes by functions of ours, with send() and
 * recv(): so a server that closes raises no SIGPIPE, and nothing waits. Its queue of errors belongs
 * to the thread, and so to the host too: it is empty after each call.
 */
#include "tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "wait.h"

#define WANTS_CERTIFICATE                                                                          \
    "the server requires a certificate of ours (give it: tls: {cert: FILE, key: FILE})"
/* A server that closes at once may do so before what it said is read. */
#define MAY_WANT_CERTIFICATE                                                                       \
    "the server hangs up after the handshake: it may require a certificate of ours (tls: {cert: "  \
    "FILE, key: FILE})"

/* ---- the descriptor ---- */

static int fd_of(BIO *bio)
{
    const kr_connection_t *connection = BIO_get_data(bio);

    return connection->context->fd;
}

static int again(BIO *bio, ssize_t n, int reading)
{
    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        if (reading)
            BIO_set_retry_read(bio);
        else
            BIO_set_retry_write(bio);
    }
    return (int)n;
}

static int bio_write(BIO *bio, const char *bytes, int size)
{
    return again(bio, send(fd_of(bio), bytes, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT), 0);
}

static int bio_read(BIO *bio, char *bytes, int size)
{
    return again(bio, recv(fd_of(bio), bytes, (size_t)size, MSG_DONTWAIT), 1);
}

static long bio_ctrl(BIO *bio, int command, long number, void *data)
{
    (void)bio;
    (void)number;
    (void)data;
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

/* ---- making it ---- */

static ktp_status_t fail(ktp_instance_t *instance, const char *what, const char *file)
{
    unsigned long code = ERR_peek_last_error();
    const char *why = ERR_reason_error_string(code);
    ktp_status_t status = kr_fail(instance, KTP_UNAVAIL, "TLS: %s%s%.160s: %.80s", what,
                                  file != NULL ? " " : "", file != NULL ? file : "",
                                  why != NULL ? why : "out of memory");

    ERR_clear_error();
    return status;
}

static ktp_status_t load_own(ktp_instance_t *instance, SSL_CTX *context)
{
    const kr_tls_t *tls = instance->tls;
    struct stat st;

    if (SSL_CTX_use_certificate_chain_file(context, tls->cert) != 1)
        return fail(instance, "cannot use the certificate", tls->cert);
    if (stat(tls->key, &st) == 0 && (st.st_mode & S_IRWXO) != 0)
        return kr_fail(instance, KTP_UNAVAIL,
                       "TLS: mode %04o of %.160s lets others have the key (chmod o-rwx)",
                       (unsigned)(st.st_mode & 07777), tls->key);
    if (SSL_CTX_use_PrivateKey_file(context, tls->key, SSL_FILETYPE_PEM) != 1)
        return fail(instance, "cannot use the key", tls->key);
    return KTP_SUCCESS;
}

static ktp_status_t configure(ktp_instance_t *instance, SSL_CTX *context)
{
    const kr_tls_t *tls = instance->tls;
    ktp_status_t status = KTP_SUCCESS;

    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (tls != NULL && tls->ca != NULL) {
        if (SSL_CTX_load_verify_locations(context, tls->ca, NULL) != 1)
            return fail(instance, "cannot use the authorities of", tls->ca);
    } else if (SSL_CTX_set_default_verify_paths(context) != 1) {
        return fail(instance, "cannot use the system's authorities", NULL);
    }
    if (tls != NULL && tls->cert != NULL)
        status = load_own(instance, context);
    return status;
}

/* A host that is an address must stand as an address in the certificate. */
static int expect_name(SSL *ssl, const char *name)
{
    unsigned char bytes[16];

    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name);
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

static ktp_status_t attach(ktp_instance_t *instance, kr_connection_t *connection, SSL_CTX *context)
{
    const kr_tls_t *tls = instance->tls;
    const char *name = tls != NULL && tls->name != NULL ? tls->name : instance->host;
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "keyturn");
    BIO *bio = NULL;

    connection->method = method;
    connection->heard = connection->uncertified = 0;
    connection->ssl = SSL_new(context);
    if (method == NULL || connection->ssl == NULL || BIO_meth_set_write(method, bio_write) != 1 ||
        BIO_meth_set_read(method, bio_read) != 1 || BIO_meth_set_ctrl(method, bio_ctrl) != 1 ||
        BIO_meth_set_create(method, bio_create) != 1 || (bio = BIO_new(method)) == NULL)
        return fail(instance, "cannot begin", NULL);
    BIO_set_data(bio, connection);
    SSL_set_bio(connection->ssl, bio, bio);
    if (!expect_name(connection->ssl, name))
        return fail(instance, "cannot expect the name", name);
    return KTP_SUCCESS;
}

/* ---- the handshake ---- */

static int wants_certificate(unsigned long code)
{
    int reason = ERR_GET_REASON(code);

    return reason == SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED ||
           reason == SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE;
}

static ktp_status_t explain(ktp_instance_t *instance, const kr_connection_t *connection)
{
    long verified = SSL_get_verify_result(connection->ssl);
    unsigned long code = ERR_peek_last_error();

    if (verified != X509_V_OK)
        return kr_fail(instance, KTP_UNAVAIL,
                       "TLS: the server's certificate is not accepted: %.80s (tls: {ca: FILE} says "
                       "who signs it, `name` for whom)",
                       X509_verify_cert_error_string(verified));
    if (wants_certificate(code))
        return kr_fail(instance, KTP_UNAVAIL, "TLS: " WANTS_CERTIFICATE);
    if (code == 0)
        return kr_fail(instance, KTP_UNAVAIL,
                       "TLS: the server hangs up (is it the port for TLS: tls-port?)");
    if (ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER)
        return kr_fail(instance, KTP_UNAVAIL,
                       "TLS: the server does not speak it on this port (tls-port is another)");
    return fail(instance, "no handshake", NULL);
}

static ktp_status_t shake_hands(ktp_instance_t *instance, kr_connection_t *connection,
                                int64_t deadline)
{
    short events;
    int error, n;

    for (;;) {
        ERR_clear_error();
        n = SSL_connect(connection->ssl);
        if (n == 1)
            return KTP_SUCCESS;
        error = SSL_get_error(connection->ssl, n);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
            return explain(instance, connection);
        events = error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
        error = kr_wait_for(instance->services, connection->context->fd, events, deadline);
        if (error == ECANCELED)
            return kr_fail(instance, KTP_TRYAGAIN, "interrupted");
        if (error != 0)
            return kr_fail(instance, KTP_UNAVAIL, "TLS: no handshake in time");
    }
}

ktp_status_t kr_tls_start(ktp_instance_t *instance, kr_connection_t *connection, int64_t deadline)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    ktp_status_t status;

    if (context == NULL)
        return fail(instance, "cannot begin", NULL);
    status = configure(instance, context);
    if (status == KTP_SUCCESS)
        status = attach(instance, connection, context);
    if (status == KTP_SUCCESS)
        status = shake_hands(instance, connection, deadline);
    SSL_CTX_free(context); /* the connection holds it */
    ERR_clear_error();
    return status;
}

void kr_tls_end(kr_connection_t *connection)
{
    SSL_free(connection->ssl);
    BIO_meth_free(connection->method);
    connection->ssl = NULL;
    connection->method = NULL;
}

/* ---- bytes ---- */

static ssize_t answer(kr_connection_t *connection, int n, int reading, short *ret_events)
{
    int error = n > 0 ? SSL_ERROR_NONE : SSL_get_error(connection->ssl, n);

    connection->uncertified = error == SSL_ERROR_SSL && wants_certificate(ERR_peek_last_error());
    connection->heard |= reading && n > 0;
    ERR_clear_error();
    if (n > 0)
        return n;
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    *ret_events = error == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN;
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
    return -1;
}

ssize_t kr_tls_receive(kr_connection_t *connection, char *bytes, size_t size, short *ret_events)
{
    ERR_clear_error();
    return answer(connection, SSL_read(connection->ssl, bytes, (int)size), 1, ret_events);
}

ssize_t kr_tls_send(kr_connection_t *connection, const char *bytes, size_t size, short *ret_events)
{
    ERR_clear_error();
    return answer(connection, SSL_write(connection->ssl, bytes, (int)size), 0, ret_events);
}

int kr_tls_is_quiet(kr_connection_t *connection)
{
    short events = 0;
    char byte;

    ERR_clear_error();
    return answer(connection, SSL_peek(connection->ssl, &byte, 1), 0, &events) < 0 &&
           errno == EAGAIN;
}

const char *kr_tls_why(const kr_connection_t *connection)
{
    if (connection->uncertified)
        return WANTS_CERTIFICATE;
    return connection->ssl != NULL && !connection->heard &&
                   SSL_get_certificate(connection->ssl) == NULL
               ? MAY_WANT_CERTIFICATE
               : NULL;
}
