/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * refusals.c: a source that is refused too often is refused everything for a while.
 *
 *     PATH/STREAM/refusals    a table of a fixed size, mapped by all processes of the stream; for
 *                             its owner only
 *
 * A source is a subject and the address that it comes from, as a keyed hash, so that no client can
 * choose its place in the table. The times of the last ten refusals of each source are kept. One
 * more within the hour locks the source out for a minute; each lock-out that follows within an hour
 * of the one before takes twice as long, an hour at most. Attempts during a lock-out do not count,
 * so it ends by itself even for a server that goes on asking.
 *
 * Every field is an atomic of its own, and each step leaves a table that is right: a process that
 * is killed loses its own step at most. A source has its place in one set of sixteen. When a set is
 * full, the oldest source goes, and those that are locked out go last. So the table never grows;
 * with many sources some counts are lost, and none is added to another source.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "audit.h"

#define MAGIC "KTF1"
#define SETS 64u
#define WAYS 16u
#define WINDOW_S 3600u
#define FIRST_S 60u
#define LONGEST_S 3600u

typedef struct slot {
    _Atomic uint64_t source; /* 0: free */
    /* until when (s since the epoch), above it how long the last one took */
    _Atomic uint64_t lockout;
    _Atomic uint32_t count; /* of all refusals: the next one's place in `times` */
    _Atomic uint32_t last;  /* time of the last */
    _Atomic uint32_t times[KT_REFUSALS_MAX];
} slot_t;

typedef struct table {
    char magic[4];
    uint32_t slots;
    unsigned char key[crypto_shorthash_KEYBYTES];
    /* no lock-out lasts longer: a read looks here only, as long as there is none */
    _Atomic uint64_t latest;
    unsigned char zeros[32];
    slot_t slot[SETS * WAYS];
} table_t;

_Static_assert(sizeof(slot_t) == 64, "a slot is one cache line");
_Static_assert(sizeof(table_t) == 64 + 64 * SETS * WAYS, "docs/format.md has the table's layout");

struct kt_refusals {
    table_t *table;
};

int64_t kt_refusals_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now); /* a few ns: reads ask for it */
    return now.tv_sec;
}

/* ---- the file ---- */

static kt_status_t failed(const char *folder)
{
    return kt_fail(KT_AUDIT, "%s/refusals: %s", folder, strerror(errno));
}

/* Its space is allocated before the first mapping, so that a full disk is an error here and not a
 * signal later. The magic comes last. */
static kt_status_t fill_inlock(const char *folder, int fd)
{
    table_t head;
    int error = posix_fallocate(fd, 0, (off_t)sizeof(table_t));

    if (error != 0) {
        errno = error;
        return failed(folder);
    }
    memset(&head, 0, offsetof(table_t, slot));
    head.slots = SETS * WAYS;
    randombytes_buf(head.key, sizeof(head.key));
    if (pwrite(fd, (const char *)&head + 4, offsetof(table_t, slot) - 4, 4) !=
            (ssize_t)offsetof(table_t, slot) - 4 ||
        pwrite(fd, MAGIC, 4, 0) != 4)
        return failed(folder);
    return KT_SUCCESS;
}

