/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bundle.c: a whole sealed secret as one string of bytes, for a server that stores secrets itself
 * (Redis).
 *
 * keyturn_provider.h describes the format. The second half makes a bundle look like a sealed
 * provider, so that one engine (load.c, change.c) works on SQLite, on a remote Redis server and on
 * the value that the Redis module holds.
 */
#include <stdlib.h>
#include <string.h>

#include "store.h"

#define BUNDLE_MAX (16u * 1024u * 1024u)
#define LENGTH_SIZE 4u
#define RECORDS_MAX (KT_VERSIONS_MAX + KT_ABANDONED_MAX + 4u)

/* One block without a pointer into itself, so that a server may move it. Its records were checked
 * when it was parsed, and are found again by walking over them. */
struct kt_bundle {
    uint32_t size;
    uint16_t count; /* at least the head */
    bool has_current;
    unsigned char bytes[];
};

typedef struct record { /* the head, then the current value if there is one, then the others */
    const unsigned char *data;
    size_t size;
} record_t;

static void *(*allocate)(size_t size) = malloc;
static void (*release)(void *block) = free;

void kt_bundle_allocator(void *(*alloc)(size_t size), void (*free_block)(void *block))
{
    allocate = alloc;
    release = free_block;
}

/* ---- bundles ---- */

static kt_status_t bad_bundle(const char *why)
{
    return kt_fail(KT_MALFORMED, "not a sealed secret: %s", why);
}

/* The record at *io_at, which moves past it. */
static record_t next_record(const unsigned char *bytes, size_t *io_at)
{
    record_t r = {bytes + *io_at + LENGTH_SIZE, kt_get_u32(bytes + *io_at)};

    *io_at += LENGTH_SIZE + r.size;
    return r;
}

static record_t head_of(const kt_bundle_t *bundle)
{
    size_t at = KTP_BUNDLE_HEADER;

    return next_record(bundle->bytes, &at);
}

static uint64_t version_of(const record_t *r)
{
    return kt_get_u64(r->data + KTP_RECORD_VERSION_AT);
}

typedef struct check {
    kt_header_t head;
    uint64_t versions[RECORDS_MAX];
} check_t;

static kt_status_t check_record(check_t *check, const record_t *r, size_t i)
{
    kt_header_t header;
    kt_status_t status = kt_header_parse(r->data, r->size, &header);
    size_t k;

    if (status != KT_SUCCESS)
        return status;
    if (i == 0)
        check->head = header;
    if (header.type != (i == 0 ? KTP_RECORD_HEAD : KTP_RECORD_VALUE))
        return bad_bundle("a record of the wrong kind");
    if (header.version == 0)
        return bad_bundle("a record without a number");
    if (memcmp(header.id, check->head.id, KT_ID_SIZE) != 0 ||
        memcmp(header.key_id, check->head.key_id, KT_KEYID_SIZE) != 0)
        return bad_bundle("records of different secrets");
    for (k = 1; k < i; k++) {
        if (check->versions[k] == header.version)
            return bad_bundle("the same version twice");
    }
    check->versions[i] = header.version;
    return KT_SUCCESS;
}

static kt_status_t check_records(const unsigned char *bytes, size_t size, size_t count)
{
    size_t at = KTP_BUNDLE_HEADER, i;
    check_t check;
    kt_status_t status;
    record_t r;

    for (i = 0; i < count; i++) {
        if (size - at < LENGTH_SIZE || kt_get_u32(bytes + at) > size - at - LENGTH_SIZE)
            return bad_bundle("cut short");
        r = next_record(bytes, &at);
        status = check_record(&check, &r, i);
        if (status != KT_SUCCESS)
            return status;
    }
    return at == size ? KT_SUCCESS : bad_bundle("more bytes than records");
}

kt_status_t kt_bundle_parse(const void *data, size_t size, kt_bundle_t **ret_bundle)
{
    const unsigned char *bytes = data;
    kt_bundle_t *bundle;
    kt_status_t status;
    size_t count;

    if (size < KTP_BUNDLE_HEADER || memcmp(bytes, "KTB\001", 4) != 0 ||
        bytes[4] > KTP_BUNDLE_CURRENT || bytes[5] != 0)
        return bad_bundle("it is not a bundle of format 1");
    count = (size_t)bytes[6] << 8 | bytes[7];
    if (size > BUNDLE_MAX || count == 0 || count > RECORDS_MAX ||
        ((bytes[4] & KTP_BUNDLE_CURRENT) && count < 2))
        return bad_bundle("impossible size");
    status = check_records(bytes, size, count);
    if (status != KT_SUCCESS)
        return status;
    bundle = allocate(sizeof(*bundle) + size);
    if (bundle == NULL)
        return kt_no_memory();
    bundle->size = (uint32_t)size;
    bundle->count = (uint16_t)count;
    bundle->has_current = (bytes[4] & KTP_BUNDLE_CURRENT) != 0;
    memcpy(bundle->bytes, data, size);
    *ret_bundle = bundle;
    return KT_SUCCESS;
}

