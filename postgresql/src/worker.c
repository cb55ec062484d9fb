/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker.c
 *		The background worker: it ends interrupted rotations.
 *
 * It runs with shared_preload_libraries = 'keyturn' and starts when recovery has
 * ended, so it looks at all secrets after a crash, a restart and a promotion.
 * Later it looks at those that were written, every keyturn.reconcile_interval,
 * and at once when a backend that could not finish a rotation at its commit
 * wakes it (tasks.c).
 */
#include "compat.h"

#include <signal.h>

#include "access/xact.h"
#include "extension.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

#define WORKER_RESTART	5		/* s */
#define WORKER_RETRY	1000	/* ms, while something is left */
#define WORKER_MARGIN	3000	/* ms by which a clock may have been put back */

void
ktpg_worker_register(void)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = WORKER_RESTART;
	strlcpy(worker.bgw_name, "keyturn worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "keyturn worker", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "keyturn", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "keyturn_worker_main", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

static void
withdraw_latch(int code, Datum arg)
{
	ktpg_task_serve(KTPG_TASK_LOOK, NULL);
}

static void
log_outcome(const char *name, uint64_t version, KtpgOutcome outcome)
{
	if (outcome == KTPG_FINISHED)
		ereport(LOG,
				(errmsg("keyturn: finished an interrupted rotation of secret \"%s\"", name),
				 errdetail("The role has the new password.")));
	else if (outcome == KTPG_ABANDONED)
		ereport(LOG,
				(errmsg("keyturn: gave up an interrupted rotation of secret \"%s\"", name),
				 errdetail("The role has its old password. Version %llu is abandoned, and kept "
						   "for keyturn.keep_abandoned.", (unsigned long long) version)));
}

/* Whether a secret has to be looked at again. */
typedef enum Progress
{
	DONE,
	LATER,						/* after keyturn.reconcile_interval */
	AGAIN						/* soon */
} Progress;

/* What the policy denied to the worker in this look, and whether the log has it already. */
static bool denied = false;
static bool denied_warned = false;

/*
 * Without its rule the worker finishes nothing, and a role may stay locked out
 * after a crash, so the administrator has to know. Once, until it is cured: the
 * worker looks again all the time.
 */
static void
warn_denied(kt_ctx_t *ctx)
{
	char	   *why = pstrdup(kt_error(ctx));

	denied = true;
	if (denied_warned)
		return;
	denied_warned = true;
	ereport(WARNING,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("keyturn: the policy does not let the worker finish interrupted rotations"),
			 errdetail("%s.", why),
			 errhint("Add {who: \"postgresql:worker\", allow: [rotate, list], names: [\"database/*\"]} "
					 "to the policy of %s, then reload the server. \"keyturn check\" tells "
					 "what is missing.", ktpg_config)));
}

/* What a read of a secret tells the worker; an error is not "there is nothing to do". */
static Progress
progress_of(kt_ctx_t *ctx, const char *name, kt_status_t status)
{
	if (status == KT_SUCCESS || status == KT_NOTFOUND || status == KT_GONE)
		return DONE;
	if (status == KT_TRYAGAIN || status == KT_UNAVAIL)
		return AGAIN;
	if (status == KT_DENIED)
		warn_denied(ctx);
	else
		ereport(WARNING,
				(errcode(ktpg_sqlstate(status)),
				 errmsg("keyturn: it is not known whether a rotation of secret \"%s\" was "
						"interrupted: %s", name, kt_status_name(status)),
				 errdetail("%s.", kt_error(ctx))));
	return LATER;
}

