/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_sealed.c: secrets that travel sealed. No key is needed here: a server without one keeps and
 * serves them, and a client that holds the key opens them (the provider `redis`). Where a
 * context exists, its policy decides and its trail records all the same.
 */
#include <string.h>

#include "keyturn_redis.h"

/* Policy and trail. REDISMODULE_ERR: refused and replied. */
static int authorize(ktr_call_t *call, const char *capability, const char *action)
{
    kt_request_t request = call->req;
    kt_status_t status;

    if (ktr_context == NULL || call->replicated)
        return REDISMODULE_OK;
    status = kt_authorize(ktr_context, &request, capability, action);
    if (status == KT_SUCCESS)
        return REDISMODULE_OK;
    ktr_error(call->ctx,
              status == KT_DENIED  ? "SECRETDENIED"
              : status == KT_AUDIT ? "SECRETAUDIT"
                                   : "ERR",
              kt_error(ktr_context));
    return REDISMODULE_ERR;
}

/* SECRET.GETSEALED key: the bundle || nil: absent || -SECRETDENIED || -SECRETMOVED || -SECRETAUDIT
 */
int ktr_getsealed(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    const char *bytes;
    ktr_call_t call;
    size_t size;

    if (argc != 2)
        return RedisModule_WrongArity(ctx);
    if (ktr_begin(&call, ctx, argv, argc, KTR_READ) != REDISMODULE_OK)
        return REDISMODULE_OK;
    if (authorize(&call, "read", "read.sealed") != REDISMODULE_OK)
        goto out;
    if (call.value == NULL) {
        RedisModule_ReplyWithNull(ctx);
    } else if (ktr_moved(&call)) {
        ktr_refuse_moved(&call);
    } else {
        bytes = kt_bundle_bytes(call.value->bundle, &size);
        RedisModule_ReplyWithStringBuffer(ctx, bytes, size);
    }
out:
    ktr_end(&call);
    return REDISMODULE_OK;
}

/* The bundle in argv[2]; NULL: replied. */
static kt_bundle_t *parse_bundle(ktr_call_t *call)
{
    size_t size;
    const char *bytes = RedisModule_StringPtrLen(call->argv[2], &size);
    kt_bundle_t *bundle = NULL;

    if (kt_bundle_parse(bytes, size, &bundle) != KT_SUCCESS)
        ktr_error(call->ctx, "SECRETCORRUPT", "this is not a sealed secret");
    return bundle;
}

static int parse_pxat(RedisModuleString *number, mstime_t *ret_expire)
{
    long long n;

    if (RedisModule_StringToLongLong(number, &n) != REDISMODULE_OK || n <= 0)
        return REDISMODULE_ERR;
    *ret_expire = n;
    return REDISMODULE_OK;
}

/* Answers the bundle in argv[2]. */
static kt_status_t check_next(const ktr_call_t *call, kt_bundle_t **ret_bundle)
{
    size_t size;
    const char *bytes = RedisModule_StringPtrLen(call->argv[2], &size);
    kt_status_t status;

    if (ktr_moved(call))
        return KT_MOVED;
    status = kt_bundle_parse(bytes, size, ret_bundle);
    return status == KT_SUCCESS ? kt_bundle_follows(*call->req.bundle, *ret_bundle) : status;
}

/* The policy first, then what can be wrong, and then the record of what is about to happen. */
static kt_status_t run_setsealed(ktr_call_t *call, void *arg, uint64_t *ret_version)
{
    int asks = ktr_context != NULL && !call->replicated;
    kt_bundle_t *bundle = NULL;
    kt_status_t status = KT_SUCCESS;

    REDISMODULE_NOT_USED(arg);
    if (asks)
        status = kt_authorize(ktr_context, &call->req, "write", NULL);
    if (status == KT_DENIED)
        return kt_authorize(ktr_context, &call->req, "write", "write.sealed");
    if (status == KT_SUCCESS)
        status = check_next(call, &bundle);
    if (status == KT_SUCCESS && asks)
        status = kt_authorize(ktr_context, &call->req, "write", "write.sealed");
    if (status != KT_SUCCESS) {
        kt_bundle_free(bundle);
        return status;
    }
    *ret_version = kt_bundle_counter(bundle);
    kt_bundle_free(*call->req.bundle);
    *call->req.bundle = bundle;
    return KT_SUCCESS;
}

