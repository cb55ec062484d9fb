/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Providers that misbehave. A provider is foreign code, over a foreign network:
 * whatever it answers, the core says a status that is documented and a text for an operator, serves
 * no wrong value, and goes on. Two tables: one of a plain provider's answers, one of what a sealed
 * provider does to rows. And a clock that the test moves, for how long a value stays in use while
 * no provider can answer (core.mk wraps kt_monotonic).
 */
#include "world.h"

#include <limits.h>
#include <stdio.h>

/* ---- the clock ---- */

static int64_t ahead; /* ms */
int64_t __real_kt_monotonic(void);
int64_t __wrap_kt_monotonic(void);

int64_t __wrap_kt_monotonic(void)
{
    return __real_kt_monotonic() + ahead;
}

/* ---- a plain provider whose next answer is written down ---- */

struct ktp_instance {
    const ktp_services_t *services;
};

typedef struct answer {
    const char *name;
    int status;
    const char *value; /* NULL: none, whatever the status says */
    size_t size;       /* 0: of the value */
    const char *error;
    int64_t expires;
    bool nameless; /* the struct's size is overwritten */
    kt_status_t wanted;
    const char *text; /* in the error */
} answer_t;

static answer_t told;
static unsigned gets, opens;
static ktp_request_t asked;
static char asked_version[24];
static ktp_status_t opening;
static bool opens_nothing;

static ktp_status_t mock_open(const ktp_services_t *services, const ktp_option_t *options,
                              size_t count, ktp_instance_t **ret_instance)
{
    static ktp_instance_t instance;

    (void)options, (void)count;
    instance.services = services;
    opens++;
    if (opening != KTP_SUCCESS) {
        services->error(services->host, "does not start");
        return opening;
    }
    if (!opens_nothing)
        *ret_instance = &instance;
    return KTP_SUCCESS;
}

static void mock_close(ktp_instance_t *instance)
{
    ck_assert_ptr_nonnull(instance);
}

static ktp_status_t mock_check(ktp_instance_t *instance, int writing)
{
    (void)instance, (void)writing;
    return (ktp_status_t)told.status;
}

static ktp_status_t mock_get(ktp_instance_t *instance, const ktp_request_t *request,
                             ktp_value_t *ret_value)
{
    const ktp_services_t *services = instance->services;

    gets++;
    asked = *request;
    (void)snprintf(asked_version, sizeof(asked_version), "%s", request->version);
    if (told.error != NULL)
        services->error(services->host, "%s", told.error);
    if (told.value != NULL) {
        ret_value->value.data = services->secret_alloc(services->host, strlen(told.value) + 1);
        memcpy(ret_value->value.data, told.value, strlen(told.value));
        ret_value->value.size = told.size != 0 ? told.size : strlen(told.value);
    } else {
        ret_value->value.size = told.size;
    }
    ret_value->expires = told.expires;
    if (told.nameless)
        ret_value->size = 3;
    return (ktp_status_t)told.status;
}

static ktp_status_t mock_token(ktp_instance_t *instance, unsigned char ret_token[KTP_TOKEN_SIZE])
{
    static unsigned char different;

    (void)instance;
    memset(ret_token, ++different, KTP_TOKEN_SIZE);
    return (ktp_status_t)told.status;
}

static const ktp_option_spec_t no_options[] = {{NULL, KTP_STRING, 0, NULL, NULL}};
static ktp_provider_t mock = {
    KTP_HEADER,          .name = "mock",      .options = no_options, .open = mock_open,
    .close = mock_close, .check = mock_check, .get = mock_get,       .token = mock_token,
};

static void world_of_mock(uint32_t capabilities, const char *more)
{
    static const ktp_provider_t *const apis[] = {&mock};

    mock.capabilities = capabilities;
    world_make("mock: {}", "\"*\": mock", more);
    world_open_with(apis, 1);
}

static kt_status_t get(const char *reference, kt_secret_t **ret_secret)
{
    kt_request_t req = request(reference);

    *ret_secret = NULL;
    return kt_get(world.ctx, &req, ret_secret);
}

