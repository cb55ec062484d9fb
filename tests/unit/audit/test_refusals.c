/* SPDX-License-Identifier: BSD-2-Clause */
/* core/audit/refusals.c and core/audit/severity.c. The tests pass the time, so none of them sleeps.
 */
#include "process.h"
#include "world.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define T0 1790000000 /* some second */

static kt_refusals_t *refusals;
static char folder[160], file[160];

static void make_table(void)
{
    world_make(NULL, NULL, NULL);
    (void)snprintf(folder, sizeof(folder), "%s/audit", world.dir);
    (void)snprintf(file, sizeof(file), "%s/audit/refusals", world.dir);
    assert_ok(kt_refusals_open(folder, &refusals));
}

static void end_table(void)
{
    kt_refusals_close(refusals);
    refusals = NULL;
    world_end();
}

/* Records so many refusals at this time; returns how many lock-outs began. */
static unsigned refuse(const char *subject, const char *peer, unsigned times, int64_t now)
{
    unsigned seconds = 0;

    while (times-- > 0)
        seconds += kt_refusals_count(refusals, subject, peer, now);
    return seconds;
}

START_TEST(the_eleventh_within_an_hour)
{
    ck_assert_uint_eq(refuse("redis:app", "192.0.2.1:1", 10, T0), 0);
    ck_assert_uint_eq(kt_refusals_locked(refusals, "redis:app", "192.0.2.1:1", T0), 0);
    ck_assert_uint_eq(refuse("redis:app", "192.0.2.1:2", 1, T0 + 3599), 60);
    ck_assert_uint_eq(kt_refusals_locked(refusals, "redis:app", "192.0.2.1:3", T0 + 3599), 60);
    ck_assert_uint_eq(kt_refusals_locked(refusals, "redis:app", "192.0.2.1:3", T0 + 3658), 1);
    ck_assert_uint_eq(kt_refusals_locked(refusals, "redis:app", "192.0.2.1:3", T0 + 3659), 0);
}
END_TEST

START_TEST(ten_an_hour_are_not_a_lock_out)
{
    for (int hour = 0; hour < 20; hour++)
        ck_assert_uint_eq(refuse("redis:app", NULL, 10, T0 + hour * 3600), 0);
    for (int i = 0; i < 1000; i++) /* nor one in six minutes and a second */
        ck_assert_uint_eq(refuse("redis:other", NULL, 1, T0 + i * 361), 0);
}
END_TEST

START_TEST(a_source_is_subject_and_address)
{
    static const struct {
        const char *subject, *peer;
    } others[] = {
        {"redis:other", "192.0.2.1"},
        {"redis:app", "192.0.2.2"},
        {"redis:app", NULL},
        {NULL, "192.0.2.1"},
        {NULL, NULL},
        {"redis:app", "[2001:db8::1]:4711"},
        {"redis:app", "2001:db8::1"},
        {"redis:app192.0.2.1", ""},
    };

    ck_assert_uint_eq(refuse("redis:app", "192.0.2.1", 11, T0), 60);
    ck_assert_uint_gt(kt_refusals_locked(refusals, "redis:app", "192.0.2.1", T0), 0);
    ck_assert_uint_gt(kt_refusals_locked(refusals, "redis:app", "192.0.2.1:99", T0), 0);
    for (size_t i = 0; i < KT_ARRAY(others); i++)
        ck_assert_uint_eq(kt_refusals_locked(refusals, others[i].subject, others[i].peer, T0), 0);
    ck_assert_uint_eq(refuse("redis:app", "[2001:db8::1]:4711", 11, T0), 60);
    ck_assert_uint_gt(kt_refusals_locked(refusals, "redis:app", "[2001:db8::1]:4712", T0), 0);
    ck_assert_uint_eq(kt_refusals_locked(refusals, "redis:app", "[2001:db8::2]:4712", T0), 0);
    ck_assert_uint_eq(kt_refusals_locked(refusals, "redis:app", "2001:db8::1", T0), 0);
}
END_TEST

/* One lock-out, one alert; each that follows takes longer, an hour at most, and after an hour of
 * peace the first is a minute again. */
