/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_write.c: the commands that change a secret. The core decides, records and seals. The order
 * around it is: take the value and hide it from MONITOR and SLOWLOG (ktr_hide()), parse, wipe the
 * value's argument, call the core, store the new bundle, reply.
 */
#include <errno.h>
#include <string.h>

#include "keyturn_redis.h"

/* The value as a secret, its argument wiped; NULL: replied. */
static kt_secret_t *take_value(ktr_call_t *call, RedisModuleString *given)
{
    size_t size;
    const char *bytes = RedisModule_StringPtrLen(given, &size);
    kt_secret_t *value = kt_secret_new(bytes, size);
    int error = errno;

    ktr_wipe(call, given);
    if (value == NULL)
        ktr_error(call->ctx, "ERR",
                  error == EFBIG ? "the value is longer than 65536 bytes" : "out of memory");
    return value;
}

static int reply_version(ktr_call_t *call, kt_status_t status, uint64_t version, const void *arg)
{
    REDISMODULE_NOT_USED(arg);
    if (status == KT_SUCCESS)
        return RedisModule_ReplyWithLongLong(call->ctx, (long long) version);
    if (status == KT_NOTFOUND && call->value != NULL)
        return ktr_error(call->ctx, "SECRETVERSION", kt_error(ktr_context));
    return ktr_fail(call, status);
}

static int reply_ok(ktr_call_t *call, kt_status_t status, uint64_t version, const void *arg)
{
    if (status == KT_SUCCESS)
        return RedisModule_ReplyWithSimpleString(call->ctx, "OK");
    return reply_version(call, status, version, arg);
}

/* ---- SET ---- */

