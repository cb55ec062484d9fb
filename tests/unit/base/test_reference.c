/* SPDX-License-Identifier: BSD-2-Clause */
/* core/base/reference.c: names, references, patterns, environments. */
#include "unit.h"

#include <stdio.h>
#include <time.h>

static const char *repeat(char c, size_t count)
{
    static char text[2048];

    memset(text, c, count);
    text[count] = '\0';
    return text;
}

static const struct {
    const char *name, *why; /* NULL: it is a name */
} names[] = {
    {"a", NULL},
    {"database/primary", NULL},
    {"OPENAI_API_KEY", NULL},
    {"storage-account-key", NULL},
    {"a/b/c/d", NULL},
    {"...", NULL},
    {".a/..b/c.", NULL},
    {"-", NULL},
    {"", "a name must not be empty"},
    {"/", "a name must not have an empty segment"},
    {"/a", "a name must not have an empty segment"},
    {"a/", "a name must not have an empty segment"},
    {"a//b", "a name must not have an empty segment"},
    {".", "a name must not have a segment '.' or '..'"},
    {"..", "a name must not have a segment '.' or '..'"},
    {"a/../b", "a name must not have a segment '.' or '..'"},
    {"a/./b", "a name must not have a segment '.' or '..'"},
    {"a/..", "a name must not have a segment '.' or '..'"},
    {"a b", "a name may only have the bytes A-Z a-z 0-9 . _ - /"},
    {"a*", "a name may only have the bytes A-Z a-z 0-9 . _ - /"},
    {"a#b", "a name may only have the bytes A-Z a-z 0-9 . _ - /"},
    {"a\\b", "a name may only have the bytes A-Z a-z 0-9 . _ - /"},
    {"a\nb", "a name may only have the bytes A-Z a-z 0-9 . _ - /"},
    {"sch\xc3\xb6n", "a name may only have the bytes A-Z a-z 0-9 . _ - /"},
    {"a\xff", "a name may only have the bytes A-Z a-z 0-9 . _ - /"},
};

START_TEST(names_by_table)
{
    const char *why = "untouched";
    kt_status_t wanted = names[_i].why == NULL ? KT_SUCCESS : KT_USAGE;

    assert_status(kt_name_check(names[_i].name, 0, &why), wanted);
    ck_assert_pstr_eq(why, names[_i].why);
    assert_status(kt_name_check(names[_i].name, 0, NULL), wanted);
    if (names[_i].why != NULL)
        assert_failure(names[_i].why);
}
END_TEST

START_TEST(a_name_has_255_bytes_at_most)
{
    assert_ok(kt_name_check(repeat('a', KT_NAME_MAX - 1), 0, NULL));
    assert_ok(kt_name_check(repeat('a', KT_NAME_MAX), 0, NULL));
    assert_status(kt_name_check(repeat('a', KT_NAME_MAX + 1), 0, NULL), KT_USAGE);
    assert_failure("a name must not have more than 255 bytes");
}
END_TEST

START_TEST(each_byte_is_in_a_name_or_not)
{
    static const char bytes[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

    for (int c = 1; c < 256; c++) {
        char name[] = {'a', (char)c, 'b'};

        assert_status(kt_name_check(name, sizeof(name), NULL),
                      strchr(bytes, c) != NULL || c == '/' ? KT_SUCCESS : KT_USAGE);
    }
}
END_TEST

/* Of each code point its own form, and each longer one that is not its own. */
START_TEST(each_character_is_in_a_field_or_not)
{
    for (uint32_t code = 0; code < 0x120000; code++) {
        char text[8] = "a#";
        bool control = code < ' ' || (code >= 0x7f && code < 0xa0) || code == '#' || code == '@';
        bool valid = !control && !(code >= 0xd800 && code <= 0xdfff) && code <= 0x10ffff;

        for (uint32_t size = 1; size <= 4; size++) {
            static const unsigned heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
            static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000, UINT32_MAX};
            bool own = code >= least[size] && code < least[size + 1];
            kt_status_t wanted = own && valid ? KT_SUCCESS : KT_USAGE;

            if ((size == 1 && code >= 0x80) || (size < 4 && code >> (5 * size + 1) != 0))
                continue;
            for (uint32_t i = 0; i < size; i++)
                text[2 + i] = (char)(0x80 | (code >> 6 * (size - 1 - i) & 0x3f));
            if (size == 1)
                text[2] = (char)code;
            else
                text[2] = (char)(heads[size] | code >> 6 * (size - 1));
            ck_assert_msg(kt_reference_check(text, 2 + size, NULL) == wanted, "U+%04X in %u bytes",
                          code, size);
        }
    }
}
END_TEST

