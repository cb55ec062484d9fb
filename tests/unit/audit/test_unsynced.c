/* SPDX-License-Identifier: BSD-2-Clause */
/* core/audit/stream.c, current.c: the outcome of a change is not synced by itself. A power cut may
 * take it, and nothing else. */
#include "world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/stream.h"
#include "audit/verify.h"

static kt_config_t config;
static kt_audit_t *audit;
static char folder[160], stream[176], state_path[192], key_path[192];
static char audit_key[KT_AUDIT_KEY_LINE];

static void open_audit(void)
{
    assert_ok(kt_audit_open(&config, "nginx", &audit));
}

static void close_audit(void)
{
    kt_audit_close(audit);
    audit = NULL;
}

static void make_world(void)
{
    char error[KT_ERROR_SIZE] = "";

    world_make(NULL, NULL, NULL);
    memset(&config, 0, sizeof(config));
    (void)snprintf(config.environment, sizeof(config.environment), "production");
    (void)snprintf(folder, sizeof(folder), "%s/audit", world.dir);
    (void)snprintf(stream, sizeof(stream), "%s/nginx", folder);
    (void)snprintf(state_path, sizeof(state_path), "%s/state", stream);
    (void)snprintf(key_path, sizeof(key_path), "%s/audit.key", world.dir);
    config.audit_path = folder;
    config.audit_checkpoint = 3600000;
    assert_ok(kt_audit_keygen(audit_key));
    world_write(key_path, audit_key, 0600);
    assert_ok(kt_audit_start(stream, "prod", "nginx", key_path, error, sizeof(error)));
    open_audit();
}

static void end_world(void)
{
    close_audit();
    world_end();
}

static void record(const char *status)
{
    kt_event_t event = {.action = "write",
                        .subject = ALL,
                        .reference = "a/b",
                        .status = status,
                        .durable = true,
                        .derivable = strcmp(status, "success") == 0};

    assert_ok(kt_audit_write(audit, &event));
}

static void change(void)
{
    record("intent");
    record("success");
}

static kt_audit_state_t read_state(void)
{
    unsigned char bytes[KT_AUDIT_STATE];
    kt_audit_state_t state;
    int fd = open(state_path, O_RDONLY);

    ck_assert_int_eq(read(fd, bytes, sizeof(bytes)), sizeof(bytes));
    (void)close(fd);
    ck_assert(kt_audit_decode_state(bytes, &state));
    return state;
}

static off_t size_of_log(void)
{
    struct stat st;

    ck_assert_int_eq(stat(world.log, &st), 0);
    return st.st_size;
}

/* The machine started again; of the block that was not synced so many bytes had reached the disk.
 */
