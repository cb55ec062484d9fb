/* SPDX-License-Identifier: BSD-2-Clause */
/* core/keys/source.c, exec.c, kernel.c, passphrase.c: each source of a key, which users may
 * have changed it, and the error when it fails. */
#include "world.h"

#include <linux/keyctl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keys/source.h"

#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" /* 00 01 ... 1f */
#define GOOD "keyturn-key 1\nenvironment test\nkey 1 " KEY "\n"
#define PHRASE "correct horse battery"

static char path[160];
static kt_cfg_key_t key;

static void make_world(void)
{
    world_make(NULL, NULL, NULL);
    (void)snprintf(path, sizeof(path), "%s/k", world.dir);
}

/* The answer of a `key:` with this source, of which %s is the path. */
static kt_status_t read_source(const char *format)
{
    kt_config_t config = {
        .path = world.config, .folder = world.dir, .environment = "test", .keys = &key, .nkeys = 1};
    kt_keyring_t *keyring = NULL;
    char source[400];
    kt_status_t status;

    (void)snprintf(source, sizeof(source), format, path);
    key = (kt_cfg_key_t){.source = source, .line = 7};
    status = kt_keyring_read(&config, "cli", &keyring);
    if (status == KT_SUCCESS) {
        ck_assert_uint_eq(keyring->nenv, 1);
        ck_assert_uint_eq(keyring->env[0].key[31], 31);
        kt_keyring_free(keyring);
    } else {
        ck_assert_ptr_null(keyring);
        ck_assert_ptr_null(strstr(kt_failure(), "AAEC"));
    }
    return status;
}

/* ---- credential ---- */

START_TEST(a_credential_is_a_file_of_systemds_folder)
{
    (void)unsetenv("CREDENTIALS_DIRECTORY");
    assert_status(read_source("credential:k"), KT_CONFIG);
    assert_failure_has("keyturn.yaml:7: credential:k: systemd passed no credentials");
    (void)setenv("CREDENTIALS_DIRECTORY", world.dir, 1);
    assert_status(read_source("credential:k"), KT_CONFIG);
    assert_failure_has("No such file");
    world_write(path, GOOD, 0400);
    assert_ok(read_source("credential:k"));
    assert_status(read_source("credential:../k"), KT_CONFIG);
    ck_assert_int_eq(chmod(path, 0444), 0);
    assert_status(read_source("credential:k"), KT_PERMISSION);
    assert_failure_has("too open for a key file");
    (void)unsetenv("CREDENTIALS_DIRECTORY");
}
END_TEST

/* ---- exec ---- */

static const struct {
    const char *script;
    kt_status_t status;
    const char *error;
} scripts[] = {
    {"printf 'keyturn-key 1\\nenvironment test\\nkey 1 " KEY "\\n'", KT_SUCCESS, ""},
    {"echo 'keyturn-key 1'; echo 'environment test'; sleep 0.1; echo key 1 " KEY, KT_SUCCESS, ""},
    {"exit 3", KT_CONFIG, "/k: failed with exit status 3"},
    {"printf 'keyturn-key 1\\nenvironment test\\nkey 1 " KEY "\\n'; exit 1", KT_CONFIG,
     "/k: failed with exit status 1"},
    {"kill -9 $$", KT_CONFIG, "/k: killed by signal 9"},
    {":", KT_CONFIG, "/k: printed nothing"},
    {"echo " KEY, KT_CONFIG, "/k:1: not a key file"},
    {"echo 'keyturn-key 1'; echo 'environment production'", KT_WRONGKEY,
     "/k:2: this is a key of \"production\""},
    {"exec head -c 600000 /dev/zero", KT_CONFIG, "/k: printed more than a key file may hold"},
    /* nothing of the host: environment, standard input, descriptors, ignored signals */
    {"test -z \"$KT_CANARY\" && ! read line && test ! -e /proc/self/fd/9 && test \"$LC_ALL\" = C "
     "|| exit 9; "
     "printf 'keyturn-key 1\\nenvironment test\\nkey 1 " KEY "\\n'",
     KT_SUCCESS, ""},
};

static void write_script(const char *script, mode_t mode)
{
    char text[700];

    (void)snprintf(text, sizeof(text), "#!/bin/sh\n%s\n", script);
    world_write(path, text, mode);
}

