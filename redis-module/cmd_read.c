/* SPDX-License-Identifier: BSD-2-Clause */
/* cmd_read.c: the commands that read: values, metadata, names. */
#include <string.h>

#include "keyturn_redis.h"

/*
 * SECRET.GET key [VERSION n] [FIELD f]
 *
 * The value || nil: absent or deleted || -SECRETVERSION no such version || -SECRETFIELD the value
 * is not an object of fields || -SECRETDENIED || -SECRETSEALED || -SECRETCORRUPT || -SECRETMOVED ||
 * -SECRETAUDIT
 */
int ktr_get(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    RedisModuleString *version = NULL, *field = NULL;
    kt_secret_t *secret = NULL;
    const char *why;
    kt_status_t status;
    ktr_call_t call;

    if (argc < 2 || argc % 2 != 0)
        return RedisModule_WrongArity(ctx);
    for (int i = 2; i < argc; i += 2) {
        if (ktr_is(argv[i], "VERSION") && version == NULL)
            version = argv[i + 1];
        else if (ktr_is(argv[i], "FIELD") && field == NULL)
            field = argv[i + 1];
        else
            return ktr_syntax(ctx);
    }
    if (ktr_begin(&call, ctx, argv, argc, KTR_READ | KTR_KEY) != REDISMODULE_OK)
        return REDISMODULE_OK;
    if (ktr_refer(&call, field, version) != REDISMODULE_OK)
        goto out;
    status = kt_get(ktr_context, &call.req, &secret);
    if (status == KT_SUCCESS)
        RedisModule_ReplyWithStringBuffer(ctx, (const char *) kt_secret_bytes(secret),
                                          kt_secret_size(secret));
    else if (status == KT_NOTFOUND && version != NULL && call.value != NULL)
        ktr_error(ctx, "SECRETVERSION", kt_error(ktr_context));
    else if (status == KT_NOTFOUND || status == KT_GONE)
        RedisModule_ReplyWithNull(ctx);
    else if (status == KT_USAGE && field != NULL &&
             kt_reference_check(call.reference, call.req.reference_len, &why) == KT_SUCCESS)
        ktr_error(ctx, "SECRETFIELD", kt_error(ktr_context));
    else
        ktr_fail(&call, status);
    kt_secret_free(secret);
out:
    ktr_end(&call);
    return REDISMODULE_OK;
}

/* ---- metadata ---- */

static void reply_pair(RedisModuleCtx *ctx, const char *name, long long number)
{
    RedisModule_ReplyWithCString(ctx, name);
    RedisModule_ReplyWithLongLong(ctx, number);
}

static void reply_info(RedisModuleCtx *ctx, const kt_info_t *info)
{
    const kt_entry_t *entry = kt_info_entry(info);
    const kt_usage_t *usage = kt_info_usage(info);
    const char *key, *value;

    RedisModule_ReplyWithMap(ctx, 15);
    RedisModule_ReplyWithCString(ctx, "name");
    RedisModule_ReplyWithCString(ctx, entry->name);
    RedisModule_ReplyWithCString(ctx, "state");
    RedisModule_ReplyWithCString(ctx, entry->state);
    reply_pair(ctx, "version", (long long) entry->version);
    reply_pair(ctx, "previous", (long long) kt_info_previous(info));
    reply_pair(ctx, "pending", (long long) kt_info_pending(info));
    reply_pair(ctx, "versions", (long long) kt_info_versions(info));
    reply_pair(ctx, "counter", (long long) kt_info_counter(info));
    reply_pair(ctx, "created", entry->created);
    reply_pair(ctx, "updated", entry->updated);
    reply_pair(ctx, "expires", entry->expires);
    if (usage->count == 0 && (usage->hidden > 0 || usage->lost > 0)) {
        /* none that we may see is not none */
        RedisModule_ReplyWithCString(ctx, "accessed");
        RedisModule_ReplyWithNull(ctx);
    } else {
        reply_pair(ctx, "accessed", (long long) usage->count);
    }
    reply_pair(ctx, "last-accessed", usage->last);
    RedisModule_ReplyWithCString(ctx, "last-subject");
    RedisModule_ReplyWithCString(ctx, usage->subject ? usage->subject : "");
    RedisModule_ReplyWithCString(ctx, "last-stream");
    RedisModule_ReplyWithCString(ctx, usage->stream ? usage->stream : "");
    RedisModule_ReplyWithCString(ctx, "meta");
    RedisModule_ReplyWithMap(ctx, (long) kt_info_metas(info));
    for (size_t i = 0; i < kt_info_metas(info); i++) {
        kt_info_meta(info, i, &key, &value);
        RedisModule_ReplyWithCString(ctx, key);
        RedisModule_ReplyWithCString(ctx, value);
    }
}

static void reply_versions(RedisModuleCtx *ctx, const kt_info_t *info)
{
    RedisModule_ReplyWithArray(ctx, (long) kt_info_versions(info));
    for (size_t i = 0; i < kt_info_versions(info); i++) {
        const kt_version_t *version = kt_info_version(info, i);

        RedisModule_ReplyWithMap(ctx, 4);
        reply_pair(ctx, "version", (long long) version->version);
        RedisModule_ReplyWithCString(ctx, "state");
        RedisModule_ReplyWithCString(ctx, version->state);
        reply_pair(ctx, "created", version->created);
        reply_pair(ctx, "expires", version->expires);
    }
}

