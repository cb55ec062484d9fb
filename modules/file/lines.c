/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lines.c: a file of NAME=VALUE lines, read by the host as the configured dialect does. A variable
 * with an empty value counts as unset, as in an environment.
 */
#define _GNU_SOURCE
#include <string.h>

#include "file.h"

static ktp_status_t read_lines(const ktp_instance_t *instance, int fd, const char *path,
                               ktp_pair_fn fn, void *arg)
{
    const ktp_services_t *services = instance->services;
    ktp_buffer_t text;
    ktp_status_t status = place_read(instance, fd, path, LINES_MAX, &text);

    if (status != KTP_SUCCESS)
        return status;
    status = services->dotenv(services->host, instance->dialect, path, (const char *)text.data,
                              text.size, fn, arg);
    services->secret_free(services->host, text.data);
    return status;
}

/* ---- get ---- */

typedef struct wanted {
    const ktp_services_t *services;
    const char *variable;
    size_t length;
    ktp_buffer_t value; /* of the last pair of that name */
    int no_memory, too_large;
} wanted_t;

static int take(void *arg, const char *name, size_t name_size, const char *value,
                size_t value_size)
{
    wanted_t *wanted = arg;

    if (name_size != wanted->length || memcmp(name, wanted->variable, name_size) != 0)
        return 0;
    wanted->services->secret_free(wanted->services->host, wanted->value.data);
    wanted->value = (ktp_buffer_t){NULL, 0};
    wanted->too_large = value_size > VALUE_MAX;
    if (value_size == 0 || wanted->too_large)
        return 0;
    wanted->value.data = wanted->services->secret_alloc(wanted->services->host, value_size);
    if (wanted->value.data == NULL) {
        wanted->no_memory = 1;
        return 1;
    }
    memcpy(wanted->value.data, value, value_size);
    wanted->value.size = value_size;
    return 0;
}

ktp_status_t lines_get(const ktp_instance_t *instance, int fd, const char *path, const char *name,
                       ktp_value_t *ret_value)
{
    wanted_t wanted = {.services = instance->services};
    size_t prefix = strlen(instance->prefix);
    char variable[2 * NAME_ROOM];
    ktp_status_t status;

    if (prefix + strlen(name) >= sizeof variable)
        return KTP_NOTFOUND;
    memcpy(variable, instance->prefix, prefix);
    wanted.variable = variable;
    wanted.length = prefix + ktp_variable_name(name, strlen(name), variable + prefix);
    status = read_lines(instance, fd, path, take, &wanted);
    if (status == KTP_SUCCESS && wanted.no_memory)
        status = ktp_fail(instance->services, KTP_TRYAGAIN, "%s: out of locked memory", path);
    if (status == KTP_SUCCESS && wanted.too_large)
        status = ktp_fail(instance->services, KTP_MALFORMED, "%s: %s is over %u bytes", path,
                          variable, VALUE_MAX);
    if (status == KTP_SUCCESS && wanted.value.data == NULL)
        status = KTP_NOTFOUND;
    if (status != KTP_SUCCESS) {
        instance->services->secret_free(instance->services->host, wanted.value.data);
        return status;
    }
    *ret_value = (ktp_value_t){.size = ret_value->size, .value = wanted.value};
    return KTP_SUCCESS;
}

/* ---- list ---- */

typedef struct listing {
    const ktp_instance_t *instance;
    char (*names)[NAME_ROOM];
    size_t count, room;
    int more; /* than there is room for */
} listing_t;

/* Each name once, and only those that have a value in the end. */
static int collect(void *arg, const char *name, size_t name_size, const char *value,
                   size_t value_size)
{
    listing_t *listing = arg;
    size_t prefix = strlen(listing->instance->prefix), i = 0;
    char plain[NAME_ROOM], back[NAME_ROOM];

    (void)value;
    if (name_size <= prefix || name_size - prefix >= NAME_ROOM ||
        memcmp(name, listing->instance->prefix, prefix) != 0)
        return 0;
    memcpy(plain, name + prefix, name_size - prefix);
    plain[name_size - prefix] = '\0';
    (void)ktp_variable_name(plain, name_size - prefix, back);
    if (strcmp(plain, back) != 0)
        return 0; /* no name leads to it */
    while (i < listing->count && strcmp(listing->names[i], plain) != 0)
        i++;
    if (i < listing->count && value_size == 0)
        memmove(listing->names[i], listing->names[--listing->count], NAME_ROOM);
    else if (i == listing->count && value_size > 0) {
        if (listing->count == listing->room) {
            listing->more = 1;
            return 1;
        }
        memcpy(listing->names[listing->count++], plain, sizeof plain);
    }
    return 0;
}

ktp_status_t lines_list(const ktp_instance_t *instance, int fd, const char *path, list_fn fn,
                        void *arg)
{
    const ktp_services_t *services = instance->services;
    listing_t listing = {.instance = instance, .room = LINES_MAX / NAME_ROOM};
    ktp_status_t status;

    listing.names = services->secret_alloc(services->host, listing.room * NAME_ROOM);
    if (listing.names == NULL)
        return ktp_fail(services, KTP_TRYAGAIN, "%s: out of locked memory", path);
    status = read_lines(instance, fd, path, collect, &listing);
    if (status == KTP_SUCCESS && listing.more) /* a part of the list would pass for all of it */
        status = ktp_fail(services, KTP_MALFORMED, "%s: has more than %zu variables to list", path,
                          listing.room);
    for (size_t i = 0; i < listing.count && status == KTP_SUCCESS; i++)
        if (fn(arg, listing.names[i]) != 0)
            break;
    services->secret_free(services->host, listing.names);
    return status;
}
