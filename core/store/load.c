/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load.c: reading secrets from the sealed rows of a provider. change.c writes them.
 *
 *     HEAD   hash of the name     the sealed head, and next to it the sealed current value
 *     VALUE  hash, version        the other sealed values
 *     META   'c' + key id         the catalogue of types (catalogue.c)
 *            't' + key id         a label: a type that the catalogue does not list yet
 *            'r' + key id         the root of the type's index (index.c), with NODE
 *
 * A provider with clear names has only HEAD and VALUE, under the name itself.
 */
#include <stdlib.h>
#include <string.h>

#include "store.h"

/* ---- does this store belong to our key? ---- */

/*
 * A wrong key hashes every name to a row that does not exist, which must not look like KT_NOTFOUND.
 * So the store has a catalogue under the id of each of its environment keys. One of them must be
 * the id of a key that we hold, or from which our type keys were derived.
 */
static kt_status_t check_key(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn)
{
    kt_header_t ignored;

    return store->api->capabilities & KTP_CLEAR_NAMES
               ? KT_SUCCESS
               : kt_catalogue_look(holder, store, txn, &ignored);
}

/* Once per instance. find_head() checks again whenever a name is not found, because the file may
 * have been replaced. */
kt_status_t kt_store_check(kt_holder_t *holder, kt_store_t *store, ktp_txn_t *txn)
{
    kt_status_t status = store->checked ? KT_SUCCESS : check_key(holder, store, txn);

    store->checked = status == KT_SUCCESS;
    return status;
}

/* ---- heads ---- */

static kt_status_t unseal_head(const kt_holder_t *holder, const kt_typekey_t *type,
                               const ktp_row_t *row, unsigned char **ret_plain, size_t *ret_size)
{
    unsigned char *key = kt_locked_alloc(KT_KEY_SIZE);
    kt_status_t status;

    if (key == NULL)
        return kt_no_memory();
    kt_head_key(type, key);
    status = kt_unseal(key, holder->keyring->environment, type->type, row->record, row->record_size,
                       ret_plain, ret_size);
    kt_locked_free(key);
    return status;
}

static kt_status_t open_head(const kt_holder_t *holder, kt_opened_t *opened,
                             const kt_typekey_t *type, const ktp_row_t *row, kt_head_t *ret_head)
{
    unsigned char *plain = NULL;
    const unsigned char *known;
    size_t size = 0;
    kt_header_t header;
    kt_status_t status;

    status = kt_header_parse(row->record, row->record_size, &header);
    if (status == KT_SUCCESS && header.type != KTP_RECORD_HEAD)
        status = kt_fail(KT_MALFORMED, "a record of another kind is in the place of a head");
    if (status != KT_SUCCESS)
        return status;
    known = kt_opened_find(opened, type, row, &size);
    if (known == NULL)
        status = unseal_head(holder, type, row, &plain, &size);
    if (status == KT_SUCCESS)
        status = kt_head_decode(known != NULL ? known : plain, size, ret_head);
    if (status == KT_SUCCESS && known == NULL && opened != NULL) {
        const kt_opening_t opening = {ret_head->name, plain, size, holder->config->cache_size};

        kt_opened_keep(opened, type, row, &opening);
    }
    kt_locked_free(plain);
    if (status == KT_SUCCESS) {
        memcpy(ret_head->id, header.id, KT_ID_SIZE);
        ret_head->counter = header.version;
    }
    return status;
}

kt_status_t kt_open_head(kt_holder_t *holder, const kt_typekey_t *type, const ktp_row_t *row,
                         kt_head_t *ret_head)
{
    return open_head(holder, NULL, type, row, ret_head);
}

