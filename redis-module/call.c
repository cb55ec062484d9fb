/* SPDX-License-Identifier: BSD-2-Clause */
/* call.c: one command: its subject, its key, its reply, and how a change is stored. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "keyturn_redis.h"

kt_ctx_t *ktr_context; /* here, below all that uses it; keyturn_redis.c opens and closes it */

/* ---- replies ---- */

int ktr_error(RedisModuleCtx *ctx, const char *prefix, const char *text)
{
    char line[768];

    snprintf(line, sizeof(line), "%s %s", prefix, text);
    return RedisModule_ReplyWithError(ctx, line);
}

int ktr_syntax(RedisModuleCtx *ctx)
{
    return RedisModule_ReplyWithError(ctx, "ERR syntax error, see SECRET.HELP");
}

static int no_key(RedisModuleCtx *ctx)
{
    return ktr_error(ctx, "SECRETSEALED",
                     "this server holds no key: it was loaded without a configuration");
}

int ktr_moved(const ktr_call_t *call)
{
    const char *key;
    size_t len;

    if (call->value == NULL)
        return 0;
    key = RedisModule_StringPtrLen(call->key, &len);
    return call->value->name_len != len || memcmp(call->value->name, key, len) != 0;
}

int ktr_refuse_moved(ktr_call_t *call)
{
    return ktr_error(call->ctx, "SECRETMOVED",
                     "the key holds a secret of another name: RENAME it back");
}

static const char *prefix_of(const ktr_call_t *call, kt_status_t status)
{
    switch (status) {
    case KT_DENIED:
        return "SECRETDENIED";
    case KT_NOKEY:
    case KT_WRONGKEY:
        return "SECRETSEALED";
    case KT_MALFORMED:
    case KT_ROLLEDBACK:
        return "SECRETCORRUPT";
    case KT_MOVED:
        return "SECRETMOVED";
    case KT_AUDIT:
        return "SECRETAUDIT";
    case KT_CONFLICT:
        return call->conflict;
    default:
        return "ERR";
    }
}

int ktr_fail(ktr_call_t *call, kt_status_t status)
{
    const char *text = ktr_context != NULL ? kt_error(ktr_context) : "";

    if (ktr_moved(call) && (status == KT_MALFORMED || status == KT_MOVED || status == KT_WRONGKEY ||
                            status == KT_NOKEY))
        return ktr_refuse_moved(call);
    if (text == NULL || text[0] == '\0')
        text = kt_status_text(status);
    return ktr_error(call->ctx, prefix_of(call, status), text);
}

/* ---- arguments ---- */

int ktr_is(RedisModuleString *argument, const char *word)
{
    size_t len;
    const char *text = RedisModule_StringPtrLen(argument, &len);

    return len == strlen(word) && strncasecmp(text, word, len) == 0;
}

void ktr_redact(RedisModuleCtx *ctx, int from, int to)
{
    for (int i = from; i < to; i++)
        RedisModule_RedactClientCommandArgument(ctx, i);
}

/*
 * Redis writes "(redacted)" into a copy of the argument vector, Valkey 8.1 to 9.0 into the one that
 * the module holds: after that argv[i] is a string that all redacted commands of the server share.
 * The value itself stays the client's in both.
 */
RedisModuleString *ktr_hide(RedisModuleCtx *ctx, RedisModuleString **argv, int i)
{
    RedisModuleString *argument = argv[i];

    ktr_redact(ctx, i, i + 1);
    return argument;
}

/*
 * A crash report prints arguments, redacted or not, and freed memory is not zeroed. The bytes
 * belong to the connection's own argument vector; in a script or a call by another module they may
 * be shared with others, so there they stay.
 */
void ktr_wipe(const ktr_call_t *call, RedisModuleString *argument)
{
    size_t len;
    char *text;

    if (!call->direct || argument == NULL)
        return;
    text = (char *) (uintptr_t) RedisModule_StringPtrLen(argument, &len);
    explicit_bzero(text, len);
}

/* ---- begin and end ---- */

