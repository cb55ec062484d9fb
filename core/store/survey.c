/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * survey.c: explains the rows of META and the lines of the anchors, from the catalogue of types.
 *
 * The catalogue says which types exist, so their keys are known, and with them which roots there
 * may be. What no key and no entry explains was added, and what is missing was removed. The holder
 * of type keys has no catalogue: its keys explain their own rows, and it says nothing of others.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "survey.h"
#include "epochs.h"

/* ---- what is wrong ---- */

/* Says it, or ends the survey with it. */
static void wrong(kt_survey_t *s, kt_status_t status, const char *what, const char *detail)
{
    if (status == KT_INTERNAL)
        s->fatal = status; /* our error and not the store's */
    if (s->fatal != KT_SUCCESS)
        return;
    if (s->fn == NULL) {
        s->fatal = kt_fail(status, "%s: %s: %s", s->store->name, what, detail);
        return;
    }
    if (s->worst == KT_SUCCESS || status == KT_ROLLEDBACK)
        s->worst = status;
    s->fn(s->arg, status, what, detail);
    kt_failure_clear();
}

static void wrong_row(kt_survey_t *s, const char *kind, const unsigned char *id, size_t size,
                      const char *detail)
{
    char what[32 + 2 * KTP_KEY_MAX];
    size_t at = (size_t)snprintf(what, 32, "%s ", kind);

    (void)sodium_bin2hex(what + at, sizeof(what) - at, id, size);
    wrong(s, KT_ROLLEDBACK, what, detail);
}

/* ---- the keys that explain rows ---- */

static int by_id(const void *a, const void *b)
{
    return memcmp(((const kt_known_t *)a)->id, ((const kt_known_t *)b)->id, KT_KEYID_SIZE);
}

kt_known_t *kt_survey_find(const kt_survey_t *survey, const unsigned char id[KT_KEYID_SIZE])
{
    kt_known_t wanted;

    memcpy(wanted.id, id, KT_KEYID_SIZE);
    return survey->nkeys > 0 ? bsearch(&wanted, survey->keys, survey->nkeys, sizeof(wanted), by_id)
                             : NULL;
}

kt_status_t kt_survey_key(const kt_survey_t *survey, const kt_known_t *known,
                          const kt_typekey_t **ret_key)
{
    return kt_keyring_type(survey->holder->keyring, known->type, known->n, ret_key);
}

/* All keys of all types. */
static kt_status_t list_keys(kt_survey_t *s)
{
    kt_keyring_t *keyring = s->holder->keyring;
    size_t most = keyring->nenv > 0 ? keyring->nenv * s->catalogue.ntypes : keyring->ntypes, i, n;
    const kt_typekey_t *key;
    kt_status_t status = KT_SUCCESS;

    s->keys = calloc(most + 1, sizeof(*s->keys));
    if (s->keys == NULL)
        return kt_no_memory();
    for (i = 0; i < s->catalogue.ntypes; i++) {
        const char *type = s->catalogue.types[i].name;

        for (n = 0;
             s->nkeys < most && (status = kt_keyring_type(keyring, type, n, &key)) == KT_SUCCESS;
             n++) {
            s->keys[s->nkeys].type = type;
            s->keys[s->nkeys].n = n;
            memcpy(s->keys[s->nkeys++].id, key->id, KT_KEYID_SIZE);
        }
        if (status != KT_SUCCESS && status != KT_NOKEY)
            return status;
    }
    kt_failure_clear();
    if (s->nkeys > 1)
        qsort(s->keys, s->nkeys, sizeof(*s->keys), by_id);
    return KT_SUCCESS;
}

static kt_status_t list_held(kt_survey_t *s)
{
    const kt_keyring_t *keyring = s->holder->keyring;
    kt_status_t status = KT_SUCCESS;
    size_t i;

    for (i = 0; i < keyring->ntypes && status == KT_SUCCESS; i++)
        status = kt_catalogue_list(&s->catalogue, keyring->types[i].type, keyring->types[i].epoch);
    return status;
}

/* ---- labels: types that the catalogue does not list yet ---- */

