/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alternate.c
 *		Two roles that take turns as the user of a secret.
 *
 * The value has both names in `users`, and in `user` the one whose password it
 * holds. A rotation gives a new password to the other one, and the new version
 * names that one. What a client has read before, it may use until the rotation
 * after: no login fails, however late it learns of the new version. For this the
 * two must be able to stand in for each other (alike.c).
 */
#include "compat.h"

#include "extension.h"
#include "utils/builtins.h"

/* The user whose turn it is; NULL: the secret has one user only. */
static char *
next_user(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name, const char *done)
{
	kt_secret_t **user = ktpg_hold_secret();
	kt_status_t status = kt_rotation_next_user(rotation, user);

	if (status == KT_NOTFOUND || status == KT_MALFORMED)
		return NULL;
	if (status == KT_CONFLICT)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the users of secret \"%s\" cannot take turns", name),
				 errdetail("%s.", kt_error(ctx))));
	if (status != KT_SUCCESS)
		ktpg_error(ctx, status, name, done);
	return pnstrdup((const char *) kt_secret_bytes(*user), kt_secret_size(*user));
}

/* The user that a version names. */
static char *
user_at(kt_ctx_t *ctx, kt_rotation_t *rotation, uint64_t version, const char *name,
		const char *done)
{
	kt_secret_t **user = ktpg_hold_secret();
	kt_status_t status = kt_rotation_at(rotation, version, "user", user);

	if (status == KT_NOTFOUND)
		status = kt_rotation_at(rotation, version, "username", user);
	if (status == KT_NOTFOUND || status == KT_MALFORMED)
		return NULL;
	if (status != KT_SUCCESS)
		ktpg_value_error(ctx, status, name, done);
	return pnstrdup((const char *) kt_secret_bytes(*user), kt_secret_size(*user));
}

static void
find_next(const char *name, const char *user, const KtpgRole *in_use, KtpgRole *role)
{
	if (!ktpg_role_find(user, role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" does not exist", user),
				 errdetail("It is one of the users of secret \"%s\", and it is its turn.", name),
				 errhint("CREATE ROLE %s LOGIN, and GRANT it the roles of \"%s\".",
						 quote_identifier(user), in_use->name)));
	ktpg_role_check(role);
	ktpg_role_lock(role);
	if (!role->may_login)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" cannot log in", role->name),
				 errdetail("It is its turn as the user of secret \"%s\", and it is NOLOGIN, or its "
						   "password has expired (VALID UNTIL).", name),
				 errhint("ALTER ROLE %s LOGIN VALID UNTIL 'infinity'.",
						 quote_identifier(role->name))));
}

/* Was the role the user of this version, with the password that it has now? */
static KtpgAnswer
has_version(kt_ctx_t *ctx, kt_rotation_t *rotation, const kt_info_t *info, uint64_t version,
			const char *name, const char *done, const KtpgRole *role)
{
	const char *noted = kt_info_note(info, version, KTPG_NOTE_VERIFIER);
	const char *user;
	kt_secret_t **password;
	kt_status_t status;
	KtpgAnswer	match;

	if (noted != NULL)
		return strcmp(noted, role->verifier) == 0 ? KTPG_YES : KTPG_NO;
	user = user_at(ctx, rotation, version, name, done);
	if (user == NULL || strcmp(user, role->name) != 0)
		return KTPG_NO;
	password = ktpg_hold_secret();
	status = ktpg_password_at(rotation, version, password);
	match = status == KT_SUCCESS ? ktpg_verifier_match(role, *password) :
		status == KT_NOTFOUND ? KTPG_NO : KTPG_UNKNOWN;
	ktpg_drop_secret(password);
	return match;
}

/*
 * The password of the role whose turn it is is replaced, so it must be one that
 * this secret gave it, or none. If it was set by other means, something may rely
 * on that, and a person has to sort it out.
 */
static void
check_password(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name, const char *done,
			   const KtpgRole *role)
{
	kt_info_t **info = ktpg_hold_info();
	kt_status_t status;

	if (role->verifier == NULL)
		return;
	status = kt_rotation_info(rotation, info);
	if (status != KT_SUCCESS)
		ktpg_error(ctx, status, name, done);
	for (size_t i = 0; i < kt_info_versions(*info); i++)
	{
		const kt_version_t *one = kt_info_version(*info, i);

		CHECK_FOR_INTERRUPTS();
		if (strcmp(one->state, "destroyed") != 0 &&
			has_version(ctx, rotation, *info, one->version, name, done, role) == KTPG_YES)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the password of role \"%s\" is not one of secret \"%s\"", role->name, name),
			 errdetail("It is its turn as the user of the secret, but its password was set by "
					   "other means."),
			 errhint("If nothing relies on it: ALTER ROLE %s PASSWORD NULL, then try again.",
					 quote_identifier(role->name))));
}

/*
 * The secret `name` is rotated, and its user is *role, which is checked and locked. If it has two
 * users that take turns, *role becomes the other one, checked and locked too, and its name is
 * returned, for the new version. NULL: the user stays. With `back`, which is not 0, the password of
 * that version comes back, and its user with it: it is not asked whether the two are alike.
 */
const char *
ktpg_alternate(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name, const char *done,
			   uint64_t back, KtpgRole *role)
{
	const char *user = next_user(ctx, rotation, name, done);
	const char *before;
	KtpgRole	next;

	if (user == NULL)
		return NULL;
	before = back != 0 ? user_at(ctx, rotation, back, name, done) : NULL;
	if (before != NULL && strcmp(before, role->name) == 0)
		return NULL;
	if (back != 0 && (before == NULL || strcmp(before, user) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %llu of secret \"%s\" is of another user",
						(unsigned long long) back, name),
				 errdetail("Its user is not one of the two that take turns now."),
				 errhint("\"keyturn versions %s\" shows the others.", name)));
	find_next(name, user, role, &next);
	if (back == 0)
		ktpg_check_alike(role, &next);
	check_password(ctx, rotation, name, done, &next);
	*role = next;
	return user;
}

/*
 * Before the new version is published: can the role log in with it?
 */
void
ktpg_alternate_confirm(const KtpgRole *role, const char *verifier)
{
	KtpgRole	now;
	bool		found = ktpg_role_find_oid(role->oid, &now);

	if (found && !now.may_login)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" cannot log in any more", role->name),
				 errdetail("It became NOLOGIN, or its password expired, while it was rotated."),
				 errhint("ALTER ROLE %s LOGIN VALID UNTIL 'infinity', then try again.",
						 quote_identifier(role->name))));
	if (!found || now.verifier == NULL || strcmp(now.verifier, verifier) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" did not get its new password", role->name),
				 errdetail("Something else changed it in this statement, such as an extension that "
						   "hooks ALTER ROLE.")));
}
