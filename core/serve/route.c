/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route.c: which providers answer for a name, in which order, and after which status the next one
 * is asked.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"

/* ---- routes ---- */

const kt_cfg_route_t *kt_switch_route(const kt_config_t *config, const char *name)
{
    size_t i;

    for (i = 0; i < config->nroutes; i++) {
        if (kt_pattern_match(config->routes[i].pattern, name))
            return &config->routes[i];
    }
    return NULL;
}

bool kt_switch_uses(const kt_config_t *config, const char *name, size_t provider)
{
    const kt_cfg_route_t *route = kt_switch_route(config, name);
    size_t i;

    for (i = 0; route != NULL && i < route->nsteps; i++) {
        if (route->steps[i].provider == provider)
            return true;
    }
    return false;
}

kt_status_t kt_switch_no_route(const kt_call_t *call)
{
    return kt_fail(KT_NOTFOUND, "%s: no route of `switch` matches this name", call->ref.name);
}

static kt_status_t find_provider(kt_ctx_t *ctx, const char *name, size_t *ret_index)
{
    size_t i;

    for (i = 0; i < ctx->holder.config->nproviders; i++) {
        if (strcmp(ctx->holder.config->providers[i].name, name) == 0) {
            *ret_index = i;
            return KT_SUCCESS;
        }
    }
    return kt_fail(KT_USAGE, "no provider of this name is configured");
}

static uint32_t capabilities(const kt_ctx_t *ctx, size_t index)
{
    return ctx->modules->list[index].api->capabilities;
}

static bool is_writer(const kt_ctx_t *ctx, size_t index)
{
    return (capabilities(ctx, index) & (KTP_WRITE | KTP_SEALED)) == (KTP_WRITE | KTP_SEALED);
}

static kt_status_t open_writer(kt_ctx_t *ctx, size_t index, kt_store_t **ret_store,
                               size_t *ret_index)
{
    *ret_index = index;
    return kt_store_of(ctx, index, ret_store);
}

kt_status_t kt_switch_writer(kt_ctx_t *ctx, const kt_call_t *call, kt_bundle_store_t *bundle,
                             kt_store_t **ret_store, size_t *ret_index)
{
    const kt_cfg_route_t *route;
    kt_status_t status;
    size_t i, index = 0;

    *ret_index = SIZE_MAX;
    if (call->req->bundle != NULL) {
        kt_bundle_store_of(ctx, call->req->bundle, bundle);
        *ret_store = &bundle->store;
        return KT_SUCCESS;
    }
    if (call->req->provider != NULL) {
        status = find_provider(ctx, call->req->provider, &index);
        if (status != KT_SUCCESS)
            return status;
        return is_writer(ctx, index)
                   ? open_writer(ctx, index, ret_store, ret_index)
                   : kt_fail(KT_FORBIDDEN, "%s: cannot write", call->req->provider);
    }
    route = kt_switch_route(ctx->holder.config, call->ref.name);
    if (route == NULL)
        return kt_switch_no_route(call);
    for (i = 0; i < route->nsteps; i++) {
        index = route->steps[i].provider;
        if (is_writer(ctx, index))
            return open_writer(ctx, index, ret_store, ret_index);
    }
    return kt_fail(KT_FORBIDDEN, "%s: none of the providers on its route can write",
                   call->ref.name);
}

bool kt_switch_blocks(kt_ctx_t *ctx, const kt_call_t *call)
{
    const kt_cfg_route_t *route = kt_switch_route(ctx->holder.config, call->ref.name);
    size_t i;

    for (i = 0; route != NULL && i < route->nsteps; i++) {
        if (capabilities(ctx, route->steps[i].provider) & KTP_BLOCKING)
            return true;
    }
    return false;
}

static bool token_of(kt_ctx_t *ctx, size_t index, unsigned char ret_token[KTP_TOKEN_SIZE])
{
    kt_store_t *store = &ctx->stores[index];

    return (store->api != NULL || kt_store_of(ctx, index, &store) == KT_SUCCESS) &&
           store->api->token(store->instance, ret_token) == KTP_SUCCESS;
}

