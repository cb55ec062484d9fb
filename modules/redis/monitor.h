/* SPDX-License-Identifier: BSD-2-Clause */
/* monitor.h: a Sentinel that logs in with the account whose password changes. */
#ifndef KEYTURN_REDIS_MONITOR_H
#define KEYTURN_REDIS_MONITOR_H

#include "node.h"

#define KR_MASTER_MAX 128u

typedef struct kr_monitor {
    kr_node_t node; /* its connection; the account's administrator is not the Sentinel's */
    char master[KR_MASTER_MAX];
} kr_monitor_t;

ktp_status_t kr_monitor_init(kr_monitor_t *monitor, const ktp_services_t *services,
                             const ktp_account_t *account, const char *address);
void kr_monitor_close(kr_monitor_t *monitor);
/* Connects, and finds the name by which the Sentinel knows the servers. */
ktp_status_t kr_monitor_look(kr_monitor_t *monitor);
/* It logs in with the new password from now on; waits until it has. */
ktp_status_t kr_monitor_set(kr_monitor_t *monitor);

#endif /* KEYTURN_REDIS_MONITOR_H */
