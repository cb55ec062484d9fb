/* SPDX-License-Identifier: BSD-2-Clause */
/* subject.h: which subjects a stream can vouch for, and what a line says of itself. */
#ifndef KT_SUBJECT_H
#define KT_SUBJECT_H

#include "trail.h"

typedef struct kt_audit_text { /* part of a line, escaped as it stands there */
    const char *text;
    size_t size;
} kt_audit_text_t;

typedef struct kt_audit_claim {                          /* what a decision says of itself */
    kt_audit_text_t time, boot, stream, action, subject; /* `subject`: size 0 if there is none */
    uint64_t sequence;
} kt_audit_claim_t;
/* False: not a decision, or with its keys in another order. */
bool kt_audit_parse_claim(const char *line, kt_audit_claim_t *ret_claim);

typedef struct kt_audit_judge { /* of one stream, over its lines in their order */
    const char *stream;         /* the name of its folder */
    const char *prefix;         /* of all subjects, if the stream's name does not say it */
    char boot[KT_BOOT_ID];      /* of all decisions of a block */
    bool has_boot;
} kt_audit_judge_t;
void kt_audit_judge_begin(kt_audit_judge_t *judge, const char *stream);
/* KT_LINE_FOREIGN_STREAM, KT_LINE_FOREIGN_SUBJECT, or 0: the line may be of this stream. */
unsigned kt_audit_judge(kt_audit_judge_t *judge, const kt_audit_claim_t *claim);
void kt_audit_judge_seal(kt_audit_judge_t *judge); /* a block ended */
/* Is it after this time, which ends with a quote, or is one of them not a time? No writer makes a
 * line that is later than its seal. */
bool kt_audit_is_later(const kt_audit_text_t *time, const char *than);

#endif /* KT_SUBJECT_H */
