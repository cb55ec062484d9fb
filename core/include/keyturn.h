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
 *     case KT_NOTFOUND:  // about the secret: it does not exist
 *     case KT_DENIED:    // about the caller: policy refuses it
 *     default:           // not known: kt_error(ctx) says why, kt_status_name() names it
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
#define KT_ABANDONED_MAX 32u   /* abandoned versions of a secret, which count apart */

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
    KT_FORBIDDEN = 3,   /* the provider's service refuses the request */
    KT_UNAVAIL = 4,     /* unreachable, or an answer that is not the service's own */
    KT_TRYAGAIN = 5,    /* throttled, locked, or only a call that blocks could find out */
    KT_MALFORMED = 6,   /* a record, value or answer that does not parse or fails its seal */
    KT_CONFLICT = 7,    /* another writer was first, or the state does not allow it */
    KT_NOSPACE = 8,     /* disk full or an I/O error */
    KT_DENIED = 9,      /* keyturn's policy refuses the subject */
    KT_AUDIT = 10,      /* refused because it cannot be recorded */
    KT_NOKEY = 11,      /* no key of this type is loaded */
    KT_WRONGKEY = 12,   /* a key is loaded, but it is not the key of this store */
    KT_ROLLEDBACK = 13, /* the store is older than one that was seen before */
    KT_USAGE = 14,      /* bad name, reference, option or argument */
    KT_TOOLARGE = 15,   /* a value over KT_VALUE_MAX, metadata over its limits */
    KT_CONFIG = 16,     /* the configuration is wrong */
    KT_PERMISSION = 17, /* a file's owner or mode is refused, or it may not be opened */
    KT_INTERNAL = 18,   /* out of memory, or a bug in keyturn */
    KT_MOVED = 19       /* the sealed secret in this place belongs to another name */
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
 * always set; it is NULL if there is no memory. After a failure only the kt_setup functions accept
 * it. Opens no store and starts no thread. Keys lie in locked memory that a fork copies;
 * kt_setup_free() wipes them. Errors: KT_CONFIG (file, line, nearest valid key), KT_PERMISSION,
 * KT_WRONGKEY, KT_INTERNAL.
 */
KT_API KT_MUST_USE kt_status_t kt_setup(const char *config, const char *host,
                                        kt_setup_t **ret_setup);
/* Valid until the next call with this setup. With NULL they answer "out of memory" and KT_INTERNAL.
 */
KT_API const char *kt_setup_error(const kt_setup_t *setup);
KT_API kt_status_t
kt_setup_status(const kt_setup_t *setup); /* of the last kt_setup() or kt_open() */
KT_API void kt_setup_free(
    kt_setup_t *setup); /* NULL is allowed; contexts opened from it stay valid */

/* Sets the log hook of contexts that are opened afterwards. The library logs nowhere else. */
KT_API void kt_setup_log(kt_setup_t *setup, kt_log_fn log, void *arg);

/* Has the subject ("postgresql:role:app") all that is granted to the group of this name, which may
 * have stars? 1, 0, or -1: not known. It is called under the lock of a context, so it must not call
 * the library. */
typedef int (*kt_member_fn)(void *arg, const char *subject, const char *group);
/* Sets how contexts that are opened from this setup find out whether a rule for
 * "postgresql:member:GROUP" applies to a subject. A rule that denies applies also if that is not
 * known. Without it such a rule applies to no subject. */
KT_API void kt_setup_members(kt_setup_t *setup, kt_member_fn is_member, void *arg);

/* What was read: the configuration's path, the environment, `host`'s audit stream. Valid as long as
 * the setup. All but the stream are NULL if the configuration could not be read; they stay valid if
 * only a key or a provider failed. */
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

/*
 * Bytes of secret memory of this process that are locked, and that could not be locked: a fork's
 * child locks again what it has inherited. With `secret_memory: require` kt_setup(), kt_open() and
 * every call on a context answer KT_CONFIG while there is anything that is not locked; otherwise
 * the log hook gets one warning (4) for each context. Each pointer may be NULL. Needs no context.
 * Thread-safe.
 */
KT_API void kt_memory(size_t *ret_locked, size_t *ret_unlocked);

/*
 * What a context knows of its own work, for a host that shows figures: no provider is asked, no
 * capability is needed, nothing is recorded. Waits for the context's lock, as kt_peek() does.
 * Thread-safe; the callbacks run with the lock held, and must not call the library with this
 * context. What they are given is valid during the call. KT_INTERNAL: the context belongs to the
 * process before a fork. KT_USAGE: `size` is not right.
 */
typedef struct kt_provider_figures {
    const char *name;        /* as configured */
    kt_status_t status;      /* of its last answer */
    int64_t since;           /* of the first in a row with this status, ms since the epoch; 0: it
                                was not asked yet */
    int64_t asked;           /* of the last one */
    const uint64_t *answers; /* how many of each status: KT_MOVED + 1 numbers */
} kt_provider_figures_t;
typedef struct kt_figures {
    size_t size;
    uint64_t audit_pending; /* records of this process that are not lines of the audit log yet */
    int64_t audit_oldest;   /* when the oldest was made, ms since the epoch; 0: there is none */
    /* for each provider, and for each type of a store whose index was read, with its generation
     * then; may be NULL */
    void (*provider)(void *arg, const kt_provider_figures_t *figures);
    void (*generation)(void *arg, const char *type, uint64_t generation);
    void *arg;
} kt_figures_t;
#define KT_FIGURES_INIT                                                                            \
    {                                                                                              \
        sizeof(kt_figures_t), 0, 0, NULL, NULL, NULL                                               \
    }
KT_API KT_MUST_USE kt_status_t kt_figures(kt_ctx_t *ctx, kt_figures_t *figures);

/* Why the calling thread's last call on ctx failed: one line for an operator, without a value.
 * Valid until its next call. */
KT_API const char *kt_error(const kt_ctx_t *ctx);

/* ---- Secrets ---- */

typedef struct kt_secret kt_secret_t;

/* A copy of `size` bytes in locked memory; with `data` NULL all zeros, to be filled through
 * kt_secret_buffer(). Answers NULL with errno ENOMEM or EFBIG (over KT_VALUE_MAX). The caller frees
 * the result and wipes `data`. */
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
/* When the current version of its name was made, and when the value expires: ms since the epoch;
 * 0: not known, and never. */
KT_API int64_t kt_secret_since(const kt_secret_t *secret);
KT_API int64_t kt_secret_expires(const kt_secret_t *secret);
KT_API int kt_secret_equal(const kt_secret_t *secret, const void *data,
                           size_t size); /* the time depends on `size` alone */

/* encodings of a value for a header; BASIC is base64(user:password) of a database-shaped secret */
typedef enum kt_encoding {
    KT_ENCODE_NONE = 0,
    KT_ENCODE_BASE64,
    KT_ENCODE_BASE64URL,
    KT_ENCODE_HEX,
    KT_ENCODE_URI,
    KT_ENCODE_BASIC
} kt_encoding_t;
/* The number of "base64" ... "basic"; -1 if there is no encoding of this name */
KT_API int kt_encoding_parse(const char *name);
/* A new secret with the encoded value, its version kept. KT_MALFORMED if BASIC finds no user and
 * password. */
KT_API KT_MUST_USE kt_status_t kt_secret_encode(const kt_secret_t *secret, kt_encoding_t encoding,
                                                kt_secret_t **ret_secret);
/* A new secret with the field `field` of a JSON object, its version kept: what a string says, and
 * the JSON text of anything else exactly as it is written (1.50, true, [1, 2]). Other fields may be
 * as they like. KT_NOTFOUND: no such field; KT_MALFORMED: not a JSON object, or the field is null,
 * comes twice, or is a string with a zero byte; KT_USAGE: it is a part of a connection URI, which
 * is not encoded right there. */
KT_API KT_MUST_USE kt_status_t kt_secret_field(const kt_secret_t *secret, const char *field,
                                               kt_secret_t **ret_secret);

typedef enum kt_hmac { KT_HMAC_SHA256 = 0, KT_HMAC_SHA1, KT_HMAC_SHA512 } kt_hmac_t;
/* The number of "hmac-sha256", "hmac-sha1", "hmac-sha512"; -1 if there is no algorithm of this name
 */
