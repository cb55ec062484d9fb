/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * debug.c
 *		Named points at which a test stops, kills or fails a backend, or watches
 *		what its thread reads. Compiled in by `configure --enable-debug-hooks` only.
 */
#include "compat.h"

#include <signal.h>
#include <time.h>
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

/* A sum that no wiped, unmapped or reused memory has. */
static uint64
sum_of(const unsigned char *bytes, size_t size)
{
	uint64		sum = 1;

	for (size_t i = 0; i < size; i++)
		sum = sum * 31 + ((const volatile unsigned char *) bytes)[i];
	return sum;
}

/*
 * With "POINT:watch", waits in a thread of its own until *until, and ends the
 * process if the bytes change before that or by that.
 */
void
ktpg_debug_watch(const char *point, const volatile bool *until, const unsigned char *bytes,
				 size_t size)
{
	size_t		len = strlen(point);
	struct timespec pause = {0, 1000000};
	uint64		sum = sum_of(bytes, size);
	bool		last;

	if (ktpg_debug_stop == NULL || strncmp(ktpg_debug_stop, point, len) != 0 ||
		strcmp(ktpg_debug_stop + len, ":watch") != 0)
		return;
	do
	{
		(void) nanosleep(&pause, NULL);
		last = __atomic_load_n(until, __ATOMIC_ACQUIRE);
		if (sum_of(bytes, size) != sum)
			abort();
	} while (!last);
}

#endif							/* KT_DEBUG_HOOKS */
