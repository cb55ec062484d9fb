/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conformance.c: does a provider keep the promises of keyturn_provider.h?
 *
 *   conformance [--run=HEX] [ACTION] PROVIDER.so NAME=VALUE...
 *
 * PROVIDER.so needs a path with a slash; NAME=VALUE are its options as in `providers:` of the
 * configuration, paths absolute. Without ACTION the whole suite runs and prints TAP and `N passed,
 * N failed, N not for this provider`; the store must exist, or is created (KTP_CREATE). It may hold
 * other secrets: names are `conformance/RUN-NUMBER`, with a new RUN each time. Nothing is removed.
 *
 * Actions, of sealed providers but for the check:
 *
 *   --create               makes the store
 *   --check                prints "ok" if it may be read; --check-writing
 *   --bump NUMBER          writes the next version of secret NUMBER, however often it has to try;
 *                          prints its counter
 *   --bumps NUMBER         the same for each line of stdin, with one instance
 *   --try NUMBER           the same once, waiting 300 ms at most: names the process that is in the
 * way
 *   --publish NUMBER       the same by publish
 *   --race NUMBER          the same as --bump 100 times, for several processes at once; prints the
 *                          tries
 *   --read NUMBER          prints the counter of secret NUMBER, 0 if absent
 *   --grow NUMBER          writes secrets of 128 KiB from NUMBER on until it fails; prints how
 * many, and says why on stderr
 *   --hold NUMBER          puts the next version, prints "held" and waits for the end of stdin,
 *                          without a commit
 *   --hold-reading NUMBER  opens a snapshot, prints its counter, waits likewise; prints it again
 *   --watch NUMBER         prints the counter, and again whenever the token has changed, until the
 *                          end of stdin; needs KTP_TOKEN
 *   --time NUMBER          prints what a token, an uncached read and a commit cost
 *
 * And of plain providers:
 *
 *   --get NAME             writes the value of a secret to stdout
 *   --gets NAME            the same over and over, until the end of stdin: a line for each, either
 *                          "success" and the value or the status and why
 *   --list FIRST           prints the names that begin with FIRST, or all for "", one a line
 *
 * Exit status: 0, 1 if a check failed or an action was refused (the status and its text go to
 * stderr), 2 for a wrong call, 3 if a provider broke a rule that holds for each call.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "conformance.h"

#define RACE_ROUNDS 100
#define CLASS 128u
#define TRY_WAIT 300u /* milliseconds */

static const char *status_name(ktp_status_t status)
{
    static const char *const names[] = {
        "success",  "notfound",  "gone",     "forbidden", "unavail",
        "tryagain", "malformed", "conflict", "nospace",
    };

    return (unsigned)status <= KTP_NOSPACE ? names[status] : "?";
}

static int refused(const session_t *s, ktp_status_t status)
{
    (void)fprintf(stderr, "%s: %s\n", status_name(status), s->error);
    return 1;
}

/* ---- the suite ---- */

typedef struct tally {
    unsigned number, passed, failed, skipped;
} tally_t;

static void run_check(const check_t *check, tally_t *tally)
{
    unsigned violations = host_violations;
    const char *wrong;

    tally->number++;
    if (!host_can(check->needs) || (check->hidden_names && host_can(KTP_CLEAR_NAMES))) {
        tally->skipped++;
        printf("ok %u - %s # SKIP not for this provider\n", tally->number, check->name);
        return;
    }
    wrong = check->run();
    host_close_all();
    if (wrong == NULL && host_violations != violations)
        wrong = "a rule for each call was broken";
    tally->passed += wrong == NULL;
    tally->failed += wrong != NULL;
    printf("%s %u - %s\n", wrong == NULL ? "ok" : "not ok", tally->number, check->name);
    if (wrong != NULL)
        printf("# %s\n", wrong);
    (void)fflush(stdout);
}

/* What a provider is asked depends on its nature, and on nothing but what it declares. */
static const struct {
    const check_t *checks;
    uint32_t nature, of; /* capabilities & of == nature */
} suites[] = {
    {checks, 0, 0},
    {checks_rows, KTP_SEALED, KTP_SEALED},
    {checks_txn, KTP_SEALED, KTP_SEALED},
    {checks_many, KTP_SEALED, KTP_SEALED},
    {checks_plain, 0, KTP_SEALED},
};