kt_status_t kt_match_key(kt_holder_t *holder, const char *type, const ktp_row_t *row,
                         const kt_typekey_t **ret_key)
{
    kt_header_t header;
    size_t n;
    kt_status_t status;

    status = kt_header_parse(row->record, row->record_size, &header);
    for (n = 0; status == KT_SUCCESS; n++) {
        status = kt_keyring_type(holder->keyring, type, n, ret_key);
        if (status == KT_SUCCESS && memcmp((*ret_key)->id, header.key_id, KT_KEYID_SIZE) == 0)
            return KT_SUCCESS;
    }
    /* with clear names a newer epoch looks the same as another environment */
    holder->missing_epoch = holder->missing_epoch || status == KT_NOKEY;
    if (status == KT_NOKEY && n > 1)
        return kt_fail(KT_WRONGKEY, "the key held for the type \"%s\" did not seal this secret",
                       type);
    return status;
}

/* Reads the head row under this index's key, and proves that it is present or absent.
 * KT_ROLLEDBACK: it is not what the index says. The index comes first, because the provider keeps
 * the row's memory only until its next call. */
static kt_status_t get_proved(const kt_index_t *index, const kt_typekey_t *type, const char *name,
                              ktp_row_t *ret_row)
{
    unsigned char tag[KT_TAG_SIZE];
    bool expected = false;
    ktp_key_t key;
    kt_status_t status;

    kt_key_init(&key, index->store, KTP_HEAD, type, name);
    status = kt_index_lookup(index, key.id, &expected, tag);
    if (status != KT_SUCCESS)
        return kt_fail_prefix(status, "%s", name);
    if (expected)
        kt_opened_ahead(index->store->opened, tag);
    status = kt_rows_get(index->store, index->txn, &key, ret_row);
    if (status == KT_NOTFOUND && expected)
        return kt_fail(KT_ROLLEDBACK, "%s: its row was removed from the store", name);
    if (status == KT_SUCCESS && !expected)
        return kt_fail(KT_ROLLEDBACK, "%s: its row was added to the store without the key", name);
    if (status == KT_SUCCESS &&
        (ret_row->record_size < KT_TAG_SIZE ||
         memcmp(ret_row->record + ret_row->record_size - KT_TAG_SIZE, tag, KT_TAG_SIZE) != 0))
        return kt_fail(KT_ROLLEDBACK, "%s: its row is not the one that was written last", name);
    return status;
}

/* What is searched for, and where. */
typedef struct search {
    kt_holder_t *holder;
    const kt_store_t *store;
    ktp_txn_t *txn;
    const char *type, *name;
} search_t;

/* The head row under this key, as the provider answers it. */
static kt_status_t get_head(const search_t *search, const kt_typekey_t *key, ktp_row_t *ret_row)
{
    ktp_key_t row_key;

    kt_key_init(&row_key, search->store, KTP_HEAD, key, search->name);
    return kt_rows_get(search->store, search->txn, &row_key, ret_row);
}

/* Of a type that has no root, and so no head, under the key that a new one would have. */
static kt_status_t find_without_root(const search_t *search, const kt_typekey_t **ret_key)
{
    ktp_row_t row;
    kt_status_t status =
        kt_epoch_for_new(search->holder, search->store, search->txn, search->type, ret_key);

    if (status == KT_SUCCESS)
        status = get_head(search, *ret_key, &row);
    if (status == KT_SUCCESS)
        return kt_fail(KT_ROLLEDBACK, "%s: its row was added to the store without the key",
                       search->name);
    return status;
}

/* By its hash, in the trees of its type. KT_NOTFOUND is proved; *ret_key is then the key for a new
 * secret. */
static kt_status_t find_hashed(const search_t *search, const kt_typekey_t **ret_key,
                               ktp_row_t *ret_row)
{
    const char *name = search->name;
    kt_trees_t trees;
    kt_status_t status =
        kt_trees_open(search->holder, search->store, search->txn, search->type, &trees);

    if (status != KT_SUCCESS)
        return kt_fail_prefix(status, "%s", name);
    *ret_key = trees.key;
    kt_seen_note(search->store->seen, search->type, trees.index.generation);
    if (trees.index.generation == 0)
        status = find_without_root(search, ret_key);
    else
        status = get_proved(&trees.index, trees.key, name, ret_row);
    if (status == KT_NOTFOUND && trees.old.generation > 0) {
        status = get_proved(&trees.old, trees.old_key, name, ret_row);
        if (status == KT_SUCCESS)
            *ret_key = trees.old_key;
    }
    if (status == KT_NOTFOUND)
        status = kt_trees_absent(search->holder, &trees);
    kt_trees_close(&trees);
    return status;
}

