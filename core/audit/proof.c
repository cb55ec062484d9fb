/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proof.c: verifies the lines of a stream, one after the other.
 *
 * The chain is computed again, across files too. With the audit key so is the key of each block,
 * and a seal must have been made with the key of its own block.
 */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "proof.h"

#define WRONG_MAX 20u /* findings of one stream that are reported; the rest is only counted */

void kt_proof_tell(kt_proof_t *proof, kt_status_t status, const char *format, ...)
{
    char text[KT_ERROR_SIZE];
    va_list args;

    if (status != KT_SUCCESS && ++proof->wrong > WRONG_MAX)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    proof->fn(proof->arg, status, proof->what, text);
}

/* ---- one line ---- */

/* The key of a later block. The number of steps in one stream is limited: without that, one line
 * with a made-up number would take minutes, and a log of such lines would never end. */
static void move_key(kt_proof_t *proof, uint64_t blocks)
{
    if (blocks > proof->reach - proof->passed) {
        kt_proof_tell(proof, KT_MALFORMED,
                      "more than %llu blocks are missing: what follows cannot be verified",
                      (unsigned long long)proof->reach);
        return;
    }
    proof->passed += blocks;
    for (; blocks > 0; blocks--)
        kt_audit_next_key(proof->key);
}

/* The key of a log's first block, even if the logs before it are missing. */
static void find_key(kt_proof_t *proof, const kt_audit_head_t *head)
{
    kt_audit_name_t name = {head->environment, head->stream, ""};

    kt_audit_first_key(proof->audit_key, &name, head->instance, proof->key);
    move_key(proof, head->first ? 0 : head->block);
}

static void begin_instance(kt_proof_t *proof, const kt_audit_head_t *head, const char *file,
                           size_t number)
{
    if (head->first && proof->inside)
        kt_proof_tell(proof, KT_SUCCESS, "%s:%zu: a new instance begins", file, number);
    if (head->block > 0)
        kt_missing_hole(proof->absent, head, 0, 0, file);
    kt_missing_instance(proof->absent, head, file);
    proof->joined = head->block == 0;
    if (head->first &&
        (head->block != 0 || head->last != 0 || !sodium_is_zero(head->chain, KT_AUDIT_HASH)))
        kt_proof_tell(proof, KT_MALFORMED, "%s:%zu: not the first line of an instance", file,
                      number);
    if (proof->expected != NULL && strcmp(proof->expected, head->stream) != 0)
        kt_proof_tell(proof, KT_MALFORMED, "%s:%zu: the log of another stream, \"%s\"", file,
                      number, head->stream);
    memcpy(proof->stream, head->stream, sizeof(proof->stream));
    kt_audit_judge_begin(&proof->judge, proof->stream);
    proof->latest[0] = '\0';
    proof->inside = true;
    proof->keyed = proof->audit_key != NULL && head->keyed;
    memcpy(proof->instance, head->instance, KT_AUDIT_ID);
    kt_chain_begin(&proof->chain, head->chain);
    memcpy(proof->at_seal, head->chain, KT_AUDIT_HASH);
    proof->block = head->block;
    proof->sequence = proof->sealed = head->last;
    if (proof->keyed)
        find_key(proof, head);
}

/* A writer cuts such lines before it leaves a log. It could not, if the log was taken away. */
static void settle_loose(kt_proof_t *proof, const char *line)
{
    kt_audit_note_t note;
    bool gap = kt_audit_parse_note(line, &note) && note.kind == KT_NOTE_GAP;

    if (proof->loose_file == NULL)
        return;
    if (gap)
        kt_proof_tell(proof, KT_SUCCESS,
                      "%s: its last lines, from %zu on, have no seal, and do not count",
                      proof->loose_file, proof->loose_line);
    else
        kt_proof_tell(proof, KT_MALFORMED,
                      "%s: the seal of its last lines, from %zu on, is missing", proof->loose_file,
                      proof->loose_line);
    proof->loose_file = NULL;
}

/* The log does not follow on the one before. */
static void jump(kt_proof_t *proof, const kt_audit_head_t *head, const char *file, size_t number)
{
    if (head->block > proof->block)
        kt_missing_hole(proof->absent, head, proof->block, proof->sealed, file);
    else
        kt_proof_tell(
            proof, KT_MALFORMED,
            "%s:%zu: goes on at block %llu, but the log before ends before block %llu and "
            "otherwise",
            file, number, (unsigned long long)head->block, (unsigned long long)proof->block);
    memcpy(proof->at_seal, head->chain, KT_AUDIT_HASH);
    proof->block = head->block;
    proof->sequence = proof->sealed = head->last;
    if (proof->keyed)
        find_key(proof, head);
}

