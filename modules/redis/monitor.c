/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * monitor.c: a Sentinel, which logs in to the servers that it watches by auth-user and auth-pass.
 * It keeps them in its configuration file by itself.
 */
#include "monitor.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "open.h"

#define TEXT(text) ((kr_argument_t){(text), strlen(text)})
#define PAUSE 100      /* ms between two looks */
#define PATIENCE 15000 /* ms: a Sentinel connects again, and sends PING, once a second */

ktp_status_t kr_monitor_init(kr_monitor_t *monitor, const ktp_services_t *services,
                             const ktp_account_t *account, const char *address)
{
    ktp_status_t status = kr_node_init(&monitor->node, services, account, address);

    monitor->node.server.username = NULL;
    monitor->node.server.password = NULL;
    monitor->master[0] = '\0';
    return status;
}

void kr_monitor_close(kr_monitor_t *monitor)
{
    kr_node_close(&monitor->node);
}

/* The text at `name` in a Sentinel's description of a master, or NULL. */
static const char *text_of(const redisReply *master, const char *name)
{
    size_t i;

    for (i = 0; master->type == REDIS_REPLY_ARRAY && i + 1 < master->elements; i += 2) {
        const redisReply *key = master->element[i], *text = master->element[i + 1];

        if (key->type == REDIS_REPLY_STRING && text->type == REDIS_REPLY_STRING &&
            strcmp(key->str, name) == 0)
            return text->str;
    }
    return NULL;
}

/* The only one, or the one that the configuration names. */
static ktp_status_t choose_master(kr_monitor_t *monitor, const redisReply *masters)
{
    const char *wanted = monitor->node.account->monitored, *name;
    size_t i;

    if (wanted == NULL && masters->elements != 1)
        return kr_fail(&monitor->node.server, KTP_CONFLICT,
                       "this Sentinel does not watch one master only (name it: `master`)");
    for (i = 0; i < masters->elements; i++) {
        name = text_of(masters->element[i], "name");
        if (name == NULL || strlen(name) >= KR_MASTER_MAX ||
            (wanted != NULL && strcmp(name, wanted) != 0))
            continue;
        memcpy(monitor->master, name, strlen(name) + 1);
        return KTP_SUCCESS;
    }
    return kr_fail(&monitor->node.server, KTP_CONFLICT,
                   "this Sentinel does not watch the master \"%.64s\"",
                   wanted != NULL ? wanted : "");
}

ktp_status_t kr_monitor_look(kr_monitor_t *monitor)
{
    static const kr_argument_t masters[] = {KR_TEXT("SENTINEL"), KR_TEXT("MASTERS")};
    ktp_instance_t *server = &monitor->node.server;
    redisReply *reply = NULL;
    ktp_status_t status = KTP_SUCCESS;

    if (server->commands.context == NULL)
        status = kr_open(server, &server->commands, kr_clock() + server->timeout);
    if (status == KTP_SUCCESS)
        status = kr_node_ask(&monitor->node, masters, 2, &reply);
    if (status != KTP_SUCCESS)
        return status;
    if (reply->type != REDIS_REPLY_ARRAY) {
        freeReplyObject(reply);
        return kr_fail(server, KTP_CONFLICT,
                       "this is not a Sentinel, or one that asks for a password (that is not "
                       "supported)");
    }
    status = choose_master(monitor, reply);
    freeReplyObject(reply);
    return status;
}

static ktp_status_t set(kr_monitor_t *monitor, const char *name, kr_argument_t value)
{
    const kr_argument_t command[] = {KR_TEXT("SENTINEL"), KR_TEXT("SET"), TEXT(monitor->master),
                                     TEXT(name), value};

    return kr_node_run(&monitor->node, command, 5, "SENTINEL SET", "+sentinel|set");
}

/* Has the master answered its PING since `from`? Its flags would not say: they have `disconnected`
 * also without the right to subscribe. */
static ktp_status_t is_linked(kr_monitor_t *monitor, int64_t from, int *ret_linked)
{
    const kr_argument_t command[] = {KR_TEXT("SENTINEL"), KR_TEXT("MASTER"), TEXT(monitor->master)};
    redisReply *reply = NULL;
    ktp_status_t status = kr_node_ask(&monitor->node, command, 3, &reply);
    const char *heard;

    *ret_linked = 0;
    if (status != KTP_SUCCESS)
        return status;
    if (reply->type == REDIS_REPLY_ERROR)
        return kr_node_refused(&monitor->node, reply, "SENTINEL MASTER", "+sentinel|master");
    heard = text_of(reply, "last-ok-ping-reply");
    *ret_linked = heard != NULL && strtoll(heard, NULL, 10) < kr_clock() - from;
    freeReplyObject(reply);
    return KTP_SUCCESS;
}

static ktp_status_t wait_for_link(kr_monitor_t *monitor, int64_t from)
{
    ktp_instance_t *server = &monitor->node.server;
    ktp_status_t status;
    int linked = 0;

    for (;;) {
        status = is_linked(monitor, from, &linked);
        if (status != KTP_SUCCESS || linked)
            return status;
        if (kr_clock() - from > PATIENCE)
            return kr_fail(server, KTP_UNAVAIL,
                           "this Sentinel has not reached the master \"%.64s\" since its auth-pass "
                           "was set",
                           monitor->master);
        if (ktp_interrupted(server->services))
            return kr_fail(server, KTP_TRYAGAIN, "interrupted");
        (void)poll(NULL, 0, PAUSE);
    }
}

/* A Sentinel closes its connections when they change, so that it logs in again. Without a user it
 * logs in as default. */
ktp_status_t kr_monitor_set(kr_monitor_t *monitor)
{
    const ktp_account_t *account = monitor->node.account;
    const kr_argument_t password = {account->password.data, account->password.size};
    int64_t from;
    ktp_status_t status = KTP_SUCCESS;

    if (strcmp(account->user, "default") != 0)
        status = set(monitor, "auth-user", TEXT(account->user));
    if (status == KTP_SUCCESS)
        status = set(monitor, "auth-pass", password);
    from = kr_clock();
    return status == KTP_SUCCESS ? wait_for_link(monitor, from) : status;
}
