/* SPDX-License-Identifier: BSD-2-Clause */
/* core/store/opened.c: a head that was opened before answers for the same bytes only. names.c: a
 * hash that is remembered is the right one. */
#include "world.h"

#include <sqlite3.h>
#include <stdio.h>

#include "store/store.h"

static void make_world(void)
{
    world_make(NULL, NULL, "cache: {ttl: 0s, negative: 0s, stale: 0s}\n");
    world_of_local();
    put("api-keys/a", "one", 1);
    assert_value("api-keys/a", "one", 1);
    assert_value("api-keys/a", "one", 1);
}

/* Turns a bit of the byte `at` of the only head. */
static void turn(int at)
{
    unsigned char record[4096];
    sqlite3_stmt *select, *update;
    sqlite3 *db;
    int size;

    ck_assert_int_eq(sqlite3_open(world.store, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_prepare_v2(db, "SELECT record FROM head", -1, &select, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(select), SQLITE_ROW);
    size = sqlite3_column_bytes(select, 0);
    ck_assert(size > at && (size_t)size <= sizeof(record));
    memcpy(record, sqlite3_column_blob(select, 0), (size_t)size);
    (void)sqlite3_finalize(select);
    record[at] ^= 1;
    ck_assert_int_eq(sqlite3_prepare_v2(db, "UPDATE head SET record = ?1", -1, &update, NULL),
                     SQLITE_OK);
    (void)sqlite3_bind_blob(update, 1, record, size, SQLITE_STATIC);
    ck_assert_int_eq(sqlite3_step(update), SQLITE_DONE);
    ck_assert_int_eq(sqlite3_changes(db), 1);
    (void)sqlite3_finalize(update);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

/* Of the nonce, of the sealed text, of its padding: the tag, and so the index, is the same. */
START_TEST(a_head_that_is_changed_in_the_store)
{
    static const int places[] = {50, 80, 150, 300};
    kt_request_t req = request("api-keys/a");
    kt_secret_t *secret;

    for (size_t i = 0; i < KT_ARRAY(places); i++) {
        turn(places[i]);
        assert_status(kt_get(world.ctx, &req, &secret), KT_MALFORMED);
        turn(places[i]);
        assert_value("api-keys/a", "one", 1);
    }
}
END_TEST

static kt_opened_t *opened;
static kt_typekey_t type = {.type = "t", .id = {1}};
static unsigned char record[400], beside[200];
static const ktp_row_t row = {.record = record,
                              .record_size = sizeof(record),
                              .beside = beside,
                              .beside_size = sizeof(beside)};

static void make_opened(void)
{
    opened = kt_opened_new();
    ck_assert_ptr_nonnull(opened);
    memset(record, 9, sizeof(record));
}

static void free_opened(void)
{
    kt_opened_free(opened);
}

static void keep(const char *text)
{
    const kt_opening_t opening = {"t/name", (const unsigned char *)text, strlen(text), 0};

    kt_opened_keep(opened, &type, &row, &opening);
}

static bool is_known(const char *text)
{
    size_t size = 0;
    unsigned char key[KT_KEY_SIZE];
    const unsigned char *found = kt_opened_find(opened, &type, &row, &size);
    const kt_halfway_t *halfway;
    kt_halfway_t right;

    if (found == NULL)
        return false;
    ck_assert_uint_eq(size, strlen(text));
    ck_assert_int_eq(memcmp(found, text, size), 0);
    kt_secret_key(&type, "t/name", key);
    ck_assert(kt_unseal_halfway(key, beside, sizeof(beside), &right));
    halfway = kt_opened_halfway(opened, &row, beside, sizeof(beside));
    ck_assert_ptr_nonnull(halfway);
    ck_assert_int_eq(memcmp(halfway, &right, sizeof(right)), 0);
    beside[48] ^= 1; /* the nonce of another record */
    ck_assert_ptr_null(kt_opened_halfway(opened, &row, beside, sizeof(beside)));
    beside[48] ^= 1;
    return true;
}

START_TEST(the_same_record_key_and_type)
{
    ck_assert(!is_known(""));
    keep("plain");
    ck_assert(is_known("plain"));
    for (size_t i = 0; i < sizeof(record); i++) {
        record[i] ^= 1;
        ck_assert(!is_known(""));
        record[i] ^= 1;
    }
    type.id[15] ^= 1;
    ck_assert(!is_known(""));
    type.id[15] ^= 1;
    type.type[0] = 'u';
    ck_assert(!is_known(""));
    type.type[0] = 't';
    ck_assert(is_known("plain"));
}
END_TEST

/* Each is there right after it was kept, if only every eighth is once the ring is full, and the
 * oldest ones are gone. */
START_TEST(a_full_ring)
{
    char text[32];

    for (unsigned i = 0; i < 40000; i++) {
        memcpy(record, &i, sizeof(i));
        memcpy(record + sizeof(record) - 3, &i, 3);
        memcpy(record + sizeof(record) - KT_TAG_SIZE, &i, sizeof(i));
        (void)snprintf(text, sizeof(text), "plain %u", i);
        ck_assert(!is_known(""));
        keep(text);
        for (unsigned n = 1; n < 8 && !is_known(text); n++)
            keep(text);
        ck_assert(is_known(text));
    }
    memset(record, 9, sizeof(record));
    memset(record, 0, 4);
    memset(record + sizeof(record) - KT_TAG_SIZE, 0, 4);
    memset(record + sizeof(record) - 3, 0, 3);
    ck_assert(!is_known(""));
}
END_TEST

START_TEST(hashes_of_names)
{
    kt_names_t *names = kt_names_new();
    unsigned char first[KT_HASH_SIZE], again[KT_HASH_SIZE];
    char name[128];

    ck_assert_ptr_nonnull(names);
    for (unsigned i = 0; i < 120000; i++) { /* each slot is taken by many in turn */
        (void)snprintf(name, sizeof(name), "t/%u%0*u", i % 40000, i % 7 == 0 ? 90 : 1, 0);
        type.key[0] = type.id[0] = (unsigned char)(i / 40000 % 2);
        kt_name_hash(&type, name, first);
        kt_names_hash(names, &type, name, again);
        ck_assert_int_eq(memcmp(first, again, sizeof(first)), 0);
        kt_names_hash(names, &type, name, again);
        ck_assert_int_eq(memcmp(first, again, sizeof(first)), 0);
    }
    kt_names_free(names);
}
END_TEST

static void make_all(void)
{
    make_world();
    make_opened();
}

static void end_all(void)
{
    free_opened();
    world_end();
}

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_all, end_all);
    tcase_add_test(tests, a_head_that_is_changed_in_the_store);
    tcase_add_test(tests, the_same_record_key_and_type);
    tcase_add_test(tests, a_full_ring);
    tcase_add_test(tests, hashes_of_names);
}

UNIT_MAIN("opened", add_tests)
