/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trail.h: what the files of this folder share about the audit trail.
 *
 *   audit.c         records a decision: in the ring, or at once on the disk; the draining thread
 *   fields.h        the fields of a decision, one row each
 *   ring.h          the mapped file that keeps the decisions of a process until they are lines
 *   drain.c         turns rings into blocks of lines, each with its seal
 *   block.c         a block of lines from its first one to its seal
 *   keep.c          removes logs that are old enough, after a line has said so
 *   pack.c          compresses closed logs
 *   missing.c       what a verifier does not find, and what the stream says about it
 *   current.c       the log that the state means, and a new one if that was taken away
 *   stream.c        the files of a stream: the lock, the state, and how a block reaches the disk
 *   line.c          a decision as JSON
 *   seal.c          keys, chain, seal lines and the state; recovery after a crash
 *   key.c           the audit key, and the start of a stream
 *   files.c         finds the logs of a stream
 *   reader.c        the lines of one log, within bounds
 *   subject.c       which subjects a stream can vouch for, and what a line says of itself
 *   proof.c         verifies the lines of a stream
 *   verify_trail.c  verifies a trail, with the audit key or without
 *   received.c      compares a trail with what a sink received
 *   tail.c          the last lines
 *   generations.c   what the last lines say about a store
 *   scan.c          all lines, of all streams
 *   walk.c          the lines of one stream, and what is wrong with each
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
 * wait for its line takes only the context's lock, unless it finds that the ring is full, or has to
 * be drained and that there is no thread for it. The draining thread takes no context's lock while
 * it waits for a disk, so that no reader waits for one as long as there is room in the ring.
 */
#ifndef KT_TRAIL_H
#define KT_TRAIL_H

#include <sodium.h>

#include "audit.h"
#include "keys/keys.h"

#define KT_AUDIT_HASH 32u    /* bytes of a link of the chain, and of a seal's MAC */
#define KT_AUDIT_ID 16u      /* bytes of an instance's id */
#define KT_RING_ID 16u       /* bytes of a ring's id */
#define KT_AUDIT_STATE 320u  /* bytes of the state in its file: within one sector */
#define KT_AUDIT_LINE 10240u /* bytes of one line at most */

/* From a stream's folder: the mark of a stream that was made without the audit key. */
#define KT_AUDIT_UNKEYED "../.%s.unkeyed"

/* How lines begin: seals, the first one of a log, decisions. */
#define KT_AUDIT_SEAL "{\"seal\":"
#define KT_AUDIT_LOG "{\"log\":"
#define KT_AUDIT_TIME "{\"time\":\""

typedef struct kt_audit_end {
    uint64_t sequence;                  /* of the last decision */
    uint64_t length;                    /* of the log */
    unsigned char chain[KT_AUDIT_HASH]; /* through the last line */
} kt_audit_end_t;

typedef struct kt_audit_range {     /* of one ring */
    unsigned char ring[KT_RING_ID]; /* zeros: none */
    uint64_t from, to;              /* numbers of its records */
} kt_audit_range_t;

/* Why the log that was being written cannot be continued. */
typedef enum kt_audit_loss {
    KT_LOSS_NONE,
    KT_LOSS_GONE,    /* no file of the folder has its lines */
    KT_LOSS_CUT,     /* it is shorter than it was */
    KT_LOSS_CHANGED, /* it has other lines */
    KT_LOSS_COPIED,  /* all of it is in another file: a copy, or compressed */
    KT_LOSSES
} kt_audit_loss_t;

typedef struct kt_audit_gap { /* is not in a line yet */
    kt_audit_loss_t reason;
    uint64_t block, last; /* of the lost log: its first block, the last decision before it */
    uint64_t length;      /* through its last seal */
} kt_audit_gap_t;

/* The end of a block that was not synced. The state stays at the end before it, so that a power cut
 * may take the block away, and this says that it was there: if it is gone while the machine has not
 * stopped, somebody has cut the log. */
