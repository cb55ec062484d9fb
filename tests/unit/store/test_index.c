/* SPDX-License-Identifier: BSD-2-Clause */
/* core/store/index.c: presence and absence are proved, in trees that have split, and against rows
 * of an earlier time. */
#include "world.h"
#include "store/store.h"

#include <sodium.h>
#include <stdio.h>

#define MANY 600 /* leaves hold 20: the tree has two levels of branches */

static void make_world(void)
{
    world_of_memory("cache: {ttl: 0s, negative: 0s, stale: 0s}\n");
}

static kt_status_t get(const char *reference)
{
    kt_request_t req = request(reference);
    kt_secret_t *secret = NULL;
    kt_status_t status = kt_get(world.ctx, &req, &secret);

    kt_secret_free(secret);
    return status;
}

static void put_many(unsigned from, unsigned to)
{
    char name[32];

    for (unsigned i = from; i < to; i++) {
        (void)snprintf(name, sizeof(name), "api-keys/n%u", i);
        put(name, name, 1);
    }
}

static int count_entry(void *arg, const kt_entry_t *entry)
{
    (void)entry;
    ++*(unsigned *)arg;
    return 0;
}

static unsigned findings;

static void see_finding(void *arg, kt_status_t status, const char *what, const char *detail)
{
    (void)arg, (void)what, (void)detail;
    findings += status != KT_SUCCESS;
}

static kt_status_t verify(void)
{
    findings = 0;
    return kt_verify(world.ctx, see_finding, NULL);
}

START_TEST(a_tree_that_split_proves_what_is_there_and_what_is_not)
{
    kt_request_t all = request("*");
    unsigned count = 0;
    char name[32];

    put_many(0, MANY);
    ck_assert_uint_gt(memory_count(KTP_NODE), MANY / 20);
    for (unsigned i = 0; i < 2 * MANY; i += 7) {
        (void)snprintf(name, sizeof(name), "api-keys/n%u", i);
        assert_status(get(name), i < MANY ? KT_SUCCESS : KT_NOTFOUND);
    }
    put("api-keys/n5", "again", 2);
    assert_value("api-keys/n5", "again", 2);
    assert_ok(kt_list(world.ctx, &all, count_entry, &count, NULL));
    ck_assert_uint_eq(count, MANY);
    assert_ok(verify());
    ck_assert_uint_eq(findings, 0);
}
END_TEST

static const unsigned sizes[] = {1, 20, 21, 200};

/* Every node, each byte of its first and last row's worth, in trees of one leaf, a full one, one
 * just split, and a larger one. */
START_TEST(a_changed_node_is_noticed)
{
    char name[32];

    put_many(0, sizes[_i]);
    for (size_t n = 0; n < memory_count(KTP_NODE); n++) {
        unsigned noticed = 0;
        size_t size;

        (void)memory_record(KTP_NODE, n, &size);
        kt_close(world.ctx); /* one that has proved a branch does not look at its row again */
        world.ctx = world_context();
        memory_record(KTP_NODE, n, &size)[size - 1] ^= 1;
        for (unsigned i = 0; i < sizes[_i]; i++) {
            kt_status_t status;

            (void)snprintf(name, sizeof(name), "api-keys/n%u", i);
            status = get(name);
            ck_assert(status == KT_SUCCESS || status == KT_ROLLEDBACK);
            noticed += status == KT_ROLLEDBACK;
        }
        ck_assert_uint_gt(noticed, 0);
        ck_assert_int_eq(verify(), KT_ROLLEDBACK);
        memory_record(KTP_NODE, n, &size)[size - 1] ^= 1;
    }
    assert_ok(verify());
}
END_TEST

static uint64_t calls_to_get(const char *name)
{
    assert_ok(get(name));
    memory.calls = 0;
    assert_ok(get(name));
    return memory.calls;
}

/* Proved once, they are known by their tags, in this tree and in those that come: the depth of a
 * tree costs no calls. */
