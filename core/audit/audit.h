/* SPDX-License-Identifier: BSD-2-Clause */
/* audit.h: the audit log as all others see it, its sinks, and the counters of reads and refusals.
 */
#ifndef KT_AUDIT_H
#define KT_AUDIT_H

#include "base/base.h"
#include "config/config.h"

typedef struct kt_audit kt_audit_t;
typedef struct kt_event_texts kt_event_texts_t;
typedef struct kt_event {
    const char *action; /* "read", "write", "rotate.create" ... */
    const char *subject, *peer, *request_id, *purpose;
    const char *actor; /* the person; NULL: not known */
    const char *reference;
    uint64_t version;              /* 0: none */
    uint64_t generation;           /* of the type's index; 0: none */
    const unsigned char *store_id; /* of the store that has this generation: KT_ID_SIZE bytes; NULL:
                                      none. Durable events only */
    const char *provider;          /* NULL: none was asked */
    const char *status;            /* kt_status_name(), or "intent" */
    uint64_t seconds;              /* of a lock-out; 0: none */
    const char *generations; /* of a checkpoint: what stands between the braces, as JSON; NULL: it
                                is not one. Durable events only */
    unsigned more;           /* how much of that was left out */
    uint32_t count;          /* of coalesced reads; 0, 1: one; of what a state was read */
    bool stale, fallback, durable;
    bool configured;   /* a refusal of what the host's own configuration asks for */
    bool may_coalesce; /* with others: a read that was answered from facts, without a refusal */
    int64_t now;       /* ms since the epoch; 0: kt_now() */
    bool must_record;  /* the change that it is about cannot be taken back */
    bool derivable;    /* from its intent and the store: it need not be synced by itself */
    /* NULL, or kt_event_texts_new() of an event with the same texts, `peer` and `request_id` aside:
     * spares the ring to put them together again */
    const kt_event_texts_t *texts;
    const uint16_t *lengths; /* of the texts, with NUL, by their places in fields.h: of one that a
                                ring has kept; else NULL */
} kt_event_t;
kt_event_texts_t *kt_event_texts_new(const kt_event_t *event); /* for free(); NULL: no memory */
kt_status_t kt_audit_open(const kt_config_t *config, const char *stream, kt_audit_t **ret_audit);
/* Where to say what needs a person: before the first decision. */
void kt_audit_set_log(kt_audit_t *audit, kt_log_fn log, void *arg);
void kt_audit_close(kt_audit_t *audit);
kt_status_t kt_audit_write(kt_audit_t *audit, const kt_event_t *event); /* KT_AUDIT */
/* Could this process, and so many of its kind, record? KT_AUDIT: the disk has no room for them. */
kt_status_t kt_audit_room(kt_audit_t *audit, unsigned processes);
/* Records of this process that are not lines yet, and when the oldest was made (0: there is none).
 * For the producer. */
void kt_audit_waiting(const kt_audit_t *audit, uint64_t *ret_count, int64_t *ret_oldest);
kt_status_t kt_audit_drain(kt_audit_t *audit); /* all that this process has recorded becomes lines,
                                                  sealed and on the disk; KT_AUDIT */
kt_status_t kt_audit_sweep(
    kt_audit_t *audit); /* and what the stream's other processes have recorded */
kt_status_t kt_audit_thread_run(
    kt_audit_t *audit, kt_log_fn log,
    void *arg); /* drains until kt_audit_thread_stop(): a thread's whole work */
void kt_audit_thread_stop(kt_audit_t *audit);
void kt_audit_wake(kt_audit_t *audit); /* that thread drains at once; never waits */
/* Sets the functions that the thread calls before and after each drain; before it starts. Unless
 * `required`, the second one always gets KT_SUCCESS. */
void kt_audit_follow(kt_audit_t *audit, const kt_deferred_ops_t *batch, bool required);
void kt_audit_set_tick(kt_audit_t *audit, int64_t (*tick)(void *arg),
                       void *arg); /* what that thread does, too; before it starts */
bool kt_audit_has_thread(const kt_audit_t *audit); /* it runs; NULL: it does not */
bool kt_audit_is_new(const kt_audit_t *audit);     /* nothing was recorded yet, nor read */
/* Is the last checkpoint old, as far as this process knows? Under the stream's lock the state
 * decides. */
bool kt_audit_wants_checkpoint(const kt_audit_t *audit, int64_t now);

/* ---- subject.c ---- */

/* May a process of this stream name this subject? NULL or "": an unnamed one, which every stream
 * may record. `host` decides for streams that an operator named; NULL: it is not known. */
bool kt_audit_vouches(const char *stream, const char *host, const char *subject);

/* ---- hourly.c: requests of a shell's completion ---- */

bool kt_audit_in_this_hour(const kt_audit_t *audit); /* one was recorded less than an hour ago */
void kt_audit_begin_hour(const kt_audit_t *audit);   /* one has been recorded */

/* ---- generations.c ---- */

/* A generation of a type of the store with this id; `where` it is written, for an error text. */
typedef void (*kt_generation_fn)(void *arg, const char *type, uint64_t generation,
                                 const unsigned char store_id[KT_ID_SIZE], const char *where);
/* Those that the end of the stream's log has of this store (a provider's name). It never waits, and
 * a log that cannot be read has none. */
void kt_audit_generations(const char *audit_path, const char *stream, const char *store,
                          kt_generation_fn fn, void *arg);
/* Those of all logs of the stream, rotated and compressed ones too. `note` (may be NULL) gets what
 * could not be read, and the answer is not KT_SUCCESS then. */
kt_status_t kt_audit_all_generations(const char *audit_path, const char *stream, const char *store,
                                     kt_generation_fn fn, void *arg, kt_check_fn note,
                                     void *note_arg);

