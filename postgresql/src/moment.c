/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * moment.c
 *		Where a rotation cannot be made whole.
 */
#include "compat.h"

#include "access/parallel.h"
#include "access/transam.h"
#include "access/xact.h"
#include "extension.h"

/*
 * Raises an error unless a new version can be published with the commit of this
 * very statement. `function` is for the message: "rotate_secret()".
 */
void
ktpg_check_moment(const char *function)
{
	PreventCommandDuringRecovery(function);
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	if (IsTransactionBlock() || IsSubTransaction() || KtpgPipelining())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s cannot run inside a transaction block or a subtransaction", function),
				 errdetail("The new version is published when the transaction commits, "
						   "and the role stays locked until then."),
				 errhint("Call it as a statement of its own, with autocommit on.")));
	/* in a pipeline, the statements that follow are another transaction */
	KtpgCommitImmediately();
}
