/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rows.c: made-up secrets. A server without a key looks at clear headers and sizes, so these are
 * true; the rest is noise, made from the secret's number, the version and the size.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conformance.h"

uint64_t rows_run;

uint64_t random_number(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void fill(unsigned char *at, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++) {
        if (i % 8 == 0)
            (void)random_number(&seed);
        at[i] = (unsigned char)(seed >> (i % 8 * 8));
    }
}

static void put_u64(unsigned char *at, uint64_t number)
{
    for (int i = 7; i >= 0; i--, number >>= 8)
        at[i] = (unsigned char)number;
}

void secret_init(secret_t *secret, unsigned number)
{
    secret->run = rows_run;
    secret->number = number;
    (void)snprintf(secret->name, sizeof secret->name, "conformance/%016" PRIx64 "-%u", rows_run,
                   number);
}

ktp_key_t head_key(const secret_t *secret)
{
    ktp_key_t key = {.space = KTP_HEAD, .id_size = 32};

    fill(key.id, key.id_size, secret->run ^ ((uint64_t)secret->number << 32));
    key.name = host_can(KTP_CLEAR_NAMES) ? secret->name : NULL;
    return key;
}

ktp_key_t value_key(const secret_t *secret, uint64_t version)
{
    ktp_key_t key = head_key(secret);

    key.space = KTP_VALUE;
    key.version = version;
    return key;
}

ktp_key_t plain_key(ktp_space_t space, const void *id, size_t size)
{
    ktp_key_t key = {.space = space, .id_size = size};

    memcpy(key.id, id, size);
    return key;
}

unsigned char *make_record(const secret_t *secret, unsigned type, uint64_t version, size_t class)
{
    size_t size = RECORD_OVERHEAD + class;
    unsigned char *record = malloc(size);

    if (record == NULL)
        abort();
    memset(record, 0, KTP_RECORD_HEADER);
    memcpy(record, "KTRN", 4);
    record[4] = 1;
    record[5] = 1;
    record[KTP_RECORD_TYPE_AT] = (unsigned char)type;
    memset(record + 8, 'K', 16);
    fill(record + KTP_RECORD_ID_AT, 16, secret->run + secret->number);
    put_u64(record + KTP_RECORD_VERSION_AT, version);
    fill(record + 48, size - 48, secret->run ^ version ^ (uint64_t)type << 60);
    memcpy(record + KTP_RECORD_HEADER, "CANARY", 6);
    return record;
}

ktp_row_t head_row(const secret_t *secret, uint64_t counter, size_t class)
{
    ktp_row_t row = {.stamp = counter,
                     .record_size = RECORD_OVERHEAD + class,
                     .beside_size = RECORD_OVERHEAD + class};

    row.record = make_record(secret, KTP_RECORD_HEAD, counter, class);
    row.beside = make_record(secret, KTP_RECORD_VALUE, counter, class);
    return row;
}

ktp_row_t value_row(const secret_t *secret, uint64_t version, size_t class)
{
    ktp_row_t row = {.stamp = 1, .record_size = RECORD_OVERHEAD + class};

    row.record = make_record(secret, KTP_RECORD_VALUE, version, class);
    return row;
}

ktp_row_t plain_row(uint64_t stamp, size_t size, uint64_t seed)
{
    ktp_row_t row = {.stamp = stamp, .record_size = size};
    unsigned char *record = malloc(size);

    if (record == NULL)
        abort();
    fill(record, size, seed);
    row.record = record;
    return row;
}

void row_free(ktp_row_t *row)
{
    free((void *)row->record);
    free((void *)row->beside);
    memset(row, 0, sizeof *row);
}

static bool bytes_equal(const unsigned char *a, size_t a_size, const unsigned char *b,
                        size_t b_size)
{
    if (a == NULL || b == NULL)
        return a == b;
    return a_size == b_size && memcmp(a, b, a_size) == 0;
}

bool row_equal(const ktp_row_t *a, const ktp_row_t *b)
{
    return a->stamp == b->stamp &&
           bytes_equal(a->record, a->record_size, b->record, b->record_size) &&
           bytes_equal(a->beside, a->beside_size, b->beside, b->beside_size);
}

ktp_status_t write_head(session_t *s, const secret_t *secret, uint64_t counter, uint64_t expected,
                        size_t class)
{
    ktp_row_t row = head_row(secret, counter, class);
    ktp_key_t key = head_key(secret);
    ktp_status_t status = s_begin(s, /* writing= */ 1, WAIT);

    if (status == KTP_SUCCESS) {
        status = s_put(s, &key, &row, expected);
        if (status == KTP_SUCCESS)
            status = s_commit(s);
        else
            s_abort(s);
    }
    row_free(&row);
    return status;
}

uint64_t read_head(session_t *s, const secret_t *secret, size_t class)
{
    ktp_key_t key = head_key(secret);
    uint64_t counter = UINT64_MAX;
    ktp_status_t status;
    ktp_row_t row, made;

    if (s_begin(s, /* writing= */ 0, WAIT) != KTP_SUCCESS)
        return counter;
    status = s_get(s, &key, &row);
    if (status == KTP_NOTFOUND)
        counter = 0;
    if (status == KTP_SUCCESS) {
        made = head_row(secret, row.stamp, class);
        if (row_equal(&row, &made))
            counter = row.stamp;
        row_free(&made);
    }
    s_abort(s);
    return counter;
}

secret_t fresh_secret(void)
{
    static unsigned number = 1000;
    secret_t secret;

    secret_init(&secret, number++);
    return secret;
}

ktp_status_t rotate(session_t *s, const secret_t *secret, uint64_t counter, uint64_t drop)
{
    ktp_key_t head = head_key(secret), kept = value_key(secret, counter - 1),
              old = value_key(secret, drop);
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

bool has_value(session_t *s, const secret_t *secret, uint64_t version)
{
    ktp_key_t key = value_key(secret, version);
    ktp_row_t made = value_row(secret, version, SMALL), got;
    bool equal = s_get(s, &key, &got) == KTP_SUCCESS && row_equal(&made, &got);

    row_free(&made);
    return equal;
}

const char *put_one(session_t *s, const ktp_key_t *key, const ktp_row_t *row)
{
    ktp_row_t old = {.stamp = 0};

    EXPECT(s_begin(s, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    if (s_get(s, key, &old) == KTP_NOTFOUND)
        EXPECT(s_put(s, key, row, 0) == KTP_SUCCESS);
    else
        EXPECT(old.stamp != 0 && s_put(s, key, row, old.stamp) == KTP_SUCCESS);
    EXPECT(s_commit(s) == KTP_SUCCESS);
    return NULL;
}

const char *get_one(session_t *s, const ktp_key_t *key, const ktp_row_t *row)
{
    ktp_row_t got;

    EXPECT(s_begin(s, /* writing= */ 0, WAIT) == KTP_SUCCESS);
    EXPECT(s_get(s, key, &got) == KTP_SUCCESS);
    EXPECT(row_equal(row, &got));
    EXPECT(s_commit(s) == KTP_SUCCESS);
    return NULL;
}