static int suite(void)
{
    tally_t tally = {0};

    if (host_can(KTP_CREATE)) {
        session_t *s = host_open();
        ktp_status_t status = s_create(s);

        if (status != KTP_SUCCESS && status != KTP_CONFLICT)
            return refused(s, status);
        host_close(s);
    }
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++)
        if ((provider->capabilities & suites[i].of) == suites[i].nature)
            for (const check_t *check = suites[i].checks; check->name != NULL; check++)
                run_check(check, &tally);
    printf("1..%u\n# %u passed, %u failed, %u not for this provider\n", tally.number, tally.passed,
           tally.failed, tally.skipped);
    return tally.failed == 0 ? 0 : 1;
}

/* ---- actions ---- */

static int wait_for_end(void)
{
    char byte;

    (void)fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        continue;
    return 0;
}

static ktp_status_t read_counter(session_t *s, const secret_t *secret, uint64_t *ret_counter)
{
    ktp_key_t key = head_key(secret);
    ktp_status_t status = s_begin(s, /* writing= */ 0, WAIT);
    ktp_row_t row;

    if (status != KTP_SUCCESS)
        return status;
    status = s_get(s, &key, &row);
    *ret_counter = status == KTP_SUCCESS ? row.stamp : 0;
    if (status == KTP_NOTFOUND)
        status = KTP_SUCCESS;
    if (status != KTP_SUCCESS) {
        provider->abort(s->txn);
        s->txn = NULL;
        return status;
    }
    return s_commit(s);
}

static ktp_status_t bump(session_t *s, const secret_t *secret, size_t class, uint64_t *ret_counter,
                         unsigned *tries)
{
    ktp_status_t status;
    uint64_t counter = 0;

    do {
        ++*tries;
        status = read_counter(s, secret, &counter);
        if (status == KTP_SUCCESS)
            status = write_head(s, secret, counter + 1, counter, class);
    } while (status == KTP_CONFLICT || status == KTP_TRYAGAIN);
    *ret_counter = status == KTP_SUCCESS ? counter + 1 : counter;
    return status;
}

static int act_bump(session_t *s, const secret_t *secret)
{
    unsigned tries = 0;
    uint64_t counter;
    ktp_status_t status = bump(s, secret, CLASS, &counter, &tries);

    if (status != KTP_SUCCESS)
        return refused(s, status);
    printf("%" PRIu64 "\n", counter);
    return 0;
}

static int act_bumps(session_t *s, const secret_t *secret)
{
    char line[64];

    while (fgets(line, sizeof line, stdin) != NULL) {
        if (act_bump(s, secret) != 0)
            return 1;
        (void)fflush(stdout);
    }
    return 0;
}

static int try_once(session_t *s, const secret_t *secret, ktp_status_t (*end)(session_t *))
{
    ktp_key_t key = head_key(secret);
    ktp_status_t status = s_begin(s, /* writing= */ 1, TRY_WAIT);
    ktp_row_t old = {.stamp = 0}, row;

    if (status != KTP_SUCCESS)
        return refused(s, status);
    (void)s_get(s, &key, &old);
    row = head_row(secret, old.stamp + 1, CLASS);
    status = s_put(s, &key, &row, old.stamp);
    if (status == KTP_SUCCESS)
        status = end(s);
    row_free(&row);
    return status == KTP_SUCCESS ? 0 : refused(s, status);
}

static int act_try(session_t *s, const secret_t *secret)
{
    return try_once(s, secret, s_commit);
}

static int act_publish(session_t *s, const secret_t *secret)
{
    return try_once(s, secret, s_publish);
}

static int act_race(session_t *s, const secret_t *secret)
{
    unsigned tries = 0;
    uint64_t counter;

    for (int i = 0; i < RACE_ROUNDS; i++) {
        ktp_status_t status = bump(s, secret, CLASS, &counter, &tries);

        if (status != KTP_SUCCESS)
            return refused(s, status);
    }
    printf("%u\n", tries);
    return 0;
}

