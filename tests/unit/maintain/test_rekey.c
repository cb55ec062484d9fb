/* SPDX-License-Identifier: BSD-2-Clause */
/* core/maintain/rekey.c, epochs.c: a store goes to the next epoch while it is read and written,
 * fails at each call, and is edited in between. */
#include "world.h"

#include <stdio.h>
#include <unistd.h>

#include "vectors.h"

#include "store/store.h"

#define MANY 150 /* three batches */

static kt_ctx_t
    *both; /* a context whose key has the next epoch too; world.ctx has the first one only */
static char next_key[160];

static kt_ctx_t *context_of(const char *path)
{
    kt_setup_t setup = *world.setup;
    kt_ctx_t *ctx = NULL;

    assert_ok(kt_keyring_parse(path, "test", &setup.keyring));
    assert_ok(kt_open(&setup, &ctx));
    kt_keyring_free(setup.keyring);
    return ctx;
}

static void make_world(void)
{
    world_of_memory("cache: {ttl: 0s, negative: 0s, stale: 0s}\n");
    (void)snprintf(next_key, sizeof(next_key), "%s/next.key", world.dir);
    assert_ok(kt_keygen_epoch(world.setup, NULL, next_key));
    both = context_of(next_key);
}

static void end_world(void)
{
    kt_close(both);
    world_end();
}

static kt_status_t put_by(kt_ctx_t *ctx, const char *name, const char *text)
{
    kt_request_t req = request(name);
    kt_secret_t *value = secret_of(text);
    kt_status_t status = kt_put(ctx, &req, value, NULL, NULL);

    kt_secret_free(value);
    return status;
}

static kt_status_t get_by(kt_ctx_t *ctx, const char *reference, const char *text)
{
    kt_request_t req = request(reference);
    kt_secret_t *secret = NULL;
    kt_status_t status = kt_get(ctx, &req, &secret);

    if (status == KT_SUCCESS && text != NULL)
        assert_secret(secret, text);
    kt_secret_free(secret);
    return status;
}

static void ignore(void *arg, kt_status_t status, const char *what, const char *detail)
{
    (void)arg, (void)status, (void)what, (void)detail;
}

static int see_nothing(void *arg, const kt_entry_t *entry)
{
    (void)arg, (void)entry;
    return 0;
}

static kt_rekey_result_t result = KT_REKEY_RESULT_INIT;

static kt_status_t rekey_with(kt_rekey_fn progress)
{
    kt_request_t req = request("*");
    kt_rekey_options_t options = KT_REKEY_INIT;

    options.progress = progress;
    result = (kt_rekey_result_t)KT_REKEY_RESULT_INIT;
    return kt_rekey(both, &req, &options, &result);
}

/* Nothing is under another key than the newest one: by the clear ids, not by what rekey says. */
static void assert_all_are_new(void)
{
    static const ktp_space_t spaces[] = {KTP_HEAD, KTP_VALUE};
    const kt_typekey_t *key;
    kt_header_t header;
    size_t size;

    for (size_t s = 0; s < KT_ARRAY(spaces); s++)
        for (size_t n = 0; n < memory_count(spaces[s]); n++) {
            unsigned char *record = memory_record(spaces[s], n, &size);

            assert_ok(kt_header_parse(record, size, &header));
            assert_ok(kt_keyring_find(both->holder.keyring, header.key_id, &key));
            ck_assert_uint_eq(key->epoch, 2);
            record = spaces[s] == KTP_HEAD ? memory_beside(n, &size) : NULL;
            if (record != NULL) {
                assert_ok(kt_header_parse(record, size, &header));
                ck_assert_mem_eq(header.key_id, key->id, KT_KEYID_SIZE);
            }
        }
    ck_assert_uint_eq(result.nepochs, 1);
    ck_assert_uint_eq(result.epochs[0].rows + result.unknown, 0);
    assert_ok(kt_verify(both, ignore, NULL));
}

/* ---- what a secret is, before and after ---- */

