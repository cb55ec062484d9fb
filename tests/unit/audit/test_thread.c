/* SPDX-License-Identifier: BSD-2-Clause */
/* core/audit/audit.c with a thread that drains, and without: what is recorded meanwhile is a line
 * once, and a trail that fails refuses. */
#include "world.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "audit/stream.h"
#include "audit/verify.h"

static kt_config_t config;
static kt_audit_t *audit;
static char folder[160], rings[200], state[200];
static pthread_t thread;
static bool has_thread;

static void make_world(void)
{
    world_make(NULL, NULL, NULL);
    memset(&config, 0, sizeof(config));
    (void)snprintf(folder, sizeof(folder), "%s/audit", world.dir);
    (void)snprintf(rings, sizeof(rings), "%s/nginx/rings", folder);
    (void)snprintf(state, sizeof(state), "%s/nginx/state", folder);
    config.audit_path = folder;
    has_thread = false;
}

static unsigned said[8]; /* by level */

static void hear(void *arg, int level, const char *text)
{
    (void)arg;
    (void)text;
    said[level]++;
}

static void *serve(void *arg)
{
    return kt_audit_thread_run(arg, hear, NULL) == KT_SUCCESS ? NULL : arg;
}

/* For as long as a slow machine may take. */
static void wait_until(bool (*condition)(void), const char *what)
{
    for (unsigned i = 0; !condition(); i++) {
        ck_assert_msg(i < 30000, "waiting for %s: %s", what, kt_failure());
        (void)usleep(1000);
    }
}

static bool has_ring(void)
{
    return atomic_load(&audit->ring) != NULL;
}

static bool is_drained(void)
{
    return kt_ring_is_empty(atomic_load(&audit->ring));
}

static void start_thread(void)
{
    ck_assert_int_eq(pthread_create(&thread, NULL, serve, audit), 0);
    has_thread = true;
}

static void stop_thread(void)
{
    void *failed;

    kt_audit_thread_stop(audit);
    ck_assert_int_eq(pthread_join(thread, &failed), 0);
    has_thread = false;
    ck_assert_ptr_null(failed);
}

static void open_trail(bool with_thread)
{
    assert_ok(kt_audit_open(&config, "nginx", &audit));
    if (with_thread) {
        start_thread();
        wait_until(has_ring, "the ring");
    }
}

static void end_world(void)
{
    if (has_thread) {
        kt_audit_thread_stop(audit);
        (void)pthread_join(thread, NULL);
    }
    kt_audit_close(audit);
    audit = NULL;
    world_end();
}

static kt_status_t record(const char *reference)
{
    kt_event_t event = {.action = "read",
                        .subject = ALL,
                        .reference = reference,
                        .status = "success",
                        .may_coalesce = true};

    return kt_audit_write(audit, &event);
}

static void ignore(void *arg, kt_status_t status, const char *what, const char *detail)
{
    (void)arg;
    ck_assert_msg(status == KT_SUCCESS, "%s: %s", what, detail);
}

static void assert_verified(void)
{
    assert_ok(kt_audit_verify(folder, NULL, ignore, NULL));
}

/* ---- hand-over ---- */

START_TEST(the_thread_writes_what_was_recorded)
{
    open_trail(true);
    for (int i = 0; i < 10; i++)
        assert_ok(record("a/1"));
    wait_until(is_drained, "the lines");
    ck_assert_uint_eq(world_lines("a/1", NULL), 10);
    assert_verified();
}
END_TEST

START_TEST(there_is_one_thread)
{
    open_trail(true);
    assert_status(kt_audit_thread_run(audit, NULL, NULL), KT_CONFLICT);
    stop_thread();
    start_thread(); /* another one, later */
    assert_ok(record("a/1"));
    stop_thread();
    ck_assert_uint_eq(world_lines("a/1", NULL), 1);
}
END_TEST

START_TEST(its_end_writes_the_rest)
{
    config.audit_reads = 60000;
    open_trail(true);
    assert_ok(record("a/1"));
    assert_ok(record("a/1"));
    stop_thread();
    ck_assert_uint_eq(world_lines("a/1", "\"count\":2", NULL), 1);
}
END_TEST

/* What was accepted, in lines and their counts. */
static uint64_t count_accepted(void)
{
    FILE *log = fopen(world.log, "r");
    char *line = NULL;
    size_t room = 0;
    uint64_t all = 0;

    ck_assert_ptr_nonnull(log);
    while (getline(&line, &room, log) > 0) {
        const char *count = strstr(line, "\"count\":");

        if (strncmp(line, "{\"time\":", 8) == 0)
            all += count != NULL ? strtoull(count + 8, NULL, 10) : 1;
    }
    free(line);
    (void)fclose(log);
    return all;
}

