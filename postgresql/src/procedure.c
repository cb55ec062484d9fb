/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * procedure.c
 *		CALL keyturn.rotate(): a rotation in several transactions, for providers
 *		across a network.
 *
 *	1.	end what an earlier call left
 *	2.	look at the role, and store the new password as pending
 *	3.	lock and alter the role, and write the history
 *	4.	make the pending version current
 *
 * No step that waits for the provider has a lock of the role, or an ALTER ROLE
 * that is not committed. A lock of the session keeps others from the secret
 * meanwhile. Killed or failed after a step, what is stored says what became of it,
 * as after a rotation in one transaction (proof.c): the worker ends it, or the
 * next call.
 */
#include "compat.h"

#include "executor/spi.h"
#include "extension.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

KTPG_FUNCTION(keyturn_rotate);

/* Ends what is pending; waits as long as the provider is busy. */
static kt_status_t
settle(const char *name)
{
	kt_ctx_t   *ctx = ktpg_context();
	kt_request_t req;
	kt_status_t status;
	uint64_t	version;
	TimestampTz since = 0;

	ktpg_request(&req, name);
	(void) ktpg_secret_lock(name, true);
	do
		(void) ktpg_reconcile(ctx, &req, &version, &status);
	while (ktpg_wait_for_store(status, &since));
	return status == KT_NOTFOUND ? KT_SUCCESS : status;
}

/* Step 1. Of what is foreign here, step 2 says more. */
static void
end_earlier(const char *name)
{
	kt_status_t status = settle(name);

	if (status != KT_SUCCESS)
		ktpg_error(ktpg_context(), status, name, "rotated");
}

/* Step 4. */
static void
publish(const char *name, int64 version)
{
	kt_status_t status;

	ktpg_debug_point("before_publish");
	status = settle(name);
	if (status != KT_SUCCESS)
		ereport(ERROR,
				(errcode(ktpg_sqlstate(status)),
				 errmsg("version %lld of secret \"%s\" is not current yet: %s",
						(long long) version, name, kt_status_name(status)),
				 errdetail("The role already has the new password."),
				 errhint("The keyturn worker promotes it, or else the next CALL "
						 "keyturn.rotate('%s').", name)));
}

static void
next_transaction(void)
{
	SPI_commit();
	SPI_start_transaction();	/* before 15 the commit does not */
}

/* Steps 2 to 4, in transactions of their own. */
static int64
rotate(const char *name)
{
	KtpgRotating *rotating;
	int64		version;

	PushActiveSnapshot(GetTransactionSnapshot());
	rotating = ktpg_rotate_store(name);
	PopActiveSnapshot();
	next_transaction();

	ktpg_debug_point("before_alter");
	PushActiveSnapshot(GetTransactionSnapshot());
	version = ktpg_rotate_alter(rotating);
	PopActiveSnapshot();
	next_transaction();

	publish(name, version);
	return version;
}

/* The lock of the session is released whatever happens. */
static int64
rotate_locked(const char *name)
{
	volatile int64 version = 0;

	ktpg_secret_lock_session(name);
	PG_TRY();
	{
		version = rotate(name);
	}
	PG_CATCH();
	{
		ktpg_secret_unlock_session(name);
		ktpg_task_request(KTPG_TASK_LOOK);
		PG_RE_THROW();
	}
	PG_END_TRY();
	ktpg_secret_unlock_session(name);
	return version;
}

/*
 * keyturn.rotate(name text)
 */
Datum
keyturn_rotate(PG_FUNCTION_ARGS)
{
	CallContext *call = (CallContext *) fcinfo->context;
	char	   *name;
	int64		version;

	if (call == NULL || !IsA(call, CallContext) || call->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("keyturn.rotate() cannot run inside a transaction block"),
				 errdetail("It commits between its steps."),
				 errhint("Call it as a statement of its own, with autocommit on.")));
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();

	PreventCommandDuringRecovery("keyturn.rotate()");
	PreventCommandIfReadOnly("keyturn.rotate()");
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ktpg_check_name(name);
	end_earlier(name);
	next_transaction();
	version = rotate_locked(name);
	ereport(INFO,
			(errmsg("secret \"%s\" has version %lld", name, (long long) version)));
	SPI_finish();
	PG_RETURN_VOID();
}
