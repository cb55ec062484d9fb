/* SPDX-License-Identifier: BSD-2-Clause */
/* core/value/encode.c: encodings and random values. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#define DATABASE "{\"user\": \"app\", \"password\": \"p w\"}"

static const struct {
    const char *value;
    kt_encoding_t encoding;
    const char *text;
} encodings[] = {
    {"", KT_ENCODE_NONE, ""},
    {"any\nthing", KT_ENCODE_NONE, "any\nthing"},
    {"", KT_ENCODE_BASE64, ""}, /* RFC 4648, 10 */
    {"f", KT_ENCODE_BASE64, "Zg=="},
    {"fo", KT_ENCODE_BASE64, "Zm8="},
    {"foo", KT_ENCODE_BASE64, "Zm9v"},
    {"foob", KT_ENCODE_BASE64, "Zm9vYg=="},
    {"fooba", KT_ENCODE_BASE64, "Zm9vYmE="},
    {"foobar", KT_ENCODE_BASE64, "Zm9vYmFy"},
    {"\xff\xfe\xfd", KT_ENCODE_BASE64, "//79"},
    {"\xff\xfe\xfd", KT_ENCODE_BASE64URL, "__79"},
    {"f", KT_ENCODE_BASE64URL, "Zg"},
    {"", KT_ENCODE_BASE64URL, ""},
    {"", KT_ENCODE_HEX, ""},
    {"\x01\xab\xff", KT_ENCODE_HEX, "01abff"},
    {"", KT_ENCODE_URI, ""},
    {"azAZ09-._~", KT_ENCODE_URI, "azAZ09-._~"},
    {"a b/\xc3\xa4%\n+", KT_ENCODE_URI, "a%20b%2F%C3%A4%25%0A%2B"},
    {DATABASE, KT_ENCODE_BASIC, "YXBwOnAgdw=="},
    {"{\"password\":\"\",\"user\":\"\"}", KT_ENCODE_BASIC, "Og=="},
    {"{\"password\":\"a:b\",\"user\":\"u\"}", KT_ENCODE_BASIC, "dTphOmI="},
    {"{\"password\":12,\"user\":\"u\"}", KT_ENCODE_BASIC, "dToxMg=="},
};

START_TEST(encodings_by_table)
{
    kt_secret_t *value = secret_of(encodings[_i].value), *text = NULL;

    value->version = 7;
    value->expires = 8;
    value->stale = true;
    assert_ok(kt_secret_encode(value, encodings[_i].encoding, &text));
    assert_secret(text, encodings[_i].text);
    assert_secret(value, encodings[_i].value);
    ck_assert_uint_eq(kt_secret_version(text), 7);
    ck_assert(text->expires == 8);
    ck_assert_int_ne(kt_secret_stale(text), 0);
    kt_secret_free(text);
    kt_secret_free(value);
}
END_TEST

START_TEST(a_zero_byte_is_encoded_too)
{
    kt_secret_t *value = kt_secret_new("a\0b", 3), *text = NULL;

    assert_ok(kt_secret_encode(value, KT_ENCODE_URI, &text));
    assert_secret(text, "a%00b");
    kt_secret_free(text);
    assert_ok(kt_secret_encode(value, KT_ENCODE_HEX, &text));
    assert_secret(text, "610062");
    kt_secret_free(text);
    kt_secret_free(value);
}
END_TEST

#define WANTS "encode=basic needs `user` and `password`: "

static const struct {
    const char *value, *failure;
} not_basic[] = {
    {"plain", WANTS "the value is not a JSON object, so it has no field `user`"},
    {"{}", WANTS "the value has no field `user`"},
    {"{\"user\":\"CANARY\"}", WANTS "the value has no field `password`"},
    {"{\"user\":\"CANARY\",\"password\":null}",
     WANTS "the field `password` is neither a string nor a number"},
    {"{\"user\":\"CAN:ARY\",\"password\":\"CANARY\"}", "encode=basic: the user has a colon"},
};

START_TEST(what_is_not_basic_by_table)
{
    kt_secret_t *value = secret_of(not_basic[_i].value), *text = NULL;

    assert_status(kt_secret_encode(value, KT_ENCODE_BASIC, &text), KT_MALFORMED);
    assert_failure(not_basic[_i].failure);
    ck_assert_ptr_null(text);
    kt_secret_free(value);
}
END_TEST

