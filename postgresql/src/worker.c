/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker.c
 *		The background worker: it ends interrupted rotations.
 *
 * It runs with shared_preload_libraries = 'keyturn' and starts when recovery has
 * ended, so it looks at the secrets after a crash, a restart and a promotion;
 * then every keyturn.reconcile_interval, and at once when a backend that could
 * not finish a rotation at its commit wakes it (tasks.c). It reads no catalogue
 * but those that all databases share, and is connected to none.
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

void
ktpg_worker_register(void)
{
	BackgroundWorker worker;

	ktpg_background_describe(&worker, "keyturn worker", "keyturn_worker_main",
							 BGWORKER_BACKEND_DATABASE_CONNECTION,
							 BgWorkerStart_RecoveryFinished, WORKER_RESTART);
	RegisterBackgroundWorker(&worker);
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

/* What keeps the worker from its work, each a line in the log until it is cured. */
typedef enum Complaint
{
	DENIED,						/* the policy allows nothing that it needs */
	HIDDEN,						/* the policy hides secrets of this cluster */
	SILENT,						/* a provider does not answer */
	COMPLAINTS
} Complaint;

static bool complained[COMPLAINTS]; /* the log has it already */
static bool seen[COMPLAINTS];	/* in this look */

static bool
is_news(Complaint complaint)
{
	bool		news = !complained[complaint];

	seen[complaint] = complained[complaint] = true;
	return news;
}

#define RULE "Add {who: \"postgresql:worker\", allow: [rotate, list], names: [\"database/*\"]} " \
	"to the policy of %s, then reload the server. \"keyturn check\" tells what is missing."

/* Without its rule the worker finishes nothing, and a role may stay locked out after a crash. */
static void
warn_denied(kt_ctx_t *ctx)
{
	char	   *why = pstrdup(kt_error(ctx));

	if (is_news(DENIED))
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("keyturn: the policy does not let the worker finish interrupted rotations"),
				 errdetail("%s.", why),
				 errhint(RULE, ktpg_config)));
}

/* A list that the policy cuts short looks like one of nothing to do. */
static void
warn_incomplete(const KtpgAccounts *accounts)
{
	if (accounts->hidden > 0 && is_news(HIDDEN))
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg_plural("keyturn: the policy hides %llu secret of this cluster's roles from the worker",
							   "keyturn: the policy hides %llu secrets of this cluster's roles from the worker",
							   accounts->hidden, (unsigned long long) accounts->hidden),
				 errdetail("Their rotations are not finished if they are interrupted."),
				 errhint(RULE, ktpg_config)));
	if (accounts->silent != NULL && is_news(SILENT))
		ereport(WARNING,
				(errcode(ktpg_sqlstate(accounts->silent->status)),
				 errmsg("keyturn: provider \"%s\" does not answer the worker: %s",
						accounts->silent->provider, kt_status_name(accounts->silent->status)),
				 errdetail("%s.", accounts->silent->why)));
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
	kt_status_t status;
	KtpgOutcome outcome;
	Progress	progress;
	uint64_t	version;

	ktpg_request(&req, name);
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

static Progress
due_work(void *arg)
{
	ktpg_due_launch(arg);
	return DONE;
}

/* What one look at all secrets needs beyond a transaction. */
typedef struct Look
{
	MemoryContext context;
	KtpgAccounts *accounts;		/* NULL: they could not be read */
} Look;

static Progress
read_work(void *arg)
{
	Look	   *look = arg;
	kt_ctx_t   *ctx = ktpg_context();
	MemoryContext oldcontext = MemoryContextSwitchTo(look->context);
	KtpgAccounts *accounts;
	kt_status_t status = ktpg_accounts(ctx, NULL, "list", ktpg_target(), false, &accounts);

	MemoryContextSwitchTo(oldcontext);
	if (status != KT_SUCCESS)
		return progress_of(ctx, "*", status);
	look->accounts = accounts;
	warn_incomplete(accounts);
	return DONE;
}

static Progress
reconcile_work(void *arg)
{
	return reconcile_secret(ktpg_context(), arg);
}

static Progress
reconcile_accounts(const KtpgAccounts *accounts)
{
	Progress	done = DONE;

	for (KtpgAccount *account = accounts->first; account != NULL; account = account->next)
	{
		CHECK_FOR_INTERRUPTS();
		if (kt_info_pending(account->info) != 0)
		{
			Progress	one = in_transaction(reconcile_work,
											 unconstify(char *, kt_info_entry(account->info)->name));

			done = Max(done, one);
		}
	}
	return done;
}

/*
 * Looks at the secrets of this cluster's roles. It is one reading of the store,
 * and one line in the audit log, however many there are.
 */
static Progress
look_at_secrets(void)
{
	Look		look = {NULL, NULL};
	Progress	done;

	memset(seen, 0, sizeof(seen));
	look.context = AllocSetContextCreate(TopMemoryContext, "keyturn secrets",
										 ALLOCSET_DEFAULT_SIZES);
	done = in_transaction(read_work, &look);
	if (look.accounts != NULL)
	{
		done = Max(done, reconcile_accounts(look.accounts));
		(void) in_transaction(due_work, look.accounts);
	}
	MemoryContextDelete(look.context);
	for (int i = 0; i < COMPLAINTS; i++)
		complained[i] = complained[i] && seen[i];
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
		if (ktpg_background_reloaded())
		{
			ktpg_due_retry();
			return;
		}
	}
}

void
keyturn_worker_main(Datum arg)
{
	ktpg_background_begin();
	/* no database: it could not be renamed, or be a template, while the worker runs */
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	ktpg_task_serve(KTPG_TASK_LOOK, MyLatch);
	ktpg_background_withdraw(KTPG_TASK_LOOK);
	pgstat_report_appname("keyturn worker");

	for (;;)
	{
		Progress	done = look_at_secrets();

		wait_for_look(ktpg_now() + (done == AGAIN ? WORKER_RETRY :
									ktpg_reconcile_interval * INT64CONST(1000)));
	}
}
