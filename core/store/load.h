/* SPDX-License-Identifier: BSD-2-Clause */
/* load.h: sealed rows to heads and values, and back; also for restore and rekey. */
#ifndef KT_LOAD_H
#define KT_LOAD_H

#include "head.h"
#include "rows.h"

#define KT_VALUE_STAMP 1u /* of each row of a value, which is written once */

/* KT_WRONGKEY unless the store belongs to an environment key that is held. Checked once. */
kt_status_t kt_store_check(kt_holder_t *holder, kt_store_t *store, ktp_txn_t *txn);
/* Checks the store and opens the head of `name`, which is the caller's to clear. The provider keeps
 * *ret_row until its next call; *ret_key is the key that sealed it. KT_NOTFOUND; then *ret_key is
 * the key for a new secret. */
kt_status_t kt_load_head(kt_holder_t *holder, kt_store_t *store, ktp_txn_t *txn, const char *type,
                         const char *name, const kt_typekey_t **ret_key, ktp_row_t *ret_row,
                         kt_head_t *ret_head);
/* The key of the type that sealed this head, which was found by its clear name. KT_WRONGKEY. */
kt_status_t kt_match_key(kt_holder_t *holder, const char *type, const ktp_row_t *row,
                         const kt_typekey_t **ret_key);
/* The row of a value that is not next to its head. KT_MALFORMED: it is missing. */
kt_status_t kt_get_value(const kt_store_t *store, ktp_txn_t *txn, const kt_typekey_t *type,
                         const char *name, uint64_t version, ktp_row_t *ret_row);
/* The value of a version; the caller frees it. KT_NOTFOUND, KT_GONE: it is not kept, or destroyed.
 */
kt_status_t kt_fetch_value(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                           const kt_typekey_t *type, const kt_head_t *head,
                           const ktp_row_t *head_row, uint64_t version, kt_secret_t **ret_secret);
/* The same from rows at hand. kt_check_value() only compares the record's header and tag with the
 * head. */
kt_status_t kt_open_head(kt_holder_t *holder, const kt_typekey_t *type, const ktp_row_t *row,
                         kt_head_t *ret_head);
kt_status_t kt_check_value(const kt_head_t *head, const kt_head_version_t *entry,
                           const unsigned char *record, size_t size);
kt_status_t kt_open_value(kt_holder_t *holder, const kt_typekey_t *type, const kt_head_t *head,
                          const kt_head_version_t *entry, const unsigned char *record, size_t size,
                          kt_secret_t **ret_secret);

/* ---- opened.c: the plain texts of heads that were opened before. NULL: none is kept ---- */

kt_opened_t *kt_opened_new(void); /* NULL: out of memory */
void kt_opened_free(kt_opened_t *opened);
/* What this very record was when this key opened it, until the next call of kt_opened_keep(). NULL:
 * not known. */
const unsigned char *kt_opened_find(kt_opened_t *opened, const kt_typekey_t *type,
                                    const ktp_row_t *row, size_t *ret_size);
/* The record with this tag is looked for soon. */
void kt_opened_ahead(const kt_opened_t *opened, const unsigned char tag[KT_TAG_SIZE]);
/* The value's record, of the row that was found by the last call of kt_opened_find(): halfway
 * opened, as long. NULL: it is not known. */
const kt_halfway_t *kt_opened_halfway(const kt_opened_t *opened, const ktp_row_t *row,
                                      const unsigned char *record, size_t size);
typedef struct kt_opening {
    const char *name;
    const unsigned char *plain;
    size_t size;
    size_t spare; /* bytes that are left for others to lock */
} kt_opening_t;
void kt_opened_keep(kt_opened_t *opened, const kt_typekey_t *type, const ktp_row_t *row,
                    const kt_opening_t *opening);

/* ---- load.c, change.c ---- */

/* A value or a head, sealed under the keys of `type`; the record is malloc'ed (change.c). */
kt_status_t kt_seal_value(kt_holder_t *holder, const kt_typekey_t *type, const kt_head_t *head,
                          uint64_t version, const kt_secret_t *value, unsigned char **ret_record,
                          size_t *ret_size);
kt_status_t kt_seal_head(kt_holder_t *holder, const kt_typekey_t *type, const kt_head_t *head,
                         unsigned char **ret_record, size_t *ret_size);
/* Writes the catalogue of a store that its provider has just created. `id` NULL: it goes on with
 * the id that its anchors know, or takes a random one. */
kt_status_t kt_store_begin_new(kt_holder_t *holder, kt_store_t *store,
                               const unsigned char id[KT_ID_SIZE]);

#endif /* KT_LOAD_H */
