/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * names.c: the hashes of names that were asked for before. A hash follows from the type's key and
 * the name, and both are compared: so it is always right. A name only replaces the one in its slot,
 * and those that are kept lie one after the other, so that they are in few pages of memory. Names
 * and hashes are not secret here: the store shows the hashes, and the caller has the name.
 */
#include <stdlib.h>
#include <string.h>

#include "rows.h"

#define SLOTS 65536u /* 8 MiB of address space */
#define NAME_MAX_KEPT 79u

typedef struct kept {
    unsigned char key_id[KT_KEYID_SIZE], hash[KT_HASH_SIZE];
    char name[NAME_MAX_KEPT + 1];
} kept_t;

struct kt_names {
    uint32_t at[SLOTS]; /* of each slot: its number + 1; 0: free */
    uint32_t count;
    kept_t kept[SLOTS];
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

static bool is_kept(const kept_t *kept, const kt_typekey_t *type, const char *name, size_t size)
{
    return memcmp(kept->name, name, size + 1) == 0 &&
           memcmp(kept->key_id, type->id, KT_KEYID_SIZE) == 0;
}

void kt_names_hash(kt_names_t *names, const kt_typekey_t *type, const char *name,
                   unsigned char ret_hash[KT_HASH_SIZE])
{
    size_t size = strlen(name);
    kept_t *kept;
    uint32_t *at;

    if (names == NULL || size == 0 || size > NAME_MAX_KEPT) {
        kt_name_hash(type, name, ret_hash);
        return;
    }
    at = &names->at[slot_of(name, size)];
    if (*at == 0 || !is_kept(&names->kept[*at - 1], type, name, size)) {
        if (*at == 0)
            *at = ++names->count;
        kept = &names->kept[*at - 1];
        kt_name_hash(type, name, kept->hash);
        memcpy(kept->key_id, type->id, KT_KEYID_SIZE);
        memcpy(kept->name, name, size + 1);
    }
    memcpy(ret_hash, names->kept[*at - 1].hash, KT_HASH_SIZE);
}
