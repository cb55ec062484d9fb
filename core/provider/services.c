/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * services.c: what the core lends to providers, as one table. A provider's error text is kept by
 * thread, since that is how calls on it are made: the caller picks it up with the status.
 */
#include <stdio.h>
#include <string.h>

#include "internal.h"

static _Thread_local char provider_error[KT_ERROR_SIZE];
static _Thread_local const kt_ctx_t *speaking; /* whose log hook takes debug lines */

static void *service_alloc(void *host, size_t size)
{
    (void)host;
    return kt_locked_alloc(size);
}

static void service_free(void *host, void *data)
{
    (void)host;
    kt_locked_free(data);
}

static int64_t service_now(void *host)
{
    (void)host;
    return kt_now();
}

static void service_error(void *host, const char *format, ...)
{
    va_list args;

    (void)host;
    va_start(args, format);
    (void)vsnprintf(provider_error, sizeof(provider_error), format, args);
    va_end(args);
}

static void service_debug(void *host, const char *format, ...)
{
    char text[KT_ERROR_SIZE];
    va_list args;

    (void)host;
    if (speaking == NULL || speaking->log == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    kt_flatten(text);
    kt_log(speaking, 7, "%s", text);
}

static const ktp_services_t services = {
    .size = sizeof(ktp_services_t),
    .abi_major = KTP_ABI_MAJOR,
    .abi_minor = KTP_ABI_MINOR,
    .secret_alloc = service_alloc,
    .secret_free = service_free,
    .now = service_now,
    .error = service_error,
    .debug = service_debug,
    .http = kt_http,
};

const ktp_services_t *kt_services(void)
{
    return &services;
}

const char *kt_provider_error(void)
{
    return provider_error;
}

void kt_provider_error_clear(void)
{
    provider_error[0] = '\0';
}

void kt_services_speak(const kt_ctx_t *ctx)
{
    speaking = ctx;
}

kt_status_t kt_from_provider(const kt_store_t *store, ktp_status_t answer)
{
    kt_status_t status =
        answer >= KTP_SUCCESS && answer <= KTP_NOSPACE ? (kt_status_t)answer : KT_MALFORMED;

    if (status == KT_SUCCESS) {
        /* said all the same: it must not pass for the reason of what fails next */
        kt_provider_error_clear();
        return status;
    }
    (void)kt_fail(status, "%s: %s", store->name,
                  provider_error[0] != '\0' ? provider_error : kt_status_text(status));
    kt_provider_error_clear();
    return status;
}
