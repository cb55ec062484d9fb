/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * old.c: which passwords a target still accepts beside the current one, and until when.
 *
 * A rotation notes them with its pending version, by their hashes, before the target learns the new
 * value; so whatever is killed afterwards, the next one knows what remains to be done. They stay
 * noted until every server has confirmed that it does not accept them any more (retire.c).
 */
#include "old.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kt_password_hash(const kt_secret_t *password, char ret_hash[KT_PASSWORD_HASH])
{
    unsigned char hash[crypto_hash_sha256_BYTES];

    (void)crypto_hash_sha256(hash, password->data, password->size);
    (void)sodium_bin2hex(ret_hash, KT_PASSWORD_HASH, hash, sizeof(hash));
    kt_wipe(hash, sizeof(hash));
}

/* ---- what is noted ---- */

/* The time at which a note's password goes. */
static int64_t until_of(const kt_head_t *head, const kt_head_pair_t *note)
{
    const char *since = kt_head_get_note(head, note->version, KT_NOTE_ROTATED);

    if (note->value[0] == '@')
        return strtoll(note->value + 1, NULL, 10);
    return (since != NULL ? strtoll(since, NULL, 10) : 0) + strtoll(note->value, NULL, 10);
}

/* A version that never was in force has removed nothing. */
static bool counts(const kt_head_t *head, uint64_t version)
{
    const kt_head_version_t *entry = kt_head_find(head, version);

    return entry != NULL && !entry->abandoned && version != head->pending;
}

static void add(kt_old_t *old, const char *hash, int64_t until)
{
    size_t i;

    for (i = 0; i < old->count && strcmp(old->list[i].hash, hash) != 0; i++)
        ;
    if (i < old->count) {
        if (old->list[i].until < until)
            old->list[i].until = until;
        return;
    }
    if (old->count == KT_OLD_MAX) {
        old->more = true;
        return;
    }
    (void)snprintf(old->list[i].hash, KT_PASSWORD_HASH, "%s", hash);
    old->list[i].until = until;
    old->count++;
}

void kt_old_list(const kt_head_t *head, kt_old_t *ret_old)
{
    size_t i, prefix = strlen(KT_NOTE_OLD);

    memset(ret_old, 0, sizeof(*ret_old));
    for (i = 0; i < head->nnotes; i++) {
        const kt_head_pair_t *note = &head->notes[i];

        if (strncmp(note->key, KT_NOTE_OLD, prefix) == 0 &&
            strlen(note->key) == prefix + KT_PASSWORD_HASH - 1 && counts(head, note->version))
            add(ret_old, note->key + prefix, until_of(head, note));
    }
}

kt_status_t kt_old_busy(const kt_head_t *head)
{
    long pid = 0;

    if (!kt_lease_is_held(kt_head_get_note(head, head->current, KT_NOTE_LEASE), &pid))
        return KT_SUCCESS;
    return kt_fail(KT_CONFLICT,
                   "%s: an older password is being removed from its target, by process %ld (0: on "
                   "another machine): try again",
                   head->name, pid);
}

/* ---- a rotation's notes ---- */

static kt_status_t hash_of(kt_change_t *change, uint64_t version, char ret_hash[KT_PASSWORD_HASH])
{
    kt_secret_t *whole = NULL, *part = NULL;
    kt_status_t status = kt_change_value(change, version, &whole);

    if (status == KT_SUCCESS)
        status = kt_target_part(whole, &part);
    if (status == KT_SUCCESS)
        kt_password_hash(part, ret_hash);
    kt_secret_free(part);
    kt_secret_free(whole);
    return status;
}

static kt_status_t note(kt_head_t *head, uint64_t version, const char *hash, const char *value)
{
    char key[sizeof(KT_NOTE_OLD) + KT_PASSWORD_HASH];

    (void)snprintf(key, sizeof(key), KT_NOTE_OLD "%s", hash);
    return kt_head_note(head, version, key, value);
}

/* The newest version that the target got by a rotation, if it is not the current one: a value that
 * was stored by force in between is another one. 0: there is none. */
static uint64_t last_given(const kt_head_t *head, uint64_t version)
{
    size_t i;

    for (i = 0; i < head->nversions; i++) {
        const kt_head_version_t *entry = &head->versions[i];
        const char *target = kt_head_get_note(head, entry->version, KT_NOTE_TARGET);

        if (entry->version != version && !entry->abandoned && !entry->destroyed && target != NULL &&
            kt_config_is_target(target))
            return entry->version != head->current ? entry->version : 0;
    }
    return 0;
}

/* One that stands in `keep` is that of the new value. */
static kt_status_t note_version(kt_change_t *change, uint64_t version, uint64_t old,
                                int64_t overlap, const char *keep)
{
    char hash[KT_PASSWORD_HASH], value[24];
    kt_status_t status;

    if (old == 0)
        return KT_SUCCESS;
    status = hash_of(change, old, hash);
    if (status != KT_SUCCESS || strcmp(hash, keep) == 0)
        return status;
    (void)snprintf(value, sizeof(value), "%" PRId64, overlap);
    return note(kt_change_head(change), version, hash, value);
}

kt_status_t kt_old_note(kt_change_t *change, uint64_t version, int64_t overlap)
{
    kt_head_t *head = kt_change_head(change);
    char keep[KT_PASSWORD_HASH], value[24];
    kt_old_t old;
    kt_status_t status = kt_old_busy(head);
    size_t i;

    if (status == KT_SUCCESS)
        status = hash_of(change, version, keep);
    kt_old_list(head, &old);
    if (status == KT_SUCCESS && old.count + 2 > KT_OLD_MAX)
        return kt_fail(KT_CONFLICT,
                       "%s: too many older passwords are still valid at its target: wait until "
                       "their `overlap` ends, then `keyturn rotate --due`",
                       head->name);
    for (i = 0; status == KT_SUCCESS && i < old.count; i++) {
        if (strcmp(old.list[i].hash, keep) == 0)
            continue;
        (void)snprintf(value, sizeof(value), "@%" PRId64, old.list[i].until);
        status = note(head, version, old.list[i].hash, value);
    }
    if (status == KT_SUCCESS)
        status = note_version(change, version, last_given(head, version), overlap, keep);
    return status == KT_SUCCESS ? note_version(change, version, head->current, overlap, keep)
                                : status;
}

void kt_old_forget(kt_head_t *head, const char *hash)
{
    char key[sizeof(KT_NOTE_OLD) + KT_PASSWORD_HASH];
    size_t i;

    (void)snprintf(key, sizeof(key), KT_NOTE_OLD "%s", hash);
    for (i = 0; i < head->nversions; i++) {
        if (counts(head, head->versions[i].version))
            kt_head_drop_note(head, head->versions[i].version, key);
    }
}
