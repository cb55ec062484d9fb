/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sign.c: a message authentication code under a secret, which stays where it is.
 *
 * Keys, and what is computed from them, lie in one piece of locked memory, which is wiped when it
 * is freed. What libsodium has on the stack meanwhile it wipes itself.
 */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "sha1.h"

#define DATE_SIZE 8u    /* 20261130 */
#define MOMENT_SIZE 16u /* 20261130T235959Z */
#define SCOPE_MAX 128u
#define AWS4 "aws4:"
#define AWS4_KEY "AWS4"
#define AWS4_END "aws4_request"

/* ---- HMAC ---- */

typedef struct work {
    union {
        crypto_auth_hmacsha256_state sha256;
        crypto_auth_hmacsha512_state sha512;
        kt_sha1_t sha1;
    } state;
    unsigned char pad[KT_SHA1_BLOCK];
    unsigned char mac[KT_MAC_MAX];
    unsigned char key[]; /* of what is derived */
} work_t;

static void hash_sha1(kt_sha1_t *sha1, const unsigned char pad[KT_SHA1_BLOCK], const void *data,
                      size_t size, unsigned char ret_hash[KT_SHA1_SIZE])
{
    kt_sha1_init(sha1);
    kt_sha1_update(sha1, pad, KT_SHA1_BLOCK);
    kt_sha1_update(sha1, data, size);
    kt_sha1_final(sha1, ret_hash);
}

static void exclusive_or(unsigned char pad[KT_SHA1_BLOCK], unsigned char with)
{
    for (size_t i = 0; i < KT_SHA1_BLOCK; i++)
        pad[i] ^= with;
}

/* RFC 2104. */
static void hmac_sha1(work_t *work, const unsigned char *key, size_t key_size, const void *data,
                      size_t size)
{
    kt_sha1_t *sha1 = &work->state.sha1;

    memset(work->pad, 0, sizeof(work->pad));
    if (key_size > sizeof(work->pad)) {
        kt_sha1_init(sha1);
        kt_sha1_update(sha1, key, key_size);
        kt_sha1_final(sha1, work->pad);
    } else {
        memcpy(work->pad, key, key_size);
    }
    exclusive_or(work->pad, 0x36);
    hash_sha1(sha1, work->pad, data, size, work->mac);
    exclusive_or(work->pad, 0x36 ^ 0x5c);
    hash_sha1(sha1, work->pad, work->mac, KT_SHA1_SIZE, work->mac);
}

/* Into work->mac, which may be the key; answers its size. */
static size_t hmac(work_t *work, kt_hmac_t algorithm, const unsigned char *key, size_t key_size,
                   const void *data, size_t size)
{
    switch (algorithm) {
    case KT_HMAC_SHA1:
        hmac_sha1(work, key, key_size, data, size);
        return KT_SHA1_SIZE;
    case KT_HMAC_SHA512:
        (void)crypto_auth_hmacsha512_init(&work->state.sha512, key, key_size);
        (void)crypto_auth_hmacsha512_update(&work->state.sha512, data, size);
        (void)crypto_auth_hmacsha512_final(&work->state.sha512, work->mac);
        return crypto_auth_hmacsha512_BYTES;
    case KT_HMAC_SHA256:
    default:
        (void)crypto_auth_hmacsha256_init(&work->state.sha256, key, key_size);
        (void)crypto_auth_hmacsha256_update(&work->state.sha256, data, size);
        (void)crypto_auth_hmacsha256_final(&work->state.sha256, work->mac);
        return crypto_auth_hmacsha256_BYTES;
    }
}

int kt_hmac_parse(const char *name)
{
    static const char *const names[] = {[KT_HMAC_SHA256] = "hmac-sha256",
                                        [KT_HMAC_SHA1] = "hmac-sha1",
                                        [KT_HMAC_SHA512] = "hmac-sha512"};

    for (size_t i = 0; i < KT_ARRAY(names); i++)
        if (strcmp(names[i], name) == 0)
            return (int)i;
    return -1;
}

/* ---- AWS Signature Version 4 ---- */

typedef struct aws4 {
    char region[SCOPE_MAX], service[SCOPE_MAX];
} aws4_t;

/* One part of "REGION/SERVICE", up to `end`; answers what follows, NULL: it is not one. */
static const char *take_part(const char *at, char end, char ret_part[SCOPE_MAX])
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t size = strspn(at, allowed);

    if (size == 0 || size >= SCOPE_MAX || at[size] != end)
        return NULL;
    memcpy(ret_part, at, size);
    ret_part[size] = '\0';
    return at + size + (end != '\0');
}

