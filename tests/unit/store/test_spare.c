/* SPDX-License-Identifier: BSD-2-Clause */
/* core/store/anchor_spare.c: space for the next file of anchors, and the file that is made of it.
 * cli/test_audit_full.py does it on a full disk. */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "store/anchor_spare.h"
#include "store/index.h"

static char dir[64];
static int folder, own;

static const char *at(const char *name)
{
    static char path[128];

    (void)snprintf(path, sizeof(path), "%s/one/%s", dir, name);
    return path;
}

static void make_folder(void)
{
    const char *tmp = getenv("TMPDIR");

    (void)snprintf(dir, sizeof(dir), "%s/kt-spare-XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(mkdir(at(""), 0755), 0);
    folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    own = open(at(""), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(own, 0);
}

static void remove_folder(void)
{
    (void)unlink(at(KT_SPARE));
    (void)unlink(at("generations"));
    (void)unlink(at("other"));
    (void)rmdir(at(""));
    (void)rmdir(dir);
    (void)close(folder);
    (void)close(own);
}

static struct stat stat_of(const char *name)
{
    struct stat st;

    ck_assert_int_eq(lstat(at(name), &st), 0);
    return st;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
    int fd = open(at(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    (void)close(fd);
}

static kt_status_t count_line(void *arg, const kt_anchor_t *anchor)
{
    *(uint64_t *)arg += anchor->generation;
    return KT_SUCCESS;
}

/* The text of one line. */
static void format(uint64_t generation, char text[512])
{
    (void)snprintf(text, 512, "keyturn-anchors 1\n%032x %032x %llu %032x %064x\n", 1, 2,
                   (unsigned long long)generation, 3, 4);
}

static uint64_t read_generations(void)
{
    uint64_t sum = 0;

    assert_ok(kt_anchor_file_read(dir, folder, "one", count_line, &sum));
    return sum;
}

START_TEST(it_has_the_space)
{
    ck_assert(!kt_spare_is_there(folder, "one", 1));
    ck_assert(kt_spare_make(own, 5000));
    ck_assert_int_eq(stat_of(KT_SPARE).st_size, 8192);
    ck_assert_int_ge(stat_of(KT_SPARE).st_blocks * 512, 8192);
    ck_assert(kt_spare_is_there(folder, "one", 8192) && !kt_spare_is_there(folder, "one", 8193));
    ck_assert(kt_spare_make(own, 8193));
    ck_assert_int_eq(stat_of(KT_SPARE).st_size, 12288);
}
END_TEST

/* The two files change places, again and again, and nothing is given back. */
START_TEST(it_is_used)
{
    char text[512];
    ino_t first, second;

    format(1, text);
    write_file("generations", text, 0644);
    ck_assert(kt_spare_make(own, 4096));
    first = stat_of("generations").st_ino;
    second = stat_of(KT_SPARE).st_ino;
    for (uint64_t n = 2; n < 6; n++) {
        format(n, text);
        ck_assert(kt_spare_use(own, "generations", text, strlen(text)));
        ck_assert_uint_eq(read_generations(), n);
        ck_assert_uint_eq(stat_of("generations").st_ino, n % 2 == 0 ? second : first);
        ck_assert_uint_eq(stat_of(KT_SPARE).st_ino, n % 2 == 0 ? first : second);
        ck_assert_int_eq(stat_of("generations").st_mode & 0777, 0644);
    }
    ck_assert_int_eq(stat_of("generations").st_size + stat_of(KT_SPARE).st_size,
                     4096 + (off_t)strlen(text));
}
END_TEST

START_TEST(a_first_file_takes_it)
{
    char text[512];

    format(7, text);
    ck_assert(!kt_spare_use(own, "generations", text, strlen(text)));
    ck_assert(kt_spare_make(own, 4096));
    ck_assert(kt_spare_use(own, "generations", text, strlen(text)));
    ck_assert_uint_eq(read_generations(), 7);
    ck_assert(!kt_spare_is_there(folder, "one", 1));
}
END_TEST

/* What others can write, or what leads elsewhere, is not made the anchors, and is replaced. */
START_TEST(one_that_is_not_ours)
{
    char text[512];

    format(7, text);
    write_file("other", "untouched", 0600);
    for (int i = 0; i < 4; i++) {
        (void)unlink(at(KT_SPARE));
        if (i == 0)
            write_file(KT_SPARE, text, 0666);
        else if (i == 1)
            ck_assert_int_eq(symlinkat("other", own, KT_SPARE), 0);
        else if (i == 2)
            ck_assert_int_eq(linkat(own, "other", own, KT_SPARE, 0), 0);
        else
            ck_assert_int_eq(mkfifoat(own, KT_SPARE, 0600), 0);
        ck_assert(!kt_spare_is_there(folder, "one", 1));
        ck_assert(!kt_spare_use(own, "generations", text, strlen(text)));
        ck_assert(kt_spare_make(own, 4096));
        ck_assert(S_ISREG(stat_of(KT_SPARE).st_mode) && stat_of(KT_SPARE).st_nlink == 1);
        ck_assert(kt_spare_is_there(folder, "one", 4096));
        ck_assert_int_eq(stat_of("other").st_size, 9);
    }
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_folder, remove_folder);
    tcase_add_test(tests, it_has_the_space);
    tcase_add_test(tests, it_is_used);
    tcase_add_test(tests, a_first_file_takes_it);
    tcase_add_test(tests, one_that_is_not_ours);
}

UNIT_MAIN("spare", add_tests)
