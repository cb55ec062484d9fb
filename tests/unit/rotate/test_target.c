/* SPDX-License-Identifier: BSD-2-Clause */
/* core/rotate/target.c, command.c: commands as targets of rotations, and what of a value they can
 * and cannot leave behind. */
#include "world.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rotate/target.h"

#define DATABASE "{\"host\": \"db\", \"user\": \"app\", \"password\": \"old-password\"}"

static char script[96], seen[96];
static kt_request_t req;

/* The command appends what it was given to the file `seen`, and ends as `body` says. */
static void make_script(const char *body)
{
    char text[1024];

    (void)snprintf(text, sizeof(text),
                   "#!/bin/sh\nexec 9>>%s\nvalue=$(cat)\n"
                   "echo \"$KEYTURN_STEP $KEYTURN_NAME $KEYTURN_VERSION $KEYTURN_ENVIRONMENT $# "
                   "$*|$value\" >&9\n%s\n",
                   seen, body);
    world_write(script, text, 0700);
}

/* `more` follows exec in the target of database/a. */
static void make_world_with(const char *pattern, const char *more)
{
    static const ktp_provider_t *const apis[] = {&memory_provider};
    char text[1024];

    memory_reset();
    world_make("memory: {}", "\"*\": memory", NULL);
    (void)snprintf(script, sizeof(script), "%s/target", world.dir);
    (void)snprintf(seen, sizeof(seen), "%s/seen", world.dir);
    (void)snprintf(text, sizeof(text), "targets: {\"%s\": {exec: \"%s one two\"%s}}\n", pattern,
                   script, more);
    char *config = world_read(world.config, NULL), *whole = NULL;
    ck_assert(asprintf(&whole, "%s%s", config, text) > 0);
    world_write(world.config, whole, 0600);
    free(config);
    free(whole);
    make_script("exit 0");
    world_open_with(apis, 1);
    (void)snprintf(world.ctx->host, sizeof(world.ctx->host), "cli");
    assert_ok(kt_create(world.ctx));
    put("database/a", DATABASE, 1);
    put("api-keys/k", "{\"api_key\": \"old-key\"}", 1);
    put("opaque", "old-opaque", 1);
    req = request("database/a");
}

static void make_world(void)
{
    make_world_with("*", "");
}

static char *value_at(const char *reference)
{
    kt_request_t r = request(reference);
    kt_secret_t *secret = NULL;
    char *text;

    assert_ok(kt_get(world.ctx, &r, &secret));
    text = strndup((const char *)kt_secret_bytes(secret), kt_secret_size(secret));
    kt_secret_free(secret);
    return text;
}

static void assert_seen(const char *wanted)
{
    char *text = access(seen, F_OK) == 0 ? world_read(seen, NULL) : strdup("");

    ck_assert_str_eq(text, wanted);
    free(text);
}

static const struct {
    const char *name, *field;
} names[] = {{"database/a", "database/a#password"},
             {"api-keys/k", "api-keys/k#api_key"},
             {"opaque", "opaque"}};

START_TEST(it_gets_what_is_new_on_stdin)
{
    kt_request_t r = request(names[_i].name);
    char wanted[512], *value;

    assert_ok(kt_rotate(world.ctx, &r, NULL, NULL));
    value = value_at(names[_i].field);
    ck_assert_uint_eq(strlen(value), 32);
    (void)snprintf(wanted, sizeof(wanted),
                   "set %s 2 test 2 one two|%s\ntest %s 2 test 2 one two|%s\n", names[_i].name,
                   value, names[_i].name, value);
    assert_seen(wanted);
    ck_assert_uint_eq(world_lines(value, NULL), 0);
    free(value);
}
END_TEST

START_TEST(neither_arguments_nor_environment_have_it)
{
    char text[512], *environment, *value;

    (void)snprintf(text, sizeof(text),
                   "env > %s/env; tr '\\0' ' ' < /proc/$$/cmdline >> %s/env; ls /proc/self/fd >> "
                   "%s/env; echo $value; "
                   "echo $value >&2",
                   world.dir, world.dir, world.dir);
    make_script(text);
    ck_assert_int_eq(setenv("KEYTURN_TEST_LEAK", "ours", 1), 0);
    assert_ok(kt_rotate(world.ctx, &req, NULL, NULL));
    (void)snprintf(text, sizeof(text), "%s/env", world.dir);
    environment = world_read(text, NULL);
    value = value_at("database/a#password");
    ck_assert_ptr_null(strstr(environment, value));
    ck_assert_ptr_null(strstr(environment, "KEYTURN_TEST_LEAK"));
    ck_assert_ptr_nonnull(strstr(environment, "KEYTURN_STEP=test\n"));
    ck_assert_ptr_nonnull(strstr(environment, "KEYTURN_ENVIRONMENT=test\n"));
    free(environment);
    free(value);
}
END_TEST

