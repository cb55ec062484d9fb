/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * restore.c: kt_restore(): a backup into the store, or, for a check, into memory.
 *
 * A restore is one transaction: what was there is removed, the rows of the file are put, and the
 * index of each type is built from these heads, and the catalogue from both catalogues
 * (restore_catalogue.c). Generations continue after the highest of the file, the store and the
 * anchors, so that every reader accepts them. The restore is recorded before it is committed.
 */
#include <stdlib.h>
#include <string.h>

#include "restore.h"

#define TIMEOUT 5000u /* ms for the writer's lock */
#define STEP 1024u    /* rows between two reports of progress */

static kt_status_t adopt_root(restore_t *r, const ktp_key_t *key, const ktp_row_t *row)
{
    type_root_t *grown = realloc(r->roots, (r->nroots + 1) * sizeof(*grown));

    if (grown == NULL || row->record_size < KT_ID_SIZE + 8 || key->id_size != 1 + KT_KEYID_SIZE)
        return kt_fail(KT_MALFORMED, "%s: a root does not parse", r->path);
    r->roots = grown;
    memcpy(grown[r->nroots].key_id, key->id + 1, KT_KEYID_SIZE);
    grown[r->nroots].generation = kt_get_u64(row->record + KT_ID_SIZE);
    r->nroots++;
    return KT_SUCCESS;
}

static kt_status_t adopt_label(restore_t *r, const ktp_row_t *row)
{
    char type[KT_NAME_MAX + 1];
    size_t n;
    kt_status_t status =
        kt_label_open(r->ctx->holder.keyring, row->record, row->record_size, type, &n);

    if (status == KT_SUCCESS)
        status = kt_catalogue_list(&r->labels, type, r->ctx->holder.keyring->env[n].epoch);
    return status == KT_SUCCESS ? status : kt_fail_prefix(status, "%s", r->path);
}

/* The catalogue of the file; not the record of an epoch that its store had left. */
static kt_status_t adopt_catalogue(restore_t *r, const ktp_key_t *key, const ktp_row_t *row)
{
    kt_catalogue_t found;
    kt_status_t status = kt_catalogue_unseal(r->ctx->holder.keyring, key, row, &found);

    if (status == KT_SUCCESS && r->file.generation == 0) {
        r->file = found;
        return status;
    }
    kt_catalogue_clear(&found);
    if (status == KT_SUCCESS)
        return kt_fail(KT_MALFORMED, "%s: it has two catalogues of types", r->path);
    if (status != KT_NOTFOUND && status != KT_NOKEY)
        return kt_fail_prefix(status, "%s", r->path);
    kt_failure_clear();
    return KT_SUCCESS;
}

static kt_status_t see_file_row(restore_t *r, const ktp_key_t *key, const ktp_row_t *row)
{
    if (kt_is_meta(key, 'c'))
        return adopt_catalogue(r, key, row);
    if (kt_is_meta(key, 'r'))
        return adopt_root(r, key, row);
    return kt_is_meta(key, 't') ? adopt_label(r, row) : KT_SUCCESS;
}

/* All types of the file, with their keys at each epoch. */
static kt_status_t adopt_types(restore_t *r, const kt_catalogue_t *catalogue)
{
    const kt_typekey_t *ignored;
    kt_status_t status = KT_SUCCESS;
    size_t i, n;

    for (i = 0; i < catalogue->ntypes && status == KT_SUCCESS; i++) {
        for (n = 0; status == KT_SUCCESS; n++)
            status = kt_keyring_type(r->ctx->holder.keyring, catalogue->types[i].name, n, &ignored);
        if (status == KT_NOKEY) /* which is how the epochs end */
            status = KT_SUCCESS;
    }
    kt_failure_clear();
    return status;
}

