/* SPDX-License-Identifier: BSD-2-Clause */
/* redis.c: the provider's record and its options. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "account.h"
#include "check.h"
#include "cluster.h"
#include "open.h"
#include "rows.h"
#include "servers.h"
#include "watch.h"

enum {
    OPT_ADDRESS,
    OPT_USERNAME,
    OPT_PASSWORD,
    OPT_TIMEOUT,
    OPT_DB,
    OPT_TLS_CA,
    OPT_TLS_CERT,
    OPT_TLS_KEY,
    OPT_TLS_NAME,
    OPT_MASTER,
    OPT_SENTINELS,
    OPT_SENTINEL_USERNAME,
    OPT_SENTINEL_PASSWORD
};

#define ADDRESS "HOST:PORT, [IPV6]:PORT, rediss://HOST:PORT (TLS) or unix:/PATH"

static const ktp_option_spec_t options_of_redis[] = {
    {"address", KTP_STRINGS, 0, NULL, ADDRESS "; several in a list"},
    {"username", KTP_STRING, 0, NULL, "ACL user; without it the default user"},
    {"password", KTP_SECRETS, 0, NULL, "of that user; several in a list are tried in turn"},
    {"timeout", KTP_DURATION, 0, "2s", "for one exchange, connecting included"},
    {"db", KTP_NUMBER, 0, "0", "number of the database"},
    {"tls.ca", KTP_PATH, 0, NULL, "who signs the server's certificate; else the system's"},
    {"tls.cert", KTP_PATH, 0, NULL, "our certificate"},
    {"tls.key", KTP_PATH, 0, NULL, "its key"},
    {"tls.name", KTP_STRING, 0, NULL, "in the server's certificate, in place of the host"},
    {"sentinel.master", KTP_STRING, 0, NULL, "what the Sentinels call the servers"},
    {"sentinel.addresses", KTP_STRINGS, 0, NULL, "of the Sentinels"},
    {"sentinel.username", KTP_STRING, 0, NULL, "ACL user of the Sentinels"},
    {"sentinel.password", KTP_SECRET, 0, NULL, "of that user"},
    {NULL, KTP_STRING, 0, NULL, NULL},
};

/* ---- options ---- */

/* Where an option stands, for the operator who has to change it. */
static ktp_status_t bad_option(const ktp_services_t *services, const ktp_option_t *option,
                               const char *what)
{
    return ktp_fail(services, KTP_MALFORMED, "%s:%d: %s: %s",
                    option->file != NULL ? option->file : "redis", option->line, option->name,
                    what);
}

static ktp_status_t take_log_in(ktp_instance_t *instance, const ktp_option_t *options)
{
    const ktp_option_t *password = &options[OPT_PASSWORD], *other = &options[OPT_SENTINEL_PASSWORD];
    const ktp_services_t *services = instance->services;

    instance->username = options[OPT_USERNAME].text;
    instance->password = password->text;
    instance->password_size = kr_trim(password->text, password->text_size);
    if (password->text != NULL &&
        services->size >= offsetof(ktp_services_t, secret) + sizeof(services->secret))
        instance->password_option = password->name;
    instance->sentinel_username = options[OPT_SENTINEL_USERNAME].text;
    instance->sentinel_password = other->text;
    instance->sentinel_password_size = kr_trim(other->text, other->text_size);
    if (instance->username != NULL && instance->password == NULL)
        return bad_option(services, &options[OPT_USERNAME], "a user without a password");
    return KTP_SUCCESS;
}

static ktp_status_t take_tls(ktp_instance_t *instance, const ktp_option_t *options)
{
    kr_tls_t *files = &instance->files;

    files->ca = options[OPT_TLS_CA].text;
    files->cert = options[OPT_TLS_CERT].text;
    files->key = options[OPT_TLS_KEY].text;
    files->name = options[OPT_TLS_NAME].text;
    if ((files->cert != NULL) != (files->key != NULL))
        return bad_option(instance->services,
                          &options[files->cert != NULL ? OPT_TLS_CERT : OPT_TLS_KEY],
                          "a certificate and its key come together");
    if (files->ca != NULL || files->cert != NULL || files->name != NULL)
        instance->tls = files;
    return KTP_SUCCESS;
}

static ktp_status_t take_servers(ktp_instance_t *instance, const ktp_option_t *options)
{
    const ktp_option_t *address = &options[OPT_ADDRESS], *sentinels = &options[OPT_SENTINELS];

    instance->master = options[OPT_MASTER].text;
    if ((instance->master != NULL) != (sentinels->text != NULL))
        return bad_option(instance->services,
                          &options[instance->master != NULL ? OPT_MASTER : OPT_SENTINELS],
                          "`master` and `addresses` come together");
    if ((address->text != NULL) == (sentinels->text != NULL))
        return bad_option(instance->services, address,
                          "either this is given, or `sentinel`, which finds it");
    if (address->text != NULL && kr_list_take(&instance->servers, address->text) != 0)
        return bad_option(instance->services, address, "not " ADDRESS);
    if (sentinels->text != NULL && kr_list_take(&instance->sentinels, sentinels->text) != 0)
        return bad_option(instance->services, sentinels, "not " ADDRESS);
    instance->address =
        address->text != NULL ? instance->servers.items[0] : instance->sentinels.items[0];
    return KTP_SUCCESS;
}