KT_API int kt_hmac_parse(const char *name);
#define KT_MAC_MAX 64u /* bytes of a signature */
typedef struct kt_sign {
    size_t size; /* sizeof(kt_sign_t): KT_SIGN_INIT sets it */
    kt_hmac_t algorithm;
    const char *derive; /* NULL: the value is the key. Else "aws4:REGION/SERVICE", with
                           KT_HMAC_SHA256: it is the secret access key of a request to AWS. The
                           message is then the canonical request of Signature Version 4, and its
                           line x-amz-date: says the day whose key signs */
} kt_sign_t;
#define KT_SIGN_INIT                                                                               \
    {                                                                                              \
        sizeof(kt_sign_t), KT_HMAC_SHA256, NULL                                                    \
    }
/* KT_SUCCESS or KT_USAGE; `why` (may be NULL) is set to a static text. Thread-safe. */
KT_API kt_status_t kt_sign_check(const kt_sign_t *how, const char **why);
/* The signature of the message, *ret_size bytes. The value and what is derived from it stay in
 * locked memory. KT_USAGE: kt_sign_check() refuses it, or the message is not a canonical request
 * with x-amz-date; KT_MALFORMED: the value is empty; KT_INTERNAL. Thread-safe. */
KT_API KT_MUST_USE kt_status_t kt_secret_sign(const kt_secret_t *secret, const kt_sign_t *how,
                                              const void *message, size_t size,
                                              unsigned char ret_mac[KT_MAC_MAX], size_t *ret_size);

/* Asks for one line on the terminal `fd`, without echo: `text` is the prompt, `max` the bytes of a
 * line, `timeout` ms (0: no limit). The line is without its newline. A signal that ends or stops
 * the process finds the terminal as it was; keys send none: *ret_signal is SIGINT, SIGQUIT or
 * SIGTSTP if such a key ended the line, and the caller may raise it. KT_USAGE: nothing was typed,
 * or the process is not in the foreground; KT_TOOLARGE. Needs no context. Blocks the calling
 * thread's signals meanwhile. */
KT_API KT_MUST_USE kt_status_t kt_prompt(int fd, const char *text, size_t max, unsigned timeout,
                                         int *ret_signal, kt_secret_t **ret_line);

typedef enum kt_mask_style { KT_MASK_FULL = 0, KT_MASK_PARTIAL } kt_mask_style_t;
KT_API int kt_mask_parse(const char *name); /* "full", "partial"; -1 */
/* What may be shown in place of the value, as a new secret. FULL: "[MASKED]". PARTIAL: the first
 * and last four characters and stars between, all stars up to eight characters; control characters
 * and what is not UTF-8 show as '?'. It tells the length and up to eight characters. */
KT_API KT_MUST_USE kt_status_t kt_mask(const kt_secret_t *secret, kt_mask_style_t style,
                                       kt_secret_t **ret_text);
/* For texts from other programs; keyturn's own texts hold no value. `out` gets at most `size` bytes
 * with NUL (the text is cut), and must not be `text`. In a log line each run of 20 or more letters
 * and digits is masked; in an error, what is quoted after password, key or secret, and the paths of
 * .env files. This is a guess; it does not replace keeping values out. Thread-safe. */
KT_API void kt_sanitize_log(const char *text, char *out, size_t size);
KT_API void kt_sanitize_error(const char *text, char *out, size_t size);

/* ---- Requests ---- */

/* A secret that the consumer itself stores (the Redis module): head and values, sealed. Below,
 * "Bundles". */
typedef struct kt_bundle kt_bundle_t;

/*
 * Who asks for what. All strings belong to the caller, and must stay valid during the call only. A
 * reference is name[#field][@version]; version is a number, current, previous or pending.
 */
typedef struct kt_request {
    size_t size; /* sizeof(kt_request_t): KT_REQUEST_INIT sets it */
    const char *reference;
    size_t reference_len;   /* 0: the reference ends with NUL */
    const char *subject;    /* what the host vouches for: nginx:SERVER, redis:USER,
                               postgresql:role:ROLE, uid:NAME */
    const char *peer;       /* address of the client, or NULL */
    const char *request_id; /* the host's own id of this request, or NULL */
    const char *purpose; /* what for, in a word ("proxy", "tls"), or NULL; a read for "check" is not
                            counted as a use */
    kt_bundle_t **bundle; /* NULL: the route's providers. Else the consumer's own record: *bundle
                             NULL means absent; a write replaces *bundle by the new one and frees
                             the old, a failure leaves it as it was */
    const char *provider; /* NULL: the route decides. Else only this provider */
    unsigned timeout;     /* ms that a write waits for another writer, then KT_TRYAGAIN; 0: 5000 */
    int configured; /* not 0: the host's own configuration names the secret, and no client chose it.
                       A refusal is a mistake there, and no attempt: it is recorded as such and does
                       not count towards a lock-out */
    const char *actor; /* the person who asks as this subject, if the host knows it, or NULL: up to
                          64 bytes for the audit log. It decides nothing */
} kt_request_t;

#define KT_REQUEST_INIT                                                                            \
    {                                                                                              \
        sizeof(kt_request_t), NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, NULL              \
    }

/* The purpose of a shell that completes names: kt_list() and kt_info() for it are recorded once an
 * hour, because every press of TAB is one. Refusals always are. */
#define KT_PURPOSE_COMPLETION "completion"

/* Is this a name, is this a reference? KT_SUCCESS or KT_USAGE. `len` 0: ends with NUL. `why` (may
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
 * kt_peek() never waits for a network: it answers from the cache or from a provider that does not
 * block (local); otherwise it answers KT_TRYAGAIN, and kt_refresh() on another thread can fetch the
 * value. kt_get() may block. Both check the policy first, then record the decision; what cannot be
 * recorded is not served (KT_AUDIT). kt_get() holds the context's lock while it waits, so calls of
 * other threads wait too, and those for the same reference share a failure. Event loops use
 * kt_peek() and kt_refresh(). KT_USAGE: not a reference, or it asks for a field of a value that is
 * not a JSON object. The caller frees *ret_secret, which is NULL unless KT_SUCCESS.
 */
KT_API KT_MUST_USE kt_status_t kt_peek(kt_ctx_t *ctx, const kt_request_t *req,
                                       kt_secret_t **ret_secret);
KT_API KT_MUST_USE kt_status_t kt_get(kt_ctx_t *ctx, const kt_request_t *req,
                                      kt_secret_t **ret_secret);
/* Fetches into the cache without serving, for a thread that the host starts. Not audited as a read.
 * Threads that want the same reference share one fetch and its status; what was fetched within the
 * last 100 ms is not fetched again. */
KT_API KT_MUST_USE kt_status_t kt_refresh(kt_ctx_t *ctx, const kt_request_t *req);
/*
 * Does somebody who asks to be let in know the value? It is compared with the current version and,
 * for `grace` ms after that was made, with the previous one. Nothing is handed out.
 *
 * KT_SUCCESS: ret_matches says it; 0 also if there is no such secret, and that takes as long: the
 * time depends on given_size, and on what is cached. Anything else: not known. KT_TRYAGAIN as of
 * kt_peek(): kt_refresh() can fetch the reference or, if ret_previous is set, reference@previous. A
 * provider that does not say since when its current version is current has no previous one here.
 *
 * Each answer is one record, `match` with the purpose: `success`, which may be coalesced; `denied`
 * for another value; `notfound`, `gone`, or `usage` for what is not a name. None of them counts
 * towards a lock-out. KT_USAGE: the reference has a version, or is not valid, and `configured` is
 * set.
 */
typedef struct kt_match {
    size_t size;
    const void *given; /* nothing matches if it is empty */
    size_t given_size;
    int64_t grace; /* ms; 0: the current version alone */
    int ret_matches;
    int ret_previous;
} kt_match_t;
#define KT_MATCH_INIT                                                                              \
    {                                                                                              \
        sizeof(kt_match_t), NULL, 0, 0, 0, 0                                                       \
    }
KT_API KT_MUST_USE kt_status_t kt_match(kt_ctx_t *ctx, const kt_request_t *req, kt_match_t *match);
/* Says that the value was refused where it was used (401, failed login): the next read fetches it
 * again, at most once a second. With NAME[#field]@N only if version N is what is cached as the
 * current one. If the provider cannot be asked then, the value stays in use as before: a refusal
 * does not prove that it is wrong. */
KT_API void kt_reject(kt_ctx_t *ctx, const kt_request_t *req);
/* Would kt_get() be allowed, and would it answer? Returns no value and writes no audit record: for
 * `nginx -t`. */
KT_API KT_MUST_USE kt_status_t kt_probe(kt_ctx_t *ctx, const kt_request_t *req);

