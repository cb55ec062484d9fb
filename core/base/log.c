/* SPDX-License-Identifier: BSD-2-Clause */
/* log.c: lines for the host's log, and progress for its user. */
#include <stdio.h>

#include "base.h"

void kt_log(const kt_logger_t *logger, int level, const char *format, ...)
{
    char text[KT_ERROR_SIZE];
    va_list args;

    if (logger->fn == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    logger->fn(logger->arg, level, text);
}

void kt_progress_tell(const kt_logger_t *logger, const char *what, uint64_t done, uint64_t total)
{
    if (logger->progress != NULL)
        logger->progress(logger->progress_arg, what, done, total);
}
