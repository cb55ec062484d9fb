/* SPDX-License-Identifier: BSD-2-Clause */
/* call.c: one command, on a connection that is made when it is needed. */
#include "call.h"

#include "cluster.h"
#include "servers.h"
#include "watch.h"

#define HOPS_MAX 5 /* redirections of one command, in a cluster */

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

/* On the server of this instance. `asking`: it is to answer for a slot that is not its own yet. */
static ktp_status_t call_server(ktp_instance_t *instance, int asking, int64_t deadline,
                                const kr_argument_t *arguments, size_t count,
                                redisReply **ret_reply)
{
    static const kr_argument_t ask[] = {KR_TEXT("ASKING")};
    redisReply *reply = NULL;
    ktp_status_t status;

    for (int tries = 0;; tries++) {
        instance->broken = 0;
        status = connect_until(instance, deadline);
        if (status == KTP_SUCCESS && asking) {
            status = kr_exchange(instance, &instance->commands, deadline, ask, 1, &reply);
            if (status == KTP_SUCCESS)
                freeReplyObject(reply);
            else if (status == KTP_FORBIDDEN)
                status = kr_fail(instance, KTP_UNAVAIL,
                                 "the secret is moving to this node, and the ACL of our user does "
                                 "not let it ask here (+asking)");
        }
        if (status != KTP_SUCCESS)
            return status;
        status =
            kr_exchange(instance, &instance->commands, deadline, arguments, count, ret_reply);
        instance->broken = instance->commands.context == NULL;
        if (status == KTP_SUCCESS || tries > 0 || !is_elsewhere(instance))
            return status;
        kr_close(&instance->commands);
    }
}

/* ---- clusters ---- */

/* Where to go on, or NULL. A node that cannot be reached may have been replaced. */
static ktp_instance_t *next_node(ktp_instance_t *instance, const ktp_instance_t *node,
                                 ktp_status_t status)
{
    if (node->refusal == KR_MOVED || node->refusal == KR_ASK)
        return kr_cluster_follow(instance, node);
    if (node == instance || status != KTP_UNAVAIL || node->broken ||
        node->commands.context != NULL)
        return NULL;
    kr_cluster_forget(instance, node);
    return instance;
}

ktp_status_t kr_call(ktp_instance_t *instance, const char *name, const kr_argument_t *arguments,
                     size_t count, redisReply **ret_reply)
{
    int64_t deadline = kr_clock() + instance->timeout;
    ktp_instance_t *next = name != NULL ? kr_cluster_owner(instance, name) : instance;
    ktp_instance_t *node = instance;
    ktp_status_t status = KTP_UNAVAIL;

    for (int hops = 0; hops <= HOPS_MAX && next != NULL; hops++) {
        int asking = hops > 0 && node->refusal == KR_ASK;

        node = next;
        status = call_server(node, asking, deadline, arguments, count, ret_reply);
        next = status == KTP_SUCCESS ? NULL : next_node(instance, node, status);
    }
    if (node != instance) {
        instance->refusal = node->refusal;
        instance->broken = node->broken;
        if (status != KTP_SUCCESS)
            kr_fail(instance, status, "node %s: %.160s", node->address, node->error);
    }
    return status;
}

ktp_status_t kr_call_ready(ktp_instance_t *instance)
{
    return connect_until(instance, kr_clock() + instance->timeout);
}
