/* SPDX-License-Identifier: BSD-2-Clause */
/* serve.h: a request that was understood, and what is decided and recorded about it. */
#ifndef KT_SERVE_H
#define KT_SERVE_H

#include "context.h"

/* ---- call.c ---- */

typedef struct kt_call {
    const kt_request_t *req;
    kt_reference_t ref;
    char text[KT_REFERENCE_MAX]; /* the reference in its normal form */
    const char *subject;
    uint64_t generation; /* of the type, for the trail; 0: not said */
    bool must_record; /* of a rotation whose pending version may be known to its target: it has to
                   be recorded to its end */
} kt_call_t;

kt_status_t kt_call_begin(const kt_request_t *req, kt_call_t *ret_call);
enum {
    KT_EV_STALE = 1,
    KT_EV_FALLBACK = 2,
    KT_EV_DURABLE = 4,
    KT_EV_INTENT = 8,
    KT_EV_MUST_RECORD = 16,
    KT_EV_MAY_COALESCE = 32
};
/* Policy, then the trail: answers `status` itself, or KT_AUDIT when it cannot be recorded. */
kt_status_t kt_decide(kt_ctx_t *ctx, const kt_call_t *call, const char *action, kt_status_t status,
                      uint64_t version, const char *provider, unsigned flags);
/* What the audit log answered, by audit.required. */
kt_status_t kt_audit_answer(kt_ctx_t *ctx, kt_status_t status);
/* KT_DENIED to a source that is locked out; that and kt_policy_check(); and a refusal
 * that was recorded. */
kt_status_t kt_lockout_check(kt_ctx_t *ctx, const char *subject, const char *peer,
                             unsigned capability, const char *name);
kt_status_t kt_admit(kt_ctx_t *ctx, const char *subject, const char *peer, unsigned capability,
                     const char *name);
unsigned kt_refused(kt_ctx_t *ctx, const char *subject, const char *peer);
void kt_note_read(kt_ctx_t *ctx, const kt_call_t *call, uint32_t *slot); /* for the statistics */

/* ---- usage.c ---- */

/* The texts of the result are those of name and sum. */
void kt_usage_fill(const char *name, const kt_access_sum_t *sum, kt_usage_t *ret_usage);

/* ---- record.c, checkpoint.c ---- */

#define KT_IDLE_MS 60000                /* between two looks of a host without sinks */
void kt_checkpoint(kt_ctx_t *ctx);      /* a line of the trail, if the last one is too old */
int64_t kt_forward_step(kt_ctx_t *ctx); /* that, and a step of the external sinks: after how many ms
                                      it wants to be called again */
void kt_forward_finish(kt_ctx_t *ctx);  /* of the command, before its context is closed */

/* ---- route.c ---- */

const kt_cfg_route_t *kt_switch_route(const kt_config_t *config, const char *name);
/* The store that a write of this call goes to: the first writable one of its route, or the bundle.
 */
kt_status_t kt_switch_writer(kt_ctx_t *ctx, const kt_call_t *call, kt_bundle_store_t *bundle,
                             kt_store_t **ret_store, size_t *ret_index);

/* ---- write.c ---- */

unsigned kt_write_timeout(const kt_request_t *req);
kt_status_t kt_write_begin(kt_ctx_t *ctx, const kt_call_t *call, unsigned capability,
                           const char *action);
kt_status_t kt_write_finish(kt_ctx_t *ctx, const kt_call_t *call, kt_change_t *change,
                            const char *action, uint64_t version, const char *provider);
kt_status_t kt_write_no_pending(const kt_head_t *head);

#endif /* KT_SERVE_H */