START_TEST(a_length_is_heeded)
{
    assert_ok(kt_name_check("abc def", 3, NULL));
    assert_status(kt_name_check("abc", 4, NULL), KT_USAGE);
    assert_status(kt_name_check("a\0b", 3, NULL), KT_USAGE);
    assert_status(kt_reference_check("a#f\0g", 5, NULL), KT_USAGE);
    assert_ok(kt_reference_check("a@currentX", 9, NULL));
}
END_TEST

static const struct {
    const char *text, *name, *type, *field;
    kt_selector_t selector;
    uint64_t version;
    const char *normal; /* NULL: `text` itself */
} references[] = {
    {"database/primary", "database/primary", "database", "", KT_SEL_CURRENT, 0, NULL},
    {"plain", "plain", "general", "", KT_SEL_CURRENT, 0, NULL},
    {"general/plain", "general/plain", "general", "", KT_SEL_CURRENT, 0, NULL},
    {"a/b#f", "a/b", "a", "f", KT_SEL_CURRENT, 0, NULL},
    {"a/b@current", "a/b", "a", "", KT_SEL_CURRENT, 0, "a/b"},
    {"a/b#f@current", "a/b", "a", "f", KT_SEL_CURRENT, 0, "a/b#f"},
    {"a/b@previous", "a/b", "a", "", KT_SEL_PREVIOUS, 0, NULL},
    {"a/b#f@pending", "a/b", "a", "f", KT_SEL_PENDING, 0, NULL},
    {"a/b@1", "a/b", "a", "", KT_SEL_NUMBER, 1, NULL},
    {"a/b#f@9223372036854775807", "a/b", "a", "f", KT_SEL_NUMBER, INT64_MAX, NULL},
    {"a#a field", "a", "general", "a field", KT_SEL_CURRENT, 0, NULL},
    {"a#\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x91", "a", "general",
     "\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x91", KT_SEL_CURRENT, 0, NULL},
};

START_TEST(references_by_table)
{
    const char *normal = references[_i].normal;
    char text[KT_REFERENCE_MAX];
    kt_reference_t reference;

    memset(&reference, 0xa5, sizeof(reference));
    assert_ok(kt_reference_check(references[_i].text, 0, NULL));
    assert_ok(kt_reference_parse(references[_i].text, 0, &reference));
    ck_assert_str_eq(reference.name, references[_i].name);
    ck_assert_str_eq(reference.type, references[_i].type);
    ck_assert_str_eq(reference.field, references[_i].field);
    ck_assert_int_eq((int)reference.selector, (int)references[_i].selector);
    ck_assert(reference.version == references[_i].version);
    kt_reference_format(&reference, text, sizeof(text));
    ck_assert_str_eq(text, normal != NULL ? normal : references[_i].text);
}
END_TEST

#define BAD_VERSION "a version is a number from 1, current, previous or pending"
#define BAD_FIELD "a field has '#', '@', a control character or what is not UTF-8"

static const struct {
    const char *text, *why;
} wrong[] = {
    {"", "a name must not be empty"},
    {"#f", "a name must not be empty"},
    {"@1", "a name must not be empty"},
    {"a#", "a reference has '#' without a field"},
    {"a#@1", "a reference has '#' without a field"},
    {"a@", BAD_VERSION},
    {"a@0", BAD_VERSION},
    {"a@01", BAD_VERSION},
    {"a@+1", BAD_VERSION},
    {"a@-1", BAD_VERSION},
    {"a@1 ", BAD_VERSION},
    {"a@1@2", BAD_VERSION},
    {"a@Current", BAD_VERSION},
    {"a@latest", BAD_VERSION},
    {"a@1#f", BAD_VERSION},
    {"a@9223372036854775808", "a version is over 9223372036854775807"},
    {"a@18446744073709551617", "a version is over 9223372036854775807"},
    {"a@99999999999999999999999999", "a version is over 9223372036854775807"},
    {"a#f#g", BAD_FIELD},
    {"a#f\n", BAD_FIELD},
    {"a#\x7f", BAD_FIELD},
    {"a#\x80", BAD_FIELD},
    {"a#\xc0\xaf", BAD_FIELD}, /* overlong */
    {"a#\xc3", BAD_FIELD},     /* cut off */
    {"a#\xe2\x82", BAD_FIELD},
    {"a#\xe0\x80\xaf", BAD_FIELD},
    {"a#\xed\xa0\x80", BAD_FIELD},     /* a surrogate */
    {"a#\xf4\x90\x80\x80", BAD_FIELD}, /* past U+10FFFF */
    {"a#\xf5\x80\x80\x80", BAD_FIELD},
    {"a#\xc2\x85", BAD_FIELD}, /* a control character of C1 */
    {"../a#f@1", "a name must not have a segment '.' or '..'"},
};

