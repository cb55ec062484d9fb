/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sweeper.c
 *		The background process that writes what backends record.
 *
 * A backend that reads a secret puts its record into a ring of its own, a mapped
 * file, and asks for a sweep (tasks.c). The sweeper makes lines of all rings,
 * sealed and synced, so that a statement waits for no disk. A ring outlives its
 * backend: that of one that was killed is swept like the others, at the start at
 * the latest. The sweeper also writes checkpoints and feeds the external sinks.
 *
 * It is a process of its own, because the worker may be busy for long, and runs
 * on a standby too. It needs no database. While it cannot write, it serves
 * no one: backends then write their records themselves, and fail if they cannot.
 */
#include "compat.h"

#include <time.h>

#include "access/xact.h"
#include "extension.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"

#define SWEEPER_RESTART	1		/* s */
#define SWEEPER_PAUSE	800		/* ms that a record waits at most */
#define SWEEPER_RETRY	60000	/* ms until a bad configuration is read again */

static bool failing = false;	/* the log of the server has it already */

void
ktpg_sweeper_register(void)
{
	BackgroundWorker worker;

	ktpg_background_describe(&worker, "keyturn sweeper", "keyturn_sweeper_main", 0,
							 BgWorkerStart_PostmasterStart, SWEEPER_RESTART);
	RegisterBackgroundWorker(&worker);
}

/* Not by the clock on the wall, which may be put back. */
static int64
monotonic(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64CONST(1000) + now.tv_nsec / 1000000;
}

/* The context; NULL: the configuration is bad, which the log of the server says. */
static kt_ctx_t *
try_context(void)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	kt_ctx_t   *volatile ctx = NULL;

	SetCurrentStatementStartTimestamp();
	PG_TRY();
	{
		ctx = ktpg_context();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(oldcontext);
		HOLD_INTERRUPTS();
		EmitErrorReport();
		FlushErrorState();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	return ctx;
}

/* Writes what all processes have recorded. Backends rely on us as long as that works. */
static bool
sweep(kt_ctx_t *ctx)
{
	bool		written = ktpg_flush_trail(true);

	ktpg_task_serve(KTPG_TASK_SWEEP, written ? MyLatch : NULL);
	if (!written && !failing)
		ereport(LOG,
				(errmsg("keyturn: %s", kt_error(ctx)),
				 errdetail("Requests that cannot be recorded are refused.")));
	else if (written && failing)
		ereport(LOG,
				(errmsg("keyturn: the audit log can be written again")));
	failing = !written;
	return written;
}

/* Sweeps if it is time; *due is the time of the next sweep, 0: when it is asked for. */
static void
sweep_when_due(int64 *due)
{
	bool		requested = ktpg_task_requested(KTPG_TASK_SWEEP, false);
	kt_ctx_t   *ctx;

	if (*due == 0 && requested)
		*due = monotonic() + SWEEPER_PAUSE;
	if (*due == 0 || monotonic() < *due)
		return;
	ctx = try_context();
	if (ctx == NULL)
	{
		ktpg_task_serve(KTPG_TASK_SWEEP, NULL);
		*due = monotonic() + SWEEPER_RETRY;
		return;
	}
	(void) ktpg_task_requested(KTPG_TASK_SWEEP, true);
	/* once more after a request, for what was about to be recorded when it came */
	*due = !sweep(ctx) || requested ? monotonic() + SWEEPER_PAUSE : 0;
}

void
keyturn_sweeper_main(Datum arg)
{
	int64		due;			/* at once: what a server left that was killed */

	ktpg_background_begin();
	ktpg_background_withdraw(KTPG_TASK_SWEEP);
	due = monotonic();

	for (;;)
	{
		int64		wait;

		sweep_when_due(&due);
		wait = ktpg_forward_trail();
		if (due != 0)
			wait = Min(wait, Max(due - monotonic(), 1));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 wait, PG_WAIT_EXTENSION);
		if (ktpg_background_reloaded())
			due = monotonic();
	}
}
