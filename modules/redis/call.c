/* SPDX-License-Identifier: BSD-2-Clause */
/* call.c: one command, on a connection that is made when it is needed. */
#include "call.h"

#include <errno.h>
#include <sys/socket.h>

#include "watch.h"

/* Did the server close it between two commands (its `timeout`, a restart)? There is nothing to be
 * read between commands. */
static int is_alive(const kr_connection_t *connection)
{
    char byte;

    return recv(connection->context->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EINTR);
}

static ktp_status_t connect_until(ktp_instance_t *instance, int64_t deadline)
{
    ktp_status_t status = kr_usable(instance);

    instance->moved = 0;
    if (status != KTP_SUCCESS)
        return status;
    if (instance->commands.context != NULL && !is_alive(&instance->commands))
        kr_close(&instance->commands);
    if (instance->commands.context == NULL)
        status = kr_open(instance, &instance->commands, deadline);
    if (status == KTP_SUCCESS && instance->watching && instance->watch.context == NULL)
        status = kr_watch(instance, deadline);
    return status;
}

ktp_status_t kr_call(ktp_instance_t *instance, const kr_argument_t *arguments, size_t count,
                     redisReply **ret_reply)
{
    int64_t deadline = kr_clock() + instance->timeout;
    ktp_status_t status = connect_until(instance, deadline);

    if (status != KTP_SUCCESS)
        return status;
    return kr_exchange(instance, &instance->commands, deadline, arguments, count, ret_reply);
}