START_TEST(wrong_references_by_table)
{
    const char *why = NULL;
    kt_reference_t reference = {.name = "untouched"};

    assert_status(kt_reference_check(wrong[_i].text, 0, &why), KT_USAGE);
    ck_assert_pstr_eq(why, wrong[_i].why);
    assert_status(kt_reference_parse(wrong[_i].text, 0, &reference), KT_USAGE);
    assert_failure(wrong[_i].why);
    ck_assert_str_eq(reference.name, "untouched");
}
END_TEST

START_TEST(a_field_has_255_bytes_at_most)
{
    char text[KT_REFERENCE_MAX], back[KT_REFERENCE_MAX];
    kt_reference_t reference;

    for (size_t len = KT_FIELD_MAX - 1; len <= KT_FIELD_MAX + 1; len++) {
        snprintf(text, sizeof(text), "a#%s@3", repeat('f', len));
        assert_status(kt_reference_check(text, 0, NULL),
                      len <= KT_FIELD_MAX ? KT_SUCCESS : KT_USAGE);
    }
    assert_failure("a field has more than 255 bytes");

    memcpy(text, repeat('n', KT_NAME_MAX), KT_NAME_MAX);
    snprintf(text + KT_NAME_MAX, sizeof(text) - KT_NAME_MAX, "#%s@9223372036854775807",
             repeat('f', KT_FIELD_MAX));
    assert_ok(kt_reference_parse(text, 0, &reference));
    kt_reference_format(&reference, back, sizeof(back));
    ck_assert_str_eq(back, text);
}
END_TEST

START_TEST(a_format_keeps_to_its_room)
{
    kt_reference_t reference;
    char text[8];

    assert_ok(kt_reference_parse("abcdef#ghi@12", 0, &reference));
    memset(text, 'x', sizeof(text));
    kt_reference_format(&reference, text, 7);
    ck_assert_str_eq(text, "abcdef");
    ck_assert_int_eq(text[7], 'x');
    kt_reference_format(&reference, text, 1);
    ck_assert_str_eq(text, "");
}
END_TEST

static const struct {
    const char *pattern, *text;
    bool matches;
} matches[] = {
    {"a", "a", true},
    {"a", "b", false},
    {"a", "aa", false},
    {"", "", true},
    {"*", "", true},
    {"*", "database/primary", true},
    {"**", "", true},
    {"***", "abc", true},
    {"database/*", "database/primary", true},
    {"database/*", "database/a/b", true},
    {"database/*", "database/", true},
    {"database/*", "database", false},
    {"database/*", "xdatabase/a", false},
    {"*/primary", "database/primary", true},
    {"*/primary", "database/primary2", false},
    {"a*c", "ac", true},
    {"a*c", "abc", true},
    {"a*c", "abcd", false},
    {"ab*ba", "aba", false},
    {"ab*ba", "abba", true},
    {"a*b*c", "abc", true},
    {"a*b*c", "axxbyyc", true},
    {"a*b*c", "acb", false},
    {"*b*", "abc", true},
    {"*b*", "b", true},
    {"*b*", "ac", false},
    {"*aab*b", "aaabb", true},
    {"*aab*b", "aaab", false},
    {"a*bc*bc", "abcbc", true},
    {"a*bc*bc", "abc", false},
    {"a.c", "abc", false},
    {"[a]", "a", false},
    {"?", "a", false},
    {"nginx:*", "nginx:www.example.org", true},
    {"nginx:*", "redis:app", false},
    {"a*", "a*", true},
    {"\\*", "*", false},
};

START_TEST(matches_by_table)
{
    ck_assert_msg(kt_pattern_match(matches[_i].pattern, matches[_i].text) == matches[_i].matches,
                  "`%s` and `%s`", matches[_i].pattern, matches[_i].text);
}
END_TEST

/* The same question answered by trying everything. */
static bool slow_match(const char *pattern, const char *text)
{
    if (*pattern == '*')
        return slow_match(pattern + 1, text) || (*text != '\0' && slow_match(pattern, text + 1));
    if (*pattern == '\0' || *text == '\0')
        return *pattern == *text;
    return *pattern == *text && slow_match(pattern + 1, text + 1);
}

