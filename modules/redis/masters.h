/* SPDX-License-Identifier: BSD-2-Clause */
/* masters.h: all servers that together have all secrets. */
#ifndef KEYTURN_REDIS_MASTERS_H
#define KEYTURN_REDIS_MASTERS_H

#include "instance.h"

typedef ktp_status_t (*kr_server_fn)(ktp_instance_t *server, void *arg);

/*
 * Calls fn() with the server that is used or, in a cluster, with each master in turn, until one
 * call fails; instance->error then says at which. KTP_UNAVAIL, too, if the cluster does not serve
 * all slots: what is left would pass for the whole.
 */
ktp_status_t kr_each_master(ktp_instance_t *instance, kr_server_fn fn, void *arg);

#endif /* KEYTURN_REDIS_MASTERS_H */
