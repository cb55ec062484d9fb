/* SPDX-License-Identifier: BSD-2-Clause */
/* core/value/strength.c: what is said of values that people choose, and that nothing is said of
 * generated ones. */
#include "unit.h"

#define PLAIN_SHORT (KT_WEAK_PLAIN | KT_WEAK_SHORT)

static const struct {
    const char *text;
    kt_strength_t kind;
    unsigned weak;
} values[] = {
    {"Abcd1234Efgh567", KT_STRENGTH_PASSWORD, KT_WEAK_SHORT | KT_WEAK_PATTERN},
    {"Kx7pQm2vRt9wLz4", KT_STRENGTH_PASSWORD, KT_WEAK_SHORT}, /* 15 */
    {"Kx7pQm2vRt9wLz4b", KT_STRENGTH_PASSWORD, 0},
    {"Kx7pQm2vRt9wLz4b", KT_STRENGTH_KEY, KT_WEAK_BELOW},
    {"Kx7pQm2vRt9wLz4bKy8qSn3uTd6eMa5", KT_STRENGTH_KEY, KT_WEAK_BELOW}, /* 31 */
    {"Kx7pQm2vRt9wLz4bKy8qSn3uTd6eMa5c", KT_STRENGTH_KEY, 0},
    {"Kx7pQm2vRt9wLz4bKy8qSn3uTd6eMa5c", KT_STRENGTH_JWT, KT_WEAK_BELOW},
    {"Kx7pQm2vRt9wLz4bKy8qSn3uTd6eMa5cKx7pQm2vRt9wLz4bKy8qSn3uTd6eMa5c", KT_STRENGTH_JWT, 0},
    {"kx7pqm2vrt9wlz4b", KT_STRENGTH_PASSWORD, KT_WEAK_PLAIN},
    {"KX7PQM2VRT9WLZ4B", KT_STRENGTH_PASSWORD, KT_WEAK_PLAIN},
    {"KxopQmcvRtiwLzdb", KT_STRENGTH_PASSWORD, KT_WEAK_PLAIN},
    {"9276041838265590", KT_STRENGTH_PASSWORD, KT_WEAK_PLAIN},
    {"6f1c09b7d25ae48306f1c09b7d25ae48", KT_STRENGTH_PASSWORD, 0}, /* hexadecimal, 128 bits */
    {"6f1c09b7d25ae48306f1c09b7d25ae4", KT_STRENGTH_PASSWORD, KT_WEAK_PLAIN},
    {"3f2b8c91-7d4e-4a06-9b15-c0e8d7f6a253", KT_STRENGTH_KEY, 0},
    {"3f2b8c91x7d4e-4a06-9b15-c0e8d7f6a253", KT_STRENGTH_KEY, KT_WEAK_PLAIN},
    {"00000000000000000000000000000000", KT_STRENGTH_PASSWORD, KT_WEAK_PATTERN},
    {"Aa1Aa1Aa1Aa1Aa1Aa1Aa1Aa1Aa1Aa1Aa1", KT_STRENGTH_KEY, KT_WEAK_PATTERN},
    {"AAAABBBBCCCCDDDDEEEEFFFFaaaa1111", KT_STRENGTH_KEY, KT_WEAK_PATTERN},
    {"abcdefghijklmnopqrstuvwxyzABCD1234", KT_STRENGTH_KEY, KT_WEAK_PATTERN},
    {"zyxwvutsrqponmlkjihgfedcbaDCBA4321", KT_STRENGTH_KEY, KT_WEAK_PATTERN}, /* downwards */
    {"abcdefghiK7Q2M9T", KT_STRENGTH_PASSWORD, 0}, /* 8 of 16 follow the one before */
    {"abcdefghijK7Q2M9", KT_STRENGTH_PASSWORD, KT_WEAK_PATTERN},
    {"Ka7Qz2MfKa7Qz2Mf", KT_STRENGTH_PASSWORD, 0}, /* 8 different characters */
    {"Ka7Qz2MKKa7Qz2MK", KT_STRENGTH_PASSWORD, KT_WEAK_PATTERN},
    {"\xc3\xa4\xc3\xb6\xc3\xbc\xe2\x82\xac\xf0\x9f\x94\x91+7.;<>?", KT_STRENGTH_PASSWORD,
     0}, /* letters that we do not know */
    {"change-me-in-Production-7", KT_STRENGTH_PASSWORD, KT_WEAK_PLACEHOLDER},
    {"your-API-key-here-0", KT_STRENGTH_PASSWORD, KT_WEAK_PLACEHOLDER},
    {"your_api_key_here", KT_STRENGTH_KEY, KT_WEAK_PLACEHOLDER | KT_WEAK_PLAIN | KT_WEAK_BELOW},
    {"CHANGEME", KT_STRENGTH_PASSWORD, KT_WEAK_PLACEHOLDER | PLAIN_SHORT | KT_WEAK_PATTERN},
    {"<Put Your 1 Key Q7 zU>", KT_STRENGTH_PASSWORD, KT_WEAK_PLACEHOLDER},
    {"<x7PQm2vRt9wLz4b", KT_STRENGTH_PASSWORD, 0},
    {"Kx7pQm2vRt9wLz4>", KT_STRENGTH_PASSWORD, 0},
    {"password", KT_STRENGTH_PASSWORD, KT_WEAK_PLACEHOLDER | PLAIN_SHORT | KT_WEAK_PATTERN},
    {"myPassword7Qx9zLkUe", KT_STRENGTH_PASSWORD, 0}, /* the word alone is the placeholder */
};

