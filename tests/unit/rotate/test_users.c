/* SPDX-License-Identifier: BSD-2-Clause */
/* core/value/users.c, and the user of a new version: two accounts that take turns. */
#include "world.h"

#include <stdio.h>
#include <string.h>

static kt_request_t req;
static const kt_target_ops_t server = {sizeof(kt_target_ops_t), "postgresql:1", NULL, NULL};

static void make_world(void)
{
    world_of_local();
    req = request("database/a");
}

static kt_rotation_t *look(void)
{
    kt_rotation_t *rotation = NULL;

    assert_ok(kt_rotation_look(world.ctx, &req, 0, &rotation));
    return rotation;
}

/* Who is next, of the current value. */
static kt_status_t next(char name[64])
{
    kt_rotation_t *rotation = look();
    kt_secret_t *user = NULL;
    kt_status_t status = kt_rotation_next_user(rotation, &user);

    kt_rotation_leave(rotation);
    if (status == KT_SUCCESS)
        (void)snprintf(name, 64, "%.*s", (int)kt_secret_size(user),
                       (const char *)kt_secret_bytes(user));
    kt_secret_free(user);
    return status;
}

static kt_status_t rotate_to(const char *user)
{
    kt_rotate_options_t options = KT_ROTATE_INIT;
    kt_rotation_t *rotation = NULL;
    kt_status_t status;

    options.target = &server;
    options.user = user;
    status = kt_rotation_create(world.ctx, &req, &options, &rotation);
    return status == KT_SUCCESS ? kt_rotation_finish(rotation, 0, NULL) : status;
}

static void assert_field(const char *reference, const char *expected)
{
    kt_request_t read = request(reference);
    kt_secret_t *secret = NULL;

    assert_ok(kt_get(world.ctx, &read, &secret));
    ck_assert_uint_eq(kt_secret_size(secret), strlen(expected));
    ck_assert_mem_eq(kt_secret_bytes(secret), expected, strlen(expected));
    kt_secret_free(secret);
}

START_TEST(they_take_turns)
{
    char name[64] = "";

    put("database/a",
        "{\"host\":\"db\",\"users\":[\"app_a\",\"app_b\"],\"user\":\"app_a\",\"password\":\"one\"}",
        1);
    assert_ok(next(name));
    ck_assert_str_eq(name, "app_b");
    assert_ok(rotate_to(name));
    assert_field("database/a#user", "app_b");
    assert_field("database/a#host", "db");
    assert_field("database/a#user@previous", "app_a");
    assert_field("database/a#password@previous", "one");
    assert_ok(next(name));
    ck_assert_str_eq(name, "app_a");
    assert_ok(rotate_to(NULL)); /* as before: the one that has it */
    assert_field("database/a#user", "app_b");
}
END_TEST

START_TEST(the_field_may_be_username)
{
    char name[64] = "";

    put("database/a",
        "{\"username\":\"b\",\"password\":\"one\",\"users\":[\"a\",\"b\"],\"port\":5432}", 1);
    assert_ok(next(name));
    ck_assert_str_eq(name, "a");
    assert_ok(rotate_to(name));
    assert_field("database/a#username", "a");
}
END_TEST

static const struct {
    const char *users, *why;
} wrong[] = {
    {"\"a\"", "is not a list"},
    {"{\"a\":1}", "is not a list"},
    {"[]", "has 0 entries"},
    {"[\"a\"]", "has 1 entry,"},
    {"[\"a\",\"b\",\"c\"]", "has 3 entries"},
    {"[\"a\",\"a\"]", "the same name twice"},
    {"[\"a\",7]", "is not a name"},
    {"[\"a\",\"\"]", "is not a name"},
    {"[\"b\",\"c\"]", "not one of `users`"},
};

/* It would name the one user with the other one's password. */
START_TEST(a_uri_is_no_place_for_two)
{
    char name[64];

    put("database/a", "postgres://a:p@db/x", 1);
    ck_assert_int_eq(next(name), KT_MALFORMED);
    ck_assert_int_eq(rotate_to("b"), KT_MALFORMED);
    put("database/a",
        "{\"user\":\"a\",\"password\":\"p\",\"users\":[\"a\",\"b\"],\"url\":\"postgres://a:p@db/"
        "x\"}",
        2);
    ck_assert_int_eq(next(name), KT_CONFLICT);
    ck_assert_msg(strstr(kt_error(world.ctx), "a connection URI") != NULL, "%s",
                  kt_error(world.ctx));
}
END_TEST

START_TEST(a_wrong_list_is_said)
{
    char text[160], name[64];

    (void)snprintf(text, sizeof(text), "{\"user\":\"a\",\"password\":\"one\",\"users\":%s}",
                   wrong[_i].users);
    put("database/a", text, 1);
    ck_assert_int_eq(next(name), KT_CONFLICT);
    ck_assert_msg(strstr(kt_error(world.ctx), wrong[_i].why) != NULL, "%s", kt_error(world.ctx));
    ck_assert_msg(strstr(kt_error(world.ctx), "(set ") != NULL, "%s", kt_error(world.ctx));
}
END_TEST

START_TEST(others_have_none)
{
    kt_rotate_options_t options = KT_ROTATE_INIT;
    uint64_t version;
    char name[64];

    put("database/a", "just a text", 1);
    ck_assert_int_eq(next(name), KT_MALFORMED);
    options.user = "a";
    options.generate = 1;
    ck_assert_int_eq(kt_rotate(world.ctx, &req, &options, &version), KT_USAGE);
    put("database/a", "{\"user\":\"a\",\"password\":\"one\"}", 2);
    ck_assert_int_eq(next(name), KT_NOTFOUND);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    tcase_add_test(tests, they_take_turns);
    tcase_add_test(tests, the_field_may_be_username);
    UNIT_TABLE(tests, a_wrong_list_is_said, wrong);
    tcase_add_test(tests, a_uri_is_no_place_for_two);
    tcase_add_test(tests, others_have_none);
}

UNIT_MAIN("users", add_tests)
