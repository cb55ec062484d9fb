/* SPDX-License-Identifier: BSD-2-Clause */
/* core/serve/cache.c: bounded in bytes, by use, by name; and what is evicted is wiped. */
#include "unit.h"

#include <stdio.h>

static void fill(kt_cache_t *cache, const char *reference, const char *text)
{
    kt_cached_t entry = {.status = text != NULL ? KT_SUCCESS : KT_NOTFOUND,
                         .secret = text != NULL ? secret_of(text) : NULL};

    kt_cache_put(cache, reference, &entry);
    kt_secret_free(entry.secret);
}

START_TEST(what_was_put_is_found)
{
    kt_cache_t *cache = kt_cache_new(65536);

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

static bool has(kt_cache_t *cache, const char *reference)
{
    return kt_cache_find(cache, reference) != NULL;
}

/* The short way to an entry is for what was found before, and never leads to one that has gone. */
START_TEST(what_was_found_is_recalled)
{
    kt_cache_t *cache = kt_cache_new(65536);

    fill(cache, "a/b", "one");
    ck_assert_ptr_null(kt_cache_recall(cache, "a/b", 3));
    ck_assert(has(cache, "a/b"));
    ck_assert_ptr_eq(kt_cache_recall(cache, "a/b", 3), kt_cache_find(cache, "a/b"));
    ck_assert_ptr_null(kt_cache_recall(cache, "a/b@current", 11));
    ck_assert_ptr_null(kt_cache_recall(cache, "a/b", 2));
    ck_assert_ptr_null(kt_cache_recall(cache, "", 0));
    kt_cache_drop_name(cache, "a/b");
    ck_assert_ptr_null(kt_cache_recall(cache, "a/b", 3));
    for (unsigned i = 0; i < 1000; i++) { /* more than it has places */
        char name[32];

        (void)snprintf(name, sizeof(name), "a/%u", i);
        fill(cache, name, "value");
        ck_assert(has(cache, name));
        ck_assert_ptr_nonnull(kt_cache_recall(cache, name, strlen(name)));
    }
    kt_cache_clear(cache);
    for (unsigned i = 0; i < 1000; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "a/%u", i);
        ck_assert_ptr_null(kt_cache_recall(cache, name, strlen(name)));
    }
    kt_cache_free(cache);
}
END_TEST

/* The bytes that this cache counts for one entry. */
static size_t bytes_of(const char *reference, const char *text)
{
    kt_cache_t *cache = kt_cache_new(65536);
    size_t bytes;

    fill(cache, reference, text);
    bytes = kt_cache_bytes(cache);
    kt_cache_free(cache);
    return bytes;
}

START_TEST(a_reader_keeps_what_is_evicted)
{
    kt_cache_t *cache = kt_cache_new(bytes_of("a", "first") * 8 / 7 + 8);
    kt_secret_t *mine;

    fill(cache, "a", "first");
    mine = kt_secret_ref(kt_cache_find(cache, "a")->secret);
    fill(cache, "b", "second");
    ck_assert(!has(cache, "a") && has(cache, "b"));
    assert_secret(mine, "first");
    kt_secret_free(mine);
    kt_cache_free(cache);
}
END_TEST

static bool is_zero(const unsigned char *bytes, size_t size)
{
    while (size > 0 && bytes[size - 1] == 0)
        size--;
    return size == 0;
}

/* The arena keeps its pages, so that a value's place can be looked at after the value is gone. */
/* References are counted many at a time: those that were not given out go with the entry. */
START_TEST(what_was_taken_is_the_callers_alone)
{
    kt_cache_t *cache = kt_cache_new(65536);
    kt_secret_t *taken[100];

    fill(cache, "a/b", "value");
    for (size_t i = 0; i < KT_ARRAY(taken); i++)
        taken[i] = kt_cache_take(kt_cache_find(cache, "a/b"));
    ck_assert_int_eq(kt_secret_resize(taken[0], 1), KT_USAGE); /* the cache has it, too */
    if (_i == 0)
        kt_cache_drop_name(cache, "a/b");
    else
        fill(cache, "a/b", "another");
    for (size_t i = 1; i < KT_ARRAY(taken); i++)
        kt_secret_free(taken[i]);
    assert_secret(taken[0], "value");
    ck_assert_int_eq(kt_secret_resize(taken[0], 3), KT_SUCCESS);
    assert_secret(taken[0], "val");
    kt_secret_free(taken[0]);
    kt_cache_free(cache);
}
END_TEST

