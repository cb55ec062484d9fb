/* SPDX-License-Identifier: BSD-2-Clause */
/* wait.h: time, and waiting for a descriptor. */
#ifndef KEYTURN_REDIS_WAIT_H
#define KEYTURN_REDIS_WAIT_H

#include "instance.h"

int64_t kr_clock(void); /* milliseconds, monotonic */
/* Keeps the reason, the last one counts; answers `status`. */
ktp_status_t kr_fail(ktp_instance_t *instance, ktp_status_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* KTP_UNAVAIL in a child of the process that opened the instance: it is the parent's. */
ktp_status_t kr_usable(ktp_instance_t *instance);
/* 0: `events` are there; ECANCELED: the caller does not want to wait any longer; else errno. */
int kr_wait_for(const ktp_services_t *services, int fd, short events, int64_t deadline);

#endif /* KEYTURN_REDIS_WAIT_H */
