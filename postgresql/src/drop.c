/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * drop.c
 *		DROP EXTENSION takes the history along: an event trigger says so.
 *
 * A warning and no refusal, because pg_restore --clean drops extensions without
 * CASCADE. Within a transaction the drop can still be taken back.
 */
#include "compat.h"

#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "extension.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"

KTPG_FUNCTION(keyturn_warn_drop);

static bool
drops_keyturn(Node *tree)
{
	DropStmt   *drop = (DropStmt *) tree;
	ListCell   *cell;

	if (tree == NULL || !IsA(tree, DropStmt) || drop->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, drop->objects)
		if (strcmp(strVal(lfirst(cell)), "keyturn") == 0)
			return true;
	return false;
}

static int64
count_history(void)
{
	bool		isnull = true;
	int64		count = 0;

	SPI_connect();
	if (SPI_execute("SELECT pg_catalog.count(*) FROM keyturn.rotation_history", true, 0) ==
		SPI_OK_SELECT && SPI_processed == 1)
		count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
											&isnull));
	SPI_finish();
	return isnull ? 0 : count;
}

/*
 * keyturn.warn_drop() returns event_trigger
 */
Datum
keyturn_warn_drop(PG_FUNCTION_ARGS)
{
	int64		count;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("keyturn.warn_drop() is called by its event trigger alone")));
	if (!drops_keyturn(((EventTriggerData *) fcinfo->context)->parsetree))
		PG_RETURN_NULL();
	count = count_history();
	if (count > 0)
		ereport(WARNING,
				(errmsg_plural("the history of %lld rotation is dropped with the extension",
							   "the history of %lld rotations is dropped with the extension",
							   (unsigned long) count, (long long) count),
				 errdetail("Roles, secrets and the audit log stay as they are."),
				 errhint("Before it: CREATE TABLE rotation_history AS TABLE keyturn.rotation_history.")));
	PG_RETURN_NULL();
}
