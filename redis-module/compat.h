/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compat.h: redismodule.h of Redis 7.0, and what later servers add to it.
 *
 * The module is built with the 7.0 header and loads on 7.0 and all later servers. A call that came
 * later is looked up at load time into a pointer of ours, which stays NULL on an older server: test
 * it before each use.
 */
#ifndef KTR_COMPAT_H
#define KTR_COMPAT_H

#include <redismodule.h>

/* 7.2: on 7.0 a module's commands belong to no ACL category at all and need +@all or +command */
extern int (*ktr_SetCommandACLCategories)(RedisModuleCommand *command, const char *categories);

/* After RedisModule_Init(). */
void ktr_compat_init(void);

/*
 * May this module subscribe to keyspace events? From Valkey 8.1 to 9.1.1, a client that calls MOVE
 * or COPY is left in the other database as soon as any module does, and its next commands go
 * there. While the module is loaded only.
 */
int ktr_may_follow_events(RedisModuleCtx *ctx);

#endif /* KTR_COMPAT_H */
