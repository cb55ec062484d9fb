/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checks.c: the sentences of keyturn_provider.h, one check each: what a provider declares,
 * and rows. Every check uses secrets that no other touched.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "conformance.h"

/* ---- what it declares ---- */

#define MEMBER(name) offsetof(ktp_provider_t, name)

/* Which calls exist with which capabilities: `of` is the mask, `are` what must be left. */
static const struct {
    size_t member;
    uint32_t of, are;
} promises[] = {
    {MEMBER(open), 0, 0},
    {MEMBER(close), 0, 0},
    {MEMBER(check), 0, 0},
    {MEMBER(create), KTP_CREATE, KTP_CREATE},
    {MEMBER(token), KTP_TOKEN, KTP_TOKEN},
    {MEMBER(get), KTP_SEALED, 0},
    {MEMBER(put), KTP_SEALED | KTP_WRITE, KTP_WRITE},
    {MEMBER(remove), KTP_SEALED | KTP_WRITE, KTP_WRITE},
    {MEMBER(list), KTP_SEALED | KTP_LIST, KTP_LIST},
    {MEMBER(begin), KTP_SEALED, KTP_SEALED},
    {MEMBER(row_get), KTP_SEALED, KTP_SEALED},
    {MEMBER(commit), KTP_SEALED, KTP_SEALED},
    {MEMBER(abort), KTP_SEALED, KTP_SEALED},
    {MEMBER(row_put), KTP_SEALED | KTP_WRITE, KTP_SEALED | KTP_WRITE},
    {MEMBER(row_remove), KTP_SEALED | KTP_WRITE, KTP_SEALED | KTP_WRITE},
    {MEMBER(row_scan), KTP_SEALED | KTP_LIST, KTP_SEALED | KTP_LIST},
};

static bool offers_what_it_promises(void)
{
    for (size_t i = 0; i < sizeof promises / sizeof promises[0]; i++) {
        void (*call)(void);

        memcpy(&call, (const char *)provider + promises[i].member, sizeof call);
        if ((call != NULL) != ((provider->capabilities & promises[i].of) == promises[i].are))
            return false;
    }
    return true;
}

static const char *check_header(void)
{
    const uint32_t known = KTP_SEALED | KTP_BLOCKING | KTP_VERSIONS | KTP_WRITE | KTP_LIST |
                           KTP_CAS | KTP_TOKEN | KTP_CLEAR_NAMES | KTP_CREATE | KTP_ENVIRONMENT;
    const char *file = strrchr(provider_path, '/');
    size_t length = strlen(provider->name);

    EXPECT(provider->magic == KTP_MAGIC && provider->abi_major == KTP_ABI_MAJOR &&
           provider->abi_minor <= KTP_ABI_MINOR);
    EXPECT(provider->size == sizeof(ktp_provider_t));
    EXPECT(file != NULL && strncmp(file + 1, provider->name, length) == 0 &&
           strcmp(file + 1 + length, ".so") == 0);
    EXPECT((provider->capabilities & ~known) == 0);
    EXPECT(offers_what_it_promises());
    return NULL;
}

static const char *check_options(void)
{
    for (const ktp_option_spec_t *spec = provider->options; spec->name != NULL; spec++) {
        EXPECT(spec->name[0] != '\0' && spec->help != NULL && spec->help[0] != '\0');
        EXPECT((unsigned)spec->type <= KTP_MAP);
        EXPECT(!spec->required || spec->fallback == NULL);
        for (const ktp_option_spec_t *other = provider->options; other != spec; other++)
            EXPECT(strcmp(other->name, spec->name) != 0);
    }
    return NULL;
}

static const char *check_check(void)
{
    session_t *a = host_open();

    EXPECT(s_check(a, /* writing= */ 0) == KTP_SUCCESS);
    EXPECT(!host_can(KTP_WRITE) || s_check(a, /* writing= */ 1) == KTP_SUCCESS);
    EXPECT(s_check(a, /* writing= */ 0) == KTP_SUCCESS);
    return NULL;
}

static const char *check_create_again(void)
{
    session_t *a = host_open();

    EXPECT(s_create(a) == KTP_CONFLICT);
    EXPECT(s_check(a, /* writing= */ 0) == KTP_SUCCESS);
    return NULL;
}

/* ---- rows ---- */

