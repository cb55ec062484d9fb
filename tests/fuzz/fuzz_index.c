/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The index of a type, of nodes that are authentic but may be nonsense. The input is the topmost
 * node after its length of two bytes, then one node for each child. This target corrects the tags
 * of a branch; it makes tags and root as docs/format.md describes.
 */
#include <sodium.h>

#include "fuzz.h"
#include "store/store.h"

#define FUZZ_NODE_MAX 4096u
#define FUZZ_BRANCH_SIZE (1u + 16u * KT_TAG_SIZE)
#define FUZZ_ROWS 64u

typedef struct fuzz_row {
    ktp_key_t key;
    unsigned char data[FUZZ_NODE_MAX];
    size_t size;
    uint64_t stamp;
} fuzz_row_t;

struct ktp_txn {
    fuzz_row_t rows[FUZZ_ROWS];
    size_t count;
};

static fuzz_row_t *find_row(ktp_txn_t *txn, const ktp_key_t *key)
{
    for (size_t i = 0; i < txn->count; i++)
        if (txn->rows[i].key.space == key->space && txn->rows[i].key.id_size == key->id_size &&
            memcmp(txn->rows[i].key.id, key->id, key->id_size) == 0)
            return &txn->rows[i];
    return NULL;
}

static ktp_status_t fuzz_row_get(ktp_txn_t *txn, const ktp_key_t *key, ktp_row_t *ret_row)
{
    const fuzz_row_t *row = find_row(txn, key);

    if (row == NULL)
        return KTP_NOTFOUND;
    *ret_row = (ktp_row_t){.record = row->data, .record_size = row->size, .stamp = row->stamp};
    return KTP_SUCCESS;
}

static ktp_status_t fuzz_row_put(ktp_txn_t *txn, const ktp_key_t *key, const ktp_row_t *row,
                                 uint64_t expected)
{
    fuzz_row_t *at = find_row(txn, key);

    must(row->record_size <= FUZZ_NODE_MAX);
    if ((at != NULL ? at->stamp : 0) != expected)
        return KTP_CONFLICT; /* nonsense may lead to one node twice */
    if (at == NULL && txn->count == FUZZ_ROWS)
        return KTP_NOSPACE;
    if (at == NULL)
        at = &txn->rows[txn->count++];
    at->key = *key;
    memcpy(at->data, row->record, row->record_size);
    at->size = row->record_size;
    at->stamp = row->stamp;
    return KTP_SUCCESS;
}

static ktp_status_t fuzz_row_remove(ktp_txn_t *txn, const ktp_key_t *key, uint64_t expected)
{
    (void)txn, (void)key, (void)expected;
    return KTP_NOTFOUND;
}

static const ktp_provider_t fuzz_api = {
    KTP_HEADER,
    .name = "fuzz",
    .capabilities = KTP_SEALED | KTP_WRITE | KTP_CAS,
    .row_get = fuzz_row_get,
    .row_put = fuzz_row_put,
    .row_remove = fuzz_row_remove,
};

static void hash_parts(const char *personal, size_t size, unsigned char *ret_tag, const void *a,
                       size_t a_size, const void *b, size_t b_size)
{
    crypto_generichash_blake2b_state state;
    unsigned char key[KT_KEY_SIZE];

    kt_index_key(fuzz_type(), key);
    must(crypto_generichash_blake2b_init_salt_personal(&state, key, sizeof(key), size, NULL,
                                                       (const unsigned char *)personal) == 0);
    (void)crypto_generichash_blake2b_update(&state, a, a_size);
    (void)crypto_generichash_blake2b_update(&state, b, b_size);
    (void)crypto_generichash_blake2b_final(&state, ret_tag, size);
}

/* The node at the top, or its child `n`. */
static fuzz_row_t *add_node(ktp_txn_t *txn, int n, const uint8_t *data, size_t size,
                            unsigned char ret_tag[KT_TAG_SIZE])
{
    fuzz_row_t *row = &txn->rows[txn->count++];

    row->key = (ktp_key_t){.space = KTP_NODE, .id_size = KT_KEYID_SIZE + 1u + (n >= 0)};
    memcpy(row->key.id, fuzz_type()->id, KT_KEYID_SIZE);
    row->key.id[KT_KEYID_SIZE] = n >= 0;
    row->key.id[KT_KEYID_SIZE + 1] = (unsigned char)(n >= 0 ? n << 4 : 0);
    row->size = size < FUZZ_NODE_MAX ? size : FUZZ_NODE_MAX;
    memcpy(row->data, data, row->size);
    row->stamp = 1;
    hash_parts("keyturn node    ", KT_TAG_SIZE, ret_tag, row->key.id + KT_KEYID_SIZE,
               row->key.id_size - KT_KEYID_SIZE, row->data, row->size);
    return row;
}

