/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyturn_provider.h: what a provider plug-in sees of keyturn. It is the only header of keyturn
 * that a provider includes, and a provider links nothing of keyturn: services arrive as a table.
 *
 * A provider is one shared object, NAME.so, that exports one symbol:
 *
 *     const ktp_provider_t keyturn_provider = { KTP_HEADER, .name = "NAME", .capabilities = ...,
 *     .open = ..., ... };
 *
 * The loader opens the file, checks the open descriptor (regular file, owner, mode), loads it
 * RTLD_NOW|RTLD_LOCAL, checks magic, ABI major, size and name, and never unloads it. A newer minor
 * of the provider is accepted: the host reads the members that it knows. A provider checks
 * services->abi_minor before it uses a member that was added later.
 *
 * There are two natures. A *plain* provider knows values and answers get, put, remove, list. A
 * *sealed* provider (KTP_SEALED) keeps opaque rows that the core seals and opens: begin, get, put,
 * remove, scan, commit, abort, token.
 *
 * Threads: calls on one instance never overlap, but for sync; two instances of one provider may be
 * in use at once. Forks: an instance is opened and used in one process only. Errors: answer a
 * status and, before that, say why once through services->error(): one line for an operator, never
 * a value and never a server's answer body.
 *
 * ABI changelog
 *   1.0  first
 *   1.1  reserve
 *   1.2  interrupted
 *   1.3  expire; account; publish, sync; the service secret; options that are lists
 *   1.4  the services variable, dotenv and run, KTP_ENVIRONMENT; options that are maps
 */
#ifndef KEYTURN_PROVIDER_H
#define KEYTURN_PROVIDER_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KTP_MAGIC 0x4b545031u /* "KTP1" */
#define KTP_ABI_MAJOR 1
#define KTP_ABI_MINOR 4

/* As kt_status_t; no other number is accepted from a provider (it counts as KTP_MALFORMED). */
typedef enum ktp_status {
    KTP_SUCCESS = 0,
    KTP_NOTFOUND = 1,
    KTP_GONE = 2,
    KTP_FORBIDDEN = 3,
    KTP_UNAVAIL = 4,
    KTP_TRYAGAIN = 5,
    KTP_MALFORMED = 6,
    KTP_CONFLICT = 7,
    KTP_NOSPACE = 8
} ktp_status_t;

/* What a provider is, declared as data. */
enum {
    KTP_SEALED = 1 << 0,   /* keeps opaque rows; else plain values */
    KTP_BLOCKING = 1 << 1, /* waits for a network or a process: never called from an event loop */
    KTP_VERSIONS = 1 << 2, /* plain: understands version selectors */
    KTP_WRITE = 1 << 3,    /* can write */
    KTP_LIST = 1 << 4,     /* can list (scan) */
    KTP_CAS = 1 << 5,      /* compare-and-set, on several rows at once if sealed */
    KTP_TOKEN = 1 << 6,    /* has a change token that costs no query */
    KTP_CLEAR_NAMES =
        1 << 7, /* sealed: rows are found by the clear name; there is no META and no NODE space */
    KTP_CREATE = 1 << 8, /* its store has to be created once (`keyturn init`) */
    KTP_ENVIRONMENT = 1 << 9 /* since 1.4: reads variables of the environment */
};

typedef struct ktp_instance ktp_instance_t; /* the provider's own */
typedef struct ktp_txn ktp_txn_t;           /* the provider's own */

/* A buffer of the host's in locked memory, for a plain provider's values: the host frees it. */
typedef struct ktp_buffer {
    unsigned char *data;
    size_t size;
} ktp_buffer_t;

/* One HTTP exchange, TLS >= 1.2 verified, no redirects. Strings belong to the caller; `answer`
 * comes from secret_alloc. */
typedef struct ktp_http {
    size_t size;
    const char *method, *url;
    const char *const *headers; /* "Name: value", NULL at the end; may be NULL */
    const void *body;
    size_t body_size;
    size_t answer_max;    /* more than this is KTP_MALFORMED */
    unsigned timeout;     /* milliseconds for all of it */
    const char *ca_file;  /* NULL: the system's */
    long status;          /* answered: HTTP status */
    ktp_buffer_t answer;  /* answered: the body; the provider gives it back by secret_free */
    unsigned retry_after; /* answered: seconds, 0: not said */
} ktp_http_t;

