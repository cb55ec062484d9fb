/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * internal.h: what the stages of the core know of each other. Only files of core/ include it.
 *
 * Every function that answers a kt_status_t other than KT_SUCCESS has said why by kt_fail(): one
 * line in the calling thread's error text, without a value. Outputs (ret_x) are written on success
 * only.
 */
#ifndef KT_INTERNAL_H
#define KT_INTERNAL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "include/keyturn.h"
#include "include/keyturn_provider.h"

#define KT_HIDDEN __attribute__((visibility("hidden")))
#define KT_PRINTF(a, b) __attribute__((format(printf, a, b)))

#define KT_KEY_SIZE 32u   /* bytes of an environment, type or secret key */
#define KT_KEYID_SIZE 16u /* bytes of a key's id, a commitment to it */
#define KT_ID_SIZE 16u    /* bytes of a secret's random id */
#define KT_HASH_SIZE 32u  /* bytes of the keyed hash of a name */
#define KT_TAG_SIZE KTP_RECORD_TAG
#define KT_ERROR_SIZE 512u /* bytes of an error text, NUL included */
#define KT_EPOCHS_MAX 8u   /* epochs in one key file */
#define KT_TYPES_MAX 4096u /* types and epochs that one keyring holds at once */
#define KT_ENVIRONMENT_MAX 64u

#define KT_WAIT 5000u /* ms that a call that may block waits for a lock ... */
#define KT_WAIT_PEEK                                                                               \
    20u /* ... and one in an event loop, where failing the request would be worse */

#define KT_ARRAY(a) (sizeof(a) / sizeof((a)[0]))

typedef struct kt_call kt_call_t; /* a request, understood: route.c */

/* ---- status.c ---- */

/* Sets the thread's error text and answers `status`, so that `return kt_fail(...)` reads well. */
kt_status_t kt_fail(kt_status_t status, const char *format, ...) KT_PRINTF(2, 3);
/* Puts "prefix: " in front of the thread's error text. */
kt_status_t kt_fail_prefix(kt_status_t status, const char *format, ...) KT_PRINTF(2, 3);
void kt_flatten(char *text);  /* control characters show as '?' */
const char *kt_failure(void); /* the thread's error text; "" after kt_failure_clear() */
void kt_failure_clear(void);
/* The status of this upper-case name as in `[UNAVAIL=continue]`, or -1. */
int kt_status_parse(const char *name, size_t len);

/* ---- memory.c: the only file that locks and wipes memory ---- */

void kt_wipe(void *data, size_t size);
void *kt_locked_alloc(size_t size); /* zeroed, locked as far as the limit goes, undumpable; NULL:
                                       ENOMEM. Thread-safe */
void kt_locked_free(void *data);    /* wipes */
size_t kt_locked_size(const void *data); /* bytes of locked memory that it takes; of NULL none */
/* Guarded pages for keys; with `wipe_on_fork` a child reads zeros. */
void *kt_guarded_alloc(size_t size, bool wipe_on_fork);
/* The same of address space: only the first `used` bytes are locked, and wiped at the end, until
 * kt_guarded_extend() says more. */
void *kt_guarded_reserve(size_t size, size_t used, bool wipe_on_fork);
void kt_guarded_extend(void *data, size_t used);
void kt_guarded_free(void *data);
void kt_free_wiped(char *string);                  /* wipes up to NUL and frees; NULL is allowed */
void kt_keep_from_forks(void *pages, size_t size); /* a child has nothing mapped there */
size_t kt_locked_failures(void);                   /* how many bytes could not be locked */
bool kt_locked_room(size_t size);                  /* could as much be locked now, over what is? */

struct kt_secret {
    atomic_uint refs;
    uint64_t version;
    int64_t expires; /* ms since the epoch; 0: never */
    bool stale;
    size_t size;
    unsigned char *data; /* locked memory */
};
kt_secret_t *kt_secret_ref(kt_secret_t *secret);

/* ---- reference.c ---- */

typedef enum kt_selector {
    KT_SEL_CURRENT = 0,
    KT_SEL_PREVIOUS,
    KT_SEL_PENDING,
    KT_SEL_NUMBER
} kt_selector_t;
typedef struct kt_reference {
    char name[KT_NAME_MAX + 1];
    char type[KT_NAME_MAX + 1];
    char field[KT_FIELD_MAX + 1]; /* "" if there is none */
    kt_selector_t selector;
    uint64_t version; /* of KT_SEL_NUMBER */
} kt_reference_t;

/* `len` 0: ends with NUL. KT_USAGE. */
kt_status_t kt_reference_parse(const char *text, size_t len, kt_reference_t *ret_reference);
/* name[#field][@version] in its one normal form (current is left out), at most KT_REFERENCE_MAX
 * bytes with NUL. */
void kt_reference_format(const kt_reference_t *reference, char *text, size_t size);
/* A name with stars, 255 bytes at most: KT_USAGE. */
kt_status_t kt_pattern_check(const char *pattern);
/* The star matches any bytes, '/' too; all other bytes match themselves. */
bool kt_pattern_match(const char *pattern, const char *text);
/* The canonical name: dev, stage, prod become development, staging, production; others must match
 * [A-Za-z0-9._-]+. KT_USAGE. */
