/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * extension.h
 *		What the files of the extension know of each other. No two of them
 *		call each other, neither directly nor by way of a third.
 *
 *		module.c	start-up
 *		settings.c	the settings in postgresql.conf
 *		context.c	the keyturn context of this process, who asks
 *		tasks.c		what backends ask background processes for
 *		error.c		statuses to SQLSTATEs
 *		role.c		the role: finding, locking, changing its verifier
 *		scram.c		verifiers without a palloc'd copy of the password
 *		moment.c	where a rotation cannot be made whole
 *		user.c		which role a secret is the password of, and the password
 *		addresses.c	whether clients connect to this server
 *		look.c		how a change of a secret begins, a look at one, a version of a role
 *		owner.c		whose a secret is
 *		drop.c		says what DROP EXTENSION takes along
 *		changes.c	generate_secret(), delete_secret(), undelete_secret()
 *		procedure.c	keyturn.rotate(), a rotation in several transactions
 *		alike.c		can one role stand in for another?
 *		alternate.c	two roles that take turns as the user of a secret
 *		rotate.c	rotate_secret() and rollback_secret()
 *		adopt.c		adopt_secret()
 *		repair.c	keyturn.repair()
 *		commit.c	what happens to a rotation when its transaction ends
 *		hold.c		memory of the library that an error must not leave behind
 *		lock.c		what one backend of the cluster does at a time
 *		history.c	the table of what was rotated
 *		proof.c		what a rotation notes, and what its notes prove
 *		reconcile.c	what became of a rotation that was interrupted
 *		background.c	how background processes are described, and begin
 *		worker.c	the background worker that asks this
 *		sweeper.c	the background process that writes what backends record
 *		listing.c	a list of secrets, copied out of the library
 *		accounts.c	the infos of all accounts, read as one line of the audit log
 *		due.c		CALL keyturn.rotate_due(): what is due, each in its own transaction
 *		due_worker.c	the same in a background process
 *		rows.c		rows that a function answers with
 *		states.c	keyturn.rotation_states()
 *		metadata.c	list_secrets() and its kin, get_secret()
 *		debug.c		named points at which a test stops or kills a backend
 *
 * No value of a secret is in palloc'd memory, a message or a query text; the
 * exceptions are get_secret(), whose answer it is, and a password that is not
 * ASCII, which only PostgreSQL can prepare (scram.c).
 */
#ifndef KEYTURN_EXTENSION_H
#define KEYTURN_EXTENSION_H

#include "compat.h"

#include "datatype/timestamp.h"
#include "keyturn.h"
#include "postmaster/bgworker.h"

/* The notes that a rotation leaves with the version it makes; the core's own says which target. */
#define KTPG_NOTE_TARGET	"target"
#define KTPG_NOTE_VERIFIER	"postgresql.verifier"
#define KTPG_NOTE_ROLE		"postgresql.role"
#define KTPG_NOTE_ROLE_OID	"postgresql.oid"
#define KTPG_NOTE_XID		"postgresql.xid"
#define KTPG_NOTE_WAL		"postgresql.wal"	/* timeline, and what of it was flushed */
#define KTPG_NOTE_PLACE		"postgresql.place"	/* the data directory */
#define KTPG_NOTE_REPLACED	"keyturn.replaced"	/* the version that the role had before */

/* How long a commit may wait for the store; the worker takes over afterwards. */
#define KTPG_COMMIT_DEADLINE 200	/* ms */

/* PostgreSQL's epoch in the library's time, milliseconds since 1970. */
#define KTPG_EPOCH \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000)

/* Bytes of a verifier with our salt and iterations, its NUL included. */
#define KTPG_VERIFIER_SIZE	160

/* settings.c */
extern char *ktpg_config;
extern char *ktpg_database;
extern int	ktpg_reconcile_interval;
extern bool ktpg_rotate_due_on;
extern int	ktpg_keep_abandoned;
extern char *ktpg_addresses;
extern bool ktpg_allow_bootstrap;
extern char *ktpg_debug_stop;

extern void ktpg_settings_init(void);

/* tasks.c */
typedef enum KtpgTask
{
	KTPG_TASK_LOOK,				/* look at all secrets: a rotation was not ended */
	KTPG_TASK_SWEEP,			/* write the audit records of all backends down */
	KTPG_TASKS
} KtpgTask;

struct Latch;

/* How long a task may wait before its process is taken for stuck. */
#define KTPG_TASK_PATIENCE	2500	/* ms */

extern void ktpg_tasks_init(void);
extern bool ktpg_task_request(KtpgTask task);
extern bool ktpg_task_requested(KtpgTask task, bool take);
extern void ktpg_task_serve(KtpgTask task, struct Latch *latch);

/* context.c */
extern bool ktpg_is_worker;