static void assert_refused(const char *reference, kt_status_t wanted, const char *text)
{
    kt_secret_t *secret;
    kt_status_t status = get(reference, &secret);
    const char *error = kt_error(world.ctx);

    ck_assert_msg(status == wanted, "%s (%s), not %s", kt_status_name(status), error,
                  kt_status_name(wanted));
    ck_assert_ptr_null(secret);
    ck_assert_msg(strstr(error, text) != NULL && strstr(error, "CANARY") == NULL &&
                      strchr(error, '\n') == NULL,
                  "`%s` has no `%s`", error, text);
}

static const answer_t answers[] = {
    {.name = "below the statuses",
     .status = -1,
     .value = "CANARY",
     .wanted = KT_MALFORMED,
     .text = "mock: "},
    {.name = "after the last status",
     .status = KTP_NOSPACE + 1,
     .value = "CANARY",
     .wanted = KT_MALFORMED,
     .text = "mock: "},
    {.name = "one of the core's", .status = KT_DENIED, .wanted = KT_MALFORMED, .text = "mock: "},
    {.name = "far away", .status = INT_MAX, .wanted = KT_MALFORMED, .text = "mock: "},
    {.name = "success without a value",
     .status = KTP_SUCCESS,
     .wanted = KT_MALFORMED,
     .text = "did not answer a value"},
    {.name = "a size of nothing",
     .status = KTP_SUCCESS,
     .size = 10,
     .wanted = KT_MALFORMED,
     .text = "did not answer a value"},
    {.name = "too large",
     .status = KTP_SUCCESS,
     .value = "CANARY",
     .size = KT_VALUE_MAX + 1,
     .wanted = KT_MALFORMED,
     .text = "at most 65536"},
    {.name = "huge",
     .status = KTP_SUCCESS,
     .value = "CANARY",
     .size = SIZE_MAX,
     .wanted = KT_MALFORMED,
     .text = "at most 65536"},
    {.name = "expired",
     .status = KTP_SUCCESS,
     .value = "CANARY",
     .expires = 1,
     .wanted = KT_GONE,
     .text = "expired"},
    {.name = "expired before 1970",
     .status = KTP_SUCCESS,
     .value = "CANARY",
     .expires = -5,
     .wanted = KT_GONE,
     .text = "expired"},
    {.name = "no reason", .status = KTP_UNAVAIL, .wanted = KT_UNAVAIL, .text = "mock: "},
    {.name = "an empty reason",
     .status = KTP_FORBIDDEN,
     .error = "",
     .wanted = KT_FORBIDDEN,
     .text = "mock: "},
    {.name = "a reason of many lines",
     .status = KTP_UNAVAIL,
     .error = "no\nway \x1b[2J\x7f\tthere",
     .wanted = KT_UNAVAIL,
     .text = "mock: no?way ?[2J??there"},
    {.name = "a reason that is a format",
     .status = KTP_TRYAGAIN,
     .error = "%s%n%s",
     .wanted = KT_TRYAGAIN,
     .text = "mock: %s%n%s"},
    {.name = "gone", .status = KTP_GONE, .wanted = KT_GONE, .text = ""},
    {.name = "conflict",
     .status = KTP_CONFLICT,
     .error = "odd",
     .wanted = KT_CONFLICT,
     .text = "mock: odd"},
    {.name = "no space",
     .status = KTP_NOSPACE,
     .error = "full",
     .wanted = KT_NOSPACE,
     .text = "mock: full"},
};

START_TEST(a_plain_answer_is_reported)
{
    world_of_mock(0, NULL);
    told = answers[_i];
    assert_refused("a/b", told.wanted, told.text);
    told = (answer_t){.status = KTP_SUCCESS, .value = "good"}; /* and it goes on */
    assert_value("a/c", "good", 0);
}
END_TEST

