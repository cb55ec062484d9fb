/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memory.c: memory for values and keys. Nothing else in keyturn locks or wipes memory.
 *
 * Values live in one arena a process: chunks that are locked (as far as RLIMIT_MEMLOCK goes) and
 * left out of core dumps, cut into blocks of powers of two. A page or more for each value, as
 * sodium_malloc() gives, was rejected: 2,000 values are past the limit of 8 MiB then, and each
 * costs 14 us. Keys do get guarded pages of their own: there are few.
 *
 * The kernel does not give a parent's locks to its child. Servers read their keys and then fork, so
 * each child locks again what it has inherited, before fork() returns in it.
 */
#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base.h"

#define CHUNK_SIZE (256u * 1024u)
#define CLASS_MIN_BITS 5u  /* 32 bytes */
#define CLASS_MAX_BITS 17u /* 128 KiB; larger blocks have a mapping of their own */
#define CLASSES (CLASS_MAX_BITS - CLASS_MIN_BITS + 1u)

typedef struct block {
    size_t size;        /* of the whole block, this header included */
    struct block *next; /* while it is free */
} block_t;

/*
 * [region_t][no access][pages for secrets][no access]. The description has a page of its own,
 * because a fork may zero the pages, and an overrun must not reach it.
 */
typedef struct region {
    struct region *next, **link;
    size_t size;   /* of the pages */
    size_t used;   /* of those, from the front on: to be locked, and wiped at the end */
    size_t locked; /* of those, from the front on */
    bool wiped_by_fork;
} region_t;

static struct arena {
    pthread_mutex_t lock;
    block_t *free[CLASSES];
    unsigned char *chunk; /* the rest of the newest chunk */
    size_t left;
    region_t *regions;
    size_t used, locked; /* of all regions */
    bool required;
    atomic_bool failing; /* used > locked: for readers without the lock */
} arena = {.lock = PTHREAD_MUTEX_INITIALIZER};

static size_t page_size;
static bool ready;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static unsigned char *pages_of(region_t *region)
{
    return (unsigned char *)region + 2 * page_size;
}

static region_t *region_of(void *pages)
{
    return (region_t *)(void *)((unsigned char *)pages - 2 * page_size);
}

/* Those that are locked already do not count twice, and those that are not are tried again. */
static bool lock_inlock(region_t *region, size_t used)
{
    arena.used += used - region->used;
    region->used = used;
    if (region->locked < used && mlock(pages_of(region), used) == 0) {
        arena.locked += used - region->locked;
        region->locked = used;
    }
    atomic_store_explicit(&arena.failing, arena.used > arena.locked, memory_order_relaxed);
    return region->locked == used;
}

static void forget_inlock(region_t *region)
{
    arena.used -= region->used;
    arena.locked -= region->locked;
    region->used = region->locked = 0;
}

/* ---- forks ---- */

static void before_fork(void)
{
    (void)pthread_mutex_lock(&arena.lock);
}

static void after_fork_in_parent(void)
{
    (void)pthread_mutex_unlock(&arena.lock);
}

/* Only system calls: other threads of the parent may have held any lock but this one. */
static void after_fork_in_child(void)
{
    region_t *region;
    int error = errno;

    arena.locked = 0;
    for (region = arena.regions; region != NULL; region = region->next) {
        region->locked = 0;
        if (region->wiped_by_fork)
            forget_inlock(region); /* it has no secret any more */
        else
            (void)lock_inlock(region, region->used);
    }
    atomic_store_explicit(&arena.failing, arena.used > arena.locked, memory_order_relaxed);
    (void)pthread_mutex_unlock(&arena.lock);
    errno = error;
}

static void start(void)
{
    if (sodium_init() < 0)
        abort(); /* no source of randomness: nothing here may go on */
    page_size = (size_t)sysconf(_SC_PAGESIZE);
    /* without it a child's secrets would not be locked, so there is no memory for any */
    ready = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
}

