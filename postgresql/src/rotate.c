/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rotate.c
 *		rotate_secret() and rollback_secret().
 *
 *	1.	lock the secret in the whole cluster; end what an earlier call left
 *	2.	lock the role; make sure that its password is the secret's current one;
 *		if two roles take turns, go on with the other one (alternate.c)
 *	3.	make the new password and its verifier; store it as pending, with notes
 *		by which it is recognised: this cluster, the role, the verifier
 *	4.	ALTER ROLE to the verifier; write the history; commit synchronously
 *	5.	before the commit, prepare what makes the pending version current; after
 *		it, only that is committed (commit.c)
 *
 * Killed before the commit, the role has its old password and the version is
 * set aside; killed after it, the role has the new one and the version is made
 * current: by the worker, or by the next call (reconcile.c).
 */
#include "compat.h"

#include "access/xact.h"
#include "extension.h"
#include "utils/builtins.h"

#define PASSWORD_LENGTH 32

KTPG_FUNCTION(keyturn_rotate_secret);
KTPG_FUNCTION(keyturn_rollback_secret);

/* A rotation that is being made. */
typedef struct Rotating
{
	const char *name;
	const char *action;
	kt_ctx_t   *ctx;
	kt_request_t req;
	kt_secret_t **password;		/* the new one */
	char		verifier[KT_META_VALUE_MAX + 1];	/* of the new one */
	KtpgRole	role;
	uint64_t	version;		/* that is pending */
	uint64_t	replaced;		/* the version that the role had; 0: not known */
	uint64_t	back;			/* the version that is rolled back to; 0: a new password */
	const char *user;			/* of the new version, if two take turns; NULL: it stays */
	kt_rotation_t **rotation;
	bool		adopt;			/* take the secret from another cluster */
	bool		apart;			/* the role is altered in a later transaction */
} Rotating;

/* kt_rotation_begin(), once more after what was left of an earlier rotation is ended. */
static kt_status_t
begin_after_reconcile(Rotating *r)
{
	kt_status_t status;
	uint64_t	version;
	KtpgOutcome outcome = ktpg_reconcile(r->ctx, &r->req, &version, &status);

	if (outcome == KTPG_FOREIGN && r->adopt)
	{
		status = ktpg_set_pending_aside(r->ctx, &r->req);
		if (status != KT_SUCCESS)
			return status;
	}
	else if (outcome == KTPG_FOREIGN)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("secret \"%s\" is being rotated somewhere else", r->name),
				 errdetail("Another cluster, or another copy of this one, began to rotate it: "
						   "nothing here proves what became of version %llu.",
						   (unsigned long long) version),
				 errhint("\"keyturn info %s\" shows what is pending. If that is lost: SELECT "
						 "keyturn.repair('%s', 'database') sets it aside.", r->name, r->name)));
	if (outcome == KTPG_LATER)
		return status;
	return kt_rotation_begin(r->ctx, &r->req, r->rotation);
}

/*
 * From here on the end of the transaction takes care of the rotation, also when
 * an error is raised. Nothing is stored yet.
 */
static void
begin_rotation(Rotating *r)
{
	kt_status_t status;
	TimestampTz since = 0;

	r->rotation = ktpg_pending_rotation(ktpg_pending_new(r->name));
	do
	{
		status = kt_rotation_begin(r->ctx, &r->req, r->rotation);
		if (status == KT_CONFLICT)
			status = begin_after_reconcile(r);
	} while (ktpg_wait_for_store(status, &since));
	if (status != KT_SUCCESS)
		ktpg_error(r->ctx, status, r->name, r->action);
}

/*
 * Stores the new password as pending, with all that a later call needs to find
 * out what became of it: which role is about to have what.
 */
static void
add_pending(Rotating *r)
{
	kt_target_ops_t target = {sizeof(kt_target_ops_t), ktpg_target(), NULL, NULL};
	kt_rotate_options_t options = KT_ROTATE_INIT;
	KtpgProof	proof;
	char		oid[16];
	char		replaced[24];
	kt_meta_t	notes[KTPG_PROOF_NOTES + 4] = {
		{KTPG_NOTE_VERIFIER, r->verifier},
		{KTPG_NOTE_ROLE, r->role.name},
		{KTPG_NOTE_ROLE_OID, oid},
		{KTPG_NOTE_REPLACED, replaced},
	};
	int			count = r->replaced == 0 ? 3 : 4;
	kt_status_t status;
	TimestampTz since = 0;

	snprintf(oid, sizeof(oid), "%u", r->role.oid);
	snprintf(replaced, sizeof(replaced), UINT64_FORMAT, (uint64) r->replaced);
	ktpg_proof_init(&proof);
	memcpy(notes + count, proof.notes, sizeof(proof.notes));
	options.value = *r->password;
	options.origin = "generated";
	options.user = r->user;
	options.target = &target;
	options.notes = notes;
	options.nnotes = count + lengthof(proof.notes);
	ktpg_store_lock();
	do
		status = kt_rotation_add(*r->rotation, &options);
	while (ktpg_wait_for_store(status, &since));
	ktpg_store_unlock();
	if (status != KT_SUCCESS)
		ktpg_error(r->ctx, status, r->name, r->action);
}