START_TEST(a_reason_as_long_as_a_page_is_cut)
{
    char page[4096];

    memset(page, 'x', sizeof(page) - 1);
    page[sizeof(page) - 1] = '\0';
    world_of_mock(0, NULL);
    told = (answer_t){.status = KTP_UNAVAIL, .error = page};
    assert_refused("a/b", KT_UNAVAIL, "mock: xxx");
    ck_assert_uint_lt(strlen(kt_error(world.ctx)), KT_ERROR_SIZE);
}
END_TEST

/* A text that came with a success is not the reason of a later failure. */
START_TEST(a_reason_is_of_its_own_call)
{
    world_of_mock(0, NULL);
    told = (answer_t){.status = KTP_SUCCESS, .value = "good", .error = "said with success"};
    assert_value("a/b", "good", 0);
    told = (answer_t){.status = KTP_UNAVAIL};
    assert_refused("a/c", KT_UNAVAIL, "mock: ");
    ck_assert_ptr_null(strstr(kt_error(world.ctx), "said with success"));
}
END_TEST

START_TEST(an_empty_value_is_a_value)
{
    world_of_mock(0, NULL);
    told = (answer_t){.status = KTP_SUCCESS, .value = ""};
    assert_value("a/b", "", 0);
}
END_TEST

START_TEST(what_it_was_asked)
{
    kt_secret_t *secret;

    world_of_mock(0, NULL);
    told = (answer_t){.status = KTP_SUCCESS, .value = "good", .nameless = true};
    assert_value("a/b", "good", 0);
    ck_assert_uint_eq(asked.size, sizeof(ktp_request_t));
    ck_assert_str_eq(asked_version, "current");
    ck_assert_uint_gt(asked.timeout, 0); /* a provider could wait for ever without it */
    ck_assert_uint_le(asked.timeout, 30000);
    gets = 0; /* it does not understand versions, so it is not asked for one */
    ck_assert_int_eq(get("a/b@previous", &secret), KT_NOTFOUND);
    ck_assert_int_eq(get("a/b@7", &secret), KT_NOTFOUND);
    ck_assert_uint_eq(gets, 0);
}
END_TEST

START_TEST(a_provider_that_does_not_start)
{
    static const struct {
        ktp_status_t opening;
        bool nothing;
        kt_status_t wanted;
        const char *text;
    } ways[] = {
        {KTP_UNAVAIL, false, KT_UNAVAIL, "mock: does not start"},
        {KTP_FORBIDDEN, false, KT_FORBIDDEN, "mock: does not start"},
        {(ktp_status_t)77, false, KT_MALFORMED, "mock: does not start"},
        {KTP_SUCCESS, true, KT_MALFORMED, "mock: success without an instance"},
    };

    world_of_mock(0, NULL);
    told = (answer_t){.status = KTP_SUCCESS, .value = "good"};
    for (size_t i = 0; i < KT_ARRAY(ways); i++) {
        opening = ways[i].opening;
        opens_nothing = ways[i].nothing;
        assert_refused("a/b", ways[i].wanted, ways[i].text);
    }
    opening = KTP_SUCCESS;
    opens_nothing = false;
    assert_value("a/b", "good", 0); /* each call tries again */
}
END_TEST

START_TEST(what_blocks_is_not_asked_by_an_event_loop)
{
    kt_request_t req = request("a/b");
    kt_secret_t *secret = NULL;

    world_of_mock(KTP_BLOCKING, NULL);
    told = (answer_t){.status = KTP_SUCCESS, .value = "good"};
    assert_status(kt_peek(world.ctx, &req, &secret), KT_TRYAGAIN);
    ck_assert_uint_eq(gets, 0);
    assert_ok(kt_refresh(world.ctx, &req));
    assert_ok(kt_peek(world.ctx, &req, &secret));
    assert_secret(secret, "good");
    kt_secret_free(secret);
    ck_assert_uint_eq(gets, 1);
}
END_TEST

/* ---- while no provider can answer ---- */

static const int unknown[] = {KTP_UNAVAIL, KTP_TRYAGAIN};

static void assert_stale(bool stale)
{
    kt_secret_t *secret;

    assert_ok(get("a/b", &secret));
    assert_secret(secret, "good");
    ck_assert_int_eq(kt_secret_stale(secret), stale);
    kt_secret_free(secret);
}

