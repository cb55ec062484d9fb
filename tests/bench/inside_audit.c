/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inside_audit.c: records into the ring, lines out of it, and their proof.
 *
 *     inside_audit ROUNDS COUNT FOLDER
 *
 * Prints ring (a record that a thread puts), line (the same until it is a line, sealed and on the
 * disk), blake (a keyed BLAKE2b of 200 bytes by libsodium), each as nanoseconds of the thread's
 * CPU; verified (lines a second of kt_audit_verify, of its CPU); and append.p50, append.p999:
 * nanoseconds by the wall clock that a record takes its producer, one every 20 microseconds, while
 * another thread drains and syncs every 10 milliseconds.
 */
#define _GNU_SOURCE
#include <err.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "serve/serve.h"
#include "bench.h"

#define PACE 20000.0 /* ns between two records */
#define SYNC 10000   /* us between two drains */
#define START 100000 /* us, until the thread drains (bench.c) */

static kt_audit_t *audit;
static atomic_bool over;

static void must(kt_status_t status)
{
    if (status != KT_SUCCESS)
        errx(kt_status_exit(status), "%s", kt_failure());
}

static void put(void)
{
    static const kt_event_t event = {.action = "read",
                                     .subject = "nginx:shop.example",
                                     .peer = "192.0.2.7",
                                     .reference = "api-keys/stripe",
                                     .version = 7,
                                     .provider = "local",
                                     .status = "success",
                                     .request_id = "8f14e45fceea167a"};

    must(kt_audit_write(audit, &event));
}

static void *serve(void *arg)
{
    must(kt_audit_thread_run(audit, NULL, NULL));
    return arg;
}

static void *sync_often(void *arg)
{
    while (!atomic_load(&over)) {
        (void)usleep(SYNC);
        must(kt_audit_drain(audit));
    }
    return arg;
}

/* ---- many records ---- */

static void put_one(void *arg, unsigned i)
{
    (void)arg, (void)i;
    put();
}

/* What a line costs at least: its link of the chain is a hash of about so many bytes. */
static void hash_one(void *arg, unsigned i)
{
    static unsigned char text[200], key[crypto_generichash_KEYBYTES];
    unsigned char hash[crypto_generichash_BYTES];

    (void)arg;
    text[0] = (unsigned char)i;
    (void)crypto_generichash(hash, sizeof(hash), text, sizeof(text), key, sizeof(key));
}

static void fill_and_drain(unsigned count)
{
    double started;

    must(kt_audit_drain(audit));
    bench_run("blake", hash_one, NULL, count);
    started = bench_clock(CLOCK_THREAD_CPUTIME_ID);
    bench_run("ring", put_one, NULL, count);
    must(kt_audit_drain(audit));
    bench_sample("line", (bench_clock(CLOCK_THREAD_CPUTIME_ID) - started) / count);
}

static void see_finding(void *arg, kt_status_t status, const char *what, const char *detail)
{
    (void)arg;
    if (status != KT_SUCCESS)
        warnx("%s: %s", what, detail);
}

static void verify(const char *folder, uint64_t lines)
{
    double started = bench_clock(CLOCK_THREAD_CPUTIME_ID);

    must(kt_audit_verify(folder, NULL, see_finding, NULL));
    bench_sample("verified",
                 (double)lines / (bench_clock(CLOCK_THREAD_CPUTIME_ID) - started) * 1e9);
}

/* ---- one record at a time ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* What two looks at the clock are apart at least. */
static double clock_cost(void)
{
    double least = 1e9;

    for (unsigned i = 0; i < 1000; i++) {
        double first = bench_clock(CLOCK_MONOTONIC), second = bench_clock(CLOCK_MONOTONIC);

        least = second - first < least ? second - first : least;
    }
    return least;
}

static void append_in_time(unsigned count)
{
    double *times = calloc(count, sizeof(*times)), cost = clock_cost(),
           next = bench_clock(CLOCK_MONOTONIC), before;
    pthread_t syncing;

    if (times == NULL)
        err(1, NULL);
    atomic_store(&over, false);
    if (pthread_create(&syncing, NULL, sync_often, NULL) != 0)
        errx(71, "no thread");
    for (unsigned i = 0; i < count; i++, next += PACE) {
        while ((before = bench_clock(CLOCK_MONOTONIC)) < next)
            continue;
        put();
        times[i] = bench_clock(CLOCK_MONOTONIC) - before - cost;
    }
    atomic_store(&over, true);
    (void)pthread_join(syncing, NULL);
    qsort(times, count, sizeof(*times), compare);
    bench_sample("append.p50", times[count / 2]);
    bench_sample("append.p999", times[count - 1 - count / 1000]);
    free(times);
}

int main(int argc, char **argv)
{
    unsigned rounds = bench_number(argc, argv, 1), count = bench_number(argc, argv, 2);
    kt_config_t *config = NULL;
    uint64_t lines = 0;
    char path[4096];
    pthread_t serving;

    if (argc != 4)
        errx(64, "usage: inside_audit ROUNDS COUNT FOLDER");
    (void)snprintf(path, sizeof(path), "%s/keyturn.yaml", argv[3]);
    must(kt_config_read(path, &config));
    must(kt_audit_open(config, "bench", &audit));
    if (pthread_create(&serving, NULL, serve, NULL) != 0)
        errx(71, "no thread");
    (void)usleep(START);
    (void)snprintf(path, sizeof(path), "%s/audit/bench", argv[3]);
    put();
    for (unsigned round = 0; round < rounds; round++) {
        fill_and_drain(count);
        lines += count;
        if (round % 5 == 0)
            verify(path, lines);
    }
    for (unsigned round = 0; round < rounds; round += 3)
        append_in_time(2 * count);
    kt_audit_thread_stop(audit);
    (void)pthread_join(serving, NULL);
    kt_audit_close(audit);
    kt_config_unref(config);
    return 0;
}
