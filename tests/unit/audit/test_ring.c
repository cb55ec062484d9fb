/* SPDX-License-Identifier: BSD-2-Clause */
/* core/ring*.c, drain.c: what was recorded becomes a line once, whatever dies in between. */
#include "process.h"
#include "world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/stream.h"
#include "audit/verify.h"

static kt_config_t config;
static kt_audit_t *audit;
static char folder[160], rings[200];
static char audit_key[KT_AUDIT_KEY_LINE];

static void open_trail(void)
{
    assert_ok(kt_audit_open(&config, "nginx", &audit));
}

static void make_world(void)
{
    char error[KT_ERROR_SIZE] = "", stream[176];

    world_make(NULL, NULL, NULL);
    memset(&config, 0, sizeof(config));
    (void)snprintf(config.environment, sizeof(config.environment), "production");
    (void)snprintf(folder, sizeof(folder), "%s/audit", world.dir);
    (void)snprintf(stream, sizeof(stream), "%s/nginx", folder);
    (void)snprintf(rings, sizeof(rings), "%s/rings", stream);
    config.audit_path = folder;
    assert_ok(kt_audit_keygen(audit_key));
    ck_assert_msg(kt_audit_start(stream, "prod", "nginx", audit_key, error, sizeof(error)) ==
                      KT_SUCCESS,
                  "%s", error);
    open_trail();
}

static void end_world(void)
{
    kt_audit_close(audit);
    audit = NULL;
    world_end();
}

static kt_event_t event_of(const char *reference)
{
    return (kt_event_t){.action = "read",
                        .subject = ALL,
                        .reference = reference,
                        .status = "success",
                        .version = 3,
                        .may_coalesce = true,
                        .peer = "192.0.2.1",
                        .request_id = "r1"};
}

static kt_status_t record(const char *reference)
{
    kt_event_t event = event_of(reference);

    return kt_audit_write(audit, &event);
}

/* What the next process of the stream does. */
static void next_process(void)
{
    kt_audit_t *mine, *before = audit;

    assert_ok(kt_audit_open(&config, "nginx", &mine));
    audit = mine;
    assert_ok(record("next/process"));
    kt_audit_close(mine);
    audit = before;
}

static size_t count_rings(void)
{
    DIR *dir = opendir(rings);
    struct dirent *entry;
    size_t count = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        count += entry->d_name[0] != '.';
    if (dir != NULL)
        (void)closedir(dir);
    return count;
}

static char found[2048];
static unsigned wrong;

static void find(void *arg, kt_status_t status, const char *what, const char *detail)
{
    size_t at = strlen(found);

    (void)arg;
    wrong += status != KT_SUCCESS;
    (void)snprintf(found + at, sizeof(found) - at, "%s %s\n", what, detail);
}

static void assert_verified(void)
{
    found[0] = '\0';
    wrong = 0;
    ck_assert_msg(kt_audit_verify(folder, audit_key, find, NULL) == KT_SUCCESS && wrong == 0, "%s",
                  found);
}

/* ---- one process ---- */

START_TEST(a_record_is_a_line_later)
{
    assert_ok(record("a/1"));
    ck_assert_uint_eq(world_lines("a/1", NULL), 0);
    ck_assert_uint_eq(count_rings(), 1);
    assert_ok(kt_audit_drain(audit));
    ck_assert_uint_eq(
        world_lines("a/1", "\"peer\":\"192.0.2.1\"", "\"version\":3", "\"request\":\"r1\"", NULL),
        1);
    ck_assert_uint_eq(world_lines("{\"seal\":0,", "\"ring\":\"", "\"from\":1,\"to\":1,", NULL), 1);
    kt_audit_close(audit);
    ck_assert_uint_eq(count_rings(), 0);
    open_trail();
    assert_verified();
}
END_TEST

