/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_http.c: the HTTP service of providers, against a server of bad manners (http_server.py
 * beside this file).
 */
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT 5000u
#define ANSWER_MAX 70000u

static FILE *server;
static int port, tls_port, other_port, old_port;
static char folder[256], ca_file[300];

/* The server is looked for where this file was compiled, or in KT_SRCDIR. */
static void start_server(void)
{
    const char *top = getenv("KT_SRCDIR");
    char command[1024];

    (void)snprintf(command, sizeof(command), "exec python3 %s%s%.*shttp_server.py",
                   top != NULL ? top : "", top != NULL ? "/" : "",
                   (int)(strrchr(__FILE__, '/') + 1 - __FILE__), __FILE__);
    server = popen(command, "r");
    ck_assert_ptr_nonnull(server);
    ck_assert_msg(
        fscanf(server, "%d %d %d %d %255s", &port, &tls_port, &other_port, &old_port, folder) == 5,
        "no server: are python3 and openssl there?");
    (void)snprintf(ca_file, sizeof(ca_file), "%s/ca.pem", folder);
}

static ktp_http_t exchange(const char *method, const char *url)
{
    return (ktp_http_t){.size = sizeof(ktp_http_t),
                        .method = method,
                        .url = url,
                        .answer_max = ANSWER_MAX,
                        .timeout = TIMEOUT};
}

static const char *url_of(const char *scheme, const char *host, int at, const char *path)
{
    static char url[256];

    (void)snprintf(url, sizeof(url), "%s://%s:%d/%s", scheme, host, at, path);
    return url;
}

static const char *plain(const char *path)
{
    return url_of("http", "127.0.0.1", port, path);
}

static void assert_answer(ktp_http_t *x, long status, const char *body)
{
    ktp_status_t got;

    kt_provider_error_clear();
    got = kt_http(NULL, x);
    ck_assert_msg(got == KTP_SUCCESS, "%d: %s", (int)got, kt_provider_error());
    ck_assert_int_eq(x->status, status);
    ck_assert_uint_eq(x->answer.size, strlen(body));
    ck_assert_str_eq((const char *)x->answer.data, body);
    kt_locked_free(x->answer.data);
}

static void assert_failed(ktp_http_t *x, ktp_status_t status)
{
    ktp_status_t got;

    kt_provider_error_clear();
    got = kt_http(NULL, x);
    ck_assert_msg(got == status, "%d, not %d: %s", (int)got, (int)status, kt_provider_error());
    ck_assert_ptr_null(x->answer.data);
    ck_assert_str_ne(kt_provider_error(), "");
    ck_assert_ptr_null(strstr(kt_provider_error(), "CANARY"));
}

START_TEST(it_gets)
{
    ktp_http_t x = exchange("GET", plain("ok"));

    assert_answer(&x, 200, "hello");
    x = exchange("GET", plain("empty"));
    assert_answer(&x, 204, "");
    x = exchange("HEAD", plain("ok"));
    x.timeout = 1000;
    assert_answer(&x, 501, "");
}
END_TEST

START_TEST(it_sends_method_headers_and_body)
{
    static const char *const headers[] = {"X-Token: abc", "Content-Type: application/json", NULL};
    ktp_http_t x = exchange("POST", plain("echo"));

    x.headers = headers;
    x.body = "{}";
    x.body_size = 2;
    assert_answer(&x, 200, "POST|abc|application/json|None|{}");
    x = exchange("POST", plain("echo"));
    assert_answer(&x, 200, "POST|None|None|None|");
    x = exchange("PUT", plain("echo"));
    x.body = "12345";
    x.body_size = 4;
    assert_answer(&x, 200, "PUT|None|None|None|1234");
    x = exchange("LIST", plain("echo"));
    assert_answer(&x, 200, "LIST|None|None|None|");
    x = exchange("DELETE", plain("echo"));
    assert_answer(&x, 200, "DELETE|None|None|None|");
}
END_TEST

START_TEST(it_leaves_statuses_to_the_provider)
{
    ktp_http_t x = exchange("GET", plain("nothing-there"));

    assert_answer(&x, 404, "CANARY-body");
    ck_assert_uint_eq(x.retry_after, 0);
    x = exchange("GET", plain("busy"));
    assert_answer(&x, 429, "later");
    ck_assert_uint_eq(x.retry_after, 7);
}
END_TEST

START_TEST(it_follows_no_redirect)
{
    ktp_http_t x = exchange("GET", plain("redirect"));

    assert_answer(&x, 302, "");
}
END_TEST

