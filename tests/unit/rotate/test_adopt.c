/* SPDX-License-Identifier: BSD-2-Clause */
/* core/rotate/adopt.c: what a target has already. */
#include "world.h"

#include <stdio.h>
#include <string.h>

#define DATABASE "{\"host\": \"db\", \"user\": \"app\", \"password\": \"%s\", \"port\": 5432}"
#define HOUR 3600000

static kt_request_t req;
static const kt_target_ops_t server = {sizeof(kt_target_ops_t), "postgresql:1", NULL, NULL};
static const kt_meta_t notes[] = {{"postgresql.verifier", "SCRAM"}, {"postgresql.oid", "16384"}};

static void set(const char *password, uint64_t version)
{
    char text[160];

    (void)snprintf(text, sizeof(text), DATABASE, password);
    put("database/a", text, version);
}

static void make_world(void)
{
    world_of_local();
    req = request("database/a");
    set("one", 1);
    set("two", 2);
}

static kt_rotation_t *look(int repair)
{
    kt_rotation_t *rotation = NULL;

    assert_ok(kt_rotation_look(world.ctx, &req, repair, &rotation));
    return rotation;
}

static kt_status_t adopt(kt_rotation_t *rotation, uint64_t version)
{
    kt_adopt_t what = KT_ADOPT_INIT;

    what.version = version;
    what.target = server.name;
    what.notes = notes;
    what.nnotes = 2;
    what.keep = HOUR;
    return kt_rotation_adopt(rotation, &what);
}

static kt_info_t *info(void)
{
    kt_info_t *found = NULL;

    assert_ok(kt_info(world.ctx, &req, &found));
    return found;
}

static const char *state(uint64_t version)
{
    static char text[24];
    kt_info_t *found = info();

    (void)snprintf(text, sizeof(text), "-");
    for (size_t i = 0; i < kt_info_versions(found); i++) {
        if (kt_info_version(found, i)->version == version)
            (void)snprintf(text, sizeof(text), "%s", kt_info_version(found, i)->state);
    }
    kt_info_free(found);
    return text;
}

static kt_rotation_t *begin(void)
{
    kt_rotate_options_t options = KT_ROTATE_INIT;
    kt_rotation_t *rotation = NULL;

    options.target = &server;
    assert_ok(kt_rotation_create(world.ctx, &req, &options, &rotation));
    return rotation;
}

START_TEST(only_notes_are_added)
{
    kt_rotation_t *rotation = look(0);
    kt_info_t *found;

    ck_assert_uint_eq(kt_rotation_version(rotation), 2);
    assert_ok(adopt(rotation, 0));
    ck_assert_uint_eq(kt_rotation_version(rotation), 2);
    kt_rotation_leave(rotation);
    assert_value("database/a#password", "two", 2);
    found = info();
    ck_assert_uint_eq(kt_info_versions(found), 2);
    ck_assert_str_eq(kt_info_note(found, 2, "target"), server.name);
    ck_assert_str_eq(kt_info_note(found, 2, "postgresql.verifier"), "SCRAM");
    ck_assert_str_eq(kt_info_note(found, 2, "postgresql.oid"), "16384");
    kt_info_free(found);
    ck_assert_uint_eq(world_lines("rotate.adopt", "success", NULL), 1);
}
END_TEST

START_TEST(what_a_look_shows)
{
    kt_rotation_t *rotation = look(0);
    kt_info_t *found = NULL;
    kt_secret_t *value = NULL;

    assert_ok(kt_rotation_info(rotation, &found));
    ck_assert_uint_eq(kt_info_entry(found)->version, 2);
    ck_assert_str_eq(kt_info_usage(found)->name, "database/a");
    kt_info_free(found);
    assert_ok(kt_rotation_at(rotation, 1, "password", &value));
    ck_assert_uint_eq(kt_secret_size(value), 3);
    kt_secret_free(value);
    assert_status(kt_rotation_at(rotation, 7, "password", &value), KT_NOTFOUND);
    assert_status(adopt(rotation, 1), KT_USAGE);
    kt_rotation_leave(rotation);
    assert_value("database/a#password", "two", 2);
}
END_TEST

START_TEST(a_repair_goes_to_any_version)
{
    kt_rotation_t *rotation = look(1);

    assert_ok(adopt(rotation, 1));
    kt_rotation_leave(rotation);
    assert_value("database/a#password", "one", 1);
    ck_assert_str_eq(state(2), "previous");
    ck_assert_uint_eq(world_lines("rotate.repair", "success", NULL), 1);
    rotation = look(1);
    assert_status(adopt(rotation, 7), KT_NOTFOUND);
    kt_rotation_leave(rotation);
    assert_value("database/a#password", "one", 1);
}
END_TEST

START_TEST(an_abandoned_version_is_taken)
{
    kt_rotation_t *rotation = begin();

    kt_rotation_leave(rotation);
    assert_ok(kt_rotation_resume(world.ctx, &req, &rotation));
    assert_ok(kt_rotation_set_aside(rotation, HOUR));
    ck_assert_str_eq(state(3), "abandoned");
    rotation = look(1);
    assert_ok(adopt(rotation, 3));
    kt_rotation_leave(rotation);
    ck_assert_str_eq(state(3), "current");
}
END_TEST

/* Its value is kept. */
START_TEST(what_is_pending)
{
    kt_rotation_t *rotation;

    kt_rotation_leave(begin());
    rotation = look(0);
    assert_status(adopt(rotation, 0), KT_CONFLICT);
    kt_rotation_leave(rotation);
    ck_assert_str_eq(state(3), "pending");
    rotation = look(1);
    assert_ok(adopt(rotation, 0));
    kt_rotation_leave(rotation);
    ck_assert_str_eq(state(3), "abandoned");
    kt_rotation_leave(begin());
    rotation = look(1);
    assert_ok(adopt(rotation, 4));
    kt_rotation_leave(rotation);
    ck_assert_str_eq(state(4), "current");
}
END_TEST

START_TEST(changed_since_the_look)
{
    kt_rotation_t *rotation = look(1);

    set("three", 3);
    assert_status(adopt(rotation, 1), KT_CONFLICT);
    assert_failure_has("changed meanwhile");
    kt_rotation_leave(rotation);
    assert_value("database/a#password", "three", 3);
}
END_TEST

START_TEST(what_is_not_there)
{
    kt_rotation_t *rotation = NULL;

    assert_ok(kt_delete(world.ctx, &req));
    assert_status(kt_rotation_look(world.ctx, &req, 0, &rotation), KT_GONE);
    ck_assert_ptr_null(rotation);
    req = request("database/absent");
    assert_status(kt_rotation_look(world.ctx, &req, 1, &rotation), KT_NOTFOUND);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    tcase_add_test(tests, only_notes_are_added);
    tcase_add_test(tests, what_a_look_shows);
    tcase_add_test(tests, a_repair_goes_to_any_version);
    tcase_add_test(tests, an_abandoned_version_is_taken);
    tcase_add_test(tests, what_is_pending);
    tcase_add_test(tests, changed_since_the_look);
    tcase_add_test(tests, what_is_not_there);
}

UNIT_MAIN("adopt", add_tests)
