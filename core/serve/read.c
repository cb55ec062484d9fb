/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * read.c: reference, policy, cache, switch, and then the audit record of the answer.
 *
 * The order is fixed: a cached value is never given to someone whom the policy would refuse. A
 * cached value is good while the providers' change tokens are what they were before it was read,
 * while its TTL lasts and until it expires. Only if no provider can say (UNAVAIL, TRYAGAIN) a value
 * that was good stays in use, for as long as `stale` allows, and the audit log says so.
 */
#include <stdlib.h>
#include <string.h>

#include "cache.h"

#define FAILURE_MS 1000 /* how long a failed refresh keeps kt_peek() from asking for the next */
#define REJECT_MS 1000
#define FRESH_MS                                                                                   \
    100 /* how long a value that kt_refresh() fetched is used without looking for changes */

static bool is_unknown(kt_status_t status)
{
    return status == KT_UNAVAIL || status == KT_TRYAGAIN;
}

/* Word by word, because a provider has just written one of them so: a wider load would wait. */
static bool are_equal(const unsigned char a[KTP_TOKEN_SIZE], const unsigned char b[KTP_TOKEN_SIZE])
{
    uint64_t words[2];
    size_t i;

    for (i = 0; i < KTP_TOKEN_SIZE; i += sizeof(words[0])) {
        memcpy(&words[0], a + i, sizeof(words[0]));
        memcpy(&words[1], b + i, sizeof(words[1]));
        if (words[0] != words[1])
            return false;
    }
    return true;
}

static bool tokens_match(kt_ctx_t *ctx, const kt_cached_t *entry)
{
    unsigned char token[KTP_TOKEN_SIZE];
    kt_ctx_t *asked = entry->by_agent ? ctx->agent : ctx; /* a token is its connection's own */
    bool match;

    /* What was fetched just now is what the fetch was for, even if something else on a busy server
     * has changed since: else a caller who waits for kt_refresh() and peeks again might never be
     * served. */
    if (entry->by_agent && kt_monotonic() - entry->fetched < FRESH_MS)
        return true;
    if (asked != ctx && pthread_mutex_trylock(&asked->lock) != 0)
        return true; /* the agent is busy; until it is back, the TTL decides alone */
    match = kt_switch_token(asked, entry->route, token) && are_equal(token, entry->token);
    if (asked != ctx)
        (void)pthread_mutex_unlock(&asked->lock);
    return match;
}

/* `now`: kt_monotonic(). */
static bool is_fresh(kt_ctx_t *ctx, const kt_cached_t *entry, int64_t now)
{
    int64_t age = now - entry->fetched;

    if (entry->suspect || age >= (entry->status == KT_SUCCESS ? ctx->holder.config->cache_ttl
                                                              : ctx->holder.config->cache_negative))
        return false;
    if (entry->secret != NULL && entry->secret->expires != 0 && entry->secret->expires <= kt_now())
        return false;
    return tokens_match(ctx, entry);
}

static bool may_serve_stale(const kt_ctx_t *ctx, const kt_cached_t *entry)
{
    int64_t limit = ctx->holder.config->cache_ttl + ctx->holder.config->cache_stale;

    return entry != NULL && entry->secret != NULL && kt_monotonic() - entry->fetched < limit &&
           (entry->secret->expires == 0 || entry->secret->expires > kt_now());
}

/* A stale answer is a copy: other holders of the secret must not see the flag. */
static kt_status_t stale_copy(const kt_cached_t *entry, kt_secret_t **ret_secret)
{
    kt_secret_t *copy = kt_secret_new(entry->secret->data, entry->secret->size);

    if (copy == NULL)
        return kt_no_memory();
    copy->version = entry->secret->version;
    copy->expires = entry->secret->expires;
    copy->since = entry->secret->since;
    copy->stale = true;
    *ret_secret = copy;
    return KT_SUCCESS;
}

/*
 * The field of a whole value, when the reference names one. Takes over entry->secret. A value that
 * has no fields opened under its key, so it is the reference that is wrong: KT_MALFORMED would say
 * that the store is damaged.
 */
static kt_status_t cut_field(const kt_call_t *call, kt_cached_t *entry)
{
    kt_secret_t *part;
    kt_status_t status;

    if (entry->status != KT_SUCCESS || call->ref.field[0] == '\0')
        return entry->status;
    status = kt_secret_field(entry->secret, call->ref.field, &part);
    if (status == KT_MALFORMED)
        status = KT_USAGE;
    if (status == KT_SUCCESS)
        part->since = entry->secret->since;
    kt_secret_free(entry->secret);
    entry->secret = status == KT_SUCCESS ? part : NULL;
    entry->status = status;
    return status;
}

