/* SPDX-License-Identifier: BSD-2-Clause */
/* core/audit/sinks.c and the sinks: everything that is sealed arrives, in order, whatever a sink
 * does; and no decision waits for one. */
#include "world.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "audit/sinks.h"

static kt_config_t *config;
static kt_audit_t *audit;
static kt_sinks_t *sinks;
static char folder[160], script[160], out[160], sockets[100], sent[160], said[8][700];
static unsigned nsaid;
static const char
    *subject; /* of what record() records, if not NULL: a long one makes a long line */

static void listen_to(void *arg, int level, const char *text)
{
    (void)arg;
    (void)level;
    if (nsaid < KT_ARRAY(said))
        (void)snprintf(said[nsaid], sizeof(said[0]), "%s", text);
    nsaid++;
}

static void make_world(void)
{
    nsaid = 0;
    subject = NULL;
    world_make(NULL, NULL, NULL);
    (void)snprintf(folder, sizeof(folder), "%s/audit/nginx", world.dir);
    (void)snprintf(script, sizeof(script), "%s/sink", world.dir);
    (void)snprintf(out, sizeof(out), "%s/out", world.dir);
    (void)snprintf(sockets, sizeof(sockets), "%s/log.sock", world.dir);
    (void)snprintf(sent, sizeof(sent), "%s/audit/nginx/sent", world.dir);
}

static void end_world(void)
{
    kt_sinks_close(sinks);
    sinks = NULL;
    kt_audit_close(audit);
    audit = NULL;
    kt_config_unref(config);
    config = NULL;
    world_end();
}

/* The configuration with these sinks, the trail, and what sends it. */
static void with(const char *format, const char *path, const char *send)
{
    char text[4096], list[300], *yaml = world_read(world.config, NULL);

    (void)snprintf(list, sizeof(list), format, path);
    *strstr(yaml, "audit: {") = '\0';
    (void)snprintf(text, sizeof(text),
                   "%saudit: {path: audit, required: true, sinks: [%s], send: %s}\n", yaml, list,
                   send);
    free(yaml);
    world_write(world.config, text, 0600);
    assert_ok(kt_config_read(world.config, &config));
    assert_ok(kt_audit_open(config, "nginx", &audit));
    assert_ok(kt_sinks_open(config, "nginx", listen_to, NULL, &sinks));
}

static void record(const char *reference, const char *status)
{
    kt_event_t event = {.action = "read",
                        .subject = subject != NULL ? subject : ALL,
                        .reference = reference,
                        .status = status,
                        .durable = true};

    assert_ok(kt_audit_write(audit, &event));
}

/* Each byte of it is six in the line. */
static void make_long(void)
{
    static char text[KT_SUBJECT_MAX + 1];

    memset(text, 1, KT_SUBJECT_MAX);
    subject = text;
}

/* Steps until nothing is under way; a command takes its time. */
static void settle(void)
{
    int64_t until = kt_monotonic() + 30000;

    while (kt_sinks_step(sinks)) {
        ck_assert_msg(kt_monotonic() < until, "not within 30 s");
        (void)poll(NULL, 0, 2);
    }
}

static size_t count_in(const char *path, const char *text)
{
    char *all = access(path, F_OK) == 0 ? world_read(path, NULL) : strdup("");
    size_t count = 0;

    for (char *at = all; (at = strstr(at, text)) != NULL; at++)
        count++;
    free(all);
    return count;
}

/* Ends the pause between two attempts without waiting. */
static void pass_time(void)
{
    static const int64_t past = 1;
    int fd = open(sent, O_RDWR);

    ck_assert_int_ge(fd, 0);
    for (off_t slot = 0; slot < 8; slot++)
        ck_assert_int_eq(pwrite(fd, &past, sizeof(past), slot * 128 + 64), (int)sizeof(past));
    (void)close(fd);
}

static void write_script(const char *text)
{
    char all[600];

    (void)snprintf(all, sizeof(all), "#!/bin/sh\n%s\n", text);
    world_write(script, all, 0755);
}

/* ---- a command ---- */

static const struct {
    const char *send;
    size_t lines, seals;
} rows[] = {{"alerts", 2, 2}, {"seals", 2, 4}, {"all", 4, 4}};