typedef struct kt_entry {
    const char *name;
    uint64_t version;                  /* current; 0 if there is none */
    const char *state;                 /* "live", "deleted", "expired" */
    int64_t created, updated, expires; /* milliseconds since the epoch; 0: not set */
    int64_t due;        /* when the next rotation is due; 0: no schedule, see kt_info_due() */
    const char *origin; /* of the current value: "issued", "generated", "derived"; static */
} kt_entry_t;
/* Called for each secret in the order of the provider; a non-zero answer ends the listing. `entry`
 * is valid during the call only. */
typedef int (*kt_list_fn)(void *arg, const kt_entry_t *entry);
/* Lists the secrets whose name matches req->reference (a pattern, its star crosses '/'; NULL: all)
 * and that the subject may list. *ret_hidden (may be NULL) counts those that match and that the
 * policy hides from the subject, and those of types whose key is not loaded, unless the pattern is
 * of one type, whose key is. KT_DENIED: the subject may list nothing that the pattern matches. */
KT_API KT_MUST_USE kt_status_t kt_list(kt_ctx_t *ctx, const kt_request_t *req, kt_list_fn fn,
                                       void *arg, uint64_t *ret_hidden);

typedef struct kt_info kt_info_t;
typedef struct kt_version {
    uint64_t version;
    const char *state; /* "current", "previous", "pending", "kept", "abandoned", "destroyed" */
    int64_t created, expires; /* expires of an abandoned one: until when it is kept */
} kt_version_t;
/* Metadata, never values; needs the capability `list`. Deleted secrets have them too. The caller
 * frees *ret_info. */
KT_API KT_MUST_USE kt_status_t kt_info(kt_ctx_t *ctx, const kt_request_t *req,
                                       kt_info_t **ret_info);
KT_API void kt_info_free(kt_info_t *info);
KT_API const kt_entry_t *kt_info_entry(const kt_info_t *info);
/*
 * How often a secret was read (by kt_get(), kt_peek() and sealed service, whatever field or
 * version), when last and by whom: the sum of all audit streams on this machine that this process
 * may read. Counts survive a kill -9; a power cut may lose those of the last half minute.
 */
typedef struct kt_usage {
    const char *name;
    uint64_t count;
    int64_t last;        /* ms since the epoch; 0: never */
    const char *subject; /* of the last read; NULL: not known */
    uint64_t lost; /* reads of secrets for which a stream's table (16384 names) had no room; the sum
                      of all streams */
    unsigned hidden;    /* streams whose counts may not be read; 0: the count is complete */
    const char *stream; /* of the last read; NULL: never. Its user's processes say which subject it
                           was, and the kernel says which user */
} kt_usage_t;
#define KT_USAGE_HIGH 1000u /* more reads than this deserve a look */
KT_API const kt_usage_t *kt_info_usage(const kt_info_t *info); /* as of kt_info(); never NULL */
typedef int (*kt_usage_fn)(void *arg, const kt_usage_t *usage);
/* Calls fn for each secret that was ever read, by name, deleted ones too; a non-zero answer ends
 * it. *ret_total (may be NULL) has the sums of the reported secrets, `lost` and `hidden`. No policy
 * applies: a user that may read a stream's folder may read the names in it. KT_INTERNAL. */
KT_API KT_MUST_USE kt_status_t kt_usage(kt_ctx_t *ctx, kt_usage_fn fn, void *arg,
                                        kt_usage_t *ret_total);
KT_API const char *kt_info_provider(const kt_info_t *info);
KT_API uint64_t kt_info_counter(const kt_info_t *info);  /* the head's write counter */
KT_API uint64_t kt_info_previous(const kt_info_t *info); /* 0: none */
KT_API uint64_t kt_info_pending(const kt_info_t *info);  /* 0: none */
KT_API size_t kt_info_versions(const kt_info_t *info);   /* kept versions, newest first */
KT_API const kt_version_t *kt_info_version(const kt_info_t *info, size_t i);
/* The last one is `origin`, which every secret has. */
KT_API size_t kt_info_metas(const kt_info_t *info);
KT_API void kt_info_meta(const kt_info_t *info, size_t i, const char **key, const char **value);
/* When the current value was made, by a rotation or by a write; when the next rotation is due by
 * the metadata `rotation`, or without it 90 days later for a database account (0: no schedule). */
KT_API int64_t kt_info_rotated(const kt_info_t *info);
KT_API int64_t kt_info_due(const kt_info_t *info);
/* A note that a rotation left with a version ("postgresql.verifier"), or NULL. Version 0: a note of
 * the secret itself. */
KT_API const char *kt_info_note(const kt_info_t *info, uint64_t version, const char *key);

/*
 * The state of accounts, for monitoring and for a host that rotates what is due: in one call, which
 * is one line in the audit log (`state`, with the pattern and how many were found), whatever their
 * number.
 *
 * An account is a secret with a password, or one that a rotation gave to a server; others are
 * passed over. req->reference is a pattern (NULL: all).
 */
typedef struct kt_states {
    size_t size;
    const char *capability; /* which the policy is asked for: "state", "list" or "rotate" */
    const char *target; /* only secrets of which this target got a version; NULL: all accounts */
    int values;         /* the caller will compare values: kt_states_value() */
    /* Called for each account that the subject may see, deleted ones too. The info is the callee's,
     * kt_info_free(), and has no usage. A non-zero answer ends the call. It must not call the
     * library otherwise. */
    int (*found)(void *arg, kt_info_t *info);
    /* Called for each provider that could not be read: nothing is known of its secrets, and the
     * others go on. `why` is valid during the call. */
    void (*failed)(void *arg, const char *provider, kt_status_t status, const char *why);
    void *arg; /* of both */
} kt_states_t;
#define KT_STATES_INIT                                                                             \
    {                                                                                              \
        sizeof(kt_states_t), "state", NULL, 0, NULL, NULL, NULL                                    \
    }
/* *ret_hidden (may be NULL) counts the accounts that match and that the policy hides. KT_DENIED:
 * the subject may see nothing that matches. KT_TRYAGAIN: interrupted, see kt_interrupted(). */
KT_API KT_MUST_USE kt_status_t kt_states(kt_ctx_t *ctx, const kt_request_t *req,
                                         const kt_states_t *states, uint64_t *ret_hidden);
/* A field of a kept version, for comparing it with what a server has; it is not recorded, because
 * the line of kt_states() says that values are compared. KT_USAGE: the info is not from a
 * kt_states() with `values`. The caller frees *ret_secret. */
KT_API KT_MUST_USE kt_status_t kt_states_value(kt_ctx_t *ctx, const kt_info_t *info,
                                               uint64_t version, const char *field,
                                               kt_secret_t **ret_secret);

/* ---- Writing: each call returns after its record is durable ---- */

typedef struct kt_meta {
    const char *key, *value;
} kt_meta_t;

typedef struct kt_put_options {
    size_t size;
    const char *field;     /* replace one field of the JSON object, keep the others */
    int64_t expires;       /* of the secret, ms since the epoch; 0: none */
    const kt_meta_t *meta; /* merged into what is there; a value NULL removes the key */
    size_t nmeta;
    /* KT_CONFLICT unless this is the current version (0: there is none yet); -1: any */
    int64_t cas;
    const char *origin; /* "issued", "generated" or "derived"; NULL: issued, or what it was if only
                           another field than the password is replaced. Metadata `origin` wins */
    int fresh;          /* KT_CONFLICT if there is such a secret or, with `field`, such a field */
    int force; /* also what a target manages, and a JSON object by something that is not one */
} kt_put_options_t;
#define KT_PUT_INIT                                                                                \
    {                                                                                              \
        sizeof(kt_put_options_t), NULL, 0, NULL, 0, -1, NULL, 0, 0                                 \
    }

/* Stores a new version, which is current at once; a deleted secret comes back with it. *ret_version
 * may be NULL, here and below. KT_CONFLICT without `force`: PostgreSQL or a command of `targets:`
 * knows the value and would not learn the new one, or the old value is a JSON object and the new
 * one is not. */
KT_API KT_MUST_USE kt_status_t kt_put(kt_ctx_t *ctx, const kt_request_t *req,
                                      const kt_secret_t *value, const kt_put_options_t *options,
                                      uint64_t *ret_version);
/* Would kt_put() take a value with these options, as far as it can be decided without the value?
 * For a check before the value is asked for. A refusal is recorded as that of kt_put(); otherwise
 * nothing is recorded or changed. `options` may be NULL. */
