/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rows.c: a bundle as rows, and rows as a bundle.
 *
 * A transaction fetches a secret when its name is first asked for and keeps it, so that what it
 * sees of one name is of one moment. A writing one changes one name: the server compares and stores
 * one bundle at a time. Its commit is SECRET.SETSEALED, which the server takes only if the id is
 * the same and the write counter one higher than its own: that is the compare-and-set.
 */
#include "rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "names.h"

#define LENGTH_SIZE 4u
#define MAGIC "KTB\001"

typedef struct record {
    uint64_t version;
    const unsigned char *data; /* in the answer, or `own` */
    unsigned char *own;        /* malloc'ed */
    size_t size;
} record_t;

typedef struct secret {
    struct secret *next;
    char name[KR_NAME_MAX + 1];
    redisReply *reply;
    record_t head, current; /* data NULL: there is none */
    record_t values[KR_RECORDS_MAX];
    size_t count;
} secret_t;

struct ktp_txn {
    ktp_instance_t *instance;
    int writing;
    secret_t *secrets;
    secret_t *changed;
    int64_t expires; /* of the changed one, ms since the epoch; 0: never */
};

ktp_instance_t *kr_instance(const ktp_txn_t *txn)
{
    return txn->instance;
}

/* ---- records ---- */

static uint64_t get_number(const unsigned char *at, size_t bytes)
{
    uint64_t number = 0;

    for (size_t i = 0; i < bytes; i++)
        number = number << 8 | at[i];
    return number;
}

static unsigned char *put_number(unsigned char *at, size_t bytes, uint64_t number)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (unsigned char)(number >> 8 * (bytes - 1 - i));
    return at + bytes;
}

static ktp_status_t fail(const ktp_txn_t *txn, ktp_status_t status, const char *name,
                         const char *what)
{
    return kr_fail(txn->instance, status, "%s: %s", name, what);
}

static void forget(record_t *record)
{
    free(record->own);
    memset(record, 0, sizeof(*record));
}

static int keep(record_t *record, uint64_t version, const unsigned char *data, size_t size)
{
    unsigned char *copy = malloc(size > 0 ? size : 1);

    if (copy == NULL)
        return -1;
    memcpy(copy, data, size);
    forget(record);
    record->version = version;
    record->data = record->own = copy;
    record->size = size;
    return 0;
}

static uint64_t stamp_of(const secret_t *secret)
{
    return secret->head.data != NULL ? secret->head.version : 0;
}

static record_t *find_value(secret_t *secret, uint64_t version)
{
    for (size_t i = 0; i < secret->count; i++) {
        if (secret->values[i].version == version)
            return &secret->values[i];
    }
    return NULL;
}

/* ---- an answer ---- */

static void free_secret(secret_t *secret)
{
    forget(&secret->head);
    forget(&secret->current);
    for (size_t i = 0; i < secret->count; i++)
        forget(&secret->values[i]);
    if (secret->reply != NULL)
        freeReplyObject(secret->reply);
    free(secret);
}

/* Takes record number i and moves *ret_at past it. 0, or -1. */
static int take_record(secret_t *secret, size_t i, int has_current, const unsigned char **ret_at,
                       const unsigned char *end)
{
    const unsigned char *at = *ret_at;
    record_t *record = &secret->head;
    size_t size;

    if ((size_t)(end - at) < LENGTH_SIZE)
        return -1;
    size = (size_t)get_number(at, LENGTH_SIZE);
    at += LENGTH_SIZE;
    if (size > (size_t)(end - at) || size < KTP_RECORD_HEADER + KTP_RECORD_TAG ||
        size > KTP_ROW_MAX)
        return -1;
    if (at[KTP_RECORD_TYPE_AT] != (i == 0 ? KTP_RECORD_HEAD : KTP_RECORD_VALUE))
        return -1;
    if (i > 0)
        record = i == 1 && has_current ? &secret->current : &secret->values[secret->count++];
    record->data = at;
    record->size = size;
    record->version = get_number(at + KTP_RECORD_VERSION_AT, 8);
    *ret_at = at + size;
    return record->version != 0 ? 0 : -1;
}

