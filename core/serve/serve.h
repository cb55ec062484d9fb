/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * serve.h: the context, a request that was understood, and what is decided and recorded about it.
 * Code of the folders before this one never sees kt_ctx_t: it gets the context's kt_holder_t.
 */
#ifndef KT_SERVE_H
#define KT_SERVE_H

#include <pthread.h>
#include <stdatomic.h>

#include "audit/audit.h"
#include "base/base.h"
#include "config/config.h"
#include "keys/keys.h"
#include "provider/provider.h"
#include "store/store.h"
#include "value/value.h"

typedef struct kt_cache kt_cache_t;               /* cache.h */
typedef struct kt_singleflight kt_singleflight_t; /* cache.h */

struct kt_setup {
    kt_status_t status;
    char error[KT_ERROR_SIZE];
    kt_config_t *config;
    kt_modules_t *modules;
    kt_keyring_t *keyring;
    char host[32];
    char stream[64];
    kt_logger_t logger;
};

struct kt_ctx {
    kt_holder_t holder;
    pid_t pid;
    char host[32];
    pthread_mutex_t lock;
    kt_modules_t *modules;
    kt_store_t *stores; /* by provider index; api NULL: not opened yet */
    kt_audit_t *audit;
    kt_sinks_t *sinks;       /* NULL: there are none */
    kt_refusals_t *refusals; /* NULL: not opened yet, or `refusals_off` */
    bool refusals_off;
    kt_access_t *access; /* NULL: not opened yet, or there are no statistics */
    bool access_opened;
    bool audit_warned; /* that it fails was said, and may be */
    kt_cache_t *cache;
    kt_singleflight_t *flights; /* fetches of kt_refresh() that are under way */
    pthread_cond_t landed;
    /* of fetches that block: who finds a new one has waited while it happened */
    atomic_ullong failures;
    /* a context of its own for what blocks (kt_refresh); its lock is taken first, then this one's
     */
    kt_ctx_t *agent;
};

/* ---- open.c ---- */

/* Without audit log, cache and agent. */
kt_status_t kt_context_new(kt_config_t *config, kt_modules_t *modules, const kt_keyring_t *keyring,
                           kt_ctx_t **ret_ctx);
/* For what blocks: no audit log, no cache. */
kt_status_t kt_open_agent(kt_ctx_t *ctx, kt_ctx_t **ret_agent);

/* ---- context.c ---- */

kt_status_t kt_enter(kt_ctx_t *ctx); /* checks the pid, takes the lock, clears the error */
void kt_leave(kt_ctx_t *ctx);
/* The instance of the provider at `index`: opened once, and the context's. */
kt_status_t kt_store_of(kt_ctx_t *ctx, size_t index, kt_store_t **ret_store);
void kt_cache_clear(kt_cache_t *cache);

/* ---- call.c ---- */

typedef struct kt_call {
    const kt_request_t *req;
    kt_reference_t ref;
    char text[KT_REFERENCE_MAX]; /* the reference in its normal form */
    const char *subject;
    uint64_t generation; /* of the type, for the trail; 0: not said */
    bool must_record; /* of a rotation whose pending version may be known to its target: it has to
                   be recorded to its end */
} kt_call_t;

kt_status_t kt_call_begin(const kt_request_t *req, kt_call_t *ret_call);
enum {
    KT_EV_STALE = 1,
    KT_EV_FALLBACK = 2,
    KT_EV_DURABLE = 4,
    KT_EV_INTENT = 8,
    KT_EV_MUST_RECORD = 16,
    KT_EV_MAY_COALESCE = 32
};
/* Policy, then the trail: answers `status` itself, or KT_AUDIT when it cannot be recorded. */
kt_status_t kt_decide(kt_ctx_t *ctx, const kt_call_t *call, const char *action, kt_status_t status,
                      uint64_t version, const char *provider, unsigned flags);
/* What the audit log answered, by audit.required. */
kt_status_t kt_audit_answer(kt_ctx_t *ctx, kt_status_t status);
/* KT_DENIED to a source that is locked out; that and kt_policy_check(); and a refusal
 * that was recorded. */
kt_status_t kt_lockout_check(kt_ctx_t *ctx, const char *subject, const char *peer,
                             unsigned capability, const char *name);
kt_status_t kt_admit(kt_ctx_t *ctx, const char *subject, const char *peer, unsigned capability,
                     const char *name);
unsigned kt_refused(kt_ctx_t *ctx, const char *subject, const char *peer);
void kt_note_read(kt_ctx_t *ctx, const kt_call_t *call, uint32_t *slot); /* for the statistics */

/* ---- usage.c ---- */

/* The texts of the result are those of name and sum. */
void kt_usage_fill(const char *name, const kt_access_sum_t *sum, kt_usage_t *ret_usage);

/* ---- record.c, checkpoint.c ---- */

#define KT_IDLE_MS 60000                /* between two looks of a host without sinks */
void kt_checkpoint(kt_ctx_t *ctx);      /* a line of the trail, if the last one is too old */
int64_t kt_forward_step(kt_ctx_t *ctx); /* that, and a step of the external sinks: after how many ms
                                      it wants to be called again */
void kt_forward_finish(kt_ctx_t *ctx);  /* of the command, before its context is closed */

/* ---- route.c ---- */

const kt_cfg_route_t *kt_switch_route(const kt_config_t *config, const char *name);
/* The store that a write of this call goes to: the first writable one of its route, or the bundle.
 */
kt_status_t kt_switch_writer(kt_ctx_t *ctx, const kt_call_t *call, kt_bundle_store_t *bundle,
                             kt_store_t **ret_store, size_t *ret_index);

/* ---- write.c ---- */

unsigned kt_write_timeout(const kt_request_t *req);
kt_status_t kt_write_begin(kt_ctx_t *ctx, const kt_call_t *call, unsigned capability,
                           const char *action);
kt_status_t kt_write_finish(kt_ctx_t *ctx, const kt_call_t *call, kt_change_t *change,
                            const char *action, uint64_t version, const char *provider);
kt_status_t kt_write_no_pending(const kt_head_t *head);

#endif /* KT_SERVE_H */
