/* SPDX-License-Identifier: BSD-2-Clause */
/* core/audit/files.c: which logs a stream has, and in which order they were written. */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/files.h"

#define ZEROS "00000000000000000000000000000000"

static int folder;
static kt_audit_logs_t logs;
static int entries_left = -1; /* before readdir() fails; -1: it does not */

struct dirent *__real_readdir(DIR *dir);
struct dirent *__wrap_readdir(DIR *dir);

struct dirent *__wrap_readdir(DIR *dir)
{
    if (entries_left == 0) {
        errno = EIO;
        return NULL;
    }
    entries_left -= entries_left > 0;
    return __real_readdir(dir);
}

static void make_folder(void)
{
    world_make(NULL, NULL, NULL);
    folder = open(world.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(folder, 0);
}

static void end_folder(void)
{
    kt_audit_logs_free(&logs);
    (void)close(folder);
    world_end();
}

static void write_file(const char *name, const char *text)
{
    char path[200];

    (void)snprintf(path, sizeof(path), "%s/%s", world.dir, name);
    world_write(path, text, 0600);
}

/* `instance`: a digit of it. */
static void write_log(const char *name, char instance, unsigned block, const char *hour)
{
    char text[1000], id[33];

    memset(id, instance, 32);
    id[32] = '\0';
    (void)snprintf(
        text, sizeof(text),
        "{\"log\":\"%s\",\"instance\":\"%s\",\"keyed\":true,\"environment\":\"production\","
        "\"stream\":\"nginx\",\"block\":%u,\"last\":%u,\"chain\":\"" ZEROS ZEROS
        "\",\"time\":\"2026-11-23T%s:00:00.000Z\"}\n{\"time\":\"",
        block == 0 ? "start" : "continue", id, block, block, hour);
    write_file(name, text);
}

static void find_logs(void)
{
    kt_audit_logs_free(&logs);
    ck_assert(kt_audit_logs_find(folder, &logs));
}

static void assert_names(const char *expected)
{
    char names[1000] = "";

    for (size_t i = 0; i < logs.count; i++)
        (void)snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s",
                       i > 0 ? " " : "", logs.list[i].name);
    ck_assert_str_eq(names, expected);
}

/* Names do not tell the age, nor does the order of the folder. */
START_TEST(the_oldest_is_the_first)
{
    write_log("log", 'a', 30, "14");
    write_log("log-2026", 'a', 9, "13");
    write_log("log.1", 'a', 20, "09"); /* the clock was wrong */
    write_log("log.2", 'a', 0, "12");
    write_log("log.9", 'b', 70, "11"); /* of an instance before */
    write_file("log.old", "{\"time\":\"2026-11-23T10:30:00.000Z\",\"boot\":\"\"}\n");
    write_file("log.cut", "{\"time\":\"2026-11-23T11:30:00.000Z\",\"boot\":\"\"}\n");
    write_file("state", "log");
    write_file("sent", "");
    find_logs();
    assert_names("log.old log.9 log.cut log.2 log-2026 log.1 log");
    ck_assert_uint_eq(logs.list[5].head.block, 20);
    ck_assert_str_eq(logs.list[5].head.stream, "nginx");
    ck_assert_str_eq(logs.list[5].head.time, "2026-11-23T09:00:00.000Z");
    ck_assert(logs.list[5].has_head && !logs.list[2].has_head);
    ck_assert(!logs.list[5].head.first && logs.list[3].head.first);
}
END_TEST

/* Not even when it has just been made. */
START_TEST(what_is_being_written_is_the_last)
{
    write_log("log.1", 'a', 20, "12");
    write_file("log", "");
    find_logs();
    assert_names("log.1 log");
    ck_assert_uint_eq(logs.list[1].size, 0);
    write_log("log", 'b', 0, "11");
    find_logs();
    assert_names("log.1 log");
}
END_TEST

START_TEST(what_cannot_be_read_is_not_left_out)
{
    static const char *const ends[] = {"xz", "bz2", "zst", "lz4"};
    char name[20];

    for (size_t i = 0; i < KT_ARRAY(ends); i++) {
        (void)snprintf(name, sizeof(name), "log.2.%s", ends[i]);
        write_file(name, "{\"log\":");
        find_logs();
        ck_assert_uint_eq(logs.count, i + 1);
        for (size_t j = 0; j <= i; j++)
            ck_assert(logs.list[j].unpack != NULL && logs.list[j].error == 0);
    }
    ck_assert_int_eq(symlinkat("/etc/passwd", folder, "log.3"), 0);
    find_logs();
    ck_assert_uint_eq(logs.count, KT_ARRAY(ends) + 1);
    ck_assert_str_eq(logs.list[KT_ARRAY(ends)].name, "log.3");
    ck_assert_int_eq(logs.list[KT_ARRAY(ends)].error, ELOOP);
}
END_TEST

START_TEST(what_is_not_a_file_is_not_a_log)
{
    ck_assert_int_eq(mkdirat(folder, "log.d", 0700), 0);
    ck_assert_int_eq(mkfifoat(folder, "log.fifo", 0600), 0);
    find_logs();
    ck_assert_uint_eq(logs.count, 0);
    ck_assert_uint_eq(logs.not_files, 2);
}
END_TEST

START_TEST(a_folder_that_cannot_be_read_to_its_end_is_an_error)
{
    write_log("log", '1', 0, "01");
    entries_left = 1;
    ck_assert(!kt_audit_logs_find(folder, &logs));
    ck_assert_int_eq(errno, EIO);
    ck_assert_uint_eq(logs.count, 0);
    entries_left = -1;
    find_logs();
    ck_assert_uint_eq(logs.count, 1);
}
END_TEST

START_TEST(more_than_a_list_holds)
{
    char name[20];

    write_file("log.0", "");
    for (unsigned i = 1; i < KT_AUDIT_LOGS_MAX; i++) {
        (void)snprintf(name, sizeof(name), "log.%u", i);
        ck_assert_int_eq(linkat(folder, "log.0", folder, name, 0), 0);
    }
    find_logs();
    ck_assert_uint_eq(logs.count, KT_AUDIT_LOGS_MAX);
    ck_assert(!logs.more);
    write_file("log.more", "");
    find_logs();
    ck_assert(logs.more);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_folder, end_folder);
    tcase_add_test(tests, the_oldest_is_the_first);
    tcase_add_test(tests, what_is_being_written_is_the_last);
    tcase_add_test(tests, what_cannot_be_read_is_not_left_out);
    tcase_add_test(tests, what_is_not_a_file_is_not_a_log);
    tcase_add_test(tests, a_folder_that_cannot_be_read_to_its_end_is_an_error);
    tcase_add_test(tests, more_than_a_list_holds);
}

UNIT_MAIN("audit files", add_tests)
