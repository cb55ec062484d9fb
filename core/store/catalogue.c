/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * catalogue.c: the catalogue of types, which says what exists in a store.
 *
 *     META 'c' + environment key's id    the catalogue, sealed under that key; or, under a key that
 *                                        the store has left, the id of the newer one
 *     META 't' + type key's id           a label: the name of a type that a writer without the
 *                                        environment key began, until a holder of it lists the type
 *
 * A type is listed in the transaction that writes its first root, and a listed type always has a
 * root. So a writer that holds only the key of a type never changes the catalogue, and a type that
 * was removed, or whose root was, is noticed. The generation is in the header of the record and in
 * the row's stamp; anchors confirm it like that of an index. The header also holds the store's id,
 * in the place of a secret's.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "catalogue.h"

#define REMOVED "%s: the catalogue of types was removed from the store"
#define LEFT_SIZE (4u + KT_KEYID_SIZE) /* epoch and id of the newer environment key */

/* ---- the record ---- */

static kt_status_t seal(const kt_keyring_t *keyring, const kt_envkey_t *env,
                        const kt_catalogue_t *catalogue, unsigned type, const unsigned char *plain,
                        size_t size, unsigned char **ret_record, size_t *ret_size)
{
    kt_header_t header = {.type = type, .version = catalogue->generation};
    unsigned char *key = kt_locked_alloc(KT_KEY_SIZE);
    kt_status_t status;

    if (key == NULL)
        return kt_no_memory();
    kt_catalogue_key(env, key);
    memcpy(header.key_id, env->id, KT_KEYID_SIZE);
    memcpy(header.id, catalogue->store_id, KT_ID_SIZE);
    status = kt_seal(key, &header, keyring->environment, "", plain, size, ret_record, ret_size);
    kt_locked_free(key);
    return status;
}

static kt_status_t unseal(const kt_keyring_t *keyring, const kt_envkey_t *env, const ktp_row_t *row,
                          unsigned char **ret_plain, size_t *ret_size)
{
    unsigned char *key = kt_locked_alloc(KT_KEY_SIZE);
    kt_status_t status;

    if (key == NULL)
        return kt_no_memory();
    kt_catalogue_key(env, key);
    status = kt_unseal(key, keyring->environment, "", row->record, row->record_size, ret_plain,
                       ret_size);
    kt_locked_free(key);
    return status;
}

static const kt_envkey_t *find_env(const kt_keyring_t *keyring,
                                   const unsigned char id[KT_KEYID_SIZE])
{
    size_t i;

    for (i = 0; i < keyring->nenv; i++) {
        if (memcmp(keyring->env[i].id, id, KT_KEYID_SIZE) == 0)
            return &keyring->env[i];
    }
    return NULL;
}

kt_status_t kt_catalogue_unseal(const kt_keyring_t *keyring, const ktp_key_t *key,
                                const ktp_row_t *row, kt_catalogue_t *ret)
{
    unsigned char *plain = NULL;
    size_t size = 0;
    kt_header_t header;
    kt_status_t status = kt_header_parse(row->record, row->record_size, &header);

    memset(ret, 0, sizeof(*ret));
    if (status != KT_SUCCESS)
        return status;
    ret->env = find_env(keyring, key->id + 1);
    if (ret->env == NULL)
        return kt_fail(KT_NOKEY, "the environment key of this catalogue is not held");
    status = unseal(keyring, ret->env, row, &plain, &size);
    if (status == KT_SUCCESS &&
        (memcmp(header.key_id, ret->env->id, KT_KEYID_SIZE) != 0 || header.version != row->stamp))
        status = kt_fail(KT_MALFORMED, "the row's stamp is not the catalogue's generation");
    else if (status == KT_SUCCESS && header.type == KTP_RECORD_LEFT && size == LEFT_SIZE) {
        memcpy(ret->newer, plain + 4, KT_KEYID_SIZE);
        status = KT_NOTFOUND;
    } else if (status == KT_SUCCESS && header.type == KTP_RECORD_CATALOGUE)
        status = kt_catalogue_decode(plain, size, ret);
    else if (status == KT_SUCCESS)
        status = kt_fail(KT_MALFORMED, "a record of another kind is in the place of the catalogue");
    if (status == KT_SUCCESS && memcmp(ret->epochs[0].id, ret->env->id, KT_KEYID_SIZE) != 0)
        status = kt_fail(KT_MALFORMED, "the catalogue does not begin with its own epoch");
    kt_locked_free(plain);
    memcpy(ret->store_id, header.id, KT_ID_SIZE);
    memcpy(ret->tag, row->record + row->record_size - KT_TAG_SIZE, KT_TAG_SIZE);
    ret->generation = ret->stamp = row->stamp;
    return status;
}

