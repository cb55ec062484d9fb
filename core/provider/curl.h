/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * curl.h: libcurl, which is loaded when the first request needs it. It brings some thirty libraries
 * with it, and most programs that link libkeyturn never speak HTTP.
 *
 * Include this and not curl/curl.h. Call a function of the table as kt_curl.NAME(), and only after
 * kt_curl_load() has returned NULL.
 */
#ifndef KT_CURL_H
#define KT_CURL_H

#define CURL_DISABLE_TYPECHECK /* its macros hide the variadic functions, whose types we need */
#include <curl/curl.h>
#undef curl_easy_setopt
#undef curl_easy_getinfo

/* The names without "curl_". */
#define KT_CURL_FUNCTIONS(X)                                                                       \
    X(global_init_mem)                                                                             \
    X(free)                                                                                        \
    X(url)                                                                                         \
    X(url_cleanup)                                                                                 \
    X(url_get)                                                                                     \
    X(url_set)                                                                                     \
    X(slist_append)                                                                                \
    X(slist_free_all)                                                                              \
    X(easy_init)                                                                                   \
    X(easy_cleanup)                                                                                \
    X(easy_setopt)                                                                                 \
    X(easy_getinfo)                                                                                \
    X(easy_strerror)                                                                               \
    X(multi_init)                                                                                  \
    X(multi_cleanup)                                                                               \
    X(multi_add_handle)                                                                            \
    X(multi_remove_handle)                                                                         \
    X(multi_perform)                                                                               \
    X(multi_poll)                                                                                  \
    X(multi_info_read)

#define KT_CURL_MEMBER(name) __typeof__(curl_##name) *name;
typedef struct kt_curl {
    KT_CURL_FUNCTIONS(KT_CURL_MEMBER)
} kt_curl_t;
#undef KT_CURL_MEMBER

extern kt_curl_t kt_curl; /* written once, by kt_curl_load() */

/*
 * Loads libcurl, finds every function and starts it, at the first call of the process. NULL, or why
 * it cannot be used and what to do, for an operator: a text that lasts. That too is for the life of
 * the process.
 *
 * From any thread: others wait for the first. After a fork a child keeps what its parent had
 * loaded, or loads it itself; a fork while another thread loads is as safe as dlopen(3), which the
 * C library makes usable in the child. libcurl is never unloaded: it has no way to end while
 * threads use it.
 */
const char *kt_curl_load(void);

#endif /* KT_CURL_H */