bool kt_switch_is_cached(const kt_ctx_t *ctx)
{
    const kt_config_t *config = ctx->holder.config;

    return config->cache_ttl > 0 || config->cache_negative > 0 || config->cache_stale > 0;
}

/* A provider without tokens has no part in it: only the TTL limits how long its values are cached.
 */
static bool token_of_all(kt_ctx_t *ctx, const kt_cfg_route_t *route,
                         unsigned char ret_token[KTP_TOKEN_SIZE])
{
    crypto_generichash_state all;
    size_t i;

    (void)crypto_generichash_init(&all, NULL, 0, KTP_TOKEN_SIZE);
    for (i = 0; i < route->nsteps; i++) {
        if (!(capabilities(ctx, route->steps[i].provider) & KTP_TOKEN))
            continue;
        if (!token_of(ctx, route->steps[i].provider, ret_token))
            return false;
        (void)crypto_generichash_update(&all, ret_token, KTP_TOKEN_SIZE);
    }
    (void)crypto_generichash_final(&all, ret_token, KTP_TOKEN_SIZE);
    return true;
}

bool kt_switch_token(kt_ctx_t *ctx, const kt_cfg_route_t *route,
                     unsigned char ret_token[KTP_TOKEN_SIZE])
{
    if (route->nsteps != 1)
        return token_of_all(ctx, route, ret_token);
    if ((capabilities(ctx, route->steps[0].provider) & KTP_TOKEN) != 0)
        return token_of(ctx, route->steps[0].provider, ret_token);
    memset(ret_token, 0, KTP_TOKEN_SIZE);
    return true;
}

/* ---- one provider ---- */

static void selector_text(const kt_reference_t *ref, char text[24])
{
    static const char *const names[] = {"current", "previous", "pending"};

    if (ref->selector == KT_SEL_NUMBER)
        (void)snprintf(text, 24, "%llu", (unsigned long long)ref->version);
    else
        (void)snprintf(text, 24, "%s", names[ref->selector]);
}

static kt_status_t read_plain(kt_ctx_t *ctx, kt_store_t *store, const kt_reference_t *ref,
                              kt_secret_t **ret_secret)
{
    char version[24];
    ktp_request_t request = {sizeof(request), ctx->holder.config->environment, ref->name, version,
                             5000};
    ktp_value_t value = {.size = sizeof(value)};
    kt_secret_t *secret;
    kt_status_t status;

    selector_text(ref, version);
    if (ref->selector != KT_SEL_CURRENT && !(store->api->capabilities & KTP_VERSIONS))
        return kt_fail(KT_NOTFOUND, "%s: keeps no versions", store->name);
    status = kt_from_provider(store->name, store->api->get(store->instance, &request, &value));
    if (status != KT_SUCCESS)
        return status;
    /* zero bytes are an empty value; NULL is not a value */
    if (value.value.size > KT_VALUE_MAX || value.value.data == NULL) {
        kt_locked_free(value.value.data);
        return kt_fail(KT_MALFORMED, "%s: did not answer a value of at most %u bytes", store->name,
                       KT_VALUE_MAX);
    }
    secret = kt_secret_new(value.value.data, value.value.size);
    kt_locked_free(value.value.data);
    if (secret == NULL)
        return kt_no_memory();
    if (value.expires != 0 && value.expires <= kt_now()) {
        kt_secret_free(secret);
        return kt_fail(KT_GONE, "%s has expired", ref->name);
    }
    secret->version = value.version;
    secret->expires = value.expires;
    *ret_secret = secret;
    return KT_SUCCESS;
}

static bool must_wait(const kt_ctx_t *ctx, size_t index, bool blocking)
{
    return !blocking && (capabilities(ctx, index) & KTP_BLOCKING);
}

static kt_status_t ask(kt_ctx_t *ctx, const kt_call_t *call, size_t index, kt_secret_t **ret_secret)
{
    kt_store_t *store;
    kt_status_t status = kt_store_of(ctx, index, &store);

    if (status != KT_SUCCESS)
        return status;
    if (store->api->capabilities & KTP_SEALED)
        return kt_store_read(&ctx->holder, store, &call->ref, ret_secret);
    return read_plain(ctx, store, &call->ref, ret_secret);
}

