/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * change.c: a secret being changed, inside one writing transaction of its provider.
 *
 * Values are put as they come. The head, which alone decides what is served, is put last. Its stamp
 * is the counter that was read, plus one. So a commit changes everything or nothing, and of two
 * concurrent writers one wins and the other gets KT_CONFLICT.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

/* Bytes: three values move and are overwritten where they were, and some index nodes change. */
#define RESERVE (6u * KT_VALUE_MAX)
#define RESERVE_JOINED 32768u /* the same of each other secret, without its values */

struct kt_change {
    kt_holder_t *holder;
    kt_store_t *store;
    ktp_txn_t *txn;
    kt_typekey_t *type; /* a copy in locked memory, because the keyring may move its own */
    char name[KT_NAME_MAX + 1];
    kt_head_t head;
    bool exists;
    uint64_t stamp;         /* of the head's row, which must still have it; 0: no row */
    unsigned char *current; /* the record stored with the head; malloc'ed */
    size_t current_size;
    int64_t now;
    kt_trees_t trees;         /* as they will be after the commit: tree_owner() */
    kt_catalogue_t catalogue; /* the same, if this change changes it */
    kt_change_t *first;       /* of its transaction: itself, unless it has joined another one */
    kt_change_t *next;        /* of the same transaction */
    bool lazy;                /* of the first: so are its anchors */
    bool publishes;           /* of the first: kt_change_publishes() */
};

static void change_free(kt_change_t *change)
{
    kt_locked_free(change->type);
    kt_head_clear(&change->head);
    kt_trees_close(&change->trees);
    kt_catalogue_clear(&change->catalogue);
    free(change->current);
    free(change);
}

static void free_all(kt_change_t *first)
{
    kt_change_t *change = first, *next;

    for (; change != NULL; change = next) {
        next = change->next;
        change_free(change);
    }
}

void kt_change_abort(kt_change_t *change)
{
    if (change == NULL)
        return;
    if (change->txn != NULL)
        change->store->api->abort(change->txn);
    free_all(change);
}

/* `record` is malloc'ed, or NULL: no current value. */
static void set_current(kt_change_t *change, unsigned char *record, size_t size)
{
    free(change->current);
    change->current = record;
    change->current_size = size;
}

static unsigned char *copy_record(const unsigned char *record, size_t size)
{
    unsigned char *copy = malloc(size);

    return copy != NULL ? memcpy(copy, record, size) : NULL;
}

static kt_status_t load(kt_change_t *change, const char *type)
{
    const kt_typekey_t *key = NULL;
    ktp_row_t row;
    kt_status_t status = kt_load_head(change->holder, change->store, change->txn, type,
                                      change->name, &key, &row, &change->head);

    if (status != KT_SUCCESS && status != KT_NOTFOUND)
        return status;
    memcpy(change->type, key, sizeof(*key));
    if (status == KT_NOTFOUND) {
        kt_failure_clear();
        memcpy(change->head.name, change->name, strlen(change->name) + 1);
        randombytes_buf(change->head.id, KT_ID_SIZE);
        change->head.created = change->now;
        return KT_SUCCESS;
    }
    change->exists = true;
    change->stamp = row.stamp;
    if (row.beside != NULL)
        set_current(change, copy_record(row.beside, row.beside_size), row.beside_size);
    return row.beside == NULL || change->current != NULL ? KT_SUCCESS : kt_no_memory();
}

static kt_status_t change_new(kt_holder_t *holder, kt_store_t *store, const kt_reference_t *ref,
                              kt_change_t **ret_change)
{
    kt_change_t *change = calloc(1, sizeof(*change));

    if (change == NULL)
        return kt_no_memory();
    change->holder = holder;
    change->store = store;
    change->first = change;
    change->now = kt_now();
    memcpy(change->name, ref->name, sizeof(ref->name));
    change->type = kt_locked_alloc(sizeof(*change->type));
    if (change->type == NULL) {
        change_free(change);
        return kt_no_memory();
    }
    *ret_change = change;
    return KT_SUCCESS;
}

