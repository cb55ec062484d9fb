/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * services.c: what the core lends to providers, as one table.
 */
#include <stdio.h>
#include <string.h>

#include "provider.h"
#include "value/value.h"

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

static void service_debug(void *host, const char *format, ...)
{
    const kt_logger_t *logger = kt_provider_logger();
    char text[KT_ERROR_SIZE];
    va_list args;

    (void)host;
    if (logger == NULL || logger->fn == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    kt_flatten(text);
    kt_log(logger, 7, "%s", text);
}

static int service_interrupted(void *host)
{
    (void)host;
    return kt_provider_interrupted();
}

typedef struct pairs {
    ktp_pair_fn fn;
    void *arg;
} pairs_t;

static int pass_pair(void *arg, const kt_pair_t *pair)
{
    const pairs_t *pairs = arg;

    return pairs->fn(pairs->arg, pair->name, pair->name_size, pair->value, pair->value_size);
}

static ktp_status_t service_dotenv(void *host, const char *dialect, const char *file,
                                   const char *text, size_t size, ktp_pair_fn fn, void *arg)
{
    pairs_t pairs = {fn, arg};
    kt_status_t status = kt_dotenv_read(dialect, file, text, size, pass_pair, &pairs);

    if (status == KT_SUCCESS)
        return KTP_SUCCESS;
    kt_provider_say(host, "%s", kt_failure());
    kt_failure_clear();
    return status == KT_INTERNAL ? KTP_TRYAGAIN : KTP_MALFORMED;
}

static const ktp_services_t services = {
    .size = sizeof(ktp_services_t),
    .abi_major = KTP_ABI_MAJOR,
    .abi_minor = KTP_ABI_MINOR,
    .secret_alloc = service_alloc,
    .secret_free = service_free,
    .now = service_now,
    .error = kt_provider_say,
    .debug = service_debug,
    .http = kt_http,
    .interrupted = service_interrupted,
    .dotenv = service_dotenv,
    .run = kt_command_service,
};

const ktp_services_t *kt_services(void)
{
    return &services;
}
