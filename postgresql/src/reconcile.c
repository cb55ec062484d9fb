/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reconcile.c
 *		What became of a rotation that was interrupted.
 *
 * The database itself knows. If the role has the pending password, the
 * transaction was committed, and the version becomes current. If not, it never
 * will, because the lock of the secret is held until a rotation has ended, and
 * the version is dropped.
 */
#include "compat.h"

#include "common/hashfn.h"
#include "extension.h"
#include "storage/lock.h"
#include "utils/inval.h"

/* field 4 of pg_advisory_lock() is 1 or 2 */
#define SECRET_LOCK_CLASS 0x4b54

/*
 * One rotation of a secret at a time in the whole cluster, until the end of
 * the transaction. A lock like pg_advisory_xact_lock()'s, so that waiting can
 * be cancelled and deadlocks are seen, but in the key space of no database.
 */
bool
ktpg_secret_lock(const char *name, bool wait)
{
	LOCKTAG		tag;
	uint64		hash = hash_bytes_extended((const unsigned char *) name, strlen(name), 0);

	SET_LOCKTAG_ADVISORY(tag, InvalidOid, (uint32) (hash >> 32), (uint32) hash,
						 SECRET_LOCK_CLASS);
	if (LockAcquire(&tag, ExclusiveLock, false, !wait) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages();
	return true;
}

/* Does the role that the pending value names have the pending password? */
static bool
role_has_password(kt_rotation_t *rotation)
{
	kt_secret_t **user = ktpg_hold_secret();
	kt_secret_t **password = ktpg_hold_secret();
	KtpgRole	role;
	bool		match;

	if (kt_rotation_value(rotation, "user", user) != KT_SUCCESS ||
		kt_rotation_value(rotation, "password", password) != KT_SUCCESS)
		return false;
	match = ktpg_role_find(pnstrdup((const char *) kt_secret_bytes(*user),
									kt_secret_size(*user)), &role) &&
		ktpg_verifier_match(&role, *password);
	ktpg_drop_secret(password);
	return match;
}

/* What to do with the pending version: KTPG_FINISHED, KTPG_ABANDONED or KTPG_FOREIGN. */
static KtpgOutcome
judge(kt_rotation_t *rotation)
{
	char		target[KT_META_VALUE_MAX + 1];

	if (kt_rotation_noted(rotation, 1, KTPG_NOTE_TARGET, target, sizeof(target)) != KT_SUCCESS ||
		strcmp(target, ktpg_target()) != 0)
		return KTPG_FOREIGN;
	return role_has_password(rotation) ? KTPG_FINISHED : KTPG_ABANDONED;
}

/* As judge(), but the rotation is left alone when an error is raised. */
static KtpgOutcome
judge_safely(kt_rotation_t *rotation)
{
	volatile KtpgOutcome outcome = KTPG_FOREIGN;

	PG_TRY();
	{
		outcome = judge(rotation);
	}
	PG_CATCH();
	{
		kt_rotation_leave(rotation);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return outcome;
}

/*
 * Ends what a crash or a timeout left of an earlier rotation. The secret is
 * locked by the caller. *status says why when the outcome is KTPG_LATER.
 */
KtpgOutcome
ktpg_reconcile(kt_ctx_t *ctx, const kt_request_t *req, kt_status_t *status)
{
	kt_rotation_t *rotation;
	KtpgOutcome outcome;

	*status = kt_rotation_resume(ctx, req, &rotation);
	if (*status == KT_NOTFOUND)
		return KTPG_NOTHING;
	if (*status != KT_SUCCESS)
		return KTPG_LATER;

	outcome = judge_safely(rotation);
	if (outcome == KTPG_FINISHED)
		*status = kt_rotation_finish(rotation, KTPG_COMMIT_DEADLINE, NULL);
	else if (outcome == KTPG_ABANDONED)
		*status = kt_rotation_abandon(rotation);
	else
		kt_rotation_leave(rotation);
	return *status == KT_SUCCESS ? outcome : KTPG_LATER;
}
