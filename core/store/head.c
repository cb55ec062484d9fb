/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * head.c: all that is known of a secret except its values, and how it may change.
 *
 * The encoding is a list of fields: tag (1 byte), length (4 bytes, big-endian), contents. A head
 * with an unknown tag is rejected, because this version could only write it back without that
 * field.
 */
#include <stdlib.h>
#include <string.h>

#include "head.h"

/* docs/format.md, "Head". Append only. */
enum {
    TAG_NAME = 1,    /* the name */
    TAG_NUMBERS = 2, /* current, previous, pending, last: 8 bytes each */
    TAG_STATE = 3,   /* 1 byte: 0 live, 1 deleted */
    TAG_TIMES = 4,   /* created, updated, expires: 8 bytes each, ms since the epoch, 0: not set */
    TAG_VERSION = 5, /* version (8), created (8), expires (8), flags, tag (16); newest first */
    TAG_META = 6,    /* key NUL value */
    TAG_NOTE = 7     /* version (8), key NUL value */
};

enum { DESTROYED = 1, ABANDONED = 2 }; /* flags of a version */

#define FIELD_HEADER 5u
#define VERSION_SIZE (8u + 8u + 8u + 1u + KT_TAG_SIZE)
#define NOTE_KEY_MAX 128u
#define NOTE_VALUE_MAX 1024u
#define NOTES_MAX 64u /* of one version */

static void free_pairs(kt_head_pair_t *pairs, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        kt_free_wiped(pairs[i].key);
        kt_free_wiped(pairs[i].value);
    }
    free(pairs);
}

void kt_head_clear(kt_head_t *head)
{
    free(head->versions);
    free_pairs(head->metas, head->nmetas);
    free_pairs(head->notes, head->nnotes);
    kt_wipe(head, sizeof(*head));
}

/* ---- encoding ---- */

/* Begins a field at *io_at, which moves to the next one; answers where its contents go. */
static unsigned char *put_field(unsigned char **io_at, unsigned tag, size_t size)
{
    unsigned char *at = *io_at;

    at[0] = (unsigned char)tag;
    kt_put_u32(at + 1, (uint32_t)size);
    *io_at = at + FIELD_HEADER + size;
    return at + FIELD_HEADER;
}

static void put_numbers(unsigned char **io_at, unsigned tag, const uint64_t *numbers, size_t count)
{
    unsigned char *at = put_field(io_at, tag, count * 8);
    size_t i;

    for (i = 0; i < count; i++)
        kt_put_u64(at + i * 8, numbers[i]);
}

static void put_version(unsigned char **io_at, const kt_head_version_t *version)
{
    unsigned char *at = put_field(io_at, TAG_VERSION, VERSION_SIZE);

    kt_put_u64(at, version->version);
    kt_put_u64(at + 8, (uint64_t)version->created);
    kt_put_u64(at + 16, (uint64_t)version->expires);
    at[24] = version->destroyed ? DESTROYED : version->abandoned ? ABANDONED : 0;
    memcpy(at + 25, version->tag, KT_TAG_SIZE);
}

static size_t pair_size(unsigned tag, const kt_head_pair_t *pair)
{
    return (tag == TAG_NOTE ? 8 : 0) + strlen(pair->key) + 1 + strlen(pair->value);
}

static void put_pair(unsigned char **io_at, unsigned tag, const kt_head_pair_t *pair)
{
    unsigned char *at = put_field(io_at, tag, pair_size(tag, pair));
    size_t key = strlen(pair->key) + 1;

    if (tag == TAG_NOTE) {
        kt_put_u64(at, pair->version);
        at += 8;
    }
    memcpy(at, pair->key, key);
    memcpy(at + key, pair->value, strlen(pair->value));
}

