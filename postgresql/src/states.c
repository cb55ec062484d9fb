/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * states.c
 *		keyturn.rotation_states(): do each role and its secret agree?
 *
 * What the secret says comes from one reading of the store, what the role has
 * from the catalogue. A version is recognised by the verifier that its rotation
 * noted; passwords are compared only if that is asked for.
 */
#include "compat.h"

#include "extension.h"
#include "rows.h"
#include "utils/builtins.h"

KTPG_FUNCTION(keyturn_rotation_states);
KTPG_FUNCTION(keyturn_rotation_states_0_2);

#define SERVER "postgresql:"

/* What is known of one secret. */
typedef struct State
{
	kt_ctx_t   *ctx;
	const kt_info_t *info;
	uint64_t	current;
	uint64_t	pending;
	uint64_t	tied;			/* the version that says which role it is; 0: none of ours */
	const char *target;			/* who got the current version; NULL: it was not rotated */
	bool		found;			/* the role */
	KtpgRole	role;
	const char *role_name;		/* as noted, if it is not found; NULL: not known */
	uint64_t	has;			/* the version that the role has; 0: none that is kept */
	bool		unknown;		/* the role's verifier was not compared */
	const char *state;
	const char *detail;
} State;

static const char *
noted(const State *s, uint64_t version, const char *key)
{
	return version != 0 ? kt_info_note(s->info, version, key) : NULL;
}

static bool
is_ours(const State *s, uint64_t version)
{
	const char *target = noted(s, version, KTPG_NOTE_TARGET);

	return target != NULL && strcmp(target, ktpg_target()) == 0;
}

/* Which of our versions says whose password it is: the newest that knows the role. */
static uint64_t
find_tie(const State *s)
{
	uint64_t	tied = 0;

	for (size_t i = 0; i < kt_info_versions(s->info); i++)
	{
		const kt_version_t *version = kt_info_version(s->info, i);

		if (strcmp(version->state, "abandoned") != 0 && is_ours(s, version->version) &&
			noted(s, version->version, KTPG_NOTE_ROLE) != NULL && version->version > tied)
			tied = version->version;
	}
	return tied;
}

static void
find_role(State *s)
{
	const char *oid = noted(s, s->tied, KTPG_NOTE_ROLE_OID);

	s->role_name = noted(s, s->tied, KTPG_NOTE_ROLE);
	if (oid != NULL)
		s->found = ktpg_role_find_oid((Oid) strtoul(oid, NULL, 10), &s->role);
	else if (s->role_name != NULL)
		s->found = ktpg_role_find(s->role_name, &s->role);
}

/* ---- which version does the role have? ---- */

static bool
has_noted(const State *s, uint64_t version)
{
	const char *verifier = noted(s, version, KTPG_NOTE_VERIFIER);

	return verifier != NULL && s->found && s->role.verifier != NULL && is_ours(s, version) &&
		strcmp(verifier, s->role.verifier) == 0;
}

/* Would the value of this version log the role in? */
static KtpgAnswer
has_password(const State *s, uint64_t version)
{
	kt_secret_t **password = ktpg_hold_secret();
	kt_status_t status = kt_states_value(s->ctx, s->info, version, "password", password);
	KtpgAnswer	match;

	if (status != KT_SUCCESS)
		return status == KT_NOTFOUND || status == KT_GONE ? KTPG_NO : KTPG_UNKNOWN;
	match = ktpg_verifier_match(&s->role, *password);
	ktpg_drop_secret(password);
	return match;
}

/* The current one, then the others, newest first. */
static void
compare_passwords(State *s)
{
	KtpgAnswer	match = s->current != 0 ? has_password(s, s->current) : KTPG_NO;

	if (match == KTPG_YES)
		s->has = s->current;
	for (size_t i = 0; match == KTPG_NO && i < kt_info_versions(s->info); i++)
	{
		uint64_t	version = kt_info_version(s->info, i)->version;

		CHECK_FOR_INTERRUPTS();
		if (version == s->current)
			continue;
		match = has_password(s, version);
		if (match == KTPG_YES)
			s->has = version;
	}
	s->unknown = match == KTPG_UNKNOWN;
}