START_TEST(a_proved_branch_is_not_read_again)
{
    put_many(0, MANY);
    put("database/only", "value", 1);
    ck_assert_uint_eq(calls_to_get("api-keys/n7"), calls_to_get("database/only"));
    put("api-keys/n7", "again", 2);
    assert_value("api-keys/n7", "again", 2);
    assert_status(get("api-keys/never"), KT_NOTFOUND);
}
END_TEST

/* As long as nothing is committed a read asks for one row: the head, with its value. */
START_TEST(a_proved_root_is_known_until_the_next_commit)
{
    uint64_t calls;

    put_many(0, 30);
    calls = calls_to_get("api-keys/n1");
    ck_assert_uint_eq(calls, 2); /* begin, head */
    ck_assert_uint_eq(calls_to_get("api-keys/n2"), calls);
    put("database/other", "value", 1);
    memory.calls = 0;
    assert_ok(get("api-keys/n1"));
    ck_assert_uint_eq(memory.calls, calls + 1); /* and the root */
    memory.no_token = true;
    ck_assert_uint_eq(calls_to_get("api-keys/n1"), calls + 1);
}
END_TEST

/* The token does not say that a writer came: what then does not match is read again without the
 * root of before. */
START_TEST(a_commit_after_the_token_is_no_damage)
{
    kt_request_t a = request("api-keys/n1");

    put_many(0, 3);
    memory.stuck_token = true;
    assert_value("api-keys/n1", "api-keys/n1", 1);
    assert_status(get("api-keys/new"), KT_NOTFOUND);
    put("api-keys/n1", "changed", 2);
    assert_value("api-keys/n1", "changed", 2);
    put("api-keys/new", "added", 1);
    assert_value("api-keys/new", "added", 1);
    assert_ok(kt_delete(world.ctx, &a));
    assert_status(get("api-keys/n1"), KT_GONE);
    assert_status(get("api-keys/never"), KT_NOTFOUND);
}
END_TEST

/* And what is damage stays damage: neither root proves these rows. */
START_TEST(a_known_root_hides_no_damage)
{
    size_t size;

    put_many(0, 3);
    memory.stuck_token = true;
    for (unsigned i = 0; i < 3; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "api-keys/n%u", i);
        assert_ok(get(name));
    }
    memory_swap(KTP_HEAD, 0, 1);
    ck_assert((get("api-keys/n0") == KT_ROLLEDBACK) + (get("api-keys/n1") == KT_ROLLEDBACK) +
                  (get("api-keys/n2") == KT_ROLLEDBACK) ==
              2);
    memory_swap(KTP_HEAD, 0, 1);
    memory_record(KTP_HEAD, 0, &size)[size - 1] ^= 1;
    ck_assert((get("api-keys/n0") == KT_ROLLEDBACK) + (get("api-keys/n1") == KT_ROLLEDBACK) +
                  (get("api-keys/n2") == KT_ROLLEDBACK) ==
              1);
    memory_record(KTP_HEAD, 0, &size)[size - 1] ^= 1;
    memory_remove(KTP_HEAD, 0);
    ck_assert((get("api-keys/n0") == KT_ROLLEDBACK) + (get("api-keys/n1") == KT_ROLLEDBACK) +
                  (get("api-keys/n2") == KT_ROLLEDBACK) ==
              1);
}
END_TEST

/* Tags that share a slot do not pass for each other. */
START_TEST(a_memo_knows_whole_tags_only)
{
    unsigned char a[KT_TAG_SIZE] = {1, 2, 3}, b[KT_TAG_SIZE] = {1, 2, 4},
                  children[KT_FANOUT * KT_TAG_SIZE];
    kt_proofs_t *memo = kt_proofs_new();

    ck_assert_ptr_nonnull(memo);
    memset(children, 7, sizeof(children));
    ck_assert_ptr_null(kt_proofs_find(memo, a));
    kt_proofs_keep(memo, a, children);
    ck_assert_mem_eq(kt_proofs_find(memo, a), children, sizeof(children));
    ck_assert_ptr_null(kt_proofs_find(memo, b));
    children[0] = 8;
    kt_proofs_keep(memo, b, children);
    ck_assert_mem_eq(kt_proofs_find(memo, b), children, sizeof(children));
    ck_assert_ptr_null(kt_proofs_find(memo, a));
    kt_proofs_free(memo);
    kt_proofs_keep(NULL, a, children);
    ck_assert_ptr_null(kt_proofs_find(NULL, a));
}
END_TEST

