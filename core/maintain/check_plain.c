/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_plain.c: does a provider of plain values answer? Where it can list, the first secret of its
 * list is read, as kt_get() reads it, and wiped at once. The value goes nowhere, so no audit line
 * says that it was read. It gives no names away: the answer is a number.
 */
#include <stdio.h>

#include "maintain.h"

typedef struct names {
    char first[KT_NAME_MAX + 1];
    size_t count;
} names_t;

static int count_name(void *arg, const char *name)
{
    names_t *names = arg;

    if (names->count++ == 0)
        (void)snprintf(names->first, sizeof(names->first), "%s", name);
    return 0;
}

static kt_status_t read_first(const kt_ctx_t *ctx, const kt_store_t *store, const char *name)
{
    ktp_request_t request = {sizeof(request), ctx->holder.config->environment, name, "current",
                             KT_WAIT};
    ktp_value_t value = {.size = sizeof(value)};
    kt_status_t status =
        kt_from_provider(store->name, store->api->get(store->instance, &request, &value));

    if (status == KT_SUCCESS)
        kt_locked_free(value.value.data);
    return status == KT_SUCCESS ? status : kt_fail_prefix(status, "%s", name);
}

kt_status_t kt_plain_try(const kt_ctx_t *ctx, const kt_store_t *store, char *ret_detail,
                         size_t size)
{
    names_t names = {.count = 0};
    kt_status_t status;

    if ((store->api->capabilities & KTP_LIST) == 0)
        return KT_SUCCESS;
    status =
        kt_from_provider(store->name, store->api->list(store->instance, count_name, &names));
    if (status == KT_SUCCESS && names.count > 0)
        status = read_first(ctx, store, names.first);
    if (status != KT_SUCCESS)
        return status;
    if (names.count == 0)
        (void)snprintf(ret_detail, size, "reachable, no secret is there");
    else
        (void)snprintf(ret_detail, size, "read 1 of %zu %s", names.count,
                       kt_plural(names.count, "secret", "secrets"));
    return KT_SUCCESS;
}
