/* SPDX-License-Identifier: BSD-2-Clause */
/* core/audit/reader.c: the lines of a log whose owner may have put anything into it. */
#include "world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "audit/files.h"

#define SEAL "{\"seal\":7}\n"
#define DECISION "{\"time\":\"x\"}\n"

static int folder;
static kt_audit_log_t log_;
static kt_audit_reader_t *reader;
static char *line;
static size_t size;

static void begin(void)
{
    world_make(NULL, NULL, NULL);
    folder = open(world.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(folder, 0);
}

static void end(void)
{
    kt_audit_reader_free(reader);
    reader = NULL;
    (void)close(folder);
    world_end();
}

static FILE *make(void)
{
    int fd = openat(folder, "log", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *file = fdopen(fd, "w");

    ck_assert_ptr_nonnull(file);
    return file;
}

static void open_log(void)
{
    kt_audit_reader_free(reader);
    reader = kt_audit_log_read(folder, "log", &log_);
    ck_assert_ptr_nonnull(reader);
}

static void write_log(const void *bytes, size_t count)
{
    FILE *file = make();

    ck_assert_uint_eq(fwrite(bytes, 1, count, file), count);
    ck_assert_int_eq(fclose(file), 0);
    open_log();
}

/* One member of gzip. */
static size_t pack(const void *bytes, size_t count, unsigned char *packed, size_t room)
{
    z_stream stream;

    memset(&stream, 0, sizeof(stream));
    ck_assert_int_eq(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (unsigned char *)bytes;
    stream.avail_in = (unsigned)count;
    stream.next_out = packed;
    stream.avail_out = (unsigned)room;
    ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
    (void)deflateEnd(&stream);
    return room - stream.avail_out;
}

static void assert_line(const char *expected)
{
    ck_assert_int_eq(kt_audit_reader_next(reader, &line, &size), KT_AUDIT_NEXT);
    ck_assert_str_eq(line, expected);
    ck_assert_uint_eq(size, strlen(expected));
}

static void assert_end(void)
{
    ck_assert_int_eq(kt_audit_reader_next(reader, &line, &size), KT_AUDIT_END);
    ck_assert_int_eq(kt_audit_reader_next(reader, &line, &size), KT_AUDIT_END);
}

static size_t assert_bad(const char *why)
{
    size_t lines = 0;
    kt_audit_step_t step;

    while ((step = kt_audit_reader_next(reader, &line, &size)) == KT_AUDIT_NEXT)
        lines++;
    ck_assert_int_eq(step, KT_AUDIT_BAD);
    ck_assert_msg(strstr(kt_audit_reader_why(reader), why) != NULL, "%s",
                  kt_audit_reader_why(reader));
    ck_assert_int_eq(kt_audit_reader_next(reader, &line, &size), KT_AUDIT_BAD);
    return lines;
}

START_TEST(lines_and_one_that_is_being_written)
{
    static const char text[] = "a\n\nb\nc";

    write_log(text, strlen(text));
    assert_line("a\n");
    assert_line("\n");
    assert_line("b\n");
    ck_assert_uint_eq(kt_audit_reader_number(reader), 3);
    assert_end();
    write_log("", 0);
    assert_end();
}
END_TEST

START_TEST(a_line_may_have_a_zero_byte)
{
    write_log("a\0b\nc\n", 6);
    ck_assert_int_eq(kt_audit_reader_next(reader, &line, &size), KT_AUDIT_NEXT);
    ck_assert_uint_eq(size, 4);
    assert_line("c\n");
    assert_end();
}
END_TEST

/* More than the buffer has, so that lines begin at every place of it. */
START_TEST(every_line_is_whole)
{
    FILE *file = make();
    char expected[400];

    for (unsigned i = 0; i < 5000; i++)
        (void)fprintf(file, "{\"seal\":%u%*s\n", i, (int)(i % 331), "");
    ck_assert_int_eq(fclose(file), 0);
    open_log();
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(expected, sizeof(expected), "{\"seal\":%u%*s\n", i, (int)(i % 331), "");
        assert_line(expected);
    }
    assert_end();
}
END_TEST

START_TEST(what_is_appended_meanwhile_is_not_read)
{
    FILE *file;

    write_log("a\n", 2);
    file = fdopen(openat(folder, "log", O_WRONLY | O_APPEND | O_CLOEXEC), "a");
    ck_assert_int_ge(fputs("b\n", file), 0);
    ck_assert_int_eq(fclose(file), 0);
    assert_line("a\n");
    assert_end();
}
END_TEST

/* ---- gzip ---- */

START_TEST(gzip_of_several_members)
{
    static unsigned char packed[2000000];
    size_t room = 1500000, used = 0;
    char *text = malloc(room), *at = text;

    ck_assert_ptr_nonnull(text);
    for (unsigned i = 0; i < 20000; i++)
        at += snprintf(at, room - (size_t)(at - text), "{\"seal\":%u%*s\n", i, (int)(i % 97), "");
    used = pack(text, 77, packed, sizeof(packed));
    used += pack("", 0, packed + used, sizeof(packed) - used);
    used += pack(text + 77, (size_t)(at - text) - 77, packed + used, sizeof(packed) - used);
    write_log(packed, used);
    ck_assert(log_.gzip && !log_.has_head);
    for (at = text; *at != '\0'; at += size) {
        ck_assert_int_eq(kt_audit_reader_next(reader, &line, &size), KT_AUDIT_NEXT);
        ck_assert_int_eq(memcmp(line, at, size), 0);
    }
    assert_end();
    free(text);
}
END_TEST

/* Cut at each length: never an end that looks right. */
START_TEST(gzip_that_is_cut_or_damaged)
{
    unsigned char packed[2000];
    char text[1500] = "";
    size_t used;

    for (unsigned i = 0; i < 60; i++)
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), SEAL);
    used = pack(text, strlen(text), packed, sizeof(packed) - 3);
    for (size_t cut = 2; cut < used; cut++) {
        write_log(packed, cut);
        (void)assert_bad("ends too early");
    }
    packed[used - 6] ^= 1; /* of its checksum */
    write_log(packed, used);
    (void)assert_bad("damaged");
    packed[used - 6] ^= 1;
    memcpy(packed + used, "abc", 3);
    write_log(packed, used + 3);
    ck_assert_uint_eq(assert_bad("damaged"), 60);
}
END_TEST