static kt_status_t read_from(kt_ctx_t *ctx, const kt_call_t *call, size_t index, bool blocking,
                             kt_secret_t **ret_secret)
{
    kt_status_t status;

    if (must_wait(ctx, index, blocking))
        return kt_fail(KT_TRYAGAIN, "%s: its provider is reached over a network only",
                       call->ref.name);
    status = ask(ctx, call, index, ret_secret);
    kt_tally(ctx, index, status);
    return status;
}

/* ---- all in turn ---- */

bool kt_switch_is_fact(kt_status_t status)
{
    return status == KT_SUCCESS || status == KT_NOTFOUND || status == KT_GONE;
}

static void fill(kt_cached_t *entry, kt_status_t status, kt_secret_t *secret, size_t provider,
                 size_t nsteps)
{
    entry->status = status;
    entry->secret = secret;
    entry->provider = provider;
    entry->nsteps = nsteps;
    entry->fetched = kt_monotonic();
}

/*
 * If a provider could not answer, NOTFOUND of a later one proves nothing: then the first failure is
 * the answer, although its action was to continue.
 */
static kt_status_t walk(kt_ctx_t *ctx, const kt_call_t *call, const kt_cfg_route_t *route,
                        bool blocking, kt_cached_t *ret_entry)
{
    kt_status_t status = KT_NOTFOUND;
    kt_failure_t unsure = {.status = KT_SUCCESS};
    kt_secret_t *secret = NULL;
    size_t i;

    for (i = 0; i < route->nsteps; i++) {
        const kt_cfg_step_t *step = &route->steps[i];

        status = read_from(ctx, call, step->provider, blocking, &secret);
        if (status == KT_TRYAGAIN && must_wait(ctx, step->provider, blocking))
            return status;
        if (!step->go_on[status] || i + 1 == route->nsteps)
            break;
        if (status == KT_SUCCESS)
            kt_secret_free(secret);
        if (!kt_switch_is_fact(status) && unsure.status == KT_SUCCESS)
            kt_failure_save(&unsure, status);
    }
    if (status == KT_NOTFOUND && unsure.status != KT_SUCCESS)
        return kt_failure_restore(&unsure);
    if (!kt_switch_is_fact(status))
        return status;
    fill(ret_entry, status, status == KT_SUCCESS ? secret : NULL,
         route->steps[i < route->nsteps ? i : i - 1].provider, i + 1);
    return status;
}

kt_status_t kt_switch_read(kt_ctx_t *ctx, const kt_call_t *call, bool blocking,
                           kt_cached_t *ret_entry)
{
    unsigned char token[KTP_TOKEN_SIZE];
    const kt_cfg_route_t *route;
    kt_secret_t *secret = NULL;
    kt_status_t status;
    size_t index = 0;

    memset(ret_entry, 0, sizeof(*ret_entry));
    if (call->req->provider != NULL) {
        status = find_provider(ctx, call->req->provider, &index);
        if (status != KT_SUCCESS)
            return status;
        status = read_from(ctx, call, index, blocking, &secret);
        fill(ret_entry, status, secret, index, 0);
        return status;
    }
    route = kt_switch_route(ctx->holder.config, call->ref.name);
    if (route == NULL)
        return kt_switch_no_route(call);
    /* Before the read, so that a commit between the two outdates the entry at once. All steps
     * count, also of a chain that ends early: a needless comparison does no harm. */
    if (!kt_switch_is_cached(ctx) || !kt_switch_token(ctx, route, token))
        memset(token, 0, sizeof(token));
    status = walk(ctx, call, route, blocking, ret_entry);
    if (kt_switch_is_fact(status)) {
        ret_entry->route = route;
        memcpy(ret_entry->token, token, sizeof(token));
        if (ret_entry->nsteps > 1 && status == KT_SUCCESS)
            kt_log(&ctx->holder.logger, 5, "%s: served by the fallback \"%s\"", call->ref.name,
                   ctx->holder.config->providers[ret_entry->provider].name);
    }
    return status;
}