START_TEST(what_is_evicted_is_wiped)
{
    static const char text[] = "CANARY a value that must not stay in memory";
    kt_cache_t *cache = kt_cache_new(bytes_of("a", text) * 8 / 7 + 8);
    const unsigned char *evicted, *replaced, *dropped;

    fill(cache, "a", text);
    evicted = kt_secret_bytes(kt_cache_find(cache, "a")->secret);
    ck_assert_mem_eq(evicted, text, sizeof(text) - 1);
    {
        kt_secret_t *other =
            secret_of(text); /* so that the next value does not take the place of the first */

        fill(cache, "b", text);
        ck_assert(is_zero(evicted, sizeof(text)));
        kt_secret_free(other);
    }
    replaced = kt_secret_bytes(kt_cache_find(cache, "b")->secret);
    fill(cache, "b", NULL);
    ck_assert(is_zero(replaced, sizeof(text)));
    fill(cache, "c", text);
    dropped = kt_secret_bytes(kt_cache_find(cache, "c")->secret);
    ck_assert_mem_eq(dropped, text, sizeof(text) - 1);
    kt_cache_drop_name(cache, "c");
    ck_assert(is_zero(dropped, sizeof(text)));
    fill(cache, "d", text);
    dropped = kt_secret_bytes(kt_cache_find(cache, "d")->secret);
    kt_cache_free(cache);
    ck_assert(is_zero(dropped, sizeof(text)));
}
END_TEST

START_TEST(the_one_used_longest_ago_makes_room)
{
    kt_cache_t *cache = kt_cache_new(256 * 1024);
    size_t here = 0, first = 0;
    char name[16];

    for (unsigned i = 1000; i < 5000; i++) {
        (void)snprintf(name, sizeof(name), "n%u", i);
        fill(cache, name, name);
        ck_assert(has(cache, "n1000"));
        kt_cache_use(kt_cache_find(cache, "n1000")); /* always in use */
        ck_assert_uint_le(kt_cache_bytes(cache), 256 * 1024);
    }
    for (unsigned i = 1001; i < 5000; i++) {
        (void)snprintf(name, sizeof(name), "n%u", i);
        here += has(cache, name);
        if (has(cache, name) && first == 0)
            first = i;
        /* the newest, and none before them */
        ck_assert_msg(has(cache, name) == (first != 0), "%s", name);
        if (first != 0)
            assert_secret(kt_cache_find(cache, name)->secret, name);
    }
    ck_assert_uint_gt(here, 300);
    kt_cache_free(cache);
}
END_TEST

START_TEST(large_values_count_as_much_as_they_are)
{
    static char text[KT_VALUE_MAX + 1];
    kt_cache_t *cache = kt_cache_new(512 * 1024);
    char name[16];

    fill(cache, "small", "s");
    memset(text, 'x', KT_VALUE_MAX);
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof(name), "n%u", i);
        fill(cache, name, text);
        ck_assert(has(cache, name));
        ck_assert_uint_le(kt_cache_bytes(cache), 512 * 1024);
    }
    ck_assert(!has(cache, "small"));
    fill(cache, "n19", "small now");
    ck_assert_uint_le(kt_cache_bytes(cache), 512 * 1024 - KT_VALUE_MAX);
    kt_cache_free(cache);
}
END_TEST

/* As an nginx variable of a client's text would. */
START_TEST(made_up_names_push_out_no_value)
{
    kt_cache_t *cache = kt_cache_new(256 * 1024);
    char name[32];

    fill(cache, "api-keys/a", "value");
    for (unsigned i = 0; i < 100000; i++) {
        (void)snprintf(name, sizeof(name), "api-keys/host-%u", i);
        fill(cache, name, NULL);
    }
    assert_secret(kt_cache_find(cache, "api-keys/a")->secret, "value");
    ck_assert(has(cache, name) && !has(cache, "api-keys/host-0"));
    ck_assert_uint_le(kt_cache_bytes(cache), 256 * 1024 / 8 + bytes_of("api-keys/a", "value"));
    kt_cache_free(cache);
}
END_TEST

START_TEST(it_grows_to_many)
{
    kt_cache_t *cache = kt_cache_new(64 * 1024 * 1024);
    char name[32];

    for (unsigned i = 0; i < 50000; i++) {
        (void)snprintf(name, sizeof(name), "n%u", i);
        fill(cache, name, name);
    }
    for (unsigned i = 0; i < 50000; i++) {
        (void)snprintf(name, sizeof(name), "n%u", i);
        ck_assert(has(cache, name));
        assert_secret(kt_cache_find(cache, name)->secret, name);
    }
    kt_cache_clear(cache);
    ck_assert_uint_eq(kt_cache_bytes(cache), 0);
    ck_assert(!has(cache, "n1"));
    kt_cache_free(cache);
}
END_TEST

START_TEST(an_entry_changes_its_part)
{
    kt_cache_t *cache = kt_cache_new(65536);

    for (unsigned i = 0; i < 100; i++)
        fill(cache, "a", i % 2 == 0 ? "value" : NULL);
    ck_assert_uint_eq(kt_cache_bytes(cache), bytes_of("a", NULL));
    fill(cache, "a", "value");
    ck_assert_uint_eq(kt_cache_bytes(cache), bytes_of("a", "value"));
    kt_cache_free(cache);
}
END_TEST

