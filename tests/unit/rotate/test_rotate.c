/* SPDX-License-Identifier: BSD-2-Clause */
/* core/rotate/steps.c: create, set, test, finish, and what is left when it ends in between. */
#include "world.h"

#include <stdio.h>
#include <unistd.h>

#define DATABASE "{\"host\": \"db\", \"user\": \"app\", \"password\": \"old\", \"port\": 5432}"

static kt_request_t req;
static kt_rotate_options_t options;

/* A target that does what the test says. */
static struct {
    kt_status_t set, test, first_test;
    unsigned sets, tests;
    char password[64];
    kt_status_t inside; /* of a call on the same context: no lock may be held */
    bool again;         /* rotate once more from inside, as somebody else at the same time */
    kt_status_t second;
} target;

static kt_status_t target_set(void *arg, kt_rotation_t *rotation)
{
    kt_secret_t *password = NULL, *other = NULL;
    kt_request_t read = request("api-keys/other");

    (void)arg;
    target.sets++;
    if (kt_rotation_value(rotation, "password", &password) != KT_SUCCESS)
        return KT_UNAVAIL;
    (void)snprintf(target.password, sizeof(target.password), "%.*s", (int)kt_secret_size(password),
                   (const char *)kt_secret_bytes(password));
    kt_secret_free(password);
    target.inside = kt_get(world.ctx, &read, &other);
    if (target.again) {
        target.again = false;
        target.second = kt_rotate(world.ctx, &req, &options, NULL);
    }
    kt_secret_free(other);
    if (target.set != KT_SUCCESS)
        (void)kt_fail(target.set, "the target says no");
    return target.set;
}

static kt_status_t target_test(void *arg, kt_rotation_t *rotation)
{
    kt_status_t first = target.first_test;

    (void)arg, (void)rotation;
    target.tests++;
    target.first_test = KT_SUCCESS;
    return first != KT_SUCCESS ? first : target.test;
}

static const kt_target_ops_t ops = {sizeof(kt_target_ops_t), "exec:test", target_set, target_test};

static const kt_target_ops_t other_ops = {sizeof(kt_target_ops_t), "exec2:test", target_set,
                                          target_test};
static const kt_target_ops_t untested_ops = {sizeof(kt_target_ops_t), "exec:test", target_set,
                                             NULL};

static void make_world(void)
{
    world_of_memory("cache: {ttl: 60s}\n");
    memset(&target, 0, sizeof(target));
    options = (kt_rotate_options_t)KT_ROTATE_INIT;
    req = request("database/a");
    put("database/a", DATABASE, 1);
    put("api-keys/other", "x", 1);
}

static kt_status_t get(const char *reference)
{
    kt_request_t r = request(reference);
    kt_secret_t *secret = NULL;
    kt_status_t status = kt_get(world.ctx, &r, &secret);

    kt_secret_free(secret);
    return status;
}

START_TEST(an_opaque_value_is_replaced)
{
    kt_request_t r = request("api-keys/other");
    kt_secret_t *secret = NULL;
    uint64_t version = 0;

    options.generate = 1;
    assert_ok(kt_rotate(world.ctx, &r, &options, &version));
    ck_assert_uint_eq(version, 2);
    assert_ok(kt_get(world.ctx, &r, &secret));
    ck_assert_uint_eq(kt_secret_size(secret), 32);
    kt_secret_free(secret);
    assert_value("api-keys/other@previous", "x", 1);
    options = (kt_rotate_options_t)KT_ROTATE_INIT; /* from now on it is one that we made */
    options.length = 48;
    options.alphabet = KT_ALPHABET_HEX;
    assert_ok(kt_rotate(world.ctx, &r, &options, NULL));
    assert_ok(kt_get(world.ctx, &r, &secret));
    ck_assert_uint_eq(kt_secret_size(secret), 48);
    ck_assert_uint_eq(strspn((const char *)kt_secret_bytes(secret), "0123456789abcdef") >= 48, 1);
    kt_secret_free(secret);
    options.length = 5;
    assert_status(kt_rotate(world.ctx, &r, &options, NULL), KT_USAGE);
    options.size = 1;
    assert_status(kt_rotate(world.ctx, &r, &options, NULL), KT_USAGE);
    ck_assert_uint_eq(world_lines("\"rotate\"", "intent", NULL), 2);
}
END_TEST

