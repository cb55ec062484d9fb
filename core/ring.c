/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ring.c: where a process keeps its decisions until they are lines of the trail.
 *
 *     PATH/STREAM/rings/ID   one mapped file for each process that records, locked (flock) for as long as it lives
 *
 * What was put into the mapping is the kernel's: it survives kill -9, and costs no system call. The file's blocks are allocated before it is
 * mapped, so that a full disk is no SIGBUS. Who writes and who reads:
 *
 *   the producer   one thread of the process at a time: writes a record, then moves `head` behind it
 *   the consumer   whoever has the stream's lock, in any process: reads up to `head`, and moves `tail` when the lines are on the disk
 *
 * A record that has no room before the end of the ring stands at its beginning, behind a filler. Machine and format are the same for all who
 * read a ring: its numbers are in the machine's own order. A checksum tells what a stop of the whole machine has left half written.
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
#include <unistd.h>

#include "audit.h"

#define MAGIC "KTG1"
#define HEADER 4096u         /* bytes before the first record */
#define SLOT 64u             /* records take whole ones */
#define SIZE_LARGEST (64u * 1024u * 1024u)
#define WORD_MAX 64u         /* bytes of what the host calls something */
#define TEXT_MAX 128u        /* of an address or a request's id */
#define RECENT 256u          /* records into which reads are counted */
#define COUNT_FINAL 0x80000000u

typedef struct header {
    char magic[4];
    uint32_t zero;
    unsigned char id[KT_RING_ID];
    uint64_t size;                           /* bytes of records */
    char boot[40];
    _Alignas(SLOT) _Atomic uint64_t head;    /* bytes ever put; modulo size: where the next goes */
    _Atomic uint64_t sequence;               /* of the last that was put */
    _Alignas(SLOT) _Atomic uint64_t tail;    /* bytes ever released */
    _Atomic uint64_t drained;                /* number of the last that was released */
} header_t;

enum { ACTION, SUBJECT, PEER, REFERENCE, PROVIDER, STATUS, PURPOSE, REQUEST, TEXTS };
enum { STALE = 1, FALLBACK = 2, COUNTED = 4, FILLER = 8 };

typedef struct record {
    uint32_t size;                           /* bytes up to the next one */
    _Atomic uint32_t count;
    uint32_t check;                          /* of all but `count` and itself */
    uint32_t flags;
    uint64_t sequence;
    int64_t time;
    uint64_t version, generation;
    uint16_t lengths[TEXTS];                 /* with NUL; 0: there is none */
    char texts[];
} record_t;

_Static_assert(sizeof(header_t) <= HEADER && sizeof(record_t) == SLOT, "the layout of a ring");

static const uint16_t limits[TEXTS] = {
    [ACTION] = WORD_MAX, [SUBJECT] = KT_SUBJECT_MAX, [PEER] = TEXT_MAX, [REFERENCE] = KT_REFERENCE_MAX,
    [PROVIDER] = WORD_MAX, [STATUS] = WORD_MAX, [PURPOSE] = WORD_MAX, [REQUEST] = TEXT_MAX,
};

struct kt_ring {
    int fd;
    char name[2 * KT_RING_ID + 1];
    uint64_t size;
    header_t *header;
    unsigned char *records;
    uint64_t salt;                           /* of checksums, so that what another ring left on the disk is no record of ours */
    uint64_t sequence;                       /* the producer's */
    _Atomic uint64_t urgent;                 /* offset behind the last record that is one for itself */
    struct {
        uint64_t hash, at;
    } *recent;
};

static uint64_t mix(uint64_t sum, uint64_t word)
{
    sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
    return sum ^ (sum >> 29);
}

static record_t *record_at(const kt_ring_t *ring, uint64_t at)
{
    return (record_t *)(void *)(ring->records + at % ring->size);
}

/* `used`: its bytes, a multiple of 8. */
static uint32_t checksum(const kt_ring_t *ring, const record_t *record, size_t used)
{
    uint64_t sum = mix(ring->salt, record->size), word;
    size_t at;

    sum = mix(sum, record->flags);
    for (at = offsetof(record_t, sequence); at < used; at += 8) {
        memcpy(&word, (const char *)record + at, 8);
        sum = mix(sum, word);
    }
    return (uint32_t)(sum ^ (sum >> 32));
}

