/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many processes on one store of the real provider `local`: nothing that was acknowledged is lost,
 * no reader goes back, and a writer may be killed at any moment.
 */
#include "process.h"
#include "world.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME "api-keys/shared"
#define EACH 50
#define PROCESSES 10
#define KILLS 30

/* What the processes tell each other; made before they are. */
typedef struct board {
    atomic_uint taken[PROCESSES * EACH + 2]; /* how often each version was acknowledged */
    atomic_uint wrong, busy;
    atomic_bool stop;
    atomic_ullong acknowledged; /* by the writer that is killed */
} board_t;

static board_t *board;

static void make_world(void)
{
    world_make(NULL, NULL, "cache: {ttl: 60s}\n");
    world_of_local();
    kt_close(world.ctx); /* no connection crosses a fork */
    world.ctx = NULL;
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(board != MAP_FAILED);
    (void)alarm(110);
}

static kt_secret_t *value_of(uint64_t number)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "value %llu", (unsigned long long)number);
    return kt_secret_new(text, strlen(text));
}

static int write_each(kt_ctx_t *ctx, unsigned n)
{
    kt_request_t req = request(NAME);

    for (unsigned i = 0; i < EACH;) {
        kt_secret_t *value = value_of(n * 1000 + i);
        uint64_t version = 0;
        kt_status_t status = kt_put(ctx, &req, value, NULL, &version);

        kt_secret_free(value);
        if (status == KT_TRYAGAIN) {
            atomic_fetch_add(&board->busy, 1);
            continue;
        }
        if (status != KT_SUCCESS || version == 0 || version > PROCESSES * EACH) {
            (void)fprintf(stderr, "write: %s: %s\n", kt_status_name(status), kt_error(ctx));
            return 1;
        }
        atomic_fetch_add(&board->taken[version], 1);
        i++;
    }
    return 0;
}

/* kt_peek() as a server does it: each version that is seen is at least the last one. */
static int read_on(kt_ctx_t *ctx, unsigned n)
{
    kt_request_t req = request(NAME);
    uint64_t last = 0;

    (void)n;
    while (!atomic_load(&board->stop)) {
        kt_secret_t *secret = NULL;
        kt_status_t status = kt_peek(ctx, &req, &secret);

        if (status == KT_NOTFOUND && last == 0)
            continue;
        if (status != KT_SUCCESS) {
            (void)fprintf(stderr, "read: %s: %s\n", kt_status_name(status), kt_error(ctx));
            return 1;
        }
        if (kt_secret_version(secret) < last || kt_secret_size(secret) < 7 ||
            memcmp(kt_secret_bytes(secret), "value ", 6) != 0)
            return 2;
        last = kt_secret_version(secret);
        kt_secret_free(secret);
    }
    return 0;
}

static const unsigned writers[] = {2, PROCESSES};

START_TEST(no_version_is_lost_or_given_twice)
{
    unsigned count = writers[_i];
    pid_t pids[PROCESSES], reader = start(read_on, 0, NULL);

    for (unsigned i = 0; i < count; i++)
        pids[i] = start(write_each, i, NULL);
    for (unsigned i = 0; i < count; i++)
        wait_for_child(pids[i], 0);
    atomic_store(&board->stop, true);
    wait_for_child(reader, 0);
    for (unsigned version = 1; version <= count * EACH; version++)
        ck_assert_msg(atomic_load(&board->taken[version]) == 1, "version %u was given %u times",
                      version, atomic_load(&board->taken[version]));
    world.ctx = world_context();
    {
        kt_request_t req = request(NAME);
        kt_info_t *info = NULL;

        assert_ok(kt_info(world.ctx, &req, &info));
        ck_assert_uint_eq(kt_info_entry(info)->version, count * EACH);
        ck_assert_uint_eq(kt_info_counter(info), count * EACH);
        kt_info_free(info);
    }
}
END_TEST

