/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * http.c: the service by which providers speak HTTP: one exchange, TLS verified and at least 1.2,
 * no redirects, limits on time and size.
 *
 * An answer's body arrives in locked memory that grows by copying and wiping. libcurl's own buffers
 * are wiped when they are freed (curl.c), unless the host started libcurl before us; what OpenSSL
 * keeps of a record is not ours to wipe.
 *
 * Every HTTP status is KTP_SUCCESS: what 404 or 429 means is the provider's business. KTP_UNAVAIL:
 * no whole answer (connection, TLS, time, a body cut short). KTP_MALFORMED: an answer over its
 * limit, or a call that is wrong in itself. Error texts name the server, never the path of the URL,
 * nor anything that the server sent.
 */
#include "curl.h"
#include "provider.h"

#include <pthread.h>
#include <arpa/inet.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_DEFAULT 10000u /* milliseconds, for a provider that says 0 */
#define HEADERS_MAX 65536u     /* bytes of all answered headers together */
#define ANSWER_FIRST 4096u     /* bytes of the first answer buffer */
#define METADATA_ADDRESS "169.254.169.254"

typedef struct exchange {
    void *host; /* of the services */
    ktp_http_t *x;
    CURL *curl;
    char *server; /* libcurl's, for errors */
    struct curl_slist *headers;
    ktp_buffer_t answer; /* locked; a NUL follows the last byte */
    size_t capacity;
    size_t header_bytes;
    bool near;  /* loopback or link-local: never through a proxy */
    bool plain; /* http: */
    bool too_big, no_memory;
} exchange_t;

/* ---- errors ---- */

static ktp_status_t fail(const exchange_t *e, ktp_status_t status, const char *why)
{
    kt_provider_say(e->host, "%s: %s", e->server != NULL ? e->server : "http", why);
    return status;
}

static ktp_status_t fail_transport(const exchange_t *e, CURLcode code)
{
    char text[256];
    long number = 0;

    if (kt_curl.easy_getinfo(e->curl, CURLINFO_OS_ERRNO, &number) == CURLE_OK && number != 0 &&
        code == CURLE_COULDNT_CONNECT) {
        char buffer[128];

        (void)snprintf(text, sizeof(text), "%s: %s", kt_curl.easy_strerror(code),
                       strerror_r((int)number, buffer, sizeof(buffer)));
    } else if (code == CURLE_ABORTED_BY_CALLBACK) {
        return fail(e, KTP_TRYAGAIN, "interrupted");
    } else if (code == CURLE_OPERATION_TIMEDOUT) {
        (void)snprintf(text, sizeof(text), "no whole answer within %u ms", e->x->timeout);
    } else {
        (void)snprintf(text, sizeof(text), "%s", kt_curl.easy_strerror(code));
    }
    return fail(e, KTP_UNAVAIL, text);
}

/* ---- where to ---- */

static bool is_near_four(struct in_addr address)
{
    return ntohl(address.s_addr) >> 24 == 127 || address.s_addr == inet_addr(METADATA_ADDRESS);
}

/* By its text, before anything is resolved; what "localhost" resolves to is looked at when its
 * socket is made. */
static bool is_near(const char *server)
{
    struct in_addr four;

    if (strcasecmp(server, "localhost") == 0 || strcmp(server, "[::1]") == 0)
        return true;
    return inet_pton(AF_INET, server, &four) == 1 && is_near_four(four);
}

static bool is_near_address(const struct sockaddr *address)
{
    const void *at = address;

    if (address->sa_family == AF_INET)
        return is_near_four(((const struct sockaddr_in *)at)->sin_addr);
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)at)->sin6_addr);
}