/* ---- received_store.c ---- */

typedef struct kt_received_sum {
    uint64_t checkpoints, changes; /* of the store with the id that was asked for */
    uint64_t others;               /* both, of other stores */
} kt_received_sum_t;
/* The generations that the store with this id had by the lines in the file, which a sink received
 * ("-": standard input). fn is called after all of it was read. KT_MALFORMED: it has more types
 * than a store can have. */
kt_status_t kt_received_generations(const char *path, const char *store,
                                    const unsigned char store_id[KT_ID_SIZE], kt_generation_fn fn,
                                    void *arg, kt_received_sum_t *ret_sum);

/* ---- severity.c ---- */

/* "critical", "high", "medium", or NULL: nothing to be alarmed about. */
const char *kt_severity(const kt_event_t *event);

/* ---- sinks.c, sink_*.c: copies of the log elsewhere ---- */

typedef struct kt_sinks kt_sinks_t;

/* NULL in *ret_sinks: none are configured. Opens nothing yet. */
kt_status_t kt_sinks_open(kt_config_t *config, const char *stream, kt_log_fn log, void *arg,
                          kt_sinks_t **ret_sinks);
/* Does not end commands that run. */
void kt_sinks_close(kt_sinks_t *sinks);
/* Sends what there is to send, and never waits. One thread at a time. True: there is more to do. */
bool kt_sinks_step(kt_sinks_t *sinks);
/* The same until all of the log is sent, or for `ms` at most: for a command that is about to
 * end. */
void kt_sinks_finish(kt_sinks_t *sinks, unsigned ms);

/* For `keyturn check`: can the command be run, or the socket be opened? Sends nothing. */
kt_status_t kt_sink_check(const kt_cfg_sink_t *config);

/* ---- access.c: how often secrets were read; it never fails, at most it does not count ---- */

typedef struct kt_access kt_access_t;
typedef struct kt_access_sum {
    uint64_t count;
    int64_t last;                     /* ms since the epoch; 0: never */
    char subject[KT_SUBJECT_MAX + 1]; /* of the last read; "" if it is not known */
    char stream[65];                  /* that has counted it; "": never */
    uint64_t lost;   /* reads of secrets for which a table had no room; of all streams together */
    unsigned hidden; /* streams whose statistics may not be read */
} kt_access_sum_t;
kt_access_t *kt_access_open(const kt_config_t *config,
                            const char *stream); /* NULL: there are no statistics */
void kt_access_close(kt_access_t *access);
/* At `now`, in ms since the epoch. *slot is 0, or what an earlier note of this name left there, and
 * *place the same of this subject; NULL: it is not kept. */
/* The same name is noted soon: its place is fetched from memory meanwhile. */
void kt_access_ahead(const kt_access_t *access, const char *name);
void kt_access_note(kt_access_t *access, const char *name, const char *subject, int64_t now,
                    uint32_t *slot, uint32_t *place);
/* Over all streams, of one name; or of each, a name perhaps several times, in no order, with what
 * concerns all in *ret_total. */
void kt_access_of(const kt_config_t *config, const char *stream, const char *name,
                  kt_access_sum_t *ret_sum);
typedef void (*kt_access_fn)(void *arg, const char *name, const kt_access_sum_t *sum);
void kt_access_all(const kt_config_t *config, const char *stream, kt_access_fn fn, void *arg,
                   kt_access_sum_t *ret_total);

/* ---- refusals.c: sources that are refused too often ---- */

#define KT_REFUSALS_MAX 10u /* of one source within an hour; the next one is a lock-out */
typedef struct kt_refusals kt_refusals_t;
/* The table of the stream whose folder it is. KT_AUDIT. */
kt_status_t kt_refusals_open(const char *folder, kt_refusals_t **ret_refusals);
void kt_refusals_close(kt_refusals_t *refusals);
int64_t kt_refusals_now(void); /* s since the epoch: what the next two mean by `now` */
/* For how many s more the source is locked out; 0: it is not. Subject and peer may be NULL. */
unsigned kt_refusals_locked(const kt_refusals_t *refusals, const char *subject, const char *peer,
                            int64_t now);
/* The same; and if it is, one more refusal that has no record. */
unsigned kt_refusals_miss(kt_refusals_t *refusals, const char *subject, const char *peer,
                          int64_t now);
/* One more refusal: of how many s is the lock-out that begins with it; 0: none does. */
unsigned kt_refusals_count(kt_refusals_t *refusals, const char *subject, const char *peer,
                           int64_t now);

/* Takes the refusals without a record of a source whose lock-out has ended; false: there are none.
 * If they cannot be recorded, they are given back. */
typedef struct kt_refusals_missed {
    char subject[KT_SUBJECT_MAX + 1], peer[129]; /* "": none */
    uint32_t count;
    unsigned seconds; /* of the lock-out */
} kt_refusals_missed_t;
bool kt_refusals_take(kt_refusals_t *refusals, int64_t now, kt_refusals_missed_t *ret_missed);
void kt_refusals_give_back(kt_refusals_t *refusals, const kt_refusals_missed_t *missed);
size_t kt_refusals_locked_now(const kt_refusals_t *refusals, int64_t now); /* sources */

/* ---- lockouts.c ---- */

typedef struct kt_lockouts {
    size_t sources;      /* found, or cleared */
    unsigned unreadable; /* tables that may not be opened, or could not be read or written */
} kt_lockouts_t;
/* Of all streams, if the folder may be listed, or of `stream`. `source` NULL: calls fn for each
 * source that was locked out within the last hour. Else ends the lock-out of that source. */
void kt_lockouts_find(const kt_config_t *config, const char *stream, const char *source,
                      kt_lockout_fn fn, void *arg, kt_lockouts_t *ret_found);

#endif /* KT_AUDIT_H */