/* Everything but time and number. */
static void assert_same_lines(const char *reference, size_t count)
{
    char *log = world_read(world.log, NULL), *at = log, *first = NULL, *from;
    size_t size = 0, found_lines = 0;

    for (at = strtok(log, "\n"); at != NULL; at = strtok(NULL, "\n")) {
        if (strstr(at, reference) == NULL)
            continue;
        from = strstr(at, "\"action\"");
        if (first == NULL)
            size = strlen(first = from);
        ck_assert_str_eq(from, first);
        found_lines++;
    }
    ck_assert_uint_gt(size, 0);
    ck_assert_uint_eq(found_lines, count);
    free(log);
}

/* Texts that were put together once make the line that they would make each time. */
START_TEST(texts_may_be_kept)
{
    static const char *const singles[][2] = {
        {NULL, NULL}, {"192.0.2.1", NULL}, {NULL, "r1"}, {"192.0.2.1", "r1"}, {"", ""}};

    for (size_t i = 0; i < KT_ARRAY(singles); i++) {
        char reference[16];
        kt_event_t event;
        kt_event_texts_t *texts;

        (void)snprintf(reference, sizeof(reference), "kept/%zu", i);
        event = event_of(reference);
        event.peer = singles[i][0];
        event.request_id = singles[i][1];
        event.purpose = "proxy";
        assert_ok(kt_audit_write(audit, &event));
        texts = kt_event_texts_new(&event);
        event.texts = texts;
        assert_ok(kt_audit_write(audit, &event));
        event.action = event.subject = event.status = "not looked at";
        assert_ok(kt_audit_write(audit, &event));
        assert_ok(kt_audit_drain(audit));
        assert_same_lines(reference, 3);
        free(texts);
    }
    assert_verified();
}
END_TEST

static void reopen_with_window(int64_t ms)
{
    kt_audit_close(audit);
    config.audit_reads = ms;
    open_trail();
}

/* A request with a person waits like any other, and is counted with those of the same person. */
START_TEST(a_person_waits_in_the_ring)
{
    static const char *const persons[] = {"sudo:ann", "sudo:bob", "sudo:ann", NULL};
    kt_event_t event = event_of("a/1");

    reopen_with_window(60000);
    for (size_t i = 0; i < KT_ARRAY(persons); i++) {
        event.actor = persons[i];
        assert_ok(kt_audit_write(audit, &event));
    }
    ck_assert_uint_eq(world_lines("a/1", NULL), 0);
    assert_ok(kt_audit_drain(audit));
    ck_assert_uint_eq(world_lines("a/1", NULL), 3);
    ck_assert_uint_eq(world_lines("\"count\":2,\"actor\":\"sudo:ann\"", NULL), 1);
    ck_assert_uint_eq(world_lines("\"actor\":\"sudo:bob\"", NULL), 1);
    assert_verified();
}
END_TEST

