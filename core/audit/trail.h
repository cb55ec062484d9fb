/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trail.h: what the files of this folder share about the audit trail.
 *
 *   audit.c         records a decision: in the ring, or at once on the disk; the draining thread
 *   fields.h        the fields of a decision, one row each
 *   ring.h          the mapped file that keeps the decisions of a process until they are lines
 *   drain.c         turns rings into blocks of lines, each with its seal
 *   stream.c        the files of a stream: the lock, the state, and the log that the state means
 *   line.c          a decision as JSON
 *   seal.c          keys, chain, seal lines and the state; recovery after a crash
 *   key.c           the audit key, and the start of a stream
 *   files.c         finds the logs of a stream
 *   verify_trail.c  verifies a trail, with the audit key or without
 *   received.c      compares a trail with what a sink received
 *   tail.c          the last lines
 *   scan.c          all lines
 *
 * Locks, in the order in which they are taken (core/LOCKING has all of them):
 *
 *   ctx->lock        the context's. Its holder is the only producer of the process's ring.
 *   audit->lock      descriptors, lines and `recovered`, and which ring is ours
 *   STREAM/state     flock(): the stream's only writer, among all processes
 *   a ring's file    flock(), only tried: a free one means that its process is dead
 *
 * A function x_locked() needs the context's lock, x_inlock() the lock of the file that it works on;
 * in this folder that is STREAM/state, or the file that a function is passed. A decision that may
 * wait for its line takes only the context's lock, unless it finds that the ring has to be drained
 * and that there is no thread for it. The draining thread takes no context's lock while it waits
 * for a disk, so that no reader waits for one.
 */
#ifndef KT_TRAIL_H
#define KT_TRAIL_H

#include <dirent.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>

#include "audit.h"
#include "keys/keys.h"

#define KT_AUDIT_HASH 32u    /* bytes of a link of the chain, and of a seal's MAC */
#define KT_AUDIT_ID 16u      /* bytes of an instance's id */
#define KT_RING_ID 16u       /* bytes of a ring's id */
#define KT_AUDIT_STATE 256u  /* bytes of the state in its file: within one sector */
#define KT_AUDIT_LINE 10240u /* bytes of one line at most */

/* How seal lines and first lines begin; a decision begins with its time. */
#define KT_AUDIT_SEAL "{\"seal\":"
#define KT_AUDIT_LOG "{\"log\":"

typedef struct kt_audit_end {
    uint64_t sequence;                  /* of the last decision */
    uint64_t length;                    /* of the log */
    unsigned char chain[KT_AUDIT_HASH]; /* through the last line */
} kt_audit_end_t;

typedef struct kt_audit_range {     /* of one ring */
    unsigned char ring[KT_RING_ID]; /* zeros: none */
    uint64_t from, to;              /* numbers of its records */
} kt_audit_range_t;

typedef struct kt_audit_state {
    bool keyed;     /* its first key was derived from an audit key */
    bool log_begun; /* the log of this inode has its first line */
    unsigned char instance[KT_AUDIT_ID];
    unsigned char key[KT_AUDIT_HASH]; /* of the next seal */
    uint64_t block;                   /* number of the next seal */
    uint64_t inode;                   /* of the log; 0: none yet */
    uint64_t reserved;                /* how far the log has space on the disk */
    int64_t checkpoint;      /* ms: of the last one, or since when none was; 0: not known */
    kt_audit_range_t range;  /* of the last block that had one: the ring itself may not know yet;
                                `from` is not kept */
    kt_audit_end_t sealed;   /* through the last seal: that is what the file says */
    kt_audit_end_t recorded; /* through the last line: only while a block is made */
} kt_audit_state_t;

/* ---- line.c ---- */

typedef struct kt_lines { /* a block being made */
    char *text;           /* malloc'ed */
    size_t size, room;
    unsigned decisions; /* lines of them */
    int64_t second;     /* what `moment` says ... */
    char moment[20];    /* ... as text, up to its seconds */
} kt_lines_t;

#define KT_LINES_MIN                                                                               \
    32768u /* room for what a block has at least: a log's first line, a recovery, a decision, a    \
              seal */
kt_status_t kt_lines_begin(kt_lines_t *lines, size_t room); /* empty, with so much room */
void kt_lines_free(kt_lines_t *lines);

typedef struct kt_audit_name {
    const char *environment, *stream, *boot;
} kt_audit_name_t;

/* Each answers where its line begins, in `lines`. */
size_t kt_line_event(kt_lines_t *lines, const kt_audit_name_t *name, const kt_event_t *event,
                     uint64_t sequence, int64_t now);
/* `dropped` bytes after the last seal, which were not a block; `missing` decisions that were
 * recorded and are lost. */
size_t kt_line_recovery(kt_lines_t *lines, const kt_audit_name_t *name, uint64_t dropped,
                        uint64_t missing, uint64_t sequence, int64_t now);
