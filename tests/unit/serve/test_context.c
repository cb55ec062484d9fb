/* SPDX-License-Identifier: BSD-2-Clause */
/* core/serve/context.c: set-up, contexts, forks, failures half-way; over the real provider `local`.
 */
#include "world.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void make_world(void)
{
    world_make(NULL, NULL, "cache: {ttl: 60s}\n");
}

static kt_status_t get_from(kt_ctx_t *ctx, const char *reference, const char *text)
{
    kt_request_t req = request(reference);
    kt_secret_t *secret = NULL;
    kt_status_t status = kt_get(ctx, &req, &secret);

    if (status == KT_SUCCESS && !kt_secret_equal(secret, text, strlen(text)))
        status = KT_MALFORMED;
    kt_secret_free(secret);
    return status;
}

START_TEST(a_setup_tells_what_it_read)
{
    char audit[128];

    world_open();
    (void)snprintf(audit, sizeof(audit), "%s/audit", world.dir);
    ck_assert_str_eq(kt_setup_config(world.setup), world.config);
    ck_assert_str_eq(kt_setup_environment(world.setup), "test");
    ck_assert_str_eq(kt_setup_stream(world.setup), "nginx");
    ck_assert_str_eq(kt_setup_audit_path(world.setup), audit);
    ck_assert_str_eq(kt_setup_error(world.setup), "");
    ck_assert_int_eq(kt_setup_status(world.setup), KT_SUCCESS);
}
END_TEST

static const struct {
    const char *host, *stream; /* NULL: refused */
} hosts[] = {{"nginx", "nginx"}, {"redis", "redis"}, {"postgresql", "postgresql"},
             {"cli", "cli-"},    {"apache", NULL},   {"", NULL}};

/* F10: the example of keyturn(3) with another subject than the stream's own. */
static const struct {
    const char *host, *subject;
} foreign[] = {{"nginx", "uid:root"}, {"nginx", "redis:default"}, {"nginx", "postgresql:worker"},
               {"nginx", "nobody"},   {"nginx", " nginx:all"},    {"cli", "nginx:all"},
               {"cli", "uid:"},       {"cli", "uid:somebody"},    {"redis", "nginx:all"}};

static kt_status_t ask(kt_ctx_t *ctx, const char *subject, bool peek)
{
    kt_request_t req = request_by(subject, "api-keys/a");
    kt_secret_t *secret = (kt_secret_t *)1;
    kt_status_t status = peek ? kt_peek(ctx, &req, &secret) : kt_get(ctx, &req, &secret);

    if (status != KT_SUCCESS)
        ck_assert_ptr_null(secret);
    kt_secret_free(secret);
    return status;
}

START_TEST(a_foreign_subject_is_refused)
{
    kt_request_t req = request_by(foreign[_i].subject, "api-keys/a");
    kt_setup_t *setup = NULL;
    kt_ctx_t *ctx = NULL;
    kt_info_t *info = NULL;
    char line[128];

    world_of_local();
    put("api-keys/a", "v", 1);
    assert_ok(kt_setup(world.config, foreign[_i].host, &setup));
    assert_ok(kt_open(setup, &ctx));
    if (strcmp(foreign[_i].host, "nginx") == 0) {
        assert_ok(ask(ctx, "nginx:all", false)); /* from now on it is in the cache */
        assert_ok(ask(ctx, "nginx:all", true));
    }
    ck_assert_int_eq(ask(ctx, foreign[_i].subject, false), KT_USAGE);
    ck_assert_ptr_nonnull(strstr(kt_error(ctx), "cannot vouch for it"));
    ck_assert_int_eq(ask(ctx, foreign[_i].subject, true), KT_USAGE);
    ck_assert_int_eq(kt_info(ctx, &req, &info), KT_USAGE);
    ck_assert_int_eq(kt_delete(ctx, &req), KT_USAGE);
    kt_close(ctx);
    kt_setup_free(setup);
    (void)snprintf(line, sizeof(line), "\"subject\":\"%s\"", foreign[_i].subject);
    if (strcmp(foreign[_i].subject, ALL) != 0) /* it put the secret */
        ck_assert_uint_eq(world_lines(line, NULL), 0);
    assert_value("api-keys/a", "v", 1);
}
END_TEST

