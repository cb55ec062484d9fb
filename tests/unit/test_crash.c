/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A writer of the real provider `local` that is killed, or stopped, between any two steps of a
 * write: readers continue with the old value or the new one, no process waits for the dead writer,
 * and the next writer continues from what was committed.
 */
#include "process.h"
#include "world.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef KT_DEBUG_HOOKS

#define NAME "api-keys/shared"
#define READERS 2

/* In the order in which a write reaches them; from write.committed on the new value is there. */
static const char *const points[] = {"write.begun",     "write.prepared", "write.intent",
                                     "write.committed", "write.anchored", "write.recorded"};
#define COMMITTED 3
#define ANCHORED 4

typedef struct board {
    atomic_bool stop;
    atomic_uint reads[READERS];
} board_t;

static board_t *board;
static pid_t readers[READERS];
static char logged[KT_ERROR_SIZE];

static kt_status_t put_number(kt_ctx_t *ctx, unsigned number, unsigned timeout,
                              uint64_t *ret_version)
{
    kt_request_t req = request(NAME);
    char text[32];
    kt_secret_t *value;
    kt_status_t status;

    (void)snprintf(text, sizeof(text), "value %u", number);
    value = kt_secret_new(text, strlen(text));
    req.timeout = timeout;
    status = kt_put(ctx, &req, value, NULL, ret_version);
    kt_secret_free(value);
    return status;
}

static unsigned number_of(const kt_secret_t *secret)
{
    char text[32] = "";

    memcpy(text, kt_secret_bytes(secret),
           kt_secret_size(secret) < 31 ? kt_secret_size(secret) : 31);
    return strncmp(text, "value ", 6) == 0 ? (unsigned)atoi(text + 6) : 0;
}

/* One reader uses its cache and the change token, as a server; one reads the store each time.
 * Neither sees an error or an older value. */
static int read_on(kt_ctx_t *ctx, unsigned n)
{
    kt_request_t req = request(NAME);
    unsigned last = 0;

    if (n == 1)
        req.provider = "local";
    while (!atomic_load(&board->stop)) {
        kt_secret_t *secret = NULL;
        kt_status_t status = n == 0 ? kt_peek(ctx, &req, &secret) : kt_get(ctx, &req, &secret);

        if (status != KT_SUCCESS) {
            (void)fprintf(stderr, "read: %s: %s\n", kt_status_name(status), kt_error(ctx));
            return 1;
        }
        if (number_of(secret) < last || number_of(secret) == 0 || kt_secret_stale(secret))
            return 2;
        last = number_of(secret);
        kt_secret_free(secret);
        atomic_fetch_add(&board->reads[n], 1);
        (void)usleep(200);
    }
    return 0;
}

static int write_one(kt_ctx_t *ctx, unsigned number)
{
    return put_number(ctx, number, 0, NULL) == KT_SUCCESS ? 0 : 1;
}

static void log_line(void *arg, int level, const char *text)
{
    (void)arg;
    if (level <= 4)
        (void)snprintf(logged, sizeof(logged), "%s", text);
}

/* The first value, the readers; no connection is open yet, because no fork may happen while one is.
 */
static void make_world(void)
{
    world_make(NULL, NULL, "cache: {ttl: 60s}\n");
    world_of_local();
    assert_ok(put_number(world.ctx, 1, 0, NULL));
    kt_close(world.ctx);
    world.ctx = NULL;
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(board != MAP_FAILED);
    (void)alarm(110);
    for (unsigned i = 0; i < READERS; i++)
        readers[i] = start(read_on, i, NULL);
    logged[0] = '\0';
}

/* Each reader has begun and ended a read since now. */
static void let_them_read(void)
{
    for (unsigned i = 0; i < READERS; i++) {
        unsigned wanted = atomic_load(&board->reads[i]) + 2;

        while (atomic_load(&board->reads[i]) < wanted) {
            ck_assert_msg(waitpid(readers[i], NULL, WNOHANG) == 0, "a reader ended");
            (void)usleep(500);
        }
    }
}

static void end_readers(void)
{
    let_them_read();
    atomic_store(&board->stop, true);
    for (unsigned i = 0; i < READERS; i++)
        wait_for_child(readers[i], 0);
}

static void ignore(void *arg, kt_status_t status, const char *what, const char *detail)
{
    (void)arg, (void)status, (void)what, (void)detail;
}

START_TEST(a_writer_killed_at_each_step)
{
    char stop[64];
    uint64_t version = 0;
    int status;
    pid_t pid;

    let_them_read();
    (void)snprintf(stop, sizeof(stop), "%s:kill", points[_i]);
    pid = start(write_one, 2, stop);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFSIGNALED(status), "%s: the writer was not killed: %x", points[_i], status);
    let_them_read();
    world.ctx = world_context();
    assert_value(NAME, _i < COMMITTED ? "value 1" : "value 2", _i < COMMITTED ? 1 : 2);
    assert_ok(kt_verify(world.ctx, ignore, NULL));
    assert_ok(put_number(world.ctx, 3, 0, &version));
    ck_assert_uint_eq(version, _i < COMMITTED ? 2 : 3);
    /* a commit without anchor is recorded as found */
    ck_assert_uint_eq(world_lines("\"settle\"", NULL), _i == COMMITTED);
    assert_ok(kt_verify(world.ctx, ignore, NULL));
    end_readers();
    assert_value(NAME, "value 3", version);
}
END_TEST

