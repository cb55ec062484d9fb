/* SPDX-License-Identifier: BSD-2-Clause */
/* target.h: commands and web hooks of `targets:`, and who owns a pending version. */
#ifndef KT_TARGET_H
#define KT_TARGET_H

#include "serve/serve.h"

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

/* ---- owner.c: is a process at a pending version now? ---- */

#define KT_LEASE_SIZE 160u

/* "This process, for at most `lease` ms." */
void kt_lease_format(int64_t lease, char text[KT_LEASE_SIZE]);
/* Does that process live, and is its time not over? *ret_pid is 0 if it is of another machine.
 * NULL: nobody is. */
bool kt_lease_is_held(const char *text, long *ret_pid);

#endif /* KT_TARGET_H */
