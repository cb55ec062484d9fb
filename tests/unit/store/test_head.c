/* SPDX-License-Identifier: BSD-2-Clause */
/* core/store/head.c: what a head says, and that a damaged one says nothing. */
#include "vectors.h"

static kt_head_t head;

static void make_head(void)
{
    kt_head_version_t *version;

    memset(&head, 0, sizeof(head));
    memcpy(head.name, "api-keys/stripe", 16);
    head.created = 1767225600000;
    head.updated = 1767312000000;
    assert_ok(kt_head_add(&head, 1, 1000, &version));
    assert_ok(kt_head_add(&head, 2, 2000, &version));
    memset(version->tag, 0x5a, KT_TAG_SIZE);
    head.current = 2;
    head.previous = 1;
}

static void clear_head(void)
{
    kt_head_clear(&head);
}

START_TEST(the_vector_of_the_page_is_what_it_says)
{
    vector_t v = vector("head_plain");
    unsigned char *again;
    size_t size;
    kt_head_t h;

    assert_ok(kt_head_decode(v.bytes, v.size, &h));
    ck_assert_str_eq(h.name, "api-keys/stripe");
    ck_assert(h.current == 3 && h.previous == 2 && h.pending == 0 && h.last == 3);
    ck_assert(!h.deleted && h.expires == 0 && h.created == 1767225600000);
    ck_assert_uint_eq(h.nversions, 2);
    ck_assert(!h.versions[0].destroyed && h.versions[1].destroyed);
    ck_assert_str_eq(h.metas[0].key, "owner");
    ck_assert_str_eq(h.metas[0].value, "payments");
    ck_assert_str_eq(kt_head_get_note(&h, 3, "target"), "exec:rotate-stripe");
    assert_ok(kt_head_encode(&h, &again, &size));
    assert_vector(again, size, "head_plain");
    free(again);
    kt_head_clear(&h);
}
END_TEST

START_TEST(cut_anywhere_it_is_refused_or_has_lost_whole_fields)
{
    vector_t v = vector("head_plain");

    for (size_t n = 0; n < v.size; n++) {
        unsigned char *copy = malloc(n > 0 ? n : 1);
        kt_head_t h;

        memcpy(copy, v.bytes, n);
        if (kt_head_decode(copy, n, &h) == KT_SUCCESS) {
            ck_assert_str_eq(h.name, "api-keys/stripe");
            kt_head_clear(&h);
        }
        free(copy);
    }
}
END_TEST

START_TEST(any_byte_may_be_anything)
{
    vector_t v = vector("head_plain");

    for (size_t at = 0; at < v.size; at++) {
        for (unsigned value = 0; value < 256; value += value < 8 ? 1 : 31) {
            unsigned char old = v.bytes[at];
            unsigned char *copy = malloc(v.size);
            kt_head_t h;

            v.bytes[at] = (unsigned char)value;
            memcpy(copy, v.bytes, v.size);
            v.bytes[at] = old;
            if (kt_head_decode(copy, v.size, &h) == KT_SUCCESS)
                kt_head_clear(&h);
            free(copy);
        }
    }
}
END_TEST

static const struct {
    const char *bytes;
    size_t size;
} wrong[] = {
#define FIELDS(text)                                                                               \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }
    FIELDS(""),
    FIELDS("\1\0\0\0\0"), /* an empty name */
    FIELDS("\2\0\0\0\x08"
           "12345678"),                /* no name, short numbers */
    FIELDS("\1\0\0\0\1a\3\0\0\0\1\2"), /* neither live nor deleted */
    FIELDS("\1\0\0\0\1a\3\0\0\0\0"),
    FIELDS("\1\0\0\0\1a\4\0\0\0\1x"),
    FIELDS("\1\0\0\0\1a\5\0\0\0\1x"),
    FIELDS("\1\0\0\0\1a\6\0\0\0\3abc"),    /* no NUL between key and value */
    FIELDS("\1\0\0\0\1a\6\0\0\0\4a\0b\0"), /* two of them */
    FIELDS("\1\0\0\0\1a\7\0\0\0\3a\0b"),   /* a note without a version */
    FIELDS("\1\0\0\0\1a\x7f\0\0\0\0"),     /* an unknown tag */
    FIELDS("\1\0\0\0\2a\0"),               /* NUL in a name */
    FIELDS("\1\xff\xff\xff\xff"
           "a"),
    FIELDS("\0"),
};

