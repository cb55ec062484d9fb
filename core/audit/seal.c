/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * seal.c: makes changes of a log detectable.
 *
 * The lines of a block are a link of an unkeyed chain, and so is the seal line that closes it: it
 * has the chain through the line before it, and a MAC over that and over itself under the key of
 * its block. Then the key is replaced by its hash. An intruder finds the key of the next block
 * only, and none for what was sealed before: a block under a later key is as wrong as one under
 * none.
 *
 * A link for each line would cost a sixth more, and prove no more: only seals say what the chain
 * has to be.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trail.h"

#define STATE_MAGIC "KTA4"
#define LAZY_MAX 1024u /* blocks that are not synced; a writer leaves one */
#define SEAL_MAX 1024u /* bytes of a seal line; a writer needs less than half */

void kt_audit_seal_block(kt_audit_state_t *state, kt_lines_t *lines, const kt_audit_range_t *range,
                         int64_t now)
{
    size_t at;

    kt_audit_link(state->recorded.chain, lines->text, lines->size);
    at = kt_line_seal(lines, state, range, now);
    kt_audit_link(state->recorded.chain, lines->text + at, lines->size - at);
    state->recorded.length += lines->size;
    kt_audit_mark_sealed(state);
}

/* ---- seal lines ---- */

bool kt_audit_parse_number(const char **at, const char *key, uint64_t *ret_number)
{
    size_t size = strlen(key);
    char *end;

    if (strncmp(*at, key, size) != 0 || (*at)[size] < '0' || (*at)[size] > '9')
        return false;
    errno = 0;
    *ret_number = strtoull(*at + size, &end, 10);
    *at = end;
    return errno == 0;
}

bool kt_audit_parse_hex(const char **at, const char *key, unsigned char *bytes, size_t size)
{
    size_t got = 0, prefix = strlen(key);

    if (strncmp(*at, key, prefix) != 0 || strlen(*at + prefix) < 2 * size ||
        sodium_hex2bin(bytes, size, *at + prefix, 2 * size, NULL, &got, NULL) != 0 || got != size)
        return false;
    *at += prefix + 2 * size;
    return true;
}

static bool parse_range(const char **at, kt_audit_range_t *range)
{
    if (strncmp(*at, ",\"ring\":", 8) != 0)
        return true;
    return kt_audit_parse_hex(at, ",\"ring\":\"", range->ring, KT_RING_ID) &&
           kt_audit_parse_number(at, "\",\"from\":", &range->from) &&
           kt_audit_parse_number(at, ",\"to\":", &range->to);
}

bool kt_audit_parse_seal(const char *line, size_t size, kt_audit_seal_t *ret_seal)
{
    kt_audit_seal_t seal;
    const char *at = line;

    memset(&seal, 0, sizeof(seal));
    if (strlen(line) != size || !kt_audit_parse_number(&at, KT_AUDIT_SEAL, &seal.block) ||
        !kt_audit_parse_hex(&at, ",\"instance\":\"", seal.instance, KT_AUDIT_ID) ||
        !kt_audit_parse_number(&at, "\",\"first\":", &seal.first) ||
        !kt_audit_parse_number(&at, ",\"last\":", &seal.last) || !parse_range(&at, &seal.range) ||
        strncmp(at, ",\"time\":\"", 9) != 0 || (at = strchr(seal.time = at + 9, '"')) == NULL ||
        !kt_audit_parse_hex(&at, "\",\"chain\":\"", seal.chain, KT_AUDIT_HASH))
        return false;
    seal.maced = (size_t)(at - line) + 1; /* its closing quote */
    if (!kt_audit_parse_hex(&at, "\",\"mac\":\"", seal.mac, KT_AUDIT_HASH) ||
        strcmp(at, "\"}\n") != 0)
        return false;
    *ret_seal = seal;
    return true;
}

void kt_audit_mark_sealed(kt_audit_state_t *state)
{
    kt_audit_next_key(state->key);
    state->block++;
    state->log_begun = true;
    state->sealed = state->recorded;
    memset(&state->gap, 0, sizeof(state->gap));
}

void kt_audit_take_lazy(kt_audit_state_t *state)
{
    for (; state->block < state->lazy.block; state->block++)
        kt_audit_next_key(state->key);
    state->sealed = state->recorded = state->lazy.end;
    state->range = state->lazy.range;
    memset(&state->lazy, 0, sizeof(state->lazy));
    state->unsynced = true;
}

void kt_audit_run_id(const char *boot, unsigned char ret_id[KT_AUDIT_ID])
{
    (void)crypto_generichash_blake2b(ret_id, KT_AUDIT_ID, (const unsigned char *)boot, strlen(boot),
                                     NULL, 0);
}

/* ---- the state ---- */

static void encode_end(const kt_audit_end_t *end, unsigned char *at)
{
    kt_put_u64(at, end->sequence);
    kt_put_u64(at + 8, end->length);
    memcpy(at + 16, end->chain, KT_AUDIT_HASH);
}

