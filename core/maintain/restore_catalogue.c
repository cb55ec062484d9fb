/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * restore_catalogue.c: the catalogue of types after a restore: the types and epochs of the file and
 * of the store, and the last rows of epochs that either has left.
 */
#include <string.h>

#include "restore.h"

/* ---- what was there ---- */

kt_status_t kt_restore_open_target(restore_t *r)
{
    kt_status_t status = kt_catalogue_read(&r->ctx->holder, r->store, r->txn, &r->target);

    if (status == KT_SUCCESS)
        status = kt_catalogue_adopt(&r->ctx->holder, r->store, r->txn, &r->target);
    if (kt_is_damage(status)) { /* what is replaced need not be valid */
        kt_failure_clear();
        status = KT_SUCCESS;
        if (r->target.nepochs == 0)
            kt_catalogue_clear(&r->target);
    }
    memcpy(r->store_id, r->target.nepochs > 0 ? r->target.store_id : r->file.store_id, KT_ID_SIZE);
    return status;
}

static bool is_held(const restore_t *r, const ktp_key_t *key)
{
    const kt_typekey_t *ignored;
    bool held = kt_keyring_find(r->ctx->holder.keyring, key->id + 1, &ignored) == KT_SUCCESS;

    kt_failure_clear();
    return held;
}

static bool is_kept(const kt_catalogue_t *catalogue, const ktp_key_t *key, const ktp_row_t *row)
{
    const kt_cat_row_t *kept = kt_catalogue_kept(catalogue, key);

    return kept != NULL && kt_catalogue_is_same(kept, row);
}

bool kt_restore_stays(const restore_t *r, const ktp_key_t *key, const ktp_row_t *row)
{
    if (kt_is_meta(key, 'r'))
        return is_kept(&r->target, key, row) && !is_held(r, key);
    if (!kt_is_meta(key, 'c') || r->target.nepochs == 0)
        return false;
    return is_kept(&r->target, key, row) ||
           memcmp(key->id + 1, r->target.env->id, KT_KEYID_SIZE) == 0;
}

bool kt_restore_takes(const restore_t *r, const ktp_key_t *key, const ktp_row_t *row)
{
    ktp_row_t ignored;

    return (kt_is_meta(key, 'c') || (kt_is_meta(key, 'r') && !is_held(r, key))) &&
           is_kept(&r->file, key, row) &&
           kt_rows_get(r->store, r->txn, key, &ignored) == KT_NOTFOUND;
}

/* ---- the new one ---- */

/* The newer of the two epochs is the present one, and the other one is left. */
static kt_status_t choose_epoch(restore_t *r)
{
    kt_catalogue_t *target = &r->target;
    const kt_envkey_t *from = target->env;
    uint64_t stamp = target->stamp;
    ktp_row_t ignored;
    ktp_key_t key;
    kt_status_t status;

    if (r->file.env->epoch < target->env->epoch) {
        kt_key_meta(&key, 'c', r->file.env->id);
        status = kt_rows_get(r->store, r->txn, &key, &ignored);
        if (status != KT_NOTFOUND)
            return status; /* the store had left it before */
        from = r->file.env;
        stamp = 0;
    } else {
        target->env = r->file.env;
    }
    if (from == target->env)
        return KT_SUCCESS;
    if (target->env == r->file.env)
        target->stamp = 0;
    return kt_catalogue_leave(&r->ctx->holder, r->store, r->txn, target, from, stamp);
}

static kt_status_t add_epochs(restore_t *r)
{
    kt_status_t status = KT_SUCCESS;
    size_t i;

    for (i = 0; i < r->file.nepochs && status == KT_SUCCESS; i++) {
        if (!kt_catalogue_has_epoch(&r->target, r->file.epochs[i].id))
            status =
                kt_catalogue_add_epoch(&r->target, r->file.epochs[i].epoch, r->file.epochs[i].id);
    }
    return status;
}