static int reply_setsealed(ktr_call_t *call, kt_status_t status, uint64_t version, const void *arg)
{
    REDISMODULE_NOT_USED(arg);
    if (status == KT_SUCCESS)
        return RedisModule_ReplyWithLongLong(call->ctx, (long long) version);
    if (status == KT_MOVED)
        return ktr_refuse_moved(call);
    if (status == KT_MALFORMED)
        return ktr_error(call->ctx, "SECRETCORRUPT", "this is not a sealed secret");
    if (status == KT_CONFLICT)
        return ktr_error(call->ctx, "SECRETVERSION",
                         "it does not follow what is stored: another writer was first");
    return ktr_error(call->ctx,
                     status == KT_DENIED  ? "SECRETDENIED"
                     : status == KT_AUDIT ? "SECRETAUDIT"
                                          : "ERR",
                     kt_error(ktr_context));
}

/*
 * SECRET.SETSEALED key bundle [PXAT ms]
 *
 * The bundle must follow what is stored: the same id, a write counter that is one higher. Without
 * PXAT the key does not expire, as after SET. The write counter || -SECRETVERSION another writer
 * was first || -SECRETCORRUPT not a bundle || -SECRETDENIED || -SECRETMOVED || -SECRETAUDIT
 */
int ktr_setsealed(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    ktr_change_t change = { run_setsealed, reply_setsealed, NULL, "secret.setsealed",
                            REDISMODULE_NO_EXPIRE };
    ktr_call_t call;

    if (argc != 3 && argc != 5)
        return RedisModule_WrongArity(ctx);
    if (argc == 5 &&
        (!ktr_is(argv[3], "PXAT") || parse_pxat(argv[4], &change.expire) != REDISMODULE_OK))
        return ktr_syntax(ctx);
    if (ktr_begin(&call, ctx, argv, argc, KTR_WRITE) != REDISMODULE_OK)
        return REDISMODULE_OK;
    ktr_change(&call, &change);
    ktr_end(&call);
    return REDISMODULE_OK;
}

/*
 * SECRET.RESTORE key bundle [NAME name] [PXAT ms]
 *
 * Internal: what a master, the AOF and its rewrite say. It replaces what is there, so a client
 * needs the policy's `admin` in addition to the ACL's +secret.restore. OK || -SECRETCORRUPT not a
 * bundle || -SECRETDENIED || -SECRETAUDIT
 */
int ktr_restore(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    mstime_t expire = REDISMODULE_NO_EXPIRE;
    RedisModuleString *named = argv[1];
    kt_bundle_t *bundle = NULL;
    const char *name;
    ktr_call_t call;
    size_t len;

    if (argc < 3 || argc % 2 == 0)
        return RedisModule_WrongArity(ctx);
    for (int i = 3; i < argc; i += 2) {
        if (ktr_is(argv[i], "NAME"))
            named = argv[i + 1];
        else if (!ktr_is(argv[i], "PXAT") || parse_pxat(argv[i + 1], &expire) != REDISMODULE_OK)
            return ktr_syntax(ctx);
    }
    if (ktr_begin(&call, ctx, argv, argc, KTR_WRITE | KTR_ANY_NAME) != REDISMODULE_OK)
        return REDISMODULE_OK;
    name = RedisModule_StringPtrLen(named, &len);
    if (len == 0 || kt_name_check(name, len, NULL) != KT_SUCCESS) {
        RedisModule_ReplyWithError(ctx, "ERR NAME is not the name of a secret");
        goto out;
    }
    call.req.reference = name;
    call.req.reference_len = len;
    if (authorize(&call, "admin", "restore") != REDISMODULE_OK)
        goto out;
    bundle = parse_bundle(&call);
    if (bundle == NULL)
        goto out;
    if (ktr_adopt(&call, bundle, name, len, "secret.restore", expire) == REDISMODULE_OK)
        RedisModule_ReplyWithSimpleString(ctx, "OK");
out:
    ktr_end(&call);
    return REDISMODULE_OK;
}
