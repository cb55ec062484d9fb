/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * access.c: how often each secret was read, when last and by whom, without a write for each read.
 *
 * Each stream's folder has a file `access` that all processes of the stream map: a table of names,
 * with eight pairs of numbers for each. The pairs are a cache line apart, so that worker processes
 * do not compete for one line. A read is one atomic addition and one store in the pair of its
 * process. The mapping outlives the process: kill -9 loses no count, a power cut loses those since
 * the kernel last wrote (half a minute). A name or subject is entered by the first process that
 * needs it: claimed, written, then shown. A process that dies in between leaves an unused place.
 * Names that find no place are counted together, as `lost`.
 *
 * A file under a lock that is rewritten now and then was rejected: it loses what was counted since,
 * and workers would wait for each other.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "files.h"

#define MAGIC 0x313053534543434bu /* "KCCESS01", and the byte order of this machine */
#define SLOTS 16384u
#define SUBJECTS 1024u
#define STRIPES 8u
#define PROBES 64u         /* places that are looked at for one name */
#define TEXT 256u          /* bytes of a name or subject, NUL included */
#define NOWHERE UINT32_MAX /* for a name that found no place: it is not looked for at each read */

enum { FREE, CLAIMED, SHOWN };

typedef struct stripe {
    atomic_uint_fast64_t count;
    /* ms since the epoch << 16 | the subject's place + 1, or 0: one that found no place */
    atomic_uint_fast64_t last;
    char unused[48];
} stripe_t;

typedef struct place { /* of a name or a subject */
    _Atomic uint32_t state;
    uint32_t unused;
    char text[TEXT];
    char more[56];
} place_t;

typedef struct slot {
    place_t name;
    stripe_t stripes[STRIPES];
} slot_t;

typedef struct table {
    uint64_t magic;
    atomic_uint_fast64_t lost;
    char unused[4080];
    place_t subjects[SUBJECTS];
    slot_t slots[SLOTS];
} table_t;

_Static_assert(sizeof(stripe_t) == 64 && sizeof(place_t) == 320 && sizeof(slot_t) == 832,
               "docs/format.md has these sizes");
_Static_assert(sizeof(atomic_uint_fast64_t) == 8, "and these numbers");

struct kt_access {
    int fd;
    table_t *table;
    unsigned stripe;
    uint64_t subject; /* the place + 1 of the last one */
    char last_subject[TEXT];
    /* Of each slot whose name was seen, a part of its hash: names stay where they are. In a full
     * table a name that has no place would otherwise read 64 cache lines at each of its reads. */
    uint32_t marks[SLOTS];
};

