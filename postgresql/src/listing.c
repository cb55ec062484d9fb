/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listing.c
 *		A list of secrets, copied out of the library.
 */
#include "compat.h"

#include "extension.h"

typedef struct Listing
{
	KtpgListed *first;
	KtpgListed **last;
	bool		full;			/* no memory for more */
} Listing;

/* Called while the library holds its lock: no error may be raised here. */
static int
copy_entry(void *arg, const kt_entry_t *entry)
{
	Listing    *listing = arg;
	KtpgListed *listed = palloc_extended(sizeof(KtpgListed), MCXT_ALLOC_NO_OOM);

	if (listed == NULL)
	{
		listing->full = true;
		return 1;
	}
	listed->next = NULL;
	listed->entry = *entry;
	strlcpy(listed->state, entry->state, sizeof(listed->state));
	strlcpy(listed->name, entry->name, sizeof(listed->name));
	*listing->last = listed;
	listing->last = &listed->next;
	return 0;
}

/*
 * The secrets that match a pattern (NULL: all) and that the caller may list, in
 * the current memory context. *hidden counts those whose key is not held.
 */
kt_status_t
ktpg_list(kt_ctx_t *ctx, const char *pattern, KtpgListed **first, uint64_t *hidden)
{
	Listing		listing = {NULL, &listing.first, false};
	kt_request_t req;
	kt_status_t status;

	ktpg_request(&req, pattern);
	status = kt_list(ctx, &req, copy_entry, &listing, hidden);
	if (listing.full)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("no memory for the list of secrets")));
	*first = listing.first;
	return status;
}
