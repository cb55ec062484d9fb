/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sink_batch.c: which lines of the log are sent.
 *
 *   alerts   lines with a severity, checkpoints, and the seal of each block that has one of them
 *   seals    and all other seals
 *   all      every line
 *
 * Only whole blocks are sent, because lines after the last seal may still be cut. A log's first
 * line is always sent: it says whose seals follow.
 */
#include <stdlib.h>
#include <string.h>

#include "sinks.h"

static bool begins(const char *line, size_t size, const char *text)
{
    return size >= strlen(text) && memcmp(line, text, strlen(text)) == 0;
}

/* Quotes inside strings are escaped in a trail, so what looks like a key is a key. */
static bool has(const char *line, size_t size, const char *text)
{
    return memmem(line, size, text, strlen(text)) != NULL;
}

typedef struct block {
    char *out;
    size_t size; /* of `out` */
    bool worth;  /* a line of the present block was appended */
} block_t;

static void append(block_t *block, const char *line, size_t size)
{
    memcpy(block->out + block->size, line, size);
    block->size += size;
}

static void append_if(block_t *block, const char *line, size_t size, kt_send_t send)
{
    if (begins(line, size, KT_AUDIT_SEAL)) {
        if (send != KT_SEND_ALERTS || block->worth)
            append(block, line, size);
        block->worth = false;
    } else if (begins(line, size, KT_AUDIT_LOG)) {
        append(block, line, size);
    } else if (send == KT_SEND_ALL || has(line, size, ",\"severity\":\"") ||
               has(line, size, ",\"action\":\"checkpoint\",")) {
        append(block, line, size);
        block->worth = true;
    }
}

/* The bytes up to and with the last seal. */
static size_t whole_blocks(const char *text, size_t size)
{
    const char *at = text, *end;
    size_t used = 0;

    while ((end = memchr(at, '\n', size - (size_t)(at - text))) != NULL) {
        bool seal = begins(at, (size_t)(end + 1 - at), KT_AUDIT_SEAL);

        at = end + 1;
        if (seal)
            used = (size_t)(at - text);
    }
    return used;
}

kt_status_t kt_batch_make(const char *text, size_t size, kt_send_t send, size_t *ret_used,
                          kt_batch_t *ret_batch)
{
    size_t used = whole_blocks(text, size), line;
    block_t block = {.out = malloc(used + 1)};
    const char *at;

    if (block.out == NULL)
        return kt_no_memory();
    for (at = text; at < text + used; at += line) {
        line = (size_t)((const char *)memchr(at, '\n', used - (size_t)(at - text)) - at) + 1;
        append_if(&block, at, line, send);
    }
    *ret_used = used;
    *ret_batch = (kt_batch_t){.text = block.out, .size = block.size};
    return KT_SUCCESS;
}

void kt_batch_free(kt_batch_t *batch)
{
    free(batch->text);
    memset(batch, 0, sizeof(*batch));
}
