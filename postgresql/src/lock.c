/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lock.c
 *		What one backend of the cluster does at a time.
 *
 * Locks like pg_advisory_xact_lock()'s, so that waiting can be cancelled, obeys
 * lock_timeout and is seen in pg_locks, but in the key space of no database. All
 * are released by the end of the transaction, after its callbacks have run.
 */
#include "compat.h"

#include "common/hashfn.h"
#include "extension.h"
#include "storage/lock.h"
#include "utils/inval.h"

/* field 4 of pg_advisory_lock() is 1 or 2 */
#define SECRET_LOCK_CLASS	0x4b54
#define STORE_LOCK_CLASS	0x4b55

static void
secret_tag(LOCKTAG *tag, const char *name)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) name, strlen(name), 0);

	SET_LOCKTAG_ADVISORY(*tag, InvalidOid, (uint32) (hash >> 32), (uint32) hash,
						 SECRET_LOCK_CLASS);
}

/* One rotation of a secret at a time. */
bool
ktpg_secret_lock(const char *name, bool wait)
{
	LOCKTAG		tag;

	secret_tag(&tag, name);
	if (LockAcquire(&tag, ExclusiveLock, false, !wait) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages();
	return true;
}

/*
 * The same for a rotation in several transactions. The caller releases it, also
 * after an error; the end of the session does, too.
 */
void
ktpg_secret_lock_session(const char *name)
{
	LOCKTAG		tag;

	secret_tag(&tag, name);
	(void) LockAcquire(&tag, ExclusiveLock, true, false);
	AcceptInvalidationMessages();
}

void
ktpg_secret_unlock_session(const char *name)
{
	LOCKTAG		tag;

	secret_tag(&tag, name);
	(void) LockRelease(&tag, ExclusiveLock, true);
}

static void
store_tag(LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, InvalidOid, 0, 0, STORE_LOCK_CLASS);
}

/*
 * One rotation at a time writes to the store, whose own lock knows no queue and
 * cannot be waited for without limit. Nothing else may be waited for while it is
 * held, so it is the last lock of a transaction.
 */
void
ktpg_store_lock(void)
{
	LOCKTAG		tag;

	store_tag(&tag);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

void
ktpg_store_unlock(void)
{
	LOCKTAG		tag;

	store_tag(&tag);
	LockRelease(&tag, ExclusiveLock, false);
}
