/* SPDX-License-Identifier: BSD-2-Clause */
/* proof.h: what is known of a stream while its lines are verified, one after the other. */
#ifndef KT_PROOF_H
#define KT_PROOF_H

#include "missing.h"
#include "subject.h"
#include "verify.h"

#define KT_PROOF_RINGS 1024u /* processes that record at the same time and whose gaps are found */

typedef struct kt_proof {
    kt_check_fn fn;
    void *arg;
    const unsigned char *audit_key; /* NULL: chain and numbers only */
    kt_received_t *received;        /* NULL: nothing is to be compared */
    const char *what;               /* the stream's name, as its folder has it */
    const char *expected;           /* the stream has to be of this name; NULL: any */
    bool has_end;                   /* `end` is what the state says */
    kt_audit_state_t end;
    size_t wrong;
    size_t *streams; /* that have anything */
    uint64_t lines, blocks, late, missing, checkpoints;
    char checked[25]; /* time of the last checkpoint */
    uint64_t reach;   /* of `passed`, at most */
    uint64_t passed;  /* blocks that are in no file here, on the way to the keys of others */
    /* of the instance that is being read */
    bool inside, keyed;
    unsigned char instance[KT_AUDIT_ID], key[KT_AUDIT_HASH];
    kt_audit_chain_t chain;
    uint64_t block, sequence, sealed;
    unsigned char at_seal[KT_AUDIT_HASH]; /* the chain through the last seal */
    kt_missing_t *absent;
    const char *loose_file; /* lines without a seal at the end of the log before; NULL: none */
    size_t loose_line;
    bool complete, joined; /* `joined`: the lines before the log that is read are there */
    bool met_end;          /* the log that the state means was read, to where it has to end */
    kt_audit_range_t rings[KT_PROOF_RINGS]; /* the last of each; the one that was longest without is
                                          forgotten first */
    uint64_t ring_used[KT_PROOF_RINGS];
    char stream[65]; /* as its first line has it */
    kt_audit_judge_t judge;
    char latest[32]; /* the latest time in the block */
    size_t latest_line;
    size_t waiting;   /* lines since the last seal */
    size_t open_line; /* the first line of the block */
    const char *open_file;
} kt_proof_t;

/* A finding about this stream. Only so many that are wrong are passed on; all are counted. */
void kt_proof_tell(kt_proof_t *proof, kt_status_t status, const char *format, ...) KT_PRINTF(3, 4);
/* The next line of a file, with its newline. */
void kt_proof_line(kt_proof_t *proof, const char *line, size_t size, const char *file,
                   size_t number);

#endif /* KT_PROOF_H */
