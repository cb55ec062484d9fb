/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memory.c: a sealed provider in memory, for tests. A row that it has answered is gone with the
 * next call of the same transaction, as keyturn_provider.h says: it is overwritten and freed, so
 * that a caller who uses it later fails, under AddressSanitizer by name.
 */
#include "world.h"

typedef struct row {
    ktp_space_t space;
    unsigned char id[KTP_KEY_MAX];
    size_t id_size;
    char name[256];
    uint64_t version, stamp;
    unsigned char *record, *beside;
    size_t record_size, beside_size;
} row_t;

typedef struct table {
    row_t rows[1024];
    size_t count;
} table_t;

struct ktp_instance {
    bool clear;
    const ktp_services_t *services;
    ktp_txn_t *txn;
};

struct ktp_txn {
    ktp_instance_t *instance;
    bool writing;
    table_t *table;
    ktp_row_t given; /* what the caller holds now */
};

memory_t memory;
static table_t *stored, *saved;
static uint64_t generation;

static unsigned char *copy_of(const unsigned char *data, size_t size)
{
    unsigned char *copy = data != NULL ? malloc(size + 1) : NULL;

    if (copy != NULL)
        memcpy(copy, data, size);
    return copy;
}

static void row_free(row_t *row)
{
    free(row->record);
    free(row->beside);
}

static table_t *table_copy(const table_t *from)
{
    table_t *table = calloc(1, sizeof(*table));

    for (size_t i = 0; from != NULL && i < from->count; i++) {
        table->rows[i] = from->rows[i];
        table->rows[i].record = copy_of(from->rows[i].record, from->rows[i].record_size);
        table->rows[i].beside = copy_of(from->rows[i].beside, from->rows[i].beside_size);
        table->count++;
    }
    return table;
}

static void table_free(table_t *table)
{
    for (size_t i = 0; table != NULL && i < table->count; i++)
        row_free(&table->rows[i]);
    free(table);
}

void memory_reset(void)
{
    table_free(stored);
    table_free(saved);
    stored = saved = NULL;
    memset(&memory, 0, sizeof(memory));
}

void memory_save(void)
{
    table_free(saved);
    saved = table_copy(stored);
}

void memory_restore(void)
{
    table_free(stored);
    stored = table_copy(saved);
    generation++;
}

static row_t *nth(ktp_space_t space, size_t n)
{
    for (size_t i = 0; stored != NULL && i < stored->count; i++)
        if (stored->rows[i].space == space && n-- == 0)
            return &stored->rows[i];
    return NULL;
}

size_t memory_count(ktp_space_t space)
{
    size_t n = 0;

    while (nth(space, n) != NULL)
        n++;
    return n;
}

unsigned char *memory_record(ktp_space_t space, size_t n, size_t *ret_size)
{
    row_t *row = nth(space, n);

    generation++;
    *ret_size = row != NULL ? row->record_size : 0;
    return row != NULL ? row->record : NULL;
}

unsigned char *memory_beside(size_t n, size_t *ret_size)
{
    row_t *row = nth(KTP_HEAD, n);

    generation++;
    *ret_size = row != NULL ? row->beside_size : 0;
    return row != NULL ? row->beside : NULL;
}

void memory_stamp(ktp_space_t space, size_t n, uint64_t stamp)
{
    nth(space, n)->stamp = stamp;
    generation++;
}

unsigned char *memory_id(ktp_space_t space, size_t n, size_t *ret_size)
{
    row_t *row = nth(space, n);

    generation++;
    *ret_size = row->id_size;
    return row->id;
}

void memory_next_version(size_t n)
{
    nth(KTP_VALUE, n)->version++;
    generation++;
}

void memory_set_beside(size_t n, const unsigned char *beside, size_t size)
{
    row_t *row = nth(KTP_HEAD, n);
    unsigned char *copy = copy_of(beside, size);

    free(row->beside);
    row->beside = copy;
    row->beside_size = copy != NULL ? size : 0;
    generation++;
}

void *memory_take(ktp_space_t space, size_t n)
{
    row_t *row = calloc(1, sizeof(*row));

    *row = *nth(space, n);
    row->record = copy_of(row->record, row->record_size);
    row->beside = copy_of(row->beside, row->beside_size);
    return row;
}

void memory_give(void *taken)
{
    row_t *row = taken;

    stored->rows[stored->count++] = *row;
    free(row);
    generation++;
}

void memory_swap(ktp_space_t space, size_t a, size_t b)
{
    row_t *x = nth(space, a), *y = nth(space, b), t = *x;

    x->record = y->record, x->record_size = y->record_size, x->stamp = y->stamp;
    x->beside = y->beside, x->beside_size = y->beside_size;
    y->record = t.record, y->record_size = t.record_size, y->stamp = t.stamp;
    y->beside = t.beside, y->beside_size = t.beside_size;
    generation++;
}