START_TEST(what_is_not_a_head_is_refused)
{
    kt_head_t h;

    assert_status(kt_head_decode((const unsigned char *)wrong[_i].bytes, wrong[_i].size, &h),
                  KT_MALFORMED);
}
END_TEST

/* Name, numbers, state and times are there exactly once. The vector begins with them. */
START_TEST(no_field_is_missing_or_there_twice)
{
    vector_t v = vector("head_plain");
    unsigned char copy[2 * sizeof(v.bytes)];
    size_t at = 0, field;
    kt_head_t h;

    for (int n = 0; n < 4; n++, at += field) {
        field = 5 + kt_get_u32(v.bytes + at + 1);
        memcpy(copy, v.bytes, at);
        memcpy(copy + at, v.bytes + at + field, v.size - at - field);
        assert_status(kt_head_decode(copy, v.size - field, &h), KT_MALFORMED);
        memcpy(copy, v.bytes, v.size);
        memcpy(copy + v.size, v.bytes + at, field);
        assert_status(kt_head_decode(copy, v.size + field, &h), KT_MALFORMED);
    }
}
END_TEST

START_TEST(versions_are_added_found_and_dropped)
{
    kt_head_version_t *version;

    assert_ok(kt_head_add(&head, 3, 3000, &version));
    ck_assert(head.last == 3 && head.nversions == 3 && head.versions[0].version == 3);
    assert_ok(kt_head_note(&head, 2, "k", "two"));
    assert_ok(kt_head_note(&head, 3, "k", "three"));
    kt_head_drop(&head, 2);
    ck_assert(kt_head_find(&head, 2) == NULL && kt_head_find(&head, 1) != NULL &&
              kt_head_find(&head, 3) != NULL);
    ck_assert_ptr_null(kt_head_get_note(&head, 2, "k"));
    ck_assert_str_eq(kt_head_get_note(&head, 3, "k"), "three");
    kt_head_drop(&head, 99);
    ck_assert(head.nversions == 2 && head.last == 3);
    ck_assert_ptr_null(kt_head_find(&head, 0));
}
END_TEST

START_TEST(selectors_mean_numbers)
{
    uint64_t version = 0;

    assert_ok(kt_head_select(&head, KT_SEL_CURRENT, 0, &version));
    ck_assert_uint_eq(version, 2);
    assert_ok(kt_head_select(&head, KT_SEL_PREVIOUS, 0, &version));
    ck_assert_uint_eq(version, 1);
    assert_status(kt_head_select(&head, KT_SEL_PENDING, 0, &version), KT_NOTFOUND);
    assert_failure_has("pending");
    assert_ok(kt_head_select(&head, KT_SEL_NUMBER, 1, &version));
    assert_status(kt_head_select(&head, KT_SEL_NUMBER, 9, &version), KT_NOTFOUND);
    kt_head_find(&head, 1)->destroyed = true;
    assert_status(kt_head_select(&head, KT_SEL_PREVIOUS, 0, &version), KT_GONE);
    assert_status(kt_head_select(&head, KT_SEL_NUMBER, 1, &version), KT_GONE);
    ck_assert_uint_eq(version, 1);
}
END_TEST