kt_status_t kt_change_begin(kt_holder_t *holder, kt_store_t *store, const char *name,
                            unsigned timeout, kt_change_t **ret_change)
{
    kt_change_t *change = NULL;
    kt_reference_t ref;
    kt_status_t status;

    status = kt_reference_parse(name, 0, &ref);
    if (status == KT_SUCCESS)
        status = change_new(holder, store, &ref, &change);
    while (status == KT_SUCCESS && change->txn == NULL) {
        status = kt_rows_begin(store, true, timeout, &change->txn);
        if (status == KT_TRYAGAIN)
            /* the text names the process that holds the lock: it may have to be stopped */
            kt_log(&holder->logger, 4, "%s", kt_failure());
        if (status == KT_SUCCESS)
            status = load(change, ref.type);
        if (!kt_keys_again(holder, status))
            break;
        store->api->abort(change->txn);
        change->txn = NULL;
        status = KT_SUCCESS;
    }
    if (status != KT_SUCCESS) {
        kt_change_abort(change);
        return status;
    }
    *ret_change = change;
    return KT_SUCCESS;
}

kt_status_t kt_change_join(kt_change_t *first, const char *name, kt_change_t **ret_change)
{
    kt_change_t *change = NULL;
    kt_reference_t ref;
    kt_status_t status = kt_reference_parse(name, 0, &ref);

    if (status == KT_SUCCESS)
        status = change_new(first->holder, first->store, &ref, &change);
    if (status != KT_SUCCESS)
        return status;
    change->txn = first->txn;
    change->first = first;
    status = load(change, ref.type);
    if (status != KT_SUCCESS) {
        change_free(change);
        return status;
    }
    change->next = first->next;
    first->next = change;
    *ret_change = change;
    return KT_SUCCESS;
}

kt_head_t *kt_change_head(kt_change_t *change)
{
    return &change->head;
}

bool kt_change_exists(const kt_change_t *change)
{
    return change->exists;
}

/* ---- rows of values ---- */

static void value_key(const kt_change_t *change, uint64_t version, ktp_key_t *ret_key)
{
    kt_key_init(ret_key, change->store, KTP_VALUE, change->type, change->name);
    ret_key->version = version;
}

static kt_status_t put_value(kt_change_t *change, uint64_t version, const unsigned char *record,
                             size_t size)
{
    ktp_row_t row = {.record = record, .record_size = size, .stamp = KT_VALUE_STAMP};
    ktp_key_t key;

    value_key(change, version, &key);
    return kt_rows_put(change->store, change->txn, &key, &row, 0);
}

static kt_status_t remove_value(kt_change_t *change, uint64_t version)
{
    ktp_key_t key;

    value_key(change, version, &key);
    return kt_rows_remove(change->store, change->txn, &key, KT_VALUE_STAMP);
}

kt_status_t kt_change_value(kt_change_t *change, uint64_t version, kt_secret_t **ret_secret)
{
    ktp_row_t row = {.beside = change->current, .beside_size = change->current_size};

    return kt_fetch_value(change->holder, change->store, change->txn, change->type, &change->head,
                          &row, version, ret_secret);
}

kt_status_t kt_change_add(kt_change_t *change, const kt_secret_t *value, uint64_t *ret_version)
{
    uint64_t version = change->head.last + 1;
    kt_head_version_t *entry;
    unsigned char *record = NULL;
    size_t size = 0;
    kt_status_t status;

    if (value->size > KT_VALUE_MAX)
        return kt_fail(KT_TOOLARGE, "a value has at most %u bytes", KT_VALUE_MAX);
    status =
        kt_seal_value(change->holder, change->type, &change->head, version, value, &record, &size);
    if (status == KT_SUCCESS)
        status = put_value(change, version, record, size);
    if (status == KT_SUCCESS)
        status = kt_head_add(&change->head, version, change->now, &entry);
    if (status == KT_SUCCESS) {
        memcpy(entry->tag, record + size - KT_TAG_SIZE, KT_TAG_SIZE);
        *ret_version = version;
        status = kt_schedule_note(&change->head, version, value);
    }
    free(record);
    return status;
}

