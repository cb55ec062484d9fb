/* SPDX-License-Identifier: BSD-2-Clause */
/* core/serve/settle.c: a generation above all anchors is recorded, and then gets its anchor,
 * whichever process of whichever host finds it. */
#include "world.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "serve/serve.h"

static char path[160];
static char *before;

/* The anchor of the last change is lost. */
static void make_world(void)
{
    world_make(NULL, NULL, "cache: {ttl: 0s, negative: 0s, stale: 0s}\n");
    world_of_local();
    (void)snprintf(path, sizeof(path), "%s/anchors/nginx/generations", world.dir);
    put("api-keys/a", "one", 1);
    before = world_read(path, NULL);
    put("api-keys/a", "two", 2);
    world_write(path, before, 0644);
}

static void end_world(void)
{
    free(before);
    world_end();
}

static size_t settled(void)
{
    return world_lines("\"action\":\"settle\"", "\"reference\":\"api-keys/*\"", "\"generation\":2",
                       "\"provider\":\"local\"", NULL);
}

static bool has_anchor(void)
{
    char *now = world_read(path, NULL);
    bool changed = strcmp(now, before) != 0;

    free(now);
    return changed;
}

static void read_by(kt_ctx_t *ctx)
{
    kt_request_t req = request("api-keys/a");
    kt_secret_t *value = NULL;

    assert_ok(kt_get(ctx, &req, &value));
    kt_secret_free(value);
}

/* As if the time that a living writer is given had passed. */
static void make_due(kt_ctx_t *ctx)
{
    size_t count;
    kt_unanchored_t *missing = kt_anchors_missing(ctx->stores[0].anchors, &count);

    ck_assert_uint_eq(count, 1);
    missing->due -= 60000 + KT_SETTLE_MS;
}

START_TEST(a_host_without_a_thread)
{
    kt_ctx_t *other = world_context();

    assert_value("api-keys/a", "two", 2);
    ck_assert_uint_eq(settled(), 0);
    ck_assert(!has_anchor());
    make_due(world.ctx);
    assert_value("api-keys/a", "two", 2);
    ck_assert_uint_eq(settled(), 1);
    ck_assert(has_anchor());
    kt_close(other);
}
END_TEST

START_TEST(a_hosts_thread)
{
    assert_value("api-keys/a", "two", 2);
    (void)kt_forward_step(world.ctx);
    ck_assert_uint_eq(settled(), 0);
    make_due(world.ctx);
    (void)kt_forward_step(world.ctx);
    ck_assert_uint_eq(settled(), 1);
    ck_assert(has_anchor());
}
END_TEST

static void fetch_by(kt_ctx_t *agent)
{
    kt_store_t *store;
    kt_head_t head;

    assert_ok(kt_enter(agent));
    assert_ok(kt_store_of(agent, 0, &store));
    assert_ok(kt_store_head(&agent->holder, store, "api-keys/a", &head));
    kt_head_clear(&head);
    kt_leave(agent);
}

/* Its context has the audit log. */
START_TEST(an_agent)
{
    kt_ctx_t *agent;

    assert_ok(kt_open_agent(world.ctx, &agent));
    fetch_by(agent);
    make_due(agent);
    fetch_by(agent);
    kt_close(agent);
    ck_assert_uint_eq(settled(), 1);
    ck_assert(has_anchor());
}
END_TEST

/* Both found it; the second one sees what the first one has written. */
START_TEST(two_processes)
{
    kt_ctx_t *other = world_context();

    read_by(other);
    assert_value("api-keys/a", "two", 2);
    make_due(other);
    make_due(world.ctx);
    (void)kt_forward_step(other);
    (void)kt_forward_step(world.ctx);
    kt_close(other);
    ck_assert_uint_eq(settled(), 1);
}
END_TEST

/* A writer does not wait: what it found is in its log before its own intent. */
START_TEST(a_writer)
{
    char *log, *found, *intent;

    put("api-keys/b", "three", 1);
    ck_assert_uint_eq(settled(), 1);
    log = world_read(world.log, NULL);
    found = strstr(log, "\"action\":\"settle\"");
    intent = strstr(log, "\"reference\":\"api-keys/b\"");
    ck_assert(found != NULL && intent != NULL && found < intent);
    free(log);
}
END_TEST

/* The line comes once, however often the anchor cannot be written. */
START_TEST(an_anchor_that_cannot_be_written)
{
    char lock[160];

    (void)snprintf(lock, sizeof(lock), "%s/anchors/nginx/.lock", world.dir);
    ck_assert_int_eq(unlink(lock), 0);
    ck_assert_int_eq(symlink("nowhere", lock), 0);
    assert_value("api-keys/a", "two", 2);
    for (int i = 0; i < 3; i++) {
        make_due(world.ctx);
        (void)kt_forward_step(world.ctx);
    }
    ck_assert_uint_eq(settled(), 1);
    ck_assert(!has_anchor());
    ck_assert_int_eq(unlink(lock), 0);
    make_due(world.ctx);
    (void)kt_forward_step(world.ctx);
    ck_assert_uint_eq(settled(), 1);
    ck_assert(has_anchor());
}
END_TEST

/* An anchor alone would hide that there was none. */
START_TEST(a_log_that_cannot_be_written)
{
    assert_value("api-keys/a", "two", 2);
    ck_assert_uint_eq(settled(), 0);
    make_due(world.ctx);
    world_close_log();
    (void)kt_forward_step(world.ctx);
    ck_assert(!has_anchor());
    world_open_log();
    make_due(world.ctx);
    (void)kt_forward_step(world.ctx);
    ck_assert_uint_eq(settled(), 1);
    ck_assert(has_anchor());
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, end_world);
    tcase_add_test(tests, a_host_without_a_thread);
    tcase_add_test(tests, a_hosts_thread);
    tcase_add_test(tests, an_agent);
    tcase_add_test(tests, two_processes);
    tcase_add_test(tests, a_writer);
    tcase_add_test(tests, an_anchor_that_cannot_be_written);
    tcase_add_test(tests, a_log_that_cannot_be_written);
}

UNIT_MAIN("settle", add_tests)