START_TEST(a_lock_out_grows_and_ends)
{
    static const unsigned seconds[] = {60, 120, 240, 480, 960, 1920, 3600, 3600};
    int64_t now = T0;

    ck_assert_uint_eq(refuse("redis:app", NULL, 10, now), 0);
    for (size_t i = 0; i < KT_ARRAY(seconds); i++) {
        ck_assert_uint_eq(refuse("redis:app", NULL, i < 6 ? 1 : 11, now), seconds[i]);
        /* of which there is one alert, and no lengthening */
        ck_assert_uint_eq(refuse("redis:app", NULL, 100, now + 1), 0);
        now += seconds[i];
        ck_assert_uint_eq(kt_refusals_locked(refusals, "redis:app", NULL, now - 1), 1);
        ck_assert_uint_eq(kt_refusals_locked(refusals, "redis:app", NULL, now), 0);
    }
    now += 3600;
    ck_assert_uint_eq(refuse("redis:app", NULL, 10, now), 0);
    ck_assert_uint_eq(refuse("redis:app", NULL, 1, now), 60);
}
END_TEST

/* A clock that is set back makes no lock-out longer than it was meant to be. */
START_TEST(a_clock_that_jumps)
{
    ck_assert_uint_eq(refuse("redis:app", NULL, 11, T0), 60);
    ck_assert_uint_eq(kt_refusals_locked(refusals, "redis:app", NULL, T0 - 86400), 0);
    ck_assert_uint_eq(refuse("redis:app", NULL, 1, T0 - 86400), 0);
    ck_assert_uint_eq(kt_refusals_locked(refusals, "redis:app", NULL, T0 + 86400), 0);
}
END_TEST

/* Thousands of sources: the table keeps its size, no source is locked out by others, and one that
 * is locked out stays so as long as there is another slot to give up. */
START_TEST(many_sources)
{
    struct stat before, after;
    char peer[32];
    unsigned locked = 0;

    ck_assert_int_eq(stat(file, &before), 0);
    ck_assert_uint_eq(refuse("redis:app", "192.0.2.1", 11, T0), 60);
    for (unsigned i = 0; i < 20000; i++) {
        (void)snprintf(peer, sizeof(peer), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        ck_assert_uint_eq(refuse("redis:app", peer, 10, T0 + i / 1000), 0);
    }
    ck_assert_uint_gt(kt_refusals_locked(refusals, "redis:app", "192.0.2.1", T0 + 20), 0);
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(peer, sizeof(peer), "10.9.%u.%u", i >> 8, i & 255);
        locked += kt_refusals_locked(refusals, "redis:app", peer, T0 + 20) > 0;
    }
    ck_assert_uint_eq(locked, 0);
    ck_assert_int_eq(stat(file, &after), 0);
    ck_assert_int_eq(before.st_size, after.st_size);
}
END_TEST

/* Each child counts the same source. Their exit statuses say how many lock-outs began: one. */
START_TEST(counted_over_processes)
{
    pid_t pids[8];
    int begun = 0, status;

    for (size_t i = 0; i < KT_ARRAY(pids); i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            kt_refusals_t *own;
            unsigned seconds = 0;

            if (kt_refusals_open(folder, &own) != KT_SUCCESS)
                _exit(99);
            for (int n = 0; n < 200; n++)
                seconds += kt_refusals_count(own, "nginx:shop", "192.0.2.1", T0);
            _exit(seconds == 60 ? 1 : seconds == 0 ? 0 : 98);
        }
    }
    for (size_t i = 0; i < KT_ARRAY(pids); i++) {
        ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
        begun += WEXITSTATUS(status);
    }
    ck_assert_int_eq(begun, 1);
    ck_assert_uint_eq(kt_refusals_locked(refusals, "nginx:shop", "192.0.2.1", T0), 60);
}
END_TEST

/* Killed anywhere while they count thousands of sources: what the table says of others afterwards
 * is right. */
START_TEST(killed_while_counting)
{
    ck_assert_uint_eq(refuse("redis:app", "192.0.2.1", 11, T0), 60);
    for (int round = 0; round < 20; round++) {
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            for (unsigned i = 0;; i++) {
                char peer[32];

                (void)snprintf(peer, sizeof(peer), "10.%u.%u.%u", i >> 16 & 255, i >> 8 & 255,
                               i & 255);
                (void)kt_refusals_count(refusals, "redis:app", peer, T0);
            }
        }
        (void)usleep(2000);
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        wait_for_child(pid, SIGKILL);
    }
    ck_assert_uint_eq(kt_refusals_locked(refusals, "redis:app", "192.0.2.1", T0), 60);
    for (unsigned i = 0; i < 2000; i++) {
        char peer[32];

        (void)snprintf(peer, sizeof(peer), "172.16.%u.%u", i >> 8, i & 255);
        ck_assert_uint_eq(refuse("redis:app", peer, 10, T0), 0);
    }
}
END_TEST