kt_status_t kt_head_encode(const kt_head_t *head, unsigned char **ret_plain, size_t *ret_size)
{
    uint64_t numbers[] = {head->current, head->previous, head->pending, head->last};
    uint64_t times[] = {(uint64_t)head->created, (uint64_t)head->updated, (uint64_t)head->expires};
    size_t i, name = strlen(head->name);
    size_t size = 4 * FIELD_HEADER + name + sizeof(numbers) + 1 + sizeof(times) +
                  head->nversions * (FIELD_HEADER + VERSION_SIZE);
    unsigned char *at;

    for (i = 0; i < head->nmetas; i++)
        size += FIELD_HEADER + pair_size(TAG_META, &head->metas[i]);
    for (i = 0; i < head->nnotes; i++)
        size += FIELD_HEADER + pair_size(TAG_NOTE, &head->notes[i]);
    at = malloc(size);
    if (at == NULL)
        return kt_no_memory();
    *ret_plain = at;
    *ret_size = size;
    memcpy(put_field(&at, TAG_NAME, name), head->name, name);
    put_numbers(&at, TAG_NUMBERS, numbers, KT_ARRAY(numbers));
    *put_field(&at, TAG_STATE, 1) = head->deleted;
    put_numbers(&at, TAG_TIMES, times, KT_ARRAY(times));
    for (i = 0; i < head->nversions; i++)
        put_version(&at, &head->versions[i]);
    for (i = 0; i < head->nmetas; i++)
        put_pair(&at, TAG_META, &head->metas[i]);
    for (i = 0; i < head->nnotes; i++)
        put_pair(&at, TAG_NOTE, &head->notes[i]);
    return KT_SUCCESS;
}

/* ---- decoding ---- */

static kt_status_t bad_head(void)
{
    return kt_fail(KT_MALFORMED,
                   "a sealed head does not parse: it may come from a newer version of keyturn");
}

static kt_status_t append_pair(kt_head_pair_t **pairs, size_t *count, uint64_t version,
                               const char *key, size_t key_size, const char *value,
                               size_t value_size)
{
    kt_head_pair_t *grown = realloc(*pairs, (*count + 1) * sizeof(**pairs));
    kt_head_pair_t *pair;

    if (grown == NULL)
        return kt_no_memory();
    *pairs = grown;
    pair = &grown[*count];
    pair->version = version;
    pair->key = strndup(key, key_size);
    pair->value = strndup(value, value_size);
    if (pair->key == NULL || pair->value == NULL) {
        kt_free_wiped(pair->key);
        kt_free_wiped(pair->value);
        return kt_no_memory();
    }
    (*count)++;
    return KT_SUCCESS;
}

static kt_status_t get_pair(const unsigned char *at, size_t size, bool note, kt_head_t *head)
{
    uint64_t version = 0;
    const unsigned char *end;

    if (note) {
        if (size < 8)
            return bad_head();
        version = kt_get_u64(at);
        at += 8;
        size -= 8;
    }
    end = memchr(at, 0, size);
    if (end == NULL || memchr(end + 1, 0, size - (size_t)(end - at) - 1) != NULL)
        return bad_head();
    return append_pair(note ? &head->notes : &head->metas, note ? &head->nnotes : &head->nmetas,
                       version, (const char *)at, (size_t)(end - at), (const char *)end + 1,
                       size - (size_t)(end - at) - 1);
}

/* Makes room for one more version. */
static kt_status_t grow_versions(kt_head_t *head)
{
    kt_head_version_t *grown = realloc(head->versions, (head->nversions + 1) * sizeof(*grown));

    if (grown == NULL)
        return kt_no_memory();
    head->versions = grown;
    return KT_SUCCESS;
}

static kt_status_t get_version(const unsigned char *at, size_t size, kt_head_t *head)
{
    kt_head_version_t *version;
    kt_status_t status;

    if (size != VERSION_SIZE || at[24] > ABANDONED ||
        head->nversions > KT_VERSIONS_MAX + KT_ABANDONED_MAX + 2)
        return bad_head();
    status = grow_versions(head);
    if (status != KT_SUCCESS)
        return status;
    version = &head->versions[head->nversions++];
    version->version = kt_get_u64(at);
    version->created = (int64_t)kt_get_u64(at + 8);
    version->expires = (int64_t)kt_get_u64(at + 16);
    version->destroyed = at[24] == DESTROYED;
    version->abandoned = at[24] == ABANDONED;
    memcpy(version->tag, at + 25, KT_TAG_SIZE);
    return KT_SUCCESS;
}

