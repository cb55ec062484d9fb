/* SPDX-License-Identifier: BSD-2-Clause */
/* core/keys/keyfile.c: what a key file may be, and that no error shows what is in it. */
#include "world.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" /* 00 01 ... 1f */
#define PART "AAECAwQFBgcICQoLDA0O"

static char path[160];

static void make_world(void)
{
    world_make(NULL, NULL, NULL);
    (void)snprintf(path, sizeof(path), "%s/k", world.dir);
}

static kt_status_t parse(const char *text, mode_t mode)
{
    kt_keyring_t *keyring = NULL;
    kt_status_t status;

    world_write(path, text, mode);
    status = kt_keyring_parse(path, "production", &keyring);
    if (status == KT_SUCCESS)
        kt_keyring_free(keyring);
    else
        ck_assert_ptr_null(keyring);
    return status;
}

#define GOOD "keyturn-key 1\nenvironment production\nkey 1 " KEY "\n"

static const struct {
    kt_status_t status;
    const char *text, *error;
} files[] = {
    {KT_SUCCESS, GOOD, ""},
    {KT_SUCCESS, "# of us\n\n  keyturn-key\t1 \nenvironment prod\n\n#\nkey 1 " KEY "", ""},
    {KT_SUCCESS, "keyturn-key 1\nenvironment production\nkey 3 " KEY "\nkey 1 " KEY "\n", ""},
    {KT_CONFIG, "", "holds no key"},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\n", "holds no key"},
    {KT_CONFIG, "key 1 " KEY "\n", ":1: not a key file"},
    {KT_CONFIG, "keyturn-key 2\nenvironment production\nkey 1 " KEY "\n", ":1: not a key file"},
    {KT_CONFIG, KEY "\n", ":1: not a key file"},
    {KT_CONFIG, "keyturn-key 1\nkey 1 " KEY "\n", ":2: the environment has to come before"},
    {KT_WRONGKEY, "keyturn-key 1\nenvironment staging\nkey 1 " KEY "\n",
     "this is a key of \"staging\""},
    {KT_CONFIG, "keyturn-key 1\nenvironment\nkey 1 " KEY "\n",
     ":2: expected the name of an environment"},
    {KT_CONFIG, "keyturn-key 1\nenvironment " KEY "\n", ":2: environment"},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\n" KEY "\n", ":3: expected \"environment\""},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\nkey " KEY "\n", ":3: expected an epoch"},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\nkey 0 " KEY "\n", ":3: expected an epoch"},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\nkey -1 " KEY "\n", ":3: expected an epoch"},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\nkey 99999999999999999999999 " KEY "\n",
     ":3: expected an epoch"},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\nkey 1\n", ":3: expected base64"},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\nkey 1 " PART "\n",
     ":3: a key has 32 bytes"},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\nkey 1 " PART KEY "\n",
     ":3: expected base64"},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\nkey 1 " PART "?\n", ":3: expected base64"},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\nkey 1 " KEY " " KEY "\n",
     ":3: too many words"},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\nkey 1 " KEY "\nkey 2 " KEY "\n",
     ":4: epochs have to stand newest first"},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\nkey 1 " KEY "\nkey 1 " KEY "\n",
     ":4: epochs have to stand newest first"},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\ntype a/b 1 " KEY " " KEY "\n",
     ":3: expected the name of a type"},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\ntype a 1 " KEY "\n", ":3: expected base64"},
    {KT_CONFIG, "keyturn-key 1\nenvironment production\ntype a 1 " KEY " " KEY "\n", ":3: label"},
    {KT_CONFIG, "keyturn-key 1\r\nenvironment production\r\nkey 1 " KEY "\r\n",
     ":1: not a key file"},
};

START_TEST(a_key_file_is_read_or_refused)
{
    assert_status(parse(files[_i].text, 0600), files[_i].status);
    if (files[_i].status == KT_SUCCESS)
        return;
    assert_failure_has(files[_i].error);
    assert_failure_has(path);
    /* neither a key nor half of one */
    ck_assert_msg(strstr(kt_failure(), PART) == NULL, "%s", kt_failure());
}
END_TEST

START_TEST(nul_is_not_text)
{
    FILE *file = fopen(path, "w");

    (void)fwrite(GOOD "\0x\n", 1, sizeof(GOOD) + 2, file);
    (void)fclose(file);
    ck_assert_int_eq(chmod(path, 0600), 0);
    {
        kt_keyring_t *keyring;

        assert_status(kt_keyring_parse(path, "production", &keyring), KT_CONFIG);
        assert_failure_has("not a key file");
    }
}
END_TEST

