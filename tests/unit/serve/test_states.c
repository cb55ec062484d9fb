/* SPDX-License-Identifier: BSD-2-Clause */
/* core/serve/states.c: the state of all accounts, in one line of the log. */
#include "world.h"

#define ACCOUNT "{\"user\":\"app\",\"password\":\"p1\"}"

static ktp_provider_t other; /* may be down */
static bool is_down;

static ktp_status_t begin(ktp_instance_t *instance, int writing, unsigned timeout,
                          ktp_txn_t **ret_txn)
{
    return is_down ? KTP_UNAVAIL : memory_provider.begin(instance, writing, timeout, ret_txn);
}

static void make_world(void)
{
    static const ktp_provider_t *const apis[] = {&other, &memory_provider};

    memory_reset();
    other = memory_provider;
    other.begin = begin;
    is_down = false;
    world_make("other: {}\n  memory: {}", "\"far/*\": other\n  \"*\": memory", NULL);
    world_open_with(apis, 2);
    assert_ok(kt_create(world.ctx));
    put("database/a", ACCOUNT, 1);
}

typedef struct seen {
    unsigned found, failed;
    char names[128], why[160];
    kt_info_t *last;
} seen_t;

static int note_found(void *arg, kt_info_t *info)
{
    seen_t *seen = arg;

    seen->found++;
    strcat(strcat(seen->names, kt_info_entry(info)->name), " ");
    kt_info_free(seen->last);
    seen->last = info;
    return 0;
}

static void note_failed(void *arg, const char *provider, kt_status_t status, const char *why)
{
    seen_t *seen = arg;

    seen->failed++;
    (void)snprintf(seen->why, sizeof(seen->why), "%s %s %d", provider, kt_status_name(status),
                   why[0] != '\0');
}

static seen_t seen;
static uint64_t hidden;

static kt_status_t states(const char *subject, const char *pattern, const kt_states_t *given)
{
    kt_states_t how = *given;
    kt_request_t req = request_by(subject, pattern);

    kt_info_free(seen.last);
    memset(&seen, 0, sizeof(seen));
    hidden = 0;
    how.found = note_found;
    how.failed = note_failed;
    how.arg = &seen;
    return kt_states(world.ctx, &req, &how, &hidden);
}

static void end_world(void)
{
    kt_info_free(seen.last);
    memset(&seen, 0, sizeof(seen));
    world_end();
}

static const kt_states_t by_state = KT_STATES_INIT;
static const kt_states_t by_rotate = {sizeof(kt_states_t), "rotate", NULL, 0, NULL, NULL, NULL};
static const kt_states_t with_values = {sizeof(kt_states_t), "rotate", NULL, 1, NULL, NULL, NULL};

START_TEST(one_line_and_only_accounts)
{
    put("database/b", "{\"username\":\"only\"}", 1);
    put("database/c", "no account", 1);
    put("api-keys/k", "{\"api_key\":\"k\"}", 1);
    assert_ok(states(MONITOR, "database/*", &by_state));
    ck_assert_uint_eq(seen.found, 2);
    ck_assert(strstr(seen.names, "database/a ") != NULL &&
              strstr(seen.names, "database/b ") != NULL);
    ck_assert_uint_eq(hidden, 0);
    ck_assert_uint_eq(world_lines("\"action\":\"state\"", NULL), 1);
    ck_assert_uint_eq(
        world_lines("\"action\":\"state\"", "\"reference\":\"database/*\"", "\"count\":2", NULL),
        1);
    ck_assert_uint_eq(world_lines("\"action\":\"info\"", NULL), 0);
}
END_TEST

START_TEST(what_the_policy_hides_is_counted)
{
    put("other/x", ACCOUNT, 1);
    put("other/key", "not an account", 1);
    assert_ok(states(MONITOR, NULL, &by_state));
    ck_assert_str_eq(seen.names, "database/a ");
    ck_assert_uint_eq(hidden, 1);
    assert_status(states(MONITOR, "other/*", &by_state), KT_DENIED);
    assert_status(states(MONITOR, "database/*", &by_rotate), KT_DENIED);
    ck_assert_uint_eq(world_lines("\"action\":\"state\"", "\"status\":\"denied\"", NULL), 2);
}
END_TEST

