/* SPDX-License-Identifier: BSD-2-Clause */
/* What only root can try: files that belong to another user. auto/check runs this as root, in the
 * part `system`; all other unit programs run as another user. */
#include "world.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define THEIRS 12345
#define KEY                                                                                        \
    "keyturn-key 1\nenvironment production\nkey 1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"

static char path[160];

static void make_world(void)
{
    ck_assert_msg(geteuid() == 0, "these tests change owners: run them as root");
    world_make(NULL, NULL, NULL);
    (void)snprintf(path, sizeof(path), "%s/file", world.dir);
}

START_TEST(a_key_file_of_another_user_is_refused)
{
    kt_keyring_t *keyring = NULL;

    world_write(path, KEY, 0600);
    assert_ok(kt_keyring_parse(path, "production", &keyring));
    kt_keyring_free(keyring);
    ck_assert_int_eq(chown(path, THEIRS, 0), 0);
    assert_status(kt_keyring_parse(path, "production", &keyring), KT_PERMISSION);
    assert_failure_has("not to uid 12345");
}
END_TEST

START_TEST(a_configuration_of_another_user_is_refused)
{
    kt_config_t *config = NULL;

    world_write(path, "environment: dev\n", 0644);
    ck_assert_int_eq(chown(path, THEIRS, THEIRS), 0);
    assert_status(kt_config_read(path, &config), KT_PERMISSION);
    assert_failure_has("belongs to uid 12345, neither root nor us (uid 0): chown root ");
    ck_assert_int_eq(chown(path, 0, 0), 0);
    ck_assert_int_eq(chmod(world.dir, 0755), 0);
    ck_assert_int_eq(seteuid(THEIRS), 0);
    assert_ok(kt_config_read(path, &config)); /* root's file, read by another */
    ck_assert_int_eq(seteuid(0), 0);
    kt_config_unref(config);
}
END_TEST

static kt_status_t record(kt_audit_t *trail)
{
    kt_event_t event = {
        .action = "read", .subject = ALL, .reference = "a/b", .status = "success", .version = 3};
    kt_status_t status = kt_audit_write(trail, &event);

    return status == KT_SUCCESS ? kt_audit_drain(trail) : status;
}

/* Root in the folder of another user: what that user put there stays as it is. */
START_TEST(root_gives_away_nothing_but_what_it_made)
{
    char folder[160], stream[200], target[200], log[220];
    kt_config_t config = {.audit_path = folder};
    kt_audit_t *trail = NULL;
    struct stat st;

    (void)snprintf(folder, sizeof(folder), "%s/audit", world.dir);
    (void)snprintf(stream, sizeof(stream), "%s/redis", folder);
    (void)snprintf(target, sizeof(target), "%s/roots-own", world.dir);
    (void)snprintf(log, sizeof(log), "%s/log", stream);
    ck_assert_int_eq(mkdir(stream, 0700), 0);
    ck_assert_int_eq(chown(stream, THEIRS, THEIRS), 0);
    world_write(target, "", 0600);
    ck_assert_int_eq(link(target, log), 0);
    assert_ok(kt_audit_open(&config, "redis", &trail));
    assert_ok(record(trail)); /* into a log of its own */
    ck_assert_int_eq(stat(target, &st), 0);
    ck_assert(st.st_uid == 0 && st.st_size == 0);
    ck_assert_int_eq(stat(log, &st), 0);
    ck_assert_int_gt(st.st_size, 0);
    ck_assert_uint_eq(st.st_uid, THEIRS);
    kt_audit_close(trail);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    tcase_add_test(tests, a_key_file_of_another_user_is_refused);
    tcase_add_test(tests, a_configuration_of_another_user_is_refused);
    tcase_add_test(tests, root_gives_away_nothing_but_what_it_made);
}

UNIT_MAIN("root_files", add_tests)
