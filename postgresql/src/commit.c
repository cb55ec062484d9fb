/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * commit.c
 *		What happens to a rotation when its transaction ends.
 *
 * At COMMIT the role has the new password for certain, and the pending version
 * becomes current. At ABORT it has not, and the pending version is dropped.
 * An error in either callback would take the whole cluster down (PANIC: cannot
 * abort transaction, it was already committed), so nothing here raises one;
 * what cannot be done in time is left pending for the worker or the next call.
 */
#include "compat.h"

#include "access/xact.h"
#include "extension.h"
#include "utils/memutils.h"

struct KtpgPending
{
	KtpgPending *next;
	kt_rotation_t *rotation;	/* NULL before it is created */
	char		name[KT_NAME_MAX + 1];
};

/* Of this transaction; in memory that outlives it. */
static KtpgPending *pendings = NULL;

KtpgPending *
ktpg_pending_new(const char *name)
{
	KtpgPending *pending = MemoryContextAllocZero(TopMemoryContext, sizeof(KtpgPending));

	strlcpy(pending->name, name, sizeof(pending->name));
	pending->next = pendings;
	pendings = pending;
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
			 errhint("Another copy of this cluster has rotated the secret since.") :
			 errhint("The keyturn worker %s it, or else the next rotate_secret().",
					 committed ? "promotes" : "gives up")));
}

static void
end_rotation(KtpgPending *pending, bool committed)
{
	kt_rotation_t *rotation = pending->rotation;
	kt_status_t status;

	pending->rotation = NULL;
	if (committed)
	{
		ktpg_debug_point("before_promote");
		status = kt_rotation_finish(rotation, KTPG_COMMIT_DEADLINE, NULL);
		ktpg_debug_point("after_promote");
	}
	else
		status = kt_rotation_abandon(rotation);
	if (status == KT_SUCCESS)
		return;

	ktpg_task_request(KTPG_TASK_LOOK);
	warn_pending(pending, committed, status);
}

/* Catches everything that is raised below. */
static void
end_safely(KtpgPending *pending, bool committed)
{
	MemoryContext oldcontext = CurrentMemoryContext;

	PG_TRY();
	{
		end_rotation(pending, committed);
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
	while (pendings != NULL)
	{
		KtpgPending *pending = pendings;

		pendings = pending->next;
		if (pending->rotation != NULL)
			end_safely(pending, committed);
		pfree(pending);
	}
	ktpg_context_keep(false);
}

static void
transaction_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			ktpg_end_trail(true);
			break;
		case XACT_EVENT_COMMIT:
			end_all(true);
			break;
		case XACT_EVENT_ABORT:
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
