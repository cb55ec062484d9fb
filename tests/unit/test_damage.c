/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A small store of the real provider `local`, damaged: a bit of a byte turned, the file cut, in the
 * database, in -wal and in the anchors. What comes is the right value or an error: never a crash,
 * never a wrong value, never "there is none", never a value of yesterday. A sample of some thousand
 * places that comes by every page; KT_EVERY_BYTE=1 takes every byte and every length.
 */
#include "world.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILLERS 34 /* one more leaf than a single one holds: the index has a branch */

/* Each kind of record and of answer. */
static const struct {
    const char *reference, *value; /* NULL: `status` */
    kt_status_t status;
} answers[] = {
    {"api-keys/a", "third of a", KT_SUCCESS}, {"api-keys/a@1", "first of a", KT_SUCCESS},
    {"api-keys/a@2", NULL, KT_GONE},          {"api-keys/f07", "filler", KT_SUCCESS},
    {"api-keys/none", NULL, KT_NOTFOUND},     {"database/b", "of b", KT_SUCCESS},
    {"database/deleted", NULL, KT_GONE},      {"OPENAI_API_KEY", "general", KT_SUCCESS},
};

static char wal[128], shm[128], anchors[128];
static unsigned char *image; /* of the file that is damaged */
static size_t image_size;
static unsigned whole, refused;
static char refusal[KT_ERROR_SIZE + 64]; /* the last one */

static void fill_old(void)
{
    char name[32];

    put("api-keys/a", "first of a", 1);
    put("api-keys/a", "second of a", 2);
    for (unsigned i = 0; i < FILLERS; i++) {
        (void)snprintf(name, sizeof(name), "api-keys/f%02u", i);
        put(name, "filler", 1);
    }
    put("database/b", "of b", 1);
    put("database/deleted", "gone", 1);
    put("OPENAI_API_KEY", "general", 1);
}

static void fill_new(void)
{
    kt_request_t req = request("api-keys/a");

    put("api-keys/a", "third of a", 3);
    assert_ok(kt_destroy(world.ctx, &req, 2));
    req.reference = "database/deleted";
    assert_ok(kt_delete(world.ctx, &req));
}

/* Moves all of -wal into the database, as in a copy of the file alone. */
static void settle(void)
{
    sqlite3 *db;

    ck_assert_int_eq(sqlite3_open(world.store, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    ck_assert_int_ne(access(wal, F_OK), 0);
}

static void write_at(const char *path, const unsigned char *data, size_t size, size_t at)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, data, size, (off_t)at), (ssize_t)size);
    (void)close(fd);
}

/* Old commits in the database, new ones in -wal: as it is while a connection is open. */
static void make_world(void)
{
    unsigned char *store, *log;
    size_t store_size, log_size;

    world_make(NULL, NULL, "cache: {ttl: 0s, negative: 0s, stale: 0s}\n");
    world_of_local();
    (void)snprintf(wal, sizeof(wal), "%s-wal", world.store);
    (void)snprintf(shm, sizeof(shm), "%s-shm", world.store);
    (void)snprintf(anchors, sizeof(anchors), "%s/anchors/nginx/generations", world.dir);
    fill_old();
    kt_instance_close(&world.ctx->stores[0]);
    settle();
    fill_new();
    store = (unsigned char *)world_read(world.store, &store_size);
    log = (unsigned char *)world_read(wal, &log_size);
    kt_instance_close(&world.ctx->stores[0]);
    ck_assert_int_eq(truncate(world.store, (off_t)store_size), 0);
    write_at(world.store, store, store_size, 0);
    write_at(wal, log, log_size, 0);
    (void)unlink(shm);
    free(store);
    free(log);
    whole = refused = 0;
}

static void end_world(void)
{
    free(image);
    image = NULL;
    world_end();
}

static bool same_status(kt_status_t status, size_t i)
{
    return status == (answers[i].value != NULL ? KT_SUCCESS : answers[i].status);
}

/* Every answer from a store that is opened now: right, or an error that does not state a fact about
 * the secret. */
static void look(const char *what, size_t at)
{
    kt_store_t store = {.api = NULL};
    bool all = true;

    assert_ok(kt_instance_open(world.ctx->modules, 0, &store));
    for (size_t i = 0; i < KT_ARRAY(answers); i++) {
        kt_secret_t *secret = NULL;
        kt_reference_t ref;
        kt_status_t status;

        assert_ok(kt_reference_parse(answers[i].reference, 0, &ref));
        status = kt_store_read(&world.ctx->holder, &store, &ref, &secret);
        if (same_status(status, i)) {
            ck_assert_msg(status != KT_SUCCESS ||
                              kt_secret_equal(secret, answers[i].value, strlen(answers[i].value)),
                          "%s %zu: %s is not what was written", what, at, answers[i].reference);
        } else {
            ck_assert_msg(status != KT_SUCCESS && status != KT_NOTFOUND && status != KT_GONE &&
                              status != KT_INTERNAL,
                          "%s %zu: %s is %s: %s", what, at, answers[i].reference,
                          kt_status_name(status), kt_failure());
            ck_assert_msg(kt_failure()[0] != '\0', "%s %zu: %s without a reason", what, at,
                          kt_status_name(status));
            (void)snprintf(refusal, sizeof(refusal), "%s: %s", answers[i].reference, kt_failure());
            all = false;
        }
        kt_secret_free(secret);
    }
    kt_instance_close(&store);
    if (all)
        whole++;
    else
        refused++;
}