/* ---- in a store ---- */

static void anchored_by(const kt_store_t *store, const kt_envkey_t *env,
                        unsigned char key[KT_KEY_SIZE], kt_anchored_t *ret)
{
    memset(ret, 0, sizeof(*ret));
    kt_catalogue_mac_key(env, key);
    ret->store = store->name;
    ret->key = key;
    memcpy(ret->key_id, env->id, KT_KEYID_SIZE);
}

size_t kt_catalogue_anchored(const kt_store_t *store, const kt_catalogue_t *catalogue,
                             unsigned char keys[KT_CAT_ANCHORS][KT_KEY_SIZE],
                             kt_anchored_t ret_list[KT_CAT_ANCHORS])
{
    if (catalogue->generation == 0)
        return 0;
    anchored_by(store, catalogue->env, keys[0], &ret_list[0]);
    ret_list[0].generation = catalogue->generation;
    memcpy(ret_list[0].store_id, catalogue->store_id, KT_ID_SIZE);
    memcpy(ret_list[0].root, catalogue->tag, KT_TAG_SIZE);
    if (catalogue->left == NULL)
        return 1;
    anchored_by(store, catalogue->left, keys[1], &ret_list[1]);
    ret_list[1].generation = catalogue->left_generation;
    memcpy(ret_list[1].store_id, catalogue->store_id, KT_ID_SIZE);
    memcpy(ret_list[1].root, catalogue->left_tag, KT_TAG_SIZE);
    return 2;
}

static kt_status_t check_anchor(const kt_store_t *store, const kt_catalogue_t *catalogue)
{
    unsigned char keys[KT_CAT_ANCHORS][KT_KEY_SIZE];
    kt_anchored_t list[KT_CAT_ANCHORS];
    kt_status_t status = KT_SUCCESS;

    if (kt_catalogue_anchored(store, catalogue, keys, list) > 0)
        status = kt_anchors_check(store->anchors, &list[0]);
    kt_wipe(keys, sizeof(keys));
    return status;
}

uint64_t kt_catalogue_confirmed(const kt_store_t *store, const kt_envkey_t *env,
                                unsigned char io_store_id[KT_ID_SIZE])
{
    unsigned char key[KT_KEY_SIZE];
    kt_anchored_t anchored;
    uint64_t generation;

    anchored_by(store, env, key, &anchored);
    generation = kt_anchors_last(store->anchors, &anchored, io_store_id);
    kt_wipe(key, sizeof(key));
    return generation;
}

static kt_status_t get_row(const kt_store_t *store, ktp_txn_t *txn,
                           const unsigned char env_id[KT_KEYID_SIZE], ktp_key_t *ret_key,
                           ktp_row_t *ret_row)
{
    kt_key_meta(ret_key, 'c', env_id);
    return kt_rows_get(store, txn, ret_key, ret_row);
}

static int see_catalogue(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    bool *any = arg;

    (void)row;
    *any = *any || (key->id_size == KT_META_SIZE && key->id[0] == 'c');
    return *any;
}

/* There is none under the keys held: is it another store, or was the catalogue removed? */
static kt_status_t missing(const kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn)
{
    const kt_keyring_t *keyring = holder->keyring;
    unsigned char ignored[KT_ID_SIZE];
    bool foreign = false, seen = false;
    size_t i;
    kt_status_t status = kt_rows_scan(store, txn, KTP_META, see_catalogue, &foreign);

    for (i = 0; i < keyring->nenv && !seen; i++)
        seen = kt_catalogue_confirmed(store, &keyring->env[i], ignored) > 0;
    if (status != KT_SUCCESS)
        return status;
    if (seen && !foreign)
        return kt_fail(KT_ROLLEDBACK, REMOVED, store->name);
    return kt_fail(KT_WRONGKEY, "%s: the key held is not this store's key (environment \"%s\")",
                   store->name, keyring->environment);
}