START_TEST(a_provider_that_is_down_hides_no_other)
{
    is_down = true;
    assert_ok(states(MONITOR, NULL, &by_state));
    ck_assert_uint_eq(seen.found, 1);
    ck_assert_uint_eq(seen.failed, 1);
    ck_assert_str_eq(seen.why, "other unavail 1");
    ck_assert_uint_eq(world_lines("\"action\":\"state\"", "\"provider\":\"other\"",
                                  "\"status\":\"unavail\"", NULL),
                      1);
}
END_TEST

START_TEST(only_of_a_target)
{
    kt_states_t mine = KT_STATES_INIT;
    kt_target_ops_t target = {sizeof(kt_target_ops_t), "postgresql:1", NULL, NULL};
    kt_rotate_options_t options = KT_ROTATE_INIT;
    kt_rotation_t *rotation = NULL;
    kt_request_t req = request("database/b");

    put("database/b", ACCOUNT, 1);
    options.target = &target;
    assert_ok(kt_rotation_create(world.ctx, &req, &options, &rotation));
    kt_rotation_leave(rotation);
    mine.target = "postgresql:1";
    assert_ok(states(MONITOR, "*", &mine));
    ck_assert_str_eq(seen.names, "database/b ");
    ck_assert_uint_eq(kt_info_pending(seen.last), 2);
    mine.target = "postgresql:2";
    assert_ok(states(MONITOR, "*", &mine));
    ck_assert_uint_eq(seen.found, 0);
}
END_TEST

START_TEST(values_are_compared_only_if_that_was_asked)
{
    kt_secret_t *value = NULL;

    assert_ok(states(MONITOR, "*", &by_state));
    assert_status(kt_states_value(world.ctx, seen.last, 1, "password", &value), KT_USAGE);
    ck_assert_ptr_null(value);
    assert_ok(states(ALL, "*", &with_values));
    assert_ok(kt_states_value(world.ctx, seen.last, 1, "password", &value));
    assert_secret(value, "p1");
    kt_secret_free(value);
    assert_status(kt_states_value(world.ctx, seen.last, 7, "password", &value), KT_NOTFOUND);
    ck_assert_uint_eq(world_lines("\"action\":\"read\"", NULL), 0);
}
END_TEST

static int interrupted(void *arg)
{
    return *(int *)arg;
}

START_TEST(an_interrupt_ends_it)
{
    static int now = 1;

    kt_interrupted(world.ctx, interrupted, &now);
    assert_status(states(MONITOR, "*", &by_state), KT_TRYAGAIN);
}
END_TEST

START_TEST(wrong_calls)
{
    kt_states_t wrong = {sizeof(kt_states_t), "read", NULL, 0, NULL, NULL, NULL};
    kt_states_t empty = KT_STATES_INIT;
    kt_request_t req = request("*");

    assert_status(states(ALL, "*", &wrong), KT_USAGE);
    wrong.capability = "nonsense";
    assert_status(states(ALL, "*", &wrong), KT_USAGE);
    assert_status(kt_states(world.ctx, &req, &empty, NULL), KT_USAGE);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, end_world);
    tcase_add_test(tests, one_line_and_only_accounts);
    tcase_add_test(tests, what_the_policy_hides_is_counted);
    tcase_add_test(tests, a_provider_that_is_down_hides_no_other);
    tcase_add_test(tests, only_of_a_target);
    tcase_add_test(tests, values_are_compared_only_if_that_was_asked);
    tcase_add_test(tests, an_interrupt_ends_it);
    tcase_add_test(tests, wrong_calls);
}

UNIT_MAIN("states", add_tests)