static void cut_power(off_t reached)
{
    unsigned char bytes[KT_AUDIT_STATE];
    kt_audit_state_t state = read_state();
    int fd = open(state_path, O_WRONLY);

    close_audit();
    ck_assert_uint_ne(state.lazy.block, 0);
    memset(state.lazy.boot, 0x5a, sizeof(state.lazy.boot));
    kt_audit_encode_state(&state, bytes);
    ck_assert_int_eq(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
    (void)close(fd);
    ck_assert_int_eq(truncate(world.log, (off_t)state.sealed.length + reached), 0);
    open_audit();
}

static char found[8192];

static void find(void *arg, kt_status_t status, const char *what, const char *detail)
{
    size_t at = strlen(found);

    (void)arg;
    (void)snprintf(found + at, sizeof(found) - at, "%s %s %s\n", kt_status_name(status), what,
                   detail);
}

static kt_status_t verify(void)
{
    found[0] = '\0';
    return kt_audit_verify_received(folder, key_path, NULL, false, find, NULL);
}

#define assert_verified() ck_assert_msg(verify() == KT_SUCCESS, "%s", found)

static bool log_has(const char *text)
{
    char *log = world_read(world.log, NULL);
    bool has = strstr(log, text) != NULL;

    free(log);
    return has;
}

/* The state stays where the intent ends until the next block is synced. */
START_TEST(an_outcome_is_synced_with_the_next_block)
{
    kt_audit_state_t state;

    record("intent");
    state = read_state();
    ck_assert_uint_eq(state.lazy.block, 0);
    ck_assert_uint_eq(state.sealed.length, size_of_log());
    record("success");
    state = read_state();
    ck_assert_uint_eq(state.lazy.block, state.block + 1);
    ck_assert_uint_eq(state.lazy.end.length, size_of_log());
    ck_assert_uint_lt(state.sealed.length, size_of_log());
    assert_verified();
    record("success"); /* only one is left unsynced */
    ck_assert_uint_eq(read_state().lazy.block, 0);
    record("success");
    assert_ok(kt_audit_sweep(audit)); /* a drain without a decision */
    state = read_state();
    ck_assert_uint_eq(state.lazy.block, 0);
    ck_assert_uint_eq(state.sealed.length, size_of_log());
    close_audit();
    open_audit();
    change();
    assert_verified();
}
END_TEST

/* The first block of a log names it, and is always synced. */
START_TEST(the_first_block_is_synced)
{
    record("success");
    ck_assert_uint_eq(read_state().lazy.block, 0);
}
END_TEST

/* An outcome that is cut off or changed while the machine runs is missed like any other line, by a
 * verifier and by the next writer. */
START_TEST(a_cut_outcome_is_noticed)
{
    kt_audit_state_t state;

    change();
    state = read_state();
    close_audit();
    ck_assert_int_eq(truncate(world.log, (off_t)state.sealed.length), 0);
    ck_assert_int_eq(verify(), KT_MALFORMED);
    ck_assert_msg(strstr(found, "lines were cut off or changed") != NULL, "%s", found);
    open_audit();
    change();
    ck_assert(log_has("\"gap\""));
    ck_assert_int_eq(verify(), KT_MALFORMED);
}
END_TEST

START_TEST(a_changed_outcome_is_noticed)
{
    kt_audit_state_t state;
    int fd;

    change();
    state = read_state();
    close_audit();
    fd = open(world.log, O_WRONLY);
    ck_assert_int_eq(pwrite(fd, "X", 1, (off_t)state.sealed.length + 40), 1);
    (void)close(fd);
    ck_assert_int_eq(verify(), KT_MALFORMED);
    open_audit();
    change();
    ck_assert_int_eq(verify(), KT_MALFORMED);
}
END_TEST

static const off_t reached[] = {0, 1, 100};

/* The trail goes on, says what is lost, and asks for a checkpoint: it has the generations that were
 * committed. */
START_TEST(a_power_cut_may_take_the_outcome)
{
    change();
    change();
    cut_power(reached[_i]);
    if (reached[_i] == 0)
        assert_verified(); /* before anybody writes */
    record("intent");
    ck_assert(log_has("\"action\":\"recover\""));
    ck_assert(kt_audit_wants_checkpoint(audit, kt_now()));
    ck_assert(!log_has("\"gap\""));
    record("success");
    assert_verified();
    close_audit();
    open_audit();
    change();
    assert_verified();
}
END_TEST

START_TEST(a_power_cut_may_leave_the_outcome)
{
    kt_audit_state_t state;

    change();
    state = read_state();
    cut_power((off_t)(state.lazy.end.length - state.sealed.length));
    assert_verified();
    change();
    ck_assert(!log_has("\"recover\""));
    ck_assert(!kt_audit_wants_checkpoint(audit, kt_now()));
    assert_verified();
}
END_TEST

/* More than the outcome cannot be lost to a power cut. */
START_TEST(a_power_cut_explains_no_more_than_that)
{
    kt_audit_state_t state;

    change();
    state = read_state();
    cut_power(0);
    close_audit();
    ck_assert_int_eq(truncate(world.log, (off_t)state.sealed.length - 1), 0);
    ck_assert_int_eq(verify(), KT_MALFORMED);
    open_audit();
    change();
    ck_assert(log_has("\"gap\""));
    ck_assert_int_eq(verify(), KT_MALFORMED);
}
END_TEST

START_TEST(a_log_is_closed_after_its_last_block_is_synced)
{
    change();
    close_audit();
    config.audit_rotate = 200;
    open_audit();
    change();
    change();
    assert_verified();
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, end_world);
    tcase_add_test(tests, an_outcome_is_synced_with_the_next_block);
    tcase_add_test(tests, the_first_block_is_synced);
    tcase_add_test(tests, a_cut_outcome_is_noticed);
    tcase_add_test(tests, a_changed_outcome_is_noticed);
    UNIT_TABLE(tests, a_power_cut_may_take_the_outcome, reached);
    tcase_add_test(tests, a_power_cut_may_leave_the_outcome);
    tcase_add_test(tests, a_power_cut_explains_no_more_than_that);
    tcase_add_test(tests, a_log_is_closed_after_its_last_block_is_synced);
}

UNIT_MAIN("unsynced", add_tests)