/* A command that runs to its end, since 1.4. Strings belong to the caller. */
typedef struct ktp_command {
    size_t size;
    const char *const *argv;        /* argv[0]: an absolute path; at most 32; NULL at the end */
    const char *const *environment; /* NAME=VALUE, beside PATH and LC_ALL; NULL at the end */
    size_t output_max;              /* more bytes than this are KTP_MALFORMED */
    unsigned timeout;               /* milliseconds */
    int exit;                       /* answered: 0 to 255; -1: a signal ended it */
    ktp_buffer_t output; /* answered: what it printed; the provider gives it back by secret_free */
} ktp_command_t;

/* What fn is given is valid during its call; `name` is not terminated. Not 0 ends it. */
typedef int (*ktp_pair_fn)(void *arg, const char *name, size_t name_size, const char *value,
                           size_t value_size);

/*
 * Services of the host, valid as long as the instance. `host` is passed back as it is.
 */
typedef struct ktp_services {
    size_t size;
    uint16_t abi_major, abi_minor;
    void *host;
    /* Locked, undumpable memory; zeroed. NULL: there is none left. secret_free wipes. */
    void *(*secret_alloc)(void *host, size_t size);
    void (*secret_free)(void *host, void *data);
    int64_t (*now)(void *host); /* wall clock, milliseconds since the epoch */
    void (*error)(void *host, const char *format, ...)
#if defined(__GNUC__)
        __attribute__((format(printf, 2, 3)))
#endif
        ;
    void (*debug)(void *host, const char *format, ...)
#if defined(__GNUC__)
        __attribute__((format(printf, 2, 3)))
#endif
        ;
    ktp_status_t (*http)(void *host, ktp_http_t *exchange);
    /* Since 1.2. Not 0: the caller does not want to wait any longer. A provider that waits for a
     * server asks ten times a second, by ktp_interrupted(), and then answers KTP_TRYAGAIN. */
    int (*interrupted)(void *host);
    /*
     * Since 1.3. Reads source number `index` of the KTP_SECRETS option `name` again, as it is now:
     * a credential may have changed since open. *ret_value comes from secret_alloc, and the
     * provider gives it back by secret_free. KTP_NOTFOUND: there are not so many sources.
     * KTP_UNAVAIL: it cannot be read, which the host says. Neither sets an error text.
     */
    ktp_status_t (*secret)(void *host, const char *name, size_t index, ktp_buffer_t *ret_value);
    /*
     * Since 1.4. Variable number `index`, "NAME=VALUE", of the environment that the process had
     * which read the configuration, before a host could clear it; NULL: there are not so many.
     * Values are secrets. The text is the host's, valid as long as the instance. For a provider
     * with KTP_ENVIRONMENT.
     */
    const char *(*variable)(void *host, size_t index);
    /*
     * Since 1.4. Reads NAME=VALUE lines as `dialect` does ("common", "npm", "python", "compose",
     * "docker", "systemd", "shell"); of two pairs with one name the later counts. `text` is secret
     * memory, and text[size] is a NUL; `file` is named in errors. KTP_MALFORMED: the dialect does
     * not read this, or there is none of the name; the host has said why.
     */
    ktp_status_t (*dotenv)(void *host, const char *dialect, const char *file, const char *text,
                           size_t size, ktp_pair_fn fn, void *arg);
    /*
     * Since 1.4. Runs a command without a shell, with no descriptor but its output, its error
     * output dropped, in a process group that ends with the time. Only root and this user may be
     * able to write it and the folders above. KTP_FORBIDDEN, KTP_UNAVAIL (also: the time is over),
     * KTP_TRYAGAIN, KTP_MALFORMED; the host has said why.
     */
    ktp_status_t (*run)(void *host, ktp_command_t *command);
} ktp_services_t;

/* The same with each version of the host. Part of the provider, not of the ABI. */
static inline int ktp_interrupted(const ktp_services_t *services)
{
    return services->size >=
               offsetof(ktp_services_t, interrupted) + sizeof(services->interrupted) &&
           services->interrupted(services->host);
}

/*
 * Says why through services->error() and answers `status`, so that a call can end by
 * `return ktp_fail(...)`. A text over 511 bytes is cut. Part of the provider, not of the ABI: every
 * host works with it.
 */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static inline ktp_status_t
ktp_fail(const ktp_services_t *services, ktp_status_t status, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    services->error(services->host, "%s", text);
    return status;
}

