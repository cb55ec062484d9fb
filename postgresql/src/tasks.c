/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tasks.c
 *		What backends ask the worker for, in shared memory.
 *
 * A task is a flag: asking twice is asking once. A backend that sets a flag
 * which was clear also sets the worker's latch, after it has released the
 * spinlock. The worker resets its latch first and reads the flags afterwards,
 * so a task that is requested in between wakes it again, and none is lost.
 *
 * Without shared_preload_libraries there is neither shared memory nor a worker,
 * and requests go nowhere: the next rotate_secret() ends what is left.
 */
#include "compat.h"

#include "extension.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"

typedef struct TasksShared
{
	slock_t		mutex;
	Latch	   *latch;			/* of the worker; stays valid memory after it exits */
	bool		requested[KTPG_TASKS];
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
	shared = ShmemInitStruct("keyturn worker", sizeof(TasksShared), &found);
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
 * Asks the worker for a task. Raises no error.
 */
void
ktpg_task_request(KtpgTask task)
{
	Latch	   *latch = NULL;

	if (shared == NULL)
		return;
	SpinLockAcquire(&shared->mutex);
	if (!shared->requested[task])
		latch = shared->latch;
	shared->requested[task] = true;
	SpinLockRelease(&shared->mutex);
	if (latch != NULL)
		SetLatch(latch);
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
 * The latch of the worker, NULL when it exits.
 */
void
ktpg_tasks_latch(Latch *latch)
{
	if (shared == NULL)
		return;
	SpinLockAcquire(&shared->mutex);
	shared->latch = latch;
	SpinLockRelease(&shared->mutex);
}
