/* SPDX-License-Identifier: BSD-2-Clause */
/* backup.h: the file of a backup, row by row. Include it after internal.h and sodium.h. */
#ifndef KT_BACKUP_H
#define KT_BACKUP_H

typedef struct kt_backup {
    const char *path;
    FILE *file;
    char *partial; /* its name until it is whole, where a file cannot be without one; malloc'ed */
    uint64_t rows;
    unsigned char key_id[KT_KEYID_SIZE];
    unsigned char *key; /* locked memory */
    unsigned char *frame, *plain;
    crypto_secretstream_xchacha20poly1305_state stream;
} kt_backup_t;

/* A new file of mode 0600 for the newest environment key of `keyring`, and for the recipient whose
 * public key is in the file `recipient` (NULL: none). After a failure, too, kt_backup_close() has
 * to be called. */
kt_status_t kt_backup_create(kt_backup_t *b, const char *path, const kt_keyring_t *keyring,
                             const char *recipient);
kt_status_t kt_backup_put(kt_backup_t *b, const ktp_key_t *key, const ktp_row_t *row);
kt_status_t kt_backup_finish(kt_backup_t *b); /* durable, and only now under its name */
/* `private_key`: of the recipient, 32 bytes; NULL: none is held. */
kt_status_t kt_backup_open(kt_backup_t *b, const char *path, const kt_keyring_t *keyring,
                           const unsigned char *private_key);
/* *ret_more false: that was the end, and it is whole. */
kt_status_t kt_backup_next(kt_backup_t *b, bool *ret_more, ktp_key_t *ret_key, ktp_row_t *ret_row);
void kt_backup_close(kt_backup_t *b);

/* ---- recipient.c ---- */

#define KT_RECIPIENT_SIZE                                                                          \
    (KT_KEYID_SIZE + crypto_box_SEALBYTES +                                                        \
     KT_KEY_SIZE) /* his key's id, and a random key in a sealed box */

/* The private key that the options name. KT_CONFIG: it is none; KT_PERMISSION. */
kt_status_t kt_recipient_read(const kt_restore_options_t *options,
                              unsigned char ret_key[KT_KEY_SIZE]);
/* A random key for the owner of the public key in the file `path`, in a header, and mixed into
 * *io_key (32 bytes, locked). */
kt_status_t kt_recipient_seal(const char *path, unsigned char *io_key,
                              unsigned char ret_header[KT_RECIPIENT_SIZE]);
/* The same back. KT_NOKEY, KT_WRONGKEY, KT_MALFORMED. `path` is for errors. */
kt_status_t kt_recipient_open(const char *path, const unsigned char *private_key,
                              unsigned char *io_key, const unsigned char header[KT_RECIPIENT_SIZE]);

#endif /* KT_BACKUP_H */