/* Each type at the epoch of its newest root. */
static kt_status_t list_types(restore_t *r, const kt_index_t *indexes)
{
    kt_catalogue_t *target = &r->target;
    kt_status_t status = KT_SUCCESS;
    size_t i, n;

    for (i = 0; i < r->file.ntypes && status == KT_SUCCESS; i++)
        status = kt_catalogue_list(target, r->file.types[i].name, r->file.types[i].epoch);
    for (i = 0; i < target->ntypes; i++) {
        unsigned newest = 0;

        for (n = 0; n < r->nindexes; n++) {
            if (indexes[n].generation > 0 && indexes[n].epoch > newest &&
                strcmp(indexes[n].type, target->types[i].name) == 0)
                newest = indexes[n].epoch;
        }
        if (newest > 0)
            target->types[i].epoch = newest;
    }
    return status;
}

typedef struct keeping {
    restore_t *r;
    const kt_index_t *indexes;
    kt_status_t status;
} keeping_t;

static bool is_moving(const keeping_t *keeping, const unsigned char id[KT_KEYID_SIZE])
{
    size_t i;

    for (i = 0; i < keeping->r->nindexes; i++) {
        if (memcmp(keeping->indexes[i].key_id, id, KT_KEYID_SIZE) == 0)
            return keeping->indexes[i].link != KT_LINK_MOVED;
    }
    return false;
}

static int keep_row(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    keeping_t *keeping = arg;
    kt_catalogue_t *target = &keeping->r->target;

    if (kt_is_meta(key, 'c') ? memcmp(key->id + 1, target->env->id, KT_KEYID_SIZE) != 0
                             : !is_moving(keeping, key->id + 1))
        keeping->status = kt_catalogue_keep(target, key, row);
    return keeping->status != KT_SUCCESS;
}

/* A type that only an anchor knows is lost: neither the file nor the store has its name. The
 * catalogue remembers that, so that the anchor is explained. */
static int give_up(void *arg, const kt_anchor_t *anchor)
{
    const unsigned char *key_id = anchor->key_id;
    keeping_t *keeping = arg;
    kt_catalogue_t *target = &keeping->r->target;
    ktp_row_t row = {.record = key_id, .record_size = KT_KEYID_SIZE, .stamp = 1};
    ktp_key_t root, given_up;

    kt_key_meta(&root, 'r', key_id);
    kt_key_meta(&given_up, KT_GIVEN_UP, key_id);
    if (anchor->generation > 0 && memcmp(anchor->store_id, target->store_id, KT_ID_SIZE) == 0 &&
        !is_held(keeping->r, &root) && kt_catalogue_kept(target, &root) == NULL &&
        !kt_catalogue_has_epoch(target, key_id))
        keeping->status = kt_catalogue_keep(target, &given_up, &row);
    return keeping->status != KT_SUCCESS;
}

static kt_status_t keep_rows(restore_t *r, const kt_index_t *indexes)
{
    keeping_t keeping = {r, indexes, KT_SUCCESS};
    kt_status_t status = kt_rows_scan(r->store, r->txn, KTP_META, keep_row, &keeping);

    if (status == KT_SUCCESS && keeping.status == KT_SUCCESS)
        kt_anchors_walk(r->store->anchors, give_up, &keeping);
    return status == KT_SUCCESS ? keeping.status : status;
}

kt_status_t kt_restore_catalogue(restore_t *r, const kt_index_t *indexes)
{
    kt_catalogue_t *target = &r->target;
    unsigned char ignored[KT_ID_SIZE];
    uint64_t highest;
    kt_status_t status = KT_SUCCESS;

    if (target->nepochs == 0) {
        target->env = r->file.env;
        memcpy(target->store_id, r->store_id, KT_ID_SIZE);
    }
    highest = kt_catalogue_confirmed(r->store, target->env, ignored);
    if (highest > target->generation)
        target->generation = highest;
    highest = kt_expected_of(r->store->expected, KT_CATALOGUE_TYPE, target->store_id);
    if (highest > target->generation)
        target->generation = highest;
    if (r->file.generation > target->generation)
        target->generation = r->file.generation;
    kt_catalogue_forget_rows(target);
    status = choose_epoch(r);
    if (status == KT_SUCCESS)
        status = add_epochs(r);
    if (status == KT_SUCCESS)
        status = list_types(r, indexes);
    if (status == KT_SUCCESS)
        status = keep_rows(r, indexes);
    return status == KT_SUCCESS ? kt_catalogue_seal(&r->ctx->holder, r->store, r->txn, target)
                                : status;
}
