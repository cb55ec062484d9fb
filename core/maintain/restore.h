/* SPDX-License-Identifier: BSD-2-Clause */
/* restore.h: the state of a restore, for restore.c and restore_catalogue.c only. */
#ifndef KT_RESTORE_H
#define KT_RESTORE_H

#include "backup.h"

typedef struct type_root { /* of each type key, in the file */
    unsigned char key_id[KT_KEYID_SIZE];
    uint64_t generation;
} type_root_t;

typedef struct restore {
    kt_ctx_t *ctx;
    kt_store_t *store;
    ktp_txn_t *txn;
    const char *path;
    unsigned char *private_key; /* of the recipient, in locked memory; NULL: not given */
    bool check;                 /* the store is in memory, and nothing is recorded */
    bool going_back;
    kt_catalogue_t file, labels; /* labels: types that the file's catalogue does not list */
    kt_catalogue_t target;       /* as it was, then as it is written; zeros: it did not open */
    unsigned char store_id[KT_ID_SIZE];
    type_root_t *roots; /* of the file */
    size_t nroots;
    size_t nindexes; /* one for each key of the keyring */
    ktp_key_t *old;  /* rows to remove */
    uint64_t *old_stamps;
    size_t nold;
    uint64_t removed, rows, file_rows;
    kt_backup_count_t count;
} restore_t;

static inline bool kt_is_meta(const ktp_key_t *key, char kind)
{
    return key->space == KTP_META && key->id_size == KT_META_SIZE &&
           key->id[0] == (unsigned char)kind;
}

/* ---- restore_catalogue.c ---- */

/* Opens the catalogue of the target. One that is damaged is replaced. */
kt_status_t kt_restore_open_target(restore_t *r);
/* Does this row of META stay in the target? Is this one taken from the file? */
bool kt_restore_stays(const restore_t *r, const ktp_key_t *key, const ktp_row_t *row);
bool kt_restore_takes(const restore_t *r, const ktp_key_t *key, const ktp_row_t *row);
/* After all roots are written: writes the catalogue of both. */
kt_status_t kt_restore_catalogue(restore_t *r, const kt_index_t *indexes);

/* ---- scratch.c ---- */

/* An empty store in memory, without anchors, for one transaction after the other. `name` is for
 * error texts, and is not copied. */
kt_status_t kt_scratch_open(const char *name, kt_store_t *ret_store);
void kt_scratch_close(kt_store_t *store);

#endif /* KT_RESTORE_H */
