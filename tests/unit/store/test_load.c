/* SPDX-License-Identifier: BSD-2-Clause */
/* core/store/load.c and core/store/change.c: rows to secrets and back, over a provider that takes
 * its rows back; and an editor of the store. */
#include "world.h"

#include <unistd.h>

#include "store/store.h"

#include <stdio.h>

static void make_world(void)
{
    world_of_memory("cache: {ttl: 0s, negative: 0s, stale: 0s}\n");
}

static kt_status_t get(const char *reference)
{
    kt_request_t req = request(reference);
    kt_secret_t *secret = NULL;
    kt_status_t status = kt_get(world.ctx, &req, &secret);

    if (status == KT_SUCCESS)
        kt_secret_free(secret);
    else
        ck_assert_ptr_null(secret);
    return status;
}

START_TEST(versions_are_kept_and_pruned)
{
    char text[16];

    for (unsigned i = 1; i <= 15; i++) {
        (void)snprintf(text, sizeof(text), "value %u", i);
        put("api-keys/k", text, i);
    }
    assert_value("api-keys/k", "value 15", 15);
    assert_value("api-keys/k@previous", "value 14", 14);
    assert_value("api-keys/k@6", "value 6", 6); /* 10 are kept */
    assert_status(get("api-keys/k@5"), KT_NOTFOUND);
    assert_status(get("api-keys/k@16"), KT_NOTFOUND);
    assert_status(get("api-keys/k@pending"), KT_NOTFOUND);
    ck_assert_uint_eq(memory_count(KTP_VALUE), 9);
    ck_assert_uint_eq(memory_count(KTP_HEAD), 1);
}
END_TEST

START_TEST(a_current_far_back_is_not_pruned)
{
    kt_request_t req = request("api-keys/k");

    for (unsigned i = 1; i <= 10; i++)
        put("api-keys/k", "v", i);
    assert_ok(kt_rollback(world.ctx, &req, 1, NULL));
    put("api-keys/k", "eleven", 11);
    assert_value("api-keys/k@previous", "v", 1);
    put("api-keys/k", "twelve", 12);
    assert_status(get("api-keys/k@1"), KT_NOTFOUND);
    assert_value("api-keys/k@previous", "eleven", 11);
}
END_TEST

START_TEST(names_and_types_are_not_in_the_rows)
{
    size_t size;

    put("verysecrettype/name", "verysecretvalue", 1);
    for (ktp_space_t space = KTP_META; space <= KTP_VALUE; space++) {
        for (size_t n = 0; n < memory_count(space); n++) {
            const unsigned char *record = memory_record(space, n, &size);

            ck_assert_ptr_null(memmem(record, size, "verysecret", 10));
        }
    }
    ck_assert_ptr_nonnull(memory_beside(0, &size));
    ck_assert_ptr_null(memmem(memory_beside(0, &size), size, "verysecret", 10));
}
END_TEST

/* ---- an editor of the store ---- */

START_TEST(swapped_secrets_are_noticed)
{
    put("api-keys/a", "value of a", 1);
    put("api-keys/b", "value of b", 1);
    memory_swap(KTP_HEAD, 0, 1);
    assert_status(get("api-keys/a"), KT_ROLLEDBACK);
    assert_status(get("api-keys/b"), KT_ROLLEDBACK);
    memory_swap(KTP_HEAD, 0, 1);
    put("database/a", "other type", 1);
    memory_swap(KTP_HEAD, 0, 2);
    assert_status(get("api-keys/a"), KT_ROLLEDBACK);
}
END_TEST

