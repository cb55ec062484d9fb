/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memory.c: memory for values and keys. Nothing else in keyturn locks or wipes memory.
 *
 * Values live in one arena a process: chunks that are locked (as far as RLIMIT_MEMLOCK goes) and
 * left out of core dumps, cut into blocks of powers of two. A page or more for each value, as
 * sodium_malloc() gives, was rejected: 2,000 values are past the limit of 8 MiB then, and each
 * costs 14 us. Keys do get guarded pages of their own: there are few.
 */
#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

static struct arena {
    pthread_mutex_t lock;
    block_t *free[CLASSES];
    unsigned char *chunk; /* the rest of the newest chunk */
    size_t left;
    size_t unlocked;
} arena = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t sodium_once = PTHREAD_ONCE_INIT;

static void start_sodium(void)
{
    if (sodium_init() < 0)
        abort(); /* no source of randomness: nothing here may go on */
}

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

/* Anonymous pages that are locked and not dumped. Adds to *unlocked what could not be locked. */
static void *map_pages(size_t size, size_t *unlocked)
{
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (pages == MAP_FAILED)
        return NULL;
    if (mlock(pages, size) != 0)
        *unlocked += size;
    (void)madvise(pages, size, MADV_DONTDUMP);
    return pages;
}

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
        unsigned char *chunk = map_pages(CHUNK_SIZE, &arena.unlocked);

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

    (void)pthread_once(&sodium_once, start_sodium);
    if (size > SIZE_MAX / 2) {
        errno = ENOMEM;
        return NULL;
    }
    (void)pthread_mutex_lock(&arena.lock);
    if (whole > (size_t)1 << CLASS_MAX_BITS) {
        block = map_pages(whole, &arena.unlocked);
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
        (void)munmap(block, block->size);
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

    (void)pthread_mutex_lock(&arena.lock);
    unlocked = arena.unlocked;
    (void)pthread_mutex_unlock(&arena.lock);
    return unlocked;
}

typedef struct guarded {
    size_t size; /* of the pages between the guards */
    size_t used; /* of those, from the front on: locked, and wiped at the end */
} guarded_t;

_Static_assert(sizeof(guarded_t) % 16 == 0, "the data after it must be aligned");

static size_t round_up(size_t size, size_t page)
{
    return (size + page - 1) / page * page;
}

/* Untouched pages cost nothing and are not locked. */
static void lock_pages(guarded_t *block, size_t used)
{
    unsigned char *from = (unsigned char *)block + block->used;

    (void)pthread_mutex_lock(&arena.lock);
    if (mlock(from, used - block->used) != 0)
        arena.unlocked += used - block->used;
    (void)pthread_mutex_unlock(&arena.lock);
    block->used = used;
}

/*
 * [no access][sizes, data ...][no access]. The sizes lie in the pages themselves: where a fork has
 * zeroed them, kt_guarded_free() sees 0 and leaves them to the process's end.
 */
void *kt_guarded_reserve(size_t size, size_t used, bool wipe_on_fork)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inner = round_up(size + sizeof(guarded_t), page);
    unsigned char *base;
    guarded_t *block;

    (void)pthread_once(&sodium_once, start_sodium);
    base = mmap(NULL, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    if (mprotect(base + page, inner, PROT_READ | PROT_WRITE) != 0) {
        (void)munmap(base, inner + 2 * page);
        errno = ENOMEM;
        return NULL;
    }
    (void)madvise(base + page, inner, MADV_DONTDUMP);
    if (wipe_on_fork)
        (void)madvise(base + page, inner, MADV_WIPEONFORK);
    block = (guarded_t *)(void *)(base + page);
    block->size = inner;
    lock_pages(block, round_up(used + sizeof(guarded_t), page));
    return block + 1;
}

void *kt_guarded_alloc(size_t size, bool wipe_on_fork)
{
    return kt_guarded_reserve(size, size, wipe_on_fork);
}

void kt_guarded_extend(void *data, size_t used)
{
    guarded_t *block = (guarded_t *)data - 1;

    used = round_up(used + sizeof(guarded_t), (size_t)sysconf(_SC_PAGESIZE));
    if (used > block->used && used <= block->size)
        lock_pages(block, used);
}

void kt_guarded_free(void *data)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    guarded_t *block;
    size_t inner;

    if (data == NULL)
        return;
    block = (guarded_t *)data - 1;
    inner = block->size;
    if (inner == 0)
        return;
    kt_wipe(block, block->used);
    (void)munmap((unsigned char *)block - page, inner + 2 * page);
}

kt_secret_t *kt_secret_new(const void *data, size_t size)
{
    kt_secret_t *secret;

    if (size > KT_VALUE_MAX) {
        errno = EFBIG;
        return NULL;
    }
    secret = kt_locked_alloc(sizeof(*secret) + size);
    if (secret == NULL)
        return NULL;
    atomic_init(&secret->refs, 1);
    secret->size = size;
    secret->data = (unsigned char *)(secret + 1);
    if (data != NULL && size > 0)
        memcpy(secret->data, data, size);
    return secret;
}

kt_secret_t *kt_secret_ref(kt_secret_t *secret)
{
    (void)atomic_fetch_add(&secret->refs, 1);
    return secret;
}

void kt_secret_free(kt_secret_t *secret)
{
    if (secret != NULL && atomic_fetch_sub(&secret->refs, 1) == 1)
        kt_locked_free(secret);
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

int kt_secret_stale(const kt_secret_t *secret)
{
    return secret->stale;
}

int kt_secret_equal(const kt_secret_t *secret, const void *data, size_t size)
{
    return secret->size == size && (size == 0 || sodium_memcmp(secret->data, data, size) == 0);
}
