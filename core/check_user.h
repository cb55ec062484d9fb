/* SPDX-License-Identifier: BSD-2-Clause */
/* check_user.h: check_user.c and check_path.c, what a server's user may and may not open. */
#ifndef KT_CHECK_USER_H
#define KT_CHECK_USER_H

#include <limits.h>
#include <sys/stat.h>

#include "internal.h"

#define KT_GROUPS_MAX 256

typedef struct kt_person {
    char name[64];
    uid_t uid;
    gid_t gid, groups[KT_GROUPS_MAX];    /* groups: gid among them */
    int ngroups;
    char own_group[64];                  /* "": others are in it too */
    const char *readers, *writers;       /* names of groups */
} kt_person_t;

/* Of the calling process: may it open this (R_OK, W_OK, X_OK)? Else ret_text says what is in the way and, in `...`, the command that mends it.
 * `group` is whom a file of this kind belongs to. KT_PERMISSION; KT_UNAVAIL: there is none. */
kt_status_t kt_path_check(const kt_person_t *person, const char *path, int wanted, const char *group, char *ret_text, size_t size);
/* May it open what it need not? Then KT_PERMISSION and the text. `what` is what it is, for the text. */
kt_status_t kt_path_closed(const kt_person_t *person, const char *path, int unwanted, const char *what, char *ret_text, size_t size);
/* Is this folder with its files the person's alone, to write? */
kt_status_t kt_path_owned(const kt_person_t *person, const char *path, char *ret_text, size_t size);
bool kt_person_in(const kt_person_t *person, gid_t gid);

#endif /* KT_CHECK_USER_H */
