/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inside_counts.c: does one thing COUNT times, inside counted(), for a test that counts its
 * instructions by callgrind.
 *
 *     inside_counts CASE COUNT FOLDER
 *
 * The cases are in the table below. FOLDER has keyturn.yaml and a store of tests/bench/fill.
 * Whatever a case needs once is done before counted(), so one run is enough.
 */
#include <err.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "serve/serve.h"
#include "bench.h"

#define NAME "api-keys/k0000000"

/* valgrind 3.19 does not know mlock2(2), without which no key of a value is remembered. */
int mlock2(const void *address, size_t size, unsigned flags);
int mlock2(const void *address, size_t size, unsigned flags)
{
    (void)flags;
    return mlock(address, size);
}

typedef struct counts {
    const char *config; /* path of keyturn.yaml */
    unsigned count;
    kt_ctx_t *ctx;
    kt_request_t req;
    pthread_t draining;
    kt_audit_t *audit;
    kt_config_t *read;
} counts_t;

static void must(kt_status_t status)
{
    if (status != KT_SUCCESS)
        errx(kt_status_exit(status), "%s", kt_failure());
}

/* The only function of which callgrind collects: the test names it, so it stays one. */
void counted(bench_fn fn, void *arg, unsigned count);
__attribute__((noinline)) void counted(bench_fn fn, void *arg, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fn(arg, i);
}

/* ---- a read that the cache answers, in a process whose records a thread drains ---- */

static void get(void *arg, unsigned i)
{
    counts_t *counts = arg;
    kt_secret_t *secret = NULL;

    (void)i;
    bench_must(counts->ctx, kt_get(counts->ctx, &counts->req, &secret));
    kt_secret_free(secret);
}

static void count_cached(counts_t *counts)
{
    counts->ctx = bench_open_drained(counts->config, &counts->draining);
    counts->req = bench_request(NAME);
    get(counts, 0);
    get(counts, 0);
    counted(get, counts, counts->count);
    bench_close_drained(counts->ctx, counts->draining);
}

/* ---- a value that is wrong, and one for a name that does not exist ---- */

static void match(void *arg, unsigned i)
{
    counts_t *counts = arg;
    kt_match_t match = KT_MATCH_INIT;

    (void)i;
    match.given = "0123456789abcdef0123456789abcdef";
    match.given_size = 32;
    match.grace = 86400000;
    bench_must(counts->ctx, kt_match(counts->ctx, &counts->req, &match));
    if (match.ret_matches)
        errx(1, "it matches");
}

static void count_match(counts_t *counts, const char *name)
{
    counts->ctx = bench_open_drained(counts->config, &counts->draining);
    counts->req = bench_request(name);
    match(counts, 0);
    match(counts, 0);
    counted(match, counts, counts->count);
    bench_close_drained(counts->ctx, counts->draining);
}

static void count_wrong(counts_t *counts)
{
    count_match(counts, NAME);
}

static void count_unknown(counts_t *counts)
{
    count_match(counts, "api-keys/n0000000");
}

/* ---- reads without a cache, of names that were all read before; and writes ---- */

static bench_name_t *names;
static size_t nnames;

/* Not in the order in which they lie in the file of a store. */
static const bench_name_t *nth_name(unsigned i)
{
    return &names[(size_t)i * 7919 % nnames];
}

static void read_one(void *arg, unsigned i)
{
    counts_t *counts = arg;
    kt_request_t req = bench_request(nth_name(i)->name);
    kt_secret_t *secret = NULL;

    bench_must(counts->ctx, kt_get(counts->ctx, &req, &secret));
    kt_secret_free(secret);
}

static void open_names(counts_t *counts)
{
    char path[4096];

    (void)snprintf(path, sizeof(path), "%.*snames", (int)(strlen(counts->config) - 12),
                   counts->config);
    nnames = bench_names(path, &names);
    counts->ctx = bench_open_drained(counts->config, &counts->draining);
}

static void close_names(counts_t *counts)
{
    bench_close_drained(counts->ctx, counts->draining);
    free(names);
}

static void count_read(counts_t *counts)
{
    open_names(counts);
    for (unsigned i = 0; i < nnames; i++)
        read_one(counts, i);
    counted(read_one, counts, counts->count);
    close_names(counts);
}

static void count_turns(counts_t *counts)
{
    open_names(counts);
    nnames = 10;
    for (unsigned i = 0; i < 2 * nnames; i++)
        read_one(counts, i);
    counted(read_one, counts, counts->count);
    close_names(counts);
}