/* Reads the whole file before anything is changed: is it complete, and what does it hold? */
static kt_status_t survey(restore_t *r)
{
    kt_backup_t backup;
    ktp_key_t key;
    ktp_row_t row;
    bool more = true;
    size_t i;
    kt_status_t status = kt_backup_open(&backup, r->path, r->ctx->holder.keyring, r->private_key);

    while (status == KT_SUCCESS &&
           (status = kt_backup_next(&backup, &more, &key, &row)) == KT_SUCCESS && more) {
        if (r->file_rows++ % STEP == 0)
            kt_progress_tell(&r->ctx->holder.logger, "restore: reading", r->file_rows - 1, 0);
        status = see_file_row(r, &key, &row);
    }
    kt_backup_close(&backup);
    if (status == KT_SUCCESS && r->file.generation == 0)
        status =
            kt_fail(KT_NOKEY, "%s: its catalogue of types is under no key that is held", r->path);
    for (i = 0; i < r->labels.ntypes && status == KT_SUCCESS; i++)
        status = kt_catalogue_list(&r->file, r->labels.types[i].name, r->labels.types[i].epoch);
    return status == KT_SUCCESS ? adopt_types(r, &r->file) : status;
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
                 memcmp(r->store_id, r->file.store_id, KT_ID_SIZE) != 0)
            status = refuse(r, keyring->types[i].type, "the store has something else");
        kt_index_close(&index);
    }
    return status;
}

#define OLD_MAX 4096u /* rows that are removed at once; the next scan finds the rest */