START_TEST(swapped_values_are_noticed)
{
    const unsigned char *record;
    size_t size;

    put("api-keys/a", "one", 1);
    put("api-keys/a", "two", 2);
    put("api-keys/a", "three", 3);
    memory_swap(KTP_VALUE, 0, 1);
    assert_value("api-keys/a", "three", 3);
    assert_status(get("api-keys/a@1"), KT_MALFORMED);
    assert_status(get("api-keys/a@2"), KT_MALFORMED);
    memory_swap(KTP_VALUE, 0, 1);
    assert_value("api-keys/a@1", "one", 1);
    /* the sealed value of version 2, whole, beside a head that says 3 */
    record = memory_record(KTP_VALUE, 1, &size);
    memcpy(memory_beside(0, &size), record, size);
    assert_status(get("api-keys/a"), KT_MALFORMED);
}
END_TEST

/* The first one: the last one sums up. */
static void see_finding(void *arg, kt_status_t status, const char *what, const char *detail)
{
    char *text = arg;

    if (status != KT_SUCCESS && text[0] == '\0')
        (void)snprintf(text, KT_ERROR_SIZE, "%s: %s", what, detail);
}

START_TEST(a_stamp_that_is_not_the_heads_is_noticed)
{
    char finding[KT_ERROR_SIZE] = "";

    put("api-keys/a", "one", 1);
    memory_stamp(KTP_HEAD, 0, 7);
    assert_status(get("api-keys/a"), KT_MALFORMED);
    assert_status(kt_verify(world.ctx, see_finding, finding), KT_MALFORMED);
    ck_assert_str_eq(finding, "api-keys/a: the row's stamp is not the head's counter");
    memory_stamp(KTP_HEAD, 0, 1);
    assert_value("api-keys/a", "one", 1);
    assert_ok(kt_verify(world.ctx, see_finding, finding));
}
END_TEST

/* A value that is sealed by the right key under the right name, version and id, but is not the one
 * that the head was written for. */
START_TEST(another_value_of_the_same_version_is_noticed)
{
    unsigned char key[KT_KEY_SIZE], *record, *beside;
    const kt_typekey_t *type;
    kt_header_t header;
    size_t size, beside_size;

    put("api-keys/a", "one", 1);
    beside = memory_beside(0, &beside_size);
    assert_ok(kt_header_parse(beside, beside_size, &header));
    assert_ok(kt_keyring_type(world.ctx->holder.keyring, "api-keys", 0, &type));
    kt_secret_key(type, "api-keys/a", key);
    assert_ok(kt_seal(key, &header, "test", "api-keys/a", "two", 3, &record, &size));
    ck_assert_uint_eq(size, beside_size);
    memcpy(beside, record, size);
    assert_status(get("api-keys/a"), KT_MALFORMED);
    assert_failure_has("not the one that belongs to version 1");
    free(record);
}
END_TEST

START_TEST(a_rollback_to_an_exchanged_value_is_refused)
{
    kt_request_t req = request("api-keys/a");

    put("api-keys/a", "one", 1);
    put("api-keys/a", "two", 2);
    put("api-keys/a", "three", 3);
    memory_swap(KTP_VALUE, 0, 1);
    assert_status(kt_rollback(world.ctx, &req, 1, NULL), KT_MALFORMED);
    assert_value("api-keys/a", "three", 3);
}
END_TEST

START_TEST(a_removed_value_is_noticed)
{
    put("api-keys/a", "one", 1);
    put("api-keys/a", "two", 2);
    memory_remove(KTP_VALUE, 0);
    assert_status(get("api-keys/a@1"), KT_MALFORMED);
    assert_value("api-keys/a", "two", 2);
}
END_TEST

START_TEST(every_byte_of_a_secret_is_held)
{
    size_t size;

    put("api-keys/a", "the value", 1);
    (void)memory_record(KTP_HEAD, 0, &size);
    for (size_t i = 0; i < size; i++) {
        memory_record(KTP_HEAD, 0, &size)[i] ^= 1;
        ck_assert_int_ne(get("api-keys/a"), KT_SUCCESS);
        memory_record(KTP_HEAD, 0, &size)[i] ^= 1;
    }
    (void)memory_beside(0, &size);
    for (size_t i = 0; i < size; i++) {
        memory_beside(0, &size)[i] ^= 0x80;
        assert_status(get("api-keys/a"), KT_MALFORMED);
        memory_beside(0, &size)[i] ^= 0x80;
    }
    assert_value("api-keys/a", "the value", 1);
}
END_TEST

