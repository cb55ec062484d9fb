/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * passphrase.c: environment keys sealed under a passphrase, in a key file of the second form:
 *
 *     argon2id OPSLIMIT MEMLIMIT <salt> <sealed>
 *     sealed = key id of the derived key (16), nonce (24), ciphertext and tag, checksum (8)
 *
 * The checksum tells a damaged file from a wrong passphrase before anything is derived; the key id
 * tells a wrong passphrase from a changed file. The parameters are authenticated, and cheaper ones
 * than ours are refused before they are used: a user who can change the file must not
 * obtain a derivation that is cheap enough to guess, nor one that exhausts this machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "source.h"

#define BASE64 sodium_base64_VARIANT_ORIGINAL
#define OPS_FLOOR crypto_pwhash_argon2id_OPSLIMIT_MODERATE
#define MEM_FLOOR crypto_pwhash_argon2id_MEMLIMIT_MODERATE
#define OPS_CEILING 64u
#define MEM_CEILING (4ull * 1024 * 1024 * 1024)
#define SALT_SIZE crypto_pwhash_argon2id_SALTBYTES
#define NONCE_SIZE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define ENTRY_SIZE (4u + KT_KEY_SIZE)
#define PLAIN_MAX (KT_EPOCHS_MAX * ENTRY_SIZE)
#define CHECK_SIZE 8u
#define FRONT_SIZE (KT_KEYID_SIZE + NONCE_SIZE)
#define SEALED_MAX (FRONT_SIZE + PLAIN_MAX + KT_TAG_SIZE + CHECK_SIZE)
#define BOUND_MAX (8u + 8u + SALT_SIZE + KT_ENVIRONMENT_MAX)
#define ASK_LIMIT 120000 /* ms: an unseen prompt must end */

typedef struct derived {
    unsigned char root[KT_KEY_SIZE], seal[KT_KEY_SIZE], id[KT_KEYID_SIZE];
} derived_t;

typedef struct params {
    uint64_t ops, mem;
    unsigned char salt[SALT_SIZE];
} params_t;

static size_t phrase_size(const kt_secret_t *phrase)
{
    size_t size = kt_secret_size(phrase);

    return size > 0 && kt_secret_bytes(phrase)[size - 1] == '\n' ? size - 1 : size;
}

kt_status_t kt_phrase_check(const kt_secret_t *phrase)
{
    size_t size = phrase_size(phrase);

    if (size < KT_PHRASE_MIN || size > KT_PHRASE_MAX)
        return kt_fail(KT_USAGE, "a passphrase has %u to %u bytes", KT_PHRASE_MIN, KT_PHRASE_MAX);
    return KT_SUCCESS;
}

/* ---- sealing ---- */

static void derive(unsigned char *out, size_t size, const unsigned char key[KT_KEY_SIZE],
                   const char personal[17])
{
    (void)crypto_generichash_blake2b_salt_personal(out, size, NULL, 0, key, KT_KEY_SIZE, NULL,
                                                   (const unsigned char *)personal);
}

static kt_status_t stretch(const kt_secret_t *phrase, const params_t *params,
                           derived_t *ret_derived)
{
    if (crypto_pwhash_argon2id(ret_derived->root, KT_KEY_SIZE,
                               (const char *)kt_secret_bytes(phrase), phrase_size(phrase),
                               params->salt, params->ops, (size_t)params->mem,
                               crypto_pwhash_argon2id_ALG_ARGON2ID13) != 0)
        return kt_fail(KT_INTERNAL, "not enough memory: a key under a passphrase needs %llu MiB",
                       (unsigned long long)(params->mem >> 20));
    derive(ret_derived->id, KT_KEYID_SIZE, ret_derived->root, "keyturn key id  ");
    derive(ret_derived->seal, KT_KEY_SIZE, ret_derived->root, "keyturn phrase  ");
    return KT_SUCCESS;
}

/* What the seal is bound to. */
static size_t bound(unsigned char out[BOUND_MAX], const params_t *params, const char *environment)
{
    size_t size = strlen(environment);

    kt_put_u64(out, params->ops);
    kt_put_u64(out + 8, params->mem);
    memcpy(out + 16, params->salt, SALT_SIZE);
    memcpy(out + 16 + SALT_SIZE, environment, size);
    return 16 + SALT_SIZE + size;
}

