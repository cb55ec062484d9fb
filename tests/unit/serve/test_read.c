/* SPDX-License-Identifier: BSD-2-Clause */
/* core/serve/read.c: policy before cache before provider, the audit record after each, and how old
 * an answer may be. */
#include "world.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* `plain` answers for most, `remote` (which blocks) for remote/. */
static void make_world_with(const char *more)
{
    static const ktp_provider_t *const apis[] = {&plain_provider, &remote_provider};

    memset(plain, 0, sizeof(plain));
    for (size_t i = 0; i < 2; i++) {
        plain[i].value = "value";
        plain[i].version = 7;
    }
    world_make(
        "plain: {}\n  remote: {}",
        "\"remote/*\": remote\n  \"both/*\": remote [UNAVAIL=continue] plain\n  \"*\": plain",
        more);
    world_open_with(apis, 2);
}

static void make_world(void)
{
    make_world_with("cache: {ttl: 30s, negative: 10s, stale: 50s}\n");
}

static kt_status_t read_by(const char *subject, bool peek, const char *reference, const char *text)
{
    kt_request_t req = request_by(subject, reference);
    kt_secret_t *secret = (kt_secret_t *)1;
    kt_status_t status =
        peek ? kt_peek(world.ctx, &req, &secret) : kt_get(world.ctx, &req, &secret);

    if (status == KT_SUCCESS && text != NULL)
        assert_secret(secret, text);
    if (status != KT_SUCCESS)
        ck_assert_ptr_null(secret);
    kt_secret_free(secret);
    return status;
}

static kt_status_t get(const char *reference, const char *text)
{
    return read_by(ALL, false, reference, text);
}

static kt_status_t peek(const char *reference, const char *text)
{
    return read_by(ALL, true, reference, text);
}

static kt_status_t refresh(const char *reference)
{
    kt_request_t req = request(reference);

    return kt_refresh(world.ctx, &req);
}

static int is_stale(const char *reference)
{
    kt_request_t req = request(reference);
    kt_secret_t *secret = NULL;
    int stale;

    if (kt_peek(world.ctx, &req, &secret) != KT_SUCCESS)
        return -1;
    stale = kt_secret_stale(secret);
    kt_secret_free(secret);
    return stale;
}

static void sleep_ms(unsigned ms)
{
    (void)usleep(ms * 1000);
}

/* As if it had been fetched so much earlier: no test waits for the clock, or has to be quick. */
static kt_cached_t *age(const char *reference, int64_t ms)
{
    kt_cached_t *cached = kt_cache_find(world.ctx->cache, reference);

    ck_assert_ptr_nonnull(cached);
    cached->fetched -= ms;
    return cached;
}

START_TEST(policy_comes_before_the_cache)
{
    assert_ok(get("database/a", "value"));
    assert_status(read_by(READER, false, "database/a", NULL), KT_DENIED);
    assert_status(read_by(READER, true, "database/a", NULL), KT_DENIED);
    assert_status(read_by(NULL, false, "database/a", NULL), KT_DENIED);
    assert_status(read_by("", false, "database/a", NULL), KT_DENIED);
    ck_assert_uint_eq(plain[0].gets, 1);
    ck_assert_uint_eq(world_lines("\"denied\"", "database/a", NULL), 4);
    ck_assert_uint_eq(world_lines("\"success\"", "\"version\":7", "\"provider\":\"plain\"", NULL),
                      1);
}
END_TEST

START_TEST(every_decision_has_its_line)
{
    kt_request_t req = request("api-keys/a");

    req.peer = "192.0.2.1";
    req.request_id = "r-1";
    req.purpose = "proxy";
    {
        kt_secret_t *secret = NULL;

        assert_ok(kt_get(world.ctx, &req, &secret));
        kt_secret_free(secret);
    }
    ck_assert_uint_eq(world_lines("\"peer\":\"192.0.2.1\"", "\"request\":\"r-1\"",
                                  "\"purpose\":\"proxy\"", "\"seq\":1,", NULL),
                      1);
    assert_ok(get("api-keys/a", NULL)); /* from the cache: recorded as well */
    ck_assert_uint_eq(world_lines("\"success\"", NULL), 2);
    plain[0].status = KTP_NOTFOUND;
    assert_status(get("api-keys/b", NULL), KT_NOTFOUND);
    plain[0].status = KTP_FORBIDDEN;
    assert_status(get("api-keys/c", NULL), KT_FORBIDDEN);
    ck_assert_uint_eq(world_lines("\"notfound\"", NULL), 1);
    ck_assert_uint_eq(world_lines("\"forbidden\"", NULL), 1);
    ck_assert_uint_eq(world_lines("value", NULL), 0);
}
END_TEST

