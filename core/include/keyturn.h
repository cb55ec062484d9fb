/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn.h: secrets for the servers that need them.
 *
 *   consumer             core (libkeyturn)                                    provider
 *   nginx ──┐                                                                ┌─ local (SQLite)
 *   Redis ──┤ keyturn.h  reference → policy → cache → switch → loader ─ ABI ─┼─ redis (hiredis)
 *   PgSQL ──┤ ─────────▶    │                                                └─ ...
 *   CLI   ──┘             audit ◀── every decision, allowed or refused
 *
 * A secret travels only as a kt_secret_t: opaque, in locked memory, wiped when it is freed. Nothing
 * in this library prints a value, and no error text holds one.
 *
 * An example with all outcomes (tests/unit/test_manual.c compiles it):
 *
 *     kt_setup_t *setup;
 *     kt_ctx_t *ctx;
 *     kt_secret_t *secret;
 *     kt_request_t req = KT_REQUEST_INIT;
 *
 *     if (kt_setup("/etc/keyturn/keyturn.yaml", "cli", &setup) != KT_SUCCESS)
 *         errx(kt_status_exit(kt_setup_status(setup)), "%s", kt_setup_error(setup));
 *     // fork, setuid ... whatever a server does, and then once in each process:
 *     if (kt_open(setup, &ctx) != KT_SUCCESS)
 *         errx(kt_status_exit(kt_setup_status(setup)), "%s", kt_setup_error(setup));
 *     req.reference = "database/primary#password";
 *     req.subject = "uid:www-data";
 *     switch (kt_get(ctx, &req, &secret)) {
 *     case KT_SUCCESS:
 *         use(kt_secret_bytes(secret), kt_secret_size(secret));
 *         kt_secret_free(secret);
 *         break;
 *     case KT_NOTFOUND:  // a fact about the secret: there is none
 *     case KT_DENIED:    // a fact about the caller
 *     default:           // nobody knows: kt_error(ctx) says why, kt_status_name() names it
 *         warnx("%s", kt_error(ctx));
 *     }
 *     kt_close(ctx);
 *     kt_setup_free(setup);
 *
 * Threads: a context may be used by several threads; each call takes the context's lock, and
 * kt_error() gives the text of the calling thread's last call. Forks: kt_setup() before the fork,
 * kt_open() after it. A context does not survive a fork: in the child every call on it answers
 * KT_INTERNAL and kt_close() only gives memory back. Signals: no call is async-signal-safe; none
 * installs a handler; no call writes to stdout or stderr.
 */
#ifndef KEYTURN_H
#define KEYTURN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KT_VERSION "0.1.0"

/* Limits. A value is unswappable memory and crosses pipes, headers and replies, so it is bounded.
 */
#define KT_VALUE_MAX 65536u    /* bytes of one value */
#define KT_NAME_MAX 255u       /* bytes of a name, its slashes included */
#define KT_FIELD_MAX 255u      /* bytes of a field name in a reference */
#define KT_REFERENCE_MAX 600u  /* bytes of name#field@version */
#define KT_META_MAX 64u        /* metadata entries of a secret */
#define KT_META_KEY_MAX 128u   /* bytes of a metadata key */
#define KT_META_VALUE_MAX 512u /* bytes of a metadata value */
#define KT_SUBJECT_MAX 255u    /* bytes of a subject */
#define KT_VERSIONS_MAX 100u   /* kept versions of a secret (keep_versions) */

#if defined(__GNUC__)
#define KT_API __attribute__((visibility("default")))
#define KT_MUST_USE __attribute__((warn_unused_result))
#else
#define KT_API
#define KT_MUST_USE
#endif

/*
 * What a call may answer. The numbers are ABI: append only. The first nine are also what a provider
 * may answer (keyturn_provider.h); kt_status_exit() maps each to an exit status of sysexits.h.
 */
typedef enum kt_status {
    KT_SUCCESS = 0,
    KT_NOTFOUND = 1,    /* no such secret, version or field */
    KT_GONE = 2,        /* deleted, disabled, expired or destroyed */
    KT_FORBIDDEN = 3,   /* the provider's service refuses us */
    KT_UNAVAIL = 4,     /* unreachable, or an answer that is not the service's own */
    KT_TRYAGAIN = 5,    /* throttled, locked, or only a blocking call could tell */
    KT_MALFORMED = 6,   /* a record, value or answer that does not parse or fails its seal */
    KT_CONFLICT = 7,    /* somebody else wrote first, or the state does not allow it */
    KT_NOSPACE = 8,     /* disk full or an I/O error */
    KT_DENIED = 9,      /* our policy refuses the subject */
    KT_AUDIT = 10,      /* cannot be recorded, hence refused */
    KT_NOKEY = 11,      /* no key for this type is held */
    KT_WRONGKEY = 12,   /* a key is held, but it is not this store's */
    KT_ROLLEDBACK = 13, /* the store is older than what was seen of it */
    KT_USAGE = 14,      /* bad name, reference, option or argument */
    KT_TOOLARGE = 15,   /* a value over KT_VALUE_MAX, metadata over its limits */
    KT_CONFIG = 16,     /* the configuration is wrong */
    KT_PERMISSION = 17, /* a file's owner or mode is refused, or may not be opened */
    KT_INTERNAL = 18,   /* out of memory, or a fault of ours */
    KT_MOVED = 19       /* the sealed secret that stands here is of another name */
} kt_status_t;

/* The status's name in lower case ("notfound"), its exit status (66), one sentence. Static strings;
 * never NULL. */
KT_API const char *kt_status_name(kt_status_t status);
KT_API int kt_status_exit(kt_status_t status);
KT_API const char *kt_status_text(kt_status_t status);

/* ---- Set-up: before the fork, as the user who may read configuration and keys ---- */

typedef struct kt_setup kt_setup_t;
typedef struct kt_ctx kt_ctx_t;

/* Levels as in syslog.h: 2 critical (an alert), 3 error, 4 warning, 5 notice, 6 info, 7 debug.
 * `text` is one line and never holds a value. */