void kt_bundle_free(kt_bundle_t *bundle)
{
    if (bundle != NULL)
        release(bundle); /* sealed: nothing to wipe */
}

const void *kt_bundle_bytes(const kt_bundle_t *bundle, size_t *ret_size)
{
    *ret_size = bundle->size;
    return bundle->bytes;
}

uint64_t kt_bundle_counter(const kt_bundle_t *bundle)
{
    record_t head = head_of(bundle);

    return version_of(&head);
}

size_t kt_bundle_memory(const kt_bundle_t *bundle)
{
    return sizeof(*bundle) + bundle->size;
}

kt_status_t kt_bundle_copy(const kt_bundle_t *bundle, kt_bundle_t **ret_bundle)
{
    kt_bundle_t *copy = allocate(kt_bundle_memory(bundle));

    if (copy == NULL)
        return kt_no_memory();
    memcpy(copy, bundle, kt_bundle_memory(bundle));
    *ret_bundle = copy;
    return KT_SUCCESS;
}

kt_status_t kt_bundle_follows(const kt_bundle_t *old, const kt_bundle_t *next)
{
    record_t have, sent = head_of(next);

    if (old == NULL)
        return version_of(&sent) == 1
                   ? KT_SUCCESS
                   : kt_fail(KT_CONFLICT,
                             "the secret does not exist yet, so its counter must be 1");
    have = head_of(old);
    if (memcmp(have.data + KTP_RECORD_ID_AT, sent.data + KTP_RECORD_ID_AT, KT_ID_SIZE) != 0)
        return kt_fail(KT_CONFLICT, "another secret is stored under this name");
    if (version_of(&sent) != version_of(&have) + 1)
        return kt_fail(KT_CONFLICT, "another client wrote first: the counter is %llu",
                       (unsigned long long)version_of(&have));
    return KT_SUCCESS;
}

/* ---- as a provider ---- */

typedef struct value_row {
    uint64_t version;
    unsigned char *data; /* malloc'ed */
    size_t size;
} value_row_t;

struct ktp_instance {
    kt_bundle_t **slot;
};

/* A reading transaction looks into the bundle itself, however many versions it has; a writing one
 * works on copies. */
struct ktp_txn {
    kt_bundle_t **slot;
    const kt_bundle_t *reading;    /* NULL: nothing is stored, or this one writes */
    unsigned char *head, *current; /* malloc'ed copies; current NULL if there is none */
    size_t head_size, current_size;
    size_t nvalues;
    bool writing, changed;
    value_row_t values[]; /* RECORDS_MAX if it writes, otherwise none */
};

static unsigned char *copy_bytes(const unsigned char *data, size_t size)
{
    unsigned char *copy = malloc(size > 0 ? size : 1);

    if (copy != NULL)
        memcpy(copy, data, size);
    return copy;
}

static void txn_free(ktp_txn_t *txn)
{
    size_t i;

    for (i = 0; i < txn->nvalues; i++)
        free(txn->values[i].data);
    free(txn->head);
    free(txn->current);
    free(txn);
}

static bool copy_records(ktp_txn_t *txn, const kt_bundle_t *bundle)
{
    size_t at = KTP_BUNDLE_HEADER, i;

    for (i = 0; i < bundle->count; i++) {
        record_t r = next_record(bundle->bytes, &at);
        unsigned char *copy = copy_bytes(r.data, r.size);

        if (copy == NULL)
            return false;
        if (i == 0) {
            txn->head = copy;
            txn->head_size = r.size;
        } else if (i == 1 && bundle->has_current) {
            txn->current = copy;
            txn->current_size = r.size;
        } else {
            txn->values[txn->nvalues++] = (value_row_t){version_of(&r), copy, r.size};
        }
    }
    return true;
}

