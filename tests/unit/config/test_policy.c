/* SPDX-License-Identifier: BSD-2-Clause */
/* core/config/policy.c: deny by default, an explicit deny wins. */
#include "unit.h"

#include <string.h>

#define NAMES(...) .names = (char *[]){__VA_ARGS__}, .nnames = KT_ARRAY(((char *[]){__VA_ARGS__}))

static kt_cfg_rule_t rules[] = {
    {.who = "nginx:*", .allow = KT_CAP_READ, .line = 3, NAMES("api-keys/*", "tls/*")},
    {.who = "nginx:admin.example.org", .deny = KT_CAP_READ, .line = 4, NAMES("tls/internal")},
    {.who = "postgresql:role:app",
     .allow = KT_CAP_READ | KT_CAP_ROTATE,
     .line = 5,
     NAMES("database/*")},
    {.who = "*", .deny = KT_CAP_DELETE, .line = 6, NAMES("*/kept")},
    {.who = "uid:root", .allow = 127, .line = 7, NAMES("*")},
    {.who = "both", .allow = KT_CAP_READ, .deny = KT_CAP_READ, .line = 8, NAMES("*")},
};
static const kt_config_t config = {
    .path = "/etc/keyturn/keyturn.yaml", .rules = rules, .nrules = KT_ARRAY(rules)};

static const struct {
    const char *subject;
    unsigned capability;
    const char *name;
    bool allowed;
} cases[] = {
    {"nginx:www.example.org", KT_CAP_READ, "api-keys/stripe", true},
    {"nginx:", KT_CAP_READ, "tls/www", true},
    {"nginx:www.example.org", KT_CAP_READ, "database/primary", false},
    {"nginx:www.example.org", KT_CAP_WRITE, "api-keys/stripe", false},
    {"nginx:www.example.org", KT_CAP_LIST, "api-keys/stripe", false},
    {"nginx", KT_CAP_READ, "api-keys/stripe", false},
    {"xnginx:www", KT_CAP_READ, "api-keys/stripe", false},
    {"NGINX:www", KT_CAP_READ, "api-keys/stripe", false},
    {"nginx:admin.example.org", KT_CAP_READ, "tls/www", true},
    {"nginx:admin.example.org", KT_CAP_READ, "tls/internal", false}, /* denied after allowed */
    {"postgresql:role:app", KT_CAP_READ, "database/primary", true},
    {"postgresql:role:app", KT_CAP_ROTATE, "database/primary", true},
    {"postgresql:role:app2", KT_CAP_ROTATE, "database/primary", false},
    {"postgresql:role:*", KT_CAP_ROTATE, "database/primary", false}, /* no star in a subject */
    {"uid:root", KT_CAP_ADMIN, "x", true},
    {"uid:root", KT_CAP_DELETE, "x/y", true},
    {"uid:root", KT_CAP_DELETE, "x/kept", false}, /* denied before allowed */
    {"uid:root", KT_CAP_READ, "x/kept", true},
    {"both", KT_CAP_READ, "x", false},
    {"stranger", KT_CAP_READ, "x", false},
};

START_TEST(cases_by_table)
{
    assert_status(kt_policy_check(&config, cases[_i].subject, cases[_i].capability, cases[_i].name),
                  cases[_i].allowed ? KT_SUCCESS : KT_DENIED);
}
END_TEST

/* "app" has the rights of the group "ops"; "who" is not known. */
static int is_member(void *arg, const char *subject, const char *group)
{
    ck_assert_ptr_eq(arg, rules);
    if (strcmp(subject, "postgresql:role:who") == 0)
        return -1;
    return strcmp(subject, "postgresql:role:app") == 0 && strcmp(group, "ops") == 0;
}

