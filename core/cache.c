/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache.c: what was read, by reference. It knows neither time nor providers: read.c decides what is still good. Bounded; the entry that was
 * used longest ago makes room. Evicted values are wiped by kt_secret_free() as soon as nobody uses them.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define BUCKETS 256u

typedef struct node {
    struct node *chain;          /* of the bucket */
    struct node *newer, *older;  /* by use */
    kt_cached_t entry;
    char reference[KT_REFERENCE_MAX];
} node_t;

struct kt_cache {
    uint64_t drops;              /* calls of kt_cache_drop_name() */
    size_t count, limit;
    node_t *newest, *oldest;
    node_t *buckets[BUCKETS];
};

kt_cache_t *kt_cache_new(size_t limit)
{
    kt_cache_t *cache = calloc(1, sizeof(*cache));

    if (cache != NULL)
        cache->limit = limit;
    return cache;
}

static size_t bucket_of(const char *reference)
{
    uint32_t hash = 2166136261u; /* FNV-1a: references come from our own configuration, not from an attacker with 2^32 tries */

    for (; *reference != '\0'; reference++)
        hash = (hash ^ (unsigned char)*reference) * 16777619u;
    return hash % BUCKETS;
}

static void unlink_use(kt_cache_t *cache, node_t *node)
{
    if (node->newer != NULL)
        node->newer->older = node->older;
    else
        cache->newest = node->older;
    if (node->older != NULL)
        node->older->newer = node->newer;
    else
        cache->oldest = node->newer;
}

static void link_newest(kt_cache_t *cache, node_t *node)
{
    node->newer = NULL;
    node->older = cache->newest;
    if (cache->newest != NULL)
        cache->newest->newer = node;
    else
        cache->oldest = node;
    cache->newest = node;
}

static void drop(kt_cache_t *cache, node_t *node)
{
    node_t **at = &cache->buckets[bucket_of(node->reference)];

    while (*at != node)
        at = &(*at)->chain;
    *at = node->chain;
    unlink_use(cache, node);
    kt_secret_free(node->entry.secret);
    kt_wipe(node, sizeof(*node));
    free(node);
    cache->count--;
}

static node_t *find(kt_cache_t *cache, const char *reference)
{
    node_t *node = cache->buckets[bucket_of(reference)];

    while (node != NULL && strcmp(node->reference, reference) != 0)
        node = node->chain;
    return node;
}

kt_cached_t *kt_cache_find(kt_cache_t *cache, const char *reference)
{
    node_t *node = find(cache, reference);

    if (node == NULL)
        return NULL;
    if (cache->newest != node) {
        unlink_use(cache, node);
        link_newest(cache, node);
    }
    return &node->entry;
}

void kt_cache_put(kt_cache_t *cache, const char *reference, const kt_cached_t *entry)
{
    node_t *node = find(cache, reference);
    kt_secret_t *old;

    if (node == NULL) {
        node = calloc(1, sizeof(*node));
        if (node == NULL)
            return; /* a cache may forget */
        if (cache->count >= cache->limit)
            drop(cache, cache->oldest);
        memcpy(node->reference, reference, strlen(reference) + 1);
        node->chain = cache->buckets[bucket_of(reference)];
        cache->buckets[bucket_of(reference)] = node;
        link_newest(cache, node);
        cache->count++;
    }
    old = node->entry.secret;
    node->entry = *entry;
    if (node->entry.secret != NULL)
        (void)kt_secret_ref(node->entry.secret);
    kt_secret_free(old);
}

void kt_cache_drop_name(kt_cache_t *cache, const char *name)
{
    size_t size = strlen(name);
    node_t *node = cache->newest, *older;

    cache->drops++;
    for (; node != NULL; node = older) {
        char after = strncmp(node->reference, name, size) == 0 ? node->reference[size] : 'x';

        older = node->older;
        if (after == '\0' || after == '#' || after == '@')
            drop(cache, node);
    }
}

uint64_t kt_cache_drops(const kt_cache_t *cache)
{
    return cache->drops;
}

void kt_cache_clear(kt_cache_t *cache)
{
    cache->drops++;
    while (cache->newest != NULL)
        drop(cache, cache->newest);
}

void kt_cache_free(kt_cache_t *cache)
{
    if (cache == NULL)
        return;
    kt_cache_clear(cache);
    free(cache);
}