START_TEST(a_command_gets_what_it_should)
{
    char text[300];

    (void)snprintf(text, sizeof(text),
                   "cat >> %s && echo \"$KEYTURN_ENVIRONMENT $KEYTURN_STREAM $1\" >> %s.env", out,
                   out);
    write_script(text);
    with("\"exec:%s word\"", script, rows[_i].send);
    record("a/1", "success");
    record("a/2", "denied");
    record("a/3", "success");
    record("a/4", "unavail");
    settle();
    ck_assert_uint_eq(count_in(out, "{\"time\":"), rows[_i].lines);
    ck_assert_uint_eq(count_in(out, "{\"seal\":"), rows[_i].seals);
    ck_assert_uint_eq(count_in(out, "{\"log\":\"start\""), 1);
    ck_assert_uint_eq(count_in(out, "a/2"), 1);
    (void)snprintf(text, sizeof(text), "%s.env", out);
    ck_assert_uint_eq(count_in(text, "test nginx word\n"), 1);
    settle();
    record("a/5", "denied");
    settle();
    ck_assert_uint_eq(count_in(out, "a/2"), 1);
    ck_assert_uint_eq(count_in(out, "a/5"), 1);
    ck_assert_uint_eq(nsaid, 0);
}
END_TEST

/* No process waits for it, all processes together run one at a time, and closing does not wait.
 */
START_TEST(a_hung_command_is_not_waited_for)
{
    kt_sinks_t *other;
    int64_t before;
    char text[300], *pid;

    (void)snprintf(text, sizeof(text), "echo $$ >> %s; exec sleep 600", out);
    write_script(text);
    with("\"exec:%s\"", script, "all");
    assert_ok(kt_sinks_open(config, "nginx", NULL, NULL, &other));
    record("a/1", "success");
    before = kt_monotonic();
    for (int i = 0; i < 1000; i++)
        ck_assert(kt_sinks_step(sinks));
    ck_assert(!kt_sinks_step(other));
    record("a/2", "success");
    while (count_in(out, "\n") == 0)
        (void)poll(NULL, 0, 2);
    kt_sinks_finish(sinks, 20);
    kt_sinks_close(sinks);
    ck_assert_int_lt(kt_monotonic() - before, 20000); /* of a command that sleeps 600 s */
    sinks = other;
    ck_assert(!kt_sinks_step(sinks)); /* nor does the next process begin the same at once */
    ck_assert_uint_eq(count_in(out, "\n"), 1);
    pid = world_read(out, NULL);
    ck_assert_int_eq(kill((pid_t)atoi(pid), SIGKILL), 0);
    free(pid);
    (void)snprintf(text, sizeof(text), "cat > %s", out);
    write_script(text);
    pass_time();
    settle();
    ck_assert_uint_eq(count_in(out, "a/1"), 1);
    ck_assert_uint_eq(count_in(out, "a/2"), 1);
}
END_TEST

/* What it says not to have is sent again, and again, with longer and longer pauses; that is said
 * once. */
static const char *const scripts[] = {"cat > /dev/null; exit 1", "exit 3", "kill -9 $$",
                                      "exec /nonexistent"};

START_TEST(a_command_that_fails_gets_it_again)
{
    char text[300];

    write_script(scripts[_i]);
    with("\"exec:%s\"", script, "all");
    make_long();
    for (int i = 0; i < 60; i++) /* more than a pipe takes */
        record("a/1", "denied");
    settle();
    ck_assert(!kt_sinks_step(sinks)); /* the pause */
    pass_time();
    settle();
    ck_assert_uint_eq(nsaid, 1);
    ck_assert_ptr_nonnull(strstr(said[0], "exit status"));
    (void)snprintf(text, sizeof(text), "cat >> %s", out);
    write_script(text);
    ck_assert(!kt_sinks_step(sinks));
    pass_time();
    settle();
    ck_assert_uint_eq(count_in(out, "\"a/1\""), 60);
    ck_assert_uint_eq(nsaid, 2);
    ck_assert_ptr_nonnull(strstr(said[1], "works again"));
}
END_TEST

/* A user who may replace the command decides who gets the trail. */
START_TEST(a_command_that_others_may_change_is_not_run)
{
    char text[300];

    (void)snprintf(text, sizeof(text), "cat >> %s", out);
    write_script(text);
    with("\"exec:%s\"", script, "all");
    ck_assert_int_eq(chmod(script, 0777), 0);
    record("a/1", "success");
    settle();
    ck_assert_uint_eq(nsaid, 1);
    ck_assert_ptr_nonnull(strstr(said[0], "writable by other users"));
    ck_assert_int_ne(access(out, F_OK), 0);
}
END_TEST

