/* SPDX-License-Identifier: BSD-2-Clause */
/* sha1.h: SHA-1 for HMAC-SHA1, which old protocols still ask for; nothing of keyturn relies on it.
 */
#ifndef KT_SHA1_H
#define KT_SHA1_H

#include "value.h"

#define KT_SHA1_SIZE 20u
#define KT_SHA1_BLOCK 64u

/* All that depends on the input lies in here, so the caller decides in which memory. */
typedef struct kt_sha1 {
    uint32_t state[5];
    uint32_t words[80];
    uint64_t size;
    unsigned char block[KT_SHA1_BLOCK];
} kt_sha1_t;

void kt_sha1_init(kt_sha1_t *sha1);
void kt_sha1_update(kt_sha1_t *sha1, const void *data, size_t size);
void kt_sha1_final(kt_sha1_t *sha1, unsigned char ret_hash[KT_SHA1_SIZE]);

#endif /* KT_SHA1_H */
