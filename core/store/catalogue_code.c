/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * catalogue_code.c: the contents of a catalogue, as a list of fields like those of a head, and its
 * lists in memory.
 *
 * The fields stand in one order: epochs with the newest first, types by name, rows by key. A
 * catalogue has one form, and a reader refuses every other.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "catalogue.h"

/* docs/format.md, "Catalogue". Append only. */
enum {
    TAG_EPOCH = 1, /* number (4), id of the environment key (16) */
    TAG_TYPE = 2,  /* epoch of its newest root (4), name */
    TAG_ROW = 3    /* key of the row (17), hash (16) */
};

#define FIELD_HEADER 5u
#define EPOCH_SIZE (4u + KT_KEYID_SIZE)
#define ROW_SIZE (KT_META_SIZE + KT_TAG_SIZE)
#define CONTENTS_MAX 131072u /* bytes of the largest size class of a record */

void kt_catalogue_clear(kt_catalogue_t *catalogue)
{
    size_t i;

    for (i = 0; i < catalogue->ntypes; i++)
        free(catalogue->types[i].name);
    free(catalogue->types);
    free(catalogue->epochs);
    free(catalogue->rows);
    memset(catalogue, 0, sizeof(*catalogue));
}

/* Makes room for one more item before the n-th. NULL: out of memory. */
static void *insert(void *list, size_t *io_count, size_t size, size_t n)
{
    unsigned char *grown = realloc(list, (*io_count + 1) * size);

    if (grown == NULL)
        return NULL;
    memmove(grown + (n + 1) * size, grown + n * size, (*io_count - n) * size);
    memset(grown + n * size, 0, size);
    (*io_count)++;
    return grown;
}

/* ---- encoding ---- */

static unsigned char *put_field(unsigned char *at, unsigned tag, size_t size)
{
    at[0] = (unsigned char)tag;
    kt_put_u32(at + 1, (uint32_t)size);
    return at + FIELD_HEADER;
}

kt_status_t kt_catalogue_encode(const kt_catalogue_t *catalogue, unsigned char **ret_plain,
                                size_t *ret_size)
{
    size_t size = catalogue->nepochs * (FIELD_HEADER + EPOCH_SIZE) +
                  catalogue->nrows * (FIELD_HEADER + ROW_SIZE),
           i;
    unsigned char *plain, *at;

    for (i = 0; i < catalogue->ntypes; i++)
        size += FIELD_HEADER + 4 + strlen(catalogue->types[i].name);
    if (size > CONTENTS_MAX)
        return kt_fail(KT_TOOLARGE, "a store cannot list more types at one epoch: %zu are too many",
                       catalogue->ntypes);
    at = plain = malloc(size + 1);
    if (plain == NULL)
        return kt_no_memory();
    for (i = 0; i < catalogue->nepochs; i++) {
        at = put_field(at, TAG_EPOCH, EPOCH_SIZE);
        kt_put_u32(at, catalogue->epochs[i].epoch);
        memcpy(at + 4, catalogue->epochs[i].id, KT_KEYID_SIZE);
        at += EPOCH_SIZE;
    }
    for (i = 0; i < catalogue->ntypes; i++) {
        size_t length = strlen(catalogue->types[i].name);

        at = put_field(at, TAG_TYPE, 4 + length);
        kt_put_u32(at, catalogue->types[i].epoch);
        memcpy(at + 4, catalogue->types[i].name, length);
        at += 4 + length;
    }
    for (i = 0; i < catalogue->nrows; i++) {
        at = put_field(at, TAG_ROW, ROW_SIZE);
        memcpy(at, catalogue->rows[i].key, KT_META_SIZE);
        memcpy(at + KT_META_SIZE, catalogue->rows[i].hash, KT_TAG_SIZE);
        at += ROW_SIZE;
    }
    *ret_plain = plain;
    *ret_size = size;
    return KT_SUCCESS;
}

/* ---- decoding ---- */

static kt_status_t bad(void)
{
    return kt_fail(
        KT_MALFORMED,
        "the catalogue of types does not parse: it may come from a newer version of keyturn");
}