static void make_secrets(void)
{
    kt_request_t req = request("api-keys/a");
    kt_put_options_t options = KT_PUT_INIT;
    kt_rotate_options_t rotate = KT_ROTATE_INIT;
    kt_meta_t metas[] = {{"owner", "payments"}, {"rotation", "90d"}};
    kt_secret_t *value = secret_of("second");

    put("api-keys/a", "first", 1);
    options.meta = metas;
    options.nmeta = 2;
    options.expires = kt_now() + 86400000;
    assert_ok(kt_put(world.ctx, &req, value, &options, NULL));
    kt_secret_free(value);
    put("api-keys/a", "third", 3);
    assert_ok(kt_rollback(world.ctx, &req, 2, NULL));
    put("api-keys/gone", "deleted", 1);
    req.reference = "api-keys/gone";
    assert_ok(kt_delete(world.ctx, &req));
    put("api-keys/burnt", "one", 1);
    put("api-keys/burnt", "two", 2);
    req.reference = "api-keys/burnt";
    assert_ok(kt_destroy(world.ctx, &req, 0));
    put("database/b", "{\"user\": \"u\", \"password\": \"p\"}", 1);
    put("SINGLE", "of one segment", 1);
    req.reference = "SINGLE";
    rotate.generate = 1;
    assert_ok(kt_rotate(world.ctx, &req, &rotate, NULL));
}

static void assert_same_head(const kt_head_t *a, const kt_head_t *b)
{
    ck_assert_mem_eq(a->id, b->id, KT_ID_SIZE);
    ck_assert_uint_eq(a->counter + 1, b->counter);
    ck_assert_uint_eq(a->current, b->current);
    ck_assert_uint_eq(a->previous, b->previous);
    ck_assert_uint_eq(a->last, b->last);
    ck_assert_int_eq(a->deleted, b->deleted);
    ck_assert_int_eq(a->created, b->created);
    ck_assert_int_eq(a->updated, b->updated);
    ck_assert_int_eq(a->expires, b->expires);
    ck_assert_uint_eq(a->nversions, b->nversions);
    for (size_t i = 0; i < a->nversions; i++) {
        ck_assert_uint_eq(a->versions[i].version, b->versions[i].version);
        ck_assert_int_eq(a->versions[i].created, b->versions[i].created);
        ck_assert_int_eq(a->versions[i].destroyed, b->versions[i].destroyed);
    }
    ck_assert_uint_eq(a->nmetas, b->nmetas);
    for (size_t i = 0; i < a->nmetas; i++)
        ck_assert_str_eq(a->metas[i].value, b->metas[i].value);
    ck_assert_uint_eq(a->nnotes, b->nnotes);
    for (size_t i = 0; i < a->nnotes; i++)
        ck_assert_str_eq(a->notes[i].value, b->notes[i].value);
}

START_TEST(everything_of_a_secret_is_moved)
{
    static const char *const names[] = {"api-keys/a", "api-keys/gone", "api-keys/burnt",
                                        "database/b", "SINGLE"};
    kt_head_t before[KT_ARRAY(names)], after;
    kt_request_t req = request("api-keys/gone");
    kt_store_t *store = NULL;

    make_secrets();
    assert_ok(kt_store_of(both, 0, &store));
    for (size_t i = 0; i < KT_ARRAY(names); i++)
        assert_ok(kt_store_head(&both->holder, store, names[i], &before[i]));
    assert_ok(rekey_with(NULL));
    ck_assert_uint_eq(result.moved, KT_ARRAY(names));
    ck_assert_uint_eq(result.epoch, 2);
    for (size_t i = 0; i < KT_ARRAY(names); i++) {
        assert_ok(kt_store_head(&both->holder, store, names[i], &after));
        assert_same_head(&before[i], &after);
        kt_head_clear(&before[i]);
        kt_head_clear(&after);
    }
    assert_all_are_new();
    assert_ok(get_by(both, "api-keys/a", "second"));
    assert_ok(get_by(both, "api-keys/a@previous", "third"));
    assert_ok(get_by(both, "api-keys/a@1", "first"));
    assert_ok(get_by(both, "SINGLE@1", "of one segment"));
    assert_status(get_by(both, "api-keys/gone", NULL), KT_GONE);
    assert_status(get_by(both, "api-keys/burnt@1", NULL), KT_GONE);
    assert_ok(kt_undelete(both, &req));
    assert_ok(get_by(both, "api-keys/gone", "deleted"));
    ck_assert_uint_eq(
        world_lines("\"action\":\"rekey\"", "\"reference\":\"api-keys/*\"", "\"intent\"", NULL), 1);
    ck_assert_uint_eq(
        world_lines("\"action\":\"rekey\"", "\"reference\":\"api-keys/*\"", "\"success\"", NULL),
        1);
    ck_assert_uint_eq(world_lines("\"action\":\"rekey\"", "\"intent\"", NULL), 3);
    assert_ok(rekey_with(NULL));
    ck_assert_uint_eq(result.moved, 0);
    ck_assert_uint_eq(world_lines("\"action\":\"rekey\"", NULL), 6);
}
END_TEST

