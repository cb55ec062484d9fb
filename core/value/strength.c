/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * strength.c: what is weak about a value that somebody chose. Generated ones are strong by their
 * making (encode.c).
 *
 * At least 16 bytes, with lower case, upper case and a digit; 32 recommended for keys, 64 for what
 * signs JWTs; no placeholder of an example file, no pattern. Hexadecimal of 128 bits and more,
 * UUIDs and bytes that are not text have no upper case to ask for: there only the length and
 * patterns count. It is a check for mistakes, not an estimate of entropy: what it lets pass may be
 * weak all the same.
 */
#include <ctype.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "value.h"

#define LEAST 16u
#define LEAST_KEY 32u
#define LEAST_JWT 64u
#define LEAST_DIFFERENT 8u
#define PLACEHOLDER_MAX                                                                            \
    256u /* bytes of a value that is compared: longer ones are not placeholders */

static const struct {
    unsigned weakness;
    const char *text;
} texts[] = {
    {KT_WEAK_SHORT, "shorter than 16 characters"},
    {KT_WEAK_BELOW, "shorter than recommended (32 for a key, 64 for the secret of JWTs)"},
    {KT_WEAK_PLAIN, "without lower case, upper case and digits together"},
    {KT_WEAK_PATTERN, "of few different characters, or a sequence"},
    {KT_WEAK_PLACEHOLDER, "a placeholder of an example"},
};

const char *kt_strength_text(unsigned weakness)
{
    size_t i;

    for (i = 0; i < KT_ARRAY(texts); i++) {
        if (weakness & texts[i].weakness)
            return texts[i].text;
    }
    return "";
}

/* ---- the rules ---- */

static bool is_hex(const kt_secret_t *value)
{
    size_t i;

    for (i = 0; i < value->size; i++) {
        if (!isxdigit(value->data[i]))
            return false;
    }
    return value->size >= 32;
}

static bool is_uuid(const kt_secret_t *value)
{
    size_t i;

    for (i = 0; i < value->size && value->size == 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? value->data[i] != '-' : !isxdigit(value->data[i]))
            return false;
    }
    return value->size == 36;
}

static bool is_plain(const kt_secret_t *value)
{
    bool lower = false, upper = false, digit = false;
    size_t i;

    for (i = 0; i < value->size; i++) {
        unsigned char c = value->data[i];

        if (c >= 0x80 || (c < ' ' && !isspace(c)))
            return false; /* bytes, or a text of other letters than ours */
        lower = lower || islower(c);
        upper = upper || isupper(c);
        digit = digit || isdigit(c);
    }
    return !(lower && upper && digit) && !is_hex(value) && !is_uuid(value);
}

/* Few different bytes, or most of them next to or the same as the one before: 1111..., abcd...,
 * 9876... */
static bool is_pattern(const kt_secret_t *value)
{
    bool seen[256] = {false};
    size_t i, different = 0, steps = 0;

    for (i = 0; i < value->size; i++) {
        unsigned char c = value->data[i], before = value->data[i > 0 ? i - 1 : 0];

        different += !seen[c];
        seen[c] = true;
        steps += i > 0 && c - before >= -1 && c - before <= 1;
    }
    kt_wipe(seen, sizeof(seen));
    return different < LEAST_DIFFERENT || steps * 2 > value->size;
}

/* In lower case, of letters and digits only: how placeholders are compared. */
static size_t reduce(const kt_secret_t *value, char text[PLACEHOLDER_MAX + 1])
{
    size_t i, size = 0;

    for (i = 0; i < value->size && i < PLACEHOLDER_MAX; i++) {
        if (isalnum(value->data[i]))
            text[size++] = (char)tolower(value->data[i]);
    }
    text[size] = '\0';
    return size;
}

static bool is_placeholder(const kt_secret_t *value)
{
    static const char *const parts[] = {
        "changeme",   "changethis", "replaceme",    "replacethis",  "replacewith", "placeholder",
        "yourapikey", "yoursecret", "yourpassword", "yourtoken",    "yourkey",     "apikeyhere",
        "secrethere", "keyhere",    "tokenhere",    "passwordhere", "insertyour",  "example",
        "dummy",      "notasecret", "fixme",        "xxxxxx",       "donotuse"};
    static const char *const whole[] = {"password", "passw0rd", "secret",    "admin",  "root",
                                        "test",     "postgres", "letmein",   "qwerty", "default",
                                        "123456",   "12345678", "secretkey", "apikey", "token",
                                        "none",     "null",     "todo"};
    char text[PLACEHOLDER_MAX + 1];
    bool found = value->size > 1 && value->data[0] == '<' && value->data[value->size - 1] == '>';
    size_t i;

    if (value->size > PLACEHOLDER_MAX)
        return false;
    (void)reduce(value, text);
    for (i = 0; !found && i < KT_ARRAY(parts); i++)
        found = strstr(text, parts[i]) != NULL;
    for (i = 0; !found && i < KT_ARRAY(whole); i++)
        found = strcmp(text, whole[i]) == 0;
    kt_wipe(text, sizeof(text));
    return found;
}