static const struct {
    const char *body;
    kt_status_t status;
    bool pending;
    const char *text;
} ends[] = {
    {"exit 65", KT_CONFLICT, false, "rejected in step set (exit status 65)"},
    {"[ $KEYTURN_STEP = set ] && exit 0; exit 65", KT_CONFLICT, false, "rejected in step test"},
    {"exit 1", KT_UNAVAIL, true, "exit status 1 in step set: it may have worked"},
    {"exit 127", KT_UNAVAIL, true, "exit status 127"},
    {"[ $KEYTURN_STEP = set ] && exit 0; exit 2", KT_UNAVAIL, true, "exit status 2 in step test"},
    {"kill -9 $$", KT_UNAVAIL, true, "ended by a signal"},
};

START_TEST(three_outcomes)
{
    kt_info_t *info = NULL;

    make_script(ends[_i].body);
    assert_status(kt_rotate(world.ctx, &req, NULL, NULL), ends[_i].status);
    assert_failure_has(ends[_i].text);
    assert_value("database/a#password", "old-password", 1);
    assert_ok(kt_info(world.ctx, &req, &info));
    ck_assert_uint_eq(kt_info_pending(info), ends[_i].pending ? 2 : 0);
    kt_info_free(info);
    make_script("exit 0");
    assert_ok(kt_rotate_check(world.ctx, &req, NULL));
    assert_ok(kt_rotate(world.ctx, &req, NULL, NULL));
    ck_assert_uint_eq(world_lines("rotate.resume", "success", NULL), ends[_i].pending);
}
END_TEST

/* The command that hangs is replaced at another path: the pending version is taken up all the same.
 */
START_TEST(a_resumed_one_is_tested_first)
{
    char *first, *second, wanted[512];

    make_script("exit 1");
    assert_status(kt_rotate(world.ctx, &req, NULL, NULL), KT_UNAVAIL);
    first = value_at("database/a#password@pending");
    ck_assert_int_eq(unlink(seen), 0);
    make_script("[ $KEYTURN_STEP = test ] && [ ! -e $0.set ] && exit 65; touch $0.set; exit 0");
    assert_ok(kt_rotate(world.ctx, &req, NULL, NULL));
    second = value_at("database/a#password");
    ck_assert_str_eq(first, second);
    (void)snprintf(wanted, sizeof(wanted),
                   "test database/a 2 test 2 one two|%s\nset database/a 2 test 2 one two|%s\n"
                   "test database/a 2 test 2 one two|%s\n",
                   first, first, first);
    assert_seen(wanted);
    free(first);
    free(second);
}
END_TEST

START_TEST(a_timeout_ends_the_whole_group)
{
    char text[256], file[128];
    int64_t before = kt_monotonic();

    world_end();
    make_world_with("*", ", timeout: 300ms");
    (void)snprintf(file, sizeof(file), "%s/late", world.dir);
    (void)snprintf(text, sizeof(text), "(sleep 1; touch %s) & sleep 30", file);
    make_script(text);
    assert_status(kt_rotate(world.ctx, &req, NULL, NULL), KT_UNAVAIL);
    assert_failure_has("timeout");
    ck_assert(kt_monotonic() - before < 5000);
    (void)sleep(1);
    (void)usleep(300000);
    ck_assert_int_ne(access(file, F_OK), 0);
}
END_TEST

START_TEST(old_and_whole_values_on_request)
{
    char *text;

    world_end();
    make_world_with("*", ", old: true, whole: true, test: false");
    make_script("cat <&3 >&9");
    assert_ok(kt_rotate(world.ctx, &req, NULL, NULL));
    text = world_read(seen, NULL);
    ck_assert_ptr_nonnull(strstr(
        text,
        "set database/a 2 test 2 one two|{\"host\": \"db\", \"user\": \"app\", \"password\": \""));
    ck_assert_ptr_nonnull(strstr(text, "\n" DATABASE));
    ck_assert_ptr_null(strstr(text, "test database/a"));
    free(text);
}
END_TEST

