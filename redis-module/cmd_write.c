/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_write.c: the commands that change a secret. The core decides, records and seals. The order
 * around it is: hide the value from MONITOR and SLOWLOG, parse, wipe the argument, call the core,
 * store the new bundle, reply.
 */
#include <errno.h>
#include <string.h>

#include "keyturn_redis.h"

/* The value at argv[i] as a secret, the argument wiped; NULL: replied. */
static kt_secret_t *take_value(ktr_call_t *call, int i)
{
    size_t size;
    const char *bytes = RedisModule_StringPtrLen(call->argv[i], &size);
    kt_secret_t *value = kt_secret_new(bytes, size);
    int error = errno;

    ktr_wipe(call, i);
    if (value == NULL)
        ktr_error(call->ctx, "ERR",
                  error == EFBIG ? "the value is longer than 65536 bytes" : "out of memory");
    return value;
}

static int reply_version(ktr_call_t *call, kt_status_t status, uint64_t version)
{
    if (status == KT_SUCCESS)
        return RedisModule_ReplyWithLongLong(call->ctx, (long long) version);
    if (status == KT_NOTFOUND && call->value != NULL)
        return ktr_error(call->ctx, "SECRETVERSION", kt_error(ktr_context));
    return ktr_fail(call, status);
}

static int reply_ok(ktr_call_t *call, kt_status_t status)
{
    if (status == KT_SUCCESS)
        return RedisModule_ReplyWithSimpleString(call->ctx, "OK");
    return reply_version(call, status, 0);
}

/* ---- SET ---- */

typedef struct set_options {
    kt_put_options_t put;
    mstime_t expire;
    kt_meta_t meta[KT_META_MAX];
} set_options_t;

/* EX, PX, EXAT and PXAT as in SET: *ret_expire in milliseconds since the epoch, which must lie
 * ahead. 0: not one of them. -1: wrong. */
static int parse_expire(RedisModuleString *word, RedisModuleString *number, mstime_t *ret_expire)
{
    int seconds = ktr_is(word, "EX") || ktr_is(word, "EXAT");
    int absolute = ktr_is(word, "EXAT") || ktr_is(word, "PXAT");
    mstime_t now = RedisModule_Milliseconds();
    long long n;

    if (!seconds && !absolute && !ktr_is(word, "PX"))
        return 0;
    if (RedisModule_StringToLongLong(number, &n) != REDISMODULE_OK || n <= 0 ||
        n > INT64_MAX / 1000 - now)
        return -1;
    n *= seconds ? 1000 : 1;
    *ret_expire = absolute ? n : now + n;
    return *ret_expire > now ? 1 : -1;
}

/* A text without NUL, or NULL. */
static const char *text_of(RedisModuleString *argument)
{
    size_t len;
    const char *text = RedisModule_StringPtrLen(argument, &len);

    return strlen(text) == len ? text : NULL;
}

/* META takes all that follows, in pairs. */
static const char *parse_meta(set_options_t *options, RedisModuleString **argv, int argc)
{
    if (argc == 0 || argc % 2 != 0)
        return "ERR META takes pairs of a key and a value";
    if (argc / 2 > (int) KT_META_MAX)
        return "ERR more than 64 entries of META";
    for (int i = 0; i < argc; i += 2) {
        kt_meta_t *meta = &options->meta[options->put.nmeta++];

        meta->key = text_of(argv[i]);
        meta->value = text_of(argv[i + 1]);
        if (meta->key == NULL || meta->value == NULL)
            return "ERR META is text";
    }
    options->put.meta = options->meta;
    return NULL;
}

/* NULL, or what is wrong. */
static const char *parse_set(set_options_t *options, RedisModuleString **argv, int argc)
{
    const kt_put_options_t put = KT_PUT_INIT;
    long long cas;
    int expire;

    options->put = put;
    options->expire = REDISMODULE_NO_EXPIRE;
    for (int i = 3; i < argc; i += 2) {
        if (ktr_is(argv[i], "META"))
            return parse_meta(options, argv + i + 1, argc - i - 1);
        if (i + 1 == argc)
            return "ERR syntax error, see SECRET.HELP";
        if (ktr_is(argv[i], "CAS")) {
            if (RedisModule_StringToLongLong(argv[i + 1], &cas) != REDISMODULE_OK || cas < 0)
                return "ERR CAS takes the current version, or 0";
            options->put.cas = cas;
            continue;
        }
        expire = parse_expire(argv[i], argv[i + 1], &options->expire);
        if (expire == 0)
            return "ERR syntax error, see SECRET.HELP";
        if (expire < 0)
            return "ERR invalid expire time in 'secret.set' command";
        options->put.expires = options->expire;
    }
    return NULL;
}