START_TEST(hosts_have_streams)
{
    kt_setup_t *setup = NULL;
    kt_status_t status = kt_setup(world.config, hosts[_i].host, &setup);

    ck_assert_int_eq(status, hosts[_i].stream != NULL ? KT_SUCCESS : KT_USAGE);
    if (hosts[_i].stream != NULL)
        ck_assert_int_eq(
            strncmp(kt_setup_stream(setup), hosts[_i].stream, strlen(hosts[_i].stream)), 0);
    kt_setup_free(setup);
}
END_TEST

/* After each failure the setup is there, says why, opens nothing and is freed. */
static void assert_refused(kt_status_t wanted, const char *text)
{
    kt_setup_t *setup = NULL;
    kt_ctx_t *ctx = (kt_ctx_t *)1;
    kt_status_t status = kt_setup(world.config, "nginx", &setup);

    ck_assert_msg(status == wanted, "%s: %s", kt_status_name(status), kt_setup_error(setup));
    ck_assert_int_eq(kt_setup_status(setup), wanted);
    ck_assert_msg(strstr(kt_setup_error(setup), text) != NULL, "%s", kt_setup_error(setup));
    ck_assert_int_eq(kt_open(setup, &ctx), wanted);
    ck_assert_ptr_null(ctx);
    kt_close(ctx);
    kt_setup_free(setup);
}

START_TEST(a_setup_that_failed_opens_nothing)
{
    ck_assert_int_eq(chmod(world.key, 0644), 0);
    assert_refused(KT_PERMISSION, "too open");
    ck_assert_int_eq(unlink(world.key), 0);
    assert_refused(KT_CONFIG, "test.key");
    world_write(world.config, "environment: test\nkye: x\n", 0600);
    assert_refused(KT_CONFIG, ":2:");
    ck_assert_int_eq(unlink(world.config), 0);
    assert_refused(KT_CONFIG, world.config);
    kt_setup_free(NULL);
    kt_close(NULL);
}
END_TEST

START_TEST(a_trail_that_cannot_be_opened_refuses_the_context)
{
    kt_setup_t *setup = NULL;
    kt_ctx_t *ctx = NULL;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/audit", world.dir);
    ck_assert_int_eq(rmdir(path), 0);
    assert_ok(kt_setup(world.config, "nginx", &setup));
    assert_status(kt_open(setup, &ctx), KT_AUDIT);
    ck_assert_ptr_nonnull(strstr(kt_setup_error(setup), path));
    ck_assert_int_eq(mkdir(path, 0700), 0);
    assert_ok(kt_open(setup, &ctx)); /* the setup is as good as before */
    kt_close(ctx);
    kt_setup_free(setup);
}
END_TEST

START_TEST(contexts_outlive_their_setup)
{
    kt_ctx_t *ctx;

    world_of_local();
    put("api-keys/a", "one", 1);
    ctx = world_context();
    kt_setup_free(world.setup);
    world.setup = NULL;
    assert_ok(get_from(ctx, "api-keys/a", "one"));
    assert_ok(get_from(world.ctx, "api-keys/a", "one"));
    kt_close(ctx);
}
END_TEST