kt_status_t kt_environment_parse(const char *text, char ret_environment[KT_ENVIRONMENT_MAX]);

/* ---- config.c: the YAML file ---- */

#define KT_STATUSES 20u
enum {
    KT_CAP_READ = 1,
    KT_CAP_WRITE = 2,
    KT_CAP_ROTATE = 4,
    KT_CAP_LIST = 8,
    KT_CAP_DELETE = 16,
    KT_CAP_ADMIN = 32
};

typedef struct kt_cfg_option {
    char *name, *text;
    int line;
} kt_cfg_option_t;

typedef struct kt_cfg_provider {
    char *name;
    int line;
    kt_cfg_option_t *options;
    size_t noptions;
} kt_cfg_provider_t;

typedef struct kt_cfg_step {
    size_t provider;         /* index in providers */
    bool go_on[KT_STATUSES]; /* by kt_status_t: continue with the next step */
} kt_cfg_step_t;

typedef struct kt_cfg_route {
    char *pattern;
    int line;
    kt_cfg_step_t *steps;
    size_t nsteps;
} kt_cfg_route_t;

typedef struct kt_cfg_rule {
    char *who;            /* pattern of subjects */
    unsigned allow, deny; /* KT_CAP_* */
    char **names;         /* patterns */
    size_t nnames;
    int line;
} kt_cfg_rule_t;

typedef struct kt_cfg_key {
    char *host;   /* or "cli-USER"; NULL: any */
    char *source; /* "file:/etc/keyturn/production.key" */
    int line;
} kt_cfg_key_t;

typedef struct kt_cfg_target {
    char *pattern;         /* of names; the first that matches counts */
    char **exec, **notify; /* words of a command, NULL behind the last; NULL: none */
    bool old, whole, test; /* gets the current value too, whole values, is asked by a `test` step */
    char *webhook, *webhook_key,
        *webhook_ca; /* URL, name of the secret that signs, file of certificates; NULL: none */
    int64_t timeout; /* ms, of one run */
    int line;
} kt_cfg_target_t;

typedef enum kt_send { KT_SEND_ALERTS, KT_SEND_SEALS, KT_SEND_ALL } kt_send_t;
typedef struct kt_cfg_sink {
    char *text;   /* "syslog:auth", "exec:/path/command" */
    char **argv;  /* of exec, NULL behind the last; NULL: it is a syslog */
    char *socket; /* of syslog */
    int facility;
    int line;
} kt_cfg_sink_t;

typedef struct kt_config {
    atomic_uint refs;
    char *path;   /* absolute */
    char *folder; /* of path; relative paths start there */
    char environment[KT_ENVIRONMENT_MAX];
    kt_cfg_key_t *keys;
    size_t nkeys;
    kt_cfg_provider_t *providers;
    size_t nproviders;
    kt_cfg_route_t *routes;
    size_t nroutes;
    kt_cfg_rule_t *rules;
    size_t nrules;
    kt_cfg_target_t *targets;
    size_t ntargets;
    int64_t cache_ttl, cache_negative, cache_stale; /* ms */
    size_t cache_size;                              /* bytes */
    char *audit_path;
    bool audit_required;
    int64_t audit_reads;      /* ms; 0: every read has its line */
    int64_t audit_checkpoint; /* ms between two of them */
    kt_cfg_sink_t *sinks;
    size_t nsinks;
    kt_send_t send;           /* what goes to them */
    unsigned memory_required; /* secret_memory: 1 is require */
} kt_config_t;

/* KT_CONFIG with "FILE:LINE: ...", or if it is missing; KT_PERMISSION if it cannot be opened or
 * others may write it. */
kt_status_t kt_config_read(const char *path, kt_config_t **ret_config);
kt_config_t *kt_config_ref(kt_config_t *config);
void kt_config_unref(kt_config_t *config);
/* "300s", "12h", "90d", "250ms", "0" to milliseconds; -1. */
int64_t kt_duration_parse(const char *text);
int64_t kt_size_parse(const char *text); /* "4M", "512K", "100000" to bytes; -1 */
/* The target of this name, or NULL. */
const kt_cfg_target_t *kt_config_target(const kt_config_t *config, const char *name);
/* `path` itself if absolute, else below the configuration's folder; malloc'ed. */
char *kt_config_resolve(const kt_config_t *config, const char *path);

/* ---- policy.c ---- */

/* KT_SUCCESS or KT_DENIED; an explicit deny wins, and no rule is a denial. */
kt_status_t kt_policy_check(const kt_config_t *config, const char *subject, unsigned capability,
                            const char *name);
/* The KT_CAP_* that this rule gives to at least one of the subjects that the pattern `subjects`
 * matches ("nginx:*", "uid:deploy"), on the names of one of its own patterns. What a rule denies to
 * all of these subjects on all of these names is left out. */
unsigned kt_policy_grants(const kt_config_t *config, const kt_cfg_rule_t *rule, const char *names,
                          const char *subjects);
