/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * received.c: does a trail still have what an external sink received of it?
 *
 * An intruder who cuts off the end of a log, and puts back the state of that time, leaves a trail
 * that is consistent. But seals that were sent before name blocks that it no longer has. So each
 * seal in a file of received lines must be in the trail, unchanged. Only those that are older than
 * the oldest log that is left cannot be looked for.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify.h"

#define LINE_HASH 16u
#define TOLD_MAX 20u

typedef struct received {
    unsigned char instance[KT_AUDIT_ID], hash[LINE_HASH];
    uint64_t block, first, last;
    size_t line; /* of the file that has it */
    char time[25];
    bool met;  /* the trail has a seal of this block ... */
    bool same; /* ... and it is this one */
} received_t;

typedef struct start { /* a log that is there */
    unsigned char instance[KT_AUDIT_ID];
    uint64_t block;
} start_t;

struct kt_received {
    received_t *list;
    size_t count, room;
    start_t *starts;
    size_t nstarts;
};

static void hash_line(const char *line, size_t size, unsigned char hash[LINE_HASH])
{
    (void)crypto_generichash(hash, LINE_HASH, (const unsigned char *)line, size, NULL, 0);
}

/* A syslog may have put anything in front of a seal. A line that was cut short does not count. */
static bool parse(char *text, size_t number, received_t *ret_received)
{
    char *line = strstr(text, KT_AUDIT_SEAL), *time;
    kt_audit_seal_t seal;
    size_t size;

    if (line == NULL)
        return false;
    size = strcspn(line, "\r\n");
    line[size] = '\n'; /* the caller left room for both */
    line[size + 1] = '\0';
    if (!kt_audit_parse_seal(line, size + 1, &seal))
        return false;
    memset(ret_received, 0, sizeof(*ret_received));
    memcpy(ret_received->instance, seal.instance, KT_AUDIT_ID);
    hash_line(line, size + 1, ret_received->hash);
    ret_received->block = seal.block;
    ret_received->first = seal.first;
    ret_received->last = seal.last;
    ret_received->line = number;
    time = strstr(line, ",\"time\":\"");
    if (time != NULL)
        (void)snprintf(ret_received->time, sizeof(ret_received->time), "%.24s", time + 9);
    return true;
}

static bool add(kt_received_t *received, const received_t *seal)
{
    if (received->count == received->room) {
        size_t room = received->room * 2 + 64;
        received_t *list = realloc(received->list, room * sizeof(*list));

        if (list == NULL)
            return false;
        received->list = list;
        received->room = room;
    }
    received->list[received->count++] = *seal;
    return true;
}

static int by_place(const void *a, const void *b)
{
    const received_t *x = a, *y = b;
    int order = memcmp(x->instance, y->instance, KT_AUDIT_ID);

    return order != 0 ? order : x->block < y->block ? -1 : x->block > y->block;
}

static kt_status_t take_line(void *arg, char *text, size_t number)
{
    received_t seal;

    return !parse(text, number, &seal) || add(arg, &seal) ? KT_SUCCESS : kt_no_memory();
}

kt_status_t kt_received_read(const char *path, kt_received_t **ret_received)
{
    kt_received_t *received = calloc(1, sizeof(*received));
    kt_status_t status =
        received != NULL ? kt_received_lines(path, take_line, received) : kt_no_memory();

    if (status == KT_SUCCESS && received->count == 0)
        status = kt_fail(KT_NOTFOUND, "%s: there is no seal of an audit trail in it", path);
    if (status != KT_SUCCESS) {
        kt_received_free(received);
        return status;
    }
    qsort(received->list, received->count, sizeof(*received->list), by_place);
    *ret_received = received;
    return KT_SUCCESS;
}

void kt_received_free(kt_received_t *received)
{
    if (received == NULL)
        return;
    free(received->list);
    free(received->starts);
    free(received);
}

/* ---- while the trail is read ---- */

void kt_received_log(kt_received_t *received, const unsigned char instance[KT_AUDIT_ID],
                     uint64_t block)
{
    start_t *starts;
    size_t i;

    for (i = 0; i < received->nstarts; i++) {
        if (memcmp(received->starts[i].instance, instance, KT_AUDIT_ID) == 0) {
            if (block < received->starts[i].block)
                received->starts[i].block = block;
            return;
        }
    }
    starts = realloc(received->starts, (received->nstarts + 1) * sizeof(*starts));
    if (starts == NULL)
        return; /* then its received seals are reported as missing */
    received->starts = starts;
    memcpy(starts[received->nstarts].instance, instance, KT_AUDIT_ID);
    starts[received->nstarts++].block = block;
}

void kt_received_seal(kt_received_t *received, const kt_audit_seal_t *seal, const char *line,
                      size_t size)
{
    unsigned char hash[LINE_HASH];
    size_t low = 0, high = received->count, middle;
    received_t key = {.block = seal->block};

    memcpy(key.instance, seal->instance, KT_AUDIT_ID);
    while (low < high) { /* the first of equals: a seal may have been received more than once */
        middle = low + (high - low) / 2;
        if (by_place(&received->list[middle], &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == received->count || by_place(&received->list[low], &key) != 0)
        return;
    hash_line(line, size, hash);
    for (; low < received->count && by_place(&received->list[low], &key) == 0; low++) {
        received->list[low].met = true;
        received->list[low].same =
            received->list[low].same || memcmp(received->list[low].hash, hash, LINE_HASH) == 0;
    }
}

/* ---- afterwards ---- */

static const start_t *find_start(const kt_received_t *received, const received_t *seal)
{
    size_t i;

    for (i = 0; i < received->nstarts; i++)
        if (memcmp(received->starts[i].instance, seal->instance, KT_AUDIT_ID) == 0)
            return &received->starts[i];
    return NULL;
}

static const char *judge(const kt_received_t *received, const received_t *seal, bool *ret_old)
{
    const start_t *start = find_start(received, seal);

    *ret_old = false;
    if (seal->same)
        return NULL;
    if (seal->met)
        return "differs from the one in the trail: the trail was rewritten";
    if (start == NULL)
        return "is of an instance that has no log here: a whole trail is missing";
    *ret_old = seal->block < start->block;
    return *ret_old ? NULL
                    : "is not in the trail: its end was cut off, or an older trail was put back";
}

size_t kt_received_conclude(const kt_received_t *received, kt_check_fn fn, void *arg)
{
    size_t wrong = 0, old = 0, i;
    char text[KT_ERROR_SIZE];
    const char *why;
    bool is_old;

    for (i = 0; i < received->count; i++) {
        const received_t *seal = &received->list[i];

        why = judge(received, seal, &is_old);
        old += is_old;
        if (why == NULL || ++wrong > TOLD_MAX)
            continue;
        (void)snprintf(text, sizeof(text),
                       "line %zu: the seal of block %llu (numbers %llu to %llu, of %s) %s",
                       seal->line, (unsigned long long)seal->block, (unsigned long long)seal->first,
                       (unsigned long long)seal->last, seal->time, why);
        fn(arg, KT_MALFORMED, "received", text);
    }
    (void)snprintf(text, sizeof(text),
                   "%zu of %zu received %s found in the logs, %zu older than the logs",
                   received->count - wrong - old, received->count,
                   kt_plural(received->count, "seal", "seals"), old);
    fn(arg, wrong == 0 ? KT_SUCCESS : KT_MALFORMED, "received", text);
    return wrong;
}
