/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * walk.c: the decisions of one stream, each with what is wrong with it.
 *
 * The lines of a block are kept until its seal: only then it is known whether one covers them. A
 * seal counts if it has the chain of the lines before it, and if it is not after the end that the
 * stream's state knows. Its MAC is left to `audit verify`, which has the audit key.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "walk.h"

#define LOOKS                                                                                      \
    5u /* at a state that does not reach its log's end yet, because a block is being written */
#define LOOK_MS 20     /* between two of them */
#define AHEAD_MS 60000 /* how far clocks may differ */

typedef struct kept {
    size_t at;
    unsigned marks;
} kept_t;

typedef struct block {
    kt_audit_walk_t *walk;
    kt_audit_judge_t judge;
    char name[65]; /* of the stream, if its folder does not have it */
    uint64_t inode;
    bool known; /* the chain: */
    unsigned char instance[KT_AUDIT_ID];
    kt_audit_chain_t chain;
    bool skipping; /* to the first seal */
    char *text;    /* the lines of the block, each with NUL */
    size_t size, room;
    kept_t *lines;
    size_t count, lines_room;
} block_t;

void kt_audit_walk_time(int64_t ms, char ret_text[25])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    size_t size = 0;

    if (ms > 0 && gmtime_r(&seconds, &tm) != NULL)
        size = strftime(ret_text, 25, "%Y-%m-%dT%H:%M:%S", &tm);
    ret_text[size] = '\0';
    if (size > 0)
        (void)snprintf(ret_text + size, 25 - size, ".%03dZ", (int)(ms % 1000));
}

void kt_audit_walk_note(kt_audit_walk_t *walk, kt_status_t status, const char *name,
                        const char *why)
{
    char text[KT_ERROR_SIZE];

    walk->bad = walk->bad || status != KT_SUCCESS;
    if (walk->note == NULL)
        return;
    (void)snprintf(text, sizeof(text), "%s: %s", name, why);
    walk->note(walk->note_arg, status, walk->stream, text);
}

/* ---- a block ---- */

/* By its format a line is printable ASCII, and it is shown on an operator's terminal. */
static void flatten(char *to, const char *line, size_t size)
{
    size_t i;

    for (i = 0; i < size; i++)
        to[i] = line[i] >= ' ' && line[i] < 0x7f ? line[i] : '?';
}

static bool keep(block_t *block, const char *line, size_t size, unsigned marks)
{
    if (block->count == block->lines_room) {
        size_t room = block->lines_room * 2 + 64;
        kept_t *lines = realloc(block->lines, room * sizeof(*lines));

        if (lines == NULL)
            return false;
        block->lines = lines;
        block->lines_room = room;
    }
    if (block->room - block->size < size) {
        size_t room = block->room * 2 + KT_AUDIT_LINE;
        char *text = realloc(block->text, room);

        if (text == NULL)
            return false;
        block->text = text;
        block->room = room;
    }
    block->lines[block->count++] = (kept_t){block->size, marks};
    flatten(block->text + block->size, line, size);
    block->size += size;
    block->text[block->size - 1] = '\0'; /* in place of its newline */
    return true;
}

static unsigned marks_of_time(const kt_audit_walk_t *walk, const char *text, const char *sealed)
{
    kt_audit_claim_t claim;

    if (!kt_audit_parse_claim(text, &claim))
        return 0;
    return kt_audit_is_later(&claim.time, walk->now) ||
                   (sealed != NULL && kt_audit_is_later(&claim.time, sealed))
               ? KT_LINE_AHEAD
               : 0;
}

static bool is_old(const kt_audit_walk_t *walk, const char *text)
{
    size_t prefix = strlen(KT_AUDIT_TIME);

    return strncmp(text, KT_AUDIT_TIME, prefix) == 0 &&
           strncmp(text + prefix, walk->since, strlen(walk->since)) < 0;
}

/* `sealed`: the time of the seal that covers them, up to a quote; NULL: none does. */
static void hand_out(block_t *block, const char *sealed)
{
    kt_audit_walk_t *walk = block->walk;
    size_t i;

    for (i = 0; i < block->count && !walk->stopped; i++) {
        kt_audit_line_t line = {sizeof(line), walk->stream, block->text + block->lines[i].at,
                                block->lines[i].marks};

        if (is_old(walk, line.text))
            continue;
        line.marks |=
            (sealed == NULL ? KT_LINE_UNSEALED : 0) | marks_of_time(walk, line.text, sealed);
        walk->stopped = walk->fn(walk->arg, &line) != 0;
    }
    block->count = block->size = 0;
    kt_audit_judge_seal(&block->judge);
}

/* ---- lines ---- */

/* Is the log sealed up to there? Blocks reach it before the state does. */
static bool is_reached(block_t *block, uint64_t offset)
{
    const struct timespec pause = {0, LOOK_MS * 1000000L};
    kt_audit_walk_t *walk = block->walk;

    while (walk->has_state && walk->state.inode == block->inode &&
           offset > walk->state.sealed.length && walk->looks < LOOKS) {
        walk->looks++;
        (void)nanosleep(&pause, NULL);
        walk->has_state = kt_audit_peek(walk->folder, &walk->state, NULL);
    }
    return !walk->has_state || walk->state.inode != block->inode ||
           offset <= walk->state.sealed.length;
}