extern kt_ctx_t *ktpg_context(void);
extern void ktpg_context_keep(bool keep);
extern bool ktpg_flush_trail(bool all_processes);
extern int64 ktpg_forward_trail(void);
extern void ktpg_end_trail(bool committing);
extern void ktpg_request(kt_request_t *req, const char *reference);
extern int64 ktpg_now(void);
extern bool ktpg_wait_for_store(kt_status_t status, TimestampTz *since);

/* hold.c */
extern kt_secret_t **ktpg_hold_secret(void);
extern kt_info_t **ktpg_hold_info(void);
extern kt_rotation_t **ktpg_hold_rotation(void);
extern void ktpg_drop_secret(kt_secret_t **secret);

/* error.c */
extern void ktpg_check_name(const char *name);
extern int	ktpg_sqlstate(kt_status_t status);
extern KTPG_NORETURN void ktpg_error(kt_ctx_t *ctx, kt_status_t status, const char *name,
									 const char *done);
extern KTPG_NORETURN void ktpg_value_error(kt_ctx_t *ctx, kt_status_t status, const char *name,
										   const char *done);

/* role.c */
typedef struct KtpgRole
{
	Oid			oid;
	bool		superuser;
	bool		may_login;		/* LOGIN, and not expired */
	char		name[NAMEDATALEN];
	char	   *verifier;		/* rolpassword as it stands, NULL if none */
} KtpgRole;

extern bool ktpg_role_find(const char *name, KtpgRole *role);
extern int	ktpg_is_member(void *arg, const char *subject, const char *group);
extern bool ktpg_role_find_oid(Oid oid, KtpgRole *role);
extern void ktpg_role_check(const KtpgRole *role);
extern void ktpg_role_check_alter(const KtpgRole *role);
extern void ktpg_role_lock(KtpgRole *role);
extern void ktpg_role_unlock(const KtpgRole *role);
extern void ktpg_role_alter(const KtpgRole *role, const char *verifier);
extern const char *ktpg_target(void);

/* moment.c */
extern void ktpg_check_moment(const char *function);

/* user.c */
extern void ktpg_role_of_secret(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name,
								const char *done, KtpgRole *role);
extern bool ktpg_role_named(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name,
							const char *done, KtpgRole *role);
extern bool ktpg_user_is(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name,
						 const char *done, const KtpgRole *role);
extern kt_status_t ktpg_password_at(kt_rotation_t *rotation, uint64_t version,
									kt_secret_t **password);
extern kt_status_t ktpg_password_old(kt_rotation_t *rotation, kt_secret_t **password);

/* addresses.c */
extern bool ktpg_addresses_valid(char **text, void **extra, GucSource source);
extern void ktpg_addresses_check(kt_rotation_t *rotation, const char *name);

/* look.c */
extern void ktpg_begin(const char *name, kt_ctx_t **ctx, kt_request_t *req);
extern kt_rotation_t *ktpg_look(kt_ctx_t *ctx, const kt_request_t *req, const char *name,
								bool repair, const char *done);
extern void ktpg_take_version(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name,
							  uint64_t version, const KtpgRole *role, const char *verifier,
							  const char *done);

/* owner.c */
extern void ktpg_owner_check_managed(const kt_info_t *info, const char *name);
extern bool ktpg_owner_check(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name,
							 const char *done, const KtpgRole *role, bool adopt);

/* alike.c */
extern void ktpg_check_alike(const KtpgRole *in_use, const KtpgRole *next);

/* alternate.c */
extern const char *ktpg_alternate(kt_ctx_t *ctx, kt_rotation_t *rotation, const char *name,
								  const char *done, uint64_t back, KtpgRole *role);
extern void ktpg_alternate_confirm(const KtpgRole *role, const char *verifier);

/* scram.c; "don't know" is never "no" */
typedef enum KtpgAnswer
{
	KTPG_NO,
	KTPG_YES,
	KTPG_UNKNOWN
} KtpgAnswer;

extern void ktpg_verifier_begin(const kt_secret_t *password);
extern void ktpg_verifier_end(char *verifier);
extern void ktpg_verifier_stop(void);
extern void ktpg_verifier_forget(const kt_secret_t *password);
extern void ktpg_verifier_make(const kt_secret_t *password, char *verifier);
extern KtpgAnswer ktpg_verifier_match(const KtpgRole *role, const kt_secret_t *password);

/* commit.c */
typedef struct KtpgPending KtpgPending;

extern void ktpg_commit_init(void);
extern KtpgPending *ktpg_pending_new(const char *name);
extern kt_rotation_t **ktpg_pending_rotation(KtpgPending *pending);
extern bool ktpg_pending_exists(const char *name);

/* history.c */
extern void ktpg_history_add(const kt_request_t *req, const char *name, uint64_t version,
							 const KtpgRole *role, const char *action);