/* Every byte arrives, through all steps by which the buffer grows. */
START_TEST(it_takes_answers_of_each_size)
{
    static const size_t sizes[] = {1, 4094, 4095, 4096, 4097, 8191, 65536, ANSWER_MAX};
    size_t size = sizes[_i];
    char path[32];
    ktp_http_t x;

    (void)snprintf(path, sizeof(path), "size/%zu", size);
    x = exchange("GET", plain(path));
    ck_assert_int_eq(kt_http(NULL, &x), KTP_SUCCESS);
    ck_assert_uint_eq(x.answer.size, size);
    for (size_t i = 0; i < size; i++)
        ck_assert_uint_eq(x.answer.data[i], i % 251);
    ck_assert_uint_eq(x.answer.data[size], 0);
    kt_locked_free(x.answer.data);
}
END_TEST

START_TEST(it_refuses_what_is_too_large)
{
    static const char *const paths[] = {"size/70001", "huge", "endless", "headers"};
    ktp_http_t x = exchange("GET", plain(paths[_i]));

    assert_failed(&x, KTP_MALFORMED);
}
END_TEST

START_TEST(it_refuses_what_is_not_a_whole_answer)
{
    static const char *const paths[] = {"truncated", "garbage"};
    ktp_http_t x = exchange("GET", plain(paths[_i]));

    assert_failed(&x, KTP_UNAVAIL);
}
END_TEST

START_TEST(it_gives_up_in_time)
{
    static const char *const paths[] = {"slow", "mute"};
    ktp_http_t x = exchange("GET", plain(paths[_i]));
    struct timespec start, end;
    double took;

    x.timeout = 400;
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    assert_failed(&x, KTP_UNAVAIL);
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    took = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
    ck_assert_msg(took > 0.3 && took < 1.5, "%.3f s", took);
    ck_assert_ptr_nonnull(strstr(kt_provider_error(), "400 ms"));
}
END_TEST

static int has_gone(void *arg)
{
    return ++*(int *)arg > 2;
}

START_TEST(it_gives_up_when_the_caller_has_gone)
{
    static const char *const paths[] = {"slow", "mute"};
    int asked = 0;
    kt_logger_t logger = {.interrupted = has_gone, .interrupted_arg = &asked};
    ktp_http_t x = exchange("GET", plain(paths[_i]));
    struct timespec start, end;
    double took;

    kt_provider_begin(&logger);
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    assert_failed(&x, KTP_TRYAGAIN);
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    kt_provider_begin(NULL);
    took = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
    ck_assert_msg(took < 2, "%.3f s", took);
}
END_TEST

START_TEST(it_says_that_no_server_listens)
{
    ktp_http_t x = exchange("GET", "http://127.0.0.1:1/CANARY?CANARY");

    assert_failed(&x, KTP_UNAVAIL);
    ck_assert_ptr_nonnull(strstr(kt_provider_error(), "127.0.0.1"));
    ck_assert_ptr_nonnull(strstr(kt_provider_error(), "refused"));
}
END_TEST

START_TEST(it_refuses_other_urls)
{
    static const char *const urls[] = {
        "http://example.com/CANARY", "http://10.0.0.1/",
        "http://169.254.169.253/",   "file:///etc/passwd",
        "ftp://127.0.0.1/",          "CANARY",
        "http://CANARY@127.0.0.1/",  "https://user:CANARY@127.0.0.1/",
        "http://127.0.0.1.example/", "http://128.0.0.1/",
        "gopher://127.0.0.1/",       "http://[::2]/",
        "http://localhost.example/", "",
    };
    ktp_http_t x;

    for (size_t i = 0; i < KT_ARRAY(urls); i++) {
        x = exchange("GET", urls[i]);
        assert_failed(&x, KTP_MALFORMED);
    }
}
END_TEST

START_TEST(it_refuses_bad_methods_and_headers)
{
    static const char *const crlf[] = {"X-A: b\r\nX-CANARY: c", NULL}, *const bare[] = {"CANARY",
                                                                                        NULL};
    static const char *const methods[] = {"", "get", "GET /", "G\r\nET", "ABCDEFGHIJKLMNOPQ"};
    ktp_http_t x = exchange("GET", plain("ok"));

    x.headers = crlf;
    assert_failed(&x, KTP_MALFORMED);
    x.headers = bare;
    assert_failed(&x, KTP_MALFORMED);
    for (size_t i = 0; i < KT_ARRAY(methods); i++) {
        x = exchange(methods[i], plain("ok"));
        assert_failed(&x, KTP_MALFORMED);
    }
    x = exchange(NULL, plain("ok"));
    assert_failed(&x, KTP_MALFORMED);
}
END_TEST