static void start(ktr_call_t *call, RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    const kt_request_t request = KT_REQUEST_INIT;
    int flags = RedisModule_GetContextFlags(ctx);

    /* not the buffers: each is written before it is read */
    memset(call, 0, offsetof(ktr_call_t, reference));
    call->ctx = ctx;
    call->argv = argv;
    call->argc = argc;
    call->conflict = "SECRETVERSION";
    call->req = request;
    call->req.subject = call->subject;
    call->replicated =
        (flags & (REDISMODULE_CTX_FLAGS_REPLICATED | REDISMODULE_CTX_FLAGS_LOADING)) != 0;
}

static void identify(ktr_call_t *call)
{
    static const char replication[] = "redis:(replication)";

    if (call->replicated)
        memcpy(call->subject, replication, sizeof(replication));
    else
        ktr_identify(call);
}

void ktr_begin_keyless(ktr_call_t *call, RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    start(call, ctx, argv, argc);
    identify(call);
}

/* ---- the key ---- */

static int open_key(ktr_call_t *call, int flags)
{
    int mode = flags & KTR_WRITE ? REDISMODULE_READ | REDISMODULE_WRITE : REDISMODULE_READ;

    call->handle = RedisModule_OpenKey(call->ctx, call->key, mode);
    if (call->handle == NULL || RedisModule_KeyType(call->handle) == REDISMODULE_KEYTYPE_EMPTY) {
        call->req.bundle = &call->absent;
        return REDISMODULE_OK;
    }
    if (RedisModule_ModuleTypeGetType(call->handle) != ktr_type) {
        RedisModule_ReplyWithError(call->ctx, REDISMODULE_ERRORMSG_WRONGTYPE);
        return REDISMODULE_ERR;
    }
    call->value = RedisModule_ModuleTypeGetValue(call->handle);
    call->req.bundle = &call->value->bundle;
    call->counter = kt_bundle_counter(call->value->bundle);
    return REDISMODULE_OK;
}

/* What is stored under its own name was checked then. */
static int check_name(ktr_call_t *call)
{
    size_t len;
    const char *name = RedisModule_StringPtrLen(call->key, &len), *why = NULL;

    if (call->value != NULL && !ktr_moved(call))
        return REDISMODULE_OK;
    if (len == 0 || kt_name_check(name, len, &why) != KT_SUCCESS) {
        ktr_error(call->ctx,
                  "ERR the key is not the name of a secret:", why != NULL ? why : "it is empty");
        return REDISMODULE_ERR;
    }
    return REDISMODULE_OK;
}

int ktr_begin(ktr_call_t *call, RedisModuleCtx *ctx, RedisModuleString **argv, int argc, int flags)
{
    start(call, ctx, argv, argc);
    if (ktr_context != NULL) /* otherwise there is neither a policy nor a trail */
        identify(call);
    else
        call->subject[0] = '\0';
    call->key = argv[1];
    if ((flags & KTR_KEY) && ktr_context == NULL) {
        no_key(ctx);
        goto fail;
    }
    if (open_key(call, flags) != REDISMODULE_OK)
        goto fail;
    if (!(flags & KTR_ANY_NAME) && check_name(call) != REDISMODULE_OK)
        goto fail;
    if (!(flags & KTR_ANY_NAME) && ktr_refer(call, NULL, NULL) != REDISMODULE_OK)
        goto fail;
    return REDISMODULE_OK;

fail:
    ktr_end(call);
    return REDISMODULE_ERR;
}

void ktr_end(ktr_call_t *call)
{
    if (call->handle != NULL)
        RedisModule_CloseKey(call->handle);
    if (call->user != NULL)
        RedisModule_FreeString(call->ctx, call->user);
    kt_bundle_free(call->absent);
    call->handle = NULL;
    call->user = NULL;
    call->absent = NULL;
}

/* Room for name, field and version in their largest form is KT_REFERENCE_MAX; what is longer is not
 * a reference. */
static int append(ktr_call_t *call, size_t *len, const char *mark, RedisModuleString *part)
{
    size_t size;
    const char *text = RedisModule_StringPtrLen(part, &size);

    if (size == 0 || memchr(text, '#', size) != NULL || memchr(text, '@', size) != NULL ||
        *len + strlen(mark) + size > KT_REFERENCE_MAX) {
        ktr_error(call->ctx, "ERR",
                  mark[0] == '#' ? "not a field"
                                 : "not a version: a number, current, previous or pending");
        return REDISMODULE_ERR;
    }
    memcpy(call->reference + *len, mark, strlen(mark));
    memcpy(call->reference + *len + strlen(mark), text, size);
    *len += strlen(mark) + size;
    return REDISMODULE_OK;
}