/* One row as it was before the last write, all others as they are. */
static unsigned char *old_row(ktp_space_t space, size_t n, size_t *ret_size)
{
    unsigned char *copy;
    const unsigned char *record = memory_record(space, n, ret_size);

    ck_assert_ptr_nonnull(record);
    copy = malloc(*ret_size);
    memcpy(copy, record, *ret_size);
    return copy;
}

START_TEST(a_head_of_yesterday_is_noticed)
{
    unsigned char *old, *beside, *now;
    size_t size, beside_size, now_size;

    put("api-keys/a", "yesterday", 1);
    old = old_row(KTP_HEAD, 0, &size);
    beside = memory_beside(0, &beside_size);
    beside = memcpy(malloc(beside_size), beside, beside_size);
    put("api-keys/a", "today", 2);
    now = memory_record(KTP_HEAD, 0, &now_size);
    ck_assert_uint_eq(now_size, size);
    memcpy(now, old, size);
    memcpy(memory_beside(0, &beside_size), beside, beside_size);
    memory_stamp(KTP_HEAD, 0, 1);
    assert_status(get("api-keys/a"), KT_ROLLEDBACK);
    free(old);
    free(beside);
}
END_TEST

START_TEST(a_deleted_secret_stays_deleted)
{
    kt_request_t req = request("api-keys/a");
    unsigned char *old, *now;
    size_t size, now_size;

    put("api-keys/a", "value", 1);
    old = old_row(KTP_HEAD, 0, &size);
    assert_ok(kt_delete(world.ctx, &req));
    now = memory_record(KTP_HEAD, 0, &now_size);
    ck_assert_uint_eq(now_size, size);
    memcpy(now, old, size);
    memory_stamp(KTP_HEAD, 0, 1);
    assert_status(get("api-keys/a"), KT_ROLLEDBACK);
    free(old);
}
END_TEST

START_TEST(a_removed_secret_is_not_absent)
{
    put("api-keys/a", "value", 1);
    put("api-keys/b", "value", 1);
    memory_remove(KTP_HEAD, 0);
    ck_assert(get("api-keys/a") == KT_ROLLEDBACK || get("api-keys/b") == KT_ROLLEDBACK);
    ck_assert_int_eq(verify(), KT_ROLLEDBACK);
    memory_remove(KTP_HEAD, 0);
    assert_status(get("api-keys/a"), KT_ROLLEDBACK);
    assert_status(get("api-keys/b"), KT_ROLLEDBACK);
    assert_status(get("api-keys/c"), KT_NOTFOUND); /* which the index still proves */
}
END_TEST

START_TEST(an_added_secret_is_noticed)
{
    void *row;

    put("api-keys/a", "value", 1);
    memory_save();
    put("api-keys/b", "value", 1);
    row = memory_take(KTP_HEAD, 1);
    memory_restore(); /* before b was ever written ... */
    assert_status(get("api-keys/b"), KT_NOTFOUND);
    memory_give(row); /* ... but for its row */
    assert_status(get("api-keys/b"), KT_ROLLEDBACK);
    assert_value("api-keys/a", "value", 1);
    ck_assert_int_eq(verify(), KT_ROLLEDBACK);
}
END_TEST

/* The root: 80 bytes, the only row of this size among the first ones. */
static unsigned char *root_record(size_t *ret_n)
{
    unsigned char *record;
    size_t n = 0, size = 0;

    while ((record = memory_record(KTP_META, n, &size)) != NULL && size != 80)
        n++;
    ck_assert_uint_eq(size, 80);
    *ret_n = n;
    return record;
}

