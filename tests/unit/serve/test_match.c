/* SPDX-License-Identifier: BSD-2-Clause */
/* core/serve/match.c: who knows a value, and what is recorded of it. */
#include "world.h"

#include <stdio.h>

#define HOUR INT64_C(3600000)

static int match_for(const kt_request_t *req, const char *given, int64_t grace)
{
    kt_match_t match = KT_MATCH_INIT;
    kt_status_t status;

    match.given = given;
    match.given_size = strlen(given);
    match.grace = grace;
    status = kt_match(world.ctx, req, &match);
    return status == KT_SUCCESS ? match.ret_matches : -(int)status;
}

static int matches(const char *name, const char *given, int64_t grace)
{
    kt_request_t req = request(name);

    return match_for(&req, given, grace);
}

START_TEST(the_current_version_matches)
{
    world_of_local();
    put("api-keys/a", "value", 1);
    ck_assert_int_eq(matches("api-keys/a", "value", 0), 1);
    ck_assert_int_eq(matches("api-keys/a", "values", 0), 0);
    ck_assert_int_eq(matches("api-keys/a", "valu", 0), 0);
    ck_assert_int_eq(matches("api-keys/a", "Value", 0), 0);
    ck_assert_int_eq(matches("api-keys/a", "", 0), 0);
    ck_assert_int_eq(matches("api-keys/b", "value", 0), 0);
    put("api-keys/c", "", 1);
    ck_assert_int_eq(matches("api-keys/c", "", 0), 0); /* an empty text proves nothing */
    ck_assert_uint_eq(
        world_lines("\"action\":\"match\"", "\"status\":\"success\"", "\"version\":1", NULL), 1);
    ck_assert_uint_eq(world_lines("\"action\":\"match\"", "\"status\":\"denied\"",
                                  "\"severity\":\"medium\"", NULL),
                      5);
    ck_assert_uint_eq(world_lines("\"action\":\"match\"", "\"status\":\"notfound\"", NULL), 1);
    ck_assert_uint_eq(world_lines("\"action\":\"read\"", NULL), 0);
}
END_TEST

/* As if the current version had been made `ago` ms before now. */
static void made(const char *reference, int64_t ago)
{
    kt_cached_t *cached = kt_cache_find(world.ctx->cache, reference);

    ck_assert_ptr_nonnull(cached);
    cached->secret->since = kt_now() - ago;
}

START_TEST(the_previous_version_matches_for_a_while)
{
    world_of_local();
    put("api-keys/a", "one", 1);
    put("api-keys/a", "two", 2);
    ck_assert_int_eq(matches("api-keys/a", "one", 0), 0);
    ck_assert_int_eq(matches("api-keys/a", "one", HOUR), 1);
    made("api-keys/a@previous", HOUR - 1000);
    ck_assert_int_eq(matches("api-keys/a", "one", HOUR), 1);
    made("api-keys/a@previous", HOUR);
    ck_assert_int_eq(matches("api-keys/a", "one", HOUR), 0);
    ck_assert_int_eq(matches("api-keys/a", "two", HOUR), 1);
    put("api-keys/a", "three", 3);
    ck_assert_int_eq(matches("api-keys/a", "one", HOUR), 0); /* the one before the previous */
    ck_assert_int_eq(matches("api-keys/a", "two", HOUR), 1);
    ck_assert_uint_eq(
        world_lines("\"action\":\"match\"", "\"status\":\"success\"", "\"version\":2", NULL), 2);
}
END_TEST

START_TEST(a_rotation_says_since_when)
{
    kt_rotate_options_t options = KT_ROTATE_INIT;
    kt_request_t req = request("api-keys/a");
    kt_secret_t *secret = NULL;
    uint64_t version;
    int64_t before;

    world_of_local();
    put("api-keys/a", "one", 1);
    before = kt_now();
    options.generate = 1;
    assert_ok(kt_rotate(world.ctx, &req, &options, &version));
    ck_assert_int_eq(matches("api-keys/a", "one", HOUR), 1);
    req.reference = "api-keys/a@previous";
    assert_ok(kt_get(world.ctx, &req, &secret));
    ck_assert_int_ge(secret->since, before);
    ck_assert_int_le(secret->since, kt_now());
    kt_secret_free(secret);
}
END_TEST

START_TEST(what_is_deleted_matches_no_more)
{
    kt_request_t req = request("api-keys/a");

    world_of_local();
    put("api-keys/a", "one", 1);
    put("api-keys/a", "two", 2);
    ck_assert_int_eq(matches("api-keys/a", "two", HOUR), 1);
    assert_ok(kt_delete(world.ctx, &req));
    ck_assert_int_eq(matches("api-keys/a", "two", HOUR), 0);
    ck_assert_int_eq(matches("api-keys/a", "one", HOUR), 0);
    ck_assert_uint_eq(world_lines("\"action\":\"match\"", "\"status\":\"gone\"", NULL), 2);
}
END_TEST

START_TEST(a_field_matches)
{
    world_of_local();
    put("api-keys/a", "{\"key\":\"one\"}", 1);
    put("api-keys/a", "{\"key\":\"two\"}", 2);
    ck_assert_int_eq(matches("api-keys/a#key", "two", 0), 1);
    ck_assert_int_eq(matches("api-keys/a#key", "one", HOUR), 1);
    ck_assert_int_eq(matches("api-keys/a#other", "one", HOUR), 0);
}
END_TEST

