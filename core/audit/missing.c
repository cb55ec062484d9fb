/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * missing.c: what the logs of a stream do not have, and what the stream itself says about it.
 *
 * Retention removes the oldest logs after a sealed line has said which blocks they had. So a reader
 * can tell what was removed on purpose from what somebody has deleted: the blocks before the oldest
 * log must be those of such a line, from block 0 on. The first block of an instance names the
 * instance before it, if there was one in the folder, and so proves later that the older one is
 * still what it was then: also one that was begun without the audit key.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "missing.h"

#define ROWS 1024u /* of each list; a stream that has more is not judged to be whole */
#define PENDING 16u

typedef struct hole {
    unsigned char instance[KT_AUDIT_ID], chain[KT_AUDIT_HASH];
    uint64_t from, to;    /* blocks; `to` is there again */
    uint64_t first, last; /* decisions */
    const char *file;     /* that goes on after it */
} hole_t;

typedef struct instance {
    unsigned char id[KT_AUDIT_ID], chain[KT_AUDIT_HASH];
    uint64_t block, last; /* the end of what is there; `block`: the next one */
    bool keyed, vouched;  /* `vouched`: by an instance that followed */
    const char *file;
} instance_t;

typedef struct statement {
    kt_audit_note_t note;
    unsigned char by[KT_AUDIT_ID];
    const char *file;
    size_t number;
} statement_t;

struct kt_missing {
    bool complete, keyed; /* `keyed`: there is an audit key */
    bool unkeyed;         /* the stream was made without it */
    bool more;            /* than the lists hold */
    kt_missing_fn fn;
    void *arg;
    size_t nholes, ninstances, nstatements, npending;
    hole_t holes[ROWS];
    instance_t instances[ROWS];
    statement_t statements[ROWS], pending[PENDING];
};

/* ---- lines ---- */

static bool parse_ends(const char *at, const char *key, kt_audit_note_t *note)
{
    return kt_audit_parse_hex(&at, key, note->instance, KT_AUDIT_ID) &&
           (note->kind == KT_NOTE_FORMER ||
            kt_audit_parse_number(&at, "\",\"from\":", &note->from)) &&
           kt_audit_parse_number(
               &at, note->kind == KT_NOTE_FORMER ? "\",\"to\":" : ",\"to\":", &note->to) &&
           (note->kind == KT_NOTE_FORMER ||
            kt_audit_parse_number(&at, ",\"first\":", &note->first)) &&
           kt_audit_parse_number(&at, ",\"last\":", &note->last) &&
           kt_audit_parse_hex(&at, ",\"chain\":\"", note->chain, KT_AUDIT_HASH);
}

static bool parse_gap(const char *at, kt_audit_note_t *note)
{
    size_t size = strcspn(at, "\"");

    if (at[size] != '"' || size >= sizeof(note->reason))
        return false;
    memcpy(note->reason, at, size);
    at += size;
    if (strcmp(note->reason, "state") == 0) {
        note->kind = KT_NOTE_FORMER;
        return parse_ends(at, "\",\"instance\":\"", note);
    }
    note->kind = KT_NOTE_GAP;
    return kt_audit_parse_number(&at, "\",\"from\":", &note->from) &&
           kt_audit_parse_number(&at, ",\"to\":", &note->to) &&
           kt_audit_parse_number(&at, ",\"first\":", &note->first) &&
           kt_audit_parse_number(&at, ",\"last\":", &note->last);
}

bool kt_audit_parse_note(const char *line, kt_audit_note_t *ret_note)
{
    static const char gap[] = ",\"action\":\"gap\",\"subject\":\"\",\"status\":\"success\","
                              "\"severity\":\"critical\",\"reason\":\"";
    static const char retention[] =
        ",\"action\":\"retention\",\"subject\":\"\",\"status\":\"success\"";
    const char *at = strstr(line, ",\"seq\":");
    uint64_t sequence;

    memset(ret_note, 0, sizeof(*ret_note));
    if (strncmp(line, KT_AUDIT_TIME, strlen(KT_AUDIT_TIME)) != 0 || at == NULL ||
        !kt_audit_parse_number(&at, ",\"seq\":", &sequence))
        return false;
    (void)snprintf(ret_note->time, sizeof(ret_note->time), "%.24s", line + strlen(KT_AUDIT_TIME));
    if (strncmp(at, gap, sizeof(gap) - 1) == 0)
        return parse_gap(at + sizeof(gap) - 1, ret_note);
    ret_note->kind = KT_NOTE_RETENTION;
    return strncmp(at, retention, sizeof(retention) - 1) == 0 &&
           parse_ends(at + sizeof(retention) - 1, ",\"instance\":\"", ret_note);
}

/* ---- while the logs are read ---- */

kt_missing_t *kt_missing_new(bool complete, bool keyed, bool unkeyed, kt_missing_fn fn, void *arg)
{
    kt_missing_t *missing = calloc(1, sizeof(*missing));

    if (missing == NULL)
        return NULL;
    missing->complete = complete;
    missing->keyed = keyed;
    missing->unkeyed = unkeyed;
    missing->fn = fn;
    missing->arg = arg;
    return missing;
}

