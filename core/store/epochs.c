/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * epochs.c: finds the epochs under which the secrets of a type lie. rekey.c moves them.
 *
 * A type has a root under its epoch. While it moves to a newer epoch it has two, which name each
 * other and have the same generation:
 *
 *     all at X  ─▶  X "to Y" and Y "from X", generation G each  ─▶  X "moved to Y", all at Y
 *
 * The newest root that the keyring can open decides. If the whole type is under it, a name that its
 * tree does not have is absent. While the type moves, the other tree is searched too; a reader that
 * cannot open that tree does not know, and answers KT_NOKEY. A root names the other root, so none
 * can be removed or put back alone. Each change raises the generation of both, so neither can be
 * put back without the other.
 *
 * The catalogue of types (catalogue.c) says which epoch is the store's present one, under which
 * types begin, and which types exist. Under an epoch that the store has left stands a record that
 * says so: then the holder of the older key knows that types may exist only under a newer one.
 */
#include <stdio.h>
#include <string.h>

#include "catalogue.h"
#include "epochs.h"

#define AGAIN_MS 1000 /* keys are read again at most this often */

/* ---- reading the keys again ---- */

static kt_status_t missing_epoch(kt_holder_t *holder, const kt_store_t *store, const char *type)
{
    holder->missing_epoch = true;
    return kt_fail(
        KT_NOKEY,
        "%s: secrets of the type \"%s\" are under an epoch that the key held does not list",
        store->name, type);
}

static bool same_id(const unsigned char a[KT_KEYID_SIZE], const unsigned char b[KT_KEYID_SIZE])
{
    return memcmp(a, b, KT_KEYID_SIZE) == 0;
}

static bool has_more(const kt_keyring_t *keyring, const kt_keyring_t *fresh)
{
    size_t i, j;

    for (i = 0; i < fresh->nenv; i++) {
        for (j = 0; j < keyring->nenv && !same_id(keyring->env[j].id, fresh->env[i].id); j++)
            ;
        if (j == keyring->nenv)
            return true;
    }
    for (i = 0; fresh->nenv == 0 && i < fresh->ntypes; i++) {
        for (j = 0; j < keyring->ntypes && !same_id(keyring->types[j].id, fresh->types[i].id); j++)
            ;
        if (j == keyring->ntypes)
            return true;
    }
    return false;
}

bool kt_keys_again(kt_holder_t *holder, kt_status_t status)
{
    kt_failure_t failed;
    kt_keyring_t *fresh;
    bool more;

    if ((status != KT_NOKEY && status != KT_WRONGKEY) || !holder->missing_epoch)
        return false;
    holder->missing_epoch = false;
    if (holder->keys_read != 0 && kt_monotonic() - holder->keys_read < AGAIN_MS)
        return false;
    holder->keys_read = kt_monotonic();
    kt_failure_save(&failed, status);
    if (kt_keyring_read_again(holder->config, holder->stream, &fresh) != KT_SUCCESS) {
        char reason[200];

        (void)snprintf(reason, sizeof(reason), "%s", kt_failure());
        (void)kt_fail(status, "%.250s; the key could not be read again (%s)", failed.text, reason);
        return false;
    }
    more = has_more(holder->keyring, fresh);
    if (more)
        kt_keyring_update(holder->keyring, fresh);
    kt_keyring_free(fresh);
    if (!more)
        (void)kt_failure_restore(&failed);
    return more;
}

/* ---- the trees of a type ---- */

kt_status_t kt_index_open_newest(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                                 const kt_typekey_t *key, kt_index_t *ret_index)
{
    kt_status_t status = kt_index_open(holder, store, txn, key, ret_index);

    return status == KT_SUCCESS ? kt_index_compare(ret_index) : status;
}

/* An older root stays as it was when the type left it. */
static kt_status_t compare_with_log(const kt_index_t *index)
{
    if (index->generation == 0 || index->link == KT_LINK_TO || index->link == KT_LINK_MOVED)
        return KT_SUCCESS;
    return kt_expected_check(index->store->expected, index->store->name, index->type,
                             index->store_id, index->generation);
}

