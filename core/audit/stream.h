/* SPDX-License-Identifier: BSD-2-Clause */
/* stream.h: an open stream, and the way of its records to the disk. */
#ifndef KT_STREAM_H
#define KT_STREAM_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "pack.h"
#include "ring.h"
#include "trail.h"

/* ---- audit.c ---- */

struct kt_audit {
    char *path; /* of the stream's folder */
    char stream[64];
    char environment[KT_ENVIRONMENT_MAX];
    char boot[KT_BOOT_ID];
    kt_audit_name_t name; /* of these three */
    uid_t owner;          /* of the folder */
    bool ringless;        /* root, in the folder of somebody else: no ring */
    int64_t reads;        /* ms of a window */
    int64_t interval;     /* ms between two checkpoints */
    const kt_config_t *config;
    uint64_t rotate;            /* bytes of a log */
    int64_t keep;               /* ms of a closed log */
    _Atomic int64_t checkpoint; /* what the state said of the last one; 0: it was not read yet */
    _Atomic(kt_ring_t *) ring;  /* NULL before the first record; changes under the lock below */
    int64_t since; /* ms: when the producer put a record into an empty ring; 0: it did not */

    pthread_mutex_t lock;          /* for what follows (core/LOCKING, 5) */
    int folder, log, state, rings; /* descriptors; -1: not open */
    uint64_t log_inode;            /* of the log that is open */
    kt_lines_t lines;
    kt_recovery_t recovered; /* found, and not in a line yet */
    uint64_t stated;         /* the state's block when it was synced last; 0: not known */
    bool keep_due;           /* closed logs may be old enough to be removed */
    int64_t swept; /* ms, monotonic: when the rings of others were last looked at; 0: never */

    kt_pack_t *pack;      /* what is being compressed: by the thread, or before this is closed */
    atomic_bool pack_due; /* there may be a log to compress */

    atomic_bool has_thread, stopping; /* a thread drains; it is to end */
    atomic_bool woken;
    sem_t wake;
    atomic_bool failing; /* the last drain failed: */
    pthread_mutex_t why_lock;
    char why[KT_ERROR_SIZE];    /* why it did */
    int64_t (*tick)(void *arg); /* what else the thread does; returns after how many ms to call it
                                   again. NULL: nothing */
    void *tick_arg;
    kt_deferred_ops_t batch; /* called before and after each drain */
    bool batch_required;
    kt_log_fn log_fn; /* NULL: none */
    void *log_arg;
};

/* ---- stream.c: all under audit->lock ---- */

kt_status_t kt_audit_failed(const kt_audit_t *audit,
                            const char *what); /* KT_AUDIT with errno's text */
/* For the host's log, as urgent as it gets. */
void kt_audit_warn(const kt_audit_t *audit, const char *what);
/* A file of the folder, which has to be regular and of the folder's owner. Makes it if there is
 * none. */
kt_status_t kt_audit_open_file(const kt_audit_t *audit, const char *name, int flags, mode_t mode,
                               int *ret_fd);
/* Locks the file that is called "state" now. */
kt_status_t kt_audit_lock_state(kt_audit_t *audit);
void kt_audit_unlock_stream(kt_audit_t *audit);
/* A new one, if there is none. The caller wipes it. */
kt_status_t kt_audit_read_state_inlock(const kt_audit_t *audit, kt_audit_state_t *ret_state);
kt_status_t kt_audit_write_state_inlock(const kt_audit_t *audit, const kt_audit_state_t *state);
kt_status_t kt_audit_open_rings(kt_audit_t *audit);
/*
 * Every block goes this way: audit->lines, with its seal as the last line, of which `state` speaks
 * already. It and then the state are on the disk afterwards, or nothing of it is. `spends`: it may
 * use the space that is kept for what has to be recorded. `before`: the state before the block,
 * which is then not synced, and named in the state; NULL: it is synced.
 */
kt_status_t kt_audit_append_block(kt_audit_t *audit, int log, kt_audit_state_t *state,
                                  kt_audit_state_t *before, bool spends);
/* What was left unsynced reaches the disk. */
kt_status_t kt_audit_sync_inlock(kt_audit_t *audit, kt_audit_state_t *state);

/* ---- current.c: all under audit->lock ---- */

/* The state that is called so now, locked, and the log that it means. On failure nothing is locked.
 * The caller wipes the state. */
kt_status_t kt_audit_lock_stream(kt_audit_t *audit, kt_audit_state_t *ret_state);

/* ---- block.c: under audit->lock and the stream's ---- */

/* An empty block with so much room. A log's first line, a gap before it and the report of a
 * recovery begin it: they are sealed with what follows. */
kt_status_t kt_block_begin_inlock(kt_audit_t *audit, kt_audit_state_t *state, size_t room,
                                  int64_t now);
/* The last seal of a log that is of former->instance. False: it has none. */
bool kt_block_read_former(int folder, const char *name, kt_audit_former_t *former);
/* Has the stream something to say that no decision waits for? */
bool kt_block_is_due(const kt_audit_t *audit, const kt_audit_state_t *state);
void kt_block_add(kt_audit_t *audit, kt_audit_state_t *state, const kt_event_t *event,
                  int64_t time);
/* Its seal; the block is on the disk afterwards, or nothing of it is. `event` is in it, and says
 * whether it may use the space that is kept, and whether it may stay unsynced; NULL: neither. */
kt_status_t kt_block_end_inlock(kt_audit_t *audit, kt_audit_state_t *state,
                                const kt_audit_range_t *range, const kt_event_t *event,
                                int64_t now);

/* ---- keep.c: under audit->lock and the stream's ---- */

/* Removes logs that are old enough, after a line says so. */
kt_status_t kt_keep_inlock(kt_audit_t *audit, kt_audit_state_t *state, int64_t now);

/* ---- drain.c: under audit->lock ---- */

/* Our ring's records as blocks, then `event` if it is not NULL, which is on the disk afterwards;
 * and rings that dead processes left. `all`: also of windows that still run. Makes our ring, if
 * there is none. */
kt_status_t kt_audit_drain_rings(kt_audit_t *audit, const kt_event_t *event, bool all);
/* Also those of living processes. */
kt_status_t kt_audit_sweep_rings(kt_audit_t *audit);

#endif /* KT_STREAM_H */