/* The old key may go: what is left under it are a mark and roots that say where everything is. */
START_TEST(the_old_key_is_not_needed_afterwards)
{
    kt_request_t all = request("*");
    kt_ctx_t *ctx;

    make_secrets();
    assert_ok(rekey_with(NULL));
    ctx = context_of(next_key);
    ctx->holder.keyring->nenv = 1;
    assert_ok(get_by(ctx, "api-keys/a@previous", "third"));
    assert_status(get_by(ctx, "api-keys/none", NULL), KT_NOTFOUND);
    assert_status(get_by(ctx, "other/none", NULL), KT_NOTFOUND);
    assert_ok(put_by(ctx, "api-keys/b", "new"));
    assert_ok(put_by(ctx, "other/c", "new type"));
    assert_ok(kt_verify(ctx, ignore, NULL));
    assert_ok(kt_rekey(ctx, &all, NULL, &result));
    ck_assert_uint_eq(result.unknown, 0);
    kt_close(ctx);
}
END_TEST

/* ---- while it goes on ---- */

static void put_many(void)
{
    char name[32];

    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof(name), "api-keys/n%u", i);
        put(name, name, 1);
    }
}

static unsigned served, lacked;

static void count_by_old(const char *name)
{
    kt_status_t status = get_by(world.ctx, name, name);

    served += status == KT_SUCCESS;
    lacked += status == KT_NOKEY;
    ck_assert_msg(status == KT_SUCCESS || status == KT_NOKEY, "%s", kt_status_name(status));
}

static kt_ctx_t *third;
static unsigned writes;

static void look_around(void *arg, const kt_rekey_type_t *type)
{
    char name[32];

    (void)arg;
    served = lacked = 0;
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof(name), "api-keys/n%u", i);
        assert_ok(get_by(third, name, name));
        count_by_old(name);
    }
    ck_assert_uint_eq(served, type->left);
    ck_assert_uint_eq(lacked + writes, type->moved);
    assert_status(get_by(third, "api-keys/none", NULL), KT_NOTFOUND);
    assert_status(get_by(world.ctx, "api-keys/none", NULL), KT_NOKEY);
    assert_status(put_by(world.ctx, "api-keys/n1", "x"), KT_NOKEY);
    assert_status(put_by(world.ctx, "api-keys/x", "x"), KT_NOKEY);
    assert_status(put_by(world.ctx, "other/x", "x"), KT_NOKEY);
    if (type->from == 0) /* its last transaction: what is written now is counted no more */
        return;
    (void)snprintf(name, sizeof(name), "api-keys/w%u", ++writes);
    assert_ok(put_by(third, name, "new name"));
    assert_ok(put_by(third, "api-keys/n7", "api-keys/n7"));
    assert_ok(put_by(third, "api-keys/n149", "api-keys/n149"));
    assert_ok(kt_verify(third, ignore, NULL));
}

START_TEST(readers_and_writers_go_on)
{
    kt_request_t all = request("*");

    put_many();
    writes = 0;
    third = context_of(next_key);
    assert_ok(rekey_with(look_around));
    ck_assert_uint_eq(result.moved, MANY);
    ck_assert_uint_ge(writes, 4);
    ck_assert_uint_eq(lacked, MANY);
    assert_all_are_new();
    assert_ok(get_by(third, "api-keys/w1", "new name"));
    assert_ok(kt_rekey_status(both, &all, NULL, NULL, &result));
    kt_close(third);
}
END_TEST

static void stop_reading(void *arg, const kt_rekey_type_t *type)
{
    (void)arg;
    if (type->moved > 0 && type->left > 0)
        memory.fail_at = memory.calls + 1;
}

/* Some of api-keys/ is under each epoch. */
static void leave_half(void)
{
    memory.fail_with = KTP_UNAVAIL;
    assert_status(rekey_with(stop_reading), KT_UNAVAIL);
    memory.fail_at = 0;
}