static void check_head(kt_proof_t *proof, const kt_audit_head_t *head, const char *file,
                       size_t number)
{
    bool goes_on =
        proof->inside && !head->first && memcmp(head->instance, proof->instance, KT_AUDIT_ID) == 0;

    if (proof->received != NULL)
        kt_received_log(proof->received, head->instance, head->block);
    if (!goes_on) {
        if (proof->inside && proof->waiting > 0)
            kt_proof_tell(proof, KT_MALFORMED,
                          "%s: lines from %zu on have no seal, and another instance follows",
                          proof->open_file, proof->open_line);
        begin_instance(proof, head, file, number);
        return;
    }
    if (number != 1)
        kt_proof_tell(proof, KT_MALFORMED,
                      "%s:%zu: the first line of a log, in the middle of another", file, number);
    if (proof->waiting > 0) {
        proof->loose_file = proof->open_file;
        proof->loose_line = proof->open_line;
    }
    proof->joined = head->block == proof->block && head->last == proof->sealed &&
                    memcmp(head->chain, proof->at_seal, KT_AUDIT_HASH) == 0;
    kt_chain_begin(&proof->chain, head->chain);
    proof->sequence = proof->sealed;
    if (!proof->joined)
        jump(proof, head, file, number);
}

/* The place of this ring in the list; if it has none, the place that it may take. */
static size_t find_ring(const kt_proof_t *proof, const unsigned char ring[KT_RING_ID])
{
    size_t i, oldest = 0;

    for (i = 0; i < KT_PROOF_RINGS && proof->ring_used[i] != 0; i++) {
        if (memcmp(proof->rings[i].ring, ring, KT_RING_ID) == 0)
            return i;
        if (proof->ring_used[i] < proof->ring_used[oldest])
            oldest = i;
    }
    return i < KT_PROOF_RINGS ? i : oldest;
}

/* Each record of a process is in one block, or a line says that it is lost. */
static void check_range(kt_proof_t *proof, const kt_audit_seal_t *seal, const char *file,
                        size_t number)
{
    size_t at;
    bool known;

    if (seal->range.to == 0)
        return;
    at = find_ring(proof, seal->range.ring);
    known = proof->ring_used[at] != 0 &&
            memcmp(proof->rings[at].ring, seal->range.ring, KT_RING_ID) == 0;
    if (seal->range.from > seal->range.to || (known && seal->range.from != proof->rings[at].to + 1))
        kt_proof_tell(
            proof, KT_MALFORMED,
            "%s:%zu: block %llu: has the records %llu to %llu of a process, and the block before "
            "has them up to %llu",
            file, number, (unsigned long long)seal->block, (unsigned long long)seal->range.from,
            (unsigned long long)seal->range.to,
            (unsigned long long)(known ? proof->rings[at].to : 0));
    proof->rings[at] = seal->range;
    proof->ring_used[at] = proof->blocks + 1;
}

/* A stream may write about itself only. What it cannot vouch for is refused, sealed or not. */
static void check_claim(kt_proof_t *proof, const char *line, const char *file, size_t number)
{
    kt_audit_claim_t claim;
    unsigned marks;

    if (!kt_audit_parse_claim(line, &claim) || claim.time.size >= sizeof(proof->latest)) {
        kt_proof_tell(proof, KT_MALFORMED, "%s:%zu: not a line of an audit trail", file, number);
        return;
    }
    marks = kt_audit_judge(&proof->judge, &claim);
    if ((marks & KT_LINE_FOREIGN_STREAM) != 0)
        kt_proof_tell(proof, KT_MALFORMED,
                      "%s:%zu: its `stream` or `boot` is not the one of the lines around it", file,
                      number);
    if ((marks & KT_LINE_FOREIGN_SUBJECT) != 0)
        kt_proof_tell(proof, KT_MALFORMED,
                      "%s:%zu: its subject is not one that stream \"%s\" can vouch for", file,
                      number, proof->stream);
    if (proof->latest[0] == '\0' || kt_audit_is_later(&claim.time, proof->latest)) {
        (void)snprintf(proof->latest, sizeof(proof->latest), "%.*s", (int)claim.time.size,
                       claim.time.text);
        proof->latest_line = number;
    }
}

static void check_times(kt_proof_t *proof, const kt_audit_seal_t *seal, const char *file)
{
    const kt_audit_text_t latest = {proof->latest, strlen(proof->latest)};

    if (latest.size > 0 && kt_audit_is_later(&latest, seal->time))
        kt_proof_tell(proof, KT_MALFORMED,
                      "%s:%zu: its time is later than that of the seal of block %llu", file,
                      proof->latest_line, (unsigned long long)seal->block);
    proof->latest[0] = '\0';
    kt_audit_judge_seal(&proof->judge);
}

