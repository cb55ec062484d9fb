/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * measure_cached.c: a read that the cache answers, with its record in the trail: of one process,
 * and of two at once.
 *
 *     measure_cached ROUNDS COUNT FOLDER
 *
 * Prints open (CPU of libsodium for one sealed value of 32 bytes), cached (CPU of the reading
 * thread), cached.all (of the whole process, until all that was
 * read is a line of the trail, sealed and on the disk), and alone and together: reads a second of
 * one of the two processes, by the wall clock, while the other waits and while it reads as well. A
 * process has a thread that drains its ring, as a worker of nginx has; COUNT reads are less than
 * what wakes it.
 */
#define _GNU_SOURCE
#include <err.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define NAME "api-keys/k0000000"

typedef struct board {
    pthread_barrier_t barrier; /* of both processes */
} board_t;

static kt_ctx_t *ctx;

static void get(void *arg, unsigned i)
{
    kt_request_t req = bench_request(NAME);
    kt_secret_t *secret = NULL;

    (void)arg, (void)i;
    bench_must(ctx, kt_get(ctx, &req, &secret));
    kt_secret_free(secret);
}

static void flush(void)
{
    bench_must(ctx, kt_audit_flush(ctx, 0));
}

/* A sealed value of 32 bytes as libsodium alone opens it. */
static void open_bare(void *arg, unsigned i)
{
    static unsigned char sealed[32 + crypto_aead_xchacha20poly1305_ietf_ABYTES],
        nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES],
        key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES], plain[32];

    (void)arg;
    if (i == 0)
        (void)crypto_aead_xchacha20poly1305_ietf_encrypt(sealed, NULL, plain, sizeof(plain), NULL,
                                                         0, NULL, nonce, key);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(plain, NULL, NULL, sealed, sizeof(sealed), NULL,
                                                   0, nonce, key) != 0)
        errx(70, "the bare seal does not hold");
}

static void read_alone(unsigned count)
{
    double all;

    bench_run("open", open_bare, NULL, count);
    all = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
    bench_run("cached", get, NULL, count);
    flush();
    bench_sample("cached.all", (bench_clock(CLOCK_PROCESS_CPUTIME_ID) - all) / count);
}

static double rate(unsigned count)
{
    double started = bench_clock(CLOCK_MONOTONIC);

    for (unsigned i = 0; i < count; i++)
        get(NULL, i);
    return count / (bench_clock(CLOCK_MONOTONIC) - started) * 1e9;
}

/* Both processes go through here step by step; the first one speaks. */
static void live(board_t *board, bool first, const char *config, unsigned rounds, unsigned count)
{
    pthread_t draining;

    ctx = bench_open_drained(config, &draining);
    get(NULL, 0);
    for (unsigned round = 0; round < rounds; round++) {
        flush();
        if (first) {
            read_alone(count);
            bench_sample("alone", rate(count));
            flush();
        }
        (void)pthread_barrier_wait(&board->barrier);
        if (first)
            bench_sample("together", rate(count));
        else
            (void)rate(count + count / 4); /* not to stop before the other one does */
        (void)pthread_barrier_wait(&board->barrier);
    }
    (void)signal(SIGCHLD, SIG_DFL);
    (void)pthread_barrier_wait(&board->barrier);
    bench_close_drained(ctx, draining);
}

static void on_death(int number)
{
    (void)number;
    _exit(70); /* it has printed why; the other process would wait at the barrier */
}

int main(int argc, char **argv)
{
    unsigned rounds = bench_number(argc, argv, 1), count = bench_number(argc, argv, 2);
    board_t *board =
        mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_barrierattr_t attributes;
    char config[4096];
    pid_t other;
    int status;

    if (board == MAP_FAILED || argc != 4)
        errx(64, "usage: measure_cached ROUNDS COUNT FOLDER");
    (void)snprintf(config, sizeof(config), "%s/keyturn.yaml", argv[3]);
    (void)pthread_barrierattr_init(&attributes);
    (void)pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    (void)pthread_barrier_init(&board->barrier, &attributes, 2);
    other = fork();
    if (other < 0)
        err(71, "fork");
    if (other == 0)
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    else
        (void)signal(SIGCHLD, on_death);
    live(board, other != 0, config, rounds, count);
    if (other == 0)
        _exit(0);
    if (waitpid(other, &status, 0) != other || status != 0)
        errx(70, "the second process failed");
    return 0;
}
