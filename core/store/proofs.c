/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proofs.c: the proof cache: branches of indexes that were proved, so that a read in a large store
 * need not fetch and hash them again.
 *
 * A branch is found by its tag, a MAC over its place and its children's tags that only a holder of
 * the type's key can make. So an entry is valid for any tree that contains its tag, at every
 * generation. Nothing is ever removed; a branch only replaces the one in its slot. A tree of a
 * million secrets has about 4,400 branches.
 */
#include <stdlib.h>
#include <string.h>

#include "index.h"

#define SLOTS 8192u /* 2 MiB of address space */

typedef struct slot {
    unsigned char tag[KT_TAG_SIZE];
    unsigned char children[KT_FANOUT * KT_TAG_SIZE];
} slot_t;

struct kt_proofs {
    slot_t slots[SLOTS];
};

static size_t slot_of(const unsigned char tag[KT_TAG_SIZE])
{
    return (size_t)(tag[0] | tag[1] << 8) % SLOTS;
}

kt_proofs_t *kt_proofs_new(void)
{
    /* a block of this size comes as fresh pages, which use no memory until they are written */
    return calloc(1, sizeof(kt_proofs_t));
}

void kt_proofs_free(kt_proofs_t *proofs)
{
    free(proofs);
}

const unsigned char *kt_proofs_find(const kt_proofs_t *proofs, const unsigned char tag[KT_TAG_SIZE])
{
    const slot_t *slot;

    if (proofs == NULL)
        return NULL;
    slot = &proofs->slots[slot_of(tag)];
    return memcmp(slot->tag, tag, KT_TAG_SIZE) == 0 ? slot->children : NULL;
}

void kt_proofs_keep(kt_proofs_t *proofs, const unsigned char tag[KT_TAG_SIZE],
                    const unsigned char children[KT_FANOUT * KT_TAG_SIZE])
{
    slot_t *slot;

    if (proofs == NULL)
        return;
    slot = &proofs->slots[slot_of(tag)];
    memcpy(slot->tag, tag, KT_TAG_SIZE);
    memcpy(slot->children, children, sizeof(slot->children));
}