static ktp_status_t check_url(exchange_t *e)
{
    CURLU *url = kt_curl.url();
    char *scheme = NULL;
    ktp_status_t status = KTP_SUCCESS;

    if (url == NULL ||
        kt_curl.url_set(url, CURLUPART_URL, e->x->url, CURLU_DISALLOW_USER) != CURLUE_OK ||
        kt_curl.url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        kt_curl.url_get(url, CURLUPART_HOST, &e->server, 0) != CURLUE_OK) {
        status = fail(e, KTP_MALFORMED, "not a URL, or one with a user name");
        goto out;
    }
    e->plain = strcmp(scheme, "http") == 0;
    e->near = is_near(e->server);
    if (!e->plain && strcmp(scheme, "https") != 0)
        status = fail(e, KTP_MALFORMED, "only https: can be spoken to a provider's server");
    else if (e->plain && !e->near)
        status = fail(e, KTP_MALFORMED, "http: is for this machine only: say https:");
out:
    kt_curl.free(scheme);
    kt_curl.url_cleanup(url);
    return status;
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    const exchange_t *e = arg;

    (void)purpose;
    if (e->plain && !is_near_address(&address->addr))
        return CURL_SOCKET_BAD;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* ---- the answer ---- */

static bool grow(exchange_t *e, size_t needed)
{
    size_t capacity = e->capacity > 0 ? e->capacity : ANSWER_FIRST;
    unsigned char *data;

    while (capacity < needed)
        capacity *= 2;
    data = kt_locked_alloc(capacity);
    if (data == NULL)
        return false;
    if (e->answer.data != NULL)
        memcpy(data, e->answer.data, e->answer.size);
    kt_locked_free(e->answer.data);
    e->answer.data = data;
    e->capacity = capacity;
    return true;
}

static size_t append_body(char *data, size_t one, size_t size, void *arg)
{
    exchange_t *e = arg;

    (void)one;
    if (size > e->x->answer_max - e->answer.size) {
        e->too_big = true;
        return size + 1;
    }
    if (e->answer.size + size + 1 > e->capacity && !grow(e, e->answer.size + size + 1)) {
        e->no_memory = true;
        return size + 1;
    }
    memcpy(e->answer.data + e->answer.size, data, size);
    e->answer.size += size;
    e->answer.data[e->answer.size] = '\0';
    return size;
}

static size_t parse_header(char *data, size_t one, size_t size, void *arg)
{
    exchange_t *e = arg;

    (void)data;
    (void)one;
    e->header_bytes += size;
    if (e->header_bytes <= HEADERS_MAX)
        return size;
    e->too_big = true;
    return size + 1;
}

/* ---- the request ---- */

static bool add_header(exchange_t *e, const char *text)
{
    struct curl_slist *longer = kt_curl.slist_append(e->headers, text);

    if (longer != NULL)
        e->headers = longer;
    return longer != NULL;
}

/* libcurl adds some headers by itself: not "Expect", and no type of a body that the provider did
 * not name. */
static ktp_status_t make_headers(exchange_t *e)
{
    bool typed = false, good = add_header(e, "Expect:");

    for (size_t i = 0; good && e->x->headers != NULL && e->x->headers[i] != NULL; i++) {
        const char *text = e->x->headers[i];

        if (strpbrk(text, "\r\n") != NULL || strchr(text, ':') == NULL)
            return fail(e, KTP_MALFORMED, "malformed header");
        typed |= strncasecmp(text, "content-type:", 13) == 0;
        good = add_header(e, text);
    }
    if (good && !typed)
        good = add_header(e, "Content-Type:");
    return good ? KTP_SUCCESS : fail(e, KTP_UNAVAIL, "out of memory");
}

static bool is_method(const char *method)
{
    size_t length = method != NULL ? strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") : 0;

    return length > 0 && length <= 16 && method[length] == '\0';
}

#define SET(option, value)                                                                         \
    (void)(code = code != CURLE_OK ? code : kt_curl.easy_setopt(e->curl, option, value))

static CURLcode set_limits(exchange_t *e)
{
    CURLcode code = CURLE_OK;

#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, e->plain ? "http" : "https");
#else
    SET(CURLOPT_PROTOCOLS, e->plain ? CURLPROTO_HTTP : CURLPROTO_HTTPS);
#endif
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    if (e->x->ca_file != NULL) {
        SET(CURLOPT_CAINFO, e->x->ca_file);
        SET(CURLOPT_CAPATH, NULL);
    }
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_VERBOSE, 0L);
    SET(CURLOPT_TIMEOUT_MS, (long)e->x->timeout);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)e->x->timeout);
    SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)e->x->answer_max);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    if (e->near)
        SET(CURLOPT_NOPROXY, "*");
    return code;
}

static CURLcode set_request(exchange_t *e)
{
    const ktp_http_t *x = e->x;
    CURLcode code = CURLE_OK;

    SET(CURLOPT_URL, x->url);
    SET(CURLOPT_USERAGENT, "keyturn/" KT_VERSION);
    SET(CURLOPT_HTTPHEADER, e->headers);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, e);
    SET(CURLOPT_WRITEFUNCTION, append_body);
    SET(CURLOPT_WRITEDATA, e);
    SET(CURLOPT_HEADERFUNCTION, parse_header);
    SET(CURLOPT_HEADERDATA, e);
    if (strcmp(x->method, "HEAD") == 0)
        SET(CURLOPT_NOBODY, 1L);
    else if (x->body != NULL || strcmp(x->method, "POST") == 0) {
        SET(CURLOPT_POSTFIELDS, x->body != NULL ? x->body : "");
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(x->body != NULL ? x->body_size : 0));
    }
    if (strcmp(x->method, "GET") != 0 || x->body != NULL)
        SET(CURLOPT_CUSTOMREQUEST, x->method);
    return code;
}

