/* SPDX-License-Identifier: BSD-2-Clause */
/* core/store/bundle.c: a whole secret as bytes, parsed without a key, and the engine over it. */
#include "vectors.h"
#include "world.h"

static void make_world(void)
{
    world_of_memory(NULL);
}

static kt_request_t request_in(kt_bundle_t **slot, const char *reference)
{
    kt_request_t req = request(reference);

    req.bundle = slot;
    return req;
}

static void put_in(kt_bundle_t **slot, const char *name, const char *text, uint64_t version)
{
    kt_request_t req = request_in(slot, name);
    kt_secret_t *value = secret_of(text);
    uint64_t got;

    assert_ok(kt_put(world.ctx, &req, value, NULL, &got));
    ck_assert_uint_eq(got, version);
    kt_secret_free(value);
}

static kt_status_t get_in(kt_bundle_t **slot, const char *reference, const char *text)
{
    kt_request_t req = request_in(slot, reference);
    kt_secret_t *secret = NULL;
    kt_status_t status = kt_get(world.ctx, &req, &secret);

    if (status == KT_SUCCESS)
        assert_secret(secret, text);
    kt_secret_free(secret);
    return status;
}

START_TEST(the_bundle_of_the_page_is_taken)
{
    vector_t v = vector("bundle");
    kt_bundle_t *bundle = NULL, *copy = NULL;
    const void *bytes;
    size_t size;

    assert_ok(kt_bundle_parse(v.bytes, v.size, &bundle));
    ck_assert_uint_eq(kt_bundle_counter(bundle), 5);
    bytes = kt_bundle_bytes(bundle, &size);
    ck_assert_uint_eq(size, v.size);
    ck_assert_mem_eq(bytes, v.bytes, size);
    ck_assert(kt_bundle_memory(bundle) > size);
    assert_ok(kt_bundle_copy(bundle, &copy));
    kt_bundle_free(bundle);
    ck_assert_uint_eq(kt_bundle_counter(copy), 5);
    kt_bundle_free(copy);
    kt_bundle_free(NULL);
}
END_TEST

START_TEST(cut_or_changed_it_is_refused_or_harmless)
{
    vector_t v = vector("bundle");
    kt_bundle_t *bundle = NULL;

    for (size_t n = 0; n < v.size; n++) {
        unsigned char *copy = malloc(n > 0 ? n : 1);

        memcpy(copy, v.bytes, n);
        assert_status(kt_bundle_parse(copy, n, &bundle), KT_MALFORMED);
        free(copy);
    }
    ck_assert_ptr_null(bundle);
    for (size_t at = 0; at < v.size; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            unsigned char *copy = malloc(v.size);

            memcpy(copy, v.bytes, v.size);
            copy[at] ^= (unsigned char)(1u << bit);
            if (kt_bundle_parse(copy, v.size, &bundle) == KT_SUCCESS)
                kt_bundle_free(bundle);
            free(copy);
        }
    }
    v.bytes[v.size] = 0;
    assert_status(kt_bundle_parse(v.bytes, v.size + 1, &bundle), KT_MALFORMED);
}
END_TEST

START_TEST(records_of_two_secrets_are_no_bundle)
{
    vector_t v = vector("bundle");
    kt_bundle_t *bundle = NULL;
    size_t head = vector("head_record").size;

    v.bytes[8 + 4 + head + 4 + 24] ^= 1; /* the secret id of the value */
    assert_status(kt_bundle_parse(v.bytes, v.size, &bundle), KT_MALFORMED);
    v.bytes[8 + 4 + head + 4 + 24] ^= 1;
    v.bytes[8 + 4 + head + 4 + 6] = KTP_RECORD_HEAD;
    assert_status(kt_bundle_parse(v.bytes, v.size, &bundle), KT_MALFORMED);
    v.bytes[8 + 4 + head + 4 + 6] = KTP_RECORD_VALUE;
    v.bytes[4] = 3;
    assert_status(kt_bundle_parse(v.bytes, v.size, &bundle), KT_MALFORMED);
}
END_TEST