/* ---- whose store is it? ---- */

/* The same store with another key of the same environment. */
static void change_key(void)
{
    static const ktp_provider_t *const apis[] = {&memory_provider};
    char error[200];

    kt_close(world.ctx);
    kt_setup_free(world.setup);
    world.ctx = NULL;
    ck_assert_int_eq(remove(world.key), 0);
    assert_ok(kt_keygen(world.key, "test", error, sizeof(error)));
    world_open_with(apis, 1);
}

START_TEST(another_key_is_wrongkey_and_never_notfound)
{
    kt_request_t req = request("api-keys/new"), all = request("*");
    kt_secret_t *value = secret_of("x");

    put("api-keys/a", "one", 1);
    change_key();
    assert_status(get("api-keys/a"), KT_WRONGKEY);
    assert_status(get("api-keys/never"), KT_WRONGKEY);
    assert_status(kt_put(world.ctx, &req, value, NULL, NULL), KT_WRONGKEY);
    assert_status(kt_list(world.ctx, &all, NULL, NULL, NULL), KT_WRONGKEY);
    kt_secret_free(value);
}
END_TEST

static int count_entry(void *arg, const kt_entry_t *entry)
{
    (void)entry;
    ++*(int *)arg;
    return 0;
}

/* Somebody puts a store of another key in place of the one that this context has been reading. */
START_TEST(a_store_that_was_exchanged_is_wrongkey)
{
    kt_request_t req = request("api-keys/new"), all = request("*");
    kt_secret_t *value = secret_of("x");
    int count = 0;

    put("api-keys/a", "one", 1);
    assert_value("api-keys/a", "one", 1);
    while (memory_count(KTP_META) > 0)
        memory_remove(KTP_META, 0);
    while (memory_count(KTP_HEAD) > 0)
        memory_remove(KTP_HEAD, 0);
    assert_status(get("api-keys/a"), KT_WRONGKEY);
    assert_status(kt_put(world.ctx, &req, value, NULL, NULL), KT_WRONGKEY);
    assert_status(kt_list(world.ctx, &all, count_entry, &count, NULL), KT_WRONGKEY);
    kt_secret_free(value);
}
END_TEST

/* A consumer with the keys of some types. */
static kt_ctx_t *context_of_types(const char *types)
{
    static kt_setup_t setup;
    char path[160];
    kt_ctx_t *ctx = NULL;

    (void)snprintf(path, sizeof(path), "%s/types.key", world.dir);
    assert_ok(kt_keygen_types(world.setup, types, path));
    setup = *world.setup;
    assert_ok(kt_keyring_parse(path, "test", &setup.keyring));
    assert_ok(kt_open(&setup, &ctx));
    kt_keyring_free(setup.keyring);
    return ctx;
}

START_TEST(a_type_key_opens_its_type_and_no_other)
{
    kt_request_t mine = request("api-keys/a"), theirs = request("database/a"),
                 missing = request("api-keys/b"), all = request("*");
    kt_secret_t *secret = NULL, *value = secret_of("written");
    uint64_t hidden = 0;
    int count = 0;
    kt_ctx_t *ctx;

    put("api-keys/a", "mine", 1);
    put("database/a", "theirs", 1);
    ctx = context_of_types("api-keys");
    assert_ok(kt_get(ctx, &mine, &secret));
    assert_secret(secret, "mine");
    kt_secret_free(secret);
    assert_status(kt_get(ctx, &theirs, &secret), KT_NOKEY);
    assert_status(kt_get(ctx, &missing, &secret), KT_NOTFOUND);
    assert_status(kt_put(ctx, &theirs, value, NULL, NULL), KT_NOKEY);
    assert_ok(kt_put(ctx, &missing, value, NULL, NULL));
    assert_ok(kt_list(ctx, &all, count_entry, &count, &hidden));
    ck_assert_int_eq(count, 2);
    ck_assert(hidden == 1);
    kt_secret_free(value);
    kt_close(ctx);
    assert_value("api-keys/b", "written", 1);
}
END_TEST

