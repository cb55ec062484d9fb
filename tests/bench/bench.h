/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench.h: what the programs of auto/bench share.
 *
 * A program takes samples in turns, A B A B, and prints each as a line "CASE NUMBER"; medians,
 * ratios and spreads are the business of tests/bench/bench.py, which compares the n-th sample of
 * one case with the n-th of another. So what slows the machine down for a moment falls on both.
 * Times are nanoseconds of CPU for one operation, unless the case says otherwise: other programs'
 * work is not in them.
 */
#ifndef KT_BENCH_H
#define KT_BENCH_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "keyturn.h"

#define BENCH_NAME 64u

/* Nanoseconds: CPU of the calling thread (CLOCK_THREAD_CPUTIME_ID), of the process, or
 * CLOCK_MONOTONIC. */
double bench_clock(clockid_t clock);
void bench_sample(const char *name, double value);
/* `count` calls of fn as one sample: CPU of this thread for each. */
typedef void (*bench_fn)(void *arg, unsigned i);
void bench_run(const char *name, bench_fn fn, void *arg, unsigned count);
/* Ends the program unless the call succeeded. */
void bench_must(kt_ctx_t *ctx, kt_status_t status);
kt_ctx_t *bench_open(const char *config);
/* The same with a thread that drains its ring, as servers have one: what it does is not in the CPU
 * of the thread that measures. */
kt_ctx_t *bench_open_drained(const char *config, pthread_t *ret_thread);
void bench_close_drained(kt_ctx_t *ctx, pthread_t thread);
kt_request_t bench_request(const char *reference);
/* argv[i] as a number from 1 on, or the program ends. */
unsigned bench_number(int argc, char **argv, int i);
uint32_t bench_random(void); /* the same ones in each run */

/* The lines that tests/bench/fill printed: names with the ids of their rows. */
typedef struct bench_name {
    char name[BENCH_NAME];
    unsigned char id[32];
} bench_name_t;
size_t bench_names(const char *path, bench_name_t **ret_names);

#endif /* KT_BENCH_H */
