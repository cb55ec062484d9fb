/* SPDX-License-Identifier: BSD-2-Clause */
/* usage.c: adds up the access statistics of all streams. */
#include <stdlib.h>
#include <string.h>

#include "serve.h"

typedef struct row {
    char name[KT_NAME_MAX + 1];
    kt_access_sum_t sum;
} row_t;

typedef struct rows {
    row_t *list;
    size_t count, room;
    bool no_memory;
} rows_t;

static void collect(void *arg, const char *name, const kt_access_sum_t *sum)
{
    rows_t *rows = arg;
    row_t *more;

    if (rows->count == rows->room) {
        more = realloc(rows->list, (rows->room * 2 + 64) * sizeof(*more));
        rows->no_memory = rows->no_memory || more == NULL;
        if (more == NULL)
            return;
        rows->list = more;
        rows->room = rows->room * 2 + 64;
    }
    memcpy(rows->list[rows->count].name, name, strlen(name) + 1);
    rows->list[rows->count++].sum = *sum;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const row_t *)a)->name, ((const row_t *)b)->name);
}

static void add(kt_access_sum_t *to, const kt_access_sum_t *sum)
{
    to->count += sum->count;
    if (sum->last <= to->last)
        return;
    to->last = sum->last;
    memcpy(to->subject, sum->subject, sizeof(to->subject));
    memcpy(to->stream, sum->stream, sizeof(to->stream));
}

static void merge(rows_t *rows)
{
    size_t i, n = 0;

    if (rows->count > 0)
        qsort(rows->list, rows->count, sizeof(*rows->list), by_name);
    for (i = 0; i < rows->count; i++) {
        if (n > 0 && strcmp(rows->list[n - 1].name, rows->list[i].name) == 0)
            add(&rows->list[n - 1].sum, &rows->list[i].sum);
        else
            rows->list[n++] = rows->list[i];
    }
    rows->count = n;
}

void kt_usage_fill(const char *name, const kt_access_sum_t *sum, kt_usage_t *ret_usage)
{
    *ret_usage = (kt_usage_t){name,
                              sum->count,
                              sum->last,
                              sum->subject[0] != '\0' ? sum->subject : NULL,
                              sum->lost,
                              sum->hidden,
                              sum->stream[0] != '\0' ? sum->stream : NULL};
}

kt_status_t kt_usage(kt_ctx_t *ctx, kt_usage_fn fn, void *arg, kt_usage_t *ret_total)
{
    kt_access_sum_t total;
    rows_t rows = {.list = NULL};
    kt_usage_t usage;
    kt_status_t status = kt_enter(ctx);
    size_t i;

    if (status != KT_SUCCESS)
        return status;
    kt_leave(ctx); /* files are read without keeping others waiting */
    kt_access_all(ctx->holder.config, ctx->holder.stream, collect, &rows, &total);
    if (rows.no_memory)
        status = kt_no_memory();
    merge(&rows);
    for (i = 0; status == KT_SUCCESS && i < rows.count; i++) {
        add(&total, &rows.list[i].sum);
        kt_usage_fill(rows.list[i].name, &rows.list[i].sum, &usage);
        if (fn(arg, &usage) != 0)
            break;
    }
    if (status == KT_SUCCESS && ret_total != NULL) {
        kt_usage_fill("", &total, ret_total);
        ret_total->subject = ret_total->stream = NULL; /* they point into `total` */
    }
    free(rows.list);
    return status;
}