static void decode_end(const unsigned char *at, kt_audit_end_t *ret_end)
{
    ret_end->sequence = kt_get_u64(at);
    ret_end->length = kt_get_u64(at + 8);
    memcpy(ret_end->chain, at + 16, KT_AUDIT_HASH);
}

void kt_audit_new_state(const unsigned char *audit_key, const kt_audit_name_t *name,
                        kt_audit_state_t *ret_state)
{
    memset(ret_state, 0, sizeof(*ret_state));
    ret_state->keyed = audit_key != NULL;
    randombytes_buf(ret_state->instance, KT_AUDIT_ID);
    if (audit_key != NULL)
        kt_audit_first_key(audit_key, name, ret_state->instance, ret_state->key);
    else
        randombytes_buf(ret_state->key, KT_AUDIT_HASH);
}

void kt_audit_encode_state(const kt_audit_state_t *state, unsigned char ret_bytes[KT_AUDIT_STATE])
{
    memset(ret_bytes, 0, KT_AUDIT_STATE);
    memcpy(ret_bytes, STATE_MAGIC, 4);
    kt_put_u32(ret_bytes + 4, (state->keyed ? 1u : 0u) | (state->log_begun ? 2u : 0u));
    memcpy(ret_bytes + 8, state->instance, KT_AUDIT_ID);
    memcpy(ret_bytes + 24, state->key, KT_AUDIT_HASH);
    kt_put_u64(ret_bytes + 56, state->block);
    kt_put_u64(ret_bytes + 64, state->inode);
    encode_end(&state->sealed, ret_bytes + 72);
    kt_put_u64(ret_bytes + 120, state->reserved);
    memcpy(ret_bytes + 128, state->range.ring, KT_RING_ID);
    kt_put_u64(ret_bytes + 144, state->range.to);
    kt_put_u64(ret_bytes + 152, (uint64_t)state->checkpoint);
    kt_put_u64(ret_bytes + 160, state->log_block);
    kt_put_u64(ret_bytes + 168, state->log_last);
    kt_put_u64(ret_bytes + 176, (uint64_t)state->log_time);
    kt_put_u64(ret_bytes + 184, (uint64_t)state->gap.reason);
    kt_put_u64(ret_bytes + 192, state->gap.block);
    kt_put_u64(ret_bytes + 200, state->gap.last);
    kt_put_u64(ret_bytes + 208, state->gap.length);
    kt_put_u64(ret_bytes + 216, state->kept);
    kt_put_u64(ret_bytes + 224, state->lazy.block);
    encode_end(&state->lazy.end, ret_bytes + 232);
    memcpy(ret_bytes + 280, state->lazy.range.ring, KT_RING_ID);
    kt_put_u64(ret_bytes + 296, state->lazy.range.to);
    memcpy(ret_bytes + 304, state->lazy.boot, KT_AUDIT_ID);
}

bool kt_audit_decode_state(const unsigned char bytes[KT_AUDIT_STATE], kt_audit_state_t *ret_state)
{
    uint32_t flags = kt_get_u32(bytes + 4);
    uint64_t reason = kt_get_u64(bytes + 184);

    if (memcmp(bytes, STATE_MAGIC, 4) != 0 || flags > 3 || reason >= KT_LOSSES)
        return false;
    memset(ret_state, 0, sizeof(*ret_state));
    ret_state->keyed = (flags & 1) != 0;
    ret_state->log_begun = (flags & 2) != 0;
    memcpy(ret_state->instance, bytes + 8, KT_AUDIT_ID);
    memcpy(ret_state->key, bytes + 24, KT_AUDIT_HASH);
    ret_state->block = kt_get_u64(bytes + 56);
    ret_state->inode = kt_get_u64(bytes + 64);
    decode_end(bytes + 72, &ret_state->sealed);
    ret_state->reserved = kt_get_u64(bytes + 120);
    memcpy(ret_state->range.ring, bytes + 128, KT_RING_ID);
    ret_state->range.to = kt_get_u64(bytes + 144);
    ret_state->checkpoint = (int64_t)kt_get_u64(bytes + 152);
    ret_state->log_block = kt_get_u64(bytes + 160);
    ret_state->log_last = kt_get_u64(bytes + 168);
    ret_state->log_time = (int64_t)kt_get_u64(bytes + 176);
    ret_state->gap.reason = (kt_audit_loss_t)reason;
    ret_state->gap.block = kt_get_u64(bytes + 192);
    ret_state->gap.last = kt_get_u64(bytes + 200);
    ret_state->gap.length = kt_get_u64(bytes + 208);
    ret_state->kept = kt_get_u64(bytes + 216);
    ret_state->lazy.block = kt_get_u64(bytes + 224);
    decode_end(bytes + 232, &ret_state->lazy.end);
    memcpy(ret_state->lazy.range.ring, bytes + 280, KT_RING_ID);
    ret_state->lazy.range.to = kt_get_u64(bytes + 296);
    memcpy(ret_state->lazy.boot, bytes + 304, KT_AUDIT_ID);
    if (ret_state->lazy.block != 0 && (ret_state->lazy.block <= ret_state->block ||
                                       ret_state->lazy.block - ret_state->block > LAZY_MAX))
        return false;
    ret_state->recorded = ret_state->sealed;
    return true;
}

