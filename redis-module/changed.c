/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * changed.c: publishes on __keyturn__:changed that a secret is not what it was.
 *
 * A message is "DB KEY": this key of this database was written, or is gone (DEL, expiry, eviction,
 * a rename, a slot that moved away). Or "DB *" and "*": anything in this database, or in all of
 * them, may have changed. A change is published at least once, by a master and by a
 * replica, each for its own clients when it executes the change.
 *
 * Where keyspace events must not be followed (compat.h), a key that appears by RENAME or MOVE is
 * not published; what becomes of it under its old name is, and RESTORE is.
 *
 * What else happens on the server is not published, so a client that waits costs nothing, whatever
 * other keys do. Client tracking and keyspace events are about every key.
 */
#include <string.h>

#include "keyturn_redis.h"

#define CHANNEL "__keyturn__:changed"

static int follows_events; /* on_key() is called */

static void publish(RedisModuleString *message)
{
    RedisModuleString *channel = RedisModule_CreateString(NULL, CHANNEL, sizeof(CHANNEL) - 1);

    RedisModule_PublishMessage(NULL, channel, message);
    RedisModule_FreeString(NULL, channel);
    RedisModule_FreeString(NULL, message);
}

/* A server that loads its data has no clients yet; when it has done so, it publishes "*". */
static int is_loading(void)
{
    return (RedisModule_GetContextFlags(NULL) & REDISMODULE_CTX_FLAGS_LOADING) != 0;
}

void ktr_changed(int db, const RedisModuleString *key)
{
    size_t len;
    const char *name = RedisModule_StringPtrLen(key, &len);

    if (!is_loading())
        publish(RedisModule_CreateStringPrintf(NULL, "%d %.*s", db, (int) len, name));
}

void ktr_unlinked(RedisModuleKeyOptCtx *ctx, const void *value)
{
    REDISMODULE_NOT_USED(value);
    ktr_changed(RedisModule_GetDbIdFromOptCtx(ctx), RedisModule_GetKeyNameFromOptCtx(ctx));
}

/* -1: all databases. */
static void anything_changed(int db)
{
    publish(db < 0 ? RedisModule_CreateString(NULL, "*", 1)
                   : RedisModule_CreateStringPrintf(NULL, "%d *", db));
}

/* ---- what the server does ---- */

/* A key that appears: RENAME and MOVE take a value away under one name, which unlinks it, and put
 * it under another. */
static int on_key(RedisModuleCtx *ctx, int type, const char *event, RedisModuleString *name)
{
    RedisModuleKey *key;

    REDISMODULE_NOT_USED(type);
    if (strcmp(event, "rename_to") != 0 && strcmp(event, "move_to") != 0 &&
        strcmp(event, "restore") != 0)
        return REDISMODULE_OK;
    key = RedisModule_OpenKey(ctx, name, REDISMODULE_READ | REDISMODULE_OPEN_KEY_NOTOUCH);
    if (key != NULL && RedisModule_ModuleTypeGetType(key) == ktr_type)
        ktr_changed(RedisModule_GetSelectedDb(ctx), name);
    RedisModule_CloseKey(key);
    return REDISMODULE_OK;
}

static void on_flush(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t sub, void *data)
{
    const RedisModuleFlushInfo *info = data;

    REDISMODULE_NOT_USED(ctx);
    REDISMODULE_NOT_USED(event);
    if (sub == REDISMODULE_SUBEVENT_FLUSHDB_END)
        anything_changed(info->dbnum);
}

static void on_swap(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t sub, void *data)
{
    const RedisModuleSwapDbInfo *info = data;

    REDISMODULE_NOT_USED(ctx);
    REDISMODULE_NOT_USED(event);
    REDISMODULE_NOT_USED(sub);
    anything_changed(info->dbnum_first);
    anything_changed(info->dbnum_second);
}

/* A replica that was given the whole data anew; also when it was given only half of it. */
static void on_load(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t sub, void *data)
{
    REDISMODULE_NOT_USED(ctx);
    REDISMODULE_NOT_USED(data);
    if (event.id == REDISMODULE_EVENT_LOADING ? sub == REDISMODULE_SUBEVENT_LOADING_ENDED ||
                                                    sub == REDISMODULE_SUBEVENT_LOADING_FAILED
                                              : sub != REDISMODULE_SUBEVENT_REPL_ASYNC_LOAD_STARTED)
        anything_changed(-1);
}

void ktr_restored(RedisModuleIO *rdb)
{
    const RedisModuleString *name = RedisModule_GetKeyNameFromIO(rdb);

    if (!follows_events && name != NULL &&
        !(RedisModule_GetContextFlags(NULL) & REDISMODULE_CTX_FLAGS_ASYNC_LOADING))
        ktr_changed(RedisModule_GetDbIdFromIO(rdb), name);
}

int ktr_follow_keys(RedisModuleCtx *ctx)
{
    follows_events = ktr_may_follow_events(ctx);
    if (follows_events &&
        RedisModule_SubscribeToKeyspaceEvents(ctx, REDISMODULE_NOTIFY_GENERIC, on_key) !=
            REDISMODULE_OK)
        return REDISMODULE_ERR;
    RedisModule_SubscribeToServerEvent(ctx, RedisModuleEvent_FlushDB, on_flush);
    RedisModule_SubscribeToServerEvent(ctx, RedisModuleEvent_SwapDB, on_swap);
    RedisModule_SubscribeToServerEvent(ctx, RedisModuleEvent_Loading, on_load);
    RedisModule_SubscribeToServerEvent(ctx, RedisModuleEvent_ReplAsyncLoad, on_load);
    return REDISMODULE_OK;
}
