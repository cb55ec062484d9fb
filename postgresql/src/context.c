/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * context.c
 *		The keyturn context of this process, and the subject of its requests.
 *
 * Each process opens its own context at its first use, after the fork. The
 * postmaster never has one, preloaded or not. A statement that finds another
 * configuration file than the context was opened with, or that follows a reload
 * of the server, opens a new one; if the new file is bad, the old one stays.
 */
#include "compat.h"

#include <sys/stat.h>

#include "access/xact.h"
#include "extension.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procsignal.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/timestamp.h"

#ifndef KT_DEFAULT_CONFIG		/* configure's --sysconfdir */
#define KT_DEFAULT_CONFIG "/etc/keyturn/keyturn.yaml"
#endif

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

/* What says that the configuration may have changed. */
typedef struct Seen
{
	struct stat file;
	TimestampTz reload;			/* of the server's own configuration */
	char		path[MAXPGPATH];
	bool		racy;			/* the file may be changed again without a trace */
} Seen;

/* A file that was changed so shortly before it was read may be changed again at the same time. */
#define RACY_CHANGE 50			/* ms */

static Seen seen;				/* before the last file was read, good or bad */
static TimestampTz looked;		/* the statement that looked last */
static bool kept = false;		/* a rotation holds the context */
static bool recorded = false;	/* something, in this transaction */

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

/* Does what another backend waits for, such as DROP DATABASE for closed files. */
static void
pass_barrier(void)
{
	MemoryContext oldcontext = CurrentMemoryContext;

	if (!ProcSignalBarrierPending || InterruptHoldoffCount != 0 || CritSectionCount != 0)
		return;
	PG_TRY();
	{
		ProcessProcSignalBarrier();
	}
	PG_CATCH();					/* it is tried again by CHECK_FOR_INTERRUPTS() */
	{
		MemoryContextSwitchTo(oldcontext);
		FlushErrorState();
	}
	PG_END_TRY();
}

/*
 * Is a cancel, a timeout or a termination waiting? The library then comes back,
 * and CHECK_FOR_INTERRUPTS() raises it. Not while a transaction ends.
 */
static int
is_interrupted(void *arg)
{
	pass_barrier();
	return InterruptPending && InterruptHoldoffCount == 0 && CritSectionCount == 0 &&
		(QueryCancelPending || ProcDiePending);
}

static void
close_context(int code, Datum arg)
{
	kt_close(context);
	context = NULL;
}

/*
 * Says why the set-up failed: the whole reason for the log and superusers only.
 * An error without a context; with one a warning, and that one goes on.
 */
static void
setup_failed(kt_setup_t *setup)
{
	kt_status_t status = setup == NULL ? KT_INTERNAL : kt_setup_status(setup);
	const char *why = setup == NULL ? "out of memory" : pstrdup(kt_setup_error(setup));

	kt_setup_free(setup);
	ereport(context == NULL ? ERROR : WARNING,
			(errcode(ktpg_sqlstate(status)),
			 context == NULL ?
			 errmsg("keyturn is not ready: %s", kt_status_name(status)) :
			 errmsg("keyturn goes on with the old configuration, the new one is not good: %s",
					kt_status_name(status)),
			 ktpg_is_worker || superuser() ? errdetail("%s.", why) : errdetail_log("%s.", why),
			 errhint("See the setting keyturn.config, and run \"keyturn check\".")));
}

/*
 * A new context; NULL: the configuration is bad, and there is an old one. With
 * quiet the log has that already.
 */
static kt_ctx_t *
open_context(bool quiet)
{
	kt_setup_t *setup = NULL;
	kt_ctx_t   *new = NULL;
	const char *config = ktpg_config != NULL && ktpg_config[0] != '\0' ? ktpg_config : NULL;

	if (kt_setup(config, "postgresql", &setup) == KT_SUCCESS)
	{
		kt_setup_log(setup, log_line, NULL);
		kt_setup_members(setup, ktpg_is_member, NULL);
		if (kt_open(setup, &new) == KT_SUCCESS)
		{
			kt_interrupted(new, is_interrupted, NULL);
			kt_setup_free(setup);
			return new;
		}
	}
	if (quiet)
		kt_setup_free(setup);
	else
		setup_failed(setup);
	return NULL;
}

