/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * restore.c: kt_backup() and kt_restore(): a whole store into a file, and a file into the store.
 *
 * A restore is one transaction: what was there is removed, the rows of the file are put, and the
 * index of each type is built from these heads. Its generations continue after the highest of the
 * file, the store and the anchors, so that every reader accepts them. The restore is recorded
 * before it is committed.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup.h"

#define TIMEOUT 5000u /* ms for the writer's lock */
#define STEP 1024u    /* rows between two reports of progress */

static kt_status_t find_store(kt_ctx_t *ctx, kt_store_t **ret_store)
{
    size_t i;

    return kt_find_index(ctx, &i)
               ? kt_store_of(ctx, i, ret_store)
               : kt_fail(KT_CONFIG, "no provider of the configuration keeps a store to back up");
}

/* ---- backup ---- */

typedef struct writing {
    const kt_ctx_t *ctx;
    kt_backup_t *backup;
    kt_status_t status;
} writing_t;

static int write_row(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    writing_t *writing = arg;

    if (writing->backup->rows % STEP == 0)
        kt_progress_tell(&writing->ctx->holder.logger, "backup", writing->backup->rows, 0);
    writing->status = kt_backup_put(writing->backup, key, row);
    return writing->status != KT_SUCCESS;
}

static kt_status_t write_rows(kt_ctx_t *ctx, kt_store_t *store, kt_backup_t *backup)
{
    static const ktp_space_t spaces[] = {KTP_META, KTP_HEAD,
                                         KTP_VALUE}; /* a restore builds the index from these */
    writing_t writing = {ctx, backup, KT_SUCCESS};
    ktp_txn_t *txn;
    kt_status_t status;
    size_t i;

    status = kt_rows_begin(store, false, ctx->holder.wait, &txn);
    if (status != KT_SUCCESS)
        return status;
    status = kt_store_check(&ctx->holder, store, txn);
    for (i = 0; i < KT_ARRAY(spaces) && status == KT_SUCCESS; i++) {
        status = kt_rows_scan(store, txn, spaces[i], write_row, &writing);
        if (status == KT_SUCCESS)
            status = writing.status;
    }
    store->api->abort(txn);
    return status;
}

static kt_status_t backup_locked(kt_ctx_t *ctx, const kt_request_t *req, const char *path,
                                 const kt_backup_options_t *options, uint64_t *ret_rows)
{
    kt_backup_t backup = {.file = NULL};
    kt_store_t *store;
    kt_call_t call;
    kt_status_t status;

    status = kt_admin_begin(ctx, req, "backup", &call);
    if (status != KT_SUCCESS)
        return status;
    status = find_store(ctx, &store);
    if (status != KT_SUCCESS)
        return kt_decide(ctx, &call, "backup", status, 0, NULL, KT_EV_DURABLE);
    status = kt_backup_create(&backup, path, ctx->holder.keyring, options->recipient);
    if (status == KT_SUCCESS)
        status = write_rows(ctx, store, &backup);
    kt_debug_point("backup.written");
    /* Recorded before the file is complete: an unrecorded copy of everything must not exist. */
    status = kt_decide(ctx, &call, "backup", status, 0, store->name, KT_EV_DURABLE);
    kt_debug_point("backup.recorded");
    if (status == KT_SUCCESS)
        status = kt_backup_finish(&backup);
    if (status == KT_SUCCESS) {
        *ret_rows = backup.rows;
        kt_progress_tell(&ctx->holder.logger, "backup", backup.rows, backup.rows);
    }
    kt_backup_close(&backup);
    return status;
}

kt_status_t kt_backup_with(kt_ctx_t *ctx, const kt_request_t *req, const char *path,
                           const kt_backup_options_t *options, uint64_t *ret_rows)
{
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    if (options->size < sizeof(*options))
        status = kt_fail(KT_USAGE, "the options are not filled in (KT_BACKUP_INIT)");
    else
        status = backup_locked(ctx, req, path, options, ret_rows);
    kt_leave(ctx);
    return status;
}

kt_status_t kt_backup(kt_ctx_t *ctx, const kt_request_t *req, const char *path, uint64_t *ret_rows)
{
    static const kt_backup_options_t none = KT_BACKUP_INIT;

    return kt_backup_with(ctx, req, path, &none, ret_rows);
}

/* ---- restore ---- */

typedef struct type_root { /* of each type key, in the file and in the store */
    unsigned char key_id[KT_KEYID_SIZE];
    uint64_t generation;
    unsigned char store_id[KT_ID_SIZE];
} type_root_t;

