/* SPDX-License-Identifier: BSD-2-Clause */
/* command.h: commands of `targets:`: command.c runs them, target.c knows what for. Include it after
 * internal.h. */
#ifndef KT_COMMAND_H
#define KT_COMMAND_H

#include <limits.h>

typedef struct kt_command {
    char *const *argv; /* argv[0]: an absolute path */
    const char *environment, *name, *step;
    uint64_t version;
    const kt_secret_t *input; /* on descriptor 0 */
    const kt_secret_t *extra; /* on descriptor 3; NULL: nothing */
    int64_t timeout;          /* ms */
} kt_command_t;

/* May it be run: it and all folders above it belong to root or us, and nobody else may write them.
 * KT_CONFIG, KT_PERMISSION. */
kt_status_t kt_command_check(const char *path);
/* The same, and the path without links, which is what to run: of a key's command, too (exec.c). */
kt_status_t kt_command_find(const char *path, char ret_path[PATH_MAX]);
#define KT_COMMAND_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
/* Starts it: the descriptors `input` as 0, `extra` (-1: none) as 3, and no others but 1 and 2 on
 * /dev/null; usual signals, a process group of its own. 0 or an errno. */
int kt_command_spawn(const char *path, char *const *argv, char *const *variables, int input,
                     int extra, pid_t *ret_pid);
/* Runs it to its end. *ret_exit is its exit status, or -1: a signal ended it, or it took longer
 * than its timeout and was killed with its process group. Any other answer than KT_SUCCESS: it was
 * not started. Needs no lock; SIGCHLD must not be ignored. */
kt_status_t kt_command_run(const kt_command_t *command, int *ret_exit);

/* ---- target.c ---- */

/* A configured command as target of one rotation. */
typedef struct kt_exec {
    kt_target_ops_t ops;       /* its name points to `label` */
    char label[KT_ERROR_SIZE]; /* "exec:/path" */
    kt_ctx_t *ctx;
    const kt_cfg_target_t *config;
} kt_exec_t;
#define KT_EXEC "exec:"

void kt_exec_init(kt_exec_t *exec, kt_ctx_t *ctx, const kt_cfg_target_t *config);
bool kt_exec_is(const kt_target_ops_t *ops);
kt_status_t kt_exec_check(const kt_target_ops_t *ops); /* kt_command_check() of one that is */
/* Tells the command of `notify` that a version is current; false, with kt_failure(), if it did not
 * end with 0. */
bool kt_exec_notify(const kt_ctx_t *ctx, const kt_cfg_target_t *config, const char *name,
                    uint64_t version);

/* The event as one JSON object; no value. */
#define KT_EVENT_SIZE (KT_NAME_MAX + KT_ENVIRONMENT_MAX + 128)
void kt_event_format(const kt_ctx_t *ctx, const char *name, uint64_t version,
                     char text[KT_EVENT_SIZE]);

/* ---- webhook.c ---- */

/* The same to the server of `webhook`, signed. `req` is the rotation's: its subject must be allowed
 * to read the key. Takes the context's lock for that, not while it waits for the server. */
kt_status_t kt_webhook_send(kt_ctx_t *ctx, const kt_request_t *req, const kt_cfg_target_t *config,
                            const char *name, uint64_t version);

#endif /* KT_COMMAND_H */
