/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * error.c
 *		Statuses of keyturn to SQLSTATEs, in one table.
 */
#include "compat.h"

#include "extension.h"

static const struct
{
	kt_status_t status;
	int			sqlstate;
	const char *hint;
}			ktpg_errors[] =
{
	{KT_NOTFOUND, ERRCODE_UNDEFINED_OBJECT, NULL},	/* 42704 */
	{KT_GONE, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, NULL},	/* 55000 */
	/* not class 28, which drivers take for a failed login of their own */
	{KT_FORBIDDEN, ERRCODE_IO_ERROR, NULL},	/* 58030 */
	{KT_UNAVAIL, ERRCODE_SYSTEM_ERROR, NULL},	/* 58000 */
	{KT_TRYAGAIN, ERRCODE_LOCK_NOT_AVAILABLE, "Try again."},	/* 55P03 */
	{KT_MALFORMED, ERRCODE_DATA_CORRUPTED, NULL},	/* XX001 */
	{KT_CONFLICT, ERRCODE_OBJECT_IN_USE, NULL}, /* 55006 */
	{KT_NOSPACE, ERRCODE_DISK_FULL, NULL},	/* 53100 */
	{KT_DENIED, ERRCODE_INSUFFICIENT_PRIVILEGE, /* 42501 */
	"The policy of the keyturn configuration decides who may do this."},
	{KT_AUDIT, ERRCODE_IO_ERROR, NULL}, /* 58030 */
	{KT_NOKEY, ERRCODE_CONFIG_FILE_ERROR, NULL},	/* F0000 */
	{KT_WRONGKEY, ERRCODE_CONFIG_FILE_ERROR, NULL},
	{KT_ROLLEDBACK, ERRCODE_DATA_CORRUPTED, NULL},
	{KT_USAGE, ERRCODE_INVALID_PARAMETER_VALUE, NULL},	/* 22023 */
	{KT_TOOLARGE, ERRCODE_PROGRAM_LIMIT_EXCEEDED, NULL},	/* 54000 */
	{KT_CONFIG, ERRCODE_CONFIG_FILE_ERROR, NULL},
	{KT_PERMISSION, ERRCODE_CONFIG_FILE_ERROR, NULL},
	{KT_MOVED, ERRCODE_DATA_CORRUPTED, NULL},
	{KT_INTERNAL, ERRCODE_INTERNAL_ERROR, NULL} /* XX000 */
};

static int
find_error(kt_status_t status)
{
	for (int i = 0; i < (int) lengthof(ktpg_errors); i++)
		if (ktpg_errors[i].status == status)
			return i;
	return lengthof(ktpg_errors) - 1;
}

/* Refuses what is not a name without repeating it: it may be a value, passed by mistake. */
void
ktpg_check_name(const char *name)
{
	const char *why = "";

	if (kt_name_check(name, 0, &why) != KT_SUCCESS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid name of a secret: %s", why)));
}

int
ktpg_sqlstate(kt_status_t status)
{
	return ktpg_errors[find_error(status)].sqlstate;
}

/*
 * Raises what a call on `ctx` answered for the secret `name`; `done` says what
 * could not be done ("rotated"). The library's own text may name files of the
 * server, so only the log and superusers get it.
 */
void
ktpg_error(kt_ctx_t *ctx, kt_status_t status, const char *name, const char *done)
{
	int			i = find_error(status);
	const char *why = pstrdup(kt_error(ctx));

	CHECK_FOR_INTERRUPTS();		/* it may be why the library gave up */

	ereport(ERROR,
			(errcode(ktpg_errors[i].sqlstate),
			 errmsg("secret \"%s\" could not be %s: %s", name, done, kt_status_name(status)),
			 why[0] == '\0' ? 0 :
			 superuser() ? errdetail("%s.", why) : errdetail_log("%s.", why),
			 ktpg_errors[i].hint == NULL ? 0 : errhint("%s", ktpg_errors[i].hint)));
	pg_unreachable();
}

/*
 * The same of a field of the value. If the value is a connection URI that is not
 * encoded right, the error names the part and does not show it.
 */
void
ktpg_value_error(kt_ctx_t *ctx, kt_status_t status, const char *name, const char *done)
{
	if (status != KT_USAGE)
		ktpg_error(ctx, status, name, done);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("secret \"%s\" could not be %s: its connection URI is malformed", name, done),
			 errdetail("%s.", kt_error(ctx)),
			 errhint("Set it again; a percent sign itself is %%25 in a URI.")));
	pg_unreachable();
}
