/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * history.c
 *		What was rotated, in the same transaction: keyturn.rotation_history for
 *		those who ask later, and a notification for those who listen now.
 */
#include "compat.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "extension.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* The owner of the table, in whose name a row is inserted: no other role has the right. */
static Oid
history_owner(void)
{
	Oid			relid = get_relname_relid("rotation_history",
										  get_namespace_oid("keyturn", false));
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table keyturn.rotation_history is missing")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static void
insert_row(Datum *values)
{
	static const char query[] =
		"INSERT INTO keyturn.rotation_history"
		" (secret, version, role, action, by_role, session_role, client, xid)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, pg_catalog.pg_current_xact_id())";
	Oid			types[] = {TEXTOID, INT8OID, NAMEOID, TEXTOID, NAMEOID, NAMEOID, TEXTOID};

	SPI_connect();
	if (SPI_execute_with_args(query, lengthof(types), types, values, NULL, false, 0) !=
		SPI_OK_INSERT)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not write to keyturn.rotation_history")));
	SPI_finish();
}

/* Sent with the commit, as NOTIFY does: pools listen, and connect again with the new password. */
static void
notify(const char *name, uint64_t version, const char *role)
{
	StringInfoData payload;

	initStringInfo(&payload);
	appendStringInfoString(&payload, "{\"secret\":");
	escape_json(&payload, name);
	appendStringInfo(&payload, ",\"version\":%llu,\"role\":", (unsigned long long) version);
	escape_json(&payload, role);
	appendStringInfoChar(&payload, '}');
	Async_Notify("keyturn", payload.data);
}

void
ktpg_history_add(const kt_request_t *req, const char *name, uint64_t version,
				 const KtpgRole *role, const char *action)
{
	NameData	target;
	NameData	by;
	NameData	session;
	Oid			userid;
	int			seccontext;
	Datum		values[7];

	namestrcpy(&target, role->name);
	namestrcpy(&by, GetUserNameFromId(GetUserId(), false));
	/* who logged in, also after SET SESSION AUTHORIZATION */
	namestrcpy(&session, GetUserNameFromId(GetAuthenticatedUserId(), false));
	values[0] = CStringGetTextDatum(name);
	values[1] = Int64GetDatum((int64) version);
	values[2] = NameGetDatum(&target);
	values[3] = CStringGetTextDatum(action);
	values[4] = NameGetDatum(&by);
	values[5] = NameGetDatum(&session);
	values[6] = CStringGetTextDatum(req->peer);

	GetUserIdAndSecContext(&userid, &seccontext);
	SetUserIdAndSecContext(history_owner(), seccontext | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	insert_row(values);
	SetUserIdAndSecContext(userid, seccontext);
	notify(name, version, role->name);
}