typedef struct restore {
    kt_ctx_t *ctx;
    kt_store_t *store;
    ktp_txn_t *txn;
    const char *path;
    unsigned char *private_key; /* of the recipient, in locked memory; NULL: not given */
    bool going_back;
    bool fresh; /* nothing was ever written to the store */
    unsigned char file_id[KT_ID_SIZE], store_id[KT_ID_SIZE];
    type_root_t *roots; /* of the file */
    size_t nroots;
    ktp_key_t *old; /* rows to remove */
    uint64_t *old_stamps;
    size_t nold;
    uint64_t removed, rows, file_rows;
} restore_t;

static bool is_meta(const ktp_key_t *key, char kind)
{
    return key->space == KTP_META && key->id_size > 0 && key->id[0] == (unsigned char)kind;
}

static kt_status_t adopt_root(restore_t *r, const ktp_key_t *key, const ktp_row_t *row)
{
    type_root_t *grown = realloc(r->roots, (r->nroots + 1) * sizeof(*grown));

    if (grown == NULL || row->record_size < KT_ID_SIZE + 8 || key->id_size != 1 + KT_KEYID_SIZE)
        return kt_fail(KT_MALFORMED, "%s: a root does not parse", r->path);
    r->roots = grown;
    memcpy(grown[r->nroots].key_id, key->id + 1, KT_KEYID_SIZE);
    memcpy(grown[r->nroots].store_id, row->record, KT_ID_SIZE);
    grown[r->nroots].generation = kt_get_u64(row->record + KT_ID_SIZE);
    r->nroots++;
    return KT_SUCCESS;
}

/* Reads the whole file before anything is changed: is it complete, and what does it hold? */
static kt_status_t survey(restore_t *r)
{
    kt_backup_t backup;
    ktp_key_t key;
    ktp_row_t row;
    bool more = true;
    kt_status_t status = kt_backup_open(&backup, r->path, r->ctx->holder.keyring, r->private_key);

    while (status == KT_SUCCESS &&
           (status = kt_backup_next(&backup, &more, &key, &row)) == KT_SUCCESS && more) {
        if (r->file_rows++ % STEP == 0)
            kt_progress_tell(&r->ctx->holder.logger, "restore: reading", r->file_rows - 1, 0);
        if (is_meta(&key, 's') && row.record_size == KT_ID_SIZE)
            memcpy(r->file_id, row.record, KT_ID_SIZE);
        else if (is_meta(&key, 'r'))
            status = adopt_root(r, &key, &row);
        else if (is_meta(&key, 't'))
            status = kt_keyring_adopt_label(r->ctx->holder.keyring, row.record, row.record_size);
    }
    kt_backup_close(&backup);
    return status;
}

static const type_root_t *root_of(const restore_t *r, const unsigned char key_id[KT_KEYID_SIZE])
{
    size_t i;

    for (i = 0; i < r->nroots; i++) {
        if (memcmp(r->roots[i].key_id, key_id, KT_KEYID_SIZE) == 0)
            return &r->roots[i];
    }
    return NULL;
}

static kt_status_t refuse(const restore_t *r, const char *type, const char *why)
{
    return kt_fail(KT_CONFLICT,
                   "%s: of the type \"%s\" %s than the backup has: --going-back replaces it "
                   "nevertheless, which is recorded",
                   r->store->name, type, why);
}

/* Would the restore remove something that is newer than the file, or not from it? */
static kt_status_t check_newer(restore_t *r)
{
    const kt_keyring_t *keyring = r->ctx->holder.keyring;
    kt_index_t index;
    kt_status_t status = KT_SUCCESS;
    size_t i;

    for (i = 0; i < keyring->ntypes && status == KT_SUCCESS && !r->going_back; i++) {
        const type_root_t *root = root_of(r, keyring->types[i].id);

        status = kt_index_open(&r->ctx->holder, r->store, r->txn, &keyring->types[i], &index);
        if (status == KT_SUCCESS && index.generation > (root != NULL ? root->generation : 0))
            status = refuse(r, keyring->types[i].type, "the store has something newer");
        else if (status == KT_SUCCESS && index.generation > 0 &&
                 memcmp(r->store_id, r->file_id, KT_ID_SIZE) != 0)
            status = refuse(r, keyring->types[i].type, "the store has something else");
        kt_index_close(&index);
    }
    return status;
}

#define OLD_MAX 4096u /* rows that are removed at once; the next scan finds the rest */

