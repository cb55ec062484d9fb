/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core/store/survey.c, core/maintain/walk.c: an editor of the store removes or alters each single
 * row and each column of it, at rest and in the midst of a rekey. verify, check, backup and rekey
 * notice each time, and list does where it lists less.
 */
#include "world.h"

#include <stdio.h>
#include <unistd.h>

#include "store/store.h"

#define MANY 21 /* of one type: its index has a branch */

static kt_ctx_t *both; /* with the next epoch, too */
static char path[160];

static kt_ctx_t *context_of(const char *key)
{
    kt_setup_t setup = *world.setup;
    kt_ctx_t *ctx = NULL;

    assert_ok(kt_keyring_parse(key, "test", &setup.keyring));
    assert_ok(kt_open(&setup, &ctx));
    kt_keyring_free(setup.keyring);
    return ctx;
}

static void put_by(kt_ctx_t *ctx, const char *name)
{
    kt_request_t req = request(name);
    kt_secret_t *value = secret_of(name);

    assert_ok(kt_put(ctx, &req, value, NULL, NULL));
    kt_secret_free(value);
}

/* A type that no catalogue lists yet. */
static void begin_type_by_its_key(void)
{
    kt_ctx_t *ctx;

    (void)snprintf(path, sizeof(path), "%s/types.key", world.dir);
    assert_ok(kt_keygen_types(world.setup, "tls", path));
    ctx = context_of(path);
    put_by(ctx, "tls/a");
    kt_close(ctx);
}

static void make_world(void)
{
    kt_request_t destroy = request("database/a");
    char name[32];

    world_of_memory("cache: {ttl: 0s, negative: 0s, stale: 0s}\n");
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof(name), "api-keys/n%u", i);
        put(name, "value", 1);
    }
    put("database/a", "one", 1);
    put("database/a", "two", 2);
    put("SINGLE", "one", 1);
    put("SINGLE", "two", 2);
    assert_ok(kt_destroy(world.ctx, &destroy, 0));
    (void)snprintf(path, sizeof(path), "%s/next.key", world.dir);
    assert_ok(kt_keygen_epoch(world.setup, NULL, path));
    both = context_of(path);
    begin_type_by_its_key();
    (void)snprintf(path, sizeof(path), "%s/backup", world.dir);
}

static void end_world(void)
{
    kt_close(both);
    world_end();
}

/* ---- the verbs ---- */

static void ignore(void *arg, kt_status_t status, const char *what, const char *detail)
{
    (void)arg, (void)status, (void)what, (void)detail;
}

static kt_status_t do_verify(void)
{
    return kt_verify(both, ignore, NULL);
}

static kt_status_t do_check(void)
{
    return kt_check(both, ignore, NULL);
}

static kt_status_t do_backup(void)
{
    kt_backup_count_t count = KT_BACKUP_COUNT_INIT;
    kt_request_t req = request("*");
    kt_status_t status = kt_backup(both, &req, path, &count);

    ck_assert_int_eq(access(path, F_OK) == 0, status == KT_SUCCESS);
    (void)unlink(path);
    return status;
}

static kt_status_t do_rekey(void)
{
    kt_rekey_result_t result = KT_REKEY_RESULT_INIT;
    kt_request_t req = request("*");

    return kt_rekey(both, &req, NULL, &result);
}

static const struct {
    const char *name;
    kt_status_t (*fn)(void);
} verbs[] = {
    {"verify", do_verify}, {"check", do_check}, {"backup", do_backup}, {"rekey", do_rekey}};

/* ---- what an editor does to one row; false: this row has no such column ---- */

static bool remove_row(ktp_space_t space, size_t n)
{
    memory_remove(space, n);
    return true;
}

static bool bend_stamp(ktp_space_t space, size_t n)
{
    memory_stamp(space, n, 77);
    return true;
}

static bool bend_at(unsigned char *bytes, size_t size, size_t at)
{
    if (bytes == NULL || at >= size)
        return false;
    bytes[at] ^= 1;
    return true;
}

static bool bend_id(ktp_space_t space, size_t n)
{
    size_t size;
    unsigned char *id = memory_id(space, n, &size);

    return bend_at(id, size, size - 1);
}

/* Magic, kind, key id, secret id, version, nonce, contents, tag. */
static bool bend_record(ktp_space_t space, size_t n, size_t which)
{
    static const size_t places[] = {0, 6, 9, 25, 47, 50, 80};
    size_t size;
    unsigned char *record = memory_record(space, n, &size);

    return bend_at(record, size, which < KT_ARRAY(places) ? places[which] : size - 1);
}

static bool cut_record(ktp_space_t space, size_t n, size_t which)
{
    size_t size;
    unsigned char *beside = space == KTP_HEAD ? memory_beside(n, &size) : NULL;

    switch (which) {
    case 0:
        return bend_at(beside, beside != NULL ? size : 0, 9);
    case 1:
        return bend_at(beside, beside != NULL ? size : 0, beside != NULL ? size - 1 : 0);
    case 2:
        if (beside != NULL)
            memory_set_beside(n, NULL, 0);
        return beside != NULL;
    case 3: /* a destroyed value comes back */
        if (space == KTP_HEAD && beside == NULL)
            memory_set_beside(n, (const unsigned char *)"anything", 8);
        return space == KTP_HEAD && beside == NULL;
    default:
        if (space == KTP_VALUE)
            memory_next_version(n);
        return space == KTP_VALUE;
    }
}

