/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * user.c
 *		Which role a secret is the password of, and that password.
 */
#include "compat.h"

#include "extension.h"
#include "parser/scansup.h"

/* Is there a role of another spelling, or was it renamed since its last rotation? */
static int
hint_other_name(kt_rotation_t *rotation, const char *name, const char *user)
{
	char		oid[16];
	char	   *folded = downcase_identifier(user, strlen(user), false, false);
	KtpgRole	role;

	if (strcmp(folded, user) != 0 && ktpg_role_find(folded, &role))
		return errhint("There is a role \"%s\": upper and lower case differ, tell the secret "
					   "(\"keyturn set %s --field user --force\").", role.name, name);
	if (kt_rotation_noted(rotation, 0, KTPG_NOTE_ROLE_OID, oid, sizeof(oid)) != KT_SUCCESS ||
		!ktpg_role_find_oid((Oid) strtoul(oid, NULL, 10), &role))
		return 0;
	return errhint("It is called \"%s\" now: tell the secret "
				   "(\"keyturn set %s --field user --force\").", role.name, name);
}

/* The field `user` or `username`; NULL: the value has neither. */
static char *
user_of_value(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name, const char *done)
{
	kt_secret_t **user = ktpg_hold_secret();
	kt_status_t status = kt_rotation_old(rotation, "user", user);

	if (status == KT_NOTFOUND)
		status = kt_rotation_old(rotation, "username", user);
	if (status == KT_NOTFOUND || status == KT_MALFORMED)
		return NULL;
	if (status != KT_SUCCESS)
		ktpg_value_error(ctx, status, name, done);
	return pnstrdup((const char *) kt_secret_bytes(*user), kt_secret_size(*user));
}

/* The role that this cluster has noted with the current version, as adopt_secret() does. */
static bool
find_noted(kt_rotation_t *rotation, KtpgRole *role)
{
	char		target[KT_META_VALUE_MAX + 1];
	char		oid[16];

	return kt_rotation_noted(rotation, 0, KTPG_NOTE_TARGET, target, sizeof(target)) == KT_SUCCESS &&
		strcmp(target, ktpg_target()) == 0 &&
		kt_rotation_noted(rotation, 0, KTPG_NOTE_ROLE_OID, oid, sizeof(oid)) == KT_SUCCESS &&
		ktpg_role_find_oid((Oid) strtoul(oid, NULL, 10), role);
}

/*
 * May this role's password be the secret's? Not if the value names another one.
 */
bool
ktpg_user_is(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name, const char *done,
			 const KtpgRole *role)
{
	const char *user = user_of_value(ctx, rotation, name, done);

	return user == NULL || strcmp(user, role->name) == 0;
}

/*
 * The role that the secret `name` names, or that adopt_secret() tied to it. It is
 * checked, and locked until the transaction ends. `done` is for errors:
 * "rotated".
 */
void
ktpg_role_of_secret(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name, const char *done,
					KtpgRole *role)
{
	char	   *user = user_of_value(ctx, rotation, name, done);

	if (user == NULL && !find_noted(rotation, role))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("secret \"%s\" names no role", name),
				 errdetail("Its value has no field \"user\" or \"username\"."),
				 errhint("If it is a role's password, adopt_secret() says whose. \"keyturn rotate "
						 "%s\" rotates a secret that is not.", name)));
	if (user != NULL && !ktpg_role_find(user, role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" does not exist", user),
				 errdetail("It is the user of secret \"%s\".", name),
				 hint_other_name(rotation, name, user)));
	ktpg_role_check(role);
	ktpg_role_lock(role);
	if (!role->may_login)
		ereport(NOTICE,
				(errmsg("role \"%s\" cannot log in", role->name),
				 errdetail("It is NOLOGIN, or its password has expired (VALID UNTIL).")));
}

/*
 * The same without an error if there is no such role, nor a check and a lock.
 */
bool
ktpg_role_named(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name, const char *done,
				KtpgRole *role)
{
	const char *user = user_of_value(ctx, rotation, name, done);

	return user != NULL ? ktpg_role_find(user, role) : find_noted(rotation, role);
}

/*
 * The password of a version: its field, or the whole of a value without fields.
 */
kt_status_t
ktpg_password_at(kt_rotation_t *rotation, uint64_t version, kt_secret_t **password)
{
	kt_status_t status = kt_rotation_at(rotation, version, "password", password);

	return status == KT_MALFORMED ? kt_rotation_at(rotation, version, NULL, password) : status;
}

/*
 * The same of the current version.
 */
kt_status_t
ktpg_password_old(kt_rotation_t *rotation, kt_secret_t **password)
{
	kt_status_t status = kt_rotation_old(rotation, "password", password);

	return status == KT_MALFORMED ? kt_rotation_old(rotation, NULL, password) : status;
}
