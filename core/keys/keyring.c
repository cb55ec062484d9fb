/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyring.c: environment keys, the type keys derived from them, and what is derived from those.
 *
 *     environment key ─▶ type key ─┬▶ head key    seals the type's heads, which hold the names
 *                                  ├▶ secret key  of one name: seals its values
 *                                  ├▶ index key   MACs the index, its root and the anchors
 *                                  ├▶ name hash   under which a store keeps the secret
 *                                  └▶ key id      commits: a wrong key is not a broken record
 *
 * The holder of a type key needs nothing else for the secrets of that type, and learns nothing
 * about any other. Every derivation is a keyed BLAKE2b with a personalisation of its own
 * (docs/format.md), as libsodium 1.0.18 has no HKDF.
 */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "keys.h"

static void derive(unsigned char *out, size_t out_size, const unsigned char key[KT_KEY_SIZE],
                   const char personal[17], const char *const *fields, size_t nfields)
{
    crypto_generichash_blake2b_state state;
    unsigned char length[4];
    size_t i;

    (void)crypto_generichash_blake2b_init_salt_personal(&state, key, KT_KEY_SIZE, out_size, NULL,
                                                        (const unsigned char *)personal);
    for (i = 0; i < nfields; i++) {
        size_t size = strlen(fields[i]);

        kt_put_u32(length, (uint32_t)size);
        (void)crypto_generichash_blake2b_update(&state, length, sizeof(length));
        (void)crypto_generichash_blake2b_update(&state, (const unsigned char *)fields[i], size);
    }
    (void)crypto_generichash_blake2b_final(&state, out, out_size);
    kt_wipe(&state, sizeof(state));
}

static void derive_id(unsigned char id[KT_KEYID_SIZE], const unsigned char key[KT_KEY_SIZE])
{
    derive(id, KT_KEYID_SIZE, key, "keyturn key id  ", NULL, 0);
}

static void derive_type(const unsigned char env[KT_KEY_SIZE], const char *environment,
                        const char *type, unsigned char ret_key[KT_KEY_SIZE])
{
    const char *const fields[] = {environment, type};

    derive(ret_key, KT_KEY_SIZE, env, "keyturn type key", fields, 2);
}

/* What follows from the type key alone. */
static void derive_parts(kt_typekey_t *key)
{
    derive_id(key->id, key->key);
    derive(key->index_key, KT_KEY_SIZE, key->key, "keyturn index   ", NULL, 0);
    derive(key->head_key, KT_KEY_SIZE, key->key, "keyturn head    ", NULL, 0);
}

/* The key that seals labels of types: of the environment, but not its key itself. */
static void derive_label_key(const unsigned char env[KT_KEY_SIZE],
                             unsigned char ret_key[KT_KEY_SIZE])
{
    derive(ret_key, KT_KEY_SIZE, env, "keyturn label   ", NULL, 0);
}

void kt_name_hash(const kt_typekey_t *key, const char *name, unsigned char ret_hash[KT_HASH_SIZE])
{
    derive(ret_hash, KT_HASH_SIZE, key->key, "keyturn name    ", &name, 1);
}

void kt_secret_key(const kt_typekey_t *key, const char *name, unsigned char ret_key[KT_KEY_SIZE])
{
    derive(ret_key, KT_KEY_SIZE, key->key, "keyturn secret  ", &name, 1);
}

void kt_head_key(const kt_typekey_t *key, unsigned char ret_key[KT_KEY_SIZE])
{
    memcpy(ret_key, key->head_key, KT_KEY_SIZE);
}

void kt_backup_key(const kt_envkey_t *env, unsigned char ret_key[KT_KEY_SIZE])
{
    derive(ret_key, KT_KEY_SIZE, env->key, "keyturn backup  ", NULL, 0);
}

void kt_catalogue_key(const kt_envkey_t *env, unsigned char ret_key[KT_KEY_SIZE])
{
    derive(ret_key, KT_KEY_SIZE, env->key, "keyturn catalog ", NULL, 0);
}

void kt_catalogue_mac_key(const kt_envkey_t *env, unsigned char ret_key[KT_KEY_SIZE])
{
    derive(ret_key, KT_KEY_SIZE, env->key, "keyturn index   ", NULL, 0);
}

void kt_index_key(const kt_typekey_t *key, unsigned char ret_key[KT_KEY_SIZE])
{
    memcpy(ret_key, key->index_key, KT_KEY_SIZE);
}

/* ---- labels ---- */