static int act_grow(session_t *s, const secret_t *secret)
{
    ktp_status_t status;
    unsigned tries = 0;
    uint64_t counter;
    secret_t other;

    for (unsigned i = 0;; i++) {
        secret_init(&other, secret->number + i);
        status = bump(s, &other, CLASS_MAX, &counter, &tries);
        if (status != KTP_SUCCESS) {
            printf("%u\n", i);
            return refused(s, status);
        }
    }
}

static int act_read(session_t *s, const secret_t *secret)
{
    uint64_t counter;
    ktp_status_t status = read_counter(s, secret, &counter);

    if (status != KTP_SUCCESS)
        return refused(s, status);
    printf("%" PRIu64 "\n", counter);
    return 0;
}

static int act_hold(session_t *s, const secret_t *secret)
{
    ktp_key_t key = head_key(secret);
    ktp_status_t status;
    uint64_t counter;
    ktp_row_t row;

    status = read_counter(s, secret, &counter);
    if (status == KTP_SUCCESS)
        status = s_begin(s, /* writing= */ 1, WAIT);
    if (status != KTP_SUCCESS)
        return refused(s, status);
    row = head_row(secret, counter + 1, CLASS_MAX);
    status = s_put(s, &key, &row, counter);
    row_free(&row);
    if (status != KTP_SUCCESS)
        return refused(s, status);
    printf("held\n");
    return wait_for_end();
}

static int act_hold_reading(session_t *s, const secret_t *secret)
{
    ktp_key_t key = head_key(secret);
    ktp_status_t status = s_begin(s, /* writing= */ 0, WAIT);

    for (int i = 0; status == KTP_SUCCESS && i < 2; i++) {
        ktp_row_t row = {.stamp = 0};

        status = s_get(s, &key, &row);
        if (status == KTP_NOTFOUND)
            status = KTP_SUCCESS;
        if (status == KTP_SUCCESS)
            printf("%" PRIu64 "\n", row.stamp);
        if (i == 0)
            (void)wait_for_end();
    }
    return status == KTP_SUCCESS ? 0 : refused(s, status);
}

static int act_watch(session_t *s, const secret_t *secret)
{
    unsigned char token[KTP_TOKEN_SIZE], last[KTP_TOKEN_SIZE] = {0};
    struct pollfd end = {.fd = STDIN_FILENO, .events = POLLIN};

    do {
        ktp_status_t status = s_token(s, token);
        uint64_t counter;

        if (status == KTP_SUCCESS && memcmp(token, last, sizeof token) == 0)
            continue;
        memcpy(last, token, sizeof last);
        if (status == KTP_SUCCESS)
            status = read_counter(s, secret, &counter);
        if (status == KTP_SUCCESS) {
            printf("%" PRIu64 "\n", counter);
        } else {
            printf("status %d\n", (int)status);
            memset(last, 0, sizeof last); /* the change has not been seen yet: try again */
        }
        (void)fflush(stdout);
    } while (poll(&end, 1, 1) == 0);
    return 0;
}

static int act_check(session_t *s, int writing)
{
    ktp_status_t status = s_check(s, writing);

    if (status != KTP_SUCCESS)
        return refused(s, status);
    printf("ok\n");
    return 0;
}

static double microseconds(const struct timespec *start, unsigned rounds)
{
    struct timespec end;

    clock_gettime(CLOCK_MONOTONIC, &end);
    return ((double)(end.tv_sec - start->tv_sec) * 1e6 +
            (double)(end.tv_nsec - start->tv_nsec) / 1e3) /
           rounds;
}

static int act_time(session_t *s, const secret_t *secret)
{
    unsigned char token[KTP_TOKEN_SIZE];
    struct timespec start;
    uint64_t counter = 0;
    unsigned tries = 0;

    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < 100; i++)
        (void)bump(s, secret, 1024, &counter, &tries);
    printf("commit %.1f us\n", microseconds(&start, 100));
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < 20000; i++)
        (void)read_counter(s, secret, &counter);
    printf("read %.2f us\n", microseconds(&start, 20000));
    if (!host_can(KTP_TOKEN))
        return 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < 1000000; i++)
        (void)provider->token(s->instance, token);
    printf("token %.4f us\n", microseconds(&start, 1000000));
    return 0;
}

/* ---- actions of plain providers ---- */

