/* SPDX-License-Identifier: BSD-2-Clause */
/* core/cache.c: bounded, by use, by name. */
#include "unit.h"

#include <stdio.h>

static void fill(kt_cache_t *cache, const char *reference, const char *text)
{
    kt_cached_t entry = {.status = text != NULL ? KT_SUCCESS : KT_NOTFOUND, .secret = text != NULL ? secret_of(text) : NULL};

    kt_cache_put(cache, reference, &entry);
    kt_secret_free(entry.secret);
}

START_TEST(what_was_put_is_found)
{
    kt_cache_t *cache = kt_cache_new(4);

    ck_assert_ptr_null(kt_cache_find(cache, "a/b"));
    fill(cache, "a/b", "one");
    fill(cache, "a/b@previous", NULL);
    assert_secret(kt_cache_find(cache, "a/b")->secret, "one");
    ck_assert_int_eq(kt_cache_find(cache, "a/b@previous")->status, KT_NOTFOUND);
    ck_assert_ptr_null(kt_cache_find(cache, "a/b@1"));
    fill(cache, "a/b", "two");
    assert_secret(kt_cache_find(cache, "a/b")->secret, "two");
    fill(cache, "a/b", NULL);
    ck_assert_ptr_null(kt_cache_find(cache, "a/b")->secret);
    kt_cache_free(cache);
    kt_cache_free(NULL);
}
END_TEST

START_TEST(a_reader_keeps_what_is_evicted)
{
    kt_cache_t *cache = kt_cache_new(1);
    kt_secret_t *mine;

    fill(cache, "a", "first");
    mine = kt_secret_ref(kt_cache_find(cache, "a")->secret);
    fill(cache, "b", "second");
    ck_assert_ptr_null(kt_cache_find(cache, "a"));
    assert_secret(mine, "first");
    kt_secret_free(mine);
    kt_cache_free(cache);
}
END_TEST

START_TEST(the_one_used_longest_ago_makes_room)
{
    kt_cache_t *cache = kt_cache_new(300);
    char name[16];

    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof(name), "n%u", i);
        fill(cache, name, name);
        ck_assert_ptr_nonnull(kt_cache_find(cache, "n0")); /* always in use */
    }
    for (unsigned i = 1; i < 1000; i++) {
        const kt_cached_t *entry;

        (void)snprintf(name, sizeof(name), "n%u", i);
        entry = kt_cache_find(cache, name);
        ck_assert_msg((entry != NULL) == (i > 700), "%s", name);
        if (entry != NULL)
            assert_secret(entry->secret, name);
    }
    kt_cache_free(cache);
}
END_TEST

START_TEST(all_references_of_a_name_go_and_no_others)
{
    static const char *const gone[] = {"a/b", "a/b#f", "a/b@1", "a/b#f@previous"}, *const stay[] = {"a/bc", "a/b/c", "a", "a/b.x", "x/a/b"};
    kt_cache_t *cache = kt_cache_new(100);
    uint64_t drops = kt_cache_drops(cache);

    for (size_t i = 0; i < KT_ARRAY(gone); i++)
        fill(cache, gone[i], "x");
    for (size_t i = 0; i < KT_ARRAY(stay); i++)
        fill(cache, stay[i], "y");
    kt_cache_drop_name(cache, "a/b");
    for (size_t i = 0; i < KT_ARRAY(gone); i++)
        ck_assert_ptr_null(kt_cache_find(cache, gone[i]));
    for (size_t i = 0; i < KT_ARRAY(stay); i++)
        ck_assert_ptr_nonnull(kt_cache_find(cache, stay[i]));
    ck_assert(kt_cache_drops(cache) == drops + 1);
    kt_cache_drop_name(cache, "never"); /* it counts although nothing was here: a fetch may be under way */
    ck_assert(kt_cache_drops(cache) == drops + 2);
    kt_cache_free(cache);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, what_was_put_is_found);
    tcase_add_test(tests, a_reader_keeps_what_is_evicted);
    tcase_add_test(tests, the_one_used_longest_ago_makes_room);
    tcase_add_test(tests, all_references_of_a_name_go_and_no_others);
}

UNIT_MAIN("cache", add_tests)
