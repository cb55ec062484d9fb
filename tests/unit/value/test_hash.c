/* SPDX-License-Identifier: BSD-2-Clause */
/* core/value/hash.c: Argon2id strings, PBKDF2 of older programs, and hashes that are wrong. */
#include "unit.h"

#include <sodium.h>
#include <stdio.h>
#include <sys/resource.h>

/* hashlib.pbkdf2_hmac("sha256", b"correct horse", bytes(range(32)), 100000) */
#define SALT "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define OLD SALT "eb6d5c8de5fcc850ba948186a654874cf3e56a683281c95efd24603a0e72908a"

static kt_status_t check(const char *value, const char *hash, char upgraded[KT_HASH_MAX])
{
    kt_secret_t *secret = secret_of(value);
    kt_status_t status = kt_hash_check(secret, hash, upgraded);

    kt_secret_free(secret);
    return status;
}

START_TEST(a_hash_recognises_its_value)
{
    char hash[KT_HASH_MAX], again[KT_HASH_MAX], upgraded[KT_HASH_MAX] = "x";
    kt_secret_t *secret = secret_of("correct horse");

    assert_ok(kt_hash(secret, hash));
    assert_ok(kt_hash(secret, again));
    ck_assert_str_ne(hash, again);
    ck_assert_ptr_nonnull(strstr(hash, "$argon2id$v=19$m=65536,t=2,p=1$"));
    assert_ok(kt_hash_check(secret, hash, upgraded));
    ck_assert_str_eq(upgraded, ""); /* good as it is */
    assert_status(check("correct horsf", hash, upgraded), KT_DENIED);
    ck_assert_ptr_null(strstr(kt_failure(), "hors"));
    kt_secret_free(secret);
}
END_TEST

START_TEST(an_old_hash_is_recognised_and_upgraded)
{
    char upgraded[KT_HASH_MAX] = "", none[KT_HASH_MAX] = "x", upper[200];

    assert_ok(check("correct horse", OLD, upgraded));
    ck_assert_ptr_nonnull(strstr(upgraded, "$argon2id$"));
    assert_ok(check("correct horse", upgraded, none));
    ck_assert_str_eq(none, "");
    assert_status(check("correct horsf", OLD, upgraded), KT_DENIED);
    (void)snprintf(upper, sizeof(upper), "%s", OLD);
    for (char *p = upper; *p != '\0'; p++)
        *p = *p >= 'a' ? (char)(*p - 32) : *p;
    assert_ok(check("correct horse", upper, upgraded));
}
END_TEST

START_TEST(a_cheap_argon2id_is_upgraded)
{
    char cheap[crypto_pwhash_STRBYTES], upgraded[KT_HASH_MAX] = "";

    ck_assert_int_eq(crypto_pwhash_str(cheap, "correct horse", 13, 1, 8192 * 2), 0);
    assert_ok(check("correct horse", cheap, upgraded));
    ck_assert_ptr_nonnull(strstr(upgraded, "m=65536,t=2,p=1"));
    /* too little of either is too cheap */
    ck_assert_int_eq(crypto_pwhash_str(cheap, "correct horse", 13, 2, 63u << 20), 0);
    assert_ok(check("correct horse", cheap, upgraded));
    ck_assert_ptr_nonnull(strstr(upgraded, "m=65536,t=2,p=1"));
    ck_assert_int_eq(crypto_pwhash_str(cheap, "correct horse", 13, 1, 65u << 20), 0);
    assert_ok(check("correct horse", cheap, upgraded));
    ck_assert_ptr_nonnull(strstr(upgraded, "m=65536,t=2,p=1"));
    /* a dearer one is left */
    ck_assert_int_eq(crypto_pwhash_str(cheap, "correct horse", 13, 3, 128u << 20), 0);
    assert_ok(check("correct horse", cheap, upgraded));
    ck_assert_str_eq(upgraded, "");
}
END_TEST