void memory_remove(ktp_space_t space, size_t n)
{
    row_t *row = nth(space, n);

    row_free(row);
    *row = stored->rows[--stored->count];
    generation++;
}

/* ---- the provider ---- */

static bool fails(ktp_instance_t *instance)
{
    if (++memory.calls != memory.fail_at)
        return false;
    if (memory.fail_with != KTP_NOTFOUND)
        instance->services->error(NULL, "asked to fail");
    return true;
}

#define MAY_FAIL(instance)                                                                         \
    do {                                                                                           \
        if (fails(instance))                                                                       \
            return memory.fail_with;                                                               \
    } while (0)

static ktp_status_t open_kind(const ktp_services_t *services, bool clear,
                              ktp_instance_t **ret_instance)
{
    ktp_instance_t *instance = calloc(1, sizeof(*instance));

    instance->clear = clear;
    instance->services = services;
    if (fails(instance)) {
        free(instance);
        return memory.fail_with;
    }
    memory.instances++;
    *ret_instance = instance;
    return KTP_SUCCESS;
}

static ktp_status_t memory_open(const ktp_services_t *services, const ktp_option_t *options,
                                size_t count, ktp_instance_t **ret_instance)
{
    (void)options, (void)count;
    return open_kind(services, false, ret_instance);
}

static ktp_status_t clear_open(const ktp_services_t *services, const ktp_option_t *options,
                               size_t count, ktp_instance_t **ret_instance)
{
    (void)options, (void)count;
    return open_kind(services, true, ret_instance);
}

static void memory_close(ktp_instance_t *instance)
{
    if (instance->txn != NULL)
        abort();
    memory.instances--;
    free(instance);
}

static ktp_status_t memory_check(ktp_instance_t *instance, int writing)
{
    (void)writing;
    MAY_FAIL(instance);
    return KTP_SUCCESS;
}

static ktp_status_t memory_create(ktp_instance_t *instance)
{
    MAY_FAIL(instance);
    if (stored != NULL) {
        instance->services->error(NULL, "exists already");
        return KTP_CONFLICT;
    }
    stored = calloc(1, sizeof(*stored));
    return KTP_SUCCESS;
}

static ktp_status_t memory_begin(ktp_instance_t *instance, int writing, unsigned timeout,
                                 ktp_txn_t **ret_txn)
{
    (void)timeout;
    MAY_FAIL(instance);
    if (instance->txn != NULL)
        abort(); /* one transaction at a time */
    if (!writing && memory.before != NULL)
        memory.before();
    instance->txn = calloc(1, sizeof(*instance->txn));
    instance->txn->instance = instance;
    instance->txn->writing = writing != 0;
    instance->txn->table = table_copy(stored);
    memory.begins++;
    memory.open_txns++;
    *ret_txn = instance->txn;
    return KTP_SUCCESS;
}

static void take_back(ktp_txn_t *txn)
{
    unsigned char *record = (unsigned char *)(uintptr_t)txn->given.record,
                  *beside = (unsigned char *)(uintptr_t)txn->given.beside;

    if (record != NULL)
        memset(record, 0xdd, txn->given.record_size);
    if (beside != NULL)
        memset(beside, 0xdd, txn->given.beside_size);
    free(record);
    free(beside);
    memset(&txn->given, 0, sizeof(txn->given));
}

static void give(ktp_txn_t *txn, const row_t *row, ktp_row_t *ret_row)
{
    txn->given = (ktp_row_t){copy_of(row->record, row->record_size), row->record_size,
                             copy_of(row->beside, row->beside_size), row->beside_size, row->stamp};
    *ret_row = txn->given;
}

static row_t *find(ktp_txn_t *txn, const ktp_key_t *key)
{
    for (size_t i = 0; i < txn->table->count; i++) {
        row_t *row = &txn->table->rows[i];
        bool same = txn->instance->clear ? strcmp(row->name, key->name) == 0
                                         : row->id_size == key->id_size &&
                                               memcmp(row->id, key->id, key->id_size) == 0;

        if (row->space == key->space && same && row->version == key->version)
            return row;
    }
    return NULL;
}

static ktp_status_t memory_get(ktp_txn_t *txn, const ktp_key_t *key, ktp_row_t *ret_row)
{
    const row_t *row;

    take_back(txn);
    MAY_FAIL(txn->instance);
    row = find(txn, key);
    if (row == NULL)
        return KTP_NOTFOUND;
    give(txn, row, ret_row);
    return KTP_SUCCESS;
}

static ktp_status_t conflict(ktp_txn_t *txn)
{
    txn->instance->services->error(NULL, "another writer was first");
    return KTP_CONFLICT;
}