START_TEST(a_given_value_and_an_api_key)
{
    kt_request_t r = request("api-keys/k");
    kt_secret_t *value = secret_of("new-key-new-key-new");

    put("api-keys/k", "{\"api_key\": \"old-key\", \"note\": 1}", 1);
    options.value = value;
    assert_ok(kt_rotate(world.ctx, &r, &options, NULL));
    assert_value("api-keys/k#api_key", "new-key-new-key-new", 2);
    assert_value("api-keys/k#previous_key", "old-key", 2);
    assert_value("api-keys/k#note", "1", 2);
    kt_secret_free(value);
}
END_TEST

START_TEST(a_database_wants_a_target)
{
    assert_status(kt_rotate(world.ctx, &req, NULL, NULL), KT_CONFLICT);
    assert_failure_has("--store-only");
    assert_value("database/a#password", "old", 1);
    options.store_only = 1;
    assert_ok(kt_rotate(world.ctx, &req, &options, NULL));
    ck_assert_int_eq(get("database/a#password"), KT_SUCCESS);
    assert_value("database/a#port", "5432", 2);
}
END_TEST

START_TEST(the_target_knows_it_before_anybody_reads_it)
{
    uint64_t version = 0;

    options.target = &ops;
    assert_ok(kt_rotate(world.ctx, &req, &options, &version));
    ck_assert_uint_eq(version, 2);
    ck_assert(target.sets == 1 && target.tests == 1);
    assert_value("database/a#password", target.password, 2);
    ck_assert_str_ne(target.password, "old");
    assert_ok(target.inside);
    ck_assert_uint_eq(world_lines("rotate.create", "success", NULL), 1);
    ck_assert_uint_eq(world_lines("rotate.finish", "success", NULL), 1);
    ck_assert_uint_eq(world_lines(target.password, NULL), 0);
}
END_TEST

START_TEST(a_target_that_rejects_leaves_nothing)
{
    options.target = &ops;
    target.set = KT_CONFLICT;
    assert_status(kt_rotate(world.ctx, &req, &options, NULL), KT_CONFLICT);
    assert_failure_has("the target says no");
    assert_value("database/a#password", "old", 1);
    assert_status(get("database/a@pending"), KT_NOTFOUND);
    assert_status(get("database/a@2"), KT_NOTFOUND);
    ck_assert_uint_eq(world_lines("rotate.abandon", "success", NULL), 1);
    target.set = KT_SUCCESS;
    target.test = KT_CONFLICT;
    assert_status(kt_rotate(world.ctx, &req, &options, NULL), KT_CONFLICT);
    assert_value("database/a#password", "old", 1);
    target.test = KT_SUCCESS;
    assert_ok(kt_rotate(world.ctx, &req, &options, NULL));
    assert_value("database/a#password", target.password, 4); /* 2 and 3 are gone for good */
}
END_TEST

START_TEST(a_target_that_nobody_heard_from_leaves_it_pending)
{
    kt_secret_t *value = secret_of("x");
    kt_rotation_t *rotation = NULL;
    uint64_t version = 0;

    options.target = &ops;
    target.set = KT_UNAVAIL;
    assert_status(kt_rotate(world.ctx, &req, &options, NULL), KT_UNAVAIL);
    assert_failure_has("the target says no");
    assert_value("database/a#password", "old", 1);
    assert_value("database/a#password@pending", target.password, 2);
    /* only a rotation with this target may decide about it */
    assert_status(kt_rotate(world.ctx, &req, NULL, NULL), KT_CONFLICT);
    options.target = &other_ops;
    assert_status(kt_rotate(world.ctx, &req, &options, NULL), KT_CONFLICT);
    assert_status(kt_put(world.ctx, &req, value, NULL, NULL), KT_CONFLICT);
    assert_status(kt_rollback(world.ctx, &req, 0, NULL), KT_CONFLICT);
    assert_status(kt_delete(world.ctx, &req), KT_CONFLICT);
    assert_failure_has("destroy database/a 2");
    assert_ok(kt_rotation_resume(world.ctx, &req, &rotation));
    ck_assert_uint_eq(kt_rotation_version(rotation), 2);
    assert_ok(kt_rotation_finish(rotation, 0, &version));
    ck_assert_uint_eq(version, 2);
    assert_value("database/a#password", target.password, 2);
    assert_status(kt_rotation_resume(world.ctx, &req, &rotation), KT_NOTFOUND);
    ck_assert_ptr_null(rotation);
    kt_secret_free(value);
}
END_TEST

/* 0: it is asked and has the value; 1: it does not have it, and gets it; 2: it cannot be asked, and
 * gets it again; 3: it is still not known */
