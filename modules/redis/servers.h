/* SPDX-License-Identifier: BSD-2-Clause */
/* servers.h: which of several servers. */
#ifndef KEYTURN_REDIS_SERVERS_H
#define KEYTURN_REDIS_SERVERS_H

#include "connection.h"

/* Takes a text with one address a line apart. 0, or -1: out of memory, more than KR_SERVERS_MAX, or
 * one of them is not an address. */
int kr_list_take(kr_list_t *list, const char *text);
/*
 * Connects instance->commands: to the master that the Sentinels name, or to the first of the
 * addresses that answers and is a master, else to a replica that answers. What was subscribed at
 * another server is closed. KTP_UNAVAIL, KTP_TRYAGAIN.
 */
ktp_status_t kr_connect(ktp_instance_t *instance, int64_t deadline);

#endif /* KEYTURN_REDIS_SERVERS_H */