static size_t used_by(const record_t *record)
{
    size_t used = sizeof(*record), i;

    for (i = 0; i < TEXTS; i++)
        used += record->lengths[i];
    return (used + 7) & ~(size_t)7;
}

/* ---- the file ---- */

void kt_ring_name_of(const unsigned char id[KT_RING_ID], char ret_name[2 * KT_RING_ID + 1])
{
    (void)sodium_bin2hex(ret_name, 2 * KT_RING_ID + 1, id, KT_RING_ID);
}

static kt_ring_t *map(int fd, const char *name, uint64_t size)
{
    kt_ring_t *ring = calloc(1, sizeof(*ring));
    void *mapping = ring != NULL ? mmap(NULL, HEADER + size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

    if (mapping == MAP_FAILED) {
        free(ring);
        return NULL;
    }
    kt_keep_from_forks(mapping, HEADER + size);
    ring->fd = fd;
    (void)snprintf(ring->name, sizeof(ring->name), "%s", name);
    ring->size = size;
    ring->header = mapping;
    ring->records = (unsigned char *)mapping + HEADER;
    return ring;
}

static void take_salt(kt_ring_t *ring)
{
    memcpy(&ring->salt, ring->header->id, sizeof(ring->salt));
}

static kt_status_t failed(const char *path, const char *name, int error)
{
    return kt_fail(KT_AUDIT, "audit trail %s/rings/%s: %s", path, name, strerror(error));
}

/* Under the stream's lock: nobody takes a ring for a dead one's before its process has locked it. */
kt_status_t kt_ring_create(const char *path, int rings, size_t size, const char *boot, kt_ring_t **ret_ring)
{
    unsigned char id[KT_RING_ID];
    char name[2 * KT_RING_ID + 1];
    kt_ring_t *ring = NULL;
    int fd, error;

    randombytes_buf(id, sizeof(id));
    kt_ring_name_of(id, name);
    fd = openat(rings, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed(path, name, errno);
    error = posix_fallocate(fd, 0, (off_t)(HEADER + size));
    if (error == 0 && flock(fd, LOCK_EX | LOCK_NB) != 0)
        error = errno;
    if (error == 0)
        ring = map(fd, name, size);
    if (error == 0 && ring != NULL)
        ring->recent = calloc(RECENT, sizeof(*ring->recent));
    if (ring == NULL || ring->recent == NULL) {
        (void)unlinkat(rings, name, 0);
        (void)failed(path, name, error != 0 ? error : ENOMEM);
        if (ring != NULL)
            kt_ring_close(ring);
        else
            (void)close(fd);
        return KT_AUDIT;
    }
    memcpy(ring->header->id, id, sizeof(id));
    ring->header->size = size;
    (void)snprintf(ring->header->boot, sizeof(ring->header->boot), "%s", boot);
    memcpy(ring->header->magic, MAGIC, 4);
    take_salt(ring);
    *ret_ring = ring;
    return KT_SUCCESS;
}

static bool is_ring(const kt_ring_t *ring, uint64_t size)
{
    const header_t *header = ring->header;
    unsigned char id[KT_RING_ID];
    size_t got = 0;

    return memcmp(header->magic, MAGIC, 4) == 0 && header->size == size && header->boot[sizeof(header->boot) - 1] == '\0' &&
           sodium_hex2bin(id, sizeof(id), ring->name, strlen(ring->name), NULL, &got, NULL) == 0 && got == sizeof(id) &&
           memcmp(id, header->id, sizeof(id)) == 0;
}

kt_ring_t *kt_ring_open(int rings, const char *name, uid_t owner)
{
    int fd = strlen(name) == 2 * KT_RING_ID ? openat(rings, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY) : -1;
    kt_ring_t *ring = NULL;
    struct stat st;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == owner && st.st_size > (off_t)HEADER &&
        st.st_size <= (off_t)(HEADER + SIZE_LARGEST) && st.st_size % SLOT == 0)
        ring = map(fd, name, (uint64_t)st.st_size - HEADER);
    if (ring == NULL) {
        (void)close(fd);
        return NULL;
    }
    if (!is_ring(ring, ring->size)) {
        kt_ring_close(ring);
        return NULL;
    }
    take_salt(ring);
    return ring;
}

void kt_ring_remove_unmade(int rings, const char *name, uid_t owner)
{
    int fd = strlen(name) == 2 * KT_RING_ID ? openat(rings, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY) : -1;
    char magic[4] = "";
    struct stat st;

    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == owner && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
        pread(fd, magic, sizeof(magic), 0) >= 0 && memcmp(magic, "\0\0\0", 4) == 0)
        (void)unlinkat(rings, name, 0);
    (void)close(fd);
}

