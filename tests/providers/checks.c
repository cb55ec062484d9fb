/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checks.c: the sentences of keyturn_provider.h, one check each. Every check takes secrets that no other touched.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conformance.h"

#define SMALL 128u
#define LOCK_WAIT 300u /* milliseconds, in the check about waiting */

static secret_t fresh(void)
{
    static unsigned number = 1000;
    secret_t secret;

    secret_init(&secret, number++);
    return secret;
}

static int64_t milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- what it says of itself ---- */

static const char *check_header(void)
{
    const uint32_t known = KTP_SEALED | KTP_BLOCKING | KTP_VERSIONS | KTP_WRITE | KTP_LIST | KTP_CAS | KTP_TOKEN |
                           KTP_CLEAR_NAMES | KTP_CREATE;
    const char *file = strrchr(provider_path, '/');
    size_t length = strlen(provider->name);

    EXPECT(provider->magic == KTP_MAGIC && provider->abi_major == KTP_ABI_MAJOR && provider->abi_minor <= KTP_ABI_MINOR);
    EXPECT(provider->size == sizeof(ktp_provider_t));
    EXPECT(file != NULL && strncmp(file + 1, provider->name, length) == 0 && strcmp(file + 1 + length, ".so") == 0);
    EXPECT((provider->capabilities & ~known) == 0);
    EXPECT(provider->open != NULL && provider->close != NULL && provider->check != NULL);
    EXPECT(provider->begin != NULL && provider->row_get != NULL && provider->commit != NULL && provider->abort != NULL);
    EXPECT(!host_can(KTP_WRITE) || (provider->row_put != NULL && provider->row_remove != NULL));
    EXPECT(!host_can(KTP_LIST) || provider->row_scan != NULL);
    EXPECT(!host_can(KTP_TOKEN) || provider->token != NULL);
    EXPECT(!host_can(KTP_CREATE) || provider->create != NULL);
    return NULL;
}

