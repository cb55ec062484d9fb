/* SPDX-License-Identifier: BSD-2-Clause */
/* core/keys/record.c: records of format 1. docs/format.md has the same vectors, which
 * tests/abi/test_format.py opens without this code. */
#include "unit.h"

#include <sodium.h>

#define OVERHEAD (72u + 4u + 16u)

static const unsigned char key[32] = {1, 2, 3};
static const kt_header_t header = {
    .type = KTP_RECORD_VALUE, .key_id = "0123456789abcde", .id = "fedcba987654321", .version = 7};

static unsigned char *seal(const char *environment, const char *name, const void *plain,
                           size_t size, size_t *ret_size)
{
    unsigned char *record = NULL;

    assert_ok(kt_seal(key, &header, environment, name, plain, size, &record, ret_size));
    return record;
}

static kt_status_t unseal(const unsigned char *record, size_t size, const char *environment,
                          const char *name)
{
    unsigned char *plain = NULL;
    size_t plain_size;
    kt_status_t status = kt_unseal(key, environment, name, record, size, &plain, &plain_size);

    if (status == KT_SUCCESS)
        kt_locked_free(plain);
    else
        ck_assert_ptr_null(plain);
    return status;
}

static const struct {
    size_t plain, padded;
} sizes[] = {{0, 64},        {1, 64},        {63, 64},        {64, 64},
             {65, 128},      {128, 128},     {129, 256},      {4096, 4096},
             {65535, 65536}, {65536, 65536}, {65537, 131072}, {131072, 131072}};

START_TEST(plain_text_is_padded_to_its_class)
{
    unsigned char *plain = malloc(sizes[_i].plain + 1), *opened;
    size_t size, opened_size;
    unsigned char *record;
    kt_header_t seen;

    memset(plain, 0xa5, sizes[_i].plain + 1);
    record = seal("production", "a/b", plain, sizes[_i].plain, &size);
    ck_assert_uint_eq(size, OVERHEAD + sizes[_i].padded);
    assert_ok(kt_header_parse(record, size, &seen));
    ck_assert_uint_eq(seen.type, KTP_RECORD_VALUE);
    ck_assert_uint_eq(seen.version, 7);
    ck_assert_mem_eq(seen.key_id, header.key_id, KT_KEYID_SIZE);
    ck_assert_mem_eq(seen.id, header.id, KT_ID_SIZE);
    assert_ok(kt_unseal(key, "production", "a/b", record, size, &opened, &opened_size));
    ck_assert_uint_eq(opened_size, sizes[_i].plain);
    if (opened_size > 0)
        ck_assert_mem_eq(opened, plain, opened_size);
    kt_locked_free(opened);
    free(record);
    free(plain);
}
END_TEST

START_TEST(too_much_is_refused)
{
    unsigned char *record = NULL, *plain = calloc(1, 131073);
    size_t size;

    assert_status(kt_seal(key, &header, "e", "n", plain, 131073, &record, &size), KT_TOOLARGE);
    ck_assert_ptr_null(record);
    free(plain);
}
END_TEST

START_TEST(it_is_bound_to_environment_and_name)
{
    size_t size;
    unsigned char *record = seal("production", "api-keys/stripe", "v", 1, &size);

    assert_ok(unseal(record, size, "production", "api-keys/stripe"));
    assert_status(unseal(record, size, "staging", "api-keys/stripe"), KT_MALFORMED);
    assert_status(unseal(record, size, "production", "api-keys/stripf"), KT_MALFORMED);
    assert_status(unseal(record, size, "production", ""), KT_MALFORMED);
    /* the same bytes, cut elsewhere */
    assert_status(unseal(record, size, "productio", "napi-keys/stripe"), KT_MALFORMED);
    assert_status(unseal(record, size, "productiona", "pi-keys/stripe"), KT_MALFORMED);
    free(record);
}
END_TEST

