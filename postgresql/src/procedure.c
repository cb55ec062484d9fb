/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * procedure.c
 *		CALL keyturn.rotate(): a rotation in several transactions.
 *
 * What an earlier call left is ended first, in a transaction that has no number,
 * changes nothing and locks no role: a provider across a network that does not
 * answer is met here. Then rotate_secret() has a transaction of its own, which
 * still waits for each of the provider's writes. If its commit could not reach
 * the provider in time, a third transaction goes on until it does, while the role
 * is free and the session can be cancelled.
 */
#include "compat.h"

#include "executor/spi.h"
#include "extension.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

KTPG_FUNCTION(keyturn_rotate);

/* Ends an interrupted rotation of the secret; waits as long as its provider is busy. */
static void
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
	/* of what is foreign here, rotate_secret() says more */
	if (status != KT_SUCCESS && status != KT_NOTFOUND)
		ktpg_error(ctx, status, name, "rotated");
}

static void
next_transaction(void)
{
	SPI_commit();
	SPI_start_transaction();	/* before 15 the commit does not */
}

/* The rotation, in the transaction that has just begun. */
static int64
rotate(const char *name)
{
	Datum		version;

	PushActiveSnapshot(GetTransactionSnapshot());
	version = DirectFunctionCall1(keyturn_rotate_secret, CStringGetTextDatum(name));
	PopActiveSnapshot();
	return DatumGetInt64(version);
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

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ktpg_check_name(name);
	settle(name);
	next_transaction();
	version = rotate(name);
	next_transaction();
	settle(name);
	ereport(INFO,
			(errmsg("secret \"%s\" has version %lld", name, (long long) version)));
	SPI_finish();
	PG_RETURN_VOID();
}