static int collect(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    restore_t *r = arg;

    if (is_meta(key, 's') || is_meta(key, 'e') ||
        (is_meta(key, 'r') && !kt_epochs_holds(&r->ctx->holder, key)))
        return 0;
    r->old[r->nold] = *key;
    r->old[r->nold].name = NULL;
    r->old_stamps[r->nold++] = row->stamp;
    return r->nold == OLD_MAX;
}

static kt_status_t remove_some(restore_t *r, ktp_space_t space)
{
    const ktp_provider_t *api = r->store->api;
    kt_status_t status;
    size_t i;

    r->nold = 0;
    status = kt_rows_scan(r->store, r->txn, space, collect, r);
    for (i = 0; i < r->nold && status == KT_SUCCESS; i++)
        status =
            kt_from_provider(r->store->name, api->row_remove(r->txn, &r->old[i], r->old_stamps[i]));
    r->removed += r->nold;
    kt_progress_tell(&r->ctx->holder.logger, "restore: removing", r->removed, 0);
    return status;
}

static kt_status_t remove_old(restore_t *r)
{
    static const ktp_space_t spaces[] = {KTP_META, KTP_HEAD, KTP_VALUE, KTP_NODE};
    kt_status_t status = KT_SUCCESS;
    size_t i;

    r->old = reallocarray(NULL, OLD_MAX, sizeof(*r->old));
    r->old_stamps = reallocarray(NULL, OLD_MAX, sizeof(*r->old_stamps));
    if (r->old == NULL || r->old_stamps == NULL)
        return kt_no_memory();
    for (i = 0; i < KT_ARRAY(spaces) && status == KT_SUCCESS; i++) {
        do
            status = remove_some(r, spaces[i]);
        while (status == KT_SUCCESS && r->nold == OLD_MAX);
    }
    return status;
}

/* Whose head is it? Its tag goes into that type's index. */
static kt_status_t index_head(restore_t *r, kt_filling_t **fillings, const ktp_key_t *key,
                              const ktp_row_t *row)
{
    const kt_typekey_t *type;
    kt_header_t header;
    kt_status_t status;

    status = kt_header_parse(row->record, row->record_size, &header);
    if (status == KT_SUCCESS)
        status = kt_keyring_find(r->ctx->holder.keyring, header.key_id, &type);
    if (status != KT_SUCCESS)
        return kt_fail_prefix(status, "%s", r->path);
    return kt_index_fill_add(fillings[type - r->ctx->holder.keyring->types], key->id,
                             row->record + row->record_size - KT_TAG_SIZE);
}

static kt_status_t put_rows(restore_t *r, kt_filling_t **fillings)
{
    kt_backup_t backup;
    ktp_key_t key;
    ktp_row_t row, ignored;
    bool more = true;
    kt_status_t status = kt_backup_open(&backup, r->path, r->ctx->holder.keyring, r->private_key);

    while (status == KT_SUCCESS &&
           (status = kt_backup_next(&backup, &more, &key, &row)) == KT_SUCCESS && more) {
        if (is_meta(&key, 's') || key.space == KTP_NODE ||
            (is_meta(&key, 'r') && kt_epochs_holds(&r->ctx->holder, &key)))
            continue;
        if ((is_meta(&key, 'e') || is_meta(&key, 'r')) &&
            kt_rows_get(r->store, r->txn, &key, &ignored) == KT_SUCCESS)
            continue;
        status = kt_from_provider(r->store->name, r->store->api->row_put(r->txn, &key, &row, 0));
        if (status == KT_SUCCESS && key.space == KTP_HEAD)
            status = index_head(r, fillings, &key, &row);
        if (r->rows++ % STEP == 0)
            kt_progress_tell(&r->ctx->holder.logger, "restore", r->rows - 1, r->file_rows);
    }
    kt_backup_close(&backup);
    return status;
}

/* An empty index of each known type, which continues after all generations that were seen of it. */
static kt_status_t start_indexes(restore_t *r, kt_index_t *indexes)
{
    const kt_keyring_t *keyring = r->ctx->holder.keyring;
    kt_status_t status = KT_SUCCESS;
    size_t i;

    for (i = 0; i < keyring->ntypes && status == KT_SUCCESS; i++) {
        const type_root_t *root = root_of(r, keyring->types[i].id);
        kt_index_t *index = &indexes[i];
        uint64_t highest;

        status = kt_index_open(&r->ctx->holder, r->store, r->txn, &keyring->types[i], index);
        if (status == KT_ROLLEDBACK || status == KT_MALFORMED)
            status = KT_SUCCESS; /* what is replaced need not be valid */
        highest = kt_index_confirmed(index);
        if (root != NULL && root->generation > highest)
            highest = root->generation;
        if (index->generation > highest)
            highest = index->generation;
        kt_index_start(index, r->store_id, highest);
    }
    return status;
}

