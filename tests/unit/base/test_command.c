/* SPDX-License-Identifier: BSD-2-Clause */
/* core/base/command.c, run.c: what a command is given, what it leaves, and its end. What it may be
 * is in test_target.c and test_source.c. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static kt_environ_t env;
static kt_command_result_t result;

static void set_up(void)
{
    kt_environ_init(&env);
    kt_environ_add(&env, "NUMBER=%d", 7);
    result = (kt_command_result_t){.exit = -2};
}

static void tear_down(void)
{
    kt_locked_free(result.output);
}

/* Runs sh -c SCRIPT with these on its descriptors 0 and 3. */
static kt_status_t run(const char *script, const kt_secret_t *input, const kt_secret_t *extra,
                       size_t output_max, int64_t timeout)
{
    char *argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, (char *)(uintptr_t)script, NULL};
    kt_command_t command = {.argv = argv,
                            .env = &env,
                            .input = input,
                            .extra = extra,
                            .output_max = output_max,
                            .timeout = timeout};

    return kt_command_run(&command, &result);
}

static const struct {
    const char *script, *output;
    int exit, signal;
} ends[] = {{"echo a; echo b >&2; exit 3", "a\n", 3, 0},
            {"kill -9 $$", "", -1, SIGKILL},
            {"tr '\\0' '\\n' < /proc/$$/environ",
             "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nNUMBER=7\n", 0, 0},
            {"ls /proc/self/fd | tr '\\n' ' '", "0 1 2 3 ", 0, 0}, /* 3: the folder itself */
            {"cat", "", 0, 0},
            {"kill -USR1 $$", "", -1, SIGUSR1}}; /* which this host ignores */

START_TEST(its_end_and_what_it_printed)
{
    (void)signal(SIGUSR1, SIG_IGN);
    assert_ok(run(ends[_i].script, NULL, NULL, 8192, 20000));
    ck_assert_int_eq(result.exit, ends[_i].exit);
    ck_assert_int_eq(result.signal, ends[_i].signal);
    ck_assert(!result.timed_out);
    ck_assert_str_eq(result.output, ends[_i].output);
    ck_assert_uint_eq(strlen(result.output), result.size);
}
END_TEST

START_TEST(both_values_at_once_and_more_than_a_pipe_takes)
{
    kt_secret_t *input = kt_secret_new(NULL, KT_VALUE_MAX), *extra = secret_of("extra");

    memset(kt_secret_buffer(input), 'a', KT_VALUE_MAX);
    assert_ok(run("cat; cat <&3; cat /proc/self/environ /proc/$$/cmdline /bin/sh | head -c 70000",
                  input, extra, 512 * 1024, 20000));
    ck_assert_int_eq(result.exit, 0);
    ck_assert_uint_eq(result.size, KT_VALUE_MAX + 5 + 70000);
    ck_assert_int_eq(memcmp(result.output, kt_secret_bytes(input), KT_VALUE_MAX), 0);
    ck_assert_int_eq(memcmp(result.output + KT_VALUE_MAX, "extra", 5), 0);
    kt_secret_free(input);
    kt_secret_free(extra);
}
END_TEST

/* Nothing of the host's own: what it reads there is not the command's business, and a command that
 * was given a value may print it. */
START_TEST(without_input_and_reader_it_has_dev_null)
{
    int host[2], kept[3];

    ck_assert_int_eq(pipe2(host, O_CLOEXEC), 0);
    for (int fd = 0; fd < 3; fd++) {
        kept[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 20);
        (void)dup2(host[fd > 0], fd);
    }
    kt_status_t status =
        run("for i in 0 1 2; do test /proc/self/fd/$i -ef /dev/null || exit 1$i; done", NULL, NULL,
            0, 20000);
    for (int fd = 0; fd < 3; fd++)
        (void)dup2(kept[fd], fd);
    assert_ok(status);
    ck_assert_int_eq(result.exit, 0);
    ck_assert_ptr_null(result.output);
}
END_TEST

/* A command that reads nothing must not keep its host busy. */
START_TEST(a_full_pipe_is_not_waited_for)
{
    kt_secret_t *value = kt_secret_new(NULL, KT_VALUE_MAX);
    static char bytes[4096];
    kt_feed_t feed;

    ck_assert(kt_feed_open(&feed, kt_secret_bytes(value), KT_VALUE_MAX));
    ck_assert_int_eq(fcntl(feed.ends[1], F_SETPIPE_SZ, 4096), 4096);
    kt_feed_more(&feed);
    ck_assert_uint_eq(feed.left, KT_VALUE_MAX - 4096);
    ck_assert_int_ge(feed.ends[1], 0);
    while (feed.left > 0) {
        ck_assert_int_eq(read(feed.ends[0], bytes, sizeof(bytes)), 4096);
        kt_feed_more(&feed);
    }
    ck_assert_int_eq(feed.ends[1], -1);
    kt_secret_free(value);
}
END_TEST

