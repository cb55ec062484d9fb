/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * group.c: a change waits for the audit trail, and the event loop does not.
 *
 * The command seals the change in a bundle of its own, its record goes into the ring, and the
 * client is blocked. The trail's thread writes down all that has gathered, with one sync. Then the
 * main thread puts the bundles into their keys in the order of the commands, replicates them, and
 * replies. So a change is in the keyspace, in the append-only file and on a replica only after its
 * record is on the disk, and if that fails the key is what it was.
 *
 * Invariants:
 *   1. A change is built upon what is stored, or upon the last change of the same key that waits.
 *      It is stored only if that is what the key then holds, byte by byte. What another command did
 *      to the key in the meantime stands, and the client gets an error.
 *   2. Jobs end in the order in which they began: the thread unblocks in that order, and the server
 *      handles unblocked clients in that order.
 *   3. All but the two callbacks of the thread runs in the main thread. The thread reads no job but
 *      its `next`, and writes the outcome of the batch before it unblocks.
 *   4. A client that went away loses its reply and not its change.
 *
 * In MULTI, in a script, for another module, for a master, in a slot that is on its way to this
 * node, and without the thread it is done at once, and the server waits for the disk.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "keyturn_redis.h"

typedef struct job {
    struct job *next;
    RedisModuleBlockedClient *client;
    kt_deferred_t *deferred;
    kt_bundle_t *base;   /* what it is built upon; NULL: nothing */
    kt_bundle_t *bundle; /* the new one */
    ktr_call_t call;     /* what the records point to */
    ktr_change_t change;
    RedisModuleString *key;
    int db;
    uint64_t version;
    kt_status_t written; /* by the thread */
    int ended;
    char why[512];
} job_t;

typedef struct queue {
    job_t *first, **last;
} queue_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of `waiting` alone */
static queue_t waiting, batch;                           /* `batch` is the thread's */
static RedisModuleCtx *detached; /* for keys, whether there is a client or not */
static RedisModuleDict *last_of; /* database and key -> the last job that waits */

/* ---- the thread ---- */

static void begin_batch(void *arg)
{
    REDISMODULE_NOT_USED(arg);
    pthread_mutex_lock(&lock);
    batch = waiting;
    waiting.first = NULL;
    pthread_mutex_unlock(&lock);
}

static void end_batch(void *arg, kt_status_t status, const char *why)
{
    REDISMODULE_NOT_USED(arg);
    for (job_t *job = batch.first, *next; job != NULL; job = next) {
        next = job->next;
        job->written = status;
        snprintf(job->why, sizeof(job->why), "%s", why);
        RedisModule_UnblockClient(job->client, job); /* from now on it is the main thread's */
    }
    batch.first = NULL;
}

/* ---- the jobs of a key ---- */

static size_t name_of(char name[KT_REFERENCE_MAX + 16], int db, RedisModuleString *key)
{
    size_t len;
    const char *text = RedisModule_StringPtrLen(key, &len);

    memcpy(name, &db, sizeof(db));
    memcpy(name + sizeof(db), text, len); /* the name of a secret: bounded */
    return sizeof(db) + len;
}

static job_t *last_job(int db, RedisModuleString *key)
{
    char name[KT_REFERENCE_MAX + 16];
    size_t len = name_of(name, db, key);

    return RedisModule_DictGetC(last_of, name, len, NULL);
}

static void forget_job(const job_t *job)
{
    char name[KT_REFERENCE_MAX + 16];
    size_t len = name_of(name, job->db, job->key);

    if (RedisModule_DictGetC(last_of, name, len, NULL) == job)
        RedisModule_DictDelC(last_of, name, len, NULL);
}

static void remember_job(job_t *job)
{
    char name[KT_REFERENCE_MAX + 16];
    size_t len = name_of(name, job->db, job->key);

    RedisModule_DictReplaceC(last_of, name, len, job);
}

/* ---- a job ---- */