/* Compare-and-set: of all who saw the same version one wins. */
static int count_up(kt_ctx_t *ctx, unsigned n)
{
    kt_request_t req = request("api-keys/counter");

    (void)n;
    for (unsigned i = 0; i < 20;) {
        kt_put_options_t options = KT_PUT_INIT;
        kt_secret_t *secret = NULL, *value;
        char text[32];
        kt_status_t status = kt_get(ctx, &req, &secret);

        if (status != KT_SUCCESS)
            return 1;
        (void)snprintf(text, sizeof(text), "%d", atoi((const char *)kt_secret_bytes(secret)) + 1);
        options.cas = (int64_t)kt_secret_version(secret);
        kt_secret_free(secret);
        value = secret_of(text);
        status = kt_put(ctx, &req, value, &options, NULL);
        kt_secret_free(value);
        if (status == KT_SUCCESS)
            i++;
        else if (status != KT_CONFLICT && status != KT_TRYAGAIN)
            return 2;
    }
    return 0;
}

START_TEST(compare_and_set_loses_no_update)
{
    pid_t pids[4];

    world.ctx = world_context();
    put("api-keys/counter", "0", 1);
    kt_close(world.ctx);
    world.ctx = NULL;
    for (unsigned i = 0; i < 4; i++)
        pids[i] = start(count_up, i, NULL);
    for (unsigned i = 0; i < 4; i++)
        wait_for_child(pids[i], 0);
    world.ctx = world_context();
    assert_value("api-keys/counter", "80", 81);
}
END_TEST

static int write_until_killed(kt_ctx_t *ctx, unsigned n)
{
    kt_request_t req = request(NAME);

    (void)n;
    for (;;) {
        kt_secret_t *value = value_of(atomic_load(&board->acknowledged) + 1);
        uint64_t version = 0;
        kt_status_t status = kt_put(ctx, &req, value, NULL, &version);

        kt_secret_free(value);
        if (status == KT_SUCCESS)
            atomic_store(&board->acknowledged, version);
        else if (status != KT_TRYAGAIN)
            return 1;
    }
}

START_TEST(a_killed_writer_loses_nothing_acknowledged)
{
    pid_t reader = start(read_on, 0, NULL);
    unsigned progress = 0;

    for (unsigned i = 0; i < KILLS; i++) {
        uint64_t before = atomic_load(&board->acknowledged), acknowledged;
        pid_t pid = start(write_until_killed, 0, NULL);
        kt_request_t req = request(NAME);
        kt_secret_t *secret = NULL;
        kt_status_t status;

        for (unsigned k = 0; i % 3 && k < 2000 && atomic_load(&board->acknowledged) == before; k++)
            (void)usleep(1000); /* some are killed while they start, most while they write */
        (void)usleep((useconds_t)(random() % 20000));
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        wait_for_child(pid, SIGKILL);
        acknowledged = atomic_load(&board->acknowledged);
        progress += acknowledged > before;
        world.ctx = world_context();
        status = kt_get(world.ctx, &req, &secret);
        if (acknowledged == 0 && status == KT_NOTFOUND) {
            kt_close(world.ctx);
            world.ctx = NULL;
            continue;
        }
        ck_assert_msg(status == KT_SUCCESS, "%s: %s", kt_status_name(status), kt_error(world.ctx));
        /* the last one acknowledged, or one that was committed and not yet acknowledged */
        ck_assert_msg(kt_secret_version(secret) == acknowledged ||
                          kt_secret_version(secret) == acknowledged + 1,
                      "version %llu, acknowledged %llu",
                      (unsigned long long)kt_secret_version(secret),
                      (unsigned long long)acknowledged);
        atomic_store(&board->acknowledged, kt_secret_version(secret));
        kt_secret_free(secret);
        kt_close(world.ctx);
        world.ctx = NULL;
    }
    atomic_store(&board->stop, true);
    wait_for_child(reader, 0);
    ck_assert_uint_ge(progress, KILLS / 3);
    /* each acknowledged write has its intent and its outcome */
    ck_assert_uint_ge(world_lines("\"write\"", "\"intent\"", NULL),
                      atomic_load(&board->acknowledged));
}
END_TEST

/* ---- a rotation that is killed ---- */

