/* SPDX-License-Identifier: BSD-2-Clause */
/* ring_take.c: takes records out of a ring. Every byte of it may be anything. */
#include "ring_file.h"

#define READ_SHARED(member, key, size, absent, from, meaning)                                      \
    if ((from) == OF_ALL)                                                                          \
        event->member = next_text(record, TEXT_##member, &at, &good);
#define READ_SINGLE(member, key, size, absent, from, meaning)                                      \
    if ((from) == OF_ONE)                                                                          \
        event->member = next_text(record, TEXT_##member, &at, &good);
#define FORGET_SINGLE(member, key, size, absent, from, meaning)                                    \
    if ((from) == OF_ONE)                                                                          \
        event->member = NULL;
#define READ_NUMBER(member, ...) event->member = record->member;
#define READ_FLAG(member, key, bit, meaning) event->member = (record->flags & (bit)) != 0;

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

/* After a power cut, or if another process wrote there, a record may be anything. */
static bool is_whole(const kt_ring_t *ring, const kt_ring_walk_t *walk, const record_t *record)
{
    uint64_t left = ring->size - (walk->at & (ring->size - 1)), used;

    if (walk->end < walk->at || walk->end - walk->at > ring->size)
        return false;
    used = record->used;
    return used >= sizeof(*record) && used % 8 == 0 && size_of(record) <= left &&
           size_of(record) <= walk->end - walk->at &&
           record->check == checksum(ring, record, summed(record));
}

static const char *next_text(const record_t *record, int which, const char **at, bool *good)
{
    const char *text = *at;

    if (record->lengths[which] == 0)
        return NULL;
    *at += record->lengths[which];
    *good = *good && *at <= (const char *)record + record->used && (*at)[-1] == '\0';
    return *good ? text : NULL;
}

/* False: a text does not end with NUL, or not in the record. */
static bool read_texts(const record_t *record, kt_event_t *event)
{
    const char *at = record->texts;
    bool good = true;

    KT_AUDIT_FIELDS(READ_SHARED, READ_NUMBER, READ_FLAG, NOTHING)
    KT_AUDIT_FIELDS(READ_SINGLE, NOTHING, NOTHING, NOTHING)
    event->lengths = record->lengths;
    return good;
}

static bool read_record(record_t *record, kt_ring_record_t *ret_record)
{
    kt_event_t *event = &ret_record->event;

    memset(ret_record, 0, sizeof(*ret_record));
    if (!read_texts(record, event))
        return false;
    event->count =
        atomic_fetch_or_explicit(&record->count, COUNT_FINAL, memory_order_relaxed) & ~COUNT_FINAL;
    if (event->count > 1) { /* what the first of them said is not true of all */
        KT_AUDIT_FIELDS(FORGET_SINGLE, NOTHING, NOTHING, NOTHING)
    }
    ret_record->sequence = record->sequence;
    ret_record->time = record->time;
    return true;
}

kt_ring_step_t kt_ring_next(kt_ring_t *ring, kt_ring_walk_t *walk, int64_t now, int64_t window,
                            kt_ring_record_t *ret_record)
{
    record_t *record;

    for (;; walk->at += size_of(record)) {
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
    if ((record->flags & COALESCES) != 0 && window > 0 && walk->at >= walk->urgent &&
        now >= record->time && record->time > now - window)
        return KT_RING_END;
    if (!read_record(record, ret_record))
        return KT_RING_DAMAGED;
    walk->at += size_of(record);
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
    while (walk.sequence < sequence && kt_ring_next(ring, &walk, 0, 0, &record) == KT_RING_RECORD &&
           record.sequence <= sequence)
        before = walk;
    if (before.at != kt_ring_begin(ring).at)
        kt_ring_release(ring, &before);
}