START_TEST(the_holder_of_the_new_key_alone_does_not_know)
{
    unsigned found = 0, unknown = 0;
    char name[32];
    kt_ctx_t *ctx;

    put_many();
    leave_half();
    ctx = context_of(next_key);
    ctx->holder.keyring->nenv = 1;
    for (unsigned i = 0; i < MANY; i++) {
        kt_status_t status;

        (void)snprintf(name, sizeof(name), "api-keys/n%u", i);
        status = get_by(ctx, name, name);
        found += status == KT_SUCCESS;
        unknown += status == KT_NOKEY;
    }
    ck_assert_uint_gt(found, 0);
    ck_assert_uint_gt(unknown, 0);
    ck_assert_uint_eq(found + unknown, MANY);
    assert_status(put_by(ctx, "api-keys/new", "x"), KT_NOKEY);
    kt_close(ctx);
}
END_TEST

START_TEST(a_key_file_is_read_again)
{
    kt_request_t all = request("*");
    char *text;
    uint64_t hidden = 1;

    put_many();
    leave_half();
    assert_status(get_by(world.ctx, "api-keys/none", NULL), KT_NOKEY);
    assert_failure_has("an epoch that the key held does not list");
    text = world_read(next_key, NULL);
    world_write(world.key, text, 0600);
    world.ctx->holder.keys_read = kt_monotonic() + 100000;
    assert_status(get_by(world.ctx, "api-keys/none", NULL), KT_NOKEY); /* once a second at most */
    world.ctx->holder.keys_read = 0;
    assert_status(get_by(world.ctx, "api-keys/none", NULL), KT_NOTFOUND);
    ck_assert_uint_eq(world.ctx->holder.keyring->nenv, 2);
    assert_ok(rekey_with(NULL));
    assert_ok(get_by(world.ctx, "api-keys/n3", "api-keys/n3"));
    assert_ok(put_by(world.ctx, "api-keys/n3", "written"));

    world.ctx->holder.keyring->env[0] = world.ctx->holder.keyring->env[1]; /* as before it */
    world.ctx->holder.keyring->nenv = 1;
    world.ctx->holder.keyring->ntypes = 0;
    world.ctx->holder.keys_read = 0;
    assert_ok(kt_list(world.ctx, &all, see_nothing, NULL, &hidden));
    ck_assert_uint_eq(hidden, 0);
    ck_assert_uint_eq(world.ctx->holder.keyring->nenv, 2);

    world.ctx->holder.keyring->env[0] = world.ctx->holder.keyring->env[1];
    world.ctx->holder.keyring->nenv = 1;
    world.ctx->holder.keyring->ntypes = 0;
    world.ctx->holder.keys_read = 0;
    ck_assert_int_eq(unlink(world.key), 0);
    assert_status(get_by(world.ctx, "api-keys/n3", NULL), KT_NOKEY);
    assert_failure_has("could not be read again");
    kt_free_wiped(text);
}
END_TEST

static void *read_many(void *arg)
{
    for (int i = 0; i < 300; i++)
        *(unsigned *)arg += get_by(world.ctx, "api-keys/n3", "api-keys/n3") == KT_SUCCESS;
    return NULL;
}

/* Threads of one server share its context: the first that meets the new epoch reads the keys for
 * all. */
START_TEST(threads_read_on_while_keys_are_read_again)
{
    pthread_t threads[4];
    unsigned good[4] = {0};
    char *text;

    put("api-keys/n3", "api-keys/n3", 1);
    assert_ok(rekey_with(NULL));
    text = world_read(next_key, NULL);
    world_write(world.key, text, 0600);
    kt_free_wiped(text);
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_many, &good[i]), 0);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_uint_eq(good[i], 300);
    }
}
END_TEST

/* ---- failures, each once ---- */

START_TEST(a_rekey_that_fails_anywhere_goes_on)
{
    unsigned failures = 0;
    uint64_t moved = 0;
    kt_status_t status;

    make_secrets();
    memory.fail_with = KTP_UNAVAIL;
    for (uint64_t at = 1; at < 100000; at += at < 60 ? 1 : 7) {
        memory.calls = 0;
        memory.fail_at = at;
        status = rekey_with(NULL);
        memory.fail_at = 0;
        moved += result.moved;
        assert_ok(get_by(both, "api-keys/a", "second"));
        assert_ok(get_by(both, "api-keys/a@previous", "third"));
        assert_ok(get_by(both, "SINGLE@1", "of one segment"));
        assert_status(get_by(both, "api-keys/none", NULL), KT_NOTFOUND);
        assert_ok(kt_verify(both, ignore, NULL));
        if (status == KT_SUCCESS)
            break;
        assert_status(status, KT_UNAVAIL);
        failures++;
    }
    ck_assert_uint_gt(failures, 20);
    ck_assert_uint_eq(moved, 5); /* each secret once */
    assert_all_are_new();
}
END_TEST

