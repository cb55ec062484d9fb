/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * look.c
 *		What each function that changes a secret begins with; a secret as it
 *		stands, without a rotation; and what is noted of a version that a role is
 *		found to have.
 */
#include "compat.h"

#include "extension.h"

/*
 * The name is checked, and the secret is locked in the whole cluster until the
 * transaction ends. Refused if this statement rotates it already: the lock is
 * its own then.
 */
void
ktpg_begin(const char *name, kt_ctx_t **ctx, kt_request_t *req)
{
	ktpg_check_name(name);
	*ctx = ktpg_context();
	ktpg_request(req, name);
	if (ktpg_pending_exists(name))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("secret \"%s\" is rotated by this statement already", name)));
	(void) ktpg_secret_lock(name, true);
}

/*
 * The current version, by the right to rotate or, for a repair, `admin`. `done`
 * is for errors: "adopted". It is freed with the memory context.
 */
kt_rotation_t *
ktpg_look(kt_ctx_t *ctx, const kt_request_t *req, const char *name, bool repair, const char *done)
{
	kt_rotation_t **rotation = ktpg_hold_rotation();
	kt_status_t status;
	TimestampTz since = 0;

	do
		status = kt_rotation_look(ctx, req, repair, rotation);
	while (ktpg_wait_for_store(status, &since));
	if (status != KT_SUCCESS)
		ktpg_error(ctx, status, name, done);
	return *rotation;
}

/*
 * Says in the store, in one transaction, that this cluster's role has a version:
 * it becomes the current one, with the notes that a rotation leaves. 0: it is
 * current already.
 */
void
ktpg_take_version(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name, uint64_t version,
				  const KtpgRole *role, const char *verifier, const char *done)
{
	kt_adopt_t	adopt = KT_ADOPT_INIT;
	char		oid[16];
	KtpgProof	proof;
	kt_meta_t	notes[KTPG_PROOF_NOTES + 3];
	size_t		count = 0;
	kt_status_t status;
	TimestampTz since = 0;

	ktpg_proof_init(&proof);
	snprintf(oid, sizeof(oid), "%u", role->oid);
	while (count < KTPG_PROOF_NOTES)
	{
		notes[count] = proof.notes[count];
		count++;
	}
	notes[count++] = (kt_meta_t) {KTPG_NOTE_ROLE, role->name};
	notes[count++] = (kt_meta_t) {KTPG_NOTE_ROLE_OID, oid};
	if (strlen(verifier) <= KT_META_VALUE_MAX)
		notes[count++] = (kt_meta_t) {KTPG_NOTE_VERIFIER, verifier};
	adopt.version = version;
	adopt.target = ktpg_target();
	adopt.notes = notes;
	adopt.nnotes = count;
	adopt.keep = ktpg_keep_abandoned * INT64CONST(1000);
	ktpg_store_lock();
	do
		status = kt_rotation_adopt(rotation, &adopt);
	while (ktpg_wait_for_store(status, &since));
	ktpg_store_unlock();
	if (status != KT_SUCCESS)
		ktpg_error(ctx, status, name, done);
}
