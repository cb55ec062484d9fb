/* SPDX-License-Identifier: BSD-2-Clause */
/* head.h: what is known of a secret, how it may change, and when its rotation is due. */
#ifndef KT_HEAD_H
#define KT_HEAD_H

#include "base/base.h"

typedef struct kt_head_version {
    uint64_t version;
    int64_t created, expires; /* expires of an abandoned version: until when it is kept */
    bool destroyed;
    bool abandoned;                 /* its rotation was given up, but a server may have it */
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
/* The versions that are abandoned: they do not count for keep_versions. */
size_t kt_head_abandoned(const kt_head_t *head);
void kt_head_take_back(kt_head_t *head, uint64_t version); /* it is abandoned no more */
kt_status_t kt_head_meta(kt_head_t *head, const char *key,
                         const char *value); /* NULL removes; KT_TOOLARGE, KT_USAGE */
kt_status_t kt_head_note(kt_head_t *head, uint64_t version, const char *key, const char *value);
void kt_head_drop_note(kt_head_t *head, uint64_t version, const char *key);
const char *kt_head_get_note(const kt_head_t *head, uint64_t version, const char *key);
/* The entry of a version whose value exists. KT_NOTFOUND: it is not kept; KT_GONE: it was
 * destroyed. */
kt_status_t kt_head_kept(const kt_head_t *head, uint64_t version,
                         const kt_head_version_t **ret_version);
/* Deleted, and its value destroyed: nothing can be brought back. */
bool kt_head_is_erased(const kt_head_t *head);
/* The version number that a selector means. KT_NOTFOUND: there is no such version; KT_GONE: it was
 * destroyed. Ignores `deleted` and `expires`. */
kt_status_t kt_head_select(const kt_head_t *head, kt_selector_t selector, uint64_t number,
                           uint64_t *ret_version);

/* Of a version that a rotation gave to a target: the target's name, "exec:/path" of a command. */
#define KT_NOTE_TARGET "target"
/* Of a version that a rotation gave to a target which keeps the older password for a while: begins
 * the key, which ends with the SHA-256 of that password in hex. The value: "MS", that long after
 * the version became current, or "@MS", a time since the epoch. */
#define KT_NOTE_OLD "keyturn.old."
/* Of a version that a server got by a rotation: the number of the version that the server had
 * before, if it did. */
#define KT_NOTE_REPLACED "keyturn.replaced"
/* Of a version: where its value comes from, unless that is KT_ISSUED. */
#define KT_NOTE_ORIGIN "keyturn.origin"
/* Of a version that a rotation made: when it became current, ms since the epoch. */
#define KT_NOTE_ROTATED "keyturn.rotated"
/* Of a version whose value is a database account: "database". */
#define KT_NOTE_SHAPE "keyturn.shape"
#define KT_SHAPE_NOTED "database" /* also the schedule of such a secret (schedule.c) */
/* Of a pending version: the process that works on it, and until when (rotate/owner.c). */
#define KT_NOTE_LEASE "keyturn.busy"

/* ---- origin.c: where a value comes from, and who outside knows it ---- */

#define KT_META_ORIGIN "origin" /* how callers see and set KT_NOTE_ORIGIN */
#define KT_META_URL "rotate_url"
#define KT_ISSUED "issued"
#define KT_GENERATED "generated"
#define KT_DERIVED "derived"
const char *kt_origin_check(const char *text); /* the static string; NULL: not an origin */
const char *kt_origin_of(const kt_head_t *head, uint64_t version); /* a static string */
kt_status_t kt_origin_set(kt_head_t *head, uint64_t version, const char *origin);
/* kt_head_meta() for callers: checks a schedule, and sets the origin of `version`. */
kt_status_t kt_head_describe(kt_head_t *head, uint64_t version, const char *key, const char *value);
const char *kt_head_get_meta(const kt_head_t *head, const char *key); /* NULL: there is none */
/* Gives the version `to` the notes of `from`, except for its lease. */
kt_status_t kt_head_copy_notes(kt_head_t *head, uint64_t from, uint64_t to);
/* The server that got a version of this secret by a rotation ("postgresql:..."), and so manages its
 * value. NULL: there is none; a command is not a server. */
const char *kt_head_manager(const kt_head_t *head);
/* Did the server that manages the value have this version? True without such a server. */
bool kt_head_was_in_force(const kt_head_t *head, uint64_t version);

/* ---- schedule.c: when a rotation is due ---- */

#define KT_META_ROTATION "rotation"
/* Notes the shape of a version's value: the schedule depends on it, and a list opens no value. */
kt_status_t kt_schedule_note(kt_head_t *head, uint64_t version, const kt_secret_t *value);
/* Is the current value a database account, or if there is none the newest one? */
bool kt_head_is_account(const kt_head_t *head);
/* When the current value was rotated, or written if no rotation made it: ms since the epoch. 0:
 * there is no current value. */
int64_t kt_schedule_rotated(const kt_head_t *head);
/* By the metadata `rotation`, or else by the shape of the value. ms since the epoch; 0: it has no
 * schedule. */
int64_t kt_schedule_due(const kt_head_t *head);

#endif /* KT_HEAD_H */