static int collect(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    restore_t *r = arg;

    if (key->space == KTP_META && kt_restore_stays(r, key, row))
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

static void count_row(restore_t *r, const ktp_key_t *key, const ktp_row_t *row)
{
    r->count.secrets += key->space == KTP_HEAD;
    r->count.versions += key->space == KTP_VALUE || row->beside != NULL;
    if (r->rows++ % STEP == 0)
        kt_progress_tell(&r->ctx->holder.logger, "restore", r->rows - 1, r->file_rows);
}

static kt_status_t put_rows(restore_t *r, kt_filling_t **fillings)
{
    kt_backup_t backup;
    ktp_key_t key;
    ktp_row_t row;
    bool more = true;
    kt_status_t status = kt_backup_open(&backup, r->path, r->ctx->holder.keyring, r->private_key);

    while (status == KT_SUCCESS &&
           (status = kt_backup_next(&backup, &more, &key, &row)) == KT_SUCCESS && more) {
        if (key.space == KTP_NODE || (key.space == KTP_META && !kt_restore_takes(r, &key, &row)))
            continue;
        status = kt_from_provider(r->store->name, r->store->api->row_put(r->txn, &key, &row, 0));
        if (status == KT_SUCCESS && key.space == KTP_HEAD)
            status = index_head(r, fillings, &key, &row);
        count_row(r, &key, &row);
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

    kt_expect_all(r->ctx, r->store);
    for (i = 0; i < keyring->ntypes && status == KT_SUCCESS; i++) {
        const type_root_t *root = root_of(r, keyring->types[i].id);
        kt_index_t *index = &indexes[i];
        uint64_t highest;

        status = kt_index_open(&r->ctx->holder, r->store, r->txn, &keyring->types[i], index);
        if (status == KT_ROLLEDBACK || status == KT_MALFORMED)
            status = KT_SUCCESS; /* what is replaced need not be valid */
        highest = kt_index_confirmed(index);
        if (kt_expected_of(r->store->expected, index->type, r->store_id) > highest)
            highest = kt_expected_of(r->store->expected, index->type, r->store_id);
        if (root != NULL && root->generation > highest)
            highest = root->generation;
        if (index->generation > highest)
            highest = index->generation;
        kt_index_start(index, r->store_id, highest);
    }
    return status;
}

/* Of the catalogue and of all types that have anything, before the commit or after it. */
static kt_status_t write_anchors(const restore_t *r, const kt_index_t *indexes, bool committed)
{
    kt_anchored_t *list = calloc(r->nindexes + KT_CAT_ANCHORS, sizeof(*list));
    unsigned char keys[KT_CAT_ANCHORS][KT_KEY_SIZE];
    size_t n, i;
    kt_status_t status;

    if (list == NULL)
        return kt_no_memory();
    n = kt_catalogue_anchored(r->store, &r->target, keys, list);
    for (i = 0; i < r->nindexes; i++) {
        if (indexes[i].generation > 0)
            kt_index_anchored(&indexes[i], &list[n++]);
    }
    status = committed ? kt_anchors_write(r->store->anchors, r->ctx->holder.stream, list, n, false)
                       : kt_anchors_prepare(r->store->anchors, r->ctx->holder.stream, list, n);
    kt_wipe(keys, sizeof(keys));
    free(list);
    return status;
}

/* The new contents, inside the transaction. `fillings` and `indexes` have one item for each key of
 * the keyring. */
static kt_status_t fill_store(restore_t *r, kt_index_t *indexes, kt_filling_t **fillings)
{
    size_t i;
    kt_status_t status = start_indexes(r, indexes);

    if (status == KT_SUCCESS)
        status = remove_old(r);
    for (i = 0; i < r->nindexes && status == KT_SUCCESS; i++)
        status = kt_index_fill_begin(&indexes[i], &fillings[i]);
    if (status == KT_SUCCESS)
        status = put_rows(r, fillings);
    kt_debug_point("restore.put");
    for (i = 0; i < r->nindexes && status == KT_SUCCESS; i++)
        status = kt_index_fill_end(fillings[i]);
    if (status == KT_SUCCESS)
        status = kt_epochs_restored(indexes, r->nindexes);
    if (status == KT_SUCCESS)
        status = kt_restore_catalogue(r, indexes);
    return status == KT_SUCCESS ? write_anchors(r, indexes, false) : status;
}

static kt_status_t commit(restore_t *r, const kt_call_t *call, const kt_index_t *indexes)
{
    kt_status_t committed;

    kt_debug_point("restore.intent");
    committed = kt_from_provider(r->store->name, r->store->api->commit(r->txn));
    r->txn = NULL;
    kt_debug_point("restore.committed");
    if (committed == KT_SUCCESS && write_anchors(r, indexes, true) != KT_SUCCESS)
        kt_log(&r->ctx->holder.logger, 3, KT_NOT_ANCHORED, kt_failure());
    return kt_decide(r->ctx, call, "restore", committed, 0, r->store->name,
                     KT_EV_DURABLE | KT_EV_MUST_RECORD);
}

static kt_status_t restore_rows(restore_t *r, const kt_call_t *call)
{
    kt_index_t *indexes;
    kt_filling_t **fillings;
    kt_status_t status = KT_SUCCESS;
    kt_walk_result_t walk;
    size_t i;

    r->nindexes = r->ctx->holder.keyring->ntypes;
    indexes = kt_locked_alloc((r->nindexes + 1) * sizeof(*indexes));
    fillings = calloc(r->nindexes + 1, sizeof(kt_filling_t *));
    if (indexes == NULL || fillings == NULL)
        status = kt_no_memory();
    if (status == KT_SUCCESS)
        status = fill_store(r, indexes, fillings);
    if (r->check) {
        if (status == KT_SUCCESS)
            status = kt_walk_silently(r->ctx, r->store, r->txn, &walk);
    } else {
        status = kt_decide(r->ctx, call, "restore", status, 0, r->store->name,
                           status == KT_SUCCESS ? KT_EV_DURABLE | KT_EV_INTENT : KT_EV_DURABLE);
        if (status == KT_SUCCESS)
            status = commit(r, call, indexes);
    }
    for (i = 0; fillings != NULL && i < r->nindexes; i++)
        kt_index_fill_free(fillings[i]);
    free(fillings);
    kt_locked_free(indexes);
    return status;
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
    sight->used = sight->used || !kt_is_meta(key, 'c');
    return sight->used;
}

/* A restore that was killed right after it had created the file leaves a store without a row. */
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

/* Types that only the stream's own logs know: they become empty ones, above the generations that
 * the logs have. */
static kt_status_t list_expected(restore_t *r)
{
    unsigned epoch = r->ctx->holder.keyring->env[0].epoch;
    kt_status_t status = KT_SUCCESS;
    const kt_expected_t *entry;

    (void)kt_expect_own(r->ctx, r->store, NULL, NULL); /* kt_expect_all() has warned */
    for (entry = r->store->expected; entry != NULL && status == KT_SUCCESS; entry = entry->next) {
        if (memcmp(entry->store_id, r->store_id, KT_ID_SIZE) == 0 &&
            strcmp(entry->type, KT_CATALOGUE_TYPE) != 0 &&
            kt_catalogue_find(&r->target, entry->type) == NULL)
            status = kt_catalogue_list(&r->target, entry->type, epoch);
    }
    return status;
}

/* A new store takes the id of the backup, which anchors may know. */
static kt_status_t open_target(restore_t *r)
{
    bool bare = true;
    kt_status_t status =
        kt_from_provider(r->store->name, r->store->api->create(r->store->instance));

    if (status == KT_CONFLICT) {
        kt_failure_clear();
        status = is_bare(r, &bare);
    }
    kt_debug_point("restore.made");
    if (status == KT_SUCCESS)
        status = bare ? kt_store_begin_new(&r->ctx->holder, r->store, r->file.store_id)
                      : kt_anchors_make(r->store->anchors, r->ctx->holder.stream);
    kt_debug_point("restore.begun");
    if (status == KT_SUCCESS)
        status = kt_rows_begin(r->store, true, TIMEOUT, &r->txn);
    if (status == KT_SUCCESS)
        status = kt_restore_open_target(r);
    if (status == KT_SUCCESS)
        status = list_expected(r);
    return status == KT_SUCCESS ? adopt_types(r, &r->target) : status;
}

static kt_status_t read_recipient(restore_t *r, const kt_restore_options_t *options)
{
    if (options->recipient_key == NULL && options->recipient_text == NULL)
        return KT_SUCCESS;
    r->private_key = kt_locked_alloc(KT_KEY_SIZE);
    return r->private_key != NULL ? kt_recipient_read(options, r->private_key) : kt_no_memory();
}

static void end(restore_t *r)
{
    if (r->txn != NULL)
        r->store->api->abort(r->txn);
    kt_cache_clear(r->ctx->cache);
    kt_locked_free(r->private_key);
    kt_catalogue_clear(&r->file);
    kt_catalogue_clear(&r->labels);
    kt_catalogue_clear(&r->target);
    free(r->roots);
    free(r->old);
    free(r->old_stamps);
}

static kt_status_t prepare(restore_t *r, const kt_restore_options_t *options)
{
    kt_status_t status = r->store != NULL ? KT_SUCCESS : kt_backup_find_store(r->ctx, &r->store);

    if (status == KT_SUCCESS)
        status = read_recipient(r, options);
    if (status == KT_SUCCESS)
        status = survey(r);
    if (status == KT_SUCCESS)
        status = open_target(r);
    if (status == KT_SUCCESS && r->ctx->holder.keyring->ntypes == KT_TYPES_MAX)
        status = kt_fail(KT_TOOLARGE, "%s: more types than fit one keyring", r->path);
    return status == KT_SUCCESS ? check_newer(r) : status;
}

static kt_status_t restore_locked(kt_ctx_t *ctx, const kt_request_t *req, const char *path,
                                  const kt_restore_options_t *options, kt_store_t *scratch,
                                  kt_backup_count_t *ret_count)
{
    restore_t r = {.ctx = ctx,
                   .store = scratch,
                   .path = path,
                   .check = scratch != NULL,
                   .going_back = options->going_back != 0};
    kt_call_t call;
    kt_status_t status = kt_admin_begin(ctx, req, "restore", &call);

    if (status != KT_SUCCESS)
        return status;
    status = prepare(&r, options);
    if (status == KT_SUCCESS)
        status = restore_rows(&r, &call);
    else if (!r.check)
        status = kt_decide(ctx, &call, "restore", status, 0, NULL, KT_EV_DURABLE);
    if (status == KT_SUCCESS) {
        ret_count->secrets = r.count.secrets;
        ret_count->versions = r.count.versions;
        kt_progress_tell(&ctx->holder.logger, "restore", r.rows, r.rows);
    }
    end(&r);
    return status;
}

/* A check is the whole restore, into a store in memory, which is then verified like any other. */
static kt_status_t check_file(kt_ctx_t *ctx, const kt_request_t *req, const char *path,
                              const kt_restore_options_t *options, kt_backup_count_t *ret_count)
{
    kt_store_t scratch;
    kt_status_t status = kt_scratch_open(path, &scratch);

    if (status != KT_SUCCESS)
        return status;
    status = restore_locked(ctx, req, path, options, &scratch, ret_count);
    kt_scratch_close(&scratch);
    return status;
}

kt_status_t kt_restore_with(kt_ctx_t *ctx, const kt_request_t *req, const char *path,
                            const kt_restore_options_t *options, kt_backup_count_t *ret_count)
{
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    if (options->size < sizeof(*options) || ret_count->size < sizeof(*ret_count))
        status = kt_fail(KT_USAGE,
                         "the options are not filled in (KT_RESTORE_INIT, KT_BACKUP_COUNT_INIT)");
    else if (options->check)
        status = check_file(ctx, req, path, options, ret_count);
    else
        status = restore_locked(ctx, req, path, options, NULL, ret_count);
    kt_leave(ctx);
    return status;
}

kt_status_t kt_restore(kt_ctx_t *ctx, const kt_request_t *req, const char *path, int going_back,
                       kt_backup_count_t *ret_count)
{
    kt_restore_options_t options = KT_RESTORE_INIT;

    options.going_back = going_back;
    return kt_restore_with(ctx, req, path, &options, ret_count);
}