START_TEST(a_command_is_believed_when_it_succeeds)
{
    (void)setenv("KT_CANARY", "x", 1);
    (void)dup2(STDERR_FILENO, 9);
    write_script(scripts[_i].script, 0700);
    assert_status(read_source("exec:%s"), scripts[_i].status);
    if (scripts[_i].status != KT_SUCCESS) {
        assert_failure_has(scripts[_i].error);
        assert_failure_has("keyturn.yaml:7: ");
    }
    (void)close(9);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
}
END_TEST

START_TEST(a_command_gets_its_words_and_no_shell)
{
    write_script("test \"$#\" = 3 && test \"$1\" = --a && test \"$2\" = '$(id)' && test \"$3\" = "
                 "';' && printf "
                 "'keyturn-key 1\\nenvironment test\\nkey 1 " KEY "\\n'",
                 0700);
    assert_ok(read_source("exec:%s --a  $(id) ;"));
}
END_TEST

static const struct {
    mode_t mode;
    const char *error;
} command_modes[] = {{0600, "cannot be executed"},
                     {0720, "writable by other users"},
                     {0702, "writable by other users"}};

START_TEST(a_command_that_others_may_change_is_refused)
{
    write_script(":", command_modes[_i].mode);
    assert_status(read_source("exec:%s"), KT_PERMISSION);
    assert_failure_has(command_modes[_i].error);
}
END_TEST

START_TEST(a_command_that_is_not_there)
{
    char *text;
    size_t size;

    assert_status(read_source("exec:%s"), KT_CONFIG);
    assert_failure_has("No such file");
    assert_status(kt_exec_read("bin/true", 1000, &text, &size), KT_CONFIG);
    assert_status(kt_exec_read(" ", 1000, &text, &size), KT_CONFIG);
    assert_status(kt_exec_read(world.dir, 1000, &text, &size), KT_CONFIG);
    write_script(":", 0700);
    ck_assert_int_eq(chmod(world.dir, 0777), 0);
    assert_status(read_source("exec:%s"), KT_PERMISSION);
    assert_failure_has("directory is writable by other users");
    world_write(path, "no program", 0700);
    ck_assert_int_eq(chmod(world.dir, 0700), 0);
    assert_status(read_source("exec:%s"), KT_CONFIG);
    assert_failure_has("cannot be run");
}
END_TEST

/* Not only its own folder counts: a user who may write to one above may replace it. And a link is
 * judged by its target. */
START_TEST(folders_above_and_links_count)
{
    char above[1024], folder[1100], command[1200], link[1100], *text;
    size_t size;

    (void)snprintf(above, sizeof(above), "%s/above", world.dir);
    (void)snprintf(folder, sizeof(folder), "%s/folder", above);
    (void)snprintf(command, sizeof(command), "%s/command", folder);
    (void)snprintf(link, sizeof(link), "%s/link", world.dir);
    ck_assert_int_eq(mkdir(above, 0700), 0);
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    world_write(command, "#!/bin/sh\necho text\n", 0700);
    ck_assert_int_eq(symlink(command, link), 0);
    assert_ok(kt_exec_read(link, 5000, &text, &size));
    ck_assert_uint_eq(size, 5);
    kt_locked_free(text);
    ck_assert_int_eq(chmod(above, 0777), 0);
    assert_status(kt_exec_read(command, 5000, &text, &size), KT_PERMISSION);
    assert_status(kt_exec_read(link, 5000, &text, &size), KT_PERMISSION);
    assert_failure_has("/above: directory is writable by other users");
}
END_TEST

static const char *const slow[] = {"sleep 60", "exec >&-; sleep 60", "sleep 60 & echo x",
                                   "trap '' TERM; while :; do sleep 1; done"};

START_TEST(a_command_that_hangs_is_killed_with_its_children)
{
    char *text = NULL;
    size_t size;
    int64_t before = kt_monotonic();

    write_script(slow[_i], 0700);
    assert_status(kt_exec_read(path, 300, &text, &size), KT_UNAVAIL);
    assert_failure_has("timed out and was killed");
    ck_assert_ptr_null(text);
    ck_assert_int_lt(kt_monotonic() - before, 5000);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
}
END_TEST