#define STEP 100 /* ms of waiting after which the caller may have gone */

/* curl_easy_perform(), but the wait can be interrupted. */
static CURLcode drive(CURL *curl)
{
    CURLcode code = CURLE_FAILED_INIT;
    CURLM *multi = kt_curl.multi_init();
    CURLMsg *message;
    CURLMcode stepped;
    int running = 1, left;

    if (multi == NULL)
        return CURLE_OUT_OF_MEMORY;
    stepped = kt_curl.multi_add_handle(multi, curl);
    while (stepped == CURLM_OK && running) {
        stepped = kt_curl.multi_perform(multi, &running);
        if (stepped == CURLM_OK && running)
            stepped = kt_curl.multi_poll(multi, NULL, 0, STEP, NULL);
        if (running && kt_provider_interrupted()) {
            code = CURLE_ABORTED_BY_CALLBACK;
            break;
        }
    }
    message = running ? NULL : kt_curl.multi_info_read(multi, &left);
    if (message != NULL && message->msg == CURLMSG_DONE)
        code = message->data.result;
    (void)kt_curl.multi_remove_handle(multi, curl);
    (void)kt_curl.multi_cleanup(multi);
    return code;
}

/* Writing to a connection that the server has closed raises SIGPIPE in OpenSSL; it must not reach
 * the host. */
static CURLcode perform(exchange_t *e)
{
    const struct timespec none = {0, 0};
    sigset_t pipe, pending, old;
    bool was_pending;
    CURLcode code;

    (void)sigemptyset(&pipe);
    (void)sigaddset(&pipe, SIGPIPE);
    was_pending = sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &pipe, &old);
    code = drive(e->curl);
    if (!was_pending)
        while (sigtimedwait(&pipe, NULL, &none) == SIGPIPE)
            continue;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return code;
}

/* ---- one exchange ---- */

static ktp_status_t run(exchange_t *e)
{
    CURLcode code = set_limits(e);

    if (code == CURLE_OK)
        code = set_request(e);
    if (code != CURLE_OK)
        return fail_transport(e, code);
    if (!grow(e, 1))
        return fail(e, KTP_UNAVAIL, "no locked memory for the answer");
    code = perform(e);
    if (e->too_big || code == CURLE_FILESIZE_EXCEEDED)
        return fail(e, KTP_MALFORMED, "the answer is larger than it may be");
    if (e->no_memory)
        return fail(e, KTP_UNAVAIL, "no locked memory for the answer");
    return code == CURLE_OK ? KTP_SUCCESS : fail_transport(e, code);
}

static void hand_over(exchange_t *e)
{
    curl_off_t after = 0;
    ktp_http_t *x = e->x;

    (void)kt_curl.easy_getinfo(e->curl, CURLINFO_RESPONSE_CODE, &x->status);
    (void)kt_curl.easy_getinfo(e->curl, CURLINFO_RETRY_AFTER, &after);
    x->retry_after = after < 0 ? 0 : after > UINT_MAX ? UINT_MAX : (unsigned)after;
    x->answer = e->answer; /* now the provider's */
    e->answer.data = NULL;
}

ktp_status_t kt_http(void *host, ktp_http_t *x)
{
    exchange_t e = {.host = host, .x = x};
    const char *why = kt_curl_load();
    ktp_status_t status;

    if (why != NULL)
        return fail(&e, KTP_UNAVAIL, why);
    if (x->timeout == 0)
        x->timeout = TIMEOUT_DEFAULT;
    status = x->url != NULL && is_method(x->method)
                 ? check_url(&e)
                 : fail(&e, KTP_MALFORMED, "no URL or no method");
    if (status == KTP_SUCCESS)
        status = make_headers(&e);
    if (status == KTP_SUCCESS) {
        e.curl = kt_curl.easy_init();
        status = e.curl != NULL ? run(&e) : fail(&e, KTP_UNAVAIL, "out of memory");
    }
    if (status == KTP_SUCCESS)
        hand_over(&e);
    kt_locked_free(e.answer.data);
    kt_curl.easy_cleanup(e.curl);
    kt_curl.slist_free_all(e.headers);
    kt_curl.free(e.server);
    return status;
}
