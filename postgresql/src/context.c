/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * context.c
 *		The keyturn context of this process, and the subject of its requests.
 *
 * Each process opens its own context at its first use, after the fork. The
 * postmaster never has one, preloaded or not.
 */
#include "compat.h"

#include "extension.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/timestamp.h"

/* Files that an open context holds: store, its WAL and index, trail, rings, anchors. */
#define CONTEXT_FILES 8

/*
 * How long a call waits for another writer of the store before it gives up, in
 * steps, because the library cannot be interrupted while it waits.
 */
#define STORE_WAIT_STEP		250		/* ms */
#define STORE_WAIT_PAUSE	10		/* ms, between two steps */
#define STORE_WAIT_MAX		30000	/* ms */

/* Set in our worker and nowhere else: other workers act for a role. */
bool		ktpg_is_worker = false;

static kt_ctx_t *context = NULL;

/*
 * The library's log hook. It is called from inside the library, which an error
 * or an interrupt must not leave half-way.
 */
static void
log_line(void *arg, int level, const char *text)
{
	MemoryContext oldcontext = CurrentMemoryContext;

	HOLD_INTERRUPTS();
	PG_TRY();
	{
		ereport(level <= 4 ? LOG : level <= 6 ? DEBUG1 : DEBUG2,
				(errmsg("keyturn: %s", text),
				 errhidestmt(true), errhidecontext(true)));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(oldcontext);
		FlushErrorState();
	}
	PG_END_TRY();
	RESUME_INTERRUPTS();
}

static void
close_context(int code, Datum arg)
{
	kt_close(context);
	context = NULL;
}

/* Raises why the set-up failed: the whole reason for the log and superusers only. */
static void
setup_error(kt_setup_t *setup)
{
	kt_status_t status = setup == NULL ? KT_INTERNAL : kt_setup_status(setup);
	const char *why = setup == NULL ? "out of memory" : pstrdup(kt_setup_error(setup));

	kt_setup_free(setup);
	ereport(ERROR,
			(errcode(ktpg_sqlstate(status)),
			 errmsg("keyturn is not ready: %s", kt_status_name(status)),
			 superuser() ? errdetail("%s.", why) : errdetail_log("%s.", why),
			 errhint("See the setting keyturn.config, and run \"keyturn check\".")));
}

/*
 * The context of this process; opens it at the first call.
 */
kt_ctx_t *
ktpg_context(void)
{
	kt_setup_t *setup = NULL;
	const char *config = ktpg_config != NULL && ktpg_config[0] != '\0' ? ktpg_config : NULL;

	if (context != NULL)
		return context;

	if (kt_setup(config, "postgresql", &setup) != KT_SUCCESS)
		setup_error(setup);
	kt_setup_log(setup, log_line, NULL);
	if (kt_open(setup, &context) != KT_SUCCESS)
		setup_error(setup);
	kt_setup_free(setup);

	for (int i = 0; i < CONTEXT_FILES; i++)
		ReserveExternalFD();
	on_proc_exit(close_context, 0);
	return context;
}

/*
 * Writes the audit records of this process, or of all processes, to the trail.
 * False: that failed, and the records wait.
 */
bool
ktpg_flush_trail(bool all_processes)
{
	return context == NULL || kt_audit_flush(context, all_processes) == KT_SUCCESS;
}

/*
 * Does the other work of the trail: a checkpoint, external sinks. Returns after
 * how many ms it is to be called again.
 */
int64
ktpg_forward_trail(void)
{
	return context == NULL ? 60000 : kt_audit_forward(context);
}

/* Writes the records of this process; raises an error if that fails. */
void
ktpg_require_trail(void)
{
	if (!ktpg_flush_trail(false))
		ktpg_error(context, KT_AUDIT, "*", "recorded");
}

/*
 * The client's address, "local" for a Unix socket or no client. By way of the
 * SQL function, because the header that shows the connection needs Kerberos'.
 */
static void
client_address(char *peer, size_t size)
{
	LOCAL_FCINFO(fcinfo, 0);
	Datum		address;

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	address = inet_client_addr(fcinfo);
	strlcpy(peer, fcinfo->isnull ? "local" :
			DatumGetCString(DirectFunctionCall1(inet_out, address)), size);
}

/*
 * Fills a request in. The subject is the role whose rights PostgreSQL itself
 * checks at this moment: inside a SECURITY DEFINER function its owner, which is
 * what such a function is written for. The worker has a name of its own. The
 * request's id is the session's, as %c of log_line_prefix prints it.
 *
 * Strings other than the reference are static: valid until the next call.
 */
void
ktpg_request(kt_request_t *req, const char *reference)
{
	static char subject[sizeof("postgresql:role:") + NAMEDATALEN];
	static char peer[64];
	static char session[40];
	kt_request_t blank = KT_REQUEST_INIT;

	if (ktpg_is_worker)
		strlcpy(subject, "postgresql:worker", sizeof(subject));
	else
		snprintf(subject, sizeof(subject), "postgresql:role:%s",
				 GetUserNameFromId(GetUserId(), false));
	client_address(peer, sizeof(peer));
	snprintf(session, sizeof(session), "%lx.%x", (long) MyStartTime, MyProcPid);

	*req = blank;
	req->reference = reference;
	req->subject = subject;
	req->peer = peer;
	req->request_id = session;
	req->purpose = "sql";
	req->timeout = STORE_WAIT_STEP;
	/*
	 * This process is about to record something. It writes that down itself when
	 * its transaction ends; the worker does if that takes longer than a second.
	 */
	if (!ktpg_is_worker)
		ktpg_task_request(KTPG_TASK_SWEEP);
}

/* The time in the library's format, ms since 1970. */
int64
ktpg_now(void)
{
	return GetCurrentTimestamp() / 1000 + KTPG_EPOCH;
}

/*
 * After KT_TRYAGAIN: says whether to try once more, unless cancel, a timeout or
 * termination says otherwise. *since is when the waiting began, 0 at first.
 */
bool
ktpg_wait_for_store(kt_status_t status, TimestampTz *since)
{
	int			max = LockTimeout > 0 ? LockTimeout : STORE_WAIT_MAX;

	CHECK_FOR_INTERRUPTS();
	if (status != KT_TRYAGAIN)
		return false;
	if (*since == 0)
		*since = GetCurrentTimestamp() - STORE_WAIT_STEP * 1000;
	if (TimestampDifferenceExceeds(*since, GetCurrentTimestamp(), max))
		return false;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 STORE_WAIT_PAUSE, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return true;
}