START_TEST(whom_policy_allowed_is_remembered_with_the_entry)
{
    static const char *const subjects[] = {"uid:a", "uid:b", "uid:c", "uid:d", "uid:e"};
    kt_cache_t *cache = kt_cache_new(65536);
    kt_cached_t *entry;

    fill(cache, "a", "value");
    fill(cache, "b", "value");
    entry = kt_cache_find(cache, "a");
    for (size_t i = 0; i < KT_ARRAY(subjects); i++) {
        ck_assert(!kt_cache_granted(entry, subjects[i]));
        kt_cache_grant(cache, entry, subjects[i]);
        ck_assert(kt_cache_granted(entry, subjects[i]));
    }
    ck_assert(!kt_cache_granted(entry, "uid:a")); /* four at most */
    ck_assert(kt_cache_granted(entry, "uid:b"));
    ck_assert(!kt_cache_granted(entry, "uid:") && !kt_cache_granted(entry, "uid:bb"));
    ck_assert(!kt_cache_granted(kt_cache_find(cache, "b"), "uid:b"));
    kt_cache_drop_name(cache, "a");
    fill(cache, "a", "value");
    ck_assert(!kt_cache_granted(kt_cache_find(cache, "a"), "uid:b"));
    kt_cache_free(cache);
}
END_TEST

/* Another provider may have answered it. */
START_TEST(texts_of_a_record_go_with_the_answer)
{
    kt_cache_t *cache = kt_cache_new(65536);
    kt_event_t event = {.action = "read", .subject = "uid:a", .status = "success"};
    kt_granted_t *granted;

    fill(cache, "a", "value");
    kt_cache_grant(cache, kt_cache_find(cache, "a"), "uid:a");
    granted = kt_cache_granted(kt_cache_find(cache, "a"), "uid:a");
    ck_assert_ptr_null(granted->texts);
    granted->texts = kt_event_texts_new(&event);
    ck_assert_ptr_nonnull(granted->texts);
    fill(cache, "a", "other");
    granted = kt_cache_granted(kt_cache_find(cache, "a"), "uid:a");
    ck_assert(granted != NULL && granted->texts == NULL);
    granted->texts = kt_event_texts_new(&event); /* the cache frees it */
    kt_cache_free(cache);
}
END_TEST

START_TEST(what_is_too_old_goes)
{
    kt_cache_t *cache = kt_cache_new(65536);
    kt_cached_t entry = {.status = KT_SUCCESS, .secret = secret_of("x")};
    static const char *const names[] = {"n0", "n1", "n2", "n3"};

    for (int i = 0; i < 4; i++) {
        entry.fetched = 100 + i;
        kt_cache_put(cache, names[i], &entry);
    }
    kt_secret_free(entry.secret);
    kt_cache_expire(cache, 102);
    ck_assert(!has(cache, "n0") && !has(cache, "n1") && has(cache, "n2") && has(cache, "n3"));
    kt_cache_expire(cache, 1000);
    ck_assert_uint_eq(kt_cache_bytes(cache), 0);
    kt_cache_free(cache);
}
END_TEST

START_TEST(all_references_of_a_name_go_and_no_others)
{
    static const char *const gone[] = {"a/b", "a/b#f", "a/b@1", "a/b#f@previous"}, *const stay[] = {
                                                                                       "a/bc",
                                                                                       "a/b/c", "a",
                                                                                       "a/b.x",
                                                                                       "x/a/b"};
    kt_cache_t *cache = kt_cache_new(65536);
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
    /* it counts although nothing was here: a fetch may be under way */
    kt_cache_drop_name(cache, "never");
    ck_assert(kt_cache_drops(cache) == drops + 2);
    kt_cache_free(cache);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, what_was_put_is_found);
    tcase_add_test(tests, what_was_found_is_recalled);
    tcase_add_test(tests, a_reader_keeps_what_is_evicted);
    tcase_add_loop_test(tests, what_was_taken_is_the_callers_alone, 0, 2);
    tcase_add_test(tests, what_is_evicted_is_wiped);
    tcase_add_test(tests, large_values_count_as_much_as_they_are);
    tcase_add_test(tests, made_up_names_push_out_no_value);
    tcase_add_test(tests, it_grows_to_many);
    tcase_add_test(tests, an_entry_changes_its_part);
    tcase_add_test(tests, texts_of_a_record_go_with_the_answer);
    tcase_add_test(tests, whom_policy_allowed_is_remembered_with_the_entry);
    tcase_add_test(tests, what_is_too_old_goes);
    tcase_add_test(tests, the_one_used_longest_ago_makes_room);
    tcase_add_test(tests, all_references_of_a_name_go_and_no_others);
}

UNIT_MAIN("cache", add_tests)
