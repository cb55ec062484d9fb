/* SPDX-License-Identifier: BSD-2-Clause */
/* notes.c: what a rotation notes with its version, and reads again after an interruption. */
#include <string.h>

#include "rotate.h"

kt_status_t kt_rotation_notes(kt_rotation_t *rotation, const kt_meta_t *notes, size_t count)
{
    kt_change_t *change;
    kt_status_t status = kt_enter(rotation->ctx);
    size_t i;

    if (status != KT_SUCCESS)
        return status;
    status = kt_rotation_begin_step(rotation, kt_write_timeout(&rotation->req), &change);
    if (status == KT_SUCCESS) {
        for (i = 0; i < count && status == KT_SUCCESS; i++)
            status = kt_head_note(kt_change_head(change), rotation->version, notes[i].key,
                                  notes[i].value);
        status = kt_rotation_end_step(change, status);
    }
    kt_leave(rotation->ctx);
    return status;
}

kt_status_t kt_rotation_note(kt_rotation_t *rotation, const char *key, const char *value)
{
    kt_meta_t note = {key, value};

    return kt_rotation_notes(rotation, &note, 1);
}

static kt_status_t noted_locked(kt_rotation_t *r, int pending, const char *key, char *value,
                                size_t size)
{
    kt_head_t head;
    const char *note;
    kt_status_t status = kt_store_head(&r->ctx->holder, r->store, r->call.ref.name, &head);

    if (status != KT_SUCCESS)
        return status;
    note = kt_head_get_note(&head, pending ? r->version : head.current, key);
    if (note == NULL)
        status = kt_fail(KT_NOTFOUND, "%s: there is no note \"%s\"", r->call.ref.name, key);
    else if (strlen(note) >= size)
        status = kt_fail(KT_TOOLARGE, "%s: the note \"%s\" does not fit", r->call.ref.name, key);
    else
        memcpy(value, note, strlen(note) + 1);
    kt_head_clear(&head);
    return status;
}

kt_status_t kt_rotation_noted(kt_rotation_t *rotation, int pending, const char *key, char *value,
                              size_t size)
{
    kt_status_t status = kt_enter(rotation->ctx);

    if (status != KT_SUCCESS)
        return status;
    status = noted_locked(rotation, pending, key, value, size);
    kt_leave(rotation->ctx);
    return status;
}