START_TEST(old_alone_is_the_old_password)
{
    char *text;

    world_end();
    make_world_with("*", ", old: true, test: false");
    make_script("cat <&3 >&9");
    assert_ok(kt_rotate(world.ctx, &req, NULL, NULL));
    text = world_read(seen, NULL);
    ck_assert_ptr_nonnull(strstr(text, "\nold-password"));
    free(text);
}
END_TEST

START_TEST(a_command_need_not_read)
{
    kt_secret_t *value = kt_secret_new(NULL, KT_VALUE_MAX);
    kt_rotate_options_t options = KT_ROTATE_INIT;
    kt_request_t r = request("opaque");

    memset(value->data, 'a', value->size);
    options.value = value;
    world_write(script, "#!/bin/sh\nexec <&-\nsleep 0.1\nexit 0\n", 0700);
    assert_ok(kt_rotate(world.ctx, &r, &options, NULL));
    world_write(script, "#!/bin/sh\nsleep 0.1\n[ $(wc -c) = 65536 ]\n", 0700);
    assert_ok(kt_rotate(world.ctx, &r, &options, NULL));
    kt_secret_free(value);
}
END_TEST

static const struct {
    mode_t mode, folder;
    kt_status_t status;
    const char *text;
} modes[] = {
    {0700, 0700, KT_SUCCESS, ""},
    {0755, 01777, KT_SUCCESS, ""},
    {0600, 0700, KT_PERMISSION, "cannot be executed"},
    {0720, 0700, KT_PERMISSION, "writable by other users, mode 0720"},
    {0702, 0700, KT_PERMISSION, "writable by other users, mode 0702"},
    {0700, 0777, KT_PERMISSION, "directory is writable by other users"},
    {0700, 0770, KT_PERMISSION, "directory is writable by other users"},
};

START_TEST(who_may_write_the_command)
{
    ck_assert_int_eq(chmod(script, modes[_i].mode), 0);
    ck_assert_int_eq(chmod(world.dir, modes[_i].folder), 0);
    assert_status(kt_command_check(script), modes[_i].status);
    if (modes[_i].status != KT_SUCCESS) {
        assert_failure_has(modes[_i].text);
        assert_status(kt_rotate_check(world.ctx, &req, NULL), modes[_i].status);
        assert_status(kt_rotate(world.ctx, &req, NULL, NULL), modes[_i].status);
        ck_assert_uint_eq(world_lines("rotate.create", "permission", NULL), 1);
        /* nothing is pending */
        assert_status(kt_rotation_resume(world.ctx, &req, &(kt_rotation_t *){NULL}), KT_NOTFOUND);
    }
    ck_assert_int_eq(chmod(world.dir, 0700), 0);
}
END_TEST

START_TEST(what_is_no_command)
{
    char file[128];

    assert_status(kt_command_check(world.dir), KT_CONFIG);
    (void)snprintf(file, sizeof(file), "%s/none", world.dir);
    assert_status(kt_command_check(file), KT_CONFIG);
    ck_assert_int_eq(symlink(script, file), 0);
    assert_ok(kt_command_check(file));
    /* a program of no known format */
    world_write(script, "\177ELF", 0700);
    assert_status(kt_rotate(world.ctx, &req, NULL, NULL), KT_CONFIG);
    assert_value("database/a#password", "old-password", 1);
}
END_TEST

START_TEST(only_the_command_line_runs_commands)
{
    (void)snprintf(world.ctx->host, sizeof(world.ctx->host), "redis");
    assert_status(kt_rotate(world.ctx, &req, NULL, NULL), KT_CONFLICT);
    assert_failure_has("only the keyturn command runs");
    assert_status(kt_rotate_check(world.ctx, &req, NULL), KT_CONFLICT);
    assert_seen("");
    ck_assert_uint_eq(world_lines("\"rotate\"", "conflict", NULL), 1);
}
END_TEST

START_TEST(store_only_asks_nobody)
{
    kt_rotate_options_t options = KT_ROTATE_INIT;

    options.store_only = 1;
    assert_ok(kt_rotate(world.ctx, &req, &options, NULL));
    assert_seen("");
}
END_TEST

START_TEST(policy_goes_first)
{
    kt_request_t by = request_by(READER, "database/a");

    ck_assert_int_eq(chmod(script, 0777), 0);
    assert_status(kt_rotate(world.ctx, &by, NULL, NULL), KT_DENIED);
    assert_seen("");
    ck_assert_uint_eq(world_lines("denied", NULL), 1);
}
END_TEST