static int take_bundle(secret_t *secret)
{
    const unsigned char *at = (const unsigned char *)secret->reply->str,
                        *end = at + secret->reply->len;
    size_t count;
    int has_current;

    if ((size_t)(end - at) < KTP_BUNDLE_HEADER || memcmp(at, MAGIC, 4) != 0 ||
        (at[4] & ~KTP_BUNDLE_CURRENT) != 0 || at[5] != 0)
        return -1;
    has_current = (at[4] & KTP_BUNDLE_CURRENT) != 0;
    count = (size_t)get_number(at + 6, 2);
    if (count < 1u + (unsigned)has_current || count > KR_RECORDS_MAX)
        return -1;
    at += KTP_BUNDLE_HEADER;
    for (size_t i = 0; i < count; i++) {
        if (take_record(secret, i, has_current, &at, end) != 0)
            return -1;
    }
    return at == end ? 0 : -1;
}

static ktp_status_t fetch(ktp_txn_t *txn, const char *name, secret_t **ret_secret)
{
    kr_argument_t arguments[] = {KR_TEXT("SECRET.GETSEALED"), {name, strlen(name)}};
    secret_t *secret;
    ktp_status_t status;

    if (strlen(name) > KR_NAME_MAX)
        return fail(txn, KTP_MALFORMED, "a name", "it is too long");
    secret = calloc(1, sizeof(*secret));
    if (secret == NULL)
        return fail(txn, KTP_UNAVAIL, name, "out of memory");
    memcpy(secret->name, name, strlen(name));
    status = kr_call(txn->instance, name, arguments, 2, &secret->reply);
    if (status == KTP_SUCCESS && secret->reply->type != REDIS_REPLY_NIL &&
        (secret->reply->type != REDIS_REPLY_STRING || take_bundle(secret) != 0))
        status = fail(txn, KTP_MALFORMED, name, "the server's answer is not a sealed secret");
    if (status != KTP_SUCCESS) {
        free_secret(secret);
        return status;
    }
    *ret_secret = secret;
    return KTP_SUCCESS;
}

static ktp_status_t find(ktp_txn_t *txn, const ktp_key_t *key, secret_t **ret_secret)
{
    ktp_status_t status;

    if (key->name == NULL)
        return fail(txn, KTP_MALFORMED, "a row", "it has no name");
    for (secret_t *secret = txn->secrets; secret != NULL; secret = secret->next) {
        if (strcmp(secret->name, key->name) == 0) {
            *ret_secret = secret;
            return KTP_SUCCESS;
        }
    }
    status = fetch(txn, key->name, ret_secret);
    if (status == KTP_SUCCESS) {
        (*ret_secret)->next = txn->secrets;
        txn->secrets = *ret_secret;
    }
    return status;
}

/* ---- rows ---- */

ktp_status_t kr_begin(ktp_instance_t *instance, int writing, unsigned timeout, ktp_txn_t **ret_txn)
{
    ktp_status_t status = kr_usable(instance);
    ktp_txn_t *txn;

    (void)timeout; /* there is no lock to wait for */
    if (status != KTP_SUCCESS)
        return status;
    txn = calloc(1, sizeof(*txn));
    if (txn == NULL)
        return kr_fail(instance, KTP_UNAVAIL, "out of memory");
    txn->instance = instance;
    txn->writing = writing;
    instance->txn = txn;
    *ret_txn = txn;
    return KTP_SUCCESS;
}

static void head_row(const secret_t *secret, ktp_row_t *ret_row)
{
    memset(ret_row, 0, sizeof(*ret_row));
    ret_row->record = secret->head.data;
    ret_row->record_size = secret->head.size;
    ret_row->beside = secret->current.data;
    ret_row->beside_size = secret->current.size;
    ret_row->stamp = stamp_of(secret);
}

