/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * measure_change.c: how soon another process reads what one has written.
 *
 *     measure_change ROUNDS FOLDER
 *
 * A process reads a cached secret without pause, as a busy server does; another writes it. Prints
 * seen: microseconds from the moment that kt_put() returned to the end of the first read that gave
 * the new value (0 if it was before); and late: after how many writes a read that began when
 * kt_put() had returned gave the old value.
 */
#define _GNU_SOURCE
#include <err.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define NAME "api-keys/k0000001"

typedef struct board {
    _Atomic(uint64_t) seen; /* the version that the reader has seen */
    /* ns: when the last read began that gave the version before, and when the first ended that gave
     * this one */
    _Atomic(uint64_t) old, ended;
    _Atomic(int) stop;
} board_t;

static board_t *board;

static uint64_t clock_ns(void)
{
    return (uint64_t)bench_clock(CLOCK_MONOTONIC);
}

static void read_on(const char *config)
{
    kt_ctx_t *ctx = bench_open(config);
    kt_request_t req = bench_request(NAME);
    uint64_t before, old = 0, last = 0;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (!atomic_load(&board->stop)) {
        kt_secret_t *secret = NULL;

        before = clock_ns();
        bench_must(ctx, kt_peek(ctx, &req, &secret));
        if (kt_secret_version(secret) != last) {
            last = kt_secret_version(secret);
            atomic_store(&board->old, old);
            atomic_store(&board->ended, clock_ns());
            atomic_store(&board->seen, last);
        }
        old = before;
        kt_secret_free(secret);
    }
    kt_close(ctx);
    _exit(0);
}

/* True: a read that began later gave the old value. */
static int change(kt_ctx_t *ctx)
{
    kt_request_t req = bench_request(NAME);
    kt_secret_t *value = kt_secret_new("0123456789abcdef0123456789abcdef01234567", 40);
    uint64_t version = 0, returned, ended;

    bench_must(ctx, kt_put(ctx, &req, value, NULL, &version));
    returned = clock_ns();
    kt_secret_free(value);
    while (atomic_load(&board->seen) < version) {
        if (clock_ns() - returned > 5000000000u)
            errx(70, "the other process has not seen version %llu for 5 s",
                 (unsigned long long)version);
        (void)usleep(50);
    }
    ended = atomic_load(&board->ended);
    bench_sample("seen", ended > returned ? (double)(ended - returned) / 1000 : 0);
    return atomic_load(&board->old) > returned;
}

int main(int argc, char **argv)
{
    unsigned rounds = bench_number(argc, argv, 1), late = 0;
    char config[4096];
    kt_ctx_t *ctx;
    pid_t reader;
    int status;

    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (argc != 3 || board == MAP_FAILED)
        errx(64, "usage: measure_change ROUNDS FOLDER");
    (void)snprintf(config, sizeof(config), "%s/keyturn.yaml", argv[2]);
    reader = fork();
    if (reader < 0)
        err(71, "fork");
    if (reader == 0)
        read_on(config);
    ctx = bench_open(config);
    for (unsigned round = 0; round < rounds; round++)
        late += (unsigned)change(ctx);
    bench_sample("late", late);
    atomic_store(&board->stop, 1);
    if (waitpid(reader, &status, 0) != reader || status != 0)
        errx(70, "the reader failed");
    kt_close(ctx);
    return 0;
}