START_TEST(every_bit_is_held_by_the_seal)
{
    size_t size;
    unsigned char *record = seal("production", "a/b", "value", 5, &size);

    for (size_t bit = 0; bit < size * 8; bit++) {
        record[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_status(unseal(record, size, "production", "a/b"), KT_MALFORMED);
        record[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    assert_ok(unseal(record, size, "production", "a/b"));
    free(record);
}
END_TEST

START_TEST(every_other_length_is_refused)
{
    size_t size;
    unsigned char *record = seal("production", "a/b", "value", 5, &size), *copy;
    kt_header_t seen;

    for (size_t n = 0; n < size; n++) {
        copy = malloc(n > 0 ? n : 1); /* so that a sanitizer sees a read past its end */
        memcpy(copy, record, n);
        assert_status(kt_header_parse(copy, n, &seen), KT_MALFORMED);
        assert_status(unseal(copy, n, "production", "a/b"), KT_MALFORMED);
        free(copy);
    }
    copy = calloc(1, size * 4);
    memcpy(copy, record, size);
    for (size_t n = size + 1; n <= size * 4; n++)
        assert_status(unseal(copy, n, "production", "a/b"), KT_MALFORMED);
    free(copy);
    free(record);
}
END_TEST

START_TEST(another_key_opens_nothing)
{
    unsigned char other[32] = {1, 2, 4}, *plain = NULL;
    size_t size, plain_size;
    unsigned char *record = seal("production", "a/b", "value", 5, &size);

    assert_status(kt_unseal(other, "production", "a/b", record, size, &plain, &plain_size),
                  KT_MALFORMED);
    ck_assert_ptr_null(plain);
    free(record);
}
END_TEST

START_TEST(no_two_records_share_a_nonce)
{
    size_t size;
    unsigned char *a = seal("e", "n", "v", 1, &size), *b = seal("e", "n", "v", 1, &size);

    ck_assert_mem_eq(a, b, 48);
    ck_assert_mem_ne(a + 48, b + 48, 24);
    ck_assert_mem_ne(a + 72, b + 72, size - 72);
    free(a);
    free(b);
}
END_TEST

START_TEST(a_newer_format_is_named)
{
    size_t size;
    unsigned char *record = seal("e", "n", "v", 1, &size);
    kt_header_t seen;

    record[4] = 2;
    assert_status(kt_header_parse(record, size, &seen), KT_MALFORMED);
    assert_failure_has("format 2");
    record[4] = 1;
    record[5] = 9;
    assert_status(kt_header_parse(record, size, &seen), KT_MALFORMED);
    assert_failure_has("algorithm 9");
    free(record);
}
END_TEST

START_TEST(numbers_are_big_endian)
{
    unsigned char bytes[8];

    kt_put_u64(bytes, 0x0102030405060708u);
    ck_assert_mem_eq(bytes, "\1\2\3\4\5\6\7\10", 8);
    ck_assert(kt_get_u64(bytes) == 0x0102030405060708u);
    kt_put_u32(bytes, 0xfffefdfcu);
    ck_assert_mem_eq(bytes, "\377\376\375\374", 4);
    ck_assert(kt_get_u32(bytes) == 0xfffefdfcu);
    ck_assert(kt_get_u64((const unsigned char *)"\377\377\377\377\377\377\377\377") == UINT64_MAX);
}
END_TEST

/* Only a holder of the key can seal these: a class larger than the contents need, and padding that
 * is not zeros. */
START_TEST(a_reader_refuses_other_padding)
{
    static const struct {
        size_t length, class, bent; /* bent: the place of a byte that is not zero; 0: none */
        kt_status_t status;
    } cases[] = {{3, 64, 0, KT_SUCCESS},    {3, 64, 3, KT_MALFORMED},   {3, 64, 63, KT_MALFORMED},
                 {3, 128, 0, KT_MALFORMED}, {64, 128, 0, KT_MALFORMED}, {65, 128, 0, KT_SUCCESS}};
    unsigned char inner[4 + 128], ad[72 + 16] = {0}, record[OVERHEAD + 128];
    size_t size;
    unsigned char *made = seal("e", "n", "abc", 3, &size);
    unsigned long long written;

    for (size_t i = 0; i < KT_ARRAY(cases); i++) {
        memset(inner, 0, sizeof(inner));
        kt_put_u32(inner, (uint32_t)cases[i].length);
        if (cases[i].bent > 0)
            inner[4 + cases[i].bent] = 1;
        memcpy(record, made, 72);
        memcpy(ad, made, 72);
        memcpy(ad + 72, "\0\0\0\1e\0\0\0\1n", 10);
        (void)crypto_aead_xchacha20poly1305_ietf_encrypt(
            record + 72, &written, inner, 4 + cases[i].class, ad, 82, NULL, record + 48, key);
        assert_status(unseal(record, OVERHEAD + cases[i].class, "e", "n"), cases[i].status);
    }
    free(made);
}
END_TEST

static void add_tests(TCase *tests)
{
    UNIT_TABLE(tests, plain_text_is_padded_to_its_class, sizes);
    tcase_add_test(tests, too_much_is_refused);
    tcase_add_test(tests, it_is_bound_to_environment_and_name);
    tcase_add_test(tests, every_bit_is_held_by_the_seal);
    tcase_add_test(tests, every_other_length_is_refused);
    tcase_add_test(tests, another_key_opens_nothing);
    tcase_add_test(tests, no_two_records_share_a_nonce);
    tcase_add_test(tests, a_newer_format_is_named);
    tcase_add_test(tests, numbers_are_big_endian);
    tcase_add_test(tests, a_reader_refuses_other_padding);
}

UNIT_MAIN("seal", add_tests)