static void checksum(unsigned char out[CHECK_SIZE], const unsigned char *bound_to,
                     size_t bound_size, const unsigned char *sealed, size_t size)
{
    unsigned char whole[16];
    crypto_generichash_blake2b_state state;

    (void)crypto_generichash_blake2b_init_salt_personal(&state, NULL, 0, sizeof(whole), NULL,
                                                        (const unsigned char *)"keyturn checksum");
    (void)crypto_generichash_blake2b_update(&state, bound_to, bound_size);
    (void)crypto_generichash_blake2b_update(&state, sealed, size);
    (void)crypto_generichash_blake2b_final(&state, whole, sizeof(whole));
    memcpy(out, whole, CHECK_SIZE);
}

static void write_line(const params_t *params, const unsigned char *sealed, size_t size, char *text,
                       size_t room)
{
    size_t at = strlen(text);

    at += (size_t)snprintf(text + at, room - at, "argon2id %llu %llu ",
                           (unsigned long long)params->ops, (unsigned long long)params->mem);
    (void)sodium_bin2base64(text + at, room - at, params->salt, SALT_SIZE, BASE64);
    strcat(text, " ");
    at = strlen(text);
    (void)sodium_bin2base64(text + at, room - at, sealed, size, BASE64);
    strcat(text, "\n");
}

kt_status_t kt_phrase_seal(const kt_secret_t *phrase, const char *environment,
                           const kt_envkey_t *keys, size_t count, char *text, size_t room)
{
    params_t params = {.ops = OPS_FLOOR, .mem = MEM_FLOOR};
    unsigned char sealed[SEALED_MAX], to[BOUND_MAX], *plain = kt_locked_alloc(PLAIN_MAX);
    derived_t *derived = kt_locked_alloc(sizeof(*derived));
    size_t i, to_size, size = FRONT_SIZE + count * ENTRY_SIZE + KT_TAG_SIZE;
    kt_status_t status = kt_phrase_check(phrase);

    if (status == KT_SUCCESS && (plain == NULL || derived == NULL))
        status = kt_no_memory();
    randombytes_buf(params.salt, SALT_SIZE);
    if (status == KT_SUCCESS)
        status = stretch(phrase, &params, derived);
    if (status != KT_SUCCESS)
        goto out;
    for (i = 0; i < count; i++) {
        kt_put_u32(plain + i * ENTRY_SIZE, keys[i].epoch);
        memcpy(plain + i * ENTRY_SIZE + 4, keys[i].key, KT_KEY_SIZE);
    }
    to_size = bound(to, &params, environment);
    memcpy(sealed, derived->id, KT_KEYID_SIZE);
    randombytes_buf(sealed + KT_KEYID_SIZE, NONCE_SIZE);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(sealed + FRONT_SIZE, NULL, plain,
                                                     count * ENTRY_SIZE, to, to_size, NULL,
                                                     sealed + KT_KEYID_SIZE, derived->seal);
    checksum(sealed + size, to, to_size, sealed, size);
    write_line(&params, sealed, size + CHECK_SIZE, text, room);
out:
    kt_locked_free(plain);
    kt_locked_free(derived);
    return status;
}

/* ---- opening ---- */

static kt_status_t parse_number(const char *word, uint64_t *ret_number)
{
    uint64_t number = 0;
    size_t i;

    if (word == NULL || word[0] < '1' || word[0] > '9' || strlen(word) > 12)
        return kt_fail(KT_MALFORMED, "expected argon2id OPSLIMIT MEMLIMIT SALT SEALED");
    for (i = 0; word[i] != '\0'; i++) {
        if (word[i] < '0' || word[i] > '9')
            return kt_fail(KT_MALFORMED, "expected argon2id OPSLIMIT MEMLIMIT SALT SEALED");
        number = number * 10 + (uint64_t)(word[i] - '0');
    }
    *ret_number = number;
    return KT_SUCCESS;
}

static kt_status_t check_params(const params_t *params)
{
    if (params->ops < OPS_FLOOR || params->mem < MEM_FLOOR)
        return kt_fail(KT_CONFIG,
                       "argon2id with less than %llu passes and %llu bytes is refused: no "
                       "key file is made so, so put a copy of the original in its place",
                       (unsigned long long)OPS_FLOOR, (unsigned long long)MEM_FLOOR);
    if (params->ops > OPS_CEILING || params->mem > MEM_CEILING)
        return kt_fail(KT_CONFIG, "argon2id with more than %u passes or %llu bytes is refused",
                       OPS_CEILING, (unsigned long long)MEM_CEILING);
    return KT_SUCCESS;
}

