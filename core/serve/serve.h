/* SPDX-License-Identifier: BSD-2-Clause */
/* serve.h: a parsed request, the decision about it and its record. */
#ifndef KT_SERVE_H
#define KT_SERVE_H

#include "context.h"

/* ---- call.c ---- */

/* What a cached value keeps of a subject that the policy has allowed to read it. */
typedef struct kt_granted {
    kt_event_texts_t *texts; /* of the record of its last read; NULL: there was none */
    uint32_t place;          /* in the statistics; 0: not known */
} kt_granted_t;

typedef struct kt_call {
    const kt_request_t *req;
    kt_reference_t ref;
    char text[KT_REFERENCE_MAX]; /* the reference in its normal form */
    const char *subject;
    uint64_t generation;                /* of the type, for the audit log; 0: left out */
    unsigned char store_id[KT_ID_SIZE]; /* of that generation */
    bool must_record; /* of a rotation whose pending version may be known to its target: it has to
                   be recorded to its end */
    uint32_t count;   /* for the record: secrets that were found (states.c) */
} kt_call_t;

/* A read like one that was recorded before: the same subject and reference, and a value. */
typedef struct kt_again {
    const kt_request_t *req;
    const char *action;
    const char *reference; /* in its normal form */
    kt_granted_t *granted;
    uint64_t version;
    const char *provider;
    bool fallback;
    int64_t now; /* kt_now_about() */
} kt_again_t;

kt_status_t kt_call_begin(const kt_ctx_t *ctx, const kt_request_t *req, kt_call_t *ret_call);
/* The same, with the context's lock: a subject that asks again is not checked again. */
kt_status_t kt_call_begin_read(kt_ctx_t *ctx, const kt_request_t *req, kt_call_t *ret_call);
/* KT_USAGE for a subject that this host cannot vouch for: it would be another one's record. Part of
 * kt_call_begin(). */
kt_status_t kt_subject_check(const kt_ctx_t *ctx, const char *subject);
enum {
    KT_EV_STALE = 1,
    KT_EV_FALLBACK = 2,
    KT_EV_DURABLE = 4,
    KT_EV_INTENT = 8,
    KT_EV_MUST_RECORD = 16,
    KT_EV_MAY_COALESCE = 32,
    KT_EV_DERIVABLE = 64,
    KT_EV_UNCOUNTED = 128 /* a refusal that is not one of the policy: no lock-out follows from it */
};
/* Records the decision and counts a refusal; answers `status`, or KT_AUDIT if it cannot be
 * recorded. */
kt_status_t kt_decide(kt_ctx_t *ctx, const kt_call_t *call, const char *action, kt_status_t status,
                      uint64_t version, const char *provider, unsigned flags);
/* The same for a success: what it has in common with the one before is kept in `again->granted`. */
kt_status_t kt_decide_again(kt_ctx_t *ctx, const kt_again_t *again);
/* What the audit log answered, by audit.required. */
kt_status_t kt_audit_answer(kt_ctx_t *ctx, kt_status_t status);
/* Records how much was refused during lock-outs that have ended. Without the context's lock. */
void kt_record_lockouts(kt_ctx_t *ctx);
/* For the statistics. `slot` of a read like one before is the one that was found then. */
void kt_note_read(kt_ctx_t *ctx, const kt_call_t *call, uint32_t *slot);
void kt_note_again(kt_ctx_t *ctx, const kt_again_t *again, uint32_t *slot);

/* ---- grants.c: reads of bundles that were allowed before ---- */

kt_grants_t *kt_grants_new(void); /* NULL: out of memory */
void kt_grants_free(kt_grants_t *grants);
/* What is kept of this subject's reads of this name, which need not end with NUL, for this
 * action. NULL: it was not allowed yet, or is forgotten. All three are the table's, until
 * kt_grants_add(). */
kt_granted_t *kt_grants_find(kt_grants_t *grants, const char *subject, const char *name,
                             size_t name_size, const char *action, uint32_t **ret_slot,
                             const char **ret_name);
void kt_grants_add(kt_grants_t *grants, const char *subject, const char *name, const char *action,
                   uint32_t slot);

/* ---- info.c ---- */

struct kt_info {
    kt_head_t head;
    kt_entry_t entry;
    char provider[64];
    kt_version_t *versions;
    kt_access_sum_t accessed;
    kt_usage_t usage;
    bool values; /* kt_states_value() may open them */
};
/* Takes *head over, also if it fails. Without the usage. */
kt_status_t kt_info_new(kt_head_t *head, const char *provider, kt_info_t **ret_info);

/* ---- usage.c ---- */

/* The texts of the result are those of name and sum. */
void kt_usage_fill(const char *name, const kt_access_sum_t *sum, kt_usage_t *ret_usage);

/* ---- record.c, checkpoint.c ---- */

#define KT_IDLE_MS 60000           /* between two steps of a host without sinks */
void kt_checkpoint(kt_ctx_t *ctx); /* writes one if the last one is too old */
int64_t kt_forward_step(
    kt_ctx_t *ctx); /* that, and a step of the sinks; the ms until the next step */
