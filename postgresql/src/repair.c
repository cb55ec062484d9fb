/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * repair.c
 *		keyturn.repair(): role and secret agree again, after a restore, a fail-over
 *		or a change of one of them by other means. A person says which is right.
 *
 * Each direction changes one side, so it is whole or not made at all. With the
 * database right, one transaction of the store makes the version current that
 * the role has. With the store right, the verifier is noted first, and the role
 * gets it with the commit. Killed in between, both are as they were, and the
 * same call goes on; only the row of the history may be missing then. Nothing is
 * pending meanwhile, so there is nothing that the worker has to end.
 */
#include "compat.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "extension.h"
#include "funcapi.h"
#include "utils/builtins.h"

KTPG_FUNCTION(keyturn_repair);

typedef struct Repair
{
	const char *name;
	kt_ctx_t   *ctx;
	kt_request_t req;
	kt_rotation_t *rotation;
	kt_info_t **info;
	KtpgRole	role;
	uint64_t	current;
	uint64_t	has;			/* the version that the role has; 0: none that is kept */
	uint64_t	unread;			/* one that could not be compared */
	kt_status_t why;			/* and why; KT_SUCCESS: its verifier costs too much */
} Repair;

#define DONE "repaired"

/* The role that this cluster noted last; the value may have lost its name. */
static bool
find_noted(Repair *r)
{
	for (size_t i = 0; i < kt_info_versions(*r->info); i++)
	{
		uint64_t	version = kt_info_version(*r->info, i)->version;
		const char *target = kt_info_note(*r->info, version, KTPG_NOTE_TARGET);
		const char *oid = kt_info_note(*r->info, version, KTPG_NOTE_ROLE_OID);

		if (target != NULL && strcmp(target, ktpg_target()) == 0 && oid != NULL)
			return ktpg_role_find_oid((Oid) strtoul(oid, NULL, 10), &r->role);
	}
	return false;
}

static void
find_role(Repair *r)
{
	if (!ktpg_role_named(r->ctx, r->rotation, r->name, DONE, &r->role) && find_noted(r))
	{
		ktpg_role_check(&r->role);
		ktpg_role_lock(&r->role);
	}
	else
		ktpg_role_of_secret(r->ctx, r->rotation, r->name, DONE, &r->role);
	ktpg_role_check_alter(&r->role);
}

static bool
is_kept(const kt_version_t *version)
{
	return strcmp(version->state, "destroyed") != 0;
}

/* The role's verifier was noted with a version; with several, the current one or the newest. */
static uint64_t
find_by_note(const Repair *r)
{
	uint64_t	found = 0;

	for (size_t i = 0; i < kt_info_versions(*r->info); i++)
	{
		const kt_version_t *version = kt_info_version(*r->info, i);
		const char *noted = kt_info_note(*r->info, version->version, KTPG_NOTE_VERIFIER);

		if (noted != NULL && is_kept(version) && strcmp(noted, r->role.verifier) == 0 &&
			(found == 0 || version->version == r->current))
			found = version->version;
	}
	return found;
}

/* The same by its password. */
static KtpgAnswer
has_password_of(Repair *r, uint64_t version)
{
	kt_secret_t **password = ktpg_hold_secret();
	kt_status_t status = ktpg_password_at(r->rotation, version, password);
	KtpgAnswer	match;

	if (status == KT_NOTFOUND)
		return KTPG_NO;
	match = status == KT_SUCCESS ? ktpg_verifier_match(&r->role, *password) : KTPG_UNKNOWN;
	ktpg_drop_secret(password);
	if (match == KTPG_UNKNOWN)
	{
		r->unread = version;
		r->why = status;
	}
	return match;
}

/* Which version does the role have? */
static void
find_version(Repair *r)
{
	if (r->role.verifier == NULL)
		return;
	r->has = find_by_note(r);
	if (r->has == 0 && has_password_of(r, r->current) == KTPG_YES)
		r->has = r->current;
	for (size_t i = 0; r->has == 0 && i < kt_info_versions(*r->info); i++)
	{
		const kt_version_t *version = kt_info_version(*r->info, i);

		CHECK_FOR_INTERRUPTS();
		if (is_kept(version) && has_password_of(r, version->version) == KTPG_YES)
			r->has = version->version;
	}
}

/* "store 4, role 2" */
static Datum
describe(const Repair *r)
{
	char		role[24];

	snprintf(role, sizeof(role), UINT64_FORMAT, (uint64) r->has);
	return CStringGetTextDatum(psprintf("store " UINT64_FORMAT ", role %s", (uint64) r->current,
										r->has != 0 ? role :
										r->role.verifier == NULL ? "none" : "unknown"));
}

/* Is there nothing to do, not even to note? */
static bool
is_in_step(const Repair *r)
{
	const char *noted = kt_info_note(*r->info, r->current, KTPG_NOTE_VERIFIER);

	return r->has == r->current && kt_info_pending(*r->info) == 0 && noted != NULL &&
		strcmp(noted, r->role.verifier) == 0;
}