/* Of all types that have anything, before the commit or after it. */
static kt_status_t write_anchors(const restore_t *r, const kt_index_t *indexes, size_t count,
                                 bool committed)
{
    kt_anchored_t *list = calloc(count + 1, sizeof(*list));
    size_t n = 0, i;
    kt_status_t status;

    if (list == NULL)
        return kt_no_memory();
    for (i = 0; i < count; i++) {
        if (indexes[i].generation > 0)
            kt_index_anchored(&indexes[i], &list[n++]);
    }
    status = committed ? kt_anchors_write(r->store->anchors, r->ctx->holder.stream, list, n)
                       : kt_anchors_prepare(r->store->anchors, r->ctx->holder.stream, list, n);
    free(list);
    return status;
}

static kt_status_t restore_rows(restore_t *r, const kt_call_t *call)
{
    size_t count = r->ctx->holder.keyring->ntypes, i;
    kt_index_t *indexes = kt_locked_alloc((count + 1) * sizeof(*indexes));
    kt_filling_t **fillings = calloc(count + 1, sizeof(kt_filling_t *));
    kt_status_t status = KT_SUCCESS, committed;

    if (indexes == NULL || fillings == NULL)
        status = kt_no_memory();
    if (status == KT_SUCCESS)
        status = start_indexes(r, indexes);
    if (status == KT_SUCCESS)
        status = remove_old(r);
    for (i = 0; i < count && status == KT_SUCCESS; i++)
        status = kt_index_fill_begin(&indexes[i], &fillings[i]);
    if (status == KT_SUCCESS)
        status = put_rows(r, fillings);
    kt_debug_point("restore.put");
    for (i = 0; i < count && status == KT_SUCCESS; i++)
        status = kt_index_fill_end(fillings[i]);
    if (status == KT_SUCCESS)
        status = kt_epochs_restored(&r->ctx->holder, r->store, r->txn, indexes, count);
    if (status == KT_SUCCESS)
        status = write_anchors(r, indexes, count, false);
    status = kt_decide(r->ctx, call, "restore", status, 0, r->store->name,
                       status == KT_SUCCESS ? KT_EV_DURABLE | KT_EV_INTENT : KT_EV_DURABLE);
    kt_debug_point("restore.intent");
    if (status == KT_SUCCESS) {
        committed = kt_from_provider(r->store->name, r->store->api->commit(r->txn));
        r->txn = NULL;
        kt_debug_point("restore.committed");
        if (committed == KT_SUCCESS && write_anchors(r, indexes, count, true) != KT_SUCCESS)
            kt_log(&r->ctx->holder.logger, 4, "%s", kt_failure());
        status = kt_decide(r->ctx, call, "restore", committed, 0, r->store->name,
                           KT_EV_DURABLE | KT_EV_MUST_RECORD);
    }
    for (i = 0; fillings != NULL && i < count; i++)
        kt_index_fill_free(fillings[i]);
    free(fillings);
    kt_locked_free(indexes);
    return status;
}

static kt_status_t read_id(restore_t *r)
{
    ktp_key_t key;
    ktp_row_t row;
    kt_status_t status;

    kt_key_store(&key);
    status = kt_rows_get(r->store, r->txn, &key, &row);
    if (status == KT_NOTFOUND || (status == KT_SUCCESS && row.record_size != KT_ID_SIZE))
        return kt_fail(KT_MALFORMED, "%s: the store has no id", r->store->name);
    if (status != KT_SUCCESS)
        return status;
    memcpy(r->store_id, row.record, KT_ID_SIZE);
    if (!r->fresh)
        return KT_SUCCESS;
    /* A new store in place of a lost one takes the id of its backup, which the anchors know. */
    row = (ktp_row_t){.record = r->file_id, .record_size = KT_ID_SIZE, .stamp = row.stamp + 1};
    memcpy(r->store_id, r->file_id, KT_ID_SIZE);
    return kt_from_provider(r->store->name,
                            r->store->api->row_put(r->txn, &key, &row, row.stamp - 1));
}

typedef struct sight {
    bool any;  /* row of the space META */
    bool used; /* one that more than the creation of the store has left */
} sight_t;

static int see_row(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    sight_t *sight = arg;

    (void)row;
    sight->any = true;
    sight->used = sight->used || !(is_meta(key, 's') || is_meta(key, 'e'));
    return sight->used;
}

