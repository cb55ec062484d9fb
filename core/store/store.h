/* SPDX-License-Identifier: BSD-2-Clause */
/* store.h: secrets in a store: reading, changing, listing. The headers that it includes are for
 * commands that move whole stores. */
#ifndef KT_STORE_H
#define KT_STORE_H

#include "catalogue.h"
#include "epochs.h"
#include "head.h"
#include "index.h"
#include "load.h"
#include "rows.h"
#include "survey.h"

/* ---- instance.c ---- */

/* Opens an instance of the provider at `index`; kt_instance_close() ends it. */
kt_status_t kt_instance_open(const kt_modules_t *modules, size_t index, kt_store_t *ret_store);
void kt_instance_close(kt_store_t *store);

/* ---- load.c, list.c, begin.c, change.c ---- */

typedef struct kt_change kt_change_t; /* a secret being changed, inside a writing transaction */

kt_status_t kt_store_read(kt_holder_t *holder, kt_store_t *store, const kt_reference_t *reference,
                          kt_secret_t **ret_secret);
/* KT_NOTFOUND; KT_SUCCESS for a deleted secret too. `ret_head` is the caller's to clear. */
kt_status_t kt_store_head(kt_holder_t *holder, kt_store_t *store, const char *name,
                          kt_head_t *ret_head);
typedef int (*kt_head_fn)(void *arg, const kt_head_t *head);
kt_status_t kt_store_scan(kt_holder_t *holder, kt_store_t *store, kt_head_fn fn, void *arg,
                          uint64_t *ret_hidden);
kt_status_t kt_store_create(kt_holder_t *holder, kt_store_t *store);

/* Begin, then any of the others, then commit or abort, which end and free it. `timeout` in ms. */
kt_status_t kt_change_begin(kt_holder_t *holder, kt_store_t *store, const char *name,
                            unsigned timeout, kt_change_t **ret_change);
/* Another secret of the same store, changed in the same transaction: prepare, reserve, commit and
 * abort are called once, with the first one, and end both. Before any of them; not the first secret
 * of its type. On failure the first one goes on alone. */
kt_status_t kt_change_join(kt_change_t *first, const char *name, kt_change_t **ret_change);
kt_head_t *kt_change_head(kt_change_t *change);
bool kt_change_exists(const kt_change_t *change); /* the secret exists, even if it is deleted */
kt_status_t kt_change_value(kt_change_t *change, uint64_t version, kt_secret_t **ret_secret);
/* Seals `value` as the next version, which is neither current nor pending yet. */
kt_status_t kt_change_add(kt_change_t *change, const kt_secret_t *value, uint64_t *ret_version);
kt_status_t kt_change_make_current(kt_change_t *change, uint64_t version);
/* Removes the value's row; drop also removes its entry in the head, destroy marks it. */
kt_status_t kt_change_drop(kt_change_t *change, uint64_t version);
kt_status_t kt_change_destroy(kt_change_t *change, uint64_t version);
/* The pending version is pending no more, but keeps its value until the time `until`. */
kt_status_t kt_change_set_aside(kt_change_t *change, uint64_t version, int64_t until);
/* Puts all rows: after it only the commit can fail. */
kt_status_t kt_change_prepare(kt_change_t *change);
/* After prepare: KT_NOSPACE unless there is room for one more change of this secret. */
kt_status_t kt_change_reserve(kt_change_t *change);
/* After prepare: the type's generation once this is committed; 0: there is no index. */
uint64_t kt_change_generation(const kt_change_t *change);
void kt_change_store_id(const kt_change_t *change, unsigned char ret_id[KT_ID_SIZE]);
kt_store_t *kt_change_store(const kt_change_t *change);
kt_status_t kt_change_commit(kt_change_t *change);
/* It makes pending versions current that their targets know already. Others may see its commit
 * before it is on the disk: a power cut then leaves them pending, and the rotation is finished
 * again. */
void kt_change_publishes(kt_change_t *change);
/* Its anchors need not be on the disk after the commit (kt_anchors_write()). */
void kt_change_be_lazy(kt_change_t *change);
void kt_change_abort(kt_change_t *change); /* NULL is allowed */

/* ---- bundle.c ---- */

/* A store over *slot: a commit replaces the bundle there, and frees the old one. `opened` knows
 * heads of any bundle; NULL: none. `keep`: versions. */
typedef struct kt_bundle_store {
    kt_store_t store;
    kt_bundle_t **slot;
} kt_bundle_store_t;
void kt_bundle_store_init(kt_bundle_store_t *store, kt_bundle_t **slot, kt_opened_t *opened,
                          size_t keep);

#endif /* KT_STORE_H */