/* The first asks the provider, the second the policy, and the third takes the short way. */
START_TEST(a_read_that_is_recalled_says_the_same)
{
    static const char *const written[] = {"api-keys/a", "api-keys/a@current"};
    kt_request_t req = request(NULL);
    kt_secret_t *secret;

    req.peer = "192.0.2.1";
    req.request_id = "r-1";
    for (int purpose = 0; purpose < 2; purpose++) {
        req.purpose = purpose ? "proxy" : NULL;
        for (int i = 0; i < 8; i++) {
            req.reference = written[i % 2];
            assert_ok(kt_get(world.ctx, &req, &secret));
            assert_secret(secret, "value");
            kt_secret_free(secret);
        }
    }
    req.reference = "api-keys/a, and more that is not its";
    req.reference_len = 10;
    assert_ok(kt_get(world.ctx, &req, &secret));
    kt_secret_free(secret);
    ck_assert_uint_eq(plain[0].gets, 1);
    ck_assert_uint_eq(world_lines("\"action\":\"read\",\"subject\":\"" ALL
                                  "\",\"peer\":\"192.0.2.1\",\"reference\":\"api-keys/a\","
                                  "\"version\":7,\"provider\":\"plain\",\"status\":\"success\"",
                                  "\"request\":\"r-1\"}", NULL),
                      17);
    ck_assert_uint_eq(world_lines("\"purpose\":\"proxy\"", NULL), 9);
}
END_TEST

/* A value that is recalled is as bound to its age, its provider and its subject as any. */
START_TEST(a_read_that_is_recalled_is_no_exception)
{
    for (int i = 0; i < 3; i++) {
        assert_ok(get("api-keys/a", "value"));
        assert_ok(get("remote/a", "value"));
    }
    plain[1].token++;
    plain[1].value = "second";
    assert_ok(get("remote/a", "second"));
    (void)age("api-keys/a", 31000);
    plain[0].value = "third";
    assert_ok(get("api-keys/a", "third"));
    kt_cache_find(world.ctx->cache, "api-keys/a")->secret->expires = kt_now() - 1;
    plain[0].value = "fourth";
    assert_ok(get("api-keys/a", "fourth"));
    assert_ok(get("api-keys/a", "fourth"));
    assert_status(read_by("nginx:other", false, "api-keys/a", NULL), KT_DENIED);
    assert_ok(read_by(READER, false, "api-keys/a", "fourth"));
    assert_ok(read_by(READER, false, "api-keys/a", "fourth"));
    ck_assert_uint_eq(plain[0].gets, 3);
    ck_assert_uint_eq(plain[1].gets, 2);
    ck_assert_uint_eq(world_lines("\"subject\":\"" READER "\"", "api-keys/a", NULL), 2);
}
END_TEST

START_TEST(what_cannot_be_recorded_is_not_served)
{
    assert_ok(get("api-keys/a", "value"));
    ck_assert_uint_eq(world_lines("api-keys/a", NULL), 1);
    world_close_log();
    assert_ok(get("api-keys/a", "value")); /* it is recorded, but not yet a line */
    assert_status(kt_audit_flush(world.ctx, 0), KT_AUDIT);
    assert_status(get("api-keys/a", NULL), KT_AUDIT);
    assert_status(peek("api-keys/a", NULL), KT_AUDIT);
    assert_status(read_by(READER, false, "database/a", NULL), KT_AUDIT);
    assert_failure_has("Permission denied");
    world_open_log();
    assert_ok(get("api-keys/a", "value"));
    ck_assert_uint_eq(world_lines("api-keys/a", NULL), 2); /* what was recorded, and no more */
}
END_TEST

START_TEST(a_value_is_cached_for_its_ttl)
{
    assert_ok(get("api-keys/a", "value"));
    plain[0].value = "new";
    assert_ok(get("api-keys/a", "value"));
    assert_ok(get("api-keys/a@previous", "new")); /* another reference */
    ck_assert_str_eq(plain[0].asked, "api-keys/a@previous");
    (void)age("api-keys/a", 30000);
    assert_ok(get("api-keys/a", "new"));
}
END_TEST