START_TEST(it_may_not_print_more_than_that)
{
    assert_ok(run("head -c 8190 /dev/zero", NULL, NULL, 8192, 20000));
    ck_assert_uint_eq(result.size, 8190);
    kt_locked_free(result.output);
    result.output = NULL;
    assert_status(run("head -c 8191 /dev/zero; sleep 60", NULL, NULL, 8192, 20000), KT_TOOLARGE);
    ck_assert_ptr_null(result.output);
}
END_TEST

/* A host whose own standard descriptors are closed: pipes take their place. */
START_TEST(a_host_without_standard_descriptors)
{
    kt_secret_t *extra = secret_of("extra\n");
    int kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 20);

    for (int fd = 0; fd < 3; fd++)
        (void)close(fd);
    kt_status_t status = run("read a <&3 && test $a = extra", NULL, extra, 0, 20000);
    (void)dup2(kept, STDERR_FILENO);
    assert_ok(status);
    ck_assert_int_eq(result.exit, 0);
    kt_secret_free(extra);
}
END_TEST

static const struct {
    const char *path;
} none[] = {{"sh"}, {"/none/sh"}, {"/etc"}};

START_TEST(what_is_not_a_command_is_not_run)
{
    char path[64], *argv[] = {path, NULL};
    kt_command_t command = {.argv = argv, .env = &env, .timeout = 20000};

    (void)snprintf(path, sizeof(path), "%s", none[_i].path);
    assert_status(kt_command_run(&command, &result), KT_CONFIG);
    ck_assert_int_eq(result.exit, -2);
}
END_TEST

/* They get numbers from 10. */
static int open_pipes(void)
{
    int count = 0;

    for (int fd = 10; fd < 64; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* A file of no known format is found out when it is started. */
START_TEST(its_pipes_are_closed_if_it_does_not_start)
{
    const char *tmp = getenv("TMPDIR");
    kt_secret_t *value = secret_of("value");
    char path[PATH_MAX], *argv[] = {path, NULL};
    kt_command_t command = {.argv = argv,
                            .env = &env,
                            .input = value,
                            .extra = value,
                            .output_max = 8192,
                            .timeout = 20000};
    int fd, before = open_pipes();

    (void)snprintf(path, sizeof(path), "%s/ktc-XXXXXX", tmp != NULL ? tmp : "/tmp");
    fd = mkstemp(path);
    ck_assert_int_eq(write(fd, "\177ELF", 4), 4);
    ck_assert_int_eq(fchmod(fd, 0700), 0);
    (void)close(fd);
    assert_status(kt_command_run(&command, &result), KT_CONFIG);
    assert_failure_has("cannot be run");
    ck_assert_int_eq(open_pipes(), before);
    (void)unlink(path);
    kt_secret_free(value);
}
END_TEST

/* The kernel forgets how the command ended; -1 is not an exit status. */
START_TEST(a_host_that_ignores_its_children)
{
    (void)signal(SIGCHLD, SIG_IGN);
    assert_ok(run("exit 0", NULL, NULL, 0, 20000));
    ck_assert_int_eq(result.exit, -1);
    ck_assert(!result.timed_out);
    assert_ok(run("sleep 60", NULL, NULL, 0, 200));
    ck_assert(result.timed_out);
}
END_TEST

/* It would run with a descriptor of the host in its place. */
START_TEST(without_its_descriptors_it_is_not_started)
{
    char *argv[] = {(char[]){"/bin/true"}, NULL};
    pid_t pid = 0;

    for (int i = 0; i < 3; i++) {
        kt_command_fds_t fds = {i == 0 ? INT_MAX : -1, i == 1 ? INT_MAX : -1,
                                i == 2 ? INT_MAX : -1};

        ck_assert_int_eq(kt_command_spawn(argv[0], argv, &env, fds, &pid), EBADF);
    }
    ck_assert_int_eq(pid, 0);
}
END_TEST

static const char *const slow[] = {"sleep 60", "exec >&- 2>&-; sleep 60", "sleep 60 & echo x"};

START_TEST(one_that_takes_too_long_is_killed)
{
    int64_t before = kt_monotonic();

    assert_ok(run(slow[_i], NULL, NULL, 8192, 200));
    ck_assert(result.timed_out);
    ck_assert_int_eq(result.exit, -1);
    ck_assert_int_lt(kt_monotonic() - before, 10000);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, set_up, tear_down);
    UNIT_TABLE(tests, its_end_and_what_it_printed, ends);
    tcase_add_test(tests, both_values_at_once_and_more_than_a_pipe_takes);
    tcase_add_test(tests, without_input_and_reader_it_has_dev_null);
    tcase_add_test(tests, a_full_pipe_is_not_waited_for);
    tcase_add_test(tests, it_may_not_print_more_than_that);
    tcase_add_test(tests, a_host_without_standard_descriptors);
    UNIT_TABLE(tests, what_is_not_a_command_is_not_run, none);
    tcase_add_test(tests, its_pipes_are_closed_if_it_does_not_start);
    tcase_add_test(tests, a_host_that_ignores_its_children);
    tcase_add_test(tests, without_its_descriptors_it_is_not_started);
    UNIT_TABLE(tests, one_that_takes_too_long_is_killed, slow);
}

UNIT_MAIN("command", add_tests)