/* ---- an editor ---- */

/* The root of the type at the n-th epoch of `both`, newest first: its row's number. */
static size_t root_at(size_t epoch)
{
    const kt_typekey_t *key;
    size_t size;

    assert_ok(kt_keyring_type(both->holder.keyring, "api-keys", epoch, &key));
    for (size_t n = 0; n < memory_count(KTP_META); n++) {
        kt_index_t index;
        kt_store_t *store = NULL;
        ktp_txn_t *txn;
        uint64_t count;

        if (memory_record(KTP_META, n, &size) == NULL || (size != 80 && size != 97))
            continue;
        assert_ok(kt_store_of(both, 0, &store));
        assert_ok(kt_rows_begin(store, false, 1000, &txn));
        assert_ok(kt_index_open(&both->holder, store, txn, key, &index));
        store->api->abort(txn);
        count = kt_get_u64(memory_record(KTP_META, n, &size) + KT_ID_SIZE + 8);
        if (index.generation > 0 && index.count == count &&
            memcmp(index.root, memory_record(KTP_META, n, &size) + 32, KT_TAG_SIZE) == 0)
            return n;
    }
    ck_abort_msg("no root");
    return 0;
}

START_TEST(no_root_is_removed_or_put_back_alone)
{
    void *old_root, *again, *new_root;

    put_many();
    old_root = memory_take(KTP_META, root_at(1));
    again = memory_take(KTP_META, root_at(1));
    leave_half();
    new_root = memory_take(KTP_META, root_at(0));
    assert_ok(get_by(both, "api-keys/n1", NULL));

    memory_save();
    memory_remove(KTP_META, root_at(0));
    assert_status(get_by(both, "api-keys/n1", NULL), KT_ROLLEDBACK);
    assert_status(rekey_with(NULL), KT_ROLLEDBACK);
    memory_restore();

    memory_save();
    memory_remove(KTP_META, root_at(1));
    assert_status(get_by(both, "api-keys/none", NULL), KT_ROLLEDBACK);
    assert_status(put_by(both, "api-keys/none", "x"), KT_ROLLEDBACK);
    memory_restore();

    memory_save();
    memory_remove(KTP_META, root_at(1));
    memory_give(old_root); /* settled, of before */
    assert_status(get_by(both, "api-keys/none", NULL), KT_ROLLEDBACK);
    ck_assert(kt_verify(both, ignore, NULL) == KT_ROLLEDBACK);
    memory_restore();

    assert_ok(put_by(both, "api-keys/more", "x"));
    memory_save();
    memory_remove(KTP_META, root_at(0));
    memory_give(new_root); /* of a generation before: the other one is not */
    assert_status(get_by(both, "api-keys/none", NULL), KT_ROLLEDBACK);
    memory_restore();
    assert_ok(rekey_with(NULL));
    assert_all_are_new();

    memory_remove(KTP_META, root_at(1));
    memory_give(again); /* the new root is settled and has all: only verify minds the other one */
    assert_ok(get_by(both, "api-keys/n1", NULL));
    ck_assert(kt_verify(both, ignore, NULL) == KT_ROLLEDBACK);
}
END_TEST

START_TEST(every_byte_of_a_root_on_its_way_is_held)
{
    unsigned char *record;
    size_t size;

    put_many();
    leave_half();
    for (size_t epoch = 0; epoch < 2; epoch++) {
        size_t n = root_at(epoch);

        record = memory_record(KTP_META, n, &size);
        ck_assert_uint_eq(size, 97);
        for (size_t i = 0; i < size; i++) {
            record[i] ^= 1;
            assert_status(get_by(both, "api-keys/none", NULL), KT_ROLLEDBACK);
            record[i] ^= 1;
        }
    }
    assert_status(get_by(both, "api-keys/none", NULL), KT_NOTFOUND);
}
END_TEST

/* A secret that does not hold keeps its type from being finished, and is named; other types are
 * moved. */