START_TEST(rolling_back_means_rotating_to_the_old_value)
{
    kt_secret_t *old = secret_of("old-password");
    kt_rotate_options_t options = KT_ROTATE_INIT;

    assert_ok(kt_rotate(world.ctx, &req, NULL, NULL));
    assert_status(kt_rollback(world.ctx, &req, 0, NULL), KT_CONFLICT);
    assert_failure_has(
        "`keyturn get 'database/a#password@previous' | keyturn rotate database/a --file -`");
    options.value = old;
    assert_ok(kt_rotate(world.ctx, &req, &options, NULL));
    assert_value("database/a#password", "old-password", 3);
    kt_secret_free(old);
}
END_TEST

/* ---- notify ---- */

static char logged[KT_ERROR_SIZE];

static void keep_log(void *arg, int level, const char *text)
{
    (void)arg, (void)level;
    (void)snprintf(logged, sizeof(logged), "%s", text);
}

static void make_notified_world(const char *body)
{
    char more[128];

    world_end();
    make_world_with("database/a", "");
    (void)snprintf(more, sizeof(more), "%s/tell", world.dir);
    world_write(more, body, 0700);
    world.ctx->holder.config->targets[0].notify = calloc(2, sizeof(char *));
    world.ctx->holder.config->targets[0].notify[0] = strdup(more);
    world.ctx->holder.logger.fn = keep_log;
    ck_assert_int_eq(chdir(world.dir), 0);
    logged[0] = '\0';
}

START_TEST(it_is_notified_at_the_end)
{
    char *text, *value;

    make_notified_world("#!/bin/sh\ncat > \"$(dirname \"$0\")/notice\"; echo $KEYTURN_STEP >> "
                        "\"$(dirname \"$0\")/notice\"\n");
    assert_ok(kt_rotate(world.ctx, &req, NULL, NULL));
    text = world_read("notice", NULL);
    ck_assert_str_eq(text, "{\"event\": \"rotated\", \"environment\": \"test\", \"name\": "
                           "\"database/a\", \"version\": 2}\nnotify\n");
    value = value_at("database/a#password");
    ck_assert_ptr_null(strstr(text, value));
    ck_assert_uint_eq(world_lines("rotate.notify", "success", NULL), 1);
    free(text);
    free(value);
    world_write(script, "#!/bin/sh\nexit 65\n", 0700);
    ck_assert_int_eq(unlink("notice"), 0);
    assert_status(kt_rotate(world.ctx, &req, NULL, NULL), KT_CONFLICT);
    ck_assert_int_ne(access("notice", F_OK), 0);
}
END_TEST

START_TEST(a_deaf_listener_undoes_nothing)
{
    make_notified_world("#!/bin/sh\nexit 3\n");
    assert_ok(kt_rotate(world.ctx, &req, NULL, NULL));
    ck_assert_ptr_nonnull(strstr(logged, "database/a was rotated, but"));
    ck_assert_uint_eq(world_lines("rotate.notify", "unavail", NULL), 1);
    ck_assert_uint_eq(world_lines("rotate.finish", "success", NULL), 1);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    UNIT_TABLE(tests, it_gets_what_is_new_on_stdin, names);
    tcase_add_test(tests, neither_arguments_nor_environment_have_it);
    UNIT_TABLE(tests, three_outcomes, ends);
    tcase_add_test(tests, a_resumed_one_is_tested_first);
    tcase_add_test(tests, a_timeout_ends_the_whole_group);
    tcase_add_test(tests, old_and_whole_values_on_request);
    tcase_add_test(tests, old_alone_is_the_old_password);
    tcase_add_test(tests, a_command_need_not_read);
    UNIT_TABLE(tests, who_may_write_the_command, modes);
    tcase_add_test(tests, what_is_no_command);
    tcase_add_test(tests, only_the_command_line_runs_commands);
    tcase_add_test(tests, store_only_asks_nobody);
    tcase_add_test(tests, policy_goes_first);
    tcase_add_test(tests, rolling_back_means_rotating_to_the_old_value);
    tcase_add_test(tests, it_is_notified_at_the_end);
    tcase_add_test(tests, a_deaf_listener_undoes_nothing);
}

UNIT_MAIN("target", add_tests)
