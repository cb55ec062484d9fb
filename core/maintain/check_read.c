/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_read.c: does a provider answer, and does each held key open what is stored? For each type a
 * secret that exists is read as kt_get() reads it: with its proof, up to the value, which is wiped
 * at once. The value goes nowhere, so no audit line says that it was read. Of a type without
 * secrets the absence of one is proved, which needs the same key.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "maintain.h"

typedef struct sample {
    const char *type;
    char name[KT_NAME_MAX + 1]; /* "": none was found */
} sample_t;

typedef struct sampling {
    kt_holder_t *holder;
    kt_survey_t survey; /* has the names of the types */
    sample_t *list;
    size_t count, missing;
    kt_status_t status;
} sampling_t;

/* ---- the types that this process has keys of ---- */

static kt_status_t add_type(sampling_t *s, const char *type)
{
    sample_t *grown;
    size_t i;

    for (i = 0; i < s->count; i++) {
        if (strcmp(s->list[i].type, type) == 0)
            return KT_SUCCESS;
    }
    grown = realloc(s->list, (s->count + 1) * sizeof(*grown));
    if (grown == NULL)
        return kt_no_memory();
    s->list = grown;
    grown[s->count++] = (sample_t){.type = type};
    return KT_SUCCESS;
}

/* A key file names its types; with the environment key the catalogue does. */
static kt_status_t find_types(sampling_t *s)
{
    kt_status_t status = KT_SUCCESS;
    size_t i;

    for (i = 0; i < s->survey.catalogue.ntypes && status == KT_SUCCESS; i++)
        status = add_type(s, s->survey.catalogue.types[i].name);
    s->missing = s->count;
    return status;
}

/* ---- a secret of each ---- */

static void take_sample(sampling_t *s, const kt_typekey_t *key, const ktp_row_t *row)
{
    kt_head_t head;
    size_t i;

    for (i = 0; i < s->count && strcmp(s->list[i].type, key->type) != 0; i++)
        ;
    if (i == s->count || s->list[i].name[0] != '\0')
        return;
    s->status = kt_open_head(s->holder, key, row, &head);
    if (s->status != KT_SUCCESS)
        return;
    if (!head.deleted && head.current > 0 && (head.expires == 0 || head.expires > kt_now())) {
        (void)snprintf(s->list[i].name, sizeof(s->list[i].name), "%s", head.name);
        s->missing--;
    }
    kt_head_clear(&head);
}

static int see_head(void *arg, const ktp_key_t *key, const ktp_row_t *row)
{
    sampling_t *s = arg;
    const kt_typekey_t *type;
    kt_header_t header;

    (void)key;
    s->status = kt_header_parse(row->record, row->record_size, &header);
    if (s->status == KT_SUCCESS &&
        kt_keyring_find(s->holder->keyring, header.key_id, &type) == KT_SUCCESS)
        take_sample(s, type, row);
    return s->status != KT_SUCCESS || s->missing == 0;
}

static kt_status_t find_samples(kt_ctx_t *ctx, kt_store_t *store, sampling_t *s)
{
    ktp_txn_t *txn;
    kt_status_t status = kt_rows_begin(store, false, ctx->holder.wait, &txn);

    if (status != KT_SUCCESS)
        return status;
    status = kt_survey_read(&ctx->holder, store, txn, NULL, NULL, &s->survey);
    if (status == KT_SUCCESS)
        status = find_types(s);
    if (status == KT_SUCCESS && s->missing > 0)
        status = kt_rows_scan(store, txn, KTP_HEAD, see_head, s);
    store->api->abort(txn);
    return status == KT_SUCCESS ? s->status : status;
}

/* ---- the reads ---- */

/* "general" has the names without a slash. */
static kt_status_t prove_none(kt_ctx_t *ctx, kt_store_t *store, const char *type)
{
    char name[2 * KT_NAME_MAX];
    kt_head_t head;
    kt_status_t status;

    (void)snprintf(name, sizeof(name), "%.200s%skeyturn-check",
                   strcmp(type, "general") == 0 ? "" : type,
                   strcmp(type, "general") == 0 ? "" : "/");
    status = kt_store_head(&ctx->holder, store, name, &head);
    if (status == KT_SUCCESS)
        kt_head_clear(&head);
    return status == KT_NOTFOUND ? KT_SUCCESS : status;
}

static kt_status_t read_one(kt_ctx_t *ctx, kt_store_t *store, const char *name)
{
    kt_secret_t *value = NULL;
    kt_reference_t ref;
    kt_status_t status = kt_reference_parse(name, 0, &ref);

    if (status == KT_SUCCESS)
        status = kt_store_read(&ctx->holder, store, &ref, &value);
    kt_secret_free(value);
    /* changed since the sample was taken */
    return status == KT_NOTFOUND || status == KT_GONE ? KT_SUCCESS : status;
}

static void append(char *list, size_t size, const char *type)
{
    size_t at = strlen(list);

    if (at + strlen(type) + 8 < size)
        (void)snprintf(list + at, size - at, "%s%s", at > 0 ? "," : "", type);
    else if (at > 3 && strcmp(list + at - 3, "...") != 0)
        (void)snprintf(list + at, size - at, ",...");
}

static kt_status_t read_samples(kt_ctx_t *ctx, kt_store_t *store, const sampling_t *s,
                                char *ret_detail, size_t size)
{
    char found[256] = "", empty[256] = "";
    kt_status_t status = KT_SUCCESS;
    size_t i;

    for (i = 0; i < s->count && status == KT_SUCCESS; i++) {
        const sample_t *sample = &s->list[i];
        bool any = sample->name[0] != '\0';

        status = any ? read_one(ctx, store, sample->name) : prove_none(ctx, store, sample->type);
        if (status != KT_SUCCESS)
            return kt_fail_prefix(status, "%s", any ? sample->name : sample->type);
        append(any ? found : empty, sizeof(found), sample->type);
    }
    (void)snprintf(ret_detail, size, "%s%s%s%s", found[0] != '\0' ? "read a secret of " : "", found,
                   empty[0] == '\0'   ? ""
                   : found[0] == '\0' ? "nothing is stored of "
                                      : ", nothing is stored of ",
                   empty);
    return KT_SUCCESS;
}

kt_status_t kt_provider_try(kt_ctx_t *ctx, size_t index, char *ret_detail, size_t size)
{
    sampling_t s = {.holder = &ctx->holder};
    kt_store_t *store;
    kt_status_t status;

    (void)snprintf(ret_detail, size, "reachable");
    status = kt_store_of(ctx, index, &store);
    if (status == KT_SUCCESS)
        status = kt_from_provider(store->name, store->api->check(store->instance, 0));
    if (status == KT_SUCCESS && (store->api->capabilities & KTP_SEALED) == 0)
        return kt_plain_try(ctx, store, ret_detail, size);
    if (status != KT_SUCCESS || !kt_has_index(store->api))
        return status;
    status = find_samples(ctx, store, &s);
    if (status == KT_SUCCESS && s.count > 0)
        status = read_samples(ctx, store, &s, ret_detail, size);
    if (status == KT_SUCCESS)
        kt_failure_clear();
    kt_survey_end(&s.survey);
    free(s.list);
    return status;
}
