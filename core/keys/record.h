/* SPDX-License-Identifier: BSD-2-Clause */
/* record.h: the sealed record of format 1 (docs/format.md), and the key of a backup for a
 * recipient. */
#ifndef KT_RECORD_H
#define KT_RECORD_H

#include <sodium.h>

#include "base/base.h"

/* ---- record.c: format 1 ---- */

typedef struct kt_header {
    unsigned type;
    unsigned char key_id[KT_KEYID_SIZE];
    unsigned char id[KT_ID_SIZE];
    uint64_t version;
} kt_header_t;

/* The clear header. KT_MALFORMED unless magic, format, algorithm and size are those of a record of
 * format 1. */
kt_status_t kt_header_parse(const void *record, size_t size, kt_header_t *ret_header);
/* Seals under `key` (32 bytes); the record is malloc'ed. `header->key_id` says whose key it is. */
kt_status_t kt_seal(const unsigned char *key, const kt_header_t *header, const char *environment,
                    const char *name, const void *plain, size_t plain_size,
                    unsigned char **ret_record, size_t *ret_size);
/* Opens; the plain text is in locked memory (kt_locked_free). KT_MALFORMED when the seal does not
 * hold. */
kt_status_t kt_unseal(const unsigned char *key, const char *environment, const char *name,
                      const void *record, size_t size, unsigned char **ret_plain,
                      size_t *ret_plain_size);
/* The first half of opening one record, done ahead: XChaCha20 derives a key from the key and the
 * first bytes of the nonce. In locked memory. */
#define KT_NONCE_HALF 16u
typedef struct kt_halfway {
    unsigned char key[KT_KEY_SIZE], nonce[KT_NONCE_HALF];
} kt_halfway_t;
/* False: the record is too short. */
bool kt_unseal_halfway(const unsigned char *key, const unsigned char *record, size_t size,
                       kt_halfway_t *ret_halfway);
bool kt_is_halfway(const kt_halfway_t *halfway, const unsigned char *record, size_t size);

/* The same, as a value without a version. `halfway`: of this very record; or NULL, and `key`. */
kt_status_t kt_unseal_secret(const kt_halfway_t *halfway, const unsigned char *key,
                             const char *environment, const char *name, const void *record,
                             size_t size, kt_secret_t **ret_secret);

/* ---- recipient.c ---- */

#define KT_RECIPIENT_SIZE                                                                          \
    (KT_KEYID_SIZE + crypto_box_SEALBYTES +                                                        \
     KT_KEY_SIZE) /* the key's id, and a random key in a sealed box */

/* The private key that the options name. KT_CONFIG: not such a key; KT_PERMISSION. */
kt_status_t kt_recipient_read(const kt_restore_options_t *options,
                              unsigned char ret_key[KT_KEY_SIZE]);
/* A random key for the owner of the public key in the file `path`, in a header, and mixed into
 * *io_key (32 bytes, locked). */
kt_status_t kt_recipient_seal(const char *path, unsigned char *io_key,
                              unsigned char ret_header[KT_RECIPIENT_SIZE]);
/* The same back. KT_NOKEY, KT_WRONGKEY, KT_MALFORMED. `path` is for errors. */
kt_status_t kt_recipient_open(const char *path, const unsigned char *private_key,
                              unsigned char *io_key, const unsigned char header[KT_RECIPIENT_SIZE]);

#endif /* KT_RECORD_H */
