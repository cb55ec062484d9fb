/* SPDX-License-Identifier: BSD-2-Clause */
/* verify.h: the proof of a log, with the audit key or without, and against what sinks received. */
#ifndef KT_VERIFY_H
#define KT_VERIFY_H

#include "trail.h"

/* ---- verify_trail.c ---- */

#define KT_AUDIT_REACH (UINT64_C(1) << 30)
/* kt_audit_verify_received(), with a limit of its own: keys of blocks that are in no file are
 * passed over for so many blocks of a stream, all in all. */
kt_status_t kt_audit_verify_within(const char *path, const char *key, const char *received,
                                   bool complete, uint64_t reach, kt_check_fn fn, void *arg);

/* ---- key.c ---- */

/* The audit key out of its one line of text, or out of the private file that holds it. Locked
 * memory: kt_locked_free(). */
kt_status_t kt_audit_read_key(const char *key, unsigned char **ret_key);

/* ---- received_lines.c ---- */

/* A line without its newline, with room for two characters after it, and its number from 1. */
typedef kt_status_t (*kt_received_fn)(void *arg, char *line, size_t number);
/* Each line of a regular file that a sink's receiver wrote ("-": standard input), until fn fails. A
 * line that is longer than one of an audit log is left out. */
kt_status_t kt_received_lines(const char *path, kt_received_fn fn, void *arg);

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

#endif /* KT_VERIFY_H */
