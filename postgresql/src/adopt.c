/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * adopt.c
 *		adopt_secret(): from now on keyturn rotates a role whose password the
 *		secret already has.
 *
 * Neither the password nor the value changes, and no version is made: the current
 * one gets the notes that a rotation would have left. So the first rotation finds
 * the role by its OID, and keyturn.rotations shows it at once.
 */
#include "compat.h"

#include "extension.h"
#include "utils/builtins.h"

KTPG_FUNCTION(keyturn_adopt_secret);

static void
refuse_other_role(const char *name, const KtpgRole *role)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("secret \"%s\" is not of role \"%s\"", name, role->name),
			 errdetail("Its value has the name of another role, as which its clients log in."),
			 errhint("Name that role, or correct the secret's field \"user\".")));
}

static void
refuse_password(const char *name, const KtpgRole *role, KtpgAnswer match)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("role \"%s\" does not have the password of secret \"%s\"", role->name, name),
			 role->verifier == NULL ? errdetail("It has no password.") :
			 match == KTPG_UNKNOWN ? errdetail("Its verifier is malformed, or has more than 100000 "
											   "iterations, so the two were not compared.") :
			 errdetail("The role has another one."),
			 errhint("rotate_secret('%s', adopt => true) gives the role a new one.", name)));
}

/* The role has to have the current password. */
static void
check_password(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name, const KtpgRole *role)
{
	kt_secret_t **password = ktpg_hold_secret();
	kt_status_t status = ktpg_password_at(rotation, kt_rotation_version(rotation), password);
	KtpgAnswer	match;

	if (status != KT_SUCCESS)
		ktpg_value_error(ctx, status, name, "adopted");
	match = ktpg_verifier_match(role, *password);
	ktpg_drop_secret(password);
	if (match != KTPG_YES)
		refuse_password(name, role, match);
}

/* What a rotation began and did not end comes first. */
static void
end_pending(kt_ctx_t *ctx, const kt_request_t *req, const char *name)
{
	kt_status_t status;
	uint64_t	version;
	KtpgOutcome outcome = ktpg_reconcile(ctx, req, &version, &status);

	if (outcome == KTPG_LATER)
		ktpg_error(ctx, status, name, "adopted");
}

/*
 * adopt_secret(name text, role regrole) returns bigint
 */
Datum
keyturn_adopt_secret(PG_FUNCTION_ARGS)
{
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	kt_rotation_t *rotation;
	kt_ctx_t   *ctx;
	kt_request_t req;
	KtpgRole	role;

	ktpg_check_moment("adopt_secret()");
	ktpg_begin(name, &ctx, &req);
	if (!ktpg_role_find_oid(PG_GETARG_OID(1), &role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no role with OID %u", PG_GETARG_OID(1))));
	ktpg_role_check(&role);
	ktpg_role_check_alter(&role);
	end_pending(ctx, &req, name);
	rotation = ktpg_look(ctx, &req, name, false, "adopted");
	if (!ktpg_user_is(ctx, rotation, name, "adopted", &role))
		refuse_other_role(name, &role);
	ktpg_role_lock(&role);
	check_password(ctx, rotation, name, &role);
	ktpg_addresses_check(rotation, name);
	ktpg_history_add(&req, name, kt_rotation_version(rotation), &role, "adopted");
	ktpg_debug_point("before_adopt");
	ktpg_take_version(ctx, rotation, name, 0, &role, role.verifier, "adopted");
	ktpg_debug_point("after_adopt");
	PG_RETURN_INT64((int64) kt_rotation_version(rotation));
}
