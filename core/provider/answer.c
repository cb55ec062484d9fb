/* SPDX-License-Identifier: BSD-2-Clause */
/* answer.c: what a provider answers, as a status and an error text of ours. The text is kept by
 * thread, since that is how calls on a provider are made: the caller picks it up with the status.
 */
#include <stdio.h>

#include "provider.h"

static _Thread_local char provider_error[KT_ERROR_SIZE];

void kt_provider_say(void *host, const char *format, ...)
{
    va_list args;

    (void)host;
    va_start(args, format);
    (void)vsnprintf(provider_error, sizeof(provider_error), format, args);
    va_end(args);
}

const char *kt_provider_error(void)
{
    return provider_error;
}

void kt_provider_error_clear(void)
{
    provider_error[0] = '\0';
}

kt_status_t kt_from_provider(const char *name, ktp_status_t answer)
{
    kt_status_t status =
        answer >= KTP_SUCCESS && answer <= KTP_NOSPACE ? (kt_status_t)answer : KT_MALFORMED;

    if (status == KT_SUCCESS) {
        /* said all the same: it must not pass for the reason of what fails next */
        kt_provider_error_clear();
        return status;
    }
    (void)kt_fail(status, "%s: %s", name,
                  provider_error[0] != '\0' ? provider_error : kt_status_text(status));
    kt_provider_error_clear();
    return status;
}
