/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bundles: what SECRET.SETSEALED and the loading of an RDB file or of a RESTORE payload accept from
 * any client. A bundle that parses is the same after a copy, answers as a store, and opens nothing.
 */
#include "fuzz.h"
#include "store/store.h"

static int count_row(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    must(key->space == KTP_HEAD || key->space == KTP_VALUE);
    must(row->record != NULL && row->record_size <= KTP_ROW_MAX && row->stamp != 0);
    (void)fuzz_any_of(row->record, row->record_size);
    if (row->beside != NULL)
        (void)fuzz_any_of(row->beside, row->beside_size);
    ++*(size_t *)arg;
    return 0;
}

static void write_again(kt_bundle_store_t *bundle, ktp_txn_t *txn, const ktp_row_t *row)
{
    ktp_key_t key = {.space = KTP_HEAD, .name = "fuzz/a"};
    const ktp_provider_t *api = bundle->store.api;
    ktp_status_t status = api->row_put(txn, &key, row, row->stamp);

    must(status <= KTP_NOSPACE);
    if (status == KTP_SUCCESS)
        (void)api->commit(txn);
    else
        api->abort(txn);
}

static void use_as_store(kt_bundle_t **slot)
{
    kt_bundle_store_t bundle;
    ktp_key_t head = {.space = KTP_HEAD, .name = "fuzz/a"},
              value = {.space = KTP_VALUE, .name = "fuzz/a"};
    ktp_txn_t *txn = NULL;
    size_t rows = 0;
    ktp_row_t row;

    kt_bundle_store_init(&bundle, slot, NULL, 10);
    must(bundle.store.api->begin(bundle.store.instance, 1, 0, &txn) == KTP_SUCCESS && txn != NULL);
    must(bundle.store.api->row_scan(txn, KTP_HEAD, count_row, &rows) == KTP_SUCCESS && rows == 1);
    for (value.version = 0; value.version < 4; value.version++)
        if (bundle.store.api->row_get(txn, &value, &row) == KTP_SUCCESS)
            (void)count_row(&rows, &value, &row);
    must(bundle.store.api->row_get(txn, &head, &row) == KTP_SUCCESS);
    must(row.stamp == kt_bundle_counter(*slot));
    write_again(&bundle, txn, &row);
}

static void read_it(kt_bundle_t **slot)
{
    /* there is no source to read keys from again */
    kt_holder_t holder = {.keyring = fuzz_keyring(), .keys_read = INT64_MAX};
    kt_secret_t *secret = NULL;
    kt_bundle_store_t bundle;
    kt_reference_t reference;

    must(kt_reference_parse("fuzz/a", 0, &reference) == KT_SUCCESS);
    kt_bundle_store_init(&bundle, slot, NULL, 10);
    must(kt_store_read(&holder, &bundle.store, &reference, &secret) != KT_SUCCESS &&
         secret == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kt_bundle_t *bundle = NULL, *copy = NULL;
    kt_status_t status = kt_bundle_parse(data, size, &bundle);
    const void *bytes;
    size_t same;

    must((status == KT_SUCCESS) == (bundle != NULL));
    if (bundle == NULL) {
        must(status == KT_MALFORMED);
        return 0;
    }
    bytes = kt_bundle_bytes(bundle, &same);
    must(same == size && memcmp(bytes, data, size) == 0 && kt_bundle_memory(bundle) > size);
    must(kt_bundle_copy(bundle, &copy) == KT_SUCCESS);
    must(kt_bundle_follows(bundle, copy) == KT_CONFLICT);
    must((kt_bundle_follows(NULL, copy) == KT_SUCCESS) == (kt_bundle_counter(copy) == 1));
    read_it(&copy);
    use_as_store(&copy);
    kt_bundle_free(copy);
    kt_bundle_free(bundle);
    return 0;
}
