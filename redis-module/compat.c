/* SPDX-License-Identifier: BSD-2-Clause */
#include "compat.h"

int (*ktr_SetCommandACLCategories)(RedisModuleCommand *command, const char *categories);

void ktr_compat_init(void)
{
    RedisModule_GetApi("RedisModule_SetCommandACLCategories",
                       (void *) &ktr_SetCommandACLCategories);
}
