/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * expect.c: what the audit log says about a store, before the first read of it: an older store that
 * was put in place together with its anchors is noticed.
 */
#include <fcntl.h>

#include "serve.h"

static void expect(void *arg, const char *type, uint64_t generation,
                   const unsigned char store_id[KT_ID_SIZE], const char *where)
{
    kt_expected_add(arg, type, generation, store_id, where);
}

void kt_expect(const kt_ctx_t *ctx, kt_store_t *store)
{
    if (store->anchors != NULL)
        kt_audit_generations(ctx->holder.config->audit_path, ctx->holder.stream, store->name,
                             expect, &store->expected);
}

kt_status_t kt_expect_own(const kt_ctx_t *ctx, kt_store_t *store, kt_check_fn note, void *arg)
{
    if (store->anchors == NULL)
        return KT_SUCCESS;
    return kt_audit_all_generations(ctx->holder.config->audit_path, ctx->holder.stream, store->name,
                                    expect, &store->expected, note, arg);
}

static void tell_unread(void *arg, kt_status_t status, const char *what, const char *text)
{
    const kt_ctx_t *ctx = arg;

    (void)status;
    (void)what;
    kt_log(&ctx->holder.logger, 4, "%s", text);
}

void kt_expect_all(kt_ctx_t *ctx, kt_store_t *store)
{
    const char *path = ctx->holder.config->audit_path;
    kt_folder_t list;

    if (store->anchors == NULL || !kt_folder_open(&list, AT_FDCWD, path))
        return;
    while (kt_folder_next(&list)) {
        if (list.name[0] != '.')
            (void)kt_audit_all_generations(path, list.name, store->name, expect, &store->expected,
                                           tell_unread, ctx);
    }
    (void)kt_folder_close(&list);
}

kt_status_t kt_expect_received(kt_store_t *store, const char *path,
                               const unsigned char store_id[KT_ID_SIZE], kt_received_sum_t *ret_sum)
{
    return kt_received_generations(path, store->name, store_id, expect, &store->expected, ret_sum);
}