static const char *const wrong[] = {
    "",
    "x",
    "$",
    "$argon2id$",
    "$argon2id$v=19$m=65536,t=2,p=1$",
    "$argon2id$v=19$m=65536,t=2,p=1$AAAA$",
    "$argon2i$v=19$m=65536,t=2,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$LnZdg1oHB+"
    "OTWvfyRHEFxyUSKNqqHnSeZuiSQVsKWKg",
    "$argon2id$v=19$m=4294967295,t=2,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$LnZdg1oHB+"
    "OTWvfyRHEFxyUSKNqqHnSeZuiSQVsKWKg",
    "$argon2id$v=19$m=65536,t=99999999,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$LnZdg1oHB+"
    "OTWvfyRHEFxyUSKNqqHnSeZuiSQVsKWKg",
    "$argon2id$v=19$m=65536,t=2,p=17$MTIzNDU2Nzg5MDEyMzQ1Ng$LnZdg1oHB+"
    "OTWvfyRHEFxyUSKNqqHnSeZuiSQVsKWKg",
    "$argon2id$v=16$m=65536,t=2,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$LnZdg1oHB+"
    "OTWvfyRHEFxyUSKNqqHnSeZuiSQVsKWKg",
    SALT,
    OLD "00",
    SALT "6d5c8de5fcc850ba948186a654874cf3e56a683281c95efd24603a0e72908a",
    "$2b$12$abcdefghijklmnopqrstuvabcdefghijklmnopqrstuvabcdefghijklmnopqr",
};

START_TEST(what_is_not_a_hash_is_refused)
{
    char upgraded[KT_HASH_MAX] = "left";

    assert_status(check("correct horse", wrong[_i], upgraded), KT_MALFORMED);
    ck_assert_str_eq(upgraded, "left");
}
END_TEST

/* With as many passes and lanes as are allowed, it is compared. */
START_TEST(a_hash_at_the_limits_is_compared)
{
    char upgraded[KT_HASH_MAX];

    assert_status(check("correct horse",
                        "$argon2id$v=19$m=128,t=16,p=16$MTIzNDU2Nzg5MDEyMzQ1Ng$"
                        "LnZdg1oHB+OTWvfyRHEFxyUSKNqqHnSeZuiSQVsKWKg",
                        upgraded),
                  KT_DENIED);
}
END_TEST

START_TEST(what_is_of_neither_kind_is_named)
{
    char upgraded[KT_HASH_MAX];

    assert_status(check("correct horse", "x", upgraded), KT_MALFORMED);
    assert_failure("neither an Argon2id string nor the hex of a PBKDF2 salt and key");
    assert_status(check("correct horse", "$", upgraded), KT_MALFORMED);
    assert_failure("not a readable Argon2id string");
}
END_TEST

#ifndef __SANITIZE_ADDRESS__ /* which has more address space than the limit leaves */
/* Then the answer is not known, and must not be that the value is another one. */
START_TEST(a_lack_of_memory_is_not_another_value)
{
    struct rlimit limit = {1u << 29, 1u << 29};
    char upgraded[KT_HASH_MAX];

    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    assert_status(check("correct horse",
                        "$argon2id$v=19$m=1048576,t=2,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$"
                        "LnZdg1oHB+OTWvfyRHEFxyUSKNqqHnSeZuiSQVsKWKg",
                        upgraded),
                  KT_INTERNAL);
    assert_failure("not enough memory: the hash needs 1024 MiB");
}
END_TEST

START_TEST(a_lack_of_memory_is_named)
{
    struct rlimit limit = {64u << 20, 64u << 20};
    kt_secret_t *secret = secret_of("correct horse");
    char hash[KT_HASH_MAX];

    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    assert_status(kt_hash(secret, hash), KT_INTERNAL);
    assert_failure("not enough memory: a hash needs 64 MiB");
    kt_secret_free(secret);
}
END_TEST
#endif

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, a_hash_recognises_its_value);
    tcase_add_test(tests, an_old_hash_is_recognised_and_upgraded);
    tcase_add_test(tests, a_cheap_argon2id_is_upgraded);
    tcase_add_test(tests, a_hash_at_the_limits_is_compared);
    tcase_add_test(tests, what_is_of_neither_kind_is_named);
#ifndef __SANITIZE_ADDRESS__
    tcase_add_test(tests, a_lack_of_memory_is_not_another_value);
    tcase_add_test(tests, a_lack_of_memory_is_named);
#endif
    UNIT_TABLE(tests, what_is_not_a_hash_is_refused, wrong);
}

UNIT_MAIN("hash", add_tests)
