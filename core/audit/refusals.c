/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * refusals.c: a source that is refused too often is locked out for a while: an alert, and what is
 * refused to it is only counted.
 *
 *     PATH/STREAM/refusals    a table of a fixed size, mapped by all processes of the stream; for
 *                             its owner only
 *
 * The policy alone decides what is refused; what it allows is served. A source's
 * name is shared: an address stands for all behind a proxy, a user of Redis for all clients that
 * know its password. A lock-out that refused them anything would let one client turn off the
 * others.
 *
 * A source is a subject and the address that it comes from. Its place in the table is a keyed hash,
 * so that no client can choose it. The times of the last ten refusals of each source are kept. One
 * more within the hour locks the source out for a minute; each lock-out that follows within an hour
 * of the one before takes twice as long, an hour at most. Refusals during a lock-out do not prolong
 * it, so it ends by itself even for a server that goes on asking. They have no records of their
 * own: a flood must not fill the disk on which decisions have to be recorded. Their number gets one
 * record when the lock-out has ended.
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

#include "refusals.h"

#define FIRST_S 60u
#define LONGEST_S 3600u

struct kt_refusals {
    kt_refusals_table_t *table;
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
    kt_refusals_table_t head;
    int error = posix_fallocate(fd, 0, (off_t)sizeof(kt_refusals_table_t));

    if (error != 0) {
        errno = error;
        return failed(folder);
    }
    memset(&head, 0, offsetof(kt_refusals_table_t, slot));
    head.slots = KT_REFUSALS_SLOTS;
    randombytes_buf(head.key, sizeof(head.key));
    if (pwrite(fd, (const char *)&head + 4, offsetof(kt_refusals_table_t, slot) - 4, 4) !=
            (ssize_t)offsetof(kt_refusals_table_t, slot) - 4 ||
        pwrite(fd, KT_REFUSALS_MAGIC, 4, 0) != 4)
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
    if (pread(fd, head, 4, 0) != 4 || memcmp(head, "\0\0\0\0", 4) == 0)
        return fill_inlock(folder, fd); /* new, or its maker was killed before the magic */
    if (st.st_size != (off_t)sizeof(kt_refusals_table_t) || memcmp(head, KT_REFUSALS_MAGIC, 4) != 0)
        return kt_fail(KT_AUDIT, "%s/refusals: not a table of this version (remove it)", folder);
    return KT_SUCCESS;
}