static ktp_status_t memory_put(ktp_txn_t *txn, const ktp_key_t *key, const ktp_row_t *row,
                               uint64_t expected)
{
    row_t *old = find(txn, key), *at = old;

    if (!txn->writing || row->stamp == 0 || row->record_size == 0)
        abort();
    if ((old != NULL ? old->stamp : 0) != expected)
        return conflict(txn);
    MAY_FAIL(txn->instance);
    if (memory.putting != NULL)
        memory.putting(key->space);
    if (at == NULL) {
        if (txn->table->count == KT_ARRAY(txn->table->rows))
            return KTP_NOSPACE;
        at = &txn->table->rows[txn->table->count++];
    } else {
        row_free(at);
    }
    memset(at, 0, sizeof(*at));
    at->space = key->space;
    memcpy(at->id, key->id, key->id_size);
    at->id_size = key->id_size;
    if (key->name != NULL)
        memcpy(at->name, key->name, strlen(key->name) + 1);
    at->version = key->version;
    at->stamp = row->stamp;
    at->record = copy_of(row->record, row->record_size);
    at->record_size = row->record_size;
    at->beside = copy_of(row->beside, row->beside_size);
    at->beside_size = row->beside != NULL ? row->beside_size : 0;
    take_back(txn); /* after the copies: a put may be of what was got before */
    return KTP_SUCCESS;
}

static ktp_status_t memory_row_remove(ktp_txn_t *txn, const ktp_key_t *key, uint64_t expected)
{
    row_t *row = find(txn, key);

    take_back(txn);
    MAY_FAIL(txn->instance);
    if (!txn->writing)
        abort();
    if (row == NULL || row->stamp != expected)
        return conflict(txn);
    row_free(row);
    *row = txn->table->rows[--txn->table->count];
    return KTP_SUCCESS;
}

static ktp_status_t memory_scan(ktp_txn_t *txn, ktp_space_t space, ktp_scan_fn fn, void *arg)
{
    int stop = 0;

    take_back(txn);
    MAY_FAIL(txn->instance);
    for (size_t i = 0; i < txn->table->count && !stop; i++) {
        const row_t *row = &txn->table->rows[i];
        ktp_key_t key = {.space = space, .id_size = row->id_size, .version = row->version};
        ktp_row_t given;

        if (row->space != space)
            continue;
        memcpy(key.id, row->id, sizeof(key.id));
        key.name = txn->instance->clear ? row->name : NULL;
        give(txn, row, &given);
        stop = fn(arg, &key, &given);
        take_back(txn);
    }
    return KTP_SUCCESS;
}

static void end(ktp_txn_t *txn)
{
    take_back(txn);
    table_free(txn->table);
    txn->instance->txn = NULL;
    memory.open_txns--;
    free(txn);
}

static ktp_status_t memory_commit(ktp_txn_t *txn)
{
    bool failed = fails(txn->instance);

    if (memory.committing != NULL)
        memory.committing();
    if (!failed) {
        table_free(stored);
        stored = txn->table;
        txn->table = NULL;
        memory.commits++;
        generation++;
    }
    end(txn);
    return failed ? memory.fail_with : KTP_SUCCESS;
}

static ktp_status_t memory_token(ktp_instance_t *instance, unsigned char ret_token[KTP_TOKEN_SIZE])
{
    if (memory.no_token) {
        instance->services->error(NULL, "no token");
        return KTP_UNAVAIL;
    }
    memset(ret_token, 0, KTP_TOKEN_SIZE);
    if (!memory.stuck_token)
        memcpy(ret_token, &generation, sizeof(generation));
    ret_token[KTP_TOKEN_SIZE - 1] = 1;
    return KTP_SUCCESS;
}

static const ktp_option_spec_t no_options[] = {{NULL, KTP_STRING, 0, NULL, NULL}};

#define TABLE                                                                                      \
    .options = no_options, .close = memory_close, .check = memory_check, .create = memory_create,  \
    .begin = memory_begin, .row_get = memory_get, .row_put = memory_put,                           \
    .row_remove = memory_row_remove, .row_scan = memory_scan, .commit = memory_commit,             \
    .abort = end, .token = memory_token

const ktp_provider_t memory_provider = {
    KTP_HEADER,
    .name = "memory",
    .capabilities = KTP_SEALED | KTP_WRITE | KTP_LIST | KTP_CAS | KTP_TOKEN | KTP_CREATE,
    .open = memory_open,
    TABLE,
};

const ktp_provider_t memory_clear_provider = {
    KTP_HEADER,
    .name = "clear",
    .capabilities = KTP_SEALED | KTP_WRITE | KTP_LIST | KTP_CAS | KTP_TOKEN | KTP_CREATE |
                    KTP_CLEAR_NAMES | KTP_BLOCKING,
    .open = clear_open,
    TABLE,
};
