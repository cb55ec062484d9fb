/* SPDX-License-Identifier: BSD-2-Clause */
/* keygen.c: new keys and files of them. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source.h"

#define BASE64 sodium_base64_VARIANT_ORIGINAL
#define LABEL_TEXT (KT_LABEL_MAX * 4 / 3 + 8)

static void encode(char *text, size_t room, const unsigned char *data, size_t size)
{
    size_t at = strlen(text);

    (void)sodium_bin2base64(text + at, room - at, data, size, BASE64);
}

/* The text of a key file of these keys, in clear or under a passphrase. */
static kt_status_t write_keys(const char *path, const char *environment, const kt_envkey_t *keys,
                              size_t count, const kt_secret_t *phrase)
{
    size_t room = 2048, i;
    char *text = kt_locked_alloc(room);
    kt_status_t status = KT_SUCCESS;

    if (text == NULL)
        return kt_no_memory();
    (void)snprintf(text, room,
                   "keyturn-key 1\n# A user who can read this file%s can read every secret of "
                   "the environment.\nenvironment %s\n",
                   phrase != NULL ? " and knows its passphrase" : "", environment);
    if (phrase != NULL)
        status = kt_phrase_seal(phrase, environment, keys, count, text, room);
    for (i = 0; phrase == NULL && i < count; i++) {
        size_t at = strlen(text);

        (void)snprintf(text + at, room - at, "key %u ", keys[i].epoch);
        encode(text, room - 1, keys[i].key, KT_KEY_SIZE);
        strcat(text, "\n");
    }
    if (status == KT_SUCCESS)
        status = kt_write_key(path, text, 0600);
    kt_locked_free(text);
    return status;
}

kt_status_t kt_keygen_passphrase(const char *path, const char *environment,
                                 const kt_secret_t *passphrase, char *error, size_t error_size)
{
    char name[KT_ENVIRONMENT_MAX];
    kt_envkey_t *key = kt_locked_alloc(sizeof(*key));
    kt_status_t status = kt_environment_parse(environment, name);

    if (status == KT_SUCCESS && key == NULL)
        status = kt_no_memory();
    if (status == KT_SUCCESS) {
        key->epoch = 1;
        randombytes_buf(key->key, KT_KEY_SIZE);
        status = write_keys(path, name, key, 1, passphrase);
    }
    kt_locked_free(key);
    if (status != KT_SUCCESS && error != NULL)
        (void)snprintf(error, error_size, "%s", kt_failure());
    return status;
}

kt_status_t kt_keygen(const char *path, const char *environment, char *error, size_t error_size)
{
    return kt_keygen_passphrase(path, environment, NULL, error, error_size);
}

static kt_status_t next_epoch(const kt_keyring_t *keyring, kt_envkey_t keys[KT_EPOCHS_MAX])
{
    if (keyring->nenv == 0)
        return kt_fail(KT_NOKEY, "the configuration's key file holds keys of types: only the "
                                 "environment's key has a next epoch");
    if (keyring->nenv == KT_EPOCHS_MAX)
        return kt_fail(KT_TOOLARGE,
                       "the key has %u epochs already: take out those that no store uses any more",
                       KT_EPOCHS_MAX);
    keys[0].epoch = keyring->env[0].epoch + 1;
    randombytes_buf(keys[0].key, KT_KEY_SIZE);
    memcpy(keys + 1, keyring->env, keyring->nenv * sizeof(*keys));
    return KT_SUCCESS;
}

kt_status_t kt_keyring_write_epoch(const kt_keyring_t *keyring, const kt_secret_t *passphrase,
                                   const char *path)
{
    kt_envkey_t *keys = kt_locked_alloc(KT_EPOCHS_MAX * sizeof(*keys));
    kt_status_t status = keys != NULL ? next_epoch(keyring, keys) : kt_no_memory();

    if (status == KT_SUCCESS)
        status = write_keys(path, keyring->environment, keys, keyring->nenv + 1, passphrase);
    kt_locked_free(keys);
    return status;
}

static void append_type(char *text, size_t room, const kt_typekey_t *key)
{
    size_t at = strlen(text);

    (void)snprintf(text + at, room - at, "type %s %u ", key->type, key->epoch);
    encode(text, room, key->key, KT_KEY_SIZE);
    strcat(text, " ");
    encode(text, room, key->label, key->label_size);
    strcat(text, "\n");
}

/* Appends the keys of every type in the list, which it cuts up. */
static kt_status_t append_types(kt_keyring_t *keyring, char *list, char *text, size_t room)
{
    char *rest = NULL, *type;
    const kt_typekey_t *key;
    kt_status_t status;
    size_t n;

    for (type = strtok_r(list, ", ", &rest); type != NULL; type = strtok_r(NULL, ", ", &rest)) {
        if (strchr(type, '/') != NULL || kt_name_check(type, 0, NULL) != KT_SUCCESS)
            return kt_fail(KT_USAGE, "a type is the first segment of a name, such as api-keys");
        for (n = 0; (status = kt_keyring_type(keyring, type, n, &key)) == KT_SUCCESS; n++) {
            if (room - strlen(text) < sizeof(key->type) + KT_KEY_SIZE * 2 + LABEL_TEXT + 32)
                return kt_fail(KT_TOOLARGE, "too many types for one key file");
            append_type(text, room, key);
        }
        if (status != KT_NOKEY || n == 0)
            return status;
    }
    return KT_SUCCESS;
}

kt_status_t kt_keyring_write_types(kt_keyring_t *keyring, const char *types, const char *path)
{
    size_t room = 256u * 1024u;
    char *text = kt_locked_alloc(room), *list = strdup(types);
    kt_status_t status;

    if (text == NULL || list == NULL) {
        status = kt_no_memory();
        goto out;
    }
    if (list[strspn(list, ", ")] == '\0') {
        status = kt_fail(KT_USAGE, "no type is named");
        goto out;
    }
    (void)snprintf(text, room,
                   "keyturn-key 1\n# The keys of some types only: written by keyturn keygen "
                   "--types.\nenvironment %s\n",
                   keyring->environment);
    status = append_types(keyring, list, text, room);
    if (status == KT_SUCCESS)
        status = kt_write_key(path, text, 0600);
out:
    kt_locked_free(text);
    free(list);
    return status;
}