/* An unfinished file is finished. A file that is not a table, or not ours, is not mapped. */
START_TEST(the_file_is_looked_at)
{
    kt_refusals_t *other;
    int fd;

    kt_refusals_close(refusals);
    refusals = NULL;
    ck_assert_int_eq(truncate(file, 0), 0);
    assert_ok(kt_refusals_open(folder, &refusals));
    ck_assert_uint_eq(refuse("redis:app", NULL, 11, T0), 60);
    assert_ok(kt_refusals_open(folder, &other));
    ck_assert_uint_eq(kt_refusals_locked(other, "redis:app", NULL, T0), 60);
    kt_refusals_close(other);
    ck_assert_int_eq(chmod(file, 0640), 0);
    assert_status(kt_refusals_open(folder, &other), KT_AUDIT);
    ck_assert_int_eq(chmod(file, 0600), 0);
    fd = open(file, O_RDWR);
    ck_assert_int_eq(pwrite(fd, "KTF9", 4, 0), 4);
    (void)close(fd);
    assert_status(kt_refusals_open(folder, &other), KT_AUDIT);
    assert_failure_has("not a table of this version");
    ck_assert_int_eq(unlink(file), 0);
    ck_assert_int_eq(symlink("/dev/zero", file), 0);
    assert_status(kt_refusals_open(folder, &other), KT_AUDIT);
}
END_TEST

/* ---- in a context ---- */

static char said[600];

static void listen_to(void *arg, int level, const char *text)
{
    (void)arg;
    if (level == 2)
        (void)snprintf(said, sizeof(said), "%s", text);
}

static kt_status_t read_as(const char *subject, const char *reference)
{
    kt_request_t req = request_by(subject, reference);
    kt_secret_t *secret = NULL;
    kt_status_t status;

    req.peer = "192.0.2.7";
    status = kt_get(world.ctx, &req, &secret);
    kt_secret_free(secret);
    return status;
}

static void make_context(void)
{
    said[0] = '\0';
    world_of_memory(NULL);
    put("api-keys/a", "one", 1);
    world.ctx->holder.logger.fn = listen_to;
    memory.calls = 0;
}

START_TEST(a_context_locks_out_and_says_so)
{
    for (int i = 0; i < 10; i++)
        assert_status(read_as(READER, "database/a"), KT_DENIED);
    assert_ok(read_as(READER, "api-keys/a"));
    ck_assert_str_eq(said, "");
    assert_status(read_as(READER, "database/a"), KT_DENIED);
    assert_failure_has("may not");
    ck_assert_str_eq(said, "alert: nginx:reader from 192.0.2.7 was refused more than 10 times "
                           "within an hour, and is locked out for 60 s: what the policy refuses "
                           "to it is only counted (`keyturn lockout list`)");
    ck_assert_uint_eq(world_lines("\"action\":\"alert\"", "\"subject\":\"nginx:reader\"",
                                  "\"peer\":\"192.0.2.7\"", "\"seconds\":60",
                                  "\"severity\":\"critical\"", NULL),
                      1);
    ck_assert_uint_eq(kt_locked_out(world.ctx), 1);
    assert_ok(read_as(READER, "api-keys/a")); /* the policy allows it */
    kt_cache_clear(world.ctx->cache);
    assert_ok(read_as(READER, "api-keys/a"));
    for (int i = 0; i < 100; i++)
        assert_status(read_as(READER, i % 2 ? "database/a" : "database/b"), KT_DENIED);
    assert_failure_has("locked out for another");
    assert_failure_has("may not");
    ck_assert_uint_eq(world_lines("\"action\":\"read\"", "\"status\":\"denied\"", NULL), 11);
    assert_status(read_as(ALL, "database/a"),
                  KT_NOTFOUND); /* another subject of the same address */
    ck_assert_uint_eq(world_lines("\"action\":\"alert\"", NULL), 1);
}
END_TEST

/* As if an hour had passed. */
static void end_lockouts(void)
{
    char path[160];
    uint32_t second = 1;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/audit/nginx/refusals", world.dir);
    fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    for (off_t at = 64; at < 64 + 512 * 1024; at += 512) {
        uint64_t source = 0;

        ck_assert_int_eq(pread(fd, &source, 8, at), 8);
        if (source != 0)
            ck_assert_int_eq(pwrite(fd, &second, 4, at + 8), 4);
    }
    (void)close(fd);
}