static kt_status_t check_file(const char *folder, int fd, uid_t owner)
{
    unsigned char head[8] = {0};
    struct stat st;

    if (fstat(fd, &st) != 0)
        return failed(folder);
    if (!S_ISREG(st.st_mode) || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return kt_fail(KT_AUDIT,
                       "%s/refusals: not a regular file, or open to other users (remove it)",
                       folder);
    if (st.st_uid != owner && (st.st_size != 0 || fchown(fd, owner, (gid_t)-1) != 0))
        return kt_fail(KT_AUDIT, "%s/refusals: belongs to uid %u, its folder to uid %u", folder,
                       (unsigned)st.st_uid, (unsigned)owner);
    if (st.st_size < (off_t)sizeof(table_t) || pread(fd, head, 4, 0) != 4 ||
        memcmp(head, "\0\0\0\0", 4) == 0)
        return fill_inlock(folder, fd); /* new, or its maker was killed before the magic */
    if (st.st_size != (off_t)sizeof(table_t) || memcmp(head, MAGIC, 4) != 0)
        return kt_fail(KT_AUDIT, "%s/refusals: not a table of this version (remove it)", folder);
    return KT_SUCCESS;
}

static kt_status_t map_file(const char *folder, int dir, uid_t owner, table_t **ret_table)
{
    int fd = openat(dir, "refusals",
                    O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);
    void *table = MAP_FAILED;
    kt_status_t status;

    if (fd < 0)
        return failed(folder);
    if (!kt_lock_file(fd, KT_LOCK_WAIT)) {
        status = failed(folder);
        (void)close(fd);
        return status;
    }
    status = check_file(folder, fd, owner);
    if (status == KT_SUCCESS) {
        table = mmap(NULL, sizeof(table_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (table == MAP_FAILED)
            status = failed(folder);
    }
    (void)flock(fd, LOCK_UN); /* a mapping would keep it */
    (void)close(fd);
    if (status == KT_SUCCESS)
        *ret_table = table;
    return status;
}

kt_status_t kt_refusals_open(const char *folder, kt_refusals_t **ret_refusals)
{
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    kt_refusals_t *refusals = calloc(1, sizeof(*refusals));
    struct stat st;
    kt_status_t status;

    if (refusals == NULL)
        status = kt_no_memory();
    else if (dir < 0 || fstat(dir, &st) != 0)
        status = failed(folder);
    else
        status = map_file(folder, dir, st.st_uid, &refusals->table);
    if (dir >= 0)
        (void)close(dir);
    if (status != KT_SUCCESS) {
        free(refusals);
        return status;
    }
    *ret_refusals = refusals;
    return KT_SUCCESS;
}

void kt_refusals_close(kt_refusals_t *refusals)
{
    if (refusals == NULL)
        return;
    (void)munmap(refusals->table, sizeof(*refusals->table));
    free(refusals);
}

/* ---- sources ---- */

/* The port of "192.0.2.1:4711" and "[2001:db8::1]:4711" is left out: each connection has its own.
 */
static size_t address_size(const char *peer)
{
    const char *colon = strrchr(peer, ':'), *end = strchr(peer, ']');

    if (peer[0] == '[' && end != NULL)
        return (size_t)(end - peer) + 1;
    if (colon == NULL || strchr(peer, ':') != colon || colon[1] == '\0' ||
        colon[1 + strspn(colon + 1, "0123456789")] != '\0')
        return strlen(peer);
    return (size_t)(colon - peer);
}

static uint64_t hash_source(const table_t *table, const char *subject, const char *peer)
{
    unsigned char text[KT_SUBJECT_MAX + 1 + 128], hash[crypto_shorthash_BYTES];
    size_t size = subject != NULL ? strnlen(subject, KT_SUBJECT_MAX) : 0,
           address = peer != NULL ? address_size(peer) : 0;
    uint64_t source;

    if (address > 128)
        address = 128;
    memcpy(text, subject != NULL ? subject : "", size);
    text[size++] = '\0';
    memcpy(text + size, peer != NULL ? peer : "", address);
    (void)crypto_shorthash(hash, text, size + address, table->key);
    memcpy(&source, hash, sizeof(source));
    return source != 0 ? source : 1;
}

static slot_t *set_of(table_t *table, uint64_t source)
{
    return &table->slot[source % SETS * WAYS];
}

static slot_t *find(slot_t *set, uint64_t source)
{
    size_t i;

    for (i = 0; i < WAYS; i++)
        if (atomic_load_explicit(&set[i].source, memory_order_acquire) == source)
            return &set[i];
    return NULL;
}

static uint32_t until(uint64_t lockout)
{
    return (uint32_t)lockout;
}

static uint32_t duration(uint64_t lockout)
{
    return (uint32_t)(lockout >> 32);
}

/* How long it still lasts. A clock that was set back must not make it longer. */
static unsigned left(uint64_t lockout, uint32_t now)
{
    if (until(lockout) <= now || until(lockout) - now > duration(lockout))
        return 0;
    return until(lockout) - now;
}

/* The higher, the longer a slot is kept. */
static uint64_t worth(slot_t *slot, uint32_t now)
{
    uint64_t lockout = atomic_load(&slot->lockout);

    if (atomic_load(&slot->source) == 0)
        return 0;
    return (left(lockout, now) > 0 ? UINT64_C(1) << 33 : 0) + 1 + atomic_load(&slot->last);
}

static void clear(slot_t *slot)
{
    size_t i;

    for (i = 0; i < KT_REFUSALS_MAX; i++)
        atomic_store(&slot->times[i], 0);
    atomic_store(&slot->lockout, 0);
    atomic_store(&slot->count, 0);
}

/* The source's own slot, or the one of its set that is worth least; that one is emptied first, so
 * that a source never inherits the counts of another. */
static slot_t *claim(slot_t *set, uint64_t source, uint32_t now)
{
    slot_t *slot = find(set, source), *least;
    uint64_t old;
    size_t i;

    while (slot == NULL) {
        for (least = &set[0], i = 1; i < WAYS; i++)
            if (worth(&set[i], now) < worth(least, now))
                least = &set[i];
        old = atomic_load(&least->source);
        if (old != 0)
            clear(least);
        if (atomic_compare_exchange_strong(&least->source, &old, source))
            return least;
        slot = find(set, source); /* another process was faster, perhaps for the same source */
    }
    return slot;
}

/* ---- counting ---- */

unsigned kt_refusals_locked(const kt_refusals_t *refusals, const char *subject, const char *peer,
                            int64_t now)
{
    table_t *table = refusals->table;
    uint64_t source;
    slot_t *slot;

    if (atomic_load_explicit(&table->latest, memory_order_relaxed) <= (uint64_t)now)
        return 0;
    source = hash_source(table, subject, peer);
    slot = find(set_of(table, source), source);
    return slot != NULL ? left(atomic_load(&slot->lockout), (uint32_t)now) : 0;
}

static void move_latest(table_t *table, uint64_t end)
{
    uint64_t latest = atomic_load(&table->latest);

    while (latest < end && !atomic_compare_exchange_weak(&table->latest, &latest, end))
        ;
}

/* If several processes get here for the same source, one of them begins the lock-out. */
static unsigned lock_out(table_t *table, slot_t *slot, uint32_t now)
{
    uint64_t lockout = atomic_load(&slot->lockout);
    uint32_t seconds = FIRST_S;

    if (left(lockout, now) > 0)
        return 0;
    if (until(lockout) != 0 && until(lockout) + WINDOW_S > now && duration(lockout) != 0)
        seconds = 2 * duration(lockout) < LONGEST_S ? 2 * duration(lockout) : LONGEST_S;
    /* first, because a lock-out is looked for only until `latest` */
    move_latest(table, (uint64_t)now + seconds);
    return atomic_compare_exchange_strong(&slot->lockout, &lockout,
                                          (uint64_t)seconds << 32 | (now + seconds))
               ? seconds
               : 0;
}

unsigned kt_refusals_count(kt_refusals_t *refusals, const char *subject, const char *peer,
                           int64_t when)
{
    table_t *table = refusals->table;
    uint64_t source = hash_source(table, subject, peer);
    uint32_t now = (uint32_t)when, before;
    slot_t *slot = claim(set_of(table, source), source, now);

    if (left(atomic_load(&slot->lockout), now) > 0)
        return 0;
    atomic_store(&slot->last, now);
    before =
        atomic_exchange(&slot->times[atomic_fetch_add(&slot->count, 1) % KT_REFUSALS_MAX], now);
    if (before == 0 || before > now || now - before >= WINDOW_S)
        return 0;
    return lock_out(table, slot, now);
}
