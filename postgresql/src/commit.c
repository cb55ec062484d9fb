/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * commit.c
 *		What happens to a rotation when its transaction ends.
 *
 * Before the commit, while it can still fail and be cancelled, the store's lock
 * is taken, and all rotations of the transaction are prepared as one transaction
 * of the store: it is written, and its intent is recorded. At COMMIT the role has
 * the new password for certain, and only the store's own commit is left, with one
 * sync, to make the pending versions current. At ABORT the role has not, and the
 * pending versions are dropped.
 *
 * An error in either callback would take the whole cluster down (PANIC: cannot
 * abort transaction, it was already committed), so nothing here raises one;
 * what cannot be done is left pending for the worker or the next call.
 */
#include "compat.h"

#include "access/xact.h"
#include "extension.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "utils/memutils.h"

struct KtpgPending
{
	KtpgPending *next;
	kt_rotation_t *rotation;	/* NULL before it has begun, version 0 before it is stored */
	char		name[KT_NAME_MAX + 1];
};

/* Of this transaction; in memory that outlives it. */
static KtpgPending *pendings = NULL;
static kt_prepared_t *prepared = NULL;	/* of all that are stored */

/* Room for the rotations of all pendings, so that none has to be found at the end. */
static kt_rotation_t **stored = NULL;
static int	stored_room = 0;
static int	npendings = 0;

static void
make_room(void)
{
	int			room = Max(16, 2 * npendings);

	if (npendings < stored_room)
		return;
	if (stored == NULL)
		stored = MemoryContextAlloc(TopMemoryContext, room * sizeof(kt_rotation_t *));
	else
		stored = repalloc(stored, room * sizeof(kt_rotation_t *));
	stored_room = room;
}

KtpgPending *
ktpg_pending_new(const char *name)
{
	KtpgPending *pending;

	make_room();
	pending = MemoryContextAllocZero(TopMemoryContext, sizeof(KtpgPending));
	strlcpy(pending->name, name, sizeof(pending->name));
	pending->next = pendings;
	pendings = pending;
	npendings++;
	ktpg_context_keep(true);
	return pending;
}

/* Where to put the rotation, so that no error can come between it and its end. */
kt_rotation_t **
ktpg_pending_rotation(KtpgPending *pending)
{
	return &pending->rotation;
}

/* Did this transaction rotate this secret already? */
bool
ktpg_pending_exists(const char *name)
{
	for (KtpgPending *pending = pendings; pending != NULL; pending = pending->next)
		if (pending->rotation != NULL && strcmp(pending->name, name) == 0)
			return true;
	return false;
}

static void
warn_pending(const KtpgPending *pending, bool committed, kt_status_t status)
{
	const char *why = kt_status_name(status);

	ereport(WARNING,
			(errcode(ktpg_sqlstate(status)),
			 committed ?
			 errmsg("the new version of secret \"%s\" is not current yet: %s",
					pending->name, why) :
			 errmsg("the pending version of secret \"%s\" could not be dropped: %s",
					pending->name, why),
			 errdetail("The role %s.", committed ? "already has the new password" :
					   "still has its old password"),
			 status == KT_CONFLICT ?
			 errhint("Another cluster, or another copy of this one, has rotated the secret since.") :
			 errhint("The keyturn worker %s it, or else the next rotate_secret().",
					 committed ? "promotes" : "gives up")));
}

/* Fills `stored`; returns how many there are. */
static int
gather_stored(void)
{
	int			count = 0;

	for (KtpgPending *pending = pendings; pending != NULL; pending = pending->next)
		if (pending->rotation != NULL && kt_rotation_version(pending->rotation) != 0)
			stored[count++] = pending->rotation;
	return count;
}

/*
 * Does the commit wait for a standby, perhaps for ever? No process could write to the
 * store meanwhile, so only the cluster's own lock is kept, and the store is
 * written after the commit.
 */
static bool
waits_for_standby(void)
{
	return SyncRepRequested() && SyncRepStandbyNames != NULL && SyncRepStandbyNames[0] != '\0';
}