static uint64_t hash_of(const char *text)
{
    uint64_t hash =
        14695981039346656037u; /* FNV-1a: only those who may write secrets can choose the places */
    size_t i;

    for (i = 0; i < TEXT && text[i] != '\0'; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
    return hash ^ hash >> 32;
}

/* Never 0, and of other bits than the place. */
static uint32_t mark_of(uint64_t hash)
{
    return (uint32_t)(hash >> 32) | 1;
}

/* ---- opening ---- */

/* A file without a head is being made, or its maker died: hence the lock. */
static bool prepare_file(int fd)
{
    static const uint64_t magic = MAGIC;
    uint64_t found = 0;
    struct stat st;
    bool good;

    if (!kt_lock_file(fd, KT_LOCK_WAIT))
        return false;
    good = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid();
    if (good && st.st_size == 0)
        good = ftruncate(fd, (off_t)sizeof(table_t)) == 0 && fstat(fd, &st) == 0;
    good = good && st.st_size == (off_t)sizeof(table_t) &&
           pread(fd, &found, sizeof(found), 0) == (ssize_t)sizeof(found);
    if (good && found == 0)
        good = pwrite(fd, &magic, sizeof(magic), 0) == (ssize_t)sizeof(magic);
    else
        good = good && found == magic;
    (void)flock(fd, LOCK_UN);
    return good;
}

/* -1 with errno. Opens for writing only in a folder of our own. */
static int open_table(const char *audit_path, const char *stream, bool writing)
{
    int flags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, folder, fd = -1;
    struct stat st;
    char *path;

    if (asprintf(&path, "%s/%s", audit_path, stream) < 0)
        return -1;
    folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    free(path);
    if (folder < 0)
        return -1;
    if (!writing)
        fd = openat(folder, "access", O_RDONLY | flags);
    else if (fstat(folder, &st) == 0 && st.st_uid == geteuid())
        fd = openat(folder, "access", O_RDWR | O_CREAT | flags, 0640);
    if (writing && fd >= 0 && fstat(fd, &st) == 0 && st.st_size == 0)
        kt_audit_share(folder, fd);
    (void)close(folder);
    return fd;
}

/* NULL: there are no statistics, which is not an error. Root keeps none in the folder of another
 * user, who could cut the file. */
kt_access_t *kt_access_open(const kt_config_t *config, const char *stream)
{
    kt_access_t *access = calloc(1, sizeof(*access));
    void *table = MAP_FAILED;

    if (access == NULL)
        return NULL;
    access->fd = open_table(config->audit_path, stream, true);
    if (access->fd >= 0 && prepare_file(access->fd))
        table = mmap(NULL, sizeof(table_t), PROT_READ | PROT_WRITE, MAP_SHARED, access->fd, 0);
    if (table == MAP_FAILED) {
        if (access->fd >= 0)
            (void)close(access->fd);
        free(access);
        return NULL;
    }
    access->table = table;
    access->stripe = (unsigned)getpid() % STRIPES;
    return access;
}

void kt_access_close(kt_access_t *access)
{
    if (access == NULL)
        return;
    (void)munmap(access->table, sizeof(table_t));
    (void)close(access->fd);
    free(access);
}

/* ---- counting ---- */

/* On a full disk, writing into a hole of a mapped file raises SIGBUS. */
static bool reserve(const kt_access_t *access, const void *at, size_t size)
{
    off_t offset = (const char *)at - (const char *)access->table;

    return fallocate(access->fd, 0, offset, (off_t)size) == 0 || errno == EOPNOTSUPP;
}

/* The text's place among `count` places of `size` bytes from `first` on, claimed if need be. -1:
 * there is none. `marks`: of the places whose texts are known to this process; NULL: not kept. */
static int64_t find_place(const kt_access_t *access, void *first, size_t count, size_t size,
                          uint32_t *marks, const char *text)
{
    uint64_t hash = hash_of(text);

    for (unsigned i = 0; i < PROBES; i++) {
        size_t n = (size_t)((hash + i) % count);
        place_t *place = (place_t *)(void *)((char *)first + n * size);
        uint32_t state;

        if (marks != NULL && marks[n] != 0 && marks[n] != mark_of(hash))
            continue;
        state = atomic_load_explicit(&place->state, memory_order_acquire);
        if (state == FREE && !reserve(access, place, size))
            return -1;
        if (state == FREE && atomic_compare_exchange_strong(&place->state, &state, CLAIMED)) {
            memcpy(place->text, text, strlen(text) + 1);
            kt_debug_point("access.claimed");
            atomic_store_explicit(&place->state, SHOWN, memory_order_release);
            return (int64_t)n;
        }
        if (state == SHOWN && marks != NULL)
            marks[n] = mark_of(hash_of(place->text));
        /* a name that is being claimed may get a second place: readers add them up */
        if (state == SHOWN && strncmp(place->text, text, TEXT) == 0)
            return (int64_t)n;
    }
    return -1;
}

static uint64_t subject_place(kt_access_t *access, const char *subject, uint32_t *place)
{
    if (place != NULL && *place != 0)
        return *place;
    if (strcmp(access->last_subject, subject) != 0) {
        access->subject = (uint64_t)(find_place(access, access->table->subjects, SUBJECTS,
                                                sizeof(place_t), NULL, subject) +
                                     1);
        (void)snprintf(access->last_subject, sizeof(access->last_subject), "%s", subject);
    }
    if (place != NULL)
        *place = (uint32_t)access->subject;
    return access->subject;
}

void kt_access_ahead(const kt_access_t *access, const char *name)
{
    const slot_t *slot;
    size_t n;

    if (access == NULL)
        return;
    n = (size_t)(hash_of(name) % SLOTS);
    slot = &access->table->slots[n];
    __builtin_prefetch(&access->marks[n]);
    __builtin_prefetch(&slot->name);
    __builtin_prefetch(&slot->stripes[access->stripe], 1);
}

void kt_access_note(kt_access_t *access, const char *name, const char *subject, int64_t now,
                    uint32_t *slot, uint32_t *place)
{
    stripe_t *stripe;
    uint64_t last;

    if (access == NULL)
        return;
    if (*slot == 0)
        *slot = (uint32_t)(find_place(access, access->table->slots, SLOTS, sizeof(slot_t),
                                      access->marks, name) +
                           1);
    if (*slot == 0)
        *slot = NOWHERE;
    if (*slot == NOWHERE) {
        (void)atomic_fetch_add_explicit(&access->table->lost, 1, memory_order_relaxed);
        return;
    }
    last = (uint64_t)now << 16 | subject_place(access, subject, place);
    stripe = &access->table->slots[*slot - 1].stripes[access->stripe];
    (void)atomic_fetch_add_explicit(&stripe->count, 1, memory_order_relaxed);
    atomic_store_explicit(&stripe->last, last, memory_order_relaxed);
}

/* ---- reading ----
 *
 * By pread(): the file may belong to another user, who can cut it, and then a mapping would fault.
 */

typedef struct reading {
    int fd;
    uint64_t lost;
    const char *stream;
} reading_t;

static bool open_reading(const char *audit_path, const char *stream, reading_t *reading)
{
    uint64_t head[2] = {0, 0};

    reading->fd = open_table(audit_path, stream, false);
    if (reading->fd < 0)
        return false;
    if (pread(reading->fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) && head[0] == MAGIC) {
        reading->lost = head[1];
        return true;
    }
    (void)close(reading->fd);
    errno = ENOENT; /* it has no counts yet */
    return false;
}

static void copy_subject(const reading_t *reading, uint64_t place, char subject[TEXT])
{
    place_t found;

    subject[0] = '\0';
    if (place == 0 || place > SUBJECTS ||
        pread(reading->fd, &found, sizeof(found),
              (off_t)(offsetof(table_t, subjects) + (place - 1) * sizeof(found))) !=
            (ssize_t)sizeof(found) ||
        atomic_load(&found.state) != SHOWN)
        return;
    (void)snprintf(subject, TEXT, "%.*s", (int)TEXT - 1, found.text);
}

/* What one slot says, into the sum of its name. */
static void add_slot(const reading_t *reading, const slot_t *slot, kt_access_sum_t *sum)
{
    for (unsigned i = 0; i < STRIPES; i++) {
        uint64_t last = atomic_load_explicit(&slot->stripes[i].last, memory_order_relaxed);

        sum->count += atomic_load_explicit(&slot->stripes[i].count, memory_order_relaxed);
        if ((int64_t)(last >> 16) <= sum->last)
            continue;
        sum->last = (int64_t)(last >> 16);
        copy_subject(reading, last & 0xffff, sum->subject);
        (void)snprintf(sum->stream, sizeof(sum->stream), "%s", reading->stream);
    }
}

static bool read_slot(const reading_t *reading, size_t n, slot_t *ret_slot)
{
    off_t at = (off_t)(offsetof(table_t, slots) + n * sizeof(slot_t));

    if (pread(reading->fd, ret_slot, sizeof(*ret_slot), at) != (ssize_t)sizeof(*ret_slot))
        return false;
    ret_slot->name.text[TEXT - 1] = '\0';
    return true;
}

static void read_name(const reading_t *reading, const char *name, kt_access_sum_t *sum)
{
    uint64_t hash = hash_of(name);
    slot_t slot;

    for (unsigned i = 0; i < PROBES && read_slot(reading, (size_t)((hash + i) % SLOTS), &slot);
         i++) {
        if (atomic_load(&slot.name.state) == FREE)
            return;
        if (atomic_load(&slot.name.state) == SHOWN && strcmp(slot.name.text, name) == 0)
            add_slot(reading, &slot, sum);
    }
}

static void read_all(const reading_t *reading, kt_access_fn fn, void *arg)
{
    kt_access_sum_t sum;
    slot_t slot;

    for (size_t n = 0; n < SLOTS && read_slot(reading, n, &slot); n++) {
        if (atomic_load(&slot.name.state) != SHOWN ||
            kt_name_check(slot.name.text, 0, NULL) != KT_SUCCESS)
            continue;
        memset(&sum, 0, sizeof(sum));
        add_slot(reading, &slot, &sum);
        fn(arg, slot.name.text, &sum);
    }
}

/* Adds to *total what concerns all streams. */
static void read_stream(const char *audit_path, const char *stream, const char *name,
                        kt_access_fn fn, void *arg, kt_access_sum_t *total)
{
    reading_t reading = {.fd = -1, .stream = stream};

    if (!open_reading(audit_path, stream, &reading)) {
        total->hidden += errno != ENOENT && errno != ENOTDIR;
        return;
    }
    total->lost += reading.lost;
    if (name != NULL)
        read_name(&reading, name, total);
    else
        read_all(&reading, fn, arg);
    (void)close(reading.fd);
}

/* If the folder may not be listed, the own stream at least. */
static void read_streams(const kt_config_t *config, const char *stream, const char *name,
                         kt_access_fn fn, void *arg, kt_access_sum_t *total)
{
    const char *path = config->audit_path;
    kt_folder_t list;

    if (!kt_folder_open(&list, AT_FDCWD, path)) {
        total->hidden += errno != ENOENT;
        read_stream(path, stream, name, fn, arg, total);
        return;
    }
    while (kt_folder_next(&list)) {
        if (list.name[0] != '.')
            read_stream(path, list.name, name, fn, arg, total);
    }
    total->hidden += !kt_folder_close(&list);
}

void kt_access_of(const kt_config_t *config, const char *stream, const char *name,
                  kt_access_sum_t *ret_sum)
{
    memset(ret_sum, 0, sizeof(*ret_sum));
    read_streams(config, stream, name, NULL, NULL, ret_sum);
    kt_failure_clear();
}

void kt_access_all(const kt_config_t *config, const char *stream, kt_access_fn fn, void *arg,
                   kt_access_sum_t *ret_total)
{
    memset(ret_total, 0, sizeof(*ret_total));
    read_streams(config, stream, NULL, fn, arg, ret_total);
    kt_failure_clear();
}
