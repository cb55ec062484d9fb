/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * role.c
 *		The role whose password a secret holds.
 */
#include "compat.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/pg_authid.h"
#include "extension.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/dest.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* Stands for one that is stored out of line: too large to be compared (scram.c). */
#define VERIFIER_TOO_LARGE "too large"

/* As the policy matches: a star is any text. */
static bool
pattern_matches(const char *pattern, const char *name)
{
	for (; *pattern != '*'; pattern++, name++)
	{
		if (*pattern != *name)
			return false;
		if (*pattern == '\0')
			return true;
	}
	while (*++pattern == '*')
		;
	for (;; name++)
	{
		if (pattern_matches(pattern, name))
			return true;
		if (*name == '\0')
			return false;
	}
}

static void
read_tuple(Relation roles, HeapTuple tuple, KtpgRole *role)
{
	Form_pg_authid form = (Form_pg_authid) GETSTRUCT(tuple);
	Datum		verifier;
	Datum		until;
	bool		isnull;

	role->oid = form->oid;
	role->superuser = form->rolsuper;
	until = heap_getattr(tuple, Anum_pg_authid_rolvaliduntil, RelationGetDescr(roles), &isnull);
	role->may_login = form->rolcanlogin &&
		(isnull || DatumGetTimestampTz(until) > GetCurrentTimestamp());
	strlcpy(role->name, NameStr(form->rolname), sizeof(role->name));
	verifier = heap_getattr(tuple, Anum_pg_authid_rolpassword, RelationGetDescr(roles), &isnull);
	role->verifier = isnull ? NULL :
		VARATT_IS_EXTERNAL(DatumGetPointer(verifier)) ? pstrdup(VERIFIER_TOO_LARGE) :
		TextDatumGetCString(verifier);
}

/*
 * By an index and not by the cache, which fetches a verifier that is stored out
 * of line: a role may give itself one, and the worker, which is connected to no
 * database, would die of that.
 */
static bool
find_by(Oid index, AttrNumber column, RegProcedure equal, Datum value, KtpgRole *role)
{
	Relation	roles = table_open(AuthIdRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, equal, value);
	/* after a crash, a process without a database comes before any that knows the index */
	scan = systable_beginscan(roles, index, criticalSharedRelcachesBuilt, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
		read_tuple(roles, tuple, role);
	systable_endscan(scan);
	table_close(roles, AccessShareLock);
	return found;
}

/*
 * Looks a role up as the catalogue has it now. False if there is none.
 */
bool
ktpg_role_find(const char *name, KtpgRole *role)
{
	NameData	wanted;

	if (strlen(name) >= NAMEDATALEN)
		return false;
	namestrcpy(&wanted, name);
	return find_by(AuthIdRolnameIndexId, Anum_pg_authid_rolname, F_NAMEEQ,
				   NameGetDatum(&wanted), role);
}

/*
 * The same by its OID, which a rename does not change.
 */
bool
ktpg_role_find_oid(Oid oid, KtpgRole *role)
{
	return find_by(AuthIdOidIndexId, Anum_pg_authid_oid, F_OIDEQ, ObjectIdGetDatum(oid), role);
}

/* A group with stars: any role that it matches. */
static bool
has_privs_of_any(Oid user, const char *pattern)
{
	Relation	roles = table_open(AuthIdRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(roles, 0, NULL);
	HeapTuple	tuple;
	bool		has = false;

	while (!has && (tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_authid form = (Form_pg_authid) GETSTRUCT(tuple);

		has = pattern_matches(pattern, NameStr(form->rolname)) && form->oid != user &&
			has_privs_of_role(user, form->oid);
	}
	table_endscan(scan);
	table_close(roles, AccessShareLock);
	return has;
}

/*
 * Has the caller the privileges of a role? The library asks, and an error must
 * not leave it half-way: then it is not known, -1.
 */
int
ktpg_is_member(void *arg, const char *subject, const char *group)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	volatile int answer = -1;

	if (ktpg_is_worker)
		return 0;
	HOLD_INTERRUPTS();
	PG_TRY();
	{
		if (strchr(group, '*') != NULL)
			answer = has_privs_of_any(GetUserId(), group);
		else
		{
			Oid			role = get_role_oid(group, true);

			answer = OidIsValid(role) && has_privs_of_role(GetUserId(), role);
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(oldcontext);
		FlushErrorState();
	}
	PG_END_TRY();
	RESUME_INTERRUPTS();
	return answer;
}

/*
 * Refuses what no policy should be able to grant. That the caller may change
 * this role's password at all is for ALTER ROLE to say.
 */
void
ktpg_role_check(const KtpgRole *role)
{
	if (role->oid == BOOTSTRAP_SUPERUSERID && !ktpg_allow_bootstrap)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the password of role \"%s\" is not rotated by keyturn", role->name),
				 errdetail("It is the role that initdb created, and keyturn.allow_bootstrap is off."),
				 errhint("A superuser may set keyturn.allow_bootstrap = on.")));
	if (role->superuser && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to rotate the password of superuser \"%s\"",
						role->name)));
}