/* The value of a variable whose name has `size` bytes; NULL if it is not set or is empty, or if the
 * host is older. Part of the provider, not of the ABI. */
static inline const char *ktp_variable(const ktp_services_t *services, const char *name,
                                       size_t size)
{
    const char *text;

    if (services->size < offsetof(ktp_services_t, variable) + sizeof(services->variable))
        return NULL;
    for (size_t i = 0; (text = services->variable(services->host, i)) != NULL; i++) {
        if (strncmp(text, name, size) == 0 && text[size] == '=')
            return text[size + 1] != '\0' ? text + size + 1 : NULL;
    }
    return NULL;
}

/*
 * A secret's name, or a part of one, as a variable of the environment: upper case, and "_" for what
 * is neither a letter nor a digit; "general/x" is "x". `ret_variable` has room for size + 1 bytes;
 * the answer is its length. Part of the provider, not of the ABI.
 */
static inline size_t ktp_variable_name(const char *name, size_t size, char *ret_variable)
{
    static const char general[] = "general/";
    size_t skip = size >= sizeof general - 1 && memcmp(name, general, sizeof general - 1) == 0
                      ? sizeof general - 1
                      : 0;

    for (size_t i = skip; i < size; i++) {
        char c = name[i];

        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        else if (!(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9'))
            c = '_';
        ret_variable[i - skip] = c;
    }
    ret_variable[size - skip] = '\0';
    return size - skip;
}

/* Options are the entries under `providers: NAME:` of the configuration. The host checks them
 * against this table. */
typedef enum ktp_option_type {
    KTP_STRING,
    KTP_PATH, /* relative: to the configuration's folder; since 1.4 "$NAME..." stays as it is */
    KTP_NUMBER,
    KTP_DURATION /* milliseconds */,
    KTP_BOOL,
    KTP_SECRET, /* "file:PATH" read by the host: the contents, locked memory */
    KTP_STRINGS, /* since 1.3: one or a list; `text` has a newline between two */
    KTP_SECRETS, /* since 1.3: one or a list; `text` is the first one's, see service secret */
    KTP_MAP /* since 1.4: members that the user names, each one string or a list; `text` has a line
               for each member: its name and its strings, with a tab between two */
} ktp_option_type_t;

typedef struct ktp_option_spec {
    const char *name;
    ktp_option_type_t type;
    int required;
    const char *fallback; /* default, or NULL */
    const char *help;
} ktp_option_spec_t;

/* An option in a map is called "MAP.NAME" (since 1.3). */

/* In the order of the specification, all of them; text NULL if neither given nor defaulted.
 * `number` is set for NUMBER, DURATION, BOOL. */
typedef struct ktp_option {
    const char *name, *text;
    size_t text_size; /* a KTP_SECRET may hold any byte */
    int64_t number;
    const char *file; /* where it stands, for errors */
    int line;
} ktp_option_t;

/* ---- plain ---- */

typedef struct ktp_request {
    size_t size;
    const char *environment, *name; /* the whole name: type/name */
    const char *version;            /* "current", "previous", "pending" or a decimal number */
    unsigned timeout;               /* milliseconds */
} ktp_request_t;

typedef struct ktp_value {
    size_t size;
    ktp_buffer_t value; /* from secret_alloc, handed over to the host */
    uint64_t version;   /* 0: the provider has none */
    int64_t created, expires;
} ktp_value_t;

/* ---- sealed ---- */

typedef enum ktp_space {
    KTP_META = 0,  /* the catalogue, labels of types, roots: a few rows, key up to 64 bytes */
    KTP_HEAD = 1,  /* the head of a secret; `beside` is its current value's record */
    KTP_VALUE = 2, /* other kept values, by version */
    KTP_NODE = 3   /* the index */
} ktp_space_t;

#define KTP_KEY_MAX 64u
#define KTP_ROW_MAX 262144u /* bytes of a record */
#define KTP_TOKEN_SIZE 64u

typedef struct ktp_key {
    ktp_space_t space;
    unsigned char id[KTP_KEY_MAX]; /* for HEAD and VALUE the 32-byte keyed hash of the name */
    size_t id_size;
    uint64_t version; /* VALUE only */
    const char *name; /* for a provider with KTP_CLEAR_NAMES the name, NUL-terminated; else NULL */
} ktp_key_t;

/* Rows that get and scan answer are the provider's, valid until the next call with this
 * transaction. */
typedef struct ktp_row {
    const unsigned char *record;
    size_t record_size;
    const unsigned char *beside; /* HEAD only; NULL if there is none */
    size_t beside_size;
    uint64_t stamp; /* the writer's counter, compared by put and remove; never 0 in a row that is
                       there */
} ktp_row_t;

/*
 * What a sealed provider may know of a record: its clear header (docs/format.md). Numbers are
 * big-endian.
 *
 *   0  magic "KTRN"   4  format 1   5  algorithm   6  type (KTP_RECORD_*)   7  0
 *   8  key id, 16 bytes   24  secret id, 16 bytes   40  version (of a head: its write counter), 8
 * bytes 48 nonce, 24 bytes    72  ciphertext, at the end of it a tag of 16 bytes
 *
 * And the form in which a whole secret travels to a server that stores it (a bundle): "KTB" 0x01,
 * flags (bit 0: the second record is the current value), a zero byte, the number of records (2
 * bytes), then each record after its length (4 bytes): the head first, the current value, the other
 * kept values by falling version. The stamp of a HEAD row is the head's write counter; that of a
 * VALUE row is 1.
 */
#define KTP_RECORD_HEADER 72u
#define KTP_RECORD_TAG 16u
#define KTP_RECORD_TYPE_AT 6u
#define KTP_RECORD_ID_AT 24u
#define KTP_RECORD_VERSION_AT 40u
#define KTP_RECORD_VALUE 1u
#define KTP_RECORD_HEAD 2u
#define KTP_RECORD_LABEL 3u
#define KTP_RECORD_CATALOGUE 4u /* of META rows only */
#define KTP_RECORD_LEFT 5u
#define KTP_BUNDLE_HEADER 8u
#define KTP_BUNDLE_CURRENT 1u

/* ---- accounts, since 1.3: a password that a rotation changes on servers (`targets:`) ---- */

typedef struct ktp_text {
    const char *data; /* NULL: not given */
    size_t size;
} ktp_text_t;

enum {
    KTP_ACCOUNT_SAVE = 1 << 0,        /* the servers keep the change over a restart */
    KTP_ACCOUNT_REPLICATION = 1 << 1, /* the servers use the account among themselves */
    KTP_ACCOUNT_DEFAULT = 1 << 2      /* it is the one password of servers without accounts */
};

/* Strings and values belong to the host, and are valid during the call. */
typedef struct ktp_account {
    size_t size;
    const char *user;
    const char *const *servers;  /* all that know the account; addresses, NULL at the end */
    const char *const *monitors; /* that log in with it and watch the servers; may be empty */
    const char *monitored;       /* by what name they know the servers; NULL: their only one */
    const char *admin;           /* who changes it; NULL: the servers' default user */
    ktp_text_t admin_password, password, password_hash;
    const char *ca, *cert, *key; /* files of TLS; NULL: the system's authorities, none */
    const char *name;            /* in the servers' certificates; NULL: each one's host */
    const char *const *removed; /* SHA-256, in hex, of passwords that go; NULL at the end */
    unsigned flags;
    unsigned timeout; /* milliseconds for one exchange with one server, connecting included */
} ktp_account_t;

/*
 * CHECK: could it be done? On every server; changes nothing, and `password` is not given. SET:
 * every server accepts `password` too, and what it accepted before as well; the monitors use it.
 * TEST: every server lets the account log in with it. REMOVE: SET and TEST first, and then no
 * server accepts what `removed` names. Each may be repeated after an interruption anywhere.
 * KTP_CONFLICT from SET: no server accepts `password`, nor ever will without another SET. Other
 * failures: it is not known.
 */
typedef enum ktp_account_step {
    KTP_ACCOUNT_CHECK,
    KTP_ACCOUNT_SET,
    KTP_ACCOUNT_TEST,
    KTP_ACCOUNT_REMOVE
} ktp_account_step_t;

/* A non-zero answer ends the scan. */
typedef int (*ktp_scan_fn)(void *arg, const ktp_key_t *key, const ktp_row_t *row);

typedef struct ktp_provider {
    uint32_t magic;
    uint16_t abi_major, abi_minor;
    size_t size;
    const char *name;
    uint32_t capabilities;
    const ktp_option_spec_t *options; /* ends with a NULL name */

    /* Mandatory. `options` belong to the host and live as long as the instance. open does not wait
     * for a network. */
    ktp_status_t (*open)(const ktp_services_t *services, const ktp_option_t *options, size_t count,
                         ktp_instance_t **ret_instance);
    void (*close)(ktp_instance_t *instance);
    /* Reachable and willing? Mandatory. `writing` asks for more than reading. */
    ktp_status_t (*check)(ktp_instance_t *instance, int writing);
    /* With KTP_CREATE: makes an empty store; KTP_CONFLICT if there is one. */
    ktp_status_t (*create)(ktp_instance_t *instance);

    /* Plain. */
    ktp_status_t (*get)(ktp_instance_t *instance, const ktp_request_t *request,
                        ktp_value_t *ret_value);
    ktp_status_t (*put)(ktp_instance_t *instance, const ktp_request_t *request,
                        const ktp_value_t *value, uint64_t *ret_version);
    ktp_status_t (*remove)(ktp_instance_t *instance, const ktp_request_t *request);
    ktp_status_t (*list)(ktp_instance_t *instance, int (*fn)(void *arg, const char *name),
                         void *arg);

    /*
     * Sealed. One transaction at a time and instance. A writing one sees what others committed
     * before begin and nothing later (KTP_TRYAGAIN if it does not get the lock within `timeout`
     * milliseconds); a reading one sees one snapshot. `expected` is the stamp that the row must
     * have, 0: it must be absent; else KTP_CONFLICT, from put, remove or, where only the server can
     * tell, commit. commit and abort end the transaction, whatever they answer; a commit that
     * answered KTP_SUCCESS survives a power cut.
     */
    ktp_status_t (*begin)(ktp_instance_t *instance, int writing, unsigned timeout,
                          ktp_txn_t **ret_txn);
    ktp_status_t (*row_get)(ktp_txn_t *txn, const ktp_key_t *key, ktp_row_t *ret_row);
    ktp_status_t (*row_put)(ktp_txn_t *txn, const ktp_key_t *key, const ktp_row_t *row,
                            uint64_t expected);
    ktp_status_t (*row_remove)(ktp_txn_t *txn, const ktp_key_t *key, uint64_t expected);
    ktp_status_t (*row_scan)(ktp_txn_t *txn, ktp_space_t space, ktp_scan_fn fn, void *arg);
    ktp_status_t (*commit)(ktp_txn_t *txn);
    void (*abort)(ktp_txn_t *txn);
    /* With KTP_TOKEN: bytes that differ after any commit by any process. Usually costs no query and
     * no system call. */
    ktp_status_t (*token)(ktp_instance_t *instance, unsigned char ret_token[KTP_TOKEN_SIZE]);
    /*
     * Since 1.1. Sealed, may be NULL. In a writing transaction, after all its rows are put: `bytes`
     * stay free after its commit, so that a later transaction of that size does not run out of
     * space; for that one it is not called again. KTP_NOSPACE.
     */
    ktp_status_t (*reserve)(ktp_txn_t *txn, uint64_t bytes);
    /* Since 1.3. Sealed, may be NULL. After a HEAD row is put: when its secret ends by itself, in
     * milliseconds since the epoch; 0: never. */
    ktp_status_t (*expire)(ktp_txn_t *txn, const ktp_key_t *key, int64_t when);
    /* Since 1.3. May be NULL. Needs no instance; waits for servers. */
    ktp_status_t (*account)(const ktp_services_t *services, const ktp_account_t *account,
                            ktp_account_step_t step);
    /*
     * Since 1.3. Sealed, both or neither may be NULL. publish is commit, but others may see the
     * transaction before it survives a power cut. What it answers counts as for commit: after
     * KTP_SUCCESS it survives, and after another answer others may still see it. The host calls it
     * where it makes the change again if a power cut took it.
     * sync: what others may have seen of transactions so far survives a power cut. The host calls
     * it before it writes down, where it lasts, what it has read. It may run beside another call on
     * the instance, on another thread.
     */
    ktp_status_t (*publish)(ktp_txn_t *txn);
    ktp_status_t (*sync)(ktp_instance_t *instance);
} ktp_provider_t;

#define KTP_HEADER                                                                                 \
    .magic = KTP_MAGIC, .abi_major = KTP_ABI_MAJOR, .abi_minor = KTP_ABI_MINOR,                    \
    .size = sizeof(ktp_provider_t)

#ifdef __cplusplus
}
#endif

#endif /* KEYTURN_PROVIDER_H */
