/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * drain.c: turns rings into blocks of lines, each with its seal.
 *
 * One process at a time drains, under the stream's lock: its own ring, and the rings of processes
 * that died. Nothing may be written twice, and nothing may be lost, wherever a drain is killed:
 *
 *   1. the block is appended to the log and synced      killed before: the next writer cuts it, and
 *                                                       the ring still has the records
 *   2. the state is written; it names the ring and      killed before: the next writer finds the
 *      the block's last record                          block sealed by the state's key, and takes
 *                                                       ring and record from its seal
 *   3. the ring's space is released                     killed before: the state says that the
 *                                                       ring's records up to there are lines
 *
 * The state names one ring only. So each drain begins with finish_dead_drain_inlock(), which makes
 * up for step 3, before a block of another ring can replace that name. A block therefore has
 * records of one ring at most.
 *
 * A dead process is found by the lock of its ring: it is held while the process lives, and only
 * tried here (kt_ring_adopt). A pid would not do: it may belong to another process by now. A ring
 * of a dead process is drained and removed; its process cannot add to it. Rings of living processes
 * are drained by kt_audit_sweep() only, which is safe at any time: the stream's lock makes us the
 * one consumer.
 *
 * After a power cut the state and the ring may disagree, because a ring is never synced. Then the
 * seals in the log say how far the ring was drained (skip_covered), checksums say which records are
 * whole, and a line of the trail says how many are lost.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "stream.h"

#define BLOCK_ROOM (2u * 1024u * 1024u) /* bytes of one block at most */
#define SWEEP_MS 1000                   /* between two searches for rings of dead processes */

/* ---- a ring ---- */

/* Releases what a drain that was killed between state and ring has written down already: step 3 of
 * the list above. */
static void finish_dead_drain_inlock(kt_audit_t *audit, const kt_audit_state_t *state)
{
    kt_ring_t *own = atomic_load(&audit->ring), *ring;
    char name[2 * KT_RING_ID + 1];

    if (sodium_is_zero(state->range.ring, KT_RING_ID))
        return;
    if (own != NULL && memcmp(kt_ring_id(own), state->range.ring, KT_RING_ID) == 0) {
        kt_ring_skip(own, state->range.to);
        return;
    }
    kt_ring_name_of(state->range.ring, name);
    ring = kt_ring_open(audit->rings, name, audit->owner);
    if (ring != NULL)
        kt_ring_skip(ring, state->range.to);
    kt_ring_close(ring);
}

/* About the room that the ring's records take as lines. It always leaves room for one decision
 * after the lines that begin a block. */
static size_t estimate(const kt_ring_walk_t *walk)
{
    uint64_t bytes = (walk->end - walk->at) * 3;

    return bytes < BLOCK_ROOM ? (size_t)bytes + 2 * KT_LINES_MIN : BLOCK_ROOM;
}

typedef struct job {
    kt_audit_t *audit;
    kt_audit_state_t *state;
    kt_ring_t *ring; /* NULL: none */
    int64_t now, window;
    const kt_event_t *event; /* follows the ring's records; NULL: none */
} drain_t;

/* Fills a block with records. *ret_step says why it ended. */
static void add_records(const drain_t *job, kt_ring_walk_t *walk, kt_audit_range_t *range,
                        kt_ring_step_t *ret_step)
{
    const kt_lines_t *lines = &job->audit->lines;
    kt_ring_record_t record;

    *ret_step = KT_RING_RECORD;
    while (lines->room - lines->size >= KT_LINES_MIN) {
        *ret_step = kt_ring_next(job->ring, walk, job->now, job->window, &record);
        if (*ret_step != KT_RING_RECORD)
            return;
        /* the clock may have been set back: no line is later than its seal */
        kt_block_add(job->audit, job->state, &record.event,
                     record.time < job->now ? record.time : job->now);
        if (range->to == 0)
            range->from = record.sequence;
        range->to = record.sequence;
    }
}

/* Records after a damaged one cannot be found. The trail says how many are lost. */
static void give_up_rest(const drain_t *job, kt_ring_walk_t *walk)
{
    uint64_t recorded = kt_ring_recorded(job->ring),
             last = walk->sequence != 0 ? walk->sequence : kt_ring_drained(job->ring);

    job->audit->recovered.missing += recorded > last ? recorded - last : 1;
    walk->at = walk->end;
    walk->sequence = recorded;
}