static const uint8_t *take_node(fuzz_input_t *in, size_t *ret_size)
{
    size_t length = (size_t)fuzz_byte(in) << 8;

    length |= fuzz_byte(in);
    return fuzz_take(in, length, ret_size);
}

static void add_root(ktp_txn_t *txn, const unsigned char tag[KT_TAG_SIZE])
{
    static const char bound[] = "\0\0\0\13" FUZZ_ENVIRONMENT "\0\0\0\4" FUZZ_TYPE;
    fuzz_row_t *row = &txn->rows[txn->count++];

    kt_key_meta(&row->key, 'r', fuzz_type()->id);
    memset(row->data, 0, 256);
    row->data[KT_ID_SIZE + 7] = 1;  /* generation */
    row->data[KT_ID_SIZE + 15] = 1; /* count */
    memcpy(row->data + KT_ID_SIZE + 16, tag, KT_TAG_SIZE);
    row->size = KT_ID_SIZE + 16 + KT_TAG_SIZE;
    hash_parts("keyturn root    ", KT_HASH_SIZE, row->data + row->size, bound, sizeof(bound) - 1,
               row->data, row->size);
    row->size += KT_HASH_SIZE;
    row->stamp = 1;
}

static void build(ktp_txn_t *txn, fuzz_input_t in)
{
    unsigned char tag[KT_TAG_SIZE], branch[FUZZ_BRANCH_SIZE];
    size_t size, child_size;
    const uint8_t *top = take_node(&in, &size);

    if (size == FUZZ_BRANCH_SIZE && top[0] == 1) {
        memcpy(branch, top, size);
        for (int n = 0; n < 16 && in.size > 0; n++) {
            const uint8_t *child = take_node(&in, &child_size);

            (void)add_node(txn, n, child, child_size, branch + 1 + n * KT_TAG_SIZE);
        }
        top = branch;
    }
    (void)add_node(txn, -1, top, size, tag);
    add_root(txn, tag);
}

typedef struct seen {
    unsigned char last[KT_HASH_SIZE];
    size_t count;
    bool sorted;
} seen_t;

static int see_entry(void *arg, const unsigned char hash[KT_HASH_SIZE],
                     const unsigned char tag[KT_TAG_SIZE])
{
    seen_t *seen = arg;

    (void)fuzz_any_of(tag, KT_TAG_SIZE);
    if (seen->count++ > 0 && memcmp(seen->last, hash, KT_HASH_SIZE) >= 0)
        seen->sorted = false;
    memcpy(seen->last, hash, KT_HASH_SIZE);
    return seen->count > 10000;
}

/* What is set is there, or an answer says that the index does not hold; unless leaves were not
 * sorted. */
static void set_and_look(kt_index_t *index, unsigned char fill, bool sorted)
{
    unsigned char hash[KT_HASH_SIZE], tag[KT_TAG_SIZE], got[KT_TAG_SIZE];
    kt_status_t status;
    bool found = false;

    memset(hash, fill, sizeof(hash));
    memset(tag, 0x33, sizeof(tag));
    status = kt_index_lookup(index, hash, &found, got);
    must(status == KT_SUCCESS || status == KT_ROLLEDBACK);
    status = kt_index_set(index, hash, tag);
    must(status == KT_SUCCESS || status == KT_ROLLEDBACK || status == KT_NOSPACE ||
         status == KT_CONFLICT);
    if (status != KT_SUCCESS)
        return;
    /* leaves in the wrong place make wrong places */
    status = kt_index_lookup(index, hash, &found, got);
    must(status == KT_ROLLEDBACK || status == KT_SUCCESS);
    must(status == KT_ROLLEDBACK || !sorted || (found && memcmp(got, tag, sizeof(tag)) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static ktp_txn_t txn;
    kt_holder_t holder = {.keyring = fuzz_keyring()};
    kt_store_t store = {.api = &fuzz_api, .name = "fuzz"};
    kt_index_t index;
    seen_t seen = {.sorted = true};
    kt_status_t status;

    txn.count = 0;
    build(&txn, (fuzz_input_t){data, size});
    must(kt_index_open(&holder, &store, &txn, fuzz_type(), &index) == KT_SUCCESS);
    status = kt_index_walk(&index, see_entry, &seen);
    must(status == KT_SUCCESS || status == KT_ROLLEDBACK);
    seen.sorted &= status == KT_SUCCESS; /* or not all of it was seen */
    set_and_look(&index, 0x00, seen.sorted);
    set_and_look(&index, 0x7f, seen.sorted);
    set_and_look(&index, 0xff, seen.sorted);
    kt_index_close(&index);
    return 0;
}