/*
 * SECRET.SET key value [EX s | PX ms | EXAT s | PXAT ms] [CAS n] [META k v ...]
 *
 * The new version || -SECRETVERSION not the version of CAS || -SECRETDENIED || -SECRETSEALED ||
 * -SECRETCORRUPT || -SECRETMOVED || -SECRETAUDIT
 */
int ktr_set(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    uint64_t version = 0;
    kt_secret_t *value;
    set_options_t options;
    const char *wrong;
    kt_status_t status;
    ktr_call_t call;

    if (argc < 3)
        return RedisModule_WrongArity(ctx);
    ktr_redact(ctx, 2, 3);
    memset(&options, 0, sizeof(options));
    wrong = parse_set(&options, argv, argc);
    if (wrong != NULL) {
        ktr_redact(ctx, 3, argc); /* a value with a space in it and no quotes ends up there */
        return RedisModule_ReplyWithError(ctx, wrong);
    }
    if (ktr_begin(&call, ctx, argv, argc, KTR_WRITE | KTR_KEY) != REDISMODULE_OK)
        return REDISMODULE_OK;
    value = take_value(&call, 2);
    if (value == NULL)
        goto out;
    status = kt_put(ktr_context, &call.req, value, &options.put, &version);
    kt_secret_free(value);
    if (ktr_store(&call, "secret.set", options.expire) == REDISMODULE_OK)
        reply_version(&call, status, version);
out:
    ktr_end(&call);
    return REDISMODULE_OK;
}

/* ---- ROTATE, ROLLBACK ---- */

/*
 * SECRET.ROTATE key [LENGTH n | VALUE v]
 *
 * The new version || -ERR no such secret, unfinished rotation, a database shape || -SECRETDENIED ||
 * -SECRETSEALED || -SECRETCORRUPT || -SECRETMOVED || -SECRETAUDIT
 */
int ktr_rotate(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    kt_rotate_options_t options = KT_ROTATE_INIT;
    kt_secret_t *value = NULL;
    uint64_t version = 0;
    long long length = 0;
    kt_status_t status;
    ktr_call_t call;
    int has_value;

    has_value = argc == 4 && ktr_is(argv[2], "VALUE");
    if (!has_value && !(argc == 4 && ktr_is(argv[2], "LENGTH")) && argc != 2) {
        ktr_redact(ctx, 2, argc);
        return ktr_syntax(ctx);
    }
    if (has_value)
        ktr_redact(ctx, 3, 4);
    else if (argc == 4 && (RedisModule_StringToLongLong(argv[3], &length) != REDISMODULE_OK ||
                           length < 16 || length > 1024))
        return RedisModule_ReplyWithError(ctx, "ERR LENGTH is a number from 16 to 1024");
    if (ktr_begin(&call, ctx, argv, argc, KTR_WRITE | KTR_KEY) != REDISMODULE_OK)
        return REDISMODULE_OK;
    call.conflict = "ERR";
    if (has_value && (value = take_value(&call, 3)) == NULL)
        goto out;
    options.value = value;
    options.length = (size_t) length;
    status = kt_rotate(ktr_context, &call.req, &options, &version);
    kt_secret_free(value);
    if (ktr_store(&call, "secret.rotate", KTR_KEEP_EXPIRE) == REDISMODULE_OK)
        status == KT_SUCCESS ? RedisModule_ReplyWithLongLong(ctx, (long long) version)
                             : ktr_fail(&call, status);
out:
    ktr_end(&call);
    return REDISMODULE_OK;
}

