/* SPDX-License-Identifier: BSD-2-Clause */
/* core/serve/write.c: put, rollback, delete, undelete, destroy; intent and outcome. */
#include "world.h"

#include <unistd.h>

static kt_put_options_t options;

static void make_world(void)
{
    world_of_memory("cache: {ttl: 60s, negative: 60s}\n");
    options = (kt_put_options_t)KT_PUT_INIT;
}

static kt_status_t put_with(const char *subject, const char *name, const char *text,
                            uint64_t *ret_version)
{
    kt_request_t req = request_by(subject, name);
    kt_secret_t *value = secret_of(text);
    kt_status_t status = kt_put(world.ctx, &req, value, &options, ret_version);

    kt_secret_free(value);
    return status;
}

static kt_status_t get(const char *reference)
{
    kt_request_t req = request(reference);
    kt_secret_t *secret = NULL;
    kt_status_t status = kt_get(world.ctx, &req, &secret);

    kt_secret_free(secret);
    return status;
}

START_TEST(a_write_is_seen_by_the_next_read)
{
    assert_status(get("api-keys/a"), KT_NOTFOUND);
    put("api-keys/a", "one", 1);
    assert_value("api-keys/a", "one", 1);
    put("api-keys/a", "two", 2);
    assert_value("api-keys/a", "two", 2);
    assert_value("api-keys/a@previous", "one", 1);
}
END_TEST

START_TEST(another_process_write_is_seen_by_the_next_read)
{
    kt_ctx_t *other = world_context();
    kt_request_t req = request("api-keys/a");
    kt_secret_t *value = secret_of("theirs");

    put("api-keys/a", "one", 1);
    assert_value("api-keys/a", "one", 1);
    assert_ok(kt_put(other, &req, value, NULL, NULL));
    assert_value("api-keys/a", "theirs", 2);
    assert_ok(kt_delete(other, &req));
    assert_status(get("api-keys/a"), KT_GONE);
    kt_secret_free(value);
    kt_close(other);
}
END_TEST

START_TEST(intent_and_outcome_are_recorded)
{
    put("api-keys/a", "CANARY", 1);
    ck_assert_uint_eq(
        world_lines("\"write\"", "\"version\":1", "\"provider\":\"memory\"", "\"intent\"", NULL),
        1);
    ck_assert_uint_eq(
        world_lines("\"write\"", "\"version\":1", "\"provider\":\"memory\"", "\"success\"", NULL),
        1);
    ck_assert_uint_eq(world_lines("CANARY", NULL), 0);
}
END_TEST

START_TEST(what_cannot_be_recorded_is_not_written)
{
    put("api-keys/a", "one", 1);
    world_close_log();
    assert_status(put_with(ALL, "api-keys/a", "two", NULL), KT_AUDIT);
    ck_assert_uint_eq(memory.commits, 2); /* the store, and the one write */
    ck_assert_uint_eq(memory.open_txns, 0);
}
END_TEST

START_TEST(an_outcome_that_cannot_be_recorded_says_what_is_true)
{
    uint64_t version = 0;

    put("api-keys/a", "one", 1);
    memory.committing = world_close_log;
    assert_status(put_with(ALL, "api-keys/a", "two", &version), KT_AUDIT);
    assert_failure_has("the change is made");
    ck_assert_uint_eq(version, 0);
    ck_assert_uint_eq(memory.commits, 3);
}
END_TEST

START_TEST(refusals_are_recorded)
{
    assert_status(put_with(READER, "api-keys/a", "x", NULL), KT_DENIED);
    assert_status(put_with(NULL, "api-keys/a", "x", NULL), KT_DENIED);
    ck_assert_uint_eq(world_lines("\"write\"", "\"denied\"", NULL), 2);
    ck_assert_uint_eq(memory.begins, 1);
    options.cas = 4;
    assert_status(put_with(ALL, "api-keys/a", "x", NULL), KT_CONFLICT);
    ck_assert_uint_eq(world_lines("\"write\"", "\"conflict\"", NULL), 1);
}
END_TEST

START_TEST(only_a_name_is_written)
{
    assert_status(put_with(ALL, "api-keys/a#f", "x", NULL), KT_USAGE);
    assert_status(put_with(ALL, "api-keys/a@1", "x", NULL), KT_USAGE);
    assert_status(put_with(ALL, "api-keys/a@previous", "x", NULL), KT_USAGE);
    assert_status(put_with(ALL, "../a", "x", NULL), KT_USAGE);
    options.size = 3;
    assert_status(put_with(ALL, "api-keys/a", "x", NULL), KT_USAGE);
    ck_assert_uint_eq(memory.commits, 1);
}
END_TEST