kt_status_t kt_index_compare(const kt_index_t *index)
{
    kt_anchored_t anchored;

    kt_index_anchored(index, &anchored);
    return compare_with_log(index) == KT_SUCCESS
               ? kt_anchors_check(index->store->anchors, &anchored)
               : KT_ROLLEDBACK;
}

static kt_status_t mismatch(const kt_index_t *index, const char *what)
{
    return kt_fail(KT_ROLLEDBACK, "%s: the roots of the type \"%s\" do not match: %s",
                   index->store->name, index->type, what);
}

/* Opens the older tree, from which secrets move to the newest one, found at the n-th epoch. */
static kt_status_t open_old(kt_holder_t *holder, size_t n, kt_trees_t *trees)
{
    const kt_index_t *index = &trees->index;
    const kt_typekey_t *key;
    kt_status_t status;

    while ((status = kt_keyring_type(holder->keyring, index->type, ++n, &key)) == KT_SUCCESS) {
        if (same_id(key->id, index->other))
            break;
    }
    if (status == KT_NOKEY) {
        kt_failure_clear();
        return KT_SUCCESS;
    }
    if (status == KT_SUCCESS)
        status = kt_index_open_newest(holder, index->store, index->txn, key, &trees->old);
    if (status != KT_SUCCESS)
        return status;
    trees->old_key = key;
    if (trees->old.generation == 0)
        return mismatch(index, "the root under the older epoch is missing");
    if (trees->old.link != KT_LINK_TO || !same_id(trees->old.other, index->key_id))
        return mismatch(index, "the older root does not name the newer one");
    if (trees->old.generation != index->generation ||
        memcmp(trees->old.store_id, index->store_id, KT_ID_SIZE) != 0)
        return mismatch(index, "their generations or stores differ");
    return KT_SUCCESS;
}

static kt_status_t open_linked(kt_holder_t *holder, size_t n, kt_trees_t *trees)
{
    const kt_index_t *index = &trees->index;
    const kt_typekey_t *key;
    size_t i;

    if (index->link == KT_LINK_FROM)
        return open_old(holder, n, trees);
    for (i = 0; index->link != KT_LINK_NONE && i < n; i++) {
        if (kt_keyring_type(holder->keyring, index->type, i, &key) == KT_SUCCESS &&
            same_id(key->id, index->other))
            return mismatch(index, "the root under the newer epoch is missing");
    }
    return KT_SUCCESS;
}

kt_status_t kt_trees_open(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                          const char *type, kt_trees_t *ret_trees)
{
    const kt_typekey_t *key;
    kt_status_t status;
    size_t n;

    memset(ret_trees, 0, sizeof(*ret_trees));
    for (n = 0; (status = kt_keyring_type(holder->keyring, type, n, &key)) == KT_SUCCESS; n++) {
        status = kt_index_open_newest(holder, store, txn, key, &ret_trees->index);
        if (status == KT_SUCCESS && ret_trees->index.generation > 0) {
            ret_trees->key = key;
            status = open_linked(holder, n, ret_trees);
        }
        if (status != KT_SUCCESS || ret_trees->index.generation > 0)
            break;
        kt_index_close(&ret_trees->index);
    }
    if (status == KT_NOKEY && n > 0) { /* there are no more epochs */
        kt_failure_clear();
        status = KT_SUCCESS;
    }
    if (status != KT_SUCCESS)
        kt_trees_close(ret_trees);
    return status;
}

void kt_trees_close(kt_trees_t *trees)
{
    kt_wipe(trees, sizeof(*trees));
}

kt_status_t kt_trees_writable(kt_holder_t *holder, const kt_trees_t *trees)
{
    if (trees->index.link == KT_LINK_NONE ||
        (trees->index.link == KT_LINK_FROM && trees->old.generation > 0))
        return KT_SUCCESS;
    return missing_epoch(holder, trees->index.store, trees->index.type);
}

kt_status_t kt_trees_absent(kt_holder_t *holder, const kt_trees_t *trees)
{
    kt_status_t status = kt_trees_writable(holder, trees);

    return status == KT_SUCCESS ? KT_NOTFOUND : status;
}

