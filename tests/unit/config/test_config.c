/* SPDX-License-Identifier: BSD-2-Clause */
/* core/config*.c: what is read of a configuration, and which file may hold it. */
#include "config_text.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- What is read ---- */

START_TEST(the_whole_is_read)
{
    kt_config_t *config;

    assert_ok(parse(whole, &config));
    ck_assert_str_eq(config->path, PATH);
    ck_assert_str_eq(config->folder, "/etc/keyturn");
    ck_assert_str_eq(config->environment, "production");
    ck_assert_uint_eq(config->nkeys, 2);
    ck_assert_str_eq(config->keys[0].host, "cli");
    ck_assert_str_eq(config->keys[0].source, "file:admin.key");
    ck_assert_int_eq(config->keys[0].line, 3);
    ck_assert_str_eq(config->keys[1].host, "nginx");
    ck_assert_str_eq(config->keys[1].source, "credential:keyturn");
    ck_assert(config->cache_ttl == 600000 && config->cache_negative == 0);
    ck_assert(config->cache_stale == 2 * 86400000);
    ck_assert_uint_eq(config->cache_size, 768 * 1024);
    ck_assert_str_eq(config->audit_path, "/etc/keyturn/audit");
    ck_assert(!config->audit_required);
    ck_assert(config->audit_reads == 250);
    ck_assert(config->memory_required);
    kt_config_unref(config);
}
END_TEST

START_TEST(providers_are_read)
{
    kt_config_t *config;

    assert_ok(parse(whole, &config));
    ck_assert_uint_eq(config->nproviders, 3);
    ck_assert_str_eq(config->providers[0].name, "local");
    ck_assert_int_eq(config->providers[0].line, 5);
    ck_assert_uint_eq(config->providers[0].noptions, 2);
    ck_assert_str_eq(config->providers[0].options[0].name, "path");
    ck_assert_str_eq(config->providers[0].options[0].text, "production.db");
    ck_assert_int_eq(config->providers[0].options[0].line, 6);
    ck_assert_str_eq(config->providers[0].options[1].text, "10");
    ck_assert_str_eq(config->providers[1].name, "env");
    ck_assert_uint_eq(config->providers[1].noptions, 0);
    ck_assert_str_eq(config->providers[2].options[0].text, "https://vault:8200");
    kt_config_unref(config);
}
END_TEST

/* The statuses on which a step goes on, as a set of bits. */
static unsigned goes_on(const kt_cfg_step_t *step)
{
    unsigned bits = 0;

    for (unsigned i = 0; i < KT_STATUSES; i++)
        bits |= step->go_on[i] ? 1u << i : 0;
    return bits;
}

START_TEST(routes_are_read)
{
    const unsigned notfound = 1u << KT_NOTFOUND;
    kt_config_t *config;
    const kt_cfg_route_t *route;

    assert_ok(parse(whole, &config));
    ck_assert_uint_eq(config->nroutes, 2);
    route = &config->routes[0];
    ck_assert_str_eq(route->pattern, "database/*");
    ck_assert_int_eq(route->line, 11);
    ck_assert_uint_eq(route->nsteps, 2);
    ck_assert_uint_eq(route->steps[0].provider, 2);
    ck_assert_uint_eq(goes_on(&route->steps[0]), notfound | 1u << KT_UNAVAIL);
    ck_assert_uint_eq(route->steps[1].provider, 0);
    ck_assert_uint_eq(goes_on(&route->steps[1]), notfound);
    route = &config->routes[1];
    ck_assert_uint_eq(route->nsteps, 3);
    ck_assert_uint_eq(route->steps[1].provider, 1);
    ck_assert_uint_eq(goes_on(&route->steps[1]), 1u << KT_NOKEY);
    ck_assert_uint_eq(route->steps[2].provider, 2);
    ck_assert_uint_eq(goes_on(&route->steps[2]),
                      notfound | 1u << KT_GONE | 1u << KT_FORBIDDEN | 1u << KT_MALFORMED);
    kt_config_unref(config);
}
END_TEST

START_TEST(rules_are_read)
{
    kt_config_t *config;

    assert_ok(parse(whole, &config));
    ck_assert_uint_eq(config->nrules, 2);
    ck_assert_str_eq(config->rules[0].who, "nginx:*");
    ck_assert_uint_eq(config->rules[0].allow, KT_CAP_READ);
    ck_assert_uint_eq(config->rules[0].deny, 0);
    ck_assert_int_eq(config->rules[0].line, 17);
    ck_assert_uint_eq(config->rules[0].nnames, 2);
    ck_assert_str_eq(config->rules[0].names[1], "tls/www");
    ck_assert_uint_eq(config->rules[1].allow, 63);
    ck_assert_uint_eq(config->rules[1].deny, KT_CAP_DELETE);
    ck_assert_int_eq(config->rules[1].line, 18);
    kt_config_unref(config);
}
END_TEST