static kt_status_t get_epoch(kt_catalogue_t *c, const unsigned char *at, size_t size)
{
    unsigned epoch = size == EPOCH_SIZE ? kt_get_u32(at) : 0;

    if (epoch == 0 || (c->nepochs > 0 && c->epochs[c->nepochs - 1].epoch <= epoch))
        return bad();
    return kt_catalogue_add_epoch(c, epoch, at + 4);
}

static kt_status_t get_type(kt_catalogue_t *c, const unsigned char *at, size_t size)
{
    char name[KT_NAME_MAX + 1];
    kt_reference_t ref;

    if (size < 5 || size - 4 > KT_NAME_MAX || memchr(at + 4, 0, size - 4) != NULL ||
        memchr(at + 4, '/', size - 4) != NULL)
        return bad();
    memcpy(name, at + 4, size - 4);
    name[size - 4] = '\0';
    if (kt_reference_parse(name, 0, &ref) != KT_SUCCESS || strcmp(ref.name, name) != 0 ||
        (c->ntypes > 0 && strcmp(c->types[c->ntypes - 1].name, name) >= 0))
        return bad();
    return kt_catalogue_list(c, name, kt_get_u32(at));
}

static kt_status_t get_row(kt_catalogue_t *c, const unsigned char *at, size_t size)
{
    kt_cat_row_t *grown;

    if (size != ROW_SIZE ||
        (c->nrows > 0 && memcmp(c->rows[c->nrows - 1].key, at, KT_META_SIZE) >= 0))
        return bad();
    grown = insert(c->rows, &c->nrows, sizeof(*grown), c->nrows);
    if (grown == NULL)
        return kt_no_memory();
    c->rows = grown;
    memcpy(grown[c->nrows - 1].key, at, KT_META_SIZE);
    memcpy(grown[c->nrows - 1].hash, at + KT_META_SIZE, KT_TAG_SIZE);
    return KT_SUCCESS;
}

kt_status_t kt_catalogue_decode(const unsigned char *plain, size_t size, kt_catalogue_t *io)
{
    static kt_status_t (*const getters[])(kt_catalogue_t * c, const unsigned char *at,
                                          size_t size) = {
        [TAG_EPOCH] = get_epoch, [TAG_TYPE] = get_type, [TAG_ROW] = get_row};
    unsigned last = TAG_EPOCH;
    kt_status_t status = KT_SUCCESS;

    while (size > 0 && status == KT_SUCCESS) {
        size_t length = size >= FIELD_HEADER ? kt_get_u32(plain + 1) : 0;

        if (size < FIELD_HEADER || length > size - FIELD_HEADER || plain[0] < last ||
            plain[0] > TAG_ROW)
            return bad();
        last = plain[0];
        status = getters[last](io, plain + FIELD_HEADER, length);
        plain += FIELD_HEADER + length;
        size -= FIELD_HEADER + length;
    }
    io->changed = false;
    return status == KT_SUCCESS && io->nepochs == 0 ? bad() : status;
}

/* ---- its lists ---- */

