/* SPDX-License-Identifier: BSD-2-Clause */
/* core/store/schedule.c: how often, and when next. */
#include "world.h"

#define DAY ((int64_t)86400000)

static const struct {
    const char *text;
    int64_t ms;
} texts[] = {
    {"critical", 7 * DAY},
    {"weekly", 7 * DAY},
    {"high", 30 * DAY},
    {"monthly", 30 * DAY},
    {"database", 90 * DAY},
    {"quarterly", 90 * DAY},
    {"api-key", 365 * DAY},
    {"annually", 365 * DAY},
    {"daily", DAY},
    {"36h", 36 * 3600000},
    {"1s", 1000},
    {"999ms", -1},
    {"0", -1},
    {"", -1},
    {"soon", -1},
    {"Weekly", -1},
    {"-1d", -1},
    {"99999d", -1},
};

START_TEST(words_and_durations)
{
    ck_assert_int_eq(kt_schedule_parse(texts[_i].text), texts[_i].ms);
}
END_TEST

static int64_t due(const char *name)
{
    kt_request_t req = request(name);
    kt_info_t *info = NULL;
    int64_t ms;

    assert_ok(kt_info(world.ctx, &req, &info));
    ms = kt_info_due(info);
    if (ms != 0)
        ck_assert(kt_info_rotated(info) < ms);
    kt_info_free(info);
    return ms;
}

static kt_status_t put_with(const char *name, const char *schedule)
{
    kt_meta_t meta = {"rotation", schedule};
    kt_put_options_t options = KT_PUT_INIT;
    kt_request_t req = request(name);
    kt_secret_t *value = secret_of("v");
    kt_status_t status;

    options.meta = &meta;
    options.nmeta = 1;
    status = kt_put(world.ctx, &req, value, &options, NULL);
    kt_secret_free(value);
    return status;
}

static void make_world(void)
{
    world_of_memory(NULL);
}

START_TEST(due_by_the_age_of_the_current_value)
{
    kt_request_t req = request("a/b");
    kt_rotate_options_t options = KT_ROTATE_INIT;
    int64_t first, now = kt_now();

    put("a/none", "v", 1);
    ck_assert_int_eq(due("a/none"), 0);
    assert_ok(put_with("a/b", "daily"));
    first = due("a/b");
    ck_assert(first >= now + DAY && first < now + DAY + 60000);
    options.generate = 1;
    assert_ok(kt_rotate(world.ctx, &req, &options, NULL));
    ck_assert(due("a/b") >= first);
    assert_ok(put_with("a/b", NULL));
    ck_assert_int_eq(due("a/b"), 0);
}
END_TEST

START_TEST(a_schedule_that_nobody_understands_is_refused)
{
    kt_request_t req = request("a/b");
    kt_info_t *info = NULL;

    assert_status(put_with("a/b", "sometimes"), KT_USAGE);
    assert_failure_has("`rotation`");
    assert_status(kt_info(world.ctx, &req, &info), KT_NOTFOUND);
}
END_TEST

START_TEST(the_note_of_a_rotation_counts_not_the_versions_age)
{
    kt_head_t head;
    kt_head_version_t *entry;

    memset(&head, 0, sizeof(head));
    ck_assert_int_eq(kt_schedule_rotated(&head), 0);
    assert_ok(kt_head_add(&head, 1, 5000, &entry));
    head.current = 1;
    ck_assert_int_eq(kt_schedule_rotated(&head), 5000);
    ck_assert_int_eq(kt_schedule_due(&head), 0);
    assert_ok(kt_head_meta(&head, "rotation", "1s"));
    ck_assert_int_eq(kt_schedule_due(&head), 6000);
    assert_ok(kt_head_note(&head, 1, KT_NOTE_ROTATED, "9000"));
    ck_assert_int_eq(kt_schedule_due(&head), 10000);
    assert_ok(kt_head_note(&head, 1, KT_NOTE_ROTATED, "garbage"));
    ck_assert_int_eq(kt_schedule_due(&head), 6000);
    kt_head_drop_note(&head, 1, KT_NOTE_ROTATED);
    kt_head_drop_note(&head, 1, KT_NOTE_ROTATED);
    ck_assert_ptr_null(kt_head_get_note(&head, 1, KT_NOTE_ROTATED));
    kt_head_clear(&head);
}
END_TEST

/* Nothing says so but the value: "database/" is only a name. */
START_TEST(a_database_account_is_due_after_a_quarter)
{
    int64_t now = kt_now();

    put("database/a", "{\"user\": \"a\", \"password\": \"p\"}", 1);
    ck_assert(due("database/a") >= now + 90 * DAY && due("database/a") < now + 90 * DAY + 60000);
    put("general/b", "{\"username\": \"not rotated yet\"}", 1);
    ck_assert(due("general/b") >= now + 90 * DAY);
    put("database/c", "{\"host\": \"h\"}", 1);
    ck_assert_int_eq(due("database/c"), 0);
    put("database/a", "{\"host\": \"no account any more\"}", 2);
    ck_assert_int_eq(due("database/a"), 0);
    put("database/a", "{\"password\": \"p\"}", 3);
    ck_assert(due("database/a") >= now + 90 * DAY);
    put("general/d", "v", 1);
    assert_ok(put_with("general/d", "daily"));
    ck_assert(due("general/d") < now + 2 * DAY);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    UNIT_TABLE(tests, words_and_durations, texts);
    tcase_add_test(tests, due_by_the_age_of_the_current_value);
    tcase_add_test(tests, a_schedule_that_nobody_understands_is_refused);
    tcase_add_test(tests, a_database_account_is_due_after_a_quarter);
    tcase_add_test(tests, the_note_of_a_rotation_counts_not_the_versions_age);
}

UNIT_MAIN("schedule", add_tests)