/* A log's first line. */
size_t kt_line_log(kt_lines_t *lines, const kt_audit_name_t *name, const kt_audit_state_t *state,
                   int64_t now);
/* Through the seal's chain, and with its MAC. `range`: the records that the block has of a ring;
 * NULL: none. */
size_t kt_line_seal(kt_lines_t *lines, const kt_audit_state_t *state, const kt_audit_range_t *range,
                    int64_t now);

/* ---- seal.c ---- */

/* The first key of an instance, and the one that follows a key, in its place. */
void kt_audit_first_key(const unsigned char audit_key[KT_KEY_SIZE], const kt_audit_name_t *name,
                        const unsigned char instance[KT_AUDIT_ID],
                        unsigned char ret_key[KT_AUDIT_HASH]);
void kt_audit_next_key(unsigned char key[KT_AUDIT_HASH]);
/* The chain through one more line, its newline included. */
void kt_audit_link(unsigned char chain[KT_AUDIT_HASH], const char *line, size_t size);
/* The line that begins at `at`: the chain and the length of what `state` has recorded go on. */
void kt_audit_link_line(kt_audit_state_t *state, const kt_lines_t *lines, size_t at);
void kt_audit_mac(const unsigned char key[KT_AUDIT_HASH], const unsigned char chain[KT_AUDIT_HASH],
                  const char *text, size_t size, unsigned char ret_mac[KT_AUDIT_HASH]);

typedef struct kt_audit_seal { /* a seal line, parsed */
    uint64_t block, first, last;
    unsigned char instance[KT_AUDIT_ID], chain[KT_AUDIT_HASH], mac[KT_AUDIT_HASH];
    kt_audit_range_t range; /* zeros: none */
    size_t maced;           /* bytes of the line that the MAC is over */
} kt_audit_seal_t;
/* `key`, followed by a number or by twice `size` hexadecimal digits: *at moves past them. */
bool kt_audit_parse_number(const char **at, const char *key, uint64_t *ret_number);
bool kt_audit_parse_hex(const char **at, const char *key, unsigned char *bytes, size_t size);
bool kt_audit_parse_seal(const char *line, size_t size, kt_audit_seal_t *ret_seal);

/* The state is sealed through `recorded`: the key changes. */
void kt_audit_mark_sealed(kt_audit_state_t *state);
void kt_audit_new_state(const unsigned char *audit_key, const kt_audit_name_t *name,
                        kt_audit_state_t *ret_state); /* NULL: unkeyed */
void kt_audit_encode_state(const kt_audit_state_t *state, unsigned char ret_bytes[KT_AUDIT_STATE]);
bool kt_audit_decode_state(const unsigned char bytes[KT_AUDIT_STATE], kt_audit_state_t *ret_state);

typedef struct kt_recovery {
    uint64_t dropped, missing;
} kt_recovery_t;
/*
 * Compares the open log with the state, under its lock. After the end that the state names, blocks
 * sealed by its key and the next ones are adopted, and the rest is cut off. KT_AUDIT if the log is
 * shorter.
 */
kt_status_t kt_audit_recover(const char *path, int log, uint64_t size, kt_audit_state_t *state,
                             kt_recovery_t *ret_recovery);

/* ---- files.c ---- */

#define KT_AUDIT_LOGS_MAX 4096u /* logs of one stream that are found */

typedef struct kt_audit_head { /* the first line of a log */
    bool first, keyed;         /* `first`: of its instance, too */
    unsigned char instance[KT_AUDIT_ID], chain[KT_AUDIT_HASH];
    char environment[KT_ENVIRONMENT_MAX], stream[65], time[25];
    uint64_t block, last;
} kt_audit_head_t;
bool kt_audit_parse_head(const char *line, kt_audit_head_t *ret_head);

typedef struct kt_audit_log {
    char name[256];
    uint64_t inode, size;
    bool compressed; /* by logrotate; it is not opened */
    int error;       /* errno: why it cannot be read; 0: it can */
    bool has_head;   /* its first line is whole, and the first line of a log: */
    kt_audit_head_t head;
    char time[25];  /* of any first line, which may be a decision if the log was cut; "": none */
    char began[25]; /* in a list: the time of the first log of the same instance */
} kt_audit_log_t;

typedef struct kt_audit_logs {
    kt_audit_log_t *list;
    size_t count, room;
    bool more; /* than KT_AUDIT_LOGS_MAX: some are not in the list */
} kt_audit_logs_t;

/* A stream's logs, the oldest first; also compressed ones, and those that cannot be read. False
 * with errno. */