/* ---- recovery ---- */

/* Moves the state past a seal under its present key. `length` and `chain` are through the line
 * before it. */
static bool adopt_seal(kt_audit_state_t *state, uint64_t *length, kt_audit_chain_t *chain,
                       const char *line, size_t size)
{
    unsigned char mac[KT_AUDIT_HASH], through[KT_AUDIT_HASH];
    kt_audit_seal_t seal;

    kt_chain_through(chain, through);
    if (!kt_audit_parse_seal(line, size, &seal) || seal.block != state->block ||
        memcmp(seal.chain, through, KT_AUDIT_HASH) != 0 ||
        memcmp(seal.instance, state->instance, KT_AUDIT_ID) != 0)
        return false;
    kt_audit_mac(state->key, seal.chain, line, seal.maced, mac);
    if (sodium_memcmp(mac, seal.mac, sizeof(mac)) != 0)
        return false;
    kt_chain_seal(chain, seal.chain, line, size);
    *length += size;
    state->recorded.sequence = seal.last;
    state->recorded.length = *length;
    memcpy(state->recorded.chain, chain->sealed, KT_AUDIT_HASH);
    if (seal.range.to != 0)
        state->range = seal.range;
    kt_audit_mark_sealed(state);
    return true;
}

bool kt_audit_adopt_line(kt_audit_state_t *state, uint64_t *length, kt_audit_chain_t *chain,
                         const char *line, size_t size)
{
    if (strncmp(line, KT_AUDIT_SEAL, strlen(KT_AUDIT_SEAL)) == 0)
        return adopt_seal(state, length, chain, line, size);
    kt_chain_add(chain, line, size);
    *length += size;
    return true;
}

/* Ends at the first line that is not whole: our lines are shorter and have no zero byte. */
static void adopt_blocks(FILE *file, char *line, kt_audit_state_t *state)
{
    uint64_t length = state->sealed.length;
    kt_audit_chain_t chain;
    size_t size;

    kt_chain_begin(&chain, state->sealed.chain);
    while (fgets(line, KT_AUDIT_LINE, file) != NULL && (size = strlen(line)) > 0 &&
           line[size - 1] == '\n' && kt_audit_adopt_line(state, &length, &chain, line, size))
        ;
}

static kt_status_t adopt_rest(const char *path, int log, kt_audit_state_t *state)
{
    char *line = malloc(KT_AUDIT_LINE);
    int fd = line != NULL ? dup(log) : -1;
    FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
    kt_status_t status = KT_SUCCESS;

    if (file != NULL && fseeko(file, (off_t)state->sealed.length, SEEK_SET) == 0)
        adopt_blocks(file, line, state);
    else
        status = kt_fail(KT_AUDIT, "audit trail %s/log: %s", path, strerror(errno));
    if (file != NULL)
        (void)fclose(file);
    else if (fd >= 0)
        (void)close(fd);
    free(line);
    return status;
}

kt_status_t kt_audit_recover(const char *path, int log, uint64_t size, kt_audit_state_t *state,
                             kt_recovery_t *ret_recovery)
{
    kt_status_t status = adopt_rest(path, log, state);
    if (status != KT_SUCCESS || size == state->sealed.length)
        return status;
    if (ftruncate(log, (off_t)state->sealed.length) != 0)
        return kt_fail(KT_AUDIT, "audit trail %s/log: %s", path, strerror(errno));
    state->reserved = 0; /* that was cut as well */
    ret_recovery->dropped += size - state->sealed.length;
    return KT_SUCCESS;
}

bool kt_audit_has_sealed(int log, const kt_audit_state_t *state)
{
    unsigned char chain[KT_AUDIT_HASH];
    char text[SEAL_MAX + 1], *line;
    size_t size = state->sealed.length < SEAL_MAX ? (size_t)state->sealed.length : SEAL_MAX;
    kt_audit_seal_t seal;

    if (!state->log_begun)
        return true;
    if (size == 0 || pread(log, text, size, (off_t)(state->sealed.length - size)) != (ssize_t)size)
        return false;
    text[size] = '\0';
    line = memrchr(text, '\n', size - 1);
    line = line != NULL ? line + 1 : text;
    size -= (size_t)(line - text);
    if (!kt_audit_parse_seal(line, size, &seal) ||
        memcmp(seal.instance, state->instance, KT_AUDIT_ID) != 0)
        return false;
    memcpy(chain, seal.chain, sizeof(chain));
    kt_audit_link(chain, line, size);
    return memcmp(chain, state->sealed.chain, sizeof(chain)) == 0;
}