static int see_label(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    kt_survey_t *s = arg;
    char type[KT_NAME_MAX + 1];
    const kt_typekey_t *typekey;
    size_t n;
    kt_status_t status;

    if (key->id_size != KT_META_SIZE || key->id[0] != 't')
        return 0;
    status = kt_label_open(s->holder->keyring, row->record, row->record_size, type, &n);
    if (status == KT_SUCCESS)
        status = kt_keyring_type(s->holder->keyring, type, n, &typekey);
    if (status == KT_NOKEY) {
        kt_header_t header;

        kt_failure_clear();
        if (kt_header_parse(row->record, row->record_size, &header) == KT_SUCCESS &&
            kt_catalogue_has_epoch(&s->catalogue, header.key_id))
            s->missing = true;
        else
            wrong_row(s, "label", key->id + 1, KT_KEYID_SIZE,
                      "it is under a key that nothing lists");
    } else if (status != KT_SUCCESS) {
        wrong(s, status, "label of a type", kt_failure());
    } else if (memcmp(typekey->id, key->id + 1, KT_KEYID_SIZE) != 0 || row->stamp != 1 ||
               kt_catalogue_find(&s->catalogue, type) != NULL) {
        wrong(s, KT_ROLLEDBACK, type, "a label of this type was put back, or changed");
    } else if ((status = kt_catalogue_list(&s->catalogue, type, typekey->epoch)) != KT_SUCCESS) {
        s->fatal = status;
    }
    return s->fatal != KT_SUCCESS;
}

/* ---- the rows of META ---- */

static void see_kept(kt_survey_t *s, const kt_cat_row_t *kept, const ktp_row_t *row)
{
    s->kept++;
    if (!kt_catalogue_is_same(kept, row))
        wrong_row(s, "row", kept->key, KT_META_SIZE,
                  "it is of an epoch that was left, and changed");
}

static void see_root(kt_survey_t *s, const ktp_key_t *key, const ktp_row_t *row)
{
    kt_known_t *known = kt_survey_find(s, key->id + 1);
    const kt_cat_row_t *kept = kt_catalogue_kept(&s->catalogue, key);

    if (known != NULL)
        known->has_root = true;
    if (kept != NULL)
        see_kept(s, kept, row);
    else if (known == NULL && s->whole && !s->missing)
        wrong_row(s, "root", key->id + 1, KT_KEYID_SIZE,
                  "the catalogue lists no type that has this root");
}

static int see_meta(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    kt_survey_t *s = arg;
    const kt_cat_row_t *kept = kt_catalogue_kept(&s->catalogue, key);
    bool is_ours =
        s->catalogue.env != NULL && memcmp(key->id + 1, s->catalogue.env->id, KT_KEYID_SIZE) == 0;

    if (key->id_size == KT_META_SIZE && key->id[0] == 'r')
        see_root(s, key, row);
    else if (!s->whole || (key->id_size == KT_META_SIZE &&
                           (key->id[0] == 't' || (key->id[0] == 'c' && is_ours))))
        return 0; /* a label was seen before */
    else if (key->id_size == KT_META_SIZE && key->id[0] == 'c' && kept != NULL)
        see_kept(s, kept, row);
    else
        wrong_row(s, "row", key->id, key->id_size, "the catalogue does not explain it");
    return s->fatal != KT_SUCCESS;
}

static kt_status_t scan(kt_survey_t *s, ktp_scan_fn fn)
{
    kt_status_t status = kt_rows_scan(s->store, s->txn, KTP_META, fn, s);

    return s->fatal != KT_SUCCESS ? s->fatal : status;
}

/* ---- do all types have their roots? ---- */

static bool holds_epoch(const kt_keyring_t *keyring, unsigned epoch)
{
    size_t i;

    for (i = 0; i < keyring->nenv; i++) {
        if (keyring->env[i].epoch == epoch)
            return true;
    }
    return false;
}

/* A type is under the epoch that its entry names, or is moving there. */
static void check_type(kt_survey_t *s, const kt_cat_type_t *type)
{
    kt_trees_t trees;
    kt_status_t status;

    if (s->whole && !holds_epoch(s->holder->keyring, type->epoch)) {
        s->missing = true;
        return;
    }
    status = kt_trees_open(s->holder, s->store, s->txn, type->name, &trees);
    if (status != KT_SUCCESS && !kt_is_damage(status)) {
        s->fatal = status;
        return;
    }
    if (status == KT_SUCCESS && s->whole && trees.index.generation == 0)
        status = kt_fail(KT_ROLLEDBACK, "its root was removed");
    else if (status == KT_SUCCESS && s->whole && trees.index.epoch != type->epoch)
        status = kt_fail(KT_ROLLEDBACK, "its newest root was removed");
    if (status != KT_SUCCESS)
        wrong(s, status, type->name, kt_failure());
    else if (kt_trees_writable(s->holder, &trees) != KT_SUCCESS)
        s->missing = true;
    if (s->fatal == KT_SUCCESS)
        kt_failure_clear(); /* else it says what ended the survey */
    kt_trees_close(&trees);
}