START_TEST(an_absence_is_cached_for_less)
{
    plain[0].status = KTP_NOTFOUND;
    assert_status(get("api-keys/a", NULL), KT_NOTFOUND);
    plain[0].status = KTP_SUCCESS;
    assert_status(get("api-keys/a", NULL), KT_NOTFOUND);
    ck_assert_str_ne(kt_error(world.ctx), "");
    (void)age("api-keys/a", 10000);
    assert_ok(get("api-keys/a", "value"));
    ck_assert_uint_eq(world_lines("fallback", NULL), 0);
}
END_TEST

START_TEST(nothing_is_served_past_its_expiry)
{
    plain[0].expires = kt_now() + 60000;
    assert_ok(get("api-keys/a", "value"));
    assert_ok(get("api-keys/b", "value"));
    plain[0].expires = kt_now();
    age("api-keys/a", 0)->secret->expires = kt_now();
    assert_status(get("api-keys/a", NULL), KT_GONE);
    /* nor if no provider can say more, within the stale window */
    plain[0].status = KTP_UNAVAIL;
    age("api-keys/b", 0)->secret->expires = kt_now();
    assert_status(get("api-keys/b", NULL), KT_UNAVAIL);
}
END_TEST

static kt_secret_t *secret_at(const char *reference)
{
    kt_request_t req = request(reference);
    kt_secret_t *secret = NULL;

    assert_ok(kt_get(world.ctx, &req, &secret));
    return secret;
}

START_TEST(a_field_expires_with_the_secret)
{
    kt_secret_t *secret;

    plain[0].value = "{\"password\": \"p\"}";
    plain[0].expires = kt_now() + 60000;
    secret = secret_at("database/primary#password");
    ck_assert_int_eq(secret->expires, plain[0].expires);
    kt_secret_free(secret);
    /* a minute later */
    kt_cache_find(world.ctx->cache, "database/primary#password")->secret->expires -= 60000;
    plain[0].status = KTP_UNAVAIL;
    assert_status(get("database/primary#password", NULL), KT_UNAVAIL);
}
END_TEST

START_TEST(a_stale_value_is_the_cached_one_in_all_but_the_flag)
{
    kt_secret_t *secret;

    plain[0].expires = kt_now() + 60000;
    assert_ok(get("api-keys/a", "value"));
    (void)age("api-keys/a", 30000);
    plain[0].status = KTP_UNAVAIL;
    secret = secret_at("api-keys/a");
    assert_secret(secret, "value");
    ck_assert_int_eq(kt_secret_stale(secret), 1);
    ck_assert_int_eq(secret->expires, plain[0].expires);
    ck_assert_uint_eq(kt_secret_version(secret), 7);
    kt_secret_free(secret);
    ck_assert_int_eq(kt_cache_find(world.ctx->cache, "api-keys/a")->secret->stale, 0);
}
END_TEST

static const struct {
    ktp_status_t answer;
    bool serves;
} failures[] = {{KTP_UNAVAIL, true},    {KTP_TRYAGAIN, true},  {KTP_FORBIDDEN, false},
                {KTP_MALFORMED, false}, {KTP_NOTFOUND, false}, {KTP_GONE, false},
                {KTP_CONFLICT, false},  {KTP_NOSPACE, false}};

START_TEST(stale_only_when_nobody_knows)
{
    assert_ok(get("api-keys/a", "value"));
    (void)age("api-keys/a", 30000);
    plain[0].status = failures[_i].answer;
    if (!failures[_i].serves) {
        assert_status(get("api-keys/a", NULL), (kt_status_t)failures[_i].answer);
        return;
    }
    assert_ok(get("api-keys/a", "value"));
    ck_assert_int_eq(is_stale("api-keys/a"), 1);
    ck_assert_uint_eq(world_lines("\"success\"", "\"stale\":true", NULL), 2);
    (void)age("api-keys/a", 50000); /* 30 + 50 s since it was fetched: the window is over */
    assert_status(get("api-keys/a", NULL), (kt_status_t)failures[_i].answer);
    plain[0].status = KTP_SUCCESS;
    assert_ok(get("api-keys/a", "value"));
    ck_assert_int_eq(is_stale("api-keys/a"), 0);
}
END_TEST

