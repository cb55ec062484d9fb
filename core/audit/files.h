/* SPDX-License-Identifier: BSD-2-Clause */
/* files.h: the logs of a stream. */
#ifndef KT_FILES_H
#define KT_FILES_H

#include "reader.h"

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
    uint64_t inode, size; /* `size`: of the file, if need be compressed */
    bool gzip;            /* its lines have to be unpacked */
    const char *unpack; /* the command for one that another program than gzip has compressed, which
                           is not read; NULL: it is not such a one */
    int error;          /* errno: why it cannot be read; 0: it can */
    bool has_head;      /* its first line is whole, and the first line of a log: */
    kt_audit_head_t head;
    char time[25];  /* of any first line, which may be a decision if the log was cut; "": none */
    bool twin;      /* in a list: begins with the same block as the one before it */
    char began[25]; /* in a list: the time of the first log of the same instance */
} kt_audit_log_t;

typedef struct kt_audit_logs {
    kt_audit_log_t *list;
    size_t count, room;
    bool more;        /* than KT_AUDIT_LOGS_MAX: some are not in the list */
    size_t not_files; /* folders, pipes and the like that have a log's name: not in the list */
} kt_audit_logs_t;

/* A stream's logs, the oldest first; also compressed ones, and those that cannot be read. False
 * with errno. */
bool kt_audit_logs_find(int folder, kt_audit_logs_t *ret_logs);
void kt_audit_logs_free(kt_audit_logs_t *logs);
#define KT_AUDIT_PACKED 160u
/* What to say of a log with `unpack`, which is "not read" or the like. */
const char *kt_audit_packed_text(const kt_audit_log_t *log, const char *what,
                                 char text[KT_AUDIT_PACKED]);
#define KT_AUDIT_DIFFER 2
/* 0: two logs have the same lines; -1, 1: the first is shorter, or longer, and has the same lines
 * so far; KT_AUDIT_DIFFER: other lines, or one of them cannot be read. */
int kt_audit_compare_logs(int folder, const char *name, const char *other);
/* One of them, a regular file, or its lines. -1 or NULL with errno; then *ret_log has the name and
 * the error. */
int kt_audit_log_open(int folder, const char *name, kt_audit_log_t *ret_log);
kt_audit_reader_t *kt_audit_log_read(int folder, const char *name, kt_audit_log_t *ret_log);

/* A log that was just made is for the group that its folder lets in, whatever the umask of this
 * process is: PostgreSQL's is 077. A folder that lets no group in (a home's) changes nothing. */
void kt_audit_share(int folder, int log);

/* Where the stream's state says that its log ends, without its key. It belongs to the stream's
 * user, who may hold its lock for ever, so it is not waited for. False: there is none that may be
 * read; `ret_found` (may be NULL) says what was found. */
typedef enum kt_audit_found {
    KT_STATE_FREE,    /* whole, or none that may be read */
    KT_STATE_HELD,    /* the lock was not to be had */
    KT_STATE_DAMAGED, /* a file that is not a state */
} kt_audit_found_t;

bool kt_audit_peek(int folder, kt_audit_state_t *ret_state, kt_audit_found_t *ret_found);

#endif /* KT_FILES_H */