const char *kt_capability_name(unsigned capability);
unsigned kt_capability_parse(const char *name, size_t len); /* 0: there is none of this name */

/* ---- refusals.c: who is refused too often is refused for a while ---- */

#define KT_REFUSALS_MAX 10u /* of one source within an hour; the next one is a lock-out */
typedef struct kt_refusals kt_refusals_t;
/* The table of the stream whose folder it is. KT_AUDIT. */
kt_status_t kt_refusals_open(const char *folder, kt_refusals_t **ret_refusals);
void kt_refusals_close(kt_refusals_t *refusals);
int64_t kt_refusals_now(void); /* s since the epoch: what the next two mean by `now` */
/* For how many s more the source is locked out; 0: it is not. Subject and peer may be NULL. */
unsigned kt_refusals_locked(const kt_refusals_t *refusals, const char *subject, const char *peer,
                            int64_t now);
/* One more refusal: of how many s is the lock-out that begins with it; 0: none does. */
unsigned kt_refusals_count(kt_refusals_t *refusals, const char *subject, const char *peer,
                           int64_t now);
/* Of a context: KT_DENIED to a source that is locked out; that and kt_policy_check(); and a refusal
 * that was recorded. */
kt_status_t kt_lockout_check(kt_ctx_t *ctx, const char *subject, const char *peer,
                             unsigned capability, const char *name);
kt_status_t kt_admit(kt_ctx_t *ctx, const char *subject, const char *peer, unsigned capability,
                     const char *name);
unsigned kt_refused(kt_ctx_t *ctx, const char *subject, const char *peer);

/* ---- shape.c: what is known of a value's inside ---- */

typedef enum kt_shape {
    KT_SHAPE_OPAQUE = 0,
    KT_SHAPE_DATABASE,
    KT_SHAPE_API_KEY,
    KT_SHAPE_CERTIFICATE
} kt_shape_t;
kt_shape_t kt_shape_of(const kt_secret_t *value);
/* A new value: `old` with `field` set to the string `part`; with old NULL an object of this one
 * field. KT_MALFORMED: old is no object, part is not UTF-8; KT_TOOLARGE. */
kt_status_t kt_shape_set_field(const kt_secret_t *old, const char *field, const kt_secret_t *part,
                               kt_secret_t **ret_value);
/* The rotated value of `shape` around the new password or key, with rotated_at at `now` (ms) as ISO
 * 8601 Z; an API key keeps previous_key. An opaque value is `part` itself. KT_CONFLICT for a
 * certificate. */
kt_status_t kt_shape_rotate(kt_shape_t shape, const kt_secret_t *old, const kt_secret_t *part,
                            int64_t now, kt_secret_t **ret_value);
void kt_json_setup(void); /* once: the JSON library allocates and frees through wiping functions */

/* ---- keyring.c ---- */

typedef struct kt_envkey {
    unsigned epoch;
    unsigned char key[KT_KEY_SIZE];
    unsigned char id[KT_KEYID_SIZE];
} kt_envkey_t;

#define KT_LABEL_MAX 512u /* bytes of a sealed label */
typedef struct kt_typekey {
    char type[KT_NAME_MAX + 1];
    unsigned epoch;
    unsigned char key[KT_KEY_SIZE];
    unsigned char id[KT_KEYID_SIZE];
    unsigned char index_key[KT_KEY_SIZE],
        head_key[KT_KEY_SIZE];           /* derived, as each read needs both */
    unsigned char env_id[KT_KEYID_SIZE]; /* of the environment key that it came from */
    unsigned char label[KT_LABEL_MAX];   /* the type's name, sealed by the environment key */
    size_t label_size;
} kt_typekey_t;

typedef struct kt_keyring {
    uint32_t alive; /* 1; a fork reads 0, for the pages of a context are wiped there */
    char environment[KT_ENVIRONMENT_MAX];
    size_t nenv;                      /* 0: type keys only */
    kt_envkey_t env[KT_EPOCHS_MAX];   /* newest first */
    size_t ntypes, evicted;           /* evicted: how often a full table made room */
    kt_typekey_t types[KT_TYPES_MAX]; /* grows as types are derived; the last member, for what is
                                         not in use is not memory yet */
} kt_keyring_t;

/* Reads the key source of `host`, which is the name of a stream: "nginx", "cli-USER"; guarded
 * memory. KT_CONFIG, KT_PERMISSION, KT_WRONGKEY (another environment), KT_MALFORMED. */
kt_status_t kt_keyring_read(const kt_config_t *config, const char *host,
                            kt_keyring_t **ret_keyring);
/* The same in a running server, where it must neither wait for a command nor ask for a passphrase:
 * KT_NOKEY for those. */
kt_status_t kt_keyring_read_again(const kt_config_t *config, const char *host,
                                  kt_keyring_t **ret_keyring);
kt_status_t kt_keyring_copy(const kt_keyring_t *keyring, bool wipe_on_fork,
                            kt_keyring_t **ret_keyring);
/* The same keyring with the keys of `fresh`, in place: for what points to it. Pointers to its keys
 * are void after it. */
