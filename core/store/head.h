/* SPDX-License-Identifier: BSD-2-Clause */
/* head.h: what is known of a secret, how it may change, and when its rotation is due. */
#ifndef KT_HEAD_H
#define KT_HEAD_H

#include "base/base.h"

typedef struct kt_head_version {
    uint64_t version;
    int64_t created, expires;
    bool destroyed;
    unsigned char tag[KT_TAG_SIZE]; /* of the value's record */
} kt_head_version_t;

typedef struct kt_head_pair {
    uint64_t version; /* of a note; 0: metadata */
    char *key, *value;
} kt_head_pair_t;

typedef struct kt_head {
    char name[KT_NAME_MAX + 1];
    unsigned char id[KT_ID_SIZE];
    uint64_t counter;
    uint64_t current, previous, pending, last; /* last: the highest number ever given */
    bool deleted;
    int64_t created, updated, expires;
    kt_head_version_t *versions; /* newest first */
    size_t nversions;
    kt_head_pair_t *metas, *notes;
    size_t nmetas, nnotes;
} kt_head_t;

void kt_head_clear(kt_head_t *head);
kt_status_t kt_head_encode(const kt_head_t *head, unsigned char **ret_plain,
                           size_t *ret_size); /* malloc'ed */
kt_status_t kt_head_decode(const unsigned char *plain, size_t size, kt_head_t *ret_head);
kt_head_version_t *kt_head_find(const kt_head_t *head, uint64_t version);
kt_status_t kt_head_add(kt_head_t *head, uint64_t version, int64_t now,
                        kt_head_version_t **ret_version);
void kt_head_drop(kt_head_t *head, uint64_t version); /* and its notes */
kt_status_t kt_head_meta(kt_head_t *head, const char *key,
                         const char *value); /* NULL removes; KT_TOOLARGE, KT_USAGE */
kt_status_t kt_head_note(kt_head_t *head, uint64_t version, const char *key, const char *value);
void kt_head_drop_note(kt_head_t *head, uint64_t version, const char *key);
const char *kt_head_get_note(const kt_head_t *head, uint64_t version, const char *key);
/* The entry of a version whose value exists. KT_NOTFOUND: it is not kept; KT_GONE: it was
 * destroyed. */
kt_status_t kt_head_kept(const kt_head_t *head, uint64_t version,
                         const kt_head_version_t **ret_version);
/* The version number that a selector means. KT_NOTFOUND: there is no such version; KT_GONE: it was
 * destroyed. Ignores `deleted` and `expires`. */
kt_status_t kt_head_select(const kt_head_t *head, kt_selector_t selector, uint64_t number,
                           uint64_t *ret_version);

/* Of a version that a rotation made: when it became current, ms since the epoch. */
#define KT_NOTE_ROTATED "keyturn.rotated"
/* Of a pending version: the process that works on it, and until when (rotate/owner.c). */
#define KT_NOTE_LEASE "keyturn.busy"

/* ---- schedule.c: when a rotation is due, by the metadata `rotation` ---- */

#define KT_META_ROTATION "rotation"
/* "critical", "weekly", "90d" ... in milliseconds; -1: not a schedule. */
int64_t kt_schedule_parse(const char *text);
/* When the current value was rotated, or written if no rotation made it: ms since the epoch. 0:
 * there is no current value. */
int64_t kt_schedule_rotated(const kt_head_t *head);
int64_t kt_schedule_due(const kt_head_t *head); /* ms since the epoch; 0: no schedule */

#endif /* KT_HEAD_H */