START_TEST(metadata_is_bounded)
{
    char key[KT_META_KEY_MAX + 2], value[KT_META_VALUE_MAX + 2];

    memset(key, 'k', sizeof(key));
    memset(value, 'v', sizeof(value));
    key[KT_META_KEY_MAX + 1] = value[KT_META_VALUE_MAX + 1] = '\0';
    assert_status(kt_head_meta(&head, key, "v"), KT_USAGE);
    assert_status(kt_head_meta(&head, "", "v"), KT_USAGE);
    assert_status(kt_head_meta(&head, "k", value), KT_TOOLARGE);
    key[KT_META_KEY_MAX] = value[KT_META_VALUE_MAX] = '\0';
    assert_ok(kt_head_meta(&head, key, value));
    for (unsigned i = 1; i < KT_META_MAX; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        assert_ok(kt_head_meta(&head, key, "v"));
    }
    assert_status(kt_head_meta(&head, "more", "v"), KT_TOOLARGE);
    assert_ok(kt_head_meta(&head, "k5", "replaced"));
    assert_ok(kt_head_meta(&head, "k5", NULL));
    assert_ok(kt_head_meta(&head, "never", NULL));
    assert_ok(kt_head_meta(&head, "more", "v"));
    ck_assert_uint_eq(head.nmetas, KT_META_MAX);
}
END_TEST

START_TEST(notes_are_bounded_by_version)
{
    char key[16], text[1100];

    memset(text, 't', sizeof(text));
    text[1025] = '\0';
    assert_status(kt_head_note(&head, 2, "k", text), KT_TOOLARGE);
    text[1024] = '\0';
    for (unsigned i = 0; i < 64; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        assert_ok(kt_head_note(&head, 2, key, text));
    }
    assert_status(kt_head_note(&head, 2, "more", "t"), KT_TOOLARGE);
    assert_ok(kt_head_note(&head, 2, "k7", "new"));
    assert_ok(kt_head_note(&head, 1, "k", "of another"));
    ck_assert_str_eq(kt_head_get_note(&head, 2, "k7"), "new");
    ck_assert_ptr_null(kt_head_get_note(&head, 1, "k7"));
}
END_TEST

START_TEST(a_full_head_comes_back)
{
    unsigned char *plain;
    char key[32];
    size_t size;
    kt_head_t h;

    head.deleted = true;
    head.pending = 2;
    head.expires = -1;
    for (unsigned i = 0; i < KT_META_MAX; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        assert_ok(kt_head_meta(&head, key, i % 2 ? "" : "some value"));
    }
    for (uint64_t v = 3; v <= KT_VERSIONS_MAX; v++) {
        kt_head_version_t *version;

        assert_ok(kt_head_add(&head, v, (int64_t)v, &version));
        version->destroyed = v % 3 == 0;
        version->abandoned = v % 3 == 1;
    }
    assert_ok(kt_head_encode(&head, &plain, &size));
    assert_ok(kt_head_decode(plain, size, &h));
    ck_assert(h.deleted && h.pending == 2 && h.expires == -1 && h.nmetas == KT_META_MAX &&
              h.nversions == KT_VERSIONS_MAX);
    for (size_t i = 0; i < h.nversions; i++) {
        const kt_head_version_t *a = &h.versions[i], *b = &head.versions[i];

        ck_assert(a->version == b->version && a->created == b->created &&
                  a->expires == b->expires && a->destroyed == b->destroyed &&
                  a->abandoned == b->abandoned);
        ck_assert_mem_eq(a->tag, b->tag, KT_TAG_SIZE);
    }
    ck_assert_str_eq(h.metas[1].value, "");
    free(plain);
    kt_head_clear(&h);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_head, clear_head);
    tcase_add_test(tests, the_vector_of_the_page_is_what_it_says);
    tcase_add_test(tests, cut_anywhere_it_is_refused_or_has_lost_whole_fields);
    tcase_add_test(tests, any_byte_may_be_anything);
    UNIT_TABLE(tests, what_is_not_a_head_is_refused, wrong);
    tcase_add_test(tests, no_field_is_missing_or_there_twice);
    tcase_add_test(tests, versions_are_added_found_and_dropped);
    tcase_add_test(tests, selectors_mean_numbers);
    tcase_add_test(tests, metadata_is_bounded);
    tcase_add_test(tests, notes_are_bounded_by_version);
    tcase_add_test(tests, a_full_head_comes_back);
}

UNIT_MAIN("head", add_tests)