static kt_status_t find_clear(const search_t *search, const kt_typekey_t **ret_key,
                              ktp_row_t *ret_row)
{
    kt_status_t status = kt_keyring_type(search->holder->keyring, search->type, 0, ret_key);

    if (status == KT_SUCCESS)
        status = get_head(search, *ret_key, ret_row);
    return status == KT_SUCCESS ? kt_match_key(search->holder, search->type, ret_row, ret_key)
                                : status;
}

/*
 * Finds the head row of `name`, which the provider keeps until its next call, and the key that
 * sealed it. With KT_NOTFOUND *ret_key is the key for a new secret: the key of the type's present
 * epoch, even if the key file has a newer one. Machines get the next epoch one after the other, and
 * those that do not have it yet could not read the secret.
 */
static kt_status_t find_head(const search_t *search, const kt_typekey_t **ret_key,
                             ktp_row_t *ret_row)
{
    bool is_clear = search->store->api->capabilities & KTP_CLEAR_NAMES;
    kt_status_t status =
        is_clear ? find_clear(search, ret_key, ret_row) : find_hashed(search, ret_key, ret_row);

    if (status != KT_NOTFOUND)
        return status;
    status = check_key(search->holder, search->store, search->txn);
    return status == KT_SUCCESS ? kt_fail(KT_NOTFOUND, "there is no secret \"%s\"", search->name)
                                : status;
}

kt_status_t kt_load_head(kt_holder_t *holder, kt_store_t *store, ktp_txn_t *txn, const char *type,
                         const char *name, const kt_typekey_t **ret_key, ktp_row_t *ret_row,
                         kt_head_t *ret_head)
{
    const search_t search = {holder, store, txn, type, name};
    kt_status_t status = kt_store_check(holder, store, txn);

    if (status == KT_SUCCESS)
        status = find_head(&search, ret_key, ret_row);
    if (status != KT_SUCCESS)
        return status;
    status = open_head(holder, store->opened, *ret_key, ret_row, ret_head);
    if (status != KT_SUCCESS)
        return kt_fail_prefix(status, "%s", name);
    if (strcmp(ret_head->name, name) != 0) {
        kt_head_clear(ret_head);
        return kt_fail(KT_MOVED,
                       "%s: the secret stored under this name has another one: it was moved here",
                       name);
    }
    if (ret_row->stamp != ret_head->counter) {
        kt_head_clear(ret_head);
        return kt_fail(KT_MALFORMED, "%s: the row's stamp is not the head's counter", name);
    }
    return KT_SUCCESS;
}

/* ---- values ---- */

kt_status_t kt_get_value(const kt_store_t *store, ktp_txn_t *txn, const kt_typekey_t *type,
                         const char *name, uint64_t version, ktp_row_t *ret_row)
{
    ktp_key_t key;
    kt_status_t status;

    kt_key_init(&key, store, KTP_VALUE, type, name);
    key.version = version;
    status = kt_rows_get(store, txn, &key, ret_row);
    if (status == KT_NOTFOUND)
        return kt_fail(KT_MALFORMED, "%s: the value of version %llu is missing from the store",
                       name, (unsigned long long)version);
    if (status == KT_SUCCESS && ret_row->stamp != KT_VALUE_STAMP)
        return kt_fail(KT_MALFORMED, "%s: the row of version %llu has the wrong stamp", name,
                       (unsigned long long)version);
    return status;
}