kt_status_t kt_catalogue_read(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                              kt_catalogue_t *ret)
{
    const kt_keyring_t *keyring = holder->keyring;
    kt_status_t status = KT_NOTFOUND, anchored;
    ktp_key_t key;
    ktp_row_t row;
    size_t i;

    memset(ret, 0, sizeof(*ret));
    for (i = 0; i < keyring->nenv && status == KT_NOTFOUND; i++)
        status = get_row(store, txn, keyring->env[i].id, &key, &row);
    if (status == KT_NOTFOUND)
        return missing(holder, store, txn);
    if (status != KT_SUCCESS)
        return status;
    status = kt_catalogue_unseal(keyring, &key, &row, ret);
    if (status != KT_SUCCESS && status != KT_NOTFOUND)
        return kt_fail_prefix(status, "%s: the catalogue of types", store->name);
    anchored = check_anchor(store, ret);
    if (status == KT_SUCCESS || anchored != KT_SUCCESS)
        return anchored;
    if (find_env(keyring, ret->newer) != NULL) /* it is held, and nothing was found under it */
        return kt_fail(KT_ROLLEDBACK, REMOVED, store->name);
    holder->missing_epoch = true;
    return kt_fail(KT_NOKEY, "%s: the store has moved to an epoch that the key held does not list",
                   store->name);
}

kt_status_t kt_catalogue_open(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                              kt_catalogue_t *ret)
{
    kt_status_t status = kt_catalogue_read(holder, store, txn, ret);

    return status == KT_SUCCESS ? kt_catalogue_expected(store, ret) : status;
}

kt_status_t kt_catalogue_expected(const kt_store_t *store, const kt_catalogue_t *catalogue)
{
    return kt_expected_check(store->expected, store->name, KT_CATALOGUE_TYPE, catalogue->store_id,
                             catalogue->generation);
}

kt_status_t kt_catalogue_look(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                              kt_header_t *ret_header)
{
    const kt_keyring_t *keyring = holder->keyring;
    size_t i, count = keyring->nenv > 0 ? keyring->nenv : keyring->ntypes;
    kt_status_t status = KT_NOTFOUND;
    ktp_key_t key;
    ktp_row_t row;

    for (i = 0; i < count && status == KT_NOTFOUND; i++)
        status =
            get_row(store, txn, keyring->nenv > 0 ? keyring->env[i].id : keyring->types[i].env_id,
                    &key, &row);
    if (status == KT_NOTFOUND)
        return missing(holder, store, txn);
    if (status == KT_SUCCESS)
        status = kt_header_parse(row.record, row.record_size, ret_header);
    return status == KT_SUCCESS ? status
                                : kt_fail_prefix(status, "%s: the catalogue of types", store->name);
}

/* ---- changes ---- */

static kt_status_t put(const kt_store_t *store, ktp_txn_t *txn, const kt_envkey_t *env,
                       const unsigned char *record, size_t size, uint64_t stamp, uint64_t expected,
                       ktp_key_t *ret_key)
{
    ktp_row_t row = {.record = record, .record_size = size, .stamp = stamp};

    kt_key_meta(ret_key, 'c', env->id);
    return kt_rows_put(store, txn, ret_key, &row, expected);
}

kt_status_t kt_catalogue_seal(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                              kt_catalogue_t *catalogue)
{
    unsigned char *plain = NULL, *record = NULL;
    size_t size = 0;
    ktp_key_t key;
    kt_status_t status = kt_catalogue_encode(catalogue, &plain, &size);

    if (status != KT_SUCCESS)
        return status;
    catalogue->generation++;
    status = seal(holder->keyring, catalogue->env, catalogue, KTP_RECORD_CATALOGUE, plain, size,
                  &record, &size);
    if (status == KT_SUCCESS)
        status = put(store, txn, catalogue->env, record, size, catalogue->generation,
                     catalogue->stamp, &key);
    if (status == KT_SUCCESS) {
        memcpy(catalogue->tag, record + size - KT_TAG_SIZE, KT_TAG_SIZE);
        catalogue->stamp = catalogue->generation;
        catalogue->changed = false;
    }
    free(plain);
    free(record);
    return status;
}

kt_status_t kt_catalogue_leave(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                               kt_catalogue_t *catalogue, const kt_envkey_t *from, uint64_t stamp)
{
    unsigned char plain[LEFT_SIZE], *record = NULL;
    size_t size = 0;
    ktp_row_t row;
    ktp_key_t key;
    kt_status_t status;

    kt_put_u32(plain, catalogue->env->epoch);
    memcpy(plain + 4, catalogue->env->id, KT_KEYID_SIZE);
    catalogue->generation++; /* the next one seals the catalogue itself */
    status = seal(holder->keyring, from, catalogue, KTP_RECORD_LEFT, plain, sizeof(plain), &record,
                  &size);
    if (status == KT_SUCCESS)
        status = put(store, txn, from, record, size, catalogue->generation, stamp, &key);
    if (status == KT_SUCCESS) {
        row = (ktp_row_t){.record = record, .record_size = size, .stamp = catalogue->generation};
        status = kt_catalogue_keep(catalogue, &key, &row);
        catalogue->left = from;
        catalogue->left_generation = catalogue->generation;
        memcpy(catalogue->left_tag, record + size - KT_TAG_SIZE, KT_TAG_SIZE);
    }
    free(record);
    return status;
}