/* Ends what is pending of one secret. */
static Progress
reconcile_secret(kt_ctx_t *ctx, const char *name)
{
	kt_request_t req;
	kt_info_t **info = ktpg_hold_info();
	kt_status_t status;
	KtpgOutcome outcome;
	Progress	progress;
	uint64_t	version;

	ktpg_request(&req, name);
	status = kt_info(ctx, &req, info);
	if (status != KT_SUCCESS || kt_info_pending(*info) == 0)
		return progress_of(ctx, name, status);
	if (!ktpg_secret_lock(name, false))
		return AGAIN;			/* a rotation is running; it ends itself, or is killed */
	outcome = ktpg_reconcile(ctx, &req, &version, &status);
	log_outcome(name, version, outcome);
	if (outcome == KTPG_FOREIGN)
		return LATER;			/* something may prove here what became of it */
	if (outcome != KTPG_LATER)
		return DONE;
	progress = progress_of(ctx, name, status);
	return progress == DONE ? LATER : progress;
}

/* One transaction of the worker: what is raised in it goes to the log. */
static Progress
in_transaction(Progress (*work) (void *arg), void *arg)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	volatile Progress done = AGAIN;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PG_TRY();
	{
		done = work(arg);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(oldcontext);
	return done;
}

/* What one look at all secrets needs beyond a transaction. */
typedef struct Look
{
	MemoryContext context;
	KtpgListed *first;
} Look;

static Progress
list_work(void *arg)
{
	Look	   *look = arg;
	kt_ctx_t   *ctx = ktpg_context();
	MemoryContext oldcontext = MemoryContextSwitchTo(look->context);
	uint64_t	hidden;
	kt_status_t status = ktpg_list(ctx, NULL, &look->first, &hidden);

	MemoryContextSwitchTo(oldcontext);
	if (status == KT_DENIED)
		warn_denied(ctx);
	else if (status != KT_SUCCESS && status != KT_TRYAGAIN && status != KT_UNAVAIL)
		ktpg_error(ctx, status, "*", "listed");
	return status == KT_SUCCESS ? DONE : status == KT_DENIED ? LATER : AGAIN;
}

static Progress
reconcile_work(void *arg)
{
	return reconcile_secret(ktpg_context(), arg);
}

/*
 * Looks at the secrets that were written since *since, which moves on when
 * nothing is left. So a look at a store that stands still is one list, and one
 * line in the audit trail.
 */
static Progress
look_at_secrets(int64 *since)
{
	Look		look = {NULL, NULL};
	int64		now = ktpg_now();
	int			number = ktpg_context_number();
	Progress	done;

	denied = false;
	look.context = AllocSetContextCreate(TopMemoryContext, "keyturn secrets",
										 ALLOCSET_DEFAULT_SIZES);
	done = in_transaction(list_work, &look);
	if (number != ktpg_context_number())
		*since = 0;				/* the new policy may show what the old one hid */
	for (KtpgListed *listed = look.first; listed != NULL; listed = listed->next)
	{
		CHECK_FOR_INTERRUPTS();
		if (listed->entry.updated >= *since)
		{
			Progress	one = in_transaction(reconcile_work, listed->name);

			done = Max(done, one);
		}
	}
	MemoryContextDelete(look.context);
	if (!denied)
		denied_warned = false;
	if (done == DONE)
		*since = now - WORKER_MARGIN;
	return done;
}

/* Waits for the time to look at secrets again. */
static void
wait_for_look(int64 next)
{
	for (;;)
	{
		int64		wait = next - ktpg_now();

		if (wait <= 0 || ktpg_task_requested(KTPG_TASK_LOOK, true))
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 wait, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			return;
		}
	}
}

void
keyturn_worker_main(Datum arg)
{
	int64		since = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(ktpg_database, NULL, 0);
	ktpg_is_worker = true;
	ktpg_task_serve(KTPG_TASK_LOOK, MyLatch);
	before_shmem_exit(withdraw_latch, 0);
	pgstat_report_appname("keyturn worker");

	for (;;)
	{
		Progress	done = look_at_secrets(&since);

		wait_for_look(ktpg_now() + (done == AGAIN ? WORKER_RETRY :
									ktpg_reconcile_interval * INT64CONST(1000)));
	}
}
