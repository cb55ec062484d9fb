/* SPDX-License-Identifier: BSD-2-Clause */
/* walk.h: the decisions of one stream, each with what is wrong with it. */
#ifndef KT_WALK_H
#define KT_WALK_H

#include "files.h"
#include "subject.h"

typedef struct kt_audit_walk {
    const char *stream; /* the name of its folder */
    int folder;
    char since[25]; /* older decisions are left out; "": none */
    char now[25];
    kt_line_fn fn;
    kt_check_fn note; /* may be NULL */
    void *arg, *note_arg;
    bool stopped;   /* by fn */
    bool bad;       /* something was not read that should have been, and was reported */
    unsigned looks; /* at the state */
    bool has_state;
    kt_audit_state_t state;
} kt_audit_walk_t;

/* A time as lines have it; "" for 0. */
void kt_audit_walk_time(int64_t ms, char ret_text[25]);
/* One more thing to say about the stream's file `name`. KT_SUCCESS: it is not a fault. */
void kt_audit_walk_note(kt_audit_walk_t *walk, kt_status_t status, const char *name,
                        const char *why);
/* All logs, the oldest first. How many there are, whether they can be read or not. */
size_t kt_audit_walk_stream(kt_audit_walk_t *walk);
/* The stream's logs, and of what cannot be read among them it tells. False: none can be found. */
bool kt_audit_walk_find(kt_audit_walk_t *walk, kt_audit_logs_t *ret_logs);
/* One of them, from about this offset on: decisions before the first seal are left out then. False:
 * it cannot be read. */
bool kt_audit_walk_log(kt_audit_walk_t *walk, const kt_audit_log_t *log, uint64_t from);

/* ---- scan.c ---- */

typedef struct kt_audit_streams {
    kt_audit_walk_t walk; /* what each stream's begins with */
    /* One stream. How many logs of it were read. */
    size_t (*read)(void *arg, kt_audit_walk_t *walk);
    void *arg;
    size_t count; /* streams of which something was read */
    char first_bad[256];
    bool bad;
} kt_audit_streams_t;
/* All streams below the folder, or the one that it is. KT_MALFORMED if something was not read that
 * should have been, after all others were. */
kt_status_t kt_audit_streams_read(kt_audit_streams_t *streams, const char *path);

#endif /* KT_WALK_H */
