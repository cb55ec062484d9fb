/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tasks.c
 *		What backends ask background processes for, in shared memory.
 *
 * A task is a flag: asking twice is asking once. Each task has a process that
 * does it. A backend that sets a flag which was clear also sets the latch of
 * that process, after it has released the spinlock. The process resets its latch
 * first and reads the flag afterwards, so a task that is requested in between
 * wakes it again, and none is lost.
 *
 * Without shared_preload_libraries there is neither shared memory nor such a
 * process, and requests go nowhere: the next rotate_secret() ends what is left,
 * and a backend writes its own audit records.
 */
#include "compat.h"

#include "extension.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

typedef struct TasksShared
{
	slock_t		mutex;
	Latch	   *latch[KTPG_TASKS];	/* stays valid memory after its process exits */
	bool		requested[KTPG_TASKS];
	TimestampTz since[KTPG_TASKS];	/* of a request */
} TasksShared;

static TasksShared *shared = NULL;
static shmem_startup_hook_type previous_startup = NULL;

#ifdef KTPG_SHMEM_REQUEST_HOOK
static shmem_request_hook_type previous_request = NULL;

static void
request_memory(void)
{
	if (previous_request != NULL)
		previous_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(TasksShared)));
}
#endif

static void
attach_memory(void)
{
	bool		found;

	if (previous_startup != NULL)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("keyturn tasks", sizeof(TasksShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(TasksShared));
		SpinLockInit(&shared->mutex);
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * Asks the postmaster for the memory, while the library is preloaded.
 */
void
ktpg_tasks_init(void)
{
#ifdef KTPG_SHMEM_REQUEST_HOOK
	previous_request = shmem_request_hook;
	shmem_request_hook = request_memory;
#else
	RequestAddinShmemSpace(MAXALIGN(sizeof(TasksShared)));
#endif
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = attach_memory;
}

/*
 * Asks for a task. Raises no error. False: no process does it at present, or
 * none has for KTPG_TASK_PATIENCE.
 */
bool
ktpg_task_request(KtpgTask task)
{
	TimestampTz now = GetCurrentTimestamp();
	Latch	   *latch;
	bool		asked;
	bool		served;

	if (shared == NULL)
		return false;
	SpinLockAcquire(&shared->mutex);
	latch = shared->latch[task];
	asked = shared->requested[task];
	if (!asked || now < shared->since[task])
		shared->since[task] = now;
	shared->requested[task] = true;
	served = latch != NULL &&
		now - shared->since[task] < KTPG_TASK_PATIENCE * INT64CONST(1000);
	SpinLockRelease(&shared->mutex);
	if (latch != NULL && !asked)
		SetLatch(latch);
	return served;
}

/*
 * Is this task requested? With take it is the caller's to do, and no longer
 * requested.
 */
bool
ktpg_task_requested(KtpgTask task, bool take)
{
	bool		requested;

	if (shared == NULL)
		return false;
	SpinLockAcquire(&shared->mutex);
	requested = shared->requested[task];
	if (take)
		shared->requested[task] = false;
	SpinLockRelease(&shared->mutex);
	return requested;
}

/*
 * The latch of the process that does a task; NULL while it cannot.
 */
void
ktpg_task_serve(KtpgTask task, Latch *latch)
{
	if (shared == NULL)
		return;
	SpinLockAcquire(&shared->mutex);
	shared->latch[task] = latch;
	SpinLockRelease(&shared->mutex);
}