static ktp_status_t bundle_begin(ktp_instance_t *instance, int writing, unsigned timeout,
                                 ktp_txn_t **ret_txn)
{
    ktp_txn_t *txn = calloc(1, sizeof(*txn) + (writing ? RECORDS_MAX : 0) * sizeof(txn->values[0]));

    (void)timeout;
    if (txn == NULL)
        return KTP_UNAVAIL;
    txn->slot = instance->slot;
    txn->writing = writing != 0;
    if (!writing) {
        txn->reading = *txn->slot;
    } else if (*txn->slot != NULL && !copy_records(txn, *txn->slot)) {
        txn_free(txn);
        return KTP_UNAVAIL;
    }
    *ret_txn = txn;
    return KTP_SUCCESS;
}

static value_row_t *find_value(ktp_txn_t *txn, uint64_t version)
{
    size_t i;

    for (i = 0; i < txn->nvalues; i++) {
        if (txn->values[i].version == version)
            return &txn->values[i];
    }
    return NULL;
}

static uint64_t head_stamp(const ktp_txn_t *txn)
{
    return txn->head != NULL ? kt_get_u64(txn->head + KTP_RECORD_VERSION_AT) : 0;
}

static ktp_status_t get_in_place(const kt_bundle_t *bundle, const ktp_key_t *key,
                                 ktp_row_t *ret_row)
{
    size_t at = KTP_BUNDLE_HEADER, i = 1;
    record_t r = next_record(bundle->bytes, &at);

    if (key->space == KTP_HEAD)
        *ret_row = (ktp_row_t){r.data, r.size, NULL, 0, version_of(&r)};
    if (bundle->has_current) {
        r = next_record(bundle->bytes, &at);
        i++;
        ret_row->beside = r.data;
        ret_row->beside_size = r.size;
    }
    if (key->space == KTP_HEAD)
        return KTP_SUCCESS;
    for (; i < bundle->count && key->space == KTP_VALUE; i++) {
        r = next_record(bundle->bytes, &at);
        if (version_of(&r) == key->version) {
            *ret_row = (ktp_row_t){r.data, r.size, NULL, 0, 1};
            return KTP_SUCCESS;
        }
    }
    return KTP_NOTFOUND;
}

static ktp_status_t bundle_get(ktp_txn_t *txn, const ktp_key_t *key, ktp_row_t *ret_row)
{
    const value_row_t *value;

    memset(ret_row, 0, sizeof(*ret_row));
    if (txn->reading != NULL)
        return get_in_place(txn->reading, key, ret_row);
    if (key->space == KTP_HEAD && txn->head != NULL) {
        *ret_row = (ktp_row_t){txn->head, txn->head_size, txn->current, txn->current_size,
                               head_stamp(txn)};
        return KTP_SUCCESS;
    }
    value = key->space == KTP_VALUE ? find_value(txn, key->version) : NULL;
    if (value == NULL)
        return KTP_NOTFOUND;
    *ret_row = (ktp_row_t){value->data, value->size, NULL, 0, 1};
    return KTP_SUCCESS;
}

static ktp_status_t put_head(ktp_txn_t *txn, const ktp_row_t *row, uint64_t expected)
{
    unsigned char *head, *current;

    if (head_stamp(txn) != expected)
        return KTP_CONFLICT;
    head = copy_bytes(row->record, row->record_size);
    current = row->beside != NULL ? copy_bytes(row->beside, row->beside_size) : NULL;
    if (head == NULL || (row->beside != NULL && current == NULL)) {
        free(head);
        free(current);
        return KTP_UNAVAIL;
    }
    free(txn->head);
    free(txn->current);
    txn->head = head;
    txn->head_size = row->record_size;
    txn->current = current;
    txn->current_size = row->beside_size;
    return KTP_SUCCESS;
}

static ktp_status_t put_value(ktp_txn_t *txn, uint64_t version, const ktp_row_t *row,
                              uint64_t expected)
{
    value_row_t *value = find_value(txn, version);
    unsigned char *data;

    if ((value != NULL) != (expected != 0) || (value == NULL && txn->nvalues == RECORDS_MAX))
        return KTP_CONFLICT;
    data = copy_bytes(row->record, row->record_size);
    if (data == NULL)
        return KTP_UNAVAIL;
    if (value == NULL)
        value = &txn->values[txn->nvalues++];
    else
        free(value->data);
    *value = (value_row_t){version, data, row->record_size};
    return KTP_SUCCESS;
}

static ktp_status_t bundle_put(ktp_txn_t *txn, const ktp_key_t *key, const ktp_row_t *row,
                               uint64_t expected)
{
    if (!txn->writing)
        return KTP_FORBIDDEN;
    txn->changed = true;
    if (key->space == KTP_HEAD)
        return put_head(txn, row, expected);
    return key->space == KTP_VALUE ? put_value(txn, key->version, row, expected) : KTP_CONFLICT;
}