static ktp_status_t take_options(ktp_instance_t *instance, const ktp_option_t *options)
{
    ktp_status_t status = take_servers(instance, options);

    if (status == KTP_SUCCESS)
        status = take_log_in(instance, options);
    if (status == KTP_SUCCESS)
        status = take_tls(instance, options);
    if (status != KTP_SUCCESS)
        return status;
    instance->timeout = options[OPT_TIMEOUT].number;
    if (instance->timeout < 1 || instance->timeout > 600000)
        return bad_option(instance->services, &options[OPT_TIMEOUT], "from 1ms to 10m");
    instance->db = options[OPT_DB].number;
    if (instance->db < 0 || instance->db > INT32_MAX)
        return bad_option(instance->services, &options[OPT_DB], "not the number of a database");
    return KTP_SUCCESS;
}

/* ---- open, close ---- */

static void redis_close(ktp_instance_t *instance)
{
    if (instance->txn != NULL)
        kr_abort(instance->txn);
    kr_close(&instance->commands);
    kr_close(&instance->watch);
    kr_cluster_free(instance);
    if (instance->kept.data != NULL)
        instance->services->secret_free(instance->services->host, instance->kept.data);
    free(instance->host);
    free(instance->servers.text);
    free(instance->sentinels.text);
    free(instance);
}

static ktp_status_t redis_open(const ktp_services_t *services, const ktp_option_t *options,
                               size_t count, ktp_instance_t **ret_instance)
{
    ktp_instance_t *instance = calloc(1, sizeof(*instance));
    ktp_status_t status;

    (void)count;
    if (instance == NULL)
        return ktp_fail(services, KTP_UNAVAIL, "out of memory");
    instance->services = services;
    instance->pid = getpid();
    instance->born = (uint64_t)services->now(services->host) << 20 ^ (uint64_t)(uintptr_t)instance;
    status = take_options(instance, options);
    if (status != KTP_SUCCESS) {
        redis_close(instance);
        return status;
    }
    *ret_instance = instance;
    return KTP_SUCCESS;
}

/* ---- what the host calls: each failure is said once, here ---- */

static ktp_status_t say(ktp_instance_t *instance, ktp_status_t status)
{
    if (status == KTP_SUCCESS || status == KTP_NOTFOUND)
        return status;
    return ktp_fail(instance->services, status, "redis at %s: %s", instance->address,
                    instance->error);
}

static ktp_status_t redis_check(ktp_instance_t *instance, int writing)
{
    return say(instance, kr_check(instance, writing));
}

static ktp_status_t redis_begin(ktp_instance_t *instance, int writing, unsigned timeout,
                                ktp_txn_t **ret_txn)
{
    return say(instance, kr_begin(instance, writing, timeout, ret_txn));
}

static ktp_status_t redis_row_get(ktp_txn_t *txn, const ktp_key_t *key, ktp_row_t *ret_row)
{
    return say(kr_instance(txn), kr_row_get(txn, key, ret_row));
}

static ktp_status_t redis_row_put(ktp_txn_t *txn, const ktp_key_t *key, const ktp_row_t *row,
                                  uint64_t expected)
{
    return say(kr_instance(txn), kr_row_put(txn, key, row, expected));
}

static ktp_status_t redis_row_remove(ktp_txn_t *txn, const ktp_key_t *key, uint64_t expected)
{
    return say(kr_instance(txn), kr_row_remove(txn, key, expected));
}

static ktp_status_t redis_row_scan(ktp_txn_t *txn, ktp_space_t space, ktp_scan_fn fn, void *arg)
{
    return say(kr_instance(txn), kr_row_scan(txn, space, fn, arg));
}

static ktp_status_t redis_commit(ktp_txn_t *txn)
{
    ktp_instance_t *instance = kr_instance(txn); /* the transaction ends with the call */

    return say(instance, kr_commit(txn));
}

static ktp_status_t redis_token(ktp_instance_t *instance, unsigned char ret_token[KTP_TOKEN_SIZE])
{
    return say(instance, kr_token(instance, ret_token));
}

__attribute__((visibility("default"))) const ktp_provider_t keyturn_provider = {
    KTP_HEADER,
    .name = "redis",
    .capabilities =
        KTP_SEALED | KTP_BLOCKING | KTP_WRITE | KTP_LIST | KTP_CAS | KTP_CLEAR_NAMES | KTP_TOKEN,
    .options = options_of_redis,
    .open = redis_open,
    .close = redis_close,
    .check = redis_check,
    .begin = redis_begin,
    .row_get = redis_row_get,
    .row_put = redis_row_put,
    .row_remove = redis_row_remove,
    .row_scan = redis_row_scan,
    .commit = redis_commit,
    .abort = kr_abort,
    .token = redis_token,
    .expire = kr_expire,
    .account = kr_account,
};