START_TEST(a_damaged_secret_stops_its_type_only)
{
    unsigned char *record;
    size_t size;

    put("api-keys/a", "one", 1);
    put("api-keys/a", "two", 2);
    record = memory_record(KTP_VALUE, 0, &size);
    record[size - 20] ^= 1;
    put("tls/b", "other", 1);
    put("database/c", "other", 1);
    assert_status(rekey_with(NULL), KT_MALFORMED);
    assert_failure_has("api-keys/a");
    ck_assert_uint_eq(result.moved, 2);
    ck_assert_uint_eq(world_lines("\"rekey\"", "\"malformed\"", "\"api-keys/*\"", NULL), 1);
    ck_assert_uint_eq(world_lines("\"rekey\"", "\"success\"", NULL), 2);
    assert_ok(get_by(both, "api-keys/a", "two"));
    assert_ok(put_by(both, "api-keys/a", "three"));
    for (size_t n = 0; n < memory_count(KTP_VALUE); n++) {
        kt_header_t header;

        record = memory_record(KTP_VALUE, n, &size);
        assert_ok(kt_header_parse(record, size, &header));
        if (header.version == 1)
            record[size - 20] ^= 1;
    }
    assert_ok(rekey_with(NULL));
    ck_assert_uint_eq(result.moved, 1);
    assert_all_are_new();
}
END_TEST

START_TEST(it_takes_admin_and_the_environment_key)
{
    kt_request_t by_reader = request_by(READER, "*"), all = request("*");
    kt_setup_t setup = *world.setup;
    char path[160];
    kt_ctx_t *ctx;

    put("api-keys/a", "one", 1);
    assert_status(kt_rekey(both, &by_reader, NULL, &result), KT_DENIED);
    assert_status(kt_rekey_status(both, &by_reader, NULL, NULL, &result), KT_DENIED);
    (void)snprintf(path, sizeof(path), "%s/types.key", world.dir);
    assert_ok(kt_keyring_parse(next_key, "test", &setup.keyring));
    assert_ok(kt_keygen_types(&setup, "api-keys", path));
    kt_keyring_free(setup.keyring);
    ctx = context_of(path);
    assert_status(kt_rekey(ctx, &all, NULL, &result), KT_NOKEY);
    assert_ok(get_by(ctx, "api-keys/a", "one"));
    assert_ok(rekey_with(NULL));
    assert_ok(get_by(ctx, "api-keys/a", "one"));
    assert_ok(put_by(ctx, "api-keys/b", "by the keys of its type"));
    assert_ok(get_by(both, "api-keys/b", "by the keys of its type"));
    kt_close(ctx);
    result.size = 1;
    assert_status(kt_rekey(both, &all, NULL, &result), KT_USAGE);
}
END_TEST

/* Types that begin after the mark go under the new key, and who lacks it says so. */
START_TEST(a_new_type_is_not_missing_for_the_old_key)
{
    put("api-keys/a", "one", 1);
    assert_status(get_by(world.ctx, "later/x", NULL), KT_NOTFOUND);
    assert_ok(put_by(both, "early/x", "before the rekey"));
    assert_ok(get_by(world.ctx, "early/x", "before the rekey"));
    assert_ok(rekey_with(NULL));
    assert_ok(put_by(both, "later/x", "after it"));
    assert_status(get_by(world.ctx, "later/x", NULL), KT_NOKEY);
    assert_status(get_by(world.ctx, "never/x", NULL), KT_NOKEY);
    assert_status(put_by(world.ctx, "never/x", "x"), KT_NOKEY);
}
END_TEST

/* ---- three epochs, and one that is skipped ---- */

START_TEST(a_rekey_that_was_not_finished_is_finished_first)
{
    kt_setup_t setup = *world.setup;
    kt_request_t all = request("*");
    kt_rekey_result_t end = KT_REKEY_RESULT_INIT;
    char path[160];
    kt_ctx_t *ctx;

    put_many();
    leave_half();
    (void)snprintf(path, sizeof(path), "%s/third.key", world.dir);
    assert_ok(kt_keyring_parse(next_key, "test", &setup.keyring));
    assert_ok(kt_keygen_epoch(&setup, NULL, path));
    kt_keyring_free(setup.keyring);
    ctx = context_of(path);
    assert_ok(kt_rekey(ctx, &all, NULL, &end));
    ck_assert_uint_eq(end.epoch, 3);
    ck_assert_uint_eq(end.nepochs, 2);
    ck_assert_uint_eq(end.epochs[0].rows + end.epochs[1].rows + end.unknown, 0);
    ck_assert_uint_gt(end.moved, MANY);
    assert_ok(get_by(ctx, "api-keys/n1", "api-keys/n1"));
    assert_ok(kt_verify(ctx, ignore, NULL));
    assert_status(get_by(both, "api-keys/n1", NULL), KT_NOKEY);
    assert_status(get_by(world.ctx, "api-keys/n1", NULL), KT_NOKEY);
    kt_close(ctx);
}
END_TEST