/* ---- epochs ---- */

/* A context whose key file has one epoch more than the store. */
static kt_ctx_t *context_of_next_epoch(void)
{
    static kt_setup_t setup;
    char path[160];
    kt_ctx_t *ctx = NULL;

    (void)snprintf(path, sizeof(path), "%s/epoch2.key", world.dir);
    assert_ok(kt_keygen_epoch(world.setup, NULL, path));
    setup = *world.setup;
    assert_ok(kt_keyring_parse(path, "test", &setup.keyring));
    ck_assert_uint_eq(setup.keyring->nenv, 2);
    ck_assert_uint_eq(setup.keyring->env[0].epoch, 2);
    assert_ok(kt_open(&setup, &ctx));
    kt_keyring_free(setup.keyring);
    return ctx;
}

/* Which epoch's key of `type` sealed the n-th head? */
static unsigned epoch_of_head(kt_ctx_t *ctx, const char *type, size_t n)
{
    const kt_typekey_t *key;
    kt_header_t header;
    size_t size, i;
    unsigned char *record = memory_record(KTP_HEAD, n, &size);

    assert_ok(kt_header_parse(record, size, &header));
    for (i = 0; kt_keyring_type(ctx->holder.keyring, type, i, &key) == KT_SUCCESS; i++)
        if (memcmp(key->id, header.key_id, KT_KEYID_SIZE) == 0)
            return key->epoch;
    return 0;
}

static void put_by(kt_ctx_t *ctx, const char *name, const char *text)
{
    kt_request_t req = request(name);
    kt_secret_t *value = secret_of(text);

    assert_ok(kt_put(ctx, &req, value, NULL, NULL));
    kt_secret_free(value);
}

START_TEST(new_names_go_under_the_epoch_of_their_type)
{
    kt_ctx_t *ctx;

    put("api-keys/a", "one", 1);
    ctx = context_of_next_epoch();
    put_by(ctx, "api-keys/a", "two");
    put_by(ctx, "api-keys/b", "new name");
    put_by(ctx, "database/c", "new type");
    assert_value("api-keys/a", "two", 2); /* world.ctx has the first epoch only */
    assert_value("api-keys/b", "new name", 1);
    assert_value("database/c", "new type", 1);
    ck_assert_uint_eq(memory_count(KTP_HEAD), 3);
    for (size_t n = 0; n < 3; n++)
        ck_assert_uint_eq(epoch_of_head(ctx, "api-keys", n) + epoch_of_head(ctx, "database", n), 1);
    kt_close(ctx);
}
END_TEST

/* As rekey will leave a type: its root under the new epoch. The old one, still held, gets nothing
 * new. */
START_TEST(a_type_of_the_new_epoch_stays_there)
{
    const kt_typekey_t *key;
    kt_store_t *store = NULL;
    kt_index_t index;
    ktp_txn_t *txn;
    kt_ctx_t *ctx = context_of_next_epoch();

    put_by(ctx, "database/other", "epoch 1");
    assert_ok(kt_store_of(ctx, 0, &store));
    assert_ok(kt_keyring_type(ctx->holder.keyring, "api-keys", 0, &key));
    assert_ok(kt_rows_begin(store, true, 1000, &txn));
    assert_ok(kt_index_open(&ctx->holder, store, txn, key, &index));
    assert_ok(kt_index_set(&index, (const unsigned char[KT_HASH_SIZE]){1},
                           (const unsigned char[KT_TAG_SIZE]){1}));
    kt_index_close(&index);
    ck_assert_int_eq(store->api->commit(txn), KTP_SUCCESS);
    put_by(ctx, "api-keys/a", "epoch 2");
    put_by(ctx, "database/b", "epoch 1");
    for (size_t n = 0; n < 3; n++) {
        unsigned epoch = epoch_of_head(ctx, "api-keys", n);

        ck_assert_uint_eq(epoch != 0 ? epoch : 1 + epoch_of_head(ctx, "database", n), 2);
    }
    kt_close(ctx);
}
END_TEST