START_TEST(a_ring_is_private_and_has_its_blocks)
{
    struct dirent *entry;
    struct stat st;
    DIR *dir;

    assert_ok(record("a/1"));
    ck_assert_int_eq(stat(rings, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0700);
    dir = opendir(rings);
    while ((entry = readdir(dir)) != NULL && entry->d_name[0] == '.')
        ;
    ck_assert_int_eq(fstatat(dirfd(dir), entry->d_name, &st, 0), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_int_ge(st.st_blocks * 512, st.st_size);
    (void)closedir(dir);
}
END_TEST

/* Records of all lengths, round and round. */
START_TEST(a_ring_goes_round)
{
    char name[300];
    kt_event_t event;

    for (unsigned i = 0; i < 9000; i++) {
        (void)snprintf(name, sizeof(name), "a/%0*u", 1 + (int)(i * 7 % 200), i);
        event = event_of(name);
        assert_ok(kt_audit_write(audit, &event));
    }
    assert_ok(kt_audit_drain(audit));
    ck_assert_uint_eq(world_lines("\"action\":\"read\"", NULL), 9000);
    ck_assert_uint_eq(world_lines("\"seq\":9000,", "8999\"", NULL), 1);
    assert_verified();
}
END_TEST

START_TEST(a_change_comes_after_what_was_read)
{
    kt_event_t durable = {.action = "write",
                          .subject = ALL,
                          .reference = "w/1",
                          .status = "success",
                          .durable = true};

    assert_ok(record("a/1"));
    assert_ok(kt_audit_write(audit, &durable));
    ck_assert_uint_eq(world_lines("a/1", "\"seq\":1,", NULL), 1);
    ck_assert_uint_eq(world_lines("w/1", "\"seq\":2,", NULL), 1);
    ck_assert_uint_eq(world_lines("{\"seal\":0,", "\"last\":2,", "\"from\":1,\"to\":1,", NULL), 1);
    assert_verified();
}
END_TEST

/* ---- many reads, one line ---- */

START_TEST(reads_are_counted_into_one_line)
{
    kt_event_t event;

    reopen_with_window(60000);
    for (int i = 0; i < 1000; i++) {
        assert_ok(record("a/1"));
        assert_ok(record("a/2"));
    }
    event = event_of("a/1");
    event.subject = "nginx:other";
    assert_ok(kt_audit_write(audit, &event));
    event = event_of("a/1");
    event.version = 4;
    assert_ok(kt_audit_write(audit, &event));
    event = event_of("a/1");
    event.status = "notfound";
    assert_ok(kt_audit_write(audit, &event));
    assert_ok(kt_audit_drain(audit));
    ck_assert_uint_eq(world_lines("a/1", "\"count\":1000", NULL), 1);
    ck_assert_uint_eq(world_lines("a/2", "\"count\":1000", NULL), 1);
    ck_assert_uint_eq(world_lines("\"count\":", "\"peer\"", NULL), 0); /* of whom there were many */
    ck_assert_uint_eq(world_lines("\"action\":\"read\"", NULL), 5);
    ck_assert_uint_eq(world_lines("nginx:other", "\"peer\"", NULL), 1);
    assert_ok(record("a/1")); /* that line is written: another begins */
    assert_ok(kt_audit_drain(audit));
    ck_assert_uint_eq(world_lines("a/1", "nginx:all", "\"version\":3", "success", NULL), 2);
    assert_verified();
}
END_TEST

/* Refusals, failures, what was stale and what changes something have a line each, whatever the
 * window. */
START_TEST(not_everything_is_counted)
{
    kt_event_t event = event_of("a/1");

    reopen_with_window(60000);
    event.may_coalesce = false;
    event.status = "denied";
    for (int i = 0; i < 5; i++)
        assert_ok(kt_audit_write(audit, &event));
    assert_ok(kt_audit_drain(audit));
    ck_assert_uint_eq(world_lines("denied", NULL), 5);
    assert_verified();
}
END_TEST

START_TEST(a_window_ends)
{
    reopen_with_window(500); /* time enough for two reads, on a busy machine too */
    assert_ok(record("a/1"));
    assert_ok(record("a/1"));
    (void)usleep(520000);
    assert_ok(record("a/1"));
    assert_ok(kt_audit_drain(audit));
    ck_assert_uint_eq(world_lines("a/1", "\"count\":2", NULL), 1);
    ck_assert_uint_eq(world_lines("a/1", NULL), 2);
}
END_TEST

static void record_at_time(const char *reference, int64_t now)
{
    kt_event_t event = event_of(reference);

    event.now = now;
    assert_ok(kt_audit_write(audit, &event));
}

/* As PostgreSQL's sweeper does: what is in the ring is young then, and its own process drains
 * nothing. */
START_TEST(what_another_process_sweeps_is_left_to_it)
{
    kt_audit_t *sweeper;
    int64_t now = kt_now();

    assert_ok(kt_audit_open(&config, "nginx", &sweeper));
    record_at_time("a/1", now);
    assert_ok(kt_audit_sweep(sweeper));
    ck_assert_uint_eq(world_lines("a/1", NULL), 1);
    record_at_time("a/2", now + 500);
    record_at_time("a/3", now + 1400);
    ck_assert_uint_eq(world_lines("a/2", NULL), 0);
    record_at_time("a/4", now + 1600);
    ck_assert_uint_eq(world_lines("a/2", NULL), 1);
    ck_assert_uint_eq(world_lines("a/3", NULL), 1);
    kt_audit_close(sweeper);
    assert_verified();
}
END_TEST

/* ---- crashes ---- */

/* A process that records so often and is killed before any drain. */
static void record_and_die(const char *name, unsigned count)
{
    pid_t pid = fork();

    if (pid == 0) {
        open_trail();
        for (unsigned i = 0; i < count; i++)
            (void)record(name);
        (void)kill(getpid(), SIGKILL);
    }
    wait_for_child(pid, SIGKILL);
}

START_TEST(what_a_dead_process_recorded_is_not_lost)
{
    record_and_die("dead/1", 100);
    ck_assert_uint_eq(world_lines("dead/1", NULL), 0);
    ck_assert_uint_eq(count_rings(), 1);
    next_process();
    ck_assert_uint_eq(world_lines("dead/1", NULL), 100);
    ck_assert_uint_eq(world_lines("next/process", NULL), 1);
    ck_assert_uint_eq(count_rings(), 0);
    assert_verified();
}
END_TEST

/* The counts of its last window, too. */
START_TEST(what_a_dead_process_counted_is_not_lost)
{
    config.audit_reads = 60000;
    record_and_die("dead/1", 100);
    next_process();
    ck_assert_uint_eq(world_lines("dead/1", "\"count\":100", NULL), 1);
    assert_verified();
}
END_TEST

#ifdef KT_DEBUG_HOOKS
/* Each point of a drain, of the process's own ring; then another block of another ring comes
 * between. */
static const char *const points[] = {"audit_appended:kill", "audit_synced:kill",
                                     "audit_stated:kill", "audit_drained:kill"};

START_TEST(a_drain_may_be_killed_anywhere)
{
    for (int round = 0; round < 3; round++) {
        pid_t pid = fork();

        if (pid == 0) {
            open_trail();
            for (int i = 0; i < 10; i++)
                (void)record("dead/1");
            (void)setenv("KEYTURN_DEBUG_STOP", points[_i], 1);
            (void)kt_audit_drain(audit);
            _exit(0);
        }
        wait_for_child(pid, SIGKILL);
        next_process();
        ck_assert_uint_eq(world_lines("dead/1", NULL), 10u * (unsigned)(round + 1));
        ck_assert_uint_eq(world_lines("next/process", NULL), (unsigned)round + 1);
        ck_assert_uint_eq(count_rings(), 0);
        assert_verified();
    }
}
END_TEST

/* A process that drains the ring of a dead one may be killed, too. */
static const char *const sweeps[] = {"audit_appended:kill", "audit_synced:kill",
                                     "audit_stated:kill", "audit_drained:kill", "audit_swept:kill"};

START_TEST(a_sweep_may_be_killed_anywhere)
{
    pid_t pid;

    record_and_die("dead/1", 10);
    pid = fork();
    if (pid == 0) {
        open_trail();
        (void)setenv("KEYTURN_DEBUG_STOP", sweeps[_i], 1);
        (void)record("never/1");
        _exit(0);
    }
    wait_for_child(pid, SIGKILL);
    next_process();
    ck_assert_uint_eq(world_lines("dead/1", NULL), 10);
    ck_assert_uint_eq(world_lines("never/1", NULL), 0);
    ck_assert_uint_eq(count_rings(), 0);
    assert_verified();
}
END_TEST
#endif

#define KILLED 4

/* At any moment: each of several processes counts its records in memory that outlives it. */
START_TEST(a_killed_process_loses_and_doubles_nothing)
{
    _Atomic unsigned *done =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    for (unsigned round = 0; round < 12; round++) {
        pid_t pids[KILLED];

        for (unsigned k = 0; k < KILLED; k++) {
            atomic_store(&done[k], 0);
            pids[k] = fork();
            if (pids[k] == 0) {
                char name[32];

                open_trail();
                (void)snprintf(name, sizeof(name), "k/%u-%u", round, k);
                for (unsigned i = 1;; i++) {
                    kt_event_t event = event_of(name);

                    event.durable = i % 97 == 0;
                    if (kt_audit_write(audit, &event) == KT_SUCCESS)
                        atomic_store(&done[k], i);
                    if (i % 50 == k)
                        (void)kt_audit_drain(audit);
                }
            }
        }
        (void)usleep(2000 + round * 3331 % 9000);
        for (unsigned k = 0; k < KILLED; k++) {
            (void)kill(pids[k], SIGKILL);
            wait_for_child(pids[k], SIGKILL);
        }
        next_process();
        for (unsigned k = 0; k < KILLED; k++) {
            unsigned acknowledged = atomic_load(&done[k]);
            char name[32];
            size_t lines;

            (void)snprintf(name, sizeof(name), "\"k/%u-%u\"", round, k);
            lines = world_lines(name, NULL);
            /* the last one may be there without its answer having been seen */
            ck_assert_msg(lines == acknowledged || lines == acknowledged + 1,
                          "%zu lines of %u records", lines, acknowledged);
        }
        ck_assert_uint_eq(count_rings(), 0);
    }
    assert_verified();
    (void)munmap(done, 4096);
}
END_TEST

/* ---- the machine stopped ---- */

static void find_ring(char path[300])
{
    DIR *dir = opendir(rings);
    struct dirent *entry;

    while ((entry = readdir(dir)) != NULL && entry->d_name[0] == '.')
        ;
    (void)snprintf(path, 300, "%s/%s", rings, entry->d_name);
    (void)closedir(dir);
}

/* A ring of a dead process whose file says less than the log, as after a power cut: `tail` and the
 * numbers are of the beginning. */
static void leave_ring_of_another_boot(unsigned drained, unsigned after)
{
    static const char zeros[16];
    char path[300];
    pid_t pid = fork();
    int fd;

    if (pid == 0) {
        open_trail();
        for (unsigned i = 0; i < drained; i++)
            (void)record("before/1");
        (void)kt_audit_drain(audit);
        for (unsigned i = 0; i < after; i++)
            (void)record("after/1");
        (void)kill(getpid(), SIGKILL);
    }
    wait_for_child(pid, SIGKILL);
    find_ring(path);
    fd = open(path, O_WRONLY);
    ck_assert_int_eq(pwrite(fd, "another-boot", 13, 32), 13);
    ck_assert_int_eq(pwrite(fd, zeros, sizeof(zeros), 192), sizeof(zeros));
    (void)close(fd);
}

START_TEST(seals_say_what_was_drained_before_a_power_cut)
{
    leave_ring_of_another_boot(20, 5);
    next_process(); /* another ring's block: the state does not know of the first any more */
    ck_assert_uint_eq(world_lines("before/1", NULL), 20);
    ck_assert_uint_eq(world_lines("after/1", NULL), 5);
    ck_assert_uint_eq(count_rings(), 0);
    assert_verified();
}
END_TEST

START_TEST(what_a_power_cut_took_is_counted)
{
    static const char zeros[200];
    char path[300];
    int fd;

    leave_ring_of_another_boot(20, 5);
    find_ring(path);
    fd = open(path, O_WRONLY);
    /* the 23rd record, of 128 bytes each */
    ck_assert_int_eq(pwrite(fd, zeros, sizeof(zeros), 4096 + 22 * 128), sizeof(zeros));
    (void)close(fd);
    next_process();
    ck_assert_uint_eq(world_lines("before/1", NULL), 20);
    ck_assert_uint_eq(world_lines("after/1", NULL), 2);
    ck_assert_uint_eq(world_lines("\"recover\"", "\"missing\":3}", "\"seq\":26,", NULL), 1);
    ck_assert_uint_eq(world_lines("next/process", "\"seq\":27,", NULL), 1);
    found[0] = '\0';
    ck_assert_int_eq(kt_audit_verify(folder, audit_key, find, NULL), KT_MALFORMED);
    ck_assert_ptr_nonnull(
        strstr(found, "the machine stopped, and 3 lines before this one were lost"));
}
END_TEST

/* Any byte of a ring may be anything: no crash, no line twice, and what is not whole is counted. */
START_TEST(a_bent_ring_does_no_harm)
{
    for (unsigned i = 0; i < 60; i++) {
        char path[300], byte = (char)(i * 37 + 1);
        int fd;

        record_and_die("bent/1", 10);
        find_ring(path);
        fd = open(path, O_WRONLY);
        ck_assert_int_eq(pwrite(fd, &byte, 1, i < 20 ? 128 + (off_t)i * 4 : 4096 + (off_t)i * 13),
                         1);
        (void)close(fd);
        next_process();
        ck_assert_uint_eq(count_rings(), 0);
    }
    ck_assert_uint_le(world_lines("bent/1", NULL), 600);
    ck_assert_uint_eq(world_lines("next/process", NULL), 60);
}
END_TEST

START_TEST(other_files_among_the_rings_are_left)
{
    char path[300];

    assert_ok(record("a/1"));
    (void)snprintf(path, sizeof(path), "%s/notes", rings);
    world_write(path, "mine", 0600);
    (void)snprintf(path, sizeof(path), "%s/00112233445566778899aabbccddeeff", rings);
    ck_assert_int_eq(symlink("/dev/zero", path), 0);
    (void)snprintf(path, sizeof(path), "%s/00112233445566778899aabbccddee00", rings);
    world_write(path, "something else than a ring", 0600);
    (void)snprintf(path, sizeof(path), "%s/00112233445566778899aabbccddee01", rings);
    world_write(path, "", 0600); /* whose process died at once */
    next_process();
    ck_assert_uint_eq(count_rings(), 4);
    assert_ok(kt_audit_drain(audit));
    assert_verified();
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, end_world);
    tcase_add_test(tests, a_record_is_a_line_later);
    tcase_add_test(tests, a_ring_is_private_and_has_its_blocks);
    tcase_add_test(tests, texts_may_be_kept);
    tcase_add_test(tests, a_person_waits_in_the_ring);
    tcase_add_test(tests, a_ring_goes_round);
    tcase_add_test(tests, a_change_comes_after_what_was_read);
    tcase_add_test(tests, reads_are_counted_into_one_line);
    tcase_add_test(tests, not_everything_is_counted);
    tcase_add_test(tests, a_window_ends);
    tcase_add_test(tests, what_another_process_sweeps_is_left_to_it);
    tcase_add_test(tests, what_a_dead_process_recorded_is_not_lost);
    tcase_add_test(tests, what_a_dead_process_counted_is_not_lost);
#ifdef KT_DEBUG_HOOKS
    UNIT_TABLE(tests, a_drain_may_be_killed_anywhere, points);
    UNIT_TABLE(tests, a_sweep_may_be_killed_anywhere, sweeps);
#endif
    tcase_add_test(tests, a_killed_process_loses_and_doubles_nothing);
    tcase_add_test(tests, seals_say_what_was_drained_before_a_power_cut);
    tcase_add_test(tests, what_a_power_cut_took_is_counted);
    tcase_add_test(tests, a_bent_ring_does_no_harm);
    tcase_add_test(tests, other_files_among_the_rings_are_left);
}

UNIT_MAIN("ring", add_tests)