/* Moves the record of a version from its own row into the head's row. The record that was there
 * gets a row of its own. */
static kt_status_t swap_in(kt_change_t *change, const kt_head_version_t *entry)
{
    ktp_row_t row;
    unsigned char *record;
    kt_status_t status =
        kt_get_value(change->store, change->txn, change->type, change->name, entry->version, &row);

    /* readers would reject a foreign record in the head's row, but too late */
    if (status == KT_SUCCESS)
        status = kt_check_value(&change->head, entry, row.record, row.record_size);
    if (status != KT_SUCCESS)
        return status;
    record = copy_record(row.record, row.record_size);
    if (record == NULL)
        return kt_no_memory();
    status = remove_value(change, entry->version);
    if (status == KT_SUCCESS && change->current != NULL)
        status = put_value(change, change->head.current, change->current, change->current_size);
    if (status == KT_SUCCESS)
        set_current(change, record, row.record_size);
    else
        free(record);
    return status;
}

kt_status_t kt_change_make_current(kt_change_t *change, uint64_t version)
{
    kt_head_t *head = &change->head;
    const kt_head_version_t *entry;
    kt_status_t status = kt_head_kept(head, version, &entry);

    if (status == KT_SUCCESS && version != head->current)
        status = swap_in(change, entry);
    if (status != KT_SUCCESS || version == head->current)
        return status;
    head->previous = head->current;
    head->current = version;
    if (head->pending == version)
        head->pending = 0;
    kt_head_take_back(head, version);
    return KT_SUCCESS;
}

kt_status_t kt_change_set_aside(kt_change_t *change, uint64_t version, int64_t until)
{
    kt_head_version_t *entry = kt_head_find(&change->head, version);

    if (entry == NULL || entry->destroyed || change->head.pending != version)
        return kt_fail(KT_CONFLICT, "%s: version %llu is not pending", change->name,
                       (unsigned long long)version);
    entry->abandoned = true;
    entry->expires = until;
    change->head.pending = 0;
    return KT_SUCCESS;
}

kt_status_t kt_change_drop(kt_change_t *change, uint64_t version)
{
    kt_head_t *head = &change->head;
    const kt_head_version_t *entry = kt_head_find(head, version);
    kt_status_t status = KT_SUCCESS;

    if (entry == NULL || version == head->current)
        return kt_fail(KT_CONFLICT, "%s: version %llu cannot be dropped", change->name,
                       (unsigned long long)version);
    if (!entry->destroyed)
        status = remove_value(change, version);
    if (status != KT_SUCCESS)
        return status;
    kt_head_drop(head, version);
    if (head->previous == version)
        head->previous = 0;
    if (head->pending == version)
        head->pending = 0;
    return KT_SUCCESS;
}

kt_status_t kt_change_destroy(kt_change_t *change, uint64_t version)
{
    kt_head_version_t *entry = kt_head_find(&change->head, version);
    kt_status_t status = KT_SUCCESS;

    if (entry == NULL)
        return kt_fail(KT_NOTFOUND, "%s: version %llu is not kept", change->name,
                       (unsigned long long)version);
    if (entry->destroyed)
        return KT_SUCCESS;
    if (version == change->head.current) {
        set_current(change, NULL, 0);
    } else {
        status = remove_value(change, version);
    }
    if (status == KT_SUCCESS) {
        kt_head_take_back(&change->head, version);
        entry->destroyed = true;
        if (change->head.pending == version)
            change->head.pending = 0;
    }
    return status;
}

/* Drops the oldest versions beyond keep_versions and the abandoned ones whose time is over, but
 * never current, previous or pending. */
static kt_status_t prune(kt_change_t *change)
{
    kt_head_t *head = &change->head;
    size_t i = head->nversions, kept = i - kt_head_abandoned(head);
    kt_status_t status = KT_SUCCESS;

    while (i-- > 0 && status == KT_SUCCESS) {
        const kt_head_version_t *entry = &head->versions[i];
        uint64_t version = entry->version;

        if (version == head->current || version == head->previous || version == head->pending)
            continue;
        if (entry->abandoned ? entry->expires > change->now : kept <= change->store->keep_versions)
            continue;
        kept -= !entry->abandoned;
        status = kt_change_drop(change, version);
    }
    return status;
}