START_TEST(values_by_table)
{
    kt_secret_t *value = secret_of(values[_i].text);

    ck_assert_msg(kt_strength(value, values[_i].kind) == values[_i].weak, "%s: %u, not %u",
                  values[_i].text, kt_strength(value, values[_i].kind), values[_i].weak);
    kt_secret_free(value);
}
END_TEST

/* Of each alphabet, with each length that requirements ask for: 40 for an API key, 64 for JWTs. */
START_TEST(generated_values_are_strong)
{
    static const size_t lengths[] = {32, 40, 43, 64, 1024};
    static const kt_alphabet_t alphabets[] = {KT_ALPHABET_ALNUM, KT_ALPHABET_URLSAFE,
                                              KT_ALPHABET_SYMBOLS, KT_ALPHABET_HEX,
                                              KT_ALPHABET_UUID};

    for (size_t i = 0; i < KT_ARRAY(alphabets); i++) {
        for (size_t j = 0; j < KT_ARRAY(lengths); j++) {
            for (unsigned k = 0; k < 50; k++) {
                kt_secret_t *value = kt_generate(alphabets[i], lengths[j]);
                bool jwt = lengths[j] >= 64 && alphabets[i] != KT_ALPHABET_UUID;

                ck_assert_ptr_nonnull(value);
                ck_assert_uint_eq(kt_strength(value, jwt ? KT_STRENGTH_JWT : KT_STRENGTH_KEY), 0);
                kt_secret_free(value);
            }
        }
    }
}
END_TEST

START_TEST(each_weakness_has_a_text)
{
    for (unsigned bit = KT_WEAK_SHORT; bit <= KT_WEAK_PLACEHOLDER; bit <<= 1)
        ck_assert_str_ne(kt_strength_text(bit), "");
    ck_assert_str_eq(kt_strength_text(KT_WEAK_SHORT | KT_WEAK_PLAIN), "shorter than 16 characters");
    ck_assert_str_eq(kt_strength_text(0), "");
    ck_assert_str_eq(kt_strength_text(1u << 20), "");
}
END_TEST

static const struct {
    const char *name, *field, *value, *part; /* NULL: nothing */
    kt_strength_t kind;
} parts[] = {
    {"database/a", NULL, "{\"user\": \"app\", \"password\": \"p\"}", "p", KT_STRENGTH_PASSWORD},
    {"api-keys/a", NULL, "{\"api_key\": \"k\", \"rotated_at\": \"\"}", "k", KT_STRENGTH_KEY},
    {"general-thing", NULL, "{\"value\": \"v\"}", "v", KT_STRENGTH_PASSWORD},
    {"api-keys/a", NULL, "plain", "plain", KT_STRENGTH_KEY},
    {"auth/jwt-signing-key", NULL, "plain", "plain", KT_STRENGTH_JWT},
    {"auth/JWT", NULL, "{\"value\": \"v\"}", "v", KT_STRENGTH_JWT},
    {"deploy/token", NULL, "plain", "plain", KT_STRENGTH_KEY},
    {"logins/bob", NULL, "plain", "plain", KT_STRENGTH_PASSWORD},
    {"settings/a", NULL, "{\"debug\": false}", NULL, KT_STRENGTH_PASSWORD},
    {"tls/a", NULL, "-----BEGIN CERTIFICATE-----\n", NULL, KT_STRENGTH_PASSWORD},
    {"database/a", "password", "p", "p", KT_STRENGTH_PASSWORD},
    {"database/a", "host", "h", NULL, KT_STRENGTH_PASSWORD},
    {"x/a", "api_key", "k", "k", KT_STRENGTH_KEY},
    {"x/a", "jwt_secret", "k", "k", KT_STRENGTH_JWT},
};

START_TEST(what_is_judged_by_table)
{
    kt_secret_t *value = secret_of(parts[_i].value), *part = (kt_secret_t *)1;
    kt_strength_t kind;
    kt_status_t status = kt_strength_part(parts[_i].name, parts[_i].field, value, &kind, &part);

    if (parts[_i].part == NULL) {
        assert_status(status, KT_NOTFOUND);
        ck_assert_ptr_null(part);
    } else {
        assert_ok(status);
        assert_secret(part, parts[_i].part);
        ck_assert_int_eq(kind, parts[_i].kind);
    }
    kt_secret_free(part);
    kt_secret_free(value);
}
END_TEST

START_TEST(marks_are_equal_for_equal_values)
{
    kt_secret_t *a = secret_of("a value"), *again = secret_of("a value"), *b = secret_of("a valuf");
    unsigned char marks[3][KT_MARK_SIZE];

    kt_secret_mark(a, marks[0]);
    kt_secret_mark(again, marks[1]);
    kt_secret_mark(b, marks[2]);
    ck_assert_mem_eq(marks[0], marks[1], KT_MARK_SIZE);
    ck_assert_mem_ne(marks[0], marks[2], KT_MARK_SIZE);
    kt_secret_free(a);
    kt_secret_free(again);
    kt_secret_free(b);
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, values_by_table, values);
    tcase_add_test(tests, generated_values_are_strong);
    tcase_add_test(tests, each_weakness_has_a_text);
    UNIT_TABLE(tests, what_is_judged_by_table, parts);
    tcase_add_test(tests, marks_are_equal_for_equal_values);
}

UNIT_MAIN("strength", add_tests)