static void
find_version(State *s, bool verify)
{
	if (!s->found || s->role.verifier == NULL)
		return;
	if (has_noted(s, s->current))
		s->has = s->current;
	for (size_t i = 0; s->has == 0 && i < kt_info_versions(s->info); i++)
		if (has_noted(s, kt_info_version(s->info, i)->version))
			s->has = kt_info_version(s->info, i)->version;
	if (s->has == 0 && verify)
		compare_passwords(s);
}

/* ---- the verdict ---- */

static void
say(State *s, const char *state, const char *detail)
{
	s->state = state;
	s->detail = detail;
}

static void
judge_pending(State *s)
{
	if (!is_ours(s, s->pending))
		say(s, "foreign", psprintf("version %llu is pending for another target",
								   (unsigned long long) s->pending));
	else if (!s->found && s->role_name != NULL)
		say(s, "role missing", "the role was dropped while its password was rotated");
	else if (has_noted(s, s->pending))
		say(s, "promoting", "the role has the pending version, which is about to be current");
	else
		say(s, "pending", "a rotation is running, or was interrupted before its commit");
}

/* The role and the current version do not agree. */
static void
judge_difference(State *s, bool verify)
{
	const char *detail =
		s->role.verifier == NULL ? "the role has no password" :
		s->unknown ? "the role's verifier could not be compared" :
		s->has != 0 ? psprintf("the role has the password of version %llu",
							   (unsigned long long) s->has) :
		verify ? "the role has the password of no version that is kept" :
		"the role's verifier is not that of a version; verify => true compares the passwords";

	say(s, s->target == NULL ? "store changed" : "role changed", detail);
}

static void
judge(State *s, bool verify)
{
	if (s->pending != 0)
		judge_pending(s);
	else if (s->target != NULL && !is_ours(s, s->current))
		say(s, "foreign", "the current version is the password of a role of another cluster");
	else if (s->tied == 0)
		say(s, "unmanaged", "no role of this cluster got this password from keyturn");
	else if (!s->found)
		say(s, "role missing", "the role was dropped");
	else if (strcmp(kt_info_entry(s->info)->state, "deleted") == 0)
		say(s, "store changed", "the secret is deleted");
	else if (s->has == s->current && s->has != 0)
		say(s, "in step", strcmp(kt_info_entry(s->info)->state, "expired") == 0 ?
			"the secret has expired" : NULL);
	else
		judge_difference(s, verify);
}

/*
 * Looks at a secret. False: it is not the password of a role, as far as is
 * known, because something other than PostgreSQL manages it, or it is deleted.
 */
static bool
look(State *s, kt_ctx_t *ctx, const kt_info_t *info, bool verify)
{
	memset(s, 0, sizeof(*s));
	s->ctx = ctx;
	s->info = info;
	s->current = kt_info_entry(info)->version;
	s->pending = kt_info_pending(info);
	s->target = noted(s, s->current, KTPG_NOTE_TARGET);
	s->tied = find_tie(s);
	if (s->tied == 0 && !(s->pending != 0 && is_ours(s, s->pending)) &&
		((s->target != NULL && strncmp(s->target, SERVER, strlen(SERVER)) != 0) ||
		 strcmp(kt_info_entry(info)->state, "deleted") == 0))
		return false;
	find_role(s);
	find_version(s, verify);
	judge(s, verify);
	if (strcmp(s->state, "foreign") == 0)
		s->role_name = noted(s, s->current, KTPG_NOTE_ROLE);
	return true;
}

/* ---- rows ---- */

static void
add_role(KtpgRow *row, const State *s)
{
	bool		ours = s->found && strcmp(s->state, "foreign") != 0;
	const char *name = ours ? s->role.name : s->role_name;

	ktpg_add_datum(row, name == NULL,
				   name == NULL ? 0 : DirectFunctionCall1(namein, CStringGetDatum(name)));
}

/* The identifier that pg_control_system() shows, if it is a cluster's. */
static const char *
cluster_of(const State *s)
{
	const char *target = s->pending != 0 ? noted(s, s->pending, KTPG_NOTE_TARGET) : s->target;

	if (target == NULL)
		target = noted(s, s->tied, KTPG_NOTE_TARGET);
	return target != NULL && strncmp(target, SERVER, strlen(SERVER)) == 0 ?
		target + strlen(SERVER) : target;
}