/* 10 s fresh, then 60 s stale: to the second, and not a moment longer. */
START_TEST(the_stale_window_is_kept)
{
    world_of_mock(0, "cache: {ttl: 10s, stale: 60s}\n");
    told = (answer_t){.status = KTP_SUCCESS, .value = "good"};
    assert_stale(false);
    told = (answer_t){.status = unknown[_i], .error = "away"};
    ahead = 9000;
    assert_stale(false);
    ck_assert_uint_eq(gets, 1);
    ahead = 11000;
    assert_stale(true);
    ahead = 69000;
    assert_stale(true);
    ahead = 70001;
    assert_refused("a/b", (kt_status_t)unknown[_i], "away");
    told = (answer_t){.status = KTP_SUCCESS, .value = "good"};
    assert_stale(false);
    ck_assert_uint_eq(world_lines("\"stale\":true", NULL),
                      world_lines("\"stale\":true", "\"status\":\"success\"", NULL));
}
END_TEST

/* Flapping: each good answer starts the window again; none makes it longer. */
START_TEST(a_flapping_provider)
{
    world_of_mock(0, "cache: {ttl: 10s, stale: 20s}\n");
    for (unsigned i = 0; i < 6; i++) {
        ahead = i * 40000;
        told = (answer_t){.status = KTP_SUCCESS, .value = "good"};
        assert_stale(false);
        told = (answer_t){.status = unknown[i % 2]};
        ahead += 29000;
        assert_stale(true);
        ahead += 1001;
        assert_refused("a/b", (kt_status_t)unknown[i % 2], "mock");
    }
}
END_TEST

static const struct {
    int status;
    kt_status_t wanted;
} facts[] = {{KTP_FORBIDDEN, KT_FORBIDDEN},
             {KTP_MALFORMED, KT_MALFORMED},
             {KTP_GONE, KT_GONE},
             {KTP_NOTFOUND, KT_NOTFOUND},
             {99, KT_MALFORMED}};

START_TEST(a_refusal_ends_what_was_good)
{
    world_of_mock(0, "cache: {ttl: 10s, stale: 60s}\n");
    told = (answer_t){.status = KTP_SUCCESS, .value = "good"};
    assert_stale(false);
    ahead = 11000;
    told = (answer_t){.status = facts[_i].status};
    assert_refused("a/b", facts[_i].wanted, "");
}
END_TEST

/* With a token that always differs, or that fails, the cache is useless; no value is wrong. */
START_TEST(a_useless_token)
{
    world_of_mock(KTP_TOKEN, "cache: {ttl: 10s}\n");
    told = (answer_t){.status = KTP_SUCCESS, .value = "good"};
    assert_value("a/b", "good", 0);
    assert_value("a/b", "good", 0);
    ck_assert_uint_eq(gets, 2);
    told = (answer_t){.status = 55, .value = "other"};
    assert_refused("a/b", KT_MALFORMED, "mock");
}
END_TEST

/* ---- a sealed provider, around the one in memory ---- */

static enum {
    NOTHING,
    NO_TXN,
    NO_RECORD,
    NO_STAMP,
    NO_BESIDE,
    HUGE_ROW,
    HUGE_BESIDE,
    ODD_GET,
    ODD_BEGIN,
    ODD_COMMIT,
    LOST_PUT,
    SAME_ROW,
    NO_ROW,
    NO_KEY,
    DEAF,
    ODD_SCAN
} trick;
static ktp_provider_t sealed;
static unsigned scanned;

static ktp_status_t trick_begin(ktp_instance_t *instance, int writing, unsigned timeout,
                                ktp_txn_t **ret_txn)
{
    if (trick == NO_TXN)
        return KTP_SUCCESS;
    return trick == ODD_BEGIN ? (ktp_status_t)-7
                              : memory_provider.begin(instance, writing, timeout, ret_txn);
}