typedef struct kt_audit_lazy {
    uint64_t block; /* number of the seal after it; 0: there is none */
    kt_audit_end_t end;
    kt_audit_range_t range;
    unsigned char boot[KT_AUDIT_ID]; /* of the machine's run */
} kt_audit_lazy_t;

typedef struct kt_audit_state {
    bool keyed;     /* its first key was derived from an audit key */
    bool log_begun; /* the log of this inode has its first line */
    unsigned char instance[KT_AUDIT_ID];
    unsigned char key[KT_AUDIT_HASH]; /* of the next seal */
    uint64_t block;                   /* number of the next seal */
    uint64_t inode;                   /* of the log; 0: none yet */
    uint64_t reserved;                /* how far the log has space on the disk */
    int64_t checkpoint;           /* ms: of the last one, or since when none was; 0: not known */
    uint64_t log_block, log_last; /* of the log: its first block, the last decision before it */
    int64_t log_time;             /* ms: when it was begun; 0: not known */
    kt_audit_gap_t gap;           /* before the log */
    uint64_t kept;                /* the first block of this instance that retention has left */
    kt_audit_range_t range;  /* of the last block that had one: the ring itself may not know yet;
                                `from` is not kept */
    kt_audit_end_t sealed;   /* through the last seal: that is what the file says */
    kt_audit_lazy_t lazy;    /* in the file only, unless the machine has stopped since */
    bool unsynced;           /* the last block may not be on the disk */
    kt_audit_end_t recorded; /* through the last line: only while a block is made */
} kt_audit_state_t;

/* ---- line.c ---- */

