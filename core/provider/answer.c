/* SPDX-License-Identifier: BSD-2-Clause */
/* answer.c: what a provider answers, as a status and an error text of ours. The text is kept by
 * thread, since that is how calls on a provider are made: the caller picks it up with the status.
 */
#include <stdio.h>

#include "provider.h"

/* One variable: each call of the library looks for it twice, and finding it is a call, too. */
static _Thread_local struct {
    char error[KT_ERROR_SIZE];
    const kt_logger_t *logger; /* NULL: no call is under way */
} said;

void kt_provider_begin(const kt_logger_t *logger)
{
    said.error[0] = '\0';
    said.logger = logger;
}

const kt_logger_t *kt_provider_logger(void)
{
    return said.logger;
}

bool kt_provider_interrupted(void)
{
    const kt_logger_t *logger = said.logger;

    return logger != NULL && logger->interrupted != NULL &&
           logger->interrupted(logger->interrupted_arg);
}

void kt_provider_say(void *host, const char *format, ...)
{
    va_list args;

    (void)host;
    va_start(args, format);
    (void)vsnprintf(said.error, sizeof(said.error), format, args);
    va_end(args);
}

const char *kt_provider_error(void)
{
    return said.error;
}

void kt_provider_error_clear(void)
{
    said.error[0] = '\0';
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
                  said.error[0] != '\0' ? said.error : kt_status_text(status));
    kt_provider_error_clear();
    return status;
}