static const struct {
    kt_encoding_t encoding;
    size_t fits; /* bytes of the largest value whose text is within KT_VALUE_MAX */
} limits[] = {
    {KT_ENCODE_NONE, KT_VALUE_MAX},
    {KT_ENCODE_BASE64, KT_VALUE_MAX / 4 * 3},
    {KT_ENCODE_BASE64URL, KT_VALUE_MAX / 4 * 3},
    {KT_ENCODE_HEX, KT_VALUE_MAX / 2},
    {KT_ENCODE_URI, KT_VALUE_MAX / 3},
};

START_TEST(a_text_has_64_kib_at_most)
{
    for (size_t size = limits[_i].fits - 1; size <= limits[_i].fits + 1; size++) {
        kt_secret_t *value = kt_secret_new(NULL, size), *text = NULL;

        if (value == NULL) {
            ck_assert_uint_gt(size, KT_VALUE_MAX);
            continue;
        }
        assert_status(kt_secret_encode(value, limits[_i].encoding, &text),
                      size <= limits[_i].fits ? KT_SUCCESS : KT_TOOLARGE);
        kt_secret_free(text);
        kt_secret_free(value);
    }
}
END_TEST

START_TEST(basic_has_64_kib_at_most)
{
    static char object[KT_VALUE_MAX];
    const size_t fits = KT_VALUE_MAX / 4 * 3;
    kt_secret_t *text = NULL;

    for (size_t size = fits - 1; size <= fits + 1; size++) {
        int head = snprintf(object, sizeof(object), "{\"user\":\"u\",\"password\":\"");
        kt_secret_t *value;

        memset(object + head, 'p', size - 2);
        memcpy(object + head + size - 2, "\"}", 2);
        value = kt_secret_new(object, (size_t)head + size);
        assert_status(kt_secret_encode(value, KT_ENCODE_BASIC, &text),
                      size <= fits ? KT_SUCCESS : KT_TOOLARGE);
        if (size <= fits)
            kt_secret_free(text);
        kt_secret_free(value);
    }
}
END_TEST

START_TEST(there_are_no_other_encodings)
{
    kt_secret_t *value = secret_of("x"), *text = NULL;

    assert_status(kt_secret_encode(value, (kt_encoding_t)6, &text), KT_USAGE);
    ck_assert_ptr_null(text);
    kt_secret_free(value);
}
END_TEST

START_TEST(names_of_encodings_and_alphabets)
{
    ck_assert_int_eq(kt_encoding_parse("none"), KT_ENCODE_NONE);
    ck_assert_int_eq(kt_encoding_parse("base64"), KT_ENCODE_BASE64);
    ck_assert_int_eq(kt_encoding_parse("base64url"), KT_ENCODE_BASE64URL);
    ck_assert_int_eq(kt_encoding_parse("hex"), KT_ENCODE_HEX);
    ck_assert_int_eq(kt_encoding_parse("uri"), KT_ENCODE_URI);
    ck_assert_int_eq(kt_encoding_parse("basic"), KT_ENCODE_BASIC);
    ck_assert_int_eq(kt_encoding_parse("Basic"), -1);
    ck_assert_int_eq(kt_encoding_parse(""), -1);
    ck_assert_int_eq(kt_alphabet_parse("alnum"), KT_ALPHABET_ALNUM);
    ck_assert_int_eq(kt_alphabet_parse("urlsafe"), KT_ALPHABET_URLSAFE);
    ck_assert_int_eq(kt_alphabet_parse("symbols"), KT_ALPHABET_SYMBOLS);
    ck_assert_int_eq(kt_alphabet_parse("hex"), KT_ALPHABET_HEX);
    ck_assert_int_eq(kt_alphabet_parse("uuid"), KT_ALPHABET_UUID);
    ck_assert_int_eq(kt_alphabet_parse("UUID"), -1);
    ck_assert_int_eq(kt_alphabet_parse(""), -1);
}
END_TEST

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define SYMBOLS "!@#$%^&*"

static const struct {
    kt_alphabet_t alphabet;
    const char *set;
    const char *wanted[5]; /* one of each at least */
} alphabets[] = {
    {KT_ALPHABET_ALNUM, LOWER UPPER DIGITS, {LOWER, UPPER, DIGITS}},
    {KT_ALPHABET_URLSAFE, LOWER UPPER DIGITS "-_", {LOWER, UPPER, DIGITS}},
    {KT_ALPHABET_SYMBOLS, LOWER UPPER DIGITS SYMBOLS, {LOWER, UPPER, DIGITS, SYMBOLS}},
    {KT_ALPHABET_HEX, DIGITS "abcdef", {NULL}},
};