START_TEST(eight_epochs_are_the_last)
{
    char path[160];

    (void)snprintf(path, sizeof(path), "%s/more.key", world.dir);
    world.setup->keyring->nenv = KT_EPOCHS_MAX;
    assert_status(kt_keygen_epoch(world.setup, NULL, path), KT_TOOLARGE);
    world.setup->keyring->nenv = 0;
    assert_status(kt_keygen_epoch(world.setup, NULL, path), KT_NOKEY);
    ck_assert_int_ne(access(path, F_OK), 0);
    world.setup->keyring->nenv = 1;
}
END_TEST

/* The first secret of a type, written by the holder of its key: the holder of the environment key
 * lists it. */
START_TEST(a_type_that_began_without_the_environment_key_is_listed)
{
    static const ktp_provider_t *const apis[] = {&memory_provider};
    kt_ctx_t *ctx = context_of_types("tls");
    kt_request_t req = request("tls/a"), all = request("*");
    kt_secret_t *value = secret_of("written");
    int count = 0;

    assert_ok(kt_put(ctx, &req, value, NULL, NULL));
    kt_secret_free(value);
    kt_close(ctx);
    kt_close(world.ctx);
    kt_setup_free(world.setup);
    world_open_with(apis, 1); /* which has not heard of the type */
    assert_ok(kt_list(world.ctx, &all, count_entry, &count, NULL));
    ck_assert_int_eq(count, 1);
}
END_TEST

/* More types than the first pages of a keyring hold: each is listed, and none is said to be without
 * its key. */
START_TEST(many_types_are_listed)
{
    static const ktp_provider_t *const apis[] = {&memory_provider};
    kt_request_t all = request("*");
    uint64_t hidden = 9;
    int count = 0;
    char name[32];

    for (unsigned i = 0; i < 150; i++) {
        (void)snprintf(name, sizeof(name), "type%u/a", i);
        put(name, "v", 1);
    }
    kt_close(world.ctx);
    kt_setup_free(world.setup);
    world_open_with(apis, 1);
    assert_ok(kt_list(world.ctx, &all, count_entry, &count, &hidden));
    ck_assert_int_eq(count, 150);
    ck_assert_uint_eq(hidden, 0);
    assert_value("type149/a", "v", 1);
    assert_value("type3/a", "v", 1);
}
END_TEST

START_TEST(a_damaged_head_is_named_by_the_listing)
{
    kt_request_t all = request("*");
    size_t size;
    int count = 0;

    put("api-keys/a", "one", 1);
    memory_record(KTP_HEAD, 0, &size)[100] ^= 1;
    assert_status(kt_list(world.ctx, &all, count_entry, &count, NULL), KT_MALFORMED);
    ck_assert_str_ne(kt_error(world.ctx), "");
}
END_TEST

/* ---- failures of the provider ---- */

static const ktp_status_t failures[] = {KTP_UNAVAIL,  KTP_TRYAGAIN,  KTP_NOSPACE,
                                        KTP_CONFLICT, KTP_FORBIDDEN, KTP_MALFORMED};

/* Every single call of a write fails once: the answer is that failure, and the secret stays as it
 * was. */
START_TEST(a_write_that_fails_anywhere_changes_nothing)
{
    kt_request_t req = request("api-keys/a");
    kt_secret_t *value = secret_of("three");
    uint64_t at;

    put("api-keys/a", "one", 1);
    put("api-keys/a", "two", 2);
    memory_save();
    for (at = 1;; at++) {
        kt_status_t status;

        memory_restore();
        memory.calls = 0;
        memory.fail_at = at;
        memory.fail_with = failures[_i];
        status = kt_put(world.ctx, &req, value, NULL, NULL);
        memory.fail_at = 0;
        if (memory.calls < at) /* it needs no more calls */
            break;
        assert_status(status, (kt_status_t)failures[_i]);
        ck_assert_uint_eq(memory.open_txns, 0);
        assert_value("api-keys/a", "two", 2);
        assert_value("api-keys/a@1", "one", 1);
    }
    ck_assert(at > 5);
    assert_value("api-keys/a", "three", 3);
    kt_secret_free(value);
}
END_TEST