/* Is the configuration to be read again? *same: it looks as it did, but was just changed. */
static bool
is_changed(Seen *now, bool *same)
{
	const char *path = ktpg_config != NULL && ktpg_config[0] != '\0' ? ktpg_config :
		KT_DEFAULT_CONFIG;
	int64		age;

	memset(now, 0, sizeof(*now));
	strlcpy(now->path, path, sizeof(now->path));
	now->reload = PgReloadTime;
	if (stat(path, &now->file) != 0)
		memset(&now->file, 0, sizeof(now->file));
	*same = strcmp(now->path, seen.path) == 0 && now->reload == seen.reload &&
		now->file.st_dev == seen.file.st_dev && now->file.st_ino == seen.file.st_ino &&
		now->file.st_size == seen.file.st_size &&
		now->file.st_mtim.tv_sec == seen.file.st_mtim.tv_sec &&
		now->file.st_mtim.tv_nsec == seen.file.st_mtim.tv_nsec &&
		now->file.st_ctim.tv_sec == seen.file.st_ctim.tv_sec &&
		now->file.st_ctim.tv_nsec == seen.file.st_ctim.tv_nsec;
	age = ktpg_now() - (now->file.st_ctim.tv_sec * INT64CONST(1000) +
						now->file.st_ctim.tv_nsec / 1000000);
	now->racy = age < RACY_CHANGE;
	return !*same || seen.racy;
}

static void
replace_context(bool quiet)
{
	kt_ctx_t   *old = context;
	kt_ctx_t   *new = open_context(quiet);

	if (new == NULL)
		return;
	context = new;
	if (old == NULL)
	{
		for (int i = 0; i < CONTEXT_FILES; i++)
			ReserveExternalFD();
		on_proc_exit(close_context, 0);
		return;
	}
	kt_close(old);
}

/*
 * The context of this process. The first call opens it; the first call of a
 * statement opens another one if the configuration has changed.
 */
kt_ctx_t *
ktpg_context(void)
{
	TimestampTz statement = GetCurrentStatementStartTimestamp();
	Seen		now;
	bool		same;

	if (context != NULL && (kept || statement == looked))
		return context;
	looked = statement;
	if (is_changed(&now, &same) || context == NULL)
	{
		seen = now;
		replace_context(same && context != NULL);
	}
	return context;
}

/*
 * While a rotation has the context, it is not replaced: a transaction may have
 * several statements.
 */
void
ktpg_context_keep(bool keep)
{
	kept = keep;
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

/*
 * The end of a transaction that has recorded something. A rotation's records are
 * on the disk when each of its steps returns. Others are in the ring of this
 * process, a mapped file, which a kill does not take away: the sweeper makes
 * lines of those of all backends within a second. If it is not there, or does
 * not keep up, this process does, and a commit fails if it cannot.
 */
void
ktpg_end_trail(bool committing)
{
	if (!recorded)
		return;
	recorded = false;
	if (!ktpg_task_request(KTPG_TASK_SWEEP) && !ktpg_flush_trail(false) && committing)
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
 * actor is the user who logged in, if that is another one. The request's id is
 * the session's, as %c of log_line_prefix prints it.
 *
 * Strings other than the reference are static: valid until the next call.
 */
void
ktpg_request(kt_request_t *req, const char *reference)
{
	static char subject[sizeof("postgresql:role:") + NAMEDATALEN];
	static char peer[64];
	static char session[40];
	static char actor[NAMEDATALEN];
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
	if (!ktpg_is_worker && GetAuthenticatedUserId() != GetUserId())
	{
		const char *user = GetUserNameFromId(GetAuthenticatedUserId(), true);

		strlcpy(actor, user != NULL ? user : "?", sizeof(actor));
		req->actor = actor;
	}
	req->subject = subject;
	req->peer = peer;
	req->request_id = session;
	req->purpose = "sql";
	req->timeout = STORE_WAIT_STEP;
	/* This process is about to record something; its transaction may take long to end. */
	recorded = true;
	(void) ktpg_task_request(KTPG_TASK_SWEEP);
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