static kt_status_t seal_label(const char *environment, const kt_envkey_t *env, const char *type,
                              unsigned char *ret_label, size_t *ret_size)
{
    kt_header_t header = {.type = KTP_RECORD_LABEL, .version = env->epoch};
    unsigned char *key = kt_locked_alloc(KT_KEY_SIZE), *record;
    size_t size;
    kt_status_t status;

    if (key == NULL)
        return kt_no_memory();
    memcpy(header.key_id, env->id, KT_KEYID_SIZE);
    derive_label_key(env->key, key);
    status = kt_seal(key, &header, environment, "", type, strlen(type), &record, &size);
    kt_locked_free(key);
    if (status != KT_SUCCESS)
        return status;
    memcpy(ret_label, record, size); /* 255 bytes of name make 348 */
    *ret_size = size;
    free(record);
    return KT_SUCCESS;
}

static const kt_envkey_t *find_env(const kt_keyring_t *keyring,
                                   const unsigned char id[KT_KEYID_SIZE])
{
    size_t i;

    for (i = 0; i < keyring->nenv; i++) {
        if (memcmp(keyring->env[i].id, id, KT_KEYID_SIZE) == 0)
            return &keyring->env[i];
    }
    return NULL;
}

kt_status_t kt_label_open(const kt_keyring_t *keyring, const unsigned char *label, size_t size,
                          char ret_type[KT_NAME_MAX + 1], size_t *ret_n)
{
    const kt_envkey_t *env;
    kt_header_t header;
    unsigned char *key, *plain;
    size_t plain_size;
    kt_status_t status;

    status = kt_header_parse(label, size, &header);
    if (status != KT_SUCCESS)
        return status;
    env = find_env(keyring, header.key_id);
    if (env == NULL)
        return kt_fail(KT_NOKEY, "the environment key of this label is not held");
    key = kt_locked_alloc(KT_KEY_SIZE);
    if (key == NULL)
        return kt_no_memory();
    derive_label_key(env->key, key);
    status = kt_unseal(key, keyring->environment, "", label, size, &plain, &plain_size);
    kt_locked_free(key);
    if (status != KT_SUCCESS)
        return status;
    if (header.type != KTP_RECORD_LABEL || plain_size > KT_NAME_MAX || plain_size == 0 ||
        memchr(plain, 0, plain_size) != NULL || memchr(plain, '/', plain_size) != NULL) {
        kt_locked_free(plain);
        return kt_fail(KT_MALFORMED, "a label of a type does not parse");
    }
    memcpy(ret_type, plain, plain_size);
    ret_type[plain_size] = '\0';
    *ret_n = (size_t)(env - keyring->env);
    kt_locked_free(plain);
    return KT_SUCCESS;
}

/* ---- the keyring ---- */

static size_t keyring_size(size_t ntypes)
{
    return offsetof(kt_keyring_t, types) + ntypes * sizeof(kt_typekey_t);
}

/* A place for one more type key. When the table is full those at its end, which were derived and
 * can be again, make room in turn: the keys of one type at all its epochs stay side by side. */
static kt_typekey_t *new_type(kt_keyring_t *keyring)
{
    if (keyring->ntypes == KT_TYPES_MAX)
        return &keyring->types[KT_TYPES_MAX - 1 - keyring->evicted++ % (2 * KT_EPOCHS_MAX)];
    kt_guarded_extend(keyring, keyring_size(keyring->ntypes + 1));
    return &keyring->types[keyring->ntypes++];
}

static kt_status_t add_derived(kt_keyring_t *keyring, const kt_envkey_t *env, const char *type,
                               const kt_typekey_t **ret_key)
{
    kt_typekey_t *key = new_type(keyring);
    kt_status_t status;

    kt_wipe(key, sizeof(*key));
    derive_type(env->key, keyring->environment, type, key->key);
    derive_parts(key);
    status = seal_label(keyring->environment, env, type, key->label, &key->label_size);
    if (status != KT_SUCCESS) {
        kt_wipe(key, sizeof(*key));
        if (key == &keyring->types[keyring->ntypes - 1])
            keyring->ntypes--;
        return status;
    }
    key->epoch = env->epoch;
    memcpy(key->env_id, env->id, KT_KEYID_SIZE);
    memcpy(key->type, type, strlen(type) + 1); /* of no type until it is whole */
    *ret_key = key;
    return KT_SUCCESS;
}

static const kt_typekey_t *held_type(const kt_keyring_t *keyring, const char *type,
                                     const unsigned char *env_id, size_t n)
{
    size_t i;

    for (i = 0; i < keyring->ntypes; i++) {
        const kt_typekey_t *key = &keyring->types[i];

        if (strcmp(key->type, type) != 0 ||
            (env_id != NULL && memcmp(key->env_id, env_id, KT_KEYID_SIZE) != 0))
            continue;
        if (n-- == 0)
            return key;
    }
    return NULL;
}

