/* SPDX-License-Identifier: BSD-2-Clause */
/* plain.c: two plain providers whose answers the test writes down. */
#include "world.h"

#include <stdio.h>

struct ktp_instance {
    const ktp_services_t *services;
    plain_t *told;
};

plain_t plain[2];

static ktp_status_t open_of(const ktp_services_t *services, plain_t *told,
                            ktp_instance_t **ret_instance)
{
    ktp_instance_t *instance = calloc(1, sizeof(*instance));

    instance->services = services;
    instance->told = told;
    *ret_instance = instance;
    return KTP_SUCCESS;
}

static ktp_status_t plain_open(const ktp_services_t *services, const ktp_option_t *options,
                               size_t count, ktp_instance_t **ret_instance)
{
    (void)options, (void)count;
    return open_of(services, &plain[0], ret_instance);
}

static ktp_status_t remote_open(const ktp_services_t *services, const ktp_option_t *options,
                                size_t count, ktp_instance_t **ret_instance)
{
    (void)options, (void)count;
    return open_of(services, &plain[1], ret_instance);
}

static void plain_close(ktp_instance_t *instance)
{
    free(instance);
}

static ktp_status_t plain_check(ktp_instance_t *instance, int writing)
{
    (void)instance, (void)writing;
    return KTP_SUCCESS;
}

static ktp_status_t plain_get(ktp_instance_t *instance, const ktp_request_t *request,
                              ktp_value_t *ret_value)
{
    plain_t *told = instance->told;
    size_t size;

    told->gets++;
    (void)snprintf(told->asked, sizeof(told->asked), "%s@%s", request->name, request->version);
    if (told->during != NULL)
        told->during();
    if (told->error != NULL && told->status != KTP_SUCCESS)
        instance->services->error(NULL, "%s", told->error);
    if (told->status != KTP_SUCCESS)
        return told->status;
    size = strlen(told->value);
    ret_value->value.data = instance->services->secret_alloc(NULL, size + 1);
    if (ret_value->value.data == NULL)
        return KTP_UNAVAIL;
    memcpy(ret_value->value.data, told->value, size);
    ret_value->value.size = size;
    ret_value->version = told->version;
    ret_value->expires = told->expires;
    return KTP_SUCCESS;
}

/* Its own connection's, as that of a server is. */
static ktp_status_t plain_token(ktp_instance_t *instance, unsigned char ret_token[KTP_TOKEN_SIZE])
{
    if (instance->told->no_token) {
        instance->services->error(NULL, "no token");
        return KTP_UNAVAIL;
    }
    memset(ret_token, 0, KTP_TOKEN_SIZE);
    memcpy(ret_token, &instance->told->token, sizeof(instance->told->token));
    memcpy(ret_token + 16, &instance, sizeof(instance));
    return KTP_SUCCESS;
}

static const ktp_option_spec_t no_options[] = {{NULL, KTP_STRING, 0, NULL, NULL}};

const ktp_provider_t plain_provider = {
    KTP_HEADER,         .name = "plain",      .capabilities = KTP_VERSIONS, .options = no_options,
    .open = plain_open, .close = plain_close, .check = plain_check,         .get = plain_get,
};

const ktp_provider_t remote_provider = {
    KTP_HEADER,
    .name = "remote",
    .capabilities = KTP_BLOCKING | KTP_TOKEN,
    .options = no_options,
    .open = remote_open,
    .close = plain_close,
    .check = plain_check,
    .get = plain_get,
    .token = plain_token,
};
