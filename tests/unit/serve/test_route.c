/* SPDX-License-Identifier: BSD-2-Clause */
/* core/serve/route.c: which provider answers, and what each answer means for the next one. */
#include "world.h"

static void make_routes(const char *routes)
{
    static const ktp_provider_t *const apis[] = {&plain_provider, &remote_provider,
                                                 &memory_provider};

    memset(plain, 0, sizeof(plain));
    memory_reset();
    plain[0].value = "of plain";
    plain[1].value = "of remote";
    world_make("plain: {}\n  remote: {}\n  memory: {}", routes,
               "cache: {ttl: 0s, negative: 0s, stale: 0s}\n");
    world_open_with(apis, 3);
}

static kt_status_t get(const char *reference, const char *text)
{
    kt_request_t req = request(reference);
    kt_secret_t *secret = NULL;
    kt_status_t status = kt_get(world.ctx, &req, &secret);

    if (status == KT_SUCCESS && text != NULL)
        assert_secret(secret, text);
    kt_secret_free(secret);
    return status;
}

static const ktp_status_t answers[] = {KTP_SUCCESS, KTP_NOTFOUND, KTP_GONE,     KTP_FORBIDDEN,
                                       KTP_UNAVAIL, KTP_TRYAGAIN, KTP_MALFORMED};

/* remote first, then plain, by the default actions: NOTFOUND continues, everything else returns. */
START_TEST(the_default_actions)
{
    make_routes("\"*\": remote plain");
    plain[1].status = answers[_i];
    if (answers[_i] == KTP_SUCCESS) {
        assert_ok(get("a/b", "of remote"));
        ck_assert_uint_eq(world_lines("fallback", NULL), 0);
    } else if (answers[_i] == KTP_NOTFOUND) {
        assert_ok(get("a/b", "of plain"));
        ck_assert_uint_eq(world_lines("\"provider\":\"plain\"", "\"fallback\":true", NULL), 1);
    } else {
        assert_status(get("a/b", NULL), (kt_status_t)answers[_i]);
        ck_assert_uint_eq(plain[0].gets, 0);
    }
}
END_TEST

/* Each pair of answers, the first one always continuing: NOTFOUND after a provider that could not
 * answer proves nothing. */
START_TEST(a_failure_is_not_hidden_by_an_absence)
{
    ktp_status_t first = answers[_i];

    make_routes(
        "\"*\": remote [GONE=continue FORBIDDEN=continue UNAVAIL=continue TRYAGAIN=continue "
        "MALFORMED=continue] plain");
    for (size_t k = 0; k < KT_ARRAY(answers); k++) {
        ktp_status_t second = answers[k];
        bool fact = first == KTP_NOTFOUND || first == KTP_GONE;
        kt_status_t wanted = first == KTP_SUCCESS              ? KT_SUCCESS
                             : second == KTP_NOTFOUND && !fact ? (kt_status_t)first
                                                               : (kt_status_t)second;

        plain[1].status = first;
        plain[1].error = "the first one's reason";
        plain[0].status = second;
        assert_status(get("a/b", first == KTP_SUCCESS ? "of remote" : "of plain"), wanted);
        if (second == KTP_NOTFOUND && !fact && first != KTP_SUCCESS)
            assert_failure_has("the first one's reason");
    }
}
END_TEST

/* Two that cannot tell, then an absence: the first of them is the answer, with its reason. */
START_TEST(the_first_failure_is_the_answer)
{
    kt_store_t *store;

    make_routes("\"*\": remote [UNAVAIL=continue] plain [MALFORMED=continue] memory");
    assert_ok(kt_store_of(world.ctx, 2, &store));
    assert_ok(kt_store_create(&world.ctx->holder, store));
    plain[1].status = KTP_UNAVAIL;
    plain[1].error = "the first one's reason";
    plain[0].status = KTP_MALFORMED;
    plain[0].error = "the second one's reason";
    assert_status(get("a/b", NULL), KT_UNAVAIL);
    assert_failure_has("the first one's reason");
    plain[1].status = KTP_NOTFOUND;
    assert_status(get("a/b", NULL), KT_MALFORMED);
    assert_failure_has("the second one's reason");
    plain[0].status = KTP_NOTFOUND;
    assert_status(get("a/b", NULL), KT_NOTFOUND);
}
END_TEST

START_TEST(the_first_pattern_that_matches)
{
    make_routes("\"a/b*\": plain\n  \"a/*\": remote\n  \"c/*\": remote");
    assert_ok(get("a/bc", "of plain"));
    assert_ok(get("a/cb", "of remote"));
    assert_ok(get("c/d", "of remote"));
    assert_status(get("d/e", NULL), KT_NOTFOUND);
    assert_failure_has("no route");
    ck_assert_uint_eq(world_lines("d/e", "notfound", NULL), 1);
}
END_TEST

START_TEST(versions_are_asked_only_of_who_has_them)
{
    make_routes("\"a/*\": plain\n  \"b/*\": remote");
    assert_ok(get("a/x@previous", "of plain"));
    ck_assert_str_eq(plain[0].asked, "a/x@previous");
    assert_ok(get("a/x@12", "of plain"));
    ck_assert_str_eq(plain[0].asked, "a/x@12");
    assert_status(get("b/x@previous", NULL), KT_NOTFOUND);
    ck_assert_uint_eq(plain[1].gets, 0);
}
END_TEST

