/* SPDX-License-Identifier: BSD-2-Clause */
/* redis.c: the provider's record, its options, and whether the server is fit for us. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "rows.h"
#include "watch.h"

enum { OPT_ADDRESS, OPT_USERNAME, OPT_PASSWORD, OPT_TIMEOUT, OPT_DB };

static const ktp_option_spec_t options_of_redis[] = {
    {"address", KTP_STRING, 1, NULL, "HOST:PORT, [IPV6]:PORT or unix:PATH"},
    {"username", KTP_STRING, 0, NULL, "ACL user; without it the default user"},
    {"password", KTP_SECRET, 0, NULL, "of that user"},
    {"timeout", KTP_DURATION, 0, "2s", "for one exchange, connecting included"},
    {"db", KTP_NUMBER, 0, "0", "number of the database"},
    {NULL, KTP_STRING, 0, NULL, NULL},
};

/* ---- options ---- */

/* 0, or -1: not an address. */
static int parse_address(ktp_instance_t *instance, const char *address)
{
    const char *colon = strrchr(address, ':');
    const char *start = address;
    size_t len;
    char *end;

    if (strncmp(address, "unix:", 5) == 0) {
        instance->path = address + 5;
        return address[5] == '/' ? 0 : -1;
    }
    if (colon == NULL || strstr(address, "//") != NULL)
        return -1;
    instance->port = (int)strtol(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || instance->port < 1 || instance->port > 65535)
        return -1;
    len = (size_t)(colon - address);
    if (len > 2 && address[0] == '[' && colon[-1] == ']') {
        start++;
        len -= 2;
    }
    instance->host = len > 0 ? strndup(start, len) : NULL;
    return instance->host != NULL ? 0 : -1;
}

/* Where an option stands, for the operator who has to change it. */
static ktp_status_t bad_option(const ktp_services_t *services, const ktp_option_t *option,
                               const char *what)
{
    return ktp_fail(services, KTP_MALFORMED, "%s:%d: %s: %s",
                    option->file != NULL ? option->file : "redis", option->line, option->name,
                    what);
}

static void take_password(ktp_instance_t *instance, const ktp_option_t *option)
{
    size_t size = option->text_size;

    if (option->text == NULL)
        return;
    /* a file that an editor wrote ends with a newline */
    if (size > 0 && option->text[size - 1] == '\n')
        size--;
    if (size > 0 && option->text[size - 1] == '\r')
        size--;
    instance->password = option->text;
    instance->password_size = size;
}

static ktp_status_t take_options(ktp_instance_t *instance, const ktp_option_t *options)
{
    instance->address = options[OPT_ADDRESS].text;
    if (parse_address(instance, instance->address) != 0)
        return bad_option(instance->services, &options[OPT_ADDRESS],
                          "not HOST:PORT, [IPV6]:PORT or unix:/PATH (TLS is not spoken)");
    instance->username = options[OPT_USERNAME].text;
    take_password(instance, &options[OPT_PASSWORD]);
    if (instance->username != NULL && instance->password == NULL)
        return bad_option(instance->services, &options[OPT_USERNAME], "a user without a password");
    instance->timeout = options[OPT_TIMEOUT].number;
    if (instance->timeout < 1 || instance->timeout > 600000)
        return bad_option(instance->services, &options[OPT_TIMEOUT], "from 1ms to 10m");
    instance->db = options[OPT_DB].number;
    if (instance->db < 0 || instance->db > INT32_MAX)
        return bad_option(instance->services, &options[OPT_DB], "not the number of a database");
    return KTP_SUCCESS;
}

/* ---- open, close, check ---- */

static void redis_close(ktp_instance_t *instance)
{
    if (instance->txn != NULL)
        kr_abort(instance->txn);
    kr_close(&instance->commands);
    kr_close(&instance->watch);
    free(instance->host);
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

/* A replica takes no writes. A user that may not ask for the role finds out when it writes. */
static ktp_status_t check_role(ktp_instance_t *instance)
{
    static const kr_argument_t role[] = {KR_TEXT("ROLE")};
    redisReply *reply = NULL;
    ktp_status_t status = kr_call(instance, role, 1, &reply);

    if (status == KTP_FORBIDDEN)
        return KTP_SUCCESS;
    if (status != KTP_SUCCESS)
        return status;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
        reply->element[0]->type == REDIS_REPLY_STRING &&
        strcmp(reply->element[0]->str, "master") != 0)
        status = kr_fail(instance, KTP_UNAVAIL, "this is a replica: it takes no writes");
    freeReplyObject(reply);
    return status;
}

static ktp_status_t check(ktp_instance_t *instance, int writing)
{
    static const kr_argument_t list[] = {KR_TEXT("SECRET.LIST"), KR_TEXT("0"), KR_TEXT("COUNT"),
                                         KR_TEXT("1")};
    redisReply *reply = NULL;
    ktp_status_t status = kr_call(instance, list, 4, &reply);

    if (status != KTP_SUCCESS)
        return status;
    freeReplyObject(reply);
    return writing ? check_role(instance) : KTP_SUCCESS;
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
    return say(instance, check(instance, writing));
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
};