/* The record of `version`: next to the head, or in its own row. */
static kt_status_t find_value(const kt_store_t *store, ktp_txn_t *txn, const kt_typekey_t *type,
                              const kt_head_t *head, const ktp_row_t *head_row, uint64_t version,
                              const unsigned char **ret_record, size_t *ret_size)
{
    ktp_row_t row;
    kt_status_t status;

    if (version == head->current && head_row->beside != NULL) {
        *ret_record = head_row->beside;
        *ret_size = head_row->beside_size;
        return KT_SUCCESS;
    }
    status = kt_get_value(store, txn, type, head->name, version, &row);
    if (status != KT_SUCCESS)
        return status;
    *ret_record = row.record;
    *ret_size = row.record_size;
    return KT_SUCCESS;
}

/* The value must be the one that the head names: same secret, same version, same tag. */
kt_status_t kt_check_value(const kt_head_t *head, const kt_head_version_t *entry,
                           const unsigned char *record, size_t size)
{
    kt_header_t header;
    kt_status_t status;

    status = kt_header_parse(record, size, &header);
    if (status != KT_SUCCESS)
        return status;
    if (header.type != KTP_RECORD_VALUE || header.version != entry->version ||
        memcmp(header.id, head->id, KT_ID_SIZE) != 0 ||
        memcmp(record + size - KT_TAG_SIZE, entry->tag, KT_TAG_SIZE) != 0)
        return kt_fail(KT_MALFORMED, "the stored value is not the one that belongs to version %llu",
                       (unsigned long long)entry->version);
    return KT_SUCCESS;
}

static kt_status_t unseal_value(const kt_holder_t *holder, const kt_halfway_t *halfway,
                                const unsigned char *key, const kt_head_t *head,
                                const kt_head_version_t *entry, const unsigned char *record,
                                size_t size, kt_secret_t **ret_secret)
{
    kt_secret_t *secret = NULL;
    kt_status_t status = kt_check_value(head, entry, record, size);

    if (status == KT_SUCCESS)
        status = kt_unseal_secret(halfway, key, holder->keyring->environment, head->name, record,
                                  size, &secret);
    if (status != KT_SUCCESS)
        return kt_fail_prefix(status, "%s", head->name);
    secret->version = entry->version;
    secret->expires = head->expires;
    *ret_secret = secret;
    return KT_SUCCESS;
}

kt_status_t kt_open_value(kt_holder_t *holder, const kt_typekey_t *type, const kt_head_t *head,
                          const kt_head_version_t *entry, const unsigned char *record, size_t size,
                          kt_secret_t **ret_secret)
{
    unsigned char *key = kt_locked_alloc(KT_KEY_SIZE);
    kt_status_t status;

    if (key == NULL)
        return kt_no_memory();
    kt_secret_key(type, head->name, key);
    status = unseal_value(holder, NULL, key, head, entry, record, size, ret_secret);
    kt_locked_free(key);
    return status;
}

kt_status_t kt_fetch_value(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                           const kt_typekey_t *type, const kt_head_t *head,
                           const ktp_row_t *head_row, uint64_t version, kt_secret_t **ret_secret)
{
    const unsigned char *record = NULL;
    const kt_halfway_t *halfway;
    const kt_head_version_t *entry;
    size_t size = 0;
    kt_status_t status = kt_head_kept(head, version, &entry);

    /* the provider keeps the head's row until its next call, which this may be */
    if (status == KT_SUCCESS)
        status = find_value(store, txn, type, head, head_row, version, &record, &size);
    if (status != KT_SUCCESS)
        return status;
    halfway = kt_opened_halfway(store->opened, head_row, record, size);
    return halfway != NULL
               ? unseal_value(holder, halfway, NULL, head, entry, record, size, ret_secret)
               : kt_open_value(holder, type, head, entry, record, size, ret_secret);
}

static kt_status_t check_live(const kt_head_t *head)
{
    if (head->deleted)
        return kt_fail(KT_GONE, "%s is deleted", head->name);
    if (head->expires != 0 && head->expires <= kt_now())
        return kt_fail(KT_GONE, "%s has expired", head->name);
    return KT_SUCCESS;
}

