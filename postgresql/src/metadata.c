/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metadata.c
 *		list_secrets(), secret_info(), secret_versions(), keyturn.rotations,
 *		and get_secret(), the one function that returns a value.
 */
#include "compat.h"

#include "extension.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

KTPG_FUNCTION(keyturn_get_secret);
KTPG_FUNCTION(keyturn_list_secrets);
KTPG_FUNCTION(keyturn_secret_info);
KTPG_FUNCTION(keyturn_secret_versions);
KTPG_FUNCTION(keyturn_rotation_states);

/* A row being filled in, left to right. */
typedef struct Row
{
	int			n;
	Datum		values[14];
	bool		nulls[14];
} Row;

/* An answer of several rows. */
typedef struct Rows
{
	TupleDesc	desc;
	Tuplestorestate *store;
} Rows;

static void
add_datum(Row *row, bool isnull, Datum value)
{
	row->nulls[row->n] = isnull;
	row->values[row->n++] = isnull ? (Datum) 0 : value;
}

static void
add_text(Row *row, const char *text)
{
	add_datum(row, text == NULL, text == NULL ? 0 : CStringGetTextDatum(text));
}

/* The same of bytes that other servers wrote; null if they are not text here. */
static void
add_foreign_text(Row *row, const char *text)
{
	if (text != NULL && !pg_verifymbstr(text, strlen(text), true))
		text = NULL;
	add_text(row, text);
}

/* A version; NULL for 0. */
static void
add_version(Row *row, uint64_t version)
{
	add_datum(row, version == 0, Int64GetDatum((int64) version));
}

/* A time in ms since 1970; NULL for 0. */
static void
add_time(Row *row, int64 ms)
{
	add_datum(row, ms == 0, TimestampTzGetDatum((ms - KTPG_EPOCH) * 1000));
}

static void
begin_rows(FunctionCallInfo fcinfo, Rows *rows)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext oldcontext;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		(rsinfo->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	oldcontext = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &rows->desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rows->store = tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0,
										false, work_mem);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = rows->store;
	rsinfo->setDesc = rows->desc;
	MemoryContextSwitchTo(oldcontext);
}

static void
end_row(Rows *rows, Row *row)
{
	tuplestore_putvalues(rows->store, rows->desc, row->values, row->nulls);
	memset(row, 0, sizeof(*row));
}

/* Loops while the store is busy; raises what is left. */
static void
get_info(kt_ctx_t *ctx, const char *name, kt_info_t **info)
{
	kt_request_t req;
	kt_status_t status;
	TimestampTz since = 0;

	ktpg_request(&req, name);
	do
		status = kt_info(ctx, &req, info);
	while (ktpg_wait_for_store(status, &since));
	if (status != KT_SUCCESS)
		ktpg_error(ctx, status, name, "described");
}

/*
 * get_secret(name text, field text, version text) returns text
 */
Datum
keyturn_get_secret(PG_FUNCTION_ARGS)
{
	kt_secret_t **secret = ktpg_hold_secret();
	kt_ctx_t   *ctx;
	kt_request_t req;
	kt_status_t status;
	const char *name;
	StringInfoData reference;
	text	   *value;
	TimestampTz since = 0;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ktpg_check_name(name);
	initStringInfo(&reference);
	appendStringInfoString(&reference, name);
	if (!PG_ARGISNULL(1))
		appendStringInfo(&reference, "#%s", text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (!PG_ARGISNULL(2))
		appendStringInfo(&reference, "@%s", text_to_cstring(PG_GETARG_TEXT_PP(2)));

	ctx = ktpg_context();
	ktpg_request(&req, reference.data);
	do
		status = kt_get(ctx, &req, secret);
	while (ktpg_wait_for_store(status, &since));
	if (status != KT_SUCCESS)
		ktpg_error(ctx, status, name, "read");
	if (memchr(kt_secret_bytes(*secret), 0, kt_secret_size(*secret)) != NULL ||
		!pg_verify_mbstr(GetDatabaseEncoding(), (const char *) kt_secret_bytes(*secret),
						 (int) kt_secret_size(*secret), true))
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("the value of secret \"%s\" is not text in this database's encoding",
						name)));
	value = cstring_to_text_with_len((const char *) kt_secret_bytes(*secret),
									 (int) kt_secret_size(*secret));
	ktpg_drop_secret(secret);
	PG_RETURN_TEXT_P(value);
}

/* The secrets that match a pattern (NULL: all) and that the caller may list. */
static KtpgListed *
list_entries(kt_ctx_t *ctx, const char *pattern)
{
	KtpgListed *first;
	uint64_t	hidden = 0;
	kt_status_t status;
	TimestampTz since = 0;

	do
		status = ktpg_list(ctx, pattern, &first, &hidden);
	while (ktpg_wait_for_store(status, &since));
	if (status != KT_SUCCESS)
		ktpg_error(ctx, status, pattern != NULL ? pattern : "*", "listed");
	if (hidden > 0)
		ereport(NOTICE,
				(errmsg_plural("the list is incomplete: %llu secret is hidden",
							   "the list is incomplete: %llu secrets are hidden",
							   hidden, (unsigned long long) hidden),
				 errdetail("No key of the type is held, or no rule of the policy allows to list it.")));
	return first;
}

/*
 * list_secrets(pattern text) returns setof record
 */