#define EDITS (3u + 8u + 5u)

static bool edit(ktp_space_t space, size_t n, size_t which)
{
    if (which == 0)
        return remove_row(space, n);
    if (which == 1)
        return bend_stamp(space, n);
    if (which == 2)
        return bend_id(space, n);
    return which < 11 ? bend_record(space, n, which - 3) : cut_record(space, n, which - 11);
}

/* The n-th row of the space is edited in all ways, before each verb. */
static unsigned edit_row(ktp_space_t space, size_t n)
{
    unsigned edits = 0;

    for (size_t which = 0; which < EDITS; which++) {
        /* of many like rows the last verb, which is slow, sees some */
        size_t nverbs = KT_ARRAY(verbs) - (n > 5 && which > 1);

        for (size_t v = 0; v < nverbs; v++) {
            kt_status_t status;

            memory_restore();
            if (!edit(space, n, which))
                break;
            status = verbs[v].fn();
            ck_assert_msg(status != KT_SUCCESS,
                          "%s does not notice edit %zu of row %zu in space %d", verbs[v].name,
                          which, n, (int)space);
            edits += v == 0;
        }
    }
    return edits;
}

/* Each row of what is stored now. */
static unsigned edit_each(void)
{
    unsigned edits = 0;

    memory_save();
    for (ktp_space_t space = KTP_META; space <= KTP_NODE; space++) {
        memory_restore();
        for (size_t n = 0, count = memory_count(space); n < count; n++)
            edits += edit_row(space, n);
    }
    memory_restore();
    return edits;
}

static void assert_all_pass(void)
{
    for (size_t v = 0; v < KT_ARRAY(verbs) - 1; v++)
        assert_ok(verbs[v].fn());
}

START_TEST(each_edit_of_each_row_is_noticed)
{
    assert_all_pass();
    ck_assert_uint_gt(edit_each(), 300);
    assert_ok(do_rekey());
    assert_all_pass();
}
END_TEST

/* ---- in the midst of a rekey ---- */

/* What a rekey leaves if it is killed: each state that is durable, after the commit that it names.
 */
static const char *const states[] = {
    "at rest",
    "the catalogue is marked",
    "api-keys: begun",
    "api-keys: some are moved",
    "api-keys: all moved",
    "api-keys: finished",
    "database: begun",
    "database: all moved",
    "database: finished",
    "general: begun",
    "general: all moved",
    "general: finished",
    "tls: begun",
    "tls: all moved",
};
static size_t wanted, commits, heads;

/* The commit after those that are wanted fails, as if the process were killed before it. */
static void count_commit(void)
{
    if (++commits == wanted + 1)
        memory.fail_at = memory.calls + 1;
}

/* The first batch takes so long that it is closed before its end. */
static void be_slow(ktp_space_t space)
{
    if (space == KTP_HEAD && ++heads == MANY / 2)
        (void)usleep(30000);
}

static void rekey_until(size_t n)
{
    memory.fail_with = KTP_UNAVAIL;
    memory.committing = count_commit;
    memory.putting = be_slow;
    wanted = n;
    commits = heads = 0;
    assert_status(do_rekey(), KT_UNAVAIL);
    memory.committing = NULL;
    memory.putting = NULL;
    memory.fail_at = 0;
}

START_TEST(also_in_the_midst_of_a_rekey)
{
    rekey_until((size_t)_i);
    ck_assert_msg(commits == (size_t)_i + (_i > 0), "%s: %zu commits", states[_i], commits);
    assert_all_pass();
    ck_assert_uint_gt(edit_each(), 300);
    assert_ok(do_rekey());
    assert_all_pass();
}
END_TEST

/* The list of states is whole: the commit after the last one is the last. */
START_TEST(there_are_no_other_states)
{
    memory.committing = count_commit;
    memory.putting = be_slow;
    wanted = SIZE_MAX - 1;
    commits = heads = 0;
    assert_ok(do_rekey());
    ck_assert_uint_eq(commits, KT_ARRAY(states));
}
END_TEST

/* With the newest key alone the rest of an older epoch is explained by the catalogue. */
START_TEST(what_an_old_epoch_left_is_noticed_without_its_key)
{
    assert_ok(do_rekey());
    both->holder.keyring->nenv = 1;
    kt_keyring_update(both->holder.keyring, both->holder.keyring);
    for (size_t i = both->holder.keyring->ntypes; i-- > 0;)
        if (both->holder.keyring->types[i].epoch == 1)
            both->holder.keyring->types[i].type[0] = '\0';
    assert_all_pass();
    memory_save();
    for (size_t n = 0, count = memory_count(KTP_META); n < count; n++) {
        for (size_t which = 0; which < EDITS; which++) {
            memory_restore();
            if (edit(KTP_META, n, which))
                ck_assert_msg(do_verify() != KT_SUCCESS, "edit %zu of row %zu", which, n);
        }
    }
    memory_restore();
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, make_world, end_world);
    tcase_add_test(tests, each_edit_of_each_row_is_noticed);
    tcase_add_loop_test(tests, also_in_the_midst_of_a_rekey, 1, KT_ARRAY(states));
    tcase_add_test(tests, there_are_no_other_states);
    tcase_add_test(tests, what_an_old_epoch_left_is_noticed_without_its_key);
}

UNIT_MAIN("explain", add_tests)