static kt_status_t read_inside(kt_holder_t *holder, kt_store_t *store, ktp_txn_t *txn,
                               const kt_reference_t *ref, kt_secret_t **ret_secret)
{
    const kt_typekey_t *type;
    kt_head_t head;
    ktp_row_t row;
    uint64_t version;
    kt_status_t status;

    status = kt_load_head(holder, store, txn, ref->type, ref->name, &type, &row, &head);
    if (status != KT_SUCCESS)
        return status;
    status = check_live(&head);
    if (status == KT_SUCCESS)
        status = kt_head_select(&head, ref->selector, ref->version, &version);
    if (status == KT_SUCCESS)
        status = kt_fetch_value(holder, store, txn, type, &head, &row, version, ret_secret);
    if (status == KT_SUCCESS)
        (*ret_secret)->since = kt_schedule_rotated(&head);
    kt_head_clear(&head);
    return status;
}

/* The store's change token. False: it has none, or cannot say. */
static bool get_token(const kt_store_t *store, unsigned char ret_token[KTP_TOKEN_SIZE])
{
    return store->proofs != NULL && (store->api->capabilities & KTP_TOKEN) &&
           kt_from_provider(store->name, store->api->token(store->instance, ret_token)) ==
               KT_SUCCESS;
}

/* A reading transaction in which the roots of the one before are known, if nothing was committed in
 * between. The token is taken twice, because a provider may look closer when a transaction begins.
 */
static kt_status_t begin_read(const kt_holder_t *holder, const kt_store_t *store,
                              ktp_txn_t **ret_txn)
{
    unsigned char before[KTP_TOKEN_SIZE], token[KTP_TOKEN_SIZE];
    bool known = get_token(store, before);
    kt_status_t status = KT_SUCCESS;

    /* anchors that were looked at just now hold, unless something was committed since */
    if (!known || !kt_proofs_are_of(store->proofs, before) ||
        !kt_anchors_are_recent(store->anchors))
        status = kt_anchors_load(store->anchors);
    if (status == KT_SUCCESS)
        status = kt_txn_begin(store, false, holder->wait, ret_txn);
    if (status == KT_SUCCESS && known && get_token(store, token) &&
        memcmp(before, token, sizeof(token)) == 0)
        kt_proofs_begin(store->proofs, token);
    return status;
}

/* Is it to be read once more? What a root of before does not prove may be newer than it: a writer
 * came between the token and the snapshot. */
static bool once_more(kt_holder_t *holder, const kt_store_t *store, kt_status_t status)
{
    if (status == KT_ROLLEDBACK && kt_proofs_forget(store->proofs)) {
        kt_failure_clear();
        return true;
    }
    return kt_keys_again(holder, status);
}

kt_status_t kt_store_read(kt_holder_t *holder, kt_store_t *store, const kt_reference_t *reference,
                          kt_secret_t **ret_secret)
{
    ktp_txn_t *txn;
    kt_status_t status;

    do {
        status = begin_read(holder, store, &txn);
        if (status != KT_SUCCESS)
            return status;
        status = read_inside(holder, store, txn, reference, ret_secret);
        store->api->abort(txn);
    } while (once_more(holder, store, status));
    return status;
}

kt_status_t kt_store_head(kt_holder_t *holder, kt_store_t *store, const char *name,
                          kt_head_t *ret_head)
{
    const kt_typekey_t *type;
    kt_reference_t ref;
    ktp_txn_t *txn;
    ktp_row_t row;
    kt_status_t status;

    status = kt_reference_parse(name, 0, &ref);
    if (status != KT_SUCCESS)
        return status;
    do {
        status = begin_read(holder, store, &txn);
        if (status != KT_SUCCESS)
            return status;
        status = kt_load_head(holder, store, txn, ref.type, ref.name, &type, &row, ret_head);
        store->api->abort(txn);
    } while (once_more(holder, store, status));
    return status;
}
