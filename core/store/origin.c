/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * origin.c: where a version's value comes from, and what somebody outside knows of it.
 *
 * *Issued* is a value that somebody gave us, *generated* one that we made up, *derived* one that is
 * computed from others. Only a generated value may be replaced by a made-up one without being
 * asked. The origin belongs to the version, because a roll-back brings the older value's origin
 * back. Issued is the default, so only the others need a note.
 */
#include <stdlib.h>
#include <string.h>

#include "head.h"
#include "config/config.h"

const char *kt_origin_check(const char *text)
{
    static const char *const origins[] = {KT_ISSUED, KT_GENERATED, KT_DERIVED};
    size_t i;

    for (i = 0; i < KT_ARRAY(origins); i++) {
        if (strcmp(text, origins[i]) == 0)
            return origins[i];
    }
    return NULL;
}

const char *kt_origin_of(const kt_head_t *head, uint64_t version)
{
    const char *note = kt_head_get_note(head, version, KT_NOTE_ORIGIN);
    const char *origin = note != NULL ? kt_origin_check(note) : NULL;

    return origin != NULL ? origin : KT_ISSUED;
}

kt_status_t kt_origin_set(kt_head_t *head, uint64_t version, const char *origin)
{
    if (kt_origin_check(origin) == NULL)
        return kt_fail(KT_USAGE, "the metadata `" KT_META_ORIGIN "` must be " KT_ISSUED
                                 ", " KT_GENERATED " or " KT_DERIVED);
    if (strcmp(origin, KT_ISSUED) != 0)
        return kt_head_note(head, version, KT_NOTE_ORIGIN, origin);
    kt_head_drop_note(head, version, KT_NOTE_ORIGIN);
    return KT_SUCCESS;
}

/* A schedule that does not parse would never be due. */
static kt_status_t check_schedule(const char *value)
{
    if (kt_schedule_parse(value) > 0)
        return KT_SUCCESS;
    return kt_fail(KT_USAGE,
                   "the metadata `" KT_META_ROTATION
                   "` must be a duration (30d, 12h), critical or weekly, high or monthly, database "
                   "or quarterly, api-key or annually, or daily");
}

kt_status_t kt_head_describe(kt_head_t *head, uint64_t version, const char *key, const char *value)
{
    kt_status_t status = KT_SUCCESS;

    if (strcmp(key, KT_META_ORIGIN) == 0)
        return kt_origin_set(head, version, value != NULL ? value : KT_ISSUED);
    if (strcmp(key, KT_META_ROTATION) == 0 && value != NULL)
        status = check_schedule(value);
    return status == KT_SUCCESS ? kt_head_meta(head, key, value) : status;
}

const char *kt_head_get_meta(const kt_head_t *head, const char *key)
{
    size_t i;

    for (i = 0; i < head->nmetas; i++) {
        if (strcmp(head->metas[i].key, key) == 0)
            return head->metas[i].value;
    }
    return NULL;
}

kt_status_t kt_head_copy_notes(kt_head_t *head, uint64_t from, uint64_t to)
{
    size_t i, count = head->nnotes;
    kt_status_t status = KT_SUCCESS;

    for (i = 0; i < count && status == KT_SUCCESS; i++) {
        const kt_head_pair_t note = head->notes[i]; /* the list may move */

        if (note.version == from && strcmp(note.key, KT_NOTE_LEASE) != 0)
            status = kt_head_note(head, to, note.key, note.value);
    }
    return status;
}

/* ---- servers that know a value ---- */

/* A target of `targets:` is not asked: the configuration says whether it still is one. */
static bool is_server(const kt_head_t *head, const kt_head_version_t *version)
{
    const char *target = kt_head_get_note(head, version->version, KT_NOTE_TARGET);

    return target != NULL && !kt_config_is_target(target);
}

const char *kt_head_manager(const kt_head_t *head)
{
    size_t i;

    for (i = 0; i < head->nversions; i++) {
        if (is_server(head, &head->versions[i]))
            return kt_head_get_note(head, head->versions[i].version, KT_NOTE_TARGET);
    }
    return NULL;
}

bool kt_head_was_in_force(const kt_head_t *head, uint64_t version)
{
    const kt_head_version_t *found = kt_head_find(head, version);
    size_t i;

    if (found != NULL && found->abandoned)
        return false;
    if (found == NULL || kt_head_manager(head) == NULL || is_server(head, found))
        return true;
    for (i = 0; i < head->nnotes; i++) {
        if (strcmp(head->notes[i].key, KT_NOTE_REPLACED) == 0 &&
            strtoull(head->notes[i].value, NULL, 10) == version)
            return true;
    }
    return false;
}