static const char *parse_derive(const kt_sign_t *how, aws4_t *ret_aws4)
{
    const char *at = how->derive;

    if (strncmp(at, AWS4, sizeof(AWS4) - 1) != 0 ||
        (at = take_part(at + sizeof(AWS4) - 1, '/', ret_aws4->region)) == NULL ||
        take_part(at, '\0', ret_aws4->service) == NULL)
        return "it is not aws4:REGION/SERVICE";
    return how->algorithm == KT_HMAC_SHA256 ? NULL : "aws4 signs with hmac-sha256 only";
}

kt_status_t kt_sign_check(const kt_sign_t *how, const char **why)
{
    const char *reason = NULL;
    aws4_t ignored;

    if (how->derive != NULL)
        reason = parse_derive(how, &ignored);
    if (why != NULL)
        *why = reason;
    return reason == NULL ? KT_SUCCESS : KT_USAGE;
}

/* The moment that the canonical request itself says, so that date and signature cannot differ. */
static const char *find_moment(const char *message, size_t size)
{
    static const char field[] = "\nx-amz-date:", form[] = "00000000T000000Z";
    const char *at = memmem(message, size, field, sizeof(field) - 1);

    if (at == NULL || size - (size_t)(at - message) < sizeof(field) + MOMENT_SIZE)
        return NULL;
    at += sizeof(field) - 1;
    for (size_t i = 0; i < MOMENT_SIZE; i++)
        if (form[i] == '0' ? at[i] < '0' || at[i] > '9' : at[i] != form[i])
            return NULL;
    return at[MOMENT_SIZE] == '\n' ? at : NULL;
}

/* The key of this day, region and service into work->mac. */
static size_t derive_aws4(work_t *work, const kt_secret_t *secret, const aws4_t *aws4,
                          const char *date)
{
    size_t size = sizeof(AWS4_KEY) - 1;

    memcpy(work->key, AWS4_KEY, size);
    memcpy(work->key + size, secret->data, secret->size);
    size = hmac(work, KT_HMAC_SHA256, work->key, size + secret->size, date, DATE_SIZE);
    size = hmac(work, KT_HMAC_SHA256, work->mac, size, aws4->region, strlen(aws4->region));
    size = hmac(work, KT_HMAC_SHA256, work->mac, size, aws4->service, strlen(aws4->service));
    return hmac(work, KT_HMAC_SHA256, work->mac, size, AWS4_END, sizeof(AWS4_END) - 1);
}

/* `message` is the canonical request: what is signed says its hash. */
static kt_status_t sign_aws4(work_t *work, const kt_secret_t *secret, const kt_sign_t *how,
                             const void *message, size_t size, size_t *ret_size)
{
    char hash[crypto_hash_sha256_BYTES * 2 + 1], text[64 + MOMENT_SIZE + 2 * SCOPE_MAX + 80];
    unsigned char digest[crypto_hash_sha256_BYTES];
    const char *moment = find_moment(message, size);
    aws4_t aws4;
    int length;

    if (moment == NULL)
        return kt_fail(KT_USAGE,
                       "the canonical request has no line x-amz-date:YYYYMMDDTHHMMSSZ of UTC");
    (void)parse_derive(how, &aws4); /* it was checked */
    (void)crypto_hash_sha256(digest, message, size);
    (void)sodium_bin2hex(hash, sizeof(hash), digest, sizeof(digest));
    length = snprintf(text, sizeof(text), "AWS4-HMAC-SHA256\n%.16s\n%.8s/%s/%s/" AWS4_END "\n%s",
                      moment, moment, aws4.region, aws4.service, hash);
    *ret_size = derive_aws4(work, secret, &aws4, moment);
    *ret_size = hmac(work, KT_HMAC_SHA256, work->mac, *ret_size, text, (size_t)length);
    return KT_SUCCESS;
}

/* ---- both ---- */

kt_status_t kt_secret_sign(const kt_secret_t *secret, const kt_sign_t *how, const void *message,
                           size_t size, unsigned char ret_mac[KT_MAC_MAX], size_t *ret_size)
{
    kt_status_t status = KT_SUCCESS;
    const char *why;
    work_t *work;

    if (how->size < sizeof(kt_sign_t) || kt_sign_check(how, &why) != KT_SUCCESS)
        return kt_fail(KT_USAGE, "a signature of this kind is not known");
    if (secret->size == 0)
        return kt_fail(KT_MALFORMED, "an empty value signs nothing");
    work = kt_locked_alloc(sizeof(*work) + sizeof(AWS4_KEY) + secret->size);
    if (work == NULL)
        return kt_no_memory();
    if (how->derive != NULL)
        status = sign_aws4(work, secret, how, message, size, ret_size);
    else
        *ret_size = hmac(work, how->algorithm, secret->data, secret->size, message, size);
    if (status == KT_SUCCESS)
        memcpy(ret_mac, work->mac, *ret_size);
    kt_locked_free(work);
    return status;
}