static void check_value(const kt_secret_t *value, const char *set, const char *const *wanted)
{
    char text[1024 + 1];

    memcpy(text, kt_secret_bytes(value), kt_secret_size(value));
    text[kt_secret_size(value)] = '\0';
    ck_assert_uint_eq(strspn(text, set), kt_secret_size(value));
    for (; *wanted != NULL; wanted++)
        ck_assert_msg(strpbrk(text, *wanted) != NULL, "`%s` has none of %s", text, *wanted);
}

/* Of 2,000 values of 16 of at most 70 characters each is seen 457 times or more, and five standard
 * deviations of that are 107. */
START_TEST(values_are_drawn_evenly)
{
    size_t count[256] = {0}, expected = 2000u * 16u / strlen(alphabets[_i].set);

    for (int i = 0; i < 2000; i++) {
        kt_secret_t *value = kt_generate(alphabets[_i].alphabet, 16);

        ck_assert_uint_eq(kt_secret_size(value), 16);
        check_value(value, alphabets[_i].set, alphabets[_i].wanted);
        for (size_t j = 0; j < 16; j++)
            count[kt_secret_bytes(value)[j]]++;
        kt_secret_free(value);
    }
    for (const char *c = alphabets[_i].set; *c != '\0'; c++) {
        bool rare = strchr(DIGITS SYMBOLS, *c) != NULL; /* seen more often: one must be there */

        ck_assert_msg(count[(unsigned char)*c] > expected * 3 / 4, "%c: %zu", *c,
                      count[(unsigned char)*c]);
        ck_assert_msg(count[(unsigned char)*c] < expected * (rare ? 6 : 5) / 4, "%c: %zu", *c,
                      count[(unsigned char)*c]);
    }
}
END_TEST

START_TEST(lengths_have_limits)
{
    kt_secret_t *value;

    errno = 0;
    ck_assert_ptr_null(kt_generate(alphabets[_i].alphabet, 15));
    ck_assert_int_eq(errno, EINVAL);
    errno = 0;
    ck_assert_ptr_null(kt_generate(alphabets[_i].alphabet, 1025));
    ck_assert_int_eq(errno, EINVAL);
    for (size_t length = 17; length <= 1024; length = length * 2 - 1) {
        value = kt_generate(alphabets[_i].alphabet, length);
        ck_assert_uint_eq(kt_secret_size(value), length);
        ck_assert_uint_eq(kt_secret_bytes(value)[length], 0); /* its block is larger */
        check_value(value, alphabets[_i].set, alphabets[_i].wanted);
        kt_secret_free(value);
    }
    value = kt_generate(alphabets[_i].alphabet, 1024);
    ck_assert_uint_eq(kt_secret_size(value), 1024);
    kt_secret_free(value);
}
END_TEST

START_TEST(a_uuid_is_of_version_4)
{
    char text[37] = "";

    for (int i = 0; i < 1000; i++) {
        kt_secret_t *value = kt_generate(KT_ALPHABET_UUID, 36);

        ck_assert_uint_eq(kt_secret_size(value), 36);
        memcpy(text, kt_secret_bytes(value), 36);
        for (int j = 0; j < 36; j++)
            ck_assert_ptr_nonnull(
                strchr(j == 8 || j == 13 || j == 18 || j == 23 ? "-" : DIGITS "abcdef", text[j]));
        ck_assert_int_eq(text[14], '4');
        ck_assert_ptr_nonnull(strchr("89ab", text[19]));
        kt_secret_free(value);
    }
}
END_TEST

START_TEST(there_are_no_other_alphabets)
{
    errno = 0;
    ck_assert_ptr_null(kt_generate((kt_alphabet_t)5, 32));
    ck_assert_int_eq(errno, EINVAL);
    ck_assert_ptr_null(kt_generate((kt_alphabet_t)-1, 32));
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, encodings_by_table, encodings);
    tcase_add_test(tests, a_zero_byte_is_encoded_too);
    UNIT_TABLE(tests, what_is_not_basic_by_table, not_basic);
    UNIT_TABLE(tests, a_text_has_64_kib_at_most, limits);
    tcase_add_test(tests, basic_has_64_kib_at_most);
    tcase_add_test(tests, there_are_no_other_encodings);
    tcase_add_test(tests, names_of_encodings_and_alphabets);
    UNIT_TABLE(tests, values_are_drawn_evenly, alphabets);
    UNIT_TABLE(tests, lengths_have_limits, alphabets);
    tcase_add_test(tests, a_uuid_is_of_version_4);
    tcase_add_test(tests, there_are_no_other_alphabets);
}

UNIT_MAIN("encode", add_tests)