static const char *check_absent(void)
{
    secret_t secret = fresh_secret();
    ktp_key_t head = head_key(&secret), value = value_key(&secret, 1);
    session_t *a = host_open();
    ktp_row_t row;

    EXPECT(s_begin(a, /* writing= */ 0, WAIT) == KTP_SUCCESS);
    EXPECT(s_get(a, &head, &row) == KTP_NOTFOUND);
    EXPECT(s_get(a, &value, &row) == KTP_NOTFOUND);
    EXPECT(s_commit(a) == KTP_SUCCESS);
    return NULL;
}

static const char *check_put_get(void)
{
    secret_t secret = fresh_secret();
    ktp_key_t key = head_key(&secret);
    ktp_row_t row = head_row(&secret, 1, SMALL), got;
    session_t *a = host_open(), *b = host_open();

    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    EXPECT(s_put(a, &key, &row, 0) == KTP_SUCCESS);
    EXPECT(s_get(a, &key, &got) == KTP_SUCCESS && row_equal(&row, &got));
    EXPECT(s_commit(a) == KTP_SUCCESS);
    row_free(&row);
    EXPECT(read_head(a, &secret, SMALL) == 1);
    EXPECT(read_head(b, &secret, SMALL) == 1);
    EXPECT(write_head(b, &secret, 2, 1, SMALL) == KTP_SUCCESS);
    EXPECT(read_head(a, &secret, SMALL) == 2);
    host_close_all();
    EXPECT(read_head(host_open(), &secret, SMALL) == 2);
    return NULL;
}

static const char *check_nothing_beside(void)
{
    secret_t secret = fresh_secret();
    ktp_key_t key = head_key(&secret);
    ktp_row_t whole = head_row(&secret, 1, SMALL), row = whole, got;
    session_t *a = host_open();

    row.beside = NULL;
    row.beside_size = 0;
    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    EXPECT(s_put(a, &key, &row, 0) == KTP_SUCCESS);
    EXPECT(s_commit(a) == KTP_SUCCESS);
    EXPECT(s_begin(a, /* writing= */ 0, WAIT) == KTP_SUCCESS);
    EXPECT(s_get(a, &key, &got) == KTP_SUCCESS && row_equal(&row, &got) && got.beside == NULL);
    s_abort(a);
    row_free(&whole);
    return NULL;
}

static const char *check_values(void)
{
    secret_t secret = fresh_secret();
    ktp_key_t gone = value_key(&secret, 1);
    session_t *a = host_open(), *b = host_open();
    ktp_row_t row;

    for (uint64_t counter = 1; counter <= 4; counter++) {
        EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
        EXPECT(rotate(a, &secret, counter, counter == 4 ? 1 : 0) == KTP_SUCCESS);
        EXPECT(s_commit(a) == KTP_SUCCESS);
    }
    EXPECT(read_head(b, &secret, SMALL) == 4);
    EXPECT(s_begin(b, /* writing= */ 0, WAIT) == KTP_SUCCESS);
    EXPECT(s_get(b, &gone, &row) == KTP_NOTFOUND);
    EXPECT(has_value(b, &secret, 2) && has_value(b, &secret, 3));
    s_abort(b);
    return NULL;
}

static const char *check_sizes(void)
{
    session_t *a = host_open(), *b = host_open();

    for (size_t class = CLASS_MIN; class <= CLASS_MAX; class *= 2) {
        secret_t secret = fresh_secret();

        EXPECT(write_head(a, &secret, 1, 0, class) == KTP_SUCCESS);
        EXPECT(read_head(b, &secret, class) == 1);
    }
    return NULL;
}

/* Puts the row by one instance and reads it by another; frees it. */
static const char *put_and_get(session_t *a, session_t *b, const ktp_key_t *key, ktp_row_t *row)
{
    const char *wrong = put_one(a, key, row);

    if (wrong == NULL)
        wrong = get_one(b, key, row);
    row_free(row);
    return wrong;
}

static const char *check_row_max(void)
{
    static const size_t sizes[] = {1, 2, 4095, 4096, 4097, 65536, KTP_ROW_MAX - 1, KTP_ROW_MAX};
    session_t *a = host_open(), *b = host_open();
    const char *wrong;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        ktp_space_t space = i % 2 == 0 ? KTP_NODE : KTP_META;
        ktp_key_t key = plain_key(space, &sizes[i], sizeof sizes[i]);
        ktp_row_t row = plain_row(UINT64_MAX - i, sizes[i], i);

        wrong = put_and_get(a, b, &key, &row);
        if (wrong != NULL)
            return wrong;
    }
    return NULL;
}