START_TEST(what_was_only_counted_gets_one_line)
{
    for (int i = 0; i < 40; i++)
        assert_status(read_as(READER, "database/a"), KT_DENIED);
    kt_record_lockouts(world.ctx);
    ck_assert_uint_eq(world_lines("\"action\":\"lockout\"", NULL), 0); /* it goes on */
    end_lockouts();
    ck_assert_uint_eq(kt_locked_out(world.ctx), 0);
    assert_ok(read_as(READER, "api-keys/a"));
    (void)kt_forward_step(world.ctx); /* what the host's thread does */
    ck_assert_uint_eq(world_lines("\"action\":\"lockout\"", "\"subject\":\"nginx:reader\"",
                                  "\"peer\":\"192.0.2.7\"", "\"count\":29", "\"seconds\":60", NULL),
                      1);
    (void)kt_forward_step(world.ctx);
    ck_assert_uint_eq(world_lines("\"action\":\"lockout\"", NULL), 1);
}
END_TEST

START_TEST(what_the_host_is_configured_to_ask_for_is_no_attempt)
{
    kt_request_t req = request_by(READER, "database/a");
    kt_secret_t *secret;

    req.configured = 1;
    for (int i = 0; i < 40; i++)
        assert_status(kt_get(world.ctx, &req, &secret), KT_DENIED);
    ck_assert_str_eq(said, "");
    ck_assert_uint_eq(kt_locked_out(world.ctx), 0);
    ck_assert_uint_eq(
        world_lines("\"status\":\"denied\"", "\"configured\":true", "\"action\":\"read\"", NULL),
        40);
    ck_assert_uint_eq(world_lines("\"action\":\"alert\"", NULL), 0);
}
END_TEST

static kt_lockout_t listed;
static char listed_source[512], listed_stream[64];
static unsigned nlisted;

static void list_lockout(void *arg, const kt_lockout_t *lockout)
{
    (void)arg;
    listed = *lockout;
    (void)snprintf(listed_source, sizeof(listed_source), "%s", lockout->source);
    (void)snprintf(listed_stream, sizeof(listed_stream), "%s", lockout->stream);
    nlisted++;
}

START_TEST(lockouts_are_listed_and_cleared)
{
    kt_request_t req = request_by(ALL, "nginx:reader@192.0.2.7");
    unsigned hidden = 1;

    nlisted = 0;
    for (int i = 0; i < 13; i++)
        assert_status(read_as(READER, "database/a"), KT_DENIED);
    assert_ok(kt_lockouts(world.ctx, list_lockout, NULL, &hidden));
    ck_assert_uint_eq(hidden, 0);
    ck_assert_uint_eq(nlisted, 1);
    ck_assert_str_eq(listed_source, "nginx:reader@192.0.2.7");
    ck_assert_str_eq(listed_stream, "nginx");
    ck_assert(listed.seconds > 50 && listed.seconds <= 60);
    ck_assert_uint_eq(listed.refusals, 11);
    ck_assert_uint_eq(listed.unrecorded, 2);
    req.subject = READER;
    assert_status(kt_lockout_clear(world.ctx, &req), KT_DENIED);
    req.subject = ALL;
    req.reference = "nginx:reader@192.0.2.8";
    assert_status(kt_lockout_clear(world.ctx, &req), KT_NOTFOUND);
    req.reference = "nginx:reader@192.0.2.7";
    assert_ok(kt_lockout_clear(world.ctx, &req));
    ck_assert_uint_eq(world_lines("\"action\":\"lockout.clear\"", "\"subject\":\"nginx:all\"",
                                  "\"reference\":\"nginx:reader@192.0.2.7\"",
                                  "\"status\":\"success\"", NULL),
                      1);
    ck_assert_uint_eq(kt_locked_out(world.ctx), 0);
    for (int i = 0; i < 10; i++)
        assert_status(read_as(READER, "database/a"), KT_DENIED);
    ck_assert_uint_eq(world_lines("\"action\":\"alert\"", NULL), 1); /* it begins anew */
}
END_TEST

START_TEST(what_does_not_exist_is_not_a_refusal)
{
    for (int i = 0; i < 30; i++)
        assert_status(read_as(READER, "api-keys/none"), KT_NOTFOUND);
    assert_ok(read_as(READER, "api-keys/a"));
    ck_assert_str_eq(said, "");
}
END_TEST