START_TEST(a_rule_for_a_group)
{
    kt_cfg_rule_t group[] = {
        {.who = "postgresql:member:ops", .allow = KT_CAP_READ, .line = 1, NAMES("a", "b", "c")},
        {.who = "postgresql:member:ops", .deny = KT_CAP_READ, .line = 2, NAMES("b")},
        {.who = "postgresql:role:*", .allow = KT_CAP_LIST, .line = 3, NAMES("*")},
        {.who = "postgresql:member:ops", .deny = KT_CAP_LIST, .line = 4, NAMES("c")},
        {.who = "postgresql:member:other", .allow = KT_CAP_WRITE, .line = 5, NAMES("*")},
    };
    kt_config_t with = {.path = "p", .rules = group, .nrules = KT_ARRAY(group)};
    const kt_cfg_rule_t *rule;

    ck_assert(!kt_policy_asks(&with));
    assert_status(kt_policy_check(&with, "postgresql:role:app", KT_CAP_READ, "a"), KT_DENIED);
    with.is_member = is_member;
    with.member_arg = rules;
    ck_assert(kt_policy_asks(&with));
    assert_ok(kt_policy_check(&with, "postgresql:role:app", KT_CAP_READ, "a"));
    assert_status(kt_policy_check(&with, "postgresql:role:app", KT_CAP_READ, "b"), KT_DENIED);
    assert_status(kt_policy_check(&with, "postgresql:role:other", KT_CAP_READ, "a"), KT_DENIED);
    assert_status(kt_policy_check(&with, "postgresql:role:app", KT_CAP_WRITE, "a"), KT_DENIED);
    assert_ok(kt_policy_check(&with, "postgresql:role:other", KT_CAP_LIST, "c"));
    assert_status(kt_policy_check(&with, "postgresql:role:app", KT_CAP_LIST, "c"), KT_DENIED);
    assert_status(kt_policy_check(&with, "postgresql:role:who", KT_CAP_LIST, "c"), KT_DENIED);
    assert_status(kt_policy_check(&with, "postgresql:role:who", KT_CAP_READ, "a"), KT_DENIED);
    assert_ok(kt_policy_any(&with, "postgresql:role:app", KT_CAP_READ, "*", &rule));
    assert_ok(kt_policy_check(&with, "postgresql:member:ops", KT_CAP_READ, "a")); /* `can` asks */
}
END_TEST

START_TEST(a_refusal_names_its_rule)
{
    assert_status(kt_policy_check(&config, "uid:root", KT_CAP_DELETE, "a/kept"), KT_DENIED);
    assert_failure("uid:root may not delete a/kept: denied by /etc/keyturn/keyturn.yaml:6");
    assert_status(kt_policy_check(&config, "stranger", KT_CAP_READ, "x"), KT_DENIED);
    assert_failure("stranger may not read x: no rule in /etc/keyturn/keyturn.yaml allows it");
}
END_TEST

START_TEST(no_rules_allow_nothing)
{
    static const kt_config_t empty = {.path = "empty"};

    for (unsigned bit = 1; bit <= KT_CAP_LAST; bit <<= 1)
        assert_status(kt_policy_check(&empty, "uid:root", bit, "x"), KT_DENIED);
}
END_TEST

static kt_cfg_rule_t all[] = {{.who = "*", .allow = 63, NAMES("*")}};
static const kt_config_t open = {.path = "open", .rules = all, .nrules = 1};

START_TEST(what_is_not_a_subject_is_denied)
{
    char subject[KT_SUBJECT_MAX + 2];

    memset(subject, 's', sizeof(subject));
    subject[KT_SUBJECT_MAX + 1] = '\0';
    assert_status(kt_policy_check(&open, subject, KT_CAP_READ, "x"), KT_DENIED);
    subject[KT_SUBJECT_MAX] = '\0';
    assert_ok(kt_policy_check(&open, subject, KT_CAP_READ, "x"));
    assert_ok(kt_policy_check(&open, "redis:J\xc3\xb6rg the 2nd", KT_CAP_READ, "x"));
    assert_status(kt_policy_check(&open, NULL, KT_CAP_READ, "x"), KT_DENIED);
    assert_failure("read of x: the host names no valid subject");
    assert_status(kt_policy_check(&open, "", KT_CAP_READ, "x"), KT_DENIED);
    assert_status(kt_policy_check(&open, "a\nb", KT_CAP_READ, "x"), KT_DENIED);
    assert_status(kt_policy_check(&open, "a\x7f", KT_CAP_READ, "x"), KT_DENIED);
}
END_TEST