/* ---- a provider that blocks ---- */

START_TEST(peek_never_asks_over_a_network)
{
    assert_status(peek("remote/a", NULL), KT_TRYAGAIN);
    ck_assert_uint_eq(plain[1].gets, 0);
    ck_assert_uint_eq(world_lines("remote/a", NULL), 0); /* not decided yet */
    assert_ok(refresh("remote/a"));
    ck_assert_uint_eq(world_lines("remote/a", NULL), 0);
    assert_ok(peek("remote/a", "value"));
    ck_assert_uint_eq(plain[1].gets, 1);
    ck_assert_uint_eq(world_lines("remote/a", NULL), 1);
}
END_TEST

/* What was refreshed is not asked about for 100 ms (SETTLE_MS of read.c); then a change shows. */
START_TEST(a_change_token_ends_what_is_cached)
{
    assert_ok(refresh("remote/a"));
    (void)age("remote/a", -1000);
    plain[1].value = "new";
    assert_ok(peek("remote/a", "value"));
    plain[1].token++;
    assert_ok(peek("remote/a", "value"));
    (void)age("remote/a", 1100);
    assert_status(peek("remote/a", NULL), KT_TRYAGAIN);
    assert_ok(refresh("remote/a"));
    assert_ok(peek("remote/a", "new"));
    plain[1].no_token = true;
    (void)age("remote/a", 100);
    assert_status(peek("remote/a", NULL), KT_TRYAGAIN);
}
END_TEST

/* A host without an agent (a PostgreSQL backend): the connection that read tells of changes. */
START_TEST(a_change_token_counts_without_an_agent)
{
    assert_ok(get("remote/a", "value"));
    assert_ok(get("remote/a", "value"));
    ck_assert_uint_eq(plain[1].gets, 1);
    plain[1].value = "new";
    plain[1].token++;
    assert_ok(get("remote/a", "new"));
    ck_assert_uint_eq(plain[1].gets, 2);
}
END_TEST

static void move_token(void)
{
    plain[1].token++; /* somebody commits while the value is being read */
}

START_TEST(a_commit_during_a_read_makes_it_old_at_once)
{
    plain[1].during = move_token;
    assert_ok(get("remote/a", "value"));
    plain[1].during = NULL;
    plain[1].value = "new";
    assert_ok(get("remote/a", "new"));
}
END_TEST

START_TEST(a_failed_refresh_is_remembered_for_a_second)
{
    plain[1].status = KTP_UNAVAIL;
    plain[1].error = "no route to host";
    assert_status(refresh("remote/a"), KT_UNAVAIL);
    assert_failure_has("no route to host");
    assert_status(peek("remote/a", NULL), KT_UNAVAIL);
    ck_assert_uint_eq(plain[1].gets, 1);
    ck_assert_uint_eq(world_lines("remote/a", "unavail", NULL), 1);
    plain[1].status = KTP_SUCCESS;
    age("remote/a", 0)->failed_at -= 1000;
    assert_status(peek("remote/a", NULL), KT_TRYAGAIN);
    assert_ok(refresh("remote/a"));
    assert_ok(peek("remote/a", "value"));
}
END_TEST

START_TEST(a_refresh_that_was_refused_ends_the_old_value)
{
    assert_ok(refresh("remote/a"));
    (void)age("remote/a", 30000);
    plain[1].status = KTP_FORBIDDEN;
    assert_status(refresh("remote/a"), KT_FORBIDDEN);
    assert_status(peek("remote/a", NULL), KT_FORBIDDEN);
    assert_status(get("remote/a", NULL), KT_FORBIDDEN);
    plain[1].status = KTP_UNAVAIL; /* then the old one is as good as it was */
    assert_status(refresh("remote/a"), KT_UNAVAIL);
    ck_assert_int_eq(is_stale("remote/a"), 1);
}
END_TEST

START_TEST(a_refresh_obeys_policy)
{
    kt_request_t req = request_by(READER, "remote/a");

    assert_status(kt_refresh(world.ctx, &req), KT_DENIED);
    ck_assert_uint_eq(plain[1].gets, 0);
}
END_TEST

static void write_behind(void)
{
    /* what kt_put() of this process does after its commit */
    kt_cache_drop_name(world.ctx->cache, "remote/a");
    plain[1].during = NULL;
}