/* ---- keyring ---- */

static long add_key(const char *description, const char *payload)
{
    return syscall(SYS_add_key, "user", description, payload, strlen(payload),
                   KEY_SPEC_USER_KEYRING);
}

START_TEST(the_kernels_keyring_or_its_refusal)
{
    long id = add_key("keyturn:unit", GOOD);

    if (id < 0) { /* a container may forbid it: then this is what is said */
        assert_status(read_source("keyring:keyturn:unit"), KT_PERMISSION);
        assert_failure_has("refuses keyrings");
        return;
    }
    assert_ok(read_source("keyring:keyturn:unit"));
    ck_assert_int_eq(syscall(SYS_keyctl, KEYCTL_SETPERM, id, 0x3f010002), 0);
    assert_status(read_source("keyring:keyturn:unit"), KT_PERMISSION);
    assert_failure_has("open to others");
    ck_assert_int_eq(syscall(SYS_keyctl, KEYCTL_SETPERM, id, 0x3f010000), 0);
    ck_assert_int_ge(add_key("keyturn:unit", "keyturn-key 1\nenvironment test\nkey 1 AAEC\n"), 0);
    assert_status(read_source("keyring:keyturn:unit"), KT_CONFIG);
    assert_failure_has(
        "keyturn.yaml:7: the key \"keyturn:unit\" of the kernel's keyring:3: a key has 32 bytes");
    (void)syscall(SYS_keyctl, KEYCTL_INVALIDATE, id);
    assert_status(read_source("keyring:keyturn:none"), KT_CONFIG);
    assert_failure_has("keyctl padd user keyturn:none @u");
}
END_TEST

/* ---- passphrase ---- */

static void seal(const char *phrase)
{
    kt_envkey_t one = {.epoch = 1};
    kt_secret_t *secret = secret_of(phrase);
    char text[1024] = "keyturn-key 1\nenvironment test\n";

    for (size_t i = 0; i < KT_KEY_SIZE; i++)
        one.key[i] = (unsigned char)i;
    assert_ok(kt_phrase_seal(secret, "test", &one, 1, text, sizeof(text)));
    world_write(path, text, 0600);
    kt_secret_free(secret);
}

static void write_phrase(const char *phrase, mode_t mode)
{
    char other[200];

    (void)snprintf(other, sizeof(other), "%s/phrase", world.dir);
    world_write(other, phrase, mode);
}

START_TEST(a_key_under_a_passphrase)
{
    seal(PHRASE);
    write_phrase(PHRASE "\n", 0600);
    assert_ok(read_source("passphrase:phrase %s"));
    assert_ok(read_source("passphrase:phrase \t k"));
    write_phrase("correct horse batterY", 0600);
    assert_status(read_source("passphrase:phrase %s"), KT_WRONGKEY);
    assert_failure_has("/k:3: the key is not under this passphrase");
    assert_failure_has("keyturn.yaml:7: ");
    write_phrase(PHRASE, 0604);
    assert_status(read_source("passphrase:phrase %s"), KT_PERMISSION);
    write_phrase("\n", 0600);
    assert_status(read_source("passphrase:phrase %s"), KT_CONFIG);
    ck_assert_int_eq(chmod(path, 0644), 0);
    assert_status(read_source("passphrase:phrase %s"), KT_PERMISSION);
    assert_failure_has("/k: mode 0644");
}
END_TEST

START_TEST(the_form_and_the_source_have_to_fit)
{
    seal(PHRASE);
    assert_status(read_source("file:%s"), KT_CONFIG);
    assert_failure_has("/k:3: this key is under a passphrase");
    world_write(path, GOOD, 0600);
    write_phrase(PHRASE, 0600);
    assert_status(read_source("passphrase:phrase %s"), KT_CONFIG);
    assert_failure_has("/k:3: this key is under no passphrase");
}
END_TEST

