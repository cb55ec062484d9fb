/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * context.h: a set-up before the fork, and one context for each process after it.
 * Code of the folders before this one never sees kt_ctx_t: it gets the context's kt_holder_t.
 */
#ifndef KT_CONTEXT_H
#define KT_CONTEXT_H

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
typedef struct kt_grants kt_grants_t;             /* serve.h */
typedef struct kt_tally kt_tally_t;               /* figures.c */
typedef struct kt_singleflight kt_singleflight_t; /* cache.h */

struct kt_setup {
    kt_status_t status;
    char error[KT_ERROR_SIZE];
    kt_config_t *config;
    kt_modules_t *modules;
    kt_keyring_t *keyring;
    char host[32];
    char stream[64];
    char asked[KT_SUBJECT_MAX + 8]; /* of kt_can() */
    kt_logger_t logger;
};

#define KT_WEBHOOKS_MAX 8
typedef struct kt_webhook {
    const char *url; /* of the configuration */
    int64_t spent;   /* ms in which this process waited for it and got no answer */
} kt_webhook_t;

struct kt_ctx {
    kt_holder_t holder;
    pid_t pid;
    char host[32];
    pthread_mutex_t lock;
    kt_modules_t *modules;
    kt_store_t *stores;   /* by provider index; api NULL: not opened yet */
    kt_opened_t *bundles; /* heads of bundles; NULL: none was asked for yet */
    kt_deferred_t *deferring; /* the change whose records wait; NULL: each does what it must */
    size_t bundle_versions; /* that a bundle keeps */
    kt_grants_t *grants;  /* of bundles that are served sealed; NULL: none was yet */
    kt_tally_t *tallies; /* by provider index, also of its agent's answers */
    kt_audit_t *audit;
    kt_sinks_t *sinks; /* NULL: there are none */
    /* NULL: not opened yet, or `refusals_off`; the host's thread looks at it without the lock */
    _Atomic(kt_refusals_t *) refusals;
    bool refusals_off;
    kt_access_t *access; /* NULL: not opened yet, or there are no statistics */
    bool access_opened;
    char vouched[KT_SUBJECT_MAX + 1]; /* the last subject of a read that this host vouches for */
    atomic_bool anchors_loose; /* those of a change are not synced: the audit log's thread will */
    int64_t tick, moment; /* kt_monotonic() of the last short call, and kt_now_about() then */
    bool audit_warned;    /* its failure was reported already */
    bool memory_warned;   /* that some memory is not locked, too */
    kt_cache_t *cache;
    kt_singleflight_t *flights; /* fetches of kt_refresh() that are under way */
    pthread_cond_t landed;
    /* of fetches that block: a reader that finds a new one has waited while it happened */
    atomic_ullong failures;
    kt_webhook_t webhooks[KT_WEBHOOKS_MAX]; /* servers that were waited for (rotate/webhook.c) */
    /* a context of its own for what blocks (kt_refresh); LOCKING has the order of the two locks */
    kt_ctx_t *agent;
    kt_ctx_t *owner; /* of an agent: the context that has the audit log; else NULL */
};

/* ---- open.c ---- */

/* Keeps the status and the failure's text for kt_setup_error(). Returns `status`. */
kt_status_t kt_setup_finish(kt_setup_t *setup, kt_status_t status);
/* Without audit log, cache and agent. */
kt_status_t kt_context_new(kt_config_t *config, kt_modules_t *modules, const kt_keyring_t *keyring,
                           kt_ctx_t **ret_ctx);
/* For what blocks: no audit log, no cache. */
kt_status_t kt_open_agent(kt_ctx_t *ctx, kt_ctx_t **ret_agent);

/* ---- context.c ---- */

/* Is the process's secret memory locked? If not, KT_CONFIG with `secret_memory: require`, or else
 * one warning. */
kt_status_t kt_memory_check(kt_ctx_t *ctx);
kt_status_t kt_enter(kt_ctx_t *ctx); /* checks pid and memory, takes the lock, clears the error */
void kt_leave(kt_ctx_t *ctx);
void kt_anchors_tighten(kt_ctx_t *ctx); /* record.c: what `anchors_loose` says */
void kt_settle_locked(kt_ctx_t *ctx); /* settle.c: a part of kt_leave() */
/* The store over a request's bundle. */
void kt_bundle_store_of(kt_ctx_t *ctx, kt_bundle_t **slot, kt_bundle_store_t *ret_store);
/* The instance of the provider at `index`: opened once, and the context's. */
kt_status_t kt_store_of(kt_ctx_t *ctx, size_t index, kt_store_t **ret_store);
void kt_cache_clear(kt_cache_t *cache);

#endif /* KT_CONTEXT_H */
