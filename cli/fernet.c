/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fernet tokens, for `keyturn import`, which reads them and never makes any.
 *
 *     key    base64url of a signing key and an encryption key, 16 bytes each
 *     token  base64url of 0x80, time (8 bytes), IV (16), ciphertext (AES-128-CBC, PKCS #7),
 *            HMAC-SHA256 of all of these (32)
 *
 * libsodium has no AES-CBC, so this file, and no other, uses libcrypto. The MAC is checked in
 * constant time before anything is decrypted, so padding errors cannot serve as an oracle. The age
 * of a token does not matter: the file was stored, not sent.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "fernet.h"

#define IV 16u
#define MAC 32u
#define HEAD (1u + 8u + IV)
#define BLOCK 16u

/* All of the text must be base64url, with padding or without; unused bits must be zero. */
static bool decode(const char *text, size_t size, unsigned char *out, size_t room, size_t *ret_size)
{
    int variant = size > 0 && text[size - 1] == '=' ? sodium_base64_VARIANT_URLSAFE
                                                    : sodium_base64_VARIANT_URLSAFE_NO_PADDING;

    return sodium_base642bin(out, room, text, size, NULL, ret_size, NULL, variant) == 0;
}

static size_t trimmed(const char *text, size_t size)
{
    while (size > 0 && strchr(" \t\r\n", text[size - 1]))
        size--;
    return size;
}

bool fernet_key(const char *text, size_t size, fernet_key_t *ret_key)
{
    unsigned char bytes[sizeof ret_key->bytes];
    size_t length = 0;
    bool good;

    size = trimmed(text, size);
    good = decode(text, size, bytes, sizeof bytes, &length) && length == sizeof ret_key->bytes;
    if (good)
        memcpy(ret_key->bytes, bytes, sizeof ret_key->bytes);
    explicit_bzero(bytes, sizeof bytes);
    return good;
}

static bool is_signed(const fernet_key_t *key, const unsigned char *token, size_t size)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned length = 0;

    return HMAC(EVP_sha256(), key->bytes, 16, token, size - MAC, mac, &length) && length == MAC &&
           CRYPTO_memcmp(mac, token + size - MAC, MAC) == 0;
}

static bool decrypt(const fernet_key_t *key, const unsigned char *token, size_t size,
                    unsigned char *plain, size_t *ret_size)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int first = 0, last = 0;
    bool good = ctx &&
                EVP_DecryptInit_ex(ctx, EVP_aes_128_cbc(), NULL, key->bytes + 16, token + 9) &&
                EVP_DecryptUpdate(ctx, plain, &first, token + HEAD, (int)(size - HEAD - MAC)) &&
                EVP_DecryptFinal_ex(ctx, plain + first, &last);

    EVP_CIPHER_CTX_free(ctx); /* wipes */
    *ret_size = good ? (size_t)(first + last) : 0;
    return good;
}

static const char *open_bytes(const fernet_key_t *key, const unsigned char *token, size_t size,
                              unsigned char *plain, size_t *ret_size)
{
    if (size < HEAD + BLOCK + MAC || (size - HEAD - MAC) % BLOCK != 0 || token[0] != 0x80)
        return FERNET_NO_TOKEN;
    if (!is_signed(key, token, size))
        return "the key is the wrong one, or the token was changed";
    return decrypt(key, token, size, plain, ret_size) ? NULL : "its padding is wrong";
}

const char *fernet_open(const fernet_key_t *key, const char *text, size_t size, char **ret_plain,
                        size_t *ret_size)
{
    unsigned char *token, *plain;
    const char *why = "out of memory";
    size_t length = 0;

    size = trimmed(text, size);
    if (size > FERNET_MAX)
        return "it is too large";
    token = malloc(size + 1);
    plain = malloc(size + BLOCK + 1);
    if (token && plain)
        why = decode(text, size, token, size, &length)
                  ? open_bytes(key, token, length, plain, ret_size)
                  : FERNET_NO_TOKEN;
    free(token); /* ciphertext */
    if (why) {
        if (plain)
            explicit_bzero(plain, size + BLOCK + 1);
        free(plain);
        return why;
    }
    plain[*ret_size] = '\0';
    *ret_plain = (char *)plain;
    return NULL;
}
