/* SPDX-License-Identifier: BSD-2-Clause */
/* ring.h: the mapped file in which a process keeps its decisions until they are lines (ring.c,
 * ring_put.c, ring_take.c; ring_file.h has its layout). */
#ifndef KT_RING_H
#define KT_RING_H

#include "trail.h"

#define KT_RING_INLINE                                                                             \
    (128u * 1024u) /* bytes of records: where the process drains its ring itself */
#define KT_RING_THREAD (4u * 1024u * 1024u) /* and where a thread does */

typedef struct kt_ring kt_ring_t;

typedef enum kt_ring_answer { KT_RING_PUT, KT_RING_COALESCED, KT_RING_FULL } kt_ring_answer_t;
typedef struct kt_ring_record {
    kt_event_t event; /* its texts are the ring's: valid until its space is released */
    uint64_t sequence;
    int64_t time; /* ms since the epoch */
} kt_ring_record_t;

/* The ring of this process, in a file of its own: under the stream's lock. KT_AUDIT. */
kt_status_t kt_ring_create(const char *path, int rings, size_t size, const char *boot,
                           kt_ring_t **ret_ring);
/* Would so many of the largest rings fit on the disk now? KT_AUDIT says how much they need. */
kt_status_t kt_ring_room(const char *path, int folder, unsigned processes);
/* Another process's ring, by its file. NULL: not a ring, or not a file of `owner`. */
kt_ring_t *kt_ring_open(int rings, const char *name, uid_t owner);
void kt_ring_remove_unmade(int rings, const char *name,
                           uid_t owner); /* a file whose process died before it was a ring */
void kt_ring_close(kt_ring_t *ring);     /* NULL is allowed; the file stays */
void kt_ring_remove(int rings, kt_ring_t *ring); /* the file; the ring is still to be closed */
uint64_t kt_ring_size(const kt_ring_t *ring);    /* bytes of records */
bool kt_ring_is_removed(const kt_ring_t *ring);  /* by somebody else */
bool kt_ring_adopt(kt_ring_t *ring); /* of another process: is it dead? Then the ring is ours */
const char *kt_ring_name(const kt_ring_t *ring);
const unsigned char *kt_ring_id(const kt_ring_t *ring);
bool kt_ring_is_of_boot(const kt_ring_t *ring, const char *boot);
void kt_ring_name_of(const unsigned char id[KT_RING_ID], char ret_name[2 * KT_RING_ID + 1]);

/* One producer at a time. With `window` (ms) a read may be counted into the record of the same that
 * is younger. */
kt_ring_answer_t kt_ring_put(kt_ring_t *ring, const kt_event_t *event, int64_t now, int64_t window);
bool kt_ring_is_pressed(const kt_ring_t *ring); /* half full */
bool kt_ring_is_empty(const kt_ring_t *ring);
int64_t kt_ring_oldest(const kt_ring_t *ring); /* time of the first that is not a line yet, for the
                                                  producer; 0: there is none */

/* One consumer at a time, under the stream's lock. */
typedef struct kt_ring_walk {
    uint64_t at, end;  /* offsets */
    uint64_t sequence; /* of the record before; 0: not known */
    uint64_t urgent;   /* records up to here wait for no window */
} kt_ring_walk_t;
typedef enum kt_ring_step { KT_RING_RECORD, KT_RING_END, KT_RING_DAMAGED } kt_ring_step_t;
kt_ring_walk_t kt_ring_begin(const kt_ring_t *ring);
/* The next record, unless its window (ms; 0: all of them) still runs at `now`. Its count is final
 * then. */
kt_ring_step_t kt_ring_next(kt_ring_t *ring, kt_ring_walk_t *walk, int64_t now, int64_t window,
                            kt_ring_record_t *ret_record);
uint64_t kt_ring_drained(
    const kt_ring_t *ring); /* the number of the last record that was released */
uint64_t kt_ring_recorded(const kt_ring_t *ring); /* of the last that was put */
void kt_ring_release(kt_ring_t *ring, const kt_ring_walk_t *walk);
void kt_ring_skip(kt_ring_t *ring, uint64_t sequence); /* releases all up to this number */

#endif /* KT_RING_H */