typedef void (*kt_log_fn)(void *arg, int level, const char *text);

/*
 * Reads the configuration file, its key source and the providers' credentials for `host` (nginx,
 * redis, postgresql, cli: it chooses the entry of a `key:` map and the audit stream). `config` NULL
 * means KEYTURN_CONFIG (ignored in a set-id process), else /etc/keyturn/keyturn.yaml. *ret_setup is
 * always set, but for want of memory to NULL; on failure only the kt_setup functions take it. Opens
 * no store and starts no thread. Keys lie in locked memory that a fork copies; kt_setup_free()
 * wipes them. Errors: KT_CONFIG (file, line, nearest valid key), KT_PERMISSION, KT_WRONGKEY,
 * KT_INTERNAL.
 */
KT_API KT_MUST_USE kt_status_t kt_setup(const char *config, const char *host,
                                        kt_setup_t **ret_setup);
/* Valid until the next call with this setup. Of NULL, what the lack of memory left: "out of
 * memory", KT_INTERNAL. */
KT_API const char *kt_setup_error(const kt_setup_t *setup);
KT_API kt_status_t
kt_setup_status(const kt_setup_t *setup); /* of the last kt_setup() or kt_open() */
KT_API void kt_setup_free(
    kt_setup_t *setup); /* NULL is allowed; contexts opened from it stay valid */

/* The one log hook, for the contexts opened afterwards. The library itself never logs anywhere
 * else. */
KT_API void kt_setup_log(kt_setup_t *setup, kt_log_fn log, void *arg);

/* What was read: the configuration's path, the environment, `host`'s audit stream. Valid as long as
 * the setup. NULL, but for the stream, if the configuration could not be read; a key or a provider
 * that failed leaves them. */
KT_API const char *kt_setup_config(const kt_setup_t *setup);
KT_API const char *kt_setup_environment(const kt_setup_t *setup);
KT_API const char *kt_setup_stream(const kt_setup_t *setup);
KT_API const char *kt_setup_audit_path(const kt_setup_t *setup);

/*
 * One context per process, after fork and after privileges are dropped. Opens the audit stream;
 * providers are loaded and opened at their first use. Keys are copied into the context's own
 * guarded pages, which a later fork does not inherit (MADV_WIPEONFORK). On failure *ret_ctx is NULL
 * and kt_setup_error(setup) says why.
 */
KT_API KT_MUST_USE kt_status_t kt_open(kt_setup_t *setup, kt_ctx_t **ret_ctx);
KT_API void kt_close(kt_ctx_t *ctx); /* wipes the cache and the keys; NULL is allowed */

/* Why the calling thread's last call on ctx failed: one line for an operator, without a value.
 * Valid until its next call. */
KT_API const char *kt_error(const kt_ctx_t *ctx);

/* ---- Secrets ---- */

typedef struct kt_secret kt_secret_t;

/* A copy of `size` bytes in locked memory; with data NULL zeroes, to be filled through
 * kt_secret_buffer(). NULL with errno ENOMEM or EFBIG (over KT_VALUE_MAX). The caller frees it, and
 * wipes what he copied from. */
KT_API KT_MUST_USE kt_secret_t *kt_secret_new(const void *data, size_t size);
KT_API void kt_secret_free(kt_secret_t *secret); /* wipes; NULL is allowed */
KT_API const unsigned char *kt_secret_bytes(
    const kt_secret_t *secret); /* not NUL-terminated; until kt_secret_free() */
KT_API unsigned char *kt_secret_buffer(kt_secret_t *secret); /* only before others see it */
KT_API size_t kt_secret_size(const kt_secret_t *secret);
KT_API KT_MUST_USE kt_status_t
kt_secret_resize(kt_secret_t *secret, size_t size); /* shrinks, wiping the tail; else KT_USAGE */
KT_API uint64_t kt_secret_version(const kt_secret_t *secret); /* 0 if it came from the caller */
KT_API int kt_secret_stale(const kt_secret_t *secret);        /* served from the stale window */
KT_API int kt_secret_equal(const kt_secret_t *secret, const void *data,
                           size_t size); /* constant time in the contents */

/* encodings of a value for a header; BASIC is base64(user:password) of a database-shaped secret */
typedef enum kt_encoding {
    KT_ENCODE_NONE = 0,
    KT_ENCODE_BASE64,
    KT_ENCODE_BASE64URL,
    KT_ENCODE_HEX,
    KT_ENCODE_URI,
    KT_ENCODE_BASIC
} kt_encoding_t;
/* "base64" ... "basic" to its number; -1 if there is none of this name */
KT_API int kt_encoding_parse(const char *name);
/* A new secret with the encoded value, its version kept. KT_MALFORMED if BASIC finds no user and
 * password. */
KT_API KT_MUST_USE kt_status_t kt_secret_encode(const kt_secret_t *secret, kt_encoding_t encoding,
                                                kt_secret_t **ret_secret);
/* A new secret with the string (or number) at `field` of a JSON object, its version kept.
 * KT_NOTFOUND: no such field; KT_MALFORMED: no JSON object, or neither string nor number there. */
KT_API KT_MUST_USE kt_status_t kt_secret_field(const kt_secret_t *secret, const char *field,
                                               kt_secret_t **ret_secret);

typedef enum kt_mask_style { KT_MASK_FULL = 0, KT_MASK_PARTIAL } kt_mask_style_t;
KT_API int kt_mask_parse(const char *name); /* "full", "partial"; -1 */
/* What may be shown in place of the value, as a new secret. FULL: "[MASKED]". PARTIAL: the first
 * and last four characters and stars between, all stars up to eight characters; control characters
 * and what is not UTF-8 show as '?'. It tells the length and up to eight characters. */
KT_API KT_MUST_USE kt_status_t kt_mask(const kt_secret_t *secret, kt_mask_style_t style,
                                       kt_secret_t **ret_text);
