/* SPDX-License-Identifier: BSD-2-Clause */
/* core/keys/keyring.c: derivations as docs/format.md has them, and who holds what. */
#include "process.h"
#include "vectors.h"

static kt_keyring_t *keyring_of(const char *environment, unsigned epochs)
{
    kt_keyring_t *keyring = NULL;

    assert_ok(kt_keyring_new(environment, &keyring));
    for (unsigned epoch = epochs; epoch > 0; epoch--) {
        unsigned char key[KT_KEY_SIZE];

        for (unsigned i = 0; i < KT_KEY_SIZE; i++)
            key[i] = (unsigned char)(i + epoch - 1);
        assert_ok(kt_keyring_add_env(keyring, epoch, key));
    }
    return keyring;
}

static const kt_typekey_t *type_of(kt_keyring_t *keyring, const char *type, size_t n)
{
    const kt_typekey_t *key = NULL;

    assert_ok(kt_keyring_type(keyring, type, n, &key));
    return key;
}

START_TEST(derivations_are_those_of_the_page)
{
    kt_keyring_t *keyring = keyring_of("production", 1);
    const kt_typekey_t *type = type_of(keyring, "api-keys", 0);
    unsigned char out[KT_KEY_SIZE];

    assert_vector(keyring->env[0].key, 32, "environment_key");
    assert_vector(keyring->env[0].id, 16, "environment_key_id");
    assert_vector(type->key, 32, "type_key");
    assert_vector(type->id, 16, "type_key_id");
    ck_assert_mem_eq(type->env_id, keyring->env[0].id, 16);
    kt_head_key(type, out);
    assert_vector(out, 32, "head_key");
    kt_secret_key(type, "api-keys/stripe", out);
    assert_vector(out, 32, "secret_key");
    kt_name_hash(type, "api-keys/stripe", out);
    assert_vector(out, 32, "name_hash");
    kt_keyring_free(keyring);
}
END_TEST

START_TEST(the_records_of_the_page_open)
{
    vector_t record = vector("value_record"), head = vector("head_record"),
             key = vector("secret_key"), head_key = vector("head_key");
    unsigned char *plain;
    size_t size;

    assert_ok(kt_unseal(key.bytes, "production", "api-keys/stripe", record.bytes, record.size,
                        &plain, &size));
    ck_assert_uint_eq(size, 15);
    ck_assert_mem_eq(plain, "sk_live_example", 15);
    kt_locked_free(plain);
    assert_ok(
        kt_unseal(head_key.bytes, "production", "api-keys", head.bytes, head.size, &plain, &size));
    assert_vector(plain, size, "head_plain");
    kt_locked_free(plain);
}
END_TEST

/* Under the n-th key of the keyring. */
static kt_status_t open_label(const kt_keyring_t *keyring, const void *label, size_t size,
                              const char *expected)
{
    char type[KT_NAME_MAX + 1] = "";
    size_t n = 9;
    kt_status_t status = kt_label_open(keyring, label, size, type, &n);

    if (status == KT_SUCCESS) {
        ck_assert_str_eq(type, expected);
        ck_assert_uint_eq(n, 0);
    }
    return status;
}

START_TEST(the_label_of_the_page_names_its_type)
{
    kt_keyring_t *keyring = keyring_of("production", 1);
    vector_t label = vector("label_record"), id = vector("type_key_id");

    assert_ok(open_label(keyring, label.bytes, label.size, "api-keys"));
    ck_assert_mem_eq(type_of(keyring, "api-keys", 0)->id, id.bytes, id.size);
    kt_keyring_free(keyring);
}
END_TEST

