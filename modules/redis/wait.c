/* SPDX-License-Identifier: BSD-2-Clause */
/* wait.c: time, and waiting for a descriptor. */
#include "wait.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define STEP 100 /* ms of waiting after which the caller may have gone */

int64_t kr_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

ktp_status_t kr_fail(ktp_instance_t *instance, ktp_status_t status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(instance->error, sizeof(instance->error), format, args);
    va_end(args);
    return status;
}

ktp_status_t kr_usable(ktp_instance_t *instance)
{
    return instance->pid == getpid()
               ? KTP_SUCCESS
               : kr_fail(instance, KTP_UNAVAIL, "opened by another process, before a fork");
}

int kr_wait_for(const ktp_services_t *services, int fd, short events, int64_t deadline)
{
    struct pollfd watched = {.fd = fd, .events = events};
    int64_t left;
    int n;

    do {
        left = deadline - kr_clock();
        if (left <= 0)
            return ETIMEDOUT;
        n = poll(&watched, 1, left > STEP ? STEP : (int)left);
        if (n <= 0 && ktp_interrupted(services))
            return ECANCELED;
    } while (n == 0 || (n < 0 && errno == EINTR));
    return n < 0 ? errno : 0;
}
