/* SPDX-License-Identifier: BSD-2-Clause */
/* core/serve/figures.c: what a context knows of its own work. */
#include "world.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct found {
    kt_provider_figures_t provider[2];
    uint64_t answers[2][KT_MOVED + 1];
    size_t nproviders, ntypes;
    char type[KT_NAME_MAX + 1];
    uint64_t generation;
} found_t;

static void note_provider(void *arg, const kt_provider_figures_t *figures)
{
    found_t *found = arg;

    ck_assert_uint_lt(found->nproviders, 2);
    memcpy(found->answers[found->nproviders], figures->answers, sizeof(found->answers[0]));
    found->provider[found->nproviders++] = *figures;
}

static void note_type(void *arg, const char *type, uint64_t generation)
{
    found_t *found = arg;

    found->ntypes++;
    (void)snprintf(found->type, sizeof(found->type), "%s", type);
    found->generation = generation;
}

static kt_figures_t ask(found_t *found)
{
    kt_figures_t figures = KT_FIGURES_INIT;

    memset(found, 0, sizeof(*found));
    figures.provider = note_provider;
    figures.generation = note_type;
    figures.arg = found;
    assert_ok(kt_figures(world.ctx, &figures));
    return figures;
}

static kt_status_t peek(const char *reference)
{
    kt_request_t req = request(reference);
    kt_secret_t *secret = NULL;
    kt_status_t status = kt_peek(world.ctx, &req, &secret);

    kt_secret_free(secret);
    return status;
}

static void make_plain(void)
{
    static const ktp_provider_t *const apis[] = {&plain_provider, &remote_provider};

    memset(plain, 0, sizeof(plain));
    plain[0].value = plain[1].value = "value";
    world_make("plain: {}\n  remote: {}", "\"remote/*\": remote\n  \"*\": plain",
               "cache: {ttl: 30s, negative: 0s, stale: 0s}\n");
    world_open_with(apis, 2);
}

START_TEST(answers_are_counted_by_provider_and_the_last_one_has_its_time)
{
    kt_request_t far = request("remote/a");
    found_t found;
    int64_t since;

    make_plain();
    (void)ask(&found);
    ck_assert_uint_eq(found.nproviders, 2);
    ck_assert_str_eq(found.provider[1].name, "remote");
    ck_assert_int_eq(found.provider[1].since, 0);
    ck_assert_int_eq(found.provider[1].asked, 0);
    assert_ok(peek("api-keys/a"));
    assert_ok(peek("api-keys/a")); /* from the cache */
    assert_status(peek("remote/a"), KT_TRYAGAIN);
    plain[1].status = KTP_UNAVAIL;
    assert_status(kt_refresh(world.ctx, &far), KT_UNAVAIL);
    (void)ask(&found);
    ck_assert_uint_eq(found.answers[0][KT_SUCCESS], 1);
    ck_assert_uint_eq(found.answers[1][KT_UNAVAIL], 1);
    ck_assert_uint_eq(found.answers[1][KT_TRYAGAIN], 0); /* it was not asked */
    ck_assert_int_eq(found.provider[1].status, KT_UNAVAIL);
    since = found.provider[1].since;
    ck_assert_int_gt(since, 0);
    plain[1].status = KTP_SUCCESS;
    assert_ok(kt_refresh(world.ctx, &far));
    (void)ask(&found);
    ck_assert_int_eq(found.provider[1].status, KT_SUCCESS);
    ck_assert_int_ge(found.provider[1].since, since);
    ck_assert_uint_eq(found.answers[1][KT_UNAVAIL], 1);
    world_end();
}
END_TEST

START_TEST(records_wait_and_become_lines)
{
    kt_figures_t figures;
    found_t found;

    make_plain();
    figures = ask(&found);
    ck_assert_uint_eq(figures.audit_pending, 0);
    ck_assert_int_eq(figures.audit_oldest, 0);
    assert_ok(peek("api-keys/a"));
    assert_ok(peek("api-keys/b"));
    figures = ask(&found);
    ck_assert_uint_eq(figures.audit_pending, 2);
    ck_assert_int_gt(figures.audit_oldest, 1600000000000);
    assert_ok(kt_audit_flush(world.ctx, 0));
    figures = ask(&found);
    ck_assert_uint_eq(figures.audit_pending, 0);
    ck_assert_int_eq(figures.audit_oldest, 0);
    world_end();
}
END_TEST

START_TEST(a_generation_is_that_of_the_last_read)
{
    found_t found;

    world_of_local();
    (void)ask(&found);
    ck_assert_uint_eq(found.ntypes, 0);
    put("api-keys/a", "one", 1);
    assert_ok(peek("api-keys/a"));
    (void)ask(&found);
    ck_assert_uint_eq(found.ntypes, 1);
    ck_assert_str_eq(found.type, "api-keys");
    ck_assert_uint_eq(found.generation, 1);
    put("api-keys/b", "two", 1);
    assert_ok(peek("api-keys/b"));
    (void)ask(&found);
    ck_assert_uint_eq(found.generation, 2);
    world_end();
}
END_TEST

START_TEST(a_secret_has_the_times_of_its_version)
{
    kt_request_t req = request("api-keys/a");
    kt_secret_t *secret = NULL;

    world_of_local();
    put("api-keys/a", "one", 1);
    assert_ok(kt_peek(world.ctx, &req, &secret));
    ck_assert_int_gt(kt_secret_since(secret), 1600000000000);
    ck_assert_int_eq(kt_secret_expires(secret), 0);
    kt_secret_free(secret);
    world_end();
}
END_TEST

START_TEST(the_disk_has_room_for_some)
{
    world_of_local();
    assert_ok(kt_audit_fits(world.ctx, 1));
    assert_status(kt_audit_fits(world.ctx, 4000000000u), KT_AUDIT);
    world_end();
}
END_TEST

START_TEST(a_context_is_of_one_process)
{
    kt_figures_t figures = KT_FIGURES_INIT, small = KT_FIGURES_INIT;
    int status = 0;
    pid_t pid;

    world_of_local();
    small.size--;
    assert_status(kt_figures(world.ctx, &small), KT_USAGE);
    assert_ok(kt_figures(world.ctx, &figures)); /* without callbacks */
    pid = fork();
    if (pid == 0)
        _exit(kt_figures(world.ctx, &figures) == KT_INTERNAL ? 0 : 1);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    world_end();
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, answers_are_counted_by_provider_and_the_last_one_has_its_time);
    tcase_add_test(tests, records_wait_and_become_lines);
    tcase_add_test(tests, a_generation_is_that_of_the_last_read);
    tcase_add_test(tests, a_secret_has_the_times_of_its_version);
    tcase_add_test(tests, the_disk_has_room_for_some);
    tcase_add_test(tests, a_context_is_of_one_process);
}

UNIT_MAIN("figures", add_tests)