KT_API KT_MUST_USE kt_status_t kt_put_check(kt_ctx_t *ctx, const kt_request_t *req,
                                            const kt_put_options_t *options);
/* Changes metadata alone, as `meta` of kt_put_options_t; the value and its version stay. `origin`
 * is that of the current value. Needs the capability `write`. */
KT_API KT_MUST_USE kt_status_t kt_describe(kt_ctx_t *ctx, const kt_request_t *req,
                                           const kt_meta_t *meta, size_t count);
/* Makes `version` (0: the previous one) current again. No new number is used: current and previous
 * change places. KT_CONFLICT: a target has the current value, or never had this version. */
KT_API KT_MUST_USE kt_status_t kt_rollback(kt_ctx_t *ctx, const kt_request_t *req, uint64_t version,
                                           uint64_t *ret_version);
/* Reads answer KT_GONE from now on, until kt_undelete(). Both succeed if it is so already. */
KT_API KT_MUST_USE kt_status_t kt_delete(kt_ctx_t *ctx, const kt_request_t *req);
KT_API KT_MUST_USE kt_status_t kt_undelete(kt_ctx_t *ctx, const kt_request_t *req);
/* Erases a version's value for good; 0: all of them. KT_CONFLICT: it is the current version. */
KT_API KT_MUST_USE kt_status_t kt_destroy(kt_ctx_t *ctx, const kt_request_t *req, uint64_t version);

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

/* Judges a value that a person chose: at least 16 bytes, with lower case, upper case and digits; 32
 * bytes recommended for keys, 64 for secrets of JWTs; not a pattern and not a placeholder.
 * Hexadecimal of 32 digits and more, UUIDs and bytes need no upper case. It finds mistakes, not all
 * weak values. */
typedef enum kt_strength {
    KT_STRENGTH_PASSWORD = 0,
    KT_STRENGTH_KEY,
    KT_STRENGTH_JWT
} kt_strength_t;
enum {
    KT_WEAK_SHORT = 1,       /* under 16 bytes */
    KT_WEAK_BELOW = 2,       /* under what is recommended: advice, not an error */
    KT_WEAK_PLAIN = 4,       /* has no lower case, no upper case or no digit */
    KT_WEAK_PATTERN = 8,     /* fewer than 8 different bytes, or mostly a sequence */
    KT_WEAK_PLACEHOLDER = 16 /* "change-me", "your-api-key-here" */
};
KT_API unsigned kt_strength(const kt_secret_t *value,
                            kt_strength_t kind); /* bits of KT_WEAK_; 0: nothing to say */
KT_API const char *kt_strength_text(
    unsigned weakness); /* of the lowest bit: "shorter than 16 characters"; "" of 0; static */
/* The part of a value that must be strong, and its kind: the password of a database, api_key,
 * `value`, or the whole value; with `field` (else NULL) the value of that field. KT_NOTFOUND: there
 * is none, as in certificates. The caller frees *ret_part. Thread-safe. */
KT_API KT_MUST_USE kt_status_t kt_strength_part(const char *name, const char *field,
                                                const kt_secret_t *value, kt_strength_t *ret_kind,
                                                kt_secret_t **ret_part);
#define KT_MARK_SIZE 16 /* bytes of a mark */
/* Equal for equal values in this process and meaningless anywhere else: to find a value that is
 * used twice. Thread-safe. */
KT_API void kt_secret_mark(const kt_secret_t *secret, unsigned char ret_mark[KT_MARK_SIZE]);

#define KT_HASH_MAX 128 /* bytes of a hash's text, NUL included */
/* An Argon2id string that recognises the secret without revealing it; each call gives another one.
 * Takes 64 MiB and a tenth of a second. Thread-safe. */
KT_API KT_MUST_USE kt_status_t kt_hash(const kt_secret_t *secret, char ret_hash[KT_HASH_MAX]);
/* KT_SUCCESS: `hash` belongs to this secret; ret_upgraded is the string to keep from now on, or ""
 * if `hash` is still good. PBKDF2-HMAC-SHA256 of 100,000 rounds (the hex of 32 bytes of salt and 32
 * of key) is always upgraded. KT_DENIED: it belongs to another value; KT_MALFORMED: not a hash, or
 * one that would take more than 1 GiB or 16 passes. */
KT_API KT_MUST_USE kt_status_t kt_hash_check(const kt_secret_t *secret, const char *hash,
                                             char ret_upgraded[KT_HASH_MAX]);

typedef struct kt_rotation kt_rotation_t;

/*
 * The target of a rotation: what must accept the new value before it becomes current. Each function
 * may answer KT_SUCCESS (it worked), KT_CONFLICT (the target rejected the value: the pending
 * version is dropped) or anything else (not known: the pending version stays, and kt_rotate() must
 * be called again). They are called without a lock of the context.
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
    int64_t expires; /* of the secret; 0: leave it, and KT_GONE if it has expired */
    int store_only;  /* no target, although the shape needs one */
    const kt_target_ops_t *target;
    void *target_arg;
    const char *origin; /* of the new value; NULL: "issued" if `value` is given, else "generated" */
    int generate;       /* replace an issued value, too, by a generated one */
    int *ret_issued;    /* set to 1 if the answer is KT_CONFLICT because the value was issued or
                           derived; else left alone. May be NULL */
    const kt_meta_t *notes; /* of the pending version, as by kt_rotation_notes(); may be NULL */
    size_t nnotes;
    const char *user; /* of a database, which the new version names beside its password; NULL: as
                         before */
} kt_rotate_options_t;
#define KT_ROTATE_INIT                                                                             \
    {                                                                                              \
        sizeof(kt_rotate_options_t), NULL, 0, KT_ALPHABET_ALNUM, 0, 0, NULL, NULL, NULL, 0, NULL,  \
            NULL, 0, NULL                                                                          \
    }

/*
 * Does all four steps. The shape of the current value says what is replaced: the password (and
 * rotated_at) of a database, api_key of an API key (the old one becomes previous_key), otherwise
 * the whole value. A database shape needs a target or store_only, else KT_CONFLICT: a password that
 * the server does not know locks every client out. If the caller names no target, the host "cli"
 * runs the command that `targets:` of the configuration names; other hosts refuse such a secret
 * (KT_CONFLICT). An issued or derived value that has no target is not replaced by a generated one
 * unless `generate` is set (KT_CONFLICT, *ret_issued), because its issuer would not know
 * that. A JSON object of no known shape is not replaced as a whole by something that is not an
 * object (KT_CONFLICT). An unfinished rotation with the same target is finished first: the target
 * is tested, and set unless it knows the value. KT_CONFLICT: a living process owns the unfinished
 * rotation, or it has another target.
 */
KT_API KT_MUST_USE kt_status_t kt_rotate(kt_ctx_t *ctx, const kt_request_t *req,
                                         const kt_rotate_options_t *options, uint64_t *ret_version);

/*
 * A target may accept the old value for a while beside the new one (`overlap` of `redis` in
 * `targets:`). Takes those away from it whose time is over, after it has tested that the current
 * value works there. *ret_removed is their number; 0: there was none, or the name has no such
 * target. *ret_unfinished is 1 if nothing was done because the name has an unfinished rotation,
 * which kt_rotate() finishes; else 0. Both may be NULL. Needs the right to rotate. kt_rotate() does
 * the same at its end; this is for what comes due later. May be repeated after a failure.
 */
KT_API KT_MUST_USE kt_status_t kt_retire(kt_ctx_t *ctx, const kt_request_t *req,
                                         size_t *ret_removed, int *ret_unfinished);

/* Would kt_rotate() with these options start? Answers the refusal that it would give, changes
 * nothing and records nothing: for a dry run. `options` may be NULL. */
KT_API KT_MUST_USE kt_status_t kt_rotate_check(kt_ctx_t *ctx, const kt_request_t *req,
                                               const kt_rotate_options_t *options);

/*
 * The same, step by step, for a host whose own commit lies in between (PostgreSQL).
 * kt_rotation_create() stores the new value as pending and opens what kt_rotation_finish() needs,
 * so that the latter needs only one short transaction and waits at most `deadline` milliseconds:
 * KT_TRYAGAIN leaves the pending version for kt_rotation_resume(). Target and store_only as in
 * kt_rotate_options_t, but target->set is not called. One of finish, abandon and leave ends and
 * frees the rotation.
 */
