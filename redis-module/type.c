/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * type.c: the native type keyturn-1. A value is a bundle (sealed head and sealed values) and the
 * name under which it was stored.
 *
 * RDB and DUMP, encoding version 0: name, bundle. A payload may come from any user that may
 * RESTORE, so rdb_load trusts nothing: the name must be a name, the bundle must parse, and what is
 * inside is proven by its seal when it is read.
 */
#include <string.h>

#include "keyturn_redis.h"

#define KTR_TYPE_NAME "keyturn-1"
#define KTR_ENCVER 0

RedisModuleType *ktr_type;

ktr_value_t *ktr_value_new(kt_bundle_t *bundle, const char *name, size_t name_len)
{
    ktr_value_t *value = RedisModule_Alloc(sizeof(*value) + name_len);

    value->bundle = bundle;
    value->name_len = name_len;
    memcpy(value->name, name, name_len);
    return value;
}

void ktr_value_free(void *data)
{
    ktr_value_t *value = data;

    kt_bundle_free(value->bundle);
    RedisModule_Free(value);
}

static void type_rdb_save(RedisModuleIO *rdb, void *data)
{
    const ktr_value_t *value = data;
    size_t size;
    const char *bytes = kt_bundle_bytes(value->bundle, &size);

    RedisModule_SaveStringBuffer(rdb, value->name, value->name_len);
    RedisModule_SaveStringBuffer(rdb, bytes, size);
}

static void *type_rdb_load(RedisModuleIO *rdb, int encver)
{
    char *name = NULL, *bytes = NULL;
    size_t name_len, size;
    const char *why = "the payload ends early";
    kt_bundle_t *bundle = NULL;
    ktr_value_t *value = NULL;

    if (encver != KTR_ENCVER) {
        RedisModule_LogIOError(rdb, "warning",
                               "a secret of encoding version %d: this module reads %d", encver,
                               KTR_ENCVER);
        return NULL;
    }
    name = RedisModule_LoadStringBuffer(rdb, &name_len);
    if (name == NULL || RedisModule_IsIOError(rdb))
        goto out;
    /* 0 would mean that the name ends with NUL, which this one need not */
    if (name_len == 0 || kt_name_check(name, name_len, NULL) != KT_SUCCESS) {
        why = "what it is stored as is not the name of a secret";
        goto out;
    }
    bytes = RedisModule_LoadStringBuffer(rdb, &size);
    if (bytes == NULL || RedisModule_IsIOError(rdb))
        goto out;
    if (kt_bundle_parse(bytes, size, &bundle) != KT_SUCCESS) {
        why = "not a sealed secret";
        goto out;
    }
    value = ktr_value_new(bundle, name, name_len);
out:
    if (value != NULL)
        ktr_restored(rdb);
    else
        RedisModule_LogIOError(rdb, "warning", "a secret cannot be loaded: %s", why);
    if (bytes != NULL)
        RedisModule_Free(bytes);
    if (name != NULL)
        RedisModule_Free(name);
    return value;
}

/* With `aof-use-rdb-preamble no`. The expiry is written by the server. */
static void type_aof_rewrite(RedisModuleIO *aof, RedisModuleString *key, void *data)
{
    const ktr_value_t *value = data;
    size_t size;
    const char *bytes = kt_bundle_bytes(value->bundle, &size);

    RedisModule_EmitAOF(aof, "SECRET.RESTORE", "sbcb", key, bytes, size, "NAME", value->name,
                        value->name_len);
}

static size_t type_mem_usage(RedisModuleKeyOptCtx *ctx, const void *data, size_t sample_size)
{
    const ktr_value_t *value = data;

    REDISMODULE_NOT_USED(ctx);
    REDISMODULE_NOT_USED(sample_size);
    return RedisModule_MallocSize((void *) (uintptr_t) value) +
           RedisModule_MallocSize(value->bundle);
}

/* Both blocks lie in the server's memory, and neither is pointed to from elsewhere. */
static int type_defrag(RedisModuleDefragCtx *ctx, RedisModuleString *key, void **data)
{
    ktr_value_t *value = RedisModule_DefragAlloc(ctx, *data);
    kt_bundle_t *bundle;

    REDISMODULE_NOT_USED(key);
    if (value != NULL)
        *data = value;
    value = *data;
    bundle = RedisModule_DefragAlloc(ctx, value->bundle);
    if (bundle != NULL)
        value->bundle = bundle;
    return 0;
}

static void type_digest(RedisModuleDigest *digest, void *data)
{
    const ktr_value_t *value = data;
    size_t size;
    const void *bytes = kt_bundle_bytes(value->bundle, &size);

    RedisModule_DigestAddStringBuffer(digest, value->name, value->name_len);
    RedisModule_DigestAddStringBuffer(digest, bytes, size);
    RedisModule_DigestEndSequence(digest);
}

/* A value freed is two pieces of memory: never worth another thread. */
static size_t type_free_effort(RedisModuleKeyOptCtx *ctx, const void *data)
{
    REDISMODULE_NOT_USED(ctx);
    REDISMODULE_NOT_USED(data);
    return 1;
}

/* COPY is refused: the seal is bound to the name, and the copy would not open. */
static void *type_copy(RedisModuleKeyOptCtx *ctx, const void *data)
{
    REDISMODULE_NOT_USED(ctx);
    REDISMODULE_NOT_USED(data);
    return NULL;
}

int ktr_type_register(RedisModuleCtx *ctx)
{
    RedisModuleTypeMethods methods = {
        .version = REDISMODULE_TYPE_METHOD_VERSION,
        .rdb_load = type_rdb_load,
        .rdb_save = type_rdb_save,
        .aof_rewrite = type_aof_rewrite,
        .digest = type_digest,
        .free = ktr_value_free,
        .mem_usage2 = type_mem_usage,
        .free_effort2 = type_free_effort,
        .unlink2 = ktr_unlinked,
        .copy2 = type_copy,
        .defrag = type_defrag,
    };

    kt_bundle_allocator(RedisModule_TryAlloc, RedisModule_Free);
    ktr_type = RedisModule_CreateDataType(ctx, KTR_TYPE_NAME, KTR_ENCVER, &methods);
    return ktr_type == NULL ? REDISMODULE_ERR : REDISMODULE_OK;
}