static ktp_status_t bundle_remove(ktp_txn_t *txn, const ktp_key_t *key, uint64_t expected)
{
    value_row_t *value = key->space == KTP_VALUE ? find_value(txn, key->version) : NULL;

    if (!txn->writing)
        return KTP_FORBIDDEN;
    if (value == NULL || expected == 0)
        return KTP_CONFLICT;
    free(value->data);
    *value = txn->values[--txn->nvalues];
    txn->changed = true;
    return KTP_SUCCESS;
}

static ktp_status_t bundle_scan(ktp_txn_t *txn, ktp_space_t space, ktp_scan_fn fn, void *arg)
{
    ktp_key_t key = {.space = KTP_HEAD};
    ktp_row_t row;

    if (space == KTP_HEAD && bundle_get(txn, &key, &row) == KTP_SUCCESS)
        (void)fn(arg, &key, &row);
    return KTP_SUCCESS;
}

static int by_falling_version(const void *a, const void *b)
{
    const value_row_t *x = a, *y = b;

    return x->version < y->version ? 1 : x->version > y->version ? -1 : 0;
}

static unsigned char *append_record(unsigned char *at, const unsigned char *data, size_t size)
{
    kt_put_u32(at, (uint32_t)size);
    memcpy(at + LENGTH_SIZE, data, size);
    return at + LENGTH_SIZE + size;
}

static ktp_status_t write_bundle(ktp_txn_t *txn, kt_bundle_t **ret_bundle)
{
    size_t count = 1 + (txn->current != NULL) + txn->nvalues, i;
    size_t size = KTP_BUNDLE_HEADER + count * LENGTH_SIZE + txn->head_size +
                  (txn->current != NULL ? txn->current_size : 0);
    unsigned char *bytes, *at;
    kt_status_t status;

    qsort(txn->values, txn->nvalues, sizeof(txn->values[0]), by_falling_version);
    for (i = 0; i < txn->nvalues; i++)
        size += txn->values[i].size;
    bytes = malloc(size);
    if (bytes == NULL)
        return KTP_UNAVAIL;
    memcpy(bytes, "KTB\001", 4);
    bytes[4] = txn->current != NULL ? KTP_BUNDLE_CURRENT : 0;
    bytes[5] = 0;
    bytes[6] = (unsigned char)(count >> 8);
    bytes[7] = (unsigned char)count;
    at = append_record(bytes + KTP_BUNDLE_HEADER, txn->head, txn->head_size);
    if (txn->current != NULL)
        at = append_record(at, txn->current, txn->current_size);
    for (i = 0; i < txn->nvalues; i++)
        at = append_record(at, txn->values[i].data, txn->values[i].size);
    status = kt_bundle_parse(bytes, size, ret_bundle);
    free(bytes);
    return status == KT_SUCCESS ? KTP_SUCCESS : KTP_MALFORMED;
}

static ktp_status_t bundle_commit(ktp_txn_t *txn)
{
    kt_bundle_t *bundle = NULL;
    ktp_status_t status = KTP_SUCCESS;

    if (txn->writing && txn->changed && txn->head != NULL)
        status = write_bundle(txn, &bundle);
    if (bundle != NULL) {
        kt_bundle_free(*txn->slot);
        *txn->slot = bundle;
    }
    txn_free(txn);
    return status;
}

static const ktp_option_spec_t no_options[] = {{NULL, KTP_STRING, 0, NULL, NULL}};

static const ktp_provider_t bundle_provider = {
    KTP_HEADER,
    .name = "bundle",
    .capabilities = KTP_SEALED | KTP_WRITE | KTP_LIST | KTP_CAS | KTP_CLEAR_NAMES,
    .options = no_options,
    .begin = bundle_begin,
    .row_get = bundle_get,
    .row_put = bundle_put,
    .row_remove = bundle_remove,
    .row_scan = bundle_scan,
    .commit = bundle_commit,
    .abort = txn_free,
};

void kt_bundle_store_init(kt_bundle_store_t *store, kt_bundle_t **slot, kt_opened_t *opened,
                          size_t keep)
{
    memset(store, 0, sizeof(*store));
    store->slot = slot;
    store->store.api = &bundle_provider;
    /* struct ktp_instance consists of this slot */
    store->store.instance = (ktp_instance_t *)(void *)&store->slot;
    store->store.name = "redis";
    store->store.keep_versions = keep;
    store->store.opened = opened;
    store->store.checked = true;
}