kt_status_t kt_keyring_type(kt_keyring_t *keyring, const char *type, size_t n,
                            const kt_typekey_t **ret_key)
{
    const kt_typekey_t *key;

    if (keyring->nenv == 0) {
        key = held_type(keyring, type, NULL, n);
        if (key == NULL)
            return kt_fail(KT_NOKEY, "no key for the type \"%s\" is held", type);
        *ret_key = key;
        return KT_SUCCESS;
    }
    if (n >= keyring->nenv)
        return kt_fail(KT_NOKEY, "no key of that epoch is held");
    key = held_type(keyring, type, keyring->env[n].id, 0);
    if (key == NULL)
        return add_derived(keyring, &keyring->env[n], type, ret_key);
    *ret_key = key;
    return KT_SUCCESS;
}

kt_status_t kt_keyring_find(kt_keyring_t *keyring, const unsigned char id[KT_KEYID_SIZE],
                            const kt_typekey_t **ret_key)
{
    size_t i;

    for (i = 0; i < keyring->ntypes; i++) {
        if (memcmp(keyring->types[i].id, id, KT_KEYID_SIZE) == 0) {
            *ret_key = &keyring->types[i];
            return KT_SUCCESS;
        }
    }
    return kt_fail(KT_NOKEY, "the key of this record is not held");
}

kt_status_t kt_keyring_new(const char *environment, kt_keyring_t **ret_keyring)
{
    kt_keyring_t *keyring = kt_guarded_reserve(sizeof(*keyring), keyring_size(0), false);

    if (keyring == NULL)
        return kt_no_memory();
    memcpy(keyring->environment, environment, strlen(environment) + 1);
    *ret_keyring = keyring;
    return KT_SUCCESS;
}

kt_status_t kt_keyring_copy(const kt_keyring_t *keyring, bool wipe_on_fork,
                            kt_keyring_t **ret_keyring)
{
    kt_keyring_t *copy =
        kt_guarded_reserve(sizeof(*copy), keyring_size(keyring->ntypes), wipe_on_fork);

    if (copy == NULL)
        return kt_no_memory();
    memcpy(copy, keyring, keyring_size(keyring->ntypes));
    copy->alive = 1;
    *ret_keyring = copy;
    return KT_SUCCESS;
}

void kt_keyring_update(kt_keyring_t *keyring, const kt_keyring_t *fresh)
{
    size_t from = offsetof(kt_keyring_t, environment), old = keyring_size(keyring->ntypes),
           size = keyring_size(fresh->ntypes);

    kt_guarded_extend(keyring, size);
    if (old > size)
        kt_wipe((unsigned char *)keyring + size, old - size);
    memcpy((unsigned char *)keyring + from, (const unsigned char *)fresh + from, size - from);
}

void kt_keyring_free(kt_keyring_t *keyring)
{
    kt_guarded_free(keyring);
}

kt_status_t kt_keyring_add_env(kt_keyring_t *keyring, unsigned epoch,
                               const unsigned char key[KT_KEY_SIZE])
{
    kt_envkey_t *env;

    if (keyring->nenv == KT_EPOCHS_MAX)
        return kt_fail(KT_CONFIG, "more than %u epochs in one key file", KT_EPOCHS_MAX);
    if (keyring->nenv > 0 && keyring->env[keyring->nenv - 1].epoch <= epoch)
        return kt_fail(KT_CONFIG, "epochs have to stand newest first");
    env = &keyring->env[keyring->nenv++];
    env->epoch = epoch;
    memcpy(env->key, key, KT_KEY_SIZE);
    derive_id(env->id, key);
    return KT_SUCCESS;
}

kt_status_t kt_keyring_add_type(kt_keyring_t *keyring, const char *type, unsigned epoch,
                                const unsigned char key[KT_KEY_SIZE], const unsigned char *label,
                                size_t label_size)
{
    kt_header_t header;
    kt_typekey_t *held;
    kt_status_t status;

    if (keyring->ntypes == KT_TYPES_MAX)
        return kt_fail(KT_CONFIG, "more than %u type keys in one key file", KT_TYPES_MAX);
    if (label_size > KT_LABEL_MAX)
        return kt_fail(KT_CONFIG, "the label is too long");
    status = kt_header_parse(label, label_size, &header);
    if (status == KT_SUCCESS && header.type != KTP_RECORD_LABEL)
        status = kt_fail(KT_MALFORMED, "a record of another kind");
    if (status != KT_SUCCESS)
        return kt_fail_prefix(KT_CONFIG, "label");
    held = new_type(keyring);
    memcpy(held->type, type, strlen(type) + 1);
    held->epoch = epoch;
    memcpy(held->key, key, KT_KEY_SIZE);
    derive_parts(held);
    memcpy(held->env_id, header.key_id, KT_KEYID_SIZE);
    memcpy(held->label, label, label_size);
    held->label_size = label_size;
    return KT_SUCCESS;
}