KT_API KT_MUST_USE kt_status_t kt_rotation_create(kt_ctx_t *ctx, const kt_request_t *req,
                                                  const kt_rotate_options_t *options,
                                                  kt_rotation_t **ret_rotation);
/*
 * kt_rotation_create() in two steps, for a host that has to look at the current value before the
 * new one is stored. kt_rotation_begin() stores nothing; then kt_rotation_old(),
 * kt_rotation_noted() of the current version, and kt_rotation_add(), which stores the new value as
 * pending, or kt_rotation_leave(), may be called. A failure of kt_rotation_add() leaves the
 * rotation as it was. KT_CONFLICT: another version is pending; of the second one also: the secret
 * was changed in the meantime.
 */
KT_API KT_MUST_USE kt_status_t kt_rotation_begin(kt_ctx_t *ctx, const kt_request_t *req,
                                                 kt_rotation_t **ret_rotation);
KT_API KT_MUST_USE kt_status_t kt_rotation_add(kt_rotation_t *rotation,
                                               const kt_rotate_options_t *options);
/* Continues with the pending version that a crash or a timeout left. KT_NOTFOUND: there is none. */
KT_API KT_MUST_USE kt_status_t kt_rotation_resume(kt_ctx_t *ctx, const kt_request_t *req,
                                                  kt_rotation_t **ret_rotation);
/* The whole new value (`field` NULL), or its field ("password"); the caller frees it. */
KT_API KT_MUST_USE kt_status_t kt_rotation_value(kt_rotation_t *rotation, const char *field,
                                                 kt_secret_t **ret_secret);
/* The same of the current value, which is being replaced. Both need the right to rotate, not the
 * right to read. */
KT_API KT_MUST_USE kt_status_t kt_rotation_old(kt_rotation_t *rotation, const char *field,
                                               kt_secret_t **ret_secret);
/* Two users that take turns: the one of the list `users` of the current value that is not its
 * `user` (or `username`), for `user` of the options; the caller frees it. KT_NOTFOUND: the value
 * has no such list; KT_CONFLICT: it does not hold two different names, or the user is not one of
 * them, and the error says which and what to do. */
KT_API KT_MUST_USE kt_status_t kt_rotation_next_user(kt_rotation_t *rotation,
                                                     kt_secret_t **ret_user);
KT_API uint64_t kt_rotation_version(const kt_rotation_t *rotation);
/* A note kept with the pending version, sealed (at most 64, each with a key of 128 and a value of
 * 1024 bytes), by which a later call finds out what the target knows. */
KT_API KT_MUST_USE kt_status_t kt_rotation_note(kt_rotation_t *rotation, const char *key,
                                                const char *value);
/* Several notes in one commit, which costs as much as a single note. */
KT_API KT_MUST_USE kt_status_t kt_rotation_notes(kt_rotation_t *rotation, const kt_meta_t *notes,
                                                 size_t count);
/* A note of the pending version (pending != 0; also "target", the name of the one that created it)
 * or of the current one, with NUL into `value`. KT_NOTFOUND: there is none; KT_TOOLARGE: it does
 * not fit. */
KT_API KT_MUST_USE kt_status_t kt_rotation_noted(kt_rotation_t *rotation, int pending,
                                                 const char *key, char *value, size_t size);
/* KT_SUCCESS also if another process has made this version current. */
KT_API KT_MUST_USE kt_status_t kt_rotation_finish(kt_rotation_t *rotation, unsigned deadline,
                                                  uint64_t *ret_version);
KT_API KT_MUST_USE kt_status_t
kt_rotation_abandon(kt_rotation_t *rotation); /* the target does not have it: drop it */
/* The same for several rotations of one context, as one transaction, if possible. Ends and frees
 * all of them; answers the last failure. */
KT_API KT_MUST_USE kt_status_t kt_rotations_abandon(kt_rotation_t *const *rotations, size_t count);

/*
 * kt_rotation_finish() in two halves, for a host that must be able to give up until its own commit,
 * and should not fail or wait after it. The rotations are of one context; `rotations` is copied.
 *
 * kt_rotations_prepare() does all that can fail: it waits at most `deadline` milliseconds (0: the
 * request's timeout) for the store's write lock, which it keeps, writes the changes as one
 * transaction, and records the intents. On failure the rotations are as they were before.
 * KT_TRYAGAIN: another process holds the lock; KT_CONFLICT: one of the versions is not pending any
 * more; KT_AUDIT, KT_NOSPACE.
 *
 * Then exactly one of the two others must be called, by the same thread, soon, and without any
 * other call with this context in between: no process can write to the store meanwhile.
 * kt_prepared_commit() commits, with one sync, ends and frees the rotations and `prepared`,
 * whatever it answers. The versions may be seen as current before that sync: a power cut in between
 * leaves them pending, and so does a failure, unless only the sync failed. kt_prepared_cancel()
 * changes nothing, and frees `prepared` alone: the rotations are the caller's again. After a fork
 * only the parent may call them.
 */
typedef struct kt_prepared kt_prepared_t;
KT_API KT_MUST_USE kt_status_t kt_rotations_prepare(kt_rotation_t *const *rotations, size_t count,
                                                    unsigned deadline,
                                                    kt_prepared_t **ret_prepared);
KT_API KT_MUST_USE kt_status_t kt_prepared_commit(kt_prepared_t *prepared);
KT_API void kt_prepared_cancel(kt_prepared_t *prepared);
/* The same of a rotation that another process began: its version gets the state "abandoned". Its
 * value is kept for `keep` milliseconds, and until the next change of the secret after them. If the
 * process that began it lives after all, it goes on as if nothing had happened, unless another
 * rotation was begun. A secret with KT_ABANDONED_MAX such versions is not rotated (KT_CONFLICT). */
KT_API KT_MUST_USE kt_status_t kt_rotation_set_aside(kt_rotation_t *rotation, int64_t keep);
KT_API void kt_rotation_leave(kt_rotation_t *rotation); /* not known: keep it pending */

/*
 * What a target has already. kt_rotation_look() begins with the current version and changes
 * nothing; kt_rotation_adopt() stores, in one transaction, which version the target has and what is
 * noted of it. kt_rotation_leave() frees the rotation, after both. KT_GONE: the secret is deleted
 * or has expired. Needs the right to rotate or, with `repair`, `admin`; then another version may
 * become current, and a pending one is set aside for `keep` ms, while otherwise the answer is
 * KT_CONFLICT. KT_CONFLICT also if the current version is another one than at the look. Recorded as
 * rotate.adopt, or rotate.repair.
 */
typedef struct kt_adopt {
    size_t size;
    uint64_t version;   /* 0: the current one */
    const char *target; /* the name of the target, as in kt_target_ops_t */
    const kt_meta_t *notes;
    size_t nnotes;
    int64_t keep;
} kt_adopt_t;
#define KT_ADOPT_INIT                                                                              \
    {                                                                                              \
        sizeof(kt_adopt_t), 0, NULL, NULL, 0, 0                                                    \
    }
KT_API KT_MUST_USE kt_status_t kt_rotation_look(kt_ctx_t *ctx, const kt_request_t *req, int repair,
                                                kt_rotation_t **ret_rotation);
/* After it kt_rotation_version() is the adopted version. May be called again after KT_TRYAGAIN. */
KT_API KT_MUST_USE kt_status_t kt_rotation_adopt(kt_rotation_t *rotation, const kt_adopt_t *adopt);
/* As kt_info(), without the usage, of any rotation, by its right. The caller frees *ret_info. */
KT_API KT_MUST_USE kt_status_t kt_rotation_info(kt_rotation_t *rotation, kt_info_t **ret_info);
/* As kt_rotation_value(), of any version that is kept. */
KT_API KT_MUST_USE kt_status_t kt_rotation_at(kt_rotation_t *rotation, uint64_t version,
                                              const char *field, kt_secret_t **ret_secret);

/* ---- Bundles: sealed secrets that the consumer stores, with or without a key ---- */

/* Copies `size` bytes. KT_MALFORMED unless their clear headers show one sealed head with its
 * values: no key is needed and nothing is opened. The caller frees *ret_bundle. */
KT_API KT_MUST_USE kt_status_t kt_bundle_parse(const void *data, size_t size,
                                               kt_bundle_t **ret_bundle);
KT_API void kt_bundle_free(kt_bundle_t *bundle);
KT_API const void *kt_bundle_bytes(const kt_bundle_t *bundle,
                                   size_t *ret_size); /* until kt_bundle_free() */
