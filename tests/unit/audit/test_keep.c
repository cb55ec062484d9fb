/* SPDX-License-Identifier: BSD-2-Clause */
/* core/audit/current.c, keep.c, pack.c, missing.c: logs are closed, compressed and removed, and a
 * verifier knows what was removed on purpose. */
#include "process.h"
#include "world.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/sinks.h"
#include "audit/stream.h"
#include "audit/verify.h"

static kt_config_t config;
static kt_audit_t *audit;
static char folder[160], stream[176], key_path[192];
static char audit_key[KT_AUDIT_KEY_LINE];

static void make_world(void)
{
    char error[KT_ERROR_SIZE] = "";

    world_make(NULL, NULL, NULL);
    memset(&config, 0, sizeof(config));
    (void)snprintf(config.environment, sizeof(config.environment), "production");
    (void)snprintf(folder, sizeof(folder), "%s/audit", world.dir);
    (void)snprintf(stream, sizeof(stream), "%s/nginx", folder);
    (void)snprintf(key_path, sizeof(key_path), "%s/audit.key", world.dir);
    config.audit_path = folder;
    config.audit_rotate = 2000;
    config.audit_keep = 3600000;
    assert_ok(kt_audit_keygen(audit_key));
    world_write(key_path, audit_key, 0600);
    assert_ok(kt_audit_start(stream, "prod", "nginx", key_path, error, sizeof(error)));
}

static void end_world(void)
{
    kt_audit_close(audit);
    audit = NULL;
    world_end();
}

/* A process of its own: one decision, on the disk. */
static kt_status_t record(void)
{
    kt_event_t event = {.action = "write",
                        .subject = ALL,
                        .reference = "a/b",
                        .status = "success",
                        .durable = true};
    kt_status_t status = kt_audit_open(&config, "nginx", &audit);

    if (status == KT_SUCCESS)
        status = kt_audit_write(audit, &event);
    kt_audit_close(audit);
    audit = NULL;
    return status;
}

static void record_some(unsigned count)
{
    while (count-- > 0)
        assert_ok(record());
}

static char found[8192];

static void find(void *arg, kt_status_t status, const char *what, const char *detail)
{
    size_t at = strlen(found);

    (void)arg;
    (void)snprintf(found + at, sizeof(found) - at, "%s %s %s\n", kt_status_name(status), what,
                   detail);
}

static kt_status_t verify(bool complete)
{
    found[0] = '\0';
    return kt_audit_verify_received(folder, key_path, NULL, complete, find, NULL);
}

#define assert_verified(complete) ck_assert_msg(verify(complete) == KT_SUCCESS, "%s", found)
#define assert_wrong(complete, text)                                                               \
    do {                                                                                           \
        ck_assert_int_eq(verify(complete), KT_MALFORMED);                                          \
        ck_assert_msg(strstr(found, text) != NULL, "%s", found);                                   \
    } while (0)
#define assert_found(text) ck_assert_msg(strstr(found, text) != NULL, "%s", found)

/* Names of the folder that begin and end so. Each is passed to `fn`. */
static unsigned each(const char *begin, const char *end, void (*fn)(const char *path))
{
    DIR *dir = opendir(stream);
    struct dirent *entry;
    char path[512];
    unsigned count = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        size_t size = strlen(entry->d_name);

        if (strncmp(entry->d_name, begin, strlen(begin)) != 0 || size < strlen(end) ||
            strcmp(entry->d_name + size - strlen(end), end) != 0)
            continue;
        count++;
        (void)snprintf(path, sizeof(path), "%s/%s", stream, entry->d_name);
        if (fn != NULL)
            fn(path);
    }
    (void)closedir(dir);
    return count;
}

static void remove_it(const char *path)
{
    ck_assert_int_eq(unlink(path), 0);
}

START_TEST(logs_are_closed_and_compressed)
{
    struct stat st;

    record_some(12);
    ck_assert_uint_ge(each("log.2", "Z.gz", NULL) + each("log.2", ".1.gz", NULL), 1);
    ck_assert_uint_ge(each("log.", ".gz", NULL), 2);
    ck_assert_uint_eq(each("log", "", NULL), each("log.", ".gz", NULL) + 1);
    ck_assert_uint_eq(each(".log", "", NULL), 0);
    ck_assert_int_eq(stat(world.log, &st), 0);
    ck_assert_int_lt(st.st_size, 4000);
    assert_verified(true);
    assert_found("12 lines in 12 blocks");
}
END_TEST

START_TEST(a_closed_log_that_is_deleted_is_missed)
{
    record_some(12);
    each("log.", ".gz", remove_it);
    assert_wrong(false, "in none of these files, and not removed by retention");
    assert_found("(numbers 1 to ");
}
END_TEST

/* The clock is not set: logs are as old as `keep` says they may be. */
static void grow_old(void)
{
    config.audit_keep = 1;
    (void)usleep(20000);
}

START_TEST(retention_is_not_a_deletion)
{
    record_some(12);
    grow_old();
    record_some(2);
    config.audit_keep = 3600000;
    record_some(1);
    assert_verified(false);
    assert_found("retention removed ");
    assert_wrong(true, "retention removed them on ");
}
END_TEST

/* More is gone than the line says. */
START_TEST(a_deletion_after_retention_is_missed)
{
    record_some(6);
    grow_old();
    record_some(2);
    config.audit_keep = 3600000;
    record_some(12);
    assert_verified(false);
    each("log.", ".gz", remove_it);
    assert_wrong(false, "and not removed by retention");
}
END_TEST