static kt_status_t map_file(const char *folder, int dir, uid_t owner,
                            kt_refusals_table_t **ret_table)
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
        table = mmap(NULL, sizeof(kt_refusals_table_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
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

static kt_refusals_slot_t *set_of(kt_refusals_table_t *table, uint64_t source)
{
    return &table->slot[source % KT_REFUSALS_SETS * KT_REFUSALS_WAYS];
}

static kt_refusals_slot_t *find(kt_refusals_slot_t *set, uint64_t source)
{
    size_t i;

    for (i = 0; i < KT_REFUSALS_WAYS; i++)
        if (atomic_load_explicit(&set[i].source, memory_order_acquire) == source)
            return &set[i];
    return NULL;
}

/* The higher, the longer a slot is kept. */
static uint64_t worth(kt_refusals_slot_t *slot, uint32_t now)
{
    uint64_t lockout = atomic_load(&slot->lockout);

    if (atomic_load(&slot->source) == 0)
        return 0;
    return (kt_refusals_left(lockout, now) > 0 || atomic_load(&slot->missed) > 0 ? UINT64_C(1) << 33
                                                                                 : 0) +
           1 + atomic_load(&slot->last);
}

static void clear(kt_refusals_table_t *table, kt_refusals_slot_t *slot)
{
    size_t i;

    (void)atomic_fetch_sub(&table->missed, atomic_exchange(&slot->missed, 0));
    for (i = 0; i < KT_REFUSALS_MAX; i++)
        atomic_store(&slot->times[i], 0);
    atomic_store(&slot->lockout, 0);
    atomic_store(&slot->count, 0);
}

/* The source's own slot, or the one of its set that is worth least; that one is emptied first, so
 * that a source never inherits the counts of another. */
static kt_refusals_slot_t *claim(kt_refusals_table_t *table, uint64_t source, uint32_t now)
{
    kt_refusals_slot_t *set = set_of(table, source), *slot = find(set, source), *least;
    uint64_t old;
    size_t i;

    while (slot == NULL) {
        for (least = &set[0], i = 1; i < KT_REFUSALS_WAYS; i++)
            if (worth(&set[i], now) < worth(least, now))
                least = &set[i];
        old = atomic_load(&least->source);
        if (old != 0)
            clear(table, least);
        if (atomic_compare_exchange_strong(&least->source, &old, source))
            return least;
        slot = find(set, source); /* another process was faster, perhaps for the same source */
    }
    return slot;
}

/* All processes write the same, and a reader compares it with the hash. */
static void set_text(kt_refusals_slot_t *slot, const char *subject, const char *peer)
{
    uint64_t words[KT_REFUSALS_WORDS] = {0};
    size_t i;

    (void)kt_refusals_text(subject, peer, (char *)words);
    for (i = 0; i < KT_REFUSALS_WORDS; i++)
        atomic_store_explicit(&slot->text[i], words[i], memory_order_relaxed);
}

/* ---- counting ---- */

unsigned kt_refusals_locked(const kt_refusals_t *refusals, const char *subject, const char *peer,
                            int64_t now)
{
    kt_refusals_table_t *table = refusals->table;
    uint64_t source;
    kt_refusals_slot_t *slot;

    if (atomic_load_explicit(&table->latest, memory_order_relaxed) <= (uint64_t)now)
        return 0;
    source = kt_refusals_hash(table->key, subject, peer);
    slot = find(set_of(table, source), source);
    return slot != NULL ? kt_refusals_left(atomic_load(&slot->lockout), (uint32_t)now) : 0;
}

static void move_latest(kt_refusals_table_t *table, uint64_t end)
{
    uint64_t latest = atomic_load(&table->latest);

    while (latest < end && !atomic_compare_exchange_weak(&table->latest, &latest, end))
        ;
}

/* If several processes get here for the same source, one of them begins the lock-out. */
static unsigned lock_out(kt_refusals_table_t *table, kt_refusals_slot_t *slot, uint32_t now)
{
    uint64_t lockout = atomic_load(&slot->lockout);
    uint32_t seconds = FIRST_S;

    if (kt_refusals_left(lockout, now) > 0)
        return 0;
    if (kt_refusals_until(lockout) != 0 && kt_refusals_until(lockout) + KT_REFUSALS_WINDOW > now &&
        kt_refusals_duration(lockout) != 0)
        seconds = 2 * kt_refusals_duration(lockout) < LONGEST_S ? 2 * kt_refusals_duration(lockout)
                                                                : LONGEST_S;
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
    kt_refusals_table_t *table = refusals->table;
    uint64_t source = kt_refusals_hash(table->key, subject, peer);
    uint32_t now = (uint32_t)when, before;
    kt_refusals_slot_t *slot = claim(table, source, now);

    if (kt_refusals_left(atomic_load(&slot->lockout), now) > 0)
        return 0;
    set_text(slot, subject, peer);
    atomic_store(&slot->last, now);
    before =
        atomic_exchange(&slot->times[atomic_fetch_add(&slot->count, 1) % KT_REFUSALS_MAX], now);
    if (before == 0 || before > now || now - before >= KT_REFUSALS_WINDOW)
        return 0;
    return lock_out(table, slot, now);
}

unsigned kt_refusals_miss(kt_refusals_t *refusals, const char *subject, const char *peer,
                          int64_t now)
{
    kt_refusals_table_t *table = refusals->table;
    kt_refusals_slot_t *slot;
    uint64_t source;
    unsigned seconds;

    if (atomic_load_explicit(&table->latest, memory_order_relaxed) <= (uint64_t)now)
        return 0;
    source = kt_refusals_hash(table->key, subject, peer);
    slot = find(set_of(table, source), source);
    seconds = slot != NULL ? kt_refusals_left(atomic_load(&slot->lockout), (uint32_t)now) : 0;
    if (seconds == 0)
        return 0;
    (void)atomic_fetch_add(&table->missed, 1);
    (void)atomic_fetch_add(&slot->missed, 1);
    return seconds;
}

/* ---- what was counted and has no record yet ---- */

static void read_text(const kt_refusals_slot_t *slot, uint64_t words[KT_REFUSALS_WORDS])
{
    size_t i;

    for (i = 0; i < KT_REFUSALS_WORDS; i++)
        words[i] = atomic_load_explicit(&slot->text[i], memory_order_relaxed);
}

bool kt_refusals_take(kt_refusals_t *refusals, int64_t now, kt_refusals_missed_t *ret_missed)
{
    kt_refusals_table_t *table = refusals->table;
    uint64_t words[KT_REFUSALS_WORDS];
    size_t i;

    for (i = 0; i < KT_REFUSALS_SLOTS && atomic_load(&table->missed) > 0; i++) {
        kt_refusals_slot_t *slot = &table->slot[i];
        uint64_t source = atomic_load(&slot->source), lockout = atomic_load(&slot->lockout);

        if (atomic_load_explicit(&slot->missed, memory_order_relaxed) == 0 ||
            kt_refusals_left(lockout, (uint32_t)now) > 0)
            continue;
        read_text(slot, words);
        ret_missed->count = atomic_exchange(&slot->missed, 0);
        ret_missed->seconds = kt_refusals_duration(lockout);
        (void)atomic_fetch_sub(&table->missed, ret_missed->count);
        if (ret_missed->count == 0 ||
            !kt_refusals_split(table->key, source, words, ret_missed->subject, ret_missed->peer))
            continue;
        return true;
    }
    return false;
}

void kt_refusals_give_back(kt_refusals_t *refusals, const kt_refusals_missed_t *missed)
{
    kt_refusals_table_t *table = refusals->table;
    uint64_t source = kt_refusals_hash(table->key, missed->subject, missed->peer);
    kt_refusals_slot_t *slot = find(set_of(table, source), source);

    if (slot == NULL)
        return;
    (void)atomic_fetch_add(&table->missed, missed->count);
    (void)atomic_fetch_add(&slot->missed, missed->count);
}

size_t kt_refusals_locked_now(const kt_refusals_t *refusals, int64_t now)
{
    const kt_refusals_table_t *table = refusals->table;
    size_t i, count = 0;

    if (atomic_load_explicit(&table->latest, memory_order_relaxed) <= (uint64_t)now)
        return 0;
    for (i = 0; i < KT_REFUSALS_SLOTS; i++)
        count += kt_refusals_left(atomic_load(&table->slot[i].lockout), (uint32_t)now) > 0;
    return count;
}
