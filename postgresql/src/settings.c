/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings.c
 *		The settings in postgresql.conf.
 */
#include "compat.h"

#include "extension.h"
#include "datatype/timestamp.h"

/* Where the configuration of keyturn is; a statement reads it again if it has changed. */
char	   *ktpg_config = NULL;

/* The database in which due rotations are made; roles are the whole cluster's, so any will do. */
char	   *ktpg_database = NULL;

/* How often the worker looks for rotations that were interrupted, in seconds. */
int			ktpg_reconcile_interval = 60;

/* Whether the worker has due rotations made, in keyturn.database. */
bool		ktpg_rotate_due_on = false;

/* How long an interrupted rotation's password is kept that no role has, in seconds. */
int			ktpg_keep_abandoned = 7 * SECS_PER_DAY;

/* The addresses by which clients reach this server (addresses.c). */
char	   *ktpg_addresses = NULL;

/* May the role that initdb created be rotated? */
bool		ktpg_allow_bootstrap = false;

/* The point at which a test stops a backend (debug.c). */
char	   *ktpg_debug_stop = NULL;

/*
 * Defines the settings, when the library is loaded.
 */
void
ktpg_settings_init(void)
{
	DefineCustomStringVariable("keyturn.config",
							   "Path of the keyturn configuration file.",
							   "Empty means /etc/keyturn/keyturn.yaml. "
							   "A statement reads the file again if it has changed.",
							   &ktpg_config, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("keyturn.database",
							   "Database in which due rotations are made.",
							   "The extension has to be there, which keeps their history.",
							   &ktpg_database, "postgres", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomIntVariable("keyturn.reconcile_interval",
							"Time between two looks for interrupted rotations.",
							NULL,
							&ktpg_reconcile_interval, 60, 1, 86400, PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("keyturn.rotate_due",
							 "Whether the keyturn worker has due rotations made.",
							 "As CALL keyturn.rotate_due() does, in keyturn.database.",
							 &ktpg_rotate_due_on, false, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("keyturn.keep_abandoned",
							"Time for which the password of an abandoned rotation is kept.",
							NULL,
							&ktpg_keep_abandoned, 7 * SECS_PER_DAY, 0, 365 * SECS_PER_DAY,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomStringVariable("keyturn.addresses",
							   "Addresses by which clients reach this server, HOST:PORT, ...",
							   "A secret with another one is rotated with a warning. "
							   "Empty means what the server listens on.",
							   &ktpg_addresses, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   ktpg_addresses_valid, NULL, NULL);
	DefineCustomBoolVariable("keyturn.allow_bootstrap",
							 "Whether the password of the role that initdb created may be rotated.",
							 NULL,
							 &ktpg_allow_bootstrap, false, PGC_SUSET, GUC_SUPERUSER_ONLY,
							 NULL, NULL, NULL);
#ifdef KT_DEBUG_HOOKS
	DefineCustomStringVariable("keyturn.debug_stop",
							   "Point at which a backend stops, for tests.",
							   NULL,
							   &ktpg_debug_stop, "", PGC_SUSET,
							   GUC_SUPERUSER_ONLY | GUC_NOT_IN_SAMPLE,
							   NULL, NULL, NULL);
#endif
	KtpgReserveGuc("keyturn");
}