/* A host that reaps every child, as nginx does, or ignores SIGCHLD. */
START_TEST(a_host_that_reaps_the_child)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    char text[300];

    (void)snprintf(text, sizeof(text), "cat >> %s", out);
    write_script(text);
    with("\"exec:%s\"", script, "all");
    (void)sigaction(SIGCHLD, &ignore, &before);
    record("a/1", "success");
    settle();
    write_script("exit 5");
    record("a/2", "success");
    settle();
    (void)sigaction(SIGCHLD, &before, NULL);
    ck_assert_uint_eq(count_in(out, "a/1"), 1);
    ck_assert_uint_eq(nsaid, 1);
    ck_assert_ptr_nonnull(strstr(said[0], "exit status 5"));
}
END_TEST

/* ---- a syslog ---- */

static int bind_syslog(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", sockets);
    (void)unlink(sockets);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* The next message, without NUL or newline inside; its bytes, 0: there is none. */
static size_t receive(int fd, char text[16384])
{
    ssize_t got = recv(fd, text, 16383, 0);

    if (got <= 0)
        return 0;
    text[got] = '\0';
    ck_assert_uint_eq(strlen(text), (size_t)got);
    ck_assert_ptr_null(strchr(text, '\n'));
    return (size_t)got;
}

START_TEST(a_syslog_gets_a_message_a_line)
{
    static const char *const order[] = {
        "<38>", "<34>", "<38>",
        NULL}; /* auth.info, auth.crit, auth.info: a first line, the refusal, its seal */
    char text[16384];
    int fd = bind_syslog();

    with("\"syslog:auth@%s\"", sockets, "alerts");
    record("a/1", "denied");
    settle();
    for (size_t i = 0; order[i] != NULL; i++) {
        ck_assert_uint_gt(receive(fd, text), 0);
        ck_assert_msg(strncmp(text, order[i], 4) == 0, "%s", text);
        ck_assert_ptr_nonnull(strstr(text, " keyturn["));
        ck_assert_int_eq(text[strlen(text) - 1], '}');
    }
    ck_assert_uint_eq(receive(fd, text), 0);
    (void)close(fd);
}
END_TEST

START_TEST(a_syslog_that_is_not_there)
{
    char text[16384];
    int fd;

    with("\"syslog:local3@%s\"", sockets, "all");
    record("a/1", "success");
    settle();
    ck_assert_uint_eq(nsaid, 1);
    ck_assert_ptr_nonnull(strstr(said[0], "No such file"));
    fd = bind_syslog();
    pass_time();
    settle();
    ck_assert_uint_gt(receive(fd, text), 0);
    ck_assert_ptr_nonnull(strstr(said[1], "works again"));
    (void)close(fd); /* the daemon is restarted */
    record("a/2", "success");
    settle();
    fd = bind_syslog();
    pass_time();
    settle();
    ck_assert_uint_gt(receive(fd, text), 0);
    ck_assert_ptr_nonnull(strstr(text, "a/2"));
    (void)close(fd);
}
END_TEST

/* One that reads slowly is not waited for, and gets everything in the end; while one process is at
 * it no other is. */
START_TEST(a_slow_syslog)
{
    char text[16384], want[40];
    kt_sinks_t *other;
    int fd = bind_syslog();
    unsigned next = 0;

    with("\"syslog:user@%s\"", sockets, "all");
    for (int i = 0; i < 60; i++) {
        (void)snprintf(want, sizeof(want), "a/%d", i);
        record(want, "success");
    }
    ck_assert(kt_sinks_step(sinks));
    ck_assert(kt_sinks_step(sinks));
    assert_ok(kt_sinks_open(config, "nginx", NULL, NULL, &other));
    ck_assert(!kt_sinks_step(other));
    kt_sinks_close(other);
    while (next < 60) {
        if (receive(fd, text) == 0) {
            (void)kt_sinks_step(sinks);
            continue;
        }
        (void)snprintf(want, sizeof(want), "\"a/%u\"", next);
        next += strstr(text, want) != NULL;
    }
    settle();
    ck_assert_uint_eq(nsaid, 0);
    (void)close(fd);
}
END_TEST

/* ---- logs ---- */

/* logrotate once, and twice, between two steps; and a log that is gone when its turn comes. */
START_TEST(through_logs_that_are_renamed)
{
    char text[300], first[200], second[200], third[200];

    (void)snprintf(text, sizeof(text), "cat >> %s", out);
    write_script(text);
    (void)snprintf(first, sizeof(first), "%s/log", folder);
    (void)snprintf(second, sizeof(second), "%s/log.1", folder);
    (void)snprintf(third, sizeof(third), "%s/log.2", folder);
    with("\"exec:%s\"", script, "all");
    record("a/1", "success");
    settle();
    record("a/2", "success");
    ck_assert_int_eq(rename(first, second), 0);
    record("a/3", "success");
    settle();
    record("a/4", "success");
    ck_assert_int_eq(rename(second, third), 0);
    ck_assert_int_eq(rename(first, second), 0);
    record("a/5", "success");
    settle();
    for (int i = 1; i <= 5; i++) {
        (void)snprintf(text, sizeof(text), "\"a/%d\"", i);
        ck_assert_msg(count_in(out, text) == 1, "%s", text);
    }
    ck_assert_uint_eq(count_in(out, "{\"log\":"), 3);
    ck_assert_uint_eq(nsaid, 0);
    record("a/7", "success");
    ck_assert_int_eq(unlink(second), 0);
    ck_assert_int_eq(rename(first, second), 0);
    record("a/8", "success");
    ck_assert_int_eq(unlink(second), 0);
    settle();
    ck_assert_uint_eq(count_in(out, "\"a/7\""), 0);
    ck_assert_uint_eq(count_in(out, "\"a/8\""), 1);
    ck_assert_uint_eq(nsaid, 1);
    ck_assert_ptr_nonnull(strstr(said[0], "some of its lines were not"));
}
END_TEST

/* What follows the last seal is not a block yet. */
START_TEST(only_what_is_sealed)
{
    static const char text[] = "{\"log\":\"start\"}\n{\"time\":1,\"severity\":\"high\"}\n{\"seal\":"
                               "0}\n{\"time\":2,\"severity\":\"high\"}\n{\"se";
    size_t used = 1;
    kt_batch_t batch;

    assert_ok(kt_batch_make(text, sizeof(text) - 1, KT_SEND_ALL, &used, &batch));
    ck_assert_uint_eq(
        used, strlen("{\"log\":\"start\"}\n{\"time\":1,\"severity\":\"high\"}\n{\"seal\":0}\n"));
    ck_assert_uint_eq(batch.size, used);
    kt_batch_free(&batch);
    assert_ok(kt_batch_make(text, 20, KT_SEND_ALL, &used, &batch));
    ck_assert_uint_eq(used, 0);
    kt_batch_free(&batch);
}
END_TEST

/* A sink that is new gets no more than the last MiB of what there is. */
START_TEST(a_new_sink_begins_near_the_end)
{
    char text[300];

    (void)snprintf(text, sizeof(text), "cat >> %s", out);
    write_script(text);
    with("\"exec:%s\"", script, "all");
    make_long();
    for (int i = 0; i < 700; i++)
        record("a/1", "success");
    settle();
    ck_assert_uint_gt(count_in(out, "\"a/1\""), 300);
    ck_assert_uint_lt(count_in(out, "\"a/1\""), 690);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, end_world);
    UNIT_TABLE(tests, a_command_gets_what_it_should, rows);
    tcase_add_test(tests, a_hung_command_is_not_waited_for);
    UNIT_TABLE(tests, a_command_that_fails_gets_it_again, scripts);
    tcase_add_test(tests, a_command_that_others_may_change_is_not_run);
    tcase_add_test(tests, a_host_that_reaps_the_child);
    tcase_add_test(tests, a_syslog_gets_a_message_a_line);
    tcase_add_test(tests, a_syslog_that_is_not_there);
    tcase_add_test(tests, a_slow_syslog);
    tcase_add_test(tests, through_logs_that_are_renamed);
    tcase_add_test(tests, only_what_is_sealed);
    tcase_add_test(tests, a_new_sink_begins_near_the_end);
}

UNIT_MAIN("sinks", add_tests)