static void spoil(ktp_row_t *row)
{
    if (trick == NO_RECORD)
        row->record = NULL;
    if (trick == NO_STAMP)
        row->stamp = 0;
    if (trick == NO_BESIDE && row->beside != NULL)
        row->beside = NULL;
    if (trick == HUGE_ROW)
        row->record_size = SIZE_MAX;
    if (trick == HUGE_BESIDE && row->beside != NULL)
        row->beside_size = SIZE_MAX;
}

static ktp_status_t trick_get(ktp_txn_t *txn, const ktp_key_t *key, ktp_row_t *ret_row)
{
    ktp_status_t status =
        trick == ODD_GET ? (ktp_status_t)1000 : memory_provider.row_get(txn, key, ret_row);

    if (status == KTP_SUCCESS)
        spoil(ret_row);
    return status;
}

static ktp_status_t trick_put(ktp_txn_t *txn, const ktp_key_t *key, const ktp_row_t *row,
                              uint64_t expected)
{
    return trick == LOST_PUT && key->space == KTP_HEAD
               ? KTP_SUCCESS
               : memory_provider.row_put(txn, key, row, expected);
}

static ktp_status_t trick_commit(ktp_txn_t *txn)
{
    ktp_status_t status = memory_provider.commit(txn);

    return trick == ODD_COMMIT ? (ktp_status_t)44 : status;
}

typedef struct passing {
    ktp_scan_fn fn;
    void *arg;
} passing_t;

static int pass(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    const passing_t *passing = arg;
    int ended = 0;

    switch (trick) {
    case SAME_ROW:
        for (scanned = 0; ended == 0 && scanned < 1000000; scanned++)
            ended = passing->fn(passing->arg, key, row);
        return ended;
    case NO_ROW:
        return passing->fn(passing->arg, key, NULL);
    case NO_KEY:
        return passing->fn(passing->arg, NULL, row);
    case DEAF:
        scanned++;
        (void)passing->fn(passing->arg, key, row);
        return 0;
    default: {
        ktp_row_t spoilt = *row;

        spoil(&spoilt);
        return passing->fn(passing->arg, key, &spoilt);
    }
    }
}

static ktp_status_t trick_scan(ktp_txn_t *txn, ktp_space_t space, ktp_scan_fn fn, void *arg)
{
    passing_t passing = {fn, arg};
    ktp_status_t status = memory_provider.row_scan(txn, space, pass, &passing);

    return trick == ODD_SCAN ? (ktp_status_t)12345 : status;
}

static void world_of_tricks(void)
{
    static const ktp_provider_t *const apis[] = {&sealed};

    sealed = memory_provider;
    sealed.begin = trick_begin;
    sealed.row_get = trick_get;
    sealed.row_put = trick_put;
    sealed.row_scan = trick_scan;
    sealed.commit = trick_commit;
    trick = NOTHING;
    memory_reset();
    world_make("memory: {}", "\"*\": memory", "cache: {ttl: 0s}\n");
    world_open_with(apis, 1);
    assert_ok(kt_create(world.ctx));
    put("a/1", "CANARY one", 1);
    put("a/2", "CANARY two", 1);
}

static const struct {
    int trick;
    const char *text;
} tricks[] = {
    {NO_TXN, "success without a transaction"},
    {ODD_BEGIN, "memory: "},
    {ODD_GET, "memory: "},
    {NO_RECORD, "malformed row"},
    {NO_STAMP, "malformed row"},
    {HUGE_ROW, "malformed row"},
    {HUGE_BESIDE, "malformed row"},
    {NO_BESIDE, "malformed row"},
};

START_TEST(a_malformed_row)
{
    kt_request_t req = request("a/1");
    kt_secret_t *value = secret_of("new");

    world_of_tricks();
    trick = tricks[_i].trick;
    assert_refused("a/1", KT_MALFORMED, tricks[_i].text);
    ck_assert_int_eq(kt_put(world.ctx, &req, value, NULL, NULL), KT_MALFORMED);
    trick = NOTHING;
    kt_secret_free(value);
    assert_value("a/1", "CANARY one", 1); /* neither is anything changed */
}
END_TEST

static int count_name(void *arg, const kt_entry_t *entry)
{
    (void)entry;
    ++*(unsigned *)arg;
    return 0;
}