START_TEST(a_refresh_from_before_a_write_is_dropped)
{
    plain[1].during = write_behind;
    plain[1].value = "from before";
    assert_ok(refresh("remote/a"));
    plain[1].value = "after";
    assert_status(peek("remote/a", NULL), KT_TRYAGAIN);
    assert_ok(refresh("remote/a"));
    assert_ok(peek("remote/a", "after"));
}
END_TEST

START_TEST(a_named_provider_is_asked_itself)
{
    kt_request_t req = request("both/a");
    kt_secret_t *secret = NULL;

    assert_ok(get("both/a", "value"));
    plain[0].value = "of plain";
    req.provider = "plain";
    assert_ok(kt_get(world.ctx, &req, &secret));
    assert_secret(secret, "of plain");
    kt_secret_free(secret);
    assert_ok(kt_refresh(world.ctx, &req));
    assert_ok(get("both/a", "value")); /* and its answer is not used for others */
    req.provider = "nope";
    assert_status(kt_get(world.ctx, &req, &secret), KT_USAGE);
    req.provider = "remote";
    assert_status(kt_peek(world.ctx, &req, &secret), KT_TRYAGAIN);
}
END_TEST

/* ---- several at once ---- */

#define THREADS 6

typedef struct caller {
    pthread_t thread;
    pid_t tid;
    kt_status_t status;
    char error[KT_ERROR_SIZE];
} caller_t;
static caller_t callers[THREADS];

static void *refresh_thread(void *arg)
{
    kt_request_t req = request("remote/a");
    caller_t *caller = arg;

    caller->status = kt_refresh(world.ctx, &req);
    (void)snprintf(caller->error, sizeof(caller->error), "%s", kt_error(world.ctx));
    return NULL;
}

static void *get_thread(void *arg)
{
    kt_request_t req = request("remote/a");
    kt_secret_t *secret = NULL;
    caller_t *caller = arg;

    __atomic_store_n(&caller->tid, gettid(), __ATOMIC_RELEASE);
    caller->status = kt_get(world.ctx, &req, &secret);
    kt_secret_free(secret);
    return NULL;
}

static void run_threads(void *(*run)(void *))
{
    memset(callers, 0, sizeof(callers));
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&callers[i].thread, NULL, run, &callers[i]), 0);
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(callers[i].thread, NULL), 0);
}

static int waiting(void)
{
    int count;

    (void)pthread_mutex_lock(&world.ctx->lock);
    count = kt_singleflight_waiting(world.ctx, "remote/a");
    (void)pthread_mutex_unlock(&world.ctx->lock);
    return count;
}

static int stale_meanwhile;

/* In the provider: the others are all waiting for this one answer. */
static void until_others_wait(void)
{
    plain[1].during = NULL;
    for (unsigned i = 0; waiting() < THREADS - 1 && i < 20000; i++)
        sleep_ms(1);
    ck_assert_int_eq(waiting(), THREADS - 1);
    stale_meanwhile = is_stale("remote/a");
}

START_TEST(refreshes_of_several_threads_are_one_call)
{
    plain[1].during = until_others_wait;
    run_threads(refresh_thread);
    ck_assert_uint_eq(plain[1].gets, 1);
    for (size_t i = 0; i < THREADS; i++)
        assert_ok(callers[i].status);
    /* no caller may be served yet, and none waited in kt_peek() */
    ck_assert_int_eq(stale_meanwhile, -1);
    assert_ok(peek("remote/a", "value"));
    ck_assert_int_eq(waiting(), -1);
}
END_TEST

START_TEST(a_failed_refresh_fails_for_all_who_waited)
{
    plain[1].during = until_others_wait;
    plain[1].status = KTP_UNAVAIL;
    plain[1].error = "no route to host";
    run_threads(refresh_thread);
    ck_assert_uint_eq(plain[1].gets, 1);
    for (size_t i = 0; i < THREADS; i++) {
        assert_status(callers[i].status, KT_UNAVAIL);
        ck_assert_ptr_nonnull(strstr(callers[i].error, "no route to host"));
    }
}
END_TEST

