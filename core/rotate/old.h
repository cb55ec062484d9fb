/* SPDX-License-Identifier: BSD-2-Clause */
/* old.h: passwords that a target accepts for a while after a rotation. */
#ifndef KT_OLD_H
#define KT_OLD_H

#include "rotate.h"
#include "target.h"

#define KT_PASSWORD_HASH 65u /* bytes of a SHA-256 in hex, NUL included */
#define KT_OLD_MAX 16u

typedef struct kt_old {
    struct {
        char hash[KT_PASSWORD_HASH];
        int64_t until; /* ms since the epoch */
    } list[KT_OLD_MAX];
    size_t count;
    bool more; /* there are others: a later call finds them */
} kt_old_t;

/* ---- old.c ---- */

void kt_password_hash(const kt_secret_t *password, char ret_hash[KT_PASSWORD_HASH]);
/* Notes with `version`, which a rotation adds, which passwords are to be removed `overlap` ms after
 * it became current: that of the current value, and those that still wait for it. */
kt_status_t kt_old_note(kt_change_t *change, uint64_t version, int64_t overlap);

/* KT_CONFLICT: a living process removes old passwords right now. */
kt_status_t kt_old_busy(const kt_head_t *head);
/* Those that are noted with versions which are, or were, in force. */
void kt_old_list(const kt_head_t *head, kt_old_t *ret_old);
/* Drops the notes of one. */
void kt_old_forget(kt_head_t *head, const char *hash);

#endif /* KT_OLD_H */