START_TEST(capabilities_have_names)
{
    static const char *const names[] = {"read",   "write", "rotate", "list",
                                        "delete", "admin", "state"};

    for (unsigned i = 0; i < KT_ARRAY(names); i++) {
        ck_assert_str_eq(kt_capability_name(1u << i), names[i]);
        ck_assert_uint_eq(kt_capability_parse(names[i], strlen(names[i])), 1u << i);
        ck_assert_uint_eq(kt_capability_parse(names[i], strlen(names[i]) - 1), 0);
    }
    ck_assert_str_eq(kt_capability_name(3), "unknown");
    ck_assert_uint_eq(kt_capability_parse("Read", 4), 0);
    ck_assert_uint_eq(kt_capability_parse("", 0), 0);
}
END_TEST

/* A rule, and what it gives to the subjects of a pattern. */
static const struct {
    const char *who, *subjects;
    bool granted;
} overlaps[] = {
    {"nginx:*", "nginx:*", true},
    {"nginx*", "nginx:*", true},
    {"ng*", "nginx:*", true},
    {"*:shop", "nginx:*", true},
    {"*shop", "nginx:*", true},
    {"*", "nginx:*", true},
    {"nginx:shop", "nginx:*", true},
    {"nginx:*.example.org", "nginx:*", true},
    {"*x*:*", "nginx:*", true},
    {"redis:*", "nginx:*", false},
    {"nginx", "nginx:*", false},
    {"nginxx*", "nginx:*", false},
    {"uid:deploy", "nginx:*", false},
    {"xnginx:shop", "nginx:*", false},
    {"uid:deploy", "uid:deploy", true},
    {"uid:*", "uid:deploy", true},
    {"*:deploy", "uid:deploy", true},
    {"*", "uid:deploy", true},
    {"nginx*", "uid:deploy", false},
    {"uid:deploy2", "uid:deploy", false},
    {"uid:deploy", "uid:*y", true}, /* no host asks this way, but the ends are compared right */
    {"*:a", "*:b", false},
    {"*:aa", "*a", true},
    {"a*b", "ab*", true},
    {"a*", "b*", false},
};

START_TEST(a_rule_grants_what_any_subject_gets)
{
    char who[64];
    kt_cfg_rule_t rule = {.who = who, .allow = KT_CAP_READ, NAMES("api-keys/*")};
    const kt_config_t one = {.path = "one", .rules = &rule, .nrules = 1};

    strcpy(who, overlaps[_i].who);
    ck_assert_uint_eq(kt_policy_grants(&one, &rule, "api-keys/*", overlaps[_i].subjects),
                      overlaps[_i].granted ? KT_CAP_READ : 0);
}
END_TEST

START_TEST(a_rule_grants_nothing_that_is_denied_to_all)
{
    kt_cfg_rule_t two[] = {
        {.who = "nginx:*", .allow = KT_CAP_READ | KT_CAP_LIST, NAMES("a/*", "b/*")},
        {.who = "ng*", .deny = KT_CAP_READ, NAMES("x", "b*")},
        {.who = "nginx:shop", .deny = KT_CAP_LIST, NAMES("*")}, /* others may still list */
    };
    const kt_config_t denying = {.path = "two", .rules = two, .nrules = KT_ARRAY(two)};

    ck_assert_uint_eq(kt_policy_grants(&denying, two, "a/*", "nginx:*"), KT_CAP_READ | KT_CAP_LIST);
    ck_assert_uint_eq(kt_policy_grants(&denying, two, "b/*", "nginx:*"), KT_CAP_LIST);
    ck_assert_uint_eq(kt_policy_grants(&denying, two, "a/*", "nginx:shop"), KT_CAP_READ);
    ck_assert_uint_eq(kt_policy_grants(&denying, two, "b/*", "nginx:shop"), 0);
    ck_assert_uint_eq(kt_policy_grants(&denying, two + 1, "b*", "nginx:*"), 0);
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, cases_by_table, cases);
    tcase_add_test(tests, a_rule_for_a_group);
    tcase_add_test(tests, a_refusal_names_its_rule);
    tcase_add_test(tests, no_rules_allow_nothing);
    tcase_add_test(tests, what_is_not_a_subject_is_denied);
    tcase_add_test(tests, capabilities_have_names);
    UNIT_TABLE(tests, a_rule_grants_what_any_subject_gets, overlaps);
    tcase_add_test(tests, a_rule_grants_nothing_that_is_denied_to_all);
}

UNIT_MAIN("policy", add_tests)