/* ---- the end ---- */

/* Puts the type's name, sealed by the environment key, for the next holder of that key. */
static kt_status_t put_label(const kt_change_t *change)
{
    ktp_row_t row = {
        .record = change->type->label, .record_size = change->type->label_size, .stamp = 1};
    ktp_key_t key;

    kt_key_meta(&key, 't', change->type->id);
    return kt_rows_put(change->store, change->txn, &key, &row, 0);
}

/* The first secret of a type: the type is listed, or gets a label. */
static kt_status_t begin_type(kt_change_t *change, kt_index_t *index)
{
    kt_holder_t *holder = change->holder;
    kt_header_t header;
    kt_status_t status = kt_index_open(holder, change->store, change->txn, change->type, index);

    if (status == KT_SUCCESS)
        status = kt_catalogue_look(holder, change->store, change->txn, &header);
    if (status != KT_SUCCESS)
        return status;
    memcpy(index->store_id, header.id, KT_ID_SIZE);
    return holder->keyring->nenv > 0
               ? kt_catalogue_list(&change->catalogue, change->type->type, change->type->epoch)
               : put_label(change);
}

/* The holder of the environment key opens the catalogue if it has to change it, and once for each
 * instance to list the types that others began. */
static kt_status_t open_catalogue(kt_change_t *change)
{
    bool begins = change->trees.index.generation == 0;
    kt_status_t status = KT_SUCCESS;

    if (change->holder->keyring->nenv == 0 || (change->store->adopted && !begins))
        return KT_SUCCESS;
    status = kt_catalogue_open(change->holder, change->store, change->txn, &change->catalogue);
    if (status == KT_SUCCESS)
        status = kt_catalogue_adopt(change->holder, change->store, change->txn, &change->catalogue);
    return status;
}

/* A catalogue that was not changed is not written, and needs no anchor. */
static kt_status_t put_catalogue(kt_change_t *change)
{
    if (change->catalogue.changed)
        return kt_catalogue_seal(change->holder, change->store, change->txn, &change->catalogue);
    kt_catalogue_clear(&change->catalogue);
    return KT_SUCCESS;
}

/* The trees of a type are open once in a transaction: with the first change of one of its secrets.
 */
static kt_change_t *tree_owner(const kt_change_t *change)
{
    kt_change_t *owner = change->first;

    while (strcmp(owner->type->type, change->type->type) != 0)
        owner = owner->next;
    return owner;
}

static kt_status_t open_trees(kt_change_t *change)
{
    kt_trees_t *trees = &change->trees;
    kt_status_t status =
        kt_trees_open(change->holder, change->store, change->txn, change->type->type, trees);

    if (status == KT_SUCCESS)
        status = kt_trees_writable(change->holder, trees);
    if (change->first != change) {
        if (status == KT_SUCCESS && trees->index.generation == 0)
            status =
                kt_fail(KT_INTERNAL, "%s: a type begins with a change of its own", change->name);
        return status;
    }
    if (status == KT_SUCCESS)
        status = open_catalogue(change);
    if (status == KT_SUCCESS && trees->index.generation == 0)
        status = begin_type(change, &trees->index);
    return status == KT_SUCCESS ? put_catalogue(change) : status;
}

/* Puts the new head's tag into the index that has this secret. */
static kt_status_t put_index(kt_change_t *change, const ktp_key_t *head_key,
                             const unsigned char *record, size_t size)
{
    kt_change_t *owner = tree_owner(change);
    kt_index_t *index = &owner->trees.index;
    kt_status_t status = KT_SUCCESS;

    if (change->store->api->capabilities & KTP_CLEAR_NAMES)
        return KT_SUCCESS;
    if (owner == change)
        status = open_trees(change);
    if (status != KT_SUCCESS)
        return status;
    if (memcmp(index->key_id, change->type->id, KT_KEYID_SIZE) != 0)
        index = &owner->trees.old;
    return kt_index_put(index, head_key->id, record + size - KT_TAG_SIZE);
}

