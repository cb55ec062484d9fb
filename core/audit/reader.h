/* SPDX-License-Identifier: BSD-2-Clause */
/* reader.h: the lines of one log, plain or gzip, within bounds. */
#ifndef KT_READER_H
#define KT_READER_H

#include "trail.h"

/* What a log by its format cannot have. A reader ends there, because the user who may write a log
 * decides what is in it. */
#define KT_AUDIT_UNSEALED (8u * 1024u * 1024u) /* bytes without a seal line */
#define KT_AUDIT_JUNK 1000u                    /* lines that begin like none of an audit log */

typedef struct kt_audit_reader kt_audit_reader_t;

typedef enum kt_audit_step {
    KT_AUDIT_NEXT, /* here is a line */
    KT_AUDIT_END,  /* no whole line is left; one may be being written */
    KT_AUDIT_BAD,  /* the rest cannot be read: kt_audit_reader_why() */
} kt_audit_step_t;

/*
 * Reads a regular file from its beginning, up to the size that it has now: a log that grows as fast
 * as it is read has an end, too. Takes the descriptor. Whether the file is gzip, its first bytes
 * tell, and not its name. NULL with errno, and then the descriptor is still the caller's. One
 * thread at a time.
 */
kt_audit_reader_t *kt_audit_reader_new(int fd);
bool kt_audit_is_gzip(const unsigned char *bytes, size_t size); /* the first ones of a file */
void kt_audit_reader_free(kt_audit_reader_t *reader);           /* NULL is allowed */
/* Of a plain log, begins after the first newline from this offset on. False with errno. */
bool kt_audit_reader_skip(kt_audit_reader_t *reader, uint64_t offset);
/* The line has its newline and a NUL after it, may have NULs of its own, and is valid until the
 * next call. It is never longer than KT_AUDIT_LINE. */
kt_audit_step_t kt_audit_reader_next(kt_audit_reader_t *reader, char **ret_line, size_t *ret_size);
size_t kt_audit_reader_number(const kt_audit_reader_t *reader);   /* of the last line, from 1 */
uint64_t kt_audit_reader_offset(const kt_audit_reader_t *reader); /* after it, unpacked */
const char *kt_audit_reader_why(const kt_audit_reader_t *reader);

#endif /* KT_READER_H */