static void check_seal(kt_proof_t *proof, const char *line, size_t size, const char *file,
                       size_t number)
{
    unsigned char mac[KT_AUDIT_HASH], through[KT_AUDIT_HASH];
    kt_audit_seal_t seal;

    kt_chain_through(&proof->chain, through);
    if (!kt_audit_parse_seal(line, size, &seal)) {
        kt_proof_tell(proof, KT_MALFORMED, "%s:%zu: malformed seal", file, number);
        return;
    }
    if (proof->received != NULL)
        kt_received_seal(proof->received, &seal, line, size);
    if (memcmp(seal.instance, proof->instance, KT_AUDIT_ID) != 0 || seal.block != proof->block)
        kt_proof_tell(proof, KT_MALFORMED,
                      "%s:%zu: the seal of block %llu, where that of block %llu is expected", file,
                      number, (unsigned long long)seal.block, (unsigned long long)proof->block);
    if (memcmp(seal.chain, through, KT_AUDIT_HASH) != 0)
        kt_proof_tell(
            proof, KT_MALFORMED,
            "%s:%zu: block %llu: its lines from %s:%zu on are not the lines that were sealed", file,
            number, (unsigned long long)seal.block, proof->open_file, proof->open_line);
    if (seal.first != proof->sealed + 1 || seal.last != proof->sequence)
        kt_proof_tell(
            proof, KT_MALFORMED,
            "%s:%zu: block %llu: the seal is for numbers %llu to %llu, but the lines have %llu to "
            "%llu",
            file, number, (unsigned long long)seal.block, (unsigned long long)seal.first,
            (unsigned long long)seal.last, (unsigned long long)proof->sealed + 1,
            (unsigned long long)proof->sequence);
    if (proof->keyed) {
        if (seal.block > proof->block)
            move_key(proof, seal.block - proof->block);
        kt_audit_mac(proof->key, seal.chain, line, seal.maced, mac);
        if (sodium_memcmp(mac, seal.mac, sizeof(mac)) != 0)
            kt_proof_tell(proof, KT_MALFORMED,
                          "%s:%zu: block %llu: not sealed with the key of this block", file, number,
                          (unsigned long long)seal.block);
        if (seal.block >= proof->block)
            kt_audit_next_key(proof->key);
    }
    check_range(proof, &seal, file, number);
    check_times(proof, &seal, file);
    /* One change is one finding: the chain of the next block continues from this seal, right or
     * wrong. */
    kt_chain_seal(&proof->chain, seal.chain, line, size);
    if (seal.block >= proof->block)
        proof->block = seal.block + 1;
    memcpy(proof->at_seal, proof->chain.sealed, KT_AUDIT_HASH);
    kt_missing_sealed(proof->absent, proof->instance);
    kt_missing_end(proof->absent, proof->instance, proof->block, seal.last, proof->chain.sealed);
    proof->sealed = proof->sequence = seal.last;
    proof->waiting = 0;
    proof->blocks++;
}

static void count_checkpoint(kt_proof_t *proof, const char *line)
{
    if (strstr(line, ",\"action\":\"checkpoint\",") == NULL ||
        strncmp(line, "{\"time\":\"", 9) != 0)
        return;
    proof->checkpoints++;
    (void)snprintf(proof->checked, sizeof(proof->checked), "%.24s", line + 9);
}

/* The keys of a line have a fixed order, and quotes inside a string are escaped: the first "seq" is
 * the number. */
static void check_decision(kt_proof_t *proof, const char *line, size_t size, const char *file,
                           size_t number)
{
    const char *at = strstr(line, ",\"seq\":"), *gap = strstr(line, ",\"missing\":");
    uint64_t sequence = 0, missing = 0;
    kt_audit_note_t note;

    if (strlen(line) != size || at == NULL || !kt_audit_parse_number(&at, ",\"seq\":", &sequence)) {
        kt_proof_tell(proof, KT_MALFORMED, "%s:%zu: not a line of an audit trail", file, number);
    } else {
        if (gap != NULL && strncmp(at, ",\"action\":\"recover\",", 20) == 0 &&
            kt_audit_parse_number(&gap, ",\"missing\":", &missing) && missing > 0) {
            proof->missing += missing;
            kt_proof_tell(proof, KT_MALFORMED,
                          "%s:%zu: the machine stopped, and %llu %s before this one %s lost", file,
                          number, (unsigned long long)missing, kt_plural(missing, "line", "lines"),
                          kt_plural(missing, "was", "were"));
        }
        if (sequence != proof->sequence + missing + 1)
            kt_proof_tell(proof, KT_MALFORMED, "%s:%zu: number %llu follows number %llu", file,
                          number, (unsigned long long)sequence,
                          (unsigned long long)proof->sequence);
        proof->sequence = sequence;
        check_claim(proof, line, file, number);
        if (kt_audit_parse_note(line, &note))
            kt_missing_note(proof->absent, &note, proof->joined, file, number);
    }
    proof->lines++;
}

void kt_proof_line(kt_proof_t *proof, const char *line, size_t size, const char *file,
                   size_t number)
{
    kt_audit_head_t head;

    if (kt_audit_parse_head(line, &head)) {
        check_head(proof, &head, file, number);
        proof->open_line = number;
        proof->open_file = file;
        proof->waiting = 1;
        kt_chain_add(&proof->chain, line, size);
        return;
    }
    settle_loose(proof, line);
    if (!proof->inside) {
        kt_proof_tell(proof, KT_MALFORMED, "%s:%zu: comes before the first line of an instance",
                      file, number);
        return;
    }
    if (strncmp(line, KT_AUDIT_SEAL, strlen(KT_AUDIT_SEAL)) == 0) {
        check_seal(proof, line, size, file, number);
        proof->open_line = number + 1;
        proof->open_file = file;
        return;
    }
    check_decision(proof, line, size, file, number);
    count_checkpoint(proof, line);
    proof->waiting++;
    kt_chain_add(&proof->chain, line, size);
}