START_TEST(it_uses_no_proxy_nearby)
{
    ktp_http_t x = exchange("GET", plain("ok"));

    ck_assert_int_eq(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
    ck_assert_int_eq(setenv("ALL_PROXY", "http://127.0.0.1:1", 1), 0);
    assert_answer(&x, 200, "hello");
}
END_TEST

START_TEST(it_verifies_tls)
{
    ktp_http_t x = exchange("GET", url_of("https", "127.0.0.1", tls_port, "ok"));

    x.ca_file = ca_file;
    assert_answer(&x, 200, "hello");
    x = exchange("GET", url_of("https", "localhost", tls_port, "ok"));
    x.ca_file = ca_file;
    assert_answer(&x, 200, "hello");
    x = exchange("GET", url_of("https", "127.0.0.1", tls_port,
                               "CANARY")); /* signed by an unknown authority */
    assert_failed(&x, KTP_UNAVAIL);
    x = exchange("GET", url_of("https", "127.0.0.1", other_port, "CANARY")); /* for another name */
    x.ca_file = ca_file;
    assert_failed(&x, KTP_UNAVAIL);
    x = exchange("GET", url_of("https", "127.0.0.1", old_port, "CANARY")); /* TLS 1.1 */
    x.ca_file = ca_file;
    assert_failed(&x, KTP_UNAVAIL);
    x = exchange("GET", url_of("https", "127.0.0.1", port, "CANARY")); /* no TLS at all */
    x.ca_file = ca_file;
    assert_failed(&x, KTP_UNAVAIL);
    x = exchange("GET", url_of("https", "127.0.0.1", tls_port, "CANARY"));
    x.ca_file = "/nonexistent/ca.pem";
    assert_failed(&x, KTP_UNAVAIL);
}
END_TEST

START_TEST(it_leaves_signals_as_they_were)
{
    ktp_http_t x = exchange("GET", plain("endless"));
    sigset_t mask;

    assert_failed(&x, KTP_MALFORMED);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    ck_assert_int_eq(sigismember(&mask, SIGPIPE), 0);
}
END_TEST

/* In a process of its own, which has not loaded libcurl yet and can open no file. */
static void ask_without_libcurl(void)
{
    static const char expected[] = "http: libcurl.so.4 cannot be loaded: cannot open shared object "
                                   "file: Too many open files (install libcurl4, then start again)";
    struct rlimit none;
    ktp_http_t x = exchange("GET", plain("ok"));

    if (getrlimit(RLIMIT_NOFILE, &none) != 0)
        _exit(2);
    none.rlim_cur = 0; /* valgrind lets a program change no other */
    if (setrlimit(RLIMIT_NOFILE, &none) != 0)
        _exit(2);
    for (int i = 0; i < 2; i++) {
        kt_provider_error_clear();
        if (kt_http(NULL, &x) != KTP_UNAVAIL || strcmp(kt_provider_error(), expected) != 0) {
            (void)fprintf(stderr, "%s\n", kt_provider_error());
            _exit(1);
        }
    }
    _exit(0);
}

START_TEST(it_says_why_there_is_no_libcurl)
{
    pid_t pid = fork();
    int ended;

    if (pid == 0)
        ask_without_libcurl();
    ck_assert_int_eq(waitpid(pid, &ended, 0), pid);
    ck_assert_int_eq(ended, 0);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_unchecked_fixture(tests, start_server, NULL); /* the server ends with this program */
    tcase_add_test(tests, it_says_why_there_is_no_libcurl); /* the first: without fork, too */
    tcase_add_test(tests, it_gets);
    tcase_add_test(tests, it_sends_method_headers_and_body);
    tcase_add_test(tests, it_leaves_statuses_to_the_provider);
    tcase_add_test(tests, it_follows_no_redirect);
    tcase_add_loop_test(tests, it_takes_answers_of_each_size, 0, 8);
    tcase_add_loop_test(tests, it_refuses_what_is_too_large, 0, 4);
    tcase_add_loop_test(tests, it_refuses_what_is_not_a_whole_answer, 0, 2);
    tcase_add_loop_test(tests, it_gives_up_in_time, 0, 2);
    tcase_add_loop_test(tests, it_gives_up_when_the_caller_has_gone, 0, 2);
    tcase_add_test(tests, it_says_that_no_server_listens);
    tcase_add_test(tests, it_refuses_other_urls);
    tcase_add_test(tests, it_refuses_bad_methods_and_headers);
    tcase_add_test(tests, it_uses_no_proxy_nearby);
    tcase_add_test(tests, it_verifies_tls);
    tcase_add_test(tests, it_leaves_signals_as_they_were);
}

UNIT_MAIN("http", add_tests)