KT_API uint64_t kt_bundle_counter(const kt_bundle_t *bundle);
KT_API size_t kt_bundle_memory(const kt_bundle_t *bundle); /* bytes of memory, for MEMORY USAGE */
/* Where bundles get their memory: one block each, without a pointer into itself, so that its holder
 * may move it. `alloc` answers NULL if there is none. Once in a process, before its first bundle;
 * otherwise it is malloc(). Both are called by any thread. */
KT_API void kt_bundle_allocator(void *(*alloc)(size_t size), void (*free_block)(void *block));
/* How many versions of its secret a bundle keeps from its next change on (10). KT_USAGE: not
 * KT_BUNDLE_VERSIONS_MIN to KT_VERSIONS_MAX. */
#define KT_BUNDLE_VERSIONS_MIN 2u /* the current one and the one before */
KT_API KT_MUST_USE kt_status_t kt_bundle_versions(kt_ctx_t *ctx, size_t versions);
KT_API KT_MUST_USE kt_status_t kt_bundle_copy(const kt_bundle_t *bundle, kt_bundle_t **ret_bundle);
/* May `next`, sent by a client, replace `old` (NULL: absent)? KT_SUCCESS, or KT_CONFLICT: another
 * id, or its counter is not one higher. */
KT_API kt_status_t kt_bundle_follows(const kt_bundle_t *old, const kt_bundle_t *next);
/* Policy, statistics and audit record for a bundle that is served sealed (SECRET.GETSEALED,
 * SETSEALED). `capability` is "read", "write" ... With `action` NULL only the policy is checked,
 * and nothing is recorded. For a listing, call it once with "list" and a pattern with a star, which
 * is recorded and not checked, then with "list" and `action` NULL for each name. */
KT_API KT_MUST_USE kt_status_t kt_authorize(kt_ctx_t *ctx, const kt_request_t *req,
                                            const char *capability, const char *action);

/* ---- Administration: for the command ---- */

/* Writes a new key file (O_EXCL, 0600). KT_CONFLICT if `path` exists. `error` gets one line. */
KT_API KT_MUST_USE kt_status_t kt_keygen(const char *path, const char *environment, char *error,
                                         size_t error_size);
/* The same under a passphrase of 12 to 1024 bytes (a newline at its end does not count), else
 * KT_USAGE. Argon2id takes 256 MiB and about a second here and at each kt_setup(). `passphrase`
 * NULL: as kt_keygen(). */
KT_API KT_MUST_USE kt_status_t kt_keygen_passphrase(const char *path, const char *environment,
                                                    const kt_secret_t *passphrase, char *error,
                                                    size_t error_size);
/* Writes the setup's environment key with one more epoch, newest first, into a new file, under
 * `passphrase` unless that is NULL. KT_NOKEY: the setup has type keys only; KT_TOOLARGE: 8 epochs
 * already. Stores keep the epoch that they have until they are rekeyed. */
KT_API KT_MUST_USE kt_status_t kt_keygen_epoch(kt_setup_t *setup, const kt_secret_t *passphrase,
                                               const char *path);
/* Writes a key file (0600) with the keys of some types only ("api-keys,tls"), in every epoch that
 * `setup` holds. */
KT_API KT_MUST_USE kt_status_t kt_keygen_types(kt_setup_t *setup, const char *types,
                                               const char *path);
/* Gives the key file of `stream` ("nginx", "cli-USER"), which `key:` names, the keys of more types,
 * in place: the new file replaces the old one, with its owner and mode. ret_types gets the types
 * that it has now ("api-keys,tls"). KT_NOKEY: `setup` has type keys only; KT_CONFIG: `key:` names
 * no file for this stream. */
KT_API KT_MUST_USE kt_status_t kt_grant(kt_setup_t *setup, const char *stream, const char *types,
                                        char *ret_types, size_t size);
#define KT_AUDIT_KEY_LINE 80 /* bytes of an audit key's line, NUL included */
/* A new audit key, with which `audit verify` proves who wrote an audit log. Keep it on another
 * machine than the one that writes the log. The caller wipes the line. KT_INTERNAL. */
KT_API KT_MUST_USE kt_status_t kt_audit_keygen(char ret_line[KT_AUDIT_KEY_LINE]);
/* Starts a stream in `folder`, which is created if it does not exist, under the audit key: `key` is
 * its line, or the path of a private file with it. The folder's owner owns the new files.
 * KT_CONFLICT if the stream has begun already. `error` gets one line. */
KT_API KT_MUST_USE kt_status_t kt_audit_start(const char *folder, const char *environment,
                                              const char *stream, const char *key, char *error,
                                              size_t error_size);
/* Creates the store of the provider that the route of "*" names first. KT_CONFLICT if it is there.
 */
KT_API KT_MUST_USE kt_status_t kt_create(kt_ctx_t *ctx);

typedef void (*kt_check_fn)(void *arg, kt_status_t status, const char *what, const char *detail);
/* Checks configuration, keys and audit stream, and whether each provider answers. Of a store it
 * reads one secret of each type whose key is held, without a line in the audit log. Returns the
 * worst status. */
KT_API KT_MUST_USE kt_status_t kt_check(kt_ctx_t *ctx, kt_check_fn fn, void *arg);

/*
 * The same for the user of a server, or of the command: may it open its configuration, keys, store
 * and streams, and may it open anything that it should not? Does the policy let its worker finish
 * what its users may rotate? Only root may ask. The check runs in a child process with the ids and
 * groups of that user; it asks the providers, reads one secret of each type with that user's own
 * key, and changes nothing. The values are wiped at once; the audit log has no line about them. fn
 * is called for each thing that is wrong, with a text that ends with the fixing command in `...`;
 * if nothing is wrong, once. Call it before kt_open(), in a process of one thread. Strings belong
 * to the caller. KT_PERMISSION: the caller is not root; KT_CONFIG: there is no such user; else the
 * worst status.
 */
typedef struct kt_check_user {
    size_t size;
    const char
        *stream; /* "nginx", "redis", "postgresql" or "cli-USER": names its key and its stream */
    const char *user;  /* that the process runs as */
    const char *types; /* "api-keys,tls": of these types it must have the keys that policy allows;
                          NULL: of all */
    const char *readers, *writers; /* the groups that read the store, and that write it */
    int writes;  /* it writes the store; a user of the command also where policy allows it */
    int as_root; /* root reads configuration and credentials for it, as nginx' master does */
    const char *const *others; /* other streams, which it must not be able to write */
    size_t nothers;
    const char *worker;   /* the subject that finishes what the server's users rotate; NULL: none */
    const char *auditors; /* the group that reads every audit log; NULL: there is none */
} kt_check_user_t;
#define KT_CHECK_USER_INIT                                                                         \
    {                                                                                              \
        sizeof(kt_check_user_t), NULL, NULL, NULL, NULL, NULL, 0, 0, NULL, 0, NULL, NULL           \
    }
KT_API KT_MUST_USE kt_status_t kt_check_user(kt_setup_t *setup, const kt_check_user_t *user,
                                             kt_check_fn fn, void *arg);
/* The i-th entry of a `key:` that is a map: "nginx", "cli-USER"; NULL after the last one, and if
 * `key:` is not a map. */
KT_API const char *kt_setup_key(const kt_setup_t *setup, size_t i);

/* Verifies the whole store: seals, indexes, generations against anchors. fn is called for each
 * thing that is wrong (with its name, or the row), and then once for each store with what was
 * verified. KT_ROLLEDBACK or KT_MALFORMED if anything is wrong. */
KT_API KT_MUST_USE kt_status_t kt_verify(kt_ctx_t *ctx, kt_check_fn fn, void *arg);
/* The same, and the generations are compared with the checkpoints and changes in the file
 * `received` ("-": standard input; NULL: none), which has the lines of audit logs that an external
 * sink got. This finds an older store that was put back together with its anchors and the audit
 * logs. Lines about other stores are passed over. KT_ROLLEDBACK: the store is older. KT_NOTFOUND:
 * the file has no checkpoint of this store. */
KT_API KT_MUST_USE kt_status_t kt_verify_received(kt_ctx_t *ctx, const char *received,
                                                  kt_check_fn fn, void *arg);

/* How far kt_verify(), kt_backup() and kt_restore() are: `done` of about `total` (0: not known)
 * secrets or rows; `what` is a word ("verify"). Called after about every thousand, and at the end,
 * by the calling thread inside that call: it must not use the context. */