void kt_keyring_update(kt_keyring_t *keyring, const kt_keyring_t *fresh);
void kt_keyring_free(kt_keyring_t *keyring);
kt_status_t kt_keyring_new(const char *environment,
                           kt_keyring_t **ret_keyring); /* empty, inherited by a fork */
kt_status_t kt_keyring_add_env(kt_keyring_t *keyring, unsigned epoch,
                               const unsigned char key[KT_KEY_SIZE]);
kt_status_t kt_keyring_add_type(kt_keyring_t *keyring, const char *type, unsigned epoch,
                                const unsigned char key[KT_KEY_SIZE], const unsigned char *label,
                                size_t label_size);
kt_status_t kt_keyring_parse(const char *path, const char *environment,
                             kt_keyring_t **ret_keyring); /* keyfile.c */
/* The key of `type` at its n-th epoch, newest first, derived if need be: KT_NOKEY when n is past
 * the last. */
kt_status_t kt_keyring_type(kt_keyring_t *keyring, const char *type, size_t n,
                            const kt_typekey_t **ret_key);
/* The held type key with this id; KT_NOKEY. */
kt_status_t kt_keyring_find(kt_keyring_t *keyring, const unsigned char id[KT_KEYID_SIZE],
                            const kt_typekey_t **ret_key);
/* The type that a label names, opened with the environment key; KT_NOKEY without it. */
kt_status_t kt_label_open(const kt_keyring_t *keyring, const unsigned char *label, size_t size,
                          char ret_type[KT_NAME_MAX + 1]);
/* Opens a type's label with the environment key and takes the type in. KT_NOKEY without that key.
 */
kt_status_t kt_keyring_adopt_label(kt_keyring_t *keyring, const unsigned char *label, size_t size);
/* The label of the environment itself: of the type "". */
kt_status_t kt_env_label(const char *environment, const kt_envkey_t *env, unsigned char *ret_label,
                         size_t *ret_size);
void kt_name_hash(const kt_typekey_t *key, const char *name, unsigned char ret_hash[KT_HASH_SIZE]);
void kt_secret_key(const kt_typekey_t *key, const char *name,
                   unsigned char ret_key[KT_KEY_SIZE]); /* seals values */
void kt_backup_key(const kt_envkey_t *env,
                   unsigned char ret_key[KT_KEY_SIZE]); /* encrypts backups */
void kt_index_key(const kt_typekey_t *key, unsigned char ret_key[KT_KEY_SIZE]); /* MACs the index */
void kt_head_key(const kt_typekey_t *key, unsigned char ret_key[KT_KEY_SIZE]);  /* seals heads */

/* ---- record.c: format 1 ---- */

typedef struct kt_header {
    unsigned type;
    unsigned char key_id[KT_KEYID_SIZE];
    unsigned char id[KT_ID_SIZE];
    uint64_t version;
} kt_header_t;

/* The clear header. KT_MALFORMED unless magic, format, algorithm and size are those of a record of
 * format 1. */
kt_status_t kt_header_parse(const void *record, size_t size, kt_header_t *ret_header);
/* Seals under `key` (32 bytes); the record is malloc'ed. `header->key_id` says whose key it is. */
kt_status_t kt_seal(const unsigned char *key, const kt_header_t *header, const char *environment,
                    const char *name, const void *plain, size_t plain_size,
                    unsigned char **ret_record, size_t *ret_size);
/* Opens; the plain text is in locked memory (kt_locked_free). KT_MALFORMED when the seal does not
 * hold. */
kt_status_t kt_unseal(const unsigned char *key, const char *environment, const char *name,
                      const void *record, size_t size, unsigned char **ret_plain,
                      size_t *ret_plain_size);
void kt_put_u64(unsigned char *at, uint64_t value);
uint64_t kt_get_u64(const unsigned char *at);
void kt_put_u32(unsigned char *at, uint32_t value);
uint32_t kt_get_u32(const unsigned char *at);

/* ---- head.c: what is known of a secret, and how it may change ---- */

typedef struct kt_head_version {
    uint64_t version;
    int64_t created, expires;
    bool destroyed;
    unsigned char tag[KT_TAG_SIZE]; /* of the value's record */
} kt_head_version_t;

typedef struct kt_head_pair {
    uint64_t version; /* of a note; metadata: 0 */
    char *key, *value;
} kt_head_pair_t;

typedef struct kt_head {
    char name[KT_NAME_MAX + 1];
    unsigned char id[KT_ID_SIZE];
    uint64_t counter;
    uint64_t current, previous, pending, last; /* last: the highest number ever given */
    bool deleted;
    int64_t created, updated, expires;
    kt_head_version_t *versions; /* newest first */
    size_t nversions;
    kt_head_pair_t *metas, *notes;
    size_t nmetas, nnotes;
} kt_head_t;

void kt_head_clear(kt_head_t *head);
kt_status_t kt_head_encode(const kt_head_t *head, unsigned char **ret_plain,
                           size_t *ret_size); /* malloc'ed */