/* One block. *ret_more: the ring has more. */
static kt_status_t drain_block(const drain_t *job, bool *ret_more)
{
    kt_audit_t *audit = job->audit;
    kt_audit_range_t range = {.to = 0};
    kt_ring_walk_t walk = {0, 0, 0, 0};
    kt_ring_step_t step = KT_RING_END;
    kt_status_t status;

    if (job->ring != NULL)
        walk = kt_ring_begin(job->ring);
    status = kt_block_begin_inlock(audit, job->state, estimate(&walk), job->now);
    if (status == KT_SUCCESS && job->ring != NULL) {
        memcpy(range.ring, kt_ring_id(job->ring), KT_RING_ID);
        add_records(job, &walk, &range, &step);
    }
    if (status == KT_SUCCESS && step == KT_RING_END && job->event != NULL)
        kt_block_add(audit, job->state, job->event, job->now);
    if (status == KT_SUCCESS && (audit->lines.decisions > 0 || kt_block_is_due(audit, job->state)))
        status = kt_block_end_inlock(audit, job->state, &range, job->event, job->now);
    if (status != KT_SUCCESS)
        return status;
    kt_debug_point("audit_drained");
    if (step == KT_RING_DAMAGED)
        give_up_rest(job, &walk);
    if (job->ring != NULL)
        kt_ring_release(job->ring, &walk);
    *ret_more = step != KT_RING_END;
    return KT_SUCCESS;
}

static kt_status_t drain_ring(const drain_t *job)
{
    kt_status_t status;
    bool more;

    if ((job->ring == NULL || kt_ring_is_empty(job->ring)) && job->event == NULL &&
        !kt_block_is_due(job->audit, job->state))
        return KT_SUCCESS;
    do
        status = drain_block(job, &more);
    while (status == KT_SUCCESS && more);
    return status;
}

/* ---- rings of others ---- */

/* The last record of this ring that a seal covers, in one log. */
static uint64_t find_covered(const kt_audit_t *audit, const char *log, const char *ring)
{
    kt_audit_log_t opened;
    kt_audit_reader_t *reader = kt_audit_log_read(audit->folder, log, &opened);
    uint64_t covered = 0;
    kt_audit_seal_t seal;
    size_t size;
    char *line;

    if (reader == NULL)
        return 0;
    while (kt_audit_reader_next(reader, &line, &size) == KT_AUDIT_NEXT) {
        if (strncmp(line, KT_AUDIT_SEAL, strlen(KT_AUDIT_SEAL)) == 0 &&
            strstr(line, ring) != NULL && kt_audit_parse_seal(line, size, &seal) &&
            seal.range.to > covered)
            covered = seal.range.to;
    }
    kt_audit_reader_free(reader);
    return covered;
}

/* In all logs, because logrotate may have renamed one in between. A ring needs this only after a
 * stop of the machine. A log that was left out could have records of it, which would be written a
 * second time. */
static kt_status_t skip_covered(const kt_audit_t *audit, kt_ring_t *ring)
{
    kt_audit_logs_t logs;
    kt_status_t status = KT_SUCCESS;
    uint64_t covered = 0, here;
    size_t i;

    if (!kt_audit_logs_find(audit->folder, &logs))
        return kt_audit_failed(audit, ".");
    if (logs.more)
        status = kt_fail(KT_AUDIT,
                         "audit trail %s: it has more than %u logs (move the oldest ones away)",
                         audit->path, KT_AUDIT_LOGS_MAX);
    for (i = 0; status == KT_SUCCESS && i < logs.count; i++) {
        if (logs.list[i].unpack != NULL)
            continue;
        here = find_covered(audit, logs.list[i].name, kt_ring_name(ring));
        if (here > covered)
            covered = here;
    }
    if (status == KT_SUCCESS)
        kt_ring_skip(ring, covered);
    kt_audit_logs_free(&logs);
    return status;
}

/* `restored`: the ring and the state may be of different times. */
static kt_status_t drain_other(kt_audit_t *audit, kt_audit_state_t *state, const char *name,
                               bool living, bool restored)
{
    drain_t job = {.audit = audit, .state = state, .now = kt_now()};
    kt_ring_t *ring = kt_ring_open(audit->rings, name, audit->owner);
    kt_status_t status = KT_SUCCESS;
    bool dead;

    if (ring == NULL) {
        kt_ring_remove_unmade(audit->rings, name, audit->owner);
        return KT_SUCCESS;
    }
    dead = kt_ring_adopt(ring);
    if (dead && (restored || !kt_ring_is_of_boot(ring, audit->boot)))
        status = skip_covered(audit, ring);
    job.ring = ring;
    if (status == KT_SUCCESS && (dead || living))
        status = drain_ring(&job);
    if (dead && status == KT_SUCCESS) {
        kt_debug_point("audit_swept");
        kt_ring_remove(audit->rings, ring);
    }
    kt_ring_close(ring);
    return status;
}

static kt_status_t sweep_inlock(kt_audit_t *audit, kt_audit_state_t *state, bool living)
{
    const kt_ring_t *own = atomic_load(&audit->ring);
    kt_folder_t list;
    kt_status_t status = KT_SUCCESS;
    bool restored = state->gap.reason != KT_LOSS_NONE;

    if (!kt_folder_open(&list, audit->rings, "."))
        return kt_audit_failed(audit, "rings");
    while (status == KT_SUCCESS && kt_folder_next(&list)) {
        if (own == NULL || strcmp(list.name, kt_ring_name(own)) != 0)
            status = drain_other(audit, state, list.name, living, restored);
    }
    if (!kt_folder_close(&list) && status == KT_SUCCESS)
        return kt_audit_failed(audit, "rings");
    audit->swept = kt_monotonic();
    return status;
}

