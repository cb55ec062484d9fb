/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * owner.c
 *		Whose secret is it?
 *
 * A store may be shared by several clusters, and by copies of one, so a role of
 * the right name, even with the right password, does not make a cluster the
 * owner of a secret. The current version says which cluster got it. Another one
 * takes the secret over only if its user asks for that, because the clients of
 * the first one are locked out then.
 */
#include "compat.h"

#include "extension.h"

/* The target of the current version, or of the newest one that has a target. */
static const char *
owner_of(const kt_info_t *info, uint64_t *version)
{
	const char *target;

	*version = kt_info_entry(info)->version;
	target = kt_info_note(info, *version, KTPG_NOTE_TARGET);
	for (size_t i = 0; target == NULL && i < kt_info_versions(info); i++)
	{
		const kt_version_t *one = kt_info_version(info, i);

		if (strcmp(one->state, "pending") == 0 || strcmp(one->state, "abandoned") == 0)
			continue;
		*version = one->version;
		target = kt_info_note(info, one->version, KTPG_NOTE_TARGET);
	}
	return target;
}

static void
refuse_foreign(const char *name, const char *owner)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("secret \"%s\" belongs to another cluster", name),
			 errdetail("Its password was given to \"%s\", and this cluster is \"%s\".", owner,
					   ktpg_target()),
			 errhint("If its clients are to log in here from now on: SELECT rotate_secret('%s', "
					 "adopt => true). They cannot log in there any more then.", name)));
}

/*
 * A copy of the cluster has the same system identifier and the same roles. If it
 * took the place of the original, by promotion or by recovery, it is on a later
 * timeline; else the original may still run.
 */
static void
refuse_copy(const char *name, bool drifted)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("secret \"%s\" belongs to another copy of this cluster", name),
			 errdetail("Its password was given to the role in another data directory, and this "
					   "copy was neither promoted nor recovered since."),
			 drifted ?
			 errhint("If this copy replaces the other one: SELECT keyturn.repair('%s', 'store'). "
					 "Clients cannot log in there any more after the next rotation.", name) :
			 errhint("If this copy replaces the other one: SELECT rotate_secret('%s', "
					 "adopt => true). Clients cannot log in there any more then.", name)));
}

/* Has the role another password than this version, as far as its verifier tells? */
static bool
is_drifted(const kt_info_t *info, uint64_t version, const KtpgRole *role)
{
	const char *noted = kt_info_note(info, version, KTPG_NOTE_VERIFIER);

	return role->verifier != NULL && (noted == NULL || strcmp(noted, role->verifier) != 0);
}

/* A cluster that was promoted or recovered has an older password because it lost a rotation. */
static void
check_copy(const kt_info_t *info, uint64_t version, const char *name, const KtpgRole *role)
{
	bool		drifted = is_drifted(info, version, role);
	bool		later;

	if (ktpg_is_copy(kt_info_note(info, version, KTPG_NOTE_PLACE),
					 kt_info_note(info, version, KTPG_NOTE_WAL), &later) &&
		(!drifted || !later))
		refuse_copy(name, drifted);
}

/*
 * Raises an error unless keyturn manages the secret in this cluster, or in a
 * copy of it.
 */
void
ktpg_owner_check_managed(const kt_info_t *info, const char *name)
{
	uint64_t	version;
	const char *owner = owner_of(info, &version);

	if (owner == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("secret \"%s\" is not managed by keyturn yet", name),
				 errdetail("No role was ever given its password."),
				 errhint("adopt_secret() or rotate_secret() begins.")));
	if (strcmp(owner, ktpg_target()) != 0)
		refuse_foreign(name, owner);
}

/*
 * Raises an error if the secret belongs to another cluster, or to another copy
 * of this one, unless the caller adopts it. True: it is taken from another
 * cluster, whose password the role here need not have.
 */
bool
ktpg_owner_check(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name, const char *done,
				 const KtpgRole *role, bool adopt)
{
	kt_info_t **info = ktpg_hold_info();
	kt_status_t status = kt_rotation_info(rotation, info);
	const char *owner;
	uint64_t	version;

	if (status != KT_SUCCESS)
		ktpg_error(ctx, status, name, done);
	owner = owner_of(*info, &version);
	if (owner == NULL)
		return false;
	if (strcmp(owner, ktpg_target()) != 0)
	{
		if (!adopt)
			refuse_foreign(name, owner);
		return true;
	}
	if (!adopt)
		check_copy(*info, version, name, role);
	return false;
}