/* A restore that was killed right after it had created the file leaves a store without an id. */
static kt_status_t is_bare(const restore_t *r, bool *ret_bare)
{
    sight_t sight = {.any = false};
    ktp_txn_t *txn;
    kt_status_t status = kt_txn_begin(r->store, false, TIMEOUT, &txn);

    if (status != KT_SUCCESS)
        return status;
    status = kt_rows_scan(r->store, txn, KTP_META, see_row, &sight);
    r->store->api->abort(txn);
    *ret_bare = !sight.any;
    return status;
}

/* A store that was never written is treated as a new one. */
static kt_status_t open_target(restore_t *r)
{
    sight_t sight = {.any = false};
    bool bare = true;
    kt_status_t status;

    status = kt_from_provider(r->store->name, r->store->api->create(r->store->instance));
    if (status == KT_CONFLICT) {
        kt_failure_clear();
        status = is_bare(r, &bare);
    }
    kt_debug_point("restore.made");
    if (status == KT_SUCCESS)
        status = bare ? kt_store_begin_new(&r->ctx->holder, r->store)
                      : kt_anchors_make(r->store->anchors, r->ctx->holder.stream);
    kt_debug_point("restore.begun");
    if (status == KT_SUCCESS)
        status = kt_rows_begin(r->store, true, TIMEOUT, &r->txn);
    if (status == KT_SUCCESS)
        status = kt_store_check(&r->ctx->holder, r->store, r->txn);
    if (status == KT_SUCCESS)
        status = kt_rows_scan(r->store, r->txn, KTP_META, see_row, &sight);
    r->fresh = !sight.used;
    return status == KT_SUCCESS ? read_id(r) : status;
}

static kt_status_t read_recipient(restore_t *r, const kt_restore_options_t *options)
{
    if (options->recipient_key == NULL && options->recipient_text == NULL)
        return KT_SUCCESS;
    r->private_key = kt_locked_alloc(KT_KEY_SIZE);
    return r->private_key != NULL ? kt_recipient_read(options, r->private_key) : kt_no_memory();
}

static kt_status_t restore_locked(kt_ctx_t *ctx, const kt_request_t *req, const char *path,
                                  const kt_restore_options_t *options, uint64_t *ret_rows)
{
    restore_t r = {.ctx = ctx, .path = path, .going_back = options->going_back != 0};
    kt_call_t call;
    kt_status_t status;

    status = kt_admin_begin(ctx, req, "restore", &call);
    if (status != KT_SUCCESS)
        return status;
    status = find_store(ctx, &r.store);
    if (status == KT_SUCCESS)
        status = read_recipient(&r, options);
    if (status == KT_SUCCESS)
        status = survey(&r);
    if (status == KT_SUCCESS && ctx->holder.keyring->ntypes == KT_TYPES_MAX)
        status = kt_fail(KT_TOOLARGE, "%s: more types than fit one keyring", path);
    if (status == KT_SUCCESS)
        status = open_target(&r);
    if (status == KT_SUCCESS)
        status = check_newer(&r);
    if (status == KT_SUCCESS)
        status = restore_rows(&r, &call);
    else
        status = kt_decide(ctx, &call, "restore", status, 0, NULL, KT_EV_DURABLE);
    if (r.txn != NULL)
        r.store->api->abort(r.txn);
    if (status == KT_SUCCESS) {
        *ret_rows = r.rows;
        kt_progress_tell(&ctx->holder.logger, "restore", r.rows, r.rows);
    }
    kt_cache_clear(ctx->cache);
    kt_locked_free(r.private_key);
    free(r.roots);
    free(r.old);
    free(r.old_stamps);
    return status;
}

kt_status_t kt_restore_with(kt_ctx_t *ctx, const kt_request_t *req, const char *path,
                            const kt_restore_options_t *options, uint64_t *ret_rows)
{
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    if (options->size < sizeof(*options))
        status = kt_fail(KT_USAGE, "the options are not filled in (KT_RESTORE_INIT)");
    else
        status = restore_locked(ctx, req, path, options, ret_rows);
    kt_leave(ctx);
    return status;
}

kt_status_t kt_restore(kt_ctx_t *ctx, const kt_request_t *req, const char *path, int going_back,
                       uint64_t *ret_rows)
{
    kt_restore_options_t options = KT_RESTORE_INIT;

    options.going_back = going_back;
    return kt_restore_with(ctx, req, path, &options, ret_rows);
}
