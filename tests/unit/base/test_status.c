/* SPDX-License-Identifier: BSD-2-Clause */
/* core/base/status.c: names, exit numbers, the error text. */
#include "unit.h"

#include <ctype.h>
#include <pthread.h>

static const struct {
    kt_status_t status;
    const char *name;
    int exit;
} statuses[] = {
    {KT_SUCCESS, "success", 0},      {KT_NOTFOUND, "notfound", 66},
    {KT_GONE, "gone", 66},           {KT_FORBIDDEN, "forbidden", 77},
    {KT_UNAVAIL, "unavail", 69},     {KT_TRYAGAIN, "tryagain", 75},
    {KT_MALFORMED, "malformed", 65}, {KT_CONFLICT, "conflict", 73},
    {KT_NOSPACE, "nospace", 74},     {KT_DENIED, "denied", 77},
    {KT_AUDIT, "audit", 74},         {KT_NOKEY, "nokey", 77},
    {KT_WRONGKEY, "wrongkey", 77},   {KT_ROLLEDBACK, "rolledback", 65},
    {KT_USAGE, "usage", 64},         {KT_TOOLARGE, "toolarge", 65},
    {KT_CONFIG, "config", 78},       {KT_PERMISSION, "permission", 77},
    {KT_INTERNAL, "internal", 70},   {KT_MOVED, "moved", 65},
};

START_TEST(each_status_has_its_row)
{
    char upper[32];
    size_t len = strlen(statuses[_i].name);

    ck_assert_int_eq((int)statuses[_i].status, _i);
    ck_assert_str_eq(kt_status_name(statuses[_i].status), statuses[_i].name);
    ck_assert_int_eq(kt_status_exit(statuses[_i].status), statuses[_i].exit);
    ck_assert_uint_gt(strlen(kt_status_text(statuses[_i].status)), 3);
    for (size_t i = 0; i <= len; i++)
        upper[i] = (char)toupper(statuses[_i].name[i]);
    ck_assert_int_eq(kt_status_parse(upper, len), _i);
    ck_assert_int_eq(kt_status_parse(upper, len - 1), -1);
    ck_assert_int_eq(kt_status_parse(statuses[_i].name, len), -1);
}
END_TEST

START_TEST(a_number_of_none_is_internal)
{
    ck_assert_str_eq(kt_status_name((kt_status_t)20), "internal");
    ck_assert_str_eq(kt_status_name((kt_status_t)-1), "internal");
    ck_assert_int_eq(kt_status_exit((kt_status_t)1000), 70);
    ck_assert_ptr_nonnull(kt_status_text((kt_status_t)-1));
    ck_assert_int_eq(kt_status_parse("", 0), -1);
}
END_TEST

START_TEST(a_route_has_room_for_each_status)
{
    ck_assert_uint_eq(KT_ARRAY(statuses), KT_STATUSES);
}
END_TEST

START_TEST(the_statuses_of_providers_are_ours)
{
    ck_assert_int_eq(KTP_NOTFOUND, KT_NOTFOUND);
    ck_assert_int_eq(KTP_GONE, KT_GONE);
    ck_assert_int_eq(KTP_FORBIDDEN, KT_FORBIDDEN);
    ck_assert_int_eq(KTP_UNAVAIL, KT_UNAVAIL);
    ck_assert_int_eq(KTP_TRYAGAIN, KT_TRYAGAIN);
    ck_assert_int_eq(KTP_MALFORMED, KT_MALFORMED);
    ck_assert_int_eq(KTP_CONFLICT, KT_CONFLICT);
    ck_assert_int_eq(KTP_NOSPACE, KT_NOSPACE);
}
END_TEST

START_TEST(a_failure_is_reported_and_cleared)
{
    kt_failure_clear();
    assert_failure("");
    assert_status(kt_fail(KT_UNAVAIL, "port %d", 6379), KT_UNAVAIL);
    assert_failure("port 6379");
    assert_status(kt_fail_prefix(KT_CONFIG, "redis"), KT_CONFIG);
    assert_failure("redis: port 6379");
    assert_status(kt_fail(KT_CONFLICT, "again, %s", kt_failure()), KT_CONFLICT);
    assert_failure("again, redis: port 6379");
    kt_failure_clear();
    (void)kt_fail_prefix(KT_CONFIG, "alone");
    assert_failure("alone");
}
END_TEST

START_TEST(a_failure_is_one_line)
{
    (void)kt_fail(KT_USAGE, "a\nb\tc\x7f\x1b[2J");
    assert_failure("a?b?c??[2J");
}
END_TEST

START_TEST(a_long_failure_is_cut)
{
    char text[KT_ERROR_SIZE + 100];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (size_t len = KT_ERROR_SIZE - 2; len <= KT_ERROR_SIZE + 1; len++) {
        (void)kt_fail(KT_USAGE, "%.*s", (int)len, text);
        ck_assert_uint_eq(strlen(kt_failure()), len < KT_ERROR_SIZE ? len : KT_ERROR_SIZE - 1);
        (void)kt_fail_prefix(KT_USAGE, "%s", "prefix");
        ck_assert_uint_eq(strlen(kt_failure()), KT_ERROR_SIZE - 1);
    }
}
END_TEST

static void *fail_elsewhere(void *arg)
{
    (void)kt_fail(KT_USAGE, "elsewhere");
    return arg;
}

START_TEST(a_failure_belongs_to_its_thread)
{
    pthread_t thread;

    (void)kt_fail(KT_USAGE, "here");
    ck_assert_int_eq(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    assert_failure("here");
}
END_TEST

START_TEST(a_failure_is_kept_over_other_calls)
{
    kt_failure_t saved;

    kt_failure_save(&saved, kt_fail(KT_GONE, "the %d%%\n", 1));
    (void)kt_fail(KT_DENIED, "another");
    assert_status(kt_failure_restore(&saved), KT_GONE);
    assert_failure("the 1%?");
    kt_failure_save(&saved, KT_SUCCESS);
    assert_status(kt_failure_restore(&saved), KT_SUCCESS);
    assert_failure("the 1%?");
    assert_status(kt_no_memory(), KT_INTERNAL);
    assert_failure("out of memory");
}
END_TEST

START_TEST(control_characters)
{
    for (int c = 0; c < 256; c++)
        ck_assert_msg(kt_is_control((char)c) == (c < 32 || c == 127), "%d", c);
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, each_status_has_its_row, statuses);
    tcase_add_test(tests, a_number_of_none_is_internal);
    tcase_add_test(tests, a_route_has_room_for_each_status);
    tcase_add_test(tests, the_statuses_of_providers_are_ours);
    tcase_add_test(tests, a_failure_is_reported_and_cleared);
    tcase_add_test(tests, a_failure_is_one_line);
    tcase_add_test(tests, a_long_failure_is_cut);
    tcase_add_test(tests, a_failure_belongs_to_its_thread);
    tcase_add_test(tests, a_failure_is_kept_over_other_calls);
    tcase_add_test(tests, control_characters);
}

UNIT_MAIN("status", add_tests)
