/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * received_store.c: the generations of a store in the lines that an external sink received.
 *
 * A checkpoint has the store's id, and so has a change. Lines of other stores are counted only:
 * many machines may send to one sink, and two homes of one user have streams of the same name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "generations.h"
#include "verify.h"

#define LATEST_MAX 4096u

typedef struct latest { /* of a type */
    kt_generation_t generation;
    size_t line;
} latest_t;

typedef struct received {
    const char *path, *store;
    const unsigned char *id;
    latest_t *list;
    size_t count;
    kt_received_sum_t *sum;
} received_t;

static kt_status_t add(received_t *received, const latest_t *latest)
{
    size_t i;
    latest_t *list;

    for (i = 0; i < received->count; i++) {
        if (strcmp(received->list[i].generation.type, latest->generation.type) == 0)
            break;
    }
    if (i == received->count) {
        if (i == LATEST_MAX)
            return kt_fail(KT_MALFORMED, "%s: line %zu: more types than a store has",
                           received->path, latest->line);
        list = realloc(received->list, (i + 1) * sizeof(*list));
        if (list == NULL)
            return kt_no_memory();
        received->list = list;
        received->list[received->count++] = *latest;
    } else if (latest->generation.number > received->list[i].generation.number) {
        received->list[i] = *latest;
    }
    return KT_SUCCESS;
}

/* A syslog may have put anything in front of a line. */
static kt_status_t take_line(void *arg, char *line, size_t number)
{
    received_t *received = arg;
    const char *at = strstr(line, KT_AUDIT_TIME), *types;
    unsigned char id[KT_ID_SIZE];
    latest_t latest = {.line = number};
    kt_status_t status = KT_SUCCESS;
    bool change;

    if (at == NULL)
        return KT_SUCCESS;
    types = kt_audit_checkpoint(at, received->store, id);
    change = types == NULL && kt_audit_change(at, received->store, id, &latest.generation);
    if (types == NULL && !change)
        return KT_SUCCESS;
    if (memcmp(id, received->id, KT_ID_SIZE) != 0) {
        received->sum->others++;
        return KT_SUCCESS;
    }
    if (change) {
        received->sum->changes++;
        return add(received, &latest);
    }
    received->sum->checkpoints++;
    while (status == KT_SUCCESS && kt_audit_next_type(&types, &latest.generation))
        status = add(received, &latest);
    return status;
}

static void pass(const received_t *received, kt_generation_fn fn, void *arg)
{
    char where[KT_WHERE_SIZE];
    size_t i;

    for (i = 0; i < received->count; i++) {
        const latest_t *latest = &received->list[i];

        (void)snprintf(where, sizeof(where), "line %zu of %s", latest->line, received->path);
        fn(arg, latest->generation.type, latest->generation.number, received->id, where);
    }
}

kt_status_t kt_received_generations(const char *path, const char *store,
                                    const unsigned char store_id[KT_ID_SIZE], kt_generation_fn fn,
                                    void *arg, kt_received_sum_t *ret_sum)
{
    received_t received = {.path = path, .store = store, .id = store_id, .sum = ret_sum};
    kt_status_t status;

    memset(ret_sum, 0, sizeof(*ret_sum));
    status = kt_received_lines(path, take_line, &received);
    if (status == KT_SUCCESS)
        pass(&received, fn, arg);
    free(received.list);
    return status;
}
