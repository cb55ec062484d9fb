/* SPDX-License-Identifier: BSD-2-Clause */
/* cache.h: values that were fetched, and fetches that are under way. */
#ifndef KT_CACHE_H
#define KT_CACHE_H

#include "serve.h"

typedef struct kt_cached {
    kt_status_t status; /* KT_SUCCESS, or a remembered KT_NOTFOUND or KT_GONE */
    kt_secret_t *secret;
    size_t provider;             /* index of the one that answered */
    const kt_cfg_route_t *route; /* NULL: a provider was named, or no route matches */
    size_t nsteps;               /* steps of it that were asked */
    unsigned char
        token[KTP_TOKEN_SIZE]; /* of all providers that were asked, read before they were asked */
    bool by_agent;             /* the token is of the agent's connections */
    int64_t fetched;           /* ms, monotonic */
    bool suspect;
    kt_status_t failed; /* why the last attempt to renew it failed, at failed_at; else KT_SUCCESS */
    int64_t failed_at;
    uint32_t slot;    /* of the access statistics; 0: not known yet */
    uint64_t failure; /* its number among the failures of the context */
} kt_cached_t;
kt_cache_t *kt_cache_new(size_t limit); /* bytes, the locked memory of values included */
void kt_cache_free(kt_cache_t *cache);
kt_cached_t *kt_cache_find(kt_cache_t *cache,
                           const char *reference); /* until the next change of the cache */
/* The same by the bytes of a reference as somebody wrote it, and much faster. It finds only what
 * kt_cache_find() found lately, and only if it was written in its normal form. NULL means nothing.
 */
kt_cached_t *kt_cache_recall(kt_cache_t *cache, const char *reference, size_t size);
kt_secret_t *kt_cache_take(kt_cached_t *entry);           /* its value, for a caller who frees it */
const char *kt_cache_reference(const kt_cached_t *entry); /* in its normal form */
void kt_cache_use(kt_cached_t *entry); /* it was used now: others make room first */
void kt_cache_put(kt_cache_t *cache, const char *reference,
                  const kt_cached_t *entry); /* takes a reference on the secret */
/* Subjects that the policy has allowed to read the entry's reference. A context's policy never
 * changes, so they stay allowed; refusals are not remembered. An entry keeps the last four. NULL:
 * not among them; else what the entry keeps for the next read of this subject. */
kt_granted_t *kt_cache_granted(kt_cached_t *entry, const char *subject);
void kt_cache_grant(kt_cache_t *cache, kt_cached_t *entry, const char *subject);
/* Drops what was used longest ago, up to the first value that was fetched at `before` (ms,
 * monotonic) or later. */
void kt_cache_expire(kt_cache_t *cache, int64_t before);
void kt_cache_clear(kt_cache_t *cache);
void kt_cache_drop_name(kt_cache_t *cache, const char *name); /* all references of one name */
uint64_t kt_cache_drops(const kt_cache_t *cache); /* how often that was done: a value that was
                                                     fetched in between may be old */
size_t kt_cache_bytes(const kt_cache_t *cache);

/* ---- read.c ---- */

typedef struct kt_reading {
    kt_status_t status;
    kt_secret_t *secret;
    const char *provider;
    unsigned flags; /* KT_EV_ */
    bool silent;    /* no decision yet: the caller must ask again */
    uint32_t *slot; /* of the entry that answered; NULL: none did */
} kt_reading_t;
/* What kt_peek() would answer, without its record, which the caller makes. Answers
 * ret_answer->status; its secret is the caller's. */
kt_status_t kt_look(kt_ctx_t *ctx, const kt_call_t *call, kt_reading_t *ret_answer);

/* ---- singleflight.c: one fetch for all who want the same; all under the lock of the context ----
 */

/* The fetch of this reference that is under way, or a new one that the caller makes (*ret_mine).
 * NULL: no memory; fetch without. */
kt_singleflight_t *kt_singleflight_join(kt_ctx_t *ctx, const char *reference, bool *ret_mine);
/* For a thread that joined: waits without the lock, and answers what the fetch did, with its error
 * text. */
kt_status_t kt_singleflight_wait(kt_ctx_t *ctx, kt_singleflight_t *flight);
void kt_singleflight_finish(kt_ctx_t *ctx, kt_singleflight_t *flight,
                            kt_status_t status); /* by the thread that made it; NULL is allowed */
int kt_singleflight_waiting(
    const kt_ctx_t *ctx,
    const char *reference); /* how many threads wait for the fetch that is under way; -1: none is */

/* ---- route.c ---- */

/* Is this what a provider knows of a secret (KT_SUCCESS, KT_NOTFOUND, KT_GONE), rather than a
 * reason why it could not tell? Only facts are cached. */
bool kt_switch_is_fact(kt_status_t status);
/* Asks the route's providers in turn. `blocking` false: KT_TRYAGAIN instead of asking one that
 * blocks. ret_entry is filled for KT_SUCCESS, KT_NOTFOUND and KT_GONE; its secret is the caller's.
 */
kt_status_t kt_switch_read(kt_ctx_t *ctx, const kt_call_t *call, bool blocking,
                           kt_cached_t *ret_entry);
/* The tokens of all providers of the route, as one. False: at least one cannot say. */
/* Is an entry kept? If not, it would be dropped before it could answer. One of a failure is
 * replaced anyway. */
bool kt_switch_is_cached(const kt_ctx_t *ctx);
bool kt_switch_token(kt_ctx_t *ctx, const kt_cfg_route_t *route,
                     unsigned char ret_token[KTP_TOKEN_SIZE]);
bool kt_switch_blocks(kt_ctx_t *ctx,
                      const kt_call_t *call); /* does a provider of the route block? */

#endif /* KT_CACHE_H */
