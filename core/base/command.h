/* SPDX-License-Identifier: BSD-2-Clause */
/* command.h: other programs: command.c starts them, run.c waits for their end. */
#ifndef KT_COMMAND_H
#define KT_COMMAND_H

#include <limits.h>

#include "base.h"

/* May it be run? Root or this user must own it and all folders above it, and no other user may
 * write to them. KT_CONFIG, KT_PERMISSION. */
kt_status_t kt_command_check(const char *path);
/* The same, and resolves links: run the path that it returns. */
kt_status_t kt_command_find(const char *path, char ret_path[PATH_MAX]);

/* A command's whole environment. */
typedef struct kt_environ {
    char text[4096];
    size_t used, count;
    char *list[24]; /* NULL at the end */
} kt_environ_t;
void kt_environ_init(kt_environ_t *env); /* PATH, with the folders of the system */
void kt_environ_add(kt_environ_t *env, const char *format, ...) KT_PRINTF(2, 3); /* NAME=TEXT */

/* A pipe to or from a command. Our end (0: the one to read from, 1: the one to write to) does not
 * block. Set ret_ends to {-1, -1} before. False, with errno: close those ends that are not -1. */
bool kt_command_pipe(int ret_ends[2], int ours);

/* The descriptors 0, 1 and 3 of a command. -1: /dev/null, /dev/null also for descriptor 2, none. */
typedef struct kt_command_fds {
    int input, output, extra;
} kt_command_fds_t;
/* Starts the command that kt_command_find() answered: these descriptors and no others, usual
 * signals, a process group of its own. 0 or an errno. Thread-safe. */
int kt_command_spawn(const char *path, char *const *argv, const kt_environ_t *env,
                     kt_command_fds_t fds, pid_t *ret_pid);

/* ---- run.c ---- */

/* Bytes on their way into a pipe; they stay the caller's. */
typedef struct kt_feed {
    int ends[2]; /* the command's, ours; -1: closed */
    const unsigned char *at;
    size_t left;
} kt_feed_t;
#define KT_FEED_CLOSED ((kt_feed_t){.ends = {-1, -1}})
bool kt_feed_open(kt_feed_t *feed, const void *data, size_t size); /* false: errno says why */
/* Writes as much as the pipe takes, and closes both ends when all of it is written. The command's
 * end stays open here meanwhile, so that nothing sends SIGPIPE, whatever the command closes. */
void kt_feed_more(kt_feed_t *feed);
void kt_feed_close(kt_feed_t *feed);

typedef struct kt_command {
    char *const *argv; /* argv[0]: an absolute path */
    const kt_environ_t *env;
    const kt_secret_t *input; /* on descriptor 0; NULL: /dev/null */
    const kt_secret_t *extra; /* on descriptor 3; NULL: it is closed */
    size_t output_max; /* bytes of memory for its output and two more; its error output is ours.
                          0: both go to /dev/null */
    int64_t timeout;   /* ms */
    bool (*is_interrupted)(void); /* NULL: never; else it is asked while the command runs */
} kt_command_t;

typedef struct kt_command_result {
    int exit;       /* its exit status; -1: it has none, or the host has waited for it */
    int signal;     /* that ended it, or 0 */
    bool timed_out; /* it was killed, with its process group */
    char *output;   /* locked memory, ends with NUL: kt_locked_free(); NULL: it was not read */
    size_t size;
} kt_command_result_t;

/* Runs it to its end. KT_CONFIG, KT_PERMISSION: it was not started; KT_TOOLARGE: it printed more
 * than it may, and was killed with its process group; KT_TRYAGAIN: interrupted, likewise;
 * KT_INTERNAL. Needs no lock; SIGCHLD must not
 * be ignored. */
kt_status_t kt_command_run(const kt_command_t *command, kt_command_result_t *ret_result);

#endif /* KT_COMMAND_H */