ktp_status_t kr_row_get(ktp_txn_t *txn, const ktp_key_t *key, ktp_row_t *ret_row)
{
    const record_t *value;
    secret_t *secret;
    ktp_status_t status;

    if (key->space != KTP_HEAD && key->space != KTP_VALUE)
        return KTP_NOTFOUND;
    status = find(txn, key, &secret);
    if (status != KTP_SUCCESS)
        return status;
    if (key->space == KTP_HEAD) {
        if (secret->head.data == NULL)
            return KTP_NOTFOUND;
        head_row(secret, ret_row);
        return KTP_SUCCESS;
    }
    value = find_value(secret, key->version);
    if (value == NULL)
        return KTP_NOTFOUND;
    *ret_row = (ktp_row_t){.record = value->data, .record_size = value->size, .stamp = 1};
    return KTP_SUCCESS;
}

/* The secret that this transaction changes: one, and no other. */
static ktp_status_t find_changed(ktp_txn_t *txn, const ktp_key_t *key, secret_t **ret_secret)
{
    ktp_status_t status;

    if (!txn->writing)
        return fail(txn, KTP_CONFLICT, key->name != NULL ? key->name : "a row",
                    "this transaction only reads");
    if (key->space != KTP_HEAD && key->space != KTP_VALUE)
        return fail(txn, KTP_CONFLICT, "a row", "this store has heads and values only");
    status = find(txn, key, ret_secret);
    if (status != KTP_SUCCESS)
        return status;
    if (txn->changed != NULL && txn->changed != *ret_secret)
        return fail(txn, KTP_CONFLICT, key->name, "a transaction changes one secret only");
    return KTP_SUCCESS;
}

static ktp_status_t put_head(ktp_txn_t *txn, secret_t *secret, const ktp_row_t *row,
                             uint64_t expected)
{
    /* the row may be one that we gave: each is copied before the old one goes */
    if (stamp_of(secret) != expected)
        return fail(txn, KTP_CONFLICT, secret->name, "another writer was first");
    if (row->beside == NULL)
        forget(&secret->current);
    else if (keep(&secret->current, 0, row->beside, row->beside_size) != 0)
        return fail(txn, KTP_UNAVAIL, secret->name, "out of memory");
    if (keep(&secret->head, row->stamp, row->record, row->record_size) != 0)
        return fail(txn, KTP_UNAVAIL, secret->name, "out of memory");
    return KTP_SUCCESS;
}

static ktp_status_t put_value(ktp_txn_t *txn, secret_t *secret, uint64_t version,
                              const ktp_row_t *row, uint64_t expected)
{
    record_t *value = find_value(secret, version);

    if ((value != NULL) != (expected != 0))
        return fail(txn, KTP_CONFLICT, secret->name, "another writer was first");
    if (value == NULL && secret->count == KR_RECORDS_MAX - 2)
        return fail(txn, KTP_CONFLICT, secret->name, "too many versions");
    if (value == NULL)
        value = &secret->values[secret->count++];
    if (keep(value, version, row->record, row->record_size) != 0)
        return fail(txn, KTP_UNAVAIL, secret->name, "out of memory");
    return KTP_SUCCESS;
}

ktp_status_t kr_row_put(ktp_txn_t *txn, const ktp_key_t *key, const ktp_row_t *row,
                        uint64_t expected)
{
    secret_t *secret;
    ktp_status_t status;

    status = find_changed(txn, key, &secret);
    if (status == KTP_SUCCESS && (row->record_size > KTP_ROW_MAX || row->beside_size > KTP_ROW_MAX))
        status = fail(txn, KTP_MALFORMED, secret->name, "a record is too long");
    if (status == KTP_SUCCESS)
        status = key->space == KTP_HEAD ? put_head(txn, secret, row, expected)
                                        : put_value(txn, secret, key->version, row, expected);
    if (status == KTP_SUCCESS)
        txn->changed = secret;
    return status;
}