/* While it is found out whether a provider that was down is back, the old value serves. */
START_TEST(a_retry_keeps_nobody_from_the_stale_value)
{
    assert_ok(refresh("remote/a"));
    (void)age("remote/a", 30000);
    plain[1].status = KTP_UNAVAIL;
    assert_status(refresh("remote/a"), KT_UNAVAIL);
    age("remote/a", 0)->failed_at -= 1000; /* a second later */
    /* who comes first goes and asks */
    assert_status(peek("remote/a", NULL), KT_TRYAGAIN);
    plain[1].during = until_others_wait;
    run_threads(refresh_thread);
    ck_assert_int_eq(stale_meanwhile, 1);
    ck_assert_uint_eq(plain[1].gets, 3);
}
END_TEST

static void write_and_refresh(void)
{
    kt_request_t req = request("remote/a");
    bool mine = false;

    plain[1].during = NULL;
    (void)pthread_mutex_lock(&world.ctx->lock);
    kt_cache_drop_name(world.ctx->cache, "remote/a"); /* a write of ours */
    kt_singleflight_finish(world.ctx, kt_singleflight_join(world.ctx, req.reference, &mine),
                           KT_SUCCESS);
    (void)pthread_mutex_unlock(&world.ctx->lock);
    ck_assert(mine);
}

START_TEST(nobody_joins_a_fetch_from_before_a_write)
{
    plain[1].during = write_and_refresh;
    assert_ok(refresh("remote/a"));
    assert_status(peek("remote/a", NULL), KT_TRYAGAIN);
}
END_TEST

static char state_of(pid_t tid)
{
    char path[64], *text;
    const char *close;
    size_t size;
    char state = '?';

    if (tid == 0)
        return state;
    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
    text = world_read(path, &size);
    close = strrchr(text, ')');
    if (close != NULL)
        state = close[2];
    free(text);
    return state;
}

/* All other threads sleep: there is nothing but the context's lock that they could sleep for. */
static void until_others_sleep(void)
{
    size_t asleep = 0;

    plain[1].during = NULL;
    for (unsigned i = 0; asleep < THREADS - 1 && i < 20000; i++) {
        asleep = 0;
        for (size_t j = 0; j < THREADS; j++)
            asleep += state_of(__atomic_load_n(&callers[j].tid, __ATOMIC_ACQUIRE)) == 'S';
        if (asleep < THREADS - 1)
            sleep_ms(1);
    }
    ck_assert_uint_ge(asleep, THREADS - 1);
}

START_TEST(a_failure_is_told_to_all_who_waited_in_get)
{
    plain[1].during = until_others_sleep;
    plain[1].status = KTP_UNAVAIL;
    run_threads(get_thread);
    ck_assert_uint_eq(plain[1].gets, 1);
    for (size_t i = 0; i < THREADS; i++)
        assert_status(callers[i].status, KT_UNAVAIL);
    plain[1].status = KTP_SUCCESS;
    assert_ok(get("remote/a", "value")); /* who comes later asks again */
}
END_TEST

START_TEST(what_was_just_fetched_is_not_fetched_again)
{
    assert_ok(refresh("remote/a"));
    (void)age("remote/a", -1000);
    assert_ok(refresh("remote/a"));
    ck_assert_uint_eq(plain[1].gets, 1);
    (void)age("remote/a", 1100);
    assert_ok(refresh("remote/a"));
    ck_assert_uint_eq(plain[1].gets, 2);
    kt_cache_find(world.ctx->cache, "remote/a")->suspect = true;
    assert_ok(refresh("remote/a"));
    ck_assert_uint_eq(plain[1].gets, 3);
    plain[1].status = KTP_NOTFOUND;
    assert_status(refresh("remote/b"), KT_NOTFOUND);
    assert_status(refresh("remote/b"), KT_NOTFOUND);
    ck_assert_uint_eq(plain[1].gets, 4);
}
END_TEST

/* ---- the rest ---- */

START_TEST(what_nobody_can_be_given_any_more_is_not_kept)
{
    assert_ok(get("api-keys/a", "value"));
    (void)age("api-keys/a", 80001); /* ttl and stale window */
    assert_ok(get("api-keys/b", "value"));
    ck_assert_ptr_null(kt_cache_find(world.ctx->cache, "api-keys/a"));
    ck_assert_ptr_nonnull(kt_cache_find(world.ctx->cache, "api-keys/b"));
}
END_TEST

