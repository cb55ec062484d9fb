/* SPDX-License-Identifier: BSD-2-Clause */
/* core/audit/access.c and usage.c: each read counts once, in whichever process; and what a damaged,
 * full or foreign table does. */
#include "process.h"
#include "world.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[160];

static void make_world(void)
{
    world_of_memory("");
    (void)snprintf(path, sizeof(path), "%s/audit/nginx/access", world.dir);
}

static void read_it(kt_ctx_t *ctx, const char *subject, const char *reference, unsigned times)
{
    kt_request_t req = request_by(subject, reference);
    kt_secret_t *secret;

    while (times-- > 0) {
        assert_ok(kt_get(ctx, &req, &secret));
        kt_secret_free(secret);
    }
}

static kt_access_sum_t sum_of(const char *name)
{
    kt_access_sum_t sum;

    kt_access_of(world.ctx->holder.config, world.ctx->holder.stream, name, &sum);
    return sum;
}

START_TEST(each_read_counts)
{
    kt_request_t req = request("api-keys/a"), absent = request("api-keys/a@7"),
                 denied = request_by("nginx:65534", "api-keys/a");
    int64_t before = kt_now();
    kt_access_sum_t sum;
    kt_secret_t *secret;
    kt_info_t *info;

    put("api-keys/a", "{\"api_key\": \"k\"}", 1);
    put("api-keys/b", "b", 1);
    ck_assert_uint_eq(sum_of("api-keys/a").count, 0);
    ck_assert_int_ne(access(path, F_OK), 0); /* nothing was read: nothing is there */
    read_it(world.ctx, ALL, "api-keys/a", 3);
    read_it(world.ctx, ALL, "api-keys/a#api_key", 2);
    read_it(world.ctx, READER, "api-keys/a@1", 1);
    sum = sum_of("api-keys/a");
    ck_assert_uint_eq(sum.count, 6);
    ck_assert_str_eq(sum.subject, READER);
    ck_assert(sum.last >= before - 20 && sum.last <= kt_now()); /* by the coarse clock */
    ck_assert_uint_eq(sum.lost + sum.hidden, 0);
    /* these are not reads of a client */
    assert_ok(kt_refresh(world.ctx, &req));
    assert_ok(kt_probe(world.ctx, &req));
    assert_status(kt_get(world.ctx, &absent, &secret), KT_NOTFOUND);
    assert_status(kt_get(world.ctx, &denied, &secret), KT_DENIED);
    ck_assert_uint_eq(sum_of("api-keys/a").count, 6);
    /* sealed service is one */
    assert_ok(kt_authorize(world.ctx, &req, "read", NULL));
    assert_ok(kt_authorize(world.ctx, &req, "read", "read.sealed"));
    assert_ok(kt_info(world.ctx, &req, &info));
    ck_assert_uint_eq(kt_info_usage(info)->count, 7);
    ck_assert_str_eq(kt_info_usage(info)->subject, ALL);
    kt_info_free(info);
    ck_assert_uint_eq(sum_of("api-keys/b").count, 0);
    ck_assert_ptr_null(memmem(sum.subject, sizeof(sum.subject), "CANARY", 6));
}
END_TEST

START_TEST(a_read_that_cannot_be_recorded_does_not_count)
{
    put("api-keys/a", "a", 1);
    read_it(world.ctx, ALL, "api-keys/a", 1);
    assert_ok(kt_audit_flush(world.ctx, 0));
    world_close_log();
    read_it(world.ctx, ALL, "api-keys/a", 1);
    assert_status(kt_audit_flush(world.ctx, 0), KT_AUDIT);
    {
        kt_request_t req = request("api-keys/a");
        kt_secret_t *secret;

        assert_status(kt_get(world.ctx, &req, &secret), KT_AUDIT);
    }
    ck_assert_uint_eq(sum_of("api-keys/a").count, 2);
}
END_TEST

#define PROCESSES 6
#define READS 2000

/* More processes than stripes would be no different: the additions are atomic. One ends by kill -9.
 */
