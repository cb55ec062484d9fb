/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rows.c
 *		Rows that a function answers with, filled in from left to right.
 */
#include "compat.h"

#include "extension.h"
#include "mb/pg_wchar.h"
#include "rows.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

void
ktpg_add_datum(KtpgRow *row, bool isnull, Datum value)
{
	row->nulls[row->n] = isnull;
	row->values[row->n++] = isnull ? (Datum) 0 : value;
}

void
ktpg_add_text(KtpgRow *row, const char *text)
{
	ktpg_add_datum(row, text == NULL, text == NULL ? 0 : CStringGetTextDatum(text));
}

/*
 * The same of bytes that other servers wrote; null if they are not text here.
 */
void
ktpg_add_foreign_text(KtpgRow *row, const char *text)
{
	if (text != NULL && !pg_verifymbstr(text, strlen(text), true))
		text = NULL;
	ktpg_add_text(row, text);
}

/*
 * A version; NULL for 0.
 */
void
ktpg_add_version(KtpgRow *row, uint64 version)
{
	ktpg_add_datum(row, version == 0, Int64GetDatum((int64) version));
}

/*
 * A time in ms since 1970; NULL for 0.
 */
void
ktpg_add_time(KtpgRow *row, int64 ms)
{
	ktpg_add_datum(row, ms == 0, TimestampTzGetDatum((ms - KTPG_EPOCH) * 1000));
}

void
ktpg_rows_begin(FunctionCallInfo fcinfo, KtpgRows *rows)
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

void
ktpg_rows_end_row(KtpgRows *rows, KtpgRow *row)
{
	tuplestore_putvalues(rows->store, rows->desc, row->values, row->nulls);
	memset(row, 0, sizeof(*row));
}
