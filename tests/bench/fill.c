/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fill.c: a store of any size, quickly.
 *
 *     fill CONFIG COUNT
 *
 * makes the store of CONFIG with COUNT secrets api-keys/k0000000 ..., each with a value of 40
 * bytes, and prints the names of up to 65,536 of them, evenly spread, with the ids of their rows.
 * kt_put() would sync the disk some six times for each: a million would take hours. Here heads are
 * put in the order of their ids, in steps, and the index once at the end. Every seal is made as
 * kt_put() makes it, and every reader finds a store like any other.
 */
#include <err.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/serve.h"
#include "store/store.h"

#define TYPE "api-keys"
#define STEP 20000u /* secrets in one transaction */
#define SHOWN 65536u
#define VALUE_SIZE 40u

typedef struct item {
    unsigned char hash[KT_HASH_SIZE];
    uint32_t number;
} item_t;

typedef struct fill {
    kt_ctx_t *ctx;
    kt_store_t *store;
    ktp_txn_t *txn;
    const kt_typekey_t *type;
    unsigned char head_key[KT_KEY_SIZE];
    item_t *items;
    kt_index_entry_t *entries;
    uint32_t count;
} fill_t;

static void must(kt_status_t status)
{
    if (status != KT_SUCCESS)
        errx(kt_status_exit(status), "%s", kt_failure());
}

static void *need(void *memory)
{
    if (memory == NULL)
        err(1, NULL);
    return memory;
}

static void name_of(uint32_t number, char name[32])
{
    (void)snprintf(name, 32, TYPE "/k%07" PRIu32, number);
}

static int compare_items(const void *a, const void *b)
{
    return memcmp(a, b, KT_HASH_SIZE);
}

static void make_items(fill_t *fill)
{
    char name[32];

    fill->items = need(calloc(fill->count, sizeof(*fill->items)));
    fill->entries = need(calloc(fill->count, sizeof(*fill->entries)));
    for (uint32_t i = 0; i < fill->count; i++) {
        name_of(i, name);
        kt_name_hash(fill->type, name, fill->items[i].hash);
        fill->items[i].number = i;
    }
    qsort(fill->items, fill->count, sizeof(*fill->items), compare_items);
}

static void seal_value(const fill_t *fill, const kt_head_t *head, unsigned char **ret_record,
                       size_t *ret_size)
{
    kt_header_t header = {.type = KTP_RECORD_VALUE, .version = 1};
    unsigned char key[KT_KEY_SIZE];
    char value[VALUE_SIZE + 1];

    (void)snprintf(value, sizeof(value), "%0*d", (int)VALUE_SIZE, 7);
    memcpy(header.key_id, fill->type->id, KT_KEYID_SIZE);
    memcpy(header.id, head->id, KT_ID_SIZE);
    kt_secret_key(fill->type, head->name, key);
    must(kt_seal(key, &header, fill->ctx->holder.keyring->environment, head->name, value,
                 VALUE_SIZE, ret_record, ret_size));
}

static void seal_head(const fill_t *fill, const kt_head_t *head, unsigned char **ret_record,
                      size_t *ret_size)
{
    kt_header_t header = {.type = KTP_RECORD_HEAD, .version = head->counter};
    unsigned char *plain;
    size_t size;

    memcpy(header.key_id, fill->type->id, KT_KEYID_SIZE);
    memcpy(header.id, head->id, KT_ID_SIZE);
    must(kt_head_encode(head, &plain, &size));
    must(kt_seal(fill->head_key, &header, fill->ctx->holder.keyring->environment, TYPE, plain, size,
                 ret_record, ret_size));
    free(plain);
}

static void put_row(const fill_t *fill, const ktp_key_t *key, const ktp_row_t *row)
{
    must(kt_from_provider(fill->store->name, fill->store->api->row_put(fill->txn, key, row, 0)));
}