kt_status_t kt_trees_seal(kt_trees_t *trees)
{
    uint64_t generation = trees->index.generation + 1;
    kt_status_t status = kt_index_seal(&trees->index, generation);

    return status == KT_SUCCESS && trees->old.generation > 0
               ? kt_index_seal(&trees->old, generation)
               : status;
}

typedef enum when { BEFORE_COMMIT, AFTER_COMMIT, AFTER_COMMIT_LAZY } when_t;

/* Of both trees, and of the catalogue if it was changed. */
static kt_status_t put_anchors(const kt_store_t *store, const char *stream, const kt_trees_t *trees,
                               const kt_catalogue_t *catalogue, when_t when)
{
    unsigned char keys[KT_CAT_ANCHORS][KT_KEY_SIZE];
    kt_anchored_t list[2 + KT_CAT_ANCHORS];
    size_t count = 0;
    kt_status_t status = KT_SUCCESS;

    if (trees->index.generation > 0)
        kt_index_anchored(&trees->index, &list[count++]);
    if (trees->old.generation > 0)
        kt_index_anchored(&trees->old, &list[count++]);
    count += kt_catalogue_anchored(store, catalogue, keys, &list[count]);
    if (count > 0)
        status = when == BEFORE_COMMIT ? kt_anchors_prepare(store->anchors, stream, list, count)
                                       : kt_anchors_write(store->anchors, stream, list, count,
                                                          when == AFTER_COMMIT_LAZY);
    kt_wipe(keys, sizeof(keys));
    return status;
}

kt_status_t kt_trees_prepare(const kt_store_t *store, const char *stream, const kt_trees_t *trees,
                             const kt_catalogue_t *catalogue)
{
    return put_anchors(store, stream, trees, catalogue, BEFORE_COMMIT);
}

kt_status_t kt_trees_anchor(const kt_store_t *store, const char *stream, const kt_trees_t *trees,
                            const kt_catalogue_t *catalogue, bool lazy)
{
    return put_anchors(store, stream, trees, catalogue, lazy ? AFTER_COMMIT_LAZY : AFTER_COMMIT);
}

uint64_t kt_index_confirmed(const kt_index_t *index)
{
    kt_anchored_t anchored;

    kt_index_anchored(index, &anchored);
    return kt_anchors_highest(index->store->anchors, &anchored);
}

/* ---- types without a root ---- */

static kt_status_t gone(const kt_store_t *store, const char *type)
{
    return kt_fail(KT_ROLLEDBACK, "%s: the type \"%s\" was removed from the store", store->name,
                   type);
}

/* A label stands beside the root of its type. */
static kt_status_t check_label(const kt_store_t *store, ktp_txn_t *txn, const kt_typekey_t *key)
{
    ktp_key_t label;
    ktp_row_t row;
    kt_status_t status;

    kt_key_meta(&label, 't', key->id);
    status = kt_rows_get(store, txn, &label, &row);
    return status == KT_SUCCESS ? gone(store, key->type) : status;
}

/* For the holder of an environment key: the present epoch, unless the catalogue lists the type. */
static kt_status_t present_epoch(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                                 const char *type, const kt_typekey_t **ret_key)
{
    kt_catalogue_t catalogue;
    const kt_cat_type_t *listed;
    kt_status_t status = kt_catalogue_open(holder, store, txn, &catalogue);
    size_t i;

    listed = status == KT_SUCCESS ? kt_catalogue_find(&catalogue, type) : NULL;
    for (i = 0; listed != NULL && i < holder->keyring->nenv; i++) {
        if (holder->keyring->env[i].epoch == listed->epoch)
            status = gone(store, type);
    }
    if (listed != NULL && status == KT_SUCCESS)
        status = missing_epoch(holder, store, type);
    if (status == KT_SUCCESS)
        status = kt_keyring_type(holder->keyring, type,
                                 (size_t)(catalogue.env - holder->keyring->env), ret_key);
    kt_catalogue_clear(&catalogue);
    return status;
}

