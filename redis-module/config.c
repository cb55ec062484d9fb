/* SPDX-License-Identifier: BSD-2-Clause */
/* config.c: what the server's own configuration says: keyturn.* in redis.conf and CONFIG SET. */
#include <string.h>

#include "keyturn_redis.h"

#define KEPT 10 /* versions of a secret, as the store `local` */

static long long keep_versions = KEPT;

/* Of the context, which may be another one than at the last time. */
int ktr_config_apply(void)
{
    if (ktr_context == NULL)
        return REDISMODULE_OK; /* nothing is written without a key */
    return kt_bundle_versions(ktr_context, (size_t) keep_versions) == KT_SUCCESS ? REDISMODULE_OK
                                                                                 : REDISMODULE_ERR;
}

static long long get_number(const char *name, void *data)
{
    REDISMODULE_NOT_USED(name);
    return *(const long long *) data;
}

static int set_number(const char *name, long long number, void *data, RedisModuleString **err)
{
    long long before = *(long long *) data;

    REDISMODULE_NOT_USED(name);
    *(long long *) data = number;
    if (ktr_config_apply() == REDISMODULE_OK)
        return REDISMODULE_OK;
    *(long long *) data = before;
    *err = RedisModule_CreateString(NULL, kt_error(ktr_context), strlen(kt_error(ktr_context)));
    return REDISMODULE_ERR;
}

int ktr_config_register(RedisModuleCtx *ctx)
{
    if (RedisModule_RegisterNumericConfig(ctx, "keep-versions", KEPT, REDISMODULE_CONFIG_DEFAULT,
                                          KT_BUNDLE_VERSIONS_MIN, KT_VERSIONS_MAX, get_number,
                                          set_number, NULL, &keep_versions) != REDISMODULE_OK)
        return REDISMODULE_ERR;
    return RedisModule_LoadConfigs(ctx);
}
