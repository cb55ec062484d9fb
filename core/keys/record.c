/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * record.c: records of format 1. docs/format.md is the specification.
 *
 * The header is clear and authenticated; environment and name are authenticated without being
 * written, each after its length, so that "a" + "bc" never passes for "ab" + "c". The plain text
 * is padded to a power of two: what a thief sees of a value is its size class.
 */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "keys.h"

#define MAGIC "KTRN"
#define FORMAT 1u
#define ALGORITHM_XCHACHA20_POLY1305 1u
#define AT_FORMAT 4u
#define AT_ALGORITHM 5u
#define AT_KEY_ID 8u
#define AT_NONCE 48u
#define NONCE_SIZE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define LENGTH_SIZE 4u /* in front of the value, inside the seal */
#define CLASS_MIN 64u
#define CLASS_MAX 131072u
#define OVERHEAD (KTP_RECORD_HEADER + LENGTH_SIZE + KT_TAG_SIZE)
#define AD_MAX (KTP_RECORD_HEADER + 4u + KT_ENVIRONMENT_MAX + 4u + KT_NAME_MAX + 1u)

static size_t size_class(size_t size)
{
    size_t class = CLASS_MIN;

    while (class < size)
        class *= 2;
    return class;
}

/* Looks at all bytes, whichever is the first that differs. */
static bool is_zero(const unsigned char *bytes, size_t size)
{
    uint64_t any = 0, word;

    for (; size >= sizeof(word); bytes += sizeof(word), size -= sizeof(word)) {
        memcpy(&word, bytes, sizeof(word));
        any |= word;
    }
    for (; size > 0; bytes++, size--)
        any |= *bytes;
    return any == 0;
}

static bool is_class(size_t size)
{
    return size >= CLASS_MIN && size <= CLASS_MAX && (size & (size - 1)) == 0;
}

kt_status_t kt_header_parse(const void *record, size_t size, kt_header_t *ret_header)
{
    const unsigned char *r = record;

    if (size < OVERHEAD + CLASS_MIN || memcmp(r, MAGIC, 4) != 0)
        return kt_fail(KT_MALFORMED, "not a sealed record");
    if (r[AT_FORMAT] != FORMAT)
        return kt_fail(KT_MALFORMED, "sealed record of format %u, this version knows format %u",
                       r[AT_FORMAT], FORMAT);
    if (r[AT_ALGORITHM] != ALGORITHM_XCHACHA20_POLY1305)
        return kt_fail(KT_MALFORMED, "sealed record with unknown algorithm %u", r[AT_ALGORITHM]);
    if (r[7] != 0 || !is_class(size - OVERHEAD))
        return kt_fail(KT_MALFORMED, "sealed record is damaged or cut short");
    ret_header->type = r[KTP_RECORD_TYPE_AT];
    memcpy(ret_header->key_id, r + AT_KEY_ID, KT_KEYID_SIZE);
    memcpy(ret_header->id, r + KTP_RECORD_ID_AT, KT_ID_SIZE);
    ret_header->version = kt_get_u64(r + KTP_RECORD_VERSION_AT);
    return KT_SUCCESS;
}

/* The header, then environment and name, each after its length. */
static size_t associated_data(unsigned char ad[AD_MAX], const unsigned char *record,
                              const char *environment, const char *name)
{
    size_t at = KTP_RECORD_HEADER, environment_size = strlen(environment), name_size = strlen(name);

    memcpy(ad, record, KTP_RECORD_HEADER);
    kt_put_u32(ad + at, (uint32_t)environment_size);
    memcpy(ad + at + 4, environment, environment_size);
    at += 4 + environment_size;
    kt_put_u32(ad + at, (uint32_t)name_size);
    memcpy(ad + at + 4, name, name_size);
    return at + 4 + name_size;
}

static void write_header(unsigned char *record, const kt_header_t *header)
{
    memcpy(record, MAGIC, 4);
    record[AT_FORMAT] = FORMAT;
    record[AT_ALGORITHM] = ALGORITHM_XCHACHA20_POLY1305;
    record[KTP_RECORD_TYPE_AT] = (unsigned char)header->type;
    record[7] = 0;
    memcpy(record + AT_KEY_ID, header->key_id, KT_KEYID_SIZE);
    memcpy(record + KTP_RECORD_ID_AT, header->id, KT_ID_SIZE);
    kt_put_u64(record + KTP_RECORD_VERSION_AT, header->version);
    randombytes_buf(record + AT_NONCE, NONCE_SIZE);
}

kt_status_t kt_seal(const unsigned char *key, const kt_header_t *header, const char *environment,
                    const char *name, const void *plain, size_t plain_size,
                    unsigned char **ret_record, size_t *ret_size)
{
    size_t class = size_class(plain_size), inner = LENGTH_SIZE + class;
    unsigned char ad[AD_MAX];
    unsigned char *padded, *record;
    size_t ad_size;

    if (class > CLASS_MAX)
        return kt_fail(KT_TOOLARGE, "%zu bytes are too many for one sealed record", plain_size);
    padded = kt_locked_alloc(inner);
    record = malloc(OVERHEAD + class);
    if (padded == NULL || record == NULL) {
        kt_locked_free(padded);
        free(record);
        return kt_no_memory();
    }
    kt_put_u32(padded, (uint32_t)plain_size);
    if (plain_size > 0)
        memcpy(padded + LENGTH_SIZE, plain, plain_size);
    write_header(record, header);
    ad_size = associated_data(ad, record, environment, name);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(
        record + KTP_RECORD_HEADER, NULL, padded, inner, ad, ad_size, NULL, record + AT_NONCE, key);
    kt_locked_free(padded);
    *ret_record = record;
    *ret_size = OVERHEAD + class;
    return KT_SUCCESS;
}