typedef struct set_options {
    kt_secret_t *value;
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

/* NULL, or what is wrong. As in SET, an option that comes twice, or another expiry, is an error. */
static const char *parse_set(set_options_t *options, RedisModuleString **argv, int argc)
{
    static const char syntax[] = "ERR syntax error, see SECRET.HELP";
    const kt_put_options_t put = KT_PUT_INIT;
    long long cas;
    int expire;

    options->put = put;
    options->expire = REDISMODULE_NO_EXPIRE;
    for (int i = 3; i < argc; i += 2) {
        if (ktr_is(argv[i], "META"))
            return parse_meta(options, argv + i + 1, argc - i - 1);
        if (i + 1 == argc)
            return syntax;
        if (ktr_is(argv[i], "CAS")) {
            if (options->put.cas != put.cas)
                return syntax;
            if (RedisModule_StringToLongLong(argv[i + 1], &cas) != REDISMODULE_OK || cas < 0)
                return "ERR CAS takes the current version, or 0";
            options->put.cas = cas;
            continue;
        }
        if (options->expire != REDISMODULE_NO_EXPIRE)
            return syntax;
        expire = parse_expire(argv[i], argv[i + 1], &options->expire);
        if (expire == 0)
            return syntax;
        if (expire < 0)
            return "ERR invalid expire time in 'secret.set' command";
        options->put.expires = options->expire;
    }
    return NULL;
}

static kt_status_t run_set(ktr_call_t *call, void *arg, uint64_t *ret_version)
{
    const set_options_t *set = arg;

    return kt_put(ktr_context, &call->req, set->value, &set->put, ret_version);
}

/*
 * SECRET.SET key value [EX s | PX ms | EXAT s | PXAT ms] [CAS n] [META k v ...]
 *
 * The new version || -SECRETVERSION not the version of CAS || -SECRETDENIED || -SECRETSEALED ||
 * -SECRETCORRUPT || -SECRETMOVED || -SECRETAUDIT
 */
int ktr_set(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    ktr_change_t change = { .run = run_set, .reply = reply_version, .event = "secret.set" };
    RedisModuleString *given;
    set_options_t options;
    const char *wrong;
    ktr_call_t call;

    if (argc < 3)
        return RedisModule_WrongArity(ctx);
    given = ktr_hide(ctx, argv, 2);
    memset(&options, 0, sizeof(options));
    wrong = parse_set(&options, argv, argc);
    if (wrong != NULL) {
        ktr_redact(ctx, 3, argc); /* a value with a space in it and no quotes ends up there */
        return RedisModule_ReplyWithError(ctx, wrong);
    }
    if (ktr_begin(&call, ctx, argv, argc, KTR_WRITE | KTR_KEY) != REDISMODULE_OK) {
        ktr_wipe(&call, given);
        return REDISMODULE_OK;
    }
    options.value = take_value(&call, given);
    options.put.force = 1; /* SET replaces whatever is there, as the server's own SET does */
    change.arg = &options;
    change.expire = options.expire;
    if (options.value != NULL)
        ktr_change(&call, &change);
    kt_secret_free(options.value);
    ktr_end(&call);
    return REDISMODULE_OK;
}

/* ---- ROTATE, ROLLBACK ---- */

typedef struct rotate_options {
    kt_rotate_options_t core;
    int value; /* the index of its argument; 0: none */
    int issued;
} rotate_options_t;

/* NULL, or what is wrong. */
static const char *parse_rotate(rotate_options_t *options, RedisModuleString **argv, int argc)
{
    static const char syntax[] = "ERR syntax error, see SECRET.HELP";
    const kt_rotate_options_t core = KT_ROTATE_INIT;
    long long length;
    int alphabet;

    options->core = core;
    options->value = 0;
    options->issued = 0;
    if (argc == 4 && ktr_is(argv[2], "VALUE")) {
        options->value = 3;
        return NULL;
    }
    for (int i = 2; i < argc; i++) {
        options->core.generate = 1;
        if (ktr_is(argv[i], "GENERATE"))
            continue;
        if (i + 1 == argc)
            return syntax;
        if (ktr_is(argv[i], "LENGTH")) {
            if (RedisModule_StringToLongLong(argv[++i], &length) != REDISMODULE_OK || length < 16 ||
                length > 1024)
                return "ERR LENGTH is a number from 16 to 1024";
            options->core.length = (size_t) length;
        } else if (ktr_is(argv[i], "ALPHABET")) {
            alphabet = kt_alphabet_parse(RedisModule_StringPtrLen(argv[++i], NULL));
            if (alphabet < 0)
                return "ERR ALPHABET is alnum, urlsafe, symbols, hex or uuid";
            options->core.alphabet = (kt_alphabet_t) alphabet;
        } else {
            return syntax;
        }
    }
    return NULL;
}

static kt_status_t run_rotate(ktr_call_t *call, void *arg, uint64_t *ret_version)
{
    rotate_options_t *options = arg;

    options->core.ret_issued = &options->issued;
    return kt_rotate(ktr_context, &call->req, &options->core, ret_version);
}

static int reply_rotated(ktr_call_t *call, kt_status_t status, uint64_t version, const void *arg)
{
    const rotate_options_t *options = arg;

    if (status == KT_SUCCESS)
        return RedisModule_ReplyWithLongLong(call->ctx, (long long) version);
    if (options->issued)
        return ktr_error(call->ctx, "SECRETISSUED",
                         "the value was issued by somebody else, who would not know a made-up "
                         "one: SECRET.SET stores a new one from there, GENERATE makes one up");
    return ktr_fail(call, status);
}

/*
 * SECRET.ROTATE key [GENERATE] [LENGTH n] [ALPHABET a] | VALUE v
 *
 * The new version || -SECRETISSUED the value was issued, and none of GENERATE, LENGTH and ALPHABET
 * asks for a made-up one || -ERR no such secret, unfinished rotation, a database shape ||
 * -SECRETDENIED || -SECRETSEALED || -SECRETCORRUPT || -SECRETMOVED || -SECRETAUDIT
 */
int ktr_rotate(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    ktr_change_t change = { run_rotate, reply_rotated, NULL, "secret.rotate", KTR_KEEP_EXPIRE };
    RedisModuleString *given = NULL;
    rotate_options_t options;
    kt_secret_t *value = NULL;
    const char *wrong;
    ktr_call_t call;

    if (argc < 2)
        return RedisModule_WrongArity(ctx);
    wrong = parse_rotate(&options, argv, argc);
    if (wrong != NULL) {
        ktr_redact(ctx, 2, argc); /* a value may be among them */
        return RedisModule_ReplyWithError(ctx, wrong);
    }
    if (options.value > 0)
        given = ktr_hide(ctx, argv, options.value);
    if (ktr_begin(&call, ctx, argv, argc, KTR_WRITE | KTR_KEY) != REDISMODULE_OK) {
        ktr_wipe(&call, given);
        return REDISMODULE_OK;
    }
    call.conflict = "ERR";
    if (given != NULL && (value = take_value(&call, given)) == NULL)
        goto out;
    options.core.value = value;
    change.arg = &options;
    ktr_change(&call, &change);
    kt_secret_free(value);
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

static kt_status_t run_rollback(ktr_call_t *call, void *arg, uint64_t *ret_version)
{
    return kt_rollback(ktr_context, &call->req, *(const uint64_t *) arg, ret_version);
}

/*
 * SECRET.ROLLBACK key [VERSION n]
 *
 * The version that is current now || -SECRETVERSION no such version, none before || -SECRETDENIED
 * ... as ROTATE
 */
int ktr_rollback(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    uint64_t version = 0;
    const ktr_change_t change = { run_rollback, reply_version, &version, "secret.rollback",
                                  KTR_KEEP_EXPIRE };
    ktr_call_t call;

    if (argc != 2 && argc != 4)
        return RedisModule_WrongArity(ctx);
    if (argc == 4 &&
        (!ktr_is(argv[2], "VERSION") || parse_version(argv[3], &version) != REDISMODULE_OK))
        return ktr_syntax(ctx);
    if (ktr_begin(&call, ctx, argv, argc, KTR_WRITE | KTR_KEY) != REDISMODULE_OK)
        return REDISMODULE_OK;
    ktr_change(&call, &change);
    ktr_end(&call);
    return REDISMODULE_OK;
}

/* ---- DEL, UNDELETE, DESTROY ---- */

/* A command whose only argument is the key. */
static int change_key(RedisModuleCtx *ctx, RedisModuleString **argv, int argc,
                      const ktr_change_t *change)
{
    ktr_call_t call;

    if (argc != 2)
        return RedisModule_WrongArity(ctx);
    if (ktr_begin(&call, ctx, argv, argc, KTR_WRITE | KTR_KEY) != REDISMODULE_OK)
        return REDISMODULE_OK;
    ktr_change(&call, change);
    ktr_end(&call);
    return REDISMODULE_OK;
}

static kt_status_t run_delete(ktr_call_t *call, void *arg, uint64_t *ret_version)
{
    REDISMODULE_NOT_USED(arg);
    REDISMODULE_NOT_USED(ret_version);
    return kt_delete(ktr_context, &call->req);
}

/* 1 if the call changed something. */
static int reply_deleted(ktr_call_t *call, kt_status_t status, uint64_t version, const void *arg)
{
    REDISMODULE_NOT_USED(version);
    REDISMODULE_NOT_USED(arg);
    if (status == KT_SUCCESS || status == KT_NOTFOUND)
        return RedisModule_ReplyWithLongLong(call->ctx, call->changed);
    return ktr_fail(call, status);
}

static kt_status_t run_undelete(ktr_call_t *call, void *arg, uint64_t *ret_version)
{
    REDISMODULE_NOT_USED(arg);
    REDISMODULE_NOT_USED(ret_version);
    return kt_undelete(ktr_context, &call->req);
}

static int reply_undeleted(ktr_call_t *call, kt_status_t status, uint64_t version, const void *arg)
{
    call->conflict = "ERR";
    return reply_ok(call, status, version, arg);
}

/*
 * SECRET.DEL key
 *
 * 1 || 0: absent or deleted already || -SECRETDENIED ... as ROTATE. The key stays, as a sealed
 * tombstone that UNDELETE brings back; the server's own DEL takes all of it away.
 */
int ktr_del(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    static const ktr_change_t change = { run_delete, reply_deleted, NULL, "secret.del",
                                         KTR_KEEP_EXPIRE };

    return change_key(ctx, argv, argc, &change);
}

/* SECRET.UNDELETE key: OK, also if it is not deleted || -ERR no such secret || -SECRETDENIED ... as
 * ROTATE */
int ktr_undelete(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    static const ktr_change_t change = { run_undelete, reply_undeleted, NULL, "secret.undelete",
                                         KTR_KEEP_EXPIRE };

    return change_key(ctx, argv, argc, &change);
}

static kt_status_t run_destroy(ktr_call_t *call, void *arg, uint64_t *ret_version)
{
    REDISMODULE_NOT_USED(ret_version);
    return kt_destroy(ktr_context, &call->req, *(const uint64_t *) arg);
}

/* SECRET.DESTROY key VERSION n | ALL: OK || -SECRETVERSION no such version, or it is current ||
 * -SECRETDENIED ... as ROTATE */
int ktr_destroy(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    uint64_t version = 0; /* all of them */
    const ktr_change_t change = { run_destroy, reply_ok, &version, "secret.destroy",
                                  KTR_KEEP_EXPIRE };
    ktr_call_t call;

    if (argc < 3 || argc > 4)
        return RedisModule_WrongArity(ctx);
    if (!ktr_is(argv[2], argc == 4 ? "VERSION" : "ALL") ||
        (argc == 4 && parse_version(argv[3], &version) != REDISMODULE_OK))
        return ktr_syntax(ctx);
    if (ktr_begin(&call, ctx, argv, argc, KTR_WRITE | KTR_KEY) != REDISMODULE_OK)
        return REDISMODULE_OK;
    ktr_change(&call, &change);
    ktr_end(&call);
    return REDISMODULE_OK;
}

/* ---- META ---- */

static int reply_metadata(ktr_call_t *call)
{
    kt_info_t *info = NULL;
    kt_status_t status = kt_info(ktr_context, &call->req, &info);

    if (status != KT_SUCCESS)
        return status == KT_NOTFOUND ? RedisModule_ReplyWithNull(call->ctx)
                                     : ktr_fail(call, status);
    RedisModule_ReplyWithMap(call->ctx, (long) kt_info_metas(info));
    for (size_t i = 0; i < kt_info_metas(info); i++) {
        const char *key, *value;

        kt_info_meta(info, i, &key, &value);
        RedisModule_ReplyWithCString(call->ctx, key);
        RedisModule_ReplyWithCString(call->ctx, value);
    }
    kt_info_free(info);
    return REDISMODULE_OK;
}

/* SET takes pairs up to DEL, DEL takes keys up to the end. */
static const char *parse_changes(set_options_t *options, RedisModuleString **argv, int argc)
{
    int i = 2;

    if (argc > i && ktr_is(argv[i], "SET")) {
        int end = ++i;

        while (end < argc && !ktr_is(argv[end], "DEL"))
            end += 2;
        if (end > argc)
            end = argc;
        if (parse_meta(options, argv + i, end - i) != NULL)
            return "ERR SET takes pairs of a key and a value, 64 at most";
        i = end;
    }
    if (argc > i && ktr_is(argv[i], "DEL") && argc > i + 1) {
        for (i++; i < argc && options->put.nmeta < KT_META_MAX; i++) {
            options->meta[options->put.nmeta].value = NULL;
            if ((options->meta[options->put.nmeta++].key = text_of(argv[i])) == NULL)
                break;
        }
    }
    return i == argc ? NULL : "ERR syntax error, see SECRET.HELP";
}

static kt_status_t run_describe(ktr_call_t *call, void *arg, uint64_t *ret_version)
{
    const set_options_t *options = arg;

    REDISMODULE_NOT_USED(ret_version);
    return kt_describe(ktr_context, &call->req, options->meta, options->put.nmeta);
}

/*
 * SECRET.META key [SET k v ...] [DEL k ...]
 *
 * Without a change the metadata, as a map || nil: absent. Else OK || -ERR no such secret, not
 * metadata || -SECRETDENIED ... as ROTATE
 */
int ktr_meta(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    set_options_t options;
    const ktr_change_t change = { run_describe, reply_ok, &options, "secret.meta",
                                  KTR_KEEP_EXPIRE };
    const char *wrong;
    ktr_call_t call;

    if (argc < 2)
        return RedisModule_WrongArity(ctx);
    memset(&options, 0, sizeof(options));
    wrong = parse_changes(&options, argv, argc);
    if (wrong != NULL) {
        ktr_redact(ctx, 2, argc); /* a value may be among them */
        return RedisModule_ReplyWithError(ctx, wrong);
    }
    if (ktr_begin(&call, ctx, argv, argc, KTR_WRITE | KTR_KEY) != REDISMODULE_OK)
        return REDISMODULE_OK;
    if (options.put.nmeta == 0)
        reply_metadata(&call);
    else
        ktr_change(&call, &change);
    ktr_end(&call);
    return REDISMODULE_OK;
}