/* docs/format.md, Index: keyed BLAKE2b of the depth byte, the path and the node's bytes. */
static void tag_of(const unsigned char *place, size_t place_size, size_t n,
                   unsigned char ret_tag[KT_TAG_SIZE])
{
    unsigned char key[KT_KEY_SIZE], *record;
    crypto_generichash_blake2b_state state;
    const kt_typekey_t *type;
    size_t size;

    assert_ok(kt_keyring_type(world.ctx->holder.keyring, "api-keys", 0, &type));
    kt_index_key(type, key);
    record = memory_record(KTP_NODE, n, &size);
    (void)crypto_generichash_blake2b_init_salt_personal(&state, key, sizeof(key), KT_TAG_SIZE, NULL,
                                                        (const unsigned char *)"keyturn node    ");
    (void)crypto_generichash_blake2b_update(&state, place, place_size);
    (void)crypto_generichash_blake2b_update(&state, record, size);
    (void)crypto_generichash_blake2b_final(&state, ret_tag, KT_TAG_SIZE);
}

/* The node of this tag, which stands at this place. */
static unsigned char *node_of(const unsigned char *place, size_t place_size,
                              const unsigned char tag[KT_TAG_SIZE], size_t *ret_size)
{
    unsigned char got[KT_TAG_SIZE], *found = NULL;

    for (size_t n = 0; n < memory_count(KTP_NODE); n++) {
        tag_of(place, place_size, n, got);
        if (memcmp(got, tag, sizeof(got)) == 0) {
            ck_assert_ptr_null(found);
            found = memory_record(KTP_NODE, n, ret_size);
        }
    }
    ck_assert_ptr_nonnull(found);
    return found;
}

START_TEST(a_nodes_tag_binds_its_depth_and_path)
{
    static const unsigned char top[] = {0};
    unsigned char branch[1 + KT_FANOUT * KT_TAG_SIZE];
    size_t n, size, entries = 0;

    put_many(0, 21); /* a branch, and leaves by the first nibble */
    memcpy(branch, node_of(top, sizeof(top), root_record(&n) + 32, &size), sizeof(branch));
    ck_assert_uint_eq(size, sizeof(branch));
    for (unsigned child = 0; child < KT_FANOUT; child++) {
        const unsigned char *tag = branch + 1 + child * KT_TAG_SIZE;
        const unsigned char place[] = {1, (unsigned char)(child << 4)};
        static const unsigned char none[KT_TAG_SIZE];

        if (memcmp(tag, none, sizeof(none)) == 0)
            continue;
        ck_assert_uint_eq(*node_of(place, sizeof(place), tag, &size), 0);
        entries += (size - 1) / (KT_HASH_SIZE + KT_TAG_SIZE);
    }
    ck_assert_uint_eq(entries, 21);
}
END_TEST

/* The tag of the topmost node tells that it is the same tree, node for node; the generation goes
 * on. */
START_TEST(a_restored_tree_is_the_one_that_grew)
{
    unsigned char grown[80];
    char path[128], name[32];
    kt_request_t req = request(NULL);
    kt_backup_count_t count = KT_BACKUP_COUNT_INIT;
    size_t n, nodes;

    put_many(0, MANY);
    memcpy(grown, root_record(&n), sizeof(grown));
    nodes = memory_count(KTP_NODE);
    (void)snprintf(path, sizeof(path), "%s/backup", world.dir);
    assert_ok(kt_backup(world.ctx, &req, path, &count));
    put_many(MANY, MANY + 40);
    assert_ok(kt_restore(world.ctx, &req, path, 1, &count));
    ck_assert_mem_eq(root_record(&n) + 32, grown + 32, 16);
    ck_assert_mem_eq(root_record(&n) + 24, grown + 24, 8);
    ck_assert_uint_eq(root_record(&n)[23], (MANY + 40 + 1) & 255);
    ck_assert_uint_eq(memory_count(KTP_NODE), nodes);
    assert_ok(verify());
    for (unsigned i = 0; i < MANY + 40; i += 7) {
        (void)snprintf(name, sizeof(name), "api-keys/n%u", i);
        assert_status(get(name), i < MANY ? KT_SUCCESS : KT_NOTFOUND);
    }
    put("api-keys/n5", "again", 2);
    assert_value("api-keys/n5", "again", 2);
}
END_TEST