unsigned kt_strength(const kt_secret_t *value, kt_strength_t kind)
{
    size_t least = kind == KT_STRENGTH_JWT   ? LEAST_JWT
                   : kind == KT_STRENGTH_KEY ? LEAST_KEY
                                             : LEAST;
    unsigned weak = 0;

    if (value->size < LEAST)
        weak |= KT_WEAK_SHORT;
    else if (value->size < least)
        weak |= KT_WEAK_BELOW;
    if (is_plain(value))
        weak |= KT_WEAK_PLAIN;
    if (is_pattern(value))
        weak |= KT_WEAK_PATTERN;
    if (is_placeholder(value))
        weak |= KT_WEAK_PLACEHOLDER;
    return weak;
}

/* ---- what of a value is to be strong ---- */

static bool holds(const char *text, const char *word)
{
    return text != NULL && strcasestr(text, word) != NULL;
}

static kt_strength_t kind_of(const char *name, const char *field)
{
    if (holds(name, "jwt") || holds(field, "jwt"))
        return KT_STRENGTH_JWT;
    if (holds(field, "password"))
        return KT_STRENGTH_PASSWORD;
    if (holds(name, "key") || holds(name, "token") || holds(name, "secret") ||
        holds(field, "key") || holds(field, "token") || holds(field, "secret"))
        return KT_STRENGTH_KEY;
    return KT_STRENGTH_PASSWORD;
}

static bool is_secret_field(const char *field)
{
    static const char *const words[] = {"password", "key",        "token",
                                        "secret",   "passphrase", "value"};
    size_t i;

    for (i = 0; i < KT_ARRAY(words); i++) {
        if (holds(field, words[i]))
            return true;
    }
    return false;
}

static kt_status_t whole(const kt_secret_t *value, kt_secret_t **ret_part)
{
    *ret_part = kt_secret_new(value->data, value->size);
    return *ret_part != NULL ? KT_SUCCESS : kt_no_memory();
}

/*
 * scheme://USER:PASSWORD@HOST... is as strong as its password, and scheme://TOKEN@HOST..., as of a
 * Sentry DSN, as its token. Any other URL is a secret as a whole, if at all.
 */
static kt_status_t of_url(const kt_secret_t *value, kt_secret_t **ret_part)
{
    const char *text = (const char *)value->data, *end = text + value->size;
    const char *from = memmem(text, value->size, "://", 3), *at, *colon;

    if (from == NULL || from == text)
        return whole(value, ret_part);
    from += 3;
    at = memchr(from, '@', (size_t)(end - from));
    if (at == NULL || memchr(from, '/', (size_t)(at - from)) != NULL)
        return whole(value, ret_part);
    colon = memchr(from, ':', (size_t)(at - from));
    if (colon != NULL)
        from = colon + 1;
    *ret_part = kt_secret_new(from, (size_t)(at - from));
    return *ret_part != NULL ? KT_SUCCESS : kt_no_memory();
}

static kt_status_t nothing(void)
{
    return kt_fail(KT_NOTFOUND, "nothing of this value is a password or a key");
}

kt_status_t kt_strength_part(const char *name, const char *field, const kt_secret_t *value,
                             kt_strength_t *ret_kind, kt_secret_t **ret_part)
{
    kt_shape_t shape = kt_shape_of(value);
    kt_status_t status;

    *ret_part = NULL;
    *ret_kind = KT_STRENGTH_PASSWORD;
    if (shape == KT_SHAPE_CERTIFICATE)
        return nothing();
    if (field != NULL) {
        *ret_kind = kind_of(NULL, field);
        return is_secret_field(field) ? whole(value, ret_part) : nothing();
    }
    if (shape == KT_SHAPE_DATABASE)
        return kt_secret_field(value, "password", ret_part);
    *ret_kind = shape == KT_SHAPE_API_KEY ? KT_STRENGTH_KEY : kind_of(name, NULL);
    status = kt_secret_field(value, shape == KT_SHAPE_API_KEY ? "api_key" : "value", ret_part);
    if (status == KT_NOTFOUND)
        return nothing();
    /* no object: it is the secret itself */
    return status == KT_MALFORMED ? of_url(value, ret_part) : status;
}

/* ---- the same value twice ---- */

static pthread_once_t mark_once = PTHREAD_ONCE_INIT;
static unsigned char mark_key[crypto_generichash_KEYBYTES];

static void make_mark_key(void)
{
    randombytes_buf(mark_key, sizeof(mark_key));
}

void kt_secret_mark(const kt_secret_t *secret, unsigned char ret_mark[KT_MARK_SIZE])
{
    (void)pthread_once(&mark_once, make_mark_key);
    (void)crypto_generichash(ret_mark, KT_MARK_SIZE, secret->data, secret->size, mark_key,
                             sizeof(mark_key));
}