/* For texts that others made; keyturn's own hold no value. `out` gets at most `size` bytes with NUL
 * (the text is cut), and may not be `text`. A log line loses each run of 20 or more letters and
 * digits; an error what stands in quotes behind password, key or secret, and the paths of .env
 * files. A guess: no substitute for keeping values out. Thread-safe. */
KT_API void kt_sanitize_log(const char *text, char *out, size_t size);
KT_API void kt_sanitize_error(const char *text, char *out, size_t size);

/* ---- Requests ---- */

/* A secret that the consumer itself stores (the Redis module): head and values, sealed. Below,
 * "Bundles". */
typedef struct kt_bundle kt_bundle_t;

/*
 * Who asks for what. All strings belong to the caller and need to live only through the call.
 * A reference is name[#field][@version]; version is a number, current, previous or pending.
 */
typedef struct kt_request {
    size_t size; /* sizeof(kt_request_t): KT_REQUEST_INIT sets it */
    const char *reference;
    size_t reference_len;   /* 0: the reference ends with NUL */
    const char *subject;    /* what the host vouches for: nginx:SERVER, redis:USER,
                               postgresql:role:ROLE, uid:NAME */
    const char *peer;       /* address of the client, or NULL */
    const char *request_id; /* the host's own id of this request, or NULL */
    const char *purpose; /* what for, in a word ("proxy", "tls"), or NULL; a read for "check" serves
                            nobody and is not counted */
    kt_bundle_t **bundle; /* NULL: the route's providers. Else the consumer's own record: *bundle
                             NULL means absent; a write replaces *bundle by the new one and frees
                             the old, a failure leaves it as it was */
    const char *provider; /* NULL: the route decides. Else only this provider */
    unsigned timeout;     /* ms that a write waits for another writer, then KT_TRYAGAIN; 0: 5000 */
} kt_request_t;

#define KT_REQUEST_INIT                                                                            \
    {                                                                                              \
        sizeof(kt_request_t), NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, 0                       \
    }

/* KT_SUCCESS or KT_USAGE: is this a name, is this a reference? `len` 0: ends with NUL. `why` (may
 * be NULL) is set to a static text without the name. Needs no context. Grammar: one or more
 * segments of [A-Za-z0-9._-]+ joined by '/', none "." or "..". */
KT_API kt_status_t kt_name_check(const char *name, size_t len, const char **why);
KT_API kt_status_t kt_reference_check(const char *reference, size_t len, const char **why);
/* The one of `names` (NULL at the end) that `name` is probably a misspelling of; NULL: none. At
 * most three letters, and a third of the longer word, are inserted, removed, replaced or swapped;
 * words of more than 40 bytes are not compared. Needs no context. Thread-safe. */
KT_API const char *kt_nearest(const char *name, const char *const *names);

/* ---- Reading ---- */

/*
 * kt_peek() never waits for a network: the answer of the cache or of a provider that does not block
 * (local), else KT_TRYAGAIN, and kt_refresh() on another thread will fetch it. kt_get() may block.
 * Both check policy first, then audit the decision; what cannot be audited is not served
 * (KT_AUDIT). kt_get() holds the context's lock while it waits, so that the other threads' calls
 * wait too, and those for the same reference share a failure; event loops use kt_peek() and
 * kt_refresh(). The caller frees *ret_secret, which is NULL unless KT_SUCCESS.
 */
KT_API KT_MUST_USE kt_status_t kt_peek(kt_ctx_t *ctx, const kt_request_t *req,
                                       kt_secret_t **ret_secret);
KT_API KT_MUST_USE kt_status_t kt_get(kt_ctx_t *ctx, const kt_request_t *req,
                                      kt_secret_t **ret_secret);
/* Fetches into the cache without serving, for a thread that the host starts. Not audited as a read.
 * Threads that want the same reference share one fetch and its status; what was fetched within the
 * last 100 ms is not fetched again. */
KT_API KT_MUST_USE kt_status_t kt_refresh(kt_ctx_t *ctx, const kt_request_t *req);
/* The value was refused where it was used (401, failed login): forget it, so that the next read
 * fetches, at most once a second. */
KT_API void kt_reject(kt_ctx_t *ctx, const kt_request_t *req);
/* Would kt_get() be allowed, and would it answer? Gives no value away and writes no audit record:
 * for `nginx -t`. */
KT_API KT_MUST_USE kt_status_t kt_probe(kt_ctx_t *ctx, const kt_request_t *req);

typedef struct kt_entry {
    const char *name;
    uint64_t version;                  /* current; 0 if there is none */
    const char *state;                 /* "live", "deleted", "expired" */
    int64_t created, updated, expires; /* milliseconds since the epoch; 0: not set */
    int64_t due; /* when its metadata `rotation` wants the next rotation; 0: it has none */
} kt_entry_t;
/* Called for each secret in the order of the provider; a non-zero answer ends the listing. `entry`
 * lives through the call. */
typedef int (*kt_list_fn)(void *arg, const kt_entry_t *entry);
/* Secrets whose name matches req->reference (a pattern, its star crosses '/'; NULL: all) and which
 * the subject may list. *ret_hidden (may be NULL) counts those of types whose key is not held. */
KT_API KT_MUST_USE kt_status_t kt_list(kt_ctx_t *ctx, const kt_request_t *req, kt_list_fn fn,
                                       void *arg, uint64_t *ret_hidden);

typedef struct kt_info kt_info_t;
typedef struct kt_version {
    uint64_t version;
    const char *state; /* "current", "previous", "pending", "kept", "destroyed" */
    int64_t created, expires;
} kt_version_t;
/* Metadata, never values; needs the capability `list`. The caller frees *ret_info. Also of a
 * deleted secret. */
KT_API KT_MUST_USE kt_status_t kt_info(kt_ctx_t *ctx, const kt_request_t *req,
                                       kt_info_t **ret_info);
KT_API void kt_info_free(kt_info_t *info);
KT_API const kt_entry_t *kt_info_entry(const kt_info_t *info);
/*
 * How often a secret was read (by kt_get(), kt_peek() and sealed service, whatever field or
 * version), when last and by whom: of all audit streams on this machine that this process may read.
 * Counts outlive a kill -9; a power cut may take those of the last half minute.
 */
