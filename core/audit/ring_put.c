/* SPDX-License-Identifier: BSD-2-Clause */
/* ring_put.c: puts a decision into the ring of its process, as a record of its own or as one more
 * of a record that is there. */
#include "ring_file.h"

#include <stdlib.h>

#define ADD_LIMIT(member, key, size, absent, from, meaning) +((from) == OF_ALL ? (size) + 1u : 0u)
#define MEASURE_SHARED(member, key, size, absent, from, meaning)                                   \
    if ((from) == OF_ALL)                                                                          \
        all += lengths[TEXT_##member] = measure(event->member, size);
#define COPY_SHARED(member, key, size, absent, from, meaning)                                      \
    if ((from) == OF_ALL)                                                                          \
        at = copy(at, event->member, lengths[TEXT_##member]);
#define MEASURE_SINGLE(member, key, size, absent, from, meaning)                                   \
    if ((from) == OF_ONE)                                                                          \
        all += lengths[TEXT_##member] = measure(event->member, size);
#define COPY_SINGLE(member, key, size, absent, from, meaning)                                      \
    if ((from) == OF_ONE)                                                                          \
        at = copy(at, event->member, lengths[TEXT_##member]);
#define COPY_NUMBER(member, ...) record->member = event->member;
#define ADD_FLAG(member, key, bit, meaning) | (event->member ? (bit) : 0u)

enum { SHARED = 0 KT_AUDIT_FIELDS(ADD_LIMIT, NOTHING, NOTHING, NOTHING) }; /* bytes at most */

/* What a read's record has in common with that of the next read: its texts of OF_ALL, as they stand
 * in the ring. Callers that record the same again and again keep it. */
struct kt_event_texts {
    uint64_t hash;
    size_t size; /* of the bytes */
    uint16_t lengths[TEXTS_MAX];
    char bytes[SHARED];
};

static uint32_t flags_of(const kt_event_t *event)
{
    return 0u KT_AUDIT_FIELDS(NOTHING, NOTHING, ADD_FLAG, NOTHING);
}

static uint64_t hash(const char *bytes, size_t size)
{
    uint64_t sum = size, word;
    size_t at;

    for (at = 0; at < size; at += 8) {
        word = 0;
        memcpy(&word, bytes + at, size - at < 8 ? size - at : 8);
        sum = mix(sum, word);
    }
    return sum;
}

/* With NUL, and cut to what a line keeps; 0: there is none. */
static uint16_t measure(const char *text, size_t limit)
{
    return text != NULL ? (uint16_t)(strnlen(text, limit) + 1) : 0;
}

/* Returns where the next one goes. Most are of eight to sixteen bytes: two words. */
static inline char *copy(char *at, const char *text, uint16_t length)
{
    size_t size = length - 1u;

    if (length == 0)
        return at;
    if (size >= 8 && size <= 16) {
        memcpy(at, text, 8);
        memcpy(at + size - 8, text + size - 8, 8);
    } else {
        memcpy(at, text, size);
    }
    at[length - 1] = '\0';
    return at + length;
}

/* The lengths of those that records have in common; returns their sum. */
static size_t measure_shared(const kt_event_t *event, uint16_t lengths[TEXTS_MAX])
{
    size_t all = 0;

    memset(lengths, 0, TEXTS_MAX * sizeof(*lengths));
    KT_AUDIT_FIELDS(MEASURE_SHARED, NOTHING, NOTHING, NOTHING)
    return all;
}

static void copy_shared(const kt_event_t *event, const uint16_t lengths[TEXTS_MAX], char *at)
{
    KT_AUDIT_FIELDS(COPY_SHARED, NOTHING, NOTHING, NOTHING)
    (void)at;
}

static void gather(const kt_event_t *event, kt_event_texts_t *ret_shared)
{
    ret_shared->size = measure_shared(event, ret_shared->lengths);
    copy_shared(event, ret_shared->lengths, ret_shared->bytes);
    ret_shared->hash = hash(ret_shared->bytes, ret_shared->size);
}

kt_event_texts_t *kt_event_texts_new(const kt_event_t *event)
{
    kt_event_texts_t all, *kept;
    size_t size;

    gather(event, &all);
    size = offsetof(kt_event_texts_t, bytes) + all.size;
    kept = malloc(size);
    if (kept != NULL)
        memcpy(kept, &all, size);
    return kept;
}

static void fill(const kt_ring_t *ring, record_t *record, uint32_t size, uint64_t sequence)
{
    memset(record, 0, sizeof(*record));
    record->used = (uint16_t)size;
    record->flags = FILLER;
    record->sequence = sequence;
    record->check = checksum(ring, record, sizeof(*record));
}

/* Room for `size` bytes in one piece: *at is where, after a filler if need be. */
static bool find_room(kt_ring_t *ring, size_t size, uint64_t *at)
{
    uint64_t tail = atomic_load_explicit(&ring->header->tail, memory_order_acquire);
    uint64_t left = ring->size - (*at & (ring->size - 1));

    if (size > left) {
        if (ring->size - (*at - tail) < left + size)
            return false;
        fill(ring, record_at(ring, *at), (uint32_t)left, ring->sequence);
        *at += left;
        return true;
    }
    return ring->size - (*at - tail) >= size;
}

static uint64_t sum_of(const kt_event_t *event, const kt_event_texts_t *shared)
{
    return mix(shared->hash, event->version) | 1;
}

static recent_t *recent_of(const kt_ring_t *ring, uint64_t sum)
{
    return &ring->recent[sum / 2 % RECENT];
}

/* The single texts of a record are left out once it stands for many. */
static bool same(const record_t *record, const kt_event_t *event, const kt_event_texts_t *shared)
{
    size_t i;

    if (record->version != event->version || record->flags != (COALESCES | flags_of(event)))
        return false;
    for (i = 0; i < TEXTS; i++) {
        if (!is_single(i) && record->lengths[i] != shared->lengths[i])
            return false;
    }
    return memcmp(record->texts, shared->bytes, shared->size) == 0;
}

/* Adds one to a record whose window still runs and which is not a line yet. */
static bool count_in(kt_ring_t *ring, uint64_t at, const kt_event_t *event,
                     const kt_event_texts_t *shared, int64_t now, int64_t window)
{
    record_t *record = record_at(ring, at);
    uint32_t count;

    if (at < atomic_load_explicit(&ring->header->tail, memory_order_acquire) ||
        record->time <= now - window || now < record->time || !same(record, event, shared))
        return false;
    count = atomic_load_explicit(&record->count, memory_order_relaxed);
    do {
        if ((count & COUNT_FINAL) != 0 || count == COUNT_FINAL - 1)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&record->count, &count, count + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

typedef struct place {
    uint64_t at;
    size_t size, used; /* of the record: in whole slots, and in whole words */
    size_t shared;     /* bytes of the texts that records have in common */
    uint16_t lengths[TEXTS_MAX];
} place_t;

/* Adds to `lengths` those of what a request says itself; returns their sum. */
static size_t measure_singles(const kt_event_t *event, uint16_t lengths[TEXTS_MAX])
{
    size_t all = 0;

    KT_AUDIT_FIELDS(MEASURE_SINGLE, NOTHING, NOTHING, NOTHING)
    return all;
}

/* `shared` NULL: its texts are still with the event. */
static void write_record(const kt_ring_t *ring, const place_t *place, const kt_event_t *event,
                         const kt_event_texts_t *shared, int64_t now)
{
    record_t *record = record_at(ring, place->at);
    const uint16_t *lengths = place->lengths;
    char *at = record->texts + place->shared;

    atomic_store_explicit(&record->count, 1, memory_order_relaxed);
    record->used = (uint16_t)place->used;
    record->flags = (uint16_t)flags_of(event);
    record->sequence = ring->sequence;
    memset((char *)record + place->used - 8, 0, 8); /* what will follow the last text */
    record->time = now;
    KT_AUDIT_FIELDS(NOTHING, COPY_NUMBER, NOTHING, NOTHING)
    memcpy(record->lengths, lengths, sizeof(record->lengths));
    if (shared != NULL)
        memcpy(record->texts, shared->bytes, shared->size);
    else
        copy_shared(event, lengths, record->texts);
    KT_AUDIT_FIELDS(COPY_SINGLE, NOTHING, NOTHING, NOTHING)
}

static kt_ring_answer_t put(kt_ring_t *ring, const kt_event_t *event,
                            const kt_event_texts_t *shared, int64_t now, bool coalesces)
{
    place_t place = {.at = atomic_load_explicit(&ring->header->head, memory_order_relaxed)};
    record_t *record;

    if (shared != NULL)
        memcpy(place.lengths, shared->lengths, sizeof(place.lengths));
    place.shared = shared != NULL ? shared->size : measure_shared(event, place.lengths);
    place.used =
        (sizeof(record_t) + place.shared + measure_singles(event, place.lengths) + 7) & ~(size_t)7;
    place.size = (place.used + SLOT - 1) & ~(size_t)(SLOT - 1);
    if (!find_room(ring, place.size, &place.at))
        return KT_RING_FULL;
    ring->sequence++;
    write_record(ring, &place, event, shared, now);
    record = record_at(ring, place.at);
    if (coalesces) {
        record->flags |= COALESCES;
        *recent_of(ring, sum_of(event, shared)) = (recent_t){sum_of(event, shared), place.at};
    } else {
        atomic_store_explicit(&ring->urgent, place.at + place.size, memory_order_relaxed);
    }
    record->check = checksum(ring, record, place.used);
    atomic_store_explicit(&ring->header->sequence, ring->sequence, memory_order_relaxed);
    atomic_store_explicit(&ring->header->head, place.at + place.size, memory_order_release);
    return KT_RING_PUT;
}

kt_ring_answer_t kt_ring_put(kt_ring_t *ring, const kt_event_t *event, int64_t now, int64_t window)
{
    bool coalesces = event->may_coalesce && window > 0;
    const kt_event_texts_t *shared = event->texts;
    kt_event_texts_t own;
    recent_t recent;

    if (coalesces && shared == NULL) {
        gather(event, &own);
        shared = &own;
    }
    if (coalesces) {
        recent = *recent_of(ring, sum_of(event, shared));
        if (recent.hash == sum_of(event, shared) &&
            count_in(ring, recent.at, event, shared, now, window))
            return KT_RING_COALESCED;
    }
    return put(ring, event, shared, now, coalesces);
}

bool kt_ring_is_pressed(const kt_ring_t *ring)
{
    return atomic_load_explicit(&ring->header->head, memory_order_relaxed) -
               atomic_load_explicit(&ring->header->tail, memory_order_relaxed) >
           ring->size / 2;
}

bool kt_ring_is_empty(const kt_ring_t *ring)
{
    return atomic_load_explicit(&ring->header->head, memory_order_acquire) ==
           atomic_load_explicit(&ring->header->tail, memory_order_acquire);
}

/* The producer alone reuses space, so what it reads here is a record, at most one that was released
 * in the meantime. */
int64_t kt_ring_oldest(const kt_ring_t *ring)
{
    uint64_t at = atomic_load_explicit(&ring->header->tail, memory_order_acquire),
             head = atomic_load_explicit(&ring->header->head, memory_order_relaxed);
    const record_t *record;

    if (at != head && (record_at(ring, at)->flags & FILLER) != 0)
        at += record_at(ring, at)->used;
    if (at == head)
        return 0;
    record = record_at(ring, at);
    return record->time;
}