START_TEST(a_failure_locks_nobody_out)
{
    kt_request_t req = request_by(READER, "database/a");

    world_of_local();
    put("api-keys/a", "value", 1);
    for (int i = 0; i < 30; i++) {
        ck_assert_int_eq(matches("api-keys/a", "wrong", HOUR), 0);
        ck_assert_int_eq(match_for(&req, "wrong", HOUR), -KT_DENIED);
    }
    ck_assert_uint_eq(kt_locked_out(world.ctx), 0);
    ck_assert_uint_eq(world_lines("\"action\":\"match\"", "\"status\":\"denied\"", NULL), 60);
    ck_assert_uint_eq(world_lines("\"action\":\"alert\"", NULL), 0);
    ck_assert_uint_eq(world_lines("\"configured\"", NULL), 0);
    req.configured = 1;
    ck_assert_int_eq(match_for(&req, "wrong", HOUR), -KT_DENIED);
    ck_assert_uint_eq(world_lines("\"configured\":true", NULL), 1);
}
END_TEST

START_TEST(what_is_not_a_name_matches_nothing)
{
    kt_request_t req = request("clients/..");

    world_of_local();
    ck_assert_int_eq(match_for(&req, "x", HOUR), 0);
    ck_assert_uint_eq(world_lines("\"action\":\"match\"", "\"status\":\"usage\"", NULL), 1);
    req.configured = 1;
    ck_assert_int_eq(match_for(&req, "x", HOUR), -KT_USAGE);
    ck_assert_int_eq(matches("api-keys/a@1", "x", HOUR), -KT_USAGE);
}
END_TEST

START_TEST(what_cannot_be_recorded_is_not_known)
{
    world_of_local();
    put("api-keys/a", "value", 1);
    ck_assert_int_eq(matches("api-keys/a", "value", 0), 1);
    world_close_log();
    ck_assert_int_eq(matches("api-keys/a", "wrong", 0), 0); /* it is recorded, but not yet a line */
    assert_status(kt_audit_flush(world.ctx, 0), KT_AUDIT);
    ck_assert_int_eq(matches("api-keys/a", "wrong", 0), -KT_AUDIT);
    ck_assert_int_eq(matches("api-keys/a", "value", 0), -KT_AUDIT);
    world_open_log();
}
END_TEST

/* ---- over a network ---- */

static void make_remote(void)
{
    static const ktp_provider_t *const apis[] = {&remote_provider};

    memset(plain, 0, sizeof(plain));
    plain[1].value = "value";
    plain[1].version = 7;
    world_make("remote: {}", "\"*\": remote", "cache: {ttl: 30s, negative: 10s, stale: 50s}\n");
    world_open_with(apis, 1);
}

START_TEST(a_network_is_not_waited_for)
{
    kt_request_t req = request("api-keys/a"), before = request("api-keys/a@previous");
    kt_match_t match = KT_MATCH_INIT;

    make_remote();
    match.given = "wrong";
    match.given_size = 5;
    match.grace = HOUR;
    assert_status(kt_match(world.ctx, &req, &match), KT_TRYAGAIN);
    ck_assert_int_eq(match.ret_previous, 0);
    ck_assert_uint_eq(plain[1].gets, 0);
    assert_ok(kt_refresh(world.ctx, &req));
    assert_status(kt_match(world.ctx, &req, &match), KT_TRYAGAIN);
    ck_assert_int_eq(match.ret_previous, 1);
    ck_assert_uint_eq(world_lines("\"action\":\"match\"", NULL), 0);
    assert_status(kt_refresh(world.ctx, &before), KT_NOTFOUND);
    ck_assert_int_eq(match_for(&req, "wrong", HOUR), 0);
    ck_assert_int_eq(match_for(&req, "value", HOUR), 1);
    ck_assert_uint_eq(world_lines("\"action\":\"match\"", NULL), 2);
}
END_TEST

START_TEST(who_cannot_be_asked_is_not_known)
{
    kt_request_t req = request("api-keys/a");

    make_remote();
    plain[1].status = KTP_UNAVAIL;
    assert_status(kt_refresh(world.ctx, &req), KT_UNAVAIL);
    ck_assert_int_eq(match_for(&req, "value", HOUR), -KT_UNAVAIL);
    ck_assert_uint_eq(world_lines("\"action\":\"match\"", "\"status\":\"unavail\"", NULL), 1);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, NULL, world_end);
    tcase_add_test(tests, the_current_version_matches);
    tcase_add_test(tests, the_previous_version_matches_for_a_while);
    tcase_add_test(tests, a_rotation_says_since_when);
    tcase_add_test(tests, what_is_deleted_matches_no_more);
    tcase_add_test(tests, a_field_matches);
    tcase_add_test(tests, a_failure_locks_nobody_out);
    tcase_add_test(tests, what_is_not_a_name_matches_nothing);
    tcase_add_test(tests, what_cannot_be_recorded_is_not_known);
    tcase_add_test(tests, a_network_is_not_waited_for);
    tcase_add_test(tests, who_cannot_be_asked_is_not_known);
}

UNIT_MAIN("match", add_tests)