kt_status_t kt_head_decode(const unsigned char *plain, size_t size, kt_head_t *ret_head);
kt_head_version_t *kt_head_find(const kt_head_t *head, uint64_t version);
kt_status_t kt_head_add(kt_head_t *head, uint64_t version, int64_t now,
                        kt_head_version_t **ret_version);
void kt_head_drop(kt_head_t *head, uint64_t version); /* and its notes */
kt_status_t kt_head_meta(kt_head_t *head, const char *key,
                         const char *value); /* NULL removes; KT_TOOLARGE, KT_USAGE */
kt_status_t kt_head_note(kt_head_t *head, uint64_t version, const char *key, const char *value);
void kt_head_drop_note(kt_head_t *head, uint64_t version, const char *key);
const char *kt_head_get_note(const kt_head_t *head, uint64_t version, const char *key);
/* The number that a selector means: KT_NOTFOUND, KT_GONE (destroyed). Does not look at deleted or
 * expires. */
kt_status_t kt_head_select(const kt_head_t *head, kt_selector_t selector, uint64_t number,
                           uint64_t *ret_version);

#define KT_NOTE_ROTATED                                                                            \
    "keyturn.rotated" /* of a version that a rotation made: when it became current, ms since the   \
                         epoch */
#define KT_NOTE_BUSY                                                                               \
    "keyturn.busy" /* of a pending version: whose process is at it, and until when (rotate.c) */

/* ---- schedule.c: when a rotation is due, by the metadata `rotation` ---- */

#define KT_META_ROTATION "rotation"
/* "critical", "weekly", "90d" ... to milliseconds; -1. */
int64_t kt_schedule_parse(const char *text);
/* When the current value came: by a rotation, else by whoever wrote it. 0: there is none. */
int64_t kt_schedule_rotated(const kt_head_t *head);
int64_t kt_schedule_due(const kt_head_t *head); /* ms since the epoch; 0: no schedule */

/* ---- debug.c ---- */

#ifdef KT_DEBUG_HOOKS
/* Stops (SIGSTOP) or with ":kill" kills this process at the point that KEYTURN_DEBUG_STOP names. */
void kt_debug_point(const char *point);
#else
#define kt_debug_point(point) ((void)0)
#endif

/* ---- load.c: sealed rows to secrets ---- */

typedef struct kt_anchors kt_anchors_t; /* index.h */
typedef struct kt_memo kt_memo_t;       /* index.h */

/* A provider's instance as the stages see it: loader.c makes it, bundle.c imitates it. */
typedef struct kt_store {
    const ktp_provider_t *api;
    ktp_instance_t *instance;
    const char *name;
    size_t keep_versions;
    bool checked;          /* this store has been seen to be of a held environment key */
    kt_anchors_t *anchors; /* NULL: a store without an index (clear names) */
    kt_memo_t *memo;       /* of reads; NULL: each proof goes all the way */
} kt_store_t;

typedef struct kt_change kt_change_t; /* a secret being changed, inside a writing transaction */

kt_status_t kt_store_read(kt_ctx_t *ctx, kt_store_t *store, const kt_reference_t *reference,
                          kt_secret_t **ret_secret);
/* KT_NOTFOUND, but KT_SUCCESS for a deleted one. `ret_head` is the caller's to clear. */
kt_status_t kt_store_head(kt_ctx_t *ctx, kt_store_t *store, const char *name, kt_head_t *ret_head);
typedef int (*kt_head_fn)(void *arg, const kt_head_t *head);
kt_status_t kt_store_scan(kt_ctx_t *ctx, kt_store_t *store, kt_head_fn fn, void *arg,
                          uint64_t *ret_hidden);
kt_status_t kt_store_create(kt_ctx_t *ctx, kt_store_t *store);

/* begin, then any of the others, then commit or abort, which end and free it. `timeout` in ms. */
kt_status_t kt_change_begin(kt_ctx_t *ctx, kt_store_t *store, const char *name, unsigned timeout,
                            kt_change_t **ret_change);
kt_head_t *kt_change_head(kt_change_t *change);
bool kt_change_exists(const kt_change_t *change); /* there is a head (which may be deleted) */
kt_status_t kt_change_value(kt_change_t *change, uint64_t version, kt_secret_t **ret_secret);
/* Seals `value` as the next version number; it is kept, and neither current nor pending yet. */
kt_status_t kt_change_add(kt_change_t *change, const kt_secret_t *value, uint64_t *ret_version);
kt_status_t kt_change_make_current(kt_change_t *change, uint64_t version);
kt_status_t kt_change_drop(kt_change_t *change, uint64_t version); /* the row and its entry */
kt_status_t kt_change_destroy(kt_change_t *change,
                              uint64_t version);    /* the row; the entry stays, marked */
kt_status_t kt_change_prepare(kt_change_t *change); /* all rows are put: only commit can fail now */
kt_status_t kt_change_reserve(kt_change_t *change); /* after prepare: one more change of this secret
                                                       will have its space. KT_NOSPACE */
uint64_t kt_change_generation(const kt_change_t *change); /* after prepare: of the type, when
                                                             committed; 0: there is no index */
bool kt_change_unsettled(const kt_change_t *change); /* after prepare: the generation before was not
                                                        confirmed by an anchor */
