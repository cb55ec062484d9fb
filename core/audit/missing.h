/* SPDX-License-Identifier: BSD-2-Clause */
/* missing.h: what the logs of a stream do not have, and what the stream itself says about it. */
#ifndef KT_MISSING_H
#define KT_MISSING_H

#include "files.h"

typedef enum kt_note_kind { KT_NOTE_GAP, KT_NOTE_FORMER, KT_NOTE_RETENTION } kt_note_kind_t;

typedef struct kt_audit_note { /* a line of a stream about its own logs */
    kt_note_kind_t kind;
    unsigned char instance[KT_AUDIT_ID], chain[KT_AUDIT_HASH]; /* not of KT_NOTE_GAP */
    uint64_t from, to, first, last; /* blocks, and decisions; of KT_NOTE_FORMER only the ends */
    char reason[16], time[25];
} kt_audit_note_t;
/* False: another line. */
bool kt_audit_parse_note(const char *line, kt_audit_note_t *ret_note);

typedef void (*kt_missing_fn)(void *arg, kt_status_t status, const char *text);
typedef struct kt_missing kt_missing_t;

/* `keyed`: there is an audit key. `unkeyed`: the stream was made without it, as the owner of the
 * folder above says. NULL: no memory. */
kt_missing_t *kt_missing_new(bool complete, bool keyed, bool unkeyed, kt_missing_fn fn, void *arg);
void kt_missing_free(kt_missing_t *missing);

/* An instance begins, in this file. */
void kt_missing_instance(kt_missing_t *missing, const kt_audit_head_t *head, const char *file);
/* Its blocks up to this one were read; `chain`: through its seal. */
void kt_missing_end(kt_missing_t *missing, const unsigned char instance[KT_AUDIT_ID],
                    uint64_t block, uint64_t last, const unsigned char chain[KT_AUDIT_HASH]);
/* The log begins with a block that does not follow on the one before: `block` and `last` are where
 * the one before ended. */
void kt_missing_hole(kt_missing_t *missing, const kt_audit_head_t *head, uint64_t block,
                     uint64_t last, const char *file);
/* A line of the present instance, which counts if its block is sealed. `joined`: the lines before
 * this log are there. */
void kt_missing_note(kt_missing_t *missing, const kt_audit_note_t *note, bool joined,
                     const char *file, size_t number);
void kt_missing_sealed(kt_missing_t *missing, const unsigned char instance[KT_AUDIT_ID]);
/* Tells what is missing, and whether retention accounts for it. */
void kt_missing_conclude(kt_missing_t *missing);

#endif /* KT_MISSING_H */