START_TEST(processes_count_together)
{
    kt_config_t *config = world.ctx->holder.config;
    pid_t pids[PROCESSES];

    for (size_t i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        ck_assert_int_ge(pids[i], 0);
        if (pids[i] == 0) {
            kt_access_t *access = kt_access_open(config, "nginx");
            uint32_t slots[8] = {0};
            char name[32];

            for (unsigned j = 0; access != NULL && j < READS; j++) {
                (void)snprintf(name, sizeof(name), "api-keys/n%u", j % 8);
                kt_access_note(access, name, j % 2 ? "uid:odd" : "uid:even", kt_now(),
                               &slots[j % 8], NULL);
            }
            (void)(i == 0 ? raise(SIGKILL) : 0);
            _exit(0);
        }
    }
    for (size_t i = 0; i < PROCESSES; i++) {
        wait_for_child(pids[i], i == 0 ? SIGKILL : 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "api-keys/n%u", i);
        ck_assert_uint_eq(sum_of(name).count, PROCESSES * READS / 8);
        ck_assert_str_eq(sum_of(name).subject, i % 2 ? "uid:odd" : "uid:even");
    }
}
END_TEST

#ifdef KT_DEBUG_HOOKS
START_TEST(a_process_that_dies_while_it_claims_a_place_loses_no_name)
{
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        uint32_t slot = 0;
        kt_access_t *access = kt_access_open(world.ctx->holder.config, "nginx");

        (void)setenv("KEYTURN_DEBUG_STOP", "access.claimed:kill", 1);
        kt_access_note(access, "api-keys/a", ALL, kt_now(), &slot, NULL);
        _exit(0);
    }
    wait_for_child(pid, SIGKILL);
    ck_assert_uint_eq(sum_of("api-keys/a").count, 0);
    put("api-keys/a", "a", 1);
    read_it(world.ctx, ALL, "api-keys/a", 5);
    ck_assert_uint_eq(sum_of("api-keys/a").count, 5);
    ck_assert_str_eq(sum_of("api-keys/a").subject, ALL);
}
END_TEST
#endif

START_TEST(a_full_table_says_what_it_lost)
{
    kt_access_t *access = kt_access_open(world.ctx->holder.config, "nginx");
    kt_access_sum_t sum;
    unsigned noted = 0;
    char name[32];

    for (unsigned i = 0; i < 20000; i++) {
        uint32_t slot = 0;

        (void)snprintf(name, sizeof(name), "api-keys/n%u", i);
        kt_access_note(access, name, ALL, kt_now(), &slot, NULL);
        noted += slot <= 16384;
        if (slot > 16384)
            kt_access_note(access, name, ALL, kt_now(), &slot, NULL); /* it stays so */
    }
    sum = sum_of("api-keys/n0");
    ck_assert_uint_eq(sum.count, 1);
    ck_assert_uint_eq(sum.lost, 2 * (20000 - noted));
    ck_assert_uint_ge(noted, 16000);
    ck_assert_uint_le(noted, 16384);
    kt_access_close(access);
}
END_TEST

START_TEST(more_subjects_than_places_have_no_name)
{
    kt_access_t *access = kt_access_open(world.ctx->holder.config, "nginx");
    uint32_t slot = 0;
    char subject[32];

    for (unsigned i = 0; i < 3000; i++) {
        (void)snprintf(subject, sizeof(subject), "nginx:server-%u", i);
        kt_access_note(access, "api-keys/a", subject, kt_now(), &slot, NULL);
    }
    ck_assert_uint_eq(sum_of("api-keys/a").count, 3000);
    ck_assert_str_eq(sum_of("api-keys/a").subject, "");
    kt_access_note(access, "api-keys/a", "nginx:server-0", kt_now(), &slot, NULL);
    (void)usleep(10000); /* a tick of the coarse clock */
    kt_access_note(access, "api-keys/a", "nginx:server-1", kt_now(), &slot, NULL);
    ck_assert_str_eq(sum_of("api-keys/a").subject, "nginx:server-1");
    kt_access_close(access);
}
END_TEST

/* Whatever lies there: reads are served, and no other file is counted in or followed. */
static const struct {
    const char *text;
    bool link, folder;
} strange[] = {
    {"", false, false}, {"junk", false, false}, {NULL, true, false}, {NULL, false, true}};

START_TEST(a_strange_file_does_no_harm)
{
    char target[160];

    put("api-keys/a", "a", 1);
    (void)snprintf(target, sizeof(target), "%s/target", world.dir);
    if (strange[_i].link) {
        world_write(target, "", 0600);
        ck_assert_int_eq(symlink(target, path), 0);
    } else if (strange[_i].folder) {
        ck_assert_int_eq(mkdir(path, 0700), 0);
    } else {
        world_write(path, strange[_i].text, 0600);
    }
    read_it(world.ctx, ALL, "api-keys/a", 2);
    ck_assert_uint_eq(sum_of("api-keys/a").count,
                      strange[_i].text != NULL && strange[_i].text[0] == '\0' ? 2 : 0);
    if (strange[_i].link) {
        struct stat st;

        ck_assert_int_eq(stat(target, &st), 0);
        ck_assert_int_eq(st.st_size, 0);
    }
}
END_TEST

