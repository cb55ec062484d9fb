/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * measure_read.c: what a read costs that is proved by the index, in stores of several sizes, beside
 * the same row read by SQLite alone.
 *
 *     measure_read ROUNDS COUNT FOLDER...
 *
 * Each FOLDER holds keyturn.yaml (with a cache that keeps nothing), test.db and names. Prints for
 * the n-th folder get.N (kt_get: proof, seals, policy, trail), probe.N (kt_probe: the same without
 * the trail) and sqlite.N (a prepared SELECT by the row's id).
 */
#define _GNU_SOURCE
#include <err.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

typedef struct store {
    kt_ctx_t *ctx;
    pthread_t draining;
    sqlite3 *db;
    sqlite3_stmt *select;
    bench_name_t *names;
    size_t count;
    uint32_t *picked; /* for one sample */
} store_t;

static void get(void *arg, unsigned i)
{
    store_t *store = arg;
    kt_request_t req = bench_request(store->names[store->picked[i]].name);
    kt_secret_t *secret = NULL;

    bench_must(store->ctx, kt_get(store->ctx, &req, &secret));
    kt_secret_free(secret);
}

static void probe(void *arg, unsigned i)
{
    store_t *store = arg;
    kt_request_t req = bench_request(store->names[store->picked[i]].name);

    bench_must(store->ctx, kt_probe(store->ctx, &req));
}

static void select_row(void *arg, unsigned i)
{
    store_t *store = arg;

    (void)sqlite3_bind_blob(store->select, 1, store->names[store->picked[i]].id, 32, SQLITE_STATIC);
    if (sqlite3_step(store->select) != SQLITE_ROW || sqlite3_column_bytes(store->select, 2) == 0)
        errx(70, "sqlite: %s", sqlite3_errmsg(store->db));
    (void)sqlite3_reset(store->select);
}

static void open_store(const char *folder, unsigned count, store_t *store)
{
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/names", folder);
    store->count = bench_names(path, &store->names);
    store->picked = calloc(count, sizeof(*store->picked));
    (void)snprintf(path, sizeof(path), "%s/keyturn.yaml", folder);
    store->ctx = bench_open_drained(path, &store->draining);
    (void)snprintf(path, sizeof(path), "%s/test.db", folder);
    if (store->picked == NULL ||
        sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) !=
            SQLITE_OK ||
        sqlite3_prepare_v3(store->db, "SELECT stamp, record, value FROM head WHERE id = ?1", -1,
                           SQLITE_PREPARE_PERSISTENT, &store->select, NULL) != SQLITE_OK)
        errx(70, "%s: %s", path, sqlite3_errmsg(store->db));
}

static void close_store(store_t *store)
{
    (void)sqlite3_finalize(store->select);
    (void)sqlite3_close(store->db);
    bench_close_drained(store->ctx, store->draining);
    free(store->names);
    free(store->picked);
}

static void run(const char *what, size_t n, bench_fn fn, store_t *store, unsigned count)
{
    char name[32];

    /* again, because otherwise the first to read them would warm the caches for the next */
    for (unsigned i = 0; i < count; i++)
        store->picked[i] = bench_random() % (uint32_t)store->count;
    (void)snprintf(name, sizeof(name), "%s.%zu", what, n);
    bench_run(name, fn, store, count);
}

int main(int argc, char **argv)
{
    unsigned rounds = bench_number(argc, argv, 1), count = bench_number(argc, argv, 2);
    size_t nstores = (size_t)argc - 3;
    store_t *stores = calloc(nstores + 1, sizeof(*stores));

    for (size_t n = 0; n < nstores; n++)
        open_store(argv[n + 3], count, &stores[n]);
    for (unsigned round = 0; round < rounds; round++) {
        for (size_t n = 0; n < nstores; n++) {
            run("sqlite", n, select_row, &stores[n], count);
            run("get", n, get, &stores[n], count);
            run("probe", n, probe, &stores[n], count);
        }
    }
    for (size_t n = 0; n < nstores; n++)
        close_store(&stores[n]);
    free(stores);
    return 0;
}