static void free_job(job_t *job)
{
    if (job->deferred != NULL)
        kt_deferred_end(job->deferred, KT_INTERNAL);
    kt_bundle_free(job->base);
    kt_bundle_free(job->bundle);
    if (job->key != NULL)
        RedisModule_FreeString(NULL, job->key);
    RedisModule_Free(job);
}

static int take_base(job_t *job, const ktr_call_t *call)
{
    const job_t *before = last_job(job->db, job->key);
    const kt_bundle_t *base = before != NULL        ? before->bundle
                              : call->value != NULL ? call->value->bundle
                                                    : NULL;

    if (base == NULL)
        return REDISMODULE_OK;
    job->call.counter = kt_bundle_counter(base);
    return kt_bundle_copy(base, &job->base) == KT_SUCCESS &&
                   kt_bundle_copy(base, &job->bundle) == KT_SUCCESS
               ? REDISMODULE_OK
               : REDISMODULE_ERR;
}

/* Does this node of a cluster answer for the key, without ASKING? A slot that it takes over is not
 * its own yet, so that only the command itself may change the key. */
static int has_slot(int db, RedisModuleString *key)
{
    RedisModuleCallReply *reply;

    if (!(RedisModule_GetContextFlags(detached) & REDISMODULE_CTX_FLAGS_CLUSTER))
        return 1;
    RedisModule_SelectDb(detached, db);
    reply = RedisModule_Call(detached, "EXISTS", "s", key);
    if (reply != NULL)
        RedisModule_FreeCallReply(reply);
    return reply != NULL;
}

/* NULL: it is done at once. */
static job_t *new_job(const ktr_call_t *call, const ktr_change_t *change)
{
    job_t *job;

    if (ktr_context == NULL || !call->direct ||
        (RedisModule_GetContextFlags(call->ctx) &
         (REDISMODULE_CTX_FLAGS_MULTI | REDISMODULE_CTX_FLAGS_LUA |
          REDISMODULE_CTX_FLAGS_DENY_BLOCKING)) ||
        !has_slot(RedisModule_GetSelectedDb(call->ctx), call->key))
        return NULL;
    job = RedisModule_Calloc(1, sizeof(*job));
    job->call = *call;
    job->call.handle = NULL;
    job->call.user = NULL;
    job->call.absent = NULL;
    job->call.req.subject = job->call.subject;
    job->call.req.request_id = job->call.id;
    if (call->req.peer != NULL)
        job->call.req.peer = job->call.peer;
    job->call.req.reference = job->call.reference;
    job->call.req.bundle = &job->bundle;
    job->change = *change;
    job->db = RedisModule_GetSelectedDb(call->ctx);
    job->key = RedisModule_CreateStringFromString(NULL, call->key);
    job->call.key = job->key;
    if (take_base(job, call) != REDISMODULE_OK ||
        kt_deferred_begin(ktr_context, &job->deferred) != KT_SUCCESS) {
        free_job(job);
        return NULL;
    }
    return job;
}

static int same_bytes(const kt_bundle_t *a, const kt_bundle_t *b)
{
    const void *x, *y;
    size_t x_size, y_size;

    if (a == NULL || b == NULL)
        return a == b;
    x = kt_bundle_bytes(a, &x_size);
    y = kt_bundle_bytes(b, &y_size);
    return x_size == y_size && memcmp(x, y, x_size) == 0;
}

/* A server that became a replica meanwhile, pauses writes for a fail-over, or gave the slot away
 * must not change the key. */
static int may_write(const job_t *job)
{
    return !(RedisModule_GetContextFlags(detached) & REDISMODULE_CTX_FLAGS_READONLY) &&
           !RedisModule_AvoidReplicaTraffic() && has_slot(job->db, job->key);
}