/* Moves the type to its next generation. */
static kt_status_t seal_trees(kt_change_t *change)
{
    kt_status_t status;

    if ((change->store->api->capabilities & KTP_CLEAR_NAMES) != 0 || tree_owner(change) != change)
        return KT_SUCCESS;
    status = kt_trees_seal(&change->trees);
    return status == KT_SUCCESS ? kt_trees_prepare(change->store, change->holder->stream,
                                                   &change->trees, &change->catalogue)
                                : status;
}

uint64_t kt_change_generation(const kt_change_t *change)
{
    return tree_owner(change)->trees.index.generation;
}

void kt_change_store_id(const kt_change_t *change, unsigned char ret_id[KT_ID_SIZE])
{
    memcpy(ret_id, tree_owner(change)->trees.index.store_id, KT_ID_SIZE);
}

kt_store_t *kt_change_store(const kt_change_t *change)
{
    return change->store;
}

static kt_status_t put_head(kt_change_t *change)
{
    unsigned char *record = NULL;
    ktp_key_t key;
    ktp_row_t row;
    size_t size = 0;
    kt_status_t status;

    status = prune(change);
    if (status != KT_SUCCESS)
        return status;
    change->head.counter = change->stamp + 1;
    change->head.updated = change->now;
    status = kt_seal_head(change->holder, change->type, &change->head, &record, &size);
    if (status != KT_SUCCESS)
        return status;
    kt_key_init(&key, change->store, KTP_HEAD, change->type, change->name);
    row = (ktp_row_t){record, size, change->current, change->current_size, change->head.counter};
    status = kt_rows_put_head(change->store, change->txn, &key, &row, change->head.expires);
    if (status == KT_SUCCESS)
        status = put_index(change, &key, record, size);
    free(record);
    return status;
}

kt_status_t kt_change_prepare(kt_change_t *first)
{
    kt_change_t *change;
    kt_status_t status = KT_SUCCESS;

    for (change = first; change != NULL && status == KT_SUCCESS; change = change->next)
        status = put_head(change);
    for (change = first; change != NULL && status == KT_SUCCESS; change = change->next)
        status = seal_trees(change);
    return status;
}

/*
 * Each change leaves as much free space as the end of a rotation may need, and only that end skips
 * this check: once a target has the new value, a full disk must not keep it out of the store, even
 * if another user fills the disk on purpose.
 */
kt_status_t kt_change_reserve(kt_change_t *change)
{
    uint64_t bytes = RESERVE;
    const kt_change_t *other;
    kt_status_t status;

    for (other = change->next; other != NULL; other = other->next)
        bytes += RESERVE_JOINED + 6u * other->current_size;
    status = kt_rows_reserve(change->store, change->txn, bytes);
    return status == KT_SUCCESS ? kt_anchors_reserve(change->store->anchors, change->holder->stream)
                                : status;
}

/* The commit stands even if its anchor cannot be written: whatever process finds that it is
 * missing records the generation and writes the anchor. */
static void write_anchors(const kt_change_t *change)
{
    if (tree_owner(change) != change)
        return;
    if (kt_trees_anchor(change->store, change->holder->stream, &change->trees, &change->catalogue,
                        change->first->lazy) == KT_SUCCESS)
        return;
    kt_log(&change->holder->logger, 3, KT_NOT_ANCHORED, kt_failure());
    kt_failure_clear();
}

void kt_change_be_lazy(kt_change_t *change)
{
    change->lazy = true;
}

void kt_change_publishes(kt_change_t *change)
{
    change->publishes = true;
}

kt_status_t kt_change_commit(kt_change_t *change)
{
    const kt_change_t *other;
    kt_status_t status = kt_rows_commit(change->store, change->txn, change->publishes);

    change->txn = NULL;
    kt_debug_point("write.committed");
    if (status == KT_SUCCESS)
        change->store->adopted = true;
    for (other = change; other != NULL && status == KT_SUCCESS; other = other->next)
        write_anchors(other);
    free_all(change);
    return status;
}
