/* SPDX-License-Identifier: BSD-2-Clause */
/* core/provider/loader.c: providers beside the library, and their options. tests/abi has those that
 * are refused. */
#include "process.h"
#include "world.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static kt_modules_t *modules;
static kt_config_t *config;

static kt_status_t load(const char *providers)
{
    kt_status_t status;

    world_make(providers, "\"*\": local", NULL);
    status = kt_config_read(world.config, &config);
    return status == KT_SUCCESS ? kt_modules_load(config, &modules) : status;
}

static void end_world(void)
{
    kt_modules_unref(modules);
    kt_config_unref(config);
    modules = NULL;
    config = NULL;
    world_end();
}

static const ktp_option_t *option(size_t module, const char *name)
{
    for (size_t i = 0; i < modules->list[module].noptions; i++)
        if (strcmp(modules->list[module].options[i].name, name) == 0)
            return &modules->list[module].options[i];
    ck_abort_msg("no option %s", name);
    return NULL;
}

START_TEST(two_providers_are_two)
{
    const ktp_provider_t *local, *redis;

    assert_ok(load("redis: {address: \"127.0.0.1:1\"}\n  local: {path: x.db}"));
    ck_assert_uint_eq(modules->count, 2);
    redis = modules->list[0].api;
    local = modules->list[1].api;
    ck_assert_str_eq(redis->name, "redis");
    ck_assert_str_eq(local->name, "local");
    /* as often as a server may be reloaded: the same ones, and no descriptor is left */
    for (unsigned i = 0; i < 70; i++) {
        kt_modules_t *again = NULL;

        assert_ok(kt_modules_load(config, &again));
        ck_assert_ptr_eq(again->list[0].api, redis);
        ck_assert_ptr_eq(again->list[1].api, local);
        kt_modules_unref(again);
    }
}
END_TEST

START_TEST(no_descriptor_is_left)
{
    unsigned before = open_files();

    assert_ok(load("redis: {address: \"127.0.0.1:1\"}\n  local: {path: x.db}"));
    ck_assert_uint_eq(open_files(), before);
}
END_TEST

START_TEST(options_have_types_and_defaults)
{
    char path[128];

    assert_ok(load("local: {path: sub/x.db, timeout: 250ms}"));
    (void)snprintf(path, sizeof(path), "%s/sub/x.db", world.dir);
    ck_assert_str_eq(option(0, "path")->text, path); /* below the configuration's folder */
    ck_assert(option(0, "keep_versions")->number == 10);
    ck_assert(option(0, "timeout")->number == 250);
    ck_assert_str_eq(option(0, "path")->file, world.config);
    ck_assert_int_eq(option(0, "timeout")->line, 4);
}
END_TEST

static const struct {
    const char *providers, *error;
} wrong[] = {
    {"local: {}", "needs `path`"},
    {"local: {path: x, keep_versoins: 3}", "did you mean \"keep_versions\"?"},
    {"local: {path: x, keep_versions: many}", "`keep_versions` must be a number"},
    {"local: {path: x, keep_versions: 3x}", "`keep_versions` must be a number"},
    {"local: {path: x, keep_versions: -3}", "`keep_versions` must be a number"},
    {"local: {path: x, keep_versions: 99999999999999999999}", "`keep_versions` must be a number"},
    {"local: {path: x, keep_versions: 1}", "`keep_versions` must be 2 to 100"},
    {"local: {path: x, keep_versions: 101}", "`keep_versions` must be 2 to 100"},
    {"local: {path: x, timeout: 5 years}", "`timeout` must be a duration"},
    {"local: {path: x}\n  nope: {}", "there is no provider \"nope\""},
    {"local: {path: x}\n  redis: {address: \"127.0.0.1:1\", password: CANARY}",
     "must be file:PATH"},
};

START_TEST(wrong_options_are_named)
{
    assert_status(load(wrong[_i].providers), KT_CONFIG);
    assert_failure_has(wrong[_i].error);
    assert_failure_has(world.config);
    ck_assert_ptr_null(strstr(kt_failure(), "CANARY"));
    ck_assert_ptr_null(modules);
}
END_TEST

START_TEST(a_secret_option_is_read_from_a_private_file)
{
    char path[128];

    assert_status(
        load("local: {path: x}\n  redis: {address: \"127.0.0.1:1\", password: \"file:pw\"}"),
        KT_CONFIG);
    assert_failure_has("/pw");
    (void)snprintf(path, sizeof(path), "%s/pw", world.dir);
    world_write(path, "s3cret\n", 0644);
    assert_status(kt_modules_load(config, &modules), KT_PERMISSION);
    ck_assert_int_eq(chmod(path, 0600), 0);
    assert_ok(kt_modules_load(config, &modules));
    ck_assert_str_eq(option(1, "password")->text, "s3cret");
    ck_assert_uint_eq(option(1, "password")->text_size, 6);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, NULL, end_world);
    tcase_add_test(tests, two_providers_are_two);
    tcase_add_test(tests, no_descriptor_is_left);
    tcase_add_test(tests, options_have_types_and_defaults);
    UNIT_TABLE(tests, wrong_options_are_named, wrong);
    tcase_add_test(tests, a_secret_option_is_read_from_a_private_file);
}

UNIT_MAIN("loader", add_tests)