/* ---- checkpoints ---- */

static bool is_due(int64_t last, int64_t interval, int64_t now)
{
    return last != 0 && (now - last >= interval || now < last);
}

bool kt_audit_wants_checkpoint(const kt_audit_t *audit, int64_t now)
{
    return is_due(atomic_load_explicit(&audit->checkpoint, memory_order_relaxed), audit->interval,
                  now);
}

/* NULL if `event` is a checkpoint that another process has written in the meantime. The first one
 * is due one interval after the stream began. */
static const kt_event_t *begin_checkpoint(const kt_audit_t *audit, kt_audit_state_t *state,
                                          const kt_event_t *event, int64_t now)
{
    int64_t since = atomic_load(&audit->checkpoint);

    if (state->checkpoint == 0)
        state->checkpoint = since != 0 ? since : now;
    if (event == NULL || event->generations == NULL)
        return event;
    if (!is_due(state->checkpoint, audit->interval, now))
        return NULL;
    state->checkpoint = now;
    return event;
}

/* ---- all of it ---- */

static kt_status_t make_ring_inlock(kt_audit_t *audit)
{
    kt_ring_t *ring;
    kt_status_t status;

    if (atomic_load(&audit->ring) != NULL)
        return KT_SUCCESS;
    status = kt_ring_create(audit->path, audit->rings,
                            atomic_load(&audit->has_thread) ? KT_RING_THREAD : KT_RING_INLINE,
                            audit->boot, &ring);
    if (status == KT_SUCCESS)
        atomic_store(&audit->ring, ring);
    return status;
}

static kt_status_t check_ring(const kt_audit_t *audit, const kt_ring_t *ring)
{
    if (ring == NULL || !kt_ring_is_removed(ring))
        return KT_SUCCESS;
    return kt_fail(
        KT_AUDIT,
        "audit trail %s/rings/%s: the ring was removed (find out why, then restart this process)",
        audit->path, kt_ring_name(ring));
}

typedef struct drain_order {
    const kt_event_t *event;
    bool all_windows, with_living, make_ring;
} drain_scope_t;

static kt_status_t drain_inlock(kt_audit_t *audit, kt_audit_state_t *state,
                                const drain_scope_t *order)
{
    drain_t job = {.audit = audit,
                   .state = state,
                   .event = order->event,
                   .now = kt_now(),
                   .window = order->all_windows ? 0 : audit->reads};
    kt_status_t status;

    job.event = begin_checkpoint(audit, state, order->event, job.now);
    if (audit->ringless)
        return drain_ring(&job);
    status = kt_audit_open_rings(audit);
    if (status != KT_SUCCESS)
        return status;
    finish_dead_drain_inlock(audit, state);
    if (order->with_living || audit->swept == 0 || kt_monotonic() - audit->swept >= SWEEP_MS)
        status = sweep_inlock(audit, state, order->with_living);
    if (status == KT_SUCCESS && order->make_ring)
        status = make_ring_inlock(audit);
    job.ring = atomic_load(&audit->ring);
    if (status == KT_SUCCESS)
        status = drain_ring(&job);
    /* after a log was closed, and with each checkpoint */
    if (status == KT_SUCCESS &&
        (audit->keep_due || (job.event != NULL && job.event->generations != NULL)))
        status = kt_keep_inlock(audit, state, job.now);
    if (status == KT_SUCCESS && order->event == NULL)
        status = kt_audit_sync_inlock(audit, state);
    return status == KT_SUCCESS ? check_ring(audit, job.ring) : status;
}

static kt_status_t drain_locked(kt_audit_t *audit, const drain_scope_t *order)
{
    kt_audit_state_t state;
    kt_status_t status = kt_audit_lock_stream(audit, &state);

    if (status != KT_SUCCESS)
        return status;
    status = drain_inlock(audit, &state, order);
    if (status == KT_SUCCESS)
        atomic_store(&audit->checkpoint, state.checkpoint);
    kt_audit_unlock_stream(audit);
    kt_wipe(&state, sizeof(state));
    return status;
}

kt_status_t kt_audit_drain_rings(kt_audit_t *audit, const kt_event_t *event, bool all)
{
    drain_scope_t order = {
        .event = event, .all_windows = all || event != NULL, .make_ring = event == NULL};

    return drain_locked(audit, &order);
}

kt_status_t kt_audit_sweep_rings(kt_audit_t *audit)
{
    drain_scope_t order = {.all_windows = true, .with_living = true};

    return drain_locked(audit, &order);
}