typedef struct kt_usage {
    const char *name;
    uint64_t count;
    int64_t last;        /* ms since the epoch; 0: never */
    const char *subject; /* of the last read; NULL: not known */
    uint64_t lost; /* reads of secrets for which a stream's table (16384 names) had no room; of all
                      streams together */
    unsigned hidden; /* streams whose counts may not be read: with 0 the count is the whole truth */
} kt_usage_t;
#define KT_USAGE_HIGH 1000u /* more reads than these are worth a look */
KT_API const kt_usage_t *kt_info_usage(const kt_info_t *info); /* as of kt_info(); never NULL */
typedef int (*kt_usage_fn)(void *arg, const kt_usage_t *usage);
/* Calls fn for each secret that was ever read, by name, deleted ones too; a non-zero answer ends
 * it. *ret_total (may be NULL) has the sums of those told, `lost` and `hidden`. No policy is asked:
 * whoever may read a stream's folder may read its names. KT_INTERNAL. */
KT_API KT_MUST_USE kt_status_t kt_usage(kt_ctx_t *ctx, kt_usage_fn fn, void *arg,
                                        kt_usage_t *ret_total);
KT_API const char *kt_info_provider(const kt_info_t *info);
KT_API uint64_t kt_info_counter(const kt_info_t *info);  /* the head's write counter */
KT_API uint64_t kt_info_previous(const kt_info_t *info); /* 0: none */
KT_API uint64_t kt_info_pending(const kt_info_t *info);  /* 0: none */
KT_API size_t kt_info_versions(const kt_info_t *info);   /* kept versions, newest first */
KT_API const kt_version_t *kt_info_version(const kt_info_t *info, size_t i);
KT_API size_t kt_info_metas(const kt_info_t *info);
KT_API void kt_info_meta(const kt_info_t *info, size_t i, const char **key, const char **value);
/* When the current value came, by a rotation or by a write; when the next rotation is due by the
 * metadata `rotation`, 0: no schedule. */
KT_API int64_t kt_info_rotated(const kt_info_t *info);
KT_API int64_t kt_info_due(const kt_info_t *info);
/* A note that a rotation left with a version ("postgresql.verifier"), or NULL. Version 0: of the
 * secret itself. */
KT_API const char *kt_info_note(const kt_info_t *info, uint64_t version, const char *key);

/* ---- Writing: each returns after the record of it is durable ---- */

typedef struct kt_meta {
    const char *key, *value;
} kt_meta_t;

typedef struct kt_put_options {
    size_t size;
    const char *field;     /* replace one field of the JSON object, keep the others */
    int64_t expires;       /* of the secret, ms since the epoch; 0: none */
    const kt_meta_t *meta; /* merged into what is there; a value NULL removes the key */
    size_t nmeta;
    int64_t cas; /* the current version that the caller saw (0: none yet), else KT_CONFLICT; -1: no
                    matter */
} kt_put_options_t;
#define KT_PUT_INIT                                                                                \
    {                                                                                              \
        sizeof(kt_put_options_t), NULL, 0, NULL, 0, -1                                             \
    }

/* A new version that is current at once; a deleted secret comes back with it. *ret_version may be
 * NULL, here and below. */
KT_API KT_MUST_USE kt_status_t kt_put(kt_ctx_t *ctx, const kt_request_t *req,
                                      const kt_secret_t *value, const kt_put_options_t *options,
                                      uint64_t *ret_version);
/* Makes `version` (0: the previous one) current again. Numbers are not reused: current and previous
 * change places. */
KT_API KT_MUST_USE kt_status_t kt_rollback(kt_ctx_t *ctx, const kt_request_t *req, uint64_t version,
                                           uint64_t *ret_version);
KT_API KT_MUST_USE kt_status_t
kt_delete(kt_ctx_t *ctx, const kt_request_t *req); /* reads answer KT_GONE from now on */
KT_API KT_MUST_USE kt_status_t kt_undelete(kt_ctx_t *ctx, const kt_request_t *req);
KT_API KT_MUST_USE kt_status_t kt_destroy(kt_ctx_t *ctx, const kt_request_t *req,
                                          uint64_t version); /* 0: all of them */

/* ---- Rotation: create, set, test, finish ---- */

typedef enum kt_alphabet {
    KT_ALPHABET_ALNUM = 0,
    KT_ALPHABET_URLSAFE,
    KT_ALPHABET_SYMBOLS,
    KT_ALPHABET_HEX,
    KT_ALPHABET_UUID
} kt_alphabet_t;
KT_API int kt_alphabet_parse(const char *name); /* alnum, urlsafe, symbols, hex, uuid; -1 */
/* A random secret of `length` characters (16 to 1024; uuid: 36). NULL with errno EINVAL or ENOMEM.
 * The caller frees it. */
KT_API KT_MUST_USE kt_secret_t *kt_generate(kt_alphabet_t alphabet, size_t length);

/* What somebody chose, judged: 16 bytes at least, with lower case, upper case and digits; 32
 * recommended for keys, 64 for secrets of JWTs; no pattern, no placeholder. Hexadecimal of 32
 * digits and more, UUIDs and bytes need no upper case. It finds mistakes, not all weak values. */
typedef enum kt_strength {
    KT_STRENGTH_PASSWORD = 0,
    KT_STRENGTH_KEY,
    KT_STRENGTH_JWT
} kt_strength_t;
enum {
    KT_WEAK_SHORT = 1,       /* under 16 bytes */
    KT_WEAK_BELOW = 2,       /* under what is recommended: advice rather than a fault */
    KT_WEAK_PLAIN = 4,       /* lacks lower case, upper case or a digit */
    KT_WEAK_PATTERN = 8,     /* fewer than 8 different bytes, or mostly a sequence */
    KT_WEAK_PLACEHOLDER = 16 /* "change-me", "your-api-key-here" */
};
KT_API unsigned kt_strength(const kt_secret_t *value,
                            kt_strength_t kind); /* bits of KT_WEAK_; 0: nothing to say */