/* Entries with all ways to share a beginning: none, a leaf full, one more than that, and many down
 * to the 20th nibble. */
static size_t make_entries(kt_index_entry_t *list)
{
    static const struct {
        unsigned count;
        size_t shared; /* bytes */
    } groups[] = {{1, 9}, {32, 1}, {33, 2}, {40, 10}, {500, 0}};
    size_t n = 0;

    for (size_t g = 0; g < KT_ARRAY(groups); g++) {
        for (unsigned i = 0; i < groups[g].count; i++, n++) {
            for (size_t k = 0; k < sizeof(list[n].hash); k++)
                list[n].hash[k] =
                    k < groups[g].shared ? (unsigned char)(17 * g) : (unsigned char)random();
            memset(list[n].tag, (int)(n + 1), sizeof(list[n].tag));
        }
    }
    return n;
}

static int by_hash(const void *a, const void *b)
{
    return memcmp(a, b, KT_HASH_SIZE);
}

/* The topmost tag and the number of nodes of a tree that is filled, or grown entry by entry. */
static size_t build(const kt_index_entry_t *list, size_t count, bool fill,
                    unsigned char ret_root[KT_TAG_SIZE])
{
    static const unsigned char id[KT_ID_SIZE] = "a store";
    const kt_typekey_t *type;
    kt_filling_t *filling = NULL;
    kt_index_t index;
    kt_store_t *store;
    ktp_txn_t *txn;
    size_t nodes;

    assert_ok(kt_store_of(world.ctx, 0, &store));
    assert_ok(kt_keyring_type(world.ctx->holder.keyring, "api-keys", 0, &type));
    ck_assert_int_eq(store->api->begin(store->instance, 1, 0, &txn), KTP_SUCCESS);
    assert_ok(kt_index_open(&world.ctx->holder, store, txn, type, &index));
    kt_index_start(&index, id, 0);
    assert_ok(kt_index_fill_begin(&index, &filling));
    for (size_t i = 0; i < count; i++) {
        if (fill)
            assert_ok(kt_index_fill_add(filling, list[i].hash, list[i].tag));
        else
            assert_ok(kt_index_set(&index, list[i].hash, list[i].tag));
    }
    if (fill)
        assert_ok(kt_index_fill_end(filling));
    kt_index_fill_free(filling);
    ck_assert_uint_eq(index.count, count);
    ck_assert_uint_eq(index.generation, count == 0 ? 0 : fill ? 1 : count);
    memcpy(ret_root, index.root, KT_TAG_SIZE);
    for (size_t i = 0; i < count; i++) {
        unsigned char tag[KT_TAG_SIZE];
        bool found;

        assert_ok(kt_index_lookup(&index, list[i].hash, &found, tag));
        ck_assert(found && memcmp(tag, list[i].tag, sizeof(tag)) == 0);
    }
    ck_assert_int_eq(store->api->commit(txn), KTP_SUCCESS);
    nodes = memory_count(KTP_NODE);
    memory_restore();
    return nodes;
}

START_TEST(a_filled_tree_is_the_one_that_grew)
{
    kt_index_entry_t list[700], out_of_order;
    unsigned char grown[KT_TAG_SIZE], filled[KT_TAG_SIZE];
    size_t count = make_entries(list), nodes;

    memory_save();
    for (size_t n = 0; n <= count; n += n < 70 ? 1 : 67) {
        nodes = build(list, n, false, grown);
        qsort(list, n, sizeof(list[0]), by_hash);
        ck_assert_uint_eq(build(list, n, true, filled), nodes);
        ck_assert_mem_eq(grown, filled, sizeof(grown));
        if (n < 3)
            continue;
        out_of_order = list[0]; /* the first of all comes in the middle */
        memmove(list, list + 1, n / 2 * sizeof(list[0]));
        list[n / 2] = out_of_order;
        ck_assert_uint_eq(build(list, n, true, filled), nodes);
        ck_assert_mem_eq(grown, filled, sizeof(grown));
    }
}
END_TEST