kt_status_t kt_change_commit(kt_change_t *change);
void kt_change_abort(kt_change_t *change); /* NULL is allowed */

/* ---- bundle.c ---- */

/* A store over *slot: a commit replaces it. */
typedef struct kt_bundle_store {
    kt_store_t store;
    kt_bundle_t **slot;
} kt_bundle_store_t;
void kt_bundle_store_init(kt_bundle_store_t *store, kt_bundle_t **slot);

/* ---- loader.c, services.c, http.c ---- */

typedef struct kt_module {
    const ktp_provider_t *api;
    const kt_cfg_provider_t *config;
    ktp_option_t *options; /* resolved, checked; secrets in locked memory */
    size_t noptions;
} kt_module_t;

typedef struct kt_modules {
    atomic_uint refs;
    size_t count;
    kt_module_t *list; /* one for each provider of the configuration, in its order */
} kt_modules_t;

kt_status_t kt_modules_load(const kt_config_t *config, kt_modules_t **ret_modules);
kt_modules_t *kt_modules_ref(kt_modules_t *modules);
void kt_modules_unref(kt_modules_t *modules);
kt_status_t kt_instance_open(kt_ctx_t *ctx, size_t index,
                             kt_store_t **ret_store); /* opened once, kept in ctx */
/* A further instance of its own, for kt_rotation_create; kt_instance_close() ends it. */
kt_status_t kt_instance_open_private(kt_ctx_t *ctx, size_t index, kt_store_t *ret_store);
void kt_instance_close(kt_store_t *store);
/* reserve() of a provider that has it; one that cannot keep space free promises none. */
ktp_status_t kt_provider_reserve(const ktp_provider_t *api, ktp_txn_t *txn, uint64_t bytes);
const ktp_services_t *kt_services(void);
void kt_services_speak(const kt_ctx_t *ctx); /* whose log hook takes this thread's debug lines */
const char *kt_provider_error(void); /* what the provider said last on this thread; "" if nothing */
void kt_provider_error_clear(void);
/* A private file (keyfile.c): its bytes in locked memory, with a NUL behind them. */
kt_status_t kt_read_private(const char *path, char **ret_text, size_t *ret_size);
/* A provider's answer as ours; one out of range is KT_MALFORMED. Sets a text if the provider gave
 * none. */
kt_status_t kt_from_provider(const kt_store_t *store, ktp_status_t status);
ktp_status_t kt_http(void *host, ktp_http_t *exchange);

/* ---- audit.c ---- */

typedef struct kt_audit kt_audit_t;
typedef struct kt_event {
    const char *action; /* "read", "write", "rotate.create" ... */
    const char *subject, *peer, *request_id, *purpose;
    const char *reference;
    uint64_t version;        /* 0: none */
    uint64_t generation;     /* of the type's index; 0: none */
    const char *provider;    /* NULL: none was asked */
    const char *status;      /* kt_status_name(), or "intent" */
    uint64_t seconds;        /* of a lock-out; 0: none */
    const char *generations; /* of a checkpoint: what stands between the braces, as JSON; NULL: it
                                is none. Durable events only */
    unsigned more;           /* how much of that was left out */
    uint32_t count;          /* of coalesced reads; 0, 1: one */
    bool stale, fallback, durable;
    bool
        may_coalesce; /* may be one of many: a read that was answered from facts, without refusal */
    bool must_record; /* has to be recorded: the change that it is about cannot be taken back */
} kt_event_t;
kt_status_t kt_audit_open(const kt_config_t *config, const char *stream, kt_audit_t **ret_audit);
void kt_audit_close(kt_audit_t *audit);
kt_status_t kt_audit_write(kt_audit_t *audit, const kt_event_t *event); /* KT_AUDIT */
kt_status_t kt_audit_drain(kt_audit_t *audit); /* all that this process has recorded becomes lines,
                                                  sealed and on the disk; KT_AUDIT */
kt_status_t kt_audit_sweep(
    kt_audit_t *audit); /* and what the stream's other processes have recorded */
kt_status_t kt_audit_thread_run(
    kt_audit_t *audit, kt_log_fn log,
    void *arg); /* drains until kt_audit_thread_stop(): a thread's whole work */
void kt_audit_thread_stop(kt_audit_t *audit);
void kt_audit_set_tick(kt_audit_t *audit, int64_t (*tick)(void *arg),
                       void *arg);             /* what that thread does, too; before it starts */
bool kt_audit_is_new(const kt_audit_t *audit); /* nothing was recorded yet, nor read */
kt_status_t kt_audit_answer(kt_ctx_t *ctx,
                            kt_status_t status); /* of the trail, by audit.required */
kt_status_t kt_audit_read(const kt_config_t *config, const char *stream, size_t count,
                          kt_line_fn fn, void *arg);

/* ---- severity.c ---- */

/* "critical", "high", "medium", or NULL: nothing to be alarmed about. */
const char *kt_severity(const kt_event_t *event);

/* ---- access.c: how often secrets were read; it never fails, at most it does not count ---- */

