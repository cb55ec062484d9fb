/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proofs.c: the proof cache: what was proved of indexes, so that a read need not fetch and hash it
 * again.
 *
 * A branch is found by its tag, a MAC over its place and its children's tags that only a holder of
 * the type's key can make. So it is valid for any tree that contains its tag, at every generation.
 * The same holds for the entry of a leaf, found by the leaf's tag and the name's hash. A branch or
 * an entry only replaces the one in its slot. A tree of a million secrets has about 4,400 branches;
 * the entries of some 200,000 secrets fit. To read the last node of a proof costs as much as to
 * read the head. Slots are small, and what is kept lies one after the other in the order of its
 * first use: spread over all of the memory, each read of another secret would touch new pages.
 *
 * A root is different: an old one is as authentic as the newest. It counts only as long as the
 * store's change token stays what it was before the root was read, that is, until any process
 * commits anything. It is compared with the anchors each time, as if it were read.
 */
#include <stdlib.h>
#include <string.h>

#include "index.h"

#define BRANCHES 32768u /* 9 MiB of address space, of which 4,400 branches take 1.2 */
#define ENTRIES 262144u /* 17 MiB, of which a process uses what it has read */
#define ROOTS 16u

typedef struct branch {
    unsigned char tag[KT_TAG_SIZE];
    unsigned char children[KT_FANOUT * KT_TAG_SIZE];
} branch_t;

typedef struct entry {
    unsigned char leaf[KT_TAG_SIZE], hash[KT_HASH_SIZE], tag[KT_TAG_SIZE];
} entry_t;

struct kt_proofs {
    uint32_t branch_at[BRANCHES], entry_at[ENTRIES]; /* of each slot: its number + 1; 0: free */
    uint32_t nbranches, nentries;
    branch_t branches[BRANCHES];
    entry_t entries[ENTRIES];
    kt_root_row_t roots[ROOTS]; /* proved when the token was `token` */
    size_t nroots;
    unsigned char token[KTP_TOKEN_SIZE];
    bool keeps; /* the present transaction began at `token` */
    bool used;  /* it used one of the roots */
};

kt_proofs_t *kt_proofs_new(void)
{
    /* a block of this size comes as fresh pages, which use no memory until they are written */
    return calloc(1, sizeof(kt_proofs_t));
}

void kt_proofs_free(kt_proofs_t *proofs)
{
    free(proofs);
}

/* ---- branches ---- */

static size_t slot_of(const unsigned char tag[KT_TAG_SIZE])
{
    return (size_t)(tag[0] | tag[1] << 8) % BRANCHES;
}

const unsigned char *kt_proofs_find(const kt_proofs_t *proofs, const unsigned char tag[KT_TAG_SIZE])
{
    const branch_t *branch;
    uint32_t n = proofs != NULL ? proofs->branch_at[slot_of(tag)] : 0;

    if (n == 0)
        return NULL;
    branch = &proofs->branches[n - 1];
    return memcmp(branch->tag, tag, KT_TAG_SIZE) == 0 ? branch->children : NULL;
}

void kt_proofs_keep(kt_proofs_t *proofs, const unsigned char tag[KT_TAG_SIZE],
                    const unsigned char children[KT_FANOUT * KT_TAG_SIZE])
{
    branch_t *branch;
    uint32_t *at;

    if (proofs == NULL)
        return;
    at = &proofs->branch_at[slot_of(tag)];
    if (*at == 0)
        *at = ++proofs->nbranches;
    branch = &proofs->branches[*at - 1];
    memcpy(branch->tag, tag, KT_TAG_SIZE);
    memcpy(branch->children, children, sizeof(branch->children));
}

/* ---- entries of leaves ---- */

/* By the end of the hash, because names of one leaf have its beginning in common. */
static size_t entry_slot_of(const unsigned char hash[KT_HASH_SIZE])
{
    return (size_t)(hash[KT_HASH_SIZE - 1] | hash[KT_HASH_SIZE - 2] << 8 |
                    hash[KT_HASH_SIZE - 3] << 16) %
           ENTRIES;
}

const unsigned char *kt_proofs_entry(const kt_proofs_t *proofs,
                                     const unsigned char leaf[KT_TAG_SIZE],
                                     const unsigned char hash[KT_HASH_SIZE])
{
    const entry_t *entry;
    uint32_t n = proofs != NULL ? proofs->entry_at[entry_slot_of(hash)] : 0;

    if (n == 0)
        return NULL;
    entry = &proofs->entries[n - 1];
    return memcmp(entry->leaf, leaf, KT_TAG_SIZE) == 0 &&
                   memcmp(entry->hash, hash, KT_HASH_SIZE) == 0
               ? entry->tag
               : NULL;
}

void kt_proofs_keep_entry(kt_proofs_t *proofs, const unsigned char leaf[KT_TAG_SIZE],
                          const unsigned char hash[KT_HASH_SIZE],
                          const unsigned char tag[KT_TAG_SIZE])
{
    entry_t *entry;
    uint32_t *at;

    if (proofs == NULL)
        return;
    at = &proofs->entry_at[entry_slot_of(hash)];
    if (*at == 0)
        *at = ++proofs->nentries;
    entry = &proofs->entries[*at - 1];
    memcpy(entry->leaf, leaf, KT_TAG_SIZE);
    memcpy(entry->hash, hash, KT_HASH_SIZE);
    memcpy(entry->tag, tag, KT_TAG_SIZE);
}

/* ---- roots ---- */

void kt_proofs_begin(kt_proofs_t *proofs, const unsigned char *token)
{
    if (proofs == NULL)
        return;
    proofs->used = false;
    proofs->keeps = token != NULL;
    if (token == NULL || memcmp(proofs->token, token, KTP_TOKEN_SIZE) == 0)
        return;
    memcpy(proofs->token, token, KTP_TOKEN_SIZE);
    proofs->nroots = 0;
}

bool kt_proofs_are_of(const kt_proofs_t *proofs, const unsigned char token[KTP_TOKEN_SIZE])
{
    return proofs != NULL && memcmp(proofs->token, token, KTP_TOKEN_SIZE) == 0;
}

const kt_root_row_t *kt_proofs_root(kt_proofs_t *proofs, const unsigned char key_id[KT_KEYID_SIZE])
{
    size_t i;

    for (i = 0; proofs != NULL && proofs->keeps && i < proofs->nroots; i++) {
        if (memcmp(proofs->roots[i].key_id, key_id, KT_KEYID_SIZE) != 0)
            continue;
        proofs->used = true;
        return &proofs->roots[i];
    }
    return NULL;
}

void kt_proofs_keep_root(kt_proofs_t *proofs, const kt_root_row_t *root)
{
    if (proofs != NULL && proofs->keeps && proofs->nroots < ROOTS)
        proofs->roots[proofs->nroots++] = *root;
}

bool kt_proofs_forget(kt_proofs_t *proofs)
{
    bool used = proofs != NULL && proofs->used;

    if (proofs != NULL)
        proofs->nroots = 0;
    return used;
}