typedef void (*kt_progress_fn)(void *arg, const char *what, uint64_t done, uint64_t total);
/* Sets the function for calls from now on; NULL: none. Not while another thread is in one of those
 * calls. */
KT_API void kt_progress(kt_ctx_t *ctx, kt_progress_fn fn, void *arg);

/* Asked again and again while a provider waits for a server: not 0 if the caller does not want to
 * wait any longer. The call then fails within 0.2 s, by KT_TRYAGAIN unless the route goes on. The
 * function is called in the thread that waits, and must not call the library. */
typedef int (*kt_interrupted_fn)(void *arg);
KT_API void kt_interrupted(kt_ctx_t *ctx, kt_interrupted_fn fn, void *arg);

/* What a backup holds. */
typedef struct kt_backup_count {
    size_t size;
    uint64_t secrets, versions; /* versions: values that are kept, of all secrets */
} kt_backup_count_t;
#define KT_BACKUP_COUNT_INIT                                                                       \
    {                                                                                              \
        sizeof(kt_backup_count_t), 0, 0                                                            \
    }

/*
 * kt_backup() verifies the store, and writes a consistent copy of it into a new file of mode 0600,
 * encrypted under a key derived from the environment key (format.md). kt_restore() replaces the
 * contents of the store by those of the file, which is recorded. Both need `admin` on "*" and the
 * environment key; req->reference is not used. kt_restore() creates a store that does not exist and
 * keeps the id of one that does. It refuses (KT_CONFLICT) to remove what is newer than the file or
 * not from it, unless going_back. KT_ROLLEDBACK, KT_MALFORMED of a backup: the store is damaged,
 * and no file was made; of a restore: the file is damaged or cut short, and nothing was changed.
 */
KT_API KT_MUST_USE kt_status_t kt_backup(kt_ctx_t *ctx, const kt_request_t *req, const char *path,
                                         kt_backup_count_t *ret_count);
KT_API KT_MUST_USE kt_status_t kt_restore(kt_ctx_t *ctx, const kt_request_t *req, const char *path,
                                          int going_back, kt_backup_count_t *ret_count);

/*
 * The same with options. A backup for a recipient can be restored only with the recipient's private
 * key and the environment key together: the machine that made it cannot read it later.
 * kt_keygen_recipient() writes a pair of keys into new files, the private one (0600) into `path`,
 * the public one (0644) into path.pub; `error` gets one line. KT_CONFLICT: one of them exists.
 * kt_restore_with() ignores the key if the file has no recipient. KT_NOKEY, KT_WRONGKEY: the file
 * is for a recipient, and no key or another key is given; KT_CONFIG, KT_PERMISSION: the named file
 * holds no such key, or other users may read (the private) or write (the public) one.
 */
typedef struct kt_backup_options {
    size_t size;
    const char *recipient; /* path of the file with the recipient's public key; NULL: the
                              environment key alone opens it */
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
    int check; /* opens and verifies the whole file as a restore would, and changes nothing */
} kt_restore_options_t;
#define KT_RESTORE_INIT                                                                            \
    {                                                                                              \
        sizeof(kt_restore_options_t), 0, NULL, NULL, 0                                             \
    }
KT_API KT_MUST_USE kt_status_t kt_keygen_recipient(const char *path, char *error,
                                                   size_t error_size);
KT_API KT_MUST_USE kt_status_t kt_backup_with(kt_ctx_t *ctx, const kt_request_t *req,
                                              const char *path, const kt_backup_options_t *options,
                                              kt_backup_count_t *ret_count);
KT_API KT_MUST_USE kt_status_t kt_restore_with(kt_ctx_t *ctx, const kt_request_t *req,
                                               const char *path,
                                               const kt_restore_options_t *options,
                                               kt_backup_count_t *ret_count);

/* How much of a type has moved to the newest epoch. */
typedef struct kt_rekey_type {
    const char *type;
    unsigned epoch;       /* that new secrets of the type use */
    unsigned from;        /* the older one that still has secrets; 0: none */
    uint64_t moved, left; /* secrets under `epoch`, and under the older one */
} kt_rekey_type_t;
typedef void (*kt_rekey_fn)(void *arg, const kt_rekey_type_t *type);

typedef struct kt_rekey_options {
    size_t size;
    int handed_out; /* the caller says that key files which cannot be seen from here list the newest
                       epoch */
    kt_check_fn refused;  /* called for each key file that prevents the rekey; may be NULL */
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
    uint64_t rows; /* of secrets and of the index under it */
} kt_rekey_epoch_t;
typedef struct kt_rekey_result {
    size_t size;      /* sizeof(kt_rekey_result_t) */
    unsigned epoch;   /* the newest one in the key */
    uint64_t moved;   /* secrets that this call moved */
    uint64_t unknown; /* rows under keys that are not loaded */
    size_t nepochs; /* older epochs in the key, newest first; one without rows is not used any more,
                       as the count proves */
    kt_rekey_epoch_t epochs[KT_REKEY_EPOCHS];
} kt_rekey_result_t;
#define KT_REKEY_RESULT_INIT                                                                       \
    {                                                                                              \
        .size = sizeof(kt_rekey_result_t)                                                          \
    }

/*
 * Moves the store to the newest epoch in the key, type by type, in transactions of about 20 ms with
 * pauses for other writers. Every value, head and label is sealed again; versions, times and
 * metadata stay. It needs `admin` on "*" and the environment key; req->reference is not used. If it
 * is killed at any point, the next call continues. KT_CONFLICT: a consumer's key file does not have
 * the epoch, or cannot be seen and handed_out is 0; nothing was moved. KT_MALFORMED, KT_ROLLEDBACK:
 * a damaged secret prevents its type from being finished; other types are moved. After the store
 * come the names in providers with clear names (redis), one by one; for these, `type` of
 * kt_rekey_type_t is the provider's name. KT_UNAVAIL: one of those cannot be reached; the store
 * itself was moved.
 */
KT_API KT_MUST_USE kt_status_t kt_rekey(kt_ctx_t *ctx, const kt_request_t *req,
                                        const kt_rekey_options_t *options,
                                        kt_rekey_result_t *ret_result);
/* What kt_rekey() has done and still has to do: calls fn for each type, and counts the rows of the
 * store. Changes nothing. */
KT_API KT_MUST_USE kt_status_t kt_rekey_status(kt_ctx_t *ctx, const kt_request_t *req,
                                               kt_rekey_fn fn, void *arg,
                                               kt_rekey_result_t *ret_result);

/*
 * How decisions become lines of the audit log. What changes a secret is on the disk when its call
 * returns. Any other decision goes into memory that outlives the process (a mapped file), in less
 * than a microsecond, and becomes a line, sealed and on the disk:
 *
 *   - without a thread: at the first decision a second or more later, at kt_audit_flush(), also of
 *     another process with `all_processes`, and at kt_close();
 *   - with one: within about a second. kt_audit_run() is all that a thread does that the host
 *     starts after kt_open(). Such a thread also syncs the anchors of changes, for which each
 * change waits otherwise: a power cut within that second may leave them older than the store.
 *
 * While a decision cannot become a line, later decisions are refused (KT_AUDIT). A host without a
 * thread that must not hand over a value before it is recorded calls kt_audit_flush() first.
 *
 * kt_audit_flush() turns all that this context has recorded into lines; with `all_processes` not 0
 * also what the stream's other processes have recorded so far. KT_AUDIT if that fails, but not with
 * `audit.required: false`. kt_audit_run() returns after kt_audit_stop(), which any thread may call,
 * and a last flush. The host joins its thread before kt_close(). KT_CONFLICT: there is such a
 * thread already. It logs when the audit log begins to fail, and when it works again. After a fork
 * the parent continues; the child has neither its records nor a context.
 */
KT_API KT_MUST_USE kt_status_t kt_audit_flush(kt_ctx_t *ctx, int all_processes);
KT_API KT_MUST_USE kt_status_t kt_audit_run(kt_ctx_t *ctx);
KT_API void kt_audit_stop(kt_ctx_t *ctx);
/*
 * Changes of bundles by an event loop that must not wait for a disk. Between kt_deferred_begin()
 * and kt_deferred_stop() one call that changes a bundle (kt_put(), kt_rotate() ...) or asks for it
 * (kt_authorize()) leaves its records in memory. After a change *bundle is the new one already, so
 * it must not be the host's own yet, and the intent waits. The host queues it, calls
 * kt_deferred_wake(), and goes on. The thread in kt_audit_run() calls `begin`, writes down all that
 * was recorded before, and calls `end` with KT_SUCCESS or KT_AUDIT and its text; it calls both
 * without a lock. Then the host stores the bundle, or drops it, and calls kt_deferred_end() with
 * the outcome, which is recorded; `deferred` is freed. What the request points to must stay until
 * then. kt_deferred_begin(): KT_TRYAGAIN if there is no such thread; one at a time.
 * kt_deferred_follow() is called before the thread starts.
 */