typedef struct kt_access kt_access_t;
typedef struct kt_access_sum {
    uint64_t count;
    int64_t last;                     /* ms since the epoch; 0: never */
    char subject[KT_SUBJECT_MAX + 1]; /* of the last read; "" if it is not known */
    uint64_t lost;   /* reads of secrets for which a table had no room; of all streams together */
    unsigned hidden; /* streams whose statistics may not be read */
} kt_access_sum_t;
kt_access_t *kt_access_open(const kt_config_t *config,
                            const char *stream); /* NULL: there are no statistics */
void kt_access_close(kt_access_t *access);
/* *slot is 0, or what an earlier note of this name left there. */
void kt_access_note(kt_access_t *access, const char *name, const char *subject, uint32_t *slot);
void kt_note_read(
    kt_ctx_t *ctx, const kt_call_t *call,
    uint32_t *slot); /* the same by the context, which opens its statistics if need be */
/* Over all streams, of one name; or of each, a name perhaps several times, in no order, with what
 * concerns all in *ret_total. */
void kt_access_of(const kt_ctx_t *ctx, const char *name, kt_access_sum_t *ret_sum);
typedef void (*kt_access_fn)(void *arg, const char *name, const kt_access_sum_t *sum);
void kt_access_all(const kt_ctx_t *ctx, kt_access_fn fn, void *arg, kt_access_sum_t *ret_total);

/* ---- usage.c ---- */
void kt_usage_fill(const char *name, const kt_access_sum_t *sum,
                   kt_usage_t *ret_usage); /* its texts are those of name and sum */

/* ---- checkpoint.c ---- */

void kt_checkpoint(kt_ctx_t *ctx);      /* a line of the trail, if the last one is too old */
int64_t kt_forward_step(kt_ctx_t *ctx); /* that, and a step of the external sinks: after how many ms
                                      it wants to be called again */
void kt_forward_finish(kt_ctx_t *ctx);  /* of the command, before its context is closed */

/* ---- cache.c ---- */

typedef struct kt_cache kt_cache_t;
typedef struct kt_cached {
    kt_status_t status; /* KT_SUCCESS, or a remembered KT_NOTFOUND or KT_GONE */
    kt_secret_t *secret;
    size_t provider;                     /* index of the one that answered */
    const kt_cfg_route_t *route;         /* NULL: a provider was named, or no route matches */
    size_t nsteps;                       /* steps of it that were asked */
    unsigned char token[KTP_TOKEN_SIZE]; /* of all those that were asked, from before they were */
    bool by_agent;                       /* the token is of the agent's connections */
    int64_t fetched;                     /* ms, monotonic */
    bool suspect;
    kt_status_t failed; /* why the last attempt to renew it failed, at failed_at; else KT_SUCCESS */
    int64_t failed_at;
    uint32_t slot;    /* of the access statistics; 0: not known yet */
    uint64_t failure; /* the how many-th failure of the context that was */
} kt_cached_t;
kt_cache_t *kt_cache_new(size_t limit); /* bytes, the locked memory of values included */
void kt_cache_free(kt_cache_t *cache);
kt_cached_t *kt_cache_find(kt_cache_t *cache,
                           const char *reference); /* until the next change of the cache */
void kt_cache_use(kt_cached_t *entry); /* it was of use now: others are to make room first */
void kt_cache_put(kt_cache_t *cache, const char *reference,
                  const kt_cached_t *entry); /* takes a reference on the secret */
/* Subjects whom the policy has allowed to read the entry's reference. A context's policy never
 * changes, so that they stay allowed; a refusal is not remembered. An entry forgets all but the
 * last four. */
bool kt_cache_granted(const kt_cached_t *entry, const char *subject);
void kt_cache_grant(kt_cache_t *cache, kt_cached_t *entry, const char *subject);
/* Drops what was used longest ago, up to the first value that was fetched at `before` (ms,
 * monotonic) or later. */
void kt_cache_expire(kt_cache_t *cache, int64_t before);
void kt_cache_clear(kt_cache_t *cache);
void kt_cache_drop_name(kt_cache_t *cache, const char *name); /* all references of one name */
uint64_t kt_cache_drops(
    const kt_cache_t *cache); /* how often that was done: what was fetched in between may be old */
size_t kt_cache_bytes(const kt_cache_t *cache);

/* ---- flight.c: one fetch for all who want the same; all under the lock of the context ---- */

typedef struct kt_flight kt_flight_t;
/* The fetch of this reference that is under way, or a new one that the caller makes (*ret_mine).
 * NULL: no memory; fetch without. */
kt_flight_t *kt_flight_join(kt_ctx_t *ctx, const char *reference, bool *ret_mine);
/* For whoever did not make it: waits without the lock, and answers what the fetch did, with its
 * error text. */
kt_status_t kt_flight_wait(kt_ctx_t *ctx, kt_flight_t *flight);
void kt_flight_land(kt_ctx_t *ctx, kt_flight_t *flight,
                    kt_status_t status); /* for whoever made it; NULL is allowed */
int kt_flight_waiting(
    const kt_ctx_t *ctx,
    const char *reference); /* how many wait for the fetch that is under way; -1: none is */