START_TEST(a_read_that_fails_anywhere_says_so)
{
    uint64_t calls;

    put("api-keys/a", "one", 1);
    put("api-keys/a", "two", 2);
    assert_ok(get("api-keys/a@1")); /* what is proved once is not read again */
    memory.calls = 0;
    assert_ok(get("api-keys/a@1"));
    calls = memory.calls;
    for (uint64_t at = 1; at <= calls; at++) {
        memory.calls = 0;
        memory.fail_at = at;
        memory.fail_with = failures[_i];
        assert_status(get("api-keys/a@1"), (kt_status_t)failures[_i]);
        assert_failure_has("asked to fail");
    }
}
END_TEST

START_TEST(an_unknown_answer_of_a_provider_is_malformed)
{
    memory.calls = 0;
    memory.fail_at = 1;
    memory.fail_with = (ktp_status_t)77;
    assert_status(get("api-keys/a"), KT_MALFORMED);
    memory.calls = 0;
    memory.fail_with = (ktp_status_t)-1;
    assert_status(get("api-keys/a"), KT_MALFORMED);
    memory.calls = 0;
    memory.fail_with = (ktp_status_t)KT_AUDIT; /* ours, which no provider may answer */
    assert_status(get("api-keys/a"), KT_MALFORMED);
}
END_TEST

START_TEST(a_store_is_created_once_and_by_the_environment_key)
{
    kt_ctx_t *ctx = context_of_types("tls");

    assert_status(kt_create(world.ctx), KT_CONFLICT);
    assert_status(kt_create(ctx), KT_NOKEY);
    kt_close(ctx);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    tcase_add_test(tests, versions_are_kept_and_pruned);
    tcase_add_test(tests, a_current_far_back_is_not_pruned);
    tcase_add_test(tests, names_and_types_are_not_in_the_rows);
    tcase_add_test(tests, swapped_secrets_are_noticed);
    tcase_add_test(tests, swapped_values_are_noticed);
    tcase_add_test(tests, a_stamp_that_is_not_the_heads_is_noticed);
    tcase_add_test(tests, another_value_of_the_same_version_is_noticed);
    tcase_add_test(tests, a_rollback_to_an_exchanged_value_is_refused);
    tcase_add_test(tests, a_removed_value_is_noticed);
    tcase_add_test(tests, every_byte_of_a_secret_is_held);
    tcase_add_test(tests, another_key_is_wrongkey_and_never_notfound);
    tcase_add_test(tests, a_store_that_was_exchanged_is_wrongkey);
    tcase_add_test(tests, a_type_key_opens_its_type_and_no_other);
    tcase_add_test(tests, new_names_go_under_the_epoch_of_their_type);
    tcase_add_test(tests, a_type_of_the_new_epoch_stays_there);
    tcase_add_test(tests, eight_epochs_are_the_last);
    tcase_add_test(tests, a_type_that_began_without_the_environment_key_is_listed);
    tcase_add_test(tests, many_types_are_listed);
    tcase_add_test(tests, a_damaged_head_is_named_by_the_listing);
    UNIT_TABLE(tests, a_write_that_fails_anywhere_changes_nothing, failures);
    UNIT_TABLE(tests, a_read_that_fails_anywhere_says_so, failures);
    tcase_add_test(tests, an_unknown_answer_of_a_provider_is_malformed);
    tcase_add_test(tests, a_store_is_created_once_and_by_the_environment_key);
}

UNIT_MAIN("store", add_tests)
