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

/* A process that reads on no longer looks at the files, but asks whether anything happened to them.
 */
static void read_on(int queue)
{
    unsigned before = descriptors();

    if (queue)
        let_clock_move(); /* until then a change could leave the times as they are */
    for (unsigned i = 0; queue && i < 100; i++)
        assert_ok(look());
    ck_assert_uint_eq(descriptors(), before + (queue ? 1 : 0));
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
    read_on(_i);
    write_anchor("one", 2);
    assert_status(look(), KT_ROLLEDBACK);
}
END_TEST

/* Then the file that was open has a name still. */
START_TEST(a_file_that_is_put_aside)
{
    char aside[160];

    read_on(_i);
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

    read_on(_i);
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
    read_on(_i);
    write_anchor("two", 2);
    assert_status(look(), KT_ROLLEDBACK);
}
END_TEST

/* The folder of a stream is there before its first anchor. */
START_TEST(a_file_that_appears)
{
    read_on(_i);
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

    read_on(_i);
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
    read_on(_i);
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
    assert_ok(kt_anchors_sync(kt_anchors_folder(writer), "one"));
    write_one("one", 6, true);
    assert_lines(5, 6);
    write_anchor("one", 7);
    assert_lines(5, 7);
    write_anchor("one", 8);
    assert_lines(7, 8);
    assert_status(look(), KT_ROLLEDBACK);
    assert_ok(kt_anchors_sync(kt_anchors_folder(writer), "none"));
}
END_TEST

static uint64_t highest(kt_anchors_t *anchors)
{
    kt_anchored_t anchored = at_generation(1);

    assert_ok(kt_anchors_load(anchors));
    return kt_anchors_highest(anchors, &anchored);
}

/* A process knows what it wrote without reading it. What another one of its stream writes after
 * that may have the same time, if the clock has not moved on. */
START_TEST(a_writer_that_goes_on_and_another)
{
    kt_anchors_t *first = writer, *other;
    uint64_t generation = 1;

    assert_ok(kt_anchors_new(folder, &other));
    for (unsigned round = 0; round < 50; round++) {
        for (unsigned i = 0; i < 3; i++) {
            write_anchor("one", ++generation);
            ck_assert_uint_eq(highest(writer), generation);
            if (round % 10 == 0)
                let_clock_move();
        }
        writer = other;
        write_anchor("one", ++generation);
        writer = first;
        ck_assert_uint_eq(highest(writer), generation);
    }
    kt_anchors_free(other);
}
END_TEST

/* Its lock, its file or all of it is removed, and it writes what is there then. */
START_TEST(a_writer_whose_files_are_removed)
{
    static const char *const what[] = {"one/.lock", "one/generations", "one"};
    char command[200];

    for (unsigned i = 0; i < KT_ARRAY(what); i++) {
        write_anchor("one", 10 + 2 * i);
        (void)snprintf(command, sizeof(command), "rm -rf '%s'", at(what[i]));
        ck_assert_int_eq(system(command), 0);
        write_anchor("one", 11 + 2 * i);
        ck_assert_uint_eq(highest(writer), 11 + 2 * i);
        ck_assert_int_eq(access(at("one/.lock"), F_OK), 0);
    }
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_anchors, remove_anchors);
    tcase_add_loop_test(tests, a_file_that_is_replaced, 0, 2);
    tcase_add_loop_test(tests, a_file_that_is_put_aside, 0, 2);
    tcase_add_loop_test(tests, a_file_that_is_written, 0, 2);
    tcase_add_loop_test(tests, a_stream_that_appears, 0, 2);
    tcase_add_loop_test(tests, a_file_that_appears, 0, 2);
    tcase_add_loop_test(tests, a_streams_folder_that_is_replaced, 0, 2);
    tcase_add_loop_test(tests, a_file_that_is_removed, 0, 2);
    tcase_add_test(tests, the_descriptors_stay_as_many);
    tcase_add_test(tests, a_line_that_is_not_synced);
    tcase_add_test(tests, a_writer_that_goes_on_and_another);
    tcase_add_test(tests, a_writer_whose_files_are_removed);
}

UNIT_MAIN("anchors", add_tests)
