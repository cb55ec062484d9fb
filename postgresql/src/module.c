/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * module.c
 *		Loading the library.
 */
#include "compat.h"

#include "extension.h"

KTPG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	ktpg_settings_init();
	ktpg_commit_init();
	if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade)
	{
		ktpg_tasks_init();
		ktpg_worker_register();
		ktpg_sweeper_register();
	}
}