static void put_secret(fill_t *fill, uint32_t n)
{
    kt_head_t head = {
        .counter = 1, .current = 1, .last = 1, .created = kt_now(), .updated = kt_now()};
    ktp_key_t key = {.space = KTP_HEAD, .id_size = KT_HASH_SIZE};
    kt_head_version_t *version;
    unsigned char *value, *record;
    ktp_row_t row = {.stamp = 1};

    name_of(fill->items[n].number, head.name);
    randombytes_buf(head.id, KT_ID_SIZE);
    seal_value(fill, &head, &value, &row.beside_size);
    must(kt_head_add(&head, 1, head.created, &version));
    memcpy(version->tag, value + row.beside_size - KT_TAG_SIZE, KT_TAG_SIZE);
    seal_head(fill, &head, &record, &row.record_size);
    row.beside = value;
    row.record = record;
    memcpy(key.id, fill->items[n].hash, KT_HASH_SIZE);
    put_row(fill, &key, &row);
    memcpy(fill->entries[n].hash, fill->items[n].hash, KT_HASH_SIZE);
    memcpy(fill->entries[n].tag, record + row.record_size - KT_TAG_SIZE, KT_TAG_SIZE);
    free(record);
    free(value);
    kt_head_clear(&head);
}

static void begin(fill_t *fill)
{
    must(kt_rows_begin(fill->store, true, KT_WAIT, &fill->txn));
}

static void commit(fill_t *fill)
{
    must(kt_from_provider(fill->store->name, fill->store->api->commit(fill->txn)));
}

static void put_index(fill_t *fill)
{
    kt_holder_t *holder = &fill->ctx->holder;
    kt_catalogue_t catalogue;
    kt_filling_t *filling;
    kt_anchored_t anchored;
    kt_index_t index;

    begin(fill);
    must(kt_catalogue_open(holder, fill->store, fill->txn, &catalogue));
    must(kt_catalogue_list(&catalogue, TYPE, fill->type->epoch));
    must(kt_catalogue_seal(holder, fill->store, fill->txn, &catalogue));
    must(kt_index_open(holder, fill->store, fill->txn, fill->type, &index));
    kt_index_start(&index, catalogue.store_id, 0);
    must(kt_index_fill_begin(&index, &filling));
    for (uint32_t n = 0; n < fill->count; n++)
        must(kt_index_fill_add(filling, fill->entries[n].hash, fill->entries[n].tag));
    must(kt_index_fill_end(filling));
    kt_index_fill_free(filling);
    kt_index_anchored(&index, &anchored);
    must(kt_anchors_prepare(fill->store->anchors, holder->stream, &anchored, 1));
    commit(fill);
    must(kt_anchors_write(fill->store->anchors, holder->stream, &anchored, 1, false));
    must(kt_catalogue_anchor(holder, fill->store, &catalogue));
    kt_catalogue_clear(&catalogue);
    kt_index_close(&index);
}

static void show_names(const fill_t *fill)
{
    uint32_t every = fill->count > SHOWN ? fill->count / SHOWN + 1 : 1;
    char name[32], hex[2 * KT_HASH_SIZE + 1];

    for (uint32_t n = 0; n < fill->count; n += every) {
        name_of(fill->items[n].number, name);
        (void)printf("%s %s\n", name,
                     sodium_bin2hex(hex, sizeof(hex), fill->items[n].hash, KT_HASH_SIZE));
    }
}

int main(int argc, char **argv)
{
    fill_t fill = {.count = argc == 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0};
    kt_setup_t *setup;

    if (fill.count == 0)
        errx(64, "usage: fill CONFIG COUNT");
    if (kt_setup(argv[1], "cli", &setup) != KT_SUCCESS || kt_open(setup, &fill.ctx) != KT_SUCCESS)
        errx(kt_status_exit(kt_setup_status(setup)), "%s", kt_setup_error(setup));
    must(kt_create(fill.ctx));
    must(kt_store_of(fill.ctx, 0, &fill.store));
    must(kt_keyring_type(fill.ctx->holder.keyring, TYPE, 0, &fill.type));
    kt_head_key(fill.type, fill.head_key);
    make_items(&fill);
    for (uint32_t n = 0; n < fill.count; n++) {
        if (n % STEP == 0)
            begin(&fill);
        put_secret(&fill, n);
        if (n % STEP == STEP - 1 || n + 1 == fill.count)
            commit(&fill);
    }
    put_index(&fill);
    show_names(&fill);
    free(fill.items);
    free(fill.entries);
    kt_close(fill.ctx);
    kt_setup_free(setup);
    return 0;
}
