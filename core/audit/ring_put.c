/* SPDX-License-Identifier: BSD-2-Clause */
/* ring_put.c: puts a decision into the ring of its process, as a record of its own or as one more
 * of a record that is there. */
#include "ring_file.h"

#define LIMIT(member, key, size, absent, from, meaning) [TEXT_##member] = (size),
#define COPY_TEXT(member, ...) texts[TEXT_##member] = event->member;
#define COPY_NUMBER(member, ...) record->member = event->member;
#define ADD_FLAG(member, key, bit, meaning) | (event->member ? (bit) : 0u)

static const uint16_t limits[TEXTS] = {KT_AUDIT_FIELDS(LIMIT, NOTHING, NOTHING, NOTHING)};

static void texts_of(const kt_event_t *event, const char *texts[TEXTS])
{
    KT_AUDIT_FIELDS(COPY_TEXT, NOTHING, NOTHING, NOTHING)
}

static uint32_t flags_of(const kt_event_t *event)
{
    return 0u KT_AUDIT_FIELDS(NOTHING, NOTHING, ADD_FLAG, NOTHING);
}

/* Lengths with NUL, cut to what a line keeps; returns their sum. */
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

/* Room for `size` bytes in one piece: *at is where, after a filler if need be. */
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

static bool same(const record_t *record, const kt_event_t *event, const char *const texts[TEXTS],
                 const uint16_t lengths[TEXTS])
{
    const char *at = record->texts;
    size_t i;

    if (record->version != event->version || record->flags != (COALESCES | flags_of(event)))
        return false;
    for (i = 0; i < TEXTS; i++) {
        if ((SINGLES >> i & 1) == 0 &&
            (record->lengths[i] != lengths[i] ||
             (lengths[i] > 0 && memcmp(at, texts[i], lengths[i] - 1u) != 0)))
            return false;
        at += record->lengths[i];
    }
    return true;
}

static uint64_t hash(const kt_event_t *event, const char *const texts[TEXTS],
                     const uint16_t lengths[TEXTS])
{
    static const int keys[] = {TEXT_reference, TEXT_subject, TEXT_status};
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

/* Adds one to a record whose window still runs and which is not a line yet. */
static bool count_in(kt_ring_t *ring, uint64_t at, const kt_event_t *event,
                     const char *const texts[TEXTS], const uint16_t lengths[TEXTS], int64_t now,
                     int64_t window)
{
    record_t *record = record_at(ring, at);
    uint32_t count;

    if (at < atomic_load_explicit(&ring->header->tail, memory_order_acquire) ||
        record->time <= now - window || now < record->time || !same(record, event, texts, lengths))
        return false;
    count = atomic_load_explicit(&record->count, memory_order_relaxed);
    do {
        if ((count & COUNT_FINAL) != 0 || count == COUNT_FINAL - 1)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&record->count, &count, count + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

static void write_record(const kt_ring_t *ring, record_t *record, const kt_event_t *event,
                         const char *const texts[TEXTS], const uint16_t lengths[TEXTS],
                         uint32_t size, int64_t now, bool coalesces)
{
    char *at = record->texts;
    size_t i, used;

    record->size = size;
    atomic_store_explicit(&record->count, 1, memory_order_relaxed);
    record->flags = flags_of(event) | (coalesces ? COALESCES : 0u);
    record->sequence = ring->sequence;
    record->time = now;
    KT_AUDIT_FIELDS(NOTHING, COPY_NUMBER, NOTHING, NOTHING)
    memcpy(record->lengths, lengths, sizeof(record->lengths));
    for (i = 0; i < TEXTS; i++) {
        if (lengths[i] == 0)
            continue;
        memcpy(at, texts[i], lengths[i] - 1u);
        at[lengths[i] - 1] = '\0';
        at += lengths[i];
    }
    used = used_by(record);
    memset(at, 0, (size_t)((char *)record + used - at));
    record->check = checksum(ring, record, used);
}

kt_ring_answer_t kt_ring_put(kt_ring_t *ring, const kt_event_t *event, int64_t now, int64_t window)
{
    uint64_t at = atomic_load_explicit(&ring->header->head, memory_order_relaxed), sum = 0;
    bool coalesces = event->may_coalesce && window > 0;
    const char *texts[TEXTS];
    uint16_t lengths[TEXTS];
    size_t size;

    texts_of(event, texts);
    size = (sizeof(record_t) + measure(texts, lengths) + SLOT - 1) & ~(size_t)(SLOT - 1);
    if (coalesces) {
        sum = hash(event, texts, lengths);
        if (ring->recent[sum / 2 % RECENT].hash == sum &&
            count_in(ring, ring->recent[sum / 2 % RECENT].at, event, texts, lengths, now, window))
            return KT_RING_COALESCED;
    }
    if (!find_room(ring, size, &at))
        return KT_RING_FULL;
    ring->sequence++;
    write_record(ring, record_at(ring, at), event, texts, lengths, (uint32_t)size, now, coalesces);
    if (coalesces) {
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
               atomic_load_explicit(&ring->header->tail, memory_order_relaxed) >
           ring->size / 2;
}

bool kt_ring_is_empty(const kt_ring_t *ring)
{
    return atomic_load_explicit(&ring->header->head, memory_order_acquire) ==
           atomic_load_explicit(&ring->header->tail, memory_order_acquire);
}