static kt_status_t parse_words(char *const words[4], params_t *ret_params,
                               unsigned char sealed[SEALED_MAX], size_t *ret_size)
{
    size_t salt = 0;
    kt_status_t status = parse_number(words[0], &ret_params->ops);

    if (status == KT_SUCCESS)
        status = parse_number(words[1], &ret_params->mem);
    if (status == KT_SUCCESS)
        status = check_params(ret_params);
    if (status != KT_SUCCESS)
        return status;
    if (words[2] == NULL || words[3] == NULL ||
        sodium_base642bin(ret_params->salt, SALT_SIZE, words[2], strlen(words[2]), NULL, &salt,
                          NULL, BASE64) != 0 ||
        salt != SALT_SIZE ||
        sodium_base642bin(sealed, SEALED_MAX, words[3], strlen(words[3]), NULL, ret_size, NULL,
                          BASE64) != 0 ||
        *ret_size < FRONT_SIZE + ENTRY_SIZE + KT_TAG_SIZE + CHECK_SIZE ||
        (*ret_size - FRONT_SIZE - KT_TAG_SIZE - CHECK_SIZE) % ENTRY_SIZE != 0)
        return kt_fail(KT_MALFORMED, "the sealed key is damaged");
    return KT_SUCCESS;
}

static kt_status_t adopt_keys(kt_keyring_t *keyring, const unsigned char *plain, size_t size)
{
    size_t at;
    kt_status_t status = KT_SUCCESS;

    for (at = 0; at < size && status == KT_SUCCESS; at += ENTRY_SIZE)
        status = kt_keyring_add_env(keyring, kt_get_u32(plain + at), plain + at + 4);
    return status;
}

kt_status_t kt_phrase_open(const kt_secret_t *phrase, kt_keyring_t *keyring, char *const words[4])
{
    unsigned char sealed[SEALED_MAX], to[BOUND_MAX], check[CHECK_SIZE],
        *plain = kt_locked_alloc(PLAIN_MAX);
    derived_t *derived = kt_locked_alloc(sizeof(*derived));
    size_t size = 0, to_size;
    params_t params;
    kt_status_t status = plain != NULL && derived != NULL ? KT_SUCCESS : kt_no_memory();

    if (status == KT_SUCCESS)
        status = parse_words(words, &params, sealed, &size);
    if (status != KT_SUCCESS)
        goto out;
    size -= CHECK_SIZE;
    to_size = bound(to, &params, keyring->environment);
    checksum(check, to, to_size, sealed, size);
    if (memcmp(check, sealed + size, CHECK_SIZE) != 0)
        status = kt_fail(KT_MALFORMED, "the sealed key is damaged");
    if (status == KT_SUCCESS)
        status = stretch(phrase, &params, derived);
    if (status == KT_SUCCESS && sodium_memcmp(derived->id, sealed, KT_KEYID_SIZE) != 0)
        status = kt_fail(KT_WRONGKEY, "the key is not under this passphrase");
    if (status == KT_SUCCESS && crypto_aead_xchacha20poly1305_ietf_decrypt(
                                    plain, NULL, NULL, sealed + FRONT_SIZE, size - FRONT_SIZE, to,
                                    to_size, sealed + KT_KEYID_SIZE, derived->seal) != 0)
        status = kt_fail(KT_MALFORMED, "the sealed key was changed");
    if (status == KT_SUCCESS)
        status = adopt_keys(keyring, plain, size - FRONT_SIZE - KT_TAG_SIZE);
out:
    kt_locked_free(plain);
    kt_locked_free(derived);
    return status;
}

/* ---- where the passphrase comes from ---- */

kt_status_t kt_phrase_read(const char *path, kt_secret_t **ret_phrase)
{
    char *text = NULL;
    size_t size = 0;
    kt_status_t status = kt_read_private(path, &text, &size);

    if (status != KT_SUCCESS)
        return status;
    if (size > 0 && text[size - 1] == '\n')
        size--;
    if (size == 0 || size > KT_PHRASE_MAX)
        status = kt_fail(KT_CONFIG, "%s: a passphrase has %u to %u bytes", path, KT_PHRASE_MIN,
                         KT_PHRASE_MAX);
    if (status == KT_SUCCESS) {
        *ret_phrase = kt_secret_new(text, size);
        if (*ret_phrase == NULL)
            status = kt_no_memory();
    }
    kt_locked_free(text);
    return status;
}

kt_status_t kt_phrase_ask(const char *what, kt_secret_t **ret_phrase)
{
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY), key;
    char text[KT_ERROR_SIZE];
    kt_status_t status;

    if (fd < 0)
        return kt_fail(
            KT_CONFIG,
            "there is no terminal to ask for the passphrase: use passphrase:FILE, or a credential");
    (void)snprintf(text, sizeof(text), "Passphrase of %s: ", what);
    status = kt_prompt(fd, text, KT_PHRASE_MAX, ASK_LIMIT, &key, ret_phrase);
    (void)close(fd);
    return status == KT_USAGE ? kt_fail(KT_CONFIG, "no passphrase was typed") : status;
}
