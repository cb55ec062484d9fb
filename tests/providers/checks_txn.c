/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checks_txn.c: the sentences of keyturn_provider.h about compare-and-set and transactions.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conformance.h"

#define LOCK_WAIT 300u /* milliseconds, in the check about waiting */

static int64_t milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
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
    secret_t secret = fresh_secret(), other = fresh_secret();
    ktp_key_t key = head_key(&secret), other_key = head_key(&other);
    ktp_row_t two = head_row(&secret, 2, SMALL), three = head_row(&secret, 3, SMALL),
              one = head_row(&other, 1, SMALL);
    session_t *a = host_open(), *b = host_open();

    EXPECT(write_head(b, &secret, 1, 0, SMALL) == KTP_SUCCESS);
    EXPECT(refused(a, &key, &two, 0));       /* absent is expected */
    EXPECT(refused(a, &key, &three, 2));     /* another stamp is expected */
    EXPECT(refused(a, &other_key, &one, 1)); /* anything at all is expected */
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

/* All rows are committed or none, whichever of them is refused. */
static const char *check_expected_several(void)
{
    secret_t secret = fresh_secret();
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
    secret_t secret = fresh_secret();

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
    secret_t secret = fresh_secret();
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

/* It stands like a commit once it has answered, and to sync may be asked for at any time. */
static const char *check_publish(void)
{
    secret_t secret = fresh_secret();
    ktp_key_t key = head_key(&secret);
    ktp_row_t one = head_row(&secret, 1, SMALL), again = head_row(&secret, 2, SMALL);
    session_t *a = host_open(), *b = host_open();
    ktp_status_t status;

    EXPECT((provider->publish == NULL) == (provider->sync == NULL));
    EXPECT(s_sync(b) == KTP_SUCCESS);
    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    EXPECT(s_put(a, &key, &one, 0) == KTP_SUCCESS);
    EXPECT(s_sync(a) == KTP_SUCCESS);
    EXPECT(read_head(b, &secret, SMALL) == 0);
    EXPECT(s_publish(a) == KTP_SUCCESS);
    EXPECT(read_head(b, &secret, SMALL) == 1);
    EXPECT(s_sync(b) == KTP_SUCCESS);
    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    EXPECT(s_publish(a) == KTP_SUCCESS);
    EXPECT(s_begin(a, /* writing= */ 1, WAIT) == KTP_SUCCESS);
    status = s_put(a, &key, &again, 7); /* it has another stamp */
    if (status == KTP_SUCCESS)
        EXPECT(s_publish(a) == KTP_CONFLICT);
    else
        s_abort(a);
    EXPECT(write_head(b, &secret, 2, 1, SMALL) == KTP_SUCCESS);
    EXPECT(read_head(a, &secret, SMALL) == 2);
    row_free(&one);
    row_free(&again);
    return NULL;
}

static const char *check_reading_only(void)
{
    secret_t secret = fresh_secret();
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

/* A reading transaction sees the head and the values that belong together, whatever is committed
 * meanwhile. */
static const char *check_snapshot(void)
{
    secret_t secret = fresh_secret();
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

/* No other transaction sees uncommitted rows, and a busy reader does not block a writer. */
static const char *check_isolation(void)
{
    secret_t secret = fresh_secret();
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

/* Two writers of one secret at once: one times out, or one of the two is refused. */
static const char *check_two_writers(void)
{
    secret_t secret = fresh_secret();
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
    secret_t secret = fresh_secret();
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

/* A row stays valid until the next call with its transaction, whatever other instances do. */
static const char *check_row_stays(void)
{
    secret_t secret = fresh_secret();
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

const check_t checks_txn[] = {
    {"put compares the stamp", check_expected, KTP_WRITE | KTP_CAS, false},
    {"several rows stand and fall together", check_expected_several, KTP_WRITE | KTP_CAS, false},
    {"remove compares the stamp", check_remove, KTP_WRITE | KTP_CAS, true},
    {"abort undoes", check_abort, KTP_WRITE, false},
    {"transactions without a change", check_empty_commit, KTP_WRITE, false},
    {"publish commits, and sync may be asked for", check_publish, KTP_WRITE | KTP_CAS, false},
    {"a reading transaction does not write", check_reading_only, KTP_WRITE, false},
    {"a reading transaction sees one snapshot", check_snapshot, KTP_WRITE, false},
    {"nothing is seen before its commit, and readers stop no writer", check_isolation, KTP_WRITE,
     false},
    {"of two writers at once one waits or is refused", check_two_writers, KTP_WRITE, false},
    {"close ends an open transaction", check_close_in_transaction, KTP_WRITE, false},
    {"a row stays until the next call", check_row_stays, KTP_WRITE, false},
    {NULL, NULL, 0, false},
};