typedef struct kt_lines { /* a block being made */
    char *text;           /* malloc'ed */
    size_t size, room;
    unsigned decisions; /* lines of them */
    int64_t second;     /* what `moment` says, up to its milliseconds ... */
    char moment[27];    /* ... as text, with its quotes */
    size_t origin_size; /* of `origin`: what says where this block's lines come from; 0: not yet */
    char origin[160];
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
/* What is not in the logs before this one, as far as the writer could see. */
size_t kt_line_gap(kt_lines_t *lines, const kt_audit_name_t *name, const kt_audit_state_t *state,
                   uint64_t sequence, int64_t now);
typedef struct kt_audit_former { /* an instance that ended without a word: its state is gone */
    unsigned char instance[KT_AUDIT_ID], chain[KT_AUDIT_HASH]; /* `chain`: through its last seal */
    uint64_t block, last; /* of the last seal, and of the last decision */
} kt_audit_former_t;
size_t kt_line_former(kt_lines_t *lines, const kt_audit_name_t *name,
                      const kt_audit_former_t *former, uint64_t sequence, int64_t now);
typedef struct kt_audit_removed { /* logs of one instance, through a last seal */
    unsigned char instance[KT_AUDIT_ID], chain[KT_AUDIT_HASH]; /* `chain`: through that seal */
    uint64_t from, to, first, last;                            /* blocks and decisions */
} kt_audit_removed_t;
size_t kt_line_retention(kt_lines_t *lines, const kt_audit_name_t *name,
                         const kt_audit_removed_t *removed, int64_t keep, uint64_t sequence,
                         int64_t now);
/* 2026-11-30T13:15:02.123Z */
void kt_line_moment(int64_t now, char ret_text[25]);
/* A log's first line. */
size_t kt_line_log(kt_lines_t *lines, const kt_audit_name_t *name, const kt_audit_state_t *state,
                   int64_t now);
/* Through the seal's chain, and with its MAC. `range`: the records that the block has of a ring;
 * NULL: none. */
size_t kt_line_seal(kt_lines_t *lines, const kt_audit_state_t *state, const kt_audit_range_t *range,
                    int64_t now);

/* ---- chain.c ---- */

/* The first key of an instance, and the one that follows a key, in its place. */
void kt_audit_first_key(const unsigned char audit_key[KT_KEY_SIZE], const kt_audit_name_t *name,
                        const unsigned char instance[KT_AUDIT_ID],
                        unsigned char ret_key[KT_AUDIT_HASH]);
void kt_audit_next_key(unsigned char key[KT_AUDIT_HASH]);
/* One more link of the chain: all lines of a block before its seal, or the seal's line. */
void kt_audit_link(unsigned char chain[KT_AUDIT_HASH], const char *text, size_t size);
/* The same for a reader, line by line. */
typedef struct kt_audit_chain {
    unsigned char sealed[KT_AUDIT_HASH]; /* through the last seal */
    bool open;                           /* lines follow it: */
    crypto_generichash_blake2b_state lines;
} kt_audit_chain_t;
void kt_chain_begin(kt_audit_chain_t *chain, const unsigned char sealed[KT_AUDIT_HASH]);
void kt_chain_add(kt_audit_chain_t *chain, const char *line, size_t size); /* not a seal */
void kt_chain_through(const kt_audit_chain_t *chain, unsigned char ret_chain[KT_AUDIT_HASH]);
/* `said`: the chain of the lines before, as this seal's line has it. */
void kt_chain_seal(kt_audit_chain_t *chain, const unsigned char said[KT_AUDIT_HASH],
                   const char *line, size_t size);
void kt_audit_mac(const unsigned char key[KT_AUDIT_HASH], const unsigned char chain[KT_AUDIT_HASH],
                  const char *text, size_t size, unsigned char ret_mac[KT_AUDIT_HASH]);

/* ---- seal.c ---- */

/* Ends the block: its seal is the last line, and the state is sealed through it. */
void kt_audit_seal_block(kt_audit_state_t *state, kt_lines_t *lines, const kt_audit_range_t *range,
                         int64_t now);

typedef struct kt_audit_seal { /* a seal line, parsed */
    uint64_t block, first, last;
    unsigned char instance[KT_AUDIT_ID], chain[KT_AUDIT_HASH], mac[KT_AUDIT_HASH];
    kt_audit_range_t range; /* zeros: none */
    size_t maced;           /* bytes of the line that the MAC is over */
    const char *time;       /* in the line, up to its quote */
} kt_audit_seal_t;
/* `key`, followed by a number or by twice `size` hexadecimal digits: *at moves past them. */
bool kt_audit_parse_number(const char **at, const char *key, uint64_t *ret_number);
bool kt_audit_parse_hex(const char **at, const char *key, unsigned char *bytes, size_t size);
bool kt_audit_parse_seal(const char *line, size_t size, kt_audit_seal_t *ret_seal);

/* Moves the state to the end of the block that was not synced. */
void kt_audit_take_lazy(kt_audit_state_t *state);
void kt_audit_run_id(const char *boot, unsigned char ret_id[KT_AUDIT_ID]);
/* The state is sealed through `recorded`: the key changes. */
void kt_audit_mark_sealed(kt_audit_state_t *state);
void kt_audit_new_state(const unsigned char *audit_key, const kt_audit_name_t *name,
                        kt_audit_state_t *ret_state); /* NULL: unkeyed */
void kt_audit_encode_state(const kt_audit_state_t *state, unsigned char ret_bytes[KT_AUDIT_STATE]);
bool kt_audit_decode_state(const unsigned char bytes[KT_AUDIT_STATE], kt_audit_state_t *ret_state);

typedef struct kt_recovery {
    uint64_t dropped, missing;
} kt_recovery_t;
/* One more line after what the state says: blocks sealed by its key and the next ones are adopted.
 * False: it is not a line of such a block. `length` of the log and `chain` go on from what the
 * state says. */
bool kt_audit_adopt_line(kt_audit_state_t *state, uint64_t *length, kt_audit_chain_t *chain,
                         const char *line, size_t size);
/*
 * Compares the open log, which is not shorter than the state says, with the state, under its lock.
 * After the end that the state names, blocks sealed by its key and the next ones are adopted, and
 * the rest is cut off.
 */
kt_status_t kt_audit_recover(const char *path, int log, uint64_t size, kt_audit_state_t *state,
                             kt_recovery_t *ret_recovery);
/* Does the log, up to the length that the state says, end with the seal that the state knows? */
bool kt_audit_has_sealed(int log, const kt_audit_state_t *state);

#endif /* KT_TRAIL_H */