START_TEST(the_next_rotation_takes_up_an_unfinished_one)
{
    char first[64];
    kt_info_t *info = NULL;
    uint64_t version = 0;

    options.target = &ops;
    target.set = KT_UNAVAIL;
    assert_status(kt_rotate(world.ctx, &req, &options, NULL), KT_UNAVAIL);
    ck_assert_uint_eq(world_lines("rotate.set", "unavail", NULL), 1);
    memcpy(first, target.password, sizeof(first));
    target.set = KT_SUCCESS;
    target.sets = target.tests = 0;
    if (_i == 1)
        target.first_test = KT_CONFLICT;
    if (_i == 2)
        options.target = &untested_ops;
    if (_i == 3)
        target.test = KT_TRYAGAIN;
    assert_status(kt_rotate(world.ctx, &req, &options, &version),
                  _i == 3 ? KT_TRYAGAIN : KT_SUCCESS);
    ck_assert_uint_eq(target.sets, _i == 1 || _i == 2);
    ck_assert_uint_eq(target.tests, _i == 2 ? 0 : _i == 1 ? 2 : 1);
    ck_assert_uint_eq(world_lines("rotate.resume", "success", NULL), 1);
    if (_i == 3) {
        assert_value("database/a#password@pending", first, 2);
        return;
    }
    ck_assert_uint_eq(version, 2);
    assert_value("database/a#password", first, 2);
    assert_ok(kt_info(world.ctx, &req, &info));
    ck_assert_ptr_null(kt_info_note(info, 2, KT_NOTE_LEASE));
    ck_assert(kt_info_rotated(info) > kt_now() - 60000);
    kt_info_free(info);
}
END_TEST

START_TEST(a_value_that_was_brought_follows_the_unfinished_one)
{
    kt_secret_t *value = secret_of("brought-by-the-caller");
    char first[64];

    options.target = &ops;
    target.set = KT_UNAVAIL;
    assert_status(kt_rotate(world.ctx, &req, &options, NULL), KT_UNAVAIL);
    memcpy(first, target.password, sizeof(first));
    target.set = KT_SUCCESS;
    options.value = value;
    assert_ok(kt_rotate(world.ctx, &req, &options, NULL));
    assert_value("database/a#password", "brought-by-the-caller", 3);
    assert_value("database/a#password@previous", first, 2);
    ck_assert_str_eq(target.password, "brought-by-the-caller");
    kt_secret_free(value);
}
END_TEST

START_TEST(two_at_once_are_one_winner_and_a_conflict)
{
    options.target = &ops;
    target.again = true;
    assert_ok(kt_rotate(world.ctx, &req, &options, NULL));
    ck_assert_int_eq(target.second, KT_CONFLICT);
    ck_assert_uint_eq(target.sets, 1);
    assert_value("database/a#password", target.password, 2);
    ck_assert_uint_eq(world_lines("rotate.resume", "conflict", NULL), 1);
}
END_TEST

/* A process on another machine, which cannot be checked, keeps its lease until the end. */
static const struct {
    const char *busy;
    kt_status_t status;
} owners[] = {
    {"elsewhere 1 1 1 9999999999999", KT_CONFLICT},
    {"elsewhere 1 1 1 1000", KT_SUCCESS},
    {"garbage", KT_SUCCESS},
    {"", KT_SUCCESS},
};

START_TEST(whose_process_is_at_it)
{
    kt_meta_t note = {KT_NOTE_LEASE, owners[_i].busy};
    kt_rotation_t *rotation = NULL;

    options.target = &ops;
    assert_ok(kt_rotation_create(world.ctx, &req, &options, &rotation));
    assert_ok(kt_rotation_notes(rotation, &note, 1));
    kt_rotation_leave(rotation);
    assert_status(kt_rotate_check(world.ctx, &req, &options), owners[_i].status);
    assert_status(kt_rotate(world.ctx, &req, &options, NULL), owners[_i].status);
    if (owners[_i].status != KT_SUCCESS)
        assert_failure_has("another machine");
}
END_TEST

START_TEST(a_check_touches_nothing)
{
    kt_request_t opaque = request("api-keys/other"), missing = request("api-keys/none"),
                 by = request_by(READER, "database/a");
    kt_rotate_options_t generate = KT_ROTATE_INIT;
    uint64_t before;

    put("tls/a", "-----BEGIN CERTIFICATE-----\n", 1);
    before = world_lines("", NULL);
    assert_status(kt_rotate_check(world.ctx, &opaque, NULL), KT_CONFLICT);
    assert_failure_has("issued");
    generate.generate = 1;
    assert_ok(kt_rotate_check(world.ctx, &opaque, &generate));
    assert_status(kt_rotate_check(world.ctx, &missing, NULL), KT_NOTFOUND);
    assert_status(kt_rotate_check(world.ctx, &req, NULL), KT_CONFLICT);
    assert_failure_has("--store-only");
    assert_status(kt_rotate_check(world.ctx, &by, NULL), KT_DENIED);
    opaque.reference = "tls/a";
    assert_status(kt_rotate_check(world.ctx, &opaque, NULL), KT_CONFLICT);
    assert_failure_has("certificate");
    options.store_only = 1;
    assert_ok(kt_rotate_check(world.ctx, &req, &options));
    options.size = 1;
    assert_status(kt_rotate_check(world.ctx, &req, &options), KT_USAGE);
    ck_assert_uint_eq(world_lines("", NULL), before);
    assert_value("database/a#password", "old", 1);
}
END_TEST