static const struct {
    const char *text;
    bool required;
} defaults[] = {
    {"environment: production\n", true},
    {"environment: prod\n", true},
    {"audit: {reads: 1s}\nenvironment: production\n", true},
    {"audit: {required: false}\nenvironment: production\n", false},
    {"environment: staging\n", false},
    {"audit: {required: true}\nenvironment: dev\n", true},
    {"\xef\xbb\xbf"
     "environment: dev\r\n",
     false}, /* a byte order mark; lines of DOS */
    {"--- # one document\nenvironment: dev\n...\n", false},
    {"environment: dev\t# a tab\n", false},
};

START_TEST(defaults_by_table)
{
    kt_config_t *config;

    assert_ok(parse(defaults[_i].text, &config));
    ck_assert(config->audit_required == defaults[_i].required);
    ck_assert_str_eq(config->audit_path, "/var/log/keyturn");
    ck_assert(config->cache_ttl == 300000 && config->cache_negative == 15000);
    ck_assert(config->cache_stale == 3600000);
    ck_assert_uint_eq(config->cache_size, 4 * 1024 * 1024);
    ck_assert(!config->memory_required);
    ck_assert_uint_eq(config->nkeys + config->nproviders + config->nroutes + config->nrules, 0);
    kt_config_unref(config);
}
END_TEST

START_TEST(without_a_switch_all_are_asked)
{
    kt_config_t *config;

    assert_ok(parse("environment: dev\nproviders: {b: {}, a: {}}\nkey: file:k\n", &config));
    ck_assert_uint_eq(config->nroutes, 1);
    ck_assert_str_eq(config->routes[0].pattern, "*");
    ck_assert_uint_eq(config->routes[0].nsteps, 2);
    ck_assert_uint_eq(config->routes[0].steps[0].provider, 0);
    ck_assert_uint_eq(config->routes[0].steps[1].provider, 1);
    ck_assert_uint_eq(goes_on(&config->routes[0].steps[0]), 1u << KT_NOTFOUND);
    ck_assert_uint_eq(config->nkeys, 1);
    ck_assert_ptr_null(config->keys[0].host);
    kt_config_unref(config);
}
END_TEST

START_TEST(a_configuration_lives_as_long_as_it_is_held)
{
    kt_config_t *config;

    assert_ok(parse("environment: dev\n", &config));
    ck_assert_ptr_eq(kt_config_ref(config), config);
    kt_config_unref(config);
    ck_assert_str_eq(config->environment, "development");
    kt_config_unref(config);
    kt_config_unref(NULL);
}
END_TEST

START_TEST(relative_paths_start_in_the_folder)
{
    kt_config_t *config;
    char *path;

    assert_ok(parse("environment: dev\n", &config));
    path = kt_config_resolve(config, "a/b");
    ck_assert_str_eq(path, "/etc/keyturn/a/b");
    free(path);
    path = kt_config_resolve(config, "/a/b");
    ck_assert_str_eq(path, "/a/b");
    free(path);
    kt_config_unref(config);
    assert_ok(kt_config_parse("/k.yaml", "environment: dev", 16, &config));
    path = kt_config_resolve(config, "a");
    ck_assert_str_eq(path, "/a");
    free(path);
    kt_config_unref(config);
}
END_TEST

START_TEST(a_relative_configuration_is_below_the_working_folder)
{
    kt_config_t *config;

    ck_assert_int_eq(chdir("/usr"), 0);
    assert_ok(kt_config_parse("././k.yaml", "environment: dev", 16, &config));
    ck_assert_str_eq(config->path, "/usr/k.yaml");
    ck_assert_str_eq(config->folder, "/usr");
    kt_config_unref(config);
    ck_assert_int_eq(chdir("/"), 0);
    assert_ok(kt_config_parse("k.yaml", "environment: dev", 16, &config));
    ck_assert_str_eq(config->path, "/k.yaml");
    ck_assert_str_eq(config->folder, "/");
    kt_config_unref(config);
}
END_TEST

/* ---- Small ones ---- */