static kt_status_t fetch(kt_ctx_t *ctx, const kt_call_t *call, bool blocking,
                         kt_cached_t *ret_entry)
{
    kt_status_t status;

    ctx->holder.wait = blocking ? KT_WAIT : KT_WAIT_PEEK;
    status = kt_switch_read(ctx, call, blocking, ret_entry);
    ctx->holder.wait = KT_WAIT;
    return status == KT_SUCCESS ? cut_field(call, ret_entry) : status;
}

static const char *provider_name(const kt_ctx_t *ctx, const kt_cached_t *entry)
{
    return ctx->holder.config->providers[entry->provider].name;
}

static void answer_from(const kt_ctx_t *ctx, kt_cached_t *entry, kt_reading_t *answer)
{
    answer->status = entry->status;
    answer->secret = entry->secret != NULL ? kt_cache_take(entry) : NULL;
    answer->provider = provider_name(ctx, entry);
    answer->flags = entry->nsteps > 1 && entry->status == KT_SUCCESS ? KT_EV_FALLBACK : 0;
    if (entry->status != KT_SUCCESS)
        (void)kt_fail(entry->status, "%s", kt_status_text(entry->status));
}

/* Answers the failure; or, if the provider could not say, the cached value while `stale` allows. */
static void answer_stale(const kt_ctx_t *ctx, const kt_cached_t *cached, kt_status_t status,
                         kt_reading_t *answer)
{
    answer->status = status;
    if (!is_unknown(status) || !may_serve_stale(ctx, cached) ||
        stale_copy(cached, &answer->secret) != KT_SUCCESS)
        return;
    kt_failure_clear();
    answer->status = KT_SUCCESS;
    answer->provider = provider_name(ctx, cached);
    answer->flags = KT_EV_STALE;
}

typedef struct read_mode {
    bool blocking;
    uint64_t failures; /* of the context, before its lock was waited for */
} read_mode_t;

/* Is the failure of the last attempt the answer to this one too? For kt_peek() while the failure is
 * young or the next attempt is under way, so that only one request waits for a provider that is
 * down; for kt_get() if the failure came while it waited for the lock. */
static bool has_failed(const kt_ctx_t *ctx, const kt_call_t *call, const kt_cached_t *cached,
                       const read_mode_t *asking)
{
    if (cached == NULL || cached->failed == KT_SUCCESS)
        return false;
    if (asking->blocking)
        return cached->failure > asking->failures;
    return kt_monotonic() - cached->failed_at < FAILURE_MS ||
           kt_singleflight_waiting(ctx, call->text) >= 0;
}

/* Marks the cached entry, or adds an entry that only says that the attempt failed. */
static void remember_failure(kt_ctx_t *ctx, const kt_call_t *call, kt_status_t status)
{
    kt_cached_t *cached = kt_cache_find(ctx->cache, call->text);
    kt_cached_t entry = {.status = KT_UNAVAIL, .failed = status, .failed_at = kt_monotonic()};

    entry.failure = atomic_fetch_add(&ctx->failures, 1) + 1;
    if (cached == NULL) {
        kt_cache_put(ctx->cache, call->text, &entry);
        return;
    }
    cached->suspect = false; /* whether it was refused for good reason is as unknown as before */
    cached->failed = status;
    cached->failed_at = entry.failed_at;
    cached->failure = entry.failure;
}

/* Also drops values that are too old to be served even as stale. */
static void keep(kt_ctx_t *ctx, const kt_call_t *call, const kt_cached_t *entry)
{
    kt_cache_put(ctx->cache, call->text, entry);
    kt_cache_expire(ctx->cache, kt_monotonic() - ctx->holder.config->cache_ttl -
                                    ctx->holder.config->cache_stale);
}