START_TEST(destroying_the_pending_version_gives_up)
{
    options.target = &ops;
    target.set = KT_TRYAGAIN;
    assert_status(kt_rotate(world.ctx, &req, &options, NULL), KT_TRYAGAIN);
    assert_ok(kt_destroy(world.ctx, &req, 2));
    assert_status(get("database/a@pending"), KT_NOTFOUND);
    target.set = KT_SUCCESS;
    assert_ok(kt_rotate(world.ctx, &req, &options, NULL));
    assert_value("database/a#password", target.password, 3);
}
END_TEST

START_TEST(step_by_step_with_notes)
{
    kt_rotation_t *rotation = NULL;
    kt_secret_t *password = NULL, *whole = NULL;
    kt_info_t *info = NULL;

    options.target = &ops;
    assert_ok(kt_rotation_create(world.ctx, &req, &options, &rotation));
    ck_assert_uint_eq(target.sets, 0);
    assert_ok(kt_rotation_value(rotation, "password", &password));
    assert_ok(kt_rotation_value(rotation, NULL, &whole));
    ck_assert_uint_eq(kt_secret_size(password), 32);
    ck_assert(kt_secret_size(whole) > 32);
    assert_status(kt_rotation_value(rotation, "nope", &password), KT_NOTFOUND);
    ck_assert_ptr_null(password);
    kt_secret_free(whole);
    assert_ok(kt_rotation_note(rotation, "postgresql.verifier", "SCRAM"));
    kt_rotation_leave(rotation);
    assert_ok(kt_info(world.ctx, &req, &info));
    ck_assert_uint_eq(kt_info_pending(info), 2);
    ck_assert_str_eq(kt_info_note(info, 2, "postgresql.verifier"), "SCRAM");
    ck_assert_str_eq(kt_info_note(info, 2, "target"), "exec:test");
    ck_assert_ptr_null(kt_info_note(info, 1, "target"));
    kt_info_free(info);
    assert_ok(kt_rotation_resume(world.ctx, &req, &rotation));
    assert_ok(kt_rotation_abandon(rotation));
    assert_status(get("database/a@pending"), KT_NOTFOUND);
    kt_rotation_leave(NULL);
}
END_TEST

START_TEST(somebody_else_was_quicker)
{
    kt_rotation_t *one = NULL, *two = NULL;

    options.target = &ops;
    assert_ok(kt_rotation_create(world.ctx, &req, &options, &one));
    assert_ok(kt_rotation_resume(world.ctx, &req, &two));
    assert_ok(kt_rotation_finish(two, 0, NULL));
    assert_status(kt_rotation_note(one, "k", "v"), KT_CONFLICT);
    assert_failure_has("no longer pending");
    assert_ok(kt_rotation_finish(one, 0, NULL)); /* what it was to do is done */
    assert_ok(kt_rotation_create(world.ctx, &req, &options, &one));
    assert_ok(kt_rotation_resume(world.ctx, &req, &two));
    assert_ok(kt_rotation_abandon(two));
    assert_status(kt_rotation_finish(one, 0, NULL), KT_CONFLICT);
    ck_assert_uint_eq(world_lines("rotate.finish", "conflict", NULL), 1);
}
END_TEST

START_TEST(strings_need_to_live_only_through_the_call)
{
    char *subject = strdup(ALL), *reference = strdup("database/a"), *peer = strdup("192.0.2.9");
    kt_request_t mine = request_by(subject, reference);
    kt_rotation_t *rotation = NULL;

    mine.peer = peer;
    options.target = &ops;
    assert_ok(kt_rotation_create(world.ctx, &mine, &options, &rotation));
    memset(subject, '?', strlen(subject));
    memset(reference, '?', strlen(reference));
    memset(peer, '?', strlen(peer));
    free(subject);
    free(reference);
    free(peer);
    assert_ok(kt_rotation_finish(rotation, 0, NULL));
    ck_assert_uint_eq(world_lines("rotate.finish", "success", ALL, "192.0.2.9", "database/a", NULL),
                      1);
}
END_TEST

