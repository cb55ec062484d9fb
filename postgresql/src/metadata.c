/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metadata.c
 *		list_secrets(), secret_info(), secret_versions(), and get_secret(), the
 *		one function that returns a value.
 */
#include "compat.h"

#include "extension.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "rows.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

KTPG_FUNCTION(keyturn_get_secret);
KTPG_FUNCTION(keyturn_list_secrets);
KTPG_FUNCTION(keyturn_secret_info);
KTPG_FUNCTION(keyturn_secret_versions);

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
	KtpgRows	rows;
	KtpgRow		row = {0};

	ktpg_rows_begin(fcinfo, &rows);
	for (KtpgListed *listed = list_entries(ktpg_context(), pattern); listed != NULL;
		 listed = listed->next)
	{
		ktpg_add_text(&row, listed->name);
		ktpg_add_version(&row, listed->entry.version);
		ktpg_add_text(&row, listed->state);
		ktpg_add_time(&row, listed->entry.created);
		ktpg_add_time(&row, listed->entry.updated);
		ktpg_add_time(&row, listed->entry.expires);
		ktpg_rows_end_row(&rows, &row);
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
	KtpgRow		row = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	ktpg_check_name(name);
	get_info(ktpg_context(), name, info);
	entry = kt_info_entry(*info);
	ktpg_add_text(&row, name);
	ktpg_add_version(&row, entry->version);
	ktpg_add_version(&row, kt_info_previous(*info));
	ktpg_add_version(&row, kt_info_pending(*info));
	ktpg_add_text(&row, entry->state);
	ktpg_add_text(&row, kt_info_provider(*info));
	ktpg_add_time(&row, entry->created);
	ktpg_add_time(&row, entry->updated);
	ktpg_add_time(&row, entry->expires);
	ktpg_add_datum(&row, false, metadata_json(*info));
	/* none that we may see is not none */
	usage = kt_info_usage(*info);
	ktpg_add_datum(&row, usage->count == 0 && (usage->hidden > 0 || usage->lost > 0),
			  Int64GetDatum((int64) usage->count));
	ktpg_add_time(&row, usage->last);
	ktpg_add_foreign_text(&row, usage->subject);
	ktpg_add_foreign_text(&row, usage->stream);
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
	KtpgRows	rows;
	KtpgRow		row = {0};

	ktpg_rows_begin(fcinfo, &rows);
	ktpg_check_name(name);
	get_info(ktpg_context(), name, info);
	for (size_t i = 0; i < kt_info_versions(*info); i++)
	{
		const kt_version_t *version = kt_info_version(*info, i);

		ktpg_add_version(&row, version->version);
		ktpg_add_text(&row, version->state);
		ktpg_add_time(&row, version->created);
		ktpg_add_time(&row, version->expires);
		ktpg_rows_end_row(&rows, &row);
	}
	return (Datum) 0;
}