/* For the holder of type keys: the newest of them whose epoch the store knows. */
static kt_status_t known_epoch(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                               const char *type, const kt_typekey_t **ret_key)
{
    const kt_typekey_t *key;
    kt_header_t header;
    ktp_key_t row_key;
    ktp_row_t row;
    kt_status_t status;
    size_t n;

    for (n = 0; (status = kt_keyring_type(holder->keyring, type, n, &key)) == KT_SUCCESS; n++) {
        kt_key_meta(&row_key, 'c', key->env_id);
        status = kt_rows_get(store, txn, &row_key, &row);
        if (status == KT_NOTFOUND)
            continue;
        if (status == KT_SUCCESS)
            status = kt_header_parse(row.record, row.record_size, &header);
        if (status == KT_SUCCESS && header.type != KTP_RECORD_CATALOGUE)
            return missing_epoch(holder, store, type);
        *ret_key = key;
        return status;
    }
    if (status != KT_NOKEY || n == 0)
        return status;
    kt_failure_clear();
    return kt_keyring_type(holder->keyring, type, 0,
                           ret_key); /* another store's: see find_head() */
}

kt_status_t kt_epoch_for_new(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                             const char *type, const kt_typekey_t **ret_key)
{
    kt_status_t status;

    if (store->api->capabilities & KTP_CLEAR_NAMES)
        return kt_keyring_type(holder->keyring, type, 0, ret_key);
    status = holder->keyring->nenv > 0 ? present_epoch(holder, store, txn, type, ret_key)
                                       : known_epoch(holder, store, txn, type, ret_key);
    if (status == KT_SUCCESS)
        status = check_label(store, txn, *ret_key);
    return status == KT_NOTFOUND ? KT_SUCCESS : status;
}

/* ---- after a restore ---- */

static kt_status_t bind(kt_index_t *newest, kt_index_t *old)
{
    uint64_t generation =
        (newest->generation > old->generation ? newest->generation : old->generation) + 1;
    kt_status_t status;

    old->link = old->count > 0 ? KT_LINK_TO : KT_LINK_MOVED;
    memcpy(old->other, newest->key_id, KT_KEYID_SIZE);
    if (old->count > 0 && newest->link != KT_LINK_NONE)
        return kt_fail(KT_CONFLICT,
                       "%s: the backup was made while the type \"%s\" was being rekeyed to an "
                       "epoch that this store no longer uses",
                       newest->store->name, newest->type);
    if (old->count > 0) {
        newest->link = KT_LINK_FROM;
        memcpy(newest->other, old->key_id, KT_KEYID_SIZE);
    }
    status = kt_index_seal(old, generation);
    return status == KT_SUCCESS ? kt_index_seal(newest, generation) : status;
}

/* Two epochs remain if the store had moved on since the backup, or if the backup was made during a
 * rekey: the secrets under the older epoch stay there until the next rekey. */
static kt_status_t bind_type(kt_index_t *indexes, size_t count, size_t first)
{
    kt_index_t *newest = NULL, *moving = NULL;
    kt_status_t status = KT_SUCCESS;
    size_t i;

    for (i = first; i < count; i++) {
        if (strcmp(indexes[i].type, indexes[first].type) != 0 || indexes[i].generation == 0)
            continue;
        if (newest == NULL || indexes[i].epoch > newest->epoch)
            newest = &indexes[i];
    }
    if (newest == NULL)
        return KT_SUCCESS;
    for (i = first; i < count && status == KT_SUCCESS; i++) {
        if (&indexes[i] == newest || strcmp(indexes[i].type, newest->type) != 0 ||
            indexes[i].generation == 0)
            continue;
        if (indexes[i].count > 0 && moving == NULL)
            moving = &indexes[i]; /* bound last, so that both get the same generation */
        else
            status = bind(newest, &indexes[i]);
    }
    if (status == KT_SUCCESS && moving != NULL)
        return bind(newest, moving);
    /* even an empty type needs a root, as proof that it is empty */
    return status == KT_SUCCESS ? kt_index_write_empty(newest) : status;
}

kt_status_t kt_epochs_restored(kt_index_t *indexes, size_t count)
{
    kt_status_t status = KT_SUCCESS;
    size_t i, j;

    for (i = 0; i < count && status == KT_SUCCESS; i++) {
        for (j = 0; j < i && strcmp(indexes[j].type, indexes[i].type) != 0; j++)
            ;
        if (j == i)
            status = bind_type(indexes, count, i);
    }
    return status;
}