static kt_status_t list(unsigned *ret_count)
{
    kt_request_t req = request("*");
    uint64_t hidden;

    *ret_count = 0;
    return kt_list(world.ctx, &req, count_name, ret_count, &hidden);
}

static const struct {
    int trick;
    const char *text;
} lists[] = {
    {SAME_ROW, "repeatedly"},    {NO_ROW, "malformed row"},   {NO_KEY, "malformed row"},
    {ODD_SCAN, "memory: "},      {HUGE_ROW, "malformed row"}, {NO_RECORD, "malformed row"},
    {NO_STAMP, "malformed row"},
};

START_TEST(a_malformed_list)
{
    unsigned count;

    world_of_tricks();
    trick = lists[_i].trick;
    ck_assert_int_eq(list(&count), KT_MALFORMED);
    ck_assert_msg(strstr(kt_error(world.ctx), lists[_i].text) != NULL, "%s", kt_error(world.ctx));
    ck_assert_uint_le(scanned, 2); /* it was asked to stop at once */
    trick = NOTHING;
    assert_ok(list(&count));
    ck_assert_uint_eq(count, 2);
}
END_TEST

/* It continues with the list after it was asked to stop. */
START_TEST(a_list_that_does_not_listen)
{
    unsigned count;

    world_of_tricks();
    trick = DEAF;
    assert_ok(list(&count));
    ck_assert_uint_eq(count, 2);
    ck_assert_uint_gt(scanned, 0);
}
END_TEST

/* It says that it has written, and has not: the index knows. */
START_TEST(a_write_that_is_lost)
{
    kt_request_t req = request("a/1");
    kt_secret_t *value = secret_of("new");

    world_of_tricks();
    trick = LOST_PUT;
    assert_ok(kt_put(world.ctx, &req, value, NULL, NULL));
    kt_secret_free(value);
    trick = NOTHING;
    assert_refused("a/1", KT_ROLLEDBACK, "a/1");
}
END_TEST

/* It has committed and answers nonsense: no caller saw a success, and what is there is whole. */
START_TEST(a_commit_that_is_not_reported)
{
    kt_request_t req = request("a/1");
    kt_secret_t *value = secret_of("new"), *back = NULL;

    world_of_tricks();
    trick = ODD_COMMIT;
    ck_assert_int_eq(kt_put(world.ctx, &req, value, NULL, NULL), KT_MALFORMED);
    kt_secret_free(value);
    trick = NOTHING;
    assert_ok(get("a/1", &back));
    ck_assert(kt_secret_equal(back, "new", 3) || kt_secret_equal(back, "CANARY one", 10));
    kt_secret_free(back);
}
END_TEST

static void start(void)
{
    told = (answer_t){.status = KTP_SUCCESS};
    ahead = 0;
    gets = opens = scanned = 0;
    opening = KTP_SUCCESS;
    opens_nothing = false;
}

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, start, world_end);
    UNIT_TABLE(tests, a_plain_answer_is_reported, answers);
    tcase_add_test(tests, a_reason_as_long_as_a_page_is_cut);
    tcase_add_test(tests, a_reason_is_of_its_own_call);
    tcase_add_test(tests, an_empty_value_is_a_value);
    tcase_add_test(tests, what_it_was_asked);
    tcase_add_test(tests, a_provider_that_does_not_start);
    tcase_add_test(tests, what_blocks_is_not_asked_by_an_event_loop);
    UNIT_TABLE(tests, the_stale_window_is_kept, unknown);
    tcase_add_test(tests, a_flapping_provider);
    UNIT_TABLE(tests, a_refusal_ends_what_was_good, facts);
    tcase_add_test(tests, a_useless_token);
    UNIT_TABLE(tests, a_malformed_row, tricks);
    UNIT_TABLE(tests, a_malformed_list, lists);
    tcase_add_test(tests, a_list_that_does_not_listen);
    tcase_add_test(tests, a_write_that_is_lost);
    tcase_add_test(tests, a_commit_that_is_not_reported);
}

UNIT_MAIN("mocks", add_tests)
