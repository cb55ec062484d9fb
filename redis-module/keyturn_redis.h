/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn_redis.h: what the files of the Redis module know of each other.
 *
 *   keyturn_redis.c   load, the table of commands, SECRET.HELP
 *   type.c            the native type keyturn-1: RDB, AOF rewrite, DUMP
 *   config.c          keyturn.* of the server's configuration
 *   group.c           a change waits for the trail, and the event loop does not
 *   loader.c          keyturn.so, which loads all the others as redis-module.so
 *   changed.c         publishes which secrets are not what they were
 *   call.c            one command: its key, its reply, how a change is stored
 *   client.c          who runs it
 *   cmd_read.c        GET INFO VERSIONS LIST
 *   cmd_write.c       SET ROTATE ROLLBACK DEL UNDELETE DESTROY META
 *   cmd_sealed.c      GETSEALED SETSEALED RESTORE
 *
 * Invariants:
 *   1. What lies in the keyspace, and so in RDB, AOF, DUMP and the replication stream, is a bundle:
 *      sealed records.
 *   2. A write is replicated as SECRET.RESTORE with the new bundle, never verbatim: neither a value
 *      nor a clock nor a random number reaches a replica, and a replica needs no key.
 *   3. What arrives from a master or from the AOF was decided and recorded where it happened: no
 *      policy and no audit record again.
 *   4. All of it runs in the main thread, but for what group.c names. A forked child saves bytes
 *      and never touches the context.
 *   5. No argument is read after it was redacted, and only a client's own string is wiped.
 */
#ifndef KEYTURN_REDIS_H
#define KEYTURN_REDIS_H

#include "compat.h"
#include "keyturn.h"

/* The one context of this process; NULL when loaded without a configuration: then sealed values are
 * kept and served, no more. */
extern kt_ctx_t *ktr_context;

/* ---- type.c ---- */

extern RedisModuleType *ktr_type;

typedef struct ktr_value {
    kt_bundle_t *bundle;
    size_t name_len;
    char name[]; /* as which it was stored: unsealed, so that a move is seen without a key */
} ktr_value_t;

int ktr_type_register(RedisModuleCtx *ctx);
/* Takes the bundle. */
ktr_value_t *ktr_value_new(kt_bundle_t *bundle, const char *name, size_t name_len);
void ktr_value_free(void *value);

/* ---- config.c ---- */

/* After the context was opened. */
int ktr_config_register(RedisModuleCtx *ctx);
/* Gives the settings to the context, if it is a new one. */
int ktr_config_apply(void);

/* ---- changed.c ---- */

/* Publishes that this secret was written or is gone. */
void ktr_changed(int db, const RedisModuleString *key);
/* The type's unlink2: a secret leaves the keyspace, in whatever way. */
void ktr_unlinked(RedisModuleKeyOptCtx *ctx, const void *value);
/* After the type's rdb_load: RESTORE, on a server whose events are not followed. */
void ktr_restored(RedisModuleIO *rdb);
/* Follows what else the server does to keys. */
int ktr_follow_keys(RedisModuleCtx *ctx);

/* ---- call.c ---- */

typedef struct ktr_call {
    RedisModuleCtx *ctx;
    RedisModuleString **argv;
    int argc;
    RedisModuleString *key;  /* argv[1] */
    RedisModuleString *user; /* ACL user; NULL: none (replication, another module) */
    int replicated;          /* from a master or the AOF */
    int direct;              /* argv is the client's own, so that it may be wiped */
    RedisModuleKey *handle;
    ktr_value_t *value;   /* NULL: the key is absent */
    kt_bundle_t *absent;  /* the request's bundle when there is no value yet */
    uint64_t counter;     /* of the bundle before the call; 0: absent */
    int changed;          /* the call has changed it */
    const char *conflict; /* error prefix of KT_CONFLICT */
    kt_request_t req;
    char reference[KT_REFERENCE_MAX + 1];
    char subject[KT_SUBJECT_MAX + 1];
    char peer[64];
    char id[32];
} ktr_call_t;

enum {
    KTR_READ = 0,
    KTR_WRITE = 1,
    KTR_KEY = 2,     /* needs the context: SECRETSEALED without */
    KTR_ANY_NAME = 4 /* the key need not be the name of a secret */
};