/* The ring several times over, while the thread drains it; at the same time decisions that wait for
 * the disk. */
static const int64_t windows[] = {0, 2};

START_TEST(what_is_recorded_during_a_drain_is_one_line)
{
    uint64_t accepted = 0;

    config.audit_reads = windows[_i];
    open_trail(true);
    while (accepted < 120000) {
        kt_event_t durable = {
            .action = "write", .reference = "w/1", .status = "success", .durable = true};

        /* else it is full for a moment */
        accepted += record(accepted % 3 == 0 ? "a/1" : "a/2") == KT_SUCCESS;
        if (accepted % 40000 == 0)
            accepted += kt_audit_write(audit, &durable) == KT_SUCCESS;
    }
    stop_thread();
    ck_assert_uint_eq(count_accepted(), accepted);
    assert_verified();
}
END_TEST

/* ---- the trail fails ---- */

/* A process holds the stream's lock for ever: nothing can be recorded. */
START_TEST(a_full_ring_that_cannot_be_drained_refuses)
{
    uint64_t accepted = 0;
    kt_status_t status;
    int fd;

    open_trail(true);
    assert_ok(record("a/1"));
    wait_until(is_drained, "the first line");
    fd = open(state, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(flock(fd, LOCK_EX), 0);
    while ((status = record("a/1")) == KT_SUCCESS)
        ck_assert_uint_lt(++accepted, 1000000);
    ck_assert_int_eq(status, KT_AUDIT);
    assert_failure_has("/audit/nginx");
    ck_assert_uint_gt(accepted, 10000);
    (void)close(fd);
    wait_until(is_drained, "the lines");
    assert_ok(record("a/1"));
    stop_thread();
    ck_assert_uint_eq(world_lines("a/1", NULL), accepted + 2);
    assert_verified();
}
END_TEST

static bool is_threaded(void)
{
    return atomic_load(&audit->has_thread);
}

/* A server's first request may be quicker than its thread. */
START_TEST(a_ring_grows_with_the_thread)
{
    unsigned accepted = 0;
    kt_status_t status;
    int fd;

    open_trail(false);
    assert_ok(record("a/0"));
    ck_assert_uint_lt(kt_ring_size(atomic_load(&audit->ring)), KT_RING_THREAD);
    start_thread();
    wait_until(is_threaded, "the thread");
    assert_ok(record("a/1"));
    ck_assert_uint_eq(kt_ring_size(atomic_load(&audit->ring)), KT_RING_THREAD);
    wait_until(is_drained, "the lines");
    fd = open(state, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(flock(fd, LOCK_EX), 0);
    while (accepted < 10000 && (status = record("a/1")) == KT_SUCCESS)
        accepted++;
    ck_assert_uint_eq(accepted, 10000);
    (void)close(fd);
    stop_thread();
    ck_assert_uint_eq(world_lines("a/0", NULL), 1);
    ck_assert_uint_eq(world_lines("a/1", NULL), accepted + 1);
    assert_verified();
}
END_TEST

static void remove_log(void)
{
    char aside[220];

    (void)snprintf(aside, sizeof(aside), "%s/aside", folder);
    ck_assert_int_eq(rename(world.log, aside), 0);
}

static void put_log_back(void)
{
    char aside[220];

    (void)snprintf(aside, sizeof(aside), "%s/aside", folder);
    ck_assert_int_eq(rename(aside, world.log), 0);
}

/* No log, and none can be made. */
static void close_folder(void)
{
    char stream[220];

    remove_log();
    (void)snprintf(stream, sizeof(stream), "%s/audit/nginx", world.dir);
    ck_assert_int_eq(chmod(stream, 0500), 0);
}

static void open_folder(void)
{
    char stream[220];

    (void)snprintf(stream, sizeof(stream), "%s/audit/nginx", world.dir);
    ck_assert_int_eq(chmod(stream, 0700), 0);
    put_log_back();
}

/* Of this process, because files may not grow: EFBIG, as ENOSPC on a full disk. The log is longer
 * than what Check itself writes by then. */
static void fill_disk(void)
{
    struct rlimit limit;
    struct stat st;

    for (unsigned i = 0; i < 10000; i++)
        (void)record("a/5");
    assert_ok(kt_audit_drain(audit));
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(stat(world.log, &st), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = (rlim_t)st.st_size;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void empty_disk(void)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void remove_ring(void)
{
    char path[300];

    (void)snprintf(path, sizeof(path), "%s/%s", rings, kt_ring_name(atomic_load(&audit->ring)));
    ck_assert_int_eq(unlink(path), 0);
}

typedef struct fault {
    void (*break_it)(void), (*mend_it)(void); /* the second NULL: only a new process helps */
    const char *sink, *why;
} fault_t;

static const fault_t faults[] = {
    {close_folder, open_folder, "/audit/nginx/log", "Permission denied"},
    {fill_disk, empty_disk, "/audit/nginx/log", "too large"},
    {remove_ring, NULL, "/audit/nginx/rings/", "removed"},
};

static bool refuses(void)
{
    return record("a/1") == KT_AUDIT;
}

static bool serves(void)
{
    return record("a/9") == KT_SUCCESS;
}

START_TEST(a_trail_that_fails_refuses_until_it_works)
{
    const fault_t *fault = &faults[_i / 2];

    open_trail(_i % 2 == 1);
    assert_ok(record("a/0"));
    assert_ok(kt_audit_drain(audit));
    fault->break_it();
    /* what was recorded before that is noticed stands in the ring */
    wait_until(refuses, "a refusal");
    assert_failure_has(fault->sink);
    assert_failure_has(fault->why);
    if (fault->mend_it == NULL)
        return;
    fault->mend_it();
    wait_until(serves, "service");
    assert_ok(kt_audit_drain(audit));
    ck_assert_uint_eq(world_lines("a/0", NULL), 1);
    ck_assert_uint_ge(world_lines("a/9", NULL), 1);
    assert_verified();
    if (_i % 2 == 1) {
        stop_thread();
        ck_assert_uint_eq(said[3], 1);
        ck_assert_uint_eq(said[5], 1);
    }
}
END_TEST

START_TEST(a_folder_for_rings_that_cannot_be_written)
{
    assert_not_root();
    open_trail(false);
    ck_assert_int_eq(mkdir(rings, 0500), 0);
    assert_status(record("a/1"), KT_AUDIT);
    assert_failure_has("/audit/nginx/rings/");
    start_thread();
    wait_until(refuses, "a refusal");
    assert_failure_has("/audit/nginx/rings/");
    ck_assert_int_eq(chmod(rings, 0700), 0);
    wait_until(serves, "service");
    stop_thread();
    ck_assert_uint_ge(world_lines("a/9", NULL), 1);
    assert_verified();
}
END_TEST

/* ---- audit.required: false ---- */

static unsigned warned;

static void count_warnings(void *arg, int level, const char *text)
{
    (void)arg;
    warned += level == 4 && strstr(text, "audit.required is false") != NULL;
}

static void read_value(void)
{
    kt_request_t req = request("api-keys/a");
    kt_secret_t *secret = NULL;

    assert_ok(kt_get(world.ctx, &req, &secret));
    kt_secret_free(secret);
}

START_TEST(what_is_not_required_is_warned_of_once)
{
    world_of_memory(NULL);
    world.ctx->holder.config->audit_required = false;
    world.ctx->holder.logger.fn = count_warnings;
    put("api-keys/a", "a", 1);
    close_folder();
    for (unsigned i = 0; i < 5; i++) {
        read_value();
        assert_ok(kt_audit_flush(world.ctx, 0));
    }
    ck_assert_uint_eq(warned, 1);
    open_folder();
    read_value();
    assert_ok(kt_audit_flush(world.ctx, 0));
    close_folder();
    read_value();
    assert_ok(kt_audit_flush(world.ctx, 0));
    ck_assert_uint_eq(warned, 2);
    open_folder();
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, end_world);
    tcase_add_test(tests, the_thread_writes_what_was_recorded);
    tcase_add_test(tests, there_is_one_thread);
    tcase_add_test(tests, its_end_writes_the_rest);
    UNIT_TABLE(tests, what_is_recorded_during_a_drain_is_one_line, windows);
    tcase_add_test(tests, a_full_ring_that_cannot_be_drained_refuses);
    tcase_add_test(tests, a_ring_grows_with_the_thread);
    tcase_add_loop_test(tests, a_trail_that_fails_refuses_until_it_works, 0,
                        2 * (int)KT_ARRAY(faults));
    tcase_add_test(tests, a_folder_for_rings_that_cannot_be_written);
    tcase_add_test(tests, what_is_not_required_is_warned_of_once);
}

UNIT_MAIN("audit thread", add_tests)