START_TEST(matches_are_those_of_trying_everything)
{
    static const char bytes[] = "ab*";
    char pattern[8], text[8];

    for (unsigned p = 0; p < 3 * 3 * 3 * 3 * 3; p++) {
        for (unsigned i = 0, rest = p; i < 5; i++, rest /= 3)
            pattern[i] = bytes[rest % 3];
        for (unsigned t = 0; t < 1 << 7; t++) {
            size_t len = 0;

            for (unsigned bits = t; bits > 1; bits >>= 1)
                text[len++] = bytes[bits & 1];
            text[len] = '\0';
            for (unsigned size = 0; size <= 5; size++) {
                char cut[8] = "";

                memcpy(cut, pattern, size);
                ck_assert_msg(kt_pattern_match(cut, text) == slow_match(cut, text), "`%s` and `%s`",
                              cut, text);
            }
        }
    }
}
END_TEST

START_TEST(matching_takes_no_longer_for_a_bad_pattern)
{
    char pattern[256] = "", text[100001];
    clock_t start = clock();

    for (size_t i = 0; i < 120; i++)
        strcat(pattern, "a*");
    strcat(pattern, "b");
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (int i = 0; i < 100; i++)
        ck_assert(!kt_pattern_match(pattern, text));
    ck_assert_int_lt((int)((clock() - start) / CLOCKS_PER_SEC), 5);
}
END_TEST

START_TEST(patterns_are_names_with_stars)
{
    assert_ok(kt_pattern_check("*"));
    assert_ok(kt_pattern_check("database/*"));
    assert_ok(kt_pattern_check("*-key"));
    assert_ok(kt_pattern_check("a/*/b"));
    assert_ok(kt_pattern_check("a"));
    assert_ok(kt_pattern_check(repeat('*', KT_NAME_MAX)));
    assert_status(kt_pattern_check(repeat('*', KT_NAME_MAX + 1)), KT_USAGE);
    assert_status(kt_pattern_check(""), KT_USAGE);
    assert_failure("as a pattern, a name must not be empty");
    assert_status(kt_pattern_check("database/"), KT_USAGE);
    assert_status(kt_pattern_check("a/../*"), KT_USAGE);
    assert_status(kt_pattern_check("a?"), KT_USAGE);
    assert_status(kt_pattern_check("[ab]"), KT_USAGE);
}
END_TEST

static const struct {
    const char *text, *environment; /* NULL: refused */
} environments[] = {
    {"production", "production"},
    {"prod", "production"},
    {"dev", "development"},
    {"stage", "staging"},
    {"staging", "staging"},
    {"eu-west.2", "eu-west.2"},
    {"Prod", "Prod"},
    {"", NULL},
    {".", NULL},
    {"..", NULL},
    {"a/b", NULL},
    {"a b", NULL},
    {"sch\xc3\xb6n", NULL},
};

START_TEST(environments_by_table)
{
    char environment[KT_ENVIRONMENT_MAX] = "untouched";
    const char *wanted = environments[_i].environment;

    assert_status(kt_environment_parse(environments[_i].text, environment),
                  wanted != NULL ? KT_SUCCESS : KT_USAGE);
    ck_assert_str_eq(environment, wanted != NULL ? wanted : "untouched");
}
END_TEST

START_TEST(an_environment_has_63_bytes_at_most)
{
    char environment[KT_ENVIRONMENT_MAX];

    assert_ok(kt_environment_parse(repeat('e', KT_ENVIRONMENT_MAX - 2), environment));
    assert_ok(kt_environment_parse(repeat('e', KT_ENVIRONMENT_MAX - 1), environment));
    assert_status(kt_environment_parse(repeat('e', KT_ENVIRONMENT_MAX), environment), KT_USAGE);
    assert_failure("an environment has 1 to 63 bytes");
    assert_ok(kt_environment_parse("dev", environment));
    assert_ok(kt_environment_parse(environment, environment));
    ck_assert_str_eq(environment, "development");
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, names_by_table, names);
    tcase_add_test(tests, a_name_has_255_bytes_at_most);
    tcase_add_test(tests, each_byte_is_in_a_name_or_not);
    tcase_add_test(tests, each_character_is_in_a_field_or_not);
    tcase_add_test(tests, a_length_is_heeded);
    UNIT_TABLE(tests, references_by_table, references);
    UNIT_TABLE(tests, wrong_references_by_table, wrong);
    tcase_add_test(tests, a_field_has_255_bytes_at_most);
    tcase_add_test(tests, a_format_keeps_to_its_room);
    UNIT_TABLE(tests, matches_by_table, matches);
    tcase_add_test(tests, matches_are_those_of_trying_everything);
    tcase_add_test(tests, matching_takes_no_longer_for_a_bad_pattern);
    tcase_add_test(tests, patterns_are_names_with_stars);
    UNIT_TABLE(tests, environments_by_table, environments);
    tcase_add_test(tests, an_environment_has_63_bytes_at_most);
}

UNIT_MAIN("reference", add_tests)