static int parse_version(RedisModuleString *argument, uint64_t *ret_version)
{
    long long n;

    if (RedisModule_StringToLongLong(argument, &n) != REDISMODULE_OK || n < 1)
        return REDISMODULE_ERR;
    *ret_version = (uint64_t) n;
    return REDISMODULE_OK;
}

/*
 * SECRET.ROLLBACK key [VERSION n]
 *
 * The version that is current now || -SECRETVERSION no such version, none before || -SECRETDENIED
 * ... as ROTATE
 */
int ktr_rollback(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    uint64_t version = 0, current = 0;
    kt_status_t status;
    ktr_call_t call;

    if (argc != 2 && argc != 4)
        return RedisModule_WrongArity(ctx);
    if (argc == 4 &&
        (!ktr_is(argv[2], "VERSION") || parse_version(argv[3], &version) != REDISMODULE_OK))
        return ktr_syntax(ctx);
    if (ktr_begin(&call, ctx, argv, argc, KTR_WRITE | KTR_KEY) != REDISMODULE_OK)
        return REDISMODULE_OK;
    status = kt_rollback(ktr_context, &call.req, version, &current);
    if (ktr_store(&call, "secret.rollback", KTR_KEEP_EXPIRE) == REDISMODULE_OK)
        reply_version(&call, status, current);
    ktr_end(&call);
    return REDISMODULE_OK;
}

/* ---- DEL, UNDELETE, DESTROY ---- */

/* A command whose only argument is the key. */
static int change(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, const char *event,
                  kt_status_t (*run)(kt_ctx_t *context, const kt_request_t *req),
                  int (*reply)(ktr_call_t *call, kt_status_t status))
{
    kt_status_t status;
    ktr_call_t call;

    if (argc != 2)
        return RedisModule_WrongArity(ctx);
    if (ktr_begin(&call, ctx, argv, argc, KTR_WRITE | KTR_KEY) != REDISMODULE_OK)
        return REDISMODULE_OK;
    status = run(ktr_context, &call.req);
    if (ktr_store(&call, event, KTR_KEEP_EXPIRE) == REDISMODULE_OK)
        reply(&call, status);
    ktr_end(&call);
    return REDISMODULE_OK;
}

static int reply_deleted(ktr_call_t *call, kt_status_t status)
{
    if (status == KT_SUCCESS || status == KT_NOTFOUND || status == KT_GONE)
        return RedisModule_ReplyWithLongLong(call->ctx, status == KT_SUCCESS);
    return ktr_fail(call, status);
}

static int reply_undeleted(ktr_call_t *call, kt_status_t status)
{
    call->conflict = "ERR";
    return reply_ok(call, status);
}

/*
 * SECRET.DEL key
 *
 * 1 || 0: absent or deleted already || -SECRETDENIED ... as ROTATE. The key stays, as a sealed
 * tombstone that UNDELETE brings back; the server's own DEL takes all of it away.
 */
int ktr_del(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    return change(ctx, argv, argc, "secret.del", kt_delete, reply_deleted);
}

/* SECRET.UNDELETE key: OK || -ERR no such secret || -SECRETDENIED ... as ROTATE */
int ktr_undelete(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    return change(ctx, argv, argc, "secret.undelete", kt_undelete, reply_undeleted);
}

/* SECRET.DESTROY key VERSION n: OK || -SECRETVERSION no such version, or it is the current one ||
 * -SECRETDENIED ... as ROTATE */
int ktr_destroy(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    uint64_t version;
    kt_status_t status;
    ktr_call_t call;

    if (argc != 4)
        return RedisModule_WrongArity(ctx);
    if (!ktr_is(argv[2], "VERSION") || parse_version(argv[3], &version) != REDISMODULE_OK)
        return ktr_syntax(ctx);
    if (ktr_begin(&call, ctx, argv, argc, KTR_WRITE | KTR_KEY) != REDISMODULE_OK)
        return REDISMODULE_OK;
    status = kt_destroy(ktr_context, &call.req, version);
    if (ktr_store(&call, "secret.destroy", KTR_KEEP_EXPIRE) == REDISMODULE_OK)
        reply_ok(&call, status);
    ktr_end(&call);
    return REDISMODULE_OK;
}