static kt_status_t get_field(unsigned tag, const unsigned char *at, size_t size, kt_head_t *head)
{
    switch (tag) {
    case TAG_NAME:
        if (size == 0 || size > KT_NAME_MAX || memchr(at, 0, size) != NULL)
            return bad_head();
        memcpy(head->name, at, size);
        head->name[size] = '\0';
        return KT_SUCCESS;
    case TAG_NUMBERS:
        if (size != 32)
            return bad_head();
        head->current = kt_get_u64(at);
        head->previous = kt_get_u64(at + 8);
        head->pending = kt_get_u64(at + 16);
        head->last = kt_get_u64(at + 24);
        return KT_SUCCESS;
    case TAG_STATE:
        if (size != 1 || at[0] > 1)
            return bad_head();
        head->deleted = at[0] != 0;
        return KT_SUCCESS;
    case TAG_TIMES:
        if (size != 24)
            return bad_head();
        head->created = (int64_t)kt_get_u64(at);
        head->updated = (int64_t)kt_get_u64(at + 8);
        head->expires = (int64_t)kt_get_u64(at + 16);
        return KT_SUCCESS;
    case TAG_VERSION:
        return get_version(at, size, head);
    case TAG_META:
    case TAG_NOTE:
        return get_pair(at, size, tag == TAG_NOTE, head);
    default:
        return bad_head();
    }
}

kt_status_t kt_head_decode(const unsigned char *plain, size_t size, kt_head_t *ret_head)
{
    unsigned seen = 0; /* a bit for each of the fields that a head has exactly once */
    kt_head_t head;
    kt_status_t status = KT_SUCCESS;

    memset(&head, 0, sizeof(head));
    while (size > 0 && status == KT_SUCCESS) {
        size_t length = size >= FIELD_HEADER ? kt_get_u32(plain + 1) : 0;

        if (size < FIELD_HEADER || length > size - FIELD_HEADER ||
            (plain[0] <= TAG_TIMES && (seen & 1u << plain[0]) != 0)) {
            status = bad_head();
            break;
        }
        seen |= plain[0] <= TAG_TIMES ? 1u << plain[0] : 0;
        status = get_field(plain[0], plain + FIELD_HEADER, length, &head);
        plain += FIELD_HEADER + length;
        size -= FIELD_HEADER + length;
    }
    if (status == KT_SUCCESS &&
        seen != (1u << TAG_NAME | 1u << TAG_NUMBERS | 1u << TAG_STATE | 1u << TAG_TIMES))
        status = bad_head();
    if (status != KT_SUCCESS) {
        kt_head_clear(&head);
        return status;
    }
    *ret_head = head;
    return KT_SUCCESS;
}

/* ---- changes ---- */

kt_head_version_t *kt_head_find(const kt_head_t *head, uint64_t version)
{
    size_t i;

    for (i = 0; version != 0 && i < head->nversions; i++) {
        if (head->versions[i].version == version)
            return &head->versions[i];
    }
    return NULL;
}

kt_status_t kt_head_add(kt_head_t *head, uint64_t version, int64_t now,
                        kt_head_version_t **ret_version)
{
    kt_status_t status = grow_versions(head);

    if (status != KT_SUCCESS)
        return status;
    memmove(head->versions + 1, head->versions, head->nversions * sizeof(*head->versions));
    head->nversions++;
    head->versions[0] = (kt_head_version_t){.version = version, .created = now};
    head->last = version;
    *ret_version = &head->versions[0];
    return KT_SUCCESS;
}

static void drop_pair(kt_head_pair_t *pairs, size_t *count, size_t i)
{
    kt_free_wiped(pairs[i].key);
    kt_free_wiped(pairs[i].value);
    memmove(pairs + i, pairs + i + 1, (*count - i - 1) * sizeof(*pairs));
    (*count)--;
}

void kt_head_drop(kt_head_t *head, uint64_t version)
{
    kt_head_version_t *found = kt_head_find(head, version);
    size_t i = head->nnotes;

    while (i-- > 0) {
        if (head->notes[i].version == version)
            drop_pair(head->notes, &head->nnotes, i);
    }
    if (found == NULL)
        return;
    i = (size_t)(found - head->versions);
    memmove(found, found + 1, (head->nversions - i - 1) * sizeof(*found));
    head->nversions--;
}

size_t kt_head_abandoned(const kt_head_t *head)
{
    size_t i, count = 0;

    for (i = 0; i < head->nversions; i++)
        count += head->versions[i].abandoned;
    return count;
}

void kt_head_take_back(kt_head_t *head, uint64_t version)
{
    kt_head_version_t *found = kt_head_find(head, version);

    if (found == NULL || !found->abandoned)
        return;
    found->abandoned = false;
    found->expires = 0;
}

static kt_head_pair_t *find_pair(kt_head_pair_t *pairs, size_t count, uint64_t version,
                                 const char *key)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (pairs[i].version == version && strcmp(pairs[i].key, key) == 0)
            return &pairs[i];
    }
    return NULL;
}