/* ---- the lines of anchors ---- */

/* One of generation 0 was written before a commit that may not have come. */
static int see_anchor(void *arg, const kt_anchor_t *anchor)
{
    const unsigned char *key_id = anchor->key_id;
    kt_survey_t *s = arg;
    ktp_key_t root, given_up;

    kt_key_meta(&root, 'r', key_id);
    kt_key_meta(&given_up, KT_GIVEN_UP, key_id);
    if (anchor->generation > 0 &&
        memcmp(anchor->store_id, s->catalogue.store_id, KT_ID_SIZE) == 0 &&
        kt_survey_find(s, key_id) == NULL && kt_catalogue_kept(&s->catalogue, &root) == NULL &&
        kt_catalogue_kept(&s->catalogue, &given_up) == NULL &&
        !kt_catalogue_has_epoch(&s->catalogue, key_id))
        wrong_row(s, "anchor", key_id, KT_KEYID_SIZE,
                  "it names a type that the catalogue does not list: the type was removed, or the "
                  "line was added");
    return s->fatal != KT_SUCCESS;
}

/* ---- all of it ---- */

static size_t count_kept(const kt_catalogue_t *catalogue)
{
    size_t i, count = 0;

    for (i = 0; i < catalogue->nrows; i++)
        count += catalogue->rows[i].key[0] != KT_GIVEN_UP;
    return count;
}

/* What audit logs say of its generation. */
static kt_status_t check_catalogue(kt_survey_t *s)
{
    kt_status_t status = s->whole ? kt_catalogue_expected(s->store, &s->catalogue) : KT_SUCCESS;

    if (status == KT_SUCCESS || s->fn == NULL)
        return status;
    s->worst = status;
    s->fn(s->arg, status, "catalogue", kt_failure());
    kt_failure_clear();
    return KT_SUCCESS;
}

/* Labels come before roots, so that a label's type explains its root. */
static kt_status_t explain(kt_survey_t *s)
{
    size_t i;
    kt_status_t status = s->whole ? scan(s, see_label) : list_held(s);

    if (status == KT_SUCCESS)
        status = list_keys(s);
    for (i = 0; i < s->catalogue.ntypes && status == KT_SUCCESS; i++) {
        check_type(s, &s->catalogue.types[i]);
        status = s->fatal;
    }
    if (status == KT_SUCCESS)
        status = scan(s, see_meta);
    if (status == KT_SUCCESS && s->whole && s->kept != count_kept(&s->catalogue))
        wrong(s, KT_ROLLEDBACK, "epochs that were left", "one of their last rows was removed");
    if (status == KT_SUCCESS && s->whole && !s->missing && s->fatal == KT_SUCCESS)
        kt_anchors_walk(s->store->anchors, see_anchor, s);
    s->whole = s->whole && !s->missing;
    return status == KT_SUCCESS ? s->fatal : status;
}

kt_status_t kt_survey_read(kt_holder_t *holder, const kt_store_t *store, ktp_txn_t *txn,
                           kt_survey_fn fn, void *arg, kt_survey_t *ret)
{
    kt_header_t ignored;
    kt_status_t status;

    *ret = (kt_survey_t){.holder = holder,
                         .store = store,
                         .txn = txn,
                         .whole = holder->keyring->nenv > 0,
                         .fn = fn,
                         .arg = arg};
    status = ret->whole ? kt_catalogue_read(holder, store, txn, &ret->catalogue)
                        : kt_catalogue_look(holder, store, txn, &ignored);
    if (status == KT_SUCCESS)
        status = check_catalogue(ret);
    if (status == KT_SUCCESS)
        status = explain(ret);
    return status == KT_SUCCESS ? ret->worst : status;
}

void kt_survey_end(kt_survey_t *survey)
{
    kt_catalogue_clear(&survey->catalogue);
    free(survey->keys);
    survey->keys = NULL;
    survey->nkeys = 0;
}
