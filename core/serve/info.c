/* SPDX-License-Identifier: BSD-2-Clause */
/* info.c: names and metadata, never values. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve.h"

static const char *state_of(const kt_head_t *head)
{
    if (head->deleted)
        return "deleted";
    return head->expires != 0 && head->expires <= kt_now() ? "expired" : "live";
}

static void fill_entry(const kt_head_t *head, kt_entry_t *entry)
{
    *entry = (kt_entry_t){
        head->name,    head->current, state_of(head),        head->created,
        head->updated, head->expires, kt_schedule_due(head), kt_origin_of(head, head->current)};
}

static const char *version_state(const kt_head_t *head, const kt_head_version_t *version)
{
    if (version->destroyed)
        return "destroyed";
    if (version->version == head->current)
        return "current";
    if (version->version == head->pending)
        return "pending";
    if (version->version == head->previous)
        return "previous";
    return version->abandoned ? "abandoned" : "kept";
}

/* ---- one ---- */

kt_status_t kt_info_new(kt_head_t *head, const char *provider, kt_info_t **ret_info)
{
    kt_info_t *info = calloc(1, sizeof(*info));
    size_t i;

    if (info != NULL)
        info->versions = calloc(head->nversions > 0 ? head->nversions : 1, sizeof(*info->versions));
    if (info == NULL || info->versions == NULL) {
        free(info);
        kt_head_clear(head);
        return kt_no_memory();
    }
    info->head = *head; /* taken over */
    fill_entry(&info->head, &info->entry);
    (void)snprintf(info->provider, sizeof(info->provider), "%s", provider);
    for (i = 0; i < info->head.nversions; i++) {
        const kt_head_version_t *version = &info->head.versions[i];

        info->versions[i] =
            (kt_version_t){version->version, version_state(&info->head, version), version->created,
                           version->expires != 0 ? version->expires : info->head.expires};
    }
    info->usage.name = info->head.name;
    *ret_info = info;
    return KT_SUCCESS;
}

/* With its usage, which takes a look at all streams. */
static kt_status_t make_info(const kt_ctx_t *ctx, kt_head_t *head, const char *provider,
                             kt_info_t **ret_info)
{
    kt_status_t status = kt_info_new(head, provider, ret_info);

    if (status != KT_SUCCESS)
        return status;
    kt_access_of(ctx->holder.config, ctx->holder.stream, (*ret_info)->head.name,
                 &(*ret_info)->accessed);
    kt_usage_fill((*ret_info)->head.name, &(*ret_info)->accessed, &(*ret_info)->usage);
    return KT_SUCCESS;
}

/* The first sealed provider on the route that has it. As in route.c, NOTFOUND proves nothing if an
 * earlier provider could not answer. */
static kt_status_t find_head(kt_ctx_t *ctx, const kt_call_t *call, kt_head_t *ret_head,
                             const char **ret_provider)
{
    const kt_cfg_route_t *route = kt_switch_route(ctx->holder.config, call->ref.name);
    kt_status_t status = kt_switch_no_route(call);
    kt_failure_t unsure = {.status = KT_SUCCESS};
    kt_bundle_store_t bundle;
    kt_store_t *store;
    size_t i, index;

    if (call->req->bundle != NULL || call->req->provider != NULL) {
        status = kt_switch_writer(ctx, call, &bundle, &store, &index);
        if (status == KT_SUCCESS && !(store->api->capabilities & KTP_SEALED))
            status = kt_fail(KT_FORBIDDEN, "%s: keeps no metadata", store->name);
        *ret_provider = status == KT_SUCCESS ? store->name : "";
        return status == KT_SUCCESS ? kt_store_head(&ctx->holder, store, call->ref.name, ret_head)
                                    : status;
    }
    for (i = 0; route != NULL && i < route->nsteps; i++) {
        status = kt_store_of(ctx, route->steps[i].provider, &store);
        if (status == KT_SUCCESS && !(store->api->capabilities & KTP_SEALED)) {
            status =
                kt_fail(KT_NOTFOUND, "%s: \"%s\" keeps no metadata", call->ref.name, store->name);
            continue;
        }
        if (status == KT_SUCCESS)
            status = kt_store_head(&ctx->holder, store, call->ref.name, ret_head);
        if (status == KT_SUCCESS)
            *ret_provider = store->name;
        if (status == KT_SUCCESS || !route->steps[i].go_on[status])
            break;
        if (status != KT_NOTFOUND && unsure.status == KT_SUCCESS)
            kt_failure_save(&unsure, status);
    }
    return status == KT_NOTFOUND && unsure.status != KT_SUCCESS ? kt_failure_restore(&unsure)
                                                                : status;
}