static void
refuse_database(const Repair *r)
{
	char	   *hint = psprintf("To give the role the secret's password: SELECT keyturn.repair('%s', "
								"'store').", r->name);

	if (r->role.verifier == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" has no password", r->role.name),
				 errhint("%s", hint)));
	if (r->unread != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("it is not known which version of secret \"%s\" role \"%s\" has", r->name,
						r->role.name),
				 r->why == KT_SUCCESS ?
				 errdetail("The role's verifier is malformed, or has more than 100000 iterations.") :
				 errdetail("Version %llu cannot be read: %s.", (unsigned long long) r->unread,
						   kt_status_name(r->why)),
				 errhint("%s", hint)));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("role \"%s\" has the password of no kept version of secret \"%s\"",
					r->role.name, r->name),
			 errdetail("It was set by other means, or its version is no longer kept."),
			 errhint("%s To store the role's password: \"keyturn set %s --field password --force\".",
					 hint, r->name)));
}

/* The database is right: the version that the role has becomes current. */
static void
follow_database(Repair *r)
{
	if (r->has == 0)
		refuse_database(r);
	if (is_in_step(r))
		return;
	ktpg_history_add(&r->req, r->name, r->has, &r->role, DONE);
	ktpg_debug_point("before_repair");
	ktpg_take_version(r->ctx, r->rotation, r->name, r->has, &r->role, r->role.verifier, DONE);
	ktpg_debug_point("after_repair");
	r->current = r->has;
}

/*
 * The verifier that the role had with the current version, byte for byte, unless
 * it is another password's; else the one that it has, or a new one.
 */
static void
current_verifier(Repair *r, char *verifier, size_t size)
{
	const char *noted = kt_info_note(*r->info, r->current, KTPG_NOTE_VERIFIER);
	kt_secret_t **password = ktpg_hold_secret();
	kt_status_t status = ktpg_password_at(r->rotation, r->current, password);
	KtpgRole	as_noted = r->role;

	if (status != KT_SUCCESS)
		ktpg_value_error(r->ctx, status, r->name, DONE);
	as_noted.verifier = noted != NULL ? pstrdup(noted) : NULL;
	if (noted != NULL && strlen(noted) < size &&
		ktpg_verifier_match(&as_noted, *password) == KTPG_YES)
		strlcpy(verifier, noted, size);
	else if (r->has == r->current && strlen(r->role.verifier) < size)
		strlcpy(verifier, r->role.verifier, size);
	else
		ktpg_verifier_make(*password, verifier);
	ktpg_drop_secret(password);
}

/* The store is right: the role gets the password of the current version. */
static void
follow_store(Repair *r)
{
	char		verifier[KT_META_VALUE_MAX + 1];

	if (is_in_step(r))
		return;
	current_verifier(r, verifier, sizeof(verifier));
	ktpg_history_add(&r->req, r->name, r->current, &r->role, DONE);
	ktpg_debug_point("before_repair");
	ktpg_take_version(r->ctx, r->rotation, r->name, 0, &r->role, verifier, DONE);
	ktpg_debug_point("after_repair");
	if (r->role.verifier == NULL || strcmp(verifier, r->role.verifier) != 0)
		ktpg_role_alter(&r->role, verifier);
	ForceSyncCommit();
	ktpg_debug_point("after_alter");
	r->has = r->current;
}

static void
begin(Repair *r, const char *name)
{
	memset(r, 0, sizeof(*r));
	ktpg_check_moment("keyturn.repair()");
	r->name = name;
	ktpg_begin(name, &r->ctx, &r->req);
}

/*
 * keyturn.repair(name text, truth text, OUT was text, OUT became text)
 */
Datum
keyturn_repair(PG_FUNCTION_ARGS)
{
	const char *truth = text_to_cstring(PG_GETARG_TEXT_PP(1));
	kt_status_t status;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	Repair		r;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (strcmp(truth, "database") != 0 && strcmp(truth, "store") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("truth must be \"database\" or \"store\""),
				 errdetail("It says which of the two is right.")));
	begin(&r, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	r.rotation = ktpg_look(r.ctx, &r.req, r.name, true, DONE);
	r.current = kt_rotation_version(r.rotation);
	r.info = ktpg_hold_info();
	status = kt_rotation_info(r.rotation, r.info);
	if (status != KT_SUCCESS)
		ktpg_error(r.ctx, status, r.name, DONE);
	ktpg_owner_check_managed(*r.info, r.name);
	find_role(&r);
	ktpg_addresses_check(r.rotation, r.name);
	find_version(&r);
	values[0] = describe(&r);
	if (truth[0] == 'd')
		follow_database(&r);
	else
		follow_store(&r);
	values[1] = describe(&r);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
