/* SPDX-License-Identifier: BSD-2-Clause */
/* core/store/anchors.c: whatever happens to the files of anchors between two reads is noticed at
 * the second one, although a process looks at them by descriptors that it keeps. */
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "store/index.h"

static const unsigned char key[KT_KEY_SIZE] = {7};
static char dir[64], folder[96];
static kt_anchors_t *writer, *reader;

static const char *at(const char *name)
{
    static char path[160];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static kt_anchored_t at_generation(uint64_t generation)
{
    return (kt_anchored_t){
        .store = "local", .type = "t", .key = key, .generation = generation, .root = {1}};
}

static void write_one(const char *stream, uint64_t generation, bool lazy)
{
    kt_anchored_t anchored = at_generation(generation);

    anchored.root[0] = (unsigned char)generation;
    assert_ok(kt_anchors_make(writer, stream));
    assert_ok(kt_anchors_load(writer));
    assert_ok(kt_anchors_write(writer, stream, &anchored, 1, lazy));
}

static void write_anchor(const char *stream, uint64_t generation)
{
    write_one(stream, generation, false);
}

/* What a reader says that finds a store at generation 1. */
static kt_status_t look(void)
{
    kt_anchored_t anchored = at_generation(1);
    kt_status_t status = kt_anchors_load(reader);

    return status == KT_SUCCESS ? kt_anchors_check(reader, &anchored) : status;
}

/* What changes from now on has another time than what is there. */
static void let_clock_move(void)
{
    const struct timespec tick = {.tv_nsec = 1000000};
    struct timespec start, now;

    (void)clock_gettime(CLOCK_REALTIME_COARSE, &start);
    do {
        (void)nanosleep(&tick, NULL);
        (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
    } while (now.tv_sec == start.tv_sec && now.tv_nsec == start.tv_nsec);
}

static unsigned descriptors(void)
{
    DIR *list = opendir("/proc/self/fd");
    unsigned count = 0;

    ck_assert_ptr_nonnull(list);
    while (readdir(list) != NULL)
        count++;
    (void)closedir(list);
    return count;
}

/* One stream with an anchor of generation 1, read until nothing is read again. */
static void make_anchors(void)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(dir, sizeof(dir), "%s/kt-anchors-XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(folder, sizeof(folder), "%s/anchors", dir);
    assert_ok(kt_anchors_new(folder, &writer));
    assert_ok(kt_anchors_new(folder, &reader));
    write_anchor("one", 1);
    let_clock_move();
    assert_ok(look());
    assert_ok(look());
}

static void remove_anchors(void)
{
    char command[160];

    kt_anchors_free(writer);
    kt_anchors_free(reader);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(a_file_that_is_replaced)
{
    write_anchor("one", 2);
    assert_status(look(), KT_ROLLEDBACK);
}
END_TEST

/* Then the file that was open has a name still. */
START_TEST(a_file_that_is_put_aside)
{
    char aside[160];

    (void)snprintf(aside, sizeof(aside), "%s", at("one/aside"));
    ck_assert_int_eq(link(at("one/generations"), aside), 0);
    write_anchor("one", 2);
    assert_status(look(), KT_ROLLEDBACK);
}
END_TEST

START_TEST(a_file_that_is_written)
{
    struct stat st;
    int fd;

    write_anchor("two", 2);
    ck_assert_int_eq(stat(at("two/generations"), &st), 0);
    fd = open(at("two/generations"), O_WRONLY | O_CLOEXEC);
    let_clock_move();
    assert_status(look(), KT_ROLLEDBACK);
    ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1); /* it counts no more */
    assert_ok(look());
    let_clock_move();
    assert_ok(look());
    ck_assert_int_eq(pwrite(fd, "k", 1, 0), 1);
    assert_status(look(), KT_ROLLEDBACK);
    (void)close(fd);
}
END_TEST

START_TEST(a_stream_that_appears)
{
    write_anchor("two", 2);
    assert_status(look(), KT_ROLLEDBACK);
}
END_TEST

/* The folder of a stream is there before its first anchor. */
START_TEST(a_file_that_appears)
{
    assert_ok(kt_anchors_make(writer, "two"));
    let_clock_move();
    assert_ok(look());
    let_clock_move();
    assert_ok(look());
    write_anchor("two", 2);
    assert_status(look(), KT_ROLLEDBACK);
}
END_TEST

START_TEST(a_streams_folder_that_is_replaced)
{
    char other[160];

    write_anchor("two", 1);
    let_clock_move();
    assert_ok(look());
    (void)snprintf(other, sizeof(other), "%s", at("three"));
    ck_assert_int_eq(rename(at("two"), other), 0);
    write_anchor("two", 2);
    assert_status(look(), KT_ROLLEDBACK);
}
END_TEST

START_TEST(a_file_that_is_removed)
{
    ck_assert_int_eq(unlink(at("one/generations")), 0);
    assert_status(look(), KT_ROLLEDBACK);
}
END_TEST

START_TEST(the_descriptors_stay_as_many)
{
    char stream[16];
    unsigned before, i;

    for (i = 0; i < 20; i++) {
        (void)snprintf(stream, sizeof(stream), "s%u", i);
        write_anchor(stream, 1);
    }
    assert_ok(look());
    before = descriptors();
    for (i = 0; i < 50; i++) {
        write_anchor("one", 1);
        ck_assert_int_eq(unlink(at("s3/generations")), 0);
        assert_ok(look());
        write_anchor("s3", 1);
        assert_ok(look());
    }
    ck_assert_uint_eq(descriptors(), before);
    kt_anchors_free(reader);
    reader = NULL;
    ck_assert_uint_le(before - descriptors(), 9); /* its folder, and a few of the files */
}
END_TEST

static void assert_lines(uint64_t one, uint64_t other)
{
    char text[2048] = "", number[24];
    int fd = open(at("one/generations"), O_RDONLY);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_gt(read(fd, text, sizeof(text) - 1), 0);
    (void)close(fd);
    (void)snprintf(number, sizeof(number), " %020llu ", (unsigned long long)one);
    ck_assert_msg(strstr(text, number) != NULL, "%s is not in `%s`", number, text);
    (void)snprintf(number, sizeof(number), " %020llu ", (unsigned long long)other);
    ck_assert_msg(strstr(text, number) != NULL, "%s is not in `%s`", number, text);
}

/* The line that is on the disk stays, so that a power cut does not take both. */
START_TEST(a_line_that_is_not_synced)
{
    write_anchor("one", 2);
    assert_lines(1, 2);
    write_one("one", 3, true);
    assert_lines(2, 3);
    write_one("one", 4, true);
    write_one("one", 5, true);
    assert_lines(2, 5);
    assert_ok(kt_anchors_sync(writer, "one"));
    write_one("one", 6, true);
    assert_lines(5, 6);
    write_anchor("one", 7);
    assert_lines(5, 7);
    write_anchor("one", 8);
    assert_lines(7, 8);
    assert_status(look(), KT_ROLLEDBACK);
    assert_ok(kt_anchors_sync(writer, "none"));
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_anchors, remove_anchors);
    tcase_add_test(tests, a_file_that_is_replaced);
    tcase_add_test(tests, a_line_that_is_not_synced);
    tcase_add_test(tests, a_file_that_is_put_aside);
    tcase_add_test(tests, a_file_that_is_written);
    tcase_add_test(tests, a_stream_that_appears);
    tcase_add_test(tests, a_file_that_appears);
    tcase_add_test(tests, a_streams_folder_that_is_replaced);
    tcase_add_test(tests, a_file_that_is_removed);
    tcase_add_test(tests, the_descriptors_stay_as_many);
}

UNIT_MAIN("anchors", add_tests)
