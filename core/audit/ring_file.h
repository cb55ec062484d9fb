/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ring_file.h: where a process keeps its decisions until they are lines of the trail.
 *
 *     PATH/STREAM/rings/ID   one mapped file for each process that records, locked by flock() while
 *                            the process lives
 *
 * The mapping belongs to the kernel: what was put into it survives kill -9, and costs no system
 * call. The file's blocks are allocated before it is mapped, so a full disk is an error and never
 * a SIGBUS.
 *
 * Concurrency: one producer and one consumer, without a lock between them.
 *
 *   The producer is the thread that holds the context's lock. It writes a record, and then moves
 *   `head` past it with release. A consumer that loads `head` with acquire sees the whole record.
 *
 *   The consumer is the holder of the stream's lock, in any process. It reads up to `head` and
 *   writes lines. When these are on the disk it moves `tail` with release, which gives the space
 *   back: the producer loads `tail` with acquire before it writes there. `drained` follows `tail`;
 *   kt_ring_skip() relies on this order after a crash between the two.
 *
 *   `count` is the only word of a record that both change. The producer adds a coalesced read by
 *   compare-and-swap, the consumer sets COUNT_FINAL, and the second one sees the first: a read is
 *   counted in a line that is not written yet, or it gets a record of its own. No other word
 *   depends on the order of these two, so they are relaxed.
 *
 *   `sequence` in the header is for a consumer that finds a damaged record: how many are lost.
 *   `urgent` is a hint within a process: records before it do not wait for the end of a window.
 *
 * A record that does not fit before the end of the ring stands at its beginning, after a filler. A
 * ring is read on the machine that wrote it only, so its numbers are in the machine's byte order. A
 * checksum finds records that a power cut left half written; any byte of a ring may be anything.
 *
 *   ring.c       the file
 *   ring_put.c   the producer
 *   ring_take.c  the consumer
 *
 * Only these three include it, and tests that change single bytes.
 */
#ifndef KT_RING_FILE_H
#define KT_RING_FILE_H

#include <string.h>

#include "fields.h"
#include "ring.h"

#define HEADER 4096u /* bytes before the first record */
#define SLOT 64u     /* records take whole ones */
#define COUNT_FINAL 0x80000000u

typedef struct header {
    char magic[4];
    uint32_t zero;
    unsigned char id[KT_RING_ID];
    uint64_t size; /* bytes of records: a power of two */
    char boot[40];
    _Alignas(SLOT) _Atomic uint64_t head; /* bytes ever put; modulo size: where the next goes */
    _Atomic uint64_t sequence;            /* of the last that was put */
    _Alignas(SLOT) _Atomic uint64_t tail; /* bytes ever released */
    _Atomic uint64_t drained;             /* number of the last that was released */
} header_t;

/* What a record has of the fields (fields.h): two numbers, flags, and the texts: first those of
 * OF_ALL, in their order, and then those of OF_ONE. */
#define SUM_SINGLE(member, key, size, absent, from, meaning) +((from) << TEXT_##member)
#define MEMBER(member, ...) uint64_t member;
#define SUM_BIT(member, key, bit, meaning) +(bit)
#define NOTHING KT_AUDIT_NOTHING
enum { SINGLES = 0 KT_AUDIT_FIELDS(SUM_SINGLE, NOTHING, NOTHING, NOTHING) }; /* bits of OF_ONE */
enum { FLAGS = 0 KT_AUDIT_FIELDS(NOTHING, NOTHING, SUM_BIT, NOTHING), COALESCES = 4, FILLER = 8 };

_Static_assert((FLAGS & (COALESCES | FILLER)) == 0, "a bit for each flag");

#define TEXTS_MAX 10u /* for which a record has room */

typedef struct record {
    uint32_t check; /* of all but `count` and itself */
    _Atomic uint32_t count;
    uint16_t used; /* bytes; the next one begins with the next slot. Of a filler: up to there */
    uint16_t flags;
    uint16_t lengths[TEXTS_MAX]; /* with NUL; 0: there is none */
    uint64_t sequence;
    int64_t time;
    KT_AUDIT_FIELDS(NOTHING, MEMBER, NOTHING, NOTHING)
    char texts[];
} record_t;

_Static_assert(sizeof(header_t) <= HEADER && sizeof(record_t) == SLOT && TEXTS <= TEXTS_MAX,
               "the layout of a ring");

#define RECENT 256u /* records into which reads are counted */

typedef struct recent {
    uint64_t hash, at; /* 0: none */
} recent_t;

struct kt_ring {
    int fd;
    char name[2 * KT_RING_ID + 1];
    uint64_t size;
    header_t *header;
    unsigned char *records;
    /* of checksums, so that what another ring left on the disk is not a record of ours */
    uint64_t salt;
    uint64_t sequence;       /* the producer's */
    _Atomic uint64_t urgent; /* offset after the last record that coalesces with none */
    recent_t *recent;
};

static inline bool is_single(size_t text)
{
    return (SINGLES >> text & 1) != 0;
}

static inline uint64_t mix(uint64_t sum, uint64_t word)
{
    sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
    return sum ^ (sum >> 29);
}

static inline record_t *record_at(const kt_ring_t *ring, uint64_t at)
{
    return (record_t *)(void *)(ring->records + (at & (ring->size - 1)));
}

#define LANES 3u /* sums side by side, because a multiplication waits for the one before it */

static inline uint64_t add_word(uint64_t sum, const char *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof(word));
    return (sum ^ word) * 0x9e3779b97f4a7c15u;
}

/* `used`: its bytes, a multiple of 8. */
static inline uint32_t checksum(const kt_ring_t *ring, const record_t *record, size_t used)
{
    const char *at = (const char *)record + offsetof(record_t, used),
               *end = (const char *)record + used;
    uint64_t sum[LANES] = {ring->salt, 1, 2};
    size_t i;

    for (; (size_t)(end - at) >= 8 * LANES; at += 8 * LANES) {
        sum[0] = add_word(sum[0], at);
        sum[1] = add_word(sum[1], at + 8);
        sum[2] = add_word(sum[2], at + 16);
    }
    for (i = 0; at < end; i++, at += 8)
        sum[i] = add_word(sum[i], at);
    sum[0] = mix(mix(sum[0], sum[1]) + used, sum[2] >> 32 | sum[2] << 32);
    return (uint32_t)(sum[0] ^ (sum[0] >> 32));
}

static inline size_t size_of(const record_t *record)
{
    return (record->used + SLOT - 1) & ~(size_t)(SLOT - 1);
}

/* Bytes that the checksum is of; the rest of a filler is anything. */
static inline size_t summed(const record_t *record)
{
    return (record->flags & FILLER) != 0 ? sizeof(*record) : record->used;
}

#endif /* KT_RING_FILE_H */