/* proof.c */
typedef enum KtpgOutcome
{
	KTPG_NOTHING,				/* nothing was pending */
	KTPG_FINISHED,				/* the role has the new password: current now */
	KTPG_ABANDONED,				/* it is proved that the role does not get it: set aside */
	KTPG_LATER,					/* what is needed cannot be read, or the store is busy */
	KTPG_FOREIGN				/* another cluster's, or nothing is proved: left alone */
} KtpgOutcome;

#define KTPG_PROOF_NOTES	3
#define KTPG_PLACE_SIZE		96

typedef struct KtpgProof
{
	char		xid[24];
	char		wal[48];
	char		place[KTPG_PLACE_SIZE];
	kt_meta_t	notes[KTPG_PROOF_NOTES];	/* of these */
} KtpgProof;

extern void ktpg_proof_init(KtpgProof *proof);
extern bool ktpg_is_copy(const char *noted_place, const char *noted_wal, bool *later);
extern KtpgOutcome ktpg_judge(kt_rotation_t *rotation, kt_status_t *status);

/* lock.c */
extern bool ktpg_secret_lock(const char *name, bool wait);
extern void ktpg_secret_lock_session(const char *name);
extern void ktpg_secret_unlock_session(const char *name);
extern void ktpg_store_lock(void);
extern void ktpg_store_unlock(void);

/* rotate.c */
extern PGDLLEXPORT Datum keyturn_rotate_secret(PG_FUNCTION_ARGS);

/* reconcile.c */
extern KtpgOutcome ktpg_reconcile(kt_ctx_t *ctx, const kt_request_t *req,
								  uint64_t *version, kt_status_t *status);
extern kt_status_t ktpg_set_pending_aside(kt_ctx_t *ctx, const kt_request_t *req);

/* listing.c */
typedef struct KtpgListed
{
	struct KtpgListed *next;
	kt_entry_t	entry;			/* its strings are gone; these are copies: */
	char		state[16];
	char		name[KT_NAME_MAX + 1];
} KtpgListed;

extern kt_status_t ktpg_list(kt_ctx_t *ctx, const char *pattern, KtpgListed **first,
							 uint64_t *hidden);

/* accounts.c */
typedef struct KtpgAccount
{
	struct KtpgAccount *next;
	kt_info_t  *info;			/* freed with the memory context */
} KtpgAccount;

/* A provider that does not answer: nothing is known of its secrets. */
typedef struct KtpgSilent
{
	struct KtpgSilent *next;
	kt_status_t status;
	char		provider[64];
	char		why[256];		/* may name files of the server */
} KtpgSilent;

typedef struct KtpgAccounts
{
	KtpgAccount *first;
	KtpgSilent *silent;
	uint64_t	hidden;			/* by the policy */
} KtpgAccounts;

extern kt_status_t ktpg_accounts(kt_ctx_t *ctx, const char *pattern, const char *capability,
								 const char *target, bool values, KtpgAccounts **accounts);

/* rotate.c */
typedef struct Rotating KtpgRotating;

extern int64 ktpg_rotate(const char *name, bool adopt);
extern KtpgRotating *ktpg_rotate_store(const char *name);
extern int64 ktpg_rotate_alter(KtpgRotating *rotating);

/* due.c */
typedef struct KtpgDueEnds
{
	void		(*commit) (void);	/* each also begins the next transaction */
	void		(*rollback) (void);
} KtpgDueEnds;

extern bool ktpg_is_due(const kt_info_t *info, int64 now);
extern void ktpg_rotate_due(const char *pattern, const KtpgDueEnds *ends, int *rotated,
							int *failed);

/* due_worker.c */
extern void ktpg_due_launch(const KtpgAccounts *accounts);
extern void ktpg_due_retry(void);
PGDLLEXPORT void keyturn_due_main(Datum arg);

/* background.c */
extern void ktpg_background_describe(BackgroundWorker *worker, const char *name,
									 const char *function, int flags, BgWorkerStartTime when,
									 int restart);
extern void ktpg_background_begin(void);
extern void ktpg_background_withdraw(KtpgTask task);
extern bool ktpg_background_reloaded(void);

/* worker.c */
extern void ktpg_worker_register(void);
PGDLLEXPORT void keyturn_worker_main(Datum arg);

/* sweeper.c */
extern void ktpg_sweeper_register(void);
PGDLLEXPORT void keyturn_sweeper_main(Datum arg);

/* debug.c */
#ifdef KT_DEBUG_HOOKS
extern void ktpg_debug_point(const char *point);
extern void ktpg_debug_watch(const char *point, const volatile bool *until,
							 const unsigned char *bytes, size_t size);
#else
#define ktpg_debug_point(point) ((void) 0)
#define ktpg_debug_watch(point, until, bytes, size) ((void) 0)
#endif

#endif							/* KEYTURN_EXTENSION_H */