START_TEST(sizes)
{
    kt_request_t req = request("api-keys/a");
    kt_secret_t *value = kt_secret_new(NULL, KT_VALUE_MAX), *empty = kt_secret_new("", 0),
                *secret = NULL;

    assert_ok(kt_put(world.ctx, &req, value, NULL, NULL));
    assert_ok(kt_get(world.ctx, &req, &secret));
    ck_assert_uint_eq(kt_secret_size(secret), KT_VALUE_MAX);
    kt_secret_free(secret);
    value->size = KT_VALUE_MAX + 1; /* what no caller can make by the API */
    assert_status(kt_put(world.ctx, &req, value, NULL, NULL), KT_TOOLARGE);
    value->size = KT_VALUE_MAX;
    assert_ok(kt_put(world.ctx, &req, empty, NULL, NULL));
    assert_value("api-keys/a", "", 2);
    kt_secret_free(value);
    kt_secret_free(empty);
}
END_TEST

START_TEST(compare_and_set)
{
    uint64_t version;

    options.cas = 1;
    assert_status(put_with(ALL, "api-keys/a", "x", &version), KT_CONFLICT);
    options.cas = 0;
    assert_ok(put_with(ALL, "api-keys/a", "x", &version));
    assert_status(put_with(ALL, "api-keys/a", "x", &version), KT_CONFLICT);
    options.cas = 1;
    assert_ok(put_with(ALL, "api-keys/a", "y", &version));
    ck_assert_uint_eq(version, 2);
}
END_TEST

START_TEST(metadata_and_expiry)
{
    kt_meta_t meta[] = {{"owner", "payments"}, {"tier", "1"}},
              drop[] = {{"tier", NULL}, {"owner", "billing"}}, bad[] = {{"", "x"}};
    kt_request_t req = request("api-keys/a");
    const char *key, *value;
    kt_info_t *info;

    options.meta = meta;
    options.nmeta = 2;
    options.expires = kt_now() + 3600000;
    assert_ok(put_with(ALL, "api-keys/a", "x", NULL));
    options.meta = bad;
    options.nmeta = 1;
    assert_status(put_with(ALL, "api-keys/a", "y", NULL), KT_USAGE);
    assert_value("api-keys/a", "x", 1);
    options.meta = drop;
    options.nmeta = 2;
    options.expires = kt_now() - 1;
    assert_ok(put_with(ALL, "api-keys/a", "y", NULL));
    assert_status(get("api-keys/a"), KT_GONE);
    assert_failure_has("expired");
    assert_ok(kt_info(world.ctx, &req, &info));
    ck_assert_str_eq(kt_info_entry(info)->state, "expired");
    ck_assert_uint_eq(kt_info_metas(info), 2);
    kt_info_meta(info, 0, &key, &value);
    ck_assert_str_eq(key, "owner");
    ck_assert_str_eq(value, "billing");
    kt_info_meta(info, 1, &key, &value);
    ck_assert_str_eq(key, "origin");
    ck_assert_str_eq(value, "issued");
    kt_info_meta(info, 2, &key, &value);
    ck_assert_ptr_null(key);
    kt_info_free(info);
    put("api-keys/a", "z", 3); /* a plain write has no expiry */
    assert_value("api-keys/a", "z", 3);
}
END_TEST

START_TEST(one_field_is_replaced)
{
    options.field = "password";
    assert_ok(put_with(ALL, "database/a", "p1", NULL));
    assert_value("database/a#password", "p1", 1);
    options.field = "user";
    assert_ok(put_with(ALL, "database/a", "app", NULL));
    assert_value("database/a#password", "p1", 2);
    assert_value("database/a#user", "app", 2);
    options.field = NULL;
    assert_ok(put_with(ALL, "database/b", "CANARY no object", NULL));
    options.field = "user";
    assert_status(put_with(ALL, "database/b", "app", NULL), KT_CONFLICT);
    ck_assert_ptr_null(strstr(kt_error(world.ctx), "CANARY"));
}
END_TEST

START_TEST(rollback_changes_places)
{
    kt_request_t req = request("api-keys/a"), by = request_by(READER, "api-keys/a");
    uint64_t version = 0;

    assert_status(kt_rollback(world.ctx, &req, 0, NULL), KT_NOTFOUND);
    put("api-keys/a", "one", 1);
    assert_status(kt_rollback(world.ctx, &req, 0, NULL), KT_NOTFOUND);
    put("api-keys/a", "two", 2);
    put("api-keys/a", "three", 3);
    assert_value("api-keys/a", "three", 3);
    assert_ok(kt_rollback(world.ctx, &req, 0, &version));
    ck_assert_uint_eq(version, 2);
    assert_value("api-keys/a", "two", 2);
    assert_value("api-keys/a@previous", "three", 3);
    assert_ok(kt_rollback(world.ctx, &req, 1, NULL));
    assert_value("api-keys/a", "one", 1);
    assert_value("api-keys/a@2", "two", 2);
    put("api-keys/a", "four", 4); /* numbers are not used again */
    assert_status(kt_rollback(world.ctx, &req, 9, NULL), KT_NOTFOUND);
    assert_status(kt_rollback(world.ctx, &by, 1, NULL), KT_DENIED);
    ck_assert_uint_eq(world_lines("\"rollback\"", "\"intent\"", NULL), 2);
}
END_TEST