static kt_status_t info_locked(kt_ctx_t *ctx, const kt_request_t *req, kt_info_t **ret_info)
{
    const char *provider = NULL;
    kt_head_t head;
    kt_call_t call;
    kt_status_t status;

    status = kt_call_begin(ctx, req, &call);
    if (status != KT_SUCCESS)
        return status;
    status = kt_policy_check(ctx->holder.config, call.subject, KT_CAP_LIST, call.ref.name);
    if (status == KT_SUCCESS)
        status = find_head(ctx, &call, &head, &provider);
    if (status != KT_SUCCESS)
        return kt_decide(ctx, &call, "info", status, 0, provider, 0);
    status = kt_decide(ctx, &call, "info", KT_SUCCESS, head.current, provider, 0);
    if (status != KT_SUCCESS) {
        kt_head_clear(&head);
        return status;
    }
    return make_info(ctx, &head, provider, ret_info);
}

kt_status_t kt_info(kt_ctx_t *ctx, const kt_request_t *req, kt_info_t **ret_info)
{
    kt_status_t status = kt_enter(ctx);

    *ret_info = NULL;
    if (status != KT_SUCCESS)
        return status;
    status = info_locked(ctx, req, ret_info);
    kt_leave(ctx);
    return status;
}

void kt_info_free(kt_info_t *info)
{
    if (info == NULL)
        return;
    kt_head_clear(&info->head);
    free(info->versions);
    free(info);
}

const kt_entry_t *kt_info_entry(const kt_info_t *info)
{
    return &info->entry;
}

const kt_usage_t *kt_info_usage(const kt_info_t *info)
{
    return &info->usage;
}

const char *kt_info_provider(const kt_info_t *info)
{
    return info->provider;
}

uint64_t kt_info_counter(const kt_info_t *info)
{
    return info->head.counter;
}

uint64_t kt_info_previous(const kt_info_t *info)
{
    return info->head.previous;
}

uint64_t kt_info_pending(const kt_info_t *info)
{
    return info->head.pending;
}

size_t kt_info_versions(const kt_info_t *info)
{
    return info->head.nversions;
}

const kt_version_t *kt_info_version(const kt_info_t *info, size_t i)
{
    return i < info->head.nversions ? &info->versions[i] : NULL;
}

/* The origin is kept with each version, and shown as metadata of the secret. */
size_t kt_info_metas(const kt_info_t *info)
{
    return info->head.nmetas + 1;
}

void kt_info_meta(const kt_info_t *info, size_t i, const char **key, const char **value)
{
    *key = *value = NULL;
    if (i < info->head.nmetas) {
        *key = info->head.metas[i].key;
        *value = info->head.metas[i].value;
    } else if (i == info->head.nmetas) {
        *key = KT_META_ORIGIN;
        *value = info->entry.origin;
    }
}

int64_t kt_info_rotated(const kt_info_t *info)
{
    return kt_schedule_rotated(&info->head);
}

int64_t kt_info_due(const kt_info_t *info)
{
    return kt_schedule_due(&info->head);
}

const char *kt_info_note(const kt_info_t *info, uint64_t version, const char *key)
{
    return kt_head_get_note(&info->head, version, key);
}

/* ---- all ---- */