void kt_forward_finish(kt_ctx_t *ctx); /* for the command, before its context is closed */

/* ---- expect.c ---- */

/* From now on the store is compared with the generations at the end of this process's own audit
 * log; in all logs of its own stream; or, for a restore, in all logs. `note` (may be NULL) gets
 * what could not be read of them, and the answer is not KT_SUCCESS then; a restore warns. */
void kt_expect(const kt_ctx_t *ctx, kt_store_t *store);
kt_status_t kt_expect_own(const kt_ctx_t *ctx, kt_store_t *store, kt_check_fn note, void *arg);
void kt_expect_all(kt_ctx_t *ctx, kt_store_t *store);
/* The same with the lines that a sink received of the store with this id. */
kt_status_t kt_expect_received(kt_store_t *store, const char *path,
                               const unsigned char store_id[KT_ID_SIZE],
                               kt_received_sum_t *ret_sum);

/* ---- settle.c ---- */

#define KT_SETTLE_MS 2000
#define KT_SETTLE_MAX 16u /* anchors that are written at once; the rest has its turn later */
bool kt_may_settle(const kt_ctx_t *ctx);
/* Before a change's intent: records what was found above all anchors of its store. KT_AUDIT. */
kt_status_t kt_settle_record(const kt_ctx_t *ctx, const kt_call_t *call, const kt_store_t *store);
/* Copies at most KT_SETTLE_MAX of those that were found `age` ms ago or longer, and does not answer
 * with them again for a minute. */
size_t kt_settle_due(const kt_store_t *store, int64_t age, kt_unanchored_t *ret_list);
/* Records these and writes their anchors, or says that it cannot; without the context's lock. */
void kt_settle_put(const kt_ctx_t *ctx, const kt_store_t *store, kt_unanchored_t *list,
                   size_t count);
/* Afterwards: they are recorded only once. */
void kt_settle_note(const kt_store_t *store, const kt_unanchored_t *list, size_t count);

/* ---- figures.c ---- */

kt_tally_t *kt_tallies_new(size_t count); /* NULL: out of memory; for free() */
/* The provider at this index has answered, to this context or its agent. */
void kt_tally(kt_ctx_t *ctx, size_t index, kt_status_t status);

/* ---- route.c ---- */

const kt_cfg_route_t *kt_switch_route(const kt_config_t *config, const char *name);
kt_status_t kt_switch_no_route(const kt_call_t *call); /* KT_NOTFOUND */
/* Is the provider at this index on the route of the name? Elsewhere it is not served, and so not
 * listed. */
bool kt_switch_uses(const kt_config_t *config, const char *name, size_t provider);
/* The store that a write of this call goes to: the first writable one of its route, or the bundle.
 */
kt_status_t kt_switch_writer(kt_ctx_t *ctx, const kt_call_t *call, kt_bundle_store_t *bundle,
                             kt_store_t **ret_store, size_t *ret_index);

/* ---- write.c ---- */

unsigned kt_write_timeout(const kt_request_t *req);
kt_status_t kt_write_begin(kt_ctx_t *ctx, const kt_call_t *call, unsigned capability,
                           const char *action);
/* Prepares, records the intent, commits, records the outcome. Ends the change in any case. */
kt_status_t kt_write_finish(kt_ctx_t *ctx, const kt_call_t *call, kt_change_t *change,
                            const char *action, uint64_t version, const char *provider);

/* The same in two halves, and for changes of several secrets that are one transaction: the first
 * write has its first change. */
typedef struct kt_write {
    kt_call_t call;
    kt_change_t *change;
    const char *action;
    uint64_t version;
    const char *provider;
} kt_write_t;
/* deferred.c: the change is in the caller's bundle, or the caller makes it itself; its outcome
 * waits for kt_deferred_end(). */
void kt_deferred_keep(kt_deferred_t *deferred, const kt_write_t *write);
/* Prepares and records the intents. After a failure, which it records, the changes have ended. */
kt_status_t kt_write_prepare(kt_ctx_t *ctx, kt_write_t *writes, size_t count);
/* Then one of these. Commits, and records the outcomes: */
kt_status_t kt_write_commit(kt_ctx_t *ctx, const kt_write_t *writes, size_t count);
/* Nothing is changed, because of `status`, which is recorded: */
void kt_write_cancel(kt_ctx_t *ctx, const kt_write_t *writes, size_t count, kt_status_t status);
kt_status_t kt_write_no_pending(const kt_head_t *head);

/* A change of one secret, as one transaction. */
typedef struct kt_write_op {
    const char *action;
    unsigned capability;
    bool must_exist;
    bool (*is_done)(const kt_head_t *head); /* true: success, nothing changes; may be NULL */
    kt_status_t (*change)(kt_change_t *change, const void *arg, uint64_t *ret_version);
} kt_write_op_t;
kt_status_t kt_write_one(kt_ctx_t *ctx, const kt_request_t *req, const kt_write_op_t *op,
                         const void *arg, uint64_t *ret_version);

#endif /* KT_SERVE_H */
