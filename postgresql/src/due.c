/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * due.c
 *		CALL keyturn.rotate_due(): rotates what is due, each secret in a
 *		transaction of its own.
 *
 * One that fails is a warning, and the next one has its turn. The rotation runs
 * in a subtransaction, because only that takes back whatever an error leaves
 * half-done (snapshots, SPI, settings). A transaction whose subtransaction failed
 * is rolled back as a whole: then the pending version is dropped.
 */
#include "compat.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "extension.h"
#include "funcapi.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

KTPG_FUNCTION(keyturn_rotate_due);

typedef struct Due
{
	struct Due *next;
	int64		since;
	char		name[KT_NAME_MAX + 1];
} Due;

/*
 * Is the secret a password that this cluster manages, and its rotation due?
 */
bool
ktpg_is_due(const kt_info_t *info, int64 now)
{
	const kt_entry_t *entry = kt_info_entry(info);
	const char *target = kt_info_note(info, entry->version, KTPG_NOTE_TARGET);
	int64		due = kt_info_due(info);

	return due != 0 && due <= now && strcmp(entry->state, "live") == 0 &&
		target != NULL && strcmp(target, ktpg_target()) == 0;
}

/* The longest overdue comes first. */
static void
add_due(Due **first, Due *due)
{
	while (*first != NULL && (*first)->since <= due->since)
		first = &(*first)->next;
	due->next = *first;
	*first = due;
}

/* What is due, in the current memory context. */
static Due *
find_due(const char *pattern)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(context, "keyturn due", ALLOCSET_DEFAULT_SIZES);
	kt_ctx_t   *ctx = ktpg_context();
	KtpgAccounts *accounts;
	Due		   *first = NULL;
	kt_status_t status;

	MemoryContextSwitchTo(work);
	status = ktpg_accounts(ctx, pattern, "rotate", ktpg_target(), false, &accounts);
	if (status != KT_SUCCESS)
		ktpg_error(ctx, status, pattern, "rotated");
	for (KtpgAccount *account = accounts->first; account != NULL; account = account->next)
	{
		Due		   *due;

		if (!ktpg_is_due(account->info, ktpg_now()))
			continue;
		due = MemoryContextAllocZero(context, sizeof(Due));
		due->since = kt_info_due(account->info);
		strlcpy(due->name, kt_info_entry(account->info)->name, sizeof(due->name));
		add_due(&first, due);
	}
	for (KtpgSilent *silent = accounts->silent; silent != NULL; silent = silent->next)
		ereport(WARNING,
				(errcode(ktpg_sqlstate(silent->status)),
				 errmsg("provider \"%s\" does not answer: %s", silent->provider,
						kt_status_name(silent->status)),
				 errdetail("It is not known which of its secrets are due.")));
	MemoryContextSwitchTo(context);
	MemoryContextDelete(work);
	return first;
}

/* False: it is not due any more, because another session has rotated it. */
static bool
rotate_if_due(const char *name)
{
	int			level = NewGUCNestLevel();
	bool		due;

	/* a procedure that commits cannot have a SET clause */
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) ktpg_secret_lock(name, true);
	due = find_due(name) != NULL;
	if (due)
		(void) ktpg_rotate(name, false);
	PopActiveSnapshot();
	AtEOXact_GUC(true, level);
	return due;
}

static void
warn_failed(const char *name, ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("secret \"%s\" was not rotated: %s", name, error->message),
			 error->detail != NULL ? errdetail_internal("%s", error->detail) : 0,
			 error->detail_log != NULL ? errdetail_log("%s", error->detail_log) : 0,
			 error->hint != NULL ? errhint("%s", error->hint) : 0));
	FreeErrorData(error);
}

/* In a subtransaction. NULL: it went well, and *done says whether it was rotated. */
static ErrorData *
try_rotation(const char *name, bool *done)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	ResourceOwner oldowner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	volatile bool rotated = false;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		rotated = rotate_if_due(name);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(oldcontext);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(oldcontext);
	CurrentResourceOwner = oldowner;
	*done = rotated;
	return error;
}

/* The commit, which leaves a new transaction also if it fails. */
static ErrorData *
try_commit(const KtpgDueEnds *ends)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		ends->commit();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(oldcontext);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	return error;
}

/*
 * Rotates the secrets that match the pattern and are due. The current memory
 * context has to outlive transactions.
 */
void
ktpg_rotate_due(const char *pattern, const KtpgDueEnds *ends, int *rotated, int *failed)
{
	Due		   *due = find_due(pattern);

	*rotated = *failed = 0;
	ends->commit();				/* the line in the audit log that says what was looked at */
	for (; due != NULL; due = due->next)
	{
		bool		done;
		ErrorData  *error = try_rotation(due->name, &done);

		if (error == NULL)
			error = try_commit(ends);
		else
			ends->rollback();
		if (error != NULL)
		{
			(*failed)++;
			warn_failed(due->name, error);
		}
		else
			*rotated += done;
		CHECK_FOR_INTERRUPTS();
	}
}

static void
commit(void)
{
	SPI_commit();
	SPI_start_transaction();	/* before 15 the commit does not */
}

static void
rollback(void)
{
	SPI_rollback();
	SPI_start_transaction();
}

/*
 * keyturn.rotate_due(pattern text, INOUT rotated int, INOUT failed int)
 */
Datum
keyturn_rotate_due(PG_FUNCTION_ARGS)
{
	static const KtpgDueEnds ends = {commit, rollback};
	CallContext *call = (CallContext *) fcinfo->context;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	int			rotated;
	int			failed;

	if (call == NULL || !IsA(call, CallContext) || call->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("keyturn.rotate_due() cannot run inside a transaction block"),
				 errdetail("It commits after each secret."),
				 errhint("Call it as a statement of its own, with autocommit on.")));
	PreventCommandDuringRecovery("keyturn.rotate_due()");
	PreventCommandIfReadOnly("keyturn.rotate_due()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	ktpg_rotate_due(PG_ARGISNULL(0) ? "*" : text_to_cstring(PG_GETARG_TEXT_PP(0)), &ends,
					&rotated, &failed);
	SPI_finish();
	values[0] = Int32GetDatum(rotated);
	values[1] = Int32GetDatum(failed);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