START_TEST(what_cannot_be_rotated)
{
    kt_request_t missing = request("database/none"), by = request_by(READER, "database/a"),
                 certificate = request("tls/a");
    kt_rotation_t *rotation = NULL;

    options.target = &ops;
    assert_status(kt_rotate(world.ctx, &missing, &options, NULL), KT_NOTFOUND);
    assert_status(kt_rotate(world.ctx, &by, &options, NULL), KT_DENIED);
    assert_status(kt_rotation_resume(world.ctx, &by, &rotation), KT_DENIED);
    assert_status(kt_rotation_create(world.ctx, &req, NULL, &rotation), KT_USAGE);
    ck_assert_ptr_null(rotation);
    put("tls/a", "-----BEGIN CERTIFICATE-----\n", 1);
    assert_status(kt_rotate(world.ctx, &certificate, NULL, NULL), KT_CONFLICT);
    assert_ok(kt_delete(world.ctx, &req));
    assert_status(kt_rotate(world.ctx, &req, &options, NULL), KT_GONE);
    ck_assert_uint_eq(target.sets, 0);
    ck_assert_uint_eq(world_lines("\"denied\"", NULL), 2);
}
END_TEST

START_TEST(a_target_blocks_a_rollback_elsewhere)
{
    options.target = &ops;
    assert_ok(kt_rotate(world.ctx, &req, &options, NULL));
    assert_status(kt_rollback(world.ctx, &req, 0, NULL), KT_CONFLICT);
    assert_failure_has("exec:test");
}
END_TEST

/* Each call of the provider fails once, in a rotation with a target: old or new, never neither,
 * never a password that the target has and the store has not. */
START_TEST(a_rotation_that_fails_anywhere_can_be_finished)
{
    uint64_t calls;

    options.target = &ops;
    memory_save();
    memory.calls = 0;
    assert_ok(kt_rotate(world.ctx, &req, &options, NULL));
    calls = memory.calls;
    ck_assert(calls > 15);
    for (uint64_t at = 1; at <= calls; at++) {
        kt_rotation_t *rotation = NULL;
        kt_status_t status;

        memory_restore();
        memset(&target, 0, sizeof(target));
        memory.calls = 0;
        memory.fail_at = at;
        memory.fail_with = KTP_NOSPACE;
        status = kt_rotate(world.ctx, &req, &options, NULL);
        memory.fail_at = 0;
        ck_assert_uint_eq(memory.open_txns, 0);
        if (status == KT_SUCCESS) { /* what failed was not needed */
            assert_value("database/a#password", target.password, 2);
            continue;
        }
        assert_value("database/a#password", "old", 1);
        if (target.sets == 0) {
            status = kt_rotation_resume(world.ctx, &req, &rotation);
            ck_assert(status == KT_NOTFOUND || status == KT_SUCCESS);
            if (rotation != NULL)
                assert_ok(kt_rotation_abandon(rotation));
            continue;
        }
        assert_ok(kt_rotation_resume(world.ctx, &req, &rotation));
        assert_ok(kt_rotation_finish(rotation, 0, NULL));
        if (target.password[0] != '\0')
            assert_value("database/a#password", target.password, 2);
    }
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    tcase_add_test(tests, an_opaque_value_is_replaced);
    tcase_add_test(tests, a_given_value_and_an_api_key);
    tcase_add_test(tests, a_database_wants_a_target);
    tcase_add_test(tests, the_target_knows_it_before_anybody_reads_it);
    tcase_add_test(tests, a_target_that_rejects_leaves_nothing);
    tcase_add_test(tests, a_target_that_nobody_heard_from_leaves_it_pending);
    tcase_add_loop_test(tests, the_next_rotation_takes_up_an_unfinished_one, 0, 4);
    tcase_add_test(tests, a_value_that_was_brought_follows_the_unfinished_one);
    tcase_add_test(tests, two_at_once_are_one_winner_and_a_conflict);
    UNIT_TABLE(tests, whose_process_is_at_it, owners);
    tcase_add_test(tests, a_check_touches_nothing);
    tcase_add_test(tests, destroying_the_pending_version_gives_up);
    tcase_add_test(tests, step_by_step_with_notes);
    tcase_add_test(tests, somebody_else_was_quicker);
    tcase_add_test(tests, strings_need_to_live_only_through_the_call);
    tcase_add_test(tests, what_cannot_be_rotated);
    tcase_add_test(tests, a_target_blocks_a_rollback_elsewhere);
    tcase_add_test(tests, a_rotation_that_fails_anywhere_can_be_finished);
}

UNIT_MAIN("rotate", add_tests)
