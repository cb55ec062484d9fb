/* SPDX-License-Identifier: BSD-2-Clause */
/* rotate.h: a rotation, and its steps. */
#ifndef KT_ROTATE_H
#define KT_ROTATE_H

#include "serve/serve.h"

struct kt_rotation {
    kt_ctx_t *ctx;
    kt_call_t call;
    kt_request_t req; /* its strings are copies, below */
    char *strings[5];
    kt_bundle_store_t bundle;
    kt_store_t *store; /* the context's, which is open, so that `finish` need not open one */
    uint64_t version;
    uint64_t replaces; /* the version that was current when this one became pending, or when it
                          began; 0: not known */
    int64_t expires;   /* set by `finish`; 0: unchanged */
    int64_t keep;      /* ms that a version which is set aside is kept */
    bool repairs;      /* a look by the right `admin`: any version may become current */
};

/* ---- rotation.c: the object ---- */

/* Checks the policy for a capability (KT_CAP_*), whose refusal is recorded as `action`, and makes a
 * rotation of version 0; kt_rotation_open() opens its store. Both under the context's lock. */
kt_status_t kt_rotation_new(kt_ctx_t *ctx, const kt_request_t *req, unsigned capability,
                            const char *action, kt_rotation_t **ret_rotation);
kt_status_t kt_rotation_open(kt_rotation_t *rotation);
/* The end of create and resume: hands a rotation whose version is pending to the caller, or frees
 * it. Answers `status`. */
kt_status_t kt_rotation_return(kt_rotation_t *rotation, kt_status_t status,
                               kt_rotation_t **ret_rotation);
void kt_rotation_free(kt_rotation_t *rotation);
const char *kt_rotation_name(const kt_rotation_t *rotation);

/* ---- steps.c ---- */

/* Without a target. Under the context's lock. */
kt_status_t kt_rotate_at_once(kt_ctx_t *ctx, const kt_call_t *call,
                              const kt_rotate_options_t *options, uint64_t *ret_version);
/* Begins a change of the secret. KT_CONFLICT: the rotation's version is not pending any more. Under
 * the context's lock. */
kt_status_t kt_rotation_begin_step(kt_rotation_t *rotation, unsigned timeout,
                                   kt_change_t **ret_change);
/* The same in the transaction of `first`, which is the caller's to abort after a failure. */
kt_status_t kt_rotation_join_step(kt_rotation_t *rotation, kt_change_t *first,
                                  kt_change_t **ret_change);
/* Commits the change of a step if `status` is KT_SUCCESS, or aborts it and answers `status`. */
kt_status_t kt_rotation_end_step(kt_change_t *change, kt_status_t status);
/* The version becomes current, within the change of its last step. */
kt_status_t kt_rotation_make_current(kt_change_t *change, uint64_t version);
/* kt_rotation_create(), and the pending version has the note KT_NOTE_LEASE. */
kt_status_t kt_rotation_create_leased(kt_ctx_t *ctx, const kt_request_t *req,
                                      const kt_rotate_options_t *options, const char *lease,
                                      kt_rotation_t **ret_rotation);

/* Can the target be asked at all? KT_CONFIG, KT_PERMISSION. */
kt_status_t kt_rotate_check_target(const kt_target_ops_t *target);
/* May this secret be rotated? KT_GONE. Of its origin: KT_CONFLICT. Of its value, with the shape
 * that the rotation keeps: KT_CONFLICT. */
kt_status_t kt_rotate_check_head(const kt_head_t *head, const kt_rotate_options_t *options);
/* Is there a current value that a target may have? KT_NOTFOUND, KT_GONE. */
kt_status_t kt_rotate_check_live(const kt_head_t *head);
kt_status_t kt_rotate_check_origin(const kt_head_t *head, kt_shape_t shape,
                                   const kt_rotate_options_t *options);
kt_status_t kt_rotate_check_value(const kt_head_t *head, const kt_secret_t *old,
                                  const kt_rotate_options_t *options, kt_shape_t *ret_shape);

#endif /* KT_ROTATE_H */
