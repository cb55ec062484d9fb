/* SPDX-License-Identifier: BSD-2-Clause */
/* backup.h: the file of a backup, row by row. */
#ifndef KT_BACKUP_H
#define KT_BACKUP_H

#include <sodium.h>
#include <stdio.h>

#include "maintain.h"

typedef struct kt_backup {
    const char *path;
    FILE *file;
    char *partial; /* its name until it is complete, if it cannot be without one; malloc'ed */
    uint64_t rows, secrets, versions;
    unsigned char key_id[KT_KEYID_SIZE];
    unsigned char *key; /* locked memory */
    unsigned char *frame, *plain;
    crypto_secretstream_xchacha20poly1305_state stream;
} kt_backup_t;

/* A new file of mode 0600 for the newest environment key of `keyring`, and for the recipient whose
 * public key is in the file `recipient` (NULL: none). Call kt_backup_close() also after a failure.
 */
kt_status_t kt_backup_create(kt_backup_t *b, const char *path, const kt_keyring_t *keyring,
                             const char *recipient);
kt_status_t kt_backup_put(kt_backup_t *b, const ktp_key_t *key, const ktp_row_t *row);
kt_status_t kt_backup_finish(kt_backup_t *b); /* makes it durable and gives it its name */
/* `private_key`: of the recipient, 32 bytes; NULL: not given. */
kt_status_t kt_backup_open(kt_backup_t *b, const char *path, const kt_keyring_t *keyring,
                           const unsigned char *private_key);
/* *ret_more false: that was the end, and the file is complete. */
kt_status_t kt_backup_next(kt_backup_t *b, bool *ret_more, ktp_key_t *ret_key, ktp_row_t *ret_row);
void kt_backup_close(kt_backup_t *b);

/* ---- backup_store.c ---- */

kt_status_t kt_backup_find_store(kt_ctx_t *ctx, kt_store_t **ret_store);

#endif /* KT_BACKUP_H */
