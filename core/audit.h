/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * audit.h: what the files of the trail share. Only core/audit*.c include it.
 *
 *   audit.c         the stream's files, their lock, and one line for each decision
 *   audit_line.c    a decision as JSON
 *   audit_seal.c    keys, chain, seal lines, the state; recovery after a crash
 *   audit_key.c     the audit key, and the start of a stream
 *   audit_verify.c  the proof, with the audit key or without
 *   audit_read.c    the last lines
 *   audit_scan.c    all lines
 *   audit_received.c  what a sink received, against the trail
 */
#ifndef KT_AUDIT_H
#define KT_AUDIT_H

#include "internal.h"

#define KT_TRAIL_HASH 32u    /* bytes of a link of the chain, and of a seal's MAC */
#define KT_TRAIL_ID 16u      /* bytes of an instance's id */
#define KT_TRAIL_STATE 256u  /* bytes of the state in its file: within one sector */
#define KT_TRAIL_LINE 10240u /* bytes of one line at most */

/* What "seal" and "log" lines begin with; a decision begins with its time. */
#define KT_TRAIL_SEAL "{\"seal\":"
#define KT_TRAIL_LOG "{\"log\":"

typedef struct kt_trail_end {
    uint64_t sequence;                  /* of the last decision */
    uint64_t length;                    /* of the log */
    unsigned char chain[KT_TRAIL_HASH]; /* through the last line */
} kt_trail_end_t;

typedef struct kt_trail_state {
    bool keyed;                         /* its first key was derived from an audit key */
    bool begun;                         /* the log of this inode has its first line */
    unsigned char instance[KT_TRAIL_ID];
    unsigned char key[KT_TRAIL_HASH];   /* of the next seal */
    uint64_t block;                     /* number of the next seal */
    uint64_t inode;                     /* of the log; 0: none yet */
    int64_t waiting;                    /* ms: since when a line has waited for its seal; 0: none does */
    char boot[37];                      /* of the machine's run that wrote last */
    kt_trail_end_t sealed, recorded;    /* through the last seal; through the last line */
} kt_trail_state_t;

/* ---- audit_line.c ---- */

typedef struct kt_lines {
    size_t size;
    char text[3 * KT_TRAIL_LINE];       /* a log's first line, a recovery, a decision, a seal */
} kt_lines_t;

typedef struct kt_trail_name {
    const char *environment, *stream, *boot;
} kt_trail_name_t;

/* Each answers where its line begins, in `lines`. */
size_t kt_line_event(kt_lines_t *lines, const kt_trail_name_t *name, const kt_event_t *event, uint64_t sequence, int64_t now);
/* `dropped` bytes of lines that nobody was answered for, `missing` lines that were recorded and are not there. */
size_t kt_line_recovery(kt_lines_t *lines, const kt_trail_name_t *name, uint64_t dropped, uint64_t missing, uint64_t sequence, int64_t now);
/* A log's first line. */
size_t kt_line_log(kt_lines_t *lines, const kt_trail_name_t *name, const kt_trail_state_t *state, int64_t now);
/* Through the seal's chain, and with its MAC. */
size_t kt_line_seal(kt_lines_t *lines, const kt_trail_state_t *state, int64_t now);

/* ---- audit_seal.c ---- */

/* The first key of an instance, and the one that follows a key, in its place. */
void kt_trail_first_key(const unsigned char audit_key[KT_KEY_SIZE], const kt_trail_name_t *name, const unsigned char instance[KT_TRAIL_ID],
                        unsigned char ret_key[KT_TRAIL_HASH]);
void kt_trail_next_key(unsigned char key[KT_TRAIL_HASH]);
/* The chain through one more line, its newline included. */
void kt_trail_link(unsigned char chain[KT_TRAIL_HASH], const char *line, size_t size);
void kt_trail_mac(const unsigned char key[KT_TRAIL_HASH], const unsigned char chain[KT_TRAIL_HASH], const char *text, size_t size,
                  unsigned char ret_mac[KT_TRAIL_HASH]);

typedef struct kt_trail_seal {          /* a seal line, parsed */
    uint64_t block, first, last;
    unsigned char instance[KT_TRAIL_ID], chain[KT_TRAIL_HASH], mac[KT_TRAIL_HASH];
    size_t maced;                       /* bytes of the line that the MAC is over */
} kt_trail_seal_t;
/* `key` and a number, or twice `size` hexadecimal digits, behind it: *at moves past them. */
bool kt_trail_take_number(const char **at, const char *key, uint64_t *ret_number);
bool kt_trail_take_hex(const char **at, const char *key, unsigned char *bytes, size_t size);
bool kt_trail_parse_seal(const char *line, size_t size, kt_trail_seal_t *ret_seal);

/* The state is sealed through `recorded`: the key changes. */
void kt_trail_sealed(kt_trail_state_t *state);
void kt_trail_new_state(const unsigned char *audit_key, const kt_trail_name_t *name, kt_trail_state_t *ret_state); /* NULL: unkeyed */
void kt_trail_encode(const kt_trail_state_t *state, unsigned char ret_bytes[KT_TRAIL_STATE]);
bool kt_trail_decode(const unsigned char bytes[KT_TRAIL_STATE], kt_trail_state_t *ret_state);

typedef struct kt_recovery {
    uint64_t dropped, missing;
} kt_recovery_t;
/*
 * Compares the open log with the state, under its lock. Behind what the state says blocks under its key and the next ones are taken, the
 * rest is cut; what a power cut took is counted. KT_AUDIT when somebody cut or changed the log.
 */
kt_status_t kt_trail_recover(const char *path, int log, uint64_t size, const char *boot, kt_trail_state_t *state, kt_recovery_t *ret_recovery);

/* ---- audit_key.c ---- */

/* The audit key out of its one line of text, or out of the private file that holds it. Locked memory: kt_locked_free(). */
kt_status_t kt_trail_read_key(const char *key, unsigned char **ret_key);

/* ---- audit_received.c ---- */

typedef struct kt_received kt_received_t;
/* The seals in a file of received lines; "-": standard input. KT_NOTFOUND: there are none. */
kt_status_t kt_received_read(const char *path, kt_received_t **ret_received);
void kt_received_free(kt_received_t *received);
/* What the trail has: a log that begins before this block, a seal. */
void kt_received_log(kt_received_t *received, const unsigned char instance[KT_TRAIL_ID], uint64_t block);
void kt_received_seal(kt_received_t *received, const kt_trail_seal_t *seal, const char *line, size_t size);
/* Tells what is not there, and answers how much that is. */
size_t kt_received_conclude(const kt_received_t *received, kt_check_fn fn, void *arg);

#endif /* KT_AUDIT_H */