START_TEST(a_name_without_a_route_is_not_found_by_nobody)
{
    world_end();
    world_make("plain: {}", "\"remote/*\": plain", "");
    world_open_with((const ktp_provider_t *const[]){&plain_provider}, 1);
    for (int i = 0; i < 2; i++) {
        assert_status(get("api-keys/a", NULL), KT_NOTFOUND);
        assert_status(peek("api-keys/a", NULL), KT_NOTFOUND);
        assert_status(refresh("api-keys/a"), KT_NOTFOUND);
    }
    ck_assert_uint_eq(plain[0].gets, 0);
    ck_assert_uint_eq(world_lines("api-keys/a", "\"provider\"", NULL), 0);
    ck_assert_ptr_null(kt_cache_find(world.ctx->cache, "api-keys/a"));
}
END_TEST

START_TEST(a_field_is_cut_out)
{
    plain[0].value = "{\"user\": \"app\", \"password\": \"p\", \"port\": 5432}";
    assert_ok(get("database/a#password", "p"));
    assert_ok(get("database/a#port", "5432"));
    assert_ok(get("database/a", plain[0].value));
    assert_status(get("database/a#nope", NULL), KT_NOTFOUND);
    ck_assert_uint_eq(world_lines("\"reference\":\"database/a#password\"", "\"version\":7", NULL),
                      1);
    plain[0].value = "CANARY no object";
    assert_status(get("database/b#password", NULL), KT_USAGE);
    ck_assert_ptr_null(strstr(kt_error(world.ctx), "CANARY"));
    ck_assert_uint_eq(world_lines("CANARY", NULL), 0);
}
END_TEST

START_TEST(a_rejected_value_is_fetched_again)
{
    kt_request_t req = request("api-keys/a");

    assert_ok(get("api-keys/a", "value"));
    plain[0].value = "new";
    kt_reject(world.ctx, &req); /* too early: it has just been fetched */
    assert_ok(get("api-keys/a", "value"));
    kt_close(world.ctx);
    kt_setup_free(world.setup);
    world.ctx = NULL, world.setup = NULL;
    world_end();
    make_world_with("cache: {ttl: 60s, stale: 60s}\n");
    assert_ok(get("api-keys/a", "value"));
    plain[0].value = "new";
    (void)age("api-keys/a", 1000);
    assert_ok(get("api-keys/a", "value"));
    kt_reject(world.ctx, &req);
    plain[0].status = KTP_UNAVAIL;
    assert_ok(get("api-keys/a", "value")); /* that it was refused does not prove it wrong */
    ck_assert_int_eq(is_stale("api-keys/a"), 1);
    plain[0].status = KTP_SUCCESS;
    assert_ok(get("api-keys/a", "new"));
}
END_TEST

START_TEST(only_the_version_that_was_refused_is_suspect)
{
    kt_request_t old = request("api-keys/a@6"), present = request("api-keys/a@7");

    assert_ok(get("api-keys/a", "value"));
    plain[0].value = "new";
    (void)age("api-keys/a", 1000);
    kt_reject(world.ctx, &old);
    assert_ok(get("api-keys/a", "value"));
    kt_reject(world.ctx, &present);
    assert_ok(get("api-keys/a", "new"));
}
END_TEST

/* A client that can have a value refused while its provider is down turns nothing off, and causes
 * one fetch a second. */
START_TEST(a_refusal_turns_nothing_off)
{
    kt_request_t req = request("remote/a");

    assert_ok(refresh("remote/a"));
    (void)age("remote/a", 1000);
    kt_reject(world.ctx, &req);
    assert_status(peek("remote/a", NULL), KT_TRYAGAIN);
    plain[1].status = KTP_UNAVAIL;
    assert_status(refresh("remote/a"), KT_UNAVAIL);
    ck_assert_uint_eq(plain[1].gets, 2);
    for (int i = 0; i < 5; i++) {
        kt_reject(world.ctx, &req);
        assert_ok(peek("remote/a", "value"));
    }
    age("remote/a", 0)->failed_at -= 1000;
    assert_ok(peek("remote/a", "value")); /* it was not refused since */
    kt_reject(world.ctx, &req);
    assert_status(peek("remote/a", NULL), KT_TRYAGAIN);
}
END_TEST

START_TEST(a_probe_leaves_no_trace)
{
    kt_request_t req = request("api-keys/a"), other = request_by(READER, "database/a"),
                 far = request("remote/a");

    assert_ok(kt_probe(world.ctx, &req));
    assert_status(kt_probe(world.ctx, &other), KT_DENIED);
    assert_status(kt_probe(world.ctx, &far), KT_TRYAGAIN);
    plain[0].status = KTP_NOTFOUND;
    assert_status(kt_probe(world.ctx, &req), KT_NOTFOUND);
    ck_assert_int_ne(access(world.log, F_OK), 0);
}
END_TEST

