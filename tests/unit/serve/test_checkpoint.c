/* SPDX-License-Identifier: BSD-2-Clause */
/* core/serve/checkpoint.c: how far trail and store are, at least hourly, once for all processes of
 * a stream. */
#include "world.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>

#include "audit/stream.h"
#include "audit/verify.h"

/* The next one is due at once. */
static void make_due(kt_ctx_t *ctx)
{
    ctx->audit->interval = 0;
}

static size_t checkpoints(void)
{
    return world_lines("\"action\":\"checkpoint\"", NULL);
}

START_TEST(it_has_the_generations)
{
    put("api-keys/a", "one", 1);
    put("api-keys/a", "two", 2);
    put("database/b", "three", 1);
    kt_checkpoint(world.ctx);
    ck_assert_uint_eq(checkpoints(), 0); /* the stream has just begun */
    make_due(world.ctx);
    kt_checkpoint(world.ctx);
    ck_assert_uint_eq(world_lines("\"action\":\"checkpoint\"", "\"generations\":{\"local\":{",
                                  "\"api-keys\":2", "\"database\":1", "}}}", NULL),
                      1);
    ck_assert_uint_eq(world_lines("\"severity\"", NULL), 0);
    put("database/b", "four", 2);
    kt_checkpoint(world.ctx);
    ck_assert_uint_eq(world_lines("\"action\":\"checkpoint\"", "\"database\":2", NULL), 1);
}
END_TEST

/* A process that has read nothing of a type finds it in the catalogue. */
START_TEST(also_of_types_that_were_not_asked_for)
{
    kt_ctx_t *other;

    put("api-keys/a", "one", 1);
    put("database/b", "three", 1);
    other = world_context();
    assert_ok(kt_audit_flush(other, 1));
    make_due(other);
    kt_checkpoint(other);
    kt_close(other);
    ck_assert_uint_eq(
        world_lines("\"action\":\"checkpoint\"", "\"api-keys\":1", "\"database\":1", NULL), 1);
}
END_TEST

/* Under the stream's lock the state decides: who thinks that it is time comes second. */
START_TEST(one_of_many_processes)
{
    kt_ctx_t *other;

    put("api-keys/a", "one", 1);
    other = world_context();
    assert_ok(kt_audit_flush(other, 1));
    make_due(world.ctx);
    kt_checkpoint(world.ctx);
    atomic_store(&other->audit->checkpoint, 1);
    kt_checkpoint(other);
    ck_assert_uint_eq(checkpoints(), 1);
    kt_close(other);
}
END_TEST

/* More types than have room in a line: some, and how many more there are. */
START_TEST(many_types)
{
    char name[200], *log;

    for (int i = 0; i < 60; i++) {
        (void)snprintf(name, sizeof(name), "type-%03d-%0150d/a", i, i);
        put(name, "one", 1);
    }
    make_due(world.ctx);
    kt_checkpoint(world.ctx);
    ck_assert_uint_eq(world_lines("\"action\":\"checkpoint\"", "\"type-000-", "\"more\":", NULL),
                      1);
    log = world_read(world.log, NULL);
    for (char *line = log, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        ck_assert_int_lt(end - line, KT_AUDIT_LINE);
    free(log);
}
END_TEST

static void *serve(void *arg)
{
    return kt_audit_run(arg) == KT_SUCCESS ? NULL : arg;
}

/* Nothing is read, nothing is written. */
START_TEST(also_when_idle)
{
    pthread_t thread;
    int64_t until = kt_monotonic() + 30000;

    put("api-keys/a", "one", 1);
    world.ctx->audit->interval = 50;
    ck_assert_int_eq(pthread_create(&thread, NULL, serve, world.ctx), 0);
    while (checkpoints() < 2 && kt_monotonic() < until)
        (void)poll(NULL, 0, 20);
    kt_audit_stop(world.ctx);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_ge(checkpoints(), 2);
}
END_TEST

/* A store that cannot be read does not prevent a checkpoint. */
START_TEST(without_the_store)
{
    kt_ctx_t *other;

    put("api-keys/a", "one", 1);
    other = world_context();
    assert_ok(kt_audit_flush(other, 1));
    ck_assert_int_eq(remove(world.store), 0);
    make_due(other);
    kt_checkpoint(other);
    kt_close(other);
    ck_assert_uint_eq(
        world_lines("\"action\":\"checkpoint\"", "\"generations\":{}", "\"more\":1", NULL), 1);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, world_of_local, world_end);
    tcase_add_test(tests, it_has_the_generations);
    tcase_add_test(tests, also_of_types_that_were_not_asked_for);
    tcase_add_test(tests, one_of_many_processes);
    tcase_add_test(tests, many_types);
    tcase_add_test(tests, also_when_idle);
    tcase_add_test(tests, without_the_store);
}

UNIT_MAIN("checkpoints", add_tests)