void kt_ring_close(kt_ring_t *ring)
{
    if (ring == NULL)
        return;
    (void)munmap(ring->header, HEADER + ring->size);
    (void)close(ring->fd); /* and with it the lock */
    free(ring->recent);
    free(ring);
}

void kt_ring_remove(int rings, kt_ring_t *ring)
{
    (void)unlinkat(rings, ring->name, 0);
}

bool kt_ring_is_removed(const kt_ring_t *ring)
{
    struct stat st;

    return fstat(ring->fd, &st) == 0 && st.st_nlink == 0;
}

/* Not by its pid: another process may have that by now, and a child may still hold what the dead one had open. */
bool kt_ring_take_over(kt_ring_t *ring)
{
    return flock(ring->fd, LOCK_EX | LOCK_NB) == 0;
}

const char *kt_ring_name(const kt_ring_t *ring)
{
    return ring->name;
}

const unsigned char *kt_ring_id(const kt_ring_t *ring)
{
    return ring->header->id;
}

bool kt_ring_is_of_boot(const kt_ring_t *ring, const char *boot)
{
    return strcmp(ring->header->boot, boot) == 0;
}

/* ---- the producer ---- */

static void texts_of(const kt_event_t *event, const char *texts[TEXTS])
{
    texts[ACTION] = event->action;
    texts[SUBJECT] = event->subject;
    texts[PEER] = event->peer;
    texts[REFERENCE] = event->reference;
    texts[PROVIDER] = event->provider;
    texts[STATUS] = event->status;
    texts[PURPOSE] = event->purpose;
    texts[REQUEST] = event->request_id;
}

/* Lengths with NUL, cut to what a line has; the bytes of all. */
static size_t measure(const char *const texts[TEXTS], uint16_t lengths[TEXTS])
{
    size_t all = 0, i;

    for (i = 0; i < TEXTS; i++) {
        lengths[i] = texts[i] != NULL ? (uint16_t)(strnlen(texts[i], limits[i]) + 1) : 0;
        all += lengths[i];
    }
    return all;
}

static void fill(const kt_ring_t *ring, record_t *record, uint32_t size, uint64_t sequence)
{
    memset(record, 0, sizeof(*record));
    record->size = size;
    record->flags = FILLER;
    record->sequence = sequence;
    record->check = checksum(ring, record, sizeof(*record));
}

/* Room for `size` bytes in one piece: *at is where, behind a filler if need be. */
static bool find_room(kt_ring_t *ring, size_t size, uint64_t *at)
{
    uint64_t tail = atomic_load_explicit(&ring->header->tail, memory_order_acquire);
    uint64_t left = ring->size - *at % ring->size;

    if (size > left) {
        if (ring->size - (*at - tail) < left + size)
            return false;
        fill(ring, record_at(ring, *at), (uint32_t)left, ring->sequence);
        *at += left;
        return true;
    }
    return ring->size - (*at - tail) >= size;
}

static bool same(const record_t *record, const kt_event_t *event, const char *const texts[TEXTS], const uint16_t lengths[TEXTS])
{
    const char *at = record->texts;
    size_t i;

    if (record->version != event->version || record->flags != (COUNTED | (event->fallback ? FALLBACK : 0u)))
        return false;
    for (i = 0; i < TEXTS; i++) {
        if (i != PEER && i != REQUEST &&
            (record->lengths[i] != lengths[i] || (lengths[i] > 0 && memcmp(at, texts[i], lengths[i] - 1u) != 0)))
            return false;
        at += record->lengths[i];
    }
    return true;
}

static uint64_t hash(const kt_event_t *event, const char *const texts[TEXTS], const uint16_t lengths[TEXTS])
{
    static const int keys[] = {REFERENCE, SUBJECT, STATUS};
    uint64_t sum = event->version, word;
    size_t i, at, size;

    for (i = 0; i < KT_ARRAY(keys); i++) {
        for (at = 0, size = lengths[keys[i]]; at < size; at += 8) {
            word = 0;
            memcpy(&word, texts[keys[i]] + at, size - at < 8 ? size - at - 1 : 8);
            sum = mix(sum, word);
        }
    }
    return sum | 1;
}