static const char *check_options(void)
{
    for (const ktp_option_spec_t *spec = provider->options; spec->name != NULL; spec++) {
        EXPECT(spec->name[0] != '\0' && spec->help != NULL && spec->help[0] != '\0');
        EXPECT((unsigned)spec->type <= KTP_SECRET);
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
    EXPECT(s_check(a, /* writing= */ 1) == KTP_SUCCESS);
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
    secret_t secret = fresh();
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
    secret_t secret = fresh();
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
    secret_t secret = fresh();
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

/* Head and kept values of one secret, in the shape of a rotation: what was current becomes a row of its own. */
static ktp_status_t rotate(session_t *s, const secret_t *secret, uint64_t counter, uint64_t drop)
{
    ktp_key_t head = head_key(secret), kept = value_key(secret, counter - 1), old = value_key(secret, drop);
    ktp_row_t row = head_row(secret, counter, SMALL), value = value_row(secret, counter - 1, SMALL);
    ktp_status_t status = s_put(s, &head, &row, counter - 1);

    if (status == KTP_SUCCESS && counter > 1)
        status = s_put(s, &kept, &value, 0);
    if (status == KTP_SUCCESS && drop != 0)
        status = s_remove(s, &old, 1);
    row_free(&row);
    row_free(&value);
    return status;
}

static bool has_value(session_t *s, const secret_t *secret, uint64_t version)
{
    ktp_key_t key = value_key(secret, version);
    ktp_row_t made = value_row(secret, version, SMALL), got;
    bool equal = s_get(s, &key, &got) == KTP_SUCCESS && row_equal(&made, &got);

    row_free(&made);
    return equal;
}

static const char *check_values(void)
{
    secret_t secret = fresh();
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
        secret_t secret = fresh();

        EXPECT(write_head(a, &secret, 1, 0, class) == KTP_SUCCESS);
        EXPECT(read_head(b, &secret, class) == 1);
    }
    return NULL;
}

/* Whatever an earlier run has left there. */
static const char *put_one(session_t *s, const ktp_key_t *key, const ktp_row_t *row)
{
    ktp_row_t old = { .stamp = 0 };

    EXPECT(s_begin(s, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    if (s_get(s, key, &old) == KTP_NOTFOUND)
        EXPECT(s_put(s, key, row, 0) == KTP_SUCCESS);
    else
        EXPECT(old.stamp != 0 && s_put(s, key, row, old.stamp) == KTP_SUCCESS);
    EXPECT(s_commit(s) == KTP_SUCCESS);
    return NULL;
}

static const char *get_one(session_t *s, const ktp_key_t *key, const ktp_row_t *row)
{
    ktp_row_t got;

    EXPECT(s_begin(s, /* writing= */ 0, WAIT) == KTP_SUCCESS);
    EXPECT(s_get(s, key, &got) == KTP_SUCCESS);
    EXPECT(row_equal(row, &got));
    EXPECT(s_commit(s) == KTP_SUCCESS);
    return NULL;
}

static const char *check_row_max(void)
{
    static const size_t sizes[] = { 1, 2, 4095, 4096, 4097, 65536, KTP_ROW_MAX - 1, KTP_ROW_MAX };
    session_t *a = host_open(), *b = host_open();
    const char *wrong;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        ktp_space_t space = i % 2 == 0 ? KTP_NODE : KTP_META;
        ktp_key_t key = plain_key(space, &sizes[i], sizeof sizes[i]);
        ktp_row_t row = plain_row(UINT64_MAX - i, sizes[i], i);

        wrong = put_one(a, &key, &row);
        if (wrong == NULL)
            wrong = get_one(b, &key, &row);
        row_free(&row);
        if (wrong != NULL)
            return wrong;
    }
    return NULL;
}

static const char *check_row_too_big(void)
{
    ktp_key_t key = plain_key(KTP_NODE, "too big", 7);
    ktp_row_t row = plain_row(1, KTP_ROW_MAX + 1, 1), none = { .record = NULL };
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
    static const unsigned char bytes[KTP_KEY_MAX] = { 0, 0, 255, 255, 0, '\'', '"', '%', '\n', 0 };
    static const size_t sizes[] = { 1, 2, 3, 8, 31, 32, 63, KTP_KEY_MAX };
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
    static const uint64_t versions[] = { 0, 1, 255, 4294967296, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX };
    session_t *a = host_open(), *b = host_open();
    secret_t secret = fresh();
    const char *wrong;

    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        ktp_key_t key = value_key(&secret, versions[i]);
        ktp_row_t row = plain_row(versions[i] | 1, 100, i);

        wrong = put_one(a, &key, &row);
        if (wrong == NULL)
            wrong = get_one(b, &key, &row);
        row_free(&row);
        if (wrong != NULL)
            return wrong;
    }
    return NULL;
}

/* A name may have 255 bytes and each byte of the grammar. */
static const char *check_names(void)
{
    secret_t secret = fresh();
    session_t *a = host_open(), *b = host_open();
    size_t length = strlen(secret.name);

    memset(secret.name + length, 'x', 255 - length);
    memcpy(secret.name + length, "/-._.x/A9", 9);
    secret.name[255] = '\0';
    EXPECT(write_head(a, &secret, 1, 0, SMALL) == KTP_SUCCESS);
    EXPECT(read_head(b, &secret, SMALL) == 1);
    return NULL;
}

/* ---- compare and set ---- */

/* A put that must be refused, there or by the commit. */
static bool refused(session_t *s, const ktp_key_t *key, const ktp_row_t *row, uint64_t expected)
{
    ktp_status_t status;

    if (s_begin(s, /* writing= */ 1, WAIT) != KTP_SUCCESS)
        return false;
    status = row != NULL ? s_put(s, key, row, expected) : s_remove(s, key, expected);
    if (status == KTP_SUCCESS)
        return s_commit(s) == KTP_CONFLICT;
    s_abort(s);
    return status == KTP_CONFLICT;
}

static const char *check_expected(void)
{
    secret_t secret = fresh(), other = fresh();
    ktp_key_t key = head_key(&secret), other_key = head_key(&other);
    ktp_row_t two = head_row(&secret, 2, SMALL), three = head_row(&secret, 3, SMALL), one = head_row(&other, 1, SMALL);
    session_t *a = host_open(), *b = host_open();

    EXPECT(write_head(b, &secret, 1, 0, SMALL) == KTP_SUCCESS);
    EXPECT(refused(a, &key, &two, 0));              /* absent is expected */
    EXPECT(refused(a, &key, &three, 2));            /* another stamp is expected */
    EXPECT(refused(a, &other_key, &one, 1));        /* anything at all is expected */
    EXPECT(read_head(b, &secret, SMALL) == 1);
    EXPECT(read_head(b, &other, SMALL) == 0);
    EXPECT(write_head(a, &secret, 2, 1, SMALL) == KTP_SUCCESS);
    EXPECT(write_head(b, &secret, 2, 1, SMALL) == KTP_CONFLICT);
    EXPECT(read_head(b, &secret, SMALL) == 2);
    row_free(&one);
    row_free(&two);
    row_free(&three);
    return NULL;
}

/* Several rows stand and fall together, whichever of them is refused. */
static const char *check_expected_several(void)
{
    secret_t secret = fresh();
    ktp_key_t head = head_key(&secret), kept = value_key(&secret, 1), gone = value_key(&secret, 7);
    ktp_row_t row = head_row(&secret, 3, SMALL), value = value_row(&secret, 1, SMALL);
    session_t *a = host_open(), *b = host_open();
    ktp_status_t status;

    for (uint64_t counter = 1; counter <= 2; counter++) {
        EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
        EXPECT(rotate(a, &secret, counter, 0) == KTP_SUCCESS);
        EXPECT(s_commit(a) == KTP_SUCCESS);
    }
    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    EXPECT(s_put(a, &head, &row, 2) == KTP_SUCCESS);
    status = s_put(a, &kept, &value, 0); /* it is there */
    if (status == KTP_SUCCESS)
        EXPECT(s_commit(a) == KTP_CONFLICT);
    else
        s_abort(a);
    EXPECT(read_head(b, &secret, SMALL) == 2);
    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    EXPECT(s_put(a, &head, &row, 2) == KTP_SUCCESS);
    status = s_remove(a, &gone, 1); /* it is not there */
    if (status == KTP_SUCCESS)
        EXPECT(s_commit(a) == KTP_CONFLICT);
    else
        s_abort(a);
    EXPECT(read_head(b, &secret, SMALL) == 2);
    row_free(&row);
    row_free(&value);
    return NULL;
}

static const char *check_remove(void)
{
    ktp_key_t key = plain_key(KTP_NODE, "remove", 6), head;
    ktp_row_t row = plain_row(5, 100, 5), got;
    session_t *a = host_open(), *b = host_open();
    secret_t secret = fresh();

    head = head_key(&secret);
    EXPECT(put_one(a, &key, &row) == NULL);
    EXPECT(write_head(a, &secret, 1, 0, SMALL) == KTP_SUCCESS);
    EXPECT(refused(a, &key, NULL, 4));
    EXPECT(refused(a, &key, NULL, 0));
    EXPECT(refused(a, &head, NULL, 2));
    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    EXPECT(s_remove(a, &key, 5) == KTP_SUCCESS);
    EXPECT(s_remove(a, &head, 1) == KTP_SUCCESS);
    EXPECT(s_get(a, &key, &got) == KTP_NOTFOUND);
    EXPECT(s_remove(a, &key, 0) == KTP_SUCCESS);
    EXPECT(s_commit(a) == KTP_SUCCESS);
    EXPECT(read_head(b, &secret, SMALL) == 0);
    EXPECT(refused(b, &key, NULL, 5));
    EXPECT(put_one(b, &key, &row) == NULL);
    EXPECT(get_one(a, &key, &row) == NULL);
    row_free(&row);
    return NULL;
}

/* ---- transactions ---- */

static const char *check_abort(void)
{
    secret_t secret = fresh();
    ktp_key_t key = head_key(&secret);
    ktp_row_t row = head_row(&secret, 2, SMALL);
    session_t *a = host_open(), *b = host_open();

    EXPECT(write_head(a, &secret, 1, 0, SMALL) == KTP_SUCCESS);
    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    EXPECT(s_put(a, &key, &row, 1) == KTP_SUCCESS);
    s_abort(a);
    EXPECT(read_head(a, &secret, SMALL) == 1);
    EXPECT(read_head(b, &secret, SMALL) == 1);
    EXPECT(write_head(b, &secret, 2, 1, SMALL) == KTP_SUCCESS);
    row_free(&row);
    return NULL;
}

static const char *check_empty_commit(void)
{
    session_t *a = host_open();

    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    EXPECT(s_commit(a) == KTP_SUCCESS);
    EXPECT(s_begin(a, /* writing= */ 0, WAIT) == KTP_SUCCESS);
    EXPECT(s_commit(a) == KTP_SUCCESS);
    return NULL;
}

static const char *check_reading_only(void)
{
    secret_t secret = fresh();
    ktp_key_t key = head_key(&secret);
    ktp_row_t row = head_row(&secret, 1, SMALL);
    session_t *a = host_open();
    ktp_status_t status;

    EXPECT(s_begin(a, /* writing= */ 0, WAIT) == KTP_SUCCESS);
    status = s_put(a, &key, &row, 0);
    if (status == KTP_SUCCESS)
        (void)s_commit(a);
    else
        s_abort(a);
    EXPECT(status != KTP_SUCCESS || read_head(a, &secret, SMALL) == 0);
    row_free(&row);
    return NULL;
}

/* A reading transaction sees the head and the values that belong together, whatever is committed meanwhile. */
static const char *check_snapshot(void)
{
    secret_t secret = fresh();
    ktp_key_t head = head_key(&secret), later = value_key(&secret, 2);
    ktp_row_t got, made = head_row(&secret, 2, SMALL);
    session_t *a = host_open(), *b = host_open();

    for (uint64_t counter = 1; counter <= 2; counter++) {
        EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
        EXPECT(rotate(a, &secret, counter, 0) == KTP_SUCCESS);
        EXPECT(s_commit(a) == KTP_SUCCESS);
    }
    EXPECT(s_begin(b, /* writing= */ 0, WAIT) == KTP_SUCCESS);
    EXPECT(s_get(b, &head, &got) == KTP_SUCCESS && row_equal(&got, &made));
    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    EXPECT(rotate(a, &secret, 3, 1) == KTP_SUCCESS);
    EXPECT(s_commit(a) == KTP_SUCCESS);
    EXPECT(has_value(b, &secret, 1));
    EXPECT(s_get(b, &later, &got) == KTP_NOTFOUND);
    EXPECT(s_get(b, &head, &got) == KTP_SUCCESS && row_equal(&got, &made));
    EXPECT(s_commit(b) == KTP_SUCCESS);
    EXPECT(read_head(b, &secret, SMALL) == 3);
    row_free(&made);
    return NULL;
}

/* Nobody sees what is not committed; a reader that is busy does not stop a writer. */
static const char *check_isolation(void)
{
    secret_t secret = fresh();
    ktp_key_t key = head_key(&secret);
    ktp_row_t row = head_row(&secret, 2, SMALL), got;
    session_t *a = host_open(), *b = host_open(), *c = host_open();

    EXPECT(write_head(a, &secret, 1, 0, SMALL) == KTP_SUCCESS);
    EXPECT(s_begin(c, /* writing= */ 0, WAIT) == KTP_SUCCESS);
    EXPECT(s_get(c, &key, &got) == KTP_SUCCESS);
    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    EXPECT(s_put(a, &key, &row, 1) == KTP_SUCCESS);
    EXPECT(read_head(b, &secret, SMALL) == 1);
    EXPECT(s_commit(a) == KTP_SUCCESS);
    EXPECT(read_head(b, &secret, SMALL) == 2);
    EXPECT(s_get(c, &key, &got) == KTP_SUCCESS && got.stamp == 1);
    s_abort(c);
    row_free(&row);
    return NULL;
}

/* Two writers of one secret at once: one waits in vain, or one of the two is refused. */
static const char *check_two_writers(void)
{
    secret_t secret = fresh();
    ktp_key_t key = head_key(&secret);
    ktp_row_t row = head_row(&secret, 1, SMALL);
    session_t *a = host_open(), *b = host_open();
    int64_t start, waited;
    ktp_status_t status;

    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    EXPECT(s_put(a, &key, &row, 0) == KTP_SUCCESS);
    start = milliseconds();
    status = s_begin(b, /* writing= */ 1, LOCK_WAIT);
    waited = milliseconds() - start;
    if (status == KTP_SUCCESS) {
        EXPECT(s_commit(a) == KTP_SUCCESS);
        status = s_put(b, &key, &row, 0);
        if (status == KTP_SUCCESS)
            status = s_commit(b);
        else
            s_abort(b);
        EXPECT(status == KTP_CONFLICT);
    } else {
        EXPECT(status == KTP_TRYAGAIN);
        EXPECT(waited >= LOCK_WAIT - 20 && waited < LOCK_WAIT + 500);
        start = milliseconds();
        EXPECT(s_begin(b, /* writing= */ 1, /* timeout= */ 0) == KTP_TRYAGAIN);
        EXPECT(milliseconds() - start < 100);
        EXPECT(s_commit(a) == KTP_SUCCESS);
        EXPECT(write_head(b, &secret, 2, 1, SMALL) == KTP_SUCCESS);
    }
    row_free(&row);
    return NULL;
}

static const char *check_close_in_transaction(void)
{
    secret_t secret = fresh();
    ktp_key_t key = head_key(&secret);
    ktp_row_t row = head_row(&secret, 1, SMALL);
    session_t *a = host_open(), *b = host_open();

    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    EXPECT(s_put(a, &key, &row, 0) == KTP_SUCCESS);
    host_close(a);
    EXPECT(read_head(b, &secret, SMALL) == 0);
    EXPECT(write_head(b, &secret, 1, 0, SMALL) == KTP_SUCCESS);
    row_free(&row);
    return NULL;
}

/* A row is the caller's until his next call with this transaction, whatever other instances do. */
static const char *check_row_stays(void)
{
    secret_t secret = fresh();
    ktp_key_t key = head_key(&secret);
    ktp_row_t made = head_row(&secret, 1, CLASS_MAX), got;
    session_t *a = host_open(), *b = host_open();

    EXPECT(write_head(a, &secret, 1, 0, CLASS_MAX) == KTP_SUCCESS);
    EXPECT(s_begin(a, /* writing= */ 0, WAIT) == KTP_SUCCESS);
    EXPECT(s_get(a, &key, &got) == KTP_SUCCESS);
    for (uint64_t counter = 2; counter < 12; counter++) {
        EXPECT(write_head(b, &secret, counter, counter - 1, CLASS_MAX) == KTP_SUCCESS);
        EXPECT(row_equal(&got, &made));
    }
    s_abort(a);
    row_free(&made);
    return NULL;
}

const check_t checks[] = {
    { "says what it is", check_header, 0, false },
    { "describes its options", check_options, 0, false },
    { "checks itself, for reading and for writing", check_check, KTP_WRITE, false },
    { "refuses to create twice", check_create_again, KTP_CREATE, false },
    { "an absent row is not found", check_absent, 0, false },
    { "a row comes back as it was put", check_put_get, KTP_WRITE, false },
    { "a head may have nothing beside it", check_nothing_beside, KTP_WRITE, false },
    { "values by version, put and removed with their head", check_values, KTP_WRITE, false },
    { "records of each size class", check_sizes, KTP_WRITE, false },
    { "records up to KTP_ROW_MAX, stamps up to 2^64 - 1", check_row_max, KTP_WRITE, true },
    { "no record beyond KTP_ROW_MAX", check_row_too_big, KTP_WRITE, true },
    { "keys are bytes, and spaces are apart", check_binary_keys, KTP_WRITE, true },
    { "versions up to 2^64 - 1", check_version_numbers, KTP_WRITE, true },
    { "names of 255 bytes", check_names, KTP_WRITE, false },
    { "put compares the stamp", check_expected, KTP_WRITE | KTP_CAS, false },
    { "several rows stand and fall together", check_expected_several, KTP_WRITE | KTP_CAS, false },
    { "remove compares the stamp", check_remove, KTP_WRITE | KTP_CAS, true },
    { "abort undoes", check_abort, KTP_WRITE, false },
    { "transactions without a change", check_empty_commit, KTP_WRITE, false },
    { "a reading transaction does not write", check_reading_only, KTP_WRITE, false },
    { "a reading transaction sees one snapshot", check_snapshot, KTP_WRITE, false },
    { "nothing is seen before its commit, and readers stop no writer", check_isolation, KTP_WRITE, false },
    { "of two writers at once one waits or is refused", check_two_writers, KTP_WRITE, false },
    { "close ends an open transaction", check_close_in_transaction, KTP_WRITE, false },
    { "a row stays until the next call", check_row_stays, KTP_WRITE, false },
    { NULL, NULL, 0, false },
};
