/* SPDX-License-Identifier: BSD-2-Clause */
/* ring_take.c: takes records out of a ring. Every byte of it may be anything. */
#include "ring_file.h"

#define READ_SHARED(member, key, size, absent, from, meaning)                                      \
    if ((from) == OF_ALL)                                                                          \
        event->member = next_text(record, TEXT_##member, &at);
#define READ_SINGLE(member, key, size, absent, from, meaning)                                      \
    if ((from) == OF_ONE && count <= 1) /* what the first of them said is not true of all */       \
        event->member = next_text(record, TEXT_##member, &at);
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

static bool ends(const record_t *record, size_t text, const char **at)
{
    *at += record->lengths[text];
    return record->lengths[text] == 0 || (*at)[-1] == '\0';
}

#define END_SHARED(member, key, size, absent, from, meaning)                                       \
    if ((from) == OF_ALL && !ends(record, TEXT_##member, &at))                                     \
        return false;
#define END_SINGLE(member, key, size, absent, from, meaning)                                       \
    if ((from) == OF_ONE && !ends(record, TEXT_##member, &at))                                     \
        return false;

/* Does each text end with NUL? */
static bool texts_end(const record_t *record)
{
    const char *at = record->texts;

    KT_AUDIT_FIELDS(END_SHARED, NOTHING, NOTHING, NOTHING)
    KT_AUDIT_FIELDS(END_SINGLE, NOTHING, NOTHING, NOTHING)
    return true;
}

/* After a power cut, or if another process wrote there, a record may be anything. */
static bool is_whole(const kt_ring_t *ring, const kt_ring_walk_t *walk, const record_t *record)
{
    uint64_t left = ring->size - walk->at % ring->size, used;

    if (walk->end < walk->at || walk->end - walk->at > ring->size)
        return false;
    if (record->size < SLOT || record->size % SLOT != 0 || record->size > left ||
        record->size > walk->end - walk->at)
        return false;
    used = used_by(record);
    return used <= record->size && record->check == checksum(ring, record, used) &&
           texts_end(record);
}

static const char *next_text(const record_t *record, int which, const char **at)
{
    const char *text = record->lengths[which] > 0 ? *at : NULL;

    *at += record->lengths[which];
    return text;
}

static void read_record(record_t *record, kt_ring_record_t *ret_record)
{
    uint32_t count =
        atomic_fetch_or_explicit(&record->count, COUNT_FINAL, memory_order_relaxed) & ~COUNT_FINAL;
    const char *at = record->texts;
    kt_event_t *event = &ret_record->event;

    memset(ret_record, 0, sizeof(*ret_record));
    KT_AUDIT_FIELDS(READ_SHARED, READ_NUMBER, READ_FLAG, NOTHING)
    KT_AUDIT_FIELDS(READ_SINGLE, NOTHING, NOTHING, NOTHING)
    event->count = count;
    ret_record->sequence = record->sequence;
    ret_record->time = record->time;
}

kt_ring_step_t kt_ring_next(kt_ring_t *ring, kt_ring_walk_t *walk, int64_t now, int64_t window,
                            kt_ring_record_t *ret_record)
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
    if ((record->flags & COALESCES) != 0 && window > 0 && walk->at >= walk->urgent &&
        now >= record->time && record->time > now - window)
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
    while (walk.sequence < sequence && kt_ring_next(ring, &walk, 0, 0, &record) == KT_RING_RECORD &&
           record.sequence <= sequence)
        before = walk;
    if (before.at != kt_ring_begin(ring).at)
        kt_ring_release(ring, &before);
}