static const struct {
    const char *name, *nearest;
} nearest[] = {
    {"polcy", "policy"},
    {"policy", "policy"},
    {"poilcy", "policy"},
    {"plcy", "policy"},
    {"pol", NULL},
    {"tll", "ttl"},
    {"ttl", "ttl"},
    {"url", NULL},
    {"", NULL},
    {"xyz", NULL},
    {"policies", NULL},
    {"enviroment", "environment"},
    {"environ", NULL},
    {"env", NULL},
    {"evnrionmnet", "environment"},
    {"a name of more than forty bytes, and not known", NULL},
    {"this name has forty bytes, not one morer", "this name has forty bytes, not one more"},
    {"this name has forty bytes, not one morers", NULL},
    {"a name that has exactly forty-one bytes!", NULL},
};

START_TEST(nearest_by_table)
{
    static const char *const names[] = {"policy",
                                        "ttl",
                                        "environment",
                                        "a name of more than forty bytes which is one",
                                        "this name has forty bytes, not one more",
                                        "a name that has exactly forty-one bytes!!",
                                        NULL};
    static const char *const none[] = {NULL};

    ck_assert_pstr_eq(kt_nearest(nearest[_i].name, names), nearest[_i].nearest);
    ck_assert_ptr_null(kt_nearest(nearest[_i].name, none));
}
END_TEST

static const struct {
    const char *text;
    int64_t ms;
} durations[] = {
    {"0", 0},
    {"0s", 0},
    {"250ms", 250},
    {"1s", 1000},
    {"300s", 300000},
    {"5m", 300000},
    {"12h", 43200000},
    {"90d", 7776000000},
    {"007s", 7000},
    {"36500d", 3153600000000},
    {"36501d", -1},
    {"3153600000000ms", 3153600000000},
    {"3153600000001ms", -1},
    {"99999999999999999999s", -1},
    {"", -1},
    {"s", -1},
    {"1", -1},
    {"00", -1},
    {"1.5s", -1},
    {"-1s", -1},
    {"+1s", -1},
    {" 1s", -1},
    {"1s ", -1},
    {"1 s", -1},
    {"1w", -1},
    {"1S", -1},
    {"1sec", -1},
    {"0x1s", -1},
};

START_TEST(durations_by_table)
{
    ck_assert_msg(kt_duration_parse(durations[_i].text) == durations[_i].ms, "`%s`",
                  durations[_i].text);
}
END_TEST

/* ---- The file ---- */

static char folder[64], file[96];

static void write_file(const char *text, size_t size, mode_t mode)
{
    FILE *out = fopen(file, "w");

    ck_assert_ptr_nonnull(out);
    ck_assert_uint_eq(fwrite(text, 1, size, out), size);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_int_eq(chmod(file, mode), 0);
}

static void make_folder(void)
{
    const char *top = getenv("TMPDIR");

    if (top == NULL || strlen(top) > 40)
        top = "/tmp";
    snprintf(folder, sizeof(folder), "%s/kt-XXXXXX", top);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(file, sizeof(file), "%s/keyturn.yaml", folder);
}

static void remove_folder(void)
{
    (void)chmod(folder, 0700);
    (void)rmdir(file);
    (void)unlink(file);
    ck_assert_int_eq(rmdir(folder), 0);
}

static const struct {
    mode_t mode;
    bool accepted;
} modes[] = {
    {0600, true},  {0400, true},  {0644, true},  {0640, true},  {0755, true},
    {0620, false}, {0602, false}, {0664, false}, {0666, false}, {0777, false},
};

START_TEST(modes_by_table)
{
    kt_config_t *config = NULL;
    char wanted[256];

    write_file("environment: dev\n", 17, modes[_i].mode);
    assert_status(kt_config_read(file, &config), modes[_i].accepted ? KT_SUCCESS : KT_PERMISSION);
    if (!modes[_i].accepted) {
        snprintf(wanted, sizeof(wanted), "%s: others may write it (mode %04o): chmod go-w %s", file,
                 (unsigned)modes[_i].mode, file);
        assert_failure(wanted);
    }
    kt_config_unref(config);
}
END_TEST