/* The tree that empties has nothing left in the end: no node, whatever its shape was. */
START_TEST(an_index_that_is_emptied_leaves_no_node)
{
    const kt_typekey_t *key;
    kt_store_t *store = NULL;
    unsigned char hash[KT_HASH_SIZE] = {0}, tag[KT_TAG_SIZE] = {1};
    kt_index_t index;
    ktp_txn_t *txn;
    bool found;

    assert_ok(kt_store_of(both, 0, &store));
    assert_ok(kt_keyring_type(both->holder.keyring, "api-keys", 0, &key));
    assert_ok(kt_rows_begin(store, true, 1000, &txn));
    assert_ok(kt_index_open(&both->holder, store, txn, key, &index));
    for (unsigned i = 0; i < 700; i++) {
        kt_put_u32(hash, i * 2654435761u);
        assert_ok(kt_index_put(&index, hash, tag));
    }
    assert_ok(kt_index_seal(&index, 1));
    for (unsigned i = 0; i < 700; i++) {
        kt_put_u32(hash, (i * 3 % 700) * 2654435761u);
        assert_ok(kt_index_lookup(&index, hash, &found, tag));
        ck_assert(found);
        assert_ok(kt_index_remove(&index, hash));
        assert_ok(kt_index_lookup(&index, hash, &found, tag));
        ck_assert(!found);
        assert_status(kt_index_remove(&index, hash), KT_ROLLEDBACK);
    }
    ck_assert_uint_eq(index.count, 0);
    ck_assert(kt_index_is_empty(&index));
    kt_index_close(&index);
    ck_assert_int_eq(store->api->commit(txn), KTP_SUCCESS);
    ck_assert_uint_eq(memory_count(KTP_NODE), 0);
}
END_TEST

static void put_root(const kt_typekey_t *key, kt_link_t link, uint64_t count)
{
    kt_index_t index = {.environment = "production", .link = link, .count = count};
    kt_store_t *store = NULL;
    ktp_txn_t *txn;

    assert_ok(kt_store_of(both, 0, &store));
    assert_ok(kt_rows_begin(store, true, 1000, &txn));
    index.store = store;
    index.txn = txn;
    memcpy(index.type, "api-keys", 9);
    memcpy(index.key_id, key->id, KT_KEYID_SIZE);
    kt_index_key(key, index.key);
    for (unsigned char i = 0; i < 16; i++) {
        index.store_id[i] = (unsigned char)(0xc0 + i);
        index.root[i] = count > 0 ? (unsigned char)(0xd0 + i) : 0;
        index.other[i] = (unsigned char)(0xe0 + i);
    }
    assert_ok(kt_index_seal(&index, 7));
    ck_assert_int_eq(store->api->commit(txn), KTP_SUCCESS);
}

START_TEST(roots_are_those_of_the_page)
{
    static const struct {
        kt_link_t link;
        uint64_t count;
        const char *vector;
    } roots[] = {{KT_LINK_NONE, 2, "root_record"},
                 {KT_LINK_FROM, 2, "root_from"},
                 {KT_LINK_MOVED, 0, "root_moved"}};
    const kt_typekey_t *key;
    kt_keyring_t *keyring;
    unsigned char env[KT_KEY_SIZE];
    size_t size, rows = memory_count(KTP_META);

    for (unsigned char i = 0; i < sizeof(env); i++)
        env[i] = i;
    assert_ok(kt_keyring_new("production", &keyring));
    assert_ok(kt_keyring_add_env(keyring, 1, env));
    assert_ok(kt_keyring_type(keyring, "api-keys", 0, &key));
    for (size_t i = 0; i < KT_ARRAY(roots); i++) {
        vector_t v = vector(roots[i].vector);

        put_root(key, roots[i].link, roots[i].count);
        ck_assert_mem_eq(memory_record(KTP_META, rows, &size), v.bytes, v.size);
        ck_assert_uint_eq(size, v.size);
        memory_remove(KTP_META, rows);
    }
    kt_keyring_free(keyring);
}
END_TEST

/* ---- clear names ---- */

