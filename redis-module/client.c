/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client.c: who runs a command.
 *
 * What the trail says of a connection is put together at its first command. At the next ones only
 * its user is asked for, because AUTH changes that: a connection keeps its id and its address, and
 * the server never gives an id to another one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "keyturn_redis.h"

#define CLIENTS 64 /* connections that are remembered, by their ids */

typedef struct client {
    unsigned long long id; /* 0: none */
    size_t user_len;
    char subject[KT_SUBJECT_MAX + 1]; /* with the user's name at its end */
    char peer[64];                    /* "": not known */
    char request[32];
} client_t;

static client_t clients[CLIENTS];

#define SUBJECT "redis:"
#define SUBJECT_LEN (sizeof(SUBJECT) - 1)

/*
 * RedisModule_GetCurrentUserName() of 7.0 and 7.2 follows a NULL pointer when the client has no
 * user: a master's, or that of another module's RedisModule_Call(). Asked to run a command that
 * does not exist "as the user", the server tells the two apart.
 */
static int has_user(RedisModuleCtx *ctx)
{
    RedisModuleCallReply *reply;

    errno = 0;
    reply = RedisModule_Call(ctx, "keyturn.nosuchcommand", "C");
    if (reply != NULL)
        RedisModule_FreeCallReply(reply);
    return errno != ENOTSUP;
}

static void identify_user(ktr_call_t *call, unsigned long long id)
{
    call->direct = id != 0 && clients[id % CLIENTS].id == id;
    if (call->direct) { /* it had a user, and keeps having one */
        call->user = RedisModule_GetCurrentUserName(call->ctx);
        return;
    }
    call->user = RedisModule_GetClientUserNameById(call->ctx, id);
    call->direct = call->user != NULL;
    if (call->user == NULL && has_user(call->ctx))
        call->user = RedisModule_GetCurrentUserName(call->ctx); /* a script */
}

static void put_peer(unsigned long long id, char *peer, size_t size)
{
    RedisModuleClientInfo info = REDISMODULE_CLIENTINFO_INITIALIZER_V1;

    peer[0] = '\0';
    if (RedisModule_GetClientInfoById(&info, id) != REDISMODULE_OK)
        return;
    if (info.flags & REDISMODULE_CLIENTINFO_FLAG_UNIXSOCKET)
        snprintf(peer, size, "unix");
    else
        snprintf(peer, size, strchr(info.addr, ':') ? "[%s]:%u" : "%s:%u", info.addr,
                 (unsigned) info.port);
}

static void put_subject(client_t *client, const char *user, size_t len)
{
    snprintf(client->subject, sizeof(client->subject), SUBJECT "%s", user);
    client->user_len = len;
}

static void use(ktr_call_t *call, const client_t *client)
{
    memcpy(call->subject, client->subject, strlen(client->subject) + 1);
    memcpy(call->id, client->request, sizeof(call->id));
    call->req.request_id = call->id;
    if (client->peer[0] == '\0')
        return;
    memcpy(call->peer, client->peer, sizeof(call->peer));
    call->req.peer = call->peer;
}

void ktr_identify(ktr_call_t *call)
{
    unsigned long long id = RedisModule_GetClientId(call->ctx);
    client_t *client = &clients[id % CLIENTS], other;
    const char *user = "(module)";
    size_t len = strlen(user);

    identify_user(call, id);
    if (call->user != NULL)
        user = RedisModule_StringPtrLen(call->user, &len);
    if (!call->direct || client->id != id) {
        if (!call->direct)
            client = &other; /* a script's: its id is not a connection's */
        client->id = id;
        client->peer[0] = '\0';
        if (call->direct)
            put_peer(id, client->peer, sizeof(client->peer));
        snprintf(client->request, sizeof(client->request), "client-%llu", id);
        put_subject(client, user, len);
    } else if (client->user_len != len || strcmp(client->subject + SUBJECT_LEN, user) != 0) {
        put_subject(client, user, len);
    }
    use(call, client);
}