START_TEST(bad_requests_are_usage)
{
    kt_secret_t *secret = NULL;
    kt_request_t req = request("a//b"), unfilled;
    char subject[300];

    assert_status(kt_get(world.ctx, &req, &secret), KT_USAGE);
    memset(&unfilled, 0, sizeof(unfilled));
    assert_status(kt_get(world.ctx, &unfilled, &secret), KT_USAGE);
    memset(subject, 's', sizeof(subject));
    subject[299] = '\0';
    req = request_by(subject, "a/b");
    assert_status(kt_get(world.ctx, &req, &secret), KT_USAGE);
    req = request("a/b\0c");
    req.reference_len = 5;
    assert_status(kt_get(world.ctx, &req, &secret), KT_USAGE);
    ck_assert_uint_eq(plain[0].gets, 0);
}
END_TEST

START_TEST(a_huge_or_missing_answer_is_malformed)
{
    char *huge = malloc(KT_VALUE_MAX + 2);

    memset(huge, 'h', KT_VALUE_MAX + 1);
    huge[KT_VALUE_MAX + 1] = '\0';
    plain[0].value = huge;
    assert_status(get("api-keys/a", NULL), KT_MALFORMED);
    huge[KT_VALUE_MAX] = '\0';
    assert_ok(get("api-keys/a", huge));
    free(huge);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    tcase_add_test(tests, policy_comes_before_the_cache);
    tcase_add_test(tests, every_decision_has_its_line);
    tcase_add_test(tests, a_read_that_is_recalled_says_the_same);
    tcase_add_test(tests, a_read_that_is_recalled_is_no_exception);
    tcase_add_test(tests, what_cannot_be_recorded_is_not_served);
    tcase_add_test(tests, a_value_is_cached_for_its_ttl);
    tcase_add_test(tests, an_absence_is_cached_for_less);
    tcase_add_test(tests, nothing_is_served_past_its_expiry);
    tcase_add_test(tests, a_field_expires_with_the_secret);
    tcase_add_test(tests, a_stale_value_is_the_cached_one_in_all_but_the_flag);
    UNIT_TABLE(tests, stale_only_when_nobody_knows, failures);
    tcase_add_test(tests, peek_never_asks_over_a_network);
    tcase_add_test(tests, a_change_token_ends_what_is_cached);
    tcase_add_test(tests, a_change_token_counts_without_an_agent);
    tcase_add_test(tests, a_commit_during_a_read_makes_it_old_at_once);
    tcase_add_test(tests, a_failed_refresh_is_remembered_for_a_second);
    tcase_add_test(tests, a_refresh_that_was_refused_ends_the_old_value);
    tcase_add_test(tests, a_refresh_obeys_policy);
    tcase_add_test(tests, a_refresh_from_before_a_write_is_dropped);
    tcase_add_test(tests, refreshes_of_several_threads_are_one_call);
    tcase_add_test(tests, a_failed_refresh_fails_for_all_who_waited);
    tcase_add_test(tests, a_retry_keeps_nobody_from_the_stale_value);
    tcase_add_test(tests, nobody_joins_a_fetch_from_before_a_write);
    tcase_add_test(tests, a_failure_is_told_to_all_who_waited_in_get);
    tcase_add_test(tests, what_was_just_fetched_is_not_fetched_again);
    tcase_add_test(tests, what_nobody_can_be_given_any_more_is_not_kept);
    tcase_add_test(tests, a_name_without_a_route_is_not_found_by_nobody);
    tcase_add_test(tests, a_named_provider_is_asked_itself);
    tcase_add_test(tests, a_field_is_cut_out);
    tcase_add_test(tests, a_rejected_value_is_fetched_again);
    tcase_add_test(tests, only_the_version_that_was_refused_is_suspect);
    tcase_add_test(tests, a_refusal_turns_nothing_off);
    tcase_add_test(tests, a_probe_leaves_no_trace);
    tcase_add_test(tests, bad_requests_are_usage);
    tcase_add_test(tests, a_huge_or_missing_answer_is_malformed);
}

UNIT_MAIN("read", add_tests)
