/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sha1.c: SHA-1 (FIPS 180-4, 6.1.2). libsodium does not have it. OpenSSL keeps its contexts on the
 * heap, which is not locked; here even the message schedule is the caller's memory.
 */
#include <string.h>

#include "sha1.h"

void kt_sha1_init(kt_sha1_t *sha1)
{
    static const uint32_t initial[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};

    memcpy(sha1->state, initial, sizeof(initial));
    sha1->size = 0;
}

static uint32_t rotl(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

static uint32_t mix(unsigned t, uint32_t b, uint32_t c, uint32_t d)
{
    if (t < 20)
        return ((b & c) | (~b & d)) + 0x5a827999;
    if (t < 40)
        return (b ^ c ^ d) + 0x6ed9eba1;
    if (t < 60)
        return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    return (b ^ c ^ d) + 0xca62c1d6;
}

static void add_block(kt_sha1_t *sha1)
{
    uint32_t *w = sha1->words, *state = sha1->state;
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], next;

    for (unsigned t = 0; t < 16; t++)
        w[t] = kt_get_u32(sha1->block + (size_t)t * 4);
    for (unsigned t = 16; t < 80; t++)
        w[t] = rotl(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    for (unsigned t = 0; t < 80; t++) {
        next = rotl(a, 5) + mix(t, b, c, d) + e + w[t];
        e = d;
        d = c;
        c = rotl(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

void kt_sha1_update(kt_sha1_t *sha1, const void *data, size_t size)
{
    const unsigned char *at = data;
    size_t used, part;

    for (; size > 0; at += part, size -= part) {
        used = (size_t)(sha1->size % KT_SHA1_BLOCK);
        part = size < KT_SHA1_BLOCK - used ? size : KT_SHA1_BLOCK - used;
        memcpy(sha1->block + used, at, part);
        sha1->size += part;
        if (used + part == KT_SHA1_BLOCK)
            add_block(sha1);
    }
}

void kt_sha1_final(kt_sha1_t *sha1, unsigned char ret_hash[KT_SHA1_SIZE])
{
    static const unsigned char end = 0x80, zero = 0;
    unsigned char length[8];

    kt_put_u64(length, sha1->size * 8);
    kt_sha1_update(sha1, &end, 1);
    while (sha1->size % KT_SHA1_BLOCK != KT_SHA1_BLOCK - sizeof(length))
        kt_sha1_update(sha1, &zero, 1);
    kt_sha1_update(sha1, length, sizeof(length));
    for (size_t i = 0; i < 5; i++)
        kt_put_u32(ret_hash + i * 4, sha1->state[i]);
}