/* Where the type stands, or belongs. */
static size_t place_of_type(const kt_catalogue_t *catalogue, const char *type)
{
    size_t low = 0, high = catalogue->ntypes;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (strcmp(catalogue->types[middle].name, type) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

kt_cat_type_t *kt_catalogue_find(const kt_catalogue_t *catalogue, const char *type)
{
    size_t n = place_of_type(catalogue, type);

    return n < catalogue->ntypes && strcmp(catalogue->types[n].name, type) == 0
               ? &catalogue->types[n]
               : NULL;
}

kt_status_t kt_catalogue_list(kt_catalogue_t *catalogue, const char *type, unsigned epoch)
{
    kt_cat_type_t *found = kt_catalogue_find(catalogue, type), *grown;
    size_t n = place_of_type(catalogue, type);
    char *name;

    if (found != NULL) {
        catalogue->changed = catalogue->changed || found->epoch != epoch;
        found->epoch = epoch;
        return KT_SUCCESS;
    }
    name = strdup(type);
    grown = name != NULL ? insert(catalogue->types, &catalogue->ntypes, sizeof(*grown), n) : NULL;
    if (grown == NULL) {
        free(name);
        return kt_no_memory();
    }
    catalogue->types = grown;
    grown[n] = (kt_cat_type_t){epoch, name};
    catalogue->changed = true;
    return KT_SUCCESS;
}

kt_status_t kt_catalogue_add_epoch(kt_catalogue_t *catalogue, unsigned epoch,
                                   const unsigned char id[KT_KEYID_SIZE])
{
    kt_cat_epoch_t *grown;
    size_t n = 0;

    while (n < catalogue->nepochs && catalogue->epochs[n].epoch > epoch)
        n++;
    grown = insert(catalogue->epochs, &catalogue->nepochs, sizeof(*grown), n);
    if (grown == NULL)
        return kt_no_memory();
    catalogue->epochs = grown;
    grown[n].epoch = epoch;
    memcpy(grown[n].id, id, KT_KEYID_SIZE);
    catalogue->changed = true;
    return KT_SUCCESS;
}

bool kt_catalogue_has_epoch(const kt_catalogue_t *catalogue, const unsigned char id[KT_KEYID_SIZE])
{
    size_t i;

    for (i = 0; i < catalogue->nepochs; i++) {
        if (memcmp(catalogue->epochs[i].id, id, KT_KEYID_SIZE) == 0)
            return true;
    }
    return false;
}

/* ---- rows that stay as they are ---- */

/* Without a key, because it lies inside a seal, and the rows outlive the keys of their epoch. */
static void hash_row(const ktp_row_t *row, unsigned char ret_hash[KT_TAG_SIZE])
{
    crypto_generichash_blake2b_state state;
    unsigned char stamp[8];

    kt_put_u64(stamp, row->stamp);
    (void)crypto_generichash_blake2b_init_salt_personal(&state, NULL, 0, KT_TAG_SIZE, NULL,
                                                        (const unsigned char *)"keyturn row     ");
    (void)crypto_generichash_blake2b_update(&state, stamp, sizeof(stamp));
    (void)crypto_generichash_blake2b_update(&state, row->record, row->record_size);
    (void)crypto_generichash_blake2b_final(&state, ret_hash, KT_TAG_SIZE);
}

static size_t place_of_row(const kt_catalogue_t *catalogue, const unsigned char key[KT_META_SIZE])
{
    size_t low = 0, high = catalogue->nrows;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (memcmp(catalogue->rows[middle].key, key, KT_META_SIZE) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const kt_cat_row_t *kt_catalogue_kept(const kt_catalogue_t *catalogue, const ktp_key_t *key)
{
    size_t n = place_of_row(catalogue, key->id);

    return key->id_size == KT_META_SIZE && n < catalogue->nrows &&
                   memcmp(catalogue->rows[n].key, key->id, KT_META_SIZE) == 0
               ? &catalogue->rows[n]
               : NULL;
}

kt_status_t kt_catalogue_keep(kt_catalogue_t *catalogue, const ktp_key_t *key, const ktp_row_t *row)
{
    size_t n = place_of_row(catalogue, key->id);
    kt_cat_row_t *grown = catalogue->rows;

    if (kt_catalogue_kept(catalogue, key) == NULL)
        grown = insert(catalogue->rows, &catalogue->nrows, sizeof(*grown), n);
    if (grown == NULL)
        return kt_no_memory();
    catalogue->rows = grown;
    memcpy(grown[n].key, key->id, KT_META_SIZE);
    hash_row(row, grown[n].hash);
    catalogue->changed = true;
    return KT_SUCCESS;
}

void kt_catalogue_forget_rows(kt_catalogue_t *catalogue)
{
    catalogue->nrows = 0;
    catalogue->changed = true;
}

bool kt_catalogue_is_same(const kt_cat_row_t *kept, const ktp_row_t *row)
{
    unsigned char hash[KT_TAG_SIZE];

    hash_row(row, hash);
    return sodium_memcmp(hash, kept->hash, sizeof(hash)) == 0;
}
