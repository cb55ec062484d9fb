/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conformance.h: the driver: the suite that every provider must pass.
 *
 *   conformance.c   command line: the suite, or one action for a test in another language
 *   host.c          a host of its own: loads a provider, gives it services, watches each call
 *   rows.c          made-up secrets whose records have true clear headers
 *   checks.c        the sentences of keyturn_provider.h, one check each: what it declares,
 *                   and rows
 *   checks_txn.c    ... compare-and-set and transactions
 *   checks_many.c   ... lists, tokens, processes, threads, 1000 random operations
 *   checks_plain.c  ... values of providers that are not sealed
 */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include <keyturn_provider.h>
#include <stdbool.h>
#include <stdint.h>

#define RECORD_OVERHEAD 92u /* header, length and tag around the padded plain text of format 1 */
#define CLASS_MIN 64u       /* the plain text's size is a power of two from here ... */
#define CLASS_MAX 131072u   /* ... to here */
#define WAIT 5000u          /* milliseconds for a lock, where a check is not about waiting */

/* ---- host.c ---- */

typedef struct session {
    ktp_services_t services;
    ktp_instance_t *instance; /* NULL: not in use */
    ktp_txn_t *txn;           /* NULL: none is open */
    unsigned errors;          /* of the call that runs */
    unsigned blocks;          /* of secret memory that the provider has now */
    char error[600];
} session_t;

extern const ktp_provider_t *provider;
extern const char *provider_path;
extern char **provider_options; /* name=value, NULL at the end */

/* Loads the provider and reads its options; says on stderr what is wrong and ends the program. */
void host_load(const char *path, char **options);
bool host_can(uint32_t capability);
/* An open instance, closed by host_close_all() at the latest. Ends the program if it cannot open
 * one. */
session_t *host_open(void);
void host_close(session_t *session);
void host_close_all(void);
/* Calls that broke a rule that holds for each call (host.c has them); what was wrong goes to stdout
 * as a comment. */
extern unsigned host_violations;

ktp_status_t s_check(session_t *s, int writing);
ktp_status_t s_create(session_t *s);
ktp_status_t s_begin(session_t *s, int writing, unsigned timeout);
ktp_status_t s_get(session_t *s, const ktp_key_t *key, ktp_row_t *ret_row);
ktp_status_t s_put(session_t *s, const ktp_key_t *key, const ktp_row_t *row, uint64_t expected);
ktp_status_t s_remove(session_t *s, const ktp_key_t *key, uint64_t expected);
ktp_status_t s_scan(session_t *s, ktp_space_t space, ktp_scan_fn fn, void *arg);
ktp_status_t s_commit(session_t *s);
/* As a host does: commit, and nothing, by a provider that has no publish and no sync. */
bool host_can_publish(void);
ktp_status_t s_publish(session_t *s);
ktp_status_t s_sync(session_t *s);
void s_abort(session_t *s);
ktp_status_t s_token(session_t *s, unsigned char ret_token[KTP_TOKEN_SIZE]);
/* Plain. The value is in memory of the session's secret_alloc; value_free() gives it back. */
ktp_status_t s_value_get(session_t *s, const char *name, const char *version,
                         ktp_value_t *ret_value);
ktp_status_t s_value_put(session_t *s, const char *name, const void *data, size_t size,
                         uint64_t *ret_version);
ktp_status_t s_value_remove(session_t *s, const char *name);
ktp_status_t s_list(session_t *s, int (*fn)(void *arg, const char *name), void *arg);
void value_free(session_t *s, ktp_value_t *value);
/* Runs this program with `action` and the provider's options and waits for it; its exit status. */
int host_run(const char *action, const char *argument);

/* ---- rows.c ---- */

/* A made-up secret. With KTP_CLEAR_NAMES a server looks at the clear headers, so that a head's
 * stamp is its write counter and goes up by one, and everything about one secret has one id. */
typedef struct secret {
    uint64_t run; /* tells runs on the same server apart */
    unsigned number;
    char name[256];
} secret_t;

extern uint64_t rows_run;

void secret_init(secret_t *secret, unsigned number);
ktp_key_t head_key(const secret_t *secret);
ktp_key_t value_key(const secret_t *secret, uint64_t version);
ktp_key_t plain_key(ktp_space_t space, const void *id, size_t size);
/* A record with its clear header; the caller frees it. The same arguments make the same bytes. */
unsigned char *make_record(const secret_t *secret, unsigned type, uint64_t version, size_t class);
/* The row of a head at its write counter, or of a value; row_free() frees it. The current value is
 * version `counter`. */
ktp_row_t head_row(const secret_t *secret, uint64_t counter, size_t class);
ktp_row_t value_row(const secret_t *secret, uint64_t version, size_t class);
ktp_row_t plain_row(uint64_t stamp, size_t size, uint64_t seed);
void row_free(ktp_row_t *row);
bool row_equal(const ktp_row_t *a, const ktp_row_t *b);
uint64_t random_number(uint64_t *state);

/* The usual steps in transactions of their own. */
ktp_status_t write_head(session_t *s, const secret_t *secret, uint64_t counter, uint64_t expected,
                        size_t class);
/* Reads the head: its counter, 0 if there is none, UINT64_MAX on an error or if the bytes are not
 * those of this counter. */
uint64_t read_head(session_t *s, const secret_t *secret, size_t class);

/* A secret that no check has touched. */
secret_t fresh_secret(void);
/* Inside the open transaction: head and kept values in the shape of a rotation. What was current
 * (version counter - 1) becomes a row of its own, version `drop` goes unless it is 0. */
ktp_status_t rotate(session_t *s, const secret_t *secret, uint64_t counter, uint64_t drop);
/* Inside the open transaction: is this kept value there, as rotate() put it? */
bool has_value(session_t *s, const secret_t *secret, uint64_t version);
/* One row in a transaction of its own, whatever an earlier run has left there; NULL, or what is
 * wrong. */
const char *put_one(session_t *s, const ktp_key_t *key, const ktp_row_t *row);
const char *get_one(session_t *s, const ktp_key_t *key, const ktp_row_t *row);

#define SMALL 128u /* the size class, where a check is not about sizes */

/* ---- checks.c, checks_txn.c, checks_many.c, checks_plain.c ---- */

typedef struct check {
    const char *name;
    const char *(*run)(void); /* NULL, or what is wrong */
    uint32_t needs;           /* capabilities */
    bool hidden_names;        /* only without KTP_CLEAR_NAMES */
} check_t;

/* Each ends with a NULL name. */
extern const check_t checks[], checks_rows[], checks_txn[], checks_many[], checks_plain[];

#define STRING_OF(x) #x
#define LINE_OF(x) STRING_OF(x)
/* For the checks, which answer what is wrong. */
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return __FILE__ ":" LINE_OF(__LINE__) ": " #condition;                                 \
    } while (0)

#endif /* CONFORMANCE_H */
