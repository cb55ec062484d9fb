/* SPDX-License-Identifier: BSD-2-Clause */
/* masters.c: all servers that together have all secrets: the one that is used, or the masters of a
 * cluster, as CLUSTER SLOTS names them. */
#include "masters.h"

#include <stdio.h>
#include <string.h>

#include "call.h"
#include "cluster.h"

#define SLOTS 16384

typedef struct masters {
    char list[KR_NODES_MAX][KR_ADDRESS_MAX];
    size_t count;
    long long slots; /* that they serve together */
} masters_t;

static int add(masters_t *masters, const char *address)
{
    for (size_t i = 0; i < masters->count; i++) {
        if (strcmp(masters->list[i], address) == 0)
            return 0;
    }
    if (masters->count == KR_NODES_MAX)
        return -1;
    memcpy(masters->list[masters->count++], address, strlen(address) + 1);
    return 0;
}

/* [first, last, [host, port, id, ...], replicas...] */
static int take_range(const ktp_instance_t *instance, const redisReply *range, masters_t *masters)
{
    const redisReply *node;
    char address[KR_ADDRESS_MAX], port[24];
    int known;

    if (range->type != REDIS_REPLY_ARRAY || range->elements < 3 ||
        range->element[0]->type != REDIS_REPLY_INTEGER ||
        range->element[1]->type != REDIS_REPLY_INTEGER ||
        range->element[1]->integer < range->element[0]->integer)
        return -1;
    node = range->element[2];
    if (node->type != REDIS_REPLY_ARRAY || node->elements < 2 ||
        node->element[1]->type != REDIS_REPLY_INTEGER)
        return -1;
    known = node->element[0]->type == REDIS_REPLY_STRING;
    snprintf(port, sizeof(port), "%lld", node->element[1]->integer);
    if (kr_cluster_address(instance, known ? node->element[0]->str : "",
                           known ? node->element[0]->len : 0, port, address) != 0 ||
        add(masters, address) != 0)
        return -1;
    masters->slots += range->element[1]->integer - range->element[0]->integer + 1;
    return 0;
}

static ktp_status_t find(ktp_instance_t *instance, masters_t *masters)
{
    static const kr_argument_t slots[] = {KR_TEXT("CLUSTER"), KR_TEXT("SLOTS")};
    redisReply *reply = NULL;
    ktp_status_t status = kr_call(instance, NULL, slots, 2, &reply);
    int wrong;

    masters->count = 0;
    masters->slots = 0;
    if (status == KTP_FORBIDDEN)
        return kr_fail(instance, status,
                       "the ACL of our user does not let it ask who is in the cluster (ACL SETUSER "
                       "%.64s +cluster|slots +asking)",
                       instance->username != NULL ? instance->username : "default");
    if (status != KTP_SUCCESS)
        return status;
    wrong = reply->type != REDIS_REPLY_ARRAY;
    for (size_t i = 0; !wrong && i < reply->elements; i++)
        wrong = take_range(instance, reply->element[i], masters) != 0;
    freeReplyObject(reply);
    if (wrong)
        return kr_fail(instance, KTP_MALFORMED,
                       "CLUSTER SLOTS: this is not its answer, or names more than %u nodes",
                       KR_NODES_MAX);
    if (masters->slots != SLOTS)
        return kr_fail(instance, KTP_UNAVAIL,
                       "of all 16384 slots the cluster serves %lld, so some secrets cannot be "
                       "found (redis-cli --cluster check)",
                       masters->slots);
    return KTP_SUCCESS;
}

ktp_status_t kr_each_master(ktp_instance_t *instance, kr_server_fn fn, void *arg)
{
    ktp_status_t status = kr_call_ready(instance);
    masters_t masters;

    if (status != KTP_SUCCESS || !instance->clustered)
        return status == KTP_SUCCESS ? fn(instance, arg) : status;
    status = find(instance, &masters);
    for (size_t i = 0; status == KTP_SUCCESS && i < masters.count; i++) {
        ktp_instance_t *node = kr_cluster_node(instance, masters.list[i]);

        if (node == NULL)
            return KTP_UNAVAIL;
        status = fn(node, arg);
        instance->refusal = node->refusal;
        if (status != KTP_SUCCESS)
            kr_fail(instance, status, "node %s: %.160s", node->address, node->error);
    }
    return status;
}