static const struct {
    mode_t mode;
    kt_status_t status;
} modes[] = {{0600, KT_SUCCESS},    {0400, KT_SUCCESS},    {0640, KT_SUCCESS},
             {0440, KT_SUCCESS},    {0604, KT_PERMISSION}, {0660, KT_PERMISSION},
             {0620, KT_PERMISSION}, {0644, KT_PERMISSION}, {0602, KT_PERMISSION},
             {0700, KT_PERMISSION}};

START_TEST(modes_are_judged)
{
    assert_status(parse(GOOD, modes[_i].mode), modes[_i].status);
}
END_TEST

START_TEST(only_a_file_is_a_key_file)
{
    kt_keyring_t *keyring;

    assert_status(kt_keyring_parse(world.dir, "production", &keyring), KT_PERMISSION);
    assert_failure_has("not a regular file");
    assert_status(kt_keyring_parse("/nonexistent/k", "production", &keyring), KT_CONFIG);
    assert_failure_has("/nonexistent/k");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    /* and does not wait for a writer */
    assert_status(kt_keyring_parse(path, "production", &keyring), KT_PERMISSION);
    assert_failure_has("not a regular file");
}
END_TEST

START_TEST(a_huge_file_is_refused)
{
    kt_keyring_t *keyring;

    world_write(path, GOOD, 0600);
    ck_assert_int_eq(truncate(path, 512 * 1024 + 1), 0);
    assert_status(kt_keyring_parse(path, "production", &keyring), KT_CONFIG);
    assert_failure_has("too large");
}
END_TEST

START_TEST(a_new_key_is_private_random_and_never_overwrites)
{
    char error[256] = "", *one, *two, other[200];
    struct stat st;

    assert_ok(kt_keygen(path, "prod", error, sizeof(error)));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    one = world_read(path, NULL);
    ck_assert_ptr_nonnull(strstr(one, "\nenvironment production\nkey 1 "));
    assert_status(kt_keygen(path, "prod", error, sizeof(error)), KT_CONFLICT);
    ck_assert_ptr_nonnull(strstr(error, "exists already"));
    two = world_read(path, NULL);
    ck_assert_str_eq(one, two);
    free(two);
    (void)snprintf(other, sizeof(other), "%s2", path);
    assert_ok(kt_keygen(other, "prod", NULL, 0));
    two = world_read(other, NULL);
    ck_assert_str_ne(one, two);
    free(one);
    free(two);
    assert_status(kt_keygen("/nonexistent/k", "prod", error, sizeof(error)), KT_NOSPACE);
    assert_status(kt_keygen(other, "a b", error, sizeof(error)), KT_USAGE);
    ck_assert_int_eq(symlink("/tmp/ktu-never", path + 0) == 0, 0); /* taken */
}
END_TEST

START_TEST(a_file_of_type_keys_holds_those_types_only)
{
    kt_keyring_t *keyring = NULL;
    const kt_typekey_t *mine, *theirs;
    char *text;

    world_open();
    assert_ok(kt_keygen_types(world.setup, "api-keys, tls", path));
    text = world_read(path, NULL);
    ck_assert_ptr_null(strstr(text, "\nkey "));
    free(text);
    assert_ok(kt_keyring_parse(path, "test", &keyring));
    ck_assert_uint_eq(keyring->nenv, 0);
    ck_assert_uint_eq(keyring->ntypes, 2);
    assert_ok(kt_keyring_type(keyring, "tls", 0, &mine));
    assert_ok(kt_keyring_type(world.setup->keyring, "tls", 0, &theirs));
    ck_assert_mem_eq(mine->key, theirs->key, KT_KEY_SIZE);
    assert_status(kt_keyring_type(keyring, "database", 0, &mine), KT_NOKEY);
    kt_keyring_free(keyring);
    assert_status(kt_keygen_types(world.setup, "tls", path), KT_CONFLICT);
    assert_status(kt_keygen_types(world.setup, " ,", path), KT_USAGE);
    assert_status(kt_keygen_types(world.setup, "a/b", path), KT_USAGE);
    ck_assert_str_ne(kt_setup_error(world.setup), "");
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    UNIT_TABLE(tests, a_key_file_is_read_or_refused, files);
    tcase_add_test(tests, nul_is_not_text);
    UNIT_TABLE(tests, modes_are_judged, modes);
    tcase_add_test(tests, only_a_file_is_a_key_file);
    tcase_add_test(tests, a_huge_file_is_refused);
    tcase_add_test(tests, a_new_key_is_private_random_and_never_overwrites);
    tcase_add_test(tests, a_file_of_type_keys_holds_those_types_only);
}

UNIT_MAIN("keyfile", add_tests)