static bool is_ready(void)
{
    (void)pthread_once(&once, start);
    if (!ready)
        errno = ENOMEM;
    return ready;
}

/* ---- wiping ---- */

void kt_wipe(void *data, size_t size)
{
    if (data != NULL && size > 0)
        sodium_memzero(data, size);
}

void kt_free_wiped(char *string)
{
    if (string == NULL)
        return;
    kt_wipe(string, strlen(string));
    free(string);
}

/* ---- regions ---- */

/* Pages between guards, which are in no core dump. Nothing is locked yet. */
static region_t *map_region(size_t size, bool wipe_on_fork)
{
    size_t inner = (size + page_size - 1) / page_size * page_size;
    unsigned char *base =
        mmap(NULL, inner + 3 * page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    region_t *region = (region_t *)(void *)base;

    if (base == MAP_FAILED)
        return NULL;
    if (mprotect(base, page_size, PROT_READ | PROT_WRITE) != 0 ||
        mprotect(pages_of(region), inner, PROT_READ | PROT_WRITE) != 0 ||
        (wipe_on_fork && madvise(pages_of(region), inner, MADV_WIPEONFORK) != 0)) {
        (void)munmap(base, inner + 3 * page_size);
        return NULL;
    }
    (void)madvise(pages_of(region), inner, MADV_DONTDUMP);
    region->size = inner;
    region->wiped_by_fork = wipe_on_fork;
    return region;
}

static void drop_inlock(region_t *region)
{
    forget_inlock(region);
    atomic_store_explicit(&arena.failing, arena.used > arena.locked, memory_order_relaxed);
    *region->link = region->next;
    if (region->next != NULL)
        region->next->link = region->link;
    (void)munmap(region, region->size + 3 * page_size);
}

/* The pages of a new region, of which `used` bytes are locked, or NULL. */
static void *new_pages_inlock(size_t size, size_t used, bool wipe_on_fork)
{
    region_t *region = map_region(size, wipe_on_fork);

    if (region == NULL)
        return NULL;
    region->next = arena.regions;
    region->link = &arena.regions;
    if (region->next != NULL)
        region->next->link = &region->next;
    arena.regions = region;
    if (!lock_inlock(region, used) && arena.required) {
        drop_inlock(region);
        kt_no_memory_to_lock();
        return NULL;
    }
    return pages_of(region);
}

/* ---- the arena ---- */

static unsigned class_of(size_t size)
{
    unsigned bits = CLASS_MIN_BITS;

    while (((size_t)1 << bits) < size)
        bits++;
    return bits - CLASS_MIN_BITS;
}

/* What is left of a chunk is cut into free blocks, so that a new chunk wastes none of it. */
static void retire_chunk_inlock(void)
{
    unsigned i;

    for (i = CLASSES; i-- > 0;) {
        size_t size = (size_t)1 << (i + CLASS_MIN_BITS);

        while (arena.left >= size) {
            block_t *block = (block_t *)(void *)arena.chunk;

            block->size = size;
            block->next = arena.free[i];
            arena.free[i] = block;
            arena.chunk += size;
            arena.left -= size;
        }
    }
}

static block_t *pop_block_inlock(unsigned class)
{
    size_t size = (size_t)1 << (class + CLASS_MIN_BITS);
    block_t *block = arena.free[class];

    if (block != NULL) {
        arena.free[class] = block->next;
        return block;
    }
    if (arena.left < size) {
        unsigned char *chunk = new_pages_inlock(CHUNK_SIZE, CHUNK_SIZE, false);

        if (chunk == NULL)
            return NULL;
        retire_chunk_inlock();
        arena.chunk = chunk;
        arena.left = CHUNK_SIZE;
    }
    block = (block_t *)(void *)arena.chunk;
    block->size = size;
    arena.chunk += size;
    arena.left -= size;
    return block;
}

void *kt_locked_alloc(size_t size)
{
    size_t whole = size + sizeof(block_t);
    block_t *block;

    if (!is_ready())
        return NULL;
    if (size > SIZE_MAX / 2) {
        errno = ENOMEM;
        return NULL;
    }
    (void)pthread_mutex_lock(&arena.lock);
    if (whole > (size_t)1 << CLASS_MAX_BITS) {
        block = new_pages_inlock(whole, whole, false);
        if (block != NULL)
            block->size = whole;
    } else {
        block = pop_block_inlock(class_of(whole));
    }
    (void)pthread_mutex_unlock(&arena.lock);
    if (block == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    block->next = NULL;
    return block + 1; /* fresh pages are zero, and freed blocks are wiped */
}

void kt_locked_free(void *data)
{
    block_t *block;
    unsigned class;

    if (data == NULL)
        return;
    block = (block_t *)data - 1;
    kt_wipe(data, block->size - sizeof(*block));
    if (block->size > (size_t)1 << CLASS_MAX_BITS) {
        (void)pthread_mutex_lock(&arena.lock);
        drop_inlock(region_of(block));
        (void)pthread_mutex_unlock(&arena.lock);
        return;
    }
    class = class_of(block->size);
    (void)pthread_mutex_lock(&arena.lock);
    block->next = arena.free[class];
    arena.free[class] = block;
    (void)pthread_mutex_unlock(&arena.lock);
}

size_t kt_locked_size(const void *data)
{
    return data != NULL ? ((const block_t *)data - 1)->size : 0;
}

bool kt_locked_room(size_t size)
{
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool room;

    if (pages == MAP_FAILED)
        return false;
    room = mlock2(pages, size, MLOCK_ONFAULT) == 0; /* counts all of it, and fetches none */
    if (!room && errno == EINVAL)
        room = mlock(pages, size) == 0; /* a kernel without mlock2(), or valgrind in its place */
    (void)munmap(pages, size);
    return room;
}

void kt_dontfork(void *pages, size_t size)
{
    (void)madvise(pages, size, MADV_DONTFORK);
}

size_t kt_locked_failures(void)
{
    size_t unlocked;
    region_t *region;

    (void)pthread_mutex_lock(&arena.lock);
    for (region = arena.regions; region != NULL; region = region->next)
        (void)lock_inlock(region, region->used); /* the limit may be another one now */
    unlocked = arena.used - arena.locked;
    (void)pthread_mutex_unlock(&arena.lock);
    return unlocked;
}

bool kt_locked_is_failing(void)
{
    return atomic_load_explicit(&arena.failing, memory_order_relaxed);
}

size_t kt_locked_limit(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY
               ? (size_t)limit.rlim_cur
               : SIZE_MAX;
}

void kt_locked_require(bool required)
{
    (void)pthread_mutex_lock(&arena.lock);
    arena.required = required;
    (void)pthread_mutex_unlock(&arena.lock);
}

void kt_memory(size_t *ret_locked, size_t *ret_unlocked)
{
    (void)pthread_mutex_lock(&arena.lock);
    if (ret_locked != NULL)
        *ret_locked = arena.locked;
    if (ret_unlocked != NULL)
        *ret_unlocked = arena.used - arena.locked;
    (void)pthread_mutex_unlock(&arena.lock);
}

/* ---- keys ---- */

static size_t whole_pages(size_t size)
{
    return (size + page_size - 1) / page_size * page_size;
}

/* Untouched pages cost nothing and are not locked. */
void *kt_guarded_reserve(size_t size, size_t used, bool wipe_on_fork)
{
    void *pages;

    if (!is_ready())
        return NULL;
    (void)pthread_mutex_lock(&arena.lock);
    pages = new_pages_inlock(size, whole_pages(used), wipe_on_fork);
    (void)pthread_mutex_unlock(&arena.lock);
    if (pages == NULL)
        errno = ENOMEM;
    return pages;
}

void *kt_guarded_alloc(size_t size, bool wipe_on_fork)
{
    return kt_guarded_reserve(size, size, wipe_on_fork);
}

void kt_guarded_extend(void *data, size_t used)
{
    region_t *region = region_of(data);

    used = whole_pages(used);
    (void)pthread_mutex_lock(&arena.lock);
    if (used > region->used && used <= region->size)
        (void)lock_inlock(region, used);
    (void)pthread_mutex_unlock(&arena.lock);
}

void kt_guarded_free(void *data)
{
    region_t *region;

    if (data == NULL)
        return;
    region = region_of(data);
    (void)pthread_mutex_lock(&arena.lock);
    kt_wipe(data, region->used); /* another thread may be locking more of it */
    drop_inlock(region);
    (void)pthread_mutex_unlock(&arena.lock);
}

/* ---- values ---- */

kt_secret_t *kt_secret_room(size_t room)
{
    kt_secret_t *secret = kt_locked_alloc(sizeof(*secret) + room);

    if (secret == NULL)
        return NULL;
    atomic_init(&secret->refs, 1);
    secret->data = (unsigned char *)(secret + 1);
    return secret;
}

kt_secret_t *kt_secret_new(const void *data, size_t size)
{
    kt_secret_t *secret;

    if (size > KT_VALUE_MAX) {
        errno = EFBIG;
        return NULL;
    }
    secret = kt_secret_room(size);
    if (secret == NULL)
        return NULL;
    secret->size = size;
    if (data != NULL && size > 0)
        memcpy(secret->data, data, size);
    return secret;
}

void kt_secret_add_refs(kt_secret_t *secret, unsigned count)
{
    (void)atomic_fetch_add_explicit(&secret->refs, count, memory_order_relaxed);
}

void kt_secret_drop_refs(kt_secret_t *secret, unsigned count)
{
    if (secret != NULL && atomic_fetch_sub(&secret->refs, count) == count)
        kt_locked_free(secret);
}

kt_secret_t *kt_secret_ref(kt_secret_t *secret)
{
    kt_secret_add_refs(secret, 1);
    return secret;
}

void kt_secret_free(kt_secret_t *secret)
{
    kt_secret_drop_refs(secret, 1);
}

const unsigned char *kt_secret_bytes(const kt_secret_t *secret)
{
    return secret->data;
}

unsigned char *kt_secret_buffer(kt_secret_t *secret)
{
    return secret->data;
}

size_t kt_secret_size(const kt_secret_t *secret)
{
    return secret->size;
}

kt_status_t kt_secret_resize(kt_secret_t *secret, size_t size)
{
    if (size > secret->size)
        return kt_fail(KT_USAGE, "a secret can only be made shorter");
    if (atomic_load(&secret->refs) > 1)
        return kt_fail(KT_USAGE, "a secret that is also in the cache cannot be changed");
    kt_wipe(secret->data + size, secret->size - size);
    secret->size = size;
    return KT_SUCCESS;
}

uint64_t kt_secret_version(const kt_secret_t *secret)
{
    return secret->version;
}

int64_t kt_secret_since(const kt_secret_t *secret)
{
    return secret->since;
}

int64_t kt_secret_expires(const kt_secret_t *secret)
{
    return secret->expires;
}

int kt_secret_stale(const kt_secret_t *secret)
{
    return secret->stale;
}

bool kt_equal(const void *known, size_t known_size, const void *given, size_t given_size)
{
    static const unsigned char nothing = 0;
    const volatile unsigned char *a = known_size > 0 ? known : &nothing, *b = given;
    size_t i, inside, differ = known_size ^ given_size;

    for (i = 0; i < given_size; i++) {
        /* all ones while i < known_size: the sign of their difference, which no branch asks for */
        inside = 0 - ((i - known_size) >> (sizeof(size_t) * 8 - 1));
        differ |= (size_t)(a[i & inside] ^ b[i]);
    }
    return differ == 0;
}

int kt_secret_equal(const kt_secret_t *secret, const void *data, size_t size)
{
    return kt_equal(secret->data, secret->size, data, size);
}