START_TEST(a_writer_stopped_at_each_step)
{
    char who[32];
    uint64_t version = 0;
    int status;
    pid_t pid = start(write_one, 2, points[_i]);

    ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
    ck_assert_msg(WIFSTOPPED(status), "%s: the writer was not stopped: %x", points[_i], status);
    let_them_read();
    kt_setup_log(world.setup, log_line, NULL);
    world.ctx = world_context();
    (void)snprintf(who, sizeof(who), "process %d (", (int)pid);
    if (_i < COMMITTED) {
        int64_t begun = kt_monotonic();

        assert_status(put_number(world.ctx, 3, 300, &version), KT_TRYAGAIN);
        ck_assert_int_lt(kt_monotonic() - begun, 3000);
        assert_failure_has(who);
        assert_failure_has("holds the write lock");
        ck_assert_msg(strstr(logged, who) != NULL, "`%s`", logged);
        ck_assert_uint_eq(world_lines("\"write\"", "\"tryagain\"", NULL), 1);
        assert_value(NAME, "value 1", 1);
    } else {
        assert_value(NAME, "value 2", 2);
        assert_ok(put_number(world.ctx, 3, 0, &version));
    }
    let_them_read();
    ck_assert_int_eq(kill(pid, SIGCONT), 0);
    wait_for_child(pid, 0);
    assert_ok(put_number(world.ctx, 4, 0, &version));
    ck_assert_uint_eq(version, _i < COMMITTED ? 3 : 4);
    assert_ok(kt_verify(world.ctx, ignore, NULL));
    end_readers();
}
END_TEST

/* Has the lock of a file of the stream "nginx", says so by a byte, and is stopped. */
static pid_t hold(const char *file)
{
    char path[160], byte;
    int ready[2];
    pid_t pid;

    ck_assert_int_eq(pipe(ready), 0);
    (void)snprintf(path, sizeof(path), "%s/%s", world.dir, file);
    pid = fork();
    if (pid == 0) {
        int fd = open(path, O_RDWR);

        (void)(flock(fd, LOCK_EX) == 0 && write(ready[1], "x", 1) == 1);
        for (;;)
            (void)pause();
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(kill(pid, SIGSTOP), 0);
    (void)close(ready[0]);
    (void)close(ready[1]);
    return pid;
}

/* The commit stands, and the next writer records what was not anchored. So does each reader that
 * has seen it for KT_SETTLE_MS, which is no longer than a slow machine takes here. */
START_TEST(a_stopped_holder_of_the_anchors_is_named)
{
    pid_t pid = hold("anchors/nginx/.lock");
    unsigned lines;
    char who[32];

    kt_setup_log(world.setup, log_line, NULL);
    world.ctx = world_context();
    assert_ok(put_number(world.ctx, 2, 0, NULL));
    (void)snprintf(who, sizeof(who), "process %d (", (int)pid);
    ck_assert_msg(strstr(logged, who) != NULL && strstr(logged, "anchors/nginx/.lock") != NULL,
                  "`%s`", logged);
    let_them_read();
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    assert_value(NAME, "value 2", 2);
    assert_ok(put_number(world.ctx, 3, 0, NULL));
    lines = world_lines("\"settle\"", NULL);
    ck_assert_uint_ge(lines, 1);
    ck_assert_uint_le(lines, 1 + READERS);
    end_readers();
}
END_TEST

/* What cannot be recorded is refused after a while, because the holder may never continue. */
START_TEST(a_stopped_holder_of_the_trail_is_named)
{
    char who[32];
    int64_t begun;
    pid_t pid;

    end_readers();
    pid = hold("audit/nginx/state");
    world.ctx = world_context();
    begun = kt_monotonic();
    assert_status(put_number(world.ctx, 2, 0, NULL), KT_AUDIT);
    ck_assert_int_lt(kt_monotonic() - begun, 30000);
    (void)snprintf(who, sizeof(who), "process %d (", (int)pid);
    assert_failure_has(who);
    assert_failure_has("audit/nginx/state");
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    assert_ok(put_number(world.ctx, 3, 0, NULL));
    assert_value(NAME, "value 3", 2);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, make_world, world_end);
    UNIT_TABLE(tests, a_writer_killed_at_each_step, points);
    UNIT_TABLE(tests, a_writer_stopped_at_each_step, points);
    tcase_add_test(tests, a_stopped_holder_of_the_anchors_is_named);
    tcase_add_test(tests, a_stopped_holder_of_the_trail_is_named);
}

#else

static void add_tests(TCase *tests)
{
    (void)tests; /* needs configure --enable-debug-hooks */
}

#endif

UNIT_MAIN("crash", add_tests)