typedef struct kt_deferred kt_deferred_t;
typedef struct kt_deferred_ops {
    size_t size;
    void (*begin)(void *arg);
    void (*end)(void *arg, kt_status_t status, const char *why);
    void *arg;
} kt_deferred_ops_t;
#define KT_DEFERRED_OPS_INIT                                                                       \
    {                                                                                              \
        sizeof(kt_deferred_ops_t), NULL, NULL, NULL                                                \
    }
KT_API void kt_deferred_follow(kt_ctx_t *ctx, const kt_deferred_ops_t *batch);
KT_API KT_MUST_USE kt_status_t kt_deferred_begin(kt_ctx_t *ctx, kt_deferred_t **ret_deferred);
KT_API void kt_deferred_stop(kt_deferred_t *deferred);
KT_API void kt_deferred_wake(kt_ctx_t *ctx);
KT_API kt_status_t kt_deferred_end(kt_deferred_t *deferred, kt_status_t outcome);
/* Does the disk of the audit log have room for what so many processes like this one record?
 * KT_AUDIT says how much it needs; KT_SUCCESS also with `audit.required: false`. Writes nothing:
 * for `nginx -t`, which has one process for all. */
KT_API KT_MUST_USE kt_status_t kt_audit_fits(kt_ctx_t *ctx, unsigned processes);
/* The other work of kt_audit_run(), for a host without such a thread: writes a checkpoint if the
 * last one is too old, and continues sending to external sinks, without waiting for one. One thread
 * at a time, and not together with kt_audit_run(). Answers the ms after which to call it again. For
 * the host "cli", kt_close() does this too, and waits at most a second for its sinks. */
KT_API int kt_audit_forward(kt_ctx_t *ctx);

/*
 * Would this be allowed? `name` may be a pattern for the capability `list`. The answer is
 * KT_SUCCESS, KT_DENIED, or KT_NOKEY: the policy allows it, but the key of the subject's host does
 * not have the type. kt_setup_error() says it in a line. Nothing is recorded, and no store is
 * opened.
 */
typedef struct kt_can {
    size_t size;
    int line; /* of the rule in kt_setup_config() that decides; 0: none does */
    const char
        *stream;     /* whose key it is ("nginx", "cli-deploy"); NULL: not known for the subject */
    const char *key; /* the entry of `key:` for it; NULL: there is none */
    int held;        /* 1: the key has the type; 0: it has not; -1: it cannot be looked at here */
} kt_can_t;
#define KT_CAN_INIT                                                                                \
    {                                                                                              \
        sizeof(kt_can_t), 0, NULL, NULL, -1                                                        \
    }
/* Strings in *ret_can live as long as the setup. KT_USAGE: no such capability, not a name. */
KT_API KT_MUST_USE kt_status_t kt_can(kt_setup_t *setup, const char *subject,
                                      const char *capability, const char *name, kt_can_t *ret_can);

/*
 * A source is a subject and its peer's address. After more than ten refusals within an hour it is
 * locked out: the host's log and the audit log get an alert, and what the policy refuses to it gets
 * no records of its own for a minute, up to an hour if it goes on. What the policy allows is never
 * refused.
 */
typedef struct kt_lockout {
    const char *stream;
    const char *source;  /* "nginx:app.example@192.0.2.7", or the subject alone */
    unsigned seconds;    /* for how long it is still locked out; 0: it was, within the last hour */
    int64_t until, last; /* end of the lock-out; last refusal before it: ms since the epoch */
    uint64_t refusals;   /* that have records */
    uint64_t unrecorded; /* that the audit log has not yet, as a number */
} kt_lockout_t;
typedef void (*kt_lockout_fn)(void *arg, const kt_lockout_t *lockout);
/* Calls fn for each, in all streams that this process may read; strings are valid during the call
 * only. *ret_hidden (may be NULL): streams that it may not read. No policy applies. */
KT_API KT_MUST_USE kt_status_t kt_lockouts(kt_ctx_t *ctx, kt_lockout_fn fn, void *arg,
                                           unsigned *ret_hidden);
/* Ends the lock-outs of a source, which is recorded. Needs `admin` on "*" and the right to write
 * the stream's table; req->reference is the source. KT_NOTFOUND: it is not locked out, as far as
 * can be seen; KT_PERMISSION: there are tables that this process may not write, and no other has
 * it. */
KT_API KT_MUST_USE kt_status_t kt_lockout_clear(kt_ctx_t *ctx, const kt_request_t *req);
/* How many sources of the context's own stream are locked out now. Any thread. */
KT_API size_t kt_locked_out(kt_ctx_t *ctx);

/* What is wrong with a line of an audit log. The user of a stream's host may write any line, but
 * only about that stream. */
#define KT_LINE_UNSEALED 1u        /* no seal covers it */
#define KT_LINE_FOREIGN_STREAM 2u  /* it names another stream, or another run of the machine */
#define KT_LINE_FOREIGN_SUBJECT 4u /* it names a subject that its stream cannot vouch for */
#define KT_LINE_AHEAD 8u           /* its time is later than that of its seal, or than now */

typedef struct kt_audit_line {
    size_t size;        /* sizeof(kt_audit_line_t) */
    const char *stream; /* the folder that has it, whatever the line says */
    const char *text;   /* without its newline; of marked lines it may be anything */
    unsigned marks;     /* KT_LINE_...; 0: nothing is wrong */
} kt_audit_line_t;
/* A non-zero answer ends the reading. */
typedef int (*kt_line_fn)(void *arg, const kt_audit_line_t *line);
/* The last `count` decisions of one stream, or of all merged by time (`stream` NULL). Of several
 * streams, lines with marks take no place of others: at most five of each stream are added. `note`
 * (may be NULL) gets what was left out; with a status other than KT_SUCCESS it should have been
 * read, and the answer is KT_MALFORMED after all others were passed to fn. */
KT_API KT_MUST_USE kt_status_t kt_audit_tail(kt_ctx_t *ctx, const char *stream, size_t count,
                                             kt_line_fn fn, kt_check_fn note, void *arg);
/* The same of the streams below `folder`, without a context: what processes have not written yet is
 * not in it. KT_NOTFOUND: there is nothing that may be read. */
KT_API KT_MUST_USE kt_status_t kt_audit_last(const char *folder, const char *stream, size_t count,
                                             kt_line_fn fn, kt_check_fn note, void *arg);
/* Every decision of all streams below `folder`, or of the stream in `folder`, one stream after the
 * other, from the oldest log on, also of logs compressed by gzip; older ones than `since` (ms since
 * the epoch; 0: all) are left out. fn also gets lines that do not parse. `note` and the answer are
 * as for kt_audit_tail(); KT_NOTFOUND: there is nothing that may be read. */
KT_API KT_MUST_USE kt_status_t kt_audit_scan(const char *folder, int64_t since, kt_line_fn fn,
                                             kt_check_fn note, void *arg);
/* Verifies all streams below `folder`, or the stream in `folder`. With the audit key (as for
 * kt_audit_start()) it proves that each line was written by this stream and is in its place;
 * without (NULL) only that chain and numbers hold. fn is called for what is wrong, with the file
 * and line, and at the end of each stream. KT_MALFORMED if anything is wrong or, with the key, not
 * proved. Writers do not wait. */
KT_API KT_MUST_USE kt_status_t kt_audit_verify(const char *folder, const char *key, kt_check_fn fn,
                                               void *arg);
/* The same, and each seal in the file `received` ("-": standard input; NULL: none), which has the
 * lines that an external sink got, must be in the audit log. This finds an end that was cut off
 * together with the state. `complete`: what retention removed counts as missing, so that each
 * stream has to be there from its first block on. KT_NOTFOUND: there is no seal in the file. */
KT_API KT_MUST_USE kt_status_t kt_audit_verify_received(const char *folder, const char *key,
                                                        const char *received, int complete,
                                                        kt_check_fn fn, void *arg);

#ifdef __cplusplus
}
#endif

#endif /* KEYTURN_H */
