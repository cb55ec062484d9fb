/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hand-offs between threads, in all of the core at once: what the event loop of a server, its
 * agents and its command threads do to one context, to contexts beside each other, and to a value
 * that several hold. The results are checked here; that nothing is touched without its lock is seen
 * by ThreadSanitizer, under which this program runs too (tests/tsan/tsan.mk).
 */
#include "world.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS 8
#define ROUNDS 150

/* ---- a provider far away that flaps: every third answer is that it cannot be reached ---- */

static atomic_uint far_gets, far_open;

struct ktp_instance {
    const ktp_services_t *services;
};

static ktp_status_t far_open_it(const ktp_services_t *services, const ktp_option_t *options,
                                size_t count, ktp_instance_t **ret_instance)
{
    ktp_instance_t *instance = calloc(1, sizeof(*instance));

    (void)options, (void)count;
    instance->services = services;
    atomic_fetch_add(&far_open, 1);
    *ret_instance = instance;
    return KTP_SUCCESS;
}

static void far_close(ktp_instance_t *instance)
{
    atomic_fetch_sub(&far_open, 1);
    free(instance);
}

static ktp_status_t far_check(ktp_instance_t *instance, int writing)
{
    (void)instance, (void)writing;
    return KTP_SUCCESS;
}

static ktp_status_t far_get(ktp_instance_t *instance, const ktp_request_t *request,
                            ktp_value_t *ret_value)
{
    const ktp_services_t *services = instance->services;
    size_t size = strlen(request->name);

    if (atomic_fetch_add(&far_gets, 1) % 3 == 2) {
        services->error(services->host, "%s: away", request->name);
        return KTP_UNAVAIL;
    }
    ret_value->value.data = services->secret_alloc(services->host, size);
    ck_assert_ptr_nonnull(ret_value->value.data);
    memcpy(ret_value->value.data, request->name, size);
    ret_value->value.size = size;
    return KTP_SUCCESS;
}

static const ktp_option_spec_t no_options[] = {{NULL, KTP_STRING, 0, NULL, NULL}};
static const ktp_provider_t far_provider = {
    KTP_HEADER,          .name = "far",      .capabilities = KTP_BLOCKING, .options = no_options,
    .open = far_open_it, .close = far_close, .check = far_check,           .get = far_get,
};

/* ---- threads ---- */

static atomic_uint failures;

static void note(const char *what, kt_status_t status)
{
    fprintf(stderr, "%s: %s (%s)\n", what, kt_status_name(status), kt_failure());
    atomic_fetch_add(&failures, 1);
}

typedef void *(*thread_fn)(void *arg);

/* Each function in a thread of its own, with its number; all at once. */
static void run(const thread_fn *functions, size_t count)
{
    pthread_t threads[THREADS];

    ck_assert_uint_le(count, THREADS);
    atomic_store(&failures, 0);
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, functions[i], (void *)(i + 1)), 0);
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(atomic_load(&failures), 0);
}

static const char *const far_names[] = {"far/a", "far/b", "far/c", "far/d"};

static void check_far(kt_status_t status, kt_secret_t *secret, const char *name)
{
    if (status == KT_SUCCESS && !kt_secret_equal(secret, name, strlen(name)))
        note("another secret's value", status);
    else if (status != KT_SUCCESS && status != KT_UNAVAIL && status != KT_TRYAGAIN)
        note(name, status);
    else if (status != KT_SUCCESS && kt_error(world.ctx)[0] == '\0')
        note("no text", status);
    kt_secret_free(secret);
}

/* An event loop: it never waits. */
static void *peek(void *arg)
{
    for (unsigned i = 0; i < 4 * ROUNDS; i++) {
        kt_request_t req = request(far_names[(i + (uintptr_t)arg) % 4]);
        kt_secret_t *secret = NULL;
        kt_status_t status = kt_peek(world.ctx, &req, &secret);

        check_far(status, secret, req.reference);
        if (i % 7 == 0)
            kt_reject(world.ctx, &req);
    }
    return NULL;
}

static void *refresh(void *arg)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        kt_request_t req = request(far_names[(i + (uintptr_t)arg) % 4]);
        kt_status_t status = kt_refresh(world.ctx, &req);

        if (status != KT_SUCCESS && status != KT_UNAVAIL && status != KT_TRYAGAIN)
            note("refresh", status);
    }
    return NULL;
}

static void *get(void *arg)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        kt_request_t req = request(far_names[(i + (uintptr_t)arg) % 4]);
        kt_secret_t *secret = NULL;
        kt_status_t status = kt_get(world.ctx, &req, &secret);

        check_far(status, secret, req.reference);
    }
    return NULL;
}

/* The error text that a thread sees is that of its own call. */
static void *be_refused(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        kt_request_t req = request_by(i % 2 ? READER : ALL, i % 2 ? "far/a" : "not a name");
        kt_secret_t *secret = NULL;
        kt_status_t status = kt_get(world.ctx, &req, &secret);

        if (status != (i % 2 ? KT_DENIED : KT_USAGE))
            note("who may not", status);
        if (strstr(kt_error(world.ctx), i % 2 ? "nginx:reader" : "name") == NULL &&
            strstr(kt_error(world.ctx), "refused") == NULL &&
            strstr(kt_error(world.ctx), "allow") == NULL)
            note(kt_error(world.ctx), status);
    }
    return NULL;
}