ktp_status_t kr_expire(ktp_txn_t *txn, const ktp_key_t *key, int64_t when)
{
    if (key->space == KTP_HEAD)
        txn->expires = when;
    return KTP_SUCCESS;
}

/* A head is not removed: a deletion is a head that says so, lest an older copy pass for the present
 * one. */
ktp_status_t kr_row_remove(ktp_txn_t *txn, const ktp_key_t *key, uint64_t expected)
{
    record_t *value;
    secret_t *secret;
    ktp_status_t status;

    status = find_changed(txn, key, &secret);
    if (status != KTP_SUCCESS)
        return status;
    if (key->space == KTP_HEAD)
        return fail(txn, KTP_CONFLICT, secret->name, "a head cannot be removed from this store");
    value = find_value(secret, key->version);
    if (value == NULL || expected != 1)
        return fail(txn, KTP_CONFLICT, secret->name, "another writer was first");
    forget(value);
    *value = secret->values[--secret->count];
    memset(&secret->values[secret->count], 0, sizeof(*value));
    txn->changed = secret;
    return KTP_SUCCESS;
}

/* ---- commit ---- */

static int by_falling_version(const void *a, const void *b)
{
    const record_t *x = a, *y = b;

    return x->version < y->version ? 1 : x->version > y->version ? -1 : 0;
}

static unsigned char *put_record(unsigned char *at, const record_t *record)
{
    at = put_number(at, LENGTH_SIZE, record->size);
    memcpy(at, record->data, record->size);
    return at + record->size;
}

static unsigned char *make_bundle(secret_t *secret, size_t *ret_size)
{
    size_t count = 1 + (secret->current.data != NULL) + secret->count;
    size_t size =
        KTP_BUNDLE_HEADER + count * LENGTH_SIZE + secret->head.size + secret->current.size;
    unsigned char *bundle, *at;

    for (size_t i = 0; i < secret->count; i++)
        size += secret->values[i].size;
    bundle = malloc(size);
    if (bundle == NULL)
        return NULL;
    qsort(secret->values, secret->count, sizeof(secret->values[0]), by_falling_version);
    memcpy(bundle, MAGIC, 4);
    bundle[4] = secret->current.data != NULL ? KTP_BUNDLE_CURRENT : 0;
    bundle[5] = 0;
    at = put_number(bundle + 6, 2, count);
    at = put_record(at, &secret->head);
    if (secret->current.data != NULL)
        at = put_record(at, &secret->current);
    for (size_t i = 0; i < secret->count; i++)
        at = put_record(at, &secret->values[i]);
    *ret_size = size;
    return bundle;
}

/* The connection broke, so it is not known whether the server has it: ask. */
static ktp_status_t find_out(ktp_txn_t *txn, const char *name, const unsigned char *bundle,
                             size_t size, ktp_status_t status)
{
    secret_t *secret = NULL;
    int stored;

    if (fetch(txn, name, &secret) != KTP_SUCCESS)
        return status;
    stored = secret->reply->type == REDIS_REPLY_STRING && secret->reply->len == size &&
             memcmp(secret->reply->str, bundle, size) == 0;
    free_secret(secret);
    return stored ? KTP_SUCCESS : status;
}