/* Each byte that a reader trusts, changed: no crash, and no malformed name. */
static int check_name(void *arg, const kt_usage_t *usage)
{
    (void)arg;
    assert_ok(kt_name_check(usage->name, 0, NULL));
    ck_assert_uint_le(strlen(usage->name), KT_NAME_MAX);
    if (usage->subject != NULL)
        ck_assert_uint_le(strlen(usage->subject), KT_SUBJECT_MAX);
    return 0;
}

START_TEST(a_damaged_table_is_read_with_care)
{
    int fd;

    put("api-keys/a", "a", 1);
    read_it(world.ctx, ALL, "api-keys/a", 1);
    fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    for (off_t at = SEEK_SET; (at = lseek(fd, at, SEEK_DATA)) >= 0; at++) {
        unsigned char byte, other = 0xff;

        if (pread(fd, &byte, 1, at) != 1 || byte == 0 || at < 8)
            continue;
        ck_assert_int_eq(pwrite(fd, &other, 1, at), 1);
        if (at % 31 == 0)
            assert_ok(kt_usage(world.ctx, check_name, NULL, NULL));
        (void)sum_of("api-keys/a");
        ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
    }
    ck_assert_int_eq(ftruncate(fd, 400000), 0);
    (void)close(fd);
    assert_ok(kt_usage(world.ctx, check_name, NULL, NULL));
}
END_TEST

static int collect(void *arg, const kt_usage_t *usage)
{
    char *text = arg;

    (void)sprintf(text + strlen(text), "%s=%u/%s ", usage->name, (unsigned)usage->count,
                  usage->subject);
    return 0;
}

START_TEST(all_streams_are_added_by_name)
{
    char text[512] = "", other[128];
    kt_access_t *access;
    kt_usage_t total;
    uint32_t slot = 0;

    assert_not_root(); /* root could read the stream of mode 0 */
    put("api-keys/a", "a", 1);
    put("database/b", "b", 1);
    read_it(world.ctx, ALL, "database/b", 2);
    read_it(world.ctx, ALL, "api-keys/a", 1);
    (void)usleep(10000);
    (void)snprintf(other, sizeof(other), "%s/audit/redis", world.dir);
    ck_assert_int_eq(mkdir(other, 0700), 0);
    access = kt_access_open(world.ctx->holder.config, "redis");
    for (unsigned i = 0; i < 5; i++)
        kt_access_note(access, "api-keys/a", "redis:app", kt_now(), &slot, NULL);
    kt_access_close(access);
    assert_ok(kt_usage(world.ctx, collect, text, &total));
    ck_assert_str_eq(text, "api-keys/a=6/redis:app database/b=2/" ALL " ");
    ck_assert_uint_eq(total.count, 8);
    ck_assert_uint_eq(total.hidden, 0);
    ck_assert_int_eq(chmod(other, 0), 0);
    text[0] = '\0';
    assert_ok(kt_usage(world.ctx, collect, text, &total));
    ck_assert_str_eq(text, "api-keys/a=1/" ALL " database/b=2/" ALL " ");
    ck_assert_uint_eq(total.hidden, 1);
    ck_assert_uint_eq(sum_of("api-keys/a").hidden, 1);
    ck_assert_int_eq(chmod(other, 0700), 0);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    tcase_add_test(tests, each_read_counts);
    tcase_add_test(tests, a_read_that_cannot_be_recorded_does_not_count);
    tcase_add_test(tests, processes_count_together);
#ifdef KT_DEBUG_HOOKS
    tcase_add_test(tests, a_process_that_dies_while_it_claims_a_place_loses_no_name);
#endif
    tcase_add_test(tests, a_full_table_says_what_it_lost);
    tcase_add_test(tests, more_subjects_than_places_have_no_name);
    UNIT_TABLE(tests, a_strange_file_does_no_harm, strange);
    tcase_add_test(tests, a_damaged_table_is_read_with_care);
    tcase_add_test(tests, all_streams_are_added_by_name);
}

UNIT_MAIN("access", add_tests)
