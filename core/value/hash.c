/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hash.c: a secret that only has to be recognised, such as a token that somebody presents.
 *
 * Argon2id is written. What older programs kept, PBKDF2-HMAC-SHA256 of 100,000 rounds as the hex of
 * salt and key, is recognised, and answered with the Argon2id string to be kept instead.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "value.h"

#define OPS crypto_pwhash_argon2id_OPSLIMIT_INTERACTIVE
#define MEM crypto_pwhash_argon2id_MEMLIMIT_INTERACTIVE
#define KIB_CEILING 1048576ul /* of a string that we are given: 1 GiB ... */
#define OPS_CEILING 16ul      /* ... and passes, or it could keep us busy for hours */
#define PBKDF2_SALT 32u
#define PBKDF2_KEY 32u
#define PBKDF2_ROUNDS 100000u
#define PBKDF2_TEXT (2u * (PBKDF2_SALT + PBKDF2_KEY))

_Static_assert(KT_HASH_MAX == crypto_pwhash_argon2id_STRBYTES, "libsodium's strings have to fit");

kt_status_t kt_hash(const kt_secret_t *secret, char ret_hash[KT_HASH_MAX])
{
    char text[KT_HASH_MAX];

    if (crypto_pwhash_argon2id_str(text, (const char *)kt_secret_bytes(secret),
                                   kt_secret_size(secret), OPS, MEM) != 0)
        return kt_fail(KT_INTERNAL, "not enough memory: a hash needs %u MiB",
                       (unsigned)(MEM >> 20));
    memcpy(ret_hash, text, sizeof(text));
    return KT_SUCCESS;
}

/* The first block of PBKDF2, which is all that 32 bytes need; both keyed states are made once. */
static void pbkdf2(const kt_secret_t *secret, const unsigned char salt[PBKDF2_SALT],
                   unsigned char ret_key[PBKDF2_KEY])
{
    static const unsigned char first[4] = {0, 0, 0, 1};
    crypto_auth_hmacsha256_state keyed, state;
    unsigned char round[PBKDF2_KEY];
    unsigned i, j;

    (void)crypto_auth_hmacsha256_init(&keyed, kt_secret_bytes(secret), kt_secret_size(secret));
    state = keyed;
    (void)crypto_auth_hmacsha256_update(&state, salt, PBKDF2_SALT);
    (void)crypto_auth_hmacsha256_update(&state, first, sizeof(first));
    (void)crypto_auth_hmacsha256_final(&state, round);
    memcpy(ret_key, round, sizeof(round));
    for (i = 1; i < PBKDF2_ROUNDS; i++) {
        state = keyed;
        (void)crypto_auth_hmacsha256_update(&state, round, sizeof(round));
        (void)crypto_auth_hmacsha256_final(&state, round);
        for (j = 0; j < PBKDF2_KEY; j++)
            ret_key[j] ^= round[j];
    }
    kt_wipe(&keyed, sizeof(keyed));
    kt_wipe(&state, sizeof(state));
    kt_wipe(round, sizeof(round));
}

static kt_status_t differs(void)
{
    return kt_fail(KT_DENIED, "the value is not the one that was hashed");
}

static kt_status_t check_pbkdf2(const kt_secret_t *secret, const char *hash)
{
    unsigned char both[PBKDF2_SALT + PBKDF2_KEY], key[PBKDF2_KEY];
    size_t size = 0;
    int order;

    if (sodium_hex2bin(both, sizeof(both), hash, strlen(hash), NULL, &size, NULL) != 0 ||
        size != sizeof(both))
        return kt_fail(KT_MALFORMED,
                       "neither an Argon2id string nor the hex of a PBKDF2 salt and key");
    pbkdf2(secret, both, key);
    order = sodium_memcmp(key, both + PBKDF2_SALT, sizeof(key));
    kt_wipe(key, sizeof(key));
    return order == 0 ? KT_SUCCESS : differs();
}

/* libsodium says the same of a lack of memory and of another value. The pointer is volatile,
 * because the compiler may leave out an allocation that is not used. */
static bool has_room(unsigned long kib)
{
    void *volatile room = malloc(kib << 10);

    free(room);
    return room != NULL;
}

static kt_status_t check_argon2id(const kt_secret_t *secret, const char *hash, bool *ret_weak)
{
    unsigned long kib, ops, lanes;
    int end = 0, rehash;

    if (sscanf(hash, "$argon2id$v=19$m=%10lu,t=%10lu,p=%10lu$%n", &kib, &ops, &lanes, &end) != 3 ||
        end == 0)
        return kt_fail(KT_MALFORMED, "not a readable Argon2id string");
    if (kib > KIB_CEILING || ops > OPS_CEILING || lanes > 16)
        return kt_fail(KT_MALFORMED,
                       "an Argon2id string with more than %lu KiB or %lu passes is refused",
                       KIB_CEILING, OPS_CEILING);
    rehash = crypto_pwhash_argon2id_str_needs_rehash(hash, OPS, MEM);
    if (rehash < 0)
        return kt_fail(KT_MALFORMED, "not a readable Argon2id string");
    if (crypto_pwhash_argon2id_str_verify(hash, (const char *)kt_secret_bytes(secret),
                                          kt_secret_size(secret)) != 0)
        return has_room(kib)
                   ? differs()
                   : kt_fail(KT_INTERNAL, "not enough memory: the hash needs %lu MiB", kib >> 10);
    *ret_weak = rehash != 0 && (ops < OPS || kib < MEM >> 10);
    return KT_SUCCESS;
}

kt_status_t kt_hash_check(const kt_secret_t *secret, const char *hash,
                          char ret_upgraded[KT_HASH_MAX])
{
    bool weak = true;
    kt_status_t status;

    if (strlen(hash) == PBKDF2_TEXT && hash[0] != '$')
        status = check_pbkdf2(secret, hash);
    else if (strlen(hash) < KT_HASH_MAX && hash[0] == '$')
        status = check_argon2id(secret, hash, &weak);
    else
        status = kt_fail(KT_MALFORMED,
                         "neither an Argon2id string nor the hex of a PBKDF2 salt and key");
    if (status != KT_SUCCESS)
        return status;
    if (weak)
        return kt_hash(secret, ret_upgraded);
    ret_upgraded[0] = '\0';
    return KT_SUCCESS;
}