Datum
keyturn_list_secrets(PG_FUNCTION_ARGS)
{
	const char *pattern = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	Rows		rows;
	Row			row = {0};

	begin_rows(fcinfo, &rows);
	for (KtpgListed *listed = list_entries(ktpg_context(), pattern); listed != NULL;
		 listed = listed->next)
	{
		add_text(&row, listed->name);
		add_version(&row, listed->entry.version);
		add_text(&row, listed->state);
		add_time(&row, listed->entry.created);
		add_time(&row, listed->entry.updated);
		add_time(&row, listed->entry.expires);
		end_row(&rows, &row);
	}
	return (Datum) 0;
}

static Datum
metadata_json(const kt_info_t *info)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (size_t i = 0; i < kt_info_metas(info); i++)
	{
		const char *key;
		const char *value;

		kt_info_meta(info, i, &key, &value);
		if (i > 0)
			appendStringInfoChar(&json, ',');
		escape_json(&json, key);
		appendStringInfoChar(&json, ':');
		escape_json(&json, value);
	}
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/*
 * secret_info(name text) returns record
 */
Datum
keyturn_secret_info(PG_FUNCTION_ARGS)
{
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	kt_info_t **info = ktpg_hold_info();
	const kt_entry_t *entry;
	const kt_usage_t *usage;
	TupleDesc	desc;
	Row			row = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	ktpg_check_name(name);
	get_info(ktpg_context(), name, info);
	entry = kt_info_entry(*info);
	add_text(&row, name);
	add_version(&row, entry->version);
	add_version(&row, kt_info_previous(*info));
	add_version(&row, kt_info_pending(*info));
	add_text(&row, entry->state);
	add_text(&row, kt_info_provider(*info));
	add_time(&row, entry->created);
	add_time(&row, entry->updated);
	add_time(&row, entry->expires);
	add_datum(&row, false, metadata_json(*info));
	/* none that we may see is not none */
	usage = kt_info_usage(*info);
	add_datum(&row, usage->count == 0 && (usage->hidden > 0 || usage->lost > 0),
			  Int64GetDatum((int64) usage->count));
	add_time(&row, usage->last);
	add_foreign_text(&row, usage->subject);
	add_foreign_text(&row, usage->stream);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), row.values,
													  row.nulls)));
}

/*
 * secret_versions(name text) returns setof record
 */
Datum
keyturn_secret_versions(PG_FUNCTION_ARGS)
{
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	kt_info_t **info = ktpg_hold_info();
	Rows		rows;
	Row			row = {0};

	begin_rows(fcinfo, &rows);
	ktpg_check_name(name);
	get_info(ktpg_context(), name, info);
	for (size_t i = 0; i < kt_info_versions(*info); i++)
	{
		const kt_version_t *version = kt_info_version(*info, i);

		add_version(&row, version->version);
		add_text(&row, version->state);
		add_time(&row, version->created);
		add_time(&row, version->expires);
		end_row(&rows, &row);
	}
	return (Datum) 0;
}

/* Has the role the verifier that was noted with this version? */
static bool
has_noted(const KtpgRole *role, const kt_info_t *info, uint64_t version)
{
	const char *noted = kt_info_note(info, version, KTPG_NOTE_VERIFIER);

	return noted != NULL && role->verifier != NULL && strcmp(noted, role->verifier) == 0;
}

/* A row of keyturn.rotations, unless no role of this cluster was rotated into the secret. */
static bool
add_rotation_state(Row *row, const char *name, const kt_info_t *info)
{
	uint64_t	current = kt_info_entry(info)->version;
	uint64_t	pending = kt_info_pending(info);
	uint64_t	newest = pending != 0 ? pending : current;
	const char *target = kt_info_note(info, newest, KTPG_NOTE_TARGET);
	const char *role_name = kt_info_note(info, newest, KTPG_NOTE_ROLE);
	const char *oid;
	KtpgRole	role;
	bool		found;

	if (target == NULL || role_name == NULL || strcmp(target, ktpg_target()) != 0)
		return false;
	oid = kt_info_note(info, newest, KTPG_NOTE_ROLE_OID);
	found = oid != NULL ? ktpg_role_find_oid((Oid) strtoul(oid, NULL, 10), &role) :
		ktpg_role_find(role_name, &role);
	add_text(row, name);
	add_datum(row, false, DirectFunctionCall1(namein, CStringGetDatum(found ? role.name : role_name)));
	add_version(row, current);
	add_version(row, pending);
	add_text(row, !found ? "drifted" :
			 pending != 0 && has_noted(&role, info, pending) ? "promoting" :
			 pending != 0 ? "pending" :
			 has_noted(&role, info, current) ? "in step" : "drifted");
	return true;
}

/*
 * keyturn.rotation_states() returns setof record
 */
Datum
keyturn_rotation_states(PG_FUNCTION_ARGS)
{
	kt_ctx_t   *ctx = ktpg_context();
	Rows		rows;
	Row			row = {0};

	begin_rows(fcinfo, &rows);
	for (KtpgListed *listed = list_entries(ctx, NULL); listed != NULL; listed = listed->next)
	{
		kt_info_t **info = ktpg_hold_info();

		CHECK_FOR_INTERRUPTS();
		get_info(ctx, listed->name, info);
		if (add_rotation_state(&row, listed->name, *info))
			end_row(&rows, &row);
		kt_info_free(*info);
		*info = NULL;
	}
	return (Datum) 0;
}
