/* SPDX-License-Identifier: BSD-2-Clause */
/* watch.h: the change token, by what the server's module publishes. */
#ifndef KEYTURN_REDIS_WATCH_H
#define KEYTURN_REDIS_WATCH_H

#include "instance.h"

/* Subscribes to the changes from now on, at the server that the commands go to. */
ktp_status_t kr_watch(ktp_instance_t *instance, int64_t deadline);
void kr_unwatch(ktp_instance_t *instance);
/* May this key be the name of a secret, by its bytes? */
int kr_is_name(const redisReply *reply);
ktp_status_t kr_token(ktp_instance_t *instance, unsigned char ret_token[KTP_TOKEN_SIZE]);

#endif /* KEYTURN_REDIS_WATCH_H */