static const char *check_row_too_big(void)
{
    ktp_key_t key = plain_key(KTP_NODE, "too big", 7);
    ktp_row_t row = plain_row(1, KTP_ROW_MAX + 1, 1), none = {.record = NULL};
    session_t *a = host_open();

    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    EXPECT(s_put(a, &key, &row, 0) != KTP_SUCCESS);
    s_abort(a);
    EXPECT(s_begin(a, /* writing= */ 0, WAIT) == KTP_SUCCESS);
    EXPECT(s_get(a, &key, &none) == KTP_NOTFOUND);
    s_abort(a);
    row_free(&row);
    return NULL;
}

/* Keys are bytes: NUL, 0xff, beginnings of one another, each in four spaces. */
static const char *check_binary_keys(void)
{
    static const unsigned char bytes[KTP_KEY_MAX] = {0, 0, 255, 255, 0, '\'', '"', '%', '\n', 0};
    static const size_t sizes[] = {1, 2, 3, 8, 31, 32, 63, KTP_KEY_MAX};
    session_t *a = host_open(), *b = host_open();
    const char *wrong;

    for (unsigned i = 0; i < 4 * sizeof sizes / sizeof sizes[0]; i++) {
        ktp_key_t key = plain_key((ktp_space_t)(i % 4), bytes, sizes[i / 4]);
        ktp_row_t row = plain_row(i + 1, 100 + i, i);

        wrong = put_one(a, &key, &row);
        row_free(&row);
        if (wrong != NULL)
            return wrong;
    }
    for (unsigned i = 0; i < 4 * sizeof sizes / sizeof sizes[0]; i++) {
        ktp_key_t key = plain_key((ktp_space_t)(i % 4), bytes, sizes[i / 4]);
        ktp_row_t row = plain_row(i + 1, 100 + i, i);

        wrong = get_one(b, &key, &row);
        row_free(&row);
        if (wrong != NULL)
            return wrong;
    }
    return NULL;
}

static const char *check_version_numbers(void)
{
    static const uint64_t versions[] = {
        0, 1, 255, 4294967296, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX};
    session_t *a = host_open(), *b = host_open();
    secret_t secret = fresh_secret();
    const char *wrong;

    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        ktp_key_t key = value_key(&secret, versions[i]);
        ktp_row_t row = plain_row(versions[i] | 1, 100, i);

        wrong = put_and_get(a, b, &key, &row);
        if (wrong != NULL)
            return wrong;
    }
    return NULL;
}

/* A name may have 255 bytes and each byte of the grammar. */
static const char *check_names(void)
{
    secret_t secret = fresh_secret();
    session_t *a = host_open(), *b = host_open();
    size_t length = strlen(secret.name);

    memset(secret.name + length, 'x', 255 - length);
    memcpy(secret.name + length, "/-._.x/A9", 9);
    secret.name[255] = '\0';
    EXPECT(write_head(a, &secret, 1, 0, SMALL) == KTP_SUCCESS);
    EXPECT(read_head(b, &secret, SMALL) == 1);
    return NULL;
}

const check_t checks[] = {
    {"says what it is", check_header, 0, false},
    {"describes its options", check_options, 0, false},
    {"checks itself, for reading and for writing", check_check, 0, false},
    {"refuses to create twice", check_create_again, KTP_CREATE, false},
    {NULL, NULL, 0, false},
};

const check_t checks_rows[] = {
    {"an absent row is not found", check_absent, 0, false},
    {"a row comes back as it was put", check_put_get, KTP_WRITE, false},
    {"a head may have nothing beside it", check_nothing_beside, KTP_WRITE, false},
    {"values by version, put and removed with their head", check_values, KTP_WRITE, false},
    {"records of each size class", check_sizes, KTP_WRITE, false},
    {"records up to KTP_ROW_MAX, stamps up to 2^64 - 1", check_row_max, KTP_WRITE, true},
    {"no record beyond KTP_ROW_MAX", check_row_too_big, KTP_WRITE, true},
    {"keys are bytes, and spaces are apart", check_binary_keys, KTP_WRITE, true},
    {"versions up to 2^64 - 1", check_version_numbers, KTP_WRITE, true},
    {"names of 255 bytes", check_names, KTP_WRITE, false},
    {NULL, NULL, 0, false},
};