static void look_up(kt_ctx_t *ctx, const kt_call_t *call, kt_cached_t *cached,
                    const read_mode_t *asking, kt_reading_t *answer)
{
    kt_cached_t entry;
    kt_status_t status;

    if (cached != NULL && cached->status != KT_UNAVAIL && is_fresh(ctx, cached, kt_monotonic())) {
        kt_cache_use(cached);
        answer_from(ctx, cached, answer);
        answer->slot = &cached->slot;
        return;
    }
    if (has_failed(ctx, call, cached, asking)) {
        (void)kt_fail(cached->failed, "%s: %s", call->ref.name, kt_status_text(cached->failed));
        answer_stale(ctx, cached, cached->failed, answer);
        return;
    }
    status = fetch(ctx, call, asking->blocking, &entry);
    if (kt_switch_is_fact(status)) {
        if (entry.route != NULL && (cached != NULL || kt_switch_is_cached(ctx)))
            keep(ctx, call, &entry);
        answer->status = status;
        answer->secret = entry.secret;
        answer->provider =
            entry.route != NULL || call->req->provider != NULL ? provider_name(ctx, &entry) : NULL;
        answer->flags = entry.nsteps > 1 && status == KT_SUCCESS ? KT_EV_FALLBACK : 0;
        return;
    }
    answer->status = status;
    answer->silent = !asking->blocking && status == KT_TRYAGAIN && kt_switch_blocks(ctx, call);
    if (!answer->silent)
        answer_stale(ctx, cached, status, answer);
    if (asking->blocking && call->req->provider == NULL && kt_switch_blocks(ctx, call))
        remember_failure(ctx, call, status);
}

static void look_in_bundle(kt_ctx_t *ctx, const kt_call_t *call, kt_reading_t *answer)
{
    kt_bundle_store_t bundle;
    kt_cached_t entry = {.status = KT_SUCCESS};

    kt_bundle_store_of(ctx, call->req->bundle, &bundle);
    entry.status = kt_store_read(&ctx->holder, &bundle.store, &call->ref, &entry.secret);
    answer->status = cut_field(call, &entry);
    answer->secret = entry.secret;
    answer->provider = bundle.store.name;
}

/* Answers that are facts about the secret may share a line of the log with equal ones; a failure
 * and a stale value get lines of their own. */
static unsigned may_be_coalesced(const kt_reading_t *answer)
{
    return kt_switch_is_fact(answer->status) && (answer->flags & KT_EV_STALE) == 0
               ? KT_EV_MAY_COALESCE
               : 0;
}

/* Policy comes first, whatever the cache has; the cache only remembers which subjects were allowed.
 */
static kt_status_t allow(kt_ctx_t *ctx, const kt_call_t *call, kt_cached_t *cached)
{
    kt_status_t status;

    if (cached != NULL && call->subject != NULL && kt_cache_granted(cached, call->subject) != NULL)
        return KT_SUCCESS;
    status = kt_policy_check(ctx->holder.config, call->subject, KT_CAP_READ, call->ref.name);
    if (status == KT_SUCCESS && cached != NULL && !kt_policy_asks(ctx->holder.config))
        kt_cache_grant(ctx->cache, cached, call->subject);
    return status;
}

kt_status_t kt_look(kt_ctx_t *ctx, const kt_call_t *call, kt_reading_t *ret_answer)
{
    const read_mode_t asking = {.blocking = false};
    kt_cached_t *cached = kt_cache_find(ctx->cache, call->text);
    kt_status_t status = allow(ctx, call, cached);

    memset(ret_answer, 0, sizeof(*ret_answer));
    ret_answer->status = status;
    if (status == KT_SUCCESS)
        look_up(ctx, call, cached, &asking, ret_answer);
    return ret_answer->status;
}

static kt_status_t read_locked(kt_ctx_t *ctx, const kt_request_t *req, const read_mode_t *asking,
                               kt_secret_t **ret_secret)
{
    kt_reading_t answer = {.status = KT_SUCCESS};
    kt_cached_t *cached = NULL;
    uint32_t slot = 0;
    kt_call_t call;
    kt_status_t status;

    status = kt_call_begin_read(ctx, req, &call);
    if (status != KT_SUCCESS)
        return status;
    if (req->bundle == NULL && req->provider == NULL)
        cached = kt_cache_find(ctx->cache, call.text);
    status = allow(ctx, &call, cached);
    if (status != KT_SUCCESS)
        return kt_decide(ctx, &call, "read", status, 0, NULL, 0);
    if (req->bundle != NULL) {
        look_in_bundle(ctx, &call, &answer);
    } else {
        kt_access_ahead(ctx->access, call.ref.name);
        look_up(ctx, &call, cached, asking, &answer);
    }
    if (answer.silent)
        return answer.status;
    status = kt_decide(ctx, &call, "read", answer.status,
                       answer.secret != NULL ? answer.secret->version : 0, answer.provider,
                       answer.flags | may_be_coalesced(&answer));
    if (status != KT_SUCCESS) {
        kt_secret_free(answer.secret);
        return status;
    }
    kt_note_read(ctx, &call, answer.slot != NULL ? answer.slot : &slot);
    *ret_secret = answer.secret;
    return KT_SUCCESS;
}