/* Before the commit; raises an error, which aborts the transaction. */
static void
prepare_all(void)
{
	int			count = gather_stored();
	TimestampTz since = 0;
	kt_status_t status;

	if (count == 0)
		return;
	ktpg_debug_point("before_prepare");
	ktpg_store_lock();
	if (waits_for_standby())
		return;
	do
		status = kt_rotations_prepare(stored, count, 0, &prepared);
	while (ktpg_wait_for_store(status, &since));
	if (status != KT_SUCCESS)
		ktpg_error(ktpg_context(), status, pendings->name, "published");
	ktpg_debug_point("after_prepare");
}

/* One after the other, after a commit that nothing was prepared for. */
static kt_status_t
finish_each(int count)
{
	kt_status_t answer = KT_SUCCESS;

	for (int i = 0; i < count; i++)
	{
		kt_status_t status = kt_rotation_finish(stored[i], KTPG_COMMIT_DEADLINE, NULL);

		if (status != KT_SUCCESS)
			answer = status;
	}
	return answer;
}

static kt_status_t
finish_all(int count)
{
	kt_prepared_t *mine = prepared;

	prepared = NULL;
	return mine != NULL ? kt_prepared_commit(mine) : finish_each(count);
}

/* `answer`: what a debug point that raises an error leaves. */
static void
end_stored(int count, bool committed, volatile kt_status_t *answer)
{
	if (committed)
	{
		ktpg_debug_point("before_promote");
		*answer = finish_all(count);
		ktpg_debug_point("after_promote");
	}
	else
		*answer = kt_rotations_abandon(stored, count);
}

/* Catches everything that is raised below. */
static kt_status_t
end_safely(int count, bool committed)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	volatile kt_status_t answer = KT_INTERNAL;

	PG_TRY();
	{
		end_stored(count, committed, &answer);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(oldcontext);
		FlushErrorState();
	}
	PG_END_TRY();
	return answer;
}

static void
warn_safely(bool committed, kt_status_t status)
{
	MemoryContext oldcontext = CurrentMemoryContext;

	PG_TRY();
	{
		for (KtpgPending *pending = pendings; pending != NULL; pending = pending->next)
			if (pending->rotation != NULL)
				warn_pending(pending, committed, status);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(oldcontext);
		FlushErrorState();
	}
	PG_END_TRY();
}

static void
end_all(bool committed)
{
	int			count = gather_stored();
	kt_status_t status = KT_SUCCESS;

	/* those of which nothing is stored */
	for (KtpgPending *pending = pendings; pending != NULL; pending = pending->next)
		if (pending->rotation != NULL && kt_rotation_version(pending->rotation) == 0)
		{
			kt_rotation_leave(pending->rotation);
			pending->rotation = NULL;
		}
	if (prepared != NULL && !committed)
	{
		kt_prepared_cancel(prepared);
		prepared = NULL;
	}
	if (count > 0)
		status = end_safely(count, committed);
	if (prepared != NULL)		/* an error came before its commit */
	{
		kt_prepared_cancel(prepared);
		prepared = NULL;
		for (int i = 0; i < count; i++)
			kt_rotation_leave(stored[i]);
	}
	if (status != KT_SUCCESS)
	{
		ktpg_task_request(KTPG_TASK_LOOK);
		warn_safely(committed, status);
	}
	while (pendings != NULL)
	{
		KtpgPending *pending = pendings;

		pendings = pending->next;
		pfree(pending);
	}
	npendings = 0;
	ktpg_context_keep(false);
}

static void
transaction_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			prepare_all();
			ktpg_end_trail(true);
			break;
		case XACT_EVENT_COMMIT:
			end_all(true);
			break;
		case XACT_EVENT_ABORT:
			ktpg_verifier_stop();
			end_all(false);
			ktpg_end_trail(false);
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (pendings != NULL)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has rotated a secret")));
			ktpg_end_trail(true);
			break;
		default:
			break;
	}
}

void
ktpg_commit_init(void)
{
	RegisterXactCallback(transaction_event, NULL);
}