/* The bytes inside of the seal of a record with a right header. */
static size_t inner_size(size_t size)
{
    return size - KTP_RECORD_HEADER - KT_TAG_SIZE;
}

bool kt_is_halfway(const kt_halfway_t *halfway, const unsigned char *record, size_t size)
{
    return size >= OVERHEAD && memcmp(record + AT_NONCE, halfway->nonce, KT_NONCE_HALF) == 0;
}

bool kt_unseal_halfway(const unsigned char *key, const unsigned char *record, size_t size,
                       kt_halfway_t *ret_halfway)
{
    if (size < OVERHEAD)
        return false;
    memcpy(ret_halfway->nonce, record + AT_NONCE, KT_NONCE_HALF);
    return crypto_core_hchacha20(ret_halfway->key, record + AT_NONCE, key, NULL) == 0;
}

/* As libsodium opens XChaCha20-Poly1305, from its second step on if the first is done. */
static bool open_sealed(unsigned char *plain, const kt_halfway_t *halfway, const unsigned char *key,
                        const unsigned char *record, size_t size, const unsigned char *ad,
                        size_t ad_size)
{
    const unsigned char *sealed = record + KTP_RECORD_HEADER, *nonce = record + AT_NONCE;
    unsigned char rest[crypto_aead_chacha20poly1305_ietf_NPUBBYTES] = {0};

    size -= KTP_RECORD_HEADER;
    if (halfway == NULL)
        return crypto_aead_xchacha20poly1305_ietf_decrypt(plain, NULL, NULL, sealed, size, ad,
                                                          ad_size, nonce, key) == 0;
    memcpy(rest + sizeof(rest) - (NONCE_SIZE - KT_NONCE_HALF), nonce + KT_NONCE_HALF,
           NONCE_SIZE - KT_NONCE_HALF);
    return crypto_aead_chacha20poly1305_ietf_decrypt(plain, NULL, NULL, sealed, size, ad, ad_size,
                                                     rest, halfway->key) == 0;
}

/* Opens into `padded`, inner_size() bytes of locked memory, which begin with the plain text then.
 */
static kt_status_t open_into(unsigned char *padded, const kt_halfway_t *halfway,
                             const unsigned char *key, const char *environment, const char *name,
                             const unsigned char *record, size_t size, size_t *ret_length)
{
    size_t inner = inner_size(size), ad_size, length;
    unsigned char ad[AD_MAX];

    ad_size = associated_data(ad, record, environment, name);
    if (!open_sealed(padded, halfway, key, record, size, ad, ad_size))
        return kt_fail(
            KT_MALFORMED,
            "the seal does not hold: the record was changed, or belongs to another name");
    length = kt_get_u32(padded);
    if (length > inner - LENGTH_SIZE || size_class(length) != inner - LENGTH_SIZE ||
        !is_zero(padded + LENGTH_SIZE + length, inner - LENGTH_SIZE - length))
        return kt_fail(KT_MALFORMED, "sealed record with an impossible length or padding");
    memmove(padded, padded + LENGTH_SIZE, length);
    *ret_length = length;
    return KT_SUCCESS;
}

kt_status_t kt_unseal(const unsigned char *key, const char *environment, const char *name,
                      const void *record, size_t size, unsigned char **ret_plain,
                      size_t *ret_plain_size)
{
    unsigned char *padded;
    kt_header_t header;
    kt_status_t status;

    status = kt_header_parse(record, size, &header);
    if (status != KT_SUCCESS)
        return status;
    padded = kt_locked_alloc(inner_size(size));
    if (padded == NULL)
        return kt_no_memory();
    status = open_into(padded, NULL, key, environment, name, record, size, ret_plain_size);
    if (status != KT_SUCCESS) {
        kt_locked_free(padded);
        return status;
    }
    kt_wipe(padded + *ret_plain_size, inner_size(size) - *ret_plain_size);
    *ret_plain = padded;
    return KT_SUCCESS;
}

kt_status_t kt_unseal_secret(const kt_halfway_t *halfway, const unsigned char *key,
                             const char *environment, const char *name, const void *record,
                             size_t size, kt_secret_t **ret_secret)
{
    kt_secret_t *secret;
    kt_header_t header;
    size_t length = 0;
    kt_status_t status;

    status = kt_header_parse(record, size, &header);
    if (status != KT_SUCCESS)
        return status;
    secret = kt_secret_room(inner_size(size));
    if (secret == NULL)
        return kt_no_memory();
    status = open_into(secret->data, halfway, key, environment, name, record, size, &length);
    if (status == KT_SUCCESS && length > KT_VALUE_MAX) {
        errno = EFBIG;
        status = kt_no_memory();
    }
    if (status != KT_SUCCESS) {
        kt_secret_free(secret);
        return status;
    }
    /* no byte after the value is left of what the seal had around it */
    kt_wipe(secret->data + length, inner_size(size) - length);
    secret->size = length;
    *ret_secret = secret;
    return KT_SUCCESS;
}