/* One more of a record whose window runs, and which is no line yet. */
static bool count_in(kt_ring_t *ring, uint64_t at, const kt_event_t *event, const char *const texts[TEXTS],
                     const uint16_t lengths[TEXTS], int64_t now, int64_t window)
{
    record_t *record = record_at(ring, at);
    uint32_t count;

    if (at < atomic_load_explicit(&ring->header->tail, memory_order_acquire) || now - record->time >= window || now < record->time ||
        !same(record, event, texts, lengths))
        return false;
    count = atomic_load_explicit(&record->count, memory_order_relaxed);
    do {
        if ((count & COUNT_FINAL) != 0 || count == COUNT_FINAL - 1)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&record->count, &count, count + 1, memory_order_relaxed, memory_order_relaxed));
    return true;
}

static void write_record(const kt_ring_t *ring, record_t *record, const kt_event_t *event, const char *const texts[TEXTS],
                         const uint16_t lengths[TEXTS], uint32_t size, int64_t now, bool counted)
{
    char *at = record->texts;
    size_t i;

    record->size = size;
    atomic_store_explicit(&record->count, 1, memory_order_relaxed);
    record->flags = (event->stale ? STALE : 0u) | (event->fallback ? FALLBACK : 0u) | (counted ? COUNTED : 0u);
    record->sequence = ring->sequence;
    record->time = now;
    record->version = event->version;
    record->generation = event->generation;
    memcpy(record->lengths, lengths, sizeof(record->lengths));
    for (i = 0; i < TEXTS; i++) {
        if (lengths[i] == 0)
            continue;
        memcpy(at, texts[i], lengths[i] - 1u);
        at[lengths[i] - 1] = '\0';
        at += lengths[i];
    }
    memset(at, 0, (size_t)((char *)record + used_by(record) - at));
    record->check = checksum(ring, record, used_by(record));
}

kt_ring_answer_t kt_ring_put(kt_ring_t *ring, const kt_event_t *event, int64_t now, int64_t window)
{
    uint64_t at = atomic_load_explicit(&ring->header->head, memory_order_relaxed), sum = 0;
    bool counted = event->counted && window > 0;
    const char *texts[TEXTS];
    uint16_t lengths[TEXTS];
    size_t size;

    texts_of(event, texts);
    size = (sizeof(record_t) + measure(texts, lengths) + SLOT - 1) & ~(size_t)(SLOT - 1);
    if (counted) {
        sum = hash(event, texts, lengths);
        if (ring->recent[sum / 2 % RECENT].hash == sum &&
            count_in(ring, ring->recent[sum / 2 % RECENT].at, event, texts, lengths, now, window))
            return KT_RING_COUNTED;
    }
    if (!find_room(ring, size, &at))
        return KT_RING_FULL;
    ring->sequence++;
    write_record(ring, record_at(ring, at), event, texts, lengths, (uint32_t)size, now, counted);
    if (counted) {
        ring->recent[sum / 2 % RECENT].hash = sum;
        ring->recent[sum / 2 % RECENT].at = at;
    } else {
        atomic_store_explicit(&ring->urgent, at + size, memory_order_relaxed);
    }
    atomic_store_explicit(&ring->header->sequence, ring->sequence, memory_order_relaxed);
    atomic_store_explicit(&ring->header->head, at + size, memory_order_release);
    return KT_RING_PUT;
}

bool kt_ring_is_pressed(const kt_ring_t *ring)
{
    return atomic_load_explicit(&ring->header->head, memory_order_relaxed) -
           atomic_load_explicit(&ring->header->tail, memory_order_relaxed) > ring->size / 2;
}

bool kt_ring_is_empty(const kt_ring_t *ring)
{
    return atomic_load_explicit(&ring->header->head, memory_order_acquire) ==
           atomic_load_explicit(&ring->header->tail, memory_order_acquire);
}

/* ---- the consumer ---- */

uint64_t kt_ring_drained(const kt_ring_t *ring)
{
    return atomic_load_explicit(&ring->header->drained, memory_order_relaxed);
}

uint64_t kt_ring_recorded(const kt_ring_t *ring)
{
    return atomic_load_explicit(&ring->header->sequence, memory_order_relaxed);
}

