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

#endif /* KTR_COMPAT_H */
