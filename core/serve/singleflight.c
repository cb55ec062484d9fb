/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * singleflight.c: one fetch for all threads that ask for the same. A thread that comes while it is
 * under way waits for its answer; a hundred threads that miss the same entry ask the provider once.
 *
 * A fetch that began before a write of this process (by kt_cache_drops()) may bring back an older
 * value, so a later thread does not join it but starts its own.
 */
#include <stdlib.h>
#include <string.h>

#include "cache.h"

struct kt_singleflight {
    kt_singleflight_t *next;
    uint64_t drops; /* of the cache, when it began */
    unsigned waiting;
    bool landed;
    kt_failure_t result; /* once it has landed */
    char reference[KT_REFERENCE_MAX];
};

kt_singleflight_t *kt_singleflight_join(kt_ctx_t *ctx, const char *reference, bool *ret_mine)
{
    kt_singleflight_t *flight = ctx->flights;

    while (flight != NULL && (flight->drops != kt_cache_drops(ctx->cache) ||
                              strcmp(flight->reference, reference) != 0))
        flight = flight->next;
    *ret_mine = flight == NULL;
    if (flight != NULL)
        return flight;
    flight = calloc(1, sizeof(*flight));
    if (flight == NULL)
        return NULL;
    flight->drops = kt_cache_drops(ctx->cache);
    memcpy(flight->reference, reference, strlen(reference) + 1);
    flight->next = ctx->flights;
    ctx->flights = flight;
    return flight;
}

kt_status_t kt_singleflight_wait(kt_ctx_t *ctx, kt_singleflight_t *flight)
{
    kt_status_t status;

    flight->waiting++;
    while (!flight->landed)
        (void)pthread_cond_wait(&ctx->landed, &ctx->lock);
    status = kt_failure_restore(&flight->result);
    if (--flight->waiting == 0)
        free(flight);
    return status;
}

void kt_singleflight_finish(kt_ctx_t *ctx, kt_singleflight_t *flight, kt_status_t status)
{
    kt_singleflight_t **at = &ctx->flights;

    if (flight == NULL)
        return;
    while (*at != flight)
        at = &(*at)->next;
    *at = flight->next;
    if (flight->waiting == 0) {
        free(flight);
        return;
    }
    flight->landed = true;
    kt_failure_save(&flight->result, status);
    (void)pthread_cond_broadcast(&ctx->landed);
}

int kt_singleflight_waiting(const kt_ctx_t *ctx, const char *reference)
{
    const kt_singleflight_t *flight = ctx->flights;

    while (flight != NULL && strcmp(flight->reference, reference) != 0)
        flight = flight->next;
    return flight != NULL ? (int)flight->waiting : -1;
}
