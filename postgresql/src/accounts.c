/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * accounts.c
 *		The infos of all accounts, read by one call of the library, which is one
 *		line in the audit log.
 */
#include "compat.h"

#include "extension.h"
#include "utils/memutils.h"

typedef struct Reading
{
	KtpgAccounts accounts;		/* the answer */
	MemoryContextCallback callback;
	KtpgAccount **last;
	KtpgSilent **last_silent;
	bool		full;			/* no memory for more */
} Reading;

/* However the memory context ends, the infos are the library's again. */
static void
release(void *arg)
{
	KtpgAccounts *accounts = arg;

	for (KtpgAccount *account = accounts->first; account != NULL; account = account->next)
		kt_info_free(account->info);
	accounts->first = NULL;
}

/* Called while the library holds its lock: no error may be raised here. */
static int
note_found(void *arg, kt_info_t *info)
{
	Reading    *reading = arg;
	KtpgAccount *account = palloc_extended(sizeof(KtpgAccount), MCXT_ALLOC_NO_OOM);

	if (account == NULL)
	{
		kt_info_free(info);
		reading->full = true;
		return 1;
	}
	account->next = NULL;
	account->info = info;
	*reading->last = account;
	reading->last = &account->next;
	return 0;
}

static void
note_failed(void *arg, const char *provider, kt_status_t status, const char *why)
{
	Reading    *reading = arg;
	KtpgSilent *silent = palloc_extended(sizeof(KtpgSilent), MCXT_ALLOC_NO_OOM);

	if (silent == NULL)
	{
		reading->full = true;
		return;
	}
	silent->next = NULL;
	silent->status = status;
	strlcpy(silent->provider, provider, sizeof(silent->provider));
	strlcpy(silent->why, why, sizeof(silent->why));
	*reading->last_silent = silent;
	reading->last_silent = &silent->next;
}

/*
 * Reads the accounts that match a pattern (NULL: all) and that the policy lets
 * the caller see by this capability; with a target only those of which it got a
 * version. They are the current memory context's. An interrupt is raised.
 */
kt_status_t
ktpg_accounts(kt_ctx_t *ctx, const char *pattern, const char *capability, const char *target,
			  bool values, KtpgAccounts **accounts)
{
	kt_states_t states = KT_STATES_INIT;
	Reading    *reading = palloc0(sizeof(Reading));
	kt_request_t req;
	kt_status_t status;

	*accounts = &reading->accounts;
	reading->last = &reading->accounts.first;
	reading->last_silent = &reading->accounts.silent;
	reading->callback.func = release;
	reading->callback.arg = &reading->accounts;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &reading->callback);

	states.capability = capability;
	states.target = target;
	states.values = values;
	states.found = note_found;
	states.failed = note_failed;
	states.arg = reading;
	ktpg_request(&req, pattern);
	if (values)
		req.purpose = "verify";
	status = kt_states(ctx, &req, &states, &reading->accounts.hidden);
	CHECK_FOR_INTERRUPTS();		/* it may be why the library gave up */
	if (reading->full)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("no memory for the list of secrets")));
	return status;
}
