/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * due_worker.c
 *		With keyturn.rotate_due, due rotations are made by a process that the
 *		worker starts when there are some, and that ends when it is done.
 *
 * It needs keyturn.database, because the history is a table. The worker needs
 * none, so it looks first whether there is such a database: a process that
 * cannot connect dies with an error in the log, each time.
 */
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_database.h"
#include "commands/extension.h"
#include "extension.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#define RETRY_MIN	INT64CONST(60000)	/* ms until what failed is tried again */
#define RETRY_MAX	INT64CONST(3600000) /* it is doubled each time */

static BackgroundWorkerHandle *running = NULL;
static int64 launched = 0;		/* the last time */
static int64 retry = 0;			/* ms after it */
static bool warned = false;		/* the log has it that the database is missing */

/* ---- in the worker ---- */

/*
 * What failed is tried again at once: the configuration has changed.
 */
void
ktpg_due_retry(void)
{
	retry = 0;
	warned = false;
}

/* Is there a database of that name that takes connections? Read without one (role.c). */
static bool
is_database(const char *name)
{
	Relation	databases = table_open(DatabaseRelationId, AccessShareLock);
	NameData	wanted;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		is;

	namestrcpy(&wanted, name);
	ScanKeyInit(&key, Anum_pg_database_datname, BTEqualStrategyNumber, F_NAMEEQ,
				NameGetDatum(&wanted));
	scan = systable_beginscan(databases, DatabaseNameIndexId, criticalSharedRelcachesBuilt, NULL,
							  1, &key);
	tuple = systable_getnext(scan);
	is = HeapTupleIsValid(tuple) && ((Form_pg_database) GETSTRUCT(tuple))->datallowconn;
	systable_endscan(scan);
	table_close(databases, AccessShareLock);
	return is;
}

/* Once until a reload; the worker looks again all the time. */
static bool
has_database(void)
{
	if (is_database(ktpg_database))
	{
		warned = false;
		return true;
	}
	if (warned)
		return false;
	warned = true;
	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_DATABASE),
			 errmsg("keyturn: due rotations are not made, because there is no database \"%s\" "
					"that takes connections", ktpg_database),
			 errhint("Set keyturn.database to one that has the extension, then reload the "
					 "server.")));
	return false;
}

/* Has the time come? What is due since the last time is tried at once, the rest is what failed. */
static bool
is_time(const KtpgAccounts *accounts, int64 now)
{
	bool		due = false;
	bool		fresh = false;

	for (KtpgAccount *account = accounts->first; account != NULL; account = account->next)
		if (ktpg_is_due(account->info, now))
		{
			due = true;
			fresh = fresh || kt_info_due(account->info) > launched;
		}
	if (!due || (!fresh && now < launched + retry))
		return false;
	retry = fresh ? RETRY_MIN : Min(Max(retry * 2, RETRY_MIN), RETRY_MAX);
	return true;
}

/*
 * Starts the process if something is due. In a transaction of the worker.
 */
void
ktpg_due_launch(const KtpgAccounts *accounts)
{
	BackgroundWorker worker;
	int64		now = ktpg_now();
	pid_t		pid;

	if (!ktpg_rotate_due_on || !has_database() ||
		(running != NULL && GetBackgroundWorkerPid(running, &pid) != BGWH_STOPPED) ||
		!is_time(accounts, now))
		return;
	launched = now;
	if (running != NULL)
		pfree(running);
	running = NULL;
	ktpg_background_describe(&worker, "keyturn rotations", "keyturn_due_main",
							 BGWORKER_BACKEND_DATABASE_CONNECTION,
							 BgWorkerStart_RecoveryFinished, BGW_NEVER_RESTART);
	MemoryContextSwitchTo(TopMemoryContext);
	if (!RegisterDynamicBackgroundWorker(&worker, &running))
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("keyturn: due rotations are not made: no background process is free"),
				 errhint("You might need to increase max_worker_processes.")));
}

/* ---- in its process ---- */

static void
commit(void)
{
	MemoryContext oldcontext = CurrentMemoryContext;

	PG_TRY();
	{
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(oldcontext);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		StartTransactionCommand();
		MemoryContextSwitchTo(oldcontext);
		ReThrowError(error);
	}
	PG_END_TRY();
	StartTransactionCommand();
	MemoryContextSwitchTo(oldcontext);
}

static void
rollback(void)
{
	MemoryContext oldcontext = CurrentMemoryContext;

	AbortCurrentTransaction();
	StartTransactionCommand();
	MemoryContextSwitchTo(oldcontext);
}

void
keyturn_due_main(Datum arg)
{
	static const KtpgDueEnds ends = {commit, rollback};
	MemoryContext context;
	int			rotated = 0;
	int			failed = 0;

	ktpg_background_begin();
	BackgroundWorkerInitializeConnection(ktpg_database, NULL, 0);
	pgstat_report_appname("keyturn rotations");
	context = AllocSetContextCreate(TopMemoryContext, "keyturn rotations",
									ALLOCSET_DEFAULT_SIZES);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	MemoryContextSwitchTo(context);
	if (OidIsValid(get_extension_oid("keyturn", true)))
	{
		ktpg_rotate_due("*", &ends, &rotated, &failed);
		if (rotated > 0 || failed > 0)
			ereport(LOG,
					(errmsg("keyturn: %d due rotations were made, %d failed", rotated, failed)));
	}
	else
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("keyturn: due rotations are not made, because database \"%s\" does not "
						"have the extension", ktpg_database),
				 errhint("CREATE EXTENSION keyturn; or set keyturn.database to a database that "
						 "has it.")));
	CommitTransactionCommand();
}