static int describe(RedisModuleCtx *ctx, RedisModuleString **argv, int argc,
                    void (*reply)(RedisModuleCtx *, const kt_info_t *))
{
    kt_info_t *info = NULL;
    kt_status_t status;
    ktr_call_t call;

    if (argc != 2)
        return RedisModule_WrongArity(ctx);
    if (ktr_begin(&call, ctx, argv, argc, KTR_READ | KTR_KEY) != REDISMODULE_OK)
        return REDISMODULE_OK;
    status = kt_info(ktr_context, &call.req, &info);
    if (status == KT_SUCCESS)
        reply(ctx, info);
    else if (status == KT_NOTFOUND)
        RedisModule_ReplyWithNull(ctx);
    else
        ktr_fail(&call, status);
    kt_info_free(info);
    ktr_end(&call);
    return REDISMODULE_OK;
}

/* SECRET.INFO key: a map || nil: absent || -SECRETDENIED || -SECRETSEALED || -SECRETCORRUPT ||
 * -SECRETMOVED || -SECRETAUDIT */
int ktr_info(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    return describe(ctx, argv, argc, reply_info);
}

/* SECRET.VERSIONS key: an array of maps, newest first || as INFO */
int ktr_versions(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    return describe(ctx, argv, argc, reply_versions);
}

/* ---- LIST ---- */

/* Has the user any right to the key, and does the policy let the user list it? Without a user
 * another module asks, which may do everything. */
static int may_see(ktr_call_t *call, RedisModuleUser *user, RedisModuleString *name)
{
    if (call->user != NULL &&
        (user == NULL || RedisModule_ACLCheckKeyPermissions(user, name, 0) != REDISMODULE_OK))
        return 0;
    if (ktr_context == NULL)
        return 1;
    call->req.reference = RedisModule_StringPtrLen(name, &call->req.reference_len);
    return kt_authorize(ktr_context, &call->req, "list", NULL) == KT_SUCCESS;
}

/* One record for all that this call answers, under its pattern; a glob that is more than stars is
 * recorded as all. A user who may list nothing of it is refused. */
static kt_status_t record_list(ktr_call_t *call, RedisModuleString *match)
{
    static const char bytes[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/*";
    size_t len;
    const char *pattern = match != NULL ? RedisModule_StringPtrLen(match, &len) : NULL;

    if (ktr_context == NULL)
        return KT_SUCCESS;
    if (pattern == NULL || len > KT_NAME_MAX || strspn(pattern, bytes) != len ||
        strchr(pattern, '*') == NULL)
        pattern = "*";
    call->req.reference = pattern;
    return kt_authorize(ktr_context, &call->req, "list", "list");
}

static long reply_names(ktr_call_t *call, RedisModuleCallReply *names)
{
    RedisModuleUser *user =
        call->user != NULL ? RedisModule_GetModuleUserFromUserName(call->user) : NULL;
    long shown = 0;

    for (size_t i = 0; i < RedisModule_CallReplyLength(names); i++) {
        RedisModuleString *name =
            RedisModule_CreateStringFromCallReply(RedisModule_CallReplyArrayElement(names, i));

        if (may_see(call, user, name)) {
            RedisModule_ReplyWithString(call->ctx, name);
            shown++;
        }
        RedisModule_FreeString(call->ctx, name);
    }
    if (user != NULL)
        RedisModule_FreeModuleUser(user);
    return shown;
}

static void reply_scan(ktr_call_t *call, RedisModuleCallReply *scan)
{
    RedisModuleString *next =
        RedisModule_CreateStringFromCallReply(RedisModule_CallReplyArrayElement(scan, 0));

    RedisModule_ReplyWithArray(call->ctx, 2);
    RedisModule_ReplyWithString(call->ctx, next);
    RedisModule_FreeString(call->ctx, next);
    RedisModule_ReplyWithArray(call->ctx, REDISMODULE_POSTPONED_LEN);
    RedisModule_ReplySetArrayLength(call->ctx,
                                    reply_names(call, RedisModule_CallReplyArrayElement(scan, 1)));
}

/*
 * SECRET.LIST [cursor] [MATCH pattern] [COUNT n]
 *
 * As SCAN: the next cursor (0: done) and names, those that the ACL gives the user some right to and
 * that the policy lets the user list.
 * || -SECRETDENIED nothing that matches may be listed || -SECRETAUDIT
 */
int ktr_list(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    RedisModuleString *match = NULL;
    RedisModuleCallReply *scan;
    long long cursor = 0, count = 10;
    kt_status_t status;
    ktr_call_t call;
    int i = 1;

    if (argc > i && RedisModule_StringToLongLong(argv[i], &cursor) == REDISMODULE_OK)
        i++;
    for (; i + 1 < argc; i += 2) {
        if (ktr_is(argv[i], "MATCH"))
            match = argv[i + 1];
        else if (!ktr_is(argv[i], "COUNT") ||
                 RedisModule_StringToLongLong(argv[i + 1], &count) != REDISMODULE_OK || count < 1)
            return ktr_syntax(ctx);
    }
    if (i != argc || cursor < 0)
        return ktr_syntax(ctx);
    ktr_begin_keyless(&call, ctx, argv, argc);
    status = record_list(&call, match);
    if (status != KT_SUCCESS) {
        ktr_fail(&call, status);
        goto out;
    }
    scan = RedisModule_Call(ctx, "SCAN", match != NULL ? "lccclcs" : "lcccl", cursor, "TYPE",
                            "keyturn-1", "COUNT", count, "MATCH", match);
    if (scan == NULL || RedisModule_CallReplyType(scan) != REDISMODULE_REPLY_ARRAY)
        RedisModule_ReplyWithError(ctx, "ERR SCAN failed");
    else
        reply_scan(&call, scan);
    if (scan != NULL)
        RedisModule_FreeCallReply(scan);
out:
    ktr_end(&call);
    return REDISMODULE_OK;
}
