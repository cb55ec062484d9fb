/* SPDX-License-Identifier: BSD-2-Clause */
/* target.h: commands and webhooks of `targets:`, and the owner of a pending version. */
#ifndef KT_TARGET_H
#define KT_TARGET_H

#include "serve/serve.h"

/* ---- target.c ---- */

/* Does this host give targets of `targets:` a new value? */
bool kt_rotate_runs_targets(const kt_ctx_t *ctx, const kt_request_t *req);

/* A configured command as the target of one rotation. */
typedef struct kt_exec {
    kt_target_ops_t ops;       /* the first member; its name points to `label` */
    char label[KT_ERROR_SIZE]; /* "exec:/path" */
    kt_ctx_t *ctx;
    const kt_cfg_target_t *config;
} kt_exec_t;

void kt_exec_init(kt_exec_t *exec, kt_ctx_t *ctx, const kt_cfg_target_t *config);
bool kt_exec_is(const kt_target_ops_t *ops);
kt_status_t kt_exec_check(const kt_target_ops_t *ops); /* kt_command_check() */
/* The part of a value that a rotation replaces, as in kt_rotate_options_t.value. The caller frees
 * it. */
kt_status_t kt_target_part(const kt_secret_t *value, kt_secret_t **ret_part);
/* Runs the command of `notify` for a version that became current. False, with kt_failure(), unless
 * its exit status is 0. */
bool kt_exec_notify(const kt_ctx_t *ctx, const kt_cfg_target_t *config, const char *name,
                    uint64_t version);

/* ---- redis.c ---- */

/* The user of Redis servers as the target of one rotation. */
typedef struct kt_redis {
    kt_target_ops_t ops; /* the first member; its name points to `label` */
    char label[KT_ERROR_SIZE];
    kt_ctx_t *ctx;
    const kt_cfg_redis_t *config;
    kt_account_fn account; /* NULL: the provider is not loaded yet */
} kt_redis_t;

void kt_redis_init(kt_redis_t *redis, kt_ctx_t *ctx, const kt_cfg_target_t *config);
bool kt_redis_is(const kt_target_ops_t *ops);
int64_t kt_redis_overlap(const kt_target_ops_t *ops);
kt_status_t kt_redis_load(const kt_target_ops_t *ops); /* KT_CONFIG, KT_PERMISSION */
/* Could every server's password be changed? Asks them, and so must not be called with the context's
 * lock. */
kt_status_t kt_redis_ask(kt_redis_t *redis, kt_rotation_t *rotation);
/* Takes from every server the passwords with these hashes, after the current value of `rotation`
 * works on each of them. `removed` ends with NULL. */
kt_status_t kt_redis_remove(kt_redis_t *redis, kt_rotation_t *rotation, const char *const *removed);

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