KT_API const char *kt_strength_text(
    unsigned weakness); /* of the lowest bit: "shorter than 16 characters"; "" of 0; static */
/* What of a value is to be strong, and what it is: the password of a database, api_key, `value`, or
 * all of it; with `field` (else NULL) the value of that field. KT_NOTFOUND: nothing, as of
 * certificates. The caller frees *ret_part. Thread-safe. */
KT_API KT_MUST_USE kt_status_t kt_strength_part(const char *name, const char *field,
                                                const kt_secret_t *value, kt_strength_t *ret_kind,
                                                kt_secret_t **ret_part);
#define KT_MARK_SIZE 16 /* bytes of a mark */
/* Equal for equal values in this process, and says nothing anywhere else: to find a value that is
 * used twice. Thread-safe. */
KT_API void kt_secret_mark(const kt_secret_t *secret, unsigned char ret_mark[KT_MARK_SIZE]);

#define KT_HASH_MAX 128 /* bytes of a hash's text, NUL included */
/* An Argon2id string that recognises the secret and does not tell it; each call gives another. 64
 * MiB, a tenth of a second. Thread-safe. */
KT_API KT_MUST_USE kt_status_t kt_hash(const kt_secret_t *secret, char ret_hash[KT_HASH_MAX]);
/* KT_SUCCESS: `hash` is of this secret; ret_upgraded is the string to keep from now on, or "" if
 * `hash` is good. PBKDF2-HMAC-SHA256 of 100,000 rounds (the hex of 32 bytes of salt and 32 of key)
 * is always upgraded. KT_DENIED: of another; KT_MALFORMED: no hash, or one that would take more
 * than 1 GiB or 16 passes. */
KT_API KT_MUST_USE kt_status_t kt_hash_check(const kt_secret_t *secret, const char *hash,
                                             char ret_upgraded[KT_HASH_MAX]);

typedef struct kt_rotation kt_rotation_t;

/*
 * The target of a rotation: who must accept the new value before it becomes current. Each may
 * answer KT_SUCCESS (it worked), KT_CONFLICT (it rejected the value: the pending version is
 * dropped) or anything else (nobody knows: the pending version stays and kt_rotate() is to be
 * called again). Called without any lock of the context held.
 */
typedef struct kt_target_ops {
    size_t size;
    const char *name; /* for the trail and the head: "postgresql:role:app" */
    kt_status_t (*set)(void *arg, kt_rotation_t *rotation);
    kt_status_t (*test)(void *arg, kt_rotation_t *rotation); /* may be NULL */
} kt_target_ops_t;

typedef struct kt_rotate_options {
    size_t size;
    const kt_secret_t *value; /* the new value (for a database or API-key shape the new password or
                                 key); NULL: generated */
    size_t length;            /* of a generated one; 0: 32 */
    kt_alphabet_t alphabet;
    int64_t expires; /* of the secret; 0: leave it */
    int store_only;  /* no target, although the shape wants one */
    const kt_target_ops_t *target;
    void *target_arg;
} kt_rotate_options_t;
#define KT_ROTATE_INIT                                                                             \
    {                                                                                              \
        sizeof(kt_rotate_options_t), NULL, 0, KT_ALPHABET_ALNUM, 0, 0, NULL, NULL                  \
    }

/*
 * All four steps. What is new follows the shape of the current value: of a database-shaped secret
 * the password (and rotated_at), of an API key api_key (the old one becomes previous_key), else the
 * whole value. A database shape needs a target or store_only, else KT_CONFLICT: a password that no
 * server knows locks everybody out. Without a target of the caller's the host "cli" runs the
 * command that `targets:` of the configuration names; other hosts refuse such a name (KT_CONFLICT).
 * An unfinished rotation with the same target is finished first: the target is tested, and set
 * unless it knows the value. One that a living process is at, or of another target: KT_CONFLICT.
 */
KT_API KT_MUST_USE kt_status_t kt_rotate(kt_ctx_t *ctx, const kt_request_t *req,
                                         const kt_rotate_options_t *options, uint64_t *ret_version);

/* Would kt_rotate() with these options go to work? The refusal that it would give, without touching
 * anything and without a record: for a dry run. *options may be NULL. */
KT_API KT_MUST_USE kt_status_t kt_rotate_check(kt_ctx_t *ctx, const kt_request_t *req,
                                               const kt_rotate_options_t *options);

/*
 * The same, step by step, for a host whose commit lies between (PostgreSQL). kt_rotation_create()
 * stores the new value as pending and opens what kt_rotation_finish() needs, so that the latter
 * does no more than one short transaction and waits at most `deadline` milliseconds: KT_TRYAGAIN
 * leaves the pending version for kt_rotation_resume(). Target and store_only as in
 * kt_rotate_options_t, but target->set is not called. One of finish, abandon and leave ends and
 * frees the rotation.
 */
KT_API KT_MUST_USE kt_status_t kt_rotation_create(kt_ctx_t *ctx, const kt_request_t *req,
                                                  const kt_rotate_options_t *options,
                                                  kt_rotation_t **ret_rotation);
/* Takes up the pending version that a crash or a timeout left. KT_NOTFOUND: there is none. */
KT_API KT_MUST_USE kt_status_t kt_rotation_resume(kt_ctx_t *ctx, const kt_request_t *req,
                                                  kt_rotation_t **ret_rotation);
/* The new value whole (field NULL), or its field ("password"); the caller frees it. */
KT_API KT_MUST_USE kt_status_t kt_rotation_value(kt_rotation_t *rotation, const char *field,
                                                 kt_secret_t **ret_secret);
/* The same of what is being replaced, the current value. Both need no more than the right to
 * rotate, and none to read. */
KT_API KT_MUST_USE kt_status_t kt_rotation_old(kt_rotation_t *rotation, const char *field,
                                               kt_secret_t **ret_secret);
KT_API uint64_t kt_rotation_version(const kt_rotation_t *rotation);
/* A note kept with the pending version, sealed (64 of 128/1024 bytes): for whoever has to find out
 * what the target knows. */
