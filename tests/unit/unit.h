/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * unit.h: what the programs of unit tests share. Each is
 *
 *     START_TEST(it_does_something) ... END_TEST
 *     static void add_tests(TCase *tests) ...
 *     UNIT_MAIN("status", add_tests)
 */
#ifndef KT_UNIT_H
#define KT_UNIT_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "serve/cache.h"

/* `add` puts the tests into its test case. */
#define UNIT_MAIN(name, add)                                                                       \
    int main(void)                                                                                 \
    {                                                                                              \
        return unit_run(name, add);                                                                \
    }

static inline int unit_run(const char *name, void (*add)(TCase *tests))
{
    Suite *suite = suite_create(name);
    TCase *tests = tcase_create(name);
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 60);
    add(tests);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define UNIT_TABLE(tests, test, table) tcase_add_loop_test(tests, test, 0, (int)KT_ARRAY(table))

/* Fails unless the call answers `wanted`, showing the error text. */
#define assert_status(call, wanted)                                                                \
    do {                                                                                           \
        kt_status_t unit_got = (call);                                                             \
        ck_assert_msg(unit_got == (wanted), "%s is %s (%s), not %s", #call,                        \
                      kt_status_name(unit_got), kt_failure(), kt_status_name(wanted));             \
    } while (0)

/* For a test that means something only where a permission or a limit holds. What only root can try
 * is in root_files.c. */
#define assert_not_root()                                                                          \
    ck_assert_msg(geteuid() != 0, "root may do what this test forbids: run it as another user")

/* Ends a test that cannot be run as this program was built. auto/check counts it as a failure. */
#define kt_skip(why)                                                                               \
    do {                                                                                           \
        (void)fprintf(stderr, "SKIPPED %s: %s\n", __func__, why);                                  \
        return;                                                                                    \
    } while (0)

#define assert_ok(call) assert_status(call, KT_SUCCESS)
#define assert_failure(text) ck_assert_str_eq(kt_failure(), text)
#define assert_failure_has(text)                                                                   \
    ck_assert_msg(strstr(kt_failure(), text) != NULL, "`%s` has no `%s`", kt_failure(), text)

/* A new secret of a text, and whether a secret is a text. */
static inline kt_secret_t *secret_of(const char *text)
{
    kt_secret_t *secret = kt_secret_new(text, strlen(text));

    ck_assert_ptr_nonnull(secret);
    return secret;
}

#define assert_secret(secret, text)                                                                \
    ck_assert_msg(kt_secret_equal(secret, text, strlen(text)), "`%.*s` is not `%s`",               \
                  (int)kt_secret_size(secret), (const char *)kt_secret_bytes(secret), text)

#endif /* KT_UNIT_H */