/* Values that only this thread writes are what it wrote. */
static void *write_own(void *arg)
{
    char name[32], text[32];

    (void)snprintf(name, sizeof(name), "api-keys/of-%u", (unsigned)(uintptr_t)arg);
    for (unsigned i = 1; i <= ROUNDS / 5; i++) {
        kt_request_t req = request(name);
        kt_secret_t *value = NULL, *back = NULL;
        uint64_t version = 0;
        kt_status_t status;

        (void)snprintf(text, sizeof(text), "value %u", i);
        value = kt_secret_new(text, strlen(text));
        status = kt_put(world.ctx, &req, value, NULL, &version);
        kt_secret_free(value);
        if (status != KT_SUCCESS || version != i)
            note("put", status);
        status = kt_get(world.ctx, &req, &back);
        if (status != KT_SUCCESS || !kt_secret_equal(back, text, strlen(text)))
            note("what was put", status);
        kt_secret_free(back);
    }
    return NULL;
}

START_TEST(one_context_of_a_server)
{
    static const thread_fn functions[] = {peek, peek,       refresh,   refresh,
                                          get,  be_refused, write_own, write_own};
    static const ktp_provider_t *const apis[] = {&far_provider, &memory_provider};

    memory_reset();
    world_make("far: {}\n  memory: {}", "\"far/*\": far\n  \"*\": memory",
               "cache: {ttl: 20ms, stale: 1h}\n");
    world_open_with(apis, 2);
    assert_ok(kt_create(world.ctx));
    run(functions, KT_ARRAY(functions));
    kt_close(world.ctx);
    world.ctx = NULL;
    ck_assert_uint_eq(atomic_load(&far_open), 0);
}
END_TEST

/* ---- contexts beside each other ---- */

static void *live(void *arg)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "api-keys/by-%u", (unsigned)(uintptr_t)arg);
    for (unsigned i = 0; i < 4; i++) {
        kt_request_t req = request(name);
        kt_secret_t *value = kt_secret_new("value", 5), *back = NULL;
        kt_setup_t *setup = NULL;
        kt_ctx_t *ctx = NULL;
        kt_status_t status = kt_setup(world.config, "nginx", &setup);

        if (status == KT_SUCCESS)
            status = kt_open(setup, &ctx);
        if (status == KT_SUCCESS)
            status = kt_put(ctx, &req, value, NULL, NULL);
        if (status == KT_SUCCESS)
            status = kt_get(ctx, &req, &back);
        if (status != KT_SUCCESS || !kt_secret_equal(back, "value", 5))
            note(setup != NULL ? kt_setup_error(setup) : "setup", status);
        kt_secret_free(back);
        kt_secret_free(value);
        kt_close(ctx);
        kt_setup_free(setup);
    }
    return NULL;
}

/* Each with providers loaded, keys, connections and the trail of one stream. */
START_TEST(contexts_come_and_go)
{
    static const thread_fn functions[] = {live, live, live, live};

    world_of_local();
    run(functions, KT_ARRAY(functions));
    ck_assert_uint_ge(world_lines("\"action\":\"read\"", "\"status\":\"success\"", NULL), 16);
}
END_TEST

/* ---- values that are handed over ---- */

static kt_secret_t *_Atomic slots[16];

static void *hand_over(void *arg)
{
    unsigned state = (unsigned)(uintptr_t)arg * 2654435761u;

    for (unsigned i = 0; i < 40 * ROUNDS; i++) {
        size_t size = (state = state * 1103515245u + 12345u) >> 16 & 0x3ff;
        kt_secret_t *secret = kt_secret_new(NULL, size), *taken;
        unsigned char sum = 0;

        memset(kt_secret_buffer(secret), (int)(size & 0xff), size);
        taken = atomic_exchange(&slots[state % 16], kt_secret_ref(secret));
        kt_secret_free(secret);
        for (size_t at = 0; taken != NULL && at < kt_secret_size(taken); at++)
            sum |= (unsigned char)(kt_secret_bytes(taken)[at] ^ (kt_secret_size(taken) & 0xff));
        if (sum != 0)
            note("memory of two at once", KT_INTERNAL);
        kt_secret_free(taken);
    }
    return NULL;
}

START_TEST(values_change_hands)
{
    static const thread_fn functions[] = {hand_over, hand_over, hand_over, hand_over};

    run(functions, KT_ARRAY(functions));
    for (size_t i = 0; i < KT_ARRAY(slots); i++)
        kt_secret_free(atomic_exchange(&slots[i], NULL));
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, NULL, world_end);
    tcase_add_test(tests, one_context_of_a_server);
    tcase_add_test(tests, contexts_come_and_go);
    tcase_add_test(tests, values_change_hands);
}

UNIT_MAIN("threads", add_tests)