START_TEST(what_is_not_a_file_is_refused)
{
    kt_config_t *config = NULL;

    assert_status(kt_config_read(file, &config), KT_CONFIG);
    assert_failure_has("keyturn.yaml: cannot be opened: No such file or directory");
    assert_status(kt_config_read("/dev/null/keyturn.yaml", &config), KT_CONFIG);
    assert_failure("/dev/null/keyturn.yaml: cannot be opened: Not a directory");
    ck_assert_int_eq(mkdir(file, 0700), 0);
    assert_status(kt_config_read(file, &config), KT_CONFIG);
    assert_failure_has("keyturn.yaml: not a regular file");
    ck_assert_int_eq(rmdir(file), 0);
    ck_assert_int_eq(mkfifo(file, 0600), 0); /* a FIFO without a writer: opening must not wait */
    assert_status(kt_config_read(file, &config), KT_CONFIG);
    ck_assert_ptr_null(config);
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_refused)
{
    kt_config_t *config = NULL;

    assert_not_root();
    write_file("environment: dev\n", 17, 0644);
    ck_assert_int_eq(chmod(file, 0), 0);
    assert_status(kt_config_read(file, &config), KT_PERMISSION);
    assert_failure_has("keyturn.yaml: cannot be opened: Permission denied");
}
END_TEST

START_TEST(a_file_has_one_mib_at_most)
{
    char *text = malloc(KT_CONFIG_MAX + 1);
    kt_config_t *config;

    memset(text, '\n', KT_CONFIG_MAX + 1);
    memcpy(text, "environment: dev", 16);
    for (size_t size = KT_CONFIG_MAX - 1; size <= KT_CONFIG_MAX + 1; size++) {
        config = NULL;
        write_file(text, size, 0600);
        assert_status(kt_config_read(file, &config),
                      size <= KT_CONFIG_MAX ? KT_SUCCESS : KT_CONFIG);
        kt_config_unref(config);
    }
    assert_failure_has("keyturn.yaml: larger than 1048576 bytes");
    assert_status(kt_config_read("/dev/zero", &config), KT_CONFIG);
    free(text);
}
END_TEST

START_TEST(a_read_leaves_no_descriptor_open)
{
    int before = open("/", O_RDONLY | O_CLOEXEC), after;
    kt_config_t *config;

    close(before);
    write_file("environment: dev\n", 17, 0600);
    assert_ok(kt_config_read(file, &config));
    ck_assert_str_eq(config->path, file);
    kt_config_unref(config);
    write_file("environment: dev\n", 17, 0666);
    assert_status(kt_config_read(file, &config), KT_PERMISSION);
    after = open("/", O_RDONLY | O_CLOEXEC);
    close(after);
    ck_assert_int_eq(after, before);
}
END_TEST

START_TEST(targets_are_read)
{
    const kt_cfg_target_t *target;
    kt_config_t *config;

    assert_ok(parse(whole, &config));
    ck_assert_uint_eq(config->ntargets, 2);
    target = kt_config_target(config, "database/reporting");
    ck_assert_str_eq(target->exec[0], "/opt/rotate");
    ck_assert_str_eq(target->exec[1], "--now");
    ck_assert_ptr_null(target->exec[2]);
    ck_assert(target->old && target->whole && !target->test && target->notify == NULL);
    ck_assert_int_eq(target->timeout, 300000);
    target = kt_config_target(config, "database/other");
    ck_assert_str_eq(target->exec[1], "a b");
    ck_assert_str_eq(target->notify[0], "/opt/tell");
    ck_assert(!target->old && !target->whole && target->test);
    ck_assert_int_eq(target->timeout, 60000);
    ck_assert_ptr_null(kt_config_target(config, "api-keys/a"));
    kt_config_unref(config);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_folder, remove_folder);
    tcase_add_test(tests, the_whole_is_read);
    tcase_add_test(tests, targets_are_read);
    tcase_add_test(tests, providers_are_read);
    tcase_add_test(tests, routes_are_read);
    tcase_add_test(tests, rules_are_read);
    UNIT_TABLE(tests, defaults_by_table, defaults);
    tcase_add_test(tests, without_a_switch_all_are_asked);
    tcase_add_test(tests, a_configuration_lives_as_long_as_it_is_held);
    tcase_add_test(tests, relative_paths_start_in_the_folder);
    tcase_add_test(tests, a_relative_configuration_is_below_the_working_folder);
    UNIT_TABLE(tests, nearest_by_table, nearest);
    UNIT_TABLE(tests, durations_by_table, durations);
    UNIT_TABLE(tests, modes_by_table, modes);
    tcase_add_test(tests, what_is_not_a_file_is_refused);
    tcase_add_test(tests, a_file_that_cannot_be_read_is_refused);
    tcase_add_test(tests, a_file_has_one_mib_at_most);
    tcase_add_test(tests, a_read_leaves_no_descriptor_open);
}

UNIT_MAIN("config", add_tests)
