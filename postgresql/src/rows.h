/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rows.h
 *		Rows that a function answers with, filled in from left to right.
 */
#ifndef KEYTURN_ROWS_H
#define KEYTURN_ROWS_H

#include "compat.h"

#include "funcapi.h"
#include "utils/tuplestore.h"

/* A row being filled in. */
typedef struct KtpgRow
{
	int			n;
	Datum		values[16];
	bool		nulls[16];
} KtpgRow;

/* An answer of several rows. */
typedef struct KtpgRows
{
	TupleDesc	desc;
	Tuplestorestate *store;
} KtpgRows;

extern void ktpg_add_datum(KtpgRow *row, bool isnull, Datum value);
extern void ktpg_add_text(KtpgRow *row, const char *text);
extern void ktpg_add_foreign_text(KtpgRow *row, const char *text);
extern void ktpg_add_version(KtpgRow *row, uint64 version);
extern void ktpg_add_time(KtpgRow *row, int64 ms);

extern void ktpg_rows_begin(FunctionCallInfo fcinfo, KtpgRows *rows);
extern void ktpg_rows_end_row(KtpgRows *rows, KtpgRow *row);

#endif							/* KEYTURN_ROWS_H */
