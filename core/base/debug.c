/* SPDX-License-Identifier: BSD-2-Clause */
/* debug.c: named points at which a test stops or kills the process. Compiled in by `configure
 * --enable-debug-hooks` only. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

#ifdef KT_DEBUG_HOOKS

void kt_debug_point(const char *point)
{
    const char *wanted = secure_getenv("KEYTURN_DEBUG_STOP");
    size_t len = strlen(point);

    if (wanted == NULL || strncmp(wanted, point, len) != 0)
        return;
    if (wanted[len] == '\0')
        (void)raise(SIGSTOP);
    else if (strcmp(wanted + len, ":kill") == 0)
        (void)kill(getpid(), SIGKILL);
}

#else

typedef int kt_debug_is_not_compiled_in; /* ISO C requires a declaration in every file */

#endif /* KT_DEBUG_HOOKS */