void kt_missing_free(kt_missing_t *missing)
{
    free(missing);
}

static instance_t *find_instance(kt_missing_t *missing, const unsigned char id[KT_AUDIT_ID])
{
    size_t i;

    for (i = missing->ninstances; i > 0; i--)
        if (memcmp(missing->instances[i - 1].id, id, KT_AUDIT_ID) == 0)
            return &missing->instances[i - 1];
    return NULL;
}

void kt_missing_instance(kt_missing_t *missing, const kt_audit_head_t *head, const char *file)
{
    instance_t *instance = find_instance(missing, head->instance);

    if (instance != NULL)
        return;
    if (missing->ninstances == ROWS) {
        missing->more = true;
        return;
    }
    instance = &missing->instances[missing->ninstances++];
    memcpy(instance->id, head->instance, KT_AUDIT_ID);
    instance->keyed = head->keyed;
    instance->file = file;
}

void kt_missing_end(kt_missing_t *missing, const unsigned char id[KT_AUDIT_ID], uint64_t block,
                    uint64_t last, const unsigned char chain[KT_AUDIT_HASH])
{
    instance_t *instance = find_instance(missing, id);

    if (instance == NULL)
        return;
    instance->block = block;
    instance->last = last;
    memcpy(instance->chain, chain, KT_AUDIT_HASH);
}

void kt_missing_hole(kt_missing_t *missing, const kt_audit_head_t *head, uint64_t block,
                     uint64_t last, const char *file)
{
    hole_t *hole = &missing->holes[missing->nholes];

    if (missing->nholes == ROWS) {
        missing->more = true;
        return;
    }
    missing->nholes++;
    memcpy(hole->instance, head->instance, KT_AUDIT_ID);
    memcpy(hole->chain, head->chain, KT_AUDIT_HASH);
    hole->from = block;
    hole->to = head->block;
    hole->first = last + 1;
    hole->last = head->last;
    hole->file = file;
}

static void tell(const kt_missing_t *missing, kt_status_t status, const char *format, ...)
    KT_PRINTF(3, 4);
static void tell(const kt_missing_t *missing, kt_status_t status, const char *format, ...)
{
    char text[KT_ERROR_SIZE];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    missing->fn(missing->arg, status, text);
}

static void tell_gap(const kt_missing_t *missing, const kt_audit_note_t *note, bool joined,
                     const char *file, size_t number)
{
    const char *what = strcmp(note->reason, "copied") == 0 ? "compressed, copied or restored"
                       : strcmp(note->reason, "cut") == 0  ? "cut"
                       : strcmp(note->reason, "gone") == 0 ? "taken away"
                                                           : "changed";

    tell(missing, KT_SUCCESS, "%s:%zu: on %s the log before was %s while it was being written: %s",
         file, number, note->time, what,
         joined ? "its lines are here, and none is missing" : "its lines are missing");
}

void kt_missing_note(kt_missing_t *missing, const kt_audit_note_t *note, bool joined,
                     const char *file, size_t number)
{
    statement_t *statement = &missing->pending[missing->npending];

    if (note->kind == KT_NOTE_GAP)
        tell_gap(missing, note, joined, file, number);
    if (note->kind == KT_NOTE_GAP || missing->npending == PENDING)
        return;
    missing->npending++;
    statement->note = *note;
    statement->file = file;
    statement->number = number;
}

/* Of one instance's retention only the last word counts: it has all before. */
static void keep_statement(kt_missing_t *missing, const statement_t *statement)
{
    size_t i;

    for (i = 0; statement->note.kind == KT_NOTE_RETENTION && i < missing->nstatements; i++) {
        statement_t *older = &missing->statements[i];

        if (older->note.kind == KT_NOTE_RETENTION &&
            memcmp(older->note.instance, statement->note.instance, KT_AUDIT_ID) == 0) {
            if (statement->note.from == 0 || older->note.from != 0)
                *older = *statement;
            return;
        }
    }
    if (missing->nstatements == ROWS)
        missing->more = true;
    else
        missing->statements[missing->nstatements++] = *statement;
}

void kt_missing_sealed(kt_missing_t *missing, const unsigned char instance[KT_AUDIT_ID])
{
    size_t i;

    for (i = 0; i < missing->npending; i++) {
        memcpy(missing->pending[i].by, instance, KT_AUDIT_ID);
        keep_statement(missing, &missing->pending[i]);
    }
    missing->npending = 0;
}

/* ---- afterwards ---- */

static const statement_t *find_retention(const kt_missing_t *missing,
                                         const unsigned char instance[KT_AUDIT_ID])
{
    size_t i;

    for (i = 0; i < missing->nstatements; i++)
        if (missing->statements[i].note.kind == KT_NOTE_RETENTION &&
            memcmp(missing->statements[i].note.instance, instance, KT_AUDIT_ID) == 0)
            return &missing->statements[i];
    return NULL;
}