static void make_clear_world(void)
{
    static const ktp_provider_t *const apis[] = {&memory_clear_provider};

    memory_reset();
    world_make("clear: {}", "\"*\": clear", "cache: {ttl: 0s, negative: 0s, stale: 0s}\n");
    world_open_with(apis, 1);
    (void)snprintf(next_key, sizeof(next_key), "%s/next.key", world.dir);
    assert_ok(kt_keygen_epoch(world.setup, NULL, next_key));
    both = context_of(next_key);
}

START_TEST(clear_names_are_moved_one_by_one)
{
    kt_request_t all = request("*"), gone = request("tls/gone");
    kt_rekey_result_t before = KT_REKEY_RESULT_INIT;

    put("api-keys/a", "first", 1);
    put("api-keys/a", "second", 2);
    put("api-keys/a", "third", 3);
    put("tls/gone", "deleted", 1);
    assert_ok(kt_delete(world.ctx, &gone));
    assert_ok(put_by(both, "api-keys/new", "under the new epoch"));
    assert_ok(kt_rekey_status(both, &all, NULL, NULL, &before));
    ck_assert_uint_eq(before.epochs[0].rows, 2);
    assert_ok(rekey_with(NULL));
    ck_assert_uint_eq(result.moved, 2);
    ck_assert_uint_eq(result.epochs[0].rows + result.unknown, 0);
    assert_ok(get_by(both, "api-keys/a", "third"));
    assert_ok(get_by(both, "api-keys/a@previous", "second"));
    assert_ok(get_by(both, "api-keys/a@1", "first"));
    assert_status(get_by(both, "tls/gone", NULL), KT_GONE);
    assert_ok(kt_undelete(both, &gone));
    assert_ok(get_by(both, "tls/gone", "deleted"));
    assert_status(get_by(world.ctx, "api-keys/a", NULL), KT_WRONGKEY);
    both->holder.keyring->nenv = 1;
    both->holder.keyring->ntypes = 0;
    assert_ok(get_by(both, "api-keys/a@2", "second"));
    ck_assert_uint_eq(world_lines("\"rekey\"", "\"provider\":\"clear\"", NULL), 2);
}
END_TEST

START_TEST(clear_names_that_fail_anywhere_go_on)
{
    kt_status_t status = KT_UNAVAIL;
    unsigned failures = 0;

    put("api-keys/a", "first", 1);
    put("api-keys/a", "second", 2);
    put("tls/b", "other", 1);
    memory.fail_with = KTP_UNAVAIL;
    for (uint64_t at = 1; at < 1000 && status != KT_SUCCESS; at++, failures++) {
        memory.calls = 0;
        memory.fail_at = at;
        status = rekey_with(NULL);
        memory.fail_at = 0;
        assert_ok(get_by(both, "api-keys/a", "second"));
        assert_ok(get_by(both, "api-keys/a@1", "first"));
    }
    ck_assert_uint_ge(failures, 10);
    ck_assert_uint_eq(result.epochs[0].rows, 0);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, end_world);
    tcase_add_test(tests, everything_of_a_secret_is_moved);
    tcase_add_test(tests, the_old_key_is_not_needed_afterwards);
    tcase_add_test(tests, readers_and_writers_go_on);
    tcase_add_test(tests, the_holder_of_the_new_key_alone_does_not_know);
    tcase_add_test(tests, a_key_file_is_read_again);
    tcase_add_test(tests, threads_read_on_while_keys_are_read_again);
    tcase_add_test(tests, a_rekey_that_fails_anywhere_goes_on);
    tcase_add_test(tests, no_root_is_removed_or_put_back_alone);
    tcase_add_test(tests, every_byte_of_a_root_on_its_way_is_held);
    tcase_add_test(tests, a_damaged_secret_stops_its_type_only);
    tcase_add_test(tests, it_takes_admin_and_the_environment_key);
    tcase_add_test(tests, a_new_type_is_not_missing_for_the_old_key);
    tcase_add_test(tests, a_rekey_that_was_not_finished_is_finished_first);
    tcase_add_test(tests, an_index_that_is_emptied_leaves_no_node);
    tcase_add_test(tests, roots_are_those_of_the_page);
}

static void add_clear_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_clear_world, end_world);
    tcase_add_test(tests, clear_names_are_moved_one_by_one);
    tcase_add_test(tests, clear_names_that_fail_anywhere_go_on);
}

int main(void)
{
    int failed = unit_run("rekey", add_tests);

    return unit_run("rekey, clear names", add_clear_tests) == EXIT_SUCCESS ? failed : EXIT_FAILURE;
}
