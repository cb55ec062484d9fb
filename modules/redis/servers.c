/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * servers.c: which of several servers is used, and who says so.
 *
 * A server says itself what it is (HELLO, which needs no right). Of a cluster any node will do: it
 * knows who has the rest.
 */
#include "servers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "open.h"

int kr_list_take(kr_list_t *list, const char *text)
{
    ktp_instance_t probe = {.host = NULL};
    char *next = NULL;
    int wrong = 0;

    list->text = strdup(text);
    if (list->text == NULL)
        return -1;
    for (char *item = strtok_r(list->text, "\n", &next); item != NULL && !wrong;
         item = strtok_r(NULL, "\n", &next)) {
        wrong = list->count == KR_SERVERS_MAX || strlen(item) >= KR_ADDRESS_MAX ||
                kr_address(&probe, item) != 0;
        if (!wrong)
            list->items[list->count++] = item;
    }
    free(probe.host);
    return wrong || list->count == 0 ? -1 : 0;
}

/* ---- what a server is ---- */

static int is(const redisReply *reply, const char *text)
{
    return (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS) &&
           strcmp(reply->str, text) == 0;
}

/* A proxy, which has no HELLO, says nothing of it. */
static ktp_status_t identify(ktp_instance_t *instance, int64_t deadline)
{
    static const kr_argument_t hello[] = {KR_TEXT("HELLO")};
    redisReply *reply = NULL;
    ktp_status_t status = kr_answer(instance, &instance->commands, deadline, hello, 1, &reply);

    instance->role = KR_UNKNOWN;
    instance->clustered = 0;
    if (status != KTP_SUCCESS)
        return status;
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i + 1 < reply->elements; i += 2) {
        if (is(reply->element[i], "mode"))
            instance->clustered = is(reply->element[i + 1], "cluster");
        else if (is(reply->element[i], "role"))
            instance->role = is(reply->element[i + 1], "master") ? KR_MASTER : KR_REPLICA;
    }
    freeReplyObject(reply);
    return KTP_SUCCESS;
}

static ktp_status_t try_server(ktp_instance_t *instance, const char *address, int64_t deadline)
{
    ktp_status_t status;

    instance->address = address;
    if (kr_address(instance, address) != 0)
        return kr_fail(instance, KTP_UNAVAIL, "this is not an address");
    status = kr_open(instance, &instance->commands, deadline);
    if (status == KTP_SUCCESS)
        status = identify(instance, deadline);
    if (status != KTP_SUCCESS)
        kr_close(&instance->commands);
    return status;
}

/* ---- a list of servers ---- */

/* Each has its share of the time that is left. */
static int64_t share(int64_t deadline, size_t left)
{
    int64_t now = kr_clock();

    return now + (deadline - now) / (int64_t)left;
}

static ktp_status_t connect_any(ktp_instance_t *instance, int64_t deadline)
{
    const kr_list_t *list = &instance->servers;
    const char *replica = NULL;
    ktp_status_t status = KTP_UNAVAIL;

    for (size_t i = 0; i < list->count; i++) {
        size_t at = (instance->chosen + i) % list->count;

        status = try_server(instance, list->items[at], share(deadline, list->count - i));
        if (status == KTP_TRYAGAIN)
            return status;
        if (status != KTP_SUCCESS)
            continue;
        if (instance->role != KR_REPLICA || list->count == 1 || instance->clustered) {
            instance->chosen = at;
            return KTP_SUCCESS;
        }
        replica = list->items[at];
        kr_close(&instance->commands);
    }
    return replica != NULL ? try_server(instance, replica, deadline) : status;
}

/* ---- Sentinels ---- */

/* Keeps what a Sentinel said. */
static int take_master(ktp_instance_t *instance, const ktp_instance_t *guide,
                       const redisReply *reply)
{
    const redisReply *host, *port;
    int len;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
        return -1;
    host = reply->element[0];
    port = reply->element[1];
    if (host->type != REDIS_REPLY_STRING || port->type != REDIS_REPLY_STRING)
        return -1;
    len = snprintf(instance->found, sizeof(instance->found),
                   strchr(host->str, ':') != NULL ? "%s[%s]:%s" : "%s%s:%s",
                   guide->secure ? "rediss://" : "", host->str, port->str);
    return len > 0 && (size_t)len < sizeof(instance->found) ? 0 : -1;
}

static ktp_status_t ask_sentinel(ktp_instance_t *instance, const char *address, int64_t deadline)
{
    const kr_argument_t question[] = {KR_TEXT("SENTINEL"),
                                      KR_TEXT("GET-MASTER-ADDR-BY-NAME"),
                                      {instance->master, strlen(instance->master)}};
    ktp_instance_t guide = {.services = instance->services,
                            .pid = instance->pid,
                            .address = address,
                            .tls = instance->tls,
                            .username = instance->sentinel_username,
                            .password = instance->sentinel_password,
                            .password_size = instance->sentinel_password_size};
    redisReply *reply = NULL;
    ktp_status_t status = KTP_UNAVAIL;

    if (kr_address(&guide, address) == 0)
        status = kr_open(&guide, &guide.commands, deadline);
    if (status == KTP_SUCCESS)
        status = kr_exchange(&guide, &guide.commands, deadline, question, 3, &reply);
    if (status == KTP_SUCCESS && take_master(instance, &guide, reply) != 0)
        status = kr_fail(&guide, KTP_UNAVAIL, "it knows no master of the name \"%.64s\"",
                         instance->master);
    if (status != KTP_SUCCESS)
        kr_fail(instance, status, "Sentinel: %.200s", guide.error);
    if (reply != NULL)
        freeReplyObject(reply);
    kr_close(&guide.commands);
    free(guide.host);
    return status == KTP_FORBIDDEN ? KTP_UNAVAIL : status;
}

/* The Sentinel that answered is asked first the next time. */
static ktp_status_t connect_by_sentinel(ktp_instance_t *instance, int64_t deadline)
{
    const kr_list_t *list = &instance->sentinels;
    ktp_status_t status = KTP_UNAVAIL;

    for (size_t i = 0; i < list->count; i++) {
        size_t at = (instance->chosen + i) % list->count;

        instance->address = list->items[at];
        status = ask_sentinel(instance, list->items[at], share(deadline, list->count - i + 1));
        if (status == KTP_SUCCESS) {
            instance->chosen = at;
            break;
        }
        if (status == KTP_TRYAGAIN)
            return status;
    }
    if (status == KTP_SUCCESS)
        status = try_server(instance, instance->found, deadline);
    if (status == KTP_SUCCESS && instance->role == KR_REPLICA) {
        kr_close(&instance->commands);
        status = kr_fail(instance, KTP_TRYAGAIN,
                         "the Sentinels call it the master, and it is a replica: a fail-over runs");
    }
    return status;
}

ktp_status_t kr_connect(ktp_instance_t *instance, int64_t deadline)
{
    ktp_status_t status = instance->sentinels.count > 0 ? connect_by_sentinel(instance, deadline)
                                                        : connect_any(instance, deadline);

    /* a change must be heard of where it is read */
    if (status == KTP_SUCCESS && instance->watch.context != NULL &&
        strcmp(instance->watched, instance->address) != 0) {
        kr_close(&instance->watch);
        instance->generation++;
    }
    return status;
}