/* Both clocks move at the same tick, so thousands of reads ask for the time once. */
static int64_t moment(kt_ctx_t *ctx, int64_t now)
{
    if (now != ctx->tick) {
        ctx->tick = now;
        ctx->moment = kt_now_about();
    }
    return ctx->moment;
}

/*
 * The short way of most reads: the reference is written in its normal form, its value is cached and
 * fresh, the policy has allowed this subject before, and the statistics know the name. It asks what
 * read_locked() asks, in the same order, and needs neither the parts of the reference nor a keyed
 * hash. Whatever is not plainly so is left to read_locked(), which begins again: false.
 */
static bool read_recalled(kt_ctx_t *ctx, const kt_request_t *req, kt_status_t *ret_status,
                          kt_secret_t **ret_secret)
{
    kt_again_t again = {.req = req, .action = "read"};
    kt_cached_t *entry;
    int64_t now;
    size_t size;

    if (req->size < sizeof(kt_request_t) || req->reference == NULL || req->subject == NULL ||
        req->bundle != NULL || req->provider != NULL)
        return false;
    size = req->reference_len != 0 ? req->reference_len : strlen(req->reference);
    entry = kt_cache_recall(ctx->cache, req->reference, size);
    if (entry == NULL || entry->status != KT_SUCCESS || entry->slot == 0 ||
        (again.granted = kt_cache_granted(entry, req->subject)) == NULL)
        return false;
    now = kt_monotonic();
    if (!is_fresh(ctx, entry, now))
        return false;
    kt_cache_use(entry);
    again.reference = kt_cache_reference(entry);
    again.version = entry->secret->version;
    again.provider = provider_name(ctx, entry);
    again.fallback = entry->nsteps > 1;
    again.now = moment(ctx, now);
    *ret_status = kt_decide_again(ctx, &again);
    if (*ret_status == KT_SUCCESS) {
        kt_note_again(ctx, &again, &entry->slot);
        *ret_secret = kt_cache_take(entry);
    }
    return true;
}

static kt_status_t read_one(kt_ctx_t *ctx, const kt_request_t *req, bool blocking,
                            kt_secret_t **ret_secret)
{
    read_mode_t asking = {blocking, atomic_load(&ctx->failures)};
    kt_status_t status;

    *ret_secret = NULL;
    status = kt_enter(ctx);
    if (status != KT_SUCCESS)
        return status;
    if (!read_recalled(ctx, req, &status, ret_secret))
        status = read_locked(ctx, req, &asking, ret_secret);
    kt_leave(ctx);
    return status;
}

kt_status_t kt_peek(kt_ctx_t *ctx, const kt_request_t *req, kt_secret_t **ret_secret)
{
    return read_one(ctx, req, false, ret_secret);
}

kt_status_t kt_get(kt_ctx_t *ctx, const kt_request_t *req, kt_secret_t **ret_secret)
{
    return read_one(ctx, req, true, ret_secret);
}

/* ---- refreshing ---- */

static kt_status_t ensure_agent(kt_ctx_t *ctx, kt_ctx_t **ret_agent)
{
    kt_status_t status = KT_SUCCESS;

    if (ctx->agent == NULL)
        status = kt_open_agent(ctx, &ctx->agent);
    *ret_agent = ctx->agent;
    return status;
}

/* Was the same fetched just now for another caller? Then a queue of such requests is one fetch. */
static bool was_just_fetched(kt_ctx_t *ctx, const kt_call_t *call, kt_status_t *ret_status)
{
    const kt_cached_t *cached = kt_cache_find(ctx->cache, call->text);

    if (cached == NULL || !cached->by_agent || cached->suspect || cached->failed != KT_SUCCESS ||
        kt_monotonic() - cached->fetched >= FRESH_MS || !is_fresh(ctx, cached, kt_monotonic()))
        return false;
    *ret_status = cached->status == KT_SUCCESS
                      ? KT_SUCCESS
                      : kt_fail(cached->status, "%s", kt_status_text(cached->status));
    return true;
}