START_TEST(writes_count_too)
{
    kt_request_t req = request_by(READER, "api-keys/a");
    kt_secret_t *value = secret_of("two");

    for (int i = 0; i < 11; i++)
        assert_status(kt_put(world.ctx, &req, value, NULL, NULL), KT_DENIED);
    assert_failure_has("may not");
    assert_status(kt_delete(world.ctx, &req), KT_DENIED);
    assert_failure_has("locked out for another");
    ck_assert_uint_eq(world_lines("\"action\":\"delete\"", NULL), 0);
    kt_secret_free(value);
}
END_TEST

/* Without the table policy refuses as before; the host's log says that refusals are not counted. */
START_TEST(without_a_table)
{
    char path[160];

    (void)snprintf(path, sizeof(path), "%s/audit/nginx/refusals", world.dir);
    kt_refusals_close(world.ctx->refusals);
    world.ctx->refusals = NULL;
    (void)unlink(path);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    for (int i = 0; i < 20; i++)
        assert_status(read_as(READER, "database/a"), KT_DENIED);
    assert_ok(read_as(READER, "api-keys/a"));
    ck_assert(world.ctx->refusals_off);
}
END_TEST

/* ---- severities ---- */

static const struct {
    kt_event_t event;
    const char *severity;
} severities[] = {
    {{.action = "alert", .subject = ALL, .status = "denied"}, "critical"},
    {{.action = "read", .subject = ALL, .status = "denied"}, "critical"},
    {{.action = "rotate.create", .subject = ALL, .status = "denied"}, "critical"},
    {{.action = "read", .subject = ALL, .status = "rolledback"}, "critical"},
    {{.action = "read", .subject = ALL, .status = "unavail"}, "high"},
    {{.action = "read", .subject = ALL, .status = "malformed"}, "high"},
    {{.action = "rotate", .subject = ALL, .status = "unavail"}, "high"},
    {{.action = "rotate.finish", .subject = ALL, .status = "internal"}, "high"},
    {{.action = "write", .subject = ALL, .status = "nospace"}, "high"},
    {{.action = "read", .subject = "", .status = "success"}, "medium"},
    {{.action = "read", .status = "success"}, "medium"},
    {{.action = "read", .subject = "nginx:anonymous", .status = "success"}, "medium"},
    {{.action = "read", .subject = "anonymous", .status = "success"}, "medium"},
    {{.action = "read", .subject = ALL, .status = "success", .stale = true}, "medium"},
    {{.action = "read", .subject = ALL, .status = "success", .fallback = true}, "medium"},
    {{.action = "read", .subject = ALL, .status = "success"}, NULL},
    {{.action = "read", .subject = ALL, .status = "notfound"}, NULL},
    {{.action = "rotate", .subject = ALL, .status = "intent"}, NULL},
    {{.action = "rotate", .subject = ALL, .status = "conflict"}, NULL},
    {{.action = "rotate", .subject = ALL, .status = "success"}, NULL},
};

START_TEST(a_severity)
{
    const char *severity = kt_severity(&severities[_i].event);

    ck_assert_pstr_eq(severity, severities[_i].severity);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_table, end_table);
    tcase_add_test(tests, the_eleventh_within_an_hour);
    tcase_add_test(tests, ten_an_hour_are_not_a_lock_out);
    tcase_add_test(tests, a_source_is_subject_and_address);
    tcase_add_test(tests, a_lock_out_grows_and_ends);
    tcase_add_test(tests, a_clock_that_jumps);
    tcase_add_test(tests, many_sources);
    tcase_add_test(tests, counted_over_processes);
    tcase_add_test(tests, killed_while_counting);
    tcase_add_test(tests, the_file_is_looked_at);
    UNIT_TABLE(tests, a_severity, severities);
}

static void add_context_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_context, world_end);
    tcase_add_test(tests, a_context_locks_out_and_says_so);
    tcase_add_test(tests, what_does_not_exist_is_not_a_refusal);
    tcase_add_test(tests, writes_count_too);
    tcase_add_test(tests, what_was_only_counted_gets_one_line);
    tcase_add_test(tests, what_the_host_is_configured_to_ask_for_is_no_attempt);
    tcase_add_test(tests, lockouts_are_listed_and_cleared);
    tcase_add_test(tests, without_a_table);
}

int main(void)
{
    int table = unit_run("refusals", add_tests);

    return unit_run("refusals in a context", add_context_tests) != EXIT_SUCCESS ? EXIT_FAILURE
                                                                                : table;
}