/* Blocks before `to` are those that retention says it removed. */
static bool is_removed(const statement_t *retention, uint64_t to, uint64_t last,
                       const unsigned char chain[KT_AUDIT_HASH])
{
    if (retention == NULL || retention->note.from != 0 || retention->note.to + 1 < to)
        return false;
    return retention->note.to + 1 > to ||
           (retention->note.last == last &&
            memcmp(retention->note.chain, chain, KT_AUDIT_HASH) == 0);
}

static void judge_hole(const kt_missing_t *missing, const hole_t *hole)
{
    const statement_t *retention = find_retention(missing, hole->instance);
    unsigned long long first = hole->first, last = hole->last;
    unsigned long long count = last >= first ? last - first + 1 : 0;
    unsigned long long from = hole->from, to = hole->to > 0 ? hole->to - 1 : 0;
    const char *noun = kt_plural(count, "decision", "decisions");

    if (!is_removed(retention, hole->to, hole->last, hole->chain))
        tell(missing, KT_MALFORMED,
             "%s: %llu %s before it (numbers %llu to %llu, in the blocks %llu to %llu): in none of "
             "these files, and not removed by retention",
             hole->file, count, noun, first, last, from, to);
    else if (missing->complete)
        tell(missing, KT_MALFORMED,
             "%s: %llu %s before it (numbers %llu to %llu, in the blocks %llu to %llu): in none of "
             "these files, because retention removed them on %s",
             hole->file, count, noun, first, last, from, to, retention->note.time);
    else
        tell(missing, KT_SUCCESS,
             "%s: retention removed %llu %s before it (numbers %llu to %llu, in the blocks %llu to "
             "%llu) on %s",
             hole->file, count, noun, first, last, from, to, retention->note.time);
}

/* What an instance says of the one before it. */
static void judge_former(kt_missing_t *missing, const statement_t *statement)
{
    const kt_audit_note_t *note = &statement->note;
    instance_t *former = find_instance(missing, note->instance);
    const statement_t *retention = find_retention(missing, note->instance);
    const instance_t *by = find_instance(missing, statement->by);

    if (former == NULL) {
        bool removed = is_removed(retention, note->to + 1, note->last, note->chain);

        if (!removed || missing->complete)
            tell(missing, KT_MALFORMED,
                 "%s:%zu: the instance before, with %llu %s in %llu %s, is in none of these "
                 "files%s",
                 statement->file, statement->number, (unsigned long long)note->last,
                 kt_plural(note->last, "decision", "decisions"), (unsigned long long)note->to + 1,
                 kt_plural(note->to + 1, "block", "blocks"),
                 removed ? ": retention removed it" : ", and retention did not remove it");
        return;
    }
    if (former->block != note->to + 1 || former->last != note->last ||
        memcmp(former->chain, note->chain, KT_AUDIT_HASH) != 0)
        tell(missing, KT_MALFORMED,
             "%s:%zu: the instance before ended with block %llu and number %llu, and now ends "
             "otherwise",
             statement->file, statement->number, (unsigned long long)note->to,
             (unsigned long long)note->last);
    else if (by != NULL && (by->keyed || by->vouched))
        former->vouched = true;
}

/* The newest instance first: what it vouches for may vouch for an older one. */
static void judge_instances(kt_missing_t *missing)
{
    size_t i;

    for (i = missing->nstatements; i > 0; i--)
        if (missing->statements[i - 1].note.kind == KT_NOTE_FORMER)
            judge_former(missing, &missing->statements[i - 1]);
    for (i = 0; missing->keyed && i < missing->ninstances; i++) {
        const instance_t *instance = &missing->instances[i];

        if (instance->keyed)
            continue;
        if (instance->vouched)
            tell(missing, KT_SUCCESS,
                 "%s: an instance that was begun without the audit key; the one that follows "
                 "proves that it has not changed since",
                 instance->file);
        else if (missing->unkeyed)
            tell(missing, KT_SUCCESS,
                 "%s: not provable: the stream was made without the audit key, which proves the "
                 "chain, not who wrote it (`keyturn keygen --stream NAME --audit-key FILE FOLDER`)",
                 instance->file);
        else
            tell(missing, KT_MALFORMED,
                 "%s: an instance that was begun without the audit key: it proves the chain, not "
                 "who wrote it (look into it, then begin one under the key: "
                 "`keyturn keygen --stream STREAM --audit-key AUDITKEY FOLDER`)",
                 instance->file);
    }
}

void kt_missing_conclude(kt_missing_t *missing)
{
    size_t i;

    if (missing->more)
        tell(missing, KT_MALFORMED,
             ".: more than %u instances or missing parts: not all are judged", ROWS);
    for (i = 0; i < missing->nholes; i++)
        judge_hole(missing, &missing->holes[i]);
    judge_instances(missing);
}