/* The error, or NULL: it is stored. */
static const char *store(job_t *job)
{
    ktr_call_t *call = &job->call;
    kt_bundle_t *bundle = job->bundle;
    const char *wrong = "ERR the key cannot be written";

    call->ctx = detached;
    RedisModule_SelectDb(detached, job->db);
    if (!may_write(job))
        return "TRYAGAIN this server does not take writes for this key any more";
    if (ktr_reopen(call) != REDISMODULE_OK ||
        !same_bytes(job->base, call->value != NULL ? call->value->bundle : NULL)) {
        wrong = "SECRETVERSION another command changed the key meanwhile: try again";
    } else {
        job->bundle = NULL;
        if (ktr_put(call, bundle, job->change.event, job->change.expire) == REDISMODULE_OK)
            wrong = NULL;
    }
    ktr_end(call);
    return wrong;
}

/* `ctx` NULL: the client went away. */
static void end_job(job_t *job, RedisModuleCtx *ctx)
{
    const char *wrong = NULL;

    job->ended = 1;
    if (job->written == KT_SUCCESS)
        wrong = store(job);
    forget_job(job);
    kt_deferred_end(job->deferred, job->written != KT_SUCCESS ? job->written
                                   : wrong != NULL            ? KT_CONFLICT
                                                              : KT_SUCCESS);
    job->deferred = NULL;
    job->call.ctx = ctx;
    job->call.changed = 1;
    if (ctx == NULL)
        return;
    if (job->written != KT_SUCCESS)
        ktr_error(ctx, "SECRETAUDIT", job->why);
    else if (wrong != NULL)
        RedisModule_ReplyWithError(ctx, wrong);
    else
        job->change.reply(&job->call, KT_SUCCESS, job->version, NULL);
}

static int on_reply(RedisModuleCtx *ctx, RedisModuleString **argv, int argc)
{
    REDISMODULE_NOT_USED(argv);
    REDISMODULE_NOT_USED(argc);
    end_job(RedisModule_GetBlockedClientPrivateData(ctx), ctx);
    return REDISMODULE_OK;
}

static void on_free(RedisModuleCtx *ctx, void *data)
{
    job_t *job = data;

    REDISMODULE_NOT_USED(ctx);
    if (!job->ended)
        end_job(job, NULL);
    free_job(job);
}

static void wait_for_trail(job_t *job, RedisModuleCtx *ctx)
{
    job->client = RedisModule_BlockClient(ctx, on_reply, NULL, on_free, 0);
    remember_job(job);
    pthread_mutex_lock(&lock);
    if (waiting.first == NULL)
        waiting.last = &waiting.first;
    *waiting.last = job;
    waiting.last = &job->next;
    pthread_mutex_unlock(&lock);
    kt_deferred_wake(ktr_context);
}

/* ---- a change ---- */

static void change_at_once(ktr_call_t *call, const ktr_change_t *change)
{
    uint64_t version = 0;
    kt_status_t status = change->run(call, change->arg, &version);

    if (ktr_store(call, change->event, change->expire) == REDISMODULE_OK)
        change->reply(call, status, version, change->arg);
}

void ktr_change(ktr_call_t *call, const ktr_change_t *change)
{
    job_t *job = new_job(call, change);
    kt_status_t status;

    if (job == NULL) {
        change_at_once(call, change);
        return;
    }
    status = change->run(&job->call, change->arg, &job->version);
    kt_deferred_stop(job->deferred);
    if (status == KT_SUCCESS && job->bundle != NULL &&
        kt_bundle_counter(job->bundle) != job->call.counter) {
        wait_for_trail(job, call->ctx);
        return;
    }
    change->reply(call, status, job->version, change->arg);
    free_job(job);
}

void ktr_group_follow(void)
{
    kt_deferred_ops_t follow = KT_DEFERRED_OPS_INIT;

    follow.begin = begin_batch;
    follow.end = end_batch;
    kt_deferred_follow(ktr_context, &follow);
}

void ktr_group_start(RedisModuleCtx *ctx)
{
    detached = RedisModule_GetDetachedThreadSafeContext(ctx);
    last_of = RedisModule_CreateDict(NULL);
}
