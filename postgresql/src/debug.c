/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * debug.c
 *		Named points at which a test stops, kills or fails a backend. Compiled
 *		in by `configure --enable-debug-hooks` only.
 */
#include "compat.h"

#include <signal.h>
#include <unistd.h>

#include "extension.h"

#ifdef KT_DEBUG_HOOKS

/*
 * keyturn.debug_stop is "POINT" (SIGSTOP), "POINT:kill" (SIGKILL) or
 * "POINT:error".
 */
void
ktpg_debug_point(const char *point)
{
	size_t		len = strlen(point);
	const char *what;

	if (ktpg_debug_stop == NULL || strncmp(ktpg_debug_stop, point, len) != 0)
		return;
	what = ktpg_debug_stop + len;
	if (what[0] == '\0')
		kill(getpid(), SIGSTOP);
	else if (strcmp(what, ":kill") == 0)
	{
		kill(getpid(), SIGKILL);
		for (;;)
			pause();
	}
	else if (strcmp(what, ":error") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("keyturn.debug_stop: error at \"%s\"", point)));
}

#endif							/* KT_DEBUG_HOOKS */