/* Retention goes on, and the line that said what it removed first is removed itself. */
START_TEST(retention_after_retention)
{
    unsigned i;

    for (i = 0; i < 4; i++) {
        config.audit_keep = 3600000;
        record_some(6);
        grow_old();
        record_some(2);
        assert_verified(false);
    }
    assert_found("(numbers 1 to ");
}
END_TEST

/* An instance whose state was removed goes as a whole. */
START_TEST(retention_of_an_instance_that_ended)
{
    char state[192], error[KT_ERROR_SIZE];

    (void)snprintf(state, sizeof(state), "%s/state", stream);
    record_some(6);
    ck_assert_int_eq(unlink(state), 0);
    record_some(6);
    assert_wrong(false, "begun without the audit key");
    ck_assert_int_eq(unlink(state), 0);
    assert_ok(kt_audit_start(stream, "prod", "nginx", key_path, error, sizeof(error)));
    record_some(1);
    assert_verified(true);
    assert_found("begun without the audit key; the one that follows proves");
    record_some(6);
    grow_old();
    record_some(2);
    config.audit_keep = 3600000;
    record_some(1);
    assert_verified(false);
}
END_TEST

START_TEST(an_instance_that_was_taken_away_is_missed)
{
    char state[192];

    (void)snprintf(state, sizeof(state), "%s/state", stream);
    config.audit_rotate = 1000000;
    record_some(3);
    ck_assert_int_eq(unlink(state), 0);
    record_some(1);
    each("log.", "", remove_it);
    assert_wrong(false, "the instance before, with 3 decisions in 3 blocks, is in none");
}
END_TEST

/* The sink has sent `block` of the present instance. */
static void put_sent(kt_cfg_sink_t *sink, uint64_t block)
{
    kt_sent_t slots[KT_SINKS_MAX];
    kt_audit_logs_t logs;
    char path[200];
    int fd = open(stream, O_RDONLY | O_DIRECTORY);

    ck_assert(kt_audit_logs_find(fd, &logs));
    memset(slots, 0, sizeof(slots));
    slots[0].magic = 0x3153544b;
    (void)crypto_generichash(slots[0].id, sizeof(slots[0].id), (const unsigned char *)sink->text,
                             strlen(sink->text), NULL, 0);
    slots[0].inode = 1;
    slots[0].head_block = block;
    memcpy(slots[0].instance, logs.list[0].head.instance, KT_AUDIT_ID);
    kt_audit_logs_free(&logs);
    (void)close(fd);
    (void)snprintf(path, sizeof(path), "%s/sent", stream);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_eq(write(fd, slots, sizeof(slots)), (ssize_t)sizeof(slots));
    (void)close(fd);
}

/* It finds the log by its inode, and reads it from where it was. */
START_TEST(a_log_that_a_sink_needs_is_not_compressed)
{
    char text[] = "syslog:auth";
    kt_cfg_sink_t sink = {.text = text};

    assert_ok(record());
    put_sent(&sink, 0);
    config.sinks = &sink;
    config.nsinks = 1;
    record_some(8);
    ck_assert_uint_eq(each("log.", ".gz", NULL), 0);
    ck_assert_uint_ge(each("log.", "", NULL), 2);
    put_sent(&sink, 1000);
    record_some(4);
    ck_assert_uint_ge(each("log.", ".gz", NULL), 1);
    assert_verified(true);
}
END_TEST

static const char *const points[] = {
    "audit_renamed:kill", "audit_packed:kill",   "audit_pack_named:kill", "audit_retained:kill",
    "audit_removed:kill", "audit_appended:kill", "audit_synced:kill",     "audit_stated:kill"};

/* The next process goes on wherever one was killed; nothing is missing. */
START_TEST(a_killed_writer_leaves_a_log_that_holds)
{
    unsigned i, killed = 0;
    int status;

    record_some(4);
    for (i = 0; i < 24; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            (void)setenv("KEYTURN_DEBUG_STOP", points[_i], 1);
            if (i % 6 == 5) {
                config.audit_keep = 1;
                (void)usleep(20000);
            }
            _exit(record() == KT_SUCCESS ? 0 : 1);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        killed += WIFSIGNALED(status);
        assert_verified(false);
        assert_ok(record());
        assert_verified(false);
    }
    ck_assert_uint_ge(killed, 1);
    record_some(8);
    assert_verified(false);
    ck_assert_uint_eq(each(".log", "", NULL), 0);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, end_world);
    tcase_add_test(tests, logs_are_closed_and_compressed);
    tcase_add_test(tests, a_closed_log_that_is_deleted_is_missed);
    tcase_add_test(tests, retention_is_not_a_deletion);
    tcase_add_test(tests, a_deletion_after_retention_is_missed);
    tcase_add_test(tests, retention_after_retention);
    tcase_add_test(tests, retention_of_an_instance_that_ended);
    tcase_add_test(tests, an_instance_that_was_taken_away_is_missed);
    tcase_add_test(tests, a_log_that_a_sink_needs_is_not_compressed);
    UNIT_TABLE(tests, a_killed_writer_leaves_a_log_that_holds, points);
    tcase_set_timeout(tests, 60);
}

UNIT_MAIN("audit keep", add_tests)