KT_API KT_MUST_USE kt_status_t kt_rotation_note(kt_rotation_t *rotation, const char *key,
                                                const char *value);
/* Several at once, in one commit: one is as dear as all of them. */
KT_API KT_MUST_USE kt_status_t kt_rotation_notes(kt_rotation_t *rotation, const kt_meta_t *notes,
                                                 size_t count);
/* A note of the pending version (pending != 0; also "target", the name of the one that created it)
 * or of the current one, with NUL into `value`. KT_NOTFOUND: there is none; KT_TOOLARGE: it does
 * not fit. */
KT_API KT_MUST_USE kt_status_t kt_rotation_noted(kt_rotation_t *rotation, int pending,
                                                 const char *key, char *value, size_t size);
KT_API KT_MUST_USE kt_status_t kt_rotation_finish(kt_rotation_t *rotation, unsigned deadline,
                                                  uint64_t *ret_version);
KT_API KT_MUST_USE kt_status_t
kt_rotation_abandon(kt_rotation_t *rotation);           /* the target does not have it: drop it */
KT_API void kt_rotation_leave(kt_rotation_t *rotation); /* nobody knows: keep it pending */

/* ---- Bundles: sealed secrets that the consumer stores, with or without a key ---- */

/* Takes a copy of `size` bytes. KT_MALFORMED unless they are one sealed head with the values that
 * belong to it, by their clear headers: no key is needed and nothing is opened. The caller frees
 * *ret_bundle. */
KT_API KT_MUST_USE kt_status_t kt_bundle_parse(const void *data, size_t size,
                                               kt_bundle_t **ret_bundle);
KT_API void kt_bundle_free(kt_bundle_t *bundle);
KT_API const void *kt_bundle_bytes(const kt_bundle_t *bundle,
                                   size_t *ret_size); /* until kt_bundle_free() */
KT_API uint64_t kt_bundle_counter(const kt_bundle_t *bundle);
KT_API size_t kt_bundle_memory(const kt_bundle_t *bundle); /* bytes of memory, for MEMORY USAGE */
KT_API KT_MUST_USE kt_status_t kt_bundle_copy(const kt_bundle_t *bundle, kt_bundle_t **ret_bundle);
/* May `next`, sent by a client, replace `old` (NULL: absent)? KT_SUCCESS, or KT_CONFLICT: another
 * id, or not counter + 1. */
KT_API kt_status_t kt_bundle_follows(const kt_bundle_t *old, const kt_bundle_t *next);
/* Policy, statistics and trail for a bundle that is served sealed (SECRET.GETSEALED, SETSEALED):
 * `capability` is "read" ... With `action` NULL policy alone, and nothing is recorded. A listing is
 * one record, "list" of a pattern with a star and no policy, and then "list" with action NULL for
 * each name. */
KT_API KT_MUST_USE kt_status_t kt_authorize(kt_ctx_t *ctx, const kt_request_t *req,
                                            const char *capability, const char *action);

/* ---- Administration: for the command ---- */

/* Writes a new key file (O_EXCL, 0600). KT_CONFLICT if `path` exists. `error` gets one line. */
KT_API KT_MUST_USE kt_status_t kt_keygen(const char *path, const char *environment, char *error,
                                         size_t error_size);
/* The same under a passphrase of 12 to 1024 bytes (a newline at its end is none of it; KT_USAGE):
 * Argon2id, which takes 256 MiB and about a second here and at each kt_setup(). NULL: as
 * kt_keygen(). */
KT_API KT_MUST_USE kt_status_t kt_keygen_passphrase(const char *path, const char *environment,
                                                    const kt_secret_t *passphrase, char *error,
                                                    size_t error_size);
/* The setup's environment key with one more epoch, newest first, in a new file; with `passphrase`
 * not NULL under it. KT_NOKEY: type keys only; KT_TOOLARGE: 8 epochs already. Stores go on under
 * the epoch that they have, until they are rekeyed. */
KT_API KT_MUST_USE kt_status_t kt_keygen_epoch(kt_setup_t *setup, const kt_secret_t *passphrase,
                                               const char *path);
/* A key file with the keys of some types only ("api-keys,tls"), in every epoch that `setup` holds.
 * Mode 0600. */
KT_API KT_MUST_USE kt_status_t kt_keygen_types(kt_setup_t *setup, const char *types,
                                               const char *path);
#define KT_AUDIT_KEY_LINE 80 /* bytes of an audit key's line, NUL included */
/* A new audit key, by which `audit verify` proves who wrote a trail. It belongs elsewhere than on
 * the machine that writes the trail. The caller wipes the line. KT_INTERNAL. */
KT_API KT_MUST_USE kt_status_t kt_audit_keygen(char ret_line[KT_AUDIT_KEY_LINE]);
/* Makes `folder`, if need be, the folder of a stream that begins under the audit key: `key` is its
 * line, or the path of a private file with it. The folder's owner owns what is made. KT_CONFLICT if
 * the stream has begun. `error` gets one line. */
KT_API KT_MUST_USE kt_status_t kt_audit_start(const char *folder, const char *environment,
                                              const char *stream, const char *key, char *error,
                                              size_t error_size);
/* Creates the store of the provider that the route of "*" names first. KT_CONFLICT if it is there.
 */
KT_API KT_MUST_USE kt_status_t kt_create(kt_ctx_t *ctx);

typedef void (*kt_check_fn)(void *arg, kt_status_t status, const char *what, const char *detail);
/* Configuration, keys, audit stream and each provider's reachability; the worst status. */
KT_API KT_MUST_USE kt_status_t kt_check(kt_ctx_t *ctx, kt_check_fn fn, void *arg);

/*
 * The same for the user of a server, or of the command: what may he open of configuration, keys,
 * store and streams, and is there anything that he may and should not? For root, who asks in a
 * child process with the ids and groups of that user; nothing is changed, and providers are asked.
 * fn is called for each thing that is wrong, with the text and in `...` at its end the command that
 * mends it; else once. Before kt_open(), in a process of one thread. Strings belong to the caller.
 * KT_PERMISSION for others than root, KT_CONFIG without such a user; else the worst status.
 */