bool kt_audit_logs_find(int folder, kt_audit_logs_t *ret_logs);
void kt_audit_logs_free(kt_audit_logs_t *logs);
/* One of them, a regular file. -1 or NULL with errno; then *ret_log has the name and the error. */
int kt_audit_log_open(int folder, const char *name, kt_audit_log_t *ret_log);
FILE *kt_audit_log_fopen(int folder, const char *name);
/* Any folder's entries, whatever was read of this descriptor before. NULL with errno. */
DIR *kt_audit_list(int folder);

/* ---- ring.c, ring_put.c, ring_take.c ---- */

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

/* ---- audit.c ---- */

struct kt_audit {
    char *path; /* of the stream's folder */
    char stream[64];
    char environment[KT_ENVIRONMENT_MAX];
    char boot[KT_BOOT_ID];
    kt_audit_name_t name;       /* of these three */
    uid_t owner;                /* of the folder */
    bool ringless;              /* root, in the folder of somebody else: no ring */
    int64_t reads;              /* ms of a window */
    int64_t interval;           /* ms between two checkpoints */
    _Atomic int64_t checkpoint; /* what the state said of the last one; 0: it was not read yet */
    _Atomic(kt_ring_t *) ring;  /* NULL before the first record; changes under the lock below */
    int64_t since; /* ms: when the producer put a record into an empty ring; 0: it did not */

    pthread_mutex_t lock;          /* for what follows (core/LOCKING, 5) */
    int folder, log, state, rings; /* descriptors; -1: not open */
    kt_lines_t lines;
    kt_recovery_t recovered; /* found, and not in a line yet */
    int64_t swept; /* ms, monotonic: when the rings of others were last looked at; 0: never */

    atomic_bool has_thread, stopping; /* a thread drains; it is to end */
    atomic_bool woken;
    sem_t wake;
    atomic_bool failing; /* the last drain failed: */
    pthread_mutex_t why_lock;
    char why[KT_ERROR_SIZE];    /* why it did */
    int64_t (*tick)(void *arg); /* what else the thread does; returns after how many ms to call it
                                   again. NULL: nothing */
    void *tick_arg;
    kt_log_fn log_fn; /* for the thread; NULL: none */
    void *log_arg;
};

/* ---- stream.c: all under audit->lock ---- */

kt_status_t kt_audit_failed(const kt_audit_t *audit,
                            const char *what); /* KT_AUDIT with errno's text */
/* The state that is called so now, locked, and the log that it means. On failure nothing is locked.
 * The caller wipes the state. */
kt_status_t kt_audit_lock_stream(kt_audit_t *audit, kt_audit_state_t *ret_state);
void kt_audit_unlock_stream(kt_audit_t *audit);
kt_status_t kt_audit_open_rings(kt_audit_t *audit);
/*
 * Every block goes this way: audit->lines, with its seal as the last line, of which `state` speaks
 * already. It and then the state are on the disk afterwards, or nothing of it is. `spends`: it may
 * use the space that is kept for what has to be recorded.
 */
kt_status_t kt_audit_append_block(kt_audit_t *audit, int log, kt_audit_state_t *state, bool spends);

/* ---- drain.c: under audit->lock ---- */

/* Our ring's records as blocks, then `event` if it is not NULL, which is on the disk afterwards;
 * and rings that dead processes left. `all`: also of windows that still run. Makes our ring, if
 * there is none. */
kt_status_t kt_audit_drain_rings(kt_audit_t *audit, const kt_event_t *event, bool all);
/* Also those of living processes. */
kt_status_t kt_audit_sweep_rings(kt_audit_t *audit);

/* ---- verify_trail.c ---- */

#define KT_AUDIT_REACH (UINT64_C(1) << 30)
/* kt_audit_verify_received(), with a limit of its own: keys of blocks that are in no file are
 * passed over for so many blocks of a stream, all in all. */
kt_status_t kt_audit_verify_within(const char *path, const char *key, const char *received,
                                   uint64_t reach, kt_check_fn fn, void *arg);

/* ---- key.c ---- */

/* The audit key out of its one line of text, or out of the private file that holds it. Locked
 * memory: kt_locked_free(). */
kt_status_t kt_audit_read_key(const char *key, unsigned char **ret_key);

/* ---- received.c ---- */

typedef struct kt_received kt_received_t;
/* The seals in a file of received lines; "-": standard input. KT_NOTFOUND: there are none. */
kt_status_t kt_received_read(const char *path, kt_received_t **ret_received);
void kt_received_free(kt_received_t *received);
/* What the trail has: a log that begins before this block, a seal. */
void kt_received_log(kt_received_t *received, const unsigned char instance[KT_AUDIT_ID],
                     uint64_t block);
void kt_received_seal(kt_received_t *received, const kt_audit_seal_t *seal, const char *line,
                      size_t size);
/* Tells what is not there, and answers how much that is. */
size_t kt_received_conclude(const kt_received_t *received, kt_check_fn fn, void *arg);

#endif /* KT_TRAIL_H */
