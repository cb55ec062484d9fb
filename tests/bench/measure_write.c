/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * measure_write.c: writes, each durable when it is acknowledged, beside a commit of SQLite alone;
 * and what reads every secret.
 *
 *     measure_write ROUNDS COUNT FOLDER
 *
 * COUNT secrets are in the store of FOLDER. Prints set, rotate (microseconds of wall clock, because
 * they mostly wait for the disk) and commit (one row, synchronous=FULL, in a database beside
 * the store), their CPU as set.cpu, rotate.cpu, commit.cpu; and list, verify, backup: nanoseconds
 * of CPU for each secret. The process has a thread that drains its ring and syncs its anchors each
 * second, as a server has.
 */
#define _GNU_SOURCE
#include <err.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define NAME "api-keys/k0000000"
#define EACH 5u /* writes in one sample */

typedef struct writes {
    kt_ctx_t *ctx;
    pthread_t draining;
    sqlite3 *db;
    sqlite3_stmt *update;
    char backup[4096];
} writes_t;

static void set(void *arg, unsigned i)
{
    writes_t *writes = arg;
    kt_request_t req = bench_request(NAME);
    kt_secret_t *value = kt_secret_new("0123456789abcdef0123456789abcdef01234567", 40);

    (void)i;
    bench_must(writes->ctx, kt_put(writes->ctx, &req, value, NULL, NULL));
    kt_secret_free(value);
}

static void rotate(void *arg, unsigned i)
{
    writes_t *writes = arg;
    kt_request_t req = bench_request(NAME);
    kt_rotate_options_t options = KT_ROTATE_INIT;

    (void)i;
    options.store_only = 1;
    options.generate = 1; /* the value was set, and so counts as issued */
    bench_must(writes->ctx, kt_rotate(writes->ctx, &req, &options, NULL));
}

static void commit(void *arg, unsigned i)
{
    writes_t *writes = arg;

    (void)sqlite3_bind_int(writes->update, 1, (int)(bench_random() + i));
    if (sqlite3_step(writes->update) != SQLITE_DONE || sqlite3_reset(writes->update) != SQLITE_OK)
        errx(70, "sqlite: %s", sqlite3_errmsg(writes->db));
}

static void run_wall(const char *name, bench_fn fn, writes_t *writes)
{
    double wall = bench_clock(CLOCK_MONOTONIC), cpu = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
    char cpu_name[32];

    for (unsigned i = 0; i < EACH; i++)
        fn(writes, i);
    bench_sample(name, (bench_clock(CLOCK_MONOTONIC) - wall) / EACH / 1000);
    (void)snprintf(cpu_name, sizeof(cpu_name), "%s.cpu", name);
    bench_sample(cpu_name, (bench_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu) / EACH / 1000);
}

/* ---- all secrets ---- */

static int see_entry(void *arg, const kt_entry_t *entry)
{
    (void)arg;
    return entry->version == 0;
}

static void list(void *arg, unsigned i)
{
    writes_t *writes = arg;
    kt_request_t req = bench_request("*");

    (void)i;
    bench_must(writes->ctx, kt_list(writes->ctx, &req, see_entry, NULL, NULL));
}

static void see_finding(void *arg, kt_status_t status, const char *what, const char *detail)
{
    (void)arg;
    if (status != KT_SUCCESS)
        warnx("%s: %s", what, detail);
}

static void verify(void *arg, unsigned i)
{
    writes_t *writes = arg;

    (void)i;
    bench_must(writes->ctx, kt_verify(writes->ctx, see_finding, NULL));
}

static void backup(void *arg, unsigned i)
{
    writes_t *writes = arg;
    kt_request_t req = bench_request(NULL);
    kt_backup_count_t count = KT_BACKUP_COUNT_INIT;

    (void)i;
    bench_must(writes->ctx, kt_backup(writes->ctx, &req, writes->backup, &count));
    (void)unlink(writes->backup);
}

static void run_all(const char *name, bench_fn fn, writes_t *writes, unsigned count)
{
    double cpu = bench_clock(CLOCK_THREAD_CPUTIME_ID);

    fn(writes, 0);
    bench_sample(name, (bench_clock(CLOCK_THREAD_CPUTIME_ID) - cpu) / count);
}

static void open_plain(const char *folder, writes_t *writes)
{
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/plain.db", folder);
    if (sqlite3_open(path, &writes->db) != SQLITE_OK ||
        sqlite3_exec(writes->db,
                     "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE plain (id "
                     "INTEGER PRIMARY KEY, n, v);"
                     "INSERT INTO plain VALUES (1, 0, randomblob(400))",
                     NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(writes->db, "UPDATE plain SET n = ?1, v = randomblob(400) WHERE id = 1",
                           -1, &writes->update, NULL) != SQLITE_OK)
        errx(70, "%s: %s", path, sqlite3_errmsg(writes->db));
}

int main(int argc, char **argv)
{
    unsigned rounds = bench_number(argc, argv, 1), count = bench_number(argc, argv, 2);
    writes_t writes;
    char config[4096];

    if (argc != 4)
        errx(64, "usage: measure_write ROUNDS COUNT FOLDER");
    (void)snprintf(config, sizeof(config), "%s/keyturn.yaml", argv[3]);
    (void)snprintf(writes.backup, sizeof(writes.backup), "%s/backup", argv[3]);
    writes.ctx = bench_open_drained(config, &writes.draining);
    open_plain(argv[3], &writes);
    for (unsigned round = 0; round < rounds; round++) {
        run_wall("commit", commit, &writes);
        run_wall("set", set, &writes);
        run_wall("rotate", rotate, &writes);
        if (round % 3 == 0) {
            run_all("list", list, &writes, count);
            run_all("verify", verify, &writes, count);
            run_all("backup", backup, &writes, count);
        }
    }
    (void)sqlite3_finalize(writes.update);
    (void)sqlite3_close(writes.db);
    bench_close_drained(writes.ctx, writes.draining);
    return 0;
}