/* ---- context.c ---- */

struct kt_setup {
    kt_status_t status;
    char error[KT_ERROR_SIZE];
    kt_config_t *config;
    kt_modules_t *modules;
    kt_keyring_t *keyring;
    char host[32];
    char stream[64];
    kt_log_fn log;
    void *log_arg;
};

struct kt_ctx {
    pid_t pid;
    pthread_mutex_t lock;
    kt_config_t *config;
    kt_modules_t *modules;
    kt_keyring_t *keyring;
    kt_store_t *stores; /* by provider index; api NULL: not opened yet */
    kt_audit_t *audit;
    struct kt_sinks *sinks;  /* NULL: there are none */
    kt_refusals_t *refusals; /* NULL: not opened yet, or `refusals_off` */
    bool refusals_off;
    kt_access_t *access; /* NULL: not opened yet, or there are no statistics */
    bool access_opened;
    bool audit_warned; /* that it fails was said, and may be */
    kt_cache_t *cache;
    bool
        lacking; /* a call met a type that has moved to an epoch whose key is not held (epochs.c) */
    int64_t keys_read; /* ms, monotonic, when that made it read its keys again; 0: never */
    unsigned wait;     /* ms that a reading transaction may wait to begin: while somebody recovers a
                          store after a crash */
    char stream[64];
    kt_flight_t *flights; /* fetches of kt_refresh() that are under way */
    pthread_cond_t landed;
    atomic_ullong
        failures;    /* of fetches that block: who finds a new one has waited while it happened */
    kt_ctx_t *agent; /* a second context for calls that block (kt_refresh); core/LOCKING, 1 */
    char host[32];
    kt_log_fn log;
    void *log_arg;
    kt_progress_fn progress; /* NULL: nobody wants to know */
    void *progress_arg;
};

/* Without trail, cache and agent. */
kt_status_t kt_context_new(kt_config_t *config, kt_modules_t *modules, const kt_keyring_t *keyring,
                           kt_ctx_t **ret_ctx);
/* Does the provider of this index answer, and has it a held key's store? (admin.c) */
kt_status_t kt_provider_try(kt_ctx_t *ctx, size_t index);
/* Without the agent: no trail, no cache. */
kt_status_t kt_open_agent(kt_ctx_t *ctx, kt_ctx_t **ret_agent);
void kt_log(const kt_ctx_t *ctx, int level, const char *format, ...) KT_PRINTF(3, 4);
void kt_progress_tell(const kt_ctx_t *ctx, const char *what, uint64_t done, uint64_t total);
kt_status_t kt_enter(kt_ctx_t *ctx); /* checks the pid, takes the lock, clears the error */
void kt_leave(kt_ctx_t *ctx);
int64_t kt_now(void);       /* wall clock, ms */
int64_t kt_monotonic(void); /* ms */

/* ---- route.c ---- */

struct kt_call {
    const kt_request_t *req;
    kt_reference_t ref;
    char text[KT_REFERENCE_MAX]; /* the reference in its normal form */
    const char *subject;
    uint64_t generation; /* of the type, for the trail; 0: not said */
    bool must_record; /* of a rotation whose pending version may be known to its target: it has to
                   be recorded to its end */
};

kt_status_t kt_call_begin(kt_ctx_t *ctx, const kt_request_t *req, kt_call_t *ret_call);
const kt_cfg_route_t *kt_switch_route(const kt_config_t *config, const char *name);
/* The store that a write of this call goes to: the first writable one of its route, or the bundle.
 */
kt_status_t kt_switch_writer(kt_ctx_t *ctx, const kt_call_t *call, kt_bundle_store_t *bundle,
                             kt_store_t **ret_store, size_t *ret_index);
/* Asks the route's providers in turn. `blocking` false: KT_TRYAGAIN instead of asking one that
 * blocks. ret_entry is filled for KT_SUCCESS, KT_NOTFOUND and KT_GONE; its secret is the caller's.
 */
kt_status_t kt_switch_read(kt_ctx_t *ctx, const kt_call_t *call, bool blocking,
                           kt_cached_t *ret_entry);
/* The tokens of all providers of the route, as one. False: at least one cannot say. */
bool kt_switch_token(kt_ctx_t *ctx, const kt_cfg_route_t *route,
                     unsigned char ret_token[KTP_TOKEN_SIZE]);
bool kt_switch_blocks(kt_ctx_t *ctx,
                      const kt_call_t *call); /* does a provider of the route block? */
/* Policy, then the trail: answers `status` itself, or KT_AUDIT when it cannot be recorded. */
kt_status_t kt_decide(kt_ctx_t *ctx, const kt_call_t *call, const char *action, kt_status_t status,
                      uint64_t version, const char *provider, unsigned flags);
enum {
    KT_EV_STALE = 1,
    KT_EV_FALLBACK = 2,
    KT_EV_DURABLE = 4,
    KT_EV_INTENT = 8,
    KT_EV_MUST_RECORD = 16,
    KT_EV_MAY_COALESCE = 32
};

#endif /* KT_INTERNAL_H */
