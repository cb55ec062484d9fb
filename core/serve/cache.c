/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache.c: what was read, by reference. It knows neither time nor providers: read.c decides what is
 * still good.
 *
 * The cache is bounded in bytes, because values lie in locked memory, of which a process has
 * little: seven eighths for values, one for names that have none. Each part makes room by itself
 * and drops the entry used longest ago, so that invented names (an nginx variable may hold a
 * client's text) push out other such names and no value. A hash under a random key chooses the
 * bucket, so that a client cannot invent names that all go into one. kt_secret_free() wipes an
 * evicted value when its last user frees it.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"

#define BUCKETS_MIN 64u
#define GRANTS 4u        /* subjects remembered with an entry */
#define TAKEN 64u        /* references of a value that are counted at once */
#define RECALLED_BITS 8u /* the short way to an entry has 2^8 places */

typedef struct part part_t;

typedef struct grant {
    char *subject;
    kt_granted_t kept;
} grant_t;

typedef struct node {
    kt_cached_t entry;          /* the first member: callers hold its address */
    unsigned spare;             /* references of its secret that were counted and not given out */
    struct node *chain;         /* of the bucket */
    struct node *newer, *older; /* by use, in the part */
    part_t *part;
    uint64_t hash;
    size_t bytes; /* what the part counts for it */
    grant_t granted[GRANTS];
    unsigned next_grant;
    size_t size; /* of the reference, without NUL */
    char reference[];
} node_t;

struct part {
    node_t *newest, *oldest;
    size_t bytes, limit;
};

struct kt_cache {
    unsigned char key[crypto_shorthash_KEYBYTES];
    uint64_t drops;         /* calls of kt_cache_drop_name() */
    size_t count, nbuckets; /* a power of two */
    node_t **buckets;
    node_t *recalled[1u << RECALLED_BITS]; /* the entry that was found last in each place */
    part_t values, absences;
};

kt_cache_t *kt_cache_new(size_t limit)
{
    kt_cache_t *cache = calloc(1, sizeof(*cache));

    if (cache == NULL)
        return NULL;
    cache->nbuckets = BUCKETS_MIN;
    cache->buckets = calloc(cache->nbuckets, sizeof(*cache->buckets));
    if (cache->buckets == NULL) {
        free(cache);
        return NULL;
    }
    cache->absences.limit = limit / 8;
    cache->values.limit = limit - limit / 8;
    randombytes_buf(cache->key, sizeof(cache->key));
    return cache;
}

/* ---- the table ---- */

static uint64_t hash_of(const kt_cache_t *cache, const char *reference)
{
    unsigned char hash[crypto_shorthash_BYTES];

    (void)crypto_shorthash(hash, (const unsigned char *)reference, strlen(reference), cache->key);
    return kt_get_u64(hash);
}

static node_t **bucket_of(const kt_cache_t *cache, uint64_t hash)
{
    return &cache->buckets[hash & (cache->nbuckets - 1)];
}

static node_t *find(const kt_cache_t *cache, const char *reference, uint64_t hash)
{
    node_t *node = *bucket_of(cache, hash);

    while (node != NULL && (node->hash != hash || strcmp(node->reference, reference) != 0))
        node = node->chain;
    return node;
}

static void join_bucket(kt_cache_t *cache, node_t *node)
{
    node_t **bucket = bucket_of(cache, node->hash);

    node->chain = *bucket;
    *bucket = node;
}

/* Twice as many buckets. Without memory for them the chains get longer. */
static void grow(kt_cache_t *cache)
{
    size_t i, old_count = cache->nbuckets;
    node_t **old = cache->buckets, *node, *next;
    node_t **buckets = calloc(old_count * 2, sizeof(*buckets));

    if (buckets == NULL)
        return;
    cache->buckets = buckets;
    cache->nbuckets = old_count * 2;
    for (i = 0; i < old_count; i++) {
        for (node = old[i]; node != NULL; node = next) {
            next = node->chain;
            join_bucket(cache, node);
        }
    }
    free(old);
}

/* A place is chosen without a key, because names that a client invents can only take it from each
 * other, and an entry that is not recalled is found by its hash. Only the highest bits of a product
 * depend on all bits of its factors, and names that are used together often differ in the last
 * byte alone: api-keys/a, api-keys/b. */
static node_t **recalled_at(kt_cache_t *cache, const char *reference, size_t size)
{
    uint64_t first = 0, last = 0;

    memcpy(&first, reference, size < 8 ? size : 8);
    if (size > 8)
        memcpy(&last, reference + size - 8, 8);
    first = (first + (last ^ size) * 0x9e3779b97f4a7c15u) * 0x9e3779b97f4a7c15u;
    return &cache->recalled[first >> (64 - RECALLED_BITS)];
}

static void remember(kt_cache_t *cache, node_t *node)
{
    *recalled_at(cache, node->reference, node->size) = node;
}

static void forget(kt_cache_t *cache, const node_t *node)
{
    node_t **at = recalled_at(cache, node->reference, node->size);

    if (*at == node)
        *at = NULL;
}

/* ---- the parts ---- */

static void leave_part(node_t *node)
{
    part_t *part = node->part;

    *(node->newer != NULL ? &node->newer->older : &part->newest) = node->older;
    *(node->older != NULL ? &node->older->newer : &part->oldest) = node->newer;
    part->bytes -= node->bytes;
}

static void join_part(part_t *part, node_t *node)
{
    node->part = part;
    node->newer = NULL;
    node->older = part->newest;
    *(part->newest != NULL ? &part->newest->newer : &part->oldest) = node;
    part->newest = node;
    part->bytes += node->bytes;
}

static size_t bytes_of(const node_t *node)
{
    size_t i, bytes = sizeof(*node) + node->size + 1;

    for (i = 0; i < GRANTS; i++) {
        if (node->granted[i].subject != NULL)
            bytes += strlen(node->granted[i].subject) + 1;
    }
    return bytes + kt_locked_size(node->entry.secret);
}

/* The one of the entry itself, too. */
static void drop_refs(node_t *node)
{
    kt_secret_drop_refs(node->entry.secret, 1 + node->spare);
    node->spare = 0;
}

static void clear_grant(grant_t *grant)
{
    free(grant->subject);
    free(grant->kept.texts);
    memset(grant, 0, sizeof(*grant));
}

static void drop(kt_cache_t *cache, node_t *node)
{
    node_t **at = bucket_of(cache, node->hash);
    size_t i;

    while (*at != node)
        at = &(*at)->chain;
    *at = node->chain;
    forget(cache, node);
    leave_part(node);
    drop_refs(node);
    for (i = 0; i < GRANTS; i++)
        clear_grant(&node->granted[i]);
    kt_wipe(node, sizeof(*node));
    free(node);
    cache->count--;
}

/* The node itself stays, even if it is larger than the limit of its part. */
static void make_room(kt_cache_t *cache, part_t *part, const node_t *node)
{
    while (part->bytes > part->limit && part->oldest != node)
        drop(cache, part->oldest);
}

/* Counts the node again, as the one used last. */
static void recount(kt_cache_t *cache, node_t *node)
{
    if (node->part != NULL)
        leave_part(node);
    node->bytes = bytes_of(node);
    join_part(node->entry.secret != NULL ? &cache->values : &cache->absences, node);
    make_room(cache, node->part, node);
}

/* ---- the interface ---- */

kt_cached_t *kt_cache_find(kt_cache_t *cache, const char *reference)
{
    node_t *node = cache->count > 0 ? find(cache, reference, hash_of(cache, reference)) : NULL;

    if (node == NULL)
        return NULL;
    remember(cache, node);
    return &node->entry;
}

kt_cached_t *kt_cache_recall(kt_cache_t *cache, const char *reference, size_t size)
{
    node_t *node = *recalled_at(cache, reference, size);

    return node != NULL && node->size == size && memcmp(node->reference, reference, size) == 0
               ? &node->entry
               : NULL;
}

/* Each of them by itself would be an atomic addition, which takes as long as the rest of this. */
kt_secret_t *kt_cache_take(kt_cached_t *entry)
{
    node_t *node = (node_t *)entry;

    if (node->spare == 0) {
        kt_secret_add_refs(entry->secret, TAKEN);
        node->spare = TAKEN;
    }
    node->spare--;
    return entry->secret;
}

const char *kt_cache_reference(const kt_cached_t *entry)
{
    return ((const node_t *)entry)->reference;
}

void kt_cache_use(kt_cached_t *entry)
{
    node_t *node = (node_t *)entry;

    if (node->newer == NULL)
        return;
    leave_part(node);
    join_part(node->part, node);
}

static node_t *add(kt_cache_t *cache, const char *reference, uint64_t hash)
{
    size_t size = strlen(reference);
    node_t *node = calloc(1, sizeof(*node) + size + 1);

    if (node == NULL)
        return NULL;
    if (cache->count >= cache->nbuckets)
        grow(cache);
    memcpy(node->reference, reference, size + 1);
    node->size = size;
    node->hash = hash;
    join_bucket(cache, node);
    cache->count++;
    return node;
}

/* They may name the provider that answered before. */
static void forget_texts(node_t *node)
{
    size_t i;

    for (i = 0; i < GRANTS; i++) {
        free(node->granted[i].kept.texts);
        node->granted[i].kept.texts = NULL;
    }
}

void kt_cache_put(kt_cache_t *cache, const char *reference, const kt_cached_t *entry)
{
    uint64_t hash = hash_of(cache, reference);
    node_t *node = find(cache, reference, hash);

    if (node == NULL)
        node = add(cache, reference, hash);
    if (node == NULL)
        return; /* a cache may forget */
    if (entry->secret != NULL)
        (void)kt_secret_ref(entry->secret);
    drop_refs(node);
    node->entry = *entry;
    forget_texts(node);
    recount(cache, node);
}

kt_granted_t *kt_cache_granted(kt_cached_t *entry, const char *subject)
{
    node_t *node = (node_t *)entry;
    size_t i;

    for (i = 0; i < GRANTS; i++) {
        if (node->granted[i].subject != NULL && strcmp(node->granted[i].subject, subject) == 0)
            return &node->granted[i].kept;
    }
    return NULL;
}

void kt_cache_grant(kt_cache_t *cache, kt_cached_t *entry, const char *subject)
{
    node_t *node = (node_t *)entry;
    char *copy = strdup(subject);

    if (copy == NULL)
        return;
    clear_grant(&node->granted[node->next_grant]);
    node->granted[node->next_grant].subject = copy;
    node->next_grant = (node->next_grant + 1) % GRANTS;
    recount(cache, node);
}

void kt_cache_expire(kt_cache_t *cache, int64_t before)
{
    while (cache->values.oldest != NULL && cache->values.oldest->entry.fetched < before)
        drop(cache, cache->values.oldest);
}

static bool is_of(const node_t *node, const char *name, size_t size)
{
    char after = strncmp(node->reference, name, size) == 0 ? node->reference[size] : 'x';

    return after == '\0' || after == '#' || after == '@';
}

static void drop_in(kt_cache_t *cache, const part_t *part, const char *name)
{
    node_t *node, *older;

    for (node = part->newest; node != NULL; node = older) {
        older = node->older;
        if (name == NULL || is_of(node, name, strlen(name)))
            drop(cache, node);
    }
}

/* Looks at all entries; the write before it costs a hundred times as much. */
void kt_cache_drop_name(kt_cache_t *cache, const char *name)
{
    cache->drops++;
    drop_in(cache, &cache->values, name);
    drop_in(cache, &cache->absences, name);
}

uint64_t kt_cache_drops(const kt_cache_t *cache)
{
    return cache->drops;
}

size_t kt_cache_bytes(const kt_cache_t *cache)
{
    return cache->values.bytes + cache->absences.bytes;
}

void kt_cache_clear(kt_cache_t *cache)
{
    cache->drops++;
    drop_in(cache, &cache->values, NULL);
    drop_in(cache, &cache->absences, NULL);
}

void kt_cache_free(kt_cache_t *cache)
{
    if (cache == NULL)
        return;
    kt_cache_clear(cache);
    free(cache->buckets);
    kt_wipe(cache, sizeof(*cache));
    free(cache);
}