START_TEST(a_context_does_not_survive_a_fork)
{
    kt_secret_t *held = NULL;
    kt_request_t req = request("api-keys/a");
    int status;
    pid_t pid;

    world_of_local();
    put("api-keys/a", "one", 1);
    assert_ok(kt_get(world.ctx, &req, &held));
    pid = fork();
    if (pid == 0) {
        kt_secret_t *secret = NULL;
        kt_info_t *info = NULL;
        kt_ctx_t *ctx = NULL;
        bool good = kt_get(world.ctx, &req, &secret) == KT_INTERNAL &&
                    kt_peek(world.ctx, &req, &secret) == KT_INTERNAL &&
                    kt_put(world.ctx, &req, held, NULL, NULL) == KT_INTERNAL &&
                    kt_refresh(world.ctx, &req) == KT_INTERNAL &&
                    kt_info(world.ctx, &req, &info) == KT_INTERNAL &&
                    strstr(kt_error(world.ctx), "fork") != NULL;

        for (size_t i = 0; i < sizeof(world.ctx->holder.keyring->env[0].key); i++)
            good = good && world.ctx->holder.keyring->env[0].key[i] == 0;
        kt_close(world.ctx);
        (void)ctx;
        _exit(good ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    /* and the parent lost nothing: no lock, no connection */
    assert_ok(get_from(world.ctx, "api-keys/a", "one"));
    put("api-keys/a", "two", 2);
    kt_secret_free(held);
}
END_TEST

/* As nginx does: the master sets up, each worker opens its own. */
START_TEST(a_setup_crosses_a_fork)
{
    int status;
    pid_t pid;

    world_of_local();
    put("api-keys/a", "one", 1);
    kt_close(world.ctx);
    world.ctx = NULL;
    for (unsigned i = 0; i < 3; i++) {
        pid = fork();
        if (pid == 0) {
            kt_ctx_t *ctx = NULL;
            kt_status_t got = kt_open(world.setup, &ctx);

            if (got == KT_SUCCESS)
                got = get_from(ctx, "api-keys/a", "one");
            kt_close(ctx);
            _exit((int)got);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
    }
}
END_TEST

static char logged[4][600];
static unsigned nlogged;

static void take_log(void *arg, int level, const char *text)
{
    ck_assert_ptr_eq(arg, logged);
    ck_assert_int_ge(level, 3);
    (void)snprintf(logged[nlogged++ % 4], sizeof(logged[0]), "%s", text);
}

START_TEST(the_hook_hears_of_a_trail_that_is_not_required)
{
    char text[2048], *old = world_read(world.config, NULL), *at = strstr(old, "required: true");
    kt_setup_t *setup = NULL;
    kt_ctx_t *ctx = NULL;

    (void)snprintf(text, sizeof(text), "%.*srequired: false%s", (int)(at - old), old, at + 14);
    world_write(world.config, text, 0600);
    free(old);
    (void)snprintf(text, sizeof(text), "%s/audit", world.dir);
    ck_assert_int_eq(rmdir(text), 0);
    assert_ok(kt_setup(world.config, "nginx", &setup));
    kt_setup_log(setup, take_log, logged);
    assert_ok(kt_open(setup, &ctx));
    ck_assert_uint_ge(nlogged, 1);
    ck_assert_ptr_nonnull(strstr(logged[(nlogged - 1) % 4], "audit.required is false"));
    kt_close(ctx);
    kt_setup_free(setup);
}
END_TEST

/* ---- threads ---- */

static atomic_uint failures;
static atomic_bool stop;

static void *read_much(void *arg)
{
    kt_request_t req = request(arg);

    for (unsigned i = 0; i < 2000; i++) {
        kt_secret_t *secret = NULL;
        kt_status_t status =
            i % 3 ? kt_peek(world.ctx, &req, &secret) : kt_get(world.ctx, &req, &secret);

        if (status != KT_SUCCESS || kt_secret_size(secret) != 6 ||
            strcmp(kt_error(world.ctx), "") != 0)
            atomic_fetch_add(&failures, 1);
        kt_secret_free(secret);
    }
    return NULL;
}

static void *refresh_much(void *arg)
{
    kt_request_t req = request(arg);

    while (!atomic_load(&stop)) {
        if (kt_refresh(world.ctx, &req) != KT_SUCCESS)
            atomic_fetch_add(&failures, 1);
        kt_reject(world.ctx, &req);
    }
    return NULL;
}

static void *fail_much(void *arg)
{
    kt_request_t req = request("api-keys/nope");

    (void)arg;
    for (unsigned i = 0; i < 2000; i++) {
        kt_secret_t *secret = NULL;

        if (kt_get(world.ctx, &req, &secret) != KT_NOTFOUND || strcmp(kt_error(world.ctx), "") == 0)
            atomic_fetch_add(&failures, 1);
    }
    return NULL;
}

START_TEST(threads_share_a_context)
{
    static char name[] = "api-keys/a";
    pthread_t threads[4];
    char text[16];

    world_of_local();
    put(name, "v00001", 1);
    ck_assert_int_eq(pthread_create(&threads[0], NULL, read_much, name), 0);
    ck_assert_int_eq(pthread_create(&threads[1], NULL, read_much, name), 0);
    ck_assert_int_eq(pthread_create(&threads[2], NULL, fail_much, NULL), 0);
    ck_assert_int_eq(pthread_create(&threads[3], NULL, refresh_much, name), 0);
    for (unsigned i = 2; i <= 20; i++) {
        (void)snprintf(text, sizeof(text), "v%05u", i);
        put(name, text, i);
        assert_value(name, text, i); /* never an older one after the commit */
    }
    for (size_t i = 0; i < 3; i++)
        (void)pthread_join(threads[i], NULL);
    atomic_store(&stop, true);
    (void)pthread_join(threads[3], NULL);
    ck_assert_uint_eq(atomic_load(&failures), 0);
}
END_TEST

/* Said at the start: a cache that fills up weeks later could not refuse any more. */
START_TEST(a_cache_that_cannot_be_locked)
{
    static const struct {
        const char *more;
        kt_status_t status;
    } cases[] = {{"secret_memory: require\ncache: {size: 4M}\n", KT_CONFIG},
                 {"secret_memory: require\ncache: {size: 512K}\n", KT_SUCCESS},
                 {"secret_memory: prefer\ncache: {size: 4M}\n", KT_SUCCESS}};
    struct rlimit limit;

    assert_not_root(); /* who locks without a limit */
    ck_assert_int_eq(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    limit.rlim_cur = 3u << 20;
    ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    for (size_t i = 0; i < KT_ARRAY(cases); i++) {
        kt_ctx_t *ctx = NULL;
        kt_setup_t *setup;

        world_end();
        world_make(NULL, NULL, cases[i].more);
        assert_ok(kt_setup(world.config, "nginx", &setup));
        assert_status(kt_open(setup, &ctx), cases[i].status);
        if (cases[i].status != KT_SUCCESS)
            ck_assert_ptr_nonnull(
                strstr(kt_setup_error(setup), "a cache of 4194304 bytes could not be locked"));
        kt_close(ctx);
        kt_setup_free(setup);
    }
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    tcase_add_test(tests, a_setup_tells_what_it_read);
    UNIT_TABLE(tests, hosts_have_streams, hosts);
    tcase_add_loop_test(tests, a_foreign_subject_is_refused, 0, KT_ARRAY(foreign));
    tcase_add_test(tests, a_setup_that_failed_opens_nothing);
    tcase_add_test(tests, a_trail_that_cannot_be_opened_refuses_the_context);
    tcase_add_test(tests, contexts_outlive_their_setup);
    tcase_add_test(tests, a_context_does_not_survive_a_fork);
    tcase_add_test(tests, a_setup_crosses_a_fork);
    tcase_add_test(tests, the_hook_hears_of_a_trail_that_is_not_required);
    tcase_add_test(tests, threads_share_a_context);
    tcase_add_test(tests, a_cache_that_cannot_be_locked);
}

UNIT_MAIN("context", add_tests)