START_TEST(a_write_goes_to_the_first_that_can)
{
    kt_secret_t *value = secret_of("written");
    kt_request_t req = request("a/b"), other = request("b/c");

    make_routes("\"a/*\": plain remote memory\n  \"b/*\": plain remote");
    assert_ok(kt_create(world.ctx) == KT_CONFIG ? KT_SUCCESS : KT_INTERNAL); /* "*" has no route */
    {
        kt_store_t *store;

        assert_ok(kt_store_of(world.ctx, 2, &store));
        assert_ok(kt_store_create(&world.ctx->holder, store));
    }
    assert_ok(kt_put(world.ctx, &req, value, NULL, NULL));
    ck_assert_uint_eq(memory_count(KTP_HEAD), 1);
    assert_status(kt_put(world.ctx, &other, value, NULL, NULL), KT_FORBIDDEN);
    /* a refusal by the provider is recorded too */
    ck_assert_uint_eq(world_lines("\"write\"", "b/c", "forbidden", NULL), 1);
    req.provider = "plain";
    assert_status(kt_put(world.ctx, &req, value, NULL, NULL), KT_FORBIDDEN);
    assert_status(kt_rotate(world.ctx, &req, NULL, NULL), KT_FORBIDDEN);
    assert_status(kt_delete(world.ctx, &req), KT_FORBIDDEN);
    req.provider = "nope";
    assert_status(kt_put(world.ctx, &req, value, NULL, NULL), KT_USAGE);
    req.provider = "memory";
    assert_ok(kt_put(world.ctx, &req, value, NULL, NULL));
    kt_secret_free(value);
}
END_TEST

START_TEST(metadata_of_a_chain)
{
    kt_request_t req = request("a/b");
    kt_info_t *info = NULL;

    make_routes("\"*\": plain memory");
    /* memory has no store yet: not this key's */
    assert_status(kt_info(world.ctx, &req, &info), KT_WRONGKEY);
    {
        kt_store_t *store;

        assert_ok(kt_store_of(world.ctx, 2, &store));
        assert_ok(kt_store_create(&world.ctx->holder, store));
    }
    assert_status(kt_info(world.ctx, &req, &info), KT_NOTFOUND);
    put("a/b", "x", 1);
    assert_ok(kt_info(world.ctx, &req, &info));
    ck_assert_str_eq(kt_info_provider(info), "memory");
    ck_assert_str_eq(kt_info_entry(info)->name, "a/b");
    ck_assert_uint_eq(kt_info_counter(info), 1);
    ck_assert_ptr_null(kt_info_version(info, 1));
    kt_info_free(info);
    kt_info_free(NULL);
}
END_TEST

/* Two sealed ones, the first of which cannot tell. */
START_TEST(metadata_behind_a_failure_are_not_absent)
{
    static const ktp_provider_t *const apis[] = {&memory_provider, &memory_clear_provider};
    kt_request_t req = request("a/b");
    kt_info_t *info = NULL;

    memory_reset();
    world_make("memory: {}\n  clear: {}", "\"*\": memory [UNAVAIL=continue] clear", NULL);
    world_open_with(apis, 2);
    assert_ok(kt_create(world.ctx));
    assert_status(kt_info(world.ctx, &req, &info), KT_NOTFOUND);
    memory.calls = 0;
    memory.fail_at = 1;
    memory.fail_with = KTP_UNAVAIL;
    assert_status(kt_info(world.ctx, &req, &info), KT_UNAVAIL);
    assert_failure_has("asked to fail");
}
END_TEST

START_TEST(tokens_of_a_chain_are_all_of_theirs)
{
    unsigned char before[KTP_TOKEN_SIZE], after[KTP_TOKEN_SIZE];
    kt_request_t req = request("a/b");
    const kt_cfg_route_t *route;
    kt_call_t call;

    make_routes("\"*\": plain remote memory");
    assert_ok(kt_call_begin(world.ctx, &req, &call));
    ck_assert(kt_switch_blocks(world.ctx, &call));
    route = kt_switch_route(world.ctx->holder.config, "a/b");
    ck_assert(kt_switch_token(world.ctx, route, before));
    ck_assert(kt_switch_token(world.ctx, route, after));
    ck_assert_mem_eq(before, after, sizeof(after));
    plain[1].token++;
    ck_assert(kt_switch_token(world.ctx, route, after));
    ck_assert_mem_ne(before, after, sizeof(after));
    plain[1].no_token = true;
    ck_assert(!kt_switch_token(world.ctx, route, after));
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, NULL, world_end);
    UNIT_TABLE(tests, the_default_actions, answers);
    UNIT_TABLE(tests, a_failure_is_not_hidden_by_an_absence, answers);
    tcase_add_test(tests, the_first_failure_is_the_answer);
    tcase_add_test(tests, the_first_pattern_that_matches);
    tcase_add_test(tests, versions_are_asked_only_of_who_has_them);
    tcase_add_test(tests, a_write_goes_to_the_first_that_can);
    tcase_add_test(tests, metadata_of_a_chain);
    tcase_add_test(tests, metadata_behind_a_failure_are_not_absent);
    tcase_add_test(tests, tokens_of_a_chain_are_all_of_theirs);
}

UNIT_MAIN("switch", add_tests)
