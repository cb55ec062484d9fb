/* SPDX-License-Identifier: BSD-2-Clause */
/* core/store/catalogue_code.c: the catalogue of docs/format.md, and what is not one. */
#include "vectors.h"

#include "store/store.h"

static kt_status_t decode(const unsigned char *plain, size_t size, kt_catalogue_t *ret)
{
    memset(ret, 0, sizeof(*ret));
    return kt_catalogue_decode(plain, size, ret);
}

START_TEST(the_vector_of_the_page_is_what_it_says)
{
    vector_t v = vector("catalogue_plain"), id = vector("environment_key_id");
    unsigned char *plain;
    kt_catalogue_t c;
    size_t size;

    assert_ok(decode(v.bytes, v.size, &c));
    ck_assert(c.nepochs == 1 && c.epochs[0].epoch == 1 && c.ntypes == 1 && c.nrows == 0);
    ck_assert_mem_eq(c.epochs[0].id, id.bytes, id.size);
    ck_assert_ptr_nonnull(kt_catalogue_find(&c, "api-keys"));
    ck_assert_ptr_null(kt_catalogue_find(&c, "api-key"));
    assert_ok(kt_catalogue_encode(&c, &plain, &size));
    assert_vector(plain, size, "catalogue_plain");
    free(plain);
    kt_catalogue_clear(&c);
}
END_TEST

START_TEST(the_record_of_the_page_opens)
{
    vector_t record = vector("catalogue_record"), left = vector("left_record"),
             key = vector("environment_key"), hash = vector("left_row_hash");
    ktp_row_t row = {.record = record.bytes, .record_size = record.size, .stamp = 9};
    kt_keyring_t *keyring = NULL;
    kt_cat_row_t kept;
    kt_catalogue_t c;
    ktp_key_t row_key;

    assert_ok(kt_keyring_new("production", &keyring));
    assert_ok(kt_keyring_add_env(keyring, 1, key.bytes));
    kt_key_meta(&row_key, 'c', keyring->env[0].id);
    assert_ok(kt_catalogue_unseal(keyring, &row_key, &row, &c));
    ck_assert_uint_eq(c.generation, 9);
    kt_catalogue_clear(&c);
    row.stamp = 8;
    assert_status(kt_catalogue_unseal(keyring, &row_key, &row, &c), KT_MALFORMED);
    kt_catalogue_clear(&c);
    row = (ktp_row_t){.record = left.bytes, .record_size = left.size, .stamp = 10};
    assert_status(kt_catalogue_unseal(keyring, &row_key, &row, &c), KT_NOTFOUND);
    kt_catalogue_clear(&c);
    memcpy(kept.hash, hash.bytes, sizeof(kept.hash));
    ck_assert(kt_catalogue_is_same(&kept, &row));
    row.stamp = 11;
    ck_assert(!kt_catalogue_is_same(&kept, &row));
    kt_keyring_free(keyring);
}
END_TEST

#define EPOCH(n) "\1\0\0\0\24\0\0\0" n "0123456789abcdef"
#define TYPE(name) "\2\0\0\0\5\0\0\0\1" name
#define ROW(n) "\3\0\0\0\41r0123456789abcde" n "0123456789abcdef"
#define CASE(text, status)                                                                         \
    {                                                                                              \
        text, sizeof(text) - 1, status                                                             \
    }

static const struct {
    const char *bytes;
    size_t size;
    kt_status_t status;
} cases[] = {
    CASE(EPOCH("\2") EPOCH("\1") TYPE("a") TYPE("b") ROW("1") ROW("2"), KT_SUCCESS),
    CASE(EPOCH("\1"), KT_SUCCESS),
    CASE("", KT_MALFORMED),
    CASE(TYPE("a"), KT_MALFORMED),
    CASE(EPOCH("\0"), KT_MALFORMED),
    CASE(EPOCH("\1") EPOCH("\2"), KT_MALFORMED),
    CASE(EPOCH("\1") EPOCH("\1"), KT_MALFORMED),
    CASE(EPOCH("\1") TYPE("b") TYPE("a"), KT_MALFORMED),
    CASE(EPOCH("\1") TYPE("a") TYPE("a"), KT_MALFORMED),
    CASE(EPOCH("\1") TYPE("/"), KT_MALFORMED),
    CASE(EPOCH("\1") TYPE("*"), KT_MALFORMED),
    CASE(EPOCH("\1") "\2\0\0\0\4\0\0\0\1", KT_MALFORMED),
    CASE(EPOCH("\1") ROW("2") ROW("1"), KT_MALFORMED),
    CASE(EPOCH("\1") ROW("1") TYPE("a"), KT_MALFORMED),
    CASE(EPOCH("\1") "\4\0\0\0\0", KT_MALFORMED),
    CASE(EPOCH("\1") "\2\0\0\0\6\0\0\0\1a", KT_MALFORMED),
};

START_TEST(there_is_one_form)
{
    kt_catalogue_t c;

    assert_status(decode((const unsigned char *)cases[_i].bytes, cases[_i].size, &c),
                  cases[_i].status);
    kt_catalogue_clear(&c);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, the_vector_of_the_page_is_what_it_says);
    tcase_add_test(tests, the_record_of_the_page_opens);
    UNIT_TABLE(tests, there_is_one_form, cases);
}

UNIT_MAIN("catalogue", add_tests)