START_TEST(a_secret_lives_in_its_bundle)
{
    kt_bundle_t *slot = NULL;
    kt_request_t req = request_in(&slot, "api-keys/k");

    assert_status(get_in(&slot, "api-keys/k", ""), KT_NOTFOUND);
    put_in(&slot, "api-keys/k", "one", 1);
    put_in(&slot, "api-keys/k", "two", 2);
    ck_assert_uint_eq(kt_bundle_counter(slot), 2);
    assert_ok(get_in(&slot, "api-keys/k", "two"));
    assert_ok(get_in(&slot, "api-keys/k@1", "one"));
    assert_ok(kt_rollback(world.ctx, &req, 0, NULL));
    assert_ok(get_in(&slot, "api-keys/k", "one"));
    assert_ok(kt_delete(world.ctx, &req));
    assert_status(get_in(&slot, "api-keys/k", ""), KT_GONE);
    assert_ok(kt_undelete(world.ctx, &req));
    assert_status(kt_destroy(world.ctx, &req, 1), KT_CONFLICT);
    assert_ok(kt_rollback(world.ctx, &req, 2, NULL));
    assert_ok(kt_destroy(world.ctx, &req, 1));
    assert_status(get_in(&slot, "api-keys/k@1", ""), KT_GONE);
    assert_ok(get_in(&slot, "api-keys/k@2", "two"));
    for (unsigned i = 3; i < 30; i++)
        put_in(&slot, "api-keys/k", "more", i);
    assert_status(get_in(&slot, "api-keys/k@2", ""), KT_NOTFOUND);
    ck_assert_uint_eq(memory_count(KTP_HEAD), 0); /* nothing went to the store */
    kt_bundle_free(slot);
}
END_TEST

/* What a reading one answers lies in the bundle itself: a read costs the same at a hundred versions
 * as at one. */
START_TEST(reading_copies_nothing)
{
    kt_bundle_t *slot = NULL;
    kt_bundle_store_t store;
    const unsigned char *bytes;
    ktp_key_t key = {.space = KTP_HEAD};
    ktp_row_t row;
    ktp_txn_t *txn;
    size_t size;

    for (uint64_t version = 1; version <= 3; version++)
        put_in(&slot, "api-keys/a", "value", version);
    bytes = kt_bundle_bytes(slot, &size);
    kt_bundle_store_init(&store, &slot, NULL, 10);
    ck_assert_int_eq(store.store.api->begin(store.store.instance, 0, 0, &txn), KTP_SUCCESS);
    ck_assert_int_eq(store.store.api->row_get(txn, &key, &row), KTP_SUCCESS);
    ck_assert(row.record > bytes && row.record + row.record_size <= row.beside);
    ck_assert(row.beside + row.beside_size < bytes + size);
    ck_assert_uint_eq(row.stamp, 3);
    key.space = KTP_VALUE;
    for (key.version = 0; key.version <= 4; key.version++) {
        bool kept = key.version == 1 || key.version == 2;

        ck_assert_int_eq(store.store.api->row_get(txn, &key, &row),
                         kept ? KTP_SUCCESS : KTP_NOTFOUND);
        ck_assert(!kept || (row.record > bytes && row.record + row.record_size <= bytes + size));
    }
    ck_assert_int_eq(store.store.api->row_put(txn, &key, &row, 0), KTP_FORBIDDEN);
    ck_assert_int_eq(store.store.api->row_remove(txn, &key, 1), KTP_FORBIDDEN);
    store.store.api->abort(txn);
    ck_assert_int_eq(get_in(&slot, "api-keys/a@previous", "value"), KT_SUCCESS);
    kt_bundle_free(slot);
}
END_TEST

START_TEST(a_bundle_under_another_name_is_moved)
{
    kt_bundle_t *slot = NULL;
    kt_request_t req = request_in(&slot, "api-keys/other");
    kt_secret_t *value = secret_of("x");

    put_in(&slot, "api-keys/k", "one", 1);
    assert_status(get_in(&slot, "api-keys/other", ""), KT_MOVED);
    assert_status(kt_put(world.ctx, &req, value, NULL, NULL), KT_MOVED);
    assert_status(get_in(&slot, "database/k", ""), KT_WRONGKEY);
    assert_ok(get_in(&slot, "api-keys/k", "one"));
    kt_secret_free(value);
    kt_bundle_free(slot);
}
END_TEST

START_TEST(a_failed_write_leaves_it_as_it_was)
{
    kt_bundle_t *slot = NULL, *before;
    kt_put_options_t options = KT_PUT_INIT;
    kt_request_t req = request_in(&slot, "api-keys/k");
    kt_secret_t *value = secret_of("x");

    put_in(&slot, "api-keys/k", "one", 1);
    before = slot;
    options.cas = 7;
    assert_status(kt_put(world.ctx, &req, value, &options, NULL), KT_CONFLICT);
    assert_status(kt_rollback(world.ctx, &req, 9, NULL), KT_NOTFOUND);
    req.subject = READER;
    assert_status(kt_put(world.ctx, &req, value, NULL, NULL), KT_DENIED);
    ck_assert_ptr_eq(slot, before);
    assert_ok(get_in(&slot, "api-keys/k", "one"));
    kt_secret_free(value);
    kt_bundle_free(slot);
}
END_TEST