static void count_finding(void *arg, kt_status_t status, const char *what, const char *detail)
{
    unsigned *findings = arg;

    (void)what, (void)detail;
    *findings += status != KT_SUCCESS;
}

/* What a read refuses, verify finds. */
static void verify(const char *what, size_t at, bool wrong)
{
    unsigned findings = 0;
    kt_status_t status = kt_verify(world.ctx, count_finding, &findings);

    kt_instance_close(&world.ctx->stores[0]);
    ck_assert_msg(!wrong || (status != KT_SUCCESS && findings > 0),
                  "%s %zu: a read is refused (%s), and verify finds nothing", what, at, refusal);
}

static size_t step_of(size_t sample)
{
    size_t step = getenv("KT_EVERY_BYTE") != NULL ? 1 : image_size / sample;

    return step % 2 == 0 ? step + 1 : step; /* not in step with anything in the file */
}

/* Puts the file back as it was. The index next to it is removed, because it would say where the
 * good frames of -wal end. */
static void put_back(const char *path)
{
    write_at(path, image, image_size, 0);
    ck_assert_int_eq(truncate(path, (off_t)image_size), 0);
    (void)unlink(shm);
}

static void each_byte(const char *path, size_t sample)
{
    size_t step, n = 0;

    image = (unsigned char *)world_read(path, &image_size);
    step = step_of(sample);
    /* a header, byte by byte */
    for (size_t at = 0; at < image_size; at += at >= 100 ? step : 1, n++) {
        unsigned char bent = image[at] ^ (unsigned char)(1u << n % 8);
        unsigned before = refused;

        write_at(path, &bent, 1, at);
        (void)unlink(shm);
        look("byte", at);
        if (refused > before || n % 16 == 0)
            verify("byte", at, refused > before);
        write_at(path, &image[at], 1, at);
    }
    put_back(path);
    ck_assert_uint_gt(refused, n / 10);
    whole = 0;
    look("whole", 0);
    ck_assert_uint_eq(whole, 1);
}

static void each_length(const char *path, size_t sample)
{
    size_t step, n = 0;

    image = (unsigned char *)world_read(path, &image_size);
    step = step_of(sample);
    for (size_t size = image_size; size-- > 0;
         size -= size >= step && size >= 600 && size % 4096 != 0 ? step - 1 : 0, n++) {
        ck_assert_int_eq(truncate(path, (off_t)size), 0);
        (void)unlink(shm);
        look("length", size);
        if (n % 64 == 0)
            verify("length", size, false);
    }
    put_back(path);
    whole = 0;
    look("whole", 0);
    ck_assert_uint_eq(whole, 1);
}

START_TEST(a_byte_of_the_database)
{
    settle();
    each_byte(world.store, 1000);
}
END_TEST

START_TEST(the_database_cut)
{
    settle();
    each_length(world.store, 300);
    ck_assert_uint_ge(refused, 300);
}
END_TEST

/* The newest commits are there only: what is lost of them was acknowledged, and the anchors know.
 */
START_TEST(a_byte_of_wal)
{
    each_byte(wal, 600);
}
END_TEST

START_TEST(wal_cut)
{
    each_length(wal, 300);
    ck_assert_uint_ge(refused, 300);
}
END_TEST

/* A type whose only anchor is damaged is refused. */
START_TEST(a_byte_of_the_anchors)
{
    size_t step;

    image = (unsigned char *)world_read(anchors, &image_size);
    step = step_of(400);
    for (size_t at = 0; at < image_size; at += step) {
        unsigned char bent = image[at] ^ (unsigned char)(1u << at % 8);

        write_at(anchors, &bent, 1, at);
        look("byte", at);
        ck_assert_int_eq(truncate(anchors, (off_t)at), 0);
        look("length", at);
        write_at(anchors, image, image_size, 0);
    }
    ck_assert_uint_ge(refused, 100);
    ck_assert_uint_ge(whole, 1); /* a digit that became another case of itself */
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_set_timeout(tests, getenv("KT_EVERY_BYTE") != NULL ? 7200 : 120);
    tcase_add_checked_fixture(tests, make_world, end_world);
    tcase_add_test(tests, a_byte_of_the_database);
    tcase_add_test(tests, the_database_cut);
    tcase_add_test(tests, a_byte_of_wal);
    tcase_add_test(tests, wal_cut);
    tcase_add_test(tests, a_byte_of_the_anchors);
}

UNIT_MAIN("damage", add_tests)
