/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * changes.c
 *		generate_secret(), delete_secret(), undelete_secret(): changes of the
 *		store alone, which no role has to learn.
 *
 * They are in the store when the function returns, and no rollback takes them
 * back; so they are refused where a caller might rely on one. No value is an
 * argument or an answer.
 */
#include "compat.h"

#include "access/xact.h"
#include "extension.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#define DEFAULT_LENGTH 32

KTPG_FUNCTION(keyturn_generate_secret);
KTPG_FUNCTION(keyturn_delete_secret);
KTPG_FUNCTION(keyturn_undelete_secret);

static void
check_moment(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	if (IsTransactionBlock() || IsSubTransaction())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s cannot run inside a transaction block or a subtransaction", function),
				 errdetail("It changes the store at once, and a rollback would not take that back."),
				 errhint("Call it as a statement of its own, with autocommit on.")));
}

/* A string of the document, which is not terminated. */
static char *
text_of(const JsonbValue *value)
{
	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the metadata of a secret is an object of strings"),
				 errhint("For example '{\"rotation\": \"90d\"}'.")));
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* The metadata of a document; NULL: there is none. */
static kt_meta_t *
read_metadata(Jsonb *document, size_t *count)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	kt_meta_t  *meta;

	*count = 0;
	if (!JB_ROOT_IS_OBJECT(document))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the metadata of a secret is an object of strings")));
	meta = palloc0((JB_ROOT_COUNT(document) + 1) * sizeof(kt_meta_t));
	iterator = JsonbIteratorInit(&document->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			meta[*count].key = text_of(&value);
		else if (token == WJB_VALUE)
			meta[(*count)++].value = text_of(&value);
	}
	return meta;
}

static kt_secret_t **
generate(int length)
{
	kt_secret_t **value = ktpg_hold_secret();

	if (length < 16 || length > 1024)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a generated value has 16 to 1024 characters")));
	*value = kt_generate(KT_ALPHABET_ALNUM, length);
	if (*value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("no memory for a new value")));
	return value;
}

/*
 * generate_secret(name text, length integer, metadata jsonb) returns bigint
 */
Datum
keyturn_generate_secret(PG_FUNCTION_ARGS)
{
	kt_put_options_t options = KT_PUT_INIT;
	kt_request_t req;
	kt_secret_t **value;
	kt_ctx_t   *ctx;
	kt_status_t status;
	const char *name;
	uint64_t	version;
	TimestampTz since = 0;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	check_moment("generate_secret()");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ktpg_check_name(name);
	if (!PG_ARGISNULL(2))
		options.meta = read_metadata(PG_GETARG_JSONB_P(2), &options.nmeta);
	value = generate(PG_ARGISNULL(1) ? DEFAULT_LENGTH : PG_GETARG_INT32(1));
	options.origin = "generated";
	options.fresh = 1;

	ctx = ktpg_context();
	ktpg_request(&req, name);
	do
		status = kt_put(ctx, &req, *value, &options, &version);
	while (ktpg_wait_for_store(status, &since));
	ktpg_drop_secret(value);
	if (status != KT_SUCCESS)
		ktpg_error(ctx, status, name, "generated");
	PG_RETURN_INT64((int64) version);
}

static Datum
change(FunctionCallInfo fcinfo, kt_status_t (*how) (kt_ctx_t *, const kt_request_t *),
	   const char *function, const char *done)
{
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	kt_request_t req;
	kt_ctx_t   *ctx;
	kt_status_t status;
	TimestampTz since = 0;

	check_moment(function);
	ktpg_check_name(name);
	ctx = ktpg_context();
	ktpg_request(&req, name);
	do
		status = how(ctx, &req);
	while (ktpg_wait_for_store(status, &since));
	if (status != KT_SUCCESS)
		ktpg_error(ctx, status, name, done);
	PG_RETURN_VOID();
}

/*
 * delete_secret(name text) returns void
 */
Datum
keyturn_delete_secret(PG_FUNCTION_ARGS)
{
	return change(fcinfo, kt_delete, "delete_secret()", "deleted");
}

/*
 * undelete_secret(name text) returns void
 */
Datum
keyturn_undelete_secret(PG_FUNCTION_ARGS)
{
	return change(fcinfo, kt_undelete, "undelete_secret()", "undeleted");
}
