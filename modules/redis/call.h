/* SPDX-License-Identifier: BSD-2-Clause */
/* call.h: one command on a connection that is made when it is needed. */
#ifndef KEYTURN_REDIS_CALL_H
#define KEYTURN_REDIS_CALL_H

#include "connection.h"

/* One command and its answer as kr_exchange() has it, after connecting if that is needed. */
ktp_status_t kr_call(ktp_instance_t *instance, const kr_argument_t *arguments, size_t count,
                     redisReply **ret_reply);

#endif /* KEYTURN_REDIS_CALL_H */