static kt_status_t replace_value(kt_head_pair_t *pair, const char *value)
{
    char *copy = strdup(value);

    if (copy == NULL)
        return kt_no_memory();
    kt_free_wiped(pair->value);
    pair->value = copy;
    return KT_SUCCESS;
}

kt_status_t kt_head_meta(kt_head_t *head, const char *key, const char *value)
{
    kt_head_pair_t *pair = find_pair(head->metas, head->nmetas, 0, key);

    if (key[0] == '\0' || strlen(key) > KT_META_KEY_MAX)
        return kt_fail(KT_USAGE, "a metadata key has 1 to %u bytes", KT_META_KEY_MAX);
    if (value == NULL) {
        if (pair != NULL)
            drop_pair(head->metas, &head->nmetas, (size_t)(pair - head->metas));
        return KT_SUCCESS;
    }
    if (strlen(value) > KT_META_VALUE_MAX)
        return kt_fail(KT_TOOLARGE, "a metadata value has at most %u bytes", KT_META_VALUE_MAX);
    if (pair != NULL)
        return replace_value(pair, value);
    if (head->nmetas >= KT_META_MAX)
        return kt_fail(KT_TOOLARGE, "a secret has at most %u metadata entries", KT_META_MAX);
    return append_pair(&head->metas, &head->nmetas, 0, key, strlen(key), value, strlen(value));
}

kt_status_t kt_head_note(kt_head_t *head, uint64_t version, const char *key, const char *value)
{
    kt_head_pair_t *pair = find_pair(head->notes, head->nnotes, version, key);
    size_t i, count = 0;

    if (key[0] == '\0' || strlen(key) > NOTE_KEY_MAX || strlen(value) > NOTE_VALUE_MAX)
        return kt_fail(KT_TOOLARGE, "a note has a key of 1 to %u bytes and a text of at most %u",
                       NOTE_KEY_MAX, NOTE_VALUE_MAX);
    if (pair != NULL)
        return replace_value(pair, value);
    for (i = 0; i < head->nnotes; i++)
        count += head->notes[i].version == version;
    if (count >= NOTES_MAX)
        return kt_fail(KT_TOOLARGE, "a version has at most %u notes", NOTES_MAX);
    return append_pair(&head->notes, &head->nnotes, version, key, strlen(key), value,
                       strlen(value));
}

void kt_head_drop_note(kt_head_t *head, uint64_t version, const char *key)
{
    kt_head_pair_t *pair = find_pair(head->notes, head->nnotes, version, key);

    if (pair != NULL)
        drop_pair(head->notes, &head->nnotes, (size_t)(pair - head->notes));
}

const char *kt_head_get_note(const kt_head_t *head, uint64_t version, const char *key)
{
    const kt_head_pair_t *pair = find_pair(head->notes, head->nnotes, version, key);

    return pair != NULL ? pair->value : NULL;
}

bool kt_head_is_erased(const kt_head_t *head)
{
    const kt_head_version_t *current = kt_head_find(head, head->current);

    return head->deleted && (current == NULL || current->destroyed);
}

kt_status_t kt_head_kept(const kt_head_t *head, uint64_t version,
                         const kt_head_version_t **ret_version)
{
    const kt_head_version_t *found = kt_head_find(head, version);

    if (found == NULL)
        return kt_fail(KT_NOTFOUND, "%s: version %llu is not kept", head->name,
                       (unsigned long long)version);
    if (found->destroyed)
        return kt_fail(KT_GONE, "%s: version %llu is destroyed", head->name,
                       (unsigned long long)version);
    *ret_version = found;
    return KT_SUCCESS;
}

kt_status_t kt_head_select(const kt_head_t *head, kt_selector_t selector, uint64_t number,
                           uint64_t *ret_version)
{
    const uint64_t numbers[] = {head->current, head->previous, head->pending, number};
    static const char *const names[] = {"current", "previous", "pending"};
    uint64_t version = numbers[selector];
    const kt_head_version_t *ignored;
    kt_status_t status;

    if (version == 0)
        return kt_fail(KT_NOTFOUND, "the secret has no %s version",
                       selector == KT_SEL_NUMBER ? "such" : names[selector]);
    status = kt_head_kept(head, version, &ignored);
    if (status == KT_SUCCESS)
        *ret_version = version;
    return status;
}
