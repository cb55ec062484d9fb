/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alike.c
 *		Can one role stand in for another?
 *
 * It can if it is a member of the same roles by the same options and has the
 * same attributes: then it may do the same, as long as privileges are granted to
 * roles that both are members of. Different settings (ALTER ROLE ... SET) are
 * only warned of.
 */
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_db_role_setting.h"
#include "extension.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* ---- attributes ---- */

#define ATTRIBUTES 6

static const char *const attribute_names[ATTRIBUTES] = {
	"SUPERUSER", "INHERIT", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS"
};

static void
read_attributes(Oid oid, bool attributes[ATTRIBUTES], int *limit)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(oid));
	Form_pg_authid form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "there is no role with OID %u", oid);
	form = (Form_pg_authid) GETSTRUCT(tuple);
	attributes[0] = form->rolsuper;
	attributes[1] = form->rolinherit;
	attributes[2] = form->rolcreaterole;
	attributes[3] = form->rolcreatedb;
	attributes[4] = form->rolreplication;
	attributes[5] = form->rolbypassrls;
	*limit = form->rolconnlimit;
	ReleaseSysCache(tuple);
}

/* ---- memberships ---- */

#define MEMBER_ADMIN	1
#define MEMBER_INHERIT	2
#define MEMBER_SET		4

typedef struct Membership
{
	Oid			role;
	int			options;
} Membership;

/* From 16 on, a membership may be granted by several roles: what counts is their sum. */
static Membership *
read_memberships(Oid member, Oid leave_out, int *count)
{
	CatCList   *list = SearchSysCacheList1(AUTHMEMMEMROLE, ObjectIdGetDatum(member));
	Membership *found = palloc((list->n_members + 1) * sizeof(Membership));
	int			n = 0;

	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_auth_members form =
			(Form_pg_auth_members) GETSTRUCT(&list->members[i]->tuple);
		int			options = form->admin_option ? MEMBER_ADMIN : 0;
		int			at = 0;

#if PG_VERSION_NUM >= 160000
		options |= (form->inherit_option ? MEMBER_INHERIT : 0) |
			(form->set_option ? MEMBER_SET : 0);
#endif
		if (form->roleid == leave_out)
			continue;
		while (at < n && found[at].role != form->roleid)
			at++;
		if (at == n)
			found[n++] = (Membership) {form->roleid, 0};
		found[at].options |= options;
	}
	ReleaseSysCacheList(list);
	*count = n;
	return found;
}

static const Membership *
find_membership(const Membership *list, int count, Oid role)
{
	for (int i = 0; i < count; i++)
		if (list[i].role == role)
			return &list[i];
	return NULL;
}

static void
add_text(StringInfo text, const char *format, const char *name)
{
	if (text->len > 0)
		appendStringInfoString(text, ", ");
	appendStringInfo(text, format, name);
}

/* What of `mine` the other role has not. */
static void
compare_memberships(const Membership *mine, int nmine, const Membership *others, int nothers,
					const char *format, bool options, StringInfo text)
{
	for (int i = 0; i < nmine; i++)
	{
		const Membership *other = find_membership(others, nothers, mine[i].role);

		if (other == NULL)
			add_text(text, format, GetUserNameFromId(mine[i].role, false));
		else if (options && other->options != mine[i].options)
			add_text(text, "by other options a member of \"%s\"",
					 GetUserNameFromId(mine[i].role, false));
	}
}

/* ---- settings ---- */

/* What ALTER ROLE ... SET has set, in one database or in all: "DATABASE NAME=VALUE". */
static List *
read_settings(Oid role)
{
	Relation	relation = table_open(DbRoleSettingRelationId, AccessShareLock);
	List	   *list = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_db_role_setting_setrole, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(role));
	scan = systable_beginscan(relation, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_db_role_setting form = (Form_pg_db_role_setting) GETSTRUCT(tuple);
		bool		isnull;
		Datum		settings = heap_getattr(tuple, Anum_pg_db_role_setting_setconfig,
											RelationGetDescr(relation), &isnull);
		Datum	   *elements;
		int			count;

		if (isnull)
			continue;
		deconstruct_array(DatumGetArrayTypeP(settings), TEXTOID, -1, false, TYPALIGN_INT,
						  &elements, NULL, &count);
		for (int i = 0; i < count; i++)
			list = lappend(list, psprintf("%u %s", form->setdatabase,
										  TextDatumGetCString(elements[i])));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return list;
}

static bool
has_setting(List *list, const char *setting)
{
	ListCell   *cell;

	foreach(cell, list)
		if (strcmp(lfirst(cell), setting) == 0)
			return true;
	return false;
}

/* The names of the settings in `mine` that are not in `others`. */
static void
compare_settings(List *mine, List *others, StringInfo text)
{
	ListCell   *cell;

	foreach(cell, mine)
	{
		const char *setting = lfirst(cell);
		const char *name = strchr(setting, ' ') + 1;

		if (!has_setting(others, setting))
			add_text(text, "%s", pnstrdup(name, strcspn(name, "=")));
	}
}

static void
warn_of_settings(const KtpgRole *in_use, const KtpgRole *next, bool limits)
{
	List	   *mine = read_settings(in_use->oid);
	List	   *others = read_settings(next->oid);
	StringInfoData text;

	initStringInfo(&text);
	compare_settings(mine, others, &text);
	if (text.len == 0)
		compare_settings(others, mine, &text);
	if (limits)
		add_text(&text, "%s", "CONNECTION LIMIT");
	if (text.len > 0)
		ereport(WARNING,
				(errmsg("role \"%s\" has other settings than role \"%s\", whose place it takes",
						next->name, in_use->name),
				 errdetail("%s.", text.data)));
}

/* ---- all of it ---- */

/*
 * Raises an error unless the role `next` may do what `in_use` may.
 */
void
ktpg_check_alike(const KtpgRole *in_use, const KtpgRole *next)
{
	bool		mine[ATTRIBUTES];
	bool		others[ATTRIBUTES];
	int			limit;
	int			other_limit;
	int			count;
	int			other_count;
	Membership *groups = read_memberships(in_use->oid, next->oid, &count);
	Membership *other_groups = read_memberships(next->oid, in_use->oid, &other_count);
	StringInfoData text;

	initStringInfo(&text);
	compare_memberships(groups, count, other_groups, other_count, "not a member of \"%s\"", true,
						&text);
	compare_memberships(other_groups, other_count, groups, count, "a member of \"%s\"", false,
						&text);
	read_attributes(in_use->oid, mine, &limit);
	read_attributes(next->oid, others, &other_limit);
	for (int i = 0; i < ATTRIBUTES; i++)
		if (mine[i] != others[i])
			add_text(&text, mine[i] ? "not %s" : "%s", attribute_names[i]);
	if (text.len > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" cannot take the place of role \"%s\"", next->name,
						in_use->name),
				 errdetail("Unlike the other one, it is %s.", text.data),
				 errhint("Make them alike by GRANT, REVOKE and ALTER ROLE, then try again.")));
	warn_of_settings(in_use, next, limit != other_limit);
}
