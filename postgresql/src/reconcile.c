/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reconcile.c
 *		What became of a rotation that was interrupted.
 *
 * If it is proved (proof.c) that the role has the pending password, the version
 * becomes current; if it is proved that the role does not get it, the version is
 * set aside, and kept for keyturn.keep_abandoned all the same. A rotation that
 * this cluster is making cannot be met here, because it holds the lock of the
 * secret until it has ended.
 */
#include "compat.h"

#include "extension.h"

/* As ktpg_judge(), but the rotation is left alone when an error is raised. */
static KtpgOutcome
judge(kt_rotation_t *rotation, kt_status_t *status)
{
	volatile KtpgOutcome outcome = KTPG_FOREIGN;

	PG_TRY();
	{
		outcome = ktpg_judge(rotation, status);
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
 * locked by the caller. *version is the one that was pending. *status says why
 * when the outcome is KTPG_LATER.
 */
KtpgOutcome
ktpg_reconcile(kt_ctx_t *ctx, const kt_request_t *req, uint64_t *version, kt_status_t *status)
{
	kt_rotation_t *rotation;
	KtpgOutcome outcome;

	*version = 0;
	*status = kt_rotation_resume(ctx, req, &rotation);
	if (*status == KT_NOTFOUND)
		return KTPG_NOTHING;
	if (*status != KT_SUCCESS)
		return KTPG_LATER;

	*version = kt_rotation_version(rotation);
	outcome = judge(rotation, status);
	if (outcome == KTPG_FINISHED)
		*status = kt_rotation_finish(rotation, KTPG_COMMIT_DEADLINE, NULL);
	else if (outcome == KTPG_ABANDONED)
		*status = kt_rotation_set_aside(rotation, ktpg_keep_abandoned * INT64CONST(1000));
	else
		kt_rotation_leave(rotation);
	return *status == KT_SUCCESS ? outcome : KTPG_LATER;
}

/*
 * Sets a pending version aside of which nothing is proved here, because the
 * caller says that the secret is this cluster's. Its value is kept.
 */
kt_status_t
ktpg_set_pending_aside(kt_ctx_t *ctx, const kt_request_t *req)
{
	kt_rotation_t *rotation;
	kt_status_t status = kt_rotation_resume(ctx, req, &rotation);

	if (status == KT_SUCCESS)
		status = kt_rotation_set_aside(rotation, ktpg_keep_abandoned * INT64CONST(1000));
	return status == KT_NOTFOUND ? KT_SUCCESS : status;
}