/* Through the agent, without the lock, so that others are served meanwhile. */
static kt_status_t fetch_by_agent(kt_ctx_t *ctx, kt_ctx_t *agent, const kt_call_t *call,
                                  kt_cached_t *ret_entry)
{
    kt_status_t status;

    (void)pthread_mutex_unlock(&ctx->lock);
    status = kt_enter(agent);
    if (status == KT_SUCCESS) {
        status = fetch(agent, call, true, ret_entry);
        kt_leave(agent);
    }
    (void)pthread_mutex_lock(&ctx->lock);
    ret_entry->by_agent = true;
    return status;
}

static kt_status_t refresh_locked(kt_ctx_t *ctx, const kt_call_t *call)
{
    uint64_t drops = kt_cache_drops(ctx->cache);
    kt_cached_t entry = {.secret = NULL};
    kt_singleflight_t *flight = NULL;
    bool mine = true;
    kt_ctx_t *agent;
    kt_status_t status;

    if (call->req->provider == NULL && was_just_fetched(ctx, call, &status))
        return status;
    status = ensure_agent(ctx, &agent);
    if (status != KT_SUCCESS)
        return status;
    if (call->req->provider == NULL)
        flight = kt_singleflight_join(ctx, call->text, &mine);
    if (!mine)
        return kt_singleflight_wait(ctx, flight);
    status = fetch_by_agent(ctx, agent, call, &entry);
    if (call->req->provider == NULL && !kt_switch_is_fact(status))
        remember_failure(ctx, call, status);
    else if (entry.route != NULL &&
             drops == kt_cache_drops(ctx->cache)) /* else it may be from before a write of ours */
        keep(ctx, call, &entry);
    if (kt_switch_is_fact(status))
        kt_secret_free(entry.secret);
    kt_singleflight_finish(ctx, flight, status);
    return status;
}

/* A call that is not recorded: what is refused here asks no provider, and the read itself will be
 * refused and recorded. */
static kt_status_t begin_unrecorded(kt_ctx_t *ctx, const kt_request_t *req, kt_call_t *ret_call)
{
    kt_status_t status = kt_call_begin(ctx, req, ret_call);

    return status == KT_SUCCESS ? kt_policy_check(ctx->holder.config, ret_call->subject,
                                                  KT_CAP_READ, ret_call->ref.name)
                                : status;
}

kt_status_t kt_refresh(kt_ctx_t *ctx, const kt_request_t *req)
{
    kt_call_t call;
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    status = begin_unrecorded(ctx, req, &call);
    if (status == KT_SUCCESS)
        status = refresh_locked(ctx, &call);
    kt_leave(ctx);
    return status;
}

/* At most once a second, counted from the last answer or failure: a client that can have a value
 * refused causes no more fetches than that. */
static void suspect(kt_cached_t *cached)
{
    int64_t now = kt_monotonic();

    if (now - cached->fetched >= REJECT_MS &&
        (cached->failed == KT_SUCCESS || now - cached->failed_at >= REJECT_MS))
        cached->suspect = true;
}

void kt_reject(kt_ctx_t *ctx, const kt_request_t *req)
{
    kt_cached_t *cached;
    uint64_t version;
    kt_call_t call;

    if (kt_enter(ctx) != KT_SUCCESS)
        return;
    if (kt_call_begin(ctx, req, &call) == KT_SUCCESS) {
        version = call.ref.selector == KT_SEL_NUMBER ? call.ref.version : 0;
        if (version != 0) {
            call.ref.selector = KT_SEL_CURRENT;
            kt_reference_format(&call.ref, call.text, sizeof(call.text));
        }
        cached = kt_cache_find(ctx->cache, call.text);
        if (cached != NULL &&
            (version == 0 || (cached->secret != NULL && cached->secret->version == version)))
            suspect(cached);
    }
    kt_leave(ctx);
}

kt_status_t kt_probe(kt_ctx_t *ctx, const kt_request_t *req)
{
    kt_cached_t entry = {.secret = NULL};
    kt_call_t call;
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    status = begin_unrecorded(ctx, req, &call);
    if (status == KT_SUCCESS && ctx->audit != NULL && ctx->holder.config->audit_required)
        status = kt_audit_room(ctx->audit, 1);
    if (status == KT_SUCCESS) {
        status = fetch(ctx, &call, false, &entry);
        if (status == KT_SUCCESS)
            kt_secret_free(entry.secret);
    }
    kt_leave(ctx);
    return status;
}
