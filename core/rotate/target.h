/* SPDX-License-Identifier: BSD-2-Clause */
/* target.h: commands and webhooks of `targets:`, and the owner of a pending version. */
#ifndef KT_TARGET_H
#define KT_TARGET_H

#include "serve/serve.h"

/* ---- target.c ---- */

/* A configured command as the target of one rotation. */
typedef struct kt_exec {
    kt_target_ops_t ops;       /* the first member; its name points to `label` */
    char label[KT_ERROR_SIZE]; /* "exec:/path" */
    kt_ctx_t *ctx;
    const kt_cfg_target_t *config;
} kt_exec_t;
#define KT_EXEC KT_TARGET_EXEC

void kt_exec_init(kt_exec_t *exec, kt_ctx_t *ctx, const kt_cfg_target_t *config);
bool kt_exec_is(const kt_target_ops_t *ops);
kt_status_t kt_exec_check(const kt_target_ops_t *ops); /* kt_command_check() if it is a command */
/* Runs the command of `notify` for a version that became current. False, with kt_failure(), unless
 * its exit status is 0. */
bool kt_exec_notify(const kt_ctx_t *ctx, const kt_cfg_target_t *config, const char *name,
                    uint64_t version);

/* The event as one JSON object, without the value. */
#define KT_EVENT_SIZE (KT_NAME_MAX + KT_ENVIRONMENT_MAX + 128)
void kt_event_format(const kt_ctx_t *ctx, const char *name, uint64_t version,
                     char text[KT_EVENT_SIZE]);

/* ---- webhook.c ---- */

/* Sends the same event, signed, to the server of `webhook`. The subject of `req`, the rotation's
 * request, must be allowed to read the key. Takes the context's lock to read the key, but not while
 * it waits for the server. */
kt_status_t kt_webhook_send(kt_ctx_t *ctx, const kt_request_t *req, const kt_cfg_target_t *config,
                            const char *name, uint64_t version);

/* ---- owner.c: the lease of a process on a pending version ---- */

#define KT_LEASE_SIZE 160u

/* The note "this process, for at most `lease` ms". */
void kt_lease_format(int64_t lease, char text[KT_LEASE_SIZE]);
/* Is its owner alive, or may it be, and has the lease not ended? *ret_pid is 0 if the owner is on
 * another machine. `text` may be NULL: no lease. */
bool kt_lease_is_held(const char *text, long *ret_pid);

#endif /* KT_TARGET_H */
