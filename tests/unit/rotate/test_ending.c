/* SPDX-License-Identifier: BSD-2-Clause */
/* core/rotate/ending.c: several rotations that end together, in two halves. */
#include "world.h"

#include <stdio.h>

#define DATABASE "{\"host\": \"db\", \"user\": \"app\", \"password\": \"old\"}"
#define COUNT 5

static const char *const names[COUNT] = {"database/a", "database/b", "other/a", "database/c",
                                         "other/b"};
static const kt_target_ops_t ops = {sizeof(kt_target_ops_t), "test", NULL, NULL};
static kt_rotation_t *rotations[COUNT];
static kt_prepared_t *prepared;

static void begin_all(void)
{
    kt_rotate_options_t options = KT_ROTATE_INIT;
    size_t i;

    options.target = &ops;
    for (i = 0; i < COUNT; i++) {
        kt_request_t req = request(names[i]);

        req.timeout = 100;
        assert_ok(kt_rotation_begin(world.ctx, &req, &rotations[i]));
        ck_assert_uint_eq(kt_rotation_version(rotations[i]), 0);
        assert_ok(kt_rotation_add(rotations[i], &options));
    }
}

static void make_world(void)
{
    size_t i;

    world_of_local();
    for (i = 0; i < COUNT; i++)
        put(names[i], DATABASE, 1);
    prepared = NULL;
}

static void assert_versions(uint64_t version, uint64_t pending)
{
    size_t i;

    for (i = 0; i < COUNT; i++) {
        kt_request_t req = request(names[i]);
        kt_info_t *info = NULL;

        assert_ok(kt_info(world.ctx, &req, &info));
        ck_assert_uint_eq(kt_info_entry(info)->version, version);
        ck_assert_uint_eq(kt_info_pending(info), pending);
        kt_info_free(info);
    }
}

START_TEST(all_become_current_with_one_commit)
{
    kt_ctx_t *other = world_context();
    kt_request_t req = request("database/a");
    kt_secret_t *password = NULL;

    begin_all();
    assert_versions(1, 2);
    assert_ok(kt_rotations_prepare(rotations, COUNT, 0, &prepared));
    req.reference = "database/a#password";
    assert_ok(
        kt_get(other, &req, &password)); /* a reader is not in the way, and sees the old one */
    ck_assert_uint_eq(kt_secret_version(password), 1);
    kt_secret_free(password);
    assert_ok(kt_prepared_commit(prepared));
    assert_versions(2, 0);
    assert_ok(kt_get(other, &req, &password));
    ck_assert_uint_eq(kt_secret_version(password), 2);
    kt_secret_free(password);
    ck_assert_uint_eq(world_lines("rotate.finish", "intent", NULL), COUNT);
    ck_assert_uint_eq(world_lines("rotate.finish", "success", NULL), COUNT);
    kt_close(other);
}
END_TEST

START_TEST(nobody_else_writes_meanwhile)
{
    kt_ctx_t *other = world_context();
    kt_request_t req = request("database/z");
    kt_secret_t *value = secret_of("x");

    begin_all();
    assert_ok(kt_rotations_prepare(rotations, COUNT, 0, &prepared));
    req.timeout = 50;
    assert_status(kt_put(other, &req, value, NULL, NULL), KT_TRYAGAIN);
    assert_ok(kt_prepared_commit(prepared));
    assert_ok(kt_put(other, &req, value, NULL, NULL));
    kt_secret_free(value);
    kt_close(other);
}
END_TEST

START_TEST(given_up_in_time)
{
    begin_all();
    assert_ok(kt_rotations_prepare(rotations, COUNT, 0, &prepared));
    kt_prepared_cancel(prepared);
    assert_versions(1, 2);
    ck_assert_uint_eq(world_lines("rotate.finish", "conflict", NULL), COUNT);
    assert_ok(kt_rotations_prepare(rotations, COUNT, 0, &prepared));
    kt_prepared_cancel(prepared);
    assert_ok(kt_rotations_abandon(rotations, COUNT));
    assert_versions(1, 0);
    ck_assert_uint_eq(world_lines("rotate.abandon", "success", NULL), COUNT);
}
END_TEST

START_TEST(all_or_none)
{
    kt_request_t req = request("other/a");

    begin_all();
    assert_ok(kt_destroy(world.ctx, &req, 2));
    assert_status(kt_rotations_prepare(rotations, COUNT, 0, &prepared), KT_CONFLICT);
    assert_failure_has("no longer pending");
    ck_assert_ptr_null(prepared);
    assert_value("database/a#password", "old", 1);
    /* those that can be dropped are */
    assert_status(kt_rotations_abandon(rotations, COUNT), KT_CONFLICT);
    assert_versions(1, 0);
    assert_status(kt_rotations_prepare(rotations, 0, 0, &prepared), KT_USAGE);
}
END_TEST

START_TEST(a_locked_store_is_waited_for)
{
    kt_ctx_t *other = world_context();
    kt_request_t req = request("database/c");
    kt_rotate_options_t options = KT_ROTATE_INIT;
    kt_rotation_t *one = NULL;
    kt_prepared_t *theirs = NULL;

    begin_all();
    assert_ok(kt_rotations_abandon(&rotations[3], 1));
    options.target = &ops;
    assert_ok(kt_rotation_create(other, &req, &options, &one));
    assert_ok(kt_rotations_prepare(&one, 1, 0, &theirs));
    assert_status(kt_rotations_prepare(rotations, 3, 50, &prepared), KT_TRYAGAIN);
    kt_prepared_cancel(theirs);
    assert_ok(kt_rotations_prepare(rotations, 3, 50, &prepared));
    assert_ok(kt_prepared_commit(prepared));
    assert_value("database/a#password@previous", "old", 1);
    assert_ok(kt_rotation_abandon(one));
    kt_rotation_leave(rotations[4]);
    kt_close(other);
}
END_TEST

START_TEST(what_was_looked_at_must_still_be_there)
{
    kt_request_t req = request("database/a");
    kt_rotate_options_t options = KT_ROTATE_INIT;
    kt_rotation_t *one = NULL, *two = NULL;
    kt_secret_t *old = NULL;

    options.target = &ops;
    assert_ok(kt_rotation_begin(world.ctx, &req, &one));
    assert_ok(kt_rotation_old(one, "password", &old));
    ck_assert_uint_eq(kt_secret_size(old), 3);
    kt_secret_free(old);
    put("database/a", "{\"host\": \"db\", \"user\": \"other\", \"password\": \"new\"}", 2);
    assert_status(kt_rotation_add(one, &options), KT_CONFLICT);
    assert_failure_has("changed while");
    kt_rotation_leave(one);
    assert_ok(kt_rotation_begin(world.ctx, &req, &one));
    assert_ok(kt_rotation_add(one, &options));
    assert_status(kt_rotation_add(one, &options), KT_USAGE);
    assert_status(kt_rotation_begin(world.ctx, &req, &two), KT_CONFLICT);
    ck_assert_ptr_null(two);
    assert_ok(kt_rotation_abandon(one));
    req.subject = READER;
    assert_status(kt_rotation_begin(world.ctx, &req, &two), KT_DENIED);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    tcase_add_test(tests, all_become_current_with_one_commit);
    tcase_add_test(tests, nobody_else_writes_meanwhile);
    tcase_add_test(tests, given_up_in_time);
    tcase_add_test(tests, all_or_none);
    tcase_add_test(tests, a_locked_store_is_waited_for);
    tcase_add_test(tests, what_was_looked_at_must_still_be_there);
}

UNIT_MAIN("ending", add_tests)