START_TEST(a_changed_root_is_noticed)
{
    size_t n = 0, size = 80;

    put("api-keys/a", "value", 1);
    put("api-keys/a", "value", 2);
    (void)root_record(&n);
    for (size_t i = 0; i < size; i++) {
        memory_record(KTP_META, n, &size)[i] ^= 1;
        assert_status(get("api-keys/a"), KT_ROLLEDBACK);
        memory_record(KTP_META, n, &size)[i] ^= 1;
    }
    memory_stamp(KTP_META, n, 1);
    assert_status(get("api-keys/a"), KT_ROLLEDBACK);
    memory_stamp(KTP_META, n, 2);
    assert_value("api-keys/a", "value", 2);
    memory_remove(KTP_META, n);
    assert_status(get("api-keys/a"), KT_ROLLEDBACK);
}
END_TEST

START_TEST(a_removed_node_is_noticed_by_reading_and_writing)
{
    kt_request_t req = request("api-keys/n1");
    kt_secret_t *value = secret_of("x");

    put_many(0, 3);
    memory_remove(KTP_NODE, 0);
    assert_status(get("api-keys/n1"), KT_ROLLEDBACK);
    assert_status(get("api-keys/never"), KT_ROLLEDBACK);
    assert_status(kt_put(world.ctx, &req, value, NULL, NULL), KT_ROLLEDBACK);
    kt_secret_free(value);
}
END_TEST

/* The indexes of two types do not stand in for each other, and one is whole when the other is
 * broken. */
START_TEST(types_have_trees_of_their_own)
{
    put("api-keys/a", "value", 1);
    put("database/a", "value", 1);
    kt_close(world.ctx); /* which knows what it has written */
    world.ctx = world_context();
    memory_swap(KTP_NODE, 0, 1);
    assert_status(get("api-keys/a"), KT_ROLLEDBACK);
    assert_status(get("database/a"), KT_ROLLEDBACK);
    memory_swap(KTP_NODE, 0, 1);
    assert_value("api-keys/a", "value", 1);
    memory_remove(KTP_NODE, 0);
    ck_assert((get("api-keys/never") == KT_NOTFOUND) != (get("database/never") == KT_NOTFOUND));
    kt_close(world.ctx); /* which has proved both entries */
    world.ctx = world_context();
    ck_assert((get("api-keys/a") == KT_SUCCESS) != (get("database/a") == KT_SUCCESS));
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    tcase_add_test(tests, a_tree_that_split_proves_what_is_there_and_what_is_not);
    UNIT_TABLE(tests, a_changed_node_is_noticed, sizes);
    tcase_add_test(tests, a_proved_branch_is_not_read_again);
    tcase_add_test(tests, a_proved_root_is_known_until_the_next_commit);
    tcase_add_test(tests, a_commit_after_the_token_is_no_damage);
    tcase_add_test(tests, a_known_root_hides_no_damage);
    tcase_add_test(tests, a_memo_knows_whole_tags_only);
    tcase_add_test(tests, a_head_of_yesterday_is_noticed);
    tcase_add_test(tests, a_deleted_secret_stays_deleted);
    tcase_add_test(tests, a_removed_secret_is_not_absent);
    tcase_add_test(tests, an_added_secret_is_noticed);
    tcase_add_test(tests, a_nodes_tag_binds_its_depth_and_path);
    tcase_add_test(tests, a_restored_tree_is_the_one_that_grew);
    tcase_add_test(tests, a_filled_tree_is_the_one_that_grew);
    tcase_add_test(tests, a_changed_root_is_noticed);
    tcase_add_test(tests, a_removed_node_is_noticed_by_reading_and_writing);
    tcase_add_test(tests, types_have_trees_of_their_own);
}

UNIT_MAIN("index", add_tests)
