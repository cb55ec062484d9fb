/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>

#include "compat.h"

int (*ktr_SetCommandACLCategories)(RedisModuleCommand *command, const char *categories);

void ktr_compat_init(void)
{
    RedisModule_GetApi("RedisModule_SetCommandACLCategories",
                       (void *) &ktr_SetCommandACLCategories);
}

int ktr_may_follow_events(RedisModuleCtx *ctx)
{
    RedisModuleServerInfoData *info = RedisModule_GetServerInfo(ctx, "server");
    const char *valkey = RedisModule_ServerInfoGetFieldC(info, "valkey_version");
    int major = 0, minor = 0, patch = 0, version;

    if (valkey != NULL)
        sscanf(valkey, "%d.%d.%d", &major, &minor, &patch);
    RedisModule_FreeServerInfo(ctx, info);
    version = major * 10000 + minor * 100 + patch;
    return version < 80100 || version > 90101;
}