/* The password of a version, read with the caller's rights. */
static kt_secret_t **
read_password(Rotating *r, const char *version)
{
	kt_secret_t **password = ktpg_hold_secret();
	kt_request_t req = r->req;
	kt_status_t status;

	req.reference = psprintf("%s#password@%s", r->name, version);
	status = kt_get(r->ctx, &req, password);
	if (status != KT_SUCCESS)
		ktpg_error(r->ctx, status, r->name, r->action);
	return password;
}

/*
 * Is the role's password the secret's current one? If it was changed by other
 * means, something may rely on that, so a person has to sort it out. A role
 * without a password is accepted.
 */
static void
check_in_step(Rotating *r)
{
	char		noted[KT_META_VALUE_MAX + 1];
	kt_secret_t **password;
	kt_status_t status;
	KtpgAnswer	match;

	if (r->role.verifier == NULL)
		return;
	status = kt_rotation_noted(*r->rotation, 0, KTPG_NOTE_VERIFIER, noted, sizeof(noted));
	if (status == KT_SUCCESS && strcmp(noted, r->role.verifier) == 0)
		return;
	if (status != KT_SUCCESS && status != KT_NOTFOUND && status != KT_TOOLARGE)
		ktpg_error(r->ctx, status, r->name, r->action);
	password = ktpg_hold_secret();
	status = ktpg_password_old(*r->rotation, password);
	if (status != KT_SUCCESS && status != KT_NOTFOUND)
		ktpg_value_error(r->ctx, status, r->name, r->action);
	match = status == KT_SUCCESS ? ktpg_verifier_match(&r->role, *password) : KTPG_NO;
	if (match == KTPG_YES)
		r->replaced = kt_secret_version(*password);
	ktpg_drop_secret(password);
	if (match == KTPG_UNKNOWN)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the password of role \"%s\" was not compared with secret \"%s\"",
						r->role.name, r->name),
				 errdetail("Its verifier is malformed, or has more than 100000 iterations."),
				 errhint("To give the role the secret's password: SELECT keyturn.repair('%s', "
						 "'store').", r->name)));
	if (match == KTPG_NO)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the password of role \"%s\" is not the current one of secret \"%s\"",
						r->role.name, r->name),
				 errdetail("One of them was changed by other means, or restored."),
				 errhint("If the role has an earlier version: SELECT keyturn.repair('%s', "
						 "'database'). To give the role the secret's password: SELECT "
						 "keyturn.repair('%s', 'store'). To store the role's password: "
						 "\"keyturn set %s --field password --force\".",
						 r->name, r->name, r->name)));
}

/* Steps 1 to 3; the password is there, and its verifier is there or being made. */
static void
store(Rotating *r)
{
	begin_rotation(r);
	ktpg_role_of_secret(r->ctx, *r->rotation, r->name, r->action, &r->role);
	if (!ktpg_owner_check(r->ctx, *r->rotation, r->name, r->action, &r->role, r->adopt))
		check_in_step(r);
	ktpg_addresses_check(*r->rotation, r->name);
	r->user = ktpg_alternate(r->ctx, *r->rotation, r->name, r->action, r->back, &r->role);
	if (r->verifier[0] == '\0')
		ktpg_verifier_end(r->verifier);
	if (r->apart)
		ktpg_role_unlock(&r->role);
	add_pending(r);
	r->version = kt_rotation_version(*r->rotation);
	ktpg_debug_point("after_pending");
	CHECK_FOR_INTERRUPTS();
}

/* Step 4. */
static int64
alter(Rotating *r)
{
	ktpg_role_alter(&r->role, r->verifier);
	if (r->user != NULL)
		ktpg_alternate_confirm(&r->role, r->verifier);
	ktpg_history_add(&r->req, r->name, r->version, &r->role, r->action);
	ForceSyncCommit();
	ktpg_debug_point("after_alter");
	return (int64) r->version;
}

static int64
rotate(Rotating *r)
{
	store(r);
	return alter(r);
}

static void
begin(Rotating *r, const char *name, const char *action)
{
	memset(r, 0, sizeof(*r));
	r->name = name;
	r->action = action;
	ktpg_begin(name, &r->ctx, &r->req);
}

/* A new password; its verifier is made meanwhile. */
static void
generate(Rotating *r)
{
	r->password = ktpg_hold_secret();
	*r->password = kt_generate(KT_ALPHABET_ALNUM, PASSWORD_LENGTH);
	if (*r->password == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("no memory for a new password")));
	ktpg_verifier_begin(*r->password);
}

/*
 * Rotates; the caller has made sure that the commit of this transaction can
 * publish the version.
 */