static void take_seal(block_t *block, const char *line, size_t size, uint64_t offset)
{
    unsigned char through[KT_AUDIT_HASH];
    kt_audit_seal_t seal;
    bool covers = false;

    if (kt_audit_parse_seal(line, size, &seal)) {
        kt_chain_through(&block->chain, through);
        covers = block->known && memcmp(seal.chain, through, KT_AUDIT_HASH) == 0 &&
                 memcmp(seal.instance, block->instance, KT_AUDIT_ID) == 0 &&
                 is_reached(block, offset);
        kt_chain_seal(&block->chain, seal.chain, line, size);
        memcpy(block->instance, seal.instance, KT_AUDIT_ID);
        block->known = true;
    }
    if (block->skipping)
        block->count = block->size = 0;
    block->skipping = false;
    hand_out(block, covers ? seal.time : NULL);
}

static void take_head(block_t *block, const kt_audit_head_t *head)
{
    kt_chain_begin(&block->chain, head->chain);
    memcpy(block->instance, head->instance, KT_AUDIT_ID);
    block->known = true;
    if (block->walk->stream[0] == '\0') { /* a copy, whose folder may have any name */
        (void)snprintf(block->name, sizeof(block->name), "%s", head->stream);
        block->judge.stream = block->name;
    }
}

static bool take_line(block_t *block, const char *line, size_t size, uint64_t offset)
{
    kt_audit_claim_t claim;
    kt_audit_head_t head;

    if (strncmp(line, KT_AUDIT_SEAL, strlen(KT_AUDIT_SEAL)) == 0) {
        take_seal(block, line, size, offset);
        return true;
    }
    if (kt_audit_parse_head(line, &head)) {
        take_head(block, &head);
    } else if (!block->skipping &&
               !keep(block, line, size,
                     kt_audit_parse_claim(line, &claim) ? kt_audit_judge(&block->judge, &claim)
                                                        : 0)) {
        return false;
    }
    if (block->known)
        kt_chain_add(&block->chain, line, size);
    return true;
}

/* ---- logs ---- */

static void end_log(block_t *block, kt_audit_step_t step, const kt_audit_log_t *log,
                    const kt_audit_reader_t *reader)
{
    if (!block->skipping)
        hand_out(block, NULL);
    if (step == KT_AUDIT_BAD)
        kt_audit_walk_note(block->walk, KT_MALFORMED, log->name, kt_audit_reader_why(reader));
    else if (step == KT_AUDIT_NEXT && !block->walk->stopped)
        kt_audit_walk_note(block->walk, KT_INTERNAL, log->name, strerror(ENOMEM));
    free(block->text);
    free(block->lines);
}

bool kt_audit_walk_log(kt_audit_walk_t *walk, const kt_audit_log_t *log, uint64_t from)
{
    block_t block = {.walk = walk, .skipping = from > 0};
    kt_audit_log_t opened;
    kt_audit_reader_t *reader = kt_audit_log_read(walk->folder, log->name, &opened);
    kt_audit_step_t step = KT_AUDIT_BAD;
    char *line;
    size_t size;

    if (reader == NULL || !kt_audit_reader_skip(reader, from)) {
        kt_audit_walk_note(walk, KT_MALFORMED, log->name,
                           strerror(reader == NULL ? opened.error : errno));
        kt_audit_reader_free(reader);
        return false;
    }
    block.inode = opened.inode;
    kt_audit_judge_begin(&block.judge, walk->stream);
    while (!walk->stopped && (step = kt_audit_reader_next(reader, &line, &size)) == KT_AUDIT_NEXT &&
           take_line(&block, line, size, kt_audit_reader_offset(reader)))
        ;
    end_log(&block, step, log, reader);
    kt_audit_reader_free(reader);
    return true;
}

/* What is not in the list for a reason that its owner chose is reported, too. */
bool kt_audit_walk_find(kt_audit_walk_t *walk, kt_audit_logs_t *ret_logs)
{
    char text[KT_AUDIT_PACKED];
    size_t i;

    kt_audit_walk_time(kt_now() + AHEAD_MS, walk->now);
    walk->has_state = kt_audit_peek(walk->folder, &walk->state, NULL);
    walk->looks = 0;
    if (!kt_audit_logs_find(walk->folder, ret_logs)) {
        kt_audit_walk_note(walk, KT_PERMISSION, ".", strerror(errno));
        return false;
    }
    if (ret_logs->more)
        kt_audit_walk_note(walk, KT_MALFORMED, ".", "more logs than are read");
    if (ret_logs->not_files > 0)
        kt_audit_walk_note(walk, KT_MALFORMED, ".",
                           "entries with a log's name that are not files are not read");
    for (i = 0; i < ret_logs->count; i++) {
        const kt_audit_log_t *log = &ret_logs->list[i];

        if (log->error != 0)
            kt_audit_walk_note(walk, KT_PERMISSION, log->name, strerror(log->error));
        else if (log->unpack != NULL)
            kt_audit_walk_note(walk, KT_SUCCESS, log->name,
                               kt_audit_packed_text(log, "not read", text));
    }
    return true;
}

size_t kt_audit_walk_stream(kt_audit_walk_t *walk)
{
    kt_audit_logs_t logs;
    size_t count, i;

    if (!kt_audit_walk_find(walk, &logs))
        return 0;
    count = logs.count; /* a log that cannot be read is there all the same */
    for (i = 0; i < logs.count && !walk->stopped; i++)
        if (logs.list[i].unpack == NULL && !logs.list[i].twin && logs.list[i].error == 0)
            (void)kt_audit_walk_log(walk, &logs.list[i], 0);
    kt_audit_logs_free(&logs);
    return count;
}
