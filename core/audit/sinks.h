/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sinks.h: copies of the trail outside.
 *
 *   sinks.c         follows the log, and remembers how far each sink has it
 *   sink_log.c      the logs that there are
 *   sink_batch.c    which lines of it a sink gets
 *   sink_exec.c     a command, once for each batch
 *   sink_syslog.c   the machine's syslog
 */
#ifndef KT_SINKS_H
#define KT_SINKS_H

#include <stdio.h>

#include "files.h"

#define KT_SINKS_MAX 8u
#define KT_SINK_EXEC_S 30 /* that a command has for a batch */

typedef enum kt_delivery { KT_DELIVERY_DONE, KT_DELIVERY_BUSY, KT_DELIVERY_FAILED } kt_delivery_t;

typedef struct kt_sent { /* of one sink, in the file: 128 bytes, of this machine only */
    uint32_t magic, failures;
    unsigned char id[16];   /* of the sink's text */
    uint64_t inode, offset; /* of the log: how far it was sent; inode 0: nothing was */
    uint64_t head_block; /* of that log's first line, and its instance: an inode's number may come
                            back */
    unsigned char instance[KT_AUDIT_ID];
    int64_t next; /* ms since the epoch: not before */
    unsigned char zeros[56];
} kt_sent_t;

/* Is a sink of the configuration still on its way through this log, or before it? */
bool kt_sinks_need(const kt_config_t *config, int folder, const kt_audit_log_t *log);

/* An open log, and what its first line says. -1: not a log, or without a first line yet. */
int kt_sink_log_open(int folder, const char *name, kt_audit_log_t *ret_log);
bool kt_sink_log_is(const kt_sent_t *sent, const kt_audit_log_t *log);
/* The log that was being sent; with `next` the one that follows it. -1: not found. */
int kt_sink_log_find(int folder, const kt_sent_t *sent, bool next, kt_audit_log_t *ret_log);
/* The offset after the first seal of the last MiB, where a new sink begins. */
uint64_t kt_sink_log_near_end(int fd, const kt_audit_log_t *log);

typedef struct kt_batch {
    char *text;      /* whole lines; malloc'ed, NULL: none */
    size_t size, at; /* `at`: how much was handed over */
} kt_batch_t;

typedef struct kt_sink_exec {
    pid_t pid;      /* 0: none runs, or it was waited for */
    kt_feed_t feed; /* of its input */
    int answer;     /* the pipe with its exit status; -1: none runs */
    int64_t until;  /* ms, monotonic */
} kt_sink_exec_t;

void kt_sink_exec_init(kt_sink_exec_t *exec);
void kt_sink_exec_close(kt_sink_exec_t *exec);
kt_delivery_t kt_sink_exec_send(kt_sink_exec_t *exec, const kt_cfg_sink_t *config,
                                const char *environment, const char *stream,
                                const kt_batch_t *batch);

typedef struct kt_sink_syslog {
    int fd; /* -1: not connected */
} kt_sink_syslog_t;
void kt_sink_syslog_close(kt_sink_syslog_t *log);
bool kt_sink_syslog_open(kt_sink_syslog_t *log, const char *path);
kt_delivery_t kt_sink_syslog_send(kt_sink_syslog_t *log, const kt_cfg_sink_t *config,
                                  kt_batch_t *batch);

/*
 * The lines that `send` selects of the whole blocks of `text`, which begins with a line. *ret_used:
 * bytes of these blocks; 0: there is not a whole one. KT_INTERNAL: no memory.
 */
kt_status_t kt_batch_make(const char *text, size_t size, kt_send_t send, size_t *ret_used,
                          kt_batch_t *ret_batch);
void kt_batch_free(kt_batch_t *batch);

#endif /* KT_SINKS_H */