/* Replaces `old` by `new` in the third line and corrects the checksum, as an attacker would. */
static void change(const char *old, const char *new, size_t flip)
{
    char *text = world_read(path, NULL), *line = strstr(text, "argon2id "), *at, out[1200],
         blob[400];
    unsigned char sealed[400], whole[16], bound[96], salt[16];
    unsigned long long ops, mem;
    char salt_text[40], sealed_text[400];
    size_t size;

    if (old != NULL) {
        at = strstr(line, old);
        ck_assert_ptr_nonnull(at);
        (void)snprintf(out, sizeof(out), "%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
    } else {
        (void)snprintf(out, sizeof(out), "%s", text);
    }
    line = strstr(out, "argon2id ");
    ck_assert_int_eq(
        sscanf(line, "argon2id %llu %llu %39s %399s", &ops, &mem, salt_text, sealed_text), 4);
    ck_assert_int_eq(sodium_base642bin(sealed, sizeof(sealed), sealed_text, strlen(sealed_text),
                                       NULL, &size, NULL, 1),
                     0);
    ck_assert_int_eq(
        sodium_base642bin(salt, sizeof(salt), salt_text, strlen(salt_text), NULL, NULL, NULL, 1),
        0);
    if (flip < size)
        sealed[flip] ^= 1;
    kt_put_u64(bound, ops);
    kt_put_u64(bound + 8, mem);
    memcpy(bound + 16, salt, 16);
    memcpy(bound + 32, "test", 4);
    {
        crypto_generichash_blake2b_state state;

        crypto_generichash_blake2b_init_salt_personal(&state, NULL, 0, 16, NULL,
                                                      (const unsigned char *)"keyturn checksum");
        crypto_generichash_blake2b_update(&state, bound, 36);
        crypto_generichash_blake2b_update(&state, sealed, size - 8);
        crypto_generichash_blake2b_final(&state, whole, 16);
    }
    memcpy(sealed + size - 8, whole, 8);
    sodium_bin2base64(blob, sizeof(blob), sealed, size, 1);
    (void)snprintf(line, sizeof(out) - (size_t)(line - out), "argon2id %llu %llu %s %s\n", ops, mem,
                   salt_text, blob);
    world_write(path, out, 0600);
    free(text);
}

START_TEST(a_cheaper_derivation_is_refused_before_it_is_used)
{
    seal(PHRASE);
    write_phrase(PHRASE, 0600);
    change("argon2id 3 ", "argon2id 2 ", SIZE_MAX);
    assert_status(read_source("passphrase:phrase %s"), KT_CONFIG);
    assert_failure_has("argon2id with less than 3 passes");
    change("argon2id 2 268435456", "argon2id 3 8192", SIZE_MAX);
    assert_status(read_source("passphrase:phrase %s"), KT_CONFIG);
    assert_failure_has("argon2id with less than");
    change("argon2id 3 8192", "argon2id 3 999999999999", SIZE_MAX);
    assert_status(read_source("passphrase:phrase %s"), KT_CONFIG);
    assert_failure_has("argon2id with more than");
}
END_TEST

START_TEST(a_damaged_file_is_distinguished_from_a_wrong_passphrase)
{
    char *text, *at;

    seal(PHRASE);
    write_phrase(PHRASE, 0600);
    text = world_read(path, NULL);
    at = strrchr(text, '\n') - 20; /* in the tag */
    *at = *at == 'A' ? 'B' : 'A';
    world_write(path, text, 0600);
    assert_status(read_source("passphrase:phrase %s"), KT_MALFORMED);
    assert_failure_has("/k:3: the sealed key is damaged");
    *strrchr(text, ' ') = '\0';
    world_write(path, text, 0600);
    assert_status(read_source("passphrase:phrase %s"), KT_MALFORMED);
    free(text);
    /* on purpose, with a checksum that fits: the seal itself does not hold */
    seal(PHRASE);
    change(NULL, NULL, 16 + 24 + 5);
    assert_status(read_source("passphrase:phrase %s"), KT_MALFORMED);
    assert_failure_has("the sealed key was changed");
}
END_TEST

START_TEST(other_parameters_are_another_key)
{
    seal(PHRASE);
    write_phrase(PHRASE, 0600);
    change("argon2id 3 ", "argon2id 4 ", SIZE_MAX);
    assert_status(read_source("passphrase:phrase %s"), KT_WRONGKEY);
}
END_TEST

START_TEST(all_epochs_are_under_it)
{
    kt_envkey_t keys[KT_EPOCHS_MAX];
    kt_secret_t *phrase = secret_of(PHRASE "\n"), *same = secret_of(PHRASE);
    kt_keyring_t *keyring = NULL;
    char text[2048] = "keyturn-key 1\nenvironment test\n";

    for (unsigned i = 0; i < KT_EPOCHS_MAX; i++) {
        keys[i].epoch = 90 - i;
        memset(keys[i].key, (int)i, KT_KEY_SIZE);
    }
    assert_ok(kt_phrase_seal(phrase, "test", keys, KT_EPOCHS_MAX, text, sizeof(text)));
    assert_ok(kt_keyring_parse_text("t", text, strlen(text), "test", same, &keyring));
    ck_assert_uint_eq(keyring->nenv, KT_EPOCHS_MAX);
    ck_assert_uint_eq(keyring->env[7].epoch, 83);
    ck_assert_uint_eq(keyring->env[7].key[0], 7);
    kt_keyring_free(keyring);
    kt_secret_free(phrase);
    kt_secret_free(same);
}
END_TEST

START_TEST(a_key_file_is_made_under_a_passphrase)
{
    kt_secret_t *phrase = secret_of(PHRASE), *small = secret_of("short\n");
    kt_keyring_t *keyring = NULL;
    char error[256] = "", *text;

    assert_status(kt_keygen_passphrase(path, "test", small, error, sizeof(error)), KT_USAGE);
    ck_assert_ptr_nonnull(strstr(error, "a passphrase has 12 to 1024 bytes"));
    ck_assert_int_ne(access(path, F_OK), 0);
    assert_ok(kt_keygen_passphrase(path, "test", phrase, error, sizeof(error)));
    text = world_read(path, NULL);
    ck_assert_ptr_nonnull(strstr(text, "\nargon2id 3 268435456 "));
    ck_assert_ptr_null(strstr(text, "\nkey "));
    assert_ok(kt_keyring_parse_text("t", text, strlen(text), "test", phrase, &keyring));
    ck_assert_uint_eq(keyring->env[0].epoch, 1);
    kt_keyring_free(keyring);
    free(text);
    assert_status(kt_keygen_passphrase(path, "test", phrase, error, sizeof(error)), KT_CONFLICT);
    kt_secret_free(phrase);
    kt_secret_free(small);
}
END_TEST

START_TEST(without_a_terminal_there_is_no_prompt)
{
    kt_secret_t *phrase = NULL;
    pid_t child;
    int result;

    child = fork();
    if (child == 0)
        _exit(setsid() > 0 && kt_phrase_ask("k", &phrase) == KT_CONFIG &&
                      strstr(kt_failure(), "no terminal") != NULL
                  ? 0
                  : 1);
    ck_assert_int_eq(waitpid(child, &result, 0), child);
    ck_assert_int_eq(result, 0);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_world, world_end);
    tcase_add_test(tests, a_credential_is_a_file_of_systemds_folder);
    UNIT_TABLE(tests, a_command_is_believed_when_it_succeeds, scripts);
    tcase_add_test(tests, a_command_gets_its_words_and_no_shell);
    UNIT_TABLE(tests, a_command_that_others_may_change_is_refused, command_modes);
    tcase_add_test(tests, a_command_that_is_not_there);
    tcase_add_test(tests, folders_above_and_links_count);
    UNIT_TABLE(tests, a_command_that_hangs_is_killed_with_its_children, slow);
    tcase_add_test(tests, the_kernels_keyring_or_its_refusal);
    tcase_add_test(tests, a_key_under_a_passphrase);
    tcase_add_test(tests, the_form_and_the_source_have_to_fit);
    tcase_add_test(tests, a_cheaper_derivation_is_refused_before_it_is_used);
    tcase_add_test(tests, a_damaged_file_is_distinguished_from_a_wrong_passphrase);
    tcase_add_test(tests, other_parameters_are_another_key);
    tcase_add_test(tests, all_epochs_are_under_it);
    tcase_add_test(tests, a_key_file_is_made_under_a_passphrase);
    tcase_add_test(tests, without_a_terminal_there_is_no_prompt);
}

UNIT_MAIN("keysource", add_tests)
