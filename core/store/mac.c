/* SPDX-License-Identifier: BSD-2-Clause */
/* mac.c: the keyed hash of an index: of its nodes and root (index.c), and of anchors (anchors.c).
 */
#include <sodium.h>

#include "index.h"

void kt_mac(const unsigned char key[KT_KEY_SIZE], const char *purpose, const kt_part_t *parts,
            size_t count, unsigned char *ret_mac, size_t size)
{
    crypto_generichash_blake2b_state state;
    size_t i;

    (void)crypto_generichash_blake2b_init_salt_personal(&state, key, KT_KEY_SIZE, size, NULL,
                                                        (const unsigned char *)purpose);
    for (i = 0; i < count; i++)
        (void)crypto_generichash_blake2b_update(&state, parts[i].data, parts[i].size);
    (void)crypto_generichash_blake2b_final(&state, ret_mac, size);
}
