/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The catalogue of types, and a type's label: what a holder of the environment key could have
 * sealed. The first byte says what the rest is: the contents of a catalogue (0), contents and the
 * kind of record that are sealed in its place (1), the same of a label (2), or a record as it
 * stands (3).
 */
#include "fuzz.h"
#include "store/catalogue.h"

static bool same_lists(const kt_catalogue_t *a, const kt_catalogue_t *b)
{
    if (a->nepochs != b->nepochs || a->ntypes != b->ntypes || a->nrows != b->nrows)
        return false;
    for (size_t i = 0; i < a->ntypes; i++)
        if (strcmp(a->types[i].name, b->types[i].name) != 0)
            return false;
    return true;
}

/* A catalogue has one form, and all that it lists is found. */
static void check_catalogue(kt_catalogue_t *catalogue, const uint8_t *data, size_t size)
{
    unsigned char *plain = NULL;
    size_t plain_size = 0;
    kt_catalogue_t back = {.generation = 0};
    ktp_key_t key = {.space = KTP_META, .id_size = KT_META_SIZE};
    ktp_row_t row = {.record = data, .record_size = size, .stamp = 1};

    must(kt_catalogue_encode(catalogue, &plain, &plain_size) == KT_SUCCESS);
    must(plain_size == size && memcmp(plain, data, size) == 0);
    free(plain);
    must(catalogue->nepochs > 0);
    for (size_t i = 0; i < catalogue->nepochs; i++)
        must(kt_catalogue_has_epoch(catalogue, catalogue->epochs[i].id));
    for (size_t i = 0; i < catalogue->ntypes; i++)
        must(kt_catalogue_find(catalogue, catalogue->types[i].name) == &catalogue->types[i]);
    for (size_t i = 0; i < catalogue->nrows; i++) {
        memcpy(key.id, catalogue->rows[i].key, KT_META_SIZE);
        must(kt_catalogue_kept(catalogue, &key) == &catalogue->rows[i]);
    }
    must(!catalogue->changed);
    must(kt_catalogue_list(catalogue, FUZZ_TYPE, 1) == KT_SUCCESS);
    memset(key.id, 0x77, KT_META_SIZE);
    must(kt_catalogue_keep(catalogue, &key, &row) == KT_SUCCESS);
    must(kt_catalogue_is_same(kt_catalogue_kept(catalogue, &key), &row));
    must(kt_catalogue_encode(catalogue, &plain, &plain_size) == KT_SUCCESS);
    must(kt_catalogue_decode(plain, plain_size, &back) == KT_SUCCESS &&
         same_lists(catalogue, &back));
    free(plain);
    kt_catalogue_clear(&back);
}

static void try_contents(const uint8_t *data, size_t size)
{
    kt_catalogue_t catalogue = {.generation = 0};
    kt_status_t status = kt_catalogue_decode(data, size, &catalogue);

    must(status == KT_SUCCESS || status == KT_MALFORMED);
    if (status == KT_SUCCESS)
        check_catalogue(&catalogue, data, size);
    kt_catalogue_clear(&catalogue);
}

/* A row of META with this record, whose stamp is right. */
static void try_row(unsigned char *record, size_t size)
{
    const kt_envkey_t *env = &fuzz_keyring()->env[0];
    ktp_row_t row = {.record = record, .record_size = size, .stamp = 1};
    kt_catalogue_t catalogue;
    ktp_key_t key;
    kt_status_t status;

    kt_key_meta(&key, 'c', env->id);
    status = kt_catalogue_unseal(fuzz_keyring(), &key, &row, &catalogue);
    must(status == KT_SUCCESS || status == KT_MALFORMED || status == KT_NOTFOUND);
    must(status != KT_SUCCESS || memcmp(catalogue.epochs[0].id, env->id, KT_KEYID_SIZE) == 0);
    kt_catalogue_clear(&catalogue);
}

static void try_label(const unsigned char *record, size_t size)
{
    char type[KT_NAME_MAX + 1];
    size_t n = 99;
    kt_status_t status = kt_label_open(fuzz_keyring(), record, size, type, &n);

    must(status == KT_SUCCESS || status == KT_MALFORMED || status == KT_NOKEY);
    must(status != KT_SUCCESS ||
         (n == 0 && type[0] != '\0' && strlen(type) <= KT_NAME_MAX && strchr(type, '/') == NULL));
}

static void seal_and_try(fuzz_input_t in, bool label)
{
    kt_header_t header = {.type = (unsigned char)(fuzz_byte(&in) & 7), .version = 1};
    unsigned char key[KT_KEY_SIZE], *record = NULL;
    size_t size = 0;

    memcpy(header.key_id, fuzz_keyring()->env[0].id, KT_KEYID_SIZE);
    if (label)
        kt_mac(fuzz_keyring()->env[0].key, "keyturn label   ", NULL, 0, key, sizeof(key));
    else
        kt_catalogue_key(&fuzz_keyring()->env[0], key);
    if (kt_seal(key, &header, FUZZ_ENVIRONMENT, "", in.data, in.size, &record, &size) != KT_SUCCESS)
        return;
    if (label)
        try_label(record, size);
    else
        try_row(record, size);
    free(record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input_t in = {data, size};
    unsigned char *copy;

    switch (fuzz_byte(&in) % 4) {
    case 0:
        try_contents(in.data, in.size);
        break;
    case 1:
        seal_and_try(in, false);
        break;
    case 2:
        seal_and_try(in, true);
        break;
    default:
        copy = malloc(in.size + 1);
        must(copy != NULL);
        memcpy(copy, in.data, in.size);
        try_row(copy, in.size);
        try_label(copy, in.size);
        free(copy);
    }
    return 0;
}