START_TEST(each_name_type_and_environment_has_its_own_keys)
{
    kt_keyring_t *production = keyring_of("production", 2), *staging = keyring_of("staging", 1);
    const kt_typekey_t keys[] = {*type_of(production, "a", 0), *type_of(production, "a", 1),
                                 *type_of(production, "b", 0), *type_of(staging, "a", 0)};
    unsigned char x[32], y[32];

    for (size_t i = 0; i < KT_ARRAY(keys); i++) {
        for (size_t k = 0; k < i; k++) {
            ck_assert_mem_ne(keys[i].key, keys[k].key, 32);
            ck_assert_mem_ne(keys[i].id, keys[k].id, 16);
        }
    }
    kt_secret_key(&keys[0], "a/x", x);
    kt_secret_key(&keys[0], "a/y", y);
    ck_assert_mem_ne(x, y, 32);
    kt_name_hash(&keys[0], "a/x", y);
    ck_assert_mem_ne(x, y, 32);
    kt_head_key(&keys[0], y);
    ck_assert_mem_ne(x, y, 32);
    kt_keyring_free(staging);
    kt_keyring_free(production);
}
END_TEST

START_TEST(epochs_are_newest_first)
{
    kt_keyring_t *keyring = keyring_of("production", 3);
    unsigned char key[KT_KEY_SIZE] = {0};
    const kt_typekey_t *type;

    for (size_t n = 0; n < 3; n++)
        ck_assert_uint_eq(type_of(keyring, "a", n)->epoch, 3 - n);
    assert_status(kt_keyring_type(keyring, "a", 3, &type), KT_NOKEY);
    assert_status(kt_keyring_add_env(keyring, 1, key), KT_CONFIG);
    assert_status(kt_keyring_add_env(keyring, 7, key), KT_CONFIG);
    kt_keyring_free(keyring);
    keyring = keyring_of("production", KT_EPOCHS_MAX);
    assert_status(kt_keyring_add_env(keyring, 0, key), KT_CONFIG);
    kt_keyring_free(keyring);
}
END_TEST

/* A keyring that was given what `from` holds of one type. */
static kt_keyring_t *given(kt_keyring_t *from, const char *type)
{
    const kt_typekey_t *key = type_of(from, type, 0);
    kt_keyring_t *keyring = NULL;

    assert_ok(kt_keyring_new("production", &keyring));
    assert_ok(
        kt_keyring_add_type(keyring, type, key->epoch, key->key, key->label, key->label_size));
    return keyring;
}

START_TEST(a_type_key_is_all_that_its_type_needs)
{
    kt_keyring_t *all = keyring_of("production", 1), *one = given(all, "api-keys");
    const kt_typekey_t *a = type_of(all, "api-keys", 0), *b = type_of(one, "api-keys", 0),
                       *none = NULL;
    unsigned char x[32], y[32];

    ck_assert_mem_eq(a->id, b->id, 16);
    ck_assert_mem_eq(a->env_id, b->env_id, 16);
    kt_secret_key(a, "api-keys/k", x);
    kt_secret_key(b, "api-keys/k", y);
    ck_assert_mem_eq(x, y, 32);
    assert_status(kt_keyring_type(one, "database", 0, &none), KT_NOKEY);
    assert_status(kt_keyring_type(one, "api-keys", 1, &none), KT_NOKEY);
    assert_status(open_label(one, a->label, a->label_size, ""), KT_NOKEY);
    kt_keyring_free(one);
    kt_keyring_free(all);
}
END_TEST

START_TEST(a_label_is_nothing_else)
{
    kt_keyring_t *keyring = keyring_of("production", 1);
    vector_t value = vector("value_record");
    unsigned char key[KT_KEY_SIZE] = {0};
    kt_typekey_t bent = *type_of(keyring, "a", 0);

    assert_status(kt_keyring_add_type(keyring, "a", 1, key, value.bytes, value.size), KT_CONFIG);
    assert_status(kt_keyring_add_type(keyring, "a", 1, key, value.bytes, 10), KT_CONFIG);
    assert_ok(open_label(keyring, bent.label, bent.label_size, "a"));
    bent.label[bent.label_size - 1] ^= 1;
    assert_status(open_label(keyring, bent.label, bent.label_size, ""), KT_MALFORMED);
    assert_status(open_label(keyring, bent.label, 5, ""), KT_MALFORMED);
    kt_keyring_free(keyring);
}
END_TEST