typedef struct kt_check_user {
    size_t size;
    const char
        *stream; /* "nginx", "redis", "postgresql" or "cli-USER": names his key and his stream */
    const char *user; /* whom the process runs as */
    const char
        *types; /* "api-keys,tls": of them he must have the keys that policy allows; NULL: of all */
    const char *readers, *writers; /* the groups of those who read the store, and who write it */
    int writes;  /* he writes the store; a user of the command also where policy allows it */
    int as_root; /* root reads configuration and credentials for him, as nginx' master does */
    const char *const *others; /* streams that are not his; he may not write them */
    size_t nothers;
} kt_check_user_t;
#define KT_CHECK_USER_INIT                                                                         \
    {                                                                                              \
        sizeof(kt_check_user_t), NULL, NULL, NULL, NULL, NULL, 0, 0, NULL, 0                       \
    }
KT_API KT_MUST_USE kt_status_t kt_check_user(kt_setup_t *setup, const kt_check_user_t *user,
                                             kt_check_fn fn, void *arg);
/* The i-th entry of a `key:` that is a map: "nginx", "cli-USER"; NULL behind the last one, and
 * where `key:` is of all. */
KT_API const char *kt_setup_key(const kt_setup_t *setup, size_t i);

/* The whole store: seals, indexes, generations against anchors; fn is called for each thing that is
 * wrong (its name, or a row), and then once for each store with what was looked at. KT_ROLLEDBACK
 * or KT_MALFORMED if anything is. */
KT_API KT_MUST_USE kt_status_t kt_verify(kt_ctx_t *ctx, kt_check_fn fn, void *arg);

/* How far kt_verify(), kt_backup() and kt_restore() are: `done` of about `total` (0: not known)
 * secrets or rows, `what` a word
 * ("verify"). Called every thousand or so, and at the end, by the calling thread inside that call:
 * it may not use the context. */
typedef void (*kt_progress_fn)(void *arg, const char *what, uint64_t done, uint64_t total);
/* From now on; NULL: nobody wants to know. Not while another thread is in one of those calls. */
KT_API void kt_progress(kt_ctx_t *ctx, kt_progress_fn fn, void *arg);

/*
 * A consistent copy of the store in a new file of mode 0600, encrypted under a key derived from the
 * environment key (format.md); and a file made the store's contents again, which is recorded. Both
 * need `admin` on "*" and the environment key; req->reference is not used. kt_restore() makes a
 * store that is missing, keeps the id of one that is there, and refuses (KT_CONFLICT) to take away
 * what is newer than the file or not of it, unless going_back. *ret_rows counts rows. KT_MALFORMED:
 * the file is damaged or cut short, and nothing was changed.
 */
KT_API KT_MUST_USE kt_status_t kt_backup(kt_ctx_t *ctx, const kt_request_t *req, const char *path,
                                         uint64_t *ret_rows);
KT_API KT_MUST_USE kt_status_t kt_restore(kt_ctx_t *ctx, const kt_request_t *req, const char *path,
                                          int going_back, uint64_t *ret_rows);

/*
 * The same with more to choose. A backup for a recipient can be restored only with his private key,
 * and with the environment key too: the machine that made it cannot read it later.
 * kt_keygen_recipient() writes a pair of keys into new files, the private one (0600) into `path`,
 * the public one (0644) into path.pub; `error` gets one line. KT_CONFLICT: one of them exists.
 * kt_restore_with() of a file that is for nobody else takes no notice of the key. KT_NOKEY,
 * KT_WRONGKEY: it is for a recipient, and not with this key; KT_CONFIG, KT_PERMISSION: what is
 * named holds no such key, or others may read (the private) or write (the public) it.
 */
typedef struct kt_backup_options {
    size_t size;
    const char *recipient; /* path of the file with his public key; NULL: for nobody else than the
                              environment key's holder */
} kt_backup_options_t;
#define KT_BACKUP_INIT                                                                             \
    {                                                                                              \
        sizeof(kt_backup_options_t), NULL                                                          \
    }
typedef struct kt_restore_options {
    size_t size;
    int going_back;
    const char *recipient_key;         /* path of a private file with the recipient's key ... */
    const kt_secret_t *recipient_text; /* ... or what is in it */
} kt_restore_options_t;
#define KT_RESTORE_INIT                                                                            \
    {                                                                                              \
        sizeof(kt_restore_options_t), 0, NULL, NULL                                                \
    }
KT_API KT_MUST_USE kt_status_t kt_keygen_recipient(const char *path, char *error,
                                                   size_t error_size);
KT_API KT_MUST_USE kt_status_t kt_backup_with(kt_ctx_t *ctx, const kt_request_t *req,
                                              const char *path, const kt_backup_options_t *options,
                                              uint64_t *ret_rows);
KT_API KT_MUST_USE kt_status_t kt_restore_with(kt_ctx_t *ctx, const kt_request_t *req,
                                               const char *path,
                                               const kt_restore_options_t *options,
                                               uint64_t *ret_rows);

/* How far a type is on its way to the newest epoch. */
typedef struct kt_rekey_type {
    const char *type;
    unsigned epoch;       /* that new secrets of it go under */
    unsigned from;        /* the older one that still has some; 0: none has */
    uint64_t moved, left; /* secrets under `epoch`, and under the older one */
} kt_rekey_type_t;
typedef void (*kt_rekey_fn)(void *arg, const kt_rekey_type_t *type);

typedef struct kt_rekey_options {
    size_t size;
    int handed_out; /* key files that cannot be seen from here list the newest epoch: the caller's
                       word */
    kt_check_fn refused;  /* called for each key file that stands against it; may be NULL */
    kt_rekey_fn progress; /* called after each transaction; may be NULL */
    void *arg;            /* of both */
} kt_rekey_options_t;
#define KT_REKEY_INIT                                                                              \
    {                                                                                              \
        sizeof(kt_rekey_options_t), 0, NULL, NULL, NULL                                            \
    }