START_TEST(deleted_and_back)
{
    kt_request_t req = request("api-keys/a");
    kt_info_t *info;
    unsigned commits;

    assert_status(kt_delete(world.ctx, &req), KT_NOTFOUND);
    put("api-keys/a", "one", 1);
    assert_value("api-keys/a", "one", 1);
    assert_ok(kt_delete(world.ctx, &req));
    assert_status(get("api-keys/a"), KT_GONE);
    assert_status(get("api-keys/a@1"), KT_GONE);
    commits = memory.commits;
    assert_ok(kt_delete(world.ctx, &req)); /* it is so already */
    ck_assert_uint_eq(memory.commits, commits);
    ck_assert_uint_eq(world_lines("\"delete\"", "\"success\"", NULL), 2);
    assert_status(kt_rollback(world.ctx, &req, 1, NULL), KT_GONE);
    assert_ok(kt_info(world.ctx, &req, &info));
    ck_assert_str_eq(kt_info_entry(info)->state, "deleted");
    kt_info_free(info);
    assert_ok(kt_undelete(world.ctx, &req));
    assert_value("api-keys/a", "one", 1);
    assert_ok(kt_undelete(world.ctx, &req));
    assert_value("api-keys/a", "one", 1);
    assert_ok(kt_delete(world.ctx, &req));
    options.cas = 0; /* a deleted one counts as none */
    assert_ok(put_with(ALL, "api-keys/a", "two", NULL));
    assert_value("api-keys/a", "two", 2);
}
END_TEST

START_TEST(destroyed_for_good)
{
    kt_request_t req = request("api-keys/a");

    put("api-keys/a", "one", 1);
    put("api-keys/a", "two", 2);
    put("api-keys/a", "three", 3);
    assert_status(kt_destroy(world.ctx, &req, 9), KT_NOTFOUND);
    assert_ok(kt_destroy(world.ctx, &req, 1));
    assert_ok(kt_destroy(world.ctx, &req, 1));
    assert_status(get("api-keys/a@1"), KT_GONE);
    assert_status(kt_rollback(world.ctx, &req, 1, NULL), KT_GONE);
    assert_value("api-keys/a", "three", 3);
    ck_assert_uint_eq(memory_count(KTP_VALUE), 1);
    assert_status(kt_destroy(world.ctx, &req, 3), KT_CONFLICT);
    assert_failure_has("current");
    assert_value("api-keys/a", "three", 3);
    assert_ok(kt_rollback(world.ctx, &req, 2, NULL));
    assert_ok(kt_destroy(world.ctx, &req, 3));
    assert_value("api-keys/a", "two", 2);
    assert_ok(kt_destroy(world.ctx, &req, 0));
    ck_assert_uint_eq(memory_count(KTP_VALUE), 0);
    assert_status(get("api-keys/a@2"), KT_GONE);
    assert_status(kt_undelete(world.ctx, &req), KT_GONE);
    put("api-keys/a", "four", 4);
    assert_value("api-keys/a", "four", 4);
    for (unsigned i = 5; i < 20; i++)
        put("api-keys/a", "more", i); /* entries of destroyed versions are pruned like the others */
}
END_TEST

START_TEST(each_operation_needs_its_capability)
{
    kt_request_t req = request_by(READER, "api-keys/a");

    put("api-keys/a", "one", 1);
    assert_status(kt_delete(world.ctx, &req), KT_DENIED);
    assert_status(kt_undelete(world.ctx, &req), KT_DENIED);
    assert_status(kt_destroy(world.ctx, &req, 0), KT_DENIED);
    assert_status(kt_rollback(world.ctx, &req, 0, NULL), KT_DENIED);
    assert_status(kt_rotate(world.ctx, &req, NULL, NULL), KT_DENIED);
    ck_assert_uint_eq(world_lines("\"denied\"", READER, NULL), 5);
    assert_value("api-keys/a", "one", 1);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    tcase_add_test(tests, a_write_is_seen_by_the_next_read);
    tcase_add_test(tests, another_process_write_is_seen_by_the_next_read);
    tcase_add_test(tests, intent_and_outcome_are_recorded);
    tcase_add_test(tests, what_cannot_be_recorded_is_not_written);
    tcase_add_test(tests, an_outcome_that_cannot_be_recorded_says_what_is_true);
    tcase_add_test(tests, refusals_are_recorded);
    tcase_add_test(tests, only_a_name_is_written);
    tcase_add_test(tests, sizes);
    tcase_add_test(tests, compare_and_set);
    tcase_add_test(tests, metadata_and_expiry);
    tcase_add_test(tests, one_field_is_replaced);
    tcase_add_test(tests, rollback_changes_places);
    tcase_add_test(tests, deleted_and_back);
    tcase_add_test(tests, destroyed_for_good);
    tcase_add_test(tests, each_operation_needs_its_capability);
}

UNIT_MAIN("write", add_tests)