START_TEST(a_type_may_have_the_longest_name)
{
    kt_keyring_t *keyring = keyring_of("production", 1);
    char type[KT_NAME_MAX + 1];
    const kt_typekey_t *key;

    memset(type, 't', KT_NAME_MAX);
    type[KT_NAME_MAX] = '\0';
    key = type_of(keyring, type, 0);
    ck_assert_uint_eq(key->label_size, 348);
    assert_ok(open_label(keyring, key->label, key->label_size, type));
    kt_keyring_free(keyring);
}
END_TEST

START_TEST(more_types_than_fit_are_derived_again)
{
    kt_keyring_t *keyring = keyring_of("production", 2);
    unsigned char first[16], last[16];
    char type[32];

    memcpy(first, type_of(keyring, "t0", 0)->id, 16);
    for (unsigned i = 0; i < KT_TYPES_MAX + 200; i++) {
        (void)snprintf(type, sizeof(type), "t%u", i);
        memcpy(last, type_of(keyring, type, i % 2)->id, 16);
    }
    ck_assert_uint_eq(keyring->ntypes, KT_TYPES_MAX);
    ck_assert_mem_eq(type_of(keyring, "t0", 0)->id, first, 16);
    ck_assert_mem_eq(type_of(keyring, type, 1)->id, last, 16);
    kt_keyring_free(keyring);
}
END_TEST

/* What is not in use is not memory: a server has a keyring in every process. */
START_TEST(a_keyring_locks_what_it_uses)
{
    kt_keyring_t *keyring = keyring_of("production", 1), *copy = NULL;
    size_t before;
    char type[32];

    kt_locked_free(kt_locked_alloc(100)); /* the first pages for values */
    before = locked_kilobytes();

    assert_ok(kt_keyring_copy(keyring, true, &copy));
#if !defined(__SANITIZE_ADDRESS__) &&                                                              \
    !defined(__SANITIZE_THREAD__) /* which make mlock() do nothing */
    if (kt_locked_failures() == 0)
        ck_assert_uint_gt(locked_kilobytes(), before);
#endif
    ck_assert_uint_le(locked_kilobytes(), before + 16);
    for (unsigned i = 0; i < 300; i++) {
        (void)snprintf(type, sizeof(type), "t%u", i);
        ck_assert_str_eq(type_of(copy, type, 0)->type, type);
    }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    if (kt_locked_failures() == 0)
        ck_assert_uint_ge(locked_kilobytes(), before + 300 * sizeof(kt_typekey_t) / 1024);
#endif
    kt_keyring_free(copy);
    ck_assert_uint_le(locked_kilobytes(), before);
    kt_keyring_free(keyring);
}
END_TEST

START_TEST(a_copy_is_alive_and_apart)
{
    kt_keyring_t *keyring = keyring_of("production", 1), *copy = NULL;

    ck_assert_uint_eq(keyring->alive, 0);
    assert_ok(kt_keyring_copy(keyring, true, &copy));
    ck_assert_uint_eq(copy->alive, 1);
    kt_keyring_free(keyring);
    assert_vector(copy->env[0].key, 32, "environment_key");
    kt_keyring_free(copy);
    kt_keyring_free(NULL);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, derivations_are_those_of_the_page);
    tcase_add_test(tests, the_records_of_the_page_open);
    tcase_add_test(tests, the_label_of_the_page_names_its_type);
    tcase_add_test(tests, each_name_type_and_environment_has_its_own_keys);
    tcase_add_test(tests, epochs_are_newest_first);
    tcase_add_test(tests, a_type_key_is_all_that_its_type_needs);
    tcase_add_test(tests, a_label_is_nothing_else);
    tcase_add_test(tests, a_type_may_have_the_longest_name);
    tcase_add_test(tests, more_types_than_fit_are_derived_again);
    tcase_add_test(tests, a_keyring_locks_what_it_uses);
    tcase_add_test(tests, a_copy_is_alive_and_apart);
}

UNIT_MAIN("keys", add_tests)
