/* SPDX-License-Identifier: BSD-2-Clause */
/* call.c: one command, on a connection that is made when it is needed. */
#include "call.h"

#include "servers.h"
#include "watch.h"

static ktp_status_t connect_until(ktp_instance_t *instance, int64_t deadline)
{
    ktp_status_t status = kr_usable(instance);

    if (status != KTP_SUCCESS)
        return status;
    if (instance->commands.context != NULL && !kr_is_alive(&instance->commands))
        kr_close(&instance->commands);
    if (instance->commands.context == NULL)
        status = kr_connect(instance, deadline);
    if (status == KTP_SUCCESS && instance->watching && instance->watch.context == NULL)
        status = kr_watch(instance, deadline);
    instance->refusal = KR_OTHER;
    return status;
}

/* Is it worth another connection? What was refused for one of these reasons has not happened. */
static int is_elsewhere(const ktp_instance_t *instance)
{
    if (instance->refusal == KR_LOG_IN)
        return instance->password_option != NULL;
    return instance->refusal == KR_READONLY &&
           (instance->servers.count > 1 || instance->sentinels.count > 0);
}

ktp_status_t kr_call(ktp_instance_t *instance, const kr_argument_t *arguments, size_t count,
                     redisReply **ret_reply)
{
    int64_t deadline = kr_clock() + instance->timeout;
    ktp_status_t status;

    for (int tries = 0;; tries++) {
        status = connect_until(instance, deadline);
        if (status != KTP_SUCCESS)
            return status;
        status =
            kr_exchange(instance, &instance->commands, deadline, arguments, count, ret_reply);
        if (status == KTP_SUCCESS || tries > 0 || !is_elsewhere(instance))
            return status;
        kr_close(&instance->commands);
    }
}