static kt_status_t target_has_it(void *arg, kt_rotation_t *rotation)
{
    (void)arg, (void)rotation;
    return KT_SUCCESS;
}

static kt_status_t rotate(kt_ctx_t *ctx)
{
    static const kt_target_ops_t target = {sizeof(kt_target_ops_t), "exec:test", target_has_it,
                                           target_has_it};
    kt_rotate_options_t options = KT_ROTATE_INIT;
    kt_request_t req = request("database/a");

    options.target = &target;
    return kt_rotate(ctx, &req, &options, NULL);
}

/* In the order in which a rotation comes by. */
static const struct {
    const char *point;
    bool pending; /* a pending version is left */
} kills[] = {
    {"write.committed:kill", true}, {"after_create:kill", true}, {"before_set:kill", true},
    {"after_set:kill", true},       {"after_test:kill", true},   {"after_finish:kill", false},
};

static int rotate_until_killed(kt_ctx_t *ctx, unsigned n)
{
    (void)setenv("KEYTURN_DEBUG_STOP", kills[n].point, 1);
    return rotate(ctx) == KT_SUCCESS ? 0 : 1;
}

static kt_secret_t *password(void)
{
    kt_request_t req = request("database/a#password");
    kt_secret_t *secret = NULL;

    assert_ok(kt_get(world.ctx, &req, &secret));
    return secret;
}

static bool is_current(const kt_secret_t *secret)
{
    kt_secret_t *now = password();
    bool same = kt_secret_equal(now, kt_secret_bytes(secret), kt_secret_size(secret)) &&
                kt_secret_version(now) == kt_secret_version(secret);

    kt_secret_free(now);
    return same;
}

static void finish_rotation(void)
{
    kt_request_t req = request("database/a");
    kt_rotation_t *rotation = NULL;

    assert_ok(kt_rotation_resume(world.ctx, &req, &rotation));
    assert_ok(kt_rotation_finish(rotation, 0, NULL));
}

static void abandon_rotation(void)
{
    kt_request_t req = request("database/a");
    kt_rotation_t *rotation = NULL;

    assert_ok(kt_rotation_resume(world.ctx, &req, &rotation));
    assert_ok(kt_rotation_abandon(rotation));
}

static void rotate_again(void)
{
    assert_ok(rotate(world.ctx));
}

static const struct {
    void (*go_on)(void);
    bool keeps_the_old;
} ends[] = {{finish_rotation, false}, {abandon_rotation, true}, {rotate_again, false}};

START_TEST(a_killed_rotation_is_finished_by_the_next)
{
    kt_request_t req = request("database/a");
    kt_rotation_t *rotation = NULL;

#ifndef KT_DEBUG_HOOKS
    kt_skip("needs configure --enable-debug-hooks");
#endif
    world.ctx = world_context();
    put("database/a", "{\"user\": \"a\", \"password\": \"p\"}", 1);
    for (size_t i = 0; i < KT_ARRAY(ends); i++) {
        kt_secret_t *old = password();
        int status;
        pid_t pid;

        kt_close(world.ctx);
        world.ctx = NULL;
        pid = start(rotate_until_killed, (unsigned)_i, NULL);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s: ended with %x",
                      kills[_i].point, status);
        world.ctx = world_context();
        ck_assert(is_current(old) == kills[_i].pending);
        if (kills[_i].pending) {
            ends[i].go_on();
            ck_assert(is_current(old) == ends[i].keeps_the_old);
        }
        assert_status(kt_rotation_resume(world.ctx, &req, &rotation), KT_NOTFOUND);
        kt_secret_free(old);
    }
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_set_timeout(tests, 400);
    tcase_add_checked_fixture(tests, make_world, world_end);
    UNIT_TABLE(tests, no_version_is_lost_or_given_twice, writers);
    tcase_add_test(tests, compare_and_set_loses_no_update);
    tcase_add_test(tests, a_killed_writer_loses_nothing_acknowledged);
    UNIT_TABLE(tests, a_killed_rotation_is_finished_by_the_next, kills);
}

UNIT_MAIN("many", add_tests)