typedef struct listing {
    kt_ctx_t *ctx;
    const char *subject, *pattern;
    size_t provider; /* whose rows are being listed */
    kt_list_fn fn;
    void *arg;
    uint64_t refused; /* names that match, and that the policy hides */
    int stopped;
} listing_t;

static int list_head(void *arg, const kt_head_t *head)
{
    listing_t *listing = arg;
    kt_entry_t entry;

    if (!kt_pattern_match(listing->pattern, head->name) ||
        !kt_switch_uses(listing->ctx->holder.config, head->name, listing->provider))
        return 0;
    if (kt_policy_check(listing->ctx->holder.config, listing->subject, KT_CAP_LIST, head->name) !=
        KT_SUCCESS) {
        listing->refused++;
        return 0;
    }
    fill_entry(head, &entry);
    listing->stopped = listing->fn(listing->arg, &entry);
    return listing->stopped;
}

static kt_status_t list_providers(kt_ctx_t *ctx, listing_t *listing, uint64_t *ret_hidden)
{
    kt_status_t status = KT_SUCCESS;
    kt_store_t *store;
    uint64_t hidden;
    size_t i;

    for (i = 0; i < ctx->modules->count && status == KT_SUCCESS && !listing->stopped; i++) {
        if ((ctx->modules->list[i].api->capabilities & (KTP_SEALED | KTP_LIST)) !=
            (KTP_SEALED | KTP_LIST))
            continue;
        listing->provider = i;
        hidden = 0;
        status = kt_store_of(ctx, i, &store);
        if (status == KT_SUCCESS)
            status = kt_store_scan(&ctx->holder, store, list_head, listing, &hidden);
        *ret_hidden += hidden;
    }
    return status;
}

/* Names of a type whose key is held are all seen, whatever other types there are. */
static bool is_of_held_type(kt_ctx_t *ctx, const char *pattern)
{
    size_t size = strcspn(pattern, "/*");
    char type[KT_NAME_MAX + 1];
    const kt_typekey_t *key;

    if (pattern[size] != '/' || size >= sizeof(type))
        return false;
    memcpy(type, pattern, size);
    type[size] = '\0';
    if (kt_keyring_type(ctx->holder.keyring, type, 0, &key) == KT_SUCCESS)
        return true;
    kt_failure_clear();
    return false;
}

static kt_status_t list_locked(kt_ctx_t *ctx, const kt_request_t *req, listing_t *listing,
                               uint64_t *ret_hidden)
{
    kt_call_t call = {.req = req, .subject = req->subject};
    const kt_cfg_rule_t *rule;
    kt_status_t status;

    status = kt_pattern_check(listing->pattern);
    if (status == KT_SUCCESS)
        status = kt_subject_check(ctx, req->subject);
    if (status != KT_SUCCESS)
        return status;
    (void)snprintf(call.text, sizeof(call.text), "%s", listing->pattern);
    status = kt_policy_any(ctx->holder.config, req->subject, KT_CAP_LIST, listing->pattern, &rule);
    if (status == KT_SUCCESS)
        status = list_providers(ctx, listing, ret_hidden);
    if (is_of_held_type(ctx, listing->pattern))
        *ret_hidden = 0;
    *ret_hidden += listing->refused;
    if (status == KT_SUCCESS)
        kt_failure_clear(); /* left by refusals of single names, which are not an error here */
    return kt_decide(ctx, &call, "list", status, 0, NULL, 0);
}

kt_status_t kt_list(kt_ctx_t *ctx, const kt_request_t *req, kt_list_fn fn, void *arg,
                    uint64_t *ret_hidden)
{
    listing_t listing = {.ctx = ctx, .subject = req->subject, .fn = fn, .arg = arg};
    uint64_t hidden = 0;
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    listing.pattern = req->reference != NULL ? req->reference : "*";
    status = list_locked(ctx, req, &listing, &hidden);
    kt_leave(ctx);
    if (status == KT_SUCCESS && ret_hidden != NULL)
        *ret_hidden = hidden;
    return status;
}
