/* SPDX-License-Identifier: BSD-2-Clause */
/* core/rotate/old.c: which older passwords a target still accepts, and until when. */
#include "rotate/old.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static kt_head_t head;

static void add_version(uint64_t version, const char *rotated)
{
    kt_head_version_t *entry;

    assert_ok(kt_head_add(&head, version, 1, &entry));
    assert_ok(kt_head_note(&head, version, KT_NOTE_ROTATED, rotated));
}

static void make_head(void)
{
    memset(&head, 0, sizeof(head));
    add_version(1, "1000");
    add_version(2, "2000");
    add_version(3, "3000");
    head.current = 3;
}

START_TEST(a_hash_is_that_of_redis)
{
    kt_secret_t *password = kt_secret_new("password", 8);
    char hash[KT_PASSWORD_HASH];

    kt_password_hash(password, hash);
    ck_assert_str_eq(hash, "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8");
    kt_secret_free(password);
}
END_TEST

START_TEST(until_when)
{
    kt_old_t old;

    make_head();
    assert_ok(kt_head_note(&head, 3, KT_NOTE_OLD A, "500"));
    assert_ok(kt_head_note(&head, 3, KT_NOTE_OLD B, "@9000"));
    assert_ok(kt_head_note(&head, 3, KT_NOTE_OLD "short", "@1"));
    kt_old_list(&head, &old);
    ck_assert_uint_eq(old.count, 2);
    ck_assert_str_eq(old.list[0].hash, A);
    ck_assert_int_eq(old.list[0].until, 3500);
    ck_assert_int_eq(old.list[1].until, 9000);
    kt_head_clear(&head);
}
END_TEST

START_TEST(the_latest_of_several_notes_counts)
{
    kt_old_t old;

    make_head();
    assert_ok(kt_head_note(&head, 2, KT_NOTE_OLD A, "50"));
    assert_ok(kt_head_note(&head, 3, KT_NOTE_OLD A, "500"));
    kt_old_list(&head, &old);
    ck_assert_uint_eq(old.count, 1);
    ck_assert_int_eq(old.list[0].until, 3500);
    kt_old_forget(&head, A);
    kt_old_list(&head, &old);
    ck_assert_uint_eq(old.count, 0);
    kt_head_clear(&head);
}
END_TEST

/* What it would have replaced is in force. */
START_TEST(a_version_that_never_was_in_force_removes_nothing)
{
    kt_old_t old;

    make_head();
    head.current = 1;
    head.pending = 3;
    kt_head_find(&head, 2)->abandoned = true;
    assert_ok(kt_head_note(&head, 2, KT_NOTE_OLD A, "0"));
    assert_ok(kt_head_note(&head, 3, KT_NOTE_OLD A, "0"));
    kt_old_list(&head, &old);
    ck_assert_uint_eq(old.count, 0);
    kt_head_clear(&head);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, a_hash_is_that_of_redis);
    tcase_add_test(tests, until_when);
    tcase_add_test(tests, the_latest_of_several_notes_counts);
    tcase_add_test(tests, a_version_that_never_was_in_force_removes_nothing);
}

UNIT_MAIN("old", add_tests)
