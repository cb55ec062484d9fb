/* SPDX-License-Identifier: BSD-2-Clause */
/* core/rotate/steps.c: versions of rotations that were given up, and are kept. */
#include "world.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DATABASE "{\"host\": \"db\", \"user\": \"app\", \"password\": \"old\", \"port\": 5432}"
#define HOUR 3600000

static kt_request_t req;
static kt_rotate_options_t options;
static const kt_target_ops_t server = {sizeof(kt_target_ops_t), "postgresql:1", NULL, NULL};

static void make_world(void)
{
    world_of_local(); /* keeps 4 versions */
    options = (kt_rotate_options_t)KT_ROTATE_INIT;
    options.target = &server;
    req = request("database/a");
    put("database/a", DATABASE, 1);
}

static kt_status_t get(const char *reference)
{
    kt_request_t read = request(reference);
    kt_secret_t *secret = NULL;
    kt_status_t status = kt_get(world.ctx, &read, &secret);

    kt_secret_free(secret);
    return status;
}

static kt_rotation_t *begin(void)
{
    kt_rotation_t *rotation = NULL;

    assert_ok(kt_rotation_create(world.ctx, &req, &options, &rotation));
    return rotation;
}

/* As another process that finds the pending version. */
static void set_aside(int64_t keep)
{
    kt_rotation_t *rotation = NULL;

    assert_ok(kt_rotation_resume(world.ctx, &req, &rotation));
    assert_ok(kt_rotation_set_aside(rotation, keep));
}

static const char *state(uint64_t version)
{
    static char text[24];
    kt_info_t *info = NULL;

    (void)snprintf(text, sizeof(text), "-");
    assert_ok(kt_info(world.ctx, &req, &info));
    for (size_t i = 0; i < kt_info_versions(info); i++) {
        if (kt_info_version(info, i)->version == version)
            (void)snprintf(text, sizeof(text), "%s", kt_info_version(info, i)->state);
    }
    kt_info_free(info);
    return text;
}

static void interrupted(int64_t keep)
{
    kt_rotation_leave(begin());
    set_aside(keep);
}

START_TEST(it_is_kept_and_blocks_nothing)
{
    kt_info_t *info = NULL;
    kt_rotation_t *rotation;

    interrupted(HOUR);
    ck_assert_str_eq(state(2), "abandoned");
    assert_value("database/a#password", "old", 1);
    assert_ok(get("database/a#password@2"));
    assert_status(get("database/a@pending"), KT_NOTFOUND);
    assert_ok(kt_info(world.ctx, &req, &info));
    ck_assert_uint_eq(kt_info_pending(info), 0);
    ck_assert(kt_info_version(info, 0)->expires > kt_now() + HOUR - 60000);
    ck_assert_str_eq(kt_info_note(info, 2, "target"), "postgresql:1");
    kt_info_free(info);
    rotation = begin();
    assert_ok(kt_rotation_finish(rotation, 0, NULL));
    ck_assert_str_eq(state(3), "current");
    ck_assert_str_eq(state(2), "abandoned");
    ck_assert_uint_eq(world_lines("rotate.abandon", "success", NULL), 1);
    assert_status(kt_rollback(world.ctx, &req, 2, NULL), KT_CONFLICT);
}
END_TEST

START_TEST(its_time_ends_with_the_next_change)
{
    interrupted(HOUR);
    interrupted(20);
    (void)usleep(30000);
    assert_ok(kt_rotation_finish(begin(), 0, NULL));
    ck_assert_str_eq(state(3), "-");
    ck_assert_str_eq(state(2), "abandoned");
}
END_TEST

START_TEST(it_does_not_count_for_keep_versions)
{
    interrupted(HOUR);
    for (int i = 0; i < 6; i++)
        assert_ok(kt_rotation_finish(begin(), 0, NULL));
    ck_assert_str_eq(state(2), "abandoned");
    for (uint64_t kept = 5; kept <= 8; kept++)
        ck_assert_str_ne(state(kept), "-");
    ck_assert_str_eq(state(4), "-");
}
END_TEST

START_TEST(no_more_than_so_many)
{
    kt_rotation_t *rotation = NULL;

    for (unsigned i = 0; i < KT_ABANDONED_MAX; i++)
        interrupted(HOUR);
    assert_status(kt_rotation_create(world.ctx, &req, &options, &rotation), KT_CONFLICT);
    assert_failure_has("then `keyturn destroy ");
    assert_ok(kt_destroy(world.ctx, &req, 2));
    ck_assert_str_eq(state(2), "destroyed");
    interrupted(HOUR);
}
END_TEST

/* Its owner lives after all, and knows best. */
START_TEST(the_owner_goes_on)
{
    const kt_meta_t note = {"key", "value"};
    kt_rotation_t *rotation = begin();

    set_aside(HOUR);
    assert_ok(kt_rotation_notes(rotation, &note, 1));
    ck_assert_str_eq(state(2), "pending");
    set_aside(HOUR);
    assert_ok(kt_rotation_finish(rotation, 0, NULL));
    ck_assert_str_eq(state(2), "current");
    rotation = begin();
    set_aside(HOUR);
    assert_ok(kt_rotation_abandon(rotation));
    ck_assert_str_eq(state(3), "-");
}
END_TEST

START_TEST(the_owner_comes_too_late)
{
    kt_rotation_t *late = begin(), *next;

    set_aside(HOUR);
    next = begin();
    assert_status(kt_rotation_note(late, "k", "v"), KT_CONFLICT);
    assert_ok(kt_rotation_finish(next, 0, NULL));
    assert_status(kt_rotation_finish(late, 0, NULL), KT_CONFLICT);
    ck_assert_str_eq(state(2), "abandoned");
    ck_assert_str_eq(state(3), "current");
}
END_TEST

START_TEST(notes_from_the_beginning)
{
    const kt_meta_t notes[] = {{"a", "1"}, {"b", "2"}};
    char value[8];
    kt_rotation_t *rotation;

    options.notes = notes;
    options.nnotes = 2;
    rotation = begin();
    assert_ok(kt_rotation_noted(rotation, 1, "b", value, sizeof(value)));
    ck_assert_str_eq(value, "2");
    kt_rotation_leave(rotation);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    tcase_add_test(tests, it_is_kept_and_blocks_nothing);
    tcase_add_test(tests, its_time_ends_with_the_next_change);
    tcase_add_test(tests, it_does_not_count_for_keep_versions);
    tcase_add_test(tests, no_more_than_so_many);
    tcase_add_test(tests, the_owner_goes_on);
    tcase_add_test(tests, the_owner_comes_too_late);
    tcase_add_test(tests, notes_from_the_beginning);
}

UNIT_MAIN("abandoned", add_tests)