kt_ring_walk_t kt_ring_begin(const kt_ring_t *ring)
{
    kt_ring_walk_t walk = {
        .at = atomic_load_explicit(&ring->header->tail, memory_order_acquire),
        .end = atomic_load_explicit(&ring->header->head, memory_order_acquire),
        .urgent = atomic_load_explicit(&ring->urgent, memory_order_relaxed),
    };

    return walk;
}

/* What a machine's stop, or somebody, left there may be anything. */
static bool is_whole(const kt_ring_t *ring, const kt_ring_walk_t *walk, const record_t *record)
{
    uint64_t left = ring->size - walk->at % ring->size, used;
    const char *at = record->texts;
    size_t i;

    if (walk->end < walk->at || walk->end - walk->at > ring->size)
        return false;
    if (record->size < SLOT || record->size % SLOT != 0 || record->size > left || record->size > walk->end - walk->at)
        return false;
    used = used_by(record);
    if (used > record->size || record->check != checksum(ring, record, used))
        return false;
    for (i = 0; i < TEXTS; i++) {
        at += record->lengths[i];
        if (record->lengths[i] > 0 && at[-1] != '\0')
            return false;
    }
    return true;
}

static const char *next_text(const record_t *record, int which, const char **at)
{
    const char *text = record->lengths[which] > 0 ? *at : NULL;

    *at += record->lengths[which];
    return text;
}

static void read_record(record_t *record, kt_ring_record_t *ret_record)
{
    uint32_t count = atomic_fetch_or_explicit(&record->count, COUNT_FINAL, memory_order_relaxed) & ~COUNT_FINAL;
    const char *at = record->texts;
    kt_event_t *event = &ret_record->event;

    memset(ret_record, 0, sizeof(*ret_record));
    event->action = next_text(record, ACTION, &at);
    event->subject = next_text(record, SUBJECT, &at);
    event->peer = next_text(record, PEER, &at);
    event->reference = next_text(record, REFERENCE, &at);
    event->provider = next_text(record, PROVIDER, &at);
    event->status = next_text(record, STATUS, &at);
    event->purpose = next_text(record, PURPOSE, &at);
    event->request_id = next_text(record, REQUEST, &at);
    event->version = record->version;
    event->generation = record->generation;
    event->stale = (record->flags & STALE) != 0;
    event->fallback = (record->flags & FALLBACK) != 0;
    event->count = count;
    if (count > 1) /* what the first one of them said is not true of all */
        event->peer = event->request_id = NULL;
    ret_record->sequence = record->sequence;
    ret_record->time = record->time;
}

kt_ring_step_t kt_ring_next(kt_ring_t *ring, kt_ring_walk_t *walk, int64_t now, int64_t window, kt_ring_record_t *ret_record)
{
    record_t *record;

    for (;; walk->at += record->size) {
        if (walk->at == walk->end)
            return KT_RING_END;
        if (walk->at % SLOT != 0)
            return KT_RING_DAMAGED;
        record = record_at(ring, walk->at);
        if (!is_whole(ring, walk, record))
            return KT_RING_DAMAGED;
        if ((record->flags & FILLER) == 0)
            break;
    }
    if (walk->sequence != 0 && record->sequence != walk->sequence + 1)
        return KT_RING_DAMAGED;
    if ((record->flags & COUNTED) != 0 && window > 0 && walk->at >= walk->urgent && now >= record->time && now - record->time < window)
        return KT_RING_END;
    read_record(record, ret_record);
    walk->at += record->size;
    walk->sequence = record->sequence;
    return KT_RING_RECORD;
}

void kt_ring_release(kt_ring_t *ring, const kt_ring_walk_t *walk)
{
    atomic_store_explicit(&ring->header->tail, walk->at, memory_order_release);
    if (walk->sequence != 0) /* after the tail: kt_ring_skip() relies on it */
        atomic_store_explicit(&ring->header->drained, walk->sequence, memory_order_release);
}

void kt_ring_skip(kt_ring_t *ring, uint64_t sequence)
{
    kt_ring_walk_t walk = kt_ring_begin(ring), before = walk;
    kt_ring_record_t record;

    if (kt_ring_drained(ring) >= sequence)
        return;
    while (walk.sequence < sequence && kt_ring_next(ring, &walk, 0, 0, &record) == KT_RING_RECORD && record.sequence <= sequence)
        before = walk;
    if (before.at != kt_ring_begin(ring).at)
        kt_ring_release(ring, &before);
}