START_TEST(what_may_follow)
{
    kt_bundle_t *slot = NULL, *first = NULL, *other = NULL;

    put_in(&slot, "api-keys/k", "one", 1);
    assert_ok(kt_bundle_copy(slot, &first));
    assert_ok(kt_bundle_follows(NULL, first));
    put_in(&slot, "api-keys/k", "two", 2);
    assert_ok(kt_bundle_follows(first, slot));
    assert_status(kt_bundle_follows(NULL, slot), KT_CONFLICT);
    assert_status(kt_bundle_follows(slot, slot), KT_CONFLICT);
    assert_status(kt_bundle_follows(slot, first), KT_CONFLICT);
    put_in(&other, "api-keys/k", "one", 1);
    put_in(&other, "api-keys/k", "two", 2);
    assert_status(kt_bundle_follows(first, other), KT_CONFLICT); /* another id */
    kt_bundle_free(slot);
    kt_bundle_free(first);
    kt_bundle_free(other);
}
END_TEST

START_TEST(each_reading_is_recorded_and_judged)
{
    kt_bundle_t *slot = NULL;
    kt_request_t req = request_in(&slot, "database/k");
    kt_secret_t *secret = NULL;

    put_in(&slot, "database/k", "one", 1);
    req.subject = READER;
    assert_status(kt_get(world.ctx, &req, &secret), KT_DENIED);
    ck_assert_uint_eq(world_lines("\"read\"", READER, "\"denied\"", NULL), 1);
    assert_ok(get_in(&slot, "database/k", "one"));
    ck_assert_uint_eq(world_lines("\"read\"", ALL, "\"success\"", "\"version\":1", NULL), 1);
    kt_bundle_free(slot);
}
END_TEST

START_TEST(sealed_service_is_authorized)
{
    kt_request_t req = request_by(READER, "api-keys/k"), other = request_by(READER, "database/k"),
                 all = request_by(READER, "*");

    assert_ok(kt_authorize(world.ctx, &req, "read", "getsealed"));
    assert_status(kt_authorize(world.ctx, &other, "read", "getsealed"), KT_DENIED);
    assert_status(kt_authorize(world.ctx, &req, "write", "setsealed"), KT_DENIED);
    assert_status(kt_authorize(world.ctx, &req, "no-such", "x"), KT_USAGE);
    ck_assert_uint_eq(world_lines("\"getsealed\"", "success", NULL), 1);
    ck_assert_uint_eq(world_lines("\"getsealed\"", "denied", NULL), 1);
    ck_assert_uint_eq(world_lines("\"setsealed\"", "denied", NULL), 1);
    /* what was allowed before is recorded under its own action, not under that of the first time */
    assert_ok(kt_authorize(world.ctx, &req, "read", "another"));
    assert_ok(kt_authorize(world.ctx, &req, "read", "getsealed"));
    ck_assert_uint_eq(world_lines("\"another\"", "success", NULL), 1);
    ck_assert_uint_eq(world_lines("\"getsealed\"", "success", NULL), 2);
    /* a listing: one record, and each name asked in silence */
    assert_ok(kt_authorize(world.ctx, &all, "list", "list"));
    assert_ok(kt_authorize(world.ctx, &req, "list", NULL));
    assert_status(kt_authorize(world.ctx, &other, "list", NULL), KT_DENIED);
    /* a name is judged as one */
    assert_status(kt_authorize(world.ctx, &other, "list", "list"), KT_DENIED);
    ck_assert_uint_eq(world_lines("\"action\":\"list\"", "\"reference\":\"*\"", NULL), 1);
    ck_assert_uint_eq(world_lines("\"action\":\"list\"", NULL), 2);
    assert_status(kt_authorize(world.ctx, &all, "read", "read"), KT_USAGE);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    tcase_add_test(tests, the_bundle_of_the_page_is_taken);
    tcase_add_test(tests, cut_or_changed_it_is_refused_or_harmless);
    tcase_add_test(tests, records_of_two_secrets_are_no_bundle);
    tcase_add_test(tests, a_secret_lives_in_its_bundle);
    tcase_add_test(tests, reading_copies_nothing);
    tcase_add_test(tests, a_bundle_under_another_name_is_moved);
    tcase_add_test(tests, a_failed_write_leaves_it_as_it_was);
    tcase_add_test(tests, what_may_follow);
    tcase_add_test(tests, each_reading_is_recorded_and_judged);
    tcase_add_test(tests, sealed_service_is_authorized);
}

UNIT_MAIN("bundle", add_tests)
