/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * background.c
 *		How a background process of keyturn is described to the server, and how it
 *		begins.
 */
#include "compat.h"

#include <signal.h>

#include "extension.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"

/*
 * What the server needs to start it. `restart` is in seconds, or
 * BGW_NEVER_RESTART.
 */
void
ktpg_background_describe(BackgroundWorker *worker, const char *name, const char *function,
						 int flags, BgWorkerStartTime when, int restart)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | flags;
	worker->bgw_start_time = when;
	worker->bgw_restart_time = restart;
	strlcpy(worker->bgw_name, name, BGW_MAXLEN);
	strlcpy(worker->bgw_type, name, BGW_MAXLEN);
	strlcpy(worker->bgw_library_name, "keyturn", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
}

/*
 * The first thing that it does, before it is connected to anything: from here on
 * it takes signals.
 */
void
ktpg_background_begin(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	ktpg_is_worker = true;
}

/* ---- a task that backends ask for (tasks.c) ---- */

static void
withdraw(int code, Datum task)
{
	ktpg_task_serve((KtpgTask) DatumGetInt32(task), NULL);
}

/*
 * However it ends, backends see that no process serves the task any more.
 */
void
ktpg_background_withdraw(KtpgTask task)
{
	before_shmem_exit(withdraw, Int32GetDatum(task));
}

/*
 * After its latch was set: was a reload of the server asked for? The settings are
 * the new ones then.
 */
bool
ktpg_background_reloaded(void)
{
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}
