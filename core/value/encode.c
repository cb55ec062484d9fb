/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * encode.c: values as text for headers, and random values.
 */
#include "json.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

/* The number of `name` in a list by number, NULL at the end; -1. */
static int index_of(const char *const *names, const char *name)
{
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

/* ---- Encodings ---- */

int kt_encoding_parse(const char *name)
{
    static const char *const names[] = {[KT_ENCODE_NONE] = "none",
                                        [KT_ENCODE_BASE64] = "base64",
                                        [KT_ENCODE_BASE64URL] = "base64url",
                                        [KT_ENCODE_HEX] = "hex",
                                        [KT_ENCODE_URI] = "uri",
                                        [KT_ENCODE_BASIC] = "basic",
                                        NULL};

    return index_of(names, name);
}

/* Bytes in *text are locked memory; NULL: out of memory. */
typedef struct text {
    char *bytes;
    size_t size;
} text_t;

static text_t encode_base64(const kt_secret_t *secret, int variant)
{
    size_t room = sodium_base64_encoded_len(secret->size, variant);
    text_t text = {kt_locked_alloc(room), room - 1};

    if (text.bytes != NULL) {
        sodium_bin2base64(text.bytes, room, secret->data, secret->size, variant);
        text.size = strlen(text.bytes);
    }
    return text;
}

static text_t encode_hex(const kt_secret_t *secret)
{
    size_t room = secret->size * 2 + 1;
    text_t text = {kt_locked_alloc(room), room - 1};

    if (text.bytes != NULL)
        sodium_bin2hex(text.bytes, room, secret->data, secret->size);
    return text;
}

static bool unreserved(unsigned char c) /* RFC 3986, 2.3 */
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static text_t encode_uri(const kt_secret_t *secret)
{
    static const char digits[] = "0123456789ABCDEF";
    text_t text = {kt_locked_alloc(secret->size * 3 + 1), 0};

    for (size_t i = 0; text.bytes != NULL && i < secret->size; i++) {
        unsigned char c = secret->data[i];

        if (unreserved(c)) {
            text.bytes[text.size++] = (char)c;
            continue;
        }
        text.bytes[text.size++] = '%';
        text.bytes[text.size++] = digits[c >> 4];
        text.bytes[text.size++] = digits[c & 15];
    }
    return text;
}

static kt_status_t no_secret(size_t size)
{
    if (size > KT_VALUE_MAX)
        return kt_fail(KT_TOOLARGE, "the encoded value has %zu bytes, over %u", size, KT_VALUE_MAX);
    return kt_no_memory();
}

/* A new secret with the text, which is freed; `from` gives the version. */
static kt_status_t finish(text_t text, const kt_secret_t *from, kt_secret_t **ret_secret)
{
    kt_secret_t *secret;

    if (text.bytes == NULL)
        return no_secret(0);
    secret = kt_secret_new(text.bytes, text.size);
    kt_locked_free(text.bytes);
    if (secret == NULL)
        return no_secret(text.size);
    secret->version = from->version;
    secret->expires = from->expires;
    secret->stale = from->stale;
    *ret_secret = secret;
    return KT_SUCCESS;
}

/* base64(user:password). RFC 7617 has no way to write a user with a colon. */
static kt_status_t encode_basic(const kt_secret_t *secret, kt_secret_t **ret_secret)
{
    kt_secret_t *user = NULL, *password = NULL, *pair = NULL;
    kt_status_t status = kt_json_plain(secret, "user", &user);

    if (status == KT_SUCCESS)
        status = kt_json_plain(secret, "password", &password);
    if (status != KT_SUCCESS) {
        status = kt_fail_prefix(status == KT_NOTFOUND ? KT_MALFORMED : status,
                                "encode=basic needs `user` and `password`");
        goto out;
    }
    if (memchr(user->data, ':', user->size) != NULL) {
        status = kt_fail(KT_MALFORMED, "encode=basic: the user has a colon");
        goto out;
    }
    pair = kt_secret_new(NULL, user->size + 1 + password->size);
    if (pair == NULL) {
        status = no_secret(user->size + 1 + password->size);
        goto out;
    }
    memcpy(pair->data, user->data, user->size);
    pair->data[user->size] = ':';
    memcpy(pair->data + user->size + 1, password->data, password->size);
    status = finish(encode_base64(pair, sodium_base64_VARIANT_ORIGINAL), secret, ret_secret);
out:
    kt_secret_free(user);
    kt_secret_free(password);
    kt_secret_free(pair);
    return status;
}

static kt_status_t encode_none(const kt_secret_t *secret, kt_secret_t **ret_secret)
{
    text_t text = {kt_locked_alloc(secret->size + 1), secret->size};

    if (text.bytes != NULL)
        memcpy(text.bytes, secret->data, secret->size);
    return finish(text, secret, ret_secret);
}

kt_status_t kt_secret_encode(const kt_secret_t *secret, kt_encoding_t encoding,
                             kt_secret_t **ret_secret)
{
    switch (encoding) {
    case KT_ENCODE_NONE:
        return encode_none(secret, ret_secret);
    case KT_ENCODE_BASE64:
        return finish(encode_base64(secret, sodium_base64_VARIANT_ORIGINAL), secret, ret_secret);
    case KT_ENCODE_BASE64URL: /* as in JWTs: without padding */
        return finish(encode_base64(secret, sodium_base64_VARIANT_URLSAFE_NO_PADDING), secret,
                      ret_secret);
    case KT_ENCODE_HEX:
        return finish(encode_hex(secret), secret, ret_secret);
    case KT_ENCODE_URI:
        return finish(encode_uri(secret), secret, ret_secret);
    case KT_ENCODE_BASIC:
        return encode_basic(secret, ret_secret);
    }
    return kt_fail(KT_USAGE, "there is no encoding %d", (int)encoding);
}

/* ---- Random values ---- */

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define SYMBOLS "!@#$%^&*"
#define GENERATE_MIN 16u
#define GENERATE_MAX 1024u
#define UUID_SIZE 36u

int kt_alphabet_parse(const char *name)
{
    static const char *const names[] = {
        [KT_ALPHABET_ALNUM] = "alnum",     [KT_ALPHABET_URLSAFE] = "urlsafe",
        [KT_ALPHABET_SYMBOLS] = "symbols", [KT_ALPHABET_HEX] = "hex",
        [KT_ALPHABET_UUID] = "uuid",       NULL};

    return index_of(names, name);
}

static bool has_any(const kt_secret_t *secret, const char *set)
{
    for (size_t i = 0; i < secret->size; i++)
        if (strchr(set, secret->data[i]) != NULL)
            return true;
    return false;
}

/* What rules for passwords ask for. Never false for long with 16 characters and more. */
static bool strong(const kt_secret_t *secret, kt_alphabet_t alphabet)
{
    if (alphabet == KT_ALPHABET_HEX)
        return true;
    if (alphabet == KT_ALPHABET_SYMBOLS && !has_any(secret, SYMBOLS))
        return false;
    return has_any(secret, LOWER) && has_any(secret, UPPER) && has_any(secret, DIGITS);
}

/* Each character is drawn without bias. A value that is not strong is drawn anew as a whole, so
 * that all strong ones are equally likely; to put in a missing character would make them not. */
static void draw(kt_secret_t *secret, kt_alphabet_t alphabet, const char *set)
{
    uint32_t count = (uint32_t)strlen(set);

    do {
        for (size_t i = 0; i < secret->size; i++)
            secret->data[i] = (unsigned char)set[randombytes_uniform(count)];
    } while (!strong(secret, alphabet));
}

/* Version 4 of RFC 9562. */
static void draw_uuid(kt_secret_t *secret)
{
    static const char digits[] = DIGITS "abcdef";

    for (size_t i = 0; i < UUID_SIZE; i++) {
        unsigned digit = randombytes_uniform(16);

        if (i == 14)
            digit = 4;
        if (i == 19)
            digit = 8 | (digit & 3);
        secret->data[i] = (unsigned char)digits[digit];
        if (i == 8 || i == 13 || i == 18 || i == 23)
            secret->data[i] = '-';
    }
}

kt_secret_t *kt_generate(kt_alphabet_t alphabet, size_t length)
{
    static const char *const sets[] = {[KT_ALPHABET_ALNUM] = LOWER UPPER DIGITS,
                                       [KT_ALPHABET_URLSAFE] = LOWER UPPER DIGITS "-_",
                                       [KT_ALPHABET_SYMBOLS] = LOWER UPPER DIGITS SYMBOLS,
                                       [KT_ALPHABET_HEX] = DIGITS "abcdef"};
    bool uuid = alphabet == KT_ALPHABET_UUID;
    kt_secret_t *secret;

    if ((!uuid && (size_t)alphabet >= KT_ARRAY(sets)) ||
        (!uuid && (length < GENERATE_MIN || length > GENERATE_MAX))) {
        errno = EINVAL;
        return NULL;
    }
    secret = kt_secret_new(NULL, uuid ? UUID_SIZE : length);
    if (secret == NULL)
        return NULL;
    if (uuid)
        draw_uuid(secret);
    else
        draw(secret, alphabet, sets[alphabet]);
    return secret;
}