/* Names that were not read before, but for the first one. */
static void read_next(void *arg, unsigned i)
{
    read_one(arg, i + 1);
}

static void count_first(counts_t *counts)
{
    open_names(counts);
    if (counts->count >= nnames)
        errx(64, "there are %zu names", nnames);
    read_one(counts, 0);
    counted(read_next, counts, counts->count);
    close_names(counts);
}

static void set(void *arg, unsigned i)
{
    counts_t *counts = arg;
    kt_request_t req = bench_request(NAME);
    kt_secret_t *value = kt_secret_new("0123456789abcdef0123456789abcdef01234567", 40);

    (void)i;
    bench_must(counts->ctx, kt_put(counts->ctx, &req, value, NULL, NULL));
    kt_secret_free(value);
}

static void count_set(counts_t *counts)
{
    counts->ctx = bench_open(counts->config);
    for (unsigned i = 0; i < 12; i++) /* then each one also removes the oldest version */
        set(counts, i);
    counted(set, counts, counts->count);
    kt_close(counts->ctx);
}

/* In a process with a thread of the audit log, as a server has. */
static void count_set_with_thread(counts_t *counts)
{
    counts->ctx = bench_open_drained(counts->config, &counts->draining);
    for (unsigned i = 0; i < counts->count; i++)
        set(counts, i);
    bench_close_drained(counts->ctx, counts->draining);
}

/* A rotation that ends in two halves, as in PostgreSQL. */
static void rotate(void *arg, unsigned i)
{
    static const kt_target_ops_t ops = {sizeof(kt_target_ops_t), "test", NULL, NULL};
    counts_t *counts = arg;
    kt_request_t req = bench_request(NAME);
    kt_rotate_options_t options = KT_ROTATE_INIT;
    kt_rotation_t *rotation = NULL;
    kt_prepared_t *prepared = NULL;

    (void)i;
    options.target = &ops;
    options.generate = 1;
    bench_must(counts->ctx, kt_rotation_create(counts->ctx, &req, &options, &rotation));
    bench_must(counts->ctx, kt_rotations_prepare(&rotation, 1, 0, &prepared));
    bench_must(counts->ctx, kt_prepared_commit(prepared));
}

static void count_rotate(counts_t *counts)
{
    counts->ctx = bench_open(counts->config);
    counted(rotate, counts, counts->count);
    kt_close(counts->ctx);
}

/* ---- a record ---- */

static void record(void *arg, unsigned i)
{
    static const kt_event_t event = {.action = "read",
                                     .subject = "nginx:shop.example",
                                     .peer = "192.0.2.7",
                                     .reference = "api-keys/stripe",
                                     .version = 7,
                                     .provider = "local",
                                     .status = "success",
                                     .request_id = "8f14e45fceea167a"};
    counts_t *counts = arg;

    (void)i;
    must(kt_audit_write(counts->audit, &event));
}

static void open_audit(counts_t *counts)
{
    must(kt_config_read(counts->config, &counts->read));
    must(kt_audit_open(counts->read, "nginx", &counts->audit));
    record(counts, 0);
    must(kt_audit_drain(counts->audit));
}

static void close_audit(counts_t *counts)
{
    kt_audit_close(counts->audit);
    kt_config_unref(counts->read);
}

/* Into the ring: fewer than what fills half of it, so that nothing is drained. */
static void count_ring(counts_t *counts)
{
    open_audit(counts);
    counted(record, counts, counts->count);
    close_audit(counts);
}

/* Until their lines are sealed and on the disk. The process has no thread for that, so the drains
 * are in the count, each time that the ring is half full. */
static void record_all(void *arg, unsigned i)
{
    counts_t *counts = arg;

    record(counts, i);
    if (i == counts->count - 1)
        must(kt_audit_drain(counts->audit));
}

static void count_line(counts_t *counts)
{
    open_audit(counts);
    counted(record_all, counts, counts->count);
    close_audit(counts);
}

/* ---- what `verify` reads of the audit log, for each line ---- */

static void expect(void *arg, const char *type, uint64_t generation,
                   const unsigned char store_id[KT_ID_SIZE], const char *where)
{
    (void)arg;
    (void)type;
    (void)generation;
    (void)store_id;
    (void)where;
}

static void read_lines(void *arg, unsigned i)
{
    const counts_t *counts = arg;

    (void)i;
    must(kt_audit_all_generations(counts->read->audit_path, "nginx", "local", expect, NULL, NULL,
                                  NULL));
}