int64
ktpg_rotate(const char *name, bool adopt)
{
	Rotating	r;
	int64		version;

	begin(&r, name, "rotated");
	r.adopt = adopt;
	generate(&r);
	version = rotate(&r);
	ktpg_drop_secret(r.password);
	return version;
}

/*
 * Steps 1 to 3 in a transaction of their own. The pending version outlives it,
 * and the caller keeps others from the secret by a lock of the session. The
 * result and `name` are used by ktpg_rotate_alter(), so the memory context has to
 * outlive the transaction.
 */
KtpgRotating *
ktpg_rotate_store(const char *name)
{
	Rotating   *r = palloc(sizeof(Rotating));

	begin(r, name, "rotated");
	r->apart = true;
	generate(r);
	store(r);
	ktpg_drop_secret(r->password);
	kt_rotation_leave(*r->rotation);
	*r->rotation = NULL;
	return r;
}

/*
 * Step 4 in the next one, which waits for no provider. Its commit publishes
 * nothing: the version is as if the server had been killed after the commit, and
 * ktpg_reconcile() makes it current.
 */
int64
ktpg_rotate_alter(KtpgRotating *r)
{
	const char *had = r->role.verifier;

	r->ctx = ktpg_context();
	ktpg_request(&r->req, r->name);
	ktpg_role_lock(&r->role);
	if ((had == NULL) != (r->role.verifier == NULL) ||
		(had != NULL && strcmp(had, r->role.verifier) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("role \"%s\" was altered concurrently", r->role.name),
				 errhint("Try again.")));
	return alter(r);
}

/*
 * rotate_secret(name text [, adopt boolean]) returns bigint
 */
Datum
keyturn_rotate_secret(PG_FUNCTION_ARGS)
{
	ktpg_check_moment("rotate_secret()");
	PG_RETURN_INT64(ktpg_rotate(text_to_cstring(PG_GETARG_TEXT_PP(0)),
								PG_NARGS() > 1 && PG_GETARG_BOOL(1)));
}

/* Its rotation was interrupted, and the role did not get it, as far as is known here. */
static bool
is_abandoned(const kt_info_t *info, uint64_t version)
{
	for (size_t i = 0; i < kt_info_versions(info); i++)
		if (kt_info_version(info, i)->version == version)
			return strcmp(kt_info_version(info, i)->state, "abandoned") == 0;
	return false;
}

/* Does a later version say that the role had this one before? */
static bool
was_replaced(const kt_info_t *info, uint64_t version)
{
	for (size_t i = 0; i < kt_info_versions(info); i++)
	{
		const char *noted = kt_info_note(info, kt_info_version(info, i)->version,
										 KTPG_NOTE_REPLACED);

		if (noted != NULL && strtoull(noted, NULL, 10) == version)
			return true;
	}
	return false;
}

/*
 * Takes the verifier that the role had with a version; makes one if the role
 * had its password by other means. Going back to a password that the role
 * never had would make a placeholder a password. False: the version is the
 * current one, and a new verifier of the same password would break poolers.
 */
static bool
find_verifier(Rotating *r, uint64_t version)
{
	kt_info_t **info = ktpg_hold_info();
	kt_status_t status = kt_info(r->ctx, &r->req, info);
	const char *noted;

	if (status != KT_SUCCESS)
		ktpg_error(r->ctx, status, r->name, r->action);
	if (version == kt_info_entry(*info)->version)
		return false;
	noted = kt_info_note(*info, version, KTPG_NOTE_VERIFIER);
	if (noted != NULL && strlen(noted) < sizeof(r->verifier) && !is_abandoned(*info, version))
		strlcpy(r->verifier, noted, sizeof(r->verifier));
	else if (was_replaced(*info, version))
		ktpg_verifier_make(*r->password, r->verifier);
	else
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %llu of secret \"%s\" was never in force",
						(unsigned long long) version, r->name),
				 errdetail("The role has never had this password.")));
	return true;
}

/*
 * rollback_secret(name text, version text) returns bigint
 *
 * Stores the old password as a new version, by the same steps: the database
 * cannot go back in one step with the store, and a new version can be
 * recognised whenever the server is killed. The role gets exactly the verifier
 * that it had, so poolers that pass keys through continue to work.
 */
Datum
keyturn_rollback_secret(PG_FUNCTION_ARGS)
{
	Rotating	r;
	const char *from;
	int64		version;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	ktpg_check_moment("rollback_secret()");
	begin(&r, text_to_cstring(PG_GETARG_TEXT_PP(0)), "rolled back");
	from = PG_ARGISNULL(1) ? "previous" : text_to_cstring(PG_GETARG_TEXT_PP(1));
	r.password = read_password(&r, from);
	r.back = kt_secret_version(*r.password);
	version = (int64) r.back;
	if (find_verifier(&r, r.back))
		version = rotate(&r);
	ktpg_drop_secret(r.password);
	PG_RETURN_INT64(version);
}