int ktr_refer(ktr_call_t *call, RedisModuleString *field, RedisModuleString *version)
{
    size_t len;
    const char *name = RedisModule_StringPtrLen(call->key, &len);

    memcpy(call->reference, name, len); /* check_name() bounds it */
    if (field != NULL && append(call, &len, "#", field) != REDISMODULE_OK)
        return REDISMODULE_ERR;
    if (version != NULL && append(call, &len, "@", version) != REDISMODULE_OK)
        return REDISMODULE_ERR;
    call->reference[len] = '\0';
    call->req.reference = call->reference;
    call->req.reference_len = len;
    return REDISMODULE_OK;
}

/* ---- storing ---- */

static void replicate(ktr_call_t *call, mstime_t expire)
{
    const ktr_value_t *value = call->value;
    size_t size;
    const char *bytes = kt_bundle_bytes(value->bundle, &size);

    if (expire == REDISMODULE_NO_EXPIRE)
        RedisModule_Replicate(call->ctx, "SECRET.RESTORE", "sbcb", call->key, bytes, size, "NAME",
                              value->name, value->name_len);
    else
        RedisModule_Replicate(call->ctx, "SECRET.RESTORE", "sbcbcl", call->key, bytes, size, "NAME",
                              value->name, value->name_len, "PXAT", (long long) expire);
}

static void publish(ktr_call_t *call, const char *event, mstime_t expire)
{
    if (expire == KTR_KEEP_EXPIRE)
        expire = RedisModule_GetAbsExpire(call->handle);
    else
        RedisModule_SetAbsExpire(call->handle, expire);
    replicate(call, expire);
    RedisModule_CloseKey(call->handle);
    call->handle = NULL;
    RedisModule_SignalModifiedKey(call->ctx, call->key);
    RedisModule_NotifyKeyspaceEvent(call->ctx, REDISMODULE_NOTIFY_MODULE, event, call->key);
    ktr_changed(RedisModule_GetSelectedDb(call->ctx), call->key);
}

int ktr_adopt(ktr_call_t *call, kt_bundle_t *bundle, const char *name, size_t name_len,
              const char *event, mstime_t expire)
{
    ktr_value_t *value = ktr_value_new(bundle, name, name_len);

    if (RedisModule_ModuleTypeSetValue(call->handle, ktr_type, value) != REDISMODULE_OK) {
        ktr_value_free(value);
        RedisModule_ReplyWithError(call->ctx, "ERR the key cannot be written");
        return REDISMODULE_ERR;
    }
    call->value = value;
    publish(call, event, expire);
    return REDISMODULE_OK;
}

int ktr_reopen(ktr_call_t *call)
{
    call->value = NULL;
    return open_key(call, KTR_WRITE);
}

int ktr_put(ktr_call_t *call, kt_bundle_t *bundle, const char *event, mstime_t expire)
{
    size_t len;
    const char *key = RedisModule_StringPtrLen(call->key, &len);

    if (call->value == NULL)
        return ktr_adopt(call, bundle, key, len, event,
                         expire == KTR_KEEP_EXPIRE ? REDISMODULE_NO_EXPIRE : expire);
    kt_bundle_free(call->value->bundle);
    call->value->bundle = bundle;
    publish(call, event, expire);
    return REDISMODULE_OK;
}

int ktr_store(ktr_call_t *call, const char *event, mstime_t expire)
{
    kt_bundle_t *bundle = *call->req.bundle;

    /* the counter says what was committed, also by a call that failed half way: that is stored */
    if (bundle == NULL || kt_bundle_counter(bundle) == call->counter)
        return REDISMODULE_OK;
    call->changed = 1;
    if (call->value != NULL) {
        publish(call, event, expire);
        return REDISMODULE_OK;
    }
    call->absent = NULL;
    return ktr_put(call, bundle, event, expire);
}
