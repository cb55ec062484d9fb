/* SPDX-License-Identifier: BSD-2-Clause */
/* bench.c: clocks, samples, and a context to measure with. */
#define _GNU_SOURCE
#include <err.h>
#include <pwd.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define START                                                                                      \
    100000 /* us, until the thread drains: who records before it does has the small ring of those  \
              without */

double bench_clock(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

void bench_sample(const char *name, double value)
{
    (void)printf("%s %.6g\n", name, value);
    (void)fflush(stdout);
}

void bench_run(const char *name, bench_fn fn, void *arg, unsigned count)
{
    double started = bench_clock(CLOCK_THREAD_CPUTIME_ID);

    for (unsigned i = 0; i < count; i++)
        fn(arg, i);
    bench_sample(name, (bench_clock(CLOCK_THREAD_CPUTIME_ID) - started) / count);
}

void bench_must(kt_ctx_t *ctx, kt_status_t status)
{
    if (status != KT_SUCCESS)
        errx(kt_status_exit(status), "%s: %s", kt_status_name(status), kt_error(ctx));
}

static char subject[KT_SUBJECT_MAX + 1]; /* of the user, whose stream it is */

kt_ctx_t *bench_open(const char *config)
{
    kt_setup_t *setup;
    kt_ctx_t *ctx = NULL;

    if (kt_setup(config, "cli", &setup) != KT_SUCCESS || kt_open(setup, &ctx) != KT_SUCCESS)
        errx(kt_status_exit(kt_setup_status(setup)), "%s", kt_setup_error(setup));
    (void)snprintf(subject, sizeof(subject), "uid:%s", kt_setup_stream(setup) + strlen("cli-"));
    kt_setup_free(setup);
    return ctx;
}

static void *drain(void *arg)
{
    bench_must(arg, kt_audit_run(arg));
    return NULL;
}

kt_ctx_t *bench_open_drained(const char *config, pthread_t *ret_thread)
{
    kt_ctx_t *ctx = bench_open(config);

    if (pthread_create(ret_thread, NULL, drain, ctx) != 0)
        errx(71, "no thread");
    (void)usleep(START);
    return ctx;
}

void bench_close_drained(kt_ctx_t *ctx, pthread_t thread)
{
    kt_audit_stop(ctx);
    (void)pthread_join(thread, NULL);
    kt_close(ctx);
}

kt_request_t bench_request(const char *reference)
{
    kt_request_t req = KT_REQUEST_INIT;

    req.reference = reference;
    req.subject = subject;
    return req;
}

unsigned bench_number(int argc, char **argv, int i)
{
    unsigned long number = i < argc ? strtoul(argv[i], NULL, 10) : 0;

    if (number == 0 || number > 1000000000)
        errx(64, "argument %d has to be a number", i);
    return (unsigned)number;
}

uint32_t bench_random(void)
{
    static uint64_t state =
        0x9e3779b97f4a7c15u; /* xorshift64*: speed matters here, quality does not */

    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 0x2545f4914f6cdd1du) >> 32);
}

size_t bench_names(const char *path, bench_name_t **ret_names)
{
    FILE *file = fopen(path, "r");
    bench_name_t *names = NULL;
    char name[BENCH_NAME], hex[65];
    size_t count = 0, room = 0;

    if (file == NULL)
        err(66, "%s", path);
    while (fscanf(file, "%63s %64s", name, hex) == 2) {
        if (count == room)
            names = reallocarray(names, room = 2 * room + 64, sizeof(*names));
        if (names == NULL || sodium_hex2bin(names[count].id, 32, hex, 64, NULL, NULL, NULL) != 0)
            errx(70, "%s: line %zu", path, count + 1);
        memcpy(names[count++].name, name, sizeof(name));
    }
    (void)fclose(file);
    if (count == 0)
        errx(66, "%s: no names", path);
    *ret_names = names;
    return count;
}
