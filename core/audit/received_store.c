/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * received_store.c: the generations of a store in the lines that an external sink received.
 *
 * A checkpoint has the store's id, and other stores are counted only. A change has no id: it
 * belongs to the checkpoint before it of the same stream in the same boot. Two homes of one user
 * have the same stream, so the changes of a stream with checkpoints of two stores do not count.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "generations.h"
#include "verify.h"

#define SOURCES_MAX 512u /* streams, each in one boot, whose changes are compared */
#define LATEST_MAX 4096u
#define SOURCE_HASH 16u

typedef struct source {
    unsigned char hash[SOURCE_HASH]; /* of boot and stream */
    bool ours, others;               /* it has checkpoints of this store, of another one */
} source_t;

typedef struct latest { /* of a type */
    kt_generation_t generation;
    size_t source, line;
    bool certain; /* a checkpoint has it */
} latest_t;

typedef struct received {
    const char *path, *store;
    const unsigned char *id;
    source_t sources[SOURCES_MAX];
    size_t nsources;
    latest_t *list;
    size_t count;
    kt_received_sum_t *sum;
} received_t;

/* NULL: there is no room. */
static source_t *source_of(received_t *received, const char *line)
{
    const char *boot = strstr(line, ",\"boot\":\""), *end;
    unsigned char hash[SOURCE_HASH];
    size_t i;

    end = boot != NULL ? strstr(boot, ",\"seq\":") : NULL;
    if (end == NULL)
        return NULL;
    (void)crypto_generichash(hash, sizeof(hash), (const unsigned char *)boot, (size_t)(end - boot),
                             NULL, 0);
    for (i = 0; i < received->nsources; i++)
        if (memcmp(received->sources[i].hash, hash, sizeof(hash)) == 0)
            return &received->sources[i];
    if (i == SOURCES_MAX)
        return NULL;
    received->nsources++;
    memcpy(received->sources[i].hash, hash, sizeof(hash));
    return &received->sources[i];
}

static kt_status_t add(received_t *received, const latest_t *latest)
{
    size_t i;
    latest_t *list;

    for (i = 0; i < received->count; i++) {
        if (received->list[i].certain == latest->certain &&
            received->list[i].source == latest->source &&
            strcmp(received->list[i].generation.type, latest->generation.type) == 0)
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

static kt_status_t take_checkpoint(received_t *received, const char *types, bool ours,
                                   source_t *source, size_t number)
{
    latest_t latest = {.certain = true, .line = number};
    kt_status_t status = KT_SUCCESS;

    if (source != NULL && ours)
        source->ours = true;
    else if (source != NULL)
        source->others = true;
    if (!ours) {
        received->sum->others++;
        return KT_SUCCESS;
    }
    received->sum->ours++;
    while (status == KT_SUCCESS && kt_audit_next_type(&types, &latest.generation))
        status = add(received, &latest);
    return status;
}

static kt_status_t take_line(void *arg, char *line, size_t number)
{
    received_t *received = arg;
    const char *at = strstr(line, KT_AUDIT_TIME), *types;
    unsigned char id[KT_ID_SIZE];
    latest_t latest = {.line = number};
    source_t *source;

    if (at == NULL)
        return KT_SUCCESS;
    types = kt_audit_checkpoint(at, received->store, id);
    if (types != NULL)
        return take_checkpoint(received, types, memcmp(id, received->id, KT_ID_SIZE) == 0,
                               source_of(received, at), number);
    if (!kt_audit_change(at, received->store, &latest.generation))
        return KT_SUCCESS;
    source = source_of(received, at);
    if (source == NULL || !source->ours)
        return KT_SUCCESS;
    latest.source = (size_t)(source - received->sources);
    return add(received, &latest);
}

static void pass(const received_t *received, kt_generation_fn fn, void *arg)
{
    char where[KT_WHERE_SIZE];
    size_t i;

    for (i = 0; i < received->count; i++) {
        const latest_t *latest = &received->list[i];

        if (!latest->certain && received->sources[latest->source].others)
            continue;
        (void)snprintf(where, sizeof(where), "line %zu of %s", latest->line, received->path);
        fn(arg, latest->generation.type, latest->generation.number, received->id, where);
    }
}

kt_status_t kt_received_generations(const char *path, const char *store,
                                    const unsigned char store_id[KT_ID_SIZE], kt_generation_fn fn,
                                    void *arg, kt_received_sum_t *ret_sum)
{
    received_t *received = calloc(1, sizeof(*received));
    kt_status_t status;

    memset(ret_sum, 0, sizeof(*ret_sum));
    if (received == NULL)
        return kt_no_memory();
    received->path = path;
    received->store = store;
    received->id = store_id;
    received->sum = ret_sum;
    status = kt_received_lines(path, take_line, received);
    if (status == KT_SUCCESS)
        pass(received, fn, arg);
    free(received->list);
    free(received);
    return status;
}
