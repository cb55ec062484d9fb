/* SPDX-License-Identifier: BSD-2-Clause */
/* call.h: one command on a connection that is made when it is needed. */
#ifndef KEYTURN_REDIS_CALL_H
#define KEYTURN_REDIS_CALL_H

#include "connection.h"

/*
 * One command and its answer as kr_exchange() has it, after connecting if that is needed. In a
 * cluster it goes to the node that has the secret `name`; NULL: to any node. After KTP_UNAVAIL
 * instance->broken says that it may have been carried out.
 */
ktp_status_t kr_call(ktp_instance_t *instance, const char *name, const kr_argument_t *arguments,
                     size_t count, redisReply **ret_reply);
/* Connects if that is needed, so that instance->clustered is known. */
ktp_status_t kr_call_ready(ktp_instance_t *instance);

#endif /* KEYTURN_REDIS_CALL_H */
