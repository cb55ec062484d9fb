/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One line of an audit log, as each function sees it that looks into lines: what it says of itself,
 * of its own log, of logs that are gone, and of the generations of a store.
 */
#include "fuzz.h"
#include "audit/generations.h"
#include "audit/missing.h"
#include "audit/subject.h"

static void inside(const char *line, const kt_audit_text_t *text)
{
    must(text->size == 0 || (text->text >= line && text->text + text->size <= line + strlen(line)));
}

static void try_claim(const char *line)
{
    static const char *const streams[] = {"nginx", "cli-root", "redis", "postgresql", "other"};
    kt_audit_claim_t claim;
    kt_audit_judge_t judge;

    if (!kt_audit_parse_claim(line, &claim))
        return;
    inside(line, &claim.time);
    inside(line, &claim.boot);
    inside(line, &claim.stream);
    inside(line, &claim.action);
    inside(line, &claim.subject);
    for (size_t i = 0; i < KT_ARRAY(streams); i++) {
        kt_audit_judge_begin(&judge, streams[i]);
        (void)kt_audit_judge(&judge, &claim);
        (void)kt_audit_judge(&judge, &claim);
        kt_audit_judge_seal(&judge);
    }
    (void)kt_audit_is_later(&claim.time, "2026-01-01T00:00:00.000Z\"");
}

static void try_generation(const kt_generation_t *generation)
{
    must(generation->type[0] != '\0' && strlen(generation->type) <= KT_NAME_MAX);
    must(generation->number <= (uint64_t)1 << 62);
}

static void try_generations(const char *line)
{
    unsigned char id[KT_ID_SIZE];
    const char *types = kt_audit_checkpoint(line, "local", id), *before;
    kt_generation_t generation;

    for (before = types; types != NULL && kt_audit_next_type(&types, &generation); before = types) {
        must(types > before && types <= line + strlen(line));
        try_generation(&generation);
    }
    if (kt_audit_change(line, "local", id, &generation))
        try_generation(&generation);
}

/* What a stream says about its logs is what is looked for among them. */
static void try_note(const char *line)
{
    kt_audit_note_t note;
    kt_audit_head_t head;

    if (kt_audit_parse_note(line, &note))
        must(memchr(note.reason, 0, sizeof(note.reason)) != NULL &&
             memchr(note.time, 0, sizeof(note.time)) != NULL);
    if (kt_audit_parse_head(line, &head))
        must(memchr(head.stream, 0, sizeof(head.stream)) != NULL &&
             memchr(head.environment, 0, sizeof(head.environment)) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *line = malloc(size + 1);

    must(line != NULL);
    memcpy(line, data, size);
    line[size] = '\0';
    try_claim(line);
    try_generations(line);
    try_note(line);
    free(line);
    return 0;
}
