/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * names.c: the hashes of names that were asked for before. A hash follows from the type's key and
 * the name, and both are compared: so it is always right. A name only replaces the one in its slot.
 * Names and hashes are not secret here: the store shows the hashes, and the caller has the name.
 */
#include <stdlib.h>
#include <string.h>

#include "rows.h"

#define SLOTS 65536u /* 8 MiB of address space */
#define NAME_MAX_KEPT 79u

typedef struct slot {
    unsigned char key_id[KT_KEYID_SIZE], hash[KT_HASH_SIZE];
    char name[NAME_MAX_KEPT + 1]; /* "": none */
} slot_t;

struct kt_names {
    slot_t slots[SLOTS];
};

kt_names_t *kt_names_new(void)
{
    return calloc(1, sizeof(kt_names_t));
}

void kt_names_free(kt_names_t *names)
{
    free(names);
}

static size_t slot_of(const char *name, size_t size)
{
    uint64_t hash = 14695981039346656037u;
    size_t i;

    for (i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)name[i]) * 1099511628211u;
    return (size_t)(hash ^ hash >> 32) % SLOTS;
}

void kt_names_hash(kt_names_t *names, const kt_typekey_t *type, const char *name,
                   unsigned char ret_hash[KT_HASH_SIZE])
{
    size_t size = strlen(name);
    slot_t *slot;

    if (names == NULL || size == 0 || size > NAME_MAX_KEPT) {
        kt_name_hash(type, name, ret_hash);
        return;
    }
    slot = &names->slots[slot_of(name, size)];
    if (memcmp(slot->name, name, size + 1) != 0 ||
        memcmp(slot->key_id, type->id, KT_KEYID_SIZE) != 0) {
        kt_name_hash(type, name, slot->hash);
        memcpy(slot->key_id, type->id, KT_KEYID_SIZE);
        memcpy(slot->name, name, size + 1);
    }
    memcpy(ret_hash, slot->hash, KT_HASH_SIZE);
}