#define KT_REKEY_EPOCHS 8
typedef struct kt_rekey_epoch {
    unsigned epoch;
    uint64_t rows; /* of secrets and of the index that are under it */
} kt_rekey_epoch_t;
typedef struct kt_rekey_result {
    size_t size;      /* sizeof(kt_rekey_result_t) */
    unsigned epoch;   /* the newest that the key lists */
    uint64_t moved;   /* secrets that this call moved */
    uint64_t unknown; /* rows under keys that are not held */
    size_t nepochs;   /* older epochs that the key lists, newest first; one without rows is left,
                         which is proved by the count */
    kt_rekey_epoch_t epochs[KT_REKEY_EPOCHS];
} kt_rekey_result_t;
#define KT_REKEY_RESULT_INIT                                                                       \
    {                                                                                              \
        .size = sizeof(kt_rekey_result_t)                                                          \
    }

/*
 * Moves the store to the newest epoch that the key lists, type by type, in transactions of some 20
 * ms with pauses for other writers; every value, head and label is sealed anew, and versions, times
 * and metadata stay. It needs `admin` on "*" and the environment key; req->reference is not used.
 * Killed at any point it goes on where it was. KT_CONFLICT: a consumer's key file lacks the epoch,
 * or cannot be seen and handed_out is 0; nothing was moved. KT_MALFORMED, KT_ROLLEDBACK: a secret
 * that does not hold keeps its type from being finished, and other types are moved. Afterwards the
 * names in providers with clear names (redis), one by one; there a `type` of kt_rekey_type_t is the
 * provider's name. KT_UNAVAIL: one of those cannot be reached; the store itself was moved.
 */
KT_API KT_MUST_USE kt_status_t kt_rekey(kt_ctx_t *ctx, const kt_request_t *req,
                                        const kt_rekey_options_t *options,
                                        kt_rekey_result_t *ret_result);
/* What kt_rekey() has done and has to do: fn is called for each type, and the rows of the store are
 * counted. Changes nothing. */
KT_API KT_MUST_USE kt_status_t kt_rekey_status(kt_ctx_t *ctx, const kt_request_t *req,
                                               kt_rekey_fn fn, void *arg,
                                               kt_rekey_result_t *ret_result);

/*
 * How decisions become lines of the trail. What changes a secret is on the disk when its call
 * returns. Any other decision is put into memory that outlives the process (a mapped file), in less
 * than a microsecond, and becomes a line, sealed and on the disk,
 *
 *   without a thread   at the first decision a second or more after it; at kt_audit_flush(); at
 * kt_close() with one           within about a second: kt_audit_run() is the whole work of a thread
 * that the host starts after kt_open()
 *
 * What cannot become a line makes the decisions that follow be refused (KT_AUDIT), until it can; so
 * a host without a thread, which hands over a value only when it is on the record for certain,
 * calls kt_audit_flush() before it does.
 *
 * kt_audit_flush() makes lines of all that this context has recorded; with `all_processes` not 0
 * also of what the stream's other processes have recorded so far. KT_AUDIT if that fails; not with
 * `audit.required: false`. kt_audit_run() returns after kt_audit_stop(), which any thread may call,
 * and a last flush. The host joins its thread before kt_close(). KT_CONFLICT: there is such a
 * thread already. It logs when the trail begins to fail, and when it works again. A process that
 * forks goes on with its own: a child has none of the parent's records, and no context.
 */
KT_API KT_MUST_USE kt_status_t kt_audit_flush(kt_ctx_t *ctx, int all_processes);
KT_API KT_MUST_USE kt_status_t kt_audit_run(kt_ctx_t *ctx);
KT_API void kt_audit_stop(kt_ctx_t *ctx);
/* What kt_audit_run() does besides, for a host without such a thread: writes a checkpoint if the
 * last one is too old, and goes on sending to external sinks, without waiting for one. One thread
 * at a time; not beside kt_audit_run(). Answers after how many ms it wants to be called again. The
 * command's kt_close() does it, too, and waits for its sinks a second at most. */
KT_API int kt_audit_forward(kt_ctx_t *ctx);

typedef int (*kt_line_fn)(void *arg, const char *line);
/* The last `count` lines of one stream, or of all merged by time (stream NULL). Lines end without
 * newline. */
KT_API KT_MUST_USE kt_status_t kt_audit_tail(kt_ctx_t *ctx, const char *stream, size_t count,
                                             kt_line_fn fn, void *arg);
/* Every decision of all streams below `folder`, or of the one that it is, stream by stream and from
 * the oldest log on; `since` (ms since the epoch; 0: all) leaves out what is older. fn also gets
 * lines that are none; a non-zero answer ends it. `note` (may be NULL) is told what was passed
 * over: compressed logs, and what may not be read. KT_NOTFOUND: there is nothing that may be read.
 */
KT_API KT_MUST_USE kt_status_t kt_audit_scan(const char *folder, int64_t since, kt_line_fn fn,
                                             kt_check_fn note, void *arg);
/* The proof of all streams below `folder`, or of the one that it is: with the audit key (as for
 * kt_audit_start()) that each line was written by this stream and is where it was, without (NULL)
 * only that chain and numbers hold. fn is called for what is wrong, with the file and line, and at
 * the end of each stream. KT_MALFORMED if anything is wrong or, with the key, not proved. Writers
 * are not kept waiting. */
KT_API KT_MUST_USE kt_status_t kt_audit_verify(const char *folder, const char *key, kt_check_fn fn,
                                               void *arg);
/* And each seal among the lines of the file `received`, as an external sink got them ("-": standard
 * input), has to stand in the trail: so an end that was cut off together with the state is missed.
 * KT_NOTFOUND: there is no seal in the file. */
KT_API KT_MUST_USE kt_status_t kt_audit_verify_received(const char *folder, const char *key,
                                                        const char *received, kt_check_fn fn,
                                                        void *arg);

#ifdef __cplusplus
}
#endif

#endif /* KEYTURN_H */
