/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * user.c
 *		Which role a secret is the password of.
 */
#include "compat.h"

#include "extension.h"

/* Was the role renamed since its last rotation? */
static int
hint_renamed(kt_rotation_t *rotation, const char *name)
{
	char		oid[16];
	KtpgRole	role;

	if (kt_rotation_noted(rotation, 0, KTPG_NOTE_ROLE_OID, oid, sizeof(oid)) != KT_SUCCESS ||
		!ktpg_role_find_oid((Oid) strtoul(oid, NULL, 10), &role))
		return 0;
	return errhint("It is called \"%s\" now: tell the secret "
				   "(\"keyturn set %s --field user --force\").", role.name, name);
}

/*
 * The role that the field `user` or `username` of the secret `name` names: it is
 * checked, and locked until the transaction ends. `done` is for errors:
 * "rotated".
 */
void
ktpg_role_of_secret(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name, const char *done,
					KtpgRole *role)
{
	kt_secret_t **user = ktpg_hold_secret();
	kt_status_t status = kt_rotation_value(rotation, "user", user);
	char	   *user_name;

	if (status == KT_NOTFOUND)
		status = kt_rotation_value(rotation, "username", user);
	if (status == KT_NOTFOUND || status == KT_MALFORMED)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("secret \"%s\" names no role", name),
				 errdetail("Its value has no field \"user\" or \"username\"."),
				 errhint("\"keyturn rotate %s\" rotates a secret that is not a role's "
						 "password.", name)));
	if (status != KT_SUCCESS)
		ktpg_error(ctx, status, name, done);
	user_name = pnstrdup((const char *) kt_secret_bytes(*user), kt_secret_size(*user));
	if (!ktpg_role_find(user_name, role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" does not exist", user_name),
				 errdetail("It is the user of secret \"%s\".", name),
				 hint_renamed(rotation, name)));
	ktpg_role_check(role);
	ktpg_role_lock(role);
	if (!role->may_login)
		ereport(NOTICE,
				(errmsg("role \"%s\" cannot log in", role->name),
				 errdetail("It is NOLOGIN, or its password has expired (VALID UNTIL).")));
}