kt_status_t kt_catalogue_move(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                              kt_catalogue_t *catalogue)
{
    const kt_envkey_t *newest = &holder->keyring->env[0], *old = catalogue->env;
    uint64_t stamp = catalogue->stamp;
    kt_status_t status;

    if (old == newest)
        return KT_SUCCESS;
    status = kt_catalogue_add_epoch(catalogue, newest->epoch, newest->id);
    if (status != KT_SUCCESS)
        return status;
    catalogue->env = newest;
    catalogue->stamp = 0;
    return kt_catalogue_leave(holder, store, txn, catalogue, old, stamp);
}

/* ---- types that began without the environment key ---- */

typedef struct labels {
    kt_holder_t *holder;
    kt_catalogue_t *catalogue;
    ktp_key_t *keys; /* of the rows to remove */
    size_t count;
    kt_status_t status;
} labels_t;

static int take_label(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    labels_t *labels = arg;
    char type[KT_NAME_MAX + 1];
    const kt_typekey_t *typekey;
    ktp_key_t *grown;
    size_t n;
    kt_status_t status;

    if (key->id_size != KT_META_SIZE || key->id[0] != 't')
        return 0;
    status = kt_label_open(labels->holder->keyring, row->record, row->record_size, type, &n);
    if (status == KT_NOKEY) {
        kt_failure_clear();
        return 0; /* the next holder of that epoch lists it */
    }
    if (status == KT_SUCCESS)
        status = kt_keyring_type(labels->holder->keyring, type, n, &typekey);
    if (status == KT_SUCCESS &&
        (memcmp(typekey->id, key->id + 1, KT_KEYID_SIZE) != 0 || row->stamp != 1 ||
         kt_catalogue_find(labels->catalogue, type) != NULL))
        status = kt_fail(KT_ROLLEDBACK, "a label of the type \"%s\" was put back or added", type);
    grown =
        status == KT_SUCCESS ? reallocarray(labels->keys, labels->count + 1, sizeof(*grown)) : NULL;
    if (status == KT_SUCCESS && grown == NULL)
        status = kt_no_memory();
    if (status == KT_SUCCESS) {
        labels->keys = grown;
        grown[labels->count++] = *key;
        status = kt_catalogue_list(labels->catalogue, type, typekey->epoch);
    }
    labels->status = status;
    return status != KT_SUCCESS;
}

kt_status_t kt_catalogue_adopt(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                               kt_catalogue_t *catalogue)
{
    labels_t labels = {.holder = holder, .catalogue = catalogue, .status = KT_SUCCESS};
    kt_status_t status = kt_rows_scan(store, txn, KTP_META, take_label, &labels);
    size_t i;

    if (status == KT_SUCCESS)
        status = labels.status;
    for (i = 0; i < labels.count && status == KT_SUCCESS; i++)
        status = kt_rows_remove(store, txn, &labels.keys[i], 1);
    free(labels.keys);
    return status;
}

/* ---- its beginning and its anchors ---- */

kt_status_t kt_catalogue_begin(kt_holder_t *holder, const unsigned char store_id[KT_ID_SIZE],
                               kt_catalogue_t *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->env = &holder->keyring->env[0];
    memcpy(ret->store_id, store_id, KT_ID_SIZE);
    return kt_catalogue_add_epoch(ret, ret->env->epoch, ret->env->id);
}

static kt_status_t put_anchors(const kt_holder_t *holder, const kt_store_t *store,
                               const kt_catalogue_t *catalogue, bool committed)
{
    unsigned char keys[KT_CAT_ANCHORS][KT_KEY_SIZE];
    kt_anchored_t list[KT_CAT_ANCHORS];
    size_t count = kt_catalogue_anchored(store, catalogue, keys, list);
    kt_status_t status = KT_SUCCESS;

    if (count > 0)
        status = committed ? kt_anchors_write(store->anchors, holder->stream, list, count, false)
                           : kt_anchors_prepare(store->anchors, holder->stream, list, count);
    kt_wipe(keys, sizeof(keys));
    return status;
}

kt_status_t kt_catalogue_prepare(const kt_holder_t *holder, const kt_store_t *store,
                                 const kt_catalogue_t *catalogue)
{
    return put_anchors(holder, store, catalogue, false);
}

kt_status_t kt_catalogue_anchor(const kt_holder_t *holder, const kt_store_t *store,
                                const kt_catalogue_t *catalogue)
{
    return put_anchors(holder, store, catalogue, true);
}