static void
add_state(KtpgRows *rows, const State *s)
{
	bool		ours = s->found && strcmp(s->state, "foreign") != 0;
	KtpgRow		row = {0};

	ktpg_add_text(&row, kt_info_entry(s->info)->name);
	add_role(&row, s);
	ktpg_add_datum(&row, !ours, ObjectIdGetDatum(s->role.oid));
	ktpg_add_foreign_text(&row, cluster_of(s));
	ktpg_add_version(&row, s->current);
	ktpg_add_version(&row, s->pending);
	ktpg_add_version(&row, ours ? s->has : 0);
	ktpg_add_text(&row, s->state);
	ktpg_add_datum(&row, !ours, BoolGetDatum(s->role.may_login));
	ktpg_add_time(&row, kt_info_rotated(s->info));
	ktpg_add_time(&row, strcmp(kt_info_entry(s->info)->state, "deleted") == 0 ? 0 :
				  kt_info_due(s->info));
	ktpg_add_text(&row, s->detail);
	ktpg_rows_end_row(rows, &row);
}

/* A provider that does not answer costs one row. */
static void
add_silent(KtpgRows *rows, const KtpgSilent *silent)
{
	KtpgRow		row = {0};

	for (int i = 0; i < 7; i++)
		ktpg_add_datum(&row, true, 0);
	ktpg_add_text(&row, "unknown");
	for (int i = 0; i < 3; i++)
		ktpg_add_datum(&row, true, 0);
	ktpg_add_text(&row, superuser() && silent->why[0] != '\0' ?
				  psprintf("provider \"%s\" does not answer: %s: %s", silent->provider,
						   kt_status_name(silent->status), silent->why) :
				  psprintf("provider \"%s\" does not answer: %s", silent->provider,
						   kt_status_name(silent->status)));
	ktpg_rows_end_row(rows, &row);
}

static KtpgAccounts *
read_accounts(kt_ctx_t *ctx, const char *pattern, bool verify)
{
	KtpgAccounts *accounts;
	kt_status_t status = ktpg_accounts(ctx, pattern, "state", NULL, verify, &accounts);

	if (status != KT_SUCCESS)
		ktpg_error(ctx, status, pattern, "looked at");
	if (accounts->hidden > 0)
		ereport(NOTICE,
				(errmsg_plural("%llu secret is hidden", "%llu secrets are hidden",
							   accounts->hidden, (unsigned long long) accounts->hidden),
				 errdetail("No rule of the policy allows its state to be seen.")));
	return accounts;
}

/*
 * keyturn.rotation_states(pattern text, verify boolean) returns setof record
 */
Datum
keyturn_rotation_states_0_2(PG_FUNCTION_ARGS)
{
	const char *pattern = PG_ARGISNULL(0) ? "*" : text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		verify = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	kt_ctx_t   *ctx = ktpg_context();
	KtpgAccounts *accounts;
	KtpgRows	rows;
	State		state;

	ktpg_rows_begin(fcinfo, &rows);
	accounts = read_accounts(ctx, pattern, verify);
	for (KtpgAccount *account = accounts->first; account != NULL; account = account->next)
	{
		CHECK_FOR_INTERRUPTS();
		if (look(&state, ctx, account->info, verify))
			add_state(&rows, &state);
	}
	for (KtpgSilent *silent = accounts->silent; silent != NULL; silent = silent->next)
		add_silent(&rows, silent);
	return (Datum) 0;
}

/*
 * The same as 0.1 has it, until ALTER EXTENSION keyturn UPDATE: five columns, and
 * only secrets that were rotated here.
 */
Datum
keyturn_rotation_states(PG_FUNCTION_ARGS)
{
	kt_ctx_t   *ctx = ktpg_context();
	KtpgAccounts *accounts;
	KtpgRows	rows;
	State		state;

	ktpg_rows_begin(fcinfo, &rows);
	accounts = read_accounts(ctx, "*", false);
	for (KtpgAccount *account = accounts->first; account != NULL; account = account->next)
	{
		KtpgRow		row = {0};

		CHECK_FOR_INTERRUPTS();
		if (!look(&state, ctx, account->info, false) || strcmp(state.state, "unmanaged") == 0)
			continue;
		ktpg_add_text(&row, kt_info_entry(account->info)->name);
		add_role(&row, &state);
		ktpg_add_version(&row, state.current);
		ktpg_add_version(&row, state.pending);
		ktpg_add_text(&row, state.state);
		ktpg_rows_end_row(&rows, &row);
	}
	return (Datum) 0;
}