/* Identifies the subject; for LIST, which has no key. */
void ktr_begin_keyless(ktr_call_t *call, RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
/* Identifies the subject and opens the key. REDISMODULE_ERR: an error was replied, and ktr_end() is
 * not called. */
int ktr_begin(ktr_call_t *call, RedisModuleCtx *ctx, RedisModuleString **argv, int argc, int flags);
void ktr_end(ktr_call_t *call);

/* The request's reference: the key with #field and @version, each may be NULL. REDISMODULE_ERR:
 * replied. */
int ktr_refer(ktr_call_t *call, RedisModuleString *field, RedisModuleString *version);

/* The value lies under another name than it was stored as. */
int ktr_moved(const ktr_call_t *call);
int ktr_refuse_moved(ktr_call_t *call);

/* ---- client.c ---- */

/* Fills in the request's subject, peer and id; call->user, which the caller frees, and
 * call->direct. Not for what is replicated. */
void ktr_identify(ktr_call_t *call);

/* ---- call.c ---- */

#define KTR_KEEP_EXPIRE (-2)
/*
 * After a call of the core: if it changed the bundle, puts that into the key, sets the key's expiry
 * (milliseconds since the epoch, REDISMODULE_NO_EXPIRE or KTR_KEEP_EXPIRE), replicates, signals and
 * notifies. REDISMODULE_ERR: it cannot be stored, an error was replied.
 */
int ktr_store(ktr_call_t *call, const char *event, mstime_t expire);
/* Opens the key again, for a write, when it may hold something else than before: call->value. Then
 * ktr_end(). */
int ktr_reopen(ktr_call_t *call);
/* Takes the bundle: the key's new one. Otherwise as ktr_store(). */
int ktr_put(ktr_call_t *call, kt_bundle_t *bundle, const char *event, mstime_t expire);
/* The same for a bundle that did not come from the core. */
int ktr_adopt(ktr_call_t *call, kt_bundle_t *bundle, const char *name, size_t name_len,
              const char *event, mstime_t expire);

/* ---- group.c ---- */

/* How a command changes a secret. */
typedef struct ktr_change {
    /* calls the core once, with call->req */
    kt_status_t (*run)(ktr_call_t *call, void *arg, uint64_t *ret_version);
    /* later with `arg` NULL, and then after a success only */
    int (*reply)(ktr_call_t *call, kt_status_t status, uint64_t version, const void *arg);
    void *arg;
    const char *event; /* as for ktr_store() */
    mstime_t expire;
} ktr_change_t;
/* Makes the change, stores it and replies: at once, or when its record is on the disk. Afterwards
 * ktr_end() as always. */
void ktr_change(ktr_call_t *call, const ktr_change_t *change);
/* Before the trail's thread starts, and after RedisModule_Init(). */
void ktr_group_follow(void);
void ktr_group_start(RedisModuleCtx *ctx);

/* Replies with the prefix and the core's text that `status` has. */
int ktr_fail(ktr_call_t *call, kt_status_t status);
int ktr_error(RedisModuleCtx *ctx, const char *prefix, const char *text);
int ktr_syntax(RedisModuleCtx *ctx);

/* argv[i] without case. */
int ktr_is(RedisModuleString *argument, const char *word);
/* Hides arguments from MONITOR and SLOWLOG. Afterwards argv[i] must not be read any more: see
 * ktr_hide(). */
void ktr_redact(RedisModuleCtx *ctx, int from, int to);
/* Hides argument i and returns it as it was. It is the client's, until the command ends. */
RedisModuleString *ktr_hide(RedisModuleCtx *ctx, RedisModuleString **argv, int i);
/* Wipes an argument (NULL: none) where it lies, if it is the client's own. What it is given must
 * come from ktr_hide(), because argv may have a string of the server's in its place. */
void ktr_wipe(const ktr_call_t *call, RedisModuleString *argument);

/* ---- cmd_*.c ---- */

#define KTR_COMMAND(name) int name(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
KTR_COMMAND(ktr_set);
KTR_COMMAND(ktr_get);
KTR_COMMAND(ktr_getsealed);
KTR_COMMAND(ktr_setsealed);
KTR_COMMAND(ktr_restore);
KTR_COMMAND(ktr_rotate);
KTR_COMMAND(ktr_rollback);
KTR_COMMAND(ktr_info);
KTR_COMMAND(ktr_versions);
KTR_COMMAND(ktr_list);
KTR_COMMAND(ktr_del);
KTR_COMMAND(ktr_undelete);
KTR_COMMAND(ktr_destroy);
KTR_COMMAND(ktr_meta);
KTR_COMMAND(ktr_help);

#endif /* KEYTURN_REDIS_H */