static ktp_status_t commit(ktp_txn_t *txn)
{
    secret_t *secret = txn->changed;
    ktp_instance_t *instance = txn->instance;
    kr_argument_t arguments[] = {
        KR_TEXT("SECRET.SETSEALED"), {NULL, 0}, {NULL, 0}, KR_TEXT("PXAT"), {NULL, 0}};
    redisReply *reply = NULL;
    unsigned char *bundle;
    ktp_status_t status;
    size_t size = 0;
    char when[24];

    if (secret->head.data == NULL)
        return fail(txn, KTP_CONFLICT, secret->name, "values without a head");
    bundle = make_bundle(secret, &size);
    if (bundle == NULL)
        return fail(txn, KTP_UNAVAIL, secret->name, "out of memory");
    arguments[1] = (kr_argument_t){secret->name, strlen(secret->name)};
    arguments[2] = (kr_argument_t){(const char *)bundle, size};
    arguments[4] = (kr_argument_t){
        when, (size_t)snprintf(when, sizeof(when), "%lld", (long long)txn->expires)};
    /* the key ends with what is in it */
    status = kr_call(instance, secret->name, arguments, txn->expires != 0 ? 5 : 3, &reply);
    if (reply != NULL)
        freeReplyObject(reply);
    if (status == KTP_UNAVAIL && instance->broken)
        status = find_out(txn, secret->name, bundle, size, status);
    instance->generation++;
    free(bundle);
    return status;
}

ktp_status_t kr_commit(ktp_txn_t *txn)
{
    ktp_status_t status = txn->changed != NULL ? commit(txn) : KTP_SUCCESS;

    kr_abort(txn);
    return status;
}

void kr_abort(ktp_txn_t *txn)
{
    while (txn->secrets != NULL) {
        secret_t *next = txn->secrets->next;

        free_secret(txn->secrets);
        txn->secrets = next;
    }
    txn->instance->txn = NULL;
    free(txn);
}

/* ---- scan ---- */

typedef struct scan {
    ktp_scan_fn fn;
    void *arg;
    size_t shown, refused;
    int stop; /* as fn() answered */
} scan_t;

/*
 * One name. Passed over: a secret that went away meanwhile, one that we may list but not read,
 * which is counted, and one that a RENAME moved there: a single RENAME must not break the list for
 * all callers.
 */
static ktp_status_t scan_name(ktp_txn_t *txn, const char *name, scan_t *scan)
{
    ktp_key_t key = {.space = KTP_HEAD, .name = name};
    secret_t *secret = NULL;
    ktp_status_t status;
    ktp_row_t row;

    status = fetch(txn, name, &secret);
    if (status == KTP_FORBIDDEN) {
        scan->refused++;
        return KTP_SUCCESS;
    }
    if (status == KTP_MALFORMED && txn->instance->refusal == KR_RENAMED)
        return KTP_SUCCESS;
    if (status != KTP_SUCCESS)
        return status;
    if (secret->head.data != NULL) {
        head_row(secret, &row);
        scan->shown++;
        scan->stop = scan->fn(scan->arg, &key, &row);
    }
    free_secret(secret);
    return KTP_SUCCESS;
}

ktp_status_t kr_row_scan(ktp_txn_t *txn, ktp_space_t space, ktp_scan_fn fn, void *arg)
{
    kr_names_t names = {NULL, 0, 0};
    scan_t scan = {.fn = fn, .arg = arg};
    char why[sizeof(txn->instance->error)];
    ktp_status_t status;

    if (space != KTP_HEAD)
        return KTP_SUCCESS;
    status = kr_names_list(txn->instance, &names);
    for (size_t i = 0; status == KTP_SUCCESS && !scan.stop && i < names.count; i++) {
        if (i == 0 ||
            strcmp(names.list[i], names.list[i - 1]) != 0) /* a scan may answer a name twice */
            status = scan_name(txn, names.list[i], &scan);
    }
    kr_names_free(&names);
    if (status != KTP_SUCCESS || scan.refused == 0)
        return status;
    memcpy(why, txn->instance->error, sizeof(why));
    return kr_fail(txn->instance, KTP_FORBIDDEN,
                   "the list leaves out %zu of %zu, which our user may list but not read (give it "
                   "`read` in the policy of the server, and the keys in its ACL): %.80s",
                   scan.refused, scan.refused + scan.shown, why);
}