static int act_get(session_t *s, const char *name)
{
    ktp_value_t value;
    ktp_status_t status = s_value_get(s, name, "current", &value);

    if (status != KTP_SUCCESS)
        return refused(s, status);
    (void)fwrite(value.value.data, 1, value.value.size, stdout);
    value_free(s, &value);
    return 0;
}

static int act_gets(session_t *s, const char *name)
{
    struct pollfd end = {.fd = STDIN_FILENO, .events = POLLIN};

    do {
        ktp_value_t value;
        ktp_status_t status = s_value_get(s, name, "current", &value);

        printf("%s %.*s\n", status_name(status),
               status == KTP_SUCCESS ? (int)value.value.size : (int)strlen(s->error),
               status == KTP_SUCCESS ? (const char *)value.value.data : s->error);
        if (status == KTP_SUCCESS)
            value_free(s, &value);
    } while (poll(&end, 1, 0) == 0);
    return 0;
}

static int print_name(void *arg, const char *name)
{
    const char *first = arg;

    if (strncmp(name, first, strlen(first)) == 0)
        (void)puts(name);
    return 0;
}

static int act_list(session_t *s, char *first)
{
    ktp_status_t status = s_list(s, print_name, first);

    return status == KTP_SUCCESS ? 0 : refused(s, status);
}

typedef struct action {
    const char *name;
    int (*run)(session_t *s, const secret_t *secret);
} action_t;

static const action_t actions[] = {
    {"--bump", act_bump},       {"--bumps", act_bumps},
    {"--try", act_try},         {"--race", act_race},
    {"--grow", act_grow},       {"--read", act_read},
    {"--hold", act_hold},       {"--hold-reading", act_hold_reading},
    {"--watch", act_watch},     {"--time", act_time},
    {"--publish", act_publish},
};

static int run_named(const char *action, char *name)
{
    int result = strcmp(action, "--get") == 0    ? act_get(host_open(), name)
                 : strcmp(action, "--gets") == 0 ? act_gets(host_open(), name)
                                                 : act_list(host_open(), name);

    host_close_all();
    return host_violations == 0 ? result : 3;
}

static int run_numbered(const char *name, const char *number)
{
    secret_t secret;

    secret_init(&secret, (unsigned)strtoul(number, NULL, 10));
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
        if (strcmp(name, actions[i].name) == 0)
            return actions[i].run(host_open(), &secret);
    (void)fprintf(stderr, "conformance: no action %s\n", name);
    return 2;
}

static int run_plain(const char *name)
{
    session_t *s = host_open();
    ktp_status_t status;

    if (strncmp(name, "--check", 7) == 0)
        return act_check(s, strcmp(name, "--check-writing") == 0);
    status = s_create(s);
    return status == KTP_SUCCESS ? 0 : refused(s, status);
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: conformance [--run=HEX] [ACTION] PROVIDER.so NAME=VALUE...\n");
    return 2;
}

int main(int argc, char **argv)
{
    const char *action = NULL;
    char *number = NULL;
    bool named;
    int result;

    (void)argc;
    if (getrandom(&rows_run, sizeof rows_run, 0) != sizeof rows_run)
        return 2;
    for (argv++; *argv != NULL && strncmp(*argv, "--", 2) == 0; argv++) {
        if (strncmp(*argv, "--run=", 6) == 0) {
            rows_run = strtoull(*argv + 6, NULL, 16);
            continue;
        }
        action = *argv;
        if (strncmp(action, "--check", 7) != 0 && strcmp(action, "--create") != 0)
            number = *++argv;
        if (*argv == NULL)
            return usage();
    }
    if (*argv == NULL || strchr(*argv, '/') == NULL)
        return usage();
    host_load(argv[0], argv + 1);
    named = action != NULL && (strncmp(action, "--get", 5) == 0 || strcmp(action, "--list") == 0);
    if (action != NULL && strncmp(action, "--check", 7) != 0 && named == host_can(KTP_SEALED))
        return usage();
    if (action == NULL)
        result = suite();
    else if (named)
        result = run_named(action, number);
    else
        result = number != NULL ? run_numbered(action, number) : run_plain(action);
    host_close_all();
    return result;
}
