/* SPDX-License-Identifier: BSD-2-Clause */
/* list.c: calls a function for the head of each secret of a store, and proves that none is left
 * out. */
#include <string.h>

#include "store.h"

typedef struct scan {
    kt_holder_t *holder;
    const kt_store_t *store;
    kt_head_fn fn;
    void *arg;
    kt_survey_t survey;
    uint64_t hidden;
    uint64_t seen;
    bool stopped;
    kt_status_t status;
} scan_t;

/* By the key's id in the clear header: the key that is held, or that none is. With clear names
 * there is no survey, and the type follows from the name. */
static kt_status_t key_of_row(scan_t *scan, const ktp_key_t *key, const ktp_row_t *row,
                              const kt_typekey_t **ret_key)
{
    kt_header_t header;
    kt_known_t *known;
    kt_reference_t ref;
    kt_status_t status;

    if (key->name != NULL) {
        status = kt_reference_parse(key->name, 0, &ref);
        return status == KT_SUCCESS ? kt_match_key(scan->holder, ref.type, row, ret_key) : status;
    }
    status = kt_header_parse(row->record, row->record_size, &header);
    if (status != KT_SUCCESS)
        return status;
    known = kt_survey_find(&scan->survey, header.key_id);
    if (known == NULL)
        return kt_fail(scan->survey.whole ? KT_ROLLEDBACK : KT_NOKEY,
                       "%s: the catalogue explains no key of a row", scan->store->name);
    known->heads++;
    return kt_survey_key(&scan->survey, known, ret_key);
}

static int scan_head(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    scan_t *scan = arg;
    const kt_typekey_t *type;
    kt_head_t head;
    kt_status_t status;
    int stop;

    scan->seen++;
    status = key_of_row(scan, key, row, &type);
    if (status == KT_NOKEY || status == KT_WRONGKEY || status == KT_USAGE) {
        scan->hidden++;
        return 0;
    }
    if (status == KT_SUCCESS)
        status = kt_open_head(scan->holder, type, row, &head);
    if (status != KT_SUCCESS) {
        scan->status = status;
        return 1;
    }
    stop = scan->fn(scan->arg, &head);
    scan->stopped = stop != 0;
    kt_head_clear(&head);
    return stop;
}

/* Compares the number of heads with the index of each type: an incomplete list is an error. */
static kt_status_t check_counts(scan_t *scan, ktp_txn_t *txn)
{
    const kt_typekey_t *key;
    kt_index_t index;
    kt_status_t status = KT_SUCCESS;
    size_t i;

    for (i = 0; i < scan->survey.nkeys && status == KT_SUCCESS; i++) {
        const kt_known_t *known = &scan->survey.keys[i];

        status = kt_survey_key(&scan->survey, known, &key);
        if (status != KT_SUCCESS)
            break;
        status = kt_index_open_newest(scan->holder, scan->store, txn, key, &index);
        if (status == KT_SUCCESS && index.count != known->heads)
            status = kt_fail(KT_ROLLEDBACK,
                             "%s: the store has %llu %s of the type \"%s\", but its index has %llu",
                             scan->store->name, (unsigned long long)known->heads,
                             kt_plural(known->heads, "secret", "secrets"), known->type,
                             (unsigned long long)index.count);
        kt_index_close(&index);
    }
    return status;
}

/* KT_NOKEY: secrets may be under an epoch that is not held. */
static kt_status_t check_epochs(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn)
{
    const kt_keyring_t *keyring = holder->keyring;
    kt_catalogue_t catalogue;
    kt_trees_t trees;
    kt_status_t status = KT_SUCCESS;
    size_t i;

    if (store->api->capabilities & KTP_CLEAR_NAMES)
        return KT_SUCCESS;
    if (keyring->nenv > 0) {
        status = kt_catalogue_open(holder, store, txn, &catalogue);
        kt_catalogue_clear(&catalogue);
    }
    for (i = 0; i < keyring->ntypes && keyring->nenv == 0 && status == KT_SUCCESS; i++) {
        status = kt_trees_open(holder, store, txn, keyring->types[i].type, &trees);
        if (status == KT_SUCCESS)
            status = kt_trees_writable(holder, &trees);
        kt_trees_close(&trees);
    }
    return status;
}

/* If secrets lie under an epoch that is not held, its key may be there when the source is read
 * again. If it is not, those secrets are counted as hidden. */
static kt_status_t begin_scan(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t **ret_txn)
{
    kt_status_t status = kt_rows_begin(store, false, holder->wait, ret_txn);

    while (status == KT_SUCCESS && kt_keys_again(holder, check_epochs(holder, store, *ret_txn))) {
        store->api->abort(*ret_txn);
        status = kt_rows_begin(store, false, holder->wait, ret_txn);
    }
    if (status == KT_SUCCESS)
        kt_failure_clear();
    return status;
}

/* A server that lets us open some of its secrets only has shown those: they are listed, with a
 * warning that they are not all. */
static kt_status_t warn_of_rest(const scan_t *scan, kt_status_t status)
{
    if (status != KT_FORBIDDEN || scan->seen == 0)
        return status;
    kt_log(&scan->holder->logger, 4, "%s", kt_failure());
    kt_failure_clear();
    return KT_SUCCESS;
}

static kt_status_t scan_rows(scan_t *scan, ktp_txn_t *txn)
{
    bool is_clear = scan->store->api->capabilities & KTP_CLEAR_NAMES;
    kt_status_t status = KT_SUCCESS;

    if (!is_clear)
        status = kt_survey_read(scan->holder, scan->store, txn, NULL, NULL, &scan->survey);
    if (status == KT_SUCCESS)
        status = warn_of_rest(scan, kt_rows_scan(scan->store, txn, KTP_HEAD, scan_head, scan));
    if (scan->status != KT_SUCCESS)
        return scan->status;
    return status == KT_SUCCESS && !is_clear && !scan->stopped ? check_counts(scan, txn) : status;
}

kt_status_t kt_store_scan(kt_holder_t *holder, kt_store_t *store, kt_head_fn fn, void *arg,
                          uint64_t *ret_hidden)
{
    scan_t scan = {.holder = holder, .store = store, .fn = fn, .arg = arg, .status = KT_SUCCESS};
    ktp_txn_t *txn;
    kt_status_t status = begin_scan(holder, store, &txn);

    if (status != KT_SUCCESS)
        return status;
    status = scan_rows(&scan, txn);
    store->api->abort(txn);
    kt_survey_end(&scan.survey);
    if (status == KT_SUCCESS)
        *ret_hidden = scan.hidden;
    return status;
}