/*
 * Refuses a caller whom ALTER ROLE would not let change this role's password:
 * for what needs the same right and does not run it.
 */
void
ktpg_role_check_alter(const KtpgRole *role)
{
	Oid			user = GetUserId();

	if (role->oid != user &&
		!(has_createrole_privilege(user) && KtpgIsAdminOf(user, role->oid)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to alter the password of role \"%s\"", role->name)));
}

/*
 * Locks the role against rotations in any database of the cluster, and against
 * DROP ROLE, until the transaction ends; then reads it again.
 */
void
ktpg_role_lock(KtpgRole *role)
{
	Oid			oid = role->oid;

	LockSharedObject(AuthIdRelationId, oid, 0, ShareUpdateExclusiveLock);
	if (!ktpg_role_find(role->name, role) || role->oid != oid)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" was dropped meanwhile", role->name)));
}

void
ktpg_role_unlock(const KtpgRole *role)
{
	UnlockSharedObject(AuthIdRelationId, role->oid, 0, ShareUpdateExclusiveLock);
}

/* ALTER ROLE takes no such lock, so one of another session may still come between: say so. */
static void
rethrow(MemoryContext oldcontext, const KtpgRole *role)
{
	ErrorData  *error;

	MemoryContextSwitchTo(oldcontext);
	error = CopyErrorData();
	if (error->sqlerrcode != ERRCODE_INTERNAL_ERROR ||
		strncmp(error->message, "tuple concurrently", strlen("tuple concurrently")) != 0)
		PG_RE_THROW();
	FlushErrorState();
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("role \"%s\" was altered concurrently", role->name),
			 errhint("Try again.")));
}

/*
 * ALTER ROLE ... PASSWORD 'verifier', with the caller's rights.
 *
 * A tree made by hand, and ProcessUtility as if at top level: the checks and
 * hooks of a real ALTER ROLE see it (pgaudit logs it), while the text that
 * logs, statistics and error contexts may quote has no verifier in it.
 */
void
ktpg_role_alter(const KtpgRole *role, const char *verifier)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	AlterRoleStmt *stmt = makeNode(AlterRoleStmt);
	PlannedStmt *pstmt = makeNode(PlannedStmt);
	RoleSpec   *spec = makeNode(RoleSpec);
	char	   *text = psprintf("ALTER ROLE %s PASSWORD <REDACTED>",
								quote_identifier(role->name));

	spec->roletype = ROLESPEC_CSTRING;
	spec->rolename = pstrdup(role->name);
	spec->location = -1;
	stmt->role = spec;
	stmt->action = +1;
	stmt->options = list_make1(makeDefElem(pstrdup("password"),
										   (Node *) makeString(pstrdup(verifier)), -1));
	pstmt->commandType = CMD_UTILITY;
	pstmt->utilityStmt = (Node *) stmt;
	pstmt->stmt_location = -1;

	PG_TRY();
	{
		KtpgProcessUtility(pstmt, text, None_Receiver);
	}
	PG_CATCH();
	{
		rethrow(oldcontext, role);
	}
	PG_END_TRY();
	CommandCounterIncrement();
}

/*
 * What this cluster is called as the target of a rotation: by its system
 * identifier, which a promoted standby keeps.
 */
const char *
ktpg_target(void)
{
	static char text[sizeof("postgresql:") + 20];

	snprintf(text, sizeof(text), "postgresql:" UINT64_FORMAT, GetSystemIdentifier());
	return text;
}