/* As many lines as were asked for, or a few more, all read once. */
static void count_lines_read(counts_t *counts)
{
    unsigned i;

    open_audit(counts);
    for (i = 0; i < counts->count; i++)
        record(counts, i);
    must(kt_audit_drain(counts->audit));
    counted(read_lines, counts, 1);
    close_audit(counts);
}

/* ---- the row of a read, by SQLite alone ---- */

static sqlite3_stmt *row;

static void read_row(void *arg, unsigned i)
{
    (void)arg;
    (void)sqlite3_bind_blob(row, 1, nth_name(i)->id, 32, SQLITE_STATIC);
    if (sqlite3_step(row) != SQLITE_ROW || sqlite3_column_bytes(row, 2) == 0)
        errx(70, "a row is missing");
    (void)sqlite3_reset(row);
}

static void count_row(counts_t *counts)
{
    char path[4096];
    sqlite3 *db = NULL;

    (void)snprintf(path, sizeof(path), "%.*snames", (int)(strlen(counts->config) - 12),
                   counts->config);
    nnames = bench_names(path, &names);
    (void)snprintf(path, sizeof(path), "%.*stest.db", (int)(strlen(counts->config) - 12),
                   counts->config);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
        sqlite3_prepare_v3(db, "SELECT stamp, record, value FROM head WHERE id = ?1", -1,
                           SQLITE_PREPARE_PERSISTENT, &row, NULL) != SQLITE_OK)
        errx(70, "%s: %s", path, sqlite3_errmsg(db));
    for (unsigned i = 0; i < nnames; i++)
        read_row(NULL, i);
    counted(read_row, NULL, counts->count);
    (void)sqlite3_finalize(row);
    (void)sqlite3_close(db);
    free(names);
}

/* ---- libsodium alone ---- */

static void open_bare(void *arg, unsigned i)
{
    static unsigned char sealed[32 + crypto_aead_xchacha20poly1305_ietf_ABYTES],
        nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES],
        key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES], plain[32];

    (void)i;
    if (arg == NULL)
        (void)crypto_aead_xchacha20poly1305_ietf_encrypt(sealed, NULL, plain, sizeof(plain), NULL,
                                                         0, NULL, nonce, key);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(plain, NULL, NULL, sealed, sizeof(sealed), NULL,
                                                   0, nonce, key) != 0)
        errx(70, "the bare seal does not hold");
}

static void count_open(counts_t *counts)
{
    open_bare(NULL, 0);
    counted(open_bare, counts, counts->count);
}

static void hash(void *arg, unsigned i)
{
    static unsigned char text[200], key[crypto_generichash_KEYBYTES];
    unsigned char out[crypto_generichash_BYTES];

    (void)arg;
    text[0] = (unsigned char)i;
    (void)crypto_generichash(out, sizeof(out), text, sizeof(text), key, sizeof(key));
}

static void count_hash(counts_t *counts)
{
    hash(NULL, 0);
    counted(hash, NULL, counts->count);
}

static const struct {
    const char *name;
    void (*fn)(counts_t *counts);
} cases[] = {
    {"cached", count_cached}, /* kt_get() */
    {"turns", count_turns},   /* of ten names in turn, as for ten headers of a request */
    {"read", count_read},     /* the same without a cache, with its proof: FOLDER says so */
    {"first", count_first},   /* the first reads of as many names */
    {"set", count_set},       /* kt_put() */
    {"served", count_set_with_thread},
    {"rotate", count_rotate},    /* kt_prepared_commit() */
    {"wrong", count_wrong},      /* kt_match() with another value */
    {"unknown", count_unknown},  /* kt_match() for a name that does not exist */
    {"ring", count_ring},        /* a record that is put into the ring */
    {"line", count_line},        /* a record until it is a sealed line on the disk */
    {"lines", count_lines_read}, /* `verify` looks for generations in a line of the audit log */
    {"row", count_row},          /* SQLite alone reads the row that "read" does */
    {"open", count_open},        /* libsodium opens a sealed value of 32 bytes */
    {"hash", count_hash},        /* a keyed BLAKE2b of 200 bytes */
};

int main(int argc, char **argv)
{
    counts_t counts = {.count = bench_number(argc, argv, 2)};
    char path[4096];

    if (argc != 4 || sodium_init() < 0)
        errx(64, "usage: inside_counts CASE COUNT FOLDER");
    (void)snprintf(path, sizeof(path), "%s/keyturn.yaml", argv[3]);
    counts.config = path;
    for (size_t i = 0; i < KT_ARRAY(cases); i++) {
        if (strcmp(argv[1], cases[i].name) == 0) {
            cases[i].fn(&counts);
            return 0;
        }
    }
    errx(64, "no case %s", argv[1]);
}
