/* SPDX-License-Identifier: BSD-2-Clause */
/* rows.h: a provider's instance, and its rows. A provider is untrusted code: each row is validated
 * before it is used. */
#ifndef KT_ROWS_H
#define KT_ROWS_H

#include "base/base.h"
#include "keys/keys.h"
#include "provider/provider.h"

typedef struct kt_anchors kt_anchors_t;   /* anchors.h */
typedef struct kt_expected kt_expected_t; /* anchors.h */
typedef struct kt_proofs kt_proofs_t;     /* index.h */
typedef struct kt_opened kt_opened_t;     /* load.h */
typedef struct kt_names kt_names_t;
typedef struct kt_seen kt_seen_t;

/* A provider's instance: instance.c makes it, bundle.c imitates it. */
typedef struct kt_store {
    const ktp_provider_t *api;
    ktp_instance_t *instance;
    const char *name;
    size_t keep_versions;
    bool checked;            /* the store belongs to an environment key that is held */
    bool adopted;            /* types that began without the environment key were listed */
    kt_anchors_t *anchors;   /* NULL: a store without an index (clear names) */
    kt_expected_t *expected; /* by the audit log; NULL: nothing */
    kt_proofs_t *proofs;     /* NULL: each proof reads all nodes of its path */
    kt_opened_t *opened;     /* NULL: each head is opened */
    kt_names_t *names;       /* NULL: each name is hashed */
    kt_seen_t *seen;         /* NULL: generations are not kept for figures */
} kt_store_t;

/* What a row or a tree says that was changed, and not a failure to read it. */
static inline bool kt_is_damage(kt_status_t status)
{
    return status == KT_MALFORMED || status == KT_ROLLEDBACK || status == KT_MOVED;
}

void kt_key_init(ktp_key_t *key, const kt_store_t *store, ktp_space_t space,
                 const kt_typekey_t *type, const char *name);
void kt_key_meta(ktp_key_t *key, char kind, const unsigned char id[KT_KEYID_SIZE]);
kt_status_t kt_rows_begin(const kt_store_t *store, bool writing, unsigned timeout,
                          ktp_txn_t **ret_txn);
/* Before its commit: KT_NOSPACE unless so many bytes stay free after it. */
kt_status_t kt_rows_reserve(const kt_store_t *store, ktp_txn_t *txn, uint64_t bytes);
/* Ends it. `publishes`: others may see it before it survives a power cut. */
kt_status_t kt_rows_commit(const kt_store_t *store, ktp_txn_t *txn, bool publishes);
/* What was read so far survives a power cut: before it is written down where it lasts. Needs no
 * lock of the context. */
kt_status_t kt_rows_sync(const kt_store_t *store);
kt_status_t kt_txn_begin(const kt_store_t *store, bool writing, unsigned timeout,
                         ktp_txn_t **ret_txn); /* without anchors */
/* Calls fn for each row of a space. KT_MALFORMED: a row is malformed, or comes twice in a row. */
kt_status_t kt_rows_scan(const kt_store_t *store, ktp_txn_t *txn, ktp_space_t space, ktp_scan_fn fn,
                         void *arg);
kt_status_t kt_rows_get(const kt_store_t *store, ktp_txn_t *txn, const ktp_key_t *key,
                        ktp_row_t *ret_row);
/* The row of a head, whose counter is the stamp of the row that is there plus one, and when its
 * secret ends. */
kt_status_t kt_rows_put_head(const kt_store_t *store, ktp_txn_t *txn, const ktp_key_t *key,
                             const ktp_row_t *row, int64_t expires);
/* `expected` is the stamp that the row has now; 0: there is no row. KT_CONFLICT: it has another. */
kt_status_t kt_rows_put(const kt_store_t *store, ktp_txn_t *txn, const ktp_key_t *key,
                        const ktp_row_t *row, uint64_t expected);
kt_status_t kt_rows_remove(const kt_store_t *store, ktp_txn_t *txn, const ktp_key_t *key,
                           uint64_t expected);

/* ---- seen.c ---- */

kt_seen_t *kt_seen_new(void);
void kt_seen_free(kt_seen_t *seen);
/* The type, of at most KT_NAME_MAX bytes, was found at this generation. NULL is allowed. */
void kt_seen_note(kt_seen_t *seen, const char *type, uint64_t generation);
typedef void (*kt_seen_fn)(void *arg, const char *type, uint64_t generation);
void kt_seen_all(const kt_seen_t *seen, kt_seen_fn fn, void *arg);

/* ---- names.c ---- */

kt_names_t *kt_names_new(void); /* NULL: out of memory */
void kt_names_free(kt_names_t *names);
/* kt_name_hash(), or what it was before. */
void kt_names_hash(kt_names_t *names, const kt_typekey_t *type, const char *name,
                   unsigned char ret_hash[KT_HASH_SIZE]);

#endif /* KT_ROWS_H */