START_TEST(gzip_that_blows_up)
{
    static unsigned char packed[200000];
    size_t count = 64u << 20;
    char *zeros = calloc(1, count);

    ck_assert_ptr_nonnull(zeros);
    write_log(packed, pack(zeros, count, packed, sizeof(packed)));
    ck_assert_uint_eq(assert_bad("line 1 is longer"), 0);
    free(zeros);
}
END_TEST

/* ---- bounds ---- */

START_TEST(the_longest_line_and_one_more_byte)
{
    char text[KT_AUDIT_LINE + 2];

    memset(text, 'x', sizeof(text));
    text[KT_AUDIT_LINE - 1] = '\n';
    write_log(text, KT_AUDIT_LINE);
    ck_assert_int_eq(kt_audit_reader_next(reader, &line, &size), KT_AUDIT_NEXT);
    ck_assert_uint_eq(size, KT_AUDIT_LINE);
    text[KT_AUDIT_LINE - 1] = 'x';
    text[KT_AUDIT_LINE] = '\n';
    write_log(text, KT_AUDIT_LINE + 1);
    ck_assert_uint_eq(assert_bad("line 1 is longer"), 0);
}
END_TEST

START_TEST(a_line_without_an_end)
{
    FILE *file = make();

    ck_assert_int_ge(fputs(SEAL, file), 0);
    ck_assert_int_eq(fflush(file), 0);
    ck_assert_int_eq(ftruncate(fileno(file), (off_t)40 << 30), 0); /* a hole */
    ck_assert_int_eq(fclose(file), 0);
    open_log();
    ck_assert_uint_eq(assert_bad("line 2 is longer"), 1);
}
END_TEST

START_TEST(lines_of_something_else)
{
    FILE *file = make();

    for (unsigned i = 0; i < KT_AUDIT_JUNK; i++)
        ck_assert_int_ge(fputs("junk\n" SEAL, file), 0);
    ck_assert_int_eq(fflush(file), 0);
    open_log();
    for (unsigned i = 0; i < 2 * KT_AUDIT_JUNK; i++)
        ck_assert_int_eq(kt_audit_reader_next(reader, &line, &size), KT_AUDIT_NEXT);
    assert_end();
    ck_assert_int_ge(fputs("junk\n", file), 0);
    ck_assert_int_eq(fclose(file), 0);
    open_log();
    ck_assert_uint_eq(assert_bad("not of an audit log, up to line 2001"), 2 * KT_AUDIT_JUNK);
}
END_TEST

START_TEST(lines_without_a_seal)
{
    FILE *file = make();
    unsigned most = KT_AUDIT_UNSEALED / (unsigned)strlen(DECISION);

    for (unsigned i = 0; i < most; i++)
        ck_assert_int_ge(fputs(DECISION, file), 0);
    ck_assert_int_ge(fputs(SEAL, file), 0);
    for (unsigned i = 0; i < most + 9; i++)
        ck_assert_int_ge(fputs(DECISION, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    open_log();
    ck_assert_uint_eq(assert_bad("more without a seal than a block has"), 2 * (size_t)most + 1);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, lines_and_one_that_is_being_written);
    tcase_add_test(tests, a_line_may_have_a_zero_byte);
    tcase_add_test(tests, every_line_is_whole);
    tcase_add_test(tests, what_is_appended_meanwhile_is_not_read);
    tcase_add_test(tests, gzip_of_several_members);
    tcase_add_test(tests, gzip_that_is_cut_or_damaged);
    tcase_add_test(tests, gzip_that_blows_up);
    tcase_add_test(tests, the_longest_line_and_one_more_byte);
    tcase_add_test(tests, a_line_without_an_end);
    tcase_add_test(tests, lines_of_something_else);
    tcase_add_test(tests, lines_without_a_seal);
}

UNIT_MAIN("audit reader", add_tests)
