/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backup_store.c: kt_backup(): the whole store into a file.
 *
 * The store is verified in the snapshot that is copied: damage does not get into a backup, and each
 * backup can be restored.
 */
#include <stdlib.h>
#include <string.h>

#include "backup.h"

#define STEP 1024u /* rows between two reports of progress */

kt_status_t kt_backup_find_store(kt_ctx_t *ctx, kt_store_t **ret_store)
{
    size_t i;

    return kt_find_index(ctx, &i)
               ? kt_store_of(ctx, i, ret_store)
               : kt_fail(KT_CONFIG, "no provider of the configuration keeps a store to back up");
}

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
    kt_walk_result_t walk;
    ktp_txn_t *txn;
    kt_status_t status;
    size_t i;

    status = kt_rows_begin(store, false, ctx->holder.wait, &txn);
    if (status != KT_SUCCESS)
        return status;
    status = kt_walk_silently(ctx, store, txn, &walk);
    if (status == KT_SUCCESS && walk.missing)
        status = kt_fail(KT_NOKEY, "%s: types are under an epoch that the key held does not list",
                         store->name);
    for (i = 0; i < KT_ARRAY(spaces) && status == KT_SUCCESS; i++) {
        status = kt_rows_scan(store, txn, spaces[i], write_row, &writing);
        if (status == KT_SUCCESS)
            status = writing.status;
    }
    store->api->abort(txn);
    return status;
}

static kt_status_t backup_locked(kt_ctx_t *ctx, const kt_request_t *req, const char *path,
                                 const kt_backup_options_t *options, kt_backup_count_t *ret_count)
{
    kt_backup_t backup = {.file = NULL};
    kt_store_t *store;
    kt_call_t call;
    kt_status_t status;

    status = kt_admin_begin(ctx, req, "backup", &call);
    if (status != KT_SUCCESS)
        return status;
    status = kt_backup_find_store(ctx, &store);
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
        ret_count->secrets = backup.secrets;
        ret_count->versions = backup.versions;
        kt_progress_tell(&ctx->holder.logger, "backup", backup.rows, backup.rows);
    }
    kt_backup_close(&backup);
    return status;
}

kt_status_t kt_backup_with(kt_ctx_t *ctx, const kt_request_t *req, const char *path,
                           const kt_backup_options_t *options, kt_backup_count_t *ret_count)
{
    kt_status_t status = kt_enter(ctx);

    if (status != KT_SUCCESS)
        return status;
    if (options->size < sizeof(*options) || ret_count->size < sizeof(*ret_count))
        status = kt_fail(KT_USAGE,
                         "the options are not filled in (KT_BACKUP_INIT, KT_BACKUP_COUNT_INIT)");
    else
        status = backup_locked(ctx, req, path, options, ret_count);
    kt_leave(ctx);
    return status;
}

kt_status_t kt_backup(kt_ctx_t *ctx, const kt_request_t *req, const char *path,
                      kt_backup_count_t *ret_count)
{
    static const kt_backup_options_t none = KT_BACKUP_INIT;

    return kt_backup_with(ctx, req, path, &none, ret_count);
}
